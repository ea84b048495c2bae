"""The matrix-vector unit in LUTs: every folding of small layers. test_mistakes.py shows what the bench finds."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.rtl.verilator_env import RTL, Program, program

SOURCE = RTL / "lut_mvu.sv"
LANE = 64
# weight bits, activation bits, rows, columns
LAYERS = {"W1A1": (1, 1, 4, 6), "W1A3": (1, 3, 2, 12), "W1A8": (1, 8, 4, 4), "W4A1": (4, 1, 4, 5), "W8A1": (8, 1, 3, 8)}


def divisors(n: int) -> list[int]:
    return [d for d in range(1, n + 1) if n % d == 0]


def random_weights(layer: str) -> NDArray[np.int64]:
    """(rows, columns); all of the first row are the greatest, all of the second the least."""
    weight_bits, _, mh, mw = LAYERS[layer]
    low, high = (0, 1) if weight_bits == 1 else (-(2 ** (weight_bits - 1)), 2 ** (weight_bits - 1) - 1)
    weights = np.random.default_rng(0).integers(low, high + 1, (mh, mw))
    weights[:2] = [[high], [low]]
    return 2 * weights - 1 if weight_bits == 1 else weights


def compiled(source: Path, layers: Iterable[str], folder: Path) -> Program:
    """Compile one bench with every folding of every one of `layers`."""
    folder.mkdir(parents=True)
    cases: list[dict[str, Any]] = []
    units: list[str] = []
    for layer in layers:
        weights = random_weights(layer)
        for pe in divisors(weights.shape[0]):
            for simd in divisors(weights.shape[1]):
                units.append(write_unit(len(units), layer, weights, pe, simd, folder, cases))
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
    (folder / "case.json").write_text(json.dumps(cases), encoding="utf-8")
    return program([source, folder / "lut_mvu_tb.sv"], "lut_mvu_tb", "lut_mvu_bench", folder)


def write_unit(
    i: int, layer: str, weights: NDArray[np.int64], pe: int, simd: int, folder: Path, cases: list[dict[str, Any]]
) -> str:
    """Write the weights of unit `i`, append its case and return its instance."""
    from finn_build.lut_mvau import weight_words

    weight_bits, act_bits, mh, mw = LAYERS[layer]
    largest = mw * int(np.abs(weights).max()) * max(1, 2**act_bits - 1)
    accu_bits = 1 + largest.bit_length()
    words = weight_words(weights, pe=pe, simd=simd, bits=weight_bits)
    (folder / f"weights_{i}.dat").write_text("\n".join(words) + "\n", encoding="ascii")
    cases.append({"pe": pe, "simd": simd, "accu_bits": accu_bits, "act_bits": act_bits, "weights": weights.tolist()})
    s_bits, m_bits = (-(-bits // 8) * 8 for bits in (simd * act_bits, pe * accu_bits))
    assert s_bits <= LANE and m_bits < LANE
    return f"""
    assign m_tdata[{LANE * i + m_bits} +: {LANE - m_bits}] = '0;
    lut_mvu #(
        .MW({mw}), .MH({mh}), .PE({pe}), .SIMD({simd}), .WEIGHT_BITS({weight_bits}), .ACT_BITS({act_bits}),
        .ACCU_BITS({accu_bits}), .WEIGHT_FILE("./weights_{i}.dat")
    ) u_{i} (
        .clk(clk), .rst(rst),
        .s_axis_tdata(s_tdata[{LANE * i} +: {s_bits}]), .s_axis_tvalid(s_tvalid[{i}]), .s_axis_tready(s_tready[{i}]),
        .m_axis_tdata(m_tdata[{LANE * i} +: {m_bits}]), .m_axis_tvalid(m_tvalid[{i}]), .m_axis_tready(m_tready[{i}])
    );"""


@pytest.mark.slow
def test_every_folding(tmp_path: Path) -> None:
    assert compiled(SOURCE, LAYERS, tmp_path / "sim").failures() == 0
