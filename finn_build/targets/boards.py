"""The boards we can build for, as `boards.toml` beside this file lists them with their sources."""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
)
from pydantic_core import PydanticCustomError

from contract.errors import ConfigError
from contract.processors import KNOWN_PARTS, processors_of
from finn_build.targets.families import family_of

BOARDS_FILE = Path(__file__).with_name("boards.toml")
PlainName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
Share = Annotated[float, Field(gt=0, le=1)]
Setting = Annotated[str, Field(pattern=r"^(PCW_|PSU_)[A-Za-z0-9_]+$")]


def _of_a_family(part: str) -> str:
    try:
        family_of(part)
    except ValueError as err:
        raise PydanticCustomError("family", "Input should be {known}", {"known": KNOWN_PARTS}) from err
    return part


class Budget(BaseModel):
    """Share of each resource that a design may fill."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    lut: Share
    ff: Share
    bram18: Share
    dsp: Share
    uram: Share


class Board(BaseModel):
    """One board. Resource counts are those of the whole part."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    name: PlainName  # also the name of its folder in a run
    finn_name: str | None = None  # FINN's own key, exact case; None: FINN does not know it, so it has no finn_iodma
    part: Annotated[str, Field(pattern=r"^[a-z][A-Za-z0-9-]+$"), AfterValidator(_of_a_family)]
    board_parts: Annotated[list[Annotated[str, Field(pattern=r"^[^:\s]+:[^:\s]+:part0:[\d.]+$")]], Field(min_length=1)]
    dma_bits: Literal[32, 64, 128]  # width of the DMA's memory port [bit]: no stream into the PL is wider
    pl_mhz: PositiveFloat  # the PS's first clock into the PL [MHz]
    lut: PositiveInt
    ff: PositiveInt
    bram18: PositiveInt  # blocks of 18 Kbit
    dsp: PositiveInt
    uram: NonNegativeInt
    budget: Budget
    ps_settings: dict[Setting, Annotated[str, Field(pattern=r"^[\w .()/:-]+$")] | int | float] = {}

    @property
    def ps(self) -> str:
        """Name of the processing system, as the Vivado project's scripts know it."""
        return processors_of(self.part).name

    @property
    def vivado_family(self) -> str:
        """Vivado's name of the device family."""
        return family_of(self.part).vivado

    @property
    def yosys_family(self) -> str:
        """Yosys' name of the device family."""
        return family_of(self.part).name

    @property
    def usable(self) -> dict[str, int]:
        """How much of each resource a design may fill."""
        return {name: int(getattr(self, name) * share) for name, share in self.budget.model_dump().items()}

    def lut_equivalents(self, lut: int, bram18: int, dsp: int) -> float:
        """Return resources as LUTs: a block of 18 Kbit and a DSP count as the part's LUTs per each of them."""
        return lut + bram18 * self.lut / self.bram18 + dsp * self.lut / self.dsp

    def input_pixels(self, pixels: int, simd: int, bits: int = 8, *, stream_bits: int | None = None) -> int:
        """Pixels per beat of the input stream of a first layer with that SIMD: as many, if a DMA can drive that.

        With `stream_bits`, as many as beats of just that width carry, whatever the layer reads. Raises ConfigError.
        """
        plain = stream_bits is None and self._drives(simd * bits)
        return simd if plain else self.stream_pixels(pixels, bits, stream_bits=stream_bits)

    def stream_pixels(self, pixels: int, bits: int = 8, *, stream_bits: int | None = None) -> int:
        """Pixels per beat of the DMA's widest stream whose beats divide an image of so many pixels of `bits` each.

        Args:
            pixels: of an image.
            bits: of a pixel.
            stream_bits: the width that the stream must have [bit]; None: any that the DMA can drive.

        Raises:
            ConfigError: no beats of `stream_bits` divide the image, or the DMA has fewer bits.
        """
        legal = [p for p in range(1, self.dma_bits // bits + 1) if pixels % p == 0 and self._drives(p * bits)]
        if stream_bits is None:
            return max(legal)
        fitting = [p for p in legal if _beat_bits(p * bits) == stream_bits]
        if not fitting:
            others = ", ".join(map(str, sorted({_beat_bits(p * bits) for p in legal})))
            why = (
                f"the DMA of {self.name} has {self.dma_bits}"
                if stream_bits > self.dma_bits
                else f"the beats must divide an image of {pixels:,} values of {bits} bits"
            )
            raise ConfigError(
                f"'build.stream_bits' is {stream_bits}, but {why}, so it can be {others}. Choose one of these, or "
                "leave it out."
            )
        return max(fitting)

    def _drives(self, bits: int) -> bool:
        """Tell whether a DMA's stream can have beats of so many bits, in whole bytes: 1, 2, 4, ... of them."""
        size = _beat_bits(bits) // 8
        return size & (size - 1) == 0 and 8 * size <= self.dma_bits

    def stream_cycles(self, pixels: int, bits: int = 8, *, stream_bits: int | None = None) -> int:
        """Cycles that such an image takes on that stream: no design on this board is faster. Raises ConfigError."""
        return pixels // self.stream_pixels(pixels, bits, stream_bits=stream_bits)


def _beat_bits(bits: int) -> int:
    """Return the width of beats that hold so many bits, in whole bytes."""
    return -(-bits // 8) * 8


def load_boards(path: Path) -> dict[str, Board]:
    """Read a board catalogue. Raises ConfigError."""
    try:
        raw: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise ConfigError(f"{path} is not readable TOML: {str(err).rstrip('.')}. Correct it or restore it.") from err
    if raw.keys() - {"boards", "budget"} or not isinstance(raw.get("boards"), dict) or not raw["boards"]:
        raise ConfigError(
            f"{path} holds {', '.join(map(repr, raw)) or 'nothing'} at its top, expected tables 'budget' and "
            "'boards.NAME'. Correct it or restore it."
        )
    return {name: _board(path, name, entry, raw.get("budget")) for name, entry in raw["boards"].items()}


def _board(path: Path, name: str, entry: Any, budget: Any) -> Board:
    if not isinstance(entry, dict) or "name" in entry:
        raise ConfigError(f"{path}: 'boards.{name}' is {entry!r:.60}, expected a table without a 'name' of its own.")
    try:
        return Board.model_validate({"budget": budget, **entry, "name": name})
    except ValidationError as err:
        first = err.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        if first["type"] == "missing":
            found = "is missing, expected a value"
        elif first["type"] == "extra_forbidden":
            found = f"is no field, expected {', '.join(sorted(Board.model_fields.keys() - {'name'}))}"
        else:
            expected = first["msg"].replace("Input should be", "expected")
            found = f"is {first['input']!r:.60}, {expected[0].lower()}{expected[1:]}"
        raise ConfigError(f"{path}: '{field}' of board '{name}' {found}. Correct that line.") from err


BOARDS = load_boards(BOARDS_FILE)
