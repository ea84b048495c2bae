"""Thresholds against the batch norm itself, at every accumulator value that the layer can reach."""

import copy
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from contract.errors import ConfigError
from contract.network import Dense
from export.export import _brevitas_logits
from export.integer_network import canonical, extract, integer_weights
from export.qonnx_model import evaluate_qonnx, to_qonnx
from qnn.network import PixelMLP, act_scale, predict_logits
from tests.random_networks import random_net, random_pixels, small_spec

MIXED = [(8, 8), (1, 1), (2, 2), (4, 3), ((1, 8, 3), (8, 1)), ((5, 1, 2), (1, 6)), ((3, 7, 1), (7, 5))]


def reachable(layer: Dense, channel: int, low: int, high: int, *, most: int = 300_000) -> NDArray[np.int64]:
    """Every accumulator value of one channel; where these are too many, `most` around each end and the middle."""
    least, greatest = (int(v[channel]) for v in layer.accumulator_range(low, high))
    if greatest - least < 3 * most:
        return np.arange(least, greatest + 1)
    middle = (least + greatest) // 2
    ends = [np.arange(least, least + most), np.arange(greatest - most, greatest + 1)]
    return np.concatenate([ends[0], np.arange(middle - most, middle + most), ends[1]])


def counts(layer: Dense, channel: int, acc: NDArray[np.int64]) -> NDArray[np.int64]:
    assert layer.thresholds is not None
    got = np.searchsorted(layer.thresholds[channel], acc, side="right")
    return 2 * got - 1 if layer.bipolar else got


@pytest.mark.parametrize(("weight_bits", "act_bits"), MIXED, ids=str)
def test_thresholds_are_batch_norm_rounded_and_clipped_everywhere(weight_bits: object, act_bits: object) -> None:
    """The batch norm of the network as it was trained, negative and zero gains included, in float64."""
    spec = small_spec(weight_bits, act_bits)
    net = random_net(spec)
    with torch.no_grad():
        for i, block in enumerate(net.blocks):
            tie = act_scale(int(spec.act_bits_per_layer[i])) / 2 if spec.act_bits_per_layer[i] != 1 else 0.0
            gains = [0.0, 0.0, 0.0, -3.0, 1e-12, -1e-12]  # dead, dead on ties, steep, and flat around a tie
            shifts = [0.7, 0.0, 3 * tie, 0.5, tie, tie]
            block.norm.weight[:6], block.norm.bias[:6] = torch.tensor(gains), torch.tensor(shifts)
    layers = extract(canonical(net)).network.dense
    low, high, input_scale = 0, 255, 1.0
    for block, layer, bits in zip(net.blocks, layers, map(int, spec.act_bits_per_layer), strict=False):
        unit = integer_weights(block.linear)[1] * input_scale
        norm = {name: v.double().numpy() for name, v in block.norm.state_dict().items()}
        for c in range(len(layer.weights)):
            acc = reachable(layer, c, low, high)
            sign = -1 if norm["weight"][c] < 0 else 1
            std = np.sqrt(norm["running_var"][c] + block.norm.eps)
            y = (sign * acc * unit[c] - norm["running_mean"][c]) / std * norm["weight"][c] + norm["bias"][c]
            want = np.where(y >= 0, 1, -1) if bits == 1 else np.clip(np.round(y / act_scale(bits)), 0, 2**bits - 1)
            np.testing.assert_array_equal(counts(layer, c, acc), want)
        (low, high), input_scale = layer.output_range(), act_scale(bits)


def on_ties(net: PixelMLP, *, seed: int) -> None:
    """Make every number a short binary fraction, so that whole accumulators land on rounding ties."""
    rng = np.random.default_rng(seed)

    def pick(values: list[float], count: int) -> torch.Tensor:
        return torch.tensor(rng.choice(values, count), dtype=torch.float32)

    with torch.no_grad():
        for i, part in enumerate((*net.blocks, net.head)):
            outputs, inputs = part.linear.weight.shape
            largest = 2 ** (int(net.spec.weight_bits_per_layer[i]) - 1) - 1
            integers = rng.integers(-largest, largest + 1, (outputs, inputs))
            integers[0, 0] = largest  # Brevitas takes the scale from the largest weight
            part.linear.weight.copy_(torch.from_numpy(integers * 2.0**-6))
            part.norm.eps = 0.0
            assert part.norm.running_mean is not None and part.norm.running_var is not None
            part.norm.running_var.copy_(pick([4.0, 16.0], outputs))
            part.norm.running_mean.copy_(pick([-8.0, 0.0, 4.5] if i == 0 else [-0.25, 0.0, 0.5], outputs))
            gains = [-0.25, -0.125, 0.125, 0.0625] if i == 0 else [-4.0, -2.0, 2.0, 4.0]  # most levels occur
            part.norm.weight.copy_(pick(gains, outputs))
            step = 1.0 if i == len(net.blocks) else act_scale(int(net.spec.act_bits_per_layer[i]))
            signs = i < len(net.blocks) and net.spec.act_bits_per_layer[i] == 1
            part.norm.bias.copy_(pick([-0.125, 0.0, 0.25] if signs else [0.0, 0.5, 1.0, 1.5, 2.5], outputs) * step)


@pytest.mark.parametrize(("weight_bits", "act_bits"), [(4, 2), (4, (1, 3)), (3, (8, 6)), ((5, 2, 3), (8, 1))], ids=str)
def test_ties_round_to_even_everywhere(weight_bits: object, act_bits: object) -> None:
    """Exact fractions against thresholds, Brevitas and QONNX, on a network whose accumulators hit ties."""
    net = random_net(small_spec(weight_bits, act_bits))
    on_ties(net, seed=0)
    flat = canonical(net)
    network = extract(flat).network
    low, high, input_unit = 0, 255, Fraction(1)
    ties = 0
    for i, layer in enumerate(network.dense[:-1]):
        norm, bits = net.blocks[i].norm.state_dict(), int(net.spec.act_bits_per_layer[i])
        scale = Fraction(act_scale(bits))
        for c in range(len(layer.weights)):
            gain, shift = Fraction(norm["weight"][c].item()), Fraction(norm["bias"][c].item())
            mean, std = Fraction(norm["running_mean"][c].item()), Fraction(norm["running_var"][c].sqrt().item())
            acc = reachable(layer, c, low, high, most=2_000)
            sign = -1 if gain < 0 else 1
            slope = sign * input_unit / 64 * gain / std / scale  # of the level over the accumulator
            start = (shift - mean * gain / std) / scale
            levels = [slope * int(a) + start for a in acc]
            ties += sum(level.denominator == 2 for level in levels)
            want = [
                (1 if level >= 0 else -1) if bits == 1 else min(max(round(level), 0), 2**bits - 1) for level in levels
            ]
            np.testing.assert_array_equal(counts(layer, c, acc), want)
        (low, high), input_unit = layer.output_range(), scale
    assert ties > 30
    pixels = random_pixels(200)
    np.testing.assert_array_equal(_brevitas_logits(flat, pixels), network.outputs(pixels)[-1])


@pytest.mark.parametrize("act_bits", [(8, 6), (1, 1)], ids=str)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_ties_in_qonnx(tmp_path: Path, act_bits: tuple[int, int], seed: int) -> None:
    net = random_net(small_spec(3, act_bits))
    on_ties(net, seed=seed)
    flat = canonical(net)
    to_qonnx(flat, tmp_path / "model.onnx")
    pixels = random_pixels(200)
    want = extract(flat).network.outputs(pixels)[-1]
    assert len(np.unique(want)) > 1
    np.testing.assert_array_equal(evaluate_qonnx(tmp_path / "model.onnx", pixels, double=True), want)


@pytest.mark.parametrize(("weight_bits", "act_bits"), MIXED, ids=str)
def test_scale_and_offset_give_the_real_logit(weight_bits: object, act_bits: object) -> None:
    net = random_net(small_spec(weight_bits, act_bits), seed=2)
    extracted = extract(canonical(net))
    assert extracted.scale > 0
    pixels = random_pixels(300)
    real = predict_logits(net, pixels, dtype=torch.float64)
    got = extracted.scale * extracted.network.outputs(pixels)[-1][:, 0] + extracted.offset
    # Float64 takes other last bits for the weights' scale, so a rare activation may round the other way.
    assert np.isclose(got, real, rtol=1e-5, atol=1e-5).mean() > 0.98


def test_canonical_keeps_the_function_and_the_original() -> None:
    net = random_net(small_spec((4, 1, 3), (1, 4)))
    with torch.no_grad():
        net.blocks[0].norm.weight[0] = net.blocks[0].norm.bias[0] = 0.0  # sign(0) is +1 for every image
        net.blocks[1].linear.weight[0, :3] = 0.0  # a binary weight of 0 is +1
        net.blocks[1].norm.weight[0] = -1.0
    before = copy.deepcopy(net.state_dict())
    flat = canonical(net)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert all((part.norm.weight > 0).all() for part in (*flat.blocks, flat.head))
    pixels = random_pixels(300)
    np.testing.assert_allclose(
        predict_logits(flat, pixels, dtype=torch.float64), predict_logits(net, pixels, dtype=torch.float64), rtol=1e-9
    )


@pytest.mark.parametrize(("weight_bits", "act_bits"), [("float", 8), (8, ("float", 8)), ((8, "float", 8), 8)], ids=str)
def test_float_layers_have_no_integer_form(weight_bits: object, act_bits: object) -> None:
    with pytest.raises(ConfigError, match=r"float weights or activations.*weight_bits and act_bits of 1\.\.8"):
        canonical(PixelMLP(small_spec(weight_bits, act_bits)))


def test_a_head_without_gain_is_refused() -> None:
    net = random_net(small_spec(8, 8))
    torch.nn.init.zeros_(net.head.norm.weight)
    with pytest.raises(ConfigError, match=r"gain of 0: every image gets the same logit"):
        canonical(net)
