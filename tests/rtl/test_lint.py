"""Every module of ours is its own top and has nothing that Verilator would warn about."""

import subprocess
from pathlib import Path

import pytest

from tests.rtl.verilator_env import ENVIRONMENT, ROOT, RTL

# What each module is linted with besides its defaults.
PARAMETERS: dict[str, list[dict[str, int]]] = {
    "axis_image_last": [
        {"IN_BEATS": 1, "OUT_BEATS": 1, "MAX_IMAGES": 1},
        {"IN_BEATS": 2, "OUT_BEATS": 3, "MAX_IMAGES": 7, "IN_BITS": 64},
        {"IN_BEATS": 16384, "OUT_BEATS": 1, "MAX_IMAGES": 32, "IN_BITS": 128},
    ],
}
CASES = [(path, p) for path in sorted(RTL.glob("*.sv")) for p in [{}, *PARAMETERS.get(path.stem, [])]]


def lint(path: Path, parameters: dict[str, int]) -> str:
    command = ["perl", str(ROOT / "bin" / "verilator"), "--lint-only", "--quiet", "-Wall", "--top-module", path.stem]
    command += [f"-G{name}={value}" for name, value in parameters.items()]
    done = subprocess.run([*command, str(path)], env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert bool(done.returncode) == bool(done.stderr)
    return done.stderr


@pytest.mark.parametrize(("path", "parameters"), CASES, ids=lambda v: v.stem if isinstance(v, Path) else str(v))
def test_no_warning(path: Path, parameters: dict[str, int]) -> None:
    assert lint(path, parameters) == ""


def test_a_warning_would_be_seen(tmp_path: Path) -> None:
    text = (RTL / "axis_image_last.sv").read_text(encoding="utf-8")
    path = tmp_path / "axis_image_last.sv"
    path.write_text(text.replace("wire empty   =", "wire extra = full; wire empty ="), encoding="utf-8")
    assert "UNUSED" in lint(path, {})
