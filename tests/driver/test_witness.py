"""The two known images at the end of a transfer: what they are chosen for, on networks of every kind.

And the poison under the results: that no mix of both passes for a result, whatever range a network has in 1 to 4 bytes.
"""

import contextlib
import itertools
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from contract.errors import ArtifactError, DeviceError
from contract.manifest import Stream
from contract.network import Dense, Input, IntegerNetwork, save_network
from contract.npz import save_npz
from driver.link import TwiceLink, signed
from driver.reference import Reference
from driver.simulated.faults import Faults
from driver.witness import EXTRA, Witness, _poisons, find_witness
from tests.driver.boards import SIDE, Bench, write_folder, write_manifest
from tests.randomness import generator

RNG = generator(3)
POISONS = b"ZZZZ", b"\xa5\xa5\xa5\xa5"
UNWRITTEN = 0x5A5A_5A5A


def random_network(bits: int, *, side: int = 28, hidden: int = 64, outputs: int = 1) -> IntegerNetwork:
    """Weights and activations of `bits`, thresholds where noise falls on both sides of them."""
    top = 2 ** (bits - 1)
    draw: Callable[[tuple[int, int]], NDArray[np.int64]] = (
        (lambda shape: 2 * RNG.integers(0, 2, shape) - 1)
        if bits == 1
        else (lambda shape: RNG.integers(-top, top, shape))
    )
    weights = draw((hidden, side * side))
    noise = RNG.integers(0, 256, (64, side * side)) @ weights.T
    thresholds = np.sort(np.quantile(noise, np.linspace(0.1, 0.9, 2**bits - 1), axis=0).T.astype(np.int64), axis=1)
    last = Dense(draw((outputs, hidden)).astype(np.int8), None)
    return IntegerNetwork(Input(side, side), (Dense(weights.astype(np.int8), thresholds, bits == 1), last))


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("lanes", [1, 8, 49, 784])
@pytest.mark.parametrize("bits", [1, 2, 8])
def test_every_cut_and_every_shift_shows(bits: int, lanes: int, outputs: int) -> None:
    reference = Reference(random_network(bits, outputs=outputs))
    black = np.zeros((3, 28, 28), np.uint8)
    witness = find_witness(reference, black, lanes=lanes, result_bytes=4)
    stream = witness.packed
    assert reference.outputs(stream.reshape(2, 28, 28)).tolist() == witness.outputs.tolist()
    results = witness.outputs.ravel()
    for extra in range(1, outputs + 1):  # results too many
        assert (results[outputs - extra : 2 * outputs - extra] != results[outputs:]).any()
    assert witness.unseen_cuts == 0 or (bits, lanes, outputs) == (1, 1, 1)
    if not witness.unseen_cuts and lanes > 1:  # then all of them were tried
        for cut in range(lanes, 784, lanes):
            assert (reference.outputs(stream[cut : cut + 784][None])[0] != witness.outputs[1]).any()


def test_a_network_that_says_the_same_of_everything_has_a_witness_too() -> None:
    reference = Reference(IntegerNetwork(Input(4, 4), (Dense(np.zeros((1, 16), np.int8), None),)))
    witness = find_witness(reference, np.zeros((0, 4, 4), np.uint8), lanes=16, result_bytes=1)
    assert (witness.low.tolist(), witness.high.tolist(), witness.outputs.tolist()) == ([0], [0], [[0], [0]])
    assert witness.require(np.zeros((5, 1), np.int64)).tolist() == [[0], [0], [0]]


@settings(max_examples=60, deadline=None)
@given(size=st.integers(1, 4), ends=st.tuples(st.integers(-(2**31), 2**31 - 1), st.integers(-(2**31), 2**31 - 1)))
@example(size=2, ends=(-21600, 24000))  # high + 1 as poison, under a real low byte, would be a possible result
@example(size=1, ends=(-128, 127))
@example(size=4, ends=(-9000, 9000))
def test_no_mix_of_poison_and_a_result_passes_for_another_result(size: int, ends: tuple[int, int]) -> None:
    """Of any bytes: what is possible, not the result itself and not in doubt, does not exist."""
    low, high = sorted(end >> (8 * (4 - size)) for end in ends)
    poisons = _poisons(low, high, size)
    assert all(first != second for first, second in zip(*poisons, strict=True))
    witness = Witness(np.zeros(2, np.uint8), np.zeros((2, 1), np.int64), np.array([low]), np.array([high]), poisons)
    results = np.unique([low, high, *RNG.integers(low, high, 50, endpoint=True)])
    real = np.array([list(int(v).to_bytes(size, "little", signed=True)) for v in results], dtype=np.uint8)
    for kept in itertools.product((False, True), repeat=size):
        torn = signed(np.where(kept, real, np.frombuffer(poisons[0], np.uint8)))
        believed = (torn >= low) & (torn <= high) & ~witness.doubtful(torn[:, None])[:, 0]
        np.testing.assert_array_equal(torn[believed], results[believed])
    assert (witness.doubtful(results[:, None])).mean() < 0.2 or size == 1 or high - low < 256


@pytest.mark.parametrize("shell", ["axi_dma", "finn_iodma"])
@pytest.mark.parametrize(("size", "weights"), [(2, (3, -2)), (3, (100, 100)), (4, (7, -7))])
def test_a_result_of_which_some_bytes_were_not_written(
    tmp_path: Path, shell: str, size: int, weights: tuple[int, int]
) -> None:
    row = np.repeat(np.array(weights, np.int8), SIDE * SIDE // 2)
    network = IntegerNetwork(Input(SIDE, SIDE), (Dense(row[None], None),))
    pixels = RNG.integers(0, 256, (4096, SIDE, SIDE), dtype=np.uint8)  # so many that one of 256 looks like poison
    save_network(tmp_path / "reference.npz", network)
    save_npz(tmp_path / "golden.npz", {"pixels": pixels[:9], "outputs": network.outputs(pixels[:9])[-1]})
    write_manifest(tmp_path)
    board = Bench(tmp_path, shell, output=Stream([1], "int32", [1, 1], size, 8 * size))
    with board.open(timeout_s=1.0) as accelerator:
        accelerator.prepare()
        outputs = board.reference.outputs(pixels)
        doubtful = accelerator.link._witness.doubtful(outputs)[:, 0]  # type: ignore[attr-defined]
        assert doubtful.any()
        alike = pixels[np.argmax(doubtful)]
        some = np.stack((alike, *pixels[:600]))
        np.testing.assert_array_equal(accelerator.infer(some).logits, board.reference(some))
        for kept in range(2**size - 1):
            accelerator.prepare()
            board.device.faults = Faults(tear_write=1, tear_bytes=kept)
            images = np.stack((pixels[0], alike if kept % 2 else pixels[1], pixels[2]))
            try:
                got = accelerator.infer(images).logits
            except DeviceError:
                continue
            np.testing.assert_array_equal(got, board.reference(images))


def test_a_network_that_noise_does_not_excite_is_watched_by_its_golden_images(tmp_path: Path) -> None:
    """Only images that are nearly white get another logit; neither the first nor the last golden image is one."""
    side = 28
    hidden = Dense(np.ones((1, side * side), np.int8), np.array([[side * side * 247]]), True)
    reference = Reference(IntegerNetwork(Input(side, side), (hidden, Dense(np.array([[1]], np.int8), None))))
    images = RNG.integers(0, 256, (9, side, side), dtype=np.uint8)
    images[4] = 250
    witness = find_witness(reference, images, lanes=49, result_bytes=1)
    assert witness.shifts_show and sorted(witness.outputs[:, 0]) == [-1, 1] and witness.unseen_cuts == 0


@pytest.mark.parametrize("place", range(9))
def test_where_no_known_image_shows_a_shift_every_image_goes_through_twice(tmp_path: Path, place: int) -> None:
    """Noise and all golden images get one logit; the images that are asked about do not."""
    sign = np.where(RNG.integers(0, 2, (1, SIDE * SIDE)), np.int8(1), np.int8(-1))
    hidden = Dense(
        sign, 240 * (sign > 0).sum(keepdims=True, dtype=np.int64), True
    )  # one pattern, and hardly another, reaches it
    network = IntegerNetwork(Input(SIDE, SIDE), (hidden, Dense(np.array([[1]], np.int8), None)))
    pattern = np.where(sign > 0, np.uint8(255), np.uint8(0)).reshape(SIDE, SIDE)
    dark = np.zeros((5, SIDE, SIDE), np.uint8)
    save_network(tmp_path / "reference.npz", network)
    save_npz(tmp_path / "golden.npz", {"pixels": dark, "outputs": np.full((5, 1), -1, dtype=np.int64)})
    write_manifest(tmp_path)
    board = Bench(tmp_path, "finn_iodma")
    pixels = np.where(np.array([place % 2, 1, 0, place < 4])[:, None, None], pattern, dark[:4])
    assert np.ptp(board.reference(pixels)) == 2
    with board.open(timeout_s=0.3, capacity=1 + place % 4) as accelerator:
        accelerator.prepare()
        assert isinstance(accelerator.link, TwiceLink)
        board.device.faults = Faults(add_result=place)
        for _ in range(3):
            with contextlib.suppress(DeviceError):
                np.testing.assert_array_equal(accelerator.infer(pixels).logits, board.reference(pixels))


def test_results_that_no_image_gives_are_named() -> None:
    ends = np.array([-10]), np.array([10])
    witness = Witness(np.zeros(2, np.uint8), np.array([[3], [4]]), *ends, POISONS)
    assert witness.require(np.array([[1], [-10], [10], [3], [4]])).tolist() == [[1], [-10], [10]]
    for results, message in (
        ([1, UNWRITTEN, 2, 3, UNWRITTEN], "2 of 5 results were never written"),
        ([1, 2, 11, 3, 4], "result 2 of 5 is 11, and this network gives -10 to 10"),
        ([1, 2, 3, 5, 3], "gave 5 and 3, expected 3 and 4: there was one result too many"),
        ([1, 2, 3, 4, 4], "too many or in disorder"),
    ):
        with pytest.raises(DeviceError, match=message):
            witness.require(np.array(results)[:, None])


def test_several_results_per_image_are_told_apart() -> None:
    ends = np.array([-10, 0]), np.array([10, 5])
    witness = Witness(np.zeros(2, np.uint8), np.array([[3, 1], [4, 2]]), *ends, POISONS)
    assert witness.require(np.array([[1, 0], [3, 1], [4, 2]])).tolist() == [[1, 0]]
    for results, message in (
        ([[1, UNWRITTEN], [3, 1], [4, 2]], "1 of 6 results were never written"),
        ([[1, 6], [3, 1], [4, 2]], "result 1 of 6 is 6, and this network gives 0 to 5"),
        ([[1, 0], [0, 3], [1, 4]], r"gave \(0, 3\) and \(1, 4\), expected \(3, 1\) and \(4, 2\): there was one"),
        ([[1, 0], [3, 1], [3, 1]], "there was one result too many"),
        ([[1, 0], [3, 1], [4, 1]], "too many or in disorder"),
    ):
        with pytest.raises(DeviceError, match=message):
            witness.require(np.array(results))


def test_a_network_whose_results_do_not_fit_is_refused() -> None:
    reference = Reference(random_network(8))
    with pytest.raises(ArtifactError, match="does not fit into the 2 bytes"):
        find_witness(reference, np.zeros((1, 28, 28), np.uint8), lanes=28, result_bytes=2)


@pytest.mark.parametrize("shell", ["axi_dma", "finn_iodma"])
def test_where_every_number_is_a_logit_poison_is_not_mistaken(tmp_path: Path, shell: str) -> None:
    """One byte per result, and a network that gives its least and its greatest value, and what poison is."""
    write_folder(tmp_path)
    weights = np.zeros((3, SIDE * SIDE), np.int8)
    weights[0, 0] = weights[1, 1] = weights[2, 2] = 1
    head = Dense(np.array([[90, -128, 37]], np.int8), None)
    network = IntegerNetwork(Input(SIDE, SIDE), (Dense(weights, np.full((3, 1), 128, dtype=np.int64)), head))
    pixels = np.zeros((4, SIDE, SIDE), np.uint8)
    pixels[1::2, 0, 0] = pixels[2:, 0, 1] = 255  # 0, 90, -128, -38
    save_network(tmp_path / "reference.npz", network)
    save_npz(
        tmp_path / "golden.npz", {"pixels": pixels, "outputs": np.array([[0], [90], [-128], [-38]], dtype=np.int64)}
    )
    write_manifest(tmp_path)
    board = Bench(tmp_path, shell, output=Stream([1], "int32", [1, 1], 1, 8))
    with board.open(timeout_s=1.0) as accelerator:
        assert accelerator.verify() == 4
        with mock.patch.object(accelerator.link, "start", wraps=accelerator.link.start) as start:
            assert accelerator.infer(pixels[1:3]).logits.tolist() == [90, -128]
        assert start.call_count == 2  # 90 is what unwritten results look like, and so it ran again
        for position in range(1, 3):
            accelerator.prepare()
            board.device.faults = Faults(lose_write=position)
            with pytest.raises(DeviceError, match="never written"):
                accelerator.infer(pixels[1:3])
        accelerator.prepare()
        board.device.faults = Faults(lose_write=0)
        assert accelerator.infer(pixels[1:3]).logits.tolist() == [90, -128]  # the poison was right, and was proven


def test_the_price_is_two_images_per_transfer(tmp_path: Path) -> None:
    write_folder(tmp_path)
    board = Bench(tmp_path, "axi_dma")
    with board.open(capacity=16) as accelerator:
        accelerator.prepare()
        pixels = RNG.integers(0, 256, (80, SIDE, SIDE), dtype=np.uint8)
        pixels = pixels[~accelerator.link._witness.doubtful(board.reference.outputs(pixels))[:, 0]][:40]  # type: ignore[attr-defined]
        with mock.patch.object(board.device.core, "send", wraps=board.device.core.send) as send:
            accelerator.infer(pixels)
    assert sum(len(call.args[0]) for call in send.call_args_list) == (40 + 3 * EXTRA) * SIDE * SIDE
