"""Move batch norm gains to the nearest that a multiplication by a few bits and a shift can give, exactly.

`export.requantization` finds integers m, b, s that answer what a layer's thresholds do. Of a trained network m takes
20 bits and more, as the gains are any float. Here a layer whose m would be wider than wanted gets

    level(acc) = round((acc * m + b + 1/2) / 2**s - 1/2)     which is     floor((acc * m + b) / 2**s)

with an m of the wanted width: that of the channel's own thresholds where there is one, else the one nearest to its
gain, which leaves the level at the channel's mean where it was. The half keeps all of it away from ties. The batch norm
is written with numbers that float32 holds exactly, so that Brevitas, QONNX and the integers agree again; that they do
is checked. Only networks that were trained here come this way.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from contract.errors import ConfigError, MismatchError
from contract.requantization import Integers, Requantization, largest_shift
from datasets.xray import Split
from export.integer_network import Extracted, extract, integer_weights
from export.requantization import BUG, at_shift, requantization, same
from qnn.network import PixelMLP, act_scale, linear

LARGEST_LOSS = 1e-3  # of the validation AUC; of K classes, of the macro AUC
DEAD_GAIN = 2.0**-60  # of a channel that always has the same level

Reals = NDArray[np.float64]


@dataclass(frozen=True)
class Snapped:
    """A network whose factors are narrow, and what that changed."""

    net: PixelMLP
    extracted: Extracted  # its integers
    layers: int  # that needed wider factors
    channels: int  # whose gain was moved
    validation_auc: tuple[float, float]  # before and after


def snapped(net: PixelMLP, extracted: Extracted, bits: int, validation: Split) -> Snapped:
    """Return `net` with factors of at most `bits` bits.

    Args:
        net: what `canonical` returned.
        extracted: its integers.
        bits: of the factors [bit].
        validation: images that tell what is lost.

    Raises:
        ConfigError: too much is lost, or no factors are so narrow.
        MismatchError: the network that was written is not the one that was meant.
    """
    if net.spec.convolutions:
        raise ConfigError(
            "'export.factor_bits' moves gains of fully connected layers only, and this network has convolutions. Leave "
            "'export.factor_bits' out."
        )
    net, found, channels = copy.deepcopy(net), dict[int, Requantization](), 0
    for i, thresholds, reach in _many_levels(extracted):
        exact = requantization(thresholds, *reach)
        if exact is None or exact.factor.max() >= 2**bits:
            found[i], moved = _narrow(_line(net, i), thresholds, reach, bits, layer=i)
            channels += moved
            _write(net, i, found[i])
    after = extract(net)
    for i, thresholds, reach in _many_levels(after):
        if i in found and not same(found[i], thresholds, *reach).all():
            raise MismatchError(f"layer {i}: {BUG}")
    before_auc, after_auc = (e.auc(validation.pixels, validation.labels) for e in (extracted, after))
    if before_auc - after_auc > LARGEST_LOSS:
        raise ConfigError(
            f"factors of {bits} bits take the validation AUC from {before_auc:.4f} to {after_auc:.4f}, expected a loss "
            f"of at most {LARGEST_LOSS}. Give 'export.factor_bits' more bits, or leave it out."
        )
    return Snapped(net, after, len(found), channels, (before_auc, after_auc))


def _many_levels(extracted: Extracted) -> Iterator[tuple[int, Integers, tuple[Integers, Integers]]]:
    """Yield the layers of activations of 2 bits and more: number, thresholds, and what each accumulator can reach."""
    network = extracted.network
    for i, (layer, ends) in enumerate(network.products()):
        if layer.thresholds is not None and not layer.bipolar:
            yield i, layer.thresholds, layer.accumulator_range(*ends)


@dataclass(frozen=True)
class _Line:
    """What a batch norm does, in integers' units: level = gain * acc + offset. All (C,)."""

    gain: Reals  # levels per accumulator LSB, positive
    offset: Reals  # levels
    centre: Reals  # accumulator LSBs: the channel's mean


def _scales(net: PixelMLP, i: int) -> tuple[float, float]:
    """Return the values of a step of what layer `i` reads, and of one of its levels. Both are powers of 2."""
    bits = net.spec.act_bits_per_layer
    return act_scale(int(bits[i - 1])) if i else 1.0, act_scale(int(bits[i]))


def _line(net: PixelMLP, i: int) -> _Line:
    (input_scale, level), norm = _scales(net, i), net.blocks[i].norm
    unit = integer_weights(net.blocks[i].linear)[1] * input_scale
    assert norm.running_mean is not None and norm.running_var is not None
    mean, var, gamma, beta = (
        v.detach().double().numpy() for v in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    slope = gamma / np.sqrt(var + norm.eps) / level
    return _Line(slope * unit, beta / level - slope * mean, mean / unit)


def _narrow(
    line: _Line, thresholds: Integers, reach: tuple[Integers, Integers], bits: int, *, layer: int
) -> tuple[Requantization, int]:
    """Return factors of at most `bits` bits at the largest shift that all channels allow, and how many were moved.

    Raises:
        ConfigError: there are none.
    """
    best = None
    enough = np.floor(bits - np.log2(line.gain.max())) - 1  # whatever is above it needs some gains to be steps
    most = largest_shift(thresholds.shape[1])
    for shift in range(int(enough.clip(0, most)), most + 1):
        factor, addend, exact = at_shift(thresholds, *reach, shift)
        exact &= factor < 2**bits
        nearest = np.maximum(np.round(line.gain * 2.0**shift), 1)
        if (~exact & (nearest >= 2**bits)).any():
            break
        # Where the mean is, the level stays: there are most of the accumulators.
        at_centre = (line.gain * line.centre + line.offset + 0.5) * 2.0**shift - nearest * line.centre
        moved = np.round(at_centre - 0.5).astype(np.int64)
        factor, addend = np.where(exact, factor, nearest).astype(np.int64), np.where(exact, addend, moved)
        best = Requantization(factor, addend, shift, thresholds.shape[1]), int((~exact).sum())
    if best is None:
        raise ConfigError(
            f"layer {layer} is too steep for factors of {bits} bits: a channel's gain is {line.gain.max():.3g} levels "
            "per step of its sum. Give 'export.factor_bits' more bits, or leave it out."
        )
    return best


def _write(net: PixelMLP, i: int, found: Requantization) -> None:
    """Make layer `i` what `found` says. Its weights keep their integers and get the scale 1.

    Raises:
        ConfigError: float32 does not hold the numbers; where sums are so wide that they leave factors no bits.
    """
    block, (input_scale, level) = net.blocks[i], _scales(net, i)
    weights, _ = integer_weights(block.linear)
    step = 2.0**-found.shift
    offset = found.addend + 0.5 - 0.5 / step  # of the level [2**-shift]
    alive = found.factor > 0
    # Where the level is about 0, as far as float32 can say that; the rest is the bias.
    zero = np.where(alive, -offset / np.maximum(found.factor, 1), 0).round().astype(np.float32).astype(np.float64)
    bias = np.where(alive, (offset + found.factor * zero) * step, np.clip(found.addend >> found.shift, 0, found.levels))
    block.linear = linear(weights.shape[1], weights.shape[0], net.spec.weight_bits_per_layer[i], unit_scale=True)
    block.norm.eps = 0.0
    norm = block.norm
    assert norm.running_mean is not None and norm.running_var is not None
    gain = np.where(alive, found.factor * step * level / input_scale, DEAD_GAIN)
    pairs = ((norm.running_mean, zero * input_scale), (norm.weight, gain), (norm.bias, bias * level))
    if any((values.astype(np.float32) != values).any() for _, values in pairs):
        raise ConfigError(
            f"layer {i} has sums that leave too few of float32's bits to factors of {int(found.factor.max())}. Give "
            "'export.factor_bits' fewer bits, or leave it out."
        )
    with torch.no_grad():
        block.linear.weight.copy_(torch.from_numpy(weights.astype(np.float32)))
        norm.running_var.fill_(1)
        for tensor, values in pairs:
            tensor.copy_(torch.from_numpy(values))
    block.linear.eval()
