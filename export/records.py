"""The record of this folder: what an export leaves, as everybody else reads it. No PyTorch."""

from typing import Annotated

from pydantic import Field

from contract.record import Chain, Count, Number, Positive, Record, Text


class ExportedLayer(Record):
    """The size of one weight layer."""

    inputs: Count
    outputs: Count


class Exported(Record):
    """export.json."""

    command = "export"
    network: Text
    scale: Positive  # real logit = scale * integer logit + offset
    offset: Number
    threshold: Annotated[int, Field(ge=-(2**31), lt=2**31)]
    chain: Chain
    layers: Annotated[list[ExportedLayer], Field(max_length=100)]
