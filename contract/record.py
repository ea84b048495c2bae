"""Records: the files that stages leave, each one typed class beside its writer, read through here and nowhere else.

Runs are copied between machines and people, so a file may say anything: nothing is believed before it was checked, and
what is wrong is one sentence. Needs pydantic, so no deploy folder has this module.
"""

from pathlib import Path
from typing import Annotated, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from contract.files import LONGEST_TEXT, damaged, read_text

Text = Annotated[str, Field(max_length=LONGEST_TEXT)]
Number = Annotated[float, Field(allow_inf_nan=False, ge=-1e12, le=1e12)]
Share = Annotated[float, Field(allow_inf_nan=False, ge=0, le=1)]
Count = Annotated[int, Field(ge=0, le=10**12)]
Positive = Annotated[float, Field(allow_inf_nan=False, gt=0, le=1e12)]
Versions = Annotated[dict[Text, Text], Field(max_length=100, default_factory=dict)]


class Record(BaseModel):
    """A JSON file, or a part of one; what nobody reads is not looked at."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")
    command: ClassVar[str] = ""  # the subcommand of cxrflow that writes the file


class Difference(Record):
    """The first image on which a stage differs from the golden logits."""

    image: Count
    got: Number
    want: Number


# Stages that are counted for information, by how they compute: what makes them differ, and is no fault of the integers.
WITNESSES = {
    "file_float32": "in float32",
    "file_rational": "in fractions, without float64's own rounding of ties",
    "qonnx_float32": "in float32",
    "qonnx_to_finn": "in float32, with ties rounded up",
    "streamline": "in float32, with ties rounded up",
}


class Link(Record):
    """One link of the chain of equality. A stage that cannot be executed in Python has no images."""

    stage: Text
    images: Count
    differing: Count | None = None
    first_difference: Difference | None = None
    places: dict[Text, Count] = {}  # of a witness of a file: at which layer so many inputs first differ
    note: Text = ""  # why it was not executed

    @property
    def where(self) -> str:
        """Where inputs first differ, such as: 2 first at input, 5 first at layer 0."""
        return ", ".join(f"{count} first at {place}" for place, count in self.places.items())


Chain = Annotated[list[Link], Field(max_length=100)]
T = TypeVar("T", bound=BaseModel)


def read_record(path: Path, kind: type[T]) -> T:
    """Return a JSON file as `kind`. Raises ArtifactError, which names the first field that is wrong."""
    command = f"run `cxrflow {getattr(kind, 'command', '')}`"
    advice = f"Delete {path.parent} and {command} again." if path.exists() else f"{command.capitalize()} first."
    try:
        return kind.model_validate_json(read_text(path, advice=advice))
    except ValidationError as err:
        first = err.errors()[0]
        where = ".".join(map(str, first["loc"]))[:200] or "the file"
        raise damaged(path, f"'{where}': {first['msg']}", advice=advice) from err
