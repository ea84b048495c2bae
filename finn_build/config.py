"""Everything that can change the hardware, as one frozen object."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, PositiveInt, field_validator, model_validator

from contract.fields import Fields
from finn_build.targets.boards import BOARDS, Board, Share

Activation = Literal["auto", "thresholds", "requantize"]  # what activations are built of; auto: what costs less


class BuildConfig(Fields):
    """One build. Every field can change the hardware."""

    board: str = "pynq-z2"
    clk_ns: float = Field(default=10.0, ge=1, le=1000)  # target clock period [ns]; no part is faster
    target_fps: PositiveInt | Literal["max"] | None = None  # images/s: the smallest folding that reaches it; or max
    stream_bits: Literal[8, 16, 32, 64, 128] | None = None  # of the input stream; None: as the first layer reads
    folding: Path | None = None  # or the folding is read from this JSON file, in FINN's own format
    activation: Activation = "auto"  # thresholds, or multiply and shift where exact integers exist; auto: the cheaper
    budget: dict[Literal["lut", "bram18", "dsp"], Share] = Field(default={})  # of the part, instead of the board's
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

    @model_validator(mode="after")
    def _stream_that_the_board_has(self) -> Self:
        most = BOARDS[self.board].dma_bits
        if self.stream_bits is not None and self.stream_bits > most:
            raise ValueError(
                f"'stream_bits' is {self.stream_bits}, but the DMA of {self.board} has {most}; choose at most {most}"
            )
        return self

    @property
    def filled(self) -> Board:
        """The board with this build's budget."""
        board = BOARDS[self.board]
        return board.model_copy(
            update={"budget": board.budget.model_copy(update={str(name): share for name, share in self.budget.items()})}
        )

    @property
    def cycles(self) -> int | None:
        """Cycles per image at the wanted rate; None: as few as possible."""
        return int(1e9 / (self.clk_ns * self.target_fps)) if isinstance(self.target_fps, int) else None
