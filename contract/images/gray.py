"""How values become gray, for every format: full scale to 0..255, colour to luma, transparency over black.

Whole images are never held twice: they are converted in bands of a quarter of a megapixel.
"""

import io
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ANOTHER = re.compile(  # image, of any of the formats, behind the end of one
    rb"[\0\s\xff]*(?:\xff\xd8\xff|\x89PNG\r\n\x1a\n|II\*\0|MM\0\*|BM.{4}\0{4})", re.DOTALL
)
_BAND = 1 << 18  # pixels that are converted at a time
_QUIET = threading.Lock()  # warnings.catch_warnings is not thread-safe


@dataclass(frozen=True)
class Stored:
    """What a file says about its one image, and the way to its pixels.

    `decode` may raise nearly anything on a damaged file.
    """

    format: str  # JPEG, PNG, BMP or TIFF
    mode: str  # in Pillow's words: 1, L, I;12, I;16, P, LA, RGB, RGBA, CMYK ...
    bits: int  # of a sample
    width: int  # of the stored rows [pixel]
    height: int  # stored rows
    orientation: int  # which side is up, as EXIF and TIFF number it: 1..8
    memory: int  # peak of decoding, the file itself not counted [byte]
    decode: Callable[[], NDArray[np.uint8]]  # -> (height, width) gray, as stored

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the upright image [pixel]."""
        return (self.height, self.width) if self.orientation > 4 else (self.width, self.height)


@lru_cache(maxsize=16)
def full_scale(bits: int) -> NDArray[np.uint8]:
    """Return the gray of every value of 1 to 16 bits, (2^bits,): round(255 v / (2^bits - 1)), where no tie occurs."""
    top = (1 << bits) - 1
    return ((510 * np.arange(top + 1, dtype=np.int64) + top) // (2 * top)).astype(np.uint8)


def luma(colour: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the gray of (h, w, 3) RGB: (19595 R + 38470 G + 7471 B + 32768) >> 16, which is Pillow's."""
    return np.asarray(Image.fromarray(colour).convert("L"))


def over_black(colour: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the gray of (h, w, 4) RGBA with straight alpha, composited over black."""
    return _over_black(Image.fromarray(colour))


def _over_black(image: Image.Image) -> NDArray[np.uint8]:
    black = Image.new("RGBA", image.size, (0, 0, 0, 255))
    return np.asarray(Image.alpha_composite(black, image).convert("L"))


def palette_table(colours: NDArray[np.uint8], alphas: bytes = b"") -> NDArray[np.uint8]:
    """Return the gray of each of n colours, (n, 3), the first of which have these alphas."""
    alpha = np.full(len(colours), 255, dtype=np.uint8)
    alpha[: len(alphas)] = np.frombuffer(alphas, dtype=np.uint8)[: len(colours)]
    return np.asarray(over_black(np.dstack([colours[None], alpha[None]]))[0])


def look_up(table: NDArray[np.uint8], indices: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the gray of palette indices. Raises ValueError beyond the palette."""
    highest = int(indices.max())
    if highest >= len(table):
        raise ValueError(f"colour {highest} of a palette of {len(table)}")
    return np.asarray(table[indices])


def upright(gray: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Turn and mirror stored rows as an orientation of 1..8 asks (TIFF 6.0, tag 274: where row 0 and column 0 are)."""
    if orientation > 4:  # row 0 is a side
        gray = gray.T
    if orientation in (2, 3, 6, 7):
        gray = gray[:, ::-1]
    if orientation in (3, 4, 7, 8):
        gray = gray[::-1]
    return np.ascontiguousarray(gray)


def bands(height: int, width: int) -> Iterator[tuple[int, int]]:
    """Yield (first row, row after the last) of bands of about that many pixels."""
    rows = max(1, _BAND // width)
    for top in range(0, height, rows):
        yield top, min(top + rows, height)


@contextmanager
def _quiet() -> Iterator[None]:
    """Drop Pillow's warnings about size and metadata: the size we check ourselves, the metadata nobody reads."""
    with _QUIET, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def unpack(content: bytes, kind: str, *, width: int, height: int, modes: tuple[str, ...]) -> Image.Image:
    """Let Pillow decode a file of which everything is known already.

    Raises:
        ValueError: it is something else to Pillow.
        Exception: nearly any other, when the file is damaged.
    """
    with _quiet():
        image = Image.open(io.BytesIO(content), formats=(kind,))
    if image.size != (width, height) or image.mode not in modes:
        raise ValueError(f"the decoder found {image.width} x {image.height} pixels of type {image.mode}")
    image.load()
    return image


def gray_of(
    image: Image.Image, convert: Callable[[NDArray[Any]], NDArray[np.uint8]] | None = None
) -> NDArray[np.uint8]:
    """Return the gray of a decoded image, (h, w), band by band.

    Args:
        image: of mode 1, L, RGB, CMYK, LA, RGBA; or of any mode, with `convert`.
        convert: makes gray of the pixels of a band, (rows, w) or (rows, w, channels).
    """
    width, height = image.size
    parts = list(bands(height, width))
    if len(parts) == 1:
        return _band_gray(image, convert)
    gray = np.empty((height, width), dtype=np.uint8)
    for top, end in parts:
        gray[top:end] = _band_gray(image.crop((0, top, width, end)), convert)
    return gray


def _band_gray(band: Image.Image, convert: Callable[[NDArray[Any]], NDArray[np.uint8]] | None) -> NDArray[np.uint8]:
    if convert is not None:
        return convert(np.asarray(band))
    if band.mode in ("LA", "RGBA"):
        return _over_black(band.convert("RGBA"))
    if band.mode == "CMYK":
        band = band.convert("RGB")
    return np.asarray(band.convert("L"))
