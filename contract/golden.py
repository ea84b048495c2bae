"""golden.npz: the test images and what the integers say about them, against which every stage and device is held."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.decision import logits_of
from contract.errors import ArtifactError
from contract.network import ADVICE
from contract.npz import load_npz


@dataclass(frozen=True)
class Golden:
    """N images and their K integers."""

    pixels: NDArray[Any]  # (N, *Input.shape) uint8 or int8
    outputs: NDArray[np.int64]  # (N, K) within 32 bits

    @property
    def logits(self) -> NDArray[np.int64]:
        """The (N,) integer logits. Raises ConfigError where there are more integers than one per image."""
        return logits_of(self.outputs)


@dataclass(frozen=True)
class Labelled(Golden):
    """The same with what people need to judge them."""

    probability: NDArray[np.float64]  # calibrated: (N,) of class 1; of K logits (N, K)
    labels: NDArray[np.int64]  # (N,) 0 or 1; of K logits 0..K-1


_KINDS: dict[str, tuple[tuple[type, ...], tuple[int, ...]]] = {  # types and numbers of dimensions
    "pixels": ((np.uint8, np.int8), (3, 4)),
    "outputs": ((np.int64,), (2,)),
    "probability": ((np.float64,), (1, 2)),
    "labels": ((np.int64,), (1,)),
}


def load_golden(path: Path) -> Golden:
    """Read golden.npz, trusting nothing. Raises ArtifactError."""
    return Golden(**_arrays(path, "pixels", "outputs"))  # type: ignore[arg-type]


def load_labelled(path: Path) -> Labelled:
    """Read golden.npz with probabilities and labels, trusting nothing. Raises ArtifactError."""
    golden = Labelled(**_arrays(path, *_KINDS))  # type: ignore[arg-type]
    outputs = golden.outputs.shape[1]
    expected = (len(golden.labels),) if outputs == 1 else golden.outputs.shape
    if golden.probability.shape != expected:
        raise _damaged(path, f"probabilities of shape {golden.probability.shape} for outputs {golden.outputs.shape}")
    classes = max(2, outputs)
    inside = (golden.labels >= 0) & (golden.labels < classes)
    if not inside.all() or not ((golden.probability >= 0) & (golden.probability <= 1)).all():
        which = "0 or 1" if classes == 2 else f"0 to {classes - 1}"
        raise _damaged(path, f"a label that is not {which}, or a probability that is not in 0..1")
    return golden


def _arrays(path: Path, *names: str) -> dict[str, NDArray[np.generic]]:
    arrays = load_npz(path, advice=ADVICE)
    for name in names:
        dtypes, dimensions = _KINDS[name]
        array = arrays.get(name)
        if array is not None and not array.size:
            raise _damaged(path, f"{name} of no image")
        if array is None or array.dtype not in dtypes or array.ndim not in dimensions:
            expected = " or ".join(np.dtype(dtype).name for dtype in dtypes)
            raise _damaged(path, f"no {name} of {expected} in {' or '.join(map(str, dimensions))} dimensions")
        if len(array) != len(arrays["pixels"]):
            raise _damaged(path, f"{len(array)} {name} for {len(arrays['pixels'])} images")
    outputs = arrays["outputs"]
    if not ((outputs >= -(2**31)) & (outputs < 2**31)).all():  # type: ignore[operator]
        raise _damaged(path, "an output of more than 32 bits")
    return {name: arrays[name] for name in names}


def _damaged(path: Path, found: str) -> ArtifactError:
    return ArtifactError(f"{path} is damaged: it has {found}. {ADVICE}")
