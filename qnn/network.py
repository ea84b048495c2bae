"""The trainable network: Linear, BatchNorm and a quantized activation per hidden layer, and a head of K logits.

Every choice here serves the hardware. No biases: the batch norm's shift does their work and becomes part of the
thresholds. No input scaling: the first batch norm absorbs it, so the accelerator reads plain uint8 pixels. Activation
scales are constant powers of two: the batch norm in front learns the gain, and integers stay exact in floating point.

Where things are, for whoever walks the network (export does):

    net.spec                      NetworkSpec
    net.blocks[i].linear          QuantLinear, or nn.Linear where weight_bits is 'float'; weight is (out, in), no bias
    net.blocks[i].norm            BatchNorm1d(out)
    net.blocks[i].act             QuantReLU, QuantIdentity (sign) for 1 bit, nn.ReLU for 'float'
    net.head.linear, .norm        the same with out = spec.outputs, K; no activation
    net.front                     the convolutions of a teacher; None in everything that is exported

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
    Int8WeightPerTensorFloat,
    SignedBinaryActPerTensorConst,
    SignedBinaryWeightPerTensorConst,
    Uint8ActPerTensorFloat,
)
from numpy.typing import NDArray
from torch import Tensor, nn

from contract.errors import DataError
from qnn.spec import Bits, NetworkSpec

ACT_RANGE = 4.0  # unsigned activations cover 0..4: batch norm gives unit variance, so little is clipped
BINARY_WEIGHT_SCALE = 0.1  # the batch norm undoes it; it only sets how far a latent weight can drift from its sign flip
PREDICT_BATCH = 1024  # images; bounds memory
ONE_THREAD_WEIGHTS = 1_000_000  # networks up to this size are computed on one thread


def act_scale(bits: int) -> float:
    """Return the value of one activation level: ACT_RANGE / 2**bits, or 1 for the signs -1/+1."""
    return 1.0 if bits == 1 else ACT_RANGE / 2**bits


def linear(inputs: int, outputs: int, bits: Bits, *, unit_scale: bool = False) -> nn.Module:
    """Return a layer of weights without bias. With `unit_scale`, a quantized weight's value is its integer."""
    if bits == "float":
        return nn.Linear(inputs, outputs, bias=False)
    if bits == 1:
        return bnn.QuantLinear(  # type: ignore[no-any-return]
            inputs,
            outputs,
            bias=False,
            weight_quant=SignedBinaryWeightPerTensorConst,
            weight_scaling_init=1.0 if unit_scale else BINARY_WEIGHT_SCALE,
        )
    # Narrow range (no -2**(bits-1)) comes with this quantizer.
    # Its scale is max|weight| / largest integer; a constant numerator of the largest integer makes it 1.
    fixed = {"weight_scaling_impl_type": ScalingImplType.CONST, "weight_scaling_init": float(2 ** (bits - 1) - 1)}
    return bnn.QuantLinear(  # type: ignore[no-any-return]
        inputs,
        outputs,
        bias=False,
        weight_quant=Int8WeightPerTensorFloat,
        weight_bit_width=bits,
        **(fixed if unit_scale else {}),
    )


def activation(bits: Bits, *, unit_scale: bool = False) -> nn.Module:
    """Return an activation layer. With `unit_scale`, a quantized activation's value is its level."""
    if bits == "float":
        return nn.ReLU()
    if bits == 1:
        return bnn.QuantIdentity(act_quant=SignedBinaryActPerTensorConst)  # type: ignore[no-any-return]
    # Brevitas divides scaling_init by the largest level; the product and the quotient are both exact.
    return bnn.QuantReLU(  # type: ignore[no-any-return]
        act_quant=Uint8ActPerTensorFloat,
        bit_width=bits,
        scaling_impl_type=ScalingImplType.CONST,
        scaling_init=(1.0 if unit_scale else act_scale(bits)) * (2**bits - 1),
    )


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


class Convolutions(nn.Module):
    """3 x 3 convolution, batch norm, ReLU and 2 x 2 maximum, repeated, then the mean over the image.

    (N, H*W) pixels -> (N, last of `channels`).
    """

    def __init__(self, channels: Sequence[int], *, height: int, width: int) -> None:
        """Make the layers; height and width of the images [pixel]."""
        super().__init__()
        self.size = (height, width)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise((1, *channels)):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)]
            layers += [nn.ReLU(), nn.MaxPool2d(2)]
        self.layers = nn.Sequential(*layers)

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, H*W) -> (N, channels)."""
        images = (pixels / 255 - 0.5).view(-1, 1, *self.size)  # centred, because the padding is 0
        return self.layers(images).mean(dim=(2, 3))  # type: ignore[no-any-return]


class PixelMLP(nn.Module):
    """(N, H*W) float tensor of integers 0..255 -> logits.

    One output gives (N,), and class 1 where the logit exceeds the operating point; K give (N, K), and the class of the
    greatest.
    """

    front: Convolutions | None
    blocks: Sequence[Block]  # an nn.ModuleList, typed as what it holds
    head: Head

    def __init__(self, spec: NetworkSpec) -> None:
        """Make the layers, with random weights from torch's global generator."""
        super().__init__()
        self.spec = spec
        self.front = None
        if spec.convolutions:
            self.front = Convolutions(spec.convolutions, height=spec.height, width=spec.width)
        sizes = (spec.convolutions[-1] if spec.convolutions else spec.inputs, *spec.hidden)
        weight_bits, act_bits = spec.weight_bits_per_layer, spec.act_bits_per_layer
        self.blocks = nn.ModuleList(  # type: ignore[assignment]
            Block(sizes[i], sizes[i + 1], weight_bits=weight_bits[i], act_bits=act_bits[i])
            for i in range(len(spec.hidden))
        )
        self.head = Head(sizes[-1], spec.outputs, weight_bits=weight_bits[-1])

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, H*W) -> (N,), or (N, K)."""
        x = pixels if self.front is None else self.front(pixels)
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(x)
        return logits.squeeze(1) if self.spec.outputs == 1 else logits


def snap_weights(net: PixelMLP) -> None:
    """Replace every quantized weight by the value it is rounded to. The function that `net` computes stays the same.

    A trained weight can sit so close to a rounding edge that float32 and float64 evaluation pick different integers.
    Once snapped, all weights are far from all edges and have the same integers in every precision.
    """
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, bnn.QuantLinear):
                weight = module.quant_weight()
                module.weight.copy_(getattr(weight, "value", weight))


@contextlib.contextmanager
def few_threads(spec: NetworkSpec) -> Iterator[None]:
    """Compute small networks on one thread.

    Handing out work would take longer than the work, and many times longer on a busy machine. It also makes the weights
    and logits independent of the number of cores.
    """
    sizes = (spec.inputs, *spec.hidden, spec.outputs)
    threads = torch.get_num_threads()
    try:
        if sum(a * b for a, b in pairwise(sizes)) <= ONE_THREAD_WEIGHTS:
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
