"""The matrix-vector unit in LUTs: every folding of small layers, and proof that the bench finds mistakes."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from cocotb_tools.check_results import get_results
from cocotb_tools.runner import Runner, get_runner
from qonnx.core.datatype import DataType

from tests.rtl.verilator_env import ENVIRONMENT, MAKEFLAGS, RTL

SOURCE = RTL / "lut_mvu.sv"
LANE = 64
# weight bits, activation bits, rows, columns
ACTIVATIONS = {bits: DataType["BIPOLAR" if bits == 1 else f"UINT{bits}"] for bits in range(1, 9)}
LAYERS = {"W1A1": (1, 1, 4, 6), "W1A3": (1, 3, 2, 12), "W1A8": (1, 8, 4, 4), "W4A1": (4, 1, 4, 5), "W8A1": (8, 1, 3, 8)}


def divisors(n: int) -> list[int]:
    return [d for d in range(1, n + 1) if n % d == 0]


def program(source: Path, layer: str, folder: Path) -> Runner:
    """Compile one bench with every folding of `layer`."""
    from finn_build.lut_mvau import row_starts, weight_words

    weight_bits, act_bits, mh, mw = LAYERS[layer]
    low, high = (0, 1) if weight_bits == 1 else (-(2 ** (weight_bits - 1)), 2 ** (weight_bits - 1) - 1)
    weights = np.random.default_rng(0).integers(low, high + 1, (mh, mw))
    weights[:2] = [[high], [low]]
    weights = 2 * weights - 1 if weight_bits == 1 else weights
    largest = mw * max(abs(low), high) * max(1, 2**act_bits - 1)
    accu_bits = 1 + int(largest).bit_length()
    folder.mkdir(parents=True)
    units: list[str] = []
    foldings: list[dict[str, int]] = []
    for pe in divisors(mh):
        for simd in divisors(mw):
            i, name = len(units), f"weights_{pe}_{simd}.dat"
            words = weight_words(weights, pe=pe, simd=simd, bits=weight_bits)
            (folder / name).write_text("\n".join(words) + "\n", encoding="ascii")
            starts = row_starts(weights, ACTIVATIONS[act_bits], simd=simd, bits=weight_bits)
            packed = sum((int(start) % 2**accu_bits) << (row * accu_bits) for row, start in enumerate(starts))
            foldings.append({"pe": pe, "simd": simd, "accu_bits": accu_bits})
            s_bits, m_bits = (-(-bits // 8) * 8 for bits in (simd * act_bits, pe * accu_bits))
            assert max(s_bits, m_bits) <= LANE
            units.append(f"""
    assign m_tdata[{LANE * i + m_bits} +: {LANE - m_bits or 1}] = '0;
    lut_mvu #(
        .MW({mw}), .MH({mh}), .PE({pe}), .SIMD({simd}), .WEIGHT_BITS({weight_bits}), .ACT_BITS({act_bits}),
        .ACCU_BITS({accu_bits}), .START({mh * accu_bits}'h{packed:x}), .WEIGHT_FILE("./{name}")
    ) u_{i} (
        .clk(clk), .rst(rst),
        .s_axis_tdata(s_tdata[{LANE * i} +: {s_bits}]), .s_axis_tvalid(s_tvalid[{i}]), .s_axis_tready(s_tready[{i}]),
        .m_axis_tdata(m_tdata[{LANE * i} +: {m_bits}]), .m_axis_tvalid(m_tvalid[{i}]), .m_axis_tready(m_tready[{i}])
    );""")
    n = len(units)
    (folder / "lut_mvu_tb.sv").write_text(
        f"""module lut_mvu_tb (
    input  wire clk, rst,
    input  wire [{n - 1}:0] s_tvalid, m_tready,
    input  wire [{LANE * n - 1}:0] s_tdata,
    output wire [{n - 1}:0] s_tready, m_tvalid,
    output wire [{LANE * n - 1}:0] m_tdata
);{"".join(units)}
endmodule
""",
        encoding="ascii",
    )
    case = {"act_bits": act_bits, "weights": weights.tolist(), "foldings": foldings}
    (folder / "case.json").write_text(json.dumps(case), encoding="utf-8")
    runner = get_runner("verilator")
    runner.build(
        sources=[source, RTL / "count_ones.sv", folder / "lut_mvu_tb.sv"],
        hdl_toplevel="lut_mvu_tb",
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
            hdl_toplevel="lut_mvu_tb",
            test_module="tests.rtl.lut_mvu_bench",
            build_dir=folder,
            test_dir=folder,
            results_xml=str(results),
            plusargs=plusargs,
            log_file=folder.with_suffix(".log"),
        )
    except (RuntimeError, SystemExit):
        assert results.exists(), folder.with_suffix(".log").read_text(encoding="utf-8")
    tests, failed = get_results(results)
    assert tests == 3
    return int(failed)


@pytest.fixture(scope="module", autouse=True)
def verilator() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**ENVIRONMENT, "MAKEFLAGS": MAKEFLAGS}.items():  # cocotb calls make itself
            patch.setenv(name, value)
        yield


@pytest.mark.slow
@pytest.mark.parametrize("layer", LAYERS)
def test_every_folding(layer: str, tmp_path: Path) -> None:
    assert failures(program(SOURCE, layer, tmp_path / "sim"), tmp_path / "sim") == 0


# What each mistake makes of a piece of the module, chosen at run time so that one compilation serves all.
MISTAKES = {
    "a result is overwritten while the sink stalls": ("assign en = !(", "assign en = MISTAKEN || !("),
    "a full buffer takes a beat": ("fill_q != FILL_BITS'(DEPTH)", "(MISTAKEN || fill_q != FILL_BITS'(DEPTH))"),
    "a pass is freed too early": ("fetch && last_pass;", "fetch && (MISTAKEN || last_pass);"),
    "the sum does not start at START": ("first_q[STAGES-1] ? starts[", "first_q[STAGES-1] && !MISTAKEN ? starts["),
    "reset keeps the beat counter": ("ahead_q, beat_q, pass_q", "ahead_q, pass_q"),
    "one bubble per vector": ("en && ahead_q != '0;", "en && ahead_q != '0 && !(MISTAKEN && valid_q[0] && last_q[0]);"),
}


@pytest.fixture(scope="module")
def mistaken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Runner, Path]:
    text, folder = SOURCE.read_text(encoding="utf-8"), tmp_path_factory.mktemp("mistaken")
    for number, (old, new) in enumerate(MISTAKES.values(), start=1):
        assert text.count(old) == 1, old
        text = text.replace(old, new.replace("MISTAKEN", f"(mistake == {number})"))
    number = [*MISTAKES].index("reset keeps the beat counter") + 1
    reset = "        if (rst && mistake != MISTAKE) beat_q <= '0;\n".replace("MISTAKE", str(number))
    text = text.replace("        if (push) kept[", reset + "        if (push) kept[")
    switch = '    int mistake;\n    initial if (!$value$plusargs("mistake=%d", mistake)) mistake = 0;\n'
    start = text.index("    // One condition moves")
    (folder / SOURCE.name).write_text(text[:start] + switch + text[start:], encoding="utf-8")
    return program(folder / SOURCE.name, "W1A1", folder / "sim"), folder / "sim"


@pytest.mark.slow
@pytest.mark.parametrize("mistake", ["none", *MISTAKES])
def test_the_bench_finds(mistake: str, mistaken: tuple[Runner, Path]) -> None:
    number = ["none", *MISTAKES].index(mistake)
    assert bool(failures(*mistaken, f"+mistake={number}")) == (mistake != "none")
