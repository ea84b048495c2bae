"""Integers of 64 bits where numpy's own choice has fewer: on a PYNQ-Z2's processor, numpy's default integer has 32.

The kind: an array that numpy gives a type by itself (from a Python integer, `arange`, a sum of bits or bytes), or that
somebody gave the default type. There a sum wraps without a word, a file has another type in it than on the host, and
what one processor wrote the other one refuses. Each test needs more than 32 bits somewhere, or looks at the type that
comes out. On a processor of 64 bits they all pass by themselves; they are run on one of 32 bits (tests/board), and
`make board-check` takes back one `np.int64` of the code after the other there, as numpy's default integer and as
nothing said, and wants a test of this file to fail.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from contract.decision import Choice, Decision, Head, OneAgainstRest
from contract.errors import ArtifactError, ConfigError
from contract.golden import load_golden, load_labelled
from contract.likeness import Likeness, load_likeness
from contract.manifest import load_manifest
from contract.network import Dense, Input, IntegerNetwork, load_network, save_network
from contract.npz import save_npz
from contract.preprocess import area_average
from contract.requantization import Requantization
from driver.accelerator import Accelerator
from driver.explain import Windows, explain, occlude, windows_of
from driver.link import signed
from driver.reference import Reference
from driver.simulated.core import ReferenceCore
from driver.simulated.device import SimulatedDevice, with_shell
from driver.simulated.memory import byte_size
from driver.simulated.stand_in import StandIn
from tests.deploy_folder import write_deploy

FAR = 2**30  # fits 32 bits; a few of them do not
SIDE = 257  # so many pixels of 255 times weights of 127 need more than 32 bits


def wide(*values: int) -> NDArray[np.int64]:
    return np.array(values, dtype=np.int64)


def assert_same(got: NDArray[Any], want: NDArray[Any]) -> None:
    assert got.dtype == np.int64, got.dtype
    np.testing.assert_array_equal(got, want)


def test_ranges_of_accumulators() -> None:
    layer = Dense(np.array([[127, -128, 5], [0, -1, 3]], dtype=np.int8), None)
    least, greatest = layer.accumulator_range(-FAR, FAR)
    assert_same(least, wide(-260 * FAR, -4 * FAR))
    assert_same(greatest, wide(260 * FAR, 4 * FAR))
    assert layer.partial_sum_bound(-FAR, FAR) == 260 * FAR


def test_a_network_file_is_read_on_any_processor(tmp_path: Path) -> None:
    thresholds = np.array([[-(2**62), -(2**33) - 1, 5, 2**33, 2**62], [0, 1, 2, 2**32, 2**32 + 1]], dtype=np.int64)
    first = Dense(np.ones((2, 6), dtype=np.int8), thresholds)
    save_network(tmp_path / "n.npz", IntegerNetwork(Input(2, 3), (first, Dense(np.ones((1, 2), dtype=np.int8), None))))
    with np.load(tmp_path / "n.npz") as arrays:
        assert arrays["input"].dtype == np.int64
    loaded = load_network(tmp_path / "n.npz")
    assert loaded.dense[0].thresholds is not None
    assert_same(loaded.dense[0].thresholds, thresholds)


@pytest.mark.parametrize("levels", [1, 3, 40])
def test_accumulators_and_logits_beyond_32_bits(levels: int) -> None:
    """A white image reaches SIDE * SIDE * 255 * 127, more than 2**31, with thresholds on it and beside it."""
    white = SIDE * SIDE * 255 * 127
    weights = np.array([[127], [-127]], dtype=np.int8).repeat(SIDE * SIDE, axis=1)
    thresholds = np.stack([wide(white - 10, *range(white, white + levels - 1)), wide(*range(-white, -white + levels))])
    first = Dense(weights, thresholds)
    network = IntegerNetwork(Input(SIDE, SIDE), (first, Dense(np.array([[100, 1]], dtype=np.int8), None)))
    pixels = np.full((2, SIDE, SIDE), 255, dtype=np.uint8)
    pixels[1, 3, 4] = 254
    hidden, logits = network.outputs(pixels)
    # The last channel's darker image lies 127 above the white one's accumulator, beyond all of its thresholds.
    assert_same(hidden, np.array([[min(levels, 2), 1], [0, levels]]))
    assert_same(Reference(network).outputs(pixels), logits)
    head = IntegerNetwork(Input(SIDE, SIDE), (Dense(weights[:1], None),))
    assert_same(head.outputs(pixels)[0], wide(white, white - 127)[:, None])
    assert_same(Reference(head).outputs(pixels), wide(white, white - 127)[:, None])
    signs = Dense(weights, thresholds[:, :1], bipolar=True)
    bipolar = IntegerNetwork(Input(SIDE, SIDE), (signs, network.dense[1]))
    assert_same(bipolar.outputs(pixels)[0], np.array([[1, 1], [-1, 1]]))


@pytest.mark.parametrize(("factor", "shift"), [(2**20 + 1, 32), (2**28 + 1, 40)])
def test_a_layer_that_multiplies_beyond_32_bits(factor: int, shift: int, tmp_path: Path) -> None:
    """The first one's products are below 2**53, the second one's are not. Files are the same on every processor."""
    weights = np.array([[-128], [-127]], dtype=np.int8).repeat(SIDE * SIDE, axis=1)
    white = [-128 * 255 * SIDE**2, -127 * 255 * SIDE**2]
    assert white[0] < -(2**31)
    # Of a white image the sums are one unit short of the next level.
    addends = [(level << shift) - factor * acc - 1 for level, acc in zip((2, 3), white, strict=True)]
    first = Dense(weights, None).requantized(Requantization(wide(factor, factor), wide(*addends), shift, 3), 0, 255)
    assert first.thresholds is not None
    lines = zip(addends, white, strict=True)
    wanted = [[min(max(-((b - (n << shift)) // factor), acc), 1) for n in (1, 2, 3)] for b, acc in lines]
    assert_same(first.thresholds, np.array(wanted, dtype=np.int64))
    network = IntegerNetwork(Input(SIDE, SIDE), (first, Dense(np.array([[100, 1]], dtype=np.int8), None)))
    save_network(tmp_path / "n.npz", network)
    with np.load(tmp_path / "n.npz") as arrays:
        for name in ("factor_0", "addend_0", "shift_0", "clip_0"):
            assert arrays[name].dtype == np.int64
    loaded = load_network(tmp_path / "n.npz")
    pixels = np.full((2, SIDE, SIDE), 255, dtype=np.uint8)
    pixels[1, 3, 4] = 254
    hidden, logits = loaded.outputs(pixels)
    assert_same(hidden, np.array([[1, 2], [2, 3]]))
    assert_same(Reference(loaded).outputs(pixels), logits)


def test_one_row_of_thresholds_beyond_32_bits() -> None:
    """The first channel's sums are all 0: it takes any threshold below, and any above, that the second one has."""
    layer = Dense(np.array([[0], [8]], dtype=np.int8), np.array([[0, 1], [-(2**32), 2**32]], dtype=np.int64))
    row = layer.one_row(-FAR, FAR)
    assert row is not None
    assert_same(row, wide(-(2**32), 2**32)[None])


@pytest.mark.parametrize("shape", [(320_000, 29), (29, 320_000)], ids=str)
def test_areas_of_many_pixels(shape: tuple[int, int]) -> None:
    """An area of a white image sums to 255 times its pixels, in units of a 28th: far more than 2**31."""
    size = {"height": 28, "width": 1} if shape[0] < shape[1] else {"height": 1, "width": 28}
    pixels = np.full(shape, 255, dtype=np.uint8)
    np.testing.assert_array_equal(area_average(pixels, **size), np.full((size["height"], size["width"]), 255))
    pixels[shape[0] // 2 :, shape[1] // 2 :] = 1
    assert area_average(pixels, **size).ravel()[[0, -1]].tolist() == [255, 128]


def test_an_area_of_more_pixels_than_32_bits_sum() -> None:
    """A sum of bytes is unsigned where nothing else is asked for, and wraps later: at 2**32."""
    assert area_average(np.full((17_000_000, 1), 255, dtype=np.uint8), height=1, width=1) == 255


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_results_as_bytes(size: int) -> None:
    top = 1 << (8 * size - 1)
    values = [0, 1, -1, top - 1, -top, -top + 1, top // 3]
    raw = np.frombuffer(b"".join(v.to_bytes(size, "little", signed=True) for v in values), np.uint8)
    assert_same(signed(raw.reshape(-1, size)), wide(*values))


@pytest.mark.parametrize("shell", ["axi_dma", "finn_iodma"])
def test_answers_of_a_device(shell: str, tmp_path: Path) -> None:
    write_deploy(tmp_path)
    hardware = load_manifest(tmp_path / "accelerator.json").hardware
    assert hardware is not None
    hardware = with_shell(hardware, shell)
    decision = Decision(scale=1.0, offset=0.0, threshold=-2, rule="a test")
    network = write_deploy(tmp_path, hardware=hardware, decision=decision)
    device = SimulatedDevice(hardware, ReferenceCore(Reference(network).outputs, hardware.input))
    pixels = np.random.default_rng(1).integers(0, 256, (9, 28, 28), dtype=np.uint8)
    with Accelerator(tmp_path, "board", runtime=StandIn(device)) as accelerator:
        found = accelerator.infer(pixels)
        assert_same(found.logits, network.outputs(pixels)[-1][:, 0])
        assert_same(found.index, wide(*range(9)))
        assert_same(found.classes, wide(*(found.logits > -2).tolist()))
        none = accelerator.infer([])
        for values in (none.index, none.logits, none.classes):
            assert_same(values, wide())


@pytest.mark.parametrize(("outputs", "classes"), [([[3], [-3]], [1, 0]), ([[1, 2, 2], [5, -5, 0]], [1, 0])])
def test_classes_of_an_imported_network(outputs: list[list[int]], classes: list[int]) -> None:
    assert_same(Head().classes(np.array(outputs, dtype=np.int64)), wide(*classes))


def test_levels_of_classes() -> None:
    """A level has up to 62 bits, and so has a margin."""
    margins = {"more": (1, -(2**61)), "fewer": (0, 2**59), "none": (0, 2**61), "none of 1": (1, 2**61)}
    points = {name: OneAgainstRest(*point) for name, point in margins.items()}
    choice = Choice([2**29, 1], [2**59, -5], 0, "a test", points)
    outputs = np.array([[2**31 - 1, 3], [-(2**31), 2**31 - 1]], dtype=np.int64)
    assert_same(choice.levels(outputs), np.array([[2**60 + 2**59 - 2**29, -2], [-(2**59), 2**31 - 6]]))
    assert_same(choice.levels(outputs.astype(np.int32)), choice.levels(outputs))
    assert_same(choice.classes(outputs), wide(0, 1))
    for point, classes in (("more", [1, 1]), ("fewer", [0, 1]), ("none", [1, 1]), ("none of 1", [0, 0])):
        assert_same(choice.classes(outputs, point), wide(*classes))
    with pytest.raises(ConfigError, match="outside 32 bits"):
        choice.levels(outputs + 2**32)


def test_a_map_beyond_32_bits(tmp_path: Path) -> None:
    """On the CPU a logit may need more than 32 bits, and so may what all windows over a pixel take away."""
    weights = np.full((400, 400), 127, dtype=np.int8)
    weights[:, 200:] = -127
    write_deploy(tmp_path, IntegerNetwork(Input(400, 400), (Dense(weights.reshape(1, -1), None),)), hardware=None)
    pixels = np.zeros((400, 400), dtype=np.uint8)
    pixels[:, :200] = 255
    with Accelerator(tmp_path, "cpu") as accelerator:
        found = explain(accelerator, pixels, fill="mirror")
    assert found.logit == 80_000 * 255 * 127 > 2**31
    assert_same(found.sums, found.windows.cover(found.differences)[0])
    assert found.differences.dtype == np.int64 and found.sums.max() > 2**31
    for logit in (found.logit, 3):  # numpy's own choice for a large integer has 64 bits everywhere
        several = replace(found, logit=logit, outputs=wide(logit, 1))
        for name, array in several.arrays().items():
            assert array.dtype == np.int64, name  # the file is the same on every processor


def test_how_unlike_the_training_images_a_large_one_is(tmp_path: Path) -> None:
    mean, components = np.zeros((SIDE, SIDE), dtype=np.uint8), np.full((1, SIDE, SIDE), 16, dtype=np.int16)
    likeness = Likeness(mean, components, wide(2**20), wide(1, 1, 2**40))
    along, length = 16 * 255 * SIDE**2, 255**2 * SIDE**2
    white = np.full((2, SIDE, SIDE), 255, dtype=np.uint8)
    assert likeness.measures(white) == [(along**2 >> 24, length - (along**2 >> 24) - 1)] * 2 and length > 2**31
    likeness.save(tmp_path / "likeness.npz")
    loaded = load_likeness(tmp_path / "likeness.npz", height=SIDE, width=SIDE)
    assert loaded.measures(white) == likeness.measures(white)
    components[0, 0, :4] = -(2**15)  # their squares are 2**32 together
    components[0, 0, 4:], components[0, 1:] = 0, 0
    replace(likeness, components=components).save(tmp_path / "likeness.npz")
    with pytest.raises(ArtifactError, match="too large"):
        load_likeness(tmp_path / "likeness.npz", height=SIDE, width=SIDE)


def test_golden_vectors_of_a_host(tmp_path: Path) -> None:
    """What a host wrote is read on a board, though its integers are not the board's own kind."""
    logits, pixels = wide(-(2**31), 2**31 - 1), np.zeros((2, 3, 3), dtype=np.uint8)
    arrays = {"pixels": pixels, "outputs": logits[:, None], "labels": wide(0, 1), "probability": np.array([0.0, 1.0])}
    save_npz(tmp_path / "golden.npz", arrays)  # type: ignore[arg-type]
    assert_same(load_golden(tmp_path / "golden.npz").logits, logits)
    assert_same(load_labelled(tmp_path / "golden.npz").labels, wide(0, 1))


def test_windows_and_what_fills_them() -> None:
    windows = windows_of(28, 28)
    sums, counts = windows.cover(np.full((8, 8), FAR, dtype=np.int64))
    assert_same(sums, counts * FAR)
    for values in (windows.rows, windows.columns, counts):
        assert values.dtype == np.int64
    white = np.full((4200, 4200), 255, dtype=np.uint8)  # their sum has 33 bits, and no power of 2 hides it
    one = Windows(4200, 4200, 1, wide(0), wide(0))
    assert (occlude(white, one, fill="mean") == 255).all()


def test_sizes_of_buffers() -> None:
    assert byte_size((65536, 65536), np.uint8) == 2**32
    assert byte_size((2**20, 2**12, 3), "u4") == 3 * 2**34
    assert byte_size(7, "<i4") == 28
