"""Which images a training has used, by their content, so that nobody measures on them without being told.

An image is known by its decoded pixels at the network's size, what the network saw of it: a copy under another name, in
another source or in another lossless format is the same image; a resized or recompressed one is another. What is kept
are hashes, from which no image can be made again.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contract.errors import ArtifactError
from contract.npz import load_npz, save_npz
from contract.preprocess import PREPROCESS_VERSION
from datasets.xray import XrayData

_BYTES = 16  # of a hash: no two of 10**9 images share one by chance
_USES = ("train", "val")


@dataclass(frozen=True)
class Seen:
    """How many of N images a training has used."""

    train: int  # to fit the weights
    val: int  # to choose the epoch, the calibration and the operating point only
    images: int  # N

    @property
    def used(self) -> int:
        """Images of either kind."""
        return self.train + self.val

    def __str__(self) -> str:
        """Say it in a sentence without its end."""
        return (
            f"{self.used} of {self.images} images were used in the training ({self.train} trained on, {self.val} to "
            "choose by)"
        )


def save_seen(path: Path, data: XrayData) -> None:
    """Write which images a training on `data` has used, 16 bytes for each."""
    arrays: dict[str, NDArray[np.generic]] = {
        use: np.frombuffer(b"".join(sorted(_hashes(split.pixels))), dtype=np.uint8).reshape(-1, _BYTES)
        for use, split in zip(_USES, (data.train, data.val), strict=True)
    }
    save_npz(path, arrays | {"preprocess": np.array(PREPROCESS_VERSION)})


def count_seen(path: Path, pixels: NDArray[np.uint8]) -> Seen | None:
    """Return how many of (N, H, W) images a training has used, None where that cannot be known.

    Args:
        path: what `save_seen` wrote; an earlier version wrote none.
        pixels: of the network's size.

    Raises:
        ArtifactError: the file is not what `save_seen` writes.
    """
    if not path.is_file():
        return None
    found = load_npz(path)
    _check(path, found)
    if found["preprocess"] != PREPROCESS_VERSION:  # the same file would have other pixels now
        return None
    train, val = ({row.tobytes() for row in found[use]} for use in _USES)
    hashes = _hashes(pixels)
    in_train = sum(one in train for one in hashes)
    return Seen(in_train, sum(one in val and one not in train for one in hashes), len(hashes))


def _check(path: Path, found: Mapping[str, NDArray[np.generic]]) -> None:
    right = all(
        use in found and found[use].dtype == np.uint8 and found[use].ndim == 2 and found[use].shape[1] == _BYTES
        for use in _USES
    )
    if not right or "preprocess" not in found or found["preprocess"].shape != ():
        raise ArtifactError(
            f"{path} holds other arrays than hashes of images, expected 'train' and 'val', (N, {_BYTES}) bytes. Run "
            "`cxrflow train` again."
        )


def _hashes(pixels: NDArray[np.uint8]) -> list[bytes]:
    return [hashlib.sha256(image.tobytes()).digest()[:_BYTES] for image in pixels]
