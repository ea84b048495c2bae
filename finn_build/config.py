"""Everything that can change the hardware, as one frozen object."""

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, field_validator, model_validator

from finn_build.boards import BOARDS


class BuildConfig(BaseModel):
    """One build. Every field can change the hardware."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    board: str = "pynq-z2"
    clk_ns: PositiveFloat = 10.0  # target clock period [ns]
    target_fps: PositiveInt | None = None  # images/s; FINN chooses the folding
    folding: Path | None = None  # or the folding is read from this JSON file, in FINN's own format
    sample: int = Field(default=16, ge=1)  # images on which every step's graph is executed

    @field_validator("board")
    @classmethod
    def _known_board(cls, board: str) -> str:
        if board not in BOARDS:
            raise ValueError(f"'{board}' is not a known board; known are {', '.join(BOARDS)}")
        return board

    @model_validator(mode="after")
    def _one_source_of_folding(self) -> Self:
        if (self.target_fps is None) == (self.folding is None):
            raise ValueError("set exactly one of 'target_fps' and 'folding'")
        return self
