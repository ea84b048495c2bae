"""reference.npz: what is saved comes back, and what makes no network is refused by name."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from contract.errors import ArtifactError
from contract.network import IntegerLayer, IntegerNetwork, load_network, save_network
from tests.randomness import generator

RNG = generator(0)
NETWORK = IntegerNetwork(
    3,
    4,
    (
        IntegerLayer(RNG.integers(-127, 128, (5, 12), dtype=np.int8), np.sort(RNG.integers(-9999, 9999, (5, 7)))),
        IntegerLayer(RNG.integers(-1, 2, (2, 5), dtype=np.int8), RNG.integers(-9, 9, (2, 1)), bipolar=True),
        IntegerLayer(RNG.integers(-7, 8, (1, 2), dtype=np.int8), None),
    ),
)


def brute_force(network: IntegerNetwork, image: NDArray[np.uint8]) -> list[list[int]]:
    """The module's definition, one Python integer at a time."""
    x, outputs = [int(v) for v in image.ravel()], []
    for layer in network.layers:
        acc = [sum(int(w) * v for w, v in zip(row, x, strict=True)) for row in layer.weights]
        if layer.thresholds is None:
            x = acc
        else:
            x = [sum(a >= int(t) for t in row) for a, row in zip(acc, layer.thresholds, strict=True)]
            x = [2 * count - 1 for count in x] if layer.bipolar else x
        outputs.append(x)
    return outputs


def test_outputs_are_the_definition() -> None:
    pixels = RNG.integers(0, 256, (20, 3, 4), dtype=np.uint8)
    pixels[0], pixels[1] = 0, 255
    got = NETWORK.outputs(pixels)
    for n, image in enumerate(pixels):
        assert [layer[n].tolist() for layer in got] == brute_force(NETWORK, image)


def test_a_threshold_is_reached_by_equality() -> None:
    layer = IntegerLayer(np.ones((1, 1), dtype=np.int8), np.array([[10, 10, 12]]))
    network = IntegerNetwork(1, 1, (layer, IntegerLayer(np.ones((1, 1), dtype=np.int8), None)))
    pixels = np.array([9, 10, 11, 12], dtype=np.uint8).reshape(4, 1, 1)
    assert network.outputs(pixels)[0].ravel().tolist() == [0, 2, 2, 3]


def test_ranges_are_reached_and_never_left() -> None:
    layer = NETWORK.layers[0]
    least, greatest = layer.accumulator_range(-1, 3)
    x = np.array(np.meshgrid(*[[-1, 3]] * 12)).reshape(12, -1).astype(np.int64)
    acc = layer.weights.astype(np.int64) @ x
    np.testing.assert_array_equal(acc.min(axis=1), least)
    np.testing.assert_array_equal(acc.max(axis=1), greatest)
    assert layer.partial_sum_bound(-1, 3) == 3 * np.abs(layer.weights.astype(int)).sum(axis=1).max()
    assert NETWORK.input_ranges() == [(0, 255), (0, 7), (-1, 1)]


def test_round_trip(tmp_path: Path) -> None:
    save_network(tmp_path / "reference.npz", NETWORK)
    loaded = load_network(tmp_path / "reference.npz")
    assert (loaded.height, loaded.width, len(loaded.layers)) == (3, 4, 3)
    for got, want in zip(loaded.layers, NETWORK.layers, strict=True):
        assert got.bipolar is want.bipolar and got.weights.dtype == np.int8
        np.testing.assert_array_equal(got.weights, want.weights)
        assert (got.thresholds is None) == (want.thresholds is None)
        if got.thresholds is not None and want.thresholds is not None:
            assert got.thresholds.dtype == np.int64
            np.testing.assert_array_equal(got.thresholds, want.thresholds)


def descending(t: NDArray[np.int64]) -> NDArray[np.int64]:
    return t[:, ::-1]


def from_most_to_least(t: NDArray[np.int64]) -> NDArray[np.int64]:
    """Unsorted, and so far apart that the difference wraps around."""
    t = t.copy()
    t[0, -2:] = [np.iinfo(np.int64).max, np.iinfo(np.int64).min]
    return t


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("format", lambda a: a + 1, "format is 2, expected 1"),
        ("format", lambda a: np.array([1, 1]), "format is"),
        ("format", lambda a: np.array("1"), "format is 1, expected 1"),
        ("format", None, "no 'format'"),
        ("image", None, "no 'image'"),
        ("image", lambda a: -a, "image"),
        ("image", lambda a: a[:1], "image"),
        ("image", lambda a: a[::-1] * 2, r"expected int8\(MH, 48\)"),
        ("image", lambda a: np.array([np.inf, 12.0]), "image"),
        ("image", lambda a: np.array([2**62, 4]), "image"),
        ("bipolar", None, "no 'bipolar'"),
        ("bipolar", lambda a: a[:0], "no layers"),
        ("bipolar", lambda a: a[:1], "exactly the last layer"),
        ("bipolar", lambda a: np.append(a, False), "exactly the last layer"),
        ("bipolar", lambda a: np.array([True, True, False]), "layer 0 is bipolar and has 7 thresholds"),
        ("bipolar", lambda a: np.array([False, True, True]), "the last one False"),
        ("bipolar", lambda a: a.astype(np.float64), "bipolar is float64"),
        ("bipolar", lambda a: np.array(True), "bipolar is bool"),
        ("weights_1", None, "no 'weights_1'"),
        ("weights_1", lambda a: a.astype(np.int16), r"weights_1 is int16\(2, 5\), expected int8\(MH, 5\)"),
        ("weights_1", lambda a: a[:, :-1], r"weights_1 is int8\(2, 4\)"),
        ("weights_1", lambda a: a.ravel(), r"weights_1 is int8\(10,\)"),
        ("weights_1", lambda a: a[:0], r"weights_1 is int8\(0, 5\)"),
        ("weights_2", lambda a: np.repeat(a, 2, axis=0), "one output"),
        ("thresholds_0", None, "exactly the last layer"),
        ("thresholds_0", lambda a: a.astype(np.float64), "thresholds_0 is float64"),
        ("thresholds_0", lambda a: a.astype(np.uint64), "thresholds_0 is uint64"),
        ("thresholds_0", lambda a: a[:-1], r"thresholds_0 is int64\(4, 7\), expected int64\(5, L\)"),
        ("thresholds_0", lambda a: a[:, :0], r"thresholds_0 is int64\(5, 0\)"),
        ("thresholds_0", descending, "not ascending"),
        ("thresholds_0", from_most_to_least, "not ascending"),
        ("thresholds_2", lambda a: np.zeros((1, 1), dtype=np.int64), "exactly the last layer"),
    ],
)
def test_what_makes_no_network_is_refused(tmp_path: Path, name: str, change: Any, message: str) -> None:
    path = tmp_path / "reference.npz"
    save_network(path, NETWORK)
    with np.load(path) as stored:
        arrays = dict(stored)
    if change is None:
        del arrays[name]
    else:
        arrays[name] = change(arrays.get(name))
    np.savez(path, **arrays)
    with pytest.raises(ArtifactError, match=message) as caught:
        load_network(path)
    assert str(caught.value).startswith(f"{path} does not hold a network")
