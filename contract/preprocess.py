"""Turn an image file into the uint8 pixels that the network reads: one code for training, reference and board.

Three steps: gray of 8 bits, as the file says (contract.images), then upright, then the average over each of H x W equal
areas. All is integer arithmetic. The area average is ours because Pillow's `Image.resize(..., BOX)` rounds twice and
places the borders of its areas in floating point: a source pixel whose centre falls on a border is counted twice, once
or never, depending on the last bit of a product (30 -> 28 pixels is such a size), and so on whether the processor
fuses multiply and add. Here a pixel that straddles a border is shared in exact proportion, and the result is rounded
once.

Image files are hostile until checked: four formats are read, size and memory are checked in the header before any pixel
is decoded, and whatever goes wrong becomes one ImageError.
"""

from __future__ import annotations

from collections.abc import Callable
from os import SEEK_END
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray

from contract.errors import ImageError, ImageTooLargeError
from contract.images import bmp, jpeg, png, tiff
from contract.images.gray import Stored, upright

PREPROCESS_VERSION = 2  # raise it when any output pixel of any image can change
MAX_PIXELS = 100_000_000  # decoded size that is still accepted; the largest plain X-ray detectors have a third of it
MAX_MEMORY = 400_000_000  # that decoding may take, the file itself not counted [byte]
MAX_FILE_BYTES = 512 << 20  # 100 megapixels of 16 bits are 200 MB
_T = TypeVar("_T")
_LOOKS = {
    jpeg.MAGIC: jpeg.look, png.MAGIC: png.look, bmp.MAGIC: bmp.look, **dict.fromkeys(tiff.MAGICS, tiff.look),
}  # fmt: skip


def describe() -> dict[str, int | str]:
    """Return the method in words for accelerator.json, so that a board can refuse pixels made in another way."""
    return {
        "version": PREPROCESS_VERSION,
        "formats": "JPEG, PNG, BMP, TIFF",
        "full_scale": "round(255 v / (2^bits - 1)) of the bits that the file declares, reversed where 0 is white",
        "grayscale": "ITU-R 601-2 luma, (19595 R + 38470 G + 7471 B + 32768) >> 16",
        "transparency": "composited over black",
        "resize": "box",
        "resize_detail": "exact area average of the whole image in integers, rounded half up once; no crop, no padding",
        "orientation": "as EXIF or TIFF's Orientation says",
        "upsampling": "refused",
        "max_pixels": MAX_PIXELS,
        "max_memory": MAX_MEMORY,
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
    try:
        return _decode(source if isinstance(source, bytes) else _content(source, name), height, width, name)
    except MemoryError as err:
        raise _no_memory(name) from err


def _content(source: Path | BinaryIO, name: str) -> bytes:
    """Return what a file or a stream holds, or so much that it is too much."""
    if not isinstance(source, Path):
        # What is asked for is allocated before it is read: the bound alone would be all the memory that a board has.
        try:
            source.seek(0, SEEK_END)
            size = source.tell()
            source.seek(0)
            content = source.read(min(size, MAX_FILE_BYTES) + 1)
        except (OSError, ValueError) as err:  # ValueError: it is closed
            raise ImageError(f"{name}: cannot be read ({_reason(err)}); expected an open file that can seek.") from err
        if not isinstance(content, bytes):
            raise ImageError(f"{name}: gives {type(content).__name__}, expected bytes; open it with mode 'rb'.")
        return content
    try:
        if not source.is_file():  # a folder, or a pipe that would block for ever
            found = "is no regular file" if source.exists() else "does not exist"
            if source.is_dir():
                found = "is a folder, and no file of it was given"
            raise ImageError(f"{name}: {found}; expected a JPEG, PNG, BMP or TIFF image file.")
        with source.open("rb") as file:
            return _content(file, name)
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


def require_memory(size: int, *, name: str) -> None:
    """Stop unless an image can be decoded in the memory that is granted, `size` [byte] at its peak."""
    if size > MAX_MEMORY:
        raise _too_large(name, f"pixels that take {size / 1e6:.0f} MB to decode")


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


def look(content: bytes, *, name: str) -> Stored:
    """Return what an image file says about its pixels, without decoding them. Raises ImageError."""
    if content.startswith(tiff.BIG):
        raise ImageError(f"{name}: is a BigTIFF file, expected a plain TIFF; save it as one.")
    for magic, look_at in _LOOKS.items():
        if content.startswith(magic):
            return _sentence(name, look_at, content)
    if content[128:132] == b"DICM":
        raise ImageError(f"{name}: is a DICOM file, expected a JPEG, PNG, BMP or TIFF here; the page reads it, too.")
    raise ImageError(f"{name}: is not a JPEG, PNG, BMP or TIFF image (unknown or damaged header); replace the file.")


def _decode(content: bytes, height: int, width: int, name: str) -> NDArray[np.uint8]:
    """Decode one image and turn it upright."""
    if len(content) > MAX_FILE_BYTES:
        raise ImageError(f"{name}: has more than {MAX_FILE_BYTES >> 20} MB, expected an image file; leave it out.")
    stored = look(content, name=name)
    require_size(*stored.size, height=height, width=width, name=name)
    require_memory(stored.memory, name=name)
    np.empty(stored.memory, dtype=np.uint8)  # or MemoryError: decoders would call a lack of memory damage
    return upright(_sentence(name, stored.decode), stored.orientation)


def _sentence(name: str, work: Callable[..., _T], *arguments: bytes) -> _T:
    """Do something with a file. Raises ImageError for whatever it raises."""
    try:
        return work(*arguments)
    except ImageError as err:
        raise ImageError(f"{name}: {err}") from err
    except MemoryError as err:
        raise _no_memory(name) from err
    except Exception as err:  # decoders raise nearly everything on hostile input
        raise ImageError(f"{name}: is damaged and cannot be decoded ({_reason(err)}); replace the file.") from err


def _name_of(source: Path | bytes | BinaryIO) -> str:
    if isinstance(source, Path):
        return source.name or str(source)
    name = getattr(source, "name", None)  # a temporary file's name may be a number
    return Path(name).name if isinstance(name, str) else "image"


def _too_large(name: str, found: str) -> ImageTooLargeError:
    return ImageTooLargeError(
        f"{name}: has {found}; at most {MAX_PIXELS // 10**6} megapixels and {MAX_MEMORY // 10**6} MB "
        "are accepted, so shrink the image."
    )


def _no_memory(name: str) -> ImageError:
    return ImageError(f"{name}: takes more memory to decode than this machine has left; shrink the image.")


def _reason(err: BaseException) -> str:
    """Return an exception as one short line without a final full stop; some of Pillow's have no text."""
    if isinstance(err, OSError) and err.strerror:
        return err.strerror
    if "cannot identify image file" in str(err):  # the rest of that message is the address of an object
        return "the decoder does not know it"
    return " ".join(str(err).split()).rstrip(".")[:200] or type(err).__name__
