"""What every format finds before anything is decoded: the images it holds, their labels, and how to read each."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contract.errors import DataError, ImageError
from contract.preprocess import MAX_FILE_BYTES

_NEGATIVE = {"0", "0.0", "control", "false", "healthy", "neg", "negative", "no", "no finding", "normal"}
_POSITIVE = {"1", "1.0", "abnormal", "lung opacity", "pneumonia", "pos", "positive", "sick", "true", "yes"}


@dataclass(frozen=True, eq=False)
class XrayFile:
    """One image that a source promises."""

    name: str  # relative to the source, with "/"; shown to people
    label: int  # 0 normal, 1 pneumonia
    split: str | None  # train, val or test, if the source says
    patient: str | None  # equal for images of one patient, if the source says; None: by name or DICOM header
    state: tuple[int | str, ...]  # known without reading; changes when the content does
    read: Callable[[], bytes | NDArray[np.uint8]]  # content, or gray pixels (h, w); raises ImageError, OSError


@dataclass(frozen=True, eq=False)
class Listing:
    """All images of a source."""

    root: Path  # for messages
    source: str  # one line for people
    files: tuple[XrayFile, ...]
    splits: tuple[str, ...] = ()  # those of train, val and test that the source has; none: we divide it
    notes: tuple[str, ...] = ()  # sentences on what the source does not say and what was done about it
    close: Callable[[], None] = lambda: None  # call when nothing will be read any more


def two_classes(names: Iterable[str], positive: str | None, *, where: str) -> dict[str, int]:
    """Return the label, 0 or 1, of both class names.

    The positive class is the one the user names, or the one whose name says so, or the one beside a name for health.

    Raises:
        DataError: there are not two names, or nothing tells which is positive.
    """
    found = sorted(set(names))
    if len(found) != 2:
        raise DataError(
            f"{where}: has {len(found)} classes ({', '.join(map(repr, found[:5])) or 'none'}), expected two; "
            "remove or merge the others."
        )
    if positive is not None:
        chosen = [name for name in found if _plain(name) == _plain(positive)]
        if len(chosen) != 1:
            raise DataError(
                f"{where}: has the classes {found[0]!r} and {found[1]!r}, but 'data.positive' is {positive!r}; "
                "expected one of the two, so correct it."
            )
        return {name: int(name == chosen[0]) for name in found}
    negatives = [_plain(name) in _NEGATIVE for name in found]
    positives = [_plain(name) in _POSITIVE for name in found]
    if sum(negatives) == 1 and not (sum(positives) == 1 and negatives == positives):
        return {name: int(not negative) for name, negative in zip(found, negatives, strict=True)}
    if sum(positives) == 1:
        return {name: int(is_positive) for name, is_positive in zip(found, positives, strict=True)}
    raise DataError(
        f"{where}: nothing tells which of {found[0]!r} and {found[1]!r} is pneumonia; "
        "expected names such as NORMAL and PNEUMONIA, so set 'data.positive' in the experiment to one of the two."
    )


def class_note(labels: dict[str, int]) -> tuple[str, ...]:
    """Say which foreign class name counts as which of ours."""
    negative, positive = (name for name, _ in sorted(labels.items(), key=lambda item: item[1]))
    if (_plain(negative), _plain(positive)) == ("normal", "pneumonia"):
        return ()
    return (f"{negative!r} counts as NORMAL and {positive!r} as PNEUMONIA.",)


def file_state(path: Path) -> tuple[int, int]:
    """Return size [byte] and modification time [ns]; a link to nowhere has neither."""
    try:
        stat = path.stat()
    except OSError:
        return -1, -1
    return stat.st_size, stat.st_mtime_ns


def read_file(path: Path, name: str) -> bytes:
    """Return the content of an image file; `name` is what messages call it. Raises ImageError, OSError."""
    if not path.is_file():  # a folder, or a pipe that would block for ever
        found = "is not a regular file" if path.exists() else "does not exist"
        raise ImageError(f"{name}: {found}; expected an image file.")
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise too_many_bytes(name, size)
    return path.read_bytes()


def too_many_bytes(name: str, size: int) -> ImageError:
    """Return the error for an image file that is larger than any X-ray."""
    return ImageError(f"{name}: has {size:,} bytes, expected at most {MAX_FILE_BYTES:,}; leave it out.")


def _plain(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())
