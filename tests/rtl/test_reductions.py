"""What makes one beat of several, depthwise units, max pools and global sums: a cocotb bench on every folding.

Our windows are on it, too: what they are told to be is in pixel_window.py.

test_mistakes.py shows what it finds; test_finn_units.py has more widths, and the handshakes in every cycle.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from qonnx.core.datatype import DataType

from contract.network import Window
from finn_build.ops import depthwise, global_sum, max_pool, pixel_window
from finn_build.ops.lut_mvau import needed_parameter
from finn_build.ops.own import memory_lines
from finn_build.ops.pixel_window import Steps
from finn_build.timing import Chain
from tests.rtl import many_units
from tests.rtl.many_units import divisors, instance
from tests.rtl.units_bench import LANE, pack
from tests.rtl.verilator_env import RTL, Program

SOURCES = tuple(dict.fromkeys((*depthwise.SOURCES, max_pool.SOURCE, global_sum.SOURCE, pixel_window.SOURCE)))
IMAGES = 5


@dataclass(frozen=True)
class Layer:
    """One layer. An image has `places` windows of depthwise units and pools, or so many places of a sum."""

    module: str
    channels: int
    activations: str
    places: int
    taps: int = 1  # places of a window
    weight_bits: int = 0
    signs: bool = False  # thresholds in START, answers of one bit
    dsp: bool = False
    narrow: bool = False  # weights of most channels need fewer bits than there are

    @property
    def kind(self) -> Any:
        return DataType[self.activations]

    def images(self) -> NDArray[np.int64]:
        """(IMAGES, places, taps, channels): all the least, all the greatest, then random."""
        low, high = int(self.kind.min()), int(self.kind.max())
        levels = [-1, 1] if self.activations == "BIPOLAR" else range(low, high + 1)
        images = np.random.default_rng(1).choice(levels, (IMAGES, self.places, self.taps, self.channels))
        images[:2] = np.array([low, high])[:, None, None, None]
        return images

    def weights(self) -> NDArray[np.int64]:
        """(channels, taps): all of the first channel are the greatest, all of the second the least."""
        kind = DataType["BIPOLAR" if self.weight_bits == 1 else f"INT{self.weight_bits}"]
        low, high = int(kind.min()), int(kind.max())
        levels = [-1, 1] if self.weight_bits == 1 else range(low, high + 1)
        weights = np.random.default_rng(0).choice(levels, (self.channels, self.taps))
        weights[:2] = np.array([high, low])[: self.channels, None]
        return np.asarray(weights >> np.arange(self.channels)[:, None] if self.narrow else weights)

    def thresholds(self) -> NDArray[np.int64]:
        """(channels,); the first is reached by the greatest sum only, the second by every sum, others by some."""
        if not self.signs:
            return np.zeros(self.channels, dtype=np.int64)
        ends = np.stack([self.weights() * int(self.kind.min()), self.weights() * int(self.kind.max())])
        low, high = ends.min(axis=0).sum(axis=1), ends.max(axis=0).sum(axis=1)
        thresholds = (low + high) // 2 + 1
        thresholds[:2] = [high[0], low[1]]
        return np.asarray(thresholds)

    def answers(self) -> NDArray[np.int64]:
        """(IMAGES, places or 1, channels)."""
        images = self.images()
        if self.module == "max_pool":
            return np.asarray(images.max(axis=2))
        if self.module == "global_sum":
            return np.asarray(images.sum(axis=(1, 2))[:, None])
        sums = np.einsum("nptc,ct->npc", images, self.weights())
        return np.asarray((sums >= self.thresholds()).astype(np.int64) if self.signs else sums)

    def answer_bits(self) -> int:
        if self.module == "max_pool":
            return int(self.kind.bitwidth())
        return 1 if self.signs else 1 + int(np.abs(self.answers()).max()).bit_length()


LAYERS = {
    "pool": Layer("max_pool", 4, "UINT4", 2, 4),
    "pool, signed": Layer("max_pool", 2, "INT3", 1, 9),
    "pool, bipolar": Layer("max_pool", 3, "BIPOLAR", 2, 4),
    "pool of one place": Layer("max_pool", 2, "UINT2", 2, 1),
    "sum": Layer("global_sum", 6, "UINT4", 3),
    "sum, signed": Layer("global_sum", 4, "INT3", 4),
    "sum, bipolar": Layer("global_sum", 2, "BIPOLAR", 8),
    "W1A1 signs": Layer("depthwise", 2, "BIPOLAR", 2, 4, 1, signs=True),
    "W4A4 narrow": Layer("depthwise", 4, "UINT4", 1, 4, 4, narrow=True),
    "W2A2 of one place": Layer("depthwise", 2, "UINT2", 2, 1, 2),
    "W4A4 on DSPs": Layer("depthwise", 2, "UINT4", 1, 9, 4, dsp=True),
    "W8A8 signed on DSPs, signs": Layer("depthwise", 2, "INT8", 2, 4, 8, signs=True, dsp=True),
}

WINDOWS = [  # the bits of a pixel, and what makes windows of how many
    (2, Steps((5, 8, 1), Window((3, 3), (2, 2)), 4)), (4, Steps((4, 6, 1), Window((2, 3), (1, 3)), 2)),
    (3, Steps((4, 16, 1), Window((1, 7), (3, 2)), 8)), (8, Steps((6, 4, 1), Window((3, 1), (3, 4)), 2)),
]  # fmt: skip


def compiled(folder: Path, layers: Iterable[str], sources: Path = RTL) -> Program:
    """Compile one bench with every folding of every one of `layers`; `sources` is the folder of our RTL."""
    folder.mkdir(parents=True)
    cases: list[dict[str, Any]] = []
    units = [
        unit(len(cases), name, pe, folder, cases)
        for name in layers
        for pe in divisors(LAYERS[name].channels)
        if pe * max(LAYERS[name].kind.bitwidth(), LAYERS[name].answer_bits()) <= LANE - 8
    ]
    units += [windows(len(cases), steps, bits, cases) for bits, steps in WINDOWS]
    return many_units.compiled("reduction", [sources / name for name in SOURCES], units, cases, folder)


def words(values: NDArray[np.int64], pe: int, bits: int) -> list[list[int]]:
    """Return the beats of each image, (N, ..., channels): all that stands before the channels for PE of these first."""
    n, *_, channels = values.shape
    coded = values > 0 if bits == 1 else values
    beats = coded.reshape(n, -1, channels // pe, pe)
    return [[pack([int(v) for v in beat], bits) for place in image for beat in place] for image in beats]


def unit(i: int, name: str, pe: int, folder: Path, cases: list[dict[str, Any]]) -> str:
    """Write the memories of unit `i`, append its case and return its instance."""
    layer, bits, folds = LAYERS[name], LAYERS[name].kind.bitwidth(), LAYERS[name].channels // pe
    images = layer.images()
    if layer.module != "global_sum":  # all places of a window for the first channels, then for the next
        images = images.reshape(IMAGES, layer.places, layer.taps, folds, pe).transpose(0, 1, 3, 2, 4)
        images = images.reshape(IMAGES, layer.places * folds, layer.taps, pe)
    sent, answered = words(images, pe, bits), words(layer.answers(), pe, layer.answer_bits())
    last = range(len(sent[0]))[-folds:]
    ends = last if layer.module == "global_sum" else range(layer.taps - 1, len(sent[0]), layer.taps)
    times = [len(sent[0]) * image + end for image in range(4) for end in ends]  # the beat behind which each comes
    cases.append({"name": f"{name}, PE {pe}", "images": sent, "answers": answered, "times": times})
    signed = int(layer.kind.signed())
    parameters: dict[str, object] = {"PE": pe}
    if layer.module == "max_pool":
        parameters |= {"WINDOW": layer.taps, "BITS": bits, "SIGNED": signed}
    elif layer.module == "global_sum":
        parameters |= {"PLACES": layer.places, "CHANNELS": layer.channels, "BITS": bits, "SIGNED": signed}
        parameters["SUM_BITS"] = layer.answer_bits()
    else:
        parameters |= depthwise_parameters(i, layer, pe, folder)
    return instance(i, layer.module, parameters, s_bits=pe * bits, m_bits=pe * layer.answer_bits())


def windows(i: int, steps: Steps, bits: int, cases: list[dict[str, Any]]) -> str:
    """Append the case of unit `i`, our windows of pixels of so many bits, and return its instance."""
    images = np.random.default_rng(1).integers(0, 2**bits, (IMAGES, *steps.image))
    images[:2] = np.array([0, 2**bits - 1])[:, None, None, None]
    answers = np.concatenate([view for _, _, view in steps.window.seen(images, steps.image)], axis=3)
    chain = Chain([pixel_window.Windows(steps)])
    times: list[int] = []
    while len(times) < 4 * answers[0, ..., 0].size:
        before = chain.left
        chain.advance()
        times += [chain.cycle] * (chain.left - before)
    sent = words(images.reshape(IMAGES, -1, steps.pixels), steps.pixels, bits)
    answered = [[pack(window.tolist(), bits) for window in image.reshape(-1, image.shape[-1])] for image in answers]
    cases.append({"name": f"windows of {steps}", "images": sent, "answers": answered, "times": times})
    s_bits, m_bits = steps.pixels * bits, answers.shape[-1] * bits
    return instance(i, "pixel_window", pixel_window.parameters(steps, bits), s_bits=s_bits, m_bits=m_bits)


def depthwise_parameters(i: int, layer: Layer, pe: int, folder: Path) -> dict[str, object]:
    """Write the weights of unit `i` and return its parameters but for PE."""
    weights, bits = layer.weights(), layer.weight_bits
    largest = layer.taps * int(np.abs(weights).max()) * max(abs(int(layer.kind.min())), int(layer.kind.max()))
    accu_bits = (2 if layer.signs else 1) + largest.bit_length() if layer.signs else layer.answer_bits()
    starts = depthwise.starts(weights, layer.kind, pe=pe, bits=bits, dsp=layer.dsp) - layer.thresholds()
    packed = pack(starts.tolist(), accu_bits)
    for lane, lines in enumerate(depthwise.lane_weights(weights, pe=pe, bits=bits)):
        (folder / f"weights_{i}_{lane:04}.dat").write_text(memory_lines(lines, bits), encoding="ascii")
    parameters: dict[str, object] = {
        "CHANNELS": layer.channels, "TAPS": layer.taps, "WEIGHT_BITS": bits, "ACT_BITS": layer.kind.bitwidth(),
        "ACT_SIGNED": int(layer.kind.signed() and layer.kind.bitwidth() > 1), "ACCU_BITS": accu_bits,
        "START": f"{layer.channels * accu_bits}'h{packed:x}", "SIGN": int(layer.signs), "DSP": int(layer.dsp),
        "WEIGHT_FILE": f'"./weights_{i}"',
    }  # fmt: skip
    if bits > 1 and not layer.dsp and layer.kind.bitwidth() > 1:
        parameters["NEEDED"] = needed_parameter(weights, pe=pe, simd=1)
    return parameters


@pytest.mark.slow
def test_every_folding(tmp_path: Path) -> None:
    assert compiled(tmp_path / "sim", LAYERS).failures() == 0
