"""The trainable network: weights, batch norm and a quantized activation per layer, and a head of K logits.

Every choice here serves the hardware. No biases: the batch norm's shift does their work and becomes part of the
thresholds. No input scaling: the first batch norm absorbs it, so the accelerator reads plain uint8 pixels. Activation
scales are constant powers of two: the batch norm in front learns the gain, and integers stay exact in floating point.

Where things are, for whoever walks the network (export does):

    net.spec                      NetworkSpec
    net.blocks[i].linear          QuantLinear, or nn.Linear where weight_bits is 'float'; weight is (out, in), no bias
    net.blocks[i].norm            BatchNorm1d(out)
    net.blocks[i].act             QuantReLU, QuantIdentity (sign) for 1 bit, nn.ReLU for 'float'
    net.head.linear, .norm        the same with out = spec.outputs, K; no activation
    net.spec.windows[i]           of a convolution, the first blocks: linear is QuantConv2d, or nn.Conv2d, its weight
                                  (out, in or 1, kernel, kernel), and norm BatchNorm2d(out)

Convolutions read (pixel - 128) / 128, as padding is 0; that is exact, and 128 is what is padded with in pixels. Behind
them is a sum over the image, not a mean: the batch norm behind it makes them the same, and a sum of levels is an
integer. Without it, a fully connected layer reads the image row by row, the channels of a pixel side by side.

Source of the quantizers: Brevitas, brevitas.quant.scaled_int and brevitas.quant.binary.
"""

import contextlib
import copy
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import brevitas.nn as bnn
import numpy as np
import torch
from brevitas.inject.enum import ScalingImplType
from brevitas.quant import (
    Int8WeightPerChannelFloat,
    Int8WeightPerTensorFloat,
    SignedBinaryActPerTensorConst,
    SignedBinaryWeightPerTensorConst,
    Uint8ActPerTensorFloat,
)
from numpy.typing import NDArray
from torch import Tensor, nn

from contract.errors import DataError
from qnn.spec import POOLED, Bits, NetworkSpec, Windows

ACT_RANGE = 4.0  # unsigned activations cover 0..4: batch norm gives unit variance, so little is clipped
BINARY_WEIGHT_SCALE = 0.1  # the batch norm undoes it; it only sets how far a latent weight can drift from its sign flip
PER_TENSOR_BITS = 4  # weights of convolutions of fewer bits have a scale per channel
GREY = 128.0  # of a pixel, that convolutions read as 0
PREDICT_BATCH = 1024  # images; bounds memory
ONE_THREAD_PRODUCTS = 1_000_000  # networks of up to so many multiplications per image are computed on one thread


def act_scale(bits: int) -> float:
    """Return the value of one activation level: ACT_RANGE / 2**bits, or 1 for the signs -1/+1."""
    return 1.0 if bits == 1 else ACT_RANGE / 2**bits


def linear(inputs: int, outputs: int, bits: Bits, *, unit_scale: bool = False) -> nn.Module:
    """Return a layer of weights without bias. With `unit_scale`, a quantized weight's value is its integer."""
    if bits == "float":
        return nn.Linear(inputs, outputs, bias=False)
    return bnn.QuantLinear(inputs, outputs, bias=False, **_quantizer(bits, unit_scale))  # type: ignore[no-any-return]


def convolution(windows: Windows, bits: Bits) -> nn.Module:
    """Return a convolution without bias."""
    sizes: dict[str, Any] = {
        "in_channels": windows.image[2],
        "out_channels": windows.channels,
        "kernel_size": windows.kernel,
        "stride": windows.stride,
        "padding": windows.padding,
        "groups": windows.channels if windows.depthwise else 1,
        "bias": False,
    }
    if bits == "float":
        return nn.Conv2d(**sizes)
    return bnn.QuantConv2d(**sizes, **_quantizer(bits, per_channel=bits < PER_TENSOR_BITS))  # type: ignore[no-any-return]


def _quantizer(bits: int, unit_scale: bool = False, *, per_channel: bool = False) -> dict[str, Any]:
    """Return what makes a layer's weights integers times a scale."""
    if bits == 1:
        scale = 1.0 if unit_scale else BINARY_WEIGHT_SCALE
        return {"weight_quant": SignedBinaryWeightPerTensorConst, "weight_scaling_init": scale}
    # Narrow range (no -2**(bits-1)) comes with these quantizers.
    # Their scale is max|weight| / largest integer; a constant numerator of the largest integer makes it 1.
    fixed = {"weight_scaling_impl_type": ScalingImplType.CONST, "weight_scaling_init": float(2 ** (bits - 1) - 1)}
    quantizer = Int8WeightPerChannelFloat if per_channel else Int8WeightPerTensorFloat
    return {"weight_quant": quantizer, "weight_bit_width": bits, **(fixed if unit_scale else {})}


def activation(bits: Bits, *, unit_scale: bool = False) -> nn.Module:
    """Return an activation layer. With `unit_scale`, a quantized activation's value is its level."""
    if bits == "float":
        return nn.ReLU()
    if bits == 1:
        return bnn.QuantIdentity(act_quant=SignedBinaryActPerTensorConst)  # type: ignore[no-any-return]
    # Brevitas divides scaling_init by the largest level; the product and the quotient are both exact.
    scale, largest = 1.0 if unit_scale else act_scale(bits), 2**bits - 1
    return TrainedReLU(
        scale,
        largest,
        act_quant=Uint8ActPerTensorFloat,
        bit_width=bits,
        scaling_impl_type=ScalingImplType.CONST,
        scaling_init=scale * largest,
    )


class TrainedReLU(bnn.QuantReLU):  # type: ignore[misc]
    """Brevitas' quantized ReLU, which while it is trained takes a quarter of the passes over its images.

    All else, evaluation and export, is Brevitas' own.
    """

    def __init__(self, scale: float, largest: int, **quantizer: Any) -> None:
        """Make it of what Brevitas takes, of a constant scale, a power of two, and the largest level."""
        super().__init__(**quantizer)
        self.scale, self.largest = scale, largest

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        if self.training and isinstance(x, Tensor):
            return _Levels.apply(x, self.scale, self.largest)  # type: ignore[no-any-return, no-untyped-call]
        return super().forward(x)  # type: ignore[no-any-return]


class _Levels(torch.autograd.Function):
    """The nearest level, half to even; gradients pass where x > 0 was not clipped, as Brevitas' straight-through do."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float, largest: int) -> Tensor:
        ctx.save_for_backward(x)
        ctx.clipped = (largest + 0.5) * scale  # the largest level is odd, so a tie goes beyond it
        return x.mul(1 / scale).round_().clamp_(0, largest).mul_(scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(gradient, x, 0.0, ctx.clipped), None, None


class Head(nn.Module):
    """Linear and batch norm; (N, inputs) -> (N, outputs)."""

    linear: Any  # brevitas.nn.QuantLinear or nn.Linear; Brevitas ships no types
    norm: nn.BatchNorm1d

    def __init__(self, inputs: int, outputs: int, *, weight_bits: Bits) -> None:
        """Make both layers; sizes in neurons."""
        super().__init__()
        self.linear = linear(inputs, outputs, weight_bits)
        self.norm = nn.BatchNorm1d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs) -> (N, outputs)."""
        return self.norm(self.linear(x))  # type: ignore[no-any-return]


class Block(Head):
    """Linear, batch norm, activation; (N, inputs) -> (N, outputs)."""

    act: Any  # brevitas.nn.QuantReLU, brevitas.nn.QuantIdentity or nn.ReLU

    def __init__(self, inputs: int, outputs: int, *, weight_bits: Bits, act_bits: Bits) -> None:
        """Make all three layers; sizes in neurons."""
        super().__init__(inputs, outputs, weight_bits=weight_bits)
        self.act = activation(act_bits)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs) -> (N, outputs)."""
        return self.act(super().forward(x))  # type: ignore[no-any-return]


class ConvolutionBlock(nn.Module):
    """Convolution, batch norm, activation, and the maximum of 2 x 2 where there is one; images (N, C, H, W)."""

    linear: Any  # brevitas.nn.QuantConv2d or nn.Conv2d
    norm: nn.BatchNorm2d
    act: Any  # as of Block

    def __init__(self, windows: Windows, *, weight_bits: Bits, act_bits: Bits) -> None:
        """Make all layers."""
        super().__init__()
        self.linear = convolution(windows, weight_bits)
        self.norm = nn.BatchNorm2d(windows.channels)
        self.act = activation(act_bits)
        self.pool = nn.MaxPool2d(POOLED) if windows.pooled else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, channels, OH, OW)."""
        return self.pool(self.act(self.norm(self.linear(x))))  # type: ignore[no-any-return]


class PixelMLP(nn.Module):
    """(N, H*W) float tensor of integers 0..255 -> logits.

    One output gives (N,), and class 1 where the logit exceeds the operating point; K give (N, K), and the class of the
    greatest.
    """

    blocks: Sequence[Block | ConvolutionBlock]  # an nn.ModuleList, typed as what it holds
    head: Head

    def __init__(self, spec: NetworkSpec) -> None:
        """Make the layers, with random weights from torch's global generator."""
        super().__init__()
        self.spec = spec
        widths = zip(spec.weight_bits_per_layer, spec.act_bits_per_layer, strict=False)
        sizes = (spec.flat, *spec.hidden)
        blocks: list[nn.Module] = []
        for windows in spec.windows:
            weight_bits, act_bits = next(widths)
            blocks.append(ConvolutionBlock(windows, weight_bits=weight_bits, act_bits=act_bits))
        for inputs, outputs in pairwise(sizes):
            weight_bits, act_bits = next(widths)
            blocks.append(Block(inputs, outputs, weight_bits=weight_bits, act_bits=act_bits))
        self.blocks = nn.ModuleList(blocks)  # type: ignore[assignment]
        self.head = Head(sizes[-1], spec.outputs, weight_bits=spec.weight_bits_per_layer[-1])

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, H*W) -> (N,), or (N, K)."""
        logits: Tensor = self.head(features(self.spec, self.blocks, pixels))
        return logits.squeeze(1) if self.spec.outputs == 1 else logits


def features(spec: NetworkSpec, blocks: Sequence[nn.Module], pixels: Tensor) -> Tensor:
    """Return what the head of a network reads: (N, H*W) pixels -> (N, values)."""
    if not spec.convolutions:
        x = pixels
        for block in blocks:
            x = block(x)
        return x
    # Strides that say channels_last: of one channel both layouts are one, and all that follows takes after the image.
    x = ((pixels - GREY) / GREY).view(-1, spec.height, spec.width, 1).permute(0, 3, 1, 2)
    for block in blocks[: len(spec.windows)]:
        x = block(x)
    x = x.permute(0, 2, 3, 1).flatten(1) if spec.pool == "none" else x.sum(dim=(2, 3))
    for block in blocks[len(spec.windows) :]:
        x = block(x)
    return x


def snap_weights(net: PixelMLP) -> None:
    """Replace every quantized weight by the value it is rounded to. The function that `net` computes stays the same.

    A trained weight can sit so close to a rounding edge that float32 and float64 evaluation pick different integers.
    Once snapped, all weights are far from all edges and have the same integers in every precision.
    """
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, bnn.QuantLinear | bnn.QuantConv2d):
                weight = module.quant_weight()
                module.weight.copy_(getattr(weight, "value", weight))


@contextlib.contextmanager
def few_threads(spec: NetworkSpec) -> Iterator[None]:
    """Compute small networks on one thread.

    Handing out work would take longer than the work, and many times longer on a busy machine. It also makes the weights
    and logits independent of the number of cores.
    """
    threads = torch.get_num_threads()
    try:
        if spec.products <= ONE_THREAD_PRODUCTS:
            torch.set_num_threads(1)
        yield
    finally:
        torch.set_num_threads(threads)


def predict_logits(
    net: PixelMLP, pixels: NDArray[np.uint8], *, dtype: torch.dtype = torch.float32
) -> NDArray[np.floating]:
    """Return the logits, (N,) or (N, K), of `pixels`, (N, H, W) uint8, in evaluation mode. `net` is left as it is.

    Args:
        net: the network.
        pixels: images of the network's size.
        dtype: precision of the evaluation; torch.float64 for comparing integers.

    Raises:
        DataError: the images are not uint8 or have another size.
    """
    expected = (net.spec.height, net.spec.width)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[1:] != expected:
        raise DataError(
            f"found images {pixels.dtype}{pixels.shape}, but the network takes "
            f"uint8 (N, {expected[0]}, {expected[1]}). "
            "Load the data set with the network's height and width."
        )
    evaluated = copy.deepcopy(net).to(dtype).eval()
    flat = torch.from_numpy(np.ascontiguousarray(pixels).reshape(len(pixels), net.spec.inputs))
    with few_threads(net.spec), torch.inference_mode():
        batches = [evaluated(batch.to(dtype)) for batch in flat.split(PREDICT_BATCH)] if len(flat) else []
    nothing = np.zeros(0 if net.spec.outputs == 1 else (0, net.spec.outputs))
    return np.asarray(torch.cat(batches).numpy() if batches else nothing)
