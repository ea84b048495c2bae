"""Everything that can change the hardware, as one frozen object."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, PositiveInt, field_validator, model_validator

from contract.fields import Fields
from finn_build.targets.boards import BOARDS, Board, Share

Activation = Literal["auto", "thresholds", "requantize"]  # what activations are built of; auto: what costs less

SEARCH_ONLY = ("activation", "budget")  # what only the search for a folding reads


class BuildConfig(Fields):
    """One build. Every field can change the hardware."""

    board: str = Field(default="pynq-z2", json_schema_extra={"enum": list(BOARDS)}, examples=["zcu104"])
    """The board, and with it the part and its budget."""
    clk_ns: float = Field(default=10.0, ge=1, le=1000, examples=[5.0])  # no part is faster
    """Target clock period [ns]. In MHz it is 1000 / clk_ns: 10.0 is 100 MHz, 5.0 is 200 MHz, 8.0 is 125 MHz."""
    target_fps: PositiveInt | Literal["max"] | None = Field(default=None, examples=[100000, "max"])
    """Wanted rate [images/s]: the smallest folding that reaches it; or max, all that fits. null: see folding."""
    stream_bits: Literal[8, 16, 32, 64, 128] | None = None
    """Width of the input stream [bit], at most the DMA's of the board. null: as the first layer reads."""
    folding: Path | None = Field(default=None, examples=["folding.json"])
    """JSON file with the folding, in FINN's format. null: it is searched for target_fps. One of the two is given."""
    activation: Activation = "auto"
    """What activations are made of: thresholds, or multiply and shift where exact integers exist. auto: the cheaper."""
    budget: dict[Literal["lut", "bram18", "dsp"], Share] = Field(default={}, examples=[{"lut": 0.5}])
    """What the design may take [share of the part], by resource. What is not named: the board's own budget."""
    sample: int = Field(default=16, ge=1, examples=[64])
    """How many images every step's graph is executed on [images]."""

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
    def _nothing_without_effect(self) -> Self:
        for name in SEARCH_ONLY:
            found = getattr(self, name)
            if self.folding is not None and found != type(self).model_fields[name].get_default():
                raise ValueError(
                    f"'{name}' is {found}, which does nothing beside 'folding': that file says what everything "
                    f"is built of. Leave '{name}' out, or give 'target_fps' in place of 'folding'"
                )
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
        return self._cycles_at(self.target_fps) if isinstance(self.target_fps, int) else None

    def _cycles_at(self, rate: int) -> int:
        return int(1e9 / (self.clk_ns * rate))

    def rate(self, cycles: int) -> int | None:
        """Return the highest target_fps [images/s] that allows as many cycles per image; None: not even 1 does."""
        rate = int(1e9 / (self.clk_ns * cycles))
        while rate and self._cycles_at(rate) < cycles:
            rate -= 1
        return rate or None
