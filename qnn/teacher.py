"""What a network can start from besides chance: a teacher's answers, or another network's weights.

Both must have been trained on the same training images. One that was trained on another split has seen some of the
validation images, and every choice made on those would be flattered.
"""

import copy
import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from contract.errors import ConfigError
from contract.table import join_names
from datasets.xray import XrayData
from qnn.network import BINARY_WEIGHT_SCALE, PixelMLP
from qnn.spec import NetworkSpec


@dataclass(frozen=True)
class Source:
    """A finished training that another one builds on."""

    net: PixelMLP  # evaluation mode
    split: str  # `split_fingerprint` of the data it was trained on
    name: str  # for messages
    sha256: str  # of its checkpoint file
    class_names: tuple[str, ...]  # in the order of its labels


def split_fingerprint(data: XrayData) -> str:
    """Return a sha256 [hex] over the data set and which of its images are for training, validation and test.

    It is the same for every image size.
    """
    digest = hashlib.sha256(data.fingerprint.encode())
    for split in (data.train, data.val, data.test):
        digest.update(f"\n{len(split)}\n".encode())
        digest.update("\n".join(split.names).encode())
    return digest.hexdigest()


def check_source(source: Source, field: str, spec: NetworkSpec, data: XrayData) -> None:
    """Refuse a source of other images or classes.

    Args:
        source: the finished training.
        field: the experiment's field that names it.
        spec: of the network that is to be trained.
        data: what it is to be trained on.
    """
    theirs = source.net.spec
    if (theirs.height, theirs.width) != (spec.height, spec.width):
        raise ConfigError(
            f"'{field}' is {source.name}, which takes {theirs.height} x {theirs.width} pixels, but this network takes "
            f"{spec.height} x {spec.width}. Train one of this size."
        )
    if theirs.outputs != spec.outputs:
        raise ConfigError(
            f"'{field}' is {source.name}, which tells {theirs.classes} classes apart, but this network {spec.classes}. "
            "Train one with the same 'data.classes'."
        )
    if source.class_names != data.class_names:
        same = sorted(source.class_names) == sorted(data.class_names)
        why = ": in another order, a label is another class" if same else ""
        raise ConfigError(
            f"'{field}' is {source.name}, whose classes are {join_names(source.class_names)[:200]}, but this run's are "
            f"{join_names(data.class_names)[:200]}{why}. Give both the same "
            "'data.classes', in the same order."
        )
    if source.split != split_fingerprint(data):
        raise ConfigError(
            f"'{field}' is {source.name}, which was trained on another training split: it may have seen this run's "
            "validation images. Train it with the same data source, 'data.classes', 'data.seed' and "
            "'data.val_fraction'."
        )


def check_topology(source: Source, spec: NetworkSpec) -> None:
    """Refuse a source whose weights do not fit; only the bit widths may differ."""
    theirs = source.net.spec
    if any(getattr(theirs, name) != getattr(spec, name) for name in ("hidden", "convolutions", "pool")):
        raise ConfigError(
            f"'train.init_from' is {source.name}, which is {theirs.describe()}, but this network is {spec.describe()}: "
            "only the bit widths may differ. Give both the same 'network.hidden', 'network.convolutions' and "
            "'network.pool'."
        )


def copy_weights(source: PixelMLP, target: PixelMLP) -> None:
    """Start `target` from the weights of a network of the same layer sizes and any bit widths.

    Binary weights keep only the sign of a latent weight, which flips where it crosses 0 and stops following gradients
    beyond +-BINARY_WEIGHT_SCALE. So their latent weights are scaled into that range: half of it is the mean magnitude.
    """
    theirs = dict(source.named_parameters()) | dict(source.named_buffers())
    with torch.no_grad():
        for name, tensor in (*target.named_parameters(), *target.named_buffers()):
            if name.endswith(("linear.weight", "norm.weight", "norm.bias", "running_mean", "running_var")):
                tensor.copy_(theirs[name])
        layers = [*target.blocks, target.head]
        for layer, bits in zip(layers, target.spec.weight_bits_per_layer, strict=True):
            if bits == 1:
                weight = layer.linear.weight
                weight.mul_(BINARY_WEIGHT_SCALE / 2 / weight.abs().mean().clamp(min=1e-12))


def answering(net: PixelMLP) -> PixelMLP:
    """Return a copy of `net` that answers without being trained, several times faster where it has convolutions.

    Their batch norms are folded into them, and their memory layout is the one that processors and GPUs are fastest in.
    """
    net = copy.deepcopy(net).eval().requires_grad_(False)
    for block in net.blocks:
        if type(block.linear) is nn.Conv2d:  # a float one: a quantized one is a class of its own below it
            block.linear = fuse_conv_bn_eval(block.linear, block.norm)
            block.norm = nn.Identity()  # type: ignore[assignment]
    return net.to(memory_format=torch.channels_last)  # type: ignore[no-any-return, call-overload]


def soft_loss(logits: Tensor, teacher_logits: Tensor, weights: Tensor, *, temperature: float) -> Tensor:
    """Return T^2 * BCE(logits / T, sigmoid(teacher_logits / T)), weighted by image; all arguments (N,).

    Logits (N, K) have cross-entropy and softmax in the place of BCE and sigmoid.
    """
    if logits.ndim == 2:
        losses = functional.cross_entropy(
            logits / temperature, torch.softmax(teacher_logits / temperature, dim=1), reduction="none"
        )
        return (losses * weights).mean() * temperature**2
    target = torch.sigmoid(teacher_logits / temperature)
    soft = functional.binary_cross_entropy_with_logits(logits / temperature, target, weight=weights)
    return soft * temperature**2
