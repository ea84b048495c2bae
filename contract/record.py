"""Records: the files that stages leave, each one typed class beside its writer, read through here and nowhere else.

Runs are copied between machines and people, so a file may say anything: nothing is believed before it was checked, and
what is wrong is one sentence. Needs pydantic, so this is the one module of `contract` that does not go to a board.
"""

from pathlib import Path
from typing import Annotated, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from contract.errors import ArtifactError

MAX_BYTES = 4 << 20  # of one text file; those of the stages have a few kB
Text = Annotated[str, Field(max_length=300)]
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


# Stages that are counted for information: float32 cannot hold every sum, and FINN computes thresholds in it.
WITNESSES = ("qonnx_float32", "qonnx_to_finn", "streamline")


class Link(Record):
    """One link of the chain of equality. A stage that cannot be executed in Python has no images."""

    stage: Text
    images: Count
    differing: Count | None = None
    first_difference: Difference | None = None
    note: Text = ""  # why it was not executed


Chain = Annotated[list[Link], Field(max_length=100)]
T = TypeVar("T", bound=BaseModel)


def read_record(path: Path, kind: type[T]) -> T:
    """Return a JSON file as `kind`. Raises ArtifactError, which names the first field that is wrong."""
    command = str(getattr(kind, "command", ""))
    try:
        return kind.model_validate_json(read_text(path, command))
    except ValidationError as err:
        first = err.errors()[0]
        where = ".".join(map(str, first["loc"]))[:200] or "the file"
        raise damaged(path, f"'{where}': {first['msg']}", command) from err


def read_text(path: Path, command: str = "") -> str:
    """Return a text file of a stage, which `command` makes. Raises ArtifactError."""
    if not path.exists():
        raise ArtifactError(f"{path} is not there. {_run(command)} first.")
    if not path.is_file():  # a pipe would be waited for
        raise damaged(path, "it is no file", command)
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise damaged(path, f"it has more than {MAX_BYTES:,} bytes", command)
        return content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise damaged(path, str(err), command) from err


def damaged(path: Path, why: str, command: str = "") -> ArtifactError:
    """Return the error that says what is wrong with a file, in one sentence."""
    why = " ".join(why.split())[:200].rstrip(".")
    return ArtifactError(
        f"{path} is damaged ({why}), expected what its stage wrote. Delete {path.parent}. {_run(command)} again."
    )


def _run(command: str) -> str:
    return f"Run `cxrflow {command}`" if command else "Run its stage"
