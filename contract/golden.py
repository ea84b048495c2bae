"""golden.npz: the test images and what the integers say about them, against which every stage and device is held."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contract.errors import ArtifactError
from contract.npz import load_npz


@dataclass(frozen=True)
class Golden:
    """N images and their logits."""

    pixels: NDArray[np.uint8]  # (N, H, W)
    logits: NDArray[np.int64]  # (N,) within 32 bits


@dataclass(frozen=True)
class Labelled(Golden):
    """The same with what people need to judge them."""

    probability: NDArray[np.float64]  # (N,) of class 1, calibrated
    labels: NDArray[np.int64]  # (N,) 0 or 1


_KINDS = {"pixels": (np.uint8, 3), "logits": (np.int64, 1), "probability": (np.float64, 1), "labels": (np.int64, 1)}


def load_golden(path: Path) -> Golden:
    """Read golden.npz, trusting nothing. Raises ArtifactError."""
    return Golden(**_arrays(path, "pixels", "logits"))  # type: ignore[arg-type]


def load_labelled(path: Path) -> Labelled:
    """Read golden.npz with probabilities and labels, trusting nothing. Raises ArtifactError."""
    golden = Labelled(**_arrays(path, *_KINDS))  # type: ignore[arg-type]
    if not np.isin(golden.labels, (0, 1)).all() or not ((golden.probability >= 0) & (golden.probability <= 1)).all():
        raise _damaged(path, "a label that is not 0 or 1, or a probability that is not in 0..1")
    return golden


def _arrays(path: Path, *names: str) -> dict[str, NDArray[np.generic]]:
    arrays = load_npz(path)
    for name in names:
        dtype, dimensions = _KINDS[name]
        array = arrays.get(name)
        if array is None or array.dtype != dtype or array.ndim != dimensions or not array.size:
            raise _damaged(path, f"no {name} of {np.dtype(dtype).name} in {dimensions} dimensions")
        if len(array) != len(arrays["pixels"]):
            raise _damaged(path, f"{len(array)} {name} for {len(arrays['pixels'])} images")
    logits = arrays["logits"]
    if not ((logits >= -(2**31)) & (logits < 2**31)).all():  # type: ignore[operator]
        raise _damaged(path, "a logit of more than 32 bits")
    return {name: arrays[name] for name in names}


def _damaged(path: Path, found: str) -> ArtifactError:
    return ArtifactError(f"{path} is damaged: it has {found}. Export the run again.")
