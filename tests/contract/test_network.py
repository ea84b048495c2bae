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
MULTIPLIED = random_integer_network([5, 2], [-255, 7], height=3, width=4, seed=1)


def brute_force(network: IntegerNetwork, image: NDArray[Any]) -> list[list[int]]:
    """The module's definition, one Python integer at a time."""
    x, outputs = [int(v) for v in image.ravel()], []
    for layer in network.layers:
        acc = [sum(int(w) * v for w, v in zip(row, x, strict=True)) for row in layer.weights]
        found = layer.requantization
        if layer.thresholds is None:
            x = acc
        elif found is not None:
            lines = zip(acc, found.factor.tolist(), found.addend.tolist(), strict=True)
            x = [min(max((a * m + b) // 2**found.shift, 0), found.levels) for a, m, b in lines]
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
    levels=st.lists(st.sampled_from([0, 1, 2, 3, 7, 20, 255, -1, -3, -20, -255]), min_size=3, max_size=3),
    source=st.builds(Input, st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.sampled_from(sorted(VALUES))),
    outputs=st.integers(1, 12),
    reach=st.sampled_from([0, 1, 3, 7, 15, 31, 63, 127]),
    seed=st.integers(0, 2**32 - 1),
)


@settings(max_examples=120, deadline=None)
@given(network=NETWORKS)
def test_any_network_is_its_definition_on_the_cpu_and_back_from_a_file(network: IntegerNetwork) -> None:
    """Signed, bipolar and unsigned inputs of any width, layers of any activation and number of levels, K outputs."""
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
    for one, layer in zip(loaded.layers, network.layers, strict=True):
        assert (one.requantization is None) == (layer.requantization is None)
        np.testing.assert_array_equal(one.thresholds, layer.thresholds)


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
        ("format", lambda a: np.array("2"), "format is 2, expected 3"),
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
        ("factor_2", lambda a: np.ones(1, dtype=np.int64), "no 'addend_2'"),
    ],
)
def test_what_makes_no_network_is_refused(tmp_path: Path, name: str, change: Any, message: str) -> None:
    require_refused(tmp_path / "reference.npz", NETWORK, name, change, message)


def one_becomes(value: int) -> Any:
    def changed(a: NDArray[np.int64]) -> NDArray[np.int64]:
        a = a.copy()
        a[..., -1] = value
        return a

    return changed


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("factor_0", None, "exactly the last layer"),
        ("addend_0", None, "no 'addend_0'"),
        ("shift_0", None, "no 'shift_0'"),
        ("clip_0", None, "no 'clip_0'"),
        ("bipolar_0", lambda a: np.array(True), "layer 0 has factors and is bipolar or has thresholds"),
        ("thresholds_0", lambda a: np.zeros((5, 3), dtype=np.int64), "layer 0 has factors and is bipolar or has thr"),
        ("factor_0", lambda a: a.astype(np.float64), r"factor_0 is float64\(5,\), expected int64\(5,\)"),
        ("factor_0", lambda a: a[:-1], r"factor_0 is int64\(4,\)"),
        ("addend_0", lambda a: a[:, None], r"addend_0 is int64\(5, 1\)"),
        ("addend_0", lambda a: a.astype(np.uint64), "addend_0 is uint64"),
        ("shift_0", lambda a: a[None], r"shift_0 is int64\(1,\), expected int64\(\)"),
        ("shift_0", lambda a: a.astype(np.int32), "shift_0 is int32"),
        ("clip_0", lambda a: a[:1], r"clip_0 is int64\(1,\), expected int64\(2,\)"),
        ("clip_0", lambda a: a + 1, "clip_0 is 1 to 256, expected it to begin at 0"),
        ("clip_0", one_becomes(0), "5 channels have 0 levels"),
        ("clip_0", one_becomes(2**16), "5 channels have 65536 levels, expected 1 to 65535"),
        ("clip_0", one_becomes(2**63 - 1), "levels, expected 1 to 65535"),
        ("shift_0", lambda a: a * 0 - 1, "the shift is -1, expected 0 to 52"),
        ("shift_0", lambda a: a * 0 + 53, "the shift is 53"),
        ("factor_0", one_becomes(-1), "the factor of channel 4 is -1, .* a channel that falls is one that rises"),
        ("factor_0", one_becomes(2**60), r"the factor of channel 4 is 1152921504606846976, expected 0 to \d+"),
        ("factor_0", one_becomes(-(2**63)), "the factor of channel 4"),
        ("addend_0", one_becomes(2**61 + 1), "the addend of channel 4 is 2305843009213693953, expected 62 bits"),
        ("addend_0", one_becomes(-(2**63)), "the addend of channel 4"),
    ],
)
def test_what_is_no_requantization_is_refused(tmp_path: Path, name: str, change: Any, message: str) -> None:
    require_refused(tmp_path / "reference.npz", MULTIPLIED, name, change, message)


def test_a_small_file_asks_for_no_large_memory(tmp_path: Path) -> None:
    """65,535 levels of 17 channels, written out, are more than a layer may have."""
    network = random_integer_network([17], [-255], seed=1)
    require_refused(tmp_path / "reference.npz", network, "clip_0", one_becomes(2**16 - 1), "1048576 of all channels")


def require_refused(path: Path, network: IntegerNetwork, name: str, change: Any, message: str) -> None:
    save_network(path, network)
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


def test_a_file_of_format_2_is_read(tmp_path: Path) -> None:
    """It has thresholds only; deploy folders and exports of earlier versions have such."""
    path = tmp_path / "reference.npz"
    save_network(path, NETWORK)
    with np.load(path) as stored:
        np.savez(path, **{**stored, "format": np.array(2)})
    pixels = RNG.integers(0, 256, (9, 3, 4), dtype=np.uint8)
    np.testing.assert_array_equal(load_network(path).outputs(pixels)[-1], NETWORK.outputs(pixels)[-1])


@pytest.mark.parametrize("version", [1, 4])
def test_another_format_is_refused_with_the_command_that_makes_it_again(tmp_path: Path, version: int) -> None:
    np.savez(tmp_path / "reference.npz", format=np.array(version), image=np.array([3, 4]))
    with pytest.raises(
        ArtifactError, match=rf"is of format {version}, .* reads 2 and 3\. .*`cxrflow export` EXPERIMENT"
    ):
        load_network(tmp_path / "reference.npz")
