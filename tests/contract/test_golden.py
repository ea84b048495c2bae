"""golden.npz: what cannot be it is refused in a sentence that says what to do, whoever holds the file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract.errors import ArtifactError
from contract.golden import load_golden, load_labelled
from contract.npz import save_npz

ARRAYS: dict[str, Any] = {
    "pixels": np.zeros((3, 4, 5), np.uint8),
    "outputs": np.arange(3, dtype=np.int64)[:, None],
    "probability": np.full(3, 0.5),
    "labels": np.array([0, 1, 0], dtype=np.int64),
}
NONE = {name: array[:0] for name, array in ARRAYS.items()}


def refusal(path: Path) -> str:
    messages = []
    for load in load_golden, load_labelled:
        with pytest.raises(ArtifactError) as caught:
            load(path)
        messages.append(str(caught.value))
    assert messages[0].startswith(str(path)) and messages == messages[:1] * 2
    assert messages[0].endswith("Export the run again; in a deploy folder, package it again or copy the whole folder.")
    return messages[0]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (NONE, "it has pixels of no image."),
        ({"outputs": ARRAYS["outputs"][:, :0]}, "it has outputs of no image."),
        ({"pixels": np.zeros((3, 4, 5))}, "it has no pixels of uint8 or int8 in 3 or 4 dimensions."),
        ({"outputs": ARRAYS["outputs"][:2]}, "it has 2 outputs for 3 images."),
        ({"outputs": ARRAYS["outputs"] + 2**31}, "it has an output of more than 32 bits."),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, change: dict[str, Any], found: str) -> None:
    save_npz(tmp_path / "golden.npz", ARRAYS)
    assert len(load_golden(tmp_path / "golden.npz").pixels) == len(load_labelled(tmp_path / "golden.npz").labels) == 3
    save_npz(tmp_path / "golden.npz", ARRAYS | change)
    assert found in refusal(tmp_path / "golden.npz")


def test_empty_files(tmp_path: Path) -> None:
    (tmp_path / "golden.npz").write_bytes(b"")
    assert "is not a whole .npz file" in refusal(tmp_path / "golden.npz")
    save_npz(tmp_path / "golden.npz", {})
    assert "it has no pixels of uint8 or int8" in refusal(tmp_path / "golden.npz")
