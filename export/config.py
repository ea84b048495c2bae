"""What can be chosen of an export, as one frozen object."""

from pydantic import Field

from contract.fields import Fields


class ExportConfig(Fields):
    """How a trained network becomes integers."""

    # Bits of the factors that activations of 2 bits and more may be multiplied by; batch norm gains that need more are
    # moved. None: the network stays as it was trained.
    factor_bits: int | None = Field(default=None, ge=4, le=20)
