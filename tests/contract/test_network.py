"""reference.npz: what is saved comes back, and what makes no network is refused by name."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from contract.errors import ArtifactError
from contract.network import Dense, Input, IntegerNetwork, load_network, save_network
from contract.values import VALUES
from driver.reference import Reference
from tests.integer_networks import random_integer_network
from tests.randomness import generator

RNG = generator(0)
NETWORK = IntegerNetwork(
    Input(3, 4),
    (
        Dense(RNG.integers(-127, 128, (5, 12), dtype=np.int8), np.sort(RNG.integers(-9999, 9999, (5, 7)))),
        Dense(RNG.integers(-1, 2, (2, 5), dtype=np.int8), RNG.integers(-9, 9, (2, 1)), bipolar=True),
        Dense(RNG.integers(-7, 8, (1, 2), dtype=np.int8), None),
    ),
)


def brute_force(network: IntegerNetwork, image: NDArray[Any]) -> list[list[int]]:
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


NETWORKS = st.builds(
    random_integer_network,
    sizes=st.lists(st.integers(1, 9), max_size=3),
    levels=st.lists(st.sampled_from([0, 1, 2, 3, 7, 20, 255]), min_size=3, max_size=3),
    source=st.builds(Input, st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.sampled_from(sorted(VALUES))),
    outputs=st.integers(1, 12),
    reach=st.sampled_from([0, 1, 3, 7, 15, 31, 63, 127]),
    seed=st.integers(0, 2**32 - 1),
)


@settings(max_examples=80, deadline=None)
@given(network=NETWORKS)
def test_any_network_is_its_definition_on_the_cpu_and_back_from_a_file(network: IntegerNetwork) -> None:
    """Signed, bipolar and unsigned inputs of any width, layers of different numbers of thresholds, K outputs."""
    images = network.input.values.random(np.random.default_rng(1), (6, *network.input.shape))
    assert network.input.fits(images)
    want = [brute_force(network, image)[-1] for image in images]
    assert network.outputs(images)[-1].tolist() == want
    got = Reference(network).outputs(images)
    assert got.dtype == np.int64 and got.tolist() == want
    low, high = network.output_ranges()
    assert (got >= low).all() and (got <= high).all()
    with TemporaryDirectory() as folder:
        save_network(Path(folder) / "reference.npz", network)
        loaded = load_network(Path(folder) / "reference.npz")
    assert (loaded.input, loaded.output_size) == (network.input, len(want[0]))
    assert loaded.outputs(images)[-1].tolist() == want


def test_a_threshold_is_reached_by_equality() -> None:
    layer = Dense(np.ones((1, 1), dtype=np.int8), np.array([[10, 10, 12]]))
    network = IntegerNetwork(Input(1, 1), (layer, Dense(np.ones((1, 1), dtype=np.int8), None)))
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
    assert (loaded.input, len(loaded.layers)) == (Input(3, 4), 3)
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
        ("format", lambda a: np.array([2, 2]), "format is"),
        ("format", lambda a: np.array("2"), "format is 2, expected 2"),
        ("format", None, "no 'format'"),
        ("input", None, "no 'input'"),
        ("input", lambda a: -a, "input"),
        ("input", lambda a: a[:2], "input"),
        ("input", lambda a: a * [2, 2, 1], r"expected int8\(MH, 48\)"),
        ("input", lambda a: a * [1, 1, 2], r"expected int8\(MH, 24\)"),
        ("input", lambda a: np.array([np.inf, 12.0, 1.0]), "input"),
        ("input", lambda a: np.array([2**62, 4, 1]), "input"),
        ("input", lambda a: np.array([4096, 4096, 2], dtype=np.int64), "33554432 integers, expected 16777216 at most"),
        ("datatype", None, "no 'datatype'"),
        ("datatype", lambda a: np.array("float32"), "datatype is float32, expected one of uint8"),
        ("datatype", lambda a: np.array(["uint8"]), "datatype is"),
        ("datatype", lambda a: np.array(8), "datatype is 8"),
        ("kinds", None, "no 'kinds'"),
        ("kinds", lambda a: a[:0], "of one layer or more"),
        ("kinds", lambda a: np.array("dense"), "of one layer or more"),
        ("kinds", lambda a: np.arange(3, dtype=np.int64), "kinds is int64"),
        ("kinds", lambda a: np.array(["dense", "lstm", "dense"]), "layer 1 is of the kind 'lstm', expected dense"),
        ("kinds", lambda a: a[:1], "exactly the last layer"),
        ("kinds", lambda a: np.append(a, "dense"), "no 'weights_3'"),
        ("bipolar_0", lambda a: np.array(True), "layer 0 is bipolar and has 7 thresholds"),
        ("bipolar_2", lambda a: np.array(True), "layer 2 is bipolar and has no thresholds"),
        ("bipolar_0", None, "no 'bipolar_0'"),
        ("bipolar_0", lambda a: a.astype(np.float64), "bipolar_0 is float64"),
        ("bipolar_0", lambda a: np.array([True]), "bipolar_0 is bool"),
        ("weights_1", None, "no 'weights_1'"),
        ("weights_1", lambda a: a.astype(np.int16), r"weights_1 is int16\(2, 5\), expected int8\(MH, 5\)"),
        ("weights_1", lambda a: a[:, :-1], r"weights_1 is int8\(2, 4\)"),
        ("weights_1", lambda a: a.ravel(), r"weights_1 is int8\(10,\)"),
        ("weights_1", lambda a: a[:0], r"weights_1 is int8\(0, 5\)"),
        ("weights_2", lambda a: np.repeat(a, 2**16 + 1, axis=0), "65537 outputs, expected 65536 at most"),
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


@pytest.mark.parametrize("version", [1, 3])
def test_another_format_is_refused_with_the_command_that_makes_it_again(tmp_path: Path, version: int) -> None:
    np.savez(tmp_path / "reference.npz", format=np.array(version), image=np.array([3, 4]))
    with pytest.raises(
        ArtifactError, match=rf"is of format {version}, .* reads format 2\. .*`cxrflow export` EXPERIMENT"
    ):
        load_network(tmp_path / "reference.npz")
