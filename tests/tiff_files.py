"""TIFF files for tests, written from the standard with any tags whatever; imagecodecs packs them."""

import struct
import zlib
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

NONE, LZW, DEFLATE, PACKBITS = 1, 5, 8, 32773
SHORT, LONG, UNDEFINED = 3, 4, 7
Tag = tuple[int, list[int] | bytes]  # type, values


def tiff(
    pixels: NDArray[Any],
    bits: int,
    *,
    photometric: int = 1,
    order: str = "<",
    compression: int = NONE,
    rows: int = 0,
    tile: tuple[int, int] | None = None,
    predictor: int = 1,
    planes: bool = False,
    tags: dict[int, Tag | None] | None = None,
    next_at: int = 0,
) -> bytes:
    """Return a TIFF of (h, w) or (h, w, samples) values.

    Args:
        pixels: the values, below 2^bits.
        bits: of a sample.
        photometric: 0 white is zero, 1 black is zero, 2 RGB, 3 palette, 5 CMYK.
        order: of bytes, < or >.
        compression: of the strips or tiles.
        rows: of a strip; 0 for all in one.
        tile: height and width of tiles instead.
        predictor: 2 for differences.
        planes: store sample after sample.
        tags: more of them, or others instead; None leaves one out.
        next_at: where the file says that another image is.
    """
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    h, w, samples = pixels.shape
    down, across = tile or (rows or h, w)
    pieces = []
    for part in np.split(pixels, samples, axis=2) if planes else [pixels]:
        for top in range(0, h, down):
            for left in range(0, w, across):
                piece = part[top : top + down, left : left + across]
                if tile:
                    padding = [(0, down - piece.shape[0]), (0, across - piece.shape[1]), (0, 0)]
                    piece = np.pad(piece, padding, mode="edge")
                pieces.append(_packed(piece, bits, order, compression, predictor))
    entries: dict[int, Tag | None] = {
        256: (LONG, [w]), 257: (LONG, [h]), 258: (SHORT, [bits] * samples), 259: (SHORT, [compression]),
        262: (SHORT, [photometric]), 277: (SHORT, [samples]), 284: (SHORT, [1 + planes]), 317: (SHORT, [predictor]),
    }  # fmt: skip
    data = b"".join(pieces)
    offsets = (8 + np.cumsum([0, *map(len, pieces)])[:-1]).tolist()
    sizes = [len(piece) for piece in pieces]
    if tile:
        entries |= {322: (LONG, [across]), 323: (LONG, [down]), 324: (LONG, offsets), 325: (LONG, sizes)}
    else:
        entries |= {273: (LONG, offsets), 278: (LONG, [down]), 279: (LONG, sizes)}
    return _file(data, {tag: value for tag, value in (entries | (tags or {})).items() if value}, order, next_at)


def _packed(piece: NDArray[Any], bits: int, order: str, compression: int, predictor: int) -> bytes:
    """Return one strip or tile."""
    if predictor == 2:
        steps: NDArray[Any] = np.diff(piece.astype(np.int64), axis=1, prepend=0)
        piece = steps % (1 << bits)
    h, w, samples = piece.shape
    values = piece.reshape(h, w * samples)
    if bits in (8, 16):
        raw = values.astype(f"{order}u{bits // 8}").tobytes()
    else:
        single = (values[:, :, None] >> np.arange(bits - 1, -1, -1)) & 1
        raw = np.packbits(single.reshape(h, -1).astype(np.uint8), axis=1).tobytes()
    if compression == LZW:
        return bytes(imagecodecs.lzw_encode(raw))
    if compression == PACKBITS:
        return bytes(imagecodecs.packbits_encode(raw))
    return raw if compression == NONE else zlib.compress(raw)


def _file(data: bytes, entries: dict[int, Any], order: str, next_at: int) -> bytes:
    """Return a file of packed pixels, a directory, and what does not fit into it."""
    data += b"\0" * (len(data) % 2)
    at = 8 + len(data)
    after = at + 2 + 12 * len(entries) + 4
    directory, more = struct.pack(f"{order}H", len(entries)), b""
    for tag, (kind, values) in sorted(entries.items()):
        code = {SHORT: "H", LONG: "I", UNDEFINED: "B"}[kind]
        packed = struct.pack(f"{order}{len(values)}{code}", *values)
        if len(packed) > 4:
            packed, more = struct.pack(f"{order}I", after + len(more)), more + packed + b"\0" * (len(packed) % 2)
        directory += struct.pack(f"{order}HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", at)
    return head + data + directory + struct.pack(f"{order}I", next_at) + more
