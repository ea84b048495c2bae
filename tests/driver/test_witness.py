"""The two known images at the end of a transfer: what they are chosen for, on networks of every kind."""

from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from numpy.typing import NDArray

from contract.errors import ArtifactError, DeviceError
from contract.manifest import Stream
from contract.network import Dense, Input, IntegerNetwork, save_network
from contract.npz import save_npz
from driver.reference import Reference
from driver.simulated.faults import Faults
from driver.witness import EXTRA, POISON, Witness, find_witness
from tests.driver.boards import SIDE, Bench, write_folder, write_manifest
from tests.randomness import generator

RNG = generator(3)


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
    assert reference(stream.reshape(2, 28, 28)).tolist() == witness.outputs.tolist()
    results = witness.outputs.ravel()
    for extra in range(1, outputs + 1):  # results too many
        assert (results[outputs - extra : 2 * outputs - extra] != results[outputs:]).any()
    assert witness.unseen_cuts == 0 or (bits, lanes, outputs) == (1, 1, 1)
    if not witness.unseen_cuts and lanes > 1:  # then all of them were tried
        for cut in range(lanes, 784, lanes):
            assert (reference(stream[cut : cut + 784][None])[0] != witness.outputs[1]).any()


def test_a_network_that_says_the_same_of_everything_has_a_witness_too() -> None:
    reference = Reference(IntegerNetwork(Input(4, 4), (Dense(np.zeros((1, 16), np.int8), None),)))
    witness = find_witness(reference, np.zeros((0, 4, 4), np.uint8), lanes=16, result_bytes=1)
    assert (witness.low.tolist(), witness.high.tolist(), witness.outputs.tolist()) == ([0], [0], [[0], [0]])
    assert witness.require(np.zeros((5, 1), np.int64)).tolist() == [[0], [0], [0]]


@pytest.mark.parametrize(
    ("low", "high", "size", "poisons"),
    [
        (-9, 9, 4, (POISON, 10)),
        (-(2**31), 2**31 - 2, 4, (2**31 - 1, -(2**31))),
        (-1, 2**31 - 1, 4, (-2, -3)),
        (-128, 127, 1, (-128, 127)),
        (-5, 100, 1, (101, -6)),
    ],
)
def test_poison_is_no_logit_where_that_can_be(low: int, high: int, size: int, poisons: tuple[int, int]) -> None:
    from driver.witness import _poisons

    assert _poisons(low, high, size) == poisons


def test_results_that_no_image_gives_are_named() -> None:
    ends = np.array([-10]), np.array([10])
    witness = Witness(np.zeros(2, np.uint8), np.array([[3], [4]]), *ends, (POISON, 11))
    assert witness.require(np.array([[1], [-10], [10], [3], [4]])).tolist() == [[1], [-10], [10]]
    for results, message in (
        ([1, POISON, 2, 3, POISON], "2 of 5 results were never written"),
        ([1, 2, 11, 3, 4], "result 2 of 5 is 11, and this network gives -10 to 10"),
        ([1, 2, 3, 5, 3], "gave 5 and 3, expected 3 and 4: there was one result too many"),
        ([1, 2, 3, 4, 4], "too many or in disorder"),
    ):
        with pytest.raises(DeviceError, match=message):
            witness.require(np.array(results)[:, None])


def test_several_results_per_image_are_told_apart() -> None:
    ends = np.array([-10, 0]), np.array([10, 5])
    witness = Witness(np.zeros(2, np.uint8), np.array([[3, 1], [4, 2]]), *ends, (POISON, 11))
    assert witness.require(np.array([[1, 0], [3, 1], [4, 2]])).tolist() == [[1, 0]]
    for results, message in (
        ([[1, POISON], [3, 1], [4, 2]], "1 of 6 results were never written"),
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
    """One byte per result, and a network that gives its least and its greatest value: -128 and 127."""
    write_folder(tmp_path)
    weights = np.zeros((2, SIDE * SIDE), np.int8)
    weights[0, 0] = weights[1, 1] = 1
    head = Dense(np.array([[127, -128]], np.int8), None)
    network = IntegerNetwork(Input(SIDE, SIDE), (Dense(weights, np.array([[128], [128]])), head))
    pixels = np.zeros((4, SIDE, SIDE), np.uint8)
    pixels[1::2, 0, 0] = pixels[2:, 0, 1] = 255  # 0, 127, -128, -1
    save_network(tmp_path / "reference.npz", network)
    save_npz(tmp_path / "golden.npz", {"pixels": pixels, "outputs": np.array([[0], [127], [-128], [-1]])})
    write_manifest(tmp_path)
    board = Bench(tmp_path, shell, output=Stream([1], "int32", [1, 1], 1, 8))
    with board.open(timeout_s=1.0) as accelerator:
        assert accelerator.verify() == 4
        with mock.patch.object(accelerator.link, "start", wraps=accelerator.link.start) as start:
            assert accelerator.infer(pixels[2:]).logits.tolist() == [-128, -1]
        assert start.call_count == 2  # -128 is what unwritten results look like, and so it ran again
        for position in range(1, 3):
            accelerator.prepare()
            board.device.faults = Faults(lose_write=position)
            with pytest.raises(DeviceError, match="never written"):
                accelerator.infer(pixels[2:])
        accelerator.prepare()
        board.device.faults = Faults(lose_write=0)
        assert accelerator.infer(pixels[2:]).logits.tolist() == [-128, -1]  # the poison was right, and was proven


def test_the_price_is_two_images_per_transfer(tmp_path: Path) -> None:
    write_folder(tmp_path)
    board = Bench(tmp_path, "axi_dma")
    with board.open(capacity=16) as accelerator:
        accelerator.prepare()
        with mock.patch.object(board.device.core, "send", wraps=board.device.core.send) as send:
            accelerator.infer(np.zeros((40, SIDE, SIDE), np.uint8))
    assert sum(len(call.args[0]) for call in send.call_args_list) == (40 + 3 * EXTRA) * SIDE * SIDE
