"""The fast CPU reference gives the integers of the definition, `IntegerNetwork.outputs`, for any network and batch."""

import itertools
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from contract.errors import DataError
from contract.network import Convolution, Dense, Input, IntegerNetwork, save_network
from contract.requantization import Requantization
from driver import reference
from driver.reference import Reference

Thresholds = Callable[[np.random.Generator, int, NDArray[np.int64], NDArray[np.int64]], NDArray[np.int64]]


@pytest.fixture(params=["bitwise_count", "table"])
def popcount(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a test with both ways of counting bits."""
    if request.param == "table":
        monkeypatch.delattr(np, "bitwise_count", raising=False)
    elif not hasattr(np, "bitwise_count"):
        pytest.skip("numpy has no bitwise_count")


def affine(
    rng: np.random.Generator, levels: int, least: NDArray[np.int64], greatest: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Rounding of an affine function, some of it out of reach; flat or steep in some channels."""
    middle, reach = (least + greatest) / 2, (greatest - least + 1) / 2
    first = middle + reach * rng.uniform(-1.5, 1, least.size)
    step = reach * 10.0 ** rng.uniform(-3, 0, least.size) / levels
    return np.ceil(first[:, None] + step[:, None] * np.arange(levels)).astype(np.int64)


def scattered(
    rng: np.random.Generator, levels: int, least: NDArray[np.int64], greatest: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Anywhere; dense in one place and sparse in another."""
    at = np.sort(rng.uniform(0, 1, (least.size, levels)) ** 4, axis=1)
    return np.floor(least[:, None] + (greatest - least)[:, None] * at).astype(np.int64)


def equal(
    rng: np.random.Generator, levels: int, least: NDArray[np.int64], greatest: NDArray[np.int64]
) -> NDArray[np.int64]:
    """At most three different ones."""
    places = rng.integers(least, greatest + 2, size=(3, least.size))
    return np.sort(places[rng.integers(0, 3, (least.size, levels)).T, np.arange(least.size)].T, axis=1)


def extreme(
    rng: np.random.Generator, levels: int, least: NDArray[np.int64], greatest: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The ends of int64, the ends of reach and their neighbours."""
    info = np.iinfo(np.int64)
    ends = np.stack([np.full(least.size, info.min), np.full(least.size, -(2**60) - 1), least - 1, least, least + 1])
    ends = np.concatenate([ends, np.stack([greatest - 1, greatest, greatest + 1, np.full(least.size, info.max)])])
    return np.sort(ends[rng.integers(0, len(ends), (least.size, levels)).T, np.arange(least.size)].T, axis=1)


def mixed(
    rng: np.random.Generator, levels: int, least: NDArray[np.int64], greatest: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Another kind in every channel."""
    kinds = [kind(rng, levels, least, greatest) for kind in KINDS[:4]]
    return np.stack([kinds[c % 4][c] for c in range(least.size)])


BOTH = pytest.mark.usefixtures("popcount")
KINDS: list[Thresholds] = [affine, scattered, equal, extreme, mixed]


def random_network(
    seed: int,
    *,
    shape: tuple[int, int],
    hidden: list[int],
    weight_bits: list[int],
    act_bits: list[int],
    kind: Thresholds = affine,
) -> IntegerNetwork:
    """1-bit weights are -1 / +1, 1-bit activations too; other activations are 0..2**bits - 1."""
    rng = np.random.default_rng(seed)
    layers: list[Dense] = []
    low, high, mw = 0, 255, shape[0] * shape[1]
    for i, mh in enumerate([*hidden, 1]):
        bits = weight_bits[i % len(weight_bits)]
        most = 2 ** (bits - 1)
        weights = rng.choice([-1, 1], (mh, mw)) if bits == 1 else rng.integers(-most, most, (mh, mw))
        layer = Dense(weights.astype(np.int8), None)
        if i < len(hidden):
            bits = act_bits[i % len(act_bits)]
            levels = 1 if bits == 1 else 2**bits - 1
            thresholds = kind(rng, levels, *layer.accumulator_range(low, high))
            layer = Dense(layer.weights, thresholds, bipolar=bits == 1)
            low, high = layer.output_range()
        layers.append(layer)
        mw = mh
    return IntegerNetwork(Input(*shape), tuple(layers))


def random_pixels(seed: int, count: int, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Noise, some images of one grey among it."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
    pixels[rng.random(count) < 0.2] = rng.choice(np.array([0, 1, 127, 255], dtype=np.uint8))
    return pixels


def definition(network: IntegerNetwork, pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    return network.outputs(pixels)[-1]


def check(network: IntegerNetwork, pixels: NDArray[np.uint8]) -> None:
    logits = Reference(network).outputs(pixels)
    assert logits.dtype == np.int64
    np.testing.assert_array_equal(logits, definition(network, pixels))


@pytest.mark.parametrize("act_bits", range(1, 9))
@pytest.mark.parametrize("weight_bits", range(1, 9))
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_width_and_kind_of_threshold(weight_bits: int, act_bits: int, kind: Thresholds) -> None:
    network = random_network(
        weight_bits * 8 + act_bits, shape=(4, 7), hidden=[17, 70, 9], weight_bits=[weight_bits], act_bits=[act_bits],
        kind=kind,
    )  # fmt: skip
    check(network, random_pixels(1, 60, (4, 7)))


@pytest.mark.parametrize("seed", range(24))
def test_widths_that_change_from_layer_to_layer(seed: int) -> None:
    rng = np.random.default_rng(seed)
    depth = int(rng.integers(0, 5))
    network = random_network(
        seed,
        shape=(int(rng.integers(1, 9)), int(rng.integers(1, 9))),
        hidden=rng.integers(1, 140, depth).tolist(),
        weight_bits=rng.integers(1, 9, depth + 1).tolist(),
        act_bits=rng.choice([1, 1, 2, 3, 4, 5, 6, 7, 8], depth + 1).tolist(),
        kind=KINDS[seed % len(KINDS)],
    )
    check(network, random_pixels(seed, 40, (network.input.height, network.input.width)))


@BOTH
@pytest.mark.parametrize("width", [1, 7, 8, 63, 64, 65, 128, 300])
def test_binary_layers_of_any_width(width: int) -> None:
    """Bits are packed into words, and 300 of them differ more often than a byte can count."""
    network = random_network(width, shape=(2, 3), hidden=[width, width], weight_bits=[1], act_bits=[1])
    pixels = random_pixels(width, 50, (2, 3))
    check(network, pixels)
    last = network.dense[-2]
    for sign in (-1, 1):  # all bits of one layer differ, or none
        rows = np.repeat(network.outputs(pixels)[0][:1] * sign, width, axis=0).astype(np.int8)
        same = Dense(rows, last.thresholds, bipolar=True)
        check(IntegerNetwork(Input(2, 3), (network.dense[0], same, network.dense[-1])), pixels)


def test_one_bit_weights_may_be_zero_and_one() -> None:
    """Weights of 0 beside 1 cannot be counted as bits."""
    network = random_network(3, shape=(3, 3), hidden=[20, 20], weight_bits=[1], act_bits=[1])
    layers = tuple(Dense(np.maximum(layer.weights, 0), layer.thresholds, layer.bipolar) for layer in network.dense)
    check(IntegerNetwork(Input(3, 3), layers), random_pixels(3, 50, (3, 3)))


def test_one_threshold_without_bipolar_is_zero_or_one() -> None:
    network = random_network(4, shape=(3, 3), hidden=[20, 20], weight_bits=[1], act_bits=[1])
    layers = tuple(Dense(layer.weights, layer.thresholds) for layer in network.dense)
    check(IntegerNetwork(Input(3, 3), layers), random_pixels(4, 50, (3, 3)))


def every_accumulator(seed: int, levels: int, kind: Thresholds) -> tuple[IntegerNetwork, NDArray[np.uint8]]:
    """127 * a + b takes every value from 0 to 127 * 255 + 255; the logit is the one level."""
    layer = Dense(np.array([[127, 1]], dtype=np.int8), None)
    thresholds = kind(np.random.default_rng(seed), levels, *layer.accumulator_range(0, 255))
    head = Dense(np.ones((1, 1), dtype=np.int8), None)
    a, b = np.divmod(np.arange(127 * 255 + 256), 127)
    pixels = np.stack([np.minimum(a, 255), b + 127 * np.maximum(a - 255, 0)], axis=1).astype(np.uint8)
    return IntegerNetwork(Input(1, 2), (Dense(layer.weights, thresholds), head)), pixels.reshape(-1, 1, 2)


@pytest.mark.parametrize("levels", [2, 3, 7, 15, 100, 255, 1000])
@pytest.mark.parametrize("kind", KINDS[:4], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("seed", range(4))
def test_every_accumulator(seed: int, levels: int, kind: Thresholds) -> None:
    network, pixels = every_accumulator(seed, levels, kind)
    assert len(pixels) == 127 * 255 + 256
    check(network, pixels)


@pytest.mark.parametrize("bend", range(0, 400, 20))
def test_every_accumulator_of_a_line_with_a_bend(bend: int) -> None:
    """Between a straight line, where one comparison decides, and thresholds for which no guess is any good."""

    def bent(
        _: np.random.Generator, levels: int, least: NDArray[np.int64], greatest: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        level = np.arange(levels)
        return np.asarray(1000 + 100 * level + bend * np.maximum(level - levels // 2, 0) // 10)[None]

    check(*every_accumulator(0, 255, bent))


@pytest.mark.parametrize("step", [1.03, 1.5, 2.25, 3.01, 5.3])
def test_every_accumulator_near_2_to_the_24(step: float) -> None:
    """There, a line in float32 is wrong by a level or more, to either side."""
    weights = np.full((1, 492), 127, dtype=np.int8)
    weights[0, -1] = 1
    pixels = np.full((1000, 1, 492), 255, dtype=np.uint8)
    pixels[:, 0, -2], pixels[:, 0, -1] = np.divmod(np.arange(1000), 127)
    base = 490 * 127 * 255
    thresholds = (base + 20 + np.floor(step * np.arange(180)).astype(np.int64))[None]
    head = Dense(np.ones((1, 1), dtype=np.int8), None)
    network = IntegerNetwork(Input(1, 492), (Dense(weights, thresholds), head))
    assert set(definition(network, pixels)[:, 0]) == set(range(181))
    check(network, pixels)


@pytest.mark.parametrize("hidden", [[], [8], [1]], ids=["head only", "levels", "one level"])
@pytest.mark.parametrize("sign", [-1, 1])
def test_sums_beyond_what_float32_counts(hidden: list[int], sign: int) -> None:
    """784 * 255 * 127 = 25.4 million, above 2**24, where float32 knows even numbers only."""
    bits = 1 if hidden == [1] else 4
    network = random_network(5, shape=(28, 28), hidden=hidden, weight_bits=[8], act_bits=[bits])
    first = network.dense[0]
    weights = np.full_like(first.weights, 127 * sign)
    pixels = np.full((64, 28, 28), 255, dtype=np.uint8)
    pixels[np.arange(64), 3, 5] -= np.arange(64).astype(np.uint8)  # sums that differ by 127
    thresholds = None
    if first.thresholds is not None:
        sums = 127 * sign * (784 * 255 - np.arange(64))
        near = np.sort(sums)[: 4 * first.thresholds.shape[1] : 4] + np.arange(first.thresholds.shape[1]) % 3 - 1
        thresholds = np.repeat(near[None], len(weights), axis=0)
    network = IntegerNetwork(Input(28, 28), (Dense(weights, thresholds, first.bipolar), *network.dense[1:]))
    assert abs(definition(IntegerNetwork(Input(28, 28), (Dense(weights[:1], None),)), pixels)).min() > 2**24
    check(network, pixels)


@pytest.mark.parametrize("weight", [6, 7])
def test_greatest_sum_around_2_to_the_24(weight: int) -> None:
    """It is 2**24 - 1, so float32 holds the first unreachable threshold, too; or it is just more than that."""
    weights = np.full((2, 520), 127, dtype=np.int8)
    weights[:, 518:] = weight, 1
    greatest = 255 * (518 * 127 + weight + 1)
    assert greatest == 2**24 - 1 + 255 * (weight - 6)
    pixels = np.full((3, 1, 520), 255, dtype=np.uint8)
    pixels[1, 0, 519], pixels[2, 0, 0] = 254, 254
    thresholds = np.array([[greatest - 1, greatest, greatest + 1], [greatest, 2**25 + 1, 2**60]])
    head = Dense(np.array([[1, 16]], dtype=np.int8), None)
    network = IntegerNetwork(Input(1, 520), (Dense(weights, thresholds), head))
    assert Reference(network).outputs(pixels)[:, 0].tolist() == [2 + 16, 1, 0]
    check(network, pixels)
    check(IntegerNetwork(Input(1, 520), (Dense(weights[:1], None),)), pixels)


BITS = pytest.mark.parametrize("bits", [1, 4], ids=["W1A1", "W4A4"])


def small_blocks(monkeypatch: pytest.MonkeyPatch, bits: int, rows: int) -> IntegerNetwork:
    """Make `reference` compute `rows` images at a time, and a third of that in binary layers."""
    monkeypatch.setattr(reference, "BLOCK_BYTES", 8 * 65 * rows)
    return random_network(6, shape=(5, 7), hidden=[65, 3, 65], weight_bits=[bits], act_bits=[bits])


@BOTH
@BITS
@pytest.mark.parametrize("count", [1, 2, 7, 10, 11, 12, 21, 22, 23, 100])
def test_any_number_of_images(bits: int, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    check(small_blocks(monkeypatch, bits, rows=11), random_pixels(7, count, (5, 7)))


@BITS
def test_no_images(bits: int) -> None:
    run = Reference(random_network(16, shape=(5, 7), hidden=[65, 65], weight_bits=[bits], act_bits=[bits]))
    for shape in ((0, 5, 7), (0, 35)):
        logits = run.outputs(np.zeros(shape, dtype=np.uint8))
        assert logits.shape == (0, 1)
        assert logits.dtype == np.int64


@BOTH
@BITS
def test_blocks_of_the_real_size(bits: int) -> None:
    network = random_network(8, shape=(28, 28), hidden=[40, 40], weight_bits=[bits], act_bits=[bits])
    rows = reference.BLOCK_BYTES // (8 * 784)
    pixels = random_pixels(8, rows + 1, (28, 28))
    expected = definition(network, pixels)
    for count in (rows - 1, rows, rows + 1):
        np.testing.assert_array_equal(Reference(network).outputs(pixels[:count]), expected[:count])


@BOTH
@BITS
def test_logits_do_not_depend_on_the_batch(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Reference(small_blocks(monkeypatch, bits, rows=11))
    pixels = random_pixels(9, 50, (5, 7))
    together = run.outputs(pixels)
    for size in (1, 2, 3, 13, 49):
        apart = np.concatenate([run.outputs(pixels[i : i + size]) for i in range(0, 50, size)])
        np.testing.assert_array_equal(apart, together)


@BOTH
@BITS
def test_images_in_any_memory_layout_and_untouched(bits: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Reference(small_blocks(monkeypatch, bits, rows=11))
    pixels = random_pixels(10, 30, (5, 7))
    expected = run.outputs(pixels)
    gaps = np.full((60, 10, 14), 99, dtype=np.uint8)
    gaps[::2, ::2, ::2] = pixels
    np.save(tmp_path / "pixels.npy", pixels)
    read_only = pixels.copy()
    read_only.flags.writeable = False
    layouts = {
        "gaps": gaps[::2, ::2, ::2],
        "reversed": np.ascontiguousarray(pixels[::-1, ::-1, ::-1])[::-1, ::-1, ::-1],
        "Fortran": np.asfortranarray(pixels),
        "flat": pixels.reshape(30, 35),
        "file": np.load(tmp_path / "pixels.npy", mmap_mode="r"),
        "read-only": read_only,
    }
    for name, layout in layouts.items():
        logits = run.outputs(layout)
        assert type(logits) is np.ndarray, name
        np.testing.assert_array_equal(logits, expected, err_msg=name)
        np.testing.assert_array_equal(layout.reshape(30, 5, 7), pixels, err_msg=name)
    assert (gaps[1::2] == 99).all()


def peak_memory(run: Reference, image: NDArray[np.uint8], count: int) -> int:
    """Return the bytes that `run` needs for `count` times the (1, H, W) image, the logits apart."""
    pixels = np.broadcast_to(image, (count, *image.shape[1:]))  # no memory of its own
    tracemalloc.start()
    try:
        run.outputs(pixels)
        return tracemalloc.get_traced_memory()[1] - 8 * count
    finally:
        tracemalloc.stop()


def convolution(weights: NDArray[np.int8], *, side: int, outputs: int = 1) -> IntegerNetwork:
    """One convolution of a square image with padding of 7, answered with signs, and a head."""
    edge = weights.shape[1] // 2
    layer = Convolution(
        weights, np.zeros((len(weights), 1), dtype=np.int64), True, image=(side, side, 1), padding=(edge,) * 4, fill=7
    )  # fmt: skip
    least, greatest = layer.accumulator_range(0, 255)
    layer = replace(layer, thresholds=(least + greatest)[:, None] // 2)
    head = random_weights(np.random.default_rng(1), (outputs, int(np.prod(layer.output_shape))))
    return IntegerNetwork(Input(side, side), (layer, Dense(head, None)))


def random_weights(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.int8]:
    return rng.integers(-127, 128, shape).astype(np.int8)


@pytest.mark.parametrize("window_bytes", [1, 1000, 5000, 20_000])
def test_windows_are_copied_in_any_parts(window_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row of one image, some rows, all rows of one, several images; the last part may be smaller."""
    monkeypatch.setattr(reference, "WINDOW_BYTES", window_bytes)
    check(convolution(random_weights(np.random.default_rng(0), (3, 3, 3, 1)), side=9), random_pixels(3, 7, (9, 9)))


@pytest.mark.parametrize("sign", [-1, 1])
def test_sums_of_windows_beyond_what_float32_counts(sign: int) -> None:
    """25 x 25 x 255 x 127 = 20.2 million, above 2**24, of images that differ by one grey."""
    network = convolution(np.full((1, 25, 25, 1), 127 * sign, dtype=np.int8), side=25)
    first = network.layers[0]
    assert isinstance(first, Convolution)
    pixels = np.full((8, 25, 25), 255, dtype=np.uint8)
    pixels[np.arange(8), 12, 12] -= np.arange(8).astype(np.uint8)
    middle = sign * 127 * (625 * 255 - 4)
    assert abs(middle) > 2**24
    network = replace(network, layers=(replace(first, thresholds=np.array([[middle]])), network.layers[1]))
    check(network, pixels)


def test_memory_of_windows_is_bounded() -> None:
    """All windows of an image would be 17 MB, and there are twice as many."""
    run = Reference(convolution(random_weights(np.random.default_rng(0), (2, 16, 16, 1)), side=128))
    image = random_pixels(11, 1, (128, 128))
    few, many = peak_memory(run, image, 16), peak_memory(run, image, 32)
    assert many <= few * 1.01
    assert few < 6 * reference.BLOCK_BYTES


@BOTH
@BITS
def test_memory_does_not_grow_with_the_number_of_images(bits: int) -> None:
    run = Reference(random_network(11, shape=(20, 20), hidden=[512, 512], weight_bits=[bits], act_bits=[bits]))
    image = random_pixels(11, 1, (20, 20))
    peak_memory(run, image, 10)
    few, many = peak_memory(run, image, 1_500), peak_memory(run, image, 4_000)
    assert many <= few * 1.01
    assert few < 4 * reference.BLOCK_BYTES


def test_memory_does_not_grow_with_images_that_have_gaps() -> None:
    """Making them dense copies them, which must not happen to all at once."""
    run = Reference(random_network(18, shape=(20, 20), hidden=[], weight_bits=[8], act_bits=[]))
    image = random_pixels(18, 1, (40, 40))[:, ::2, ::2]
    peak_memory(run, image, 10)
    assert peak_memory(run, image, 50_000) <= peak_memory(run, image, 5_000) * 1.01


@BOTH
def test_binary_layers_too_wide_for_one_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "BLOCK_BYTES", 1)  # one image at a time
    network = random_network(12, shape=(5, 5), hidden=[130, 40], weight_bits=[1], act_bits=[1])
    check(network, random_pixels(12, 5, (5, 5)))


@pytest.mark.parametrize("bits", range(3, 9))
def test_rounding_an_affine_function_takes_one_comparison(bits: int) -> None:
    """Of speed, not of integers: such layers must not fall back to searching all their levels."""
    layer = random_network(13, shape=(28, 28), hidden=[1], weight_bits=[8], act_bits=[1]).dense[0]
    least, greatest = layer.accumulator_range(0, 255)
    rng = np.random.default_rng(bits)
    slope, bias = 2**bits / rng.uniform(1e3, 1e6, 64), rng.uniform(-200, 200, 64)
    levels = np.arange(1, 2**bits)
    thresholds = np.ceil((levels - 0.5 - bias[:, None]) / slope[:, None]).astype(np.int64)
    ends = (np.repeat(least, 64), np.repeat(greatest, 64))
    ladder = reference._activation(thresholds, ends, np.float32)
    assert isinstance(ladder, reference._Ladder)
    assert ladder._searches == 1


@pytest.mark.parametrize("factor", [3, 2**44 - 1, 2**44 + 1, 2**45 - 1, 2**45 + 1, 2**48 + 1, 2**52 - 1])
def test_products_around_2_to_the_53(factor: int) -> None:
    """A level begins at a pixel, or one unit in the last place too late. In float64 wherever that holds it all."""
    pixels = np.arange(256, dtype=np.uint8).reshape(256, 1, 1)
    head = Dense(np.array([[1]], dtype=np.int8), None)
    for begin, short, level in itertools.product((1, 128, 255), (0, 1, 2), (1, 3)):
        addend = (level << 40) - factor * begin - short
        m, b = np.array([[factor], [addend]], dtype=np.int64)
        found = Requantization(m, b, 40, 3)
        layer = Dense(np.array([[1]], dtype=np.int8), None).requantized(found, 0, 255)
        run = Reference(IntegerNetwork(Input(1, 1), (layer, head)))
        want = [[min(max((x * factor + addend) >> 40, 0), 3)] for x in range(256)]
        assert run.outputs(pixels).tolist() == want
        exact = 255 * factor + abs(addend) < 2**53
        assert isinstance(run._steps[1], reference._FloatRequantize if exact else reference._IntegerRequantize)


@BOTH
def test_bits_are_counted_wherever_they_can_be() -> None:
    """Of speed again: 1-bit weights behind 1-bit activations."""
    network = random_network(17, shape=(4, 4), hidden=[9, 9, 9], weight_bits=[1, 1, 2, 1], act_bits=[1])
    products = [type(step) for step in Reference(network)._steps[::2]]
    assert products == [reference._Product, reference._BitProduct, reference._Product, reference._BitProduct]


def test_load_reads_what_was_saved(tmp_path: Path) -> None:
    network = random_network(14, shape=(4, 6), hidden=[10, 10], weight_bits=[3], act_bits=[1, 5])
    save_network(tmp_path / "reference.npz", network)
    pixels = random_pixels(14, 20, (4, 6))
    np.testing.assert_array_equal(
        Reference.load(tmp_path / "reference.npz").outputs(pixels), definition(network, pixels)
    )


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((3, 4, 6), dtype=np.float32),
        np.zeros((3, 4, 6), dtype=np.int8),
        np.zeros((3, 6, 4), dtype=np.uint8),
        np.zeros((4, 6), dtype=np.uint8),
        np.zeros((3, 25), dtype=np.uint8),
        np.zeros((3, 4, 6, 1), dtype=np.uint8),
        np.zeros((0, 5, 5), dtype=np.uint8),
        np.zeros(24, dtype=np.uint8),
        np.zeros((), dtype=np.uint8),
    ],
    ids=lambda pixels: f"{pixels.dtype}{pixels.shape}",
)
def test_other_pixels_are_refused(pixels: NDArray[np.uint8]) -> None:
    run = Reference(random_network(15, shape=(4, 6), hidden=[5], weight_bits=[2], act_bits=[2]))
    with pytest.raises(DataError) as caught:
        run.outputs(pixels)
    assert str(caught.value) == (
        f"pixels are {pixels.dtype}{pixels.shape}, expected uint8(N, 4, 6): "
        "the accelerator takes raw pixels, not normalised ones."
    )
