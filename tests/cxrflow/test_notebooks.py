"""The main job in a notebook. The board's notebook is tested with the package that brings it."""

from pathlib import Path

import pytest

from tests.cxrflow.conftest import REPOSITORY
from tests.notebooks import execute


@pytest.mark.slow
def test_the_laptop_notebook_goes_from_xrays_to_verified_rtl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    text, pictures = execute(REPOSITORY / "docs" / "notebooks" / "laptop.ipynb", tmp_path, simulates=True)
    assert pictures == 3
    assert "'784-32-16-1 W4A4'" in text
    assert "differing integers: 0" in text and "rtl_with_random_stalls" in text
    answers = [line.partition("first answers ")[2] for line in text.splitlines() if "golden logits are equal" in line]
    assert len(answers) == 2 and len(set(answers)) == 1  # of the CPU and of the simulated RTL
    assert (tmp_path / "runs" / "laptop" / "report.html").is_file()
    assert "file_float64" in text and (tmp_path / "runs" / "mine" / "export" / "reference.npz").is_file()
