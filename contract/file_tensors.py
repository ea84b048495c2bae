"""tensors.npz: what an imported file makes of some inputs, for whoever has a second opinion on the file."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contract.errors import ArtifactError
from contract.npz import load_npz, save_npz

MAX_PLACES = 500


@dataclass(frozen=True)
class FileTensors:
    """N inputs as the file reads them, and some of its tensors in float64, each flat, in the file's own order."""

    fed: NDArray[np.float64]  # (N, M)
    values: tuple[NDArray[np.float64], ...]  # (N, E): what each matrix product reads; last the result before the end

    def save(self, path: Path) -> None:
        """Write the file."""
        save_npz(path, {"fed": self.fed, **{f"values_{i}": value for i, value in enumerate(self.values)}})

    @classmethod
    def load(cls, path: Path) -> "FileTensors":
        """Read the file, trusting nothing. Raises ArtifactError."""
        arrays = load_npz(path)
        names = ["fed", *(f"values_{i}" for i in range(len(arrays) - 1))]
        if sorted(arrays) != sorted(names) or not 3 <= len(arrays) <= MAX_PLACES:
            raise ArtifactError(
                f"{path} has {', '.join(arrays)[:200] or 'no array'}, expected fed, values_0, values_1 and so on. "
                "Import the file again."
            )
        for name, array in arrays.items():
            if array.dtype != np.float64 or array.ndim != 2 or not array.size or len(array) != len(arrays["fed"]):
                raise ArtifactError(
                    f"{path} has {name} {array.dtype}{array.shape}, expected a row of float64 per input. "
                    "Import the file again."
                )
        fed, *values = (arrays[name].astype(np.float64) for name in names)
        return cls(fed, tuple(values))
