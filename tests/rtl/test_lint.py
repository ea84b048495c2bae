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
    "adder_tree": [{"TERMS": 1}, {"TERMS": 2, "BITS": 1}, {"TERMS": 49, "BITS": 9, "SIGNED": 1}],
    "vector_replay": [{"BEATS": 1}, {"PASSES": 1}, {"BITS": 1, "BEATS": 98, "PASSES": 7}],
    "row_thresholds": [{"MH": 1, "PE": 1}, {"PE": 4, "SIGN": 1}, {"MH": 64, "PE": 1, "BITS": 26}],
    "requantizer": [
        {"CHANNELS": 1, "PE": 1, "SHIFT": 60},
        {"DSP": 1},
        {"FACTOR_BITS": 5, "DIGIT": 1},
        {"DIGIT": 2},
        {"CHANNELS": 64, "PE": 1, "ACC_BITS": 24, "FACTOR_BITS": 24, "DIGIT": 24, "ADDEND_BITS": 44, "SHIFT": 32,
         "OUT_BITS": 8, "LEVELS": 255},
        {"CHANNELS": 64, "PE": 4, "ACC_BITS": 24, "FACTOR_BITS": 24, "DIGIT": 24, "DSP": 1, "ADDEND_BITS": 44,
         "SHIFT": 32, "OUT_BITS": 8, "LEVELS": 255},
        {"CHANNELS": 6, "PE": 3, "ACC_SIGNED": 0, "FACTOR_BITS": 24, "DIGIT": 3, "ADDEND_BITS": 50, "SHIFT": 2,
         "OUT_BITS": 8, "LEVELS": 200},
    ],
    "pixel_window": [
        {"HEIGHT": 64, "WIDTH": 64, "KERNEL_H": 5, "KERNEL_W": 5},
        {"HEIGHT": 1, "WIDTH": 2, "KERNEL_H": 1, "KERNEL_W": 1, "STRIDE_H": 1, "STRIDE_W": 1, "PIXELS": 2, "BITS": 1},
        {"HEIGHT": 5, "WIDTH": 24, "KERNEL_W": 11, "STRIDE_H": 5, "STRIDE_W": 3, "PIXELS": 8, "BITS": 3},
        {"WIDTH": 8, "STRIDE_W": 8, "PIXELS": 2},
        {"WIDTH": 8, "STRIDE_W": 4, "PIXELS": 8},
    ],
    "max_pool": [{"WINDOW": 1, "PE": 1, "BITS": 1}, {"WINDOW": 9, "PE": 3, "BITS": 8, "SIGNED": 1}],
    "global_sum": [
        {"PLACES": 1, "CHANNELS": 1, "PE": 1, "BITS": 1, "SUM_BITS": 2},
        {"PLACES": 49, "CHANNELS": 64, "PE": 4, "BITS": 4, "SUM_BITS": 10},
        {"PLACES": 5, "CHANNELS": 6, "PE": 6, "BITS": 3, "SIGNED": 1, "SUM_BITS": 6},
    ],
    "depthwise": [
        {"CHANNELS": 1, "TAPS": 1, "PE": 1, "WEIGHT_BITS": 1, "ACT_BITS": 1, "ACCU_BITS": 2},
        {"TAPS": 9, "WEIGHT_BITS": 4, "ACT_BITS": 4, "DSP": 1, "ACCU_BITS": 12},
        {"TAPS": 9, "WEIGHT_BITS": 1, "ACT_BITS": 3, "ACT_SIGNED": 1, "ACCU_BITS": 9, "SIGN": 1},
        {"CHANNELS": 48, "TAPS": 9, "PE": 12, "WEIGHT_BITS": 8, "ACT_BITS": 1, "ACCU_BITS": 13},
        {"CHANNELS": 2, "TAPS": 9, "WEIGHT_BITS": 8, "ACT_BITS": 8, "DSP": 1, "ACT_SIGNED": 1, "ACCU_BITS": 20,
         "SIGN": 1},
    ],
    "lut_mvu": [
        {"MW": 1, "MH": 1, "PE": 1, "SIMD": 1},
        {"MW": 784, "MH": 256, "PE": 32, "SIMD": 8, "ACT_BITS": 8, "ACCU_BITS": 19},
        {"MW": 256, "MH": 256, "PE": 4, "SIMD": 64, "ACCU_BITS": 10},
        {"MW": 16, "MH": 4, "PE": 4, "SIMD": 1, "ACT_BITS": 8, "ACCU_BITS": 14},
        {"MW": 16, "MH": 4, "PE": 4, "SIMD": 16, "ACT_BITS": 3, "ACCU_BITS": 8},
        {"MW": 15, "MH": 4, "PE": 2, "SIMD": 5, "WEIGHT_BITS": 8, "ACCU_BITS": 13},
        {"MW": 12, "MH": 6, "PE": 6, "SIMD": 3, "WEIGHT_BITS": 8, "ACCU_BITS": 13},
        {"MW": 7, "MH": 3, "PE": 3, "SIMD": 1, "WEIGHT_BITS": 2, "ACCU_BITS": 8},
        {"MW": 7, "MH": 3, "PE": 1, "SIMD": 7, "ACCU_BITS": 4, "SIGN": 1},
        {"MW": 36, "MH": 4, "PE": 2, "SIMD": 18, "ACCU_BITS": 7, "SIGN": 1},
        {"MW": 14, "MH": 8, "PE": 4, "SIMD": 7, "ACT_BITS": 3, "ACT_SIGNED": 1, "ACCU_BITS": 8},
        {"MW": 784, "MH": 256, "PE": 32, "SIMD": 8, "ACT_BITS": 8, "ACT_SIGNED": 1, "ACCU_BITS": 20, "SIGN": 1},
        {"MW": 19, "MH": 2, "PE": 1, "SIMD": 19, "ACCU_BITS": 6},
        {"MW": 784, "MH": 64, "PE": 2, "SIMD": 14, "WEIGHT_BITS": 8, "ACT_BITS": 8, "ACCU_BITS": 26},
        {"MW": 8, "MH": 4, "PE": 2, "SIMD": 1, "WEIGHT_BITS": 2, "ACT_BITS": 4, "ACCU_BITS": 9, "ACT_SIGNED": 1},
        {"MW": 9, "MH": 4, "PE": 1, "SIMD": 9, "WEIGHT_BITS": 5, "ACT_BITS": 2, "ACCU_BITS": 11, "SIGN": 1},
        {"MW": 6, "MH": 9, "PE": 9, "SIMD": 2, "WEIGHT_BITS": 3, "ACCU_BITS": 7, "SIGN": 1},
        {"MW": 3, "MH": 2, "PE": 2, "SIMD": 1, "ACT_BITS": 2, "ACT_SIGNED": 1, "ACCU_BITS": 5, "SIGN": 1},
    ],
}  # fmt: skip
CASES = [(path, p) for path in sorted(RTL.glob("*.sv")) for p in [{}, *PARAMETERS.get(path.stem, [])]]


def lint(path: Path, parameters: dict[str, int]) -> str:
    command = ["perl", str(ROOT / "bin" / "verilator"), "--lint-only", "--quiet", "-Wall", "--top-module", path.stem]
    command += [f"-I{RTL}"]  # where the modules inside it are
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
