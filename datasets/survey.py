"""Count what the files of a source are, as stored: sizes, formats, modes and bit depths. Only headers are decoded."""

import io
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from contract.errors import ImageError
from contract.preprocess import FORMATS
from datasets import dicom
from datasets.listing import Listing

_BITS = {"1": 1, "I": 32, "F": 32}  # bits per channel of Pillow's modes; 16 where the name says so, else 8


@dataclass(frozen=True)
class Survey:
    """What is stored, N readable headers."""

    sizes: tuple[tuple[int, int], ...]  # (N,) width, height [pixel]
    kinds: tuple[tuple[str, str, int, int], ...]  # (format, mode, bits per channel, images), the most frequent first


def survey(listing: Listing, *, progress: Callable[[int, int], None]) -> Survey:
    """Read the header of every file; what is unreadable is left out, as loading reports it."""
    sizes, kinds = [], Counter[tuple[str, str, int]]()
    for i, file in enumerate(listing.files):
        try:
            size, kind = _look(file.read(), file.name)
        except Exception:  # Pillow's parsers raise nearly everything; loading names the file and the reason
            continue
        finally:
            progress(i + 1, len(listing.files))
        sizes.append(size)
        kinds[kind] += 1
    return Survey(tuple(sizes), tuple((*kind, count) for kind, count in kinds.most_common()))


def _look(
    content: "bytes | np.ndarray[tuple[int, ...], np.dtype[np.uint8]]", name: str
) -> tuple[tuple[int, int], tuple[str, str, int]]:
    """Return (width, height) and (format, mode, bits)."""
    if isinstance(content, np.ndarray):
        return (content.shape[1], content.shape[0]), ("array", "L", 8)
    if dicom.is_dicom(content):
        shape = dicom.describe(content, name=name)
        return (shape.width, shape.height), ("DICOM", shape.photometric, shape.bits_stored)
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        bits = 16 if "16" in image.mode else _BITS.get(image.mode, 8)
        if image.format is None:
            raise ImageError(f"{name}: is of no format.")
        return image.size, (image.format, image.mode, bits)
