"""What a network and its training are: every choice that changes the trained weights is a field here.

A spec describes hardware as well as software: bit widths per layer and layer sizes. It refuses what no board could
hold; what a certain board cannot is refused before a run by `finn_build.foresight`.
"""

from collections.abc import Iterable, Sequence
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
MAX_CONVOLUTIONS = 5  # each halves the image side
MAX_CHANNELS = 512
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


class NetworkSpec(Fields):
    """A fully connected network: H x W uint8 pixels, hidden layers, one logit, or K of them for K classes.

    There are len(hidden) + 1 weight layers (the last one is the head) and len(hidden) activations. A list of widths
    that are all equal is kept as that one width, so that equal networks compare equal.
    """

    height: int = Field(default=28, ge=MIN_SIDE, le=MAX_SIDE, examples=[64])
    """Rows of the input [pixels]."""
    width: int = Field(default=28, ge=MIN_SIDE, le=MAX_SIDE, examples=[64])
    """Columns of the input [pixels]."""
    convolutions: tuple[int, ...] = Field(
        default=(),
        json_schema_extra={
            "items": {"type": "integer", "minimum": 1, "maximum": MAX_CHANNELS},
            "maxItems": MAX_CONVOLUTIONS,
        },
        examples=[[16, 32, 64]],
    )
    """Channels of each convolution in front of the layers [channels]: a teacher, float only, never hardware."""
    hidden: tuple[LayerSize, ...] = Field(default=(64, 64), min_length=1, max_length=MAX_LAYERS, examples=[[256, 64]])
    """Size of each hidden layer [neurons], the first one first."""
    weight_bits: Widths = Field(default=8, examples=[4, [8, 4, 4], "float"])
    """Width of the weights [bit]: one for all, or a list: one per hidden layer, then the head's. 1 is -1/+1."""
    act_bits: Widths = Field(default=8, examples=[4, [8, 4], "float"])
    """Width of the activations [bit]: one for all, or a list: one per hidden layer. 1 is the sign, -1/+1."""
    outputs: int = Field(default=1, ge=1, le=MAX_CLASSES, json_schema_extra={"not": {"const": 2}}, examples=[3])
    """Logits: 1 tells two classes apart, K one from each other; as data.classes needs, and best left out."""

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
