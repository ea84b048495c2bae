"""Read a directory of tags as TIFF has it; EXIF and the index of a multi-picture JPEG are the same structure."""

import math
import re
from collections.abc import Iterable, Iterator

import numpy as np

from contract.errors import ImageError

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}  # of a type [byte]
_INTEGERS = {1: "u1", 3: "u2", 4: "u4", 13: "u4"}  # numpy's names of the unsigned integer types
_MOST = 1024  # entries of a directory
MOST_XMP = 1 << 24  # bytes: the histories that programs keep in it are far smaller
ORIENTATION = 274
_FRACTION = 5  # the type of two integers
_EXIF, _GAMMA = 34665, 42240
DISPLAY_GAMMA = range(45_000, 46_001)  # 100,000 over the gamma of a screen, of about 2.2
# Of any prefix, or of none. Each byte is looked at a few times at most, as a packet may be megabytes of half a match.
_XMP_SIDES = (
    re.compile(rb"(?<![/\w.:-])(?:([\w.-]{1,64}):)?Orientation\s*=\s*[\"']\s*([0-9]{1,3})"),
    re.compile(rb"<(?:([\w.-]{1,64}):)?Orientation(?:\s[^<>]{0,400})?>\s*([0-9]{1,3})"),
)
_XMP_PREFIX = re.compile(rb"\bxmlns(?::([\w.-]{1,64}))?\s*=\s*[\"']http://ns\.adobe\.com/tiff/1\.0/[\"']")


class Ifd:
    """One directory. Values are read when they are asked for. Raises ValueError at damage."""

    def __init__(self, data: bytes, at: int, order: str) -> None:
        """Read the directory at `at`; `order` is numpy's < or >."""
        self._data, self.order = data, order
        count = self._integer(at, 2)
        if not 1 <= count <= _MOST:
            raise ValueError(f"a directory of {count} tags")
        self._entries: dict[int, int] = {}  # tag -> where its entry is
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            tag = self._integer(entry, 2)
            if tag in self._entries:
                raise ValueError(f"tag {tag} occurs twice")
            self._entries[tag] = entry
        self._end = at + 2 + 12 * count

    @property
    def next(self) -> int:
        """Where the next directory is, 0 if there is none."""
        return self._integer(self._end, 4)

    def __iter__(self) -> Iterator[int]:
        """Yield the tags."""
        return iter(self._entries)

    def __contains__(self, tag: int) -> bool:
        """Return whether the directory has a tag."""
        return tag in self._entries

    def numbers(self, tag: int, most: int) -> list[int]:
        """Return the unsigned integers of a tag, at least one and at most `most`."""
        kind, _, count, where = self._value(tag)
        if kind not in _INTEGERS or not 1 <= count <= most:
            raise ValueError(f"tag {tag} has {count} values of type {kind}")
        values = np.frombuffer(self._data, dtype=self.order + _INTEGERS[kind], count=count, offset=where)
        return [int(value) for value in values.tolist()]

    def integers(self, tag: int) -> bool:
        """Return whether the values of a tag are unsigned integers."""
        return self._value(tag)[0] in _INTEGERS

    def number(self, tag: int, default: int | None = None) -> int:
        """Return the one integer of a tag, or the default where there is no such tag."""
        if default is not None and tag not in self:
            return default
        return self.numbers(tag, 1)[0]

    def content(self, tag: int) -> bytes:
        """Return the bytes of a tag."""
        _, size, count, where = self._value(tag)
        return self._data[where : where + size * count]

    def ratio(self, tag: int) -> tuple[int, int]:
        """Return numerator and denominator of the one fraction of a tag."""
        kind, _, count, where = self._value(tag)
        if kind != _FRACTION or count != 1:
            raise ValueError(f"tag {tag} has {count} values of type {kind}")
        above, below = np.frombuffer(self._data, dtype=self.order + "u4", count=2, offset=where).tolist()
        return int(above), int(below)

    def within(self, tag: int) -> "Ifd":
        """Return the directory that a tag points to."""
        return Ifd(self._data, self.number(tag), self.order)

    def _value(self, tag: int) -> tuple[int, int, int, int]:
        """Return type, size of a value [byte], count, and where the values are, which is within the data."""
        if tag not in self:
            raise ValueError(f"tag {tag} is missing")
        entry = self._entries[tag]
        kind, count = self._integer(entry + 2, 2), self._integer(entry + 4, 4)
        size = _SIZES.get(kind, 1)
        where = entry + 8 if size * count <= 4 else self._integer(entry + 8, 4)
        if where + size * count > len(self._data):
            raise ValueError(f"tag {tag} lies beyond the end")
        return kind, size, count, where

    def _integer(self, at: int, size: int) -> int:
        if at + size > len(self._data):
            raise ValueError("a directory lies beyond the end")
        return int.from_bytes(self._data[at : at + size], "little" if self.order == "<" else "big")


def read_ifd(data: bytes) -> Ifd:
    """Return the first directory of data that begin with a TIFF header. Raises ValueError."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None or len(data) < 8:
        raise ValueError("no header of a directory")
    return Ifd(data, int.from_bytes(data[4:8], "little" if order == "<" else "big"), order)


def orientation(directory: Ifd) -> int:
    """Return which side is up, 1..8; 1 if the directory does not say. Raises ImageError, ValueError."""
    value = directory.number(ORIENTATION, 1)
    if value > 8:
        raise ImageError(f"has the orientation {value}, expected 1 to 8; save it upright.")
    return value or 1  # 0 is a usual way of not saying it


def require_display_gamma(directory: Ifd) -> None:
    """Stop at EXIF data that name another gamma than a screen's: then the values are not for display as they are."""
    for where in (lambda: directory, lambda: directory.within(_EXIF)):
        try:
            above, below = where().ratio(_GAMMA)
        except ValueError:  # there is none; nobody reads a gamma from damaged data
            continue
        if (above or below) and not DISPLAY_GAMMA[0] * above <= 100_000 * below <= DISPLAY_GAMMA[-1] * above:
            raise ImageError(
                f"has a gamma of {above / below if below else math.inf:g} (EXIF), expected about 2.2: its values are "
                "not for display as they are; save it without metadata."
            )


def exif_orientation(exif: bytes) -> int:
    """Return which side is up, 1..8, as EXIF data say. Raises ImageError, also for the gamma that they name."""
    try:
        directory = read_ifd(exif)
        require_display_gamma(directory)
        return orientation(directory)
    except ValueError as err:
        raise ImageError(
            f"has EXIF data that cannot be read ({err}), so that nothing tells which side is up; remove them."
        ) from err


def xmp_orientations(packet: bytes) -> set[int]:
    """Return which sides are up, as XMP says it in Orientation, by any prefix of that namespace. Raises ImageError."""
    if len(packet) > MOST_XMP:
        raise ImageError(f"has {len(packet):,} bytes of XMP, expected at most {MOST_XMP:,}; save it without metadata.")
    prefixes = {b"tiff", *_XMP_PREFIX.findall(packet)}
    found = [pair for pattern in _XMP_SIDES for pair in pattern.findall(packet)]
    return {int(value) for prefix, value in found if prefix in prefixes}


def require_agreement(side: int, others: Iterable[int]) -> None:
    """Stop at other places of a file that name another side than `side`, except 1, which is often a mere default."""
    for other in others:
        if other not in (side, 0, 1):
            raise ImageError(f"says in one place that its orientation is {side}, in another {other}; save it upright.")
