"""Look at a JPEG, JPEG-LS or JPEG 2000 stream within a DICOM file before a decoder sees it.

A few bytes of a hostile stream can ask a decoder for gigabytes or hours: by its size, components and scans, and in
JPEG 2000 by its tiles, layers, precincts and code blocks, of which each costs memory. Real streams are far within the
bounds here.

What is whole in its headers may still end early, and a decoder makes up the rest: `require_exact`.

Source: ITU-T T.81 (JPEG), T.87 (JPEG-LS), T.800 annex A (JPEG 2000).
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from contract.errors import ImageError
from contract.images import coded, jpeg

_MAX_SCANS = 100  # a progressive image has about ten, and each may cost a pass over all pixels
_MAX_TILES, _MAX_PARTS, _MAX_LAYERS, _MAX_LEVELS = 4096, 65_536, 64, 10
_LEAST_PRECINCT, _LEAST_BLOCK = 5, 8  # exponents: a precinct of 32 x 32, a code block of 256 samples
# A second stream right after the end of the first; within a scan neither of these can occur.
_SECOND = re.compile(rb"\xff\xd9\0?(\xff\xd8\xff|\xff\x4f\xff\x51)")
_SOF55, _SOS = 0xF7, 0xDA  # the frame of JPEG-LS; the start of a scan
_LS_MARKER = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")  # within a scan of JPEG-LS, 0xff is followed by less
_JUNKS = coded.JUNK, bytes.fromhex("fa5e") * 32  # packets of JPEG 2000 with something in them
_SIZ, _COD, _COC, _SOT, _SOD = 0x51, 0x52, 0x53, 0x90, 0x93  # of JPEG 2000


@dataclass(frozen=True)
class Coded:
    """What a stream says about its one image."""

    width: int
    height: int
    bits: int
    components: int
    signed: bool  # JPEG 2000 only
    process: int  # marker of the frame, or of the size in JPEG 2000
    tiles: int = 1


def look(stream: bytes) -> Coded:
    """Return what a stream says. Raises ValueError where it is damaged or asks for too much, ImageError for scans."""
    if _SECOND.search(stream):
        raise ValueError("several images")
    if stream[:4] == b"\xff\x4f\xff\x51":
        return _jpeg2000(stream)
    if stream[:2] != b"\xff\xd8":
        raise ValueError("neither JPEG nor JPEG 2000")
    scans = stream.count(b"\xff\xda")  # within a scan, 0xff is never followed by this
    if scans > _MAX_SCANS:
        raise ImageError(f"has {scans} JPEG scans, expected at most {_MAX_SCANS}; save it again.")
    if stream.rfind(b"\xff\xd9") < stream.rfind(b"\xff\xda"):
        raise ValueError("it ends early")  # of the pixels that are missing the decoder would make black ones
    for marker, body, _ in _segments(stream, 2):
        if (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == _SOF55:
            if len(body) < 6:
                break
            height, width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
            return Coded(width, height, body[0], body[5], False, marker)
    raise ValueError("no frame")


def exact_pixels(stream: bytes, found: Coded, decode: Callable[[bytes], NDArray[Any]]) -> NDArray[Any]:
    """Return the pixels of a stream of one component, whose coded data are as long as its picture.

    Args:
        stream: what `look` has accepted.
        found: what it said.
        decode: returns the pixels of a stream.

    Raises:
        LengthError: they are shorter or longer; of JPEG 2000, shorter.
        Exception: whatever `decode` raises.
    """
    if found.process == _SIZ:
        return coded.same_pixels(stream, (_with_junk(stream, found.tiles, junk) for junk in _JUNKS), decode)
    if found.process != _SOF55:
        seen = jpeg.segments(stream)
        return coded.exact_pixels(stream, seen.scans, seen.restarts, decode)
    at = next(end for marker, _, end in _segments(stream, 2) if marker == _SOS)
    end = _LS_MARKER.search(stream, at)
    return coded.exact_pixels(stream, [(at, end.start() if end else len(stream))], 0, decode)


def _segments(stream: bytes, at: int) -> Iterator[tuple[int, bytes, int]]:
    """Yield marker, content and end of the segments from `at` on, as long as they follow each other."""
    while at + 4 <= len(stream) and stream[at] == 0xFF:
        if stream[at + 1] == 0xFF:  # fill byte
            at += 1
            continue
        size = int.from_bytes(stream[at + 2 : at + 4], "big")
        if size < 2:
            return
        yield stream[at + 1], stream[at + 4 : at + 2 + size], at + 2 + size
        at += 2 + size


def _jpeg2000(stream: bytes) -> Coded:
    found = None
    for marker, body, _ in _segments(stream, 2):
        if marker == _SIZ and found is None:
            found = _size(body)
        elif marker == _COD:
            _require_plain(body)
        elif marker == _COC:
            raise ValueError("a coding style of one component")
        elif marker == _SOT:
            break
    if found is None:
        raise ValueError("no size")
    _tile_parts(stream)
    return found


def _tile_parts(stream: bytes) -> list[tuple[int, int, int]]:
    """Return number of the tile, begin and end of each tile part. Raises ValueError where one has another style."""
    at = next((end - 4 - len(body) for marker, body, end in _segments(stream, 2) if marker == _SOT), len(stream))
    parts: list[tuple[int, int, int]] = []
    while stream[at : at + 2] == b"\xff\x90":  # else it is the end, or damage, which the decoder will notice
        if len(parts) == _MAX_PARTS:
            raise ValueError("too many tile parts")
        for marker, _, _ in _segments(stream, at):
            if marker == _SOD:
                break
            if marker in (_COD, _COC):
                raise ValueError("a coding style of one tile")
        length = int.from_bytes(stream[at + 6 : at + 10], "big")
        last = length < 14  # 0: the last one, up to the end
        end = max(at, stream.rfind(b"\xff\xd9") if last else at + length)
        parts.append((int.from_bytes(stream[at + 4 : at + 6], "big"), at, end))
        at = len(stream) if last else end
    return parts


def _with_junk(stream: bytes, tiles: int, junk: bytes) -> bytes:
    """Return a stream with junk after the data of each of its tiles. Raises LengthError where one has none."""
    last = {tile: (at, end) for tile, at, end in _tile_parts(stream)}
    if len(last) < tiles:
        raise coded.LengthError("its pixel data end early")
    parts, done = [], 0
    for at, end in sorted(last.values()):
        length = int.from_bytes(stream[at + 6 : at + 10], "big")
        if length:
            length = min(length + len(junk), 2**32 - 1)
        parts += [stream[done : at + 6], length.to_bytes(4, "big"), stream[at + 10 : end], junk]
        done = end
    return b"".join([*parts, stream[done:]])


def _size(body: bytes) -> Coded:
    """Read the SIZ segment."""
    if len(body) < 39:
        raise ValueError("its size is cut off")
    x1, y1, x0, y0, across, down, left, top = (int.from_bytes(body[i : i + 4], "big") for i in range(2, 34, 4))
    depth, step_x, step_y = body[36:39]
    if not (across and down and step_x == step_y == 1 and left <= x0 < x1 and top <= y0 < y1):
        raise ValueError("its size is no size")
    tiles = -(-(x1 - left) // across) * -(-(y1 - top) // down)
    if tiles > _MAX_TILES:
        raise ValueError("too many tiles")
    return Coded(x1 - x0, y1 - y0, (depth & 127) + 1, int.from_bytes(body[34:36], "big"), depth > 127, _SIZ, tiles)


def _require_plain(body: bytes) -> None:
    """Stop at absurd numbers in a COD segment: style, order, layers, transform, levels, blocks, kind, precincts."""
    if len(body) < 10:
        raise ValueError("its coding style is cut off")
    layers, levels, precincts = int.from_bytes(body[2:4], "big"), body[5], body[10:] if body[0] & 1 else b""
    if layers > _MAX_LAYERS or levels > _MAX_LEVELS:
        raise ValueError("too many layers or levels")
    if body[6] + 2 + body[7] + 2 < _LEAST_BLOCK:
        raise ValueError("too many code blocks")
    if any(min(exponents & 15, exponents >> 4) < _LEAST_PRECINCT for exponents in precincts[1:]):
        raise ValueError("too many precincts")  # the first is of the smallest level
