"""Whether coded data are just as long as their picture: no decoder says.

Where they end early a decoder makes up the rest, from zero bits and then middle gray; where a header tells of fewer
rows than are coded it leaves out the others. So it is asked again. With junk after the data the pixels must stay as
they are, and with junk in place of the last of them they must not. Bytes without which the picture is the same are not
missed, and neither are the last _TAIL bytes of rows that no header tells of, nor such rows where the picture ends flat
or in several scans: there may be but one code, of which junk changes nothing.
"""

import re
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from contract.images.gray import bands

RESTART = re.compile(rb"(?<!\xff)\xff+[\xd0-\xd7]")
# Of data that end early, the next bits are 0 to a decoder. The first junk, whose first bit is 1, may by chance mean the
# same; the second is for where that would be much of the picture. No byte is 0xff, nor 0.
JUNK = bytes.fromhex("a69b4cd31ae57235") * 8
_MORE_JUNK = bytes.fromhex("fbfd7bde") * 16
_SMALL = 1 << 17  # bytes
_TAIL = 32  # bytes; a row of blocks has more in all but the smallest pictures
_Pixels = TypeVar("_Pixels", Image.Image, NDArray[Any])


class LengthError(ValueError):
    """Coded data are shorter or longer than their picture."""


def exact_pixels(
    content: bytes, scans: Sequence[tuple[int, int]], restarts: int, decode: Callable[[bytes], _Pixels]
) -> _Pixels:
    """Return the pixels of a JPEG or JPEG-LS whose coded data are as long as its picture.

    Args:
        content: the file.
        scans: begin and end of the coded data of each scan; the first has something of every block.
        restarts: how many restart markers there are within them.
        decode: returns the pixels of a file. Two pictures are never held at once.

    Raises:
        LengthError: the data are shorter or longer.
        Exception: whatever `decode` raises for `content`.
    """
    pixels = decode(content)
    ours, flat = _checksum(pixels), _ends_flat(pixels)
    del pixels
    view, (start, end) = memoryview(content), scans[0]
    kept = content[start:end].rstrip(b"\0\xff")[:-_TAIL].rstrip(b"\xff")  # some writers fill up; half a marker
    if (
        len(scans) == 1
        and not flat
        and all(
            (_if_same(b"".join([view[:start], data, junk, view[end:]]), decode, ours) is None) == changes
            for data, junk, changes in ((kept, JUNK, False), (kept, _MORE_JUNK, False), (b"", JUNK, True))
        )
    ):
        raise LengthError("its pixel data go on after its last row")
    junks = (_MORE_JUNK, JUNK) if len(scans) > 1 or len(content) < _SMALL else (JUNK,)
    return _same((_followed(view, scans, restarts, junk) for junk in junks), decode, ours)


def same_pixels(content: bytes, longer: Iterable[bytes], decode: Callable[[bytes], _Pixels]) -> _Pixels:
    """Return the pixels of a file, also those of others, with junk after all coded data. Raises as above."""
    return _same(longer, decode, _checksum(decode(content)))


def _same(files: Iterable[bytes], decode: Callable[[bytes], _Pixels], expected: int) -> _Pixels:
    pixels = None
    for file in files:
        pixels = None  # never two
        pixels = _if_same(file, decode, expected)
        if pixels is None:
            break
    if pixels is None:
        raise LengthError("its pixel data end early")
    return pixels


def _checksum(pixels: Image.Image | NDArray[Any]) -> int:
    width, height = _size(pixels)
    total = 0
    for top, end in bands(height, width):
        total = zlib.crc32(np.ascontiguousarray(_rows(pixels, top, end)).data, total)
    return total


def _ends_flat(pixels: Image.Image | NDArray[Any]) -> bool:
    """Return whether the last rows are of one value."""
    height = _size(pixels)[1]
    last = _rows(pixels, max(0, height - 16), height)
    return bool((last == last[:1, :1]).all())


def _size(pixels: Image.Image | NDArray[Any]) -> tuple[int, int]:
    return pixels.size if isinstance(pixels, Image.Image) else (pixels.shape[1], pixels.shape[0])


def _rows(pixels: Image.Image | NDArray[Any], top: int, end: int) -> NDArray[Any]:
    return np.asarray(pixels.crop((0, top, pixels.width, end))) if isinstance(pixels, Image.Image) else pixels[top:end]


def _if_same(content: bytes, decode: Callable[[bytes], _Pixels], expected: int) -> _Pixels | None:
    """Return the pixels of a file if they have that checksum."""
    try:
        pixels = decode(content)
    except MemoryError:
        raise
    except Exception:  # it stumbled over the junk, so it did read that
        return None
    return pixels if _checksum(pixels) == expected else None


def _followed(view: memoryview, scans: Sequence[tuple[int, int]], restarts: int, junk: bytes) -> bytes:
    """Return a file with junk after the data of each scan, and in front of each restart marker."""
    at = 0
    parts: list[bytes | memoryview] = []
    for start, end in scans:
        parts.append(view[at:start])
        if restarts:
            parts.append(RESTART.sub(lambda match: junk[:16] + match[0], view[start:end], count=restarts))
        else:
            parts.append(view[start:end])
        parts.append(junk)
        at = end
    return b"".join([*parts, view[at:]])
