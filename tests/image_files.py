"""Image files for tests, written from the standards, with any tags and chunks whatever."""

import io
import itertools
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from tests.randomness import generator
from tests.tiff_files import DEFLATE, LONG, LZW, NONE, PACKBITS, SHORT, tiff

RNG = generator(0)
GRAY = RNG.integers(0, 256, (37, 45), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (37, 45, 3), dtype=np.uint8)
ALPHA = RNG.integers(0, 256, (37, 45, 1), dtype=np.uint8)
SMOOTH = np.add.outer(np.arange(40), np.arange(48) * 2).astype(np.uint8)  # what JPEG keeps nearly as it is


def save(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def profile(curve: bytes, names: tuple[bytes, ...] = (b"kTRC",)) -> bytes:
    """Return a gray or RGB profile of one tone curve."""
    space, start = b"GRAY" if len(names) == 1 else b"RGB ", 132 + 12 * len(names)
    tags = b"".join(name + struct.pack(">II", start, len(curve)) for name in names)
    head = struct.pack(">I8x4s4s4s12x4s88x", start + len(curve), b"mntr", space, b"XYZ ", b"acsp")
    return head + struct.pack(">I", len(names)) + tags + curve


def curve(*values: int) -> bytes:
    return b"curv" + struct.pack(f">4xI{len(values)}H", len(values), *values)


def parametric(function: int, *values: float) -> bytes:
    return b"para" + struct.pack(f">4xH2x{len(values)}i", function, *(round(value * 65536) for value in values))


LINEAR = profile(curve())
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SRGB = SRGB[:24] + bytes(12) + SRGB[36:]  # without the time at which it was made


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def with_segments(jpeg: bytes, *added: bytes) -> bytes:
    return jpeg[:2] + b"".join(added) + jpeg[2:]


def icc(part: bytes, number: int = 1, count: int = 1) -> bytes:
    return segment(0xE2, b"ICC_PROFILE\0" + bytes([number, count]) + part)


def exif(value: int, order: str = "<") -> bytes:
    """Return EXIF data of one tag, the orientation."""
    head = {"<": b"II*\0", ">": b"MM\0*"}[order]
    return head + struct.pack(f"{order}IHHHIHHI", 8, 1, 274, SHORT, 1, value, 0, 0)


def mpf(images: int) -> bytes:
    return segment(0xE2, b"MPF\0II*\0" + struct.pack("<IHHHIII", 8, 1, 0xB001, LONG, 1, images, 0))


JPEG = save(Image.fromarray(SMOOTH), "JPEG", quality=95)
JPEG_RGB = save(Image.fromarray(COLOUR), "JPEG", quality=95)


def other_frame(marker: int, bits: int = 8, jpeg: bytes = JPEG) -> bytes:
    """Return a file that says it is coded in another way."""
    at = jpeg.index(b"\xff\xc0")
    return jpeg[:at] + bytes([0xFF, marker]) + jpeg[at + 2 : at + 4] + bytes([bits]) + jpeg[at + 5 :]


def png(
    pixels: NDArray[Any],
    depth: int,
    colour: int,
    *chunks: tuple[bytes, bytes],
    after: tuple[bytes, bytes] | None = None,
) -> bytes:
    """Return a PNG of (h, w) or (h, w, channels) samples, with these chunks before the pixels, and one after them."""
    h, w = pixels.shape[:2]
    values = pixels.reshape(h, -1)
    if depth == 16:
        rows = values.astype(">u2").tobytes()
        stride = 2 * values.shape[1]
    else:
        single = (values[:, :, None] >> np.arange(depth - 1, -1, -1)) & 1
        packed = np.packbits(single.reshape(h, -1).astype(np.uint8), axis=1)
        rows, stride = packed.tobytes(), packed.shape[1]
    data = b"".join(b"\0" + rows[i * stride : (i + 1) * stride] for i in range(h))
    head = struct.pack(">IIBBBBB", w, h, depth, colour, 0, 0, 0)
    body = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(data)), *([after] if after else []), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(part)) + kind + part + struct.pack(">I", zlib.crc32(kind + part)) for kind, part in body
    )


def interlaced(pixels: NDArray[Any], depth: int, colour: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """Return a PNG in the seven passes of Adam7, each of them the rows of a small PNG."""
    data = b""
    for top, left, down, across in ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2),
                                    (1, 0, 2, 1)):  # fmt: skip
        part = png(pixels[top::down, left::across], depth, colour)
        at = part.index(b"IDAT")
        data += zlib.decompress(part[at + 4 : at + 4 + int.from_bytes(part[at - 4 : at], "big")])
    whole = png(pixels, depth, colour, *chunks)
    head, at = bytearray(whole[:33]), whole.index(b"IDAT")
    head[28] = 1
    head[29:33] = struct.pack(">I", zlib.crc32(head[12:29]))
    packed = zlib.compress(data)
    body = struct.pack(">I", len(packed)) + b"IDAT" + packed + struct.pack(">I", zlib.crc32(b"IDAT" + packed))
    return bytes(head) + whole[33 : at - 4] + body + whole[-12:]


def bmp(
    rows: bytes,
    bits: int,
    *,
    size: int = 40,
    height: int = 37,
    palette: bytes = b"",
    layout: int = 0,
    space: bytes = b"",
) -> bytes:
    """Return a BMP 45 pixels wide."""
    if size == 12:
        head = struct.pack("<IHHHH", 12, 45, height, 1, bits)
    else:
        head = struct.pack("<IiiHHIIiiII", size, 45, height, 1, bits, layout, 0, 1, 1, len(palette) // 4, 0)
        head = (head + bytes(16) + space).ljust(size, b"\0") if size > 40 else head
    start = 14 + len(head) + len(palette)
    return struct.pack("<2sIHHI", b"BM", start + len(rows), 0, 0, start) + head + palette + rows


def bmp_rows(pixels: NDArray[Any], bits: int) -> bytes:
    """Return rows of (h, w) indices or (h, w, channels), the lowest first, each a multiple of four bytes."""
    values = pixels.reshape(len(pixels), -1)
    if bits < 8:
        single = (values[:, :, None] >> np.arange(bits - 1, -1, -1)) & 1
        values = np.packbits(single.reshape(len(values), -1).astype(np.uint8), axis=1)
    padded = np.pad(values, ((0, 0), (0, -values.shape[1] % 4)), constant_values=255)
    return padded[::-1].astype(np.uint8).tobytes()


def other_size(jpeg: bytes, width: int, height: int) -> bytes:
    at = jpeg.index(b"\xff\xc2") + 5
    return jpeg[:at] + struct.pack(">HH", height, width) + jpeg[at + 4 :]


PROGRESSIVE = save(Image.fromarray(SMOOTH), "JPEG", progressive=True)
PROGRESSIVE = PROGRESSIVE[:-2] + PROGRESSIVE[PROGRESSIVE.index(b"\xff\xda") : -2]  # twice as many scans
CMYK_JPEG = save(Image.fromarray(COLOUR).convert("CMYK"), "JPEG")


def one_of_each() -> list[bytes]:
    """Return a file of everything that is read."""
    files = [JPEG, JPEG_RGB, CMYK_JPEG, with_segments(JPEG, segment(0xE1, b"Exif\0\0" + exif(6)))]
    files += [png(GRAY >> 8 - depth if depth < 8 else GRAY * np.uint16(257), depth, 0) for depth in (1, 2, 4, 16)]
    files += [png(GRAY * np.uint16(201), 16, 0, (b"tRNS", struct.pack(">H", int(GRAY[0, 0]) * 201)))]
    files += [png(GRAY & 3, 2, 0, (b"tRNS", b"\0\3")), png(GRAY & 1, 1, 0, (b"tRNS", b"\0\1"))]
    files += [png(GRAY & 3, 2, 3, (b"PLTE", COLOUR[0, :4].tobytes()), (b"tRNS", b"\0\x80"))]
    files += [png(COLOUR, 8, 2, (b"tRNS", struct.pack(">3H", *COLOUR[1, 2].tolist()))), png(COLOUR, 8, 2)]
    files += [png(np.dstack([GRAY, ALPHA]), 8, 4), png(np.dstack([COLOUR, ALPHA]), 8, 6)]
    files += [interlaced(COLOUR, 8, 2), interlaced(GRAY * np.uint16(257), 16, 0)]
    for bits, compression in itertools.product((1, 4, 8, 12, 16), (NONE, LZW, DEFLATE, PACKBITS)):
        files.append(tiff(GRAY * np.uint16(257) >> 16 - bits, bits, compression=compression, rows=8, photometric=0))
    files.append(tiff(np.dstack([COLOUR, ALPHA]), 8, photometric=2, tags={338: (SHORT, [2]), 274: (SHORT, [7])}))
    files.append(tiff(np.dstack([COLOUR, GRAY]), 8, photometric=5, order=">"))
    files += [bmp(bmp_rows(COLOUR, 8), 24), bmp(bmp_rows(GRAY & 1, 1), 1, palette=COLOUR.tobytes()[:8])]
    return files
