"""The trained network as integers: weights, thresholds, and the affine map of each integer logit to a real one.

The thresholds are the truth of everything downstream. They are the real-valued network's own decisions: batch norm
and the activation's rounding are evaluated in float64, and the first integer that reaches a level is searched for, so
a threshold is right even where an accumulator lands on a rounding tie.

Source: Umuroglu et al., "FINN", arXiv:1612.07119, "Batchnorm-activation as Threshold".
"""

import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from contract.errors import ConfigError
from contract.network import (
    Convolution,
    Dense,
    Depthwise,
    GlobalSum,
    Input,
    IntegerNetwork,
    Layer,
    MaxPool,
    Shape,
)
from qnn.class_metrics import ranking
from qnn.network import GREY, PixelMLP, act_scale
from qnn.spec import POOLED, NetworkSpec, Windows


@dataclass(frozen=True)
class Extracted:
    """Real logit k = scales[k] * integer logit k + offsets[k], scales > 0."""

    network: IntegerNetwork
    scales: NDArray[np.float64]  # (K,)
    offsets: NDArray[np.float64]  # (K,)

    @property
    def scale(self) -> float:
        """Of the only logit."""
        return float(self.scales.item())

    @property
    def offset(self) -> float:
        """Of the only logit."""
        return float(self.offsets.item())

    def auc(self, pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> float:
        """Return the AUC, of K classes the macro AUC, of what the integers answer for (N, H, W) pixels."""
        outputs = self.network.outputs(pixels)[-1]
        logits = outputs[:, 0] if outputs.shape[1] == 1 else self.scales * outputs + self.offsets
        return ranking(logits.astype(np.float64), labels)


@dataclass(frozen=True)
class _Affine:
    """y = (((acc - zero) * unit - mean) / std) * gamma + beta, per channel: batch norm of a sum, in float64."""

    unit: NDArray[np.float64]  # (MH,) real value of one accumulator LSB
    zero: NDArray[np.int64]  # (MH,) the accumulator whose real value is 0
    mean: NDArray[np.float64]  # (MH,)
    std: NDArray[np.float64]
    gamma: NDArray[np.float64]
    beta: NDArray[np.float64]

    def __call__(self, acc: NDArray[np.int64]) -> NDArray[np.float64]:
        """acc is (MH, ...); so is the result."""
        zero, unit, mean, std, gamma, beta = (
            v.reshape(-1, *(1,) * (acc.ndim - 1))
            for v in (self.zero, self.unit, self.mean, self.std, self.gamma, self.beta)
        )
        return np.asarray(((acc - zero) * unit - mean) / std * gamma + beta)


def canonical(net: PixelMLP) -> PixelMLP:
    """Return a copy of `net` in eval mode that computes the same function with every batch norm gain positive.

    A channel with a negative gain gets its weights, running mean and gain negated; that is exact, because narrow-range
    weights are symmetric. A gain of exactly 0, which no threshold can express, becomes too small to matter, around
    the middle of the level that its channel always has.

    Raises:
        ConfigError: a layer is not quantized, or the output does not depend on the input.
    """
    spec = net.spec
    if "float" in spec.weight_bits_per_layer or "float" in spec.act_bits_per_layer:
        raise ConfigError(
            "the network has float weights or activations, which have no integer form. Train it with "
            "weight_bits and act_bits of 1..8 to export it."
        )
    net = copy.deepcopy(net).eval()
    with torch.no_grad():
        for block in [*net.blocks, net.head]:
            weight, norm = block.linear.weight, block.norm
            # A binary weight of exactly 0 counts as +1, so its negation must not be 0 again.
            weight[weight == 0] = torch.finfo(weight.dtype).tiny
            flip = norm.weight < 0
            weight[flip] *= -1
            assert norm.running_mean is not None
            norm.running_mean[flip] *= -1
            norm.weight[flip] *= -1
        if (net.head.norm.weight == 0).any():
            raise ConfigError(
                "the last batch norm has a gain of 0: every image gets the same logit. Train the network again, "
                "with a lower learning rate or another seed."
            )
        for block in net.blocks:
            constant = block.norm.weight == 0
            block.norm.bias[constant] = block.act(block.norm.bias)[constant]
            block.norm.weight[constant] = 2.0**-60
    return net


def extract(net: PixelMLP) -> Extracted:
    """Return the integer form of a network that `canonical` returned."""
    spec, source = net.spec, Input(net.spec.height, net.spec.width)
    layers: list[Layer] = []
    ends, input_scale, grey = (source.values.low, source.values.high), 1.0, 0
    if spec.windows:
        input_scale, grey = 1 / GREY, int(GREY)  # they read (pixel - grey) / GREY
    for i, (block, bits) in enumerate(zip(net.blocks, spec.act_bits_per_layer, strict=True)):
        weights, weight_scale = integer_weights(block.linear)
        unfinished = _windowed(weights, spec.windows[i], grey) if i < len(spec.windows) else Dense(weights, None)
        zero = grey * weights.reshape(len(weights), -1).sum(axis=1, dtype=np.int64)
        affine = _affine(block.norm, weight_scale * input_scale, zero)
        thresholds = _thresholds(affine, int(bits), *unfinished.accumulator_range(*ends))
        added: list[Layer] = [replace(unfinished, thresholds=thresholds, bipolar=bits == 1)]
        if i < len(spec.windows):
            added += _behind(unfinished.output_shape, spec, i)
        for layer in added:
            ends = layer.reach(*ends)
        layers += added
        input_scale, grey = act_scale(int(bits)), 0
    weights, weight_scale = integer_weights(net.head.linear)
    layers.append(Dense(weights, None))
    affine = _affine(net.head.norm, weight_scale * input_scale, np.zeros(len(weights), dtype=np.int64))
    gain = affine.gamma / affine.std
    return Extracted(
        IntegerNetwork(source, tuple(layers)), scales=gain * affine.unit, offsets=affine.beta - gain * affine.mean
    )


def _windowed(weights: NDArray[np.int8], windows: Windows, fill: int) -> Convolution | Depthwise:
    """Return a convolution of PyTorch's weights, (OC, IC, K, K) or (C, 1, K, K), without an activation."""
    window: dict[str, Any] = {"image": windows.image, "stride": (windows.stride,) * 2}
    window["padding"] = (windows.padding,) * 4
    window["fill"] = fill if windows.padding else 0
    if windows.depthwise:
        return Depthwise(weights[:, 0], None, **window)
    return Convolution(np.ascontiguousarray(weights.transpose(0, 2, 3, 1)), None, **window)


def _behind(shape: Shape, spec: NetworkSpec, i: int) -> list[Layer]:
    """Return the pools behind convolution `i`, which gives images of this shape."""
    found: list[Layer] = []
    height, width, channels = shape
    if spec.windows[i].pooled:
        found.append(MaxPool((height, width, channels), (POOLED, POOLED), (POOLED, POOLED)))
        height, width, channels = spec.windows[i].output
    if i + 1 == len(spec.windows) and spec.pool != "none":
        found.append(GlobalSum((height, width, channels)))
    return found


def integer_weights(linear: torch.nn.Module) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """Return the integers of a Brevitas layer's weights, (C, ...) as they are, and the scale of each channel, (C,)."""
    with torch.no_grad():
        quantized = linear.quant_weight()  # type: ignore[operator]
        integers = (quantized.value.double() / quantized.scale.double()).round()
        scale = quantized.scale.double().expand(len(integers), *(1,) * (integers.ndim - 1)).reshape(-1)
    return integers.numpy().astype(np.int8), scale.numpy()


def _affine(
    norm: torch.nn.BatchNorm1d | torch.nn.BatchNorm2d, unit: NDArray[np.float64], zero: NDArray[np.int64]
) -> _Affine:
    assert norm.running_mean is not None and norm.running_var is not None
    mean, var, gamma, beta = (
        v.detach().double().numpy() for v in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    return _Affine(unit, zero, mean, np.sqrt(var + norm.eps), gamma, beta)


def _thresholds(affine: _Affine, bits: int, least: NDArray[np.int64], greatest: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (MH, L) t such that level(acc) >= l exactly when acc >= t[:, l - 1], for least <= acc <= greatest.

    A level that is always reached gets `least`, one that is never reached gets `greatest + 1`.
    """
    levels = np.arange(1, 2 if bits == 1 else 2**bits)
    low, high = (np.repeat(v[:, None], len(levels), axis=1) for v in (least, greatest + 1))
    # Rounding keeps the order of numbers, so levels never fall as the accumulator grows: bisection is exact.
    while (searching := low < high).any():
        middle = (low + high) // 2
        reached = _level(affine(middle), bits) >= levels
        high = np.where(searching & reached, middle, high)
        low = np.where(searching & ~reached, middle + 1, low)
    return low


def _level(y: NDArray[np.float64], bits: int) -> NDArray[np.float64]:
    """Return which level the activation gives for a batch norm output, before clipping at the top."""
    if bits == 1:
        return np.where(y >= 0, 1.0, 0.0)  # sign(0) is +1 in Brevitas
    return np.round(y / act_scale(bits))  # half to even, as in Brevitas and ONNX
