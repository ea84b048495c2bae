"""What a network and its training are: every choice that changes the trained weights is a field here.

A spec describes hardware as well as software: bit widths per layer and layer sizes. It refuses what no board could
hold; what a certain board cannot is refused before a run by `finn_build.foresight`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from contract.fields import Fields
from contract.table import join_names

MAX_BITS = 8
MIN_SIDE, MAX_SIDE = 8, 128  # image side [pixels]
MAX_HIDDEN = 4096  # neurons in one layer
MAX_LAYERS = 64  # hidden layers
MAX_FLAT = 2**16  # values per image that a fully connected layer reads
MAX_CONVOLUTIONS = 16
MAX_CHANNELS = 512
MAX_KERNEL = 11
MAX_STRIDE = 4
POOLED = 2  # side of the windows of a maximum [pixels]
MAX_CLASSES = 100

Bits = Annotated[int, Field(ge=1, le=MAX_BITS)] | Literal["float"]
Widths = Bits | Annotated[tuple[Bits, ...], Field(min_length=1)]
LayerSize = Annotated[int, Field(ge=1, le=MAX_HIDDEN)]
OperatingRule = Literal["balanced", "youden", "sensitivity_95"]


def _check_bits(name: str, bits: object) -> Bits:
    if bits == "float":
        return "float"
    if type(bits) is not int or not 1 <= bits <= MAX_BITS:
        raise ValueError(f"{name} is {bits!r}, but widths are 1..{MAX_BITS} or 'float'")
    return bits


class Convolution(Fields):
    """One convolution, with batch norm and activation behind it."""

    channels: int = Field(ge=1, le=MAX_CHANNELS, examples=[16])
    """What it gives [channels]."""
    kernel: int = Field(default=3, ge=1, le=MAX_KERNEL, examples=[5])
    """Side of its windows [pixels]."""
    stride: int = Field(default=1, ge=1, le=MAX_STRIDE, examples=[2])
    """From one window to the next, down and right [pixels]."""
    padding: int = Field(default=0, ge=0, lt=MAX_KERNEL, examples=[1])
    """Rows and columns around the image [pixels]: of 0, in the first layer of the grey that is normalised to 0;
    fewer than the kernel."""
    kind: Literal["standard", "depthwise"] = "standard"
    """standard: over all channels. depthwise: over each alone, and then 1 x 1 over all, which are two weight layers of
    one width."""

    @model_validator(mode="after")
    def _padding_is_narrower(self) -> Self:
        if self.padding >= self.kernel:
            raise ValueError(f"padding is {self.padding}, expected less than the kernel, {self.kernel}")
        return self


@dataclass(frozen=True)
class Windows:
    """One weight layer of a convolution, of which a depthwise one has two."""

    image: tuple[int, int, int]  # height, width and channels of what it reads
    channels: int
    kernel: int
    stride: int
    padding: int
    depthwise: bool
    pooled: bool  # the maximum of 2 x 2 behind its activation

    @property
    def places(self) -> tuple[int, int]:
        """How many windows there are, down and right."""
        height, width = ((side + 2 * self.padding - self.kernel) // self.stride + 1 for side in self.image[:2])
        return height, width

    @property
    def output(self) -> tuple[int, int, int]:
        """Height, width and channels of what it gives, behind the maximum."""
        height, width = (side // POOLED if self.pooled else side for side in self.places)
        return height, width, self.channels


class NetworkSpec(Fields):
    """H x W uint8 pixels, convolutions, hidden layers, and one logit, or K of them for K classes.

    There is a width of weights for each convolution, each hidden layer and the head, and one of activations for each
    but the head. A list of widths that are all equal is kept as that one width, so that equal networks compare equal.
    """

    height: int = Field(default=28, ge=MIN_SIDE, le=MAX_SIDE, examples=[64])
    """Rows of the input [pixels]."""
    width: int = Field(default=28, ge=MIN_SIDE, le=MAX_SIDE, examples=[64])
    """Columns of the input [pixels]."""
    convolutions: tuple[Annotated[int, Field(ge=1, le=MAX_CHANNELS)] | Convolution, ...] = Field(
        default=(),
        max_length=MAX_CONVOLUTIONS,
        examples=[[16, 32, 64], [{"kernel": 5, "channels": 16, "stride": 2}, {"channels": 32, "padding": 1}]],
    )
    """In front of the hidden layers; a number of channels alone is a kernel of 3 with padding of 1."""
    pool: Literal["max", "none", "global"] = "max"
    """Behind convolutions. max: the maximum of 2 x 2 behind each, and the mean over the image at the end. global: that
    mean alone. none: the hidden layers, or the head, read the whole image."""
    hidden: tuple[LayerSize, ...] = Field(default=(64, 64), max_length=MAX_LAYERS, examples=[[256, 64]])
    """Size of each hidden layer [neurons], the first one first; behind convolutions there may be none, []."""
    weight_bits: Widths = Field(default=8, examples=[4, [8, 4, 4], "float"])
    """Width of the weights [bit]: one for all, or a list: one per convolution and hidden layer, then the head's. 1 is
    -1/+1."""
    act_bits: Widths = Field(default=8, examples=[4, [8, 4], "float"])
    """Width of the activations [bit]: one for all, or a list: one per convolution and hidden layer. 1 is the sign,
    -1/+1."""
    outputs: int = Field(default=1, ge=1, le=MAX_CLASSES, json_schema_extra={"not": {"const": 2}}, examples=[3])
    """Logits: 1 tells two classes apart, K one from each other; as data.classes needs, and best left out."""

    @field_validator("hidden", mode="before")
    @classmethod
    def _check_hidden(cls, value: Any) -> tuple[int, ...]:
        if not isinstance(value, Iterable) or isinstance(value, str | dict):
            raise ValueError(f"hidden is {value!r}, expected a list of layer sizes such as [64, 64]")
        sizes = tuple(value)
        if len(sizes) > MAX_LAYERS:
            raise ValueError(f"hidden lists {len(sizes)} layers, but a network has at most {MAX_LAYERS}")
        for size in sizes:
            if type(size) is not int or not 1 <= size <= MAX_HIDDEN:
                raise ValueError(f"hidden has a layer of size {size!r}, but sizes are 1..{MAX_HIDDEN}")
        return sizes

    @field_validator("outputs")
    @classmethod
    def _check_outputs(cls, value: int) -> int:
        if value == 2:
            raise ValueError("outputs is 2, but one logit tells two classes apart: leave it out, or give 3 or more")
        return value

    @model_serializer(mode="wrap")
    def _leave_out_one_output(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Write one logit as the files of before there were others: their networks are still the same."""
        content: dict[str, Any] = write(self)
        if self.outputs == 1:
            del content["outputs"]
        if self.pool == "max":
            del content["pool"]
        return content

    @field_validator("weight_bits", "act_bits", mode="before")
    @classmethod
    def _check_widths(cls, value: Any, info: ValidationInfo) -> Bits | tuple[Bits, ...]:
        name = str(info.field_name)
        if not isinstance(value, list | tuple):
            return _check_bits(name, value)
        widths = tuple(_check_bits(f"{name}[{i}]", bits) for i, bits in enumerate(value))
        if "hidden" in info.data and "convolutions" in info.data:  # absent when it was refused
            convolutions, hidden = len(info.data["convolutions"]), len(info.data["hidden"])
            expected = convolutions + hidden + (name == "weight_bits")
            layers = (
                "the convolutions, also depthwise ones once each, the hidden ones and the head"
                if any(not isinstance(one, int) and one.kind == "depthwise" for one in info.data["convolutions"])
                else "the convolutions, the hidden ones and the head"
                if convolutions
                else "the hidden ones and the head"
            )
            what = f"weight layers ({layers})" if name == "weight_bits" else "activations"
            if len(widths) != expected:
                raise ValueError(f"{name} lists {len(widths)} widths, but the network has {expected} {what}")
        return widths[0] if widths and all(bits == widths[0] for bits in widths) else widths

    @model_validator(mode="after")
    def _layers_fit(self) -> Self:
        if not self.convolutions and not self.hidden:
            raise ValueError("hidden is empty, but a network without convolutions needs one hidden layer, such as [64]")
        if not self.convolutions and self.pool != "max":
            raise ValueError(f"pool is {self.pool}, but there are no convolutions; leave it out")
        bits = self.act_bits_per_layer
        for i, layer in enumerate(self.windows):
            if min(layer.output) < 1:
                raise ValueError(
                    f"convolutions leave nothing of {self.height} x {self.width} pixels behind weight layer {i}, which "
                    f"reads {layer.image[0]} x {layer.image[1]}; list fewer, or smaller strides and kernels"
                )
            if i and layer.padding and bits[i - 1] == 1:
                raise ValueError(
                    f"weight layer {i} pads its image with 0, but what it reads has 1 bit, -1/+1; give that "
                    "convolution 'padding: 0', or 2 bits or more to the activation in front of it"
                )
        if self.flat > MAX_FLAT:
            raise ValueError(
                f"the convolutions give {self.flat} values per image, expected {MAX_FLAT} at most; use pool: global"
            )
        return self

    @property
    def inputs(self) -> int:
        """Pixels per image."""
        return self.height * self.width

    @property
    def classes(self) -> int:
        """How many it tells apart: 2 of one logit, K of K."""
        return max(2, self.outputs)

    @property
    def windows(self) -> tuple[Windows, ...]:
        """The weight layers of the convolutions."""
        image = (self.height, self.width, 1)
        found: list[Windows] = []
        for one in self.convolutions:
            one = Convolution(channels=one, padding=1) if isinstance(one, int) else one
            pooled, size = self.pool == "max", (one.kernel, one.stride, one.padding)
            if one.kind == "depthwise":
                found.append(Windows(image, image[2], *size, depthwise=True, pooled=False))
                image, size = found[-1].output, (1, 1, 0)
            found.append(Windows(image, one.channels, *size, depthwise=False, pooled=pooled))
            image = found[-1].output
        return tuple(found)

    @property
    def flat(self) -> int:
        """What the first fully connected layer reads per image."""
        if not self.convolutions:
            return self.inputs
        height, width, channels = self.windows[-1].output
        return height * width * channels if self.pool == "none" else channels

    @property
    def weight_bits_per_layer(self) -> tuple[Bits, ...]:
        """Widths [bit] of the weight layers: the windows', the hidden ones', and the head's."""
        return self._per_layer(self.weight_bits, len(self.convolutions) + len(self.hidden) + 1)

    @property
    def act_bits_per_layer(self) -> tuple[Bits, ...]:
        """The same of the activations; the head has none."""
        return self._per_layer(self.act_bits, len(self.convolutions) + len(self.hidden))

    def _per_layer(self, bits: Bits | tuple[Bits, ...], count: int) -> tuple[Bits, ...]:
        each = bits if isinstance(bits, tuple) else (bits,) * count
        depthwise = [not isinstance(one, int) and one.kind == "depthwise" for one in self.convolutions]
        twice = [width for width, two in zip(each, depthwise, strict=False) for _ in range(1 + two)]
        return (*twice, *each[len(depthwise) :])

    @property
    def products(self) -> int:
        """Multiplications per image."""
        taps = (w.kernel**2 * (1 if w.depthwise else w.image[2]) for w in self.windows)
        windows = (prod(w.places) * w.channels * n for w, n in zip(self.windows, taps, strict=True))
        return sum(windows) + sum(a * b for a, b in pairwise((self.flat, *self.hidden, self.outputs)))

    @property
    def is_quantized(self) -> bool:
        """Whether no layer is 'float': only such a network can become hardware."""
        return "float" not in self.weight_bits_per_layer + self.act_bits_per_layer

    def describe(self) -> str:
        """Return a short name such as '784-64-64-1 W8A8', or '784-c16-c32-64-1 WfloatAfloat' with convolutions."""

        def show(bits: Bits | tuple[Bits, ...]) -> str:
            return ",".join(map(str, bits)) if isinstance(bits, tuple) else str(bits)

        front = map(_short, self.convolutions)
        sizes = "-".join(map(str, (self.inputs, *front, *self.hidden, self.outputs)))
        return f"{sizes} W{show(self.weight_bits)}A{show(self.act_bits)}"


def _short(convolution: int | Convolution) -> str:
    """Return it in a few letters: c16, with k5 and s2 for another kernel and stride than 3 and 1, d16 for depthwise."""
    if isinstance(convolution, int):
        return f"c{convolution}"
    kernel = "" if convolution.kernel == 3 else f"k{convolution.kernel}"
    stride = "" if convolution.stride == 1 else f"s{convolution.stride}"
    return f"{convolution.kind.replace('standard', 'c')[0]}{convolution.channels}{kernel}{stride}"


class Augmentation(Fields):
    """Ranges of the random changes to every training image; each is drawn uniformly from -range..+range.

    The scale is drawn independently for x and y. It is what makes a network generalise from the training hospital's
    framing to other framings; the other ranges matter little.
    """

    enabled: bool = True
    """Whether training images are changed at all."""
    rotation_deg: float = Field(default=15.0, ge=0, le=180, examples=[10.0])
    """Rotation [degree]."""
    scale: float = Field(default=0.36, ge=0, lt=1, examples=[0.2])
    """Relative size, x and y apart."""
    shear: float = Field(default=0.15, ge=0, le=1, examples=[0.1])
    """Shear [columns per row]."""
    shift: float = Field(default=0.18, ge=0, le=2, examples=[0.1])
    """Shift [half image sides]."""
    gamma: float = Field(default=0.35, ge=0, le=3, examples=[0.2])
    """Natural logarithm of the exponent."""
    contrast: float = Field(default=0.3, ge=0, le=3, examples=[0.2])
    """Natural logarithm of the gain around the image's mean."""
    brightness: float = Field(default=30.0, ge=0, le=255, examples=[20.0])
    """Brightness [gray levels]."""


class ValidationAugmentation(Augmentation):
    """Ranges of the random changes to copies of the validation images; each is drawn uniformly from -range..+range.

    They choose the best epoch, the calibration and the operating points. They are no copy of `augment`, so that
    trainings with different ranges compare.
    """

    enabled: bool = True
    """Whether the copies are changed at all."""


class Distillation(Fields):
    """Learn from a teacher's answers to the same augmented images, besides the labels.

    loss = (1 - weight) * BCE(logit, label) + weight * T^2 * BCE(logit / T, sigmoid(teacher's logit / T))

    With K logits, cross-entropy and softmax stand for BCE and sigmoid.

    Source: Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", arXiv:1503.02531.
    """

    teacher: Path = Field(examples=["teacher-seed0"])
    """A finished run: its name, or the path of its folder."""
    weight: float = Field(default=0.7, gt=0, le=1, examples=[0.5])
    """Share of the teacher's answers in the loss; the labels have the rest."""
    temperature: float = Field(default=2.0, gt=0, le=100, examples=[4.0])
    """What both logits are divided by in the teacher's share."""


class TrainConfig(Fields):
    """How to train. The defaults are for 2 to 8 bits; binary weights like lr 5e-3 and weight_decay 0 better."""

    epochs: int = Field(default=150, ge=1, le=100_000, examples=[50])
    """How often the network is validated [epochs]; the best one's network is kept."""
    passes: int = Field(default=1, ge=1, le=1000, examples=[5])
    """Passes over all training images in each epoch."""
    batch_size: int = Field(default=128, ge=2, le=65_536, examples=[256])
    """Images of a step [images]."""
    lr: float = Field(default=3e-3, gt=0, le=10, examples=[5e-3])
    """Learning rate: the peak of the one-cycle schedule."""
    weight_decay: float = Field(default=1e-4, ge=0, le=10, examples=[0.0])
    """Of AdamW; batch norms are exempt."""
    pct_start: float = Field(default=0.15, gt=0, lt=1, examples=[0.3])
    """When the learning rate is at its peak [share of the steps]."""
    seed: int = Field(default=0, ge=0, lt=2**63, examples=[1])
    """Of the weights, the batches and the augmentation."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where it trains. auto: a GPU where torch has one, which gives other weights than the CPU."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the arithmetic of a step. bfloat16 is for float convolutions, and faster where the processor or GPU has it."""
    patience: int | None = Field(default=None, ge=1, examples=[20])
    """How long without improvement before it stops [epochs], fewer than epochs. null: it trains all of them."""
    class_balance: bool = True
    """Whether the loss is weighed as if all classes were equally common."""
    augment: Augmentation = Augmentation()
    """Random changes to training images."""
    validation_augment: ValidationAugmentation = ValidationAugmentation()
    """What validation images go through for the monitor, the calibration and the operating points."""
    distill: Distillation | None = Field(default=None, examples=[{"teacher": "teacher-seed0"}])
    """A teacher whose answers are learned besides the labels. null: the labels alone."""
    init_from: Path | None = Field(default=None, examples=["w1a1-start"])
    """A finished run of the same layer sizes, whose weights are the start: its name or folder. null: random ones."""
    operating_point: OperatingRule = "balanced"
    """How the threshold is chosen, on augmented validation images: even odds at equal class sizes, the largest Youden's
    J, or the highest that still finds 95 % of the pneumonias."""
    one_class: str | None = Field(default=None, examples=["VIRUS"])
    """Of K classes, the one that has operating points, against the rest. null: there are none."""

    def conflict(self, outputs: int, classes: Sequence[str]) -> str | None:
        """Say what cannot be chosen of a network of so many logits for these classes; None: all can."""
        if outputs > 1 and self.operating_point != "balanced":
            return (
                f"'train.operating_point' is {self.operating_point}, a threshold of one logit, but the network has "
                f"{outputs}, of which the greatest is the class. Leave 'train.operating_point' out; 'train.one_class' "
                "names a class that is to have such points."
            )
        if self.one_class is not None and (outputs == 1 or self.one_class not in classes):
            return (
                f"'train.one_class' is {self.one_class[:60]!r}, expected one of more than two classes in "
                f"'data.classes'; here are {join_names(classes)[:200]}."
            )
        return None

    @model_serializer(mode="wrap")
    def _leave_out_the_new(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Write what the files of before there were K classes and precisions have."""
        content: dict[str, Any] = write(self)
        if self.one_class is None:
            del content["one_class"]
        if self.precision == "float32":
            del content["precision"]
        return content

    @model_validator(mode="after")
    def _patience_is_shorter(self) -> Self:
        if self.patience is not None and self.patience >= self.epochs:
            raise ValueError(
                f"patience is {self.patience} but there are {self.epochs} epochs, so it would never act; "
                "leave patience out or make it smaller"
            )
        return self
