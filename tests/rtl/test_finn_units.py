"""FINN's units under back-pressure: nothing is lost, whatever the folding and the stalls, FINN's assertions on.

The kind of fault: a queue or a credit behind a pipeline that is too small in a corner of the legal foldings, most of
all where every beat ends something (SIMD = MW, PE = MH, one channel, one bit). Every unit that a build uses is here, in
each of its forms: the matrix-vector unit with its memory of weights, thresholds, width converters (general, to one bit,
from one bit) and FIFOs in registers, LUTs and block RAM, whose memory may be of two parts. timing.py's model of each
must agree with it in every cycle.
"""

from pathlib import Path

import pytest

from finn_build import portable_rtl
from finn_build.portable_rtl import QUEUE
from tests.rtl.finn_units import (
    Unit,
    converter,
    depthwise,
    divisors,
    fifo,
    foldings,
    global_sum,
    matrix_vector,
    max_pool,
    pixel_window,
    requantizer,
    run,
    thresholding,
)

# One beat per vector, so that a result may come in every cycle; test_finn_queue.py has the proof.
ONE_BEAT = [
    matrix_vector(simd, 2, pe, simd, weight_bits=2 + simd % 7, activations=f"{'U' * (simd % 2)}INT{2 + simd % 5}")
    for simd in (1, 2, 3, 4, 5, 9, 17)
    for pe in (1, 2)
] + [matrix_vector(1, 1, 1, 1)]
FOLDINGS = [
    matrix_vector(mw, mh, pe, simd, weight_bits=bits, activations=activations, style=style)
    for mw, mh, bits, activations, style in ((6, 4, 4, "UINT4", "block"), (4, 3, 8, "UINT8", "distributed"))
    for pe, simd in foldings(mw, mh)
]
THRESHOLDS = [thresholding(6, pe, 3) for pe in divisors(6)] + [
    thresholding(1, 1, 1), thresholding(2, 1, 1), thresholding(3, 3, 1), thresholding(2, 2, 3), thresholding(4, 1, 7),
    thresholding(4, 2, 15, accu="INT6"), thresholding(2, 1, 255, accu="INT17"), thresholding(3, 1, 7, accu="UINT9"),
]  # fmt: skip
REQUANTIZERS = [requantizer(6, pe, digit) for pe in (1, 6) for digit in (1, 2, 8)] + [
    requantizer(4, 2, 8, "dsp"), requantizer(3, 3, 8, "dsp", accu="UINT9"), requantizer(1, 1, 8, accu="UINT9"),
]  # fmt: skip
REDUCTIONS = [
    max_pool(4, 2, 4, "UINT4"), max_pool(2, 2, 1, "INT3"), max_pool(3, 1, 9, "BIPOLAR"),
    global_sum(4, 1, 5, "UINT4"), global_sum(4, 4, 2, "INT3"), global_sum(2, 1, 1, "UINT2"),
    global_sum(6, 2, 4, "BIPOLAR"), depthwise(4, 2, 9, 4, "UINT4"), depthwise(4, 1, 4, 4, "UINT4", "dsp"),
    depthwise(2, 2, 1, 1, "BIPOLAR"), depthwise(3, 3, 4, 2, "BIPOLAR"), depthwise(2, 1, 2, 1, "UINT3"),
    depthwise(2, 2, 1, 8, "UINT8", "dsp"), depthwise(2, 1, 1, 3, "INT2"),
]  # fmt: skip
WINDOWS = [
    pixel_window((9, 12), (5, 5), (2, 2), 4), pixel_window((9, 12), (5, 5), (2, 2), 2),
    pixel_window((8, 16), (3, 3), (1, 1), 8, "UINT2"), pixel_window((7, 12), (2, 2), (5, 3), 4, "UINT3"),
    pixel_window((13, 8), (3, 8), (1, 6), 4, "INT3"), pixel_window((3, 8), (1, 5), (2, 6), 4, "BIPOLAR"),
    pixel_window((4, 8), (1, 1), (2, 2), 2, "UINT4"), pixel_window((3, 2), (3, 1), (1, 1), 2),
    pixel_window((1, 16), (1, 3), (1, 8), 8, "UINT4"), pixel_window((6, 8), (6, 8), (1, 1), 8, "BIPOLAR"),
    pixel_window((5, 16), (3, 2), (2, 12), 8), pixel_window((6, 16), (2, 7), (3, 2), 8, "INT4"),
]  # fmt: skip
CONVERTERS = [converter(12, bits, a, b) for bits in (1, 3) for a in divisors(12) for b in divisors(12) if a != b]
CONVERTERS += [converter(36, 2, 9, 4), converter(60, 1, 10, 6)]
FIFOS = [
    fifo(depth, bits, style)
    for depth, bits, style in (
        (2, 8, "auto"), (5, 8, "auto"), (6, 1, "auto"), (33, 3, "auto"), (34, 11, "auto"), (34, 12, "auto"),
        (65, 4, "auto"), (256, 16, "auto"), (257, 9, "auto"), (258, 8, "block"), (300, 1, "block"), (513, 8, "block"),
        (514, 8, "block"), (515, 3, "block"), (520, 8, "block"), (700, 17, "block"), (960, 8, "block"),
        (1025, 8, "block"), (1026, 8, "block"), (1100, 12, "block"),
    )
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("units", "deepest"),
    [
        (ONE_BEAT, 12),
        (FOLDINGS, 12),
        (THRESHOLDS, 20),
        (REQUANTIZERS, 12),
        (REDUCTIONS, 12),
        (WINDOWS, 12),
        (CONVERTERS, 8),
        (FIFOS, 40),
    ],
    ids=[
        "one beat per vector",
        "matrix-vector",
        "thresholds",
        "requantizers",
        "reductions",
        "windows",
        "converters",
        "FIFOs",
    ],
)
def test_nothing_is_lost(units: list[Unit], deepest: int, tmp_path: Path) -> None:
    assert run(units, tmp_path / "bench", deepest=deepest, cycles=20_000 if deepest < 40 else 200_000) == ""


@pytest.mark.parametrize("places", [0, 1])
def test_the_queue_of_finn_overflows(places: int, tmp_path: Path) -> None:
    """As FINN has it, and with one place more, which is enough for a SIMD that is a power of two only."""

    def edited(file: str, text: str) -> str:
        text = portable_rtl.portable(file, text)
        if file != QUEUE.file:
            return text
        assert text.count(QUEUE.new) == 1
        return text.replace(QUEUE.new, QUEUE.old.replace(";", f" + {places};"))

    units = [matrix_vector(4, 1, 1, 4), matrix_vector(3, 1, 1, 3)][places:]
    assert "Overflowing output queue" in run(units, tmp_path / "bench", edit=edited, cycles=100)
