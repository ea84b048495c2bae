"""What a network and its training are: every choice that changes the trained weights is a field here.

A spec describes hardware as well as software: bit widths per layer and layer sizes. It refuses what no board could
hold; what a certain board cannot is refused before a run by `finn_build.foresight`.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from contract.fields import Fields

MAX_BITS = 8
MIN_SIDE, MAX_SIDE = 8, 128  # image side [pixels]
MAX_HIDDEN = 4096  # neurons in one layer
MAX_LAYERS = 64  # hidden layers
MAX_CONVOLUTIONS = 5  # each halves the image side
MAX_CHANNELS = 512
MAX_CLASSES = 100

Bits = int | Literal["float"]
# How the threshold is chosen, on augmented validation images: even odds at equal class sizes, the largest Youden's J,
# or the highest threshold that still finds 95 % of the pneumonias.
OperatingRule = Literal["balanced", "youden", "sensitivity_95"]


def _check_bits(name: str, bits: object) -> Bits:
    if bits == "float":
        return "float"
    if type(bits) is not int or not 1 <= bits <= MAX_BITS:
        raise ValueError(f"{name} is {bits!r}, but widths are 1..{MAX_BITS} or 'float'")
    return bits


class NetworkSpec(Fields):
    """A fully connected network: H x W uint8 pixels, hidden layers, one logit, or K of them for K classes.

    There are len(hidden) + 1 weight layers (the last one is the head) and len(hidden) activations. A list of widths
    that are all equal is kept as that one width, so that equal networks compare equal.
    """

    height: int = Field(default=28, ge=MIN_SIDE, le=MAX_SIDE)  # input rows [pixels]
    width: int = Field(default=28, ge=MIN_SIDE, le=MAX_SIDE)  # input columns [pixels]
    convolutions: tuple[int, ...] = ()  # channels of convolutions in front: a teacher, float only, never hardware
    hidden: tuple[int, ...] = (64, 64)  # neurons of each hidden layer
    weight_bits: Bits | tuple[Bits, ...] = 8  # [bit], one for all or one per weight layer; 1 is -1/+1
    act_bits: Bits | tuple[Bits, ...] = 8  # [bit], one for all or one per hidden layer; 1 is the sign, -1/+1
    outputs: int = Field(default=1, ge=1, le=MAX_CLASSES)  # logits: 1 tells two classes apart, K one from each other

    @field_validator("hidden", mode="before")
    @classmethod
    def _check_hidden(cls, value: Any) -> tuple[int, ...]:
        if not isinstance(value, Iterable) or isinstance(value, str | dict):
            raise ValueError(f"hidden is {value!r}, expected a list of layer sizes such as [64, 64]")
        sizes = tuple(value)
        if not sizes:
            raise ValueError("hidden is empty, but a network needs at least one hidden layer, such as [64]")
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
        return content

    @field_validator("convolutions")
    @classmethod
    def _check_convolutions(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(value) > MAX_CONVOLUTIONS or not all(1 <= channels <= MAX_CHANNELS for channels in value):
            raise ValueError(
                f"convolutions is {list(value)}, expected at most {MAX_CONVOLUTIONS} numbers of channels, each "
                f"1..{MAX_CHANNELS}, such as [16, 32, 64]"
            )
        return value

    @field_validator("weight_bits", "act_bits", mode="before")
    @classmethod
    def _check_widths(cls, value: Any, info: ValidationInfo) -> Bits | tuple[Bits, ...]:
        name = str(info.field_name)
        if not isinstance(value, list | tuple):
            return _check_bits(name, value)
        widths = tuple(_check_bits(f"{name}[{i}]", bits) for i, bits in enumerate(value))
        if "hidden" in info.data:  # absent when it was refused
            hidden = len(info.data["hidden"])
            expected = hidden + 1 if name == "weight_bits" else hidden
            what = "weight layers (the hidden ones and the head)" if name == "weight_bits" else "activations"
            if len(widths) != expected:
                raise ValueError(f"{name} lists {len(widths)} widths, but the network has {expected} {what}")
        return widths[0] if widths and all(bits == widths[0] for bits in widths) else widths

    @model_validator(mode="after")
    def _convolutions_are_float(self) -> Self:
        if self.convolutions and set(self.weight_bits_per_layer + self.act_bits_per_layer) != {"float"}:
            raise ValueError(
                "convolutions are for teachers, which are never built: set weight_bits and act_bits to float, "
                "or leave convolutions out"
            )
        if min(self.height, self.width) >> len(self.convolutions) == 0:
            raise ValueError(
                f"convolutions halve the image side {len(self.convolutions)} times, but {self.height} x {self.width} "
                "pixels can be halved less often; list fewer"
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
    def weight_bits_per_layer(self) -> tuple[Bits, ...]:
        """len(hidden) + 1 widths [bit], the head's last."""
        return self.weight_bits if isinstance(self.weight_bits, tuple) else (self.weight_bits,) * (len(self.hidden) + 1)

    @property
    def act_bits_per_layer(self) -> tuple[Bits, ...]:
        """len(hidden) widths [bit]."""
        return self.act_bits if isinstance(self.act_bits, tuple) else (self.act_bits,) * len(self.hidden)

    @property
    def is_quantized(self) -> bool:
        """Whether no layer is 'float': only such a network can become hardware."""
        return "float" not in self.weight_bits_per_layer + self.act_bits_per_layer

    def describe(self) -> str:
        """Return a short name such as '784-64-64-1 W8A8', or '784-c16-c32-64-1 WfloatAfloat' with convolutions."""

        def show(bits: Bits | tuple[Bits, ...]) -> str:
            return ",".join(map(str, bits)) if isinstance(bits, tuple) else str(bits)

        front = (f"c{channels}" for channels in self.convolutions)
        sizes = "-".join(map(str, (self.inputs, *front, *self.hidden, self.outputs)))
        return f"{sizes} W{show(self.weight_bits)}A{show(self.act_bits)}"


class Augmentation(Fields):
    """Ranges of the random changes to every training image; each is drawn uniformly from -range..+range.

    The scale is drawn independently for x and y. It is what makes a network generalise from the training hospital's
    framing to other framings; the other ranges matter little.
    """

    enabled: bool = True
    rotation_deg: float = Field(default=15.0, ge=0, le=180)  # [degree]
    scale: float = Field(default=0.36, ge=0, lt=1)  # relative size, x and y apart
    shear: float = Field(default=0.15, ge=0, le=1)  # columns per row
    shift: float = Field(default=0.18, ge=0, le=2)  # of half the image side
    gamma: float = Field(default=0.35, ge=0, le=3)  # natural log of the exponent
    contrast: float = Field(default=0.3, ge=0, le=3)  # natural log of the gain around the image's mean
    brightness: float = Field(default=30.0, ge=0, le=255)  # [gray levels]


class Distillation(Fields):
    """Learn from a teacher's answers to the same augmented images, besides the labels.

    loss = (1 - weight) * BCE(logit, label) + weight * T^2 * BCE(logit / T, sigmoid(teacher's logit / T))

    With K logits, cross-entropy and softmax stand for BCE and sigmoid.

    Source: Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", arXiv:1503.02531.
    """

    teacher: Path  # a finished run: its name, or the path of its folder
    weight: float = Field(default=0.7, gt=0, le=1)
    temperature: float = Field(default=2.0, gt=0, le=100)


class TrainConfig(Fields):
    """How to train. The defaults are for 2 to 8 bits; binary weights like lr 5e-3 and weight_decay 0 better."""

    epochs: int = Field(default=150, ge=1, le=100_000)  # validations; the best one's network is kept
    passes: int = Field(default=1, ge=1, le=1000)  # over all training images in each epoch
    batch_size: int = Field(default=128, ge=2, le=65_536)  # images
    lr: float = Field(default=3e-3, gt=0, le=10)  # peak of the one-cycle schedule
    weight_decay: float = Field(default=1e-4, ge=0, le=10)  # AdamW; batch norms are exempt
    pct_start: float = Field(default=0.15, gt=0, lt=1)  # fraction of the steps until the peak
    seed: int = Field(default=0, ge=0, lt=2**63)
    device: Literal["auto", "cpu", "cuda"] = "auto"  # auto: a GPU where torch has one; other weights than the CPU's
    patience: int | None = Field(
        default=None, ge=1
    )  # epochs without improvement before stopping; None: train all epochs
    class_balance: bool = True  # weigh the loss as if both classes were equally common
    augment: Augmentation = Augmentation()
    # What the validation images go through for the monitor, the calibration and the operating points. It is no copy of
    # `augment`, so that trainings with different ranges compare.
    validation_augment: Augmentation = Augmentation()
    distill: Distillation | None = None
    init_from: Path | None = None  # a finished run of the same layer sizes, whose weights are the start; name or folder
    operating_point: OperatingRule = "balanced"
    one_class: str | None = (
        None  # of K classes: the one that has operating points, against the rest; None: there are none
    )

    @model_serializer(mode="wrap")
    def _leave_out_no_class(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Write what the files of before there were K classes have."""
        content: dict[str, Any] = write(self)
        if self.one_class is None:
            del content["one_class"]
        return content

    @model_validator(mode="after")
    def _patience_is_shorter(self) -> Self:
        if self.patience is not None and self.patience >= self.epochs:
            raise ValueError(
                f"patience is {self.patience} but there are {self.epochs} epochs, so it would never act; "
                "leave patience out or make it smaller"
            )
        return self
