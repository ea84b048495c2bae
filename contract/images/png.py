"""PNG: gray of 1 to 16 bits, palettes, colour and transparency of 8 bits (PNG 1.2, and APNG and cICP, to refuse them).

Samples are full scale in the depth of the header, whatever sBIT says of their history. What is transparent is
composited over black, and bKGD is not asked. Values are taken for display as they are, so that gamma (gAMA), profile
(iCCP) and signal (cICP) must be usual ones, and scales of other kinds are refused. eXIf says which side is up; where
texts or orNT say it too, as some programs write EXIF and XMP, they must agree. Of 16-bit colour Pillow gives only the
high bytes: it is refused.
"""

import re
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from contract.errors import ImageError
from contract.images.gray import ANOTHER, Stored, full_scale, gray_of, look_up, palette_table, unpack
from contract.images.icc import require_display
from contract.images.ifd import DISPLAY_GAMMA, exif_orientation, require_agreement, xmp_orientations

MAGIC = b"\x89PNG\r\n\x1a\n"
_MAX_CHUNKS = 200_000
_MAX_PROFILE = 1 << 24  # of a colour profile or text, unpacked [byte]
_PIECE = 1 << 20  # unpacked at a time [byte]
_GRAY, _RGB, _PALETTE, _GRAY_ALPHA, _RGB_ALPHA = 0, 2, 3, 4, 6
_DEPTHS = {_GRAY: (1, 2, 4, 8, 16), _RGB: (8, 16), _PALETTE: (1, 2, 4, 8), _GRAY_ALPHA: (8, 16), _RGB_ALPHA: (8, 16)}
_CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_SEVERAL = (b"acTL", b"fcTL", b"fdAT", b"sTER")  # an animation, or the two images of a stereo pair
_SCALES = {  # what the values mean, if not shades between black and white
    b"mDCV": "the brightness of another screen", b"mDCv": "the brightness of another screen",
    b"cLLI": "a light level of its own", b"cLLi": "a light level of its own", b"pCAL": "a scale of its values",
}  # fmt: skip
_READ = (b"PLTE", b"tRNS", b"gAMA", b"sRGB", b"iCCP", b"cICP", b"eXIf")
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_XMP = b"XML:com.adobe.xmp"
_SIDE = b"exif:Orientation"  # as ImageMagick writes it
_SIDE_CHUNK = b"orNT"  # ImageMagick's own, which stays where the texts were taken away
_RAW = (b"Raw profile type exif", b"Raw profile type APP1", b"Raw profile type xmp")  # in hexadecimal digits
_DISPLAY_TRANSFER = (1, 6, 13, 14, 15)  # cICP: the transfer functions of ordinary screens


@dataclass
class _Chunks:
    header: bytes = b""
    read: dict[bytes, bytes] = field(default_factory=dict)  # of _READ
    sides: dict[bytes, set[int]] = field(default_factory=dict)  # which is up, as texts say, by their names
    data: list[tuple[int, int]] = field(default_factory=list)  # begin and end of each IDAT


def look(content: bytes) -> Stored:
    """Return what a PNG file says. Raises ImageError for what is not read, ValueError for damage."""
    chunks = _walk(content)
    width, height = int.from_bytes(chunks.header[:4], "big"), int.from_bytes(chunks.header[4:8], "big")
    depth, colour, compression, filters, interlace = chunks.header[8:13]
    if depth not in _DEPTHS.get(colour, ()) or compression or filters or interlace > 1 or not width or not height:
        raise ValueError("its header is not one of a PNG")
    if depth == 16 and colour != _GRAY:
        raise ImageError("has 16 bits per colour, expected 8; save it as gray, or with 8 bits.")
    _require_display(chunks.read)
    modes, convert = _conversion(colour, depth, chunks.read)

    samples = {_RGB: 3, _GRAY_ALPHA: 2, _RGB_ALPHA: 4}.get(colour, 1)

    def decode() -> NDArray[np.uint8]:
        image = unpack(content, "PNG", width=width, height=height, modes=modes)
        # Of pixels that are missing Pillow makes zeros, if the compressed data have an end.
        if interlace or not np.asarray(image.crop((0, height - 1, width, height))).any():
            _require_all(content, chunks.data, _data_bytes(width, height, samples * depth, interlaced=interlace == 1))
        return gray_of(image, convert)

    # Pillow keeps 4 bytes a pixel of everything but these, old versions of 16 bits too; the gray is ours.
    memory = (1 if colour in (_GRAY, _PALETTE) and depth <= 8 else 4) + 1
    exif = chunks.read.get(b"eXIf")
    side = 1 if exif is None else exif_orientation(exif)
    require_agreement(side, (other for sides in chunks.sides.values() for other in sides))
    mode = f"I;{depth}" if depth == 16 else modes[0]
    return Stored("PNG", mode, depth, width, height, side, memory * width * height, decode)


def _walk(content: bytes) -> _Chunks:
    """Go through all chunks and keep those that decide about pixels."""
    found = _Chunks()
    at = len(MAGIC)
    for _ in range(_MAX_CHUNKS):
        size, kind = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        end = at + 12 + size
        if end > len(content):
            raise ValueError("it ends early")
        if kind in _SEVERAL:
            raise _several()
        if kind in _SCALES:
            raise ImageError(f"has {_SCALES[kind]} ({kind.decode()}), which is not read; save it as plain gray.")
        if (kind == b"IHDR") != (at == len(MAGIC)) or (not kind[0] & 0x20 and kind not in _CRITICAL):
            raise ValueError(f"unexpected chunk {ascii(kind)[2:-1]}")
        if kind == b"IHDR" or kind in _READ:
            body = content[at + 8 : end - 4]
            if zlib.crc32(content[at + 4 : end - 4]) != int.from_bytes(content[end - 4 : end], "big"):
                raise ValueError(f"chunk {ascii(kind)[2:-1]} is damaged")
            if kind == b"IHDR":
                found.header = body
            elif kind in found.read:
                raise ValueError(f"chunk {ascii(kind)[2:-1]} occurs twice")
            else:
                found.read[kind] = body
        elif kind in _TEXTS:
            name = content[at + 8 : min(at + 8 + 80, end - 4)].partition(b"\0")[0]
            if name in found.sides:
                raise ImageError(f"has the text {ascii(name)[2:-1]} twice; save it upright, without metadata.")
            if name in (_XMP, _SIDE, *_RAW):
                found.sides[name] = _text_sides(kind, name, content[at + 8 : end - 4])
        elif kind == _SIDE_CHUNK and size == 1 and content[at + 8]:  # 0: ImageMagick does not know it
            found.sides.setdefault(kind, set()).add(content[at + 8])
        elif kind == b"IDAT":
            found.data.append((at + 8, end - 4))
        at = end
        if kind == b"IEND":
            if len(found.header) != 13:
                raise ValueError("its header is not one of a PNG")
            if ANOTHER.match(content, at):
                raise _several()
            return found
    raise ImageError(f"has more than {_MAX_CHUNKS} PNG chunks; save it again.")


def _several() -> ImageError:
    return ImageError("holds several images, expected exactly one; save the one that is meant.")


def _text_sides(kind: bytes, name: bytes, body: bytes) -> set[int]:
    """Return which sides are up, as EXIF data or XMP in a text say. Raises ImageError, ValueError, zlib.error."""
    body = body[len(name) + 1 :]
    packed = kind == b"zTXt"
    if kind == b"zTXt":
        body = body[1:]  # a byte for the compression
    elif kind == b"iTXt":
        packed = body[:1] == b"\1"
        body = body[2:].partition(b"\0")[2].partition(b"\0")[2]  # the language, and the name in it
    if packed:
        unpacker = zlib.decompressobj()
        body = unpacker.decompress(body, _MAX_PROFILE)
        if not unpacker.eof:
            raise ValueError("a text is damaged or too long")
    if name == _XMP:
        return xmp_orientations(body)
    if name == _SIDE:
        return {int(body)} if re.fullmatch(rb"[0-9]{1,3}", body.strip()) else set()
    profile = bytes.fromhex(b"".join(body.split()[2:]).decode("ascii"))  # after a name and the size
    if profile.startswith(b"Exif\0\0"):
        profile = profile[6:]
    if profile[:2] in (b"II", b"MM"):
        return {exif_orientation(profile)}
    return xmp_orientations(profile)


def _data_bytes(width: int, height: int, bits: int, *, interlaced: bool) -> int:
    """Return the size of all rows, each of a filter byte and its pixels of so many bits."""
    passes = [(0, 0, 1, 1)]
    if interlaced:  # first column, first row, steps across and down
        passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    size = 0
    for left, top, across, down in passes:
        columns, rows = max(0, -(-(width - left) // across)), max(0, -(-(height - top) // down))
        size += rows * (1 + -(-columns * bits // 8)) if columns else 0
    return size


def _require_all(content: bytes, parts: list[tuple[int, int]], size: int) -> None:
    """Stop unless the compressed data unpack to that many bytes. Raises ValueError, zlib.error."""
    unpacker, view = zlib.decompressobj(), memoryview(content)
    for start, end in parts:
        packed: bytes | memoryview = view[start:end]
        while packed and size > 0 and not unpacker.eof:
            size -= len(unpacker.decompress(packed, _PIECE))
            packed = unpacker.unconsumed_tail
    if size > 0:
        raise ValueError("it ends early")


def _require_display(chunks: dict[bytes, bytes]) -> None:
    """Stop unless values are for display; of several chunks about it, the first in this order counts."""
    if b"cICP" in chunks:
        _, transfer, matrix, full = [*chunks[b"cICP"], 0, 0, 0, 0][:4]
        if transfer not in _DISPLAY_TRANSFER or matrix or not full:
            raise ImageError("has values of another range or brightness than a screen's (cICP); save it as plain gray.")
    elif b"iCCP" in chunks:
        packed = chunks[b"iCCP"].partition(b"\0")[2][1:]  # after the name, and a byte for the compression
        unpacker = zlib.decompressobj()
        profile = unpacker.decompress(packed, _MAX_PROFILE)
        if not unpacker.eof:
            raise ValueError("its colour profile is damaged or too long")
        require_display(profile)
    elif b"gAMA" in chunks and b"sRGB" not in chunks:
        gamma = int.from_bytes(chunks[b"gAMA"], "big")
        if gamma not in DISPLAY_GAMMA:  # 45455 is 1/2.2, 100000 linear
            raise ImageError(
                f"has a gamma of {gamma / 100_000:g} (gAMA), expected about 0.45: its values are not for display as "
                "they are; save it without gAMA, or as sRGB."
            )


def _conversion(colour: int, depth: int, chunks: dict[bytes, bytes]) -> tuple[tuple[str, ...], Any]:
    """Return the modes in which Pillow delivers the pixels, and what makes gray of them, None for the usual way."""
    clear = chunks.get(b"tRNS")
    if colour == _PALETTE:
        palette = chunks.get(b"PLTE", b"")
        if not palette or len(palette) % 3 or len(palette) > 3 * 2**depth:
            raise ValueError("its palette is missing or damaged")
        table = palette_table(np.frombuffer(palette, dtype=np.uint8).reshape(-1, 3), clear or b"")
        return ("P",), lambda indices: look_up(table, indices)
    if clear is not None and len(clear) != {_GRAY: 2, _RGB: 6}.get(colour):
        raise ValueError("its tRNS is damaged")
    level = None if clear is None else np.frombuffer(clear, dtype=">u2") & (2**depth - 1)  # only those bits count
    if colour == _GRAY and depth == 16:
        return ("I;16", "I", "I;16B"), lambda values: _sixteen(values, level)
    if colour == _GRAY:
        modes = ("1" if depth == 1 else "L",)
        if level is None:
            return modes, None
        table = np.arange(256, dtype=np.uint8)  # Pillow has scaled the values already, but for bits
        table[full_scale(depth)[int(level[0])]] = 0
        return modes, lambda values: table[np.where(values, np.uint8(255), np.uint8(0)) if depth == 1 else values]
    if colour == _RGB and level is not None:
        return ("RGB",), lambda values: _without(values, level)
    return ({_RGB: "RGB", _GRAY_ALPHA: "LA", _RGB_ALPHA: "RGBA"}[colour],), None


def _sixteen(values: NDArray[Any], level: NDArray[Any] | None) -> NDArray[np.uint8]:
    gray = np.asarray(full_scale(16)[values])
    if level is not None:
        gray[values == level[0]] = 0
    return gray


def _without(values: NDArray[np.uint8], level: NDArray[Any]) -> NDArray[np.uint8]:
    gray = np.array(Image.fromarray(values).convert("L"))
    gray[(values == level).all(axis=2)] = 0
    return gray
