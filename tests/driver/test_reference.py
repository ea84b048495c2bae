"""The CPU reference against the plain definition in contract.network, over networks that nobody trained."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from contract.errors import ArtifactError, ConfigError, DataError
from contract.network import Input, IntegerNetwork, save_network
from driver.reference import Reference
from tests.integer_networks import random_integer_network


def logits(network: IntegerNetwork, pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    return network.outputs(pixels)[-1]


def images(network: IntegerNetwork, count: int, seed: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (count, network.input.height, network.input.width), dtype=np.uint8)
    pixels[:2] = np.array([0, 255], dtype=np.uint8)[:, None, None]
    # The images that reach the ends of the first layer's accumulators.
    towards = (network.dense[0].weights[0] > 0).reshape(network.input.height, network.input.width)
    pixels[2], pixels[3] = np.where(towards, 255, 0), np.where(towards, 0, 255)
    return pixels


@settings(max_examples=60, deadline=None)
@given(
    hidden=st.lists(st.tuples(st.integers(1, 12), st.sampled_from([0, 1, 3, 7, 15, 63, 255])), max_size=3),
    shape=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    reach=st.sampled_from([1, 3, 7, 127]),
    seed=st.integers(0, 2**32 - 1),
)
def test_equals_the_definition(hidden: list[tuple[int, int]], shape: tuple[int, int], reach: int, seed: int) -> None:
    sizes, levels = [size for size, _ in hidden], [count for _, count in hidden]
    network = random_integer_network(sizes, levels, height=shape[0], width=shape[1], seed=seed, reach=reach)
    pixels = images(network, 30, seed)
    got = Reference(network).outputs(pixels)
    assert got.dtype == np.int64 and got.shape == (30, 1)
    np.testing.assert_array_equal(got, logits(network, pixels))


@pytest.mark.parametrize("levels", [[255, 255], [15, 255], [0, 0], [1, 0]], ids=str)
def test_sums_beyond_float32_are_exact(levels: list[int]) -> None:
    """96 x 96 pixels of 255 times weights of 127: far beyond 2**24, where float32 leaves the integers."""
    network = random_integer_network([24, 16], levels, height=96, width=96, seed=4)
    network.dense[0].weights[:2] = np.array([127, -127], dtype=np.int8)[:, None]
    assert network.dense[0].partial_sum_bound(0, 255) > 2**24
    pixels = images(network, 40, 5)
    np.testing.assert_array_equal(Reference(network).outputs(pixels), logits(network, pixels))


def test_accumulators_on_and_beside_thresholds() -> None:
    """Thresholds are accumulators that occur, and their neighbours; odd ones beyond 2**24 need more than float32."""
    network = random_integer_network([8], [6], height=96, width=96, seed=6)
    pixels = images(network, 12, 7)
    first = network.dense[0]
    assert first.thresholds is not None
    first.weights[:, ::2] = 127
    acc = pixels.reshape(12, -1).astype(np.int64) @ first.weights.T.astype(np.int64)
    assert (acc > 2**24).any() and (acc % 2 == 1).any()
    first.thresholds[:] = np.sort(np.concatenate([acc[:2], acc[:2] + 1, acc[2:4]]).T, axis=1)
    np.testing.assert_array_equal(Reference(network).outputs(pixels), logits(network, pixels))


def test_flat_strided_and_no_images() -> None:
    network = random_integer_network([5], [7], height=6, width=4, seed=0)
    pixels, reference = images(network, 9, 1), Reference(network)
    want = logits(network, pixels)
    np.testing.assert_array_equal(reference.outputs(pixels.reshape(9, 24)), want)
    np.testing.assert_array_equal(reference.outputs(np.asfortranarray(pixels)), want)
    np.testing.assert_array_equal(reference.outputs(pixels[::-2]), want[::-2])
    assert reference.outputs(pixels[:0]).shape == (0, 1)


def test_called_it_gives_the_logits_of_one_output_alone() -> None:
    one, two = (random_integer_network([5], [7], height=6, width=4, seed=0, outputs=count) for count in (1, 2))
    pixels = images(one, 9, 1)
    np.testing.assert_array_equal(Reference(one)(pixels), one.outputs(pixels)[-1][:, 0])
    with pytest.raises(ConfigError, match="2 integers per image, expected one logit"):
        Reference(two)(pixels)


@pytest.mark.parametrize("reach", [1, 127])
def test_weights_that_lie_column_by_column(tmp_path: Path, reach: int) -> None:
    """As a .npz of others may hold them; a row of 64 one-bit weights fills a word."""
    network = random_integer_network([64, 64], [1, 1], height=8, width=8, seed=0, source=Input(8, 8, 1, "bipolar"))
    layers = []
    for layer in network.dense:
        weights = np.where(layer.weights >= 0, 1, -1).astype(np.int8) if reach == 1 else layer.weights
        layers.append(replace(layer, weights=np.asfortranarray(weights)))
    network = replace(network, layers=tuple(layers))
    save_network(tmp_path / "reference.npz", network)
    pixels = network.input.values.random(np.random.default_rng(0), (9, 8, 8))
    for reference in (Reference(network), Reference.load(tmp_path / "reference.npz")):
        np.testing.assert_array_equal(reference.outputs(pixels), network.outputs(pixels)[-1])


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((2, 6, 4), dtype=np.float32),
        np.zeros((2, 6, 4), dtype=np.int64),
        np.zeros((2, 6, 5), dtype=np.uint8),
        np.zeros((2, 23), dtype=np.uint8),
        np.zeros(24, dtype=np.uint8),
        np.zeros((6, 4), dtype=np.uint8),
    ],
    ids=lambda p: f"{p.dtype}{p.shape}",
)
def test_other_pixels_are_refused(pixels: NDArray[np.uint8]) -> None:
    reference = Reference(random_integer_network([5], [7], height=6, width=4, seed=0))
    with pytest.raises(DataError, match=r"expected uint8\(N, 6, 4\)"):
        reference.outputs(pixels)


def test_load(tmp_path: Path) -> None:
    network = random_integer_network([5, 3], [0, 3], height=6, width=4, seed=0)
    save_network(tmp_path / "reference.npz", network)
    pixels = images(network, 20, 2)
    loaded = Reference.load(tmp_path / "reference.npz")
    np.testing.assert_array_equal(loaded.outputs(pixels), logits(network, pixels))
    (tmp_path / "reference.npz").write_bytes(b"PK")
    with pytest.raises(ArtifactError):
        Reference.load(tmp_path / "reference.npz")
