"""Turn the files of a listing into pixels, once: the result is kept in the cache.

Every format goes through here, so that all of them get the same integer path (contract.preprocess), the same report
of what is unreadable and the same hash of the content.
"""

import hashlib
import os
import secrets
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contract.errors import ImageError
from contract.preprocess import load_pixels, shrink
from datasets import cache as pixel_cache
from datasets import dicom
from datasets.cache import Decoded
from datasets.listing import XrayFile
from datasets.patients import number_people

DARK = 64  # gray that no X-ray's brightest part is below, and that 14 bits in a file of 16 never reach
Progress = Callable[[int, int], None]  # images done, images in all


@dataclass(frozen=True, eq=False)
class _Image:
    pixels: NDArray[np.uint8] | None = None  # (H, W), None where unreadable
    content: str = ""  # sha256 [hex], empty where unreadable
    problem: str = ""  # why it is unreadable
    person: bytes | None = None  # what `dicom.read` says about the patient


def decode_all(
    files: Sequence[XrayFile], height: int, width: int, cache: Path | None, progress: Progress | None
) -> Decoded:
    """Take the images from the cache, or decode them and fill it."""
    if cache is None:
        return _decode(files, height, width, progress)
    key = pixel_cache.cache_key(files, height=height, width=width)
    decoded = pixel_cache.load(cache, key, count=len(files), height=height, width=width)
    if decoded is None:
        decoded = _decode(files, height, width, progress)
        pixel_cache.store(cache, key, decoded)
    return decoded


def dark_note(names: Sequence[str], pixels: NDArray[np.uint8]) -> tuple[str, ...]:
    """Say which of N images, (N, H, W), are nearly black.

    Twelve bits in a file of 16 are: white is the largest value of the bits that a file declares.
    """
    dark = np.flatnonzero(pixels.reshape(len(pixels), -1).max(axis=1) < DARK)
    if not dark.size:
        return ()
    return (
        f"{dark.size} of {len(pixels)} images are nearly black, {names[dark[0]][:80]} the first: white is the largest "
        "value of the bits that a file declares; write them with the bits that they use, or scaled, if they are not.",
    )


def _decode(files: Sequence[XrayFile], height: int, width: int, progress: Progress | None) -> Decoded:
    """Decode in threads: Pillow and the DICOM codecs release the interpreter while they work."""
    pixels = np.zeros((len(files), height, width), dtype=np.uint8)
    contents, problems, people = [], [], []
    secret = secrets.token_bytes(32)  # never kept: nobody can try patient ids against the hashes
    pool = ThreadPoolExecutor(os.cpu_count())
    with warnings.catch_warnings():  # for all threads at once, because it is not thread-safe
        warnings.filterwarnings("ignore", module=r"pydicom\b")  # its warnings quote header values
        try:
            images = pool.map(lambda file: _decode_one(file, height, width, secret), files)
            for i, image in enumerate(images):
                if image.pixels is not None:
                    pixels[i] = image.pixels
                contents.append(image.content)
                problems.append(image.problem)
                people.append(image.person)
                if progress is not None:
                    progress(i + 1, len(files))
        finally:
            pool.shutdown(cancel_futures=True)  # Ctrl-C stops after the images under way, not after all
    return Decoded(pixels, tuple(contents), tuple(problems), number_people(people))


def _decode_one(file: XrayFile, height: int, width: int, secret: bytes) -> _Image:
    """Read and decode one image."""
    person = None
    try:
        content = file.read()
        if isinstance(content, np.ndarray):
            pixels = shrink(content, height=height, width=width, name=file.name)
            digest = hashlib.sha256(content.tobytes()).hexdigest()
        else:
            if dicom.is_dicom(content):
                gray, person = dicom.read(content, name=file.name, secret=secret)
                pixels = shrink(gray, height=height, width=width, name=file.name)
            else:
                pixels = load_pixels(content, height=height, width=width, name=file.name)
            digest = hashlib.sha256(content).hexdigest()
    except ImageError as err:
        return _Image(problem=str(err).removeprefix(f"{file.name}: "))
    except OSError as err:
        return _Image(problem=f"vanished while it was read ({err.strerror}).")
    return _Image(pixels, digest, "", person)
