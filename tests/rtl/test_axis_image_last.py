"""TLAST around a core: the cocotb bench on Verilator, and proof that the bench finds mistakes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cocotb_tools.check_results import get_results
from cocotb_tools.runner import Runner, get_runner

from tests.rtl.verilator_env import ENVIRONMENT, MAKEFLAGS, RTL

SOURCE = RTL / "axis_image_last.sv"
HERE = Path(__file__).parent
PARAMETERS = [
    {"IN_BEATS": 5, "OUT_BEATS": 1, "MAX_IMAGES": 2, "IN_BITS": 8, "OUT_BITS": 32},
    {"IN_BEATS": 1, "OUT_BEATS": 1, "MAX_IMAGES": 1, "IN_BITS": 16, "OUT_BITS": 32},
    {"IN_BEATS": 4, "OUT_BEATS": 3, "MAX_IMAGES": 5, "IN_BITS": 8, "OUT_BITS": 8},
]


def program(source: Path, parameters: dict[str, int], folder: Path) -> Runner:
    """Compile the bench."""
    runner = get_runner("verilator")
    runner.build(
        sources=[source, HERE / "image_last_tb.sv"],
        hdl_toplevel="image_last_tb",
        parameters=parameters,
        build_args=["-MAKEFLAGS", MAKEFLAGS, "-Wno-fatal", "-CFLAGS", "-O0"],
        build_dir=folder,
        log_file=folder.with_suffix(".build.log"),
    )
    return runner


def failures(runner: Runner, folder: Path, *plusargs: str) -> int:
    """Run the bench; return how many of its tests failed."""
    results = folder / "results.xml"
    results.unlink(missing_ok=True)
    try:
        runner.test(
            hdl_toplevel="image_last_tb",
            test_module="tests.rtl.image_last_bench",
            build_dir=folder,
            test_dir=folder,
            results_xml=str(results),
            plusargs=plusargs,
            log_file=folder.with_suffix(".log"),
        )
    except (RuntimeError, SystemExit):
        assert results.exists(), folder.with_suffix(".log").read_text(encoding="utf-8")
    tests, failed = get_results(results)
    assert tests == 5
    return int(failed)


@pytest.fixture(scope="module", autouse=True)
def verilator() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        yield


@pytest.mark.slow
@pytest.mark.parametrize("parameters", PARAMETERS, ids=lambda p: "-".join(map(str, p.values())))
def test_bench(parameters: dict[str, int], tmp_path: Path) -> None:
    assert failures(program(SOURCE, parameters, tmp_path / "sim"), tmp_path / "sim") == 0


# What each mistake makes of a piece of the module, chosen at run time so that one compilation serves all.
MISTAKES = {
    "the newest flag instead of the oldest": (
        "if (fill_q == FILL_BITS'(i + 1)) oldest",
        "if (MISTAKEN ? i == 0 : fill_q == FILL_BITS'(i + 1)) oldest",
    ),
    "no limit": ("!(in_end && full)", "(MISTAKEN || !(in_end && full))"),
    "TLAST on every beat of the last result": ("out_end && oldest;", "(out_end || MISTAKEN) && oldest;"),
    "reset forgets the beat counter": ("            in_beat_q  <= '0;", "            if (!MISTAKEN) in_beat_q <= '0;"),
    "TLAST of any beat counts": ("flags_q, s_axis_tlast}", "flags_q, s_axis_tlast || (MISTAKEN && any_q)}"),
}
SWITCH = """
    int  mistake;
    initial if (!$value$plusargs("mistake=%d", mistake)) mistake = 0;
    logic any_q; // a TLAST was seen in this image
    always_ff @(posedge clk) if (s_axis_tvalid && s_axis_tready) any_q <= !in_end && (s_axis_tlast || any_q);
"""


@pytest.fixture(scope="module")
def mistaken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Runner, Path]:
    text, folder = SOURCE.read_text(encoding="utf-8"), tmp_path_factory.mktemp("mistaken")
    for number, (old, new) in enumerate(MISTAKES.values(), start=1):
        assert text.count(old) == 1, old
        text = text.replace(old, new.replace("MISTAKEN", f"(mistake == {number})"))
    start = text.index("    wire pass ")  # its first use
    (folder / SOURCE.name).write_text(text[:start] + SWITCH + text[start:], encoding="utf-8")
    return program(folder / SOURCE.name, PARAMETERS[2], folder / "sim"), folder / "sim"


@pytest.mark.slow
@pytest.mark.parametrize("mistake", ["none", *MISTAKES])
def test_the_bench_finds(mistake: str, mistaken: tuple[Runner, Path]) -> None:
    number = ["none", *MISTAKES].index(mistake)
    assert bool(failures(*mistaken, f"+mistake={number}")) == (mistake != "none")
