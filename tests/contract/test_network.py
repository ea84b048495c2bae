"""reference.npz: what is saved comes back, and what makes no network is refused by name."""

import itertools
from dataclasses import astuple, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from contract.errors import ArtifactError
from contract.network import (
    Convolution,
    Dense,
    Depthwise,
    GlobalSum,
    Input,
    IntegerNetwork,
    MaxPool,
    Product,
    load_network,
    save_network,
)
from contract.values import VALUES
from driver.reference import Reference
from tests.integer_networks import random_convolutional_network, random_integer_network
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
        if isinstance(layer, Dense):
            acc = [sum(int(w) * v for w, v in zip(row, x, strict=True)) for row in layer.weights]
            x = [activated(layer, c, a) for c, a in enumerate(acc)]
        elif isinstance(layer, GlobalSum):
            channels = layer.image[2]
            x = [sum(x[c::channels]) for c in range(channels)]
        else:
            x = slid(layer, x)
        outputs.append(x)
    return outputs


def activated(layer: Product, c: int, acc: int) -> int:
    found = layer.requantization
    if layer.thresholds is None:
        return acc
    if found is not None:
        m, b = int(found.factor[c]), int(found.addend[c])
        return int(min(max((acc * m + b) // 2**found.shift, 0), found.levels))
    count = int((acc >= layer.thresholds[c]).sum())
    return 2 * count - 1 if layer.bipolar else count


def slid(layer: Convolution | Depthwise | MaxPool, x: list[int]) -> list[int]:
    """A window at every place, one number at a time."""
    (height, width, channels), (kernel, stride, padding) = layer.image, astuple(layer.window)
    rows = range(-padding[0], height + padding[2] - kernel[0] + 1, stride[0])
    columns = range(-padding[1], width + padding[3] - kernel[1] + 1, stride[1])
    given = []
    for top, left in itertools.product(rows, columns):
        taps = list(itertools.product(range(kernel[0]), range(kernel[1])))

        def at(i: int, j: int, k: int, top: int = top, left: int = left) -> int:
            r, c = top + i, left + j
            inside = 0 <= r < height and 0 <= c < width
            return x[(r * width + c) * channels + k] if inside else layer.fill  # type: ignore[union-attr]

        if isinstance(layer, MaxPool):
            given += [max(at(i, j, k) for i, j in taps) for k in range(channels)]
            continue
        for o, w in enumerate(layer.weights.tolist()):
            if isinstance(layer, Depthwise):
                acc = sum(w[i][j] * at(i, j, o) for i, j in taps)
            else:
                acc = sum(w[i][j][k] * at(i, j, k) for i, j in taps for k in range(channels))
            given.append(activated(layer, o, acc))
    return given


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
    for one, layer in zip(loaded.dense, network.dense, strict=True):
        assert (one.requantization is None) == (layer.requantization is None)
        np.testing.assert_array_equal(one.thresholds, layer.thresholds)


CONVOLUTIONAL = st.builds(
    random_convolutional_network,
    kinds=st.lists(st.sampled_from(["convolution", "depthwise", "max_pool", "global_sum"]), min_size=1, max_size=4),
    levels=st.lists(st.sampled_from([0, 1, 3, 15, 255, -1, -3, -255]), min_size=4, max_size=4),
    source=st.builds(Input, st.integers(1, 9), st.integers(1, 9), st.integers(1, 3), st.sampled_from(sorted(VALUES))),
    outputs=st.integers(1, 3),
    reach=st.sampled_from([0, 1, 7, 127]),
    seed=st.integers(0, 2**32 - 1),
)


@settings(max_examples=80, deadline=None)
@given(network=CONVOLUTIONAL)
def test_any_convolutional_network_is_its_definition_and_comes_back_from_a_file(network: IntegerNetwork) -> None:
    """Windows of any size, stride and padding; images of any datatype, layers of any activation."""
    images = network.input.values.random(np.random.default_rng(1), (3, *network.input.shape))
    got = network.outputs(images)
    for n, image in enumerate(images):
        assert [layer[n].ravel().tolist() for layer in got] == brute_force(network, image)
    np.testing.assert_array_equal(Reference(network).outputs(images), got[-1])
    for layer, outputs in zip(network.layers, got, strict=True):
        assert outputs.shape[1:] == layer.output_shape
    for (low, high), outputs in zip(network.input_ranges()[1:], got, strict=False):
        assert (outputs >= low).all() and (outputs <= high).all()
    with TemporaryDirectory() as folder:
        save_network(Path(folder) / "reference.npz", network)
        loaded = load_network(Path(folder) / "reference.npz")
    assert [type(layer) for layer in loaded.layers] == [type(layer) for layer in network.layers]
    for one, want in zip(loaded.outputs(images), got, strict=True):
        np.testing.assert_array_equal(one, want)


@settings(max_examples=60, deadline=None)
@given(network=CONVOLUTIONAL)
def test_sums_of_windows_reach_their_ranges_and_no_further(network: IntegerNetwork) -> None:
    """A channel's greatest sum is at the place where the padding leaves it the most; there every input counts alone."""
    for layer, (low, high) in network.products():
        if not isinstance(layer, Convolution | Depthwise):
            continue
        least, greatest = layer.accumulator_range(low, high)
        plain = replace(layer, thresholds=None, bipolar=False, requantization=None)
        for c, w in enumerate(layer.weights):
            if not isinstance(layer, Depthwise):
                one = replace(plain, weights=w[None])
            else:
                one = Convolution(
                    w[None, ..., None],
                    None,
                    image=(*layer.image[:2], 1),
                    stride=layer.stride,
                    padding=layer.padding,
                    fill=layer.fill,
                )
            zero = np.zeros((1, *one.image), dtype=np.int64)
            base = one.sums(zero).ravel()
            each = (
                np.stack([one.sums(v)[0].ravel() for v in np.eye(zero.size, dtype=np.int64)[:, None]], axis=1)
                - base[:, None]
            )
            ends = np.sort(np.stack([each * low, each * high]), axis=0).sum(axis=2) + base
            assert (ends[0].min(), ends[1].max()) == (least[c], greatest[c])


WINDOWED = IntegerNetwork(
    Input(5, 6),
    (
        Convolution(
            np.ones((2, 3, 3, 1), dtype=np.int8), np.zeros((2, 3), dtype=np.int64), image=(5, 6, 1),
            padding=(1, 1, 1, 1), fill=128,
        ),
        MaxPool((5, 6, 2), (2, 2), (2, 2)),
        Depthwise(np.ones((2, 2, 2), dtype=np.int8), np.zeros((2, 1), dtype=np.int64), image=(2, 3, 2), bipolar=True),
        GlobalSum((1, 2, 2)),
        Dense(np.ones((1, 2), dtype=np.int8), None),
    ),
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("weights_0", lambda a: a[..., 0], r"weights_0 is int8\(2, 3, 3\), expected int8\(OC, KH, KW, 1\)"),
        ("weights_0", lambda a: np.repeat(a, 2, axis=3), r"expected int8\(OC, KH, KW, 1\)"),
        ("weights_0", lambda a: np.repeat(a, 22, axis=1), r"of \(66, 3\) by \(1, 1\), expected numbers of 1..64"),
        ("weights_0", lambda a: np.zeros((2**12 + 1, 64, 64, 1), dtype=np.int8), "16781312 weights, expected 16777216"),
        ("weights_0", lambda a: np.repeat(a, 2**19, axis=0), "31457280 integers per image, expected 16777216 at most"),
        ("weights_2", lambda a: np.repeat(a, 2, axis=0), r"weights_2 is int8\(4, 2, 2\), expected int8\(2, KH, KW\)"),
        ("weights_2", lambda a: np.repeat(a, 2, axis=1), r"a window of \(4, 2\), expected one that fits on \(2, 3\)"),
        ("window_0", None, "no 'window_0'"),
        ("window_0", lambda a: a[:-1], r"window_0 is int64\(6,\), expected int64\(7,\)"),
        ("window_0", lambda a: a.astype(np.uint64), "window_0 is uint64"),
        ("window_0", lambda a: a * [0, 1, 1, 1, 1, 1, 1], "expected numbers of 1..64"),
        ("window_0", lambda a: a * [1, 65, 1, 1, 1, 1, 1], "expected numbers of 1..64"),
        ("window_0", lambda a: a * [1, 1, 3, 1, 1, 1, 1], r"padding of \(3, 1, 1, 1\) for a window of \(3, 3\)"),
        ("window_0", lambda a: a * [1, 1, 1, 1, 1, -1, 1], "expected it to be narrower"),
        ("window_0", lambda a: a * [1, 1, 1, 1, 1, 1, 2], "layer 0 pads with 256, expected .* 0 to 255"),
        ("window_1", lambda a: np.array([6, 1, 1, 1]), r"a window of \(6, 1\), expected one that fits on \(5, 6\)"),
        ("window_1", lambda a: np.array([2**40, 1, 1, 1]), "expected numbers of 1..64"),
        ("window_2", lambda a: a + np.array([0, 0, 1, 1, 1, 1, 1]), "pads with 1, expected 0 behind the first layer"),
        ("thresholds_2", None, "layer 2 is bipolar and has no thresholds"),
        ("kinds", lambda a: a[[0, 1, 2, 3, 3]], "'global_sum' and reads \\(2,\\), expected an image"),
        ("kinds", lambda a: a[:4], "the last layer is of the kind 'global_sum', expected dense"),
        ("kinds", lambda a: a[:3], "the last layer is of the kind 'depthwise', expected dense"),
        ("datatype", lambda a: np.array("int8"), "pads with 128, expected a value of what it reads, -128 to 127"),
        ("datatype", lambda a: np.array("bipolar"), "pads with 128, expected a value of what it reads, -1 or \\+1"),
    ],
)  # fmt: skip
def test_what_is_no_layer_of_windows_is_refused(tmp_path: Path, name: str, change: Any, message: str) -> None:
    require_refused(tmp_path / "reference.npz", WINDOWED, name, change, message)


def test_signs_are_not_padded_with_a_zero_that_they_do_not_have(tmp_path: Path) -> None:
    signs = Convolution(np.ones((2, 1, 1, 1), dtype=np.int8), np.zeros((2, 1), dtype=np.int64), True, image=(5, 6, 1))
    second = Convolution(np.ones((1, 3, 3, 2), dtype=np.int8), np.zeros((1, 1), dtype=np.int64), image=(5, 6, 2))
    network = IntegerNetwork(Input(5, 6), (signs, second, Dense(np.ones((1, 12), dtype=np.int8), None)))
    path = tmp_path / "reference.npz"
    padded = lambda a: a + np.array([0, 0, 1, 0, 0, 0, 0])  # noqa: E731
    require_refused(
        path, network, "window_1", padded, r"layer 1 pads with 0, expected a value of what it reads, -1 or \+1"
    )


def test_a_threshold_is_reached_by_equality() -> None:
    layer = Dense(np.ones((1, 1), dtype=np.int8), np.array([[10, 10, 12]]))
    network = IntegerNetwork(Input(1, 1), (layer, Dense(np.ones((1, 1), dtype=np.int8), None)))
    pixels = np.array([9, 10, 11, 12], dtype=np.uint8).reshape(4, 1, 1)
    assert network.outputs(pixels)[0].ravel().tolist() == [0, 2, 2, 3]


def test_ranges_are_reached_and_never_left() -> None:
    layer = NETWORK.dense[0]
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
    assert (loaded.input, len(loaded.dense)) == (Input(3, 4), 3)
    for got, want in zip(loaded.dense, NETWORK.dense, strict=True):
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
        ("format", lambda a: np.array("2"), "format is 2, expected 4"),
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


@pytest.mark.parametrize("version", [2, 3])
def test_a_file_of_an_earlier_format_is_read(tmp_path: Path, version: int) -> None:
    """It has dense layers only, of 2 with thresholds; deploy folders and exports of earlier versions have such."""
    path = tmp_path / "reference.npz"
    save_network(path, NETWORK)
    with np.load(path) as stored:
        np.savez(path, **{**stored, "format": np.array(version)})
    pixels = RNG.integers(0, 256, (9, 3, 4), dtype=np.uint8)
    np.testing.assert_array_equal(load_network(path).outputs(pixels)[-1], NETWORK.outputs(pixels)[-1])


@pytest.mark.parametrize("version", [1, 5])
def test_another_format_is_refused_with_the_command_that_makes_it_again(tmp_path: Path, version: int) -> None:
    np.savez(tmp_path / "reference.npz", format=np.array(version), image=np.array([3, 4]))
    with pytest.raises(
        ArtifactError, match=rf"is of format {version}, .* reads 2 and 3 and 4\. .*`cxrflow export` EXPERIMENT"
    ):
        load_network(tmp_path / "reference.npz")
