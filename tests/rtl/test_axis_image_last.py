"""TLAST around a core: the cocotb bench on Verilator. test_mistakes.py shows that the bench finds mistakes."""

from pathlib import Path

import pytest

from tests.rtl.verilator_env import RTL, Program, program

SOURCE = RTL / "axis_image_last.sv"
HERE = Path(__file__).parent
PARAMETERS = [
    {"IN_BEATS": 5, "OUT_BEATS": 1, "MAX_IMAGES": 2, "IN_BITS": 8, "OUT_BITS": 32},
    {"IN_BEATS": 1, "OUT_BEATS": 1, "MAX_IMAGES": 1, "IN_BITS": 16, "OUT_BITS": 32},
    {"IN_BEATS": 4, "OUT_BEATS": 3, "MAX_IMAGES": 5, "IN_BITS": 8, "OUT_BITS": 8},
]


def compiled(source: Path, parameters: dict[str, int], folder: Path) -> Program:
    sources = [source, HERE / "image_last_tb.sv"]
    return program(sources, "image_last_tb", "image_last_bench", folder, parameters=parameters)


@pytest.mark.slow
@pytest.mark.parametrize("parameters", PARAMETERS, ids=lambda p: "-".join(map(str, p.values())))
def test_bench(parameters: dict[str, int], tmp_path: Path) -> None:
    assert compiled(SOURCE, parameters, tmp_path / "sim").failures() == 0
