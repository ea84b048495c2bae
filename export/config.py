"""What can be chosen of an export, as one frozen object."""

from pydantic import Field

from contract.fields import Fields


class ExportConfig(Fields):
    """How a trained network becomes integers."""

    factor_bits: int | None = Field(default=None, ge=4, le=20, examples=[12])
    """Width of the factors that activations of 2 bits and more may be multiplied by [bit]: batch norm gains that need
    more are moved. null: the network stays as it was trained."""
