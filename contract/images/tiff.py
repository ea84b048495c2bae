"""TIFF 6.0 of exactly one image: gray of 1 to 16 bits, palettes, RGB of 8 or 16 bits, CMYK of 8.

The tags decide everything; what is stored is unpacked here, Pillow's libtiff is asked for LZW only. White is the
largest value of BitsPerSample, or 0 where PhotometricInterpretation says so. Straight alpha is composited over black,
premultiplied alpha already is. Orientation is obeyed. The high byte of a ColorMap's entries counts: some writers
store a byte v as 256 v, some as 257 v.

ImageJ writes with every image of 16 bits the range that it was shown in, which is at first the smallest and the largest
value that occur: that says nothing. Any other range, or one that leaves the upper half of the bits dark, is refused,
in 8 bits, too.

Refused, because nothing we could make of them would be sure to be right: several pages, reduced copies, samples
beside gray or colour that are no alpha, signed and floating-point samples, other compressions and colours, and tags of
which contract.images.tiff_tags does not say that they are obeyed or change nothing.
"""

import math
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from contract.errors import ImageError
from contract.images.gray import Stored, bands, full_scale, look_up, luma, over_black, palette_table, unpack
from contract.images.icc import require_display
from contract.images.ifd import (
    Ifd,
    orientation,
    read_ifd,
    require_agreement,
    require_display_gamma,
    xmp_orientations,
)
from contract.images.packbits import packbits
from contract.images.samples import unpack_bits
from contract.images.tiff_tags import NEVER, NOTHING, OBEYED, ONLY

MAGICS = (b"II*\0", b"MM\0*")
BIG = (b"II+\0", b"MM\0+")  # BigTIFF, for files over 4 GB
_NEW_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 254, 256, 257, 258, 259, 262
_STRIPS, _SAMPLES, _ROWS, _STRIP_SIZES, _LARGEST, _PLANES = 273, 277, 278, 279, 281, 284
_PREDICTOR, _COLOURS, _TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_SIZES, _EXTRA = 317, 320, 322, 323, 324, 325, 338
_FORMAT, _PROFILE = 339, 34675
_DESCRIPTION, _SMALLEST_SAMPLE, _LARGEST_SAMPLE, _XMP, _GDAL = 270, 340, 341, 700, 42112
_SMALLEST, _MICRO_MANAGER = 280, 51123
_IMAGEJ_SIZES, _IMAGEJ = 50838, 50839  # of the items, and a list of their kinds with the items behind it
_MAX_ITEMS = 10_000
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK = 0, 1, 2, 3, 5
_COLOUR_SAMPLES = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _PALETTE: 1, _CMYK: 4}
_DEPTHS = {
    _WHITE_IS_ZERO: range(1, 17),
    _BLACK_IS_ZERO: range(1, 17),
    _RGB: (8, 16),
    _PALETTE: (1, 2, 4, 8),
    _CMYK: (8,),
}
_SHAPE = re.compile(rb"(?:\{\"shape\": \[|shape=\()\s*([0-9]{1,9}(?:,\s*[0-9]{1,9}){0,9}),?\s*[\])]")  # of tifffile
_NONE, _LZW, _DEFLATE, _OLD_DEFLATE, _PACKBITS = 1, 5, 8, 32946, 32773
# How many times its size a segment is held while it is unpacked; of LZW Pillow keeps an image and makes copies.
_COPIES = {_NONE: 0, _LZW: 4, _DEFLATE: 2, _OLD_DEFLATE: 2, _PACKBITS: 2}
_DIFFERENCE = 2  # the predictor of TIFF 6.0
_PREMULTIPLIED, _STRAIGHT = 1, 2
_MAX_SEGMENTS = 100_000  # strips or tiles
_BATCH = 1 << 22  # unpacked LZW data that are asked for at a time [byte]


@dataclass(frozen=True)
class _Layout:
    """How pixels are stored, everything checked."""

    order: str  # of bytes, numpy's < or >
    width: int
    height: int
    bits: int
    photometric: int
    samples: int  # of a pixel
    alpha: int  # 0, or what the extra sample is
    planes: int  # 1, or one per sample
    compression: int
    predictor: int
    across: int  # pixels of a row of a segment
    down: int  # rows of a segment; the last strip may have fewer
    tiled: bool
    places: Sequence[tuple[int, int]]  # offset and size of each segment [byte]

    @property
    def row_bytes(self) -> int:
        """Bytes of a row of a segment."""
        return (self.across * (1 if self.planes > 1 else self.samples) * self.bits + 7) // 8


def look(content: bytes) -> Stored:
    """Return what a TIFF file says. Raises ImageError for what is not read, ValueError for damage."""
    tags = read_ifd(content)
    _require_single(tags)
    layout = _layout(tags, content)
    _require_described(tags, layout)
    require_display_gamma(tags)
    table, shown = _table(tags, layout), _shown_range(tags)
    if _PROFILE in tags:
        if layout.photometric == _CMYK:
            raise ImageError("is CMYK with a colour profile, expected gray or RGB; save it as gray.")
        require_display(tags.content(_PROFILE))
    side = orientation(tags)
    require_agreement(side, xmp_orientations(tags.content(_XMP)) if _XMP in tags else ())
    mode = {_RGB: "RGB", _PALETTE: "P", _CMYK: "CMYK"}.get(layout.photometric)
    if mode is None:
        mode = f"I;{layout.bits}" if layout.bits > 8 else "1" if layout.bits == 1 else "L"
    held = layout.row_bytes * layout.down * layout.planes * _COPIES[layout.compression]
    return Stored(
        "TIFF",
        mode + "A" * bool(layout.alpha),
        layout.bits,
        layout.width,
        layout.height,
        side,
        layout.width * layout.height + held,
        lambda: _decode(content, layout, table, shown),
    )


def _require_single(tags: Ifd) -> None:
    """Stop unless this is exactly one whole image, on a plain ramp."""
    if tags.next:
        raise ImageError("holds several pages, expected exactly one image; save the one that is meant.")
    if tags.number(_NEW_SUBFILE, 0) not in (0, 2):  # 2: a page of a document
        raise ImageError("is a reduced copy or a mask of another image; save the image that is meant.")
    for tag, (name, what) in NEVER.items():
        if tag in tags:
            raise ImageError(f"has {what} ({name}, tag {tag}), which is not read; save it as plain gray.")
    for tag, (allowed, name, what) in ONLY.items():
        if (found := tags.number(tag, allowed[0])) not in allowed:
            raise ImageError(
                f"has {what} ({name}, tag {tag}, is {found}, expected {allowed[0]}), which is not read; save it as "
                "plain gray."
            )
    for tag in tags:
        if not (tag in OBEYED or tag in ONLY or tag in NOTHING):
            raise ImageError(
                f"has the tag {tag}, of which nothing here says that its pixels stay as they are; save it as plain "
                "gray, without it."
            )


def _require_described(tags: Ifd, layout: _Layout) -> None:
    """Stop at descriptions that programs write into texts: more images behind the first, or a scale of its values."""
    text = tags.content(_DESCRIPTION) if _DESCRIPTION in tags else b""
    several = False
    if text.startswith(b"ImageJ="):
        several = any(int(count) > 1 for count in re.findall(rb"^images=([0-9]{1,9})\s*$", text, re.MULTILINE))
    elif b"<OME" in text or b":OME" in text:
        for axis, count in re.findall(rb"\bSize([ZCT])\s*=\s*[\"']([0-9]{1,9})", text):
            several |= int(count) > (layout.samples if axis == b"C" else 1)
    elif shape := _SHAPE.match(text):
        several = math.prod(map(int, shape[1].split(b","))) != layout.width * layout.height * layout.samples
    if several:
        raise ImageError(
            "is described as several images (ImageJ, OME, tifffile), expected exactly one; save the one that is meant."
        )
    _require_described_range(tags, text, layout.bits)
    if _GDAL in tags and re.search(rb"role\s*=\s*[\"'](?:scale|offset)", tags.content(_GDAL)):
        raise ImageError("has a scale or offset of its values (GDAL), which is not read; save it as plain gray.")


def _require_described_range(tags: Ifd, text: bytes, bits: int) -> None:
    """Stop at descriptions that have white elsewhere than the depth has it, as at a MaxSampleValue."""
    if text.startswith(b"ImageJ=") and re.search(rb"^cf=", text, re.MULTILINE):
        raise ImageError("has a scale of its values (ImageJ's calibration), which is not read; save it without.")
    if b"<OME" in text or b":OME" in text:
        _require_bits(
            re.findall(rb"\bSignificantBits\s*=\s*[\"']\s*([0-9]{1,4})", text), "SignificantBits of OME", bits
        )
    if _GDAL in tags:
        found = re.findall(
            rb"name\s*=\s*[\"']NBITS[\"'][^<>]{0,200}>\s*([0-9]{1,4})", tags.content(_GDAL), re.IGNORECASE
        )
        _require_bits(found, "NBITS of GDAL", bits)
    if _MICRO_MANAGER in tags:
        found = re.findall(rb"\"BitDepth\"\s*:\s*\"?([0-9]{1,4})", tags.content(_MICRO_MANAGER))
        _require_bits(found, "BitDepth of Micro-Manager", bits)


def _shown_range(tags: Ifd) -> dict[str, set[bytes]]:
    """Return which smallest and largest values ImageJ says that it showed, as it writes them."""
    text = tags.content(_DESCRIPTION) if _DESCRIPTION in tags else b""
    shown: dict[str, set[bytes]] = {"smallest": set(), "largest": set()}
    if text.startswith(b"ImageJ="):
        for name, value in re.findall(rb"^(min|max)=\s*([^\s]{1,40})", text, re.MULTILINE):
            shown["smallest" if name == b"min" else "largest"].add(value)
    for kind, item in _imagej_items(tags):
        if kind == b"luts" and item != bytes(range(256)) * 3:
            raise ImageError(
                "has colours or a curve of its own for its values (ImageJ), which are not read; save it as plain gray."
            )
        if kind == b"rang":
            for at, number in enumerate(np.frombuffer(item, dtype=tags.order + "f8").tolist()):
                shown["largest" if at % 2 else "smallest"].add(repr(number).encode())
    return shown


def _imagej_items(tags: Ifd) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and content of what ImageJ keeps beside an image. Raises ValueError."""
    if _IMAGEJ not in tags or _IMAGEJ_SIZES not in tags:
        return
    sizes, content = tags.numbers(_IMAGEJ_SIZES, _MAX_ITEMS), tags.content(_IMAGEJ)
    at, left = sizes[0], sizes[1:]
    big = ">" if content.startswith(b"IJIJ") else "<"
    for entry in range(4, sizes[0] - 7, 8):
        kind, count = struct.unpack_from(f"{big}4sI", content, entry)
        for size in left[:count]:
            yield (kind if big == ">" else kind[::-1]), content[at : at + size]
            at += size
        left = left[count:]


def _require_shown(shown: dict[str, set[bytes]], lowest: int, highest: int, bits: int) -> None:
    """Stop at a range that was shown and is neither the whole one nor that of the values."""
    for what, whole, own in (("smallest", 0, lowest), ("largest", 2**bits - 1, highest)):
        for said in shown[what]:
            number = _number(said)
            if number != whole and (number != own or 2 * highest < 2**bits - 1):
                raise _other_range(what, ascii(said.decode("latin-1"))[1:-1], "ImageJ", bits)


def _number(text: bytes) -> float:
    """Return a number as ImageJ writes it, or one that equals none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _require_bits(said: list[bytes], where: str, bits: int) -> None:
    """Stop unless all of the depths that a description names are that of the file."""
    for used in map(int, said):
        if bits > 8 and used != bits:
            raise _other_range("largest", f"that of {used} bits", where, bits)


def _other_range(what: str, found: str, where: str, bits: int) -> ImageError:
    """Return the error for a file that says of its smallest or largest value what its depth does not."""
    return ImageError(
        f"says that its {what} value is {found} ({where}), but its {bits} bits have black at 0 and white at "
        f"{2**bits - 1}; save it with the bits that it uses, or scaled."
    )


def _layout(tags: Ifd, content: bytes) -> _Layout:
    width, height = tags.number(_WIDTH), tags.number(_HEIGHT)
    if not width or not height:
        raise ValueError("it has no size")
    samples = tags.number(_SAMPLES, 1)
    if _PHOTOMETRIC not in tags:
        raise ImageError("does not say whether 0 is black or white (PhotometricInterpretation); save it again.")
    photometric = tags.number(_PHOTOMETRIC)
    if photometric not in _COLOUR_SAMPLES:
        raise ImageError(f"is a TIFF of colours {photometric}, expected gray, palette, RGB or CMYK; save it as gray.")
    if _COLOURS in tags and photometric != _PALETTE:
        raise ImageError(
            f"has a palette (ColorMap, tag {_COLOURS}), but says that its values are no colours of it "
            f"(PhotometricInterpretation {photometric}); save it as plain gray."
        )
    colours = _COLOUR_SAMPLES[photometric]
    if samples < colours:
        raise ImageError(f"has {samples} samples per pixel, expected {colours} of such colours; save it as gray.")
    if samples > colours + 1:  # before the values of so many are read
        raise _further(samples, colours)
    bits = _depth(tags, samples)
    if bits not in _DEPTHS[photometric]:
        raise ImageError(f"has {bits} bits per sample, expected 1 to 16 of gray, 8 or 16 of colour; save it as gray.")
    for form in set(tags.numbers(_FORMAT, samples)) if _FORMAT in tags else ():
        if form != 1:
            kind = {2: "signed", 3: "floating-point"}.get(form, "undefined")
            raise ImageError(f"has {kind} samples, expected unsigned integers; convert them, black to 0.")
    _require_full_scale(tags, bits, samples)
    compression = tags.number(_COMPRESSION, _NONE)
    if compression not in _COPIES:
        raise ImageError(
            f"is a TIFF of compression {compression}, expected none, LZW, deflate or PackBits; save it again."
        )
    predictor = tags.number(_PREDICTOR, 1)
    if predictor not in (1, _DIFFERENCE) or (
        predictor != 1 and (bits not in (8, 16) or compression in (_NONE, _PACKBITS))
    ):
        raise ImageError(f"is a TIFF of predictor {predictor} on {bits} bits, which is not read; save it without one.")
    planes = {1: 1, 2: samples}.get(tags.number(_PLANES, 1), 0)
    if not planes:
        raise ValueError("its planes are arranged in an unknown way")
    alpha = _alpha(tags, photometric, samples, bits)
    across, down, tiled, places = _segments(tags, width, height, planes, len(content))
    order = "<" if content[:2] == b"II" else ">"
    return _Layout(
        order, width, height, bits, photometric, samples, alpha, planes, compression, predictor, across, down, tiled,
        places,
    )  # fmt: skip


def _depth(tags: Ifd, samples: int) -> int:
    """Return the bits of every sample."""
    depths = set(tags.numbers(_BITS, samples)) if _BITS in tags else {1}
    if len(depths) != 1:
        raise ImageError(f"has samples of {' and '.join(map(str, sorted(depths)))} bits; save it as gray.")
    return depths.pop()


def _require_full_scale(tags: Ifd, bits: int, samples: int) -> None:
    """Stop at another largest value than that of the depth, such as 4095 in 16 bits.

    The standard has that tag for statistics, and only BitsPerSample for white; but of more than 8 bits, who writes such
    a number may mean it.
    """
    for tag, expected in ((_SMALLEST_SAMPLE, 0), (_LARGEST_SAMPLE, 2**bits - 1)):
        if tag in tags and (not tags.integers(tag) or set(tags.numbers(tag, samples)) != {expected}):
            raise ImageError(
                f"has a range of its own for black and white (SMinSampleValue, SMaxSampleValue), expected 0 and "
                f"{2**bits - 1} of {bits} bits; save it without, scaled."
            )
    if bits <= 8:
        return
    if _LARGEST in tags and (largest := max(tags.numbers(_LARGEST, samples))) != 2**bits - 1:
        raise _other_range("largest", str(largest), "MaxSampleValue", bits)
    if _SMALLEST in tags and (smallest := min(tags.numbers(_SMALLEST, samples))) != 0:
        raise _other_range("smallest", str(smallest), "MinSampleValue", bits)


def _alpha(tags: Ifd, photometric: int, samples: int, bits: int) -> int:
    """Return what the extra sample is: 0 where there is none, or one of the two kinds of alpha."""
    colours = _COLOUR_SAMPLES[photometric]
    kinds = tags.numbers(_EXTRA, 8) if _EXTRA in tags else []
    if len(kinds) > samples - colours:
        raise ImageError(
            f"has {samples} samples per pixel, but says of {len(kinds)} that they are extra; save it again."
        )
    if samples == colours:
        return 0
    if kinds in ([], [0]):
        raise _further(samples, colours)
    if kinds[0] not in (_PREMULTIPLIED, _STRAIGHT):
        raise ImageError("has extra samples of unknown kinds; save it as gray.")
    if photometric not in (_BLACK_IS_ZERO, _RGB) or bits != 8:
        raise ImageError("has transparency, which is read with gray or RGB of 8 bits only; save it without.")
    return kinds[0]


def _further(samples: int, colours: int) -> ImageError:
    """Return the error for samples that are no alpha: programs keep the slices of a stack or the channels so."""
    return ImageError(
        f"has {samples} samples per pixel, but says of those beyond the first {colours} not that they are one alpha "
        "(ExtraSamples), so they may be further images, expected exactly one image; save the one that is meant."
    )


def _segments(
    tags: Ifd, width: int, height: int, planes: int, end: int
) -> tuple[int, int, bool, list[tuple[int, int]]]:
    """Return pixels across, rows, whether these are tiles, and offset and size of all of them [byte]."""
    tiled = _TILES in tags
    if tiled and _STRIPS in tags:
        raise ValueError("it has both strips and tiles")
    if tiled:
        across, down = tags.number(_TILE_WIDTH), tags.number(_TILE_HEIGHT)
        # A tile may be larger than its image, but not so that a small file asks for much memory and time.
        if not (1 <= across <= max(1024, width + 15) and 1 <= down <= max(1024, height + 15)):
            raise ValueError(f"tiles of {across} x {down} pixels")
    else:
        across, down = width, min(tags.number(_ROWS, height), height)
        if not down:
            raise ValueError("strips without rows")
    count = planes * -(-width // across) * -(-height // down)
    if count > _MAX_SEGMENTS:
        raise ImageError(f"is cut into {count} pieces, expected at most {_MAX_SEGMENTS}; save it again.")
    offsets = tags.numbers(_TILES if tiled else _STRIPS, count)
    sizes = tags.numbers(_TILE_SIZES if tiled else _STRIP_SIZES, count)
    if len(offsets) != count or len(sizes) != count:
        raise ValueError(f"{len(offsets)} pieces of {count}")
    if any(offset + size > end for offset, size in zip(offsets, sizes, strict=True)):
        raise ValueError("it ends early")
    return across, down, tiled, list(zip(offsets, sizes, strict=True))


def _table(tags: Ifd, layout: _Layout) -> NDArray[np.uint8]:
    """Return the gray of every value; of colour, the 8 bits of every value."""
    if layout.photometric == _PALETTE:
        count = 3 << layout.bits
        entries = np.array(tags.numbers(_COLOURS, count))
        if len(entries) != count:
            raise ValueError(f"a ColorMap of {len(entries)} entries")
        if entries.any() and entries.max() < 256:
            raise ImageError(
                "has a ColorMap of bytes, expected 16 bits, where these are nearly black; save it as gray."
            )
        if int(entries.max()) > 0xFFFF:
            raise ValueError(f"a ColorMap that holds {entries.max()}")
        shifted = not (entries & 0xFF).any()  # as Pillow and others write 8 bits
        colours = (entries >> 8).astype(np.uint8) if shifted else full_scale(16)[entries]
        return palette_table(np.ascontiguousarray(colours.reshape(3, -1).T))
    if layout.photometric == _WHITE_IS_ZERO:
        return full_scale(layout.bits)[::-1]
    return full_scale(layout.bits)


def _decode(
    content: bytes, layout: _Layout, table: NDArray[np.uint8], shown: dict[str, set[bytes]]
) -> NDArray[np.uint8]:
    """Return (h, w) gray, segment by segment."""
    gray = np.empty((layout.height, layout.width), dtype=np.uint8)
    pieces = _pieces(content, layout)
    lowest, highest = 2**layout.bits, -1
    colours = _COLOUR_SAMPLES[layout.photometric]
    for top in range(0, layout.height, layout.down):
        rows = layout.down if layout.tiled else min(layout.down, layout.height - top)
        for left in range(0, layout.width, layout.across):
            segment = [next(pieces).reshape(rows, layout.row_bytes) for _ in range(layout.planes)]
            target = gray[top : top + rows, left : left + layout.across]
            for start, end in bands(target.shape[0], layout.across):
                band = _samples([plane[start:end] for plane in segment], layout)[:, : target.shape[1]]
                if any(shown.values()):
                    lowest = min(lowest, int(band[:, :, :colours].min()))
                    highest = max(highest, int(band[:, :, :colours].max()))
                target[start:end] = _gray(band, layout, table)
    _require_shown(shown, lowest, highest, layout.bits)
    return gray


def _pieces(content: bytes, layout: _Layout) -> Iterator[NDArray[np.uint8]]:
    """Yield the unpacked bytes of all segments, left to right and top to bottom, all planes of each."""
    view = memoryview(content)
    per_plane = len(layout.places) // layout.planes
    places = [layout.places[plane * per_plane + i] for i in range(per_plane) for plane in range(layout.planes)]
    per_row = -(-layout.width // layout.across) * layout.planes
    last = layout.down if layout.tiled else layout.height - (layout.height - 1) // layout.down * layout.down
    whole, end = (places, []) if last == layout.down else (places[:-per_row], places[-per_row:])
    for some, rows in ((whole, layout.down), (end, last)):
        size = rows * layout.row_bytes
        step = max(1, _BATCH // size) if layout.compression == _LZW else 1
        for first in range(0, len(some), step):
            packed = [view[offset : offset + length] for offset, length in some[first : first + step]]
            if layout.compression == _LZW:
                yield from _lzw(packed, rows, layout.row_bytes)
            else:
                yield np.frombuffer(_unpack(packed[0], size, layout.compression), dtype=np.uint8, count=size)


def _unpack(packed: memoryview, size: int, compression: int) -> "bytes | bytearray | memoryview":
    """Return at least `size` bytes. Raises ValueError, zlib.error."""
    if compression == _PACKBITS:
        return packbits(packed, size)
    unpacked = packed if compression == _NONE else zlib.decompressobj().decompress(packed, size)
    if len(unpacked) < size:
        raise ValueError("it ends early")
    return unpacked


def _lzw(packed: list[memoryview], rows: int, row_bytes: int) -> list[NDArray[np.uint8]]:
    """Let libtiff unpack segments: they become the strips of a TIFF of bytes, whatever they mean."""
    sizes = [len(part) for part in packed]
    offsets = np.cumsum([8, *sizes])[:-1].tolist()
    data = b"".join(packed)
    data += b"\0" * (len(data) % 2)
    at, count = 8 + len(data), len(packed)
    lists = at + 2 + 12 * 9 + 4
    tags = [
        (_WIDTH, 1, row_bytes), (_HEIGHT, 1, rows * count), (_BITS, 1, 8), (_COMPRESSION, 1, _LZW),
        (_PHOTOMETRIC, 1, _BLACK_IS_ZERO), (_STRIPS, count, offsets[0] if count == 1 else lists), (_SAMPLES, 1, 1),
        (_ROWS, 1, rows), (_STRIP_SIZES, count, sizes[0] if count == 1 else lists + 4 * count),
    ]  # fmt: skip
    directory = struct.pack("<H", len(tags)) + b"".join(
        struct.pack("<HHII", tag, 4, n, value) for tag, n, value in tags
    )
    values = b"" if count == 1 else np.array([offsets, sizes], dtype="<u4").tobytes()
    file = b"".join((b"II*\0", struct.pack("<I", at), data, directory, bytes(4), values))
    image = unpack(file, "TIFF", width=row_bytes, height=rows * count, modes=("L",))
    return list(np.asarray(image).reshape(count, rows * row_bytes))


def _samples(planes: list[NDArray[np.uint8]], layout: _Layout) -> NDArray[Any]:
    """Return (rows, across, samples) of bytes of rows, one array per plane."""
    per_pixel = layout.samples // layout.planes
    unpacked = []
    for rows in planes:
        values = unpack_bits(rows, layout.across * per_pixel, layout.bits, layout.order)
        values = values.reshape(len(rows), layout.across, per_pixel)
        if layout.predictor == _DIFFERENCE:
            values = np.cumsum(values, axis=1, dtype=values.dtype)
        unpacked.append(values)
    return unpacked[0] if len(unpacked) == 1 else np.concatenate(unpacked, axis=2)


def _gray(values: NDArray[Any], layout: _Layout, table: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return (rows, w) gray of (rows, w, samples)."""
    if layout.photometric == _CMYK:
        inks = np.ascontiguousarray(values[:, :, :4])
        image = Image.frombytes("CMYK", (inks.shape[1], inks.shape[0]), inks.tobytes())
        return np.asarray(image.convert("RGB").convert("L"))
    if layout.photometric == _RGB:
        colour = values if layout.bits == 8 else table[values]
    elif layout.photometric == _PALETTE:
        return look_up(table, values[:, :, 0])
    elif layout.alpha == _STRAIGHT:
        colour = values[:, :, [0, 0, 0, 1]]
    else:
        return np.asarray(table[values[:, :, 0]])
    if layout.alpha == _STRAIGHT:
        return over_black(np.ascontiguousarray(colour[:, :, :4]))
    return luma(np.ascontiguousarray(colour[:, :, :3]))
