"""The matrix-vector unit: a cocotb bench on every folding of small layers. test_mistakes.py shows what it finds."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from qonnx.core.datatype import DataType

from finn_build.ops.lut_mvau import SOURCES
from tests.rtl import many_units
from tests.rtl.many_units import divisors, instance
from tests.rtl.verilator_env import RTL, Program

SOURCE = RTL / "lut_mvu.sv"


@dataclass(frozen=True)
class Layer:
    """Random weights; all of the first row are the greatest, all of the second the least, in the third they change."""

    weight_bits: int
    activations: str
    rows: int  # three or more
    columns: int
    signs: bool = False  # thresholds in START, answers of one bit
    narrow: bool = False  # most columns need fewer bits than there are

    def weights(self) -> NDArray[np.int64]:
        kind = DataType["BIPOLAR" if self.weight_bits == 1 else f"INT{self.weight_bits}"]
        low, high = int(kind.min()), int(kind.max())
        levels = [-1, 1] if self.weight_bits == 1 else range(low, high + 1)
        weights = np.random.default_rng(0).choice(levels, (self.rows, self.columns))
        weights[:2], weights[2, ::2], weights[2, 1:3] = [[high], [low]], high, low
        return np.asarray(weights >> np.arange(self.columns) if self.narrow else weights)

    def thresholds(self) -> NDArray[np.int64]:
        """(rows,); the first is reached by the greatest sum only, the second by every sum, others by some."""
        if not self.signs:
            return np.zeros(self.rows, dtype=np.int64)
        kind = DataType[self.activations]
        ends = np.stack([self.weights() * int(kind.min()), self.weights() * int(kind.max())])
        low, high = ends.min(axis=0).sum(axis=1), ends.max(axis=0).sum(axis=1)
        thresholds = (low + high) // 2 + 1
        thresholds[0], thresholds[1] = high[0], low[1]
        return np.asarray(thresholds)


LAYERS = {
    "W1A1": Layer(1, "BIPOLAR", 4, 6),
    "W1A1 in groups of 18": Layer(1, "BIPOLAR", 3, 38),
    "W1A1 signs": Layer(1, "BIPOLAR", 3, 4, signs=True),
    "W1A3": Layer(1, "UINT3", 3, 10),
    "W1A8": Layer(1, "UINT8", 4, 4),
    "W1A3 signed": Layer(1, "INT3", 3, 9),
    "W1A2 signed, signs": Layer(1, "INT2", 3, 6, signs=True),
    "W1A2 signs": Layer(1, "UINT2", 3, 3, signs=True),
    "W4A1": Layer(4, "BIPOLAR", 4, 5),
    "W8A1": Layer(8, "BIPOLAR", 3, 8),
    "W2A1 signs": Layer(2, "BIPOLAR", 3, 4, signs=True),
    "W2A2": Layer(2, "UINT2", 4, 6),
    "W3A4 signed": Layer(3, "INT4", 3, 5),
    "W8A8": Layer(8, "UINT8", 3, 4),
    "W8A8 signed": Layer(8, "INT8", 3, 3),
    "W4A2 signs": Layer(4, "UINT2", 3, 4, signs=True),
    "W4A3 signed, narrow": Layer(4, "INT3", 4, 6, narrow=True),
}


def compiled(source: Path, layers: Iterable[str], folder: Path) -> Program:
    """Compile one bench with every folding of every one of `layers`."""
    folder.mkdir(parents=True)
    cases: list[dict[str, Any]] = []
    units: list[str] = []
    for layer in (LAYERS[name] for name in layers):
        for pe in divisors(layer.rows):
            for simd in divisors(layer.columns):
                units.append(write_unit(len(units), layer, pe, simd, folder, cases))
    return many_units.compiled("lut_mvu", [source.with_name(name) for name in SOURCES], units, cases, folder)


def write_unit(i: int, layer: Layer, pe: int, simd: int, folder: Path, cases: list[dict[str, Any]]) -> str:
    """Write the weights of unit `i`, append its case and return its instance."""
    from finn_build.ops.lut_mvau import needed_parameter, row_starts, weight_words

    weights, kind = layer.weights(), DataType[layer.activations]
    largest = layer.columns * int(np.abs(weights).max()) * max(abs(int(kind.min())), int(kind.max()))
    accu_bits = (2 if layer.signs else 1) + largest.bit_length()
    answer_bits = 1 if layer.signs else accu_bits
    starts = row_starts(weights, kind, pe=pe, simd=simd, bits=layer.weight_bits) - layer.thresholds()
    packed = sum((int(start) % 2**accu_bits) << (row * accu_bits) for row, start in enumerate(starts))
    words = weight_words(weights, pe=pe, simd=simd, bits=layer.weight_bits)
    (folder / f"weights_{i}.dat").write_text("\n".join(words) + "\n", encoding="ascii")
    cases.append(
        {
            "name": f"{layer}, PE {pe}, SIMD {simd}",
            "pe": pe,
            "simd": simd,
            "answer_bits": answer_bits,
            "activations": [int(kind.min()), int(kind.max()), kind.bitwidth()],
            "weights": weights.tolist(),
            "thresholds": layer.thresholds().tolist() if layer.signs else None,
        }
    )
    parameters = {
        "MW": layer.columns, "MH": layer.rows, "PE": pe, "SIMD": simd, "WEIGHT_BITS": layer.weight_bits,
        "ACT_BITS": kind.bitwidth(), "ACT_SIGNED": int(kind.signed()), "ACCU_BITS": accu_bits,
        "START": f"{layer.rows * accu_bits}'h{packed:x}", "SIGN": int(layer.signs),
        "WEIGHT_FILE": f'"./weights_{i}.dat"',
    }  # fmt: skip
    if layer.narrow:
        parameters["NEEDED"] = needed_parameter(weights, pe=pe, simd=simd)
    return instance(i, "lut_mvu", parameters, s_bits=simd * kind.bitwidth(), m_bits=pe * answer_bits)


@pytest.mark.slow
def test_every_folding(tmp_path: Path) -> None:
    assert compiled(SOURCE, LAYERS, tmp_path / "sim").failures() == 0
