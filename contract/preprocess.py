"""Turn an image file into the uint8 pixels that the network reads: one code for training, reference and board.

Three steps: grayscale, then 8 bits, then the average over each of H x W equal areas. All three are integer arithmetic.
The area average is ours because Pillow's `Image.resize(..., BOX)` rounds twice and places the borders of its areas in
floating point: a source pixel whose centre falls on a border is counted twice, once or never, depending on the last
bit of a product (30 -> 28 pixels is such a size), and so on whether the processor fuses multiply and add. Here a
pixel that straddles a border is shared in exact proportion, and the result is rounded once.

Image files are hostile until checked: only four formats are tried, the size is checked in the header before any
pixel is decoded, and whatever Pillow raises becomes one ImageError.
"""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from contract.errors import ImageError, ImageTooLargeError

PREPROCESS_VERSION = 1  # raise it when any output pixel of any image can change
MAX_PIXELS = 100_000_000  # decoded size that is still accepted; the largest plain X-ray detectors have a third of it
FORMATS = ("JPEG", "PNG", "BMP", "TIFF")
_QUIET = threading.Lock()  # warnings.catch_warnings is not thread-safe
_DIRECT = ("1", "L", "RGB", "RGBX", "YCbCr", "CMYK")  # modes without transparency
_TRANSPARENT = ("LA", "PA", "RGBA", "RGBa")


def describe() -> dict[str, int | str]:
    """Return the method in words for accelerator.json, so that a board can refuse pixels made in another way."""
    return {
        "version": PREPROCESS_VERSION,
        "formats": ", ".join(FORMATS),
        "grayscale": "ITU-R 601-2 luma, (19595 R + 38470 G + 7471 B + 32768) >> 16",
        "transparency": "composited over black",
        "sixteen_bit": "(v + 128) // 257, so that 65535 becomes 255",
        "resize": "box",
        "resize_detail": "exact area average of the whole image in integers, rounded half up once; no crop, no padding",
        "orientation": "as stored, EXIF is ignored",
        "upsampling": "refused",
        "max_pixels": MAX_PIXELS,
    }


def load_pixels(
    source: Path | bytes | BinaryIO, *, height: int, width: int, name: str | None = None
) -> NDArray[np.uint8]:
    """Read one image as (height, width) uint8, row-major; 0 is black. Arguments and errors are `load_gray`'s."""
    return area_average(load_gray(source, height=height, width=width, name=name), height=height, width=width)


def load_gray(
    source: Path | bytes | BinaryIO, *, height: int, width: int, name: str | None = None
) -> NDArray[np.uint8]:
    """Read one image as uint8 gray in its own size, (h, w), row-major; 0 is black.

    Args:
        source: a file, its content, or a binary stream that is read from its start.
        height, width: what the image will be averaged to [pixel]; it must have at least this size.
        name: what error messages call the image; the file's own name when not given.

    Raises:
        ImageError: the image cannot be used; one sentence that starts with the name.
    """
    if name is None:
        name = _name_of(source)
    if isinstance(source, bytes):
        return _read(io.BytesIO(source), height, width, name)
    if not isinstance(source, Path):
        return _read(source, height, width, name)
    try:
        if not source.is_file():  # a folder, or a pipe that would block for ever
            found = "is not a regular file" if source.exists() else "does not exist"
            raise ImageError(f"{name}: {found}; expected a JPEG, PNG, BMP or TIFF image file.")
        with source.open("rb") as file:
            return _read(file, height, width, name)
    except (OSError, ValueError) as err:  # ValueError: a NUL in the path
        raise ImageError(f"{name}: cannot be read ({_reason(err)}); expected a readable image file.") from err


def shrink(gray: NDArray[np.uint8], *, height: int, width: int, name: str) -> NDArray[np.uint8]:
    """Average (h, w) gray pixels, from whatever decoder, over height x width areas. Raises ImageError."""
    require_size(gray.shape[1], gray.shape[0], height=height, width=width, name=name)
    return area_average(gray, height=height, width=width)


def require_size(w: int, h: int, *, height: int, width: int, name: str) -> None:
    """Stop unless an image of w x h pixels is large enough for height x width, and not absurdly large."""
    if w * h > MAX_PIXELS:
        raise _too_large(name, f"{w} x {h} pixels")
    if h < height or w < width:
        raise ImageError(
            f"{name}: is {w} x {h} pixels (width x height), but at least {width} x {height} are needed; enlarging "
            "an X-ray would invent detail, so use the original image or a smaller network input."
        )


def area_average(pixels: NDArray[np.uint8], *, height: int, width: int) -> NDArray[np.uint8]:
    """Average (h, w) uint8 over height x width equal areas, h >= height and w >= width.

    out[i, j] = floor(1/2 + mean brightness of the rectangle from (i h/height, j w/width) to ((i+1) h/height,
    (j+1) w/width)), where a pixel is a unit square of constant brightness.
    """
    sums = _area_sums(_area_sums(pixels, height).T, width).T  # fits: at most 255 * MAX_PIXELS
    area = pixels.shape[0] * pixels.shape[1]  # of one output pixel, in 1/(height*width) input pixels
    return np.ascontiguousarray((2 * sums + area) // (2 * area), dtype=np.uint8)


def _area_sums(pixels: NDArray[Any], count: int) -> NDArray[np.int64]:
    """Cut axis 0 of (n, m) into `count` equal lengths; return (count, m) sums in units of 1/count pixel."""
    sums = np.empty((count, pixels.shape[1]), dtype=np.int64)
    for i in range(count):
        first, before = divmod(i * pixels.shape[0], count)  # `before`: part of the first pixel that lies outside
        last, inside = divmod((i + 1) * pixels.shape[0], count)  # `inside`: part of the last pixel that lies inside
        sums[i] = pixels[first:last].sum(axis=0, dtype=np.int64) * count
        if before:
            sums[i] -= pixels[first].astype(np.int64) * before
        if inside:
            sums[i] += pixels[last].astype(np.int64) * inside
    return sums


def _read(file: BinaryIO, height: int, width: int, name: str) -> NDArray[np.uint8]:
    """Decode one image from a binary stream and convert it to gray."""
    try:
        image = _open(file)
    except Image.DecompressionBombError as err:
        raise _too_large(name, "far more than 100 megapixels") from err
    except Exception as err:  # Pillow's parsers raise nearly everything on hostile input
        raise ImageError(f"{name}: is not a JPEG, PNG, BMP or TIFF image ({_reason(err)}); replace the file.") from err
    with image:
        require_size(*image.size, height=height, width=width, name=name)
        try:
            return _to_gray(image)
        except ImageError as err:
            raise ImageError(f"{name}: {err}") from err
        except Exception as err:  # as above; MemoryError too
            raise ImageError(f"{name}: is damaged and cannot be decoded ({_reason(err)}); replace the file.") from err


@contextmanager
def _quiet() -> Iterator[None]:
    """Drop Pillow's warnings about size and metadata: the size we check ourselves, the metadata nobody reads."""
    with _QUIET, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _open(file: BinaryIO) -> Image.Image:
    """Read the header only."""
    with _quiet():
        return Image.open(file, formats=FORMATS)


def _to_gray(image: Image.Image) -> NDArray[np.uint8]:
    """Decode an image of any mode to (h, w) uint8. An ImageError from here has no name yet."""
    with _quiet() if image.format == "TIFF" else nullcontext():  # TIFF metadata is read here; others decode in parallel
        image.load()
    if image.mode.startswith("I"):
        return _sixteen_to_eight(np.asarray(image))
    if image.mode in _TRANSPARENT or image.mode == "P" or (image.mode in _DIRECT and "transparency" in image.info):
        return _over_black(image.convert("RGBA"))
    if image.mode in _DIRECT:
        return _luma(image)
    raise ImageError(
        f"has pixels of type {image.mode!r}; expected gray, RGB, palette or CMYK of 8 or 16 bits, so convert it."
    )


def _sixteen_to_eight(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Scale full-range 16-bit gray to 8 bits, round(v / 257). Some Pillow versions deliver it as 32-bit integers."""
    values = values.astype(np.int32)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise ImageError(f"has gray levels from {low} to {high}; expected 0 to 65535, so convert it to 16 bits.")
    return np.asarray((values + 128) // 257, dtype=np.uint8)


def _over_black(image: Image.Image) -> NDArray[np.uint8]:
    """Composite RGBA over black."""
    black = Image.new("RGBA", image.size, (0, 0, 0, 255))
    return _luma(Image.alpha_composite(black, image))


def _luma(image: Image.Image) -> NDArray[np.uint8]:
    """Convert a mode without transparency to gray. Pillow's RGB to L is the integer formula in `describe`."""
    if image.mode not in ("1", "L", "RGB"):
        image = image.convert("RGB")
    return np.asarray(image.convert("L"), dtype=np.uint8)


def _name_of(source: Path | bytes | BinaryIO) -> str:
    if isinstance(source, Path):
        return source.name or str(source)
    name = getattr(source, "name", None)  # a temporary file's name may be a number
    return Path(name).name if isinstance(name, str) else "image"


def _too_large(name: str, found: str) -> ImageTooLargeError:
    return ImageTooLargeError(
        f"{name}: has {found}; at most {MAX_PIXELS // 10**6} megapixels are accepted, so shrink the image."
    )


def _reason(err: BaseException) -> str:
    """Return an exception as one short line without a final full stop; some of Pillow's have no text."""
    if isinstance(err, OSError) and err.strerror:
        return err.strerror
    if "cannot identify image file" in str(err):  # the rest of that message is the address of an object
        return "unknown or damaged header"
    return " ".join(str(err).split()).rstrip(".")[:200] or type(err).__name__
