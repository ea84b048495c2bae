"""Count what the files of a source are, as stored: sizes, formats, modes and bit depths. Only headers are decoded."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from contract.errors import ImageError
from contract.preprocess import look
from datasets import dicom
from datasets.listing import Listing


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
        except (ImageError, OSError):  # loading names the file and the reason
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
    stored = look(content, name=name)
    return (stored.width, stored.height), (stored.format, stored.mode, stored.bits)
