"""The record of this folder: what an export leaves, as everybody else reads it. No PyTorch."""

from typing import Annotated, Any

from pydantic import Field, field_validator

from contract.decision import Choice, Head, beyond_bounds
from contract.network import FLOAT32_EXACT, IntegerNetwork
from contract.quantizer import InputRule
from contract.record import Chain, Count, Number, Positive, Record, Share, Text


class ExportedLayer(Record):
    """The size of one weight layer, and what becomes of its sums."""

    inputs: Count  # of one sum
    outputs: Count  # channels
    activation: Text = ""  # of contract.network; an earlier version did not say
    kind: Text = "dense"  # of contract.network; an earlier version had no other
    gives: Annotated[list[Count], Field(max_length=3)] | None = (
        None  # shape of its outputs; an earlier version did not say
    )


class Labels(Record):
    """How the classes of an imported network compare with labels that were given."""

    images: Count
    correct: Count


class ImportedFile(Record):
    """Where an imported network came from."""

    file: Text  # its name, without its folder
    sha256: Text
    reads: Text  # what is fed: float, or a datatype
    shape: Annotated[list[Count], Field(max_length=8)] | None = None  # of one input; an earlier version did not say
    samples: Count  # inputs that were given
    labels: Labels | None = None  # None: no labels were given, so nothing is known of how good it is


class Narrowed(Record):
    """What it changed that batch norm gains were moved, for narrow factors."""

    factor_bits: Count
    layers: Count  # that needed wider ones
    channels_snapped: Count
    validation_auc_before: Share
    validation_auc: Share
    test_images_of_another_class: Count  # than the network as it was trained gives them, whose metrics are shown

    @property
    def sentence(self) -> str:
        """All of it, for people."""
        return (
            f"Factors of {self.factor_bits} bits: the gains of {self.channels_snapped} channels in {self.layers} "
            f"layers were moved after the training. Validation AUC: {self.validation_auc_before:.4f} before, "
            f"{self.validation_auc:.4f} now. Metrics are of the network as it was trained; test images that now get "
            f"another class: {self.test_images_of_another_class}."
        )


class Exported(Record):
    """export.json, of a trained network or of an imported one."""

    command = "export"
    network: Text
    scale: Positive | None = None  # of a trained network: real logit = scale * integer logit + offset
    offset: Number | None = None
    threshold: Annotated[int, Field(ge=-(2**31), lt=2**31)] | None = None
    choice: Choice | None = None  # of a network trained for K classes: what its integers mean
    narrowed: Narrowed | None = None  # None: it is the network as it was trained
    imported: ImportedFile | None = None  # None: it was trained here
    rule: InputRule | None = None  # of an imported network whose input the host quantizes
    head: Head | None = None  # of an imported network: what its integers stand for
    chain: Chain
    layers: Annotated[list[ExportedLayer], Field(max_length=100)]

    @property
    def activations(self) -> str:
        """How its layers activate, for people; empty where that is not known."""
        known = [layer.activation for layer in self.layers]
        return f"Activations, layer by layer: {', '.join(known)}." if all(known) else ""

    @field_validator("choice")
    @classmethod
    def _is_within_64_bits(cls, choice: Choice | None) -> Choice | None:
        if choice is None:
            return None
        if not len(choice.multipliers) == len(choice.offsets) >= 2:
            raise ValueError(
                f"found {len(choice.multipliers)} multipliers and {len(choice.offsets)} offsets, expected as many, of "
                "two or more"
            )
        wrong = beyond_bounds(choice)
        if wrong is not None:
            raise ValueError(wrong)
        return choice


def describe_layers(network: IntegerNetwork) -> list[dict[str, Any]]:
    """Return sizes and widths of every layer, as export.json has them."""
    rows = []
    for layer, (low, high) in network.products():
        least, greatest = layer.accumulator_range(low, high)
        bound = layer.partial_sum_bound(low, high)
        rows.append(
            {
                "kind": layer.kind,
                "outputs": len(layer.weights),
                "inputs": layer.weights.size // len(layer.weights),
                "gives": list(layer.output_shape),
                "activation": layer.activation,
                "accumulator": [int(least.min()), int(greatest.max())],
                "partial_sum_bound": bound,
                "exact_in_float32": bound <= FLOAT32_EXACT,
            }
        )
    return rows
