"""The requantizer: a cocotb bench on every folding of small layers. test_mistakes.py shows what it finds.

The constants are any, not only those that thresholds have: addends far from every answer, factors of 0 and of all ones,
shifts below the width of a factor.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract.requantization import LARGEST_ADDEND, LARGEST_PRODUCT, MOST_LEVELS, OUT_BITS, largest_shift
from finn_build.ops import requantizer
from finn_build.ops.activation import STEP
from finn_build.ops.op import Folding
from finn_build.ops.own import memory_lines
from tests.rtl import many_units
from tests.rtl.many_units import divisors, instance
from tests.rtl.units_bench import LANE
from tests.rtl.verilator_env import RTL, Program

SOURCE = RTL / requantizer.SOURCE


@dataclass(frozen=True)
class Layer:
    """Random constants; the factor of the first channel is 0, of the second all ones."""

    channels: int
    acc_bits: int
    factor_bits: int
    shift: int
    levels: int
    addend_bits: int
    signed: bool = True

    def constants(self) -> tuple[list[int], list[int]]:
        """Answers of most channels change within reach."""
        rng = np.random.default_rng([self.channels, self.acc_bits, self.factor_bits])
        factors = rng.integers(1, 2**self.factor_bits, self.channels)
        factors[:2] = [0, 2**self.factor_bits - 1][: self.channels]
        middle = int(np.mean(self.reach()))
        ideal = (rng.integers(0, self.levels + 1, self.channels) << self.shift) - factors * middle
        most = 2 ** (self.addend_bits - 1)
        return factors.tolist(), ideal.clip(-most, most - 1).tolist()

    def reach(self) -> tuple[int, int]:
        half = 2 ** (self.acc_bits - 1)
        return (-half, half - 1) if self.signed else (0, 2 * half - 1)


LAYERS = {
    "small": Layer(4, 6, 4, 5, 3, 10),
    "no shift": Layer(2, 4, 4, 0, 255, 9),
    "point inside a factor": Layer(2, 5, 12, 6, 100, 16),
    "unsigned": Layer(3, 7, 4, 8, 7, 12, signed=False),
    "wide": Layer(6, 15, 20, 27, 255, 36),
    "three multipliers": Layer(2, 24, 37, 44, 255, 58),
    "one": Layer(1, 2, 4, 2, 1, 5),
    "an addend wider than all": Layer(2, 5, 8, 10, 15, 40),
}


def foldings(layer: Layer) -> list[Folding]:
    lanes = [pe for pe in divisors(layer.channels) if pe * layer.acc_bits <= LANE]
    units = [(True, digit) for digit in divisors(layer.factor_bits)] + [(False, layer.factor_bits)]
    return [Folding(pe, in_luts=in_luts, digit=digit) for pe in lanes for in_luts, digit in units]


def compiled(source: Path, layers: Iterable[str], folder: Path) -> Program:
    """Compile one bench with every folding of every one of `layers`."""
    folder.mkdir(parents=True)
    cases: list[dict[str, Any]] = []
    units = [
        unit(len(cases), name, LAYERS[name], folding, folder, cases)
        for name in layers
        for folding in foldings(LAYERS[name])
    ]
    return many_units.compiled("requantizer", [source], units, cases, folder)


def unit(i: int, name: str, layer: Layer, folding: Folding, folder: Path, cases: list[dict[str, Any]]) -> str:
    """Write the memories of unit `i`, append its case and return its instance."""
    factors, addends = layer.constants()
    pe, digit, out_bits = folding.pe, folding.digit, layer.levels.bit_length()
    words = requantizer.factor_words(factors, layer.factor_bits, folding)
    (folder / f"factors_{i}.dat").write_text(memory_lines(words, pe * digit), encoding="ascii")
    words = requantizer.lane_words(addends, layer.addend_bits, pe)
    (folder / f"addends_{i}.dat").write_text(memory_lines(words, pe * layer.addend_bits), encoding="ascii")
    cases.append(
        {
            "name": f"{name}, {folding}", "pe": pe, "acc_bits": layer.acc_bits, "out_bits": out_bits,
            "reach": layer.reach(), "factors": factors, "addends": addends, "shift": layer.shift,
            "levels": layer.levels, "steps": layer.factor_bits // digit,
        }
    )  # fmt: skip
    parameters = {
        "CHANNELS": layer.channels, "PE": pe, "ACC_BITS": layer.acc_bits, "ACC_SIGNED": int(layer.signed),
        "FACTOR_BITS": layer.factor_bits, "DIGIT": digit, "DSP": int(not folding.in_luts),
        "ADDEND_BITS": layer.addend_bits, "SHIFT": layer.shift, "OUT_BITS": out_bits, "LEVELS": layer.levels,
        "FACTOR_FILE": f'"./factors_{i}.dat"', "ADDEND_FILE": f'"./addends_{i}.dat"',
    }  # fmt: skip
    return instance(i, "requantizer", parameters, s_bits=pe * layer.acc_bits, m_bits=pe * out_bits)


def test_the_module_takes_whatever_a_network_may_hold() -> None:
    """What is legal in a file is no wider than the hardware that it becomes."""
    found = re.findall(r"requantizer: (\w+)=%0d is outside \d+\.\.(\d+)\"", SOURCE.read_text(encoding="utf-8"))
    most = {name: int(value) for name, value in found}
    assert (most["OUT_BITS"], MOST_LEVELS) == (OUT_BITS, 2**OUT_BITS - 1)
    assert most["SHIFT"] >= largest_shift(1) and most["ADDEND_BITS"] >= 1 + LARGEST_ADDEND.bit_length()
    assert most["FACTOR_BITS"] >= -(-LARGEST_PRODUCT.bit_length() // STEP) * STEP


@pytest.mark.slow
def test_every_folding(tmp_path: Path) -> None:
    assert compiled(SOURCE, LAYERS, tmp_path / "sim").failures() == 0
