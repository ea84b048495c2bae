"""What every format finds before anything is decoded: the images it holds, their labels, and how to read each."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contract.errors import ImageError
from contract.preprocess import MAX_FILE_BYTES

SPLIT_NAMES = {  # what a folder or a cell calls a split, in any case -> what we call it
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validate": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class XrayFile:
    """One image that a source promises."""

    name: str  # relative to the source, with "/"; shown to people, so printable
    label: int  # 0 normal, 1 pneumonia
    split: str | None  # train, val or test, if the source says
    patients: tuple[str | None, ...]  # a kind of id each, if the source says: equal for images of one patient
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
    left_out: Mapping[str, Sequence[str]] = field(default_factory=dict)  # files that were not read, by the reason
    paths: tuple[Path, ...] = ()  # of the images, where they may lie outside of `root`
    emptied: tuple[str, ...] = ()  # splits that it has but for images that were left out, all of them for their labels
    close: Callable[[], None] = lambda: None  # call when nothing will be read any more


def shown(name: str) -> str:
    """Return a file's name as people may see it: what is no UTF-8, and what would move a terminal's cursor, escaped."""
    if name.isprintable():
        return name
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in name)


def left_out_note(kinds: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return a sentence on files that were not read: why, how many, the first of each; none where there are none."""
    parts = [f"{len(names):,} {why} ({shown(names[0])[:80]})" for why, names in kinds.items() if names]
    total = sum(map(len, kinds.values()))
    return (f"{total:,} file{'s were' if total > 1 else ' was'} not read: {'; '.join(parts)}.",) if total else ()


def file_state(path: Path) -> tuple[int, ...]:
    """Return what tells this file and its content from all others on this disk; a link to nowhere has nothing of it."""
    try:
        return state_of(path.stat())
    except OSError:
        return ()


def state_of(stat: os.stat_result) -> tuple[int, ...]:
    """Return what tells a file's content: which file it is, its size [byte], when it was written and changed [ns].

    Unpacking sets the times of writing to what the archive says, perhaps to one for all files, and nobody can set the
    time of a change: two folders of the same names, sizes and times are two.
    """
    return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


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
