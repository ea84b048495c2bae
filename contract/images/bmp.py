"""BMP: uncompressed bits, palettes of 16 or 256 colours, and colour of 24 or 32 bits. Unpacked here, without Pillow.

The fourth byte of 32 bits is reserved and means nothing. Other layouts (16 bits, bit fields, run lengths) are refused.
"""

import numpy as np
from numpy.typing import NDArray

from contract.errors import ImageError
from contract.images.gray import ANOTHER, Stored, bands, look_up, luma, palette_table
from contract.images.samples import unpack_bits

MAGIC = b"BM"
_HEADERS = (12, 40, 108, 124)  # of OS/2, Windows 3, 95 and 98 [byte]
_SPACES = (b"\0\0\0\0", b"BGRs", b" niW")  # calibrated (by what follows), sRGB, the system's
_GAMMA = range(16 * 65536 // 10, 26 * 65536 // 10)  # of calibrated colours; 0 is unsaid


def look(content: bytes) -> Stored:
    """Return what a BMP file says. Raises ImageError for what is not read, ValueError for damage."""
    start, size = _integer(content, 10, 4), _integer(content, 14, 4)
    if size not in _HEADERS:
        raise ImageError(f"is a BMP with a header of {size} bytes, expected 40, 108 or 124; save it as PNG.")
    wide = 2 if size == 12 else 4
    width, rows = (_integer(content, 18 + wide * i, wide, signed=wide == 4) for i in (0, 1))
    bits = _integer(content, 18 + 2 * wide + 2, 2)
    layout, used = (_integer(content, 30, 4), _integer(content, 46, 4)) if size > 12 else (0, 0)
    if bits not in (1, 4, 8, 24, 32) or layout:
        raise ImageError(
            f"is a BMP of {bits} bits in layout {layout}, expected 1, 4, 8 or 24 plain bits; save it as PNG."
        )
    if size > 40:
        _require_display(content)
    height, stride = abs(rows), (width * bits + 31) // 32 * 4
    if width < 1 or not height or start < 14 + size or start + stride * height > len(content):
        raise ValueError("it ends early")
    if ANOTHER.match(content, start + stride * height):
        raise ImageError("holds several images, expected exactly one; save the one that is meant.")
    table = _palette(content, 14 + size, used or 2**bits, 3 if size == 12 else 4, start) if bits <= 8 else None

    def decode() -> NDArray[np.uint8]:
        stored = np.frombuffer(content, dtype=np.uint8, count=stride * height, offset=start).reshape(height, stride)
        if rows > 0:  # the usual way: the lowest row comes first
            stored = stored[::-1]
        gray = np.empty((height, width), dtype=np.uint8)
        for top, end in bands(height, width):
            if table is not None:
                gray[top:end] = look_up(table, unpack_bits(stored[top:end], width, bits).astype(np.uint8))
            else:
                pixels = stored[top:end, : width * bits // 8].reshape(end - top, width, bits // 8)
                gray[top:end] = luma(np.ascontiguousarray(pixels[:, :, 2::-1]))
        return gray

    mode = "RGB" if table is None else "P"
    return Stored("BMP", mode, min(bits, 8), width, height, 1, width * height, decode)


def _palette(content: bytes, at: int, colours: int, size: int, end: int) -> NDArray[np.uint8]:
    """Return the gray of each colour."""
    if colours > 256 or at + colours * size > end:
        raise ValueError(f"a palette of {colours} colours")
    entries = np.frombuffer(content, dtype=np.uint8, count=colours * size, offset=at).reshape(colours, size)
    return palette_table(np.ascontiguousarray(entries[:, 2::-1]))


def _require_display(content: bytes) -> None:
    """Stop unless the colour space is that of a screen."""
    space = content[14 + 56 : 14 + 60]
    gammas = [_integer(content, 14 + at, 4) for at in (96, 100, 104)]
    if space not in _SPACES or (space == _SPACES[0] and any(gamma and gamma not in _GAMMA for gamma in gammas)):
        raise ImageError("is a BMP with a colour profile; save it as gray without one.")


def _integer(content: bytes, at: int, size: int, *, signed: bool = False) -> int:
    if at + size > len(content):
        raise ValueError("it ends early")
    return int.from_bytes(content[at : at + size], "little", signed=signed)
