"""Read and write .npz files that may come from anywhere."""

import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contract.errors import ArtifactError
from contract.files import replacing

MAX_UNPACKED_BYTES = 4 << 30  # a file that unpacks to more is refused before it is unpacked


def load_npz(path: Path) -> dict[str, NDArray[np.generic]]:
    """Return all arrays of `path`. Nothing in the file is executed: pickled objects are refused.

    Raises:
        ArtifactError: the file is missing, damaged, too large when unpacked, or holds pickled objects.
    """
    if not path.is_file():
        raise ArtifactError(f"{path} is not there. Run the stage that writes it, or give the folder that holds it.")
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > MAX_UNPACKED_BYTES:
            raise ArtifactError(f"{path} unpacks to {unpacked:,} bytes, more than the {MAX_UNPACKED_BYTES:,} allowed.")
        with np.load(path, allow_pickle=False) as arrays:
            contents = {name: arrays[name] for name in arrays.files}
    except ArtifactError:
        raise
    except Exception as err:  # numpy and zipfile raise many kinds for damaged files
        raise ArtifactError(
            f"{path} is not a whole .npz file of plain arrays ({type(err).__name__}: {err}). Write it again."
        ) from err
    foreign = [name for name, content in contents.items() if not isinstance(content, np.ndarray)]
    if foreign:  # numpy hands out such members as bytes
        raise ArtifactError(f"{path} is not a whole .npz file of plain arrays: {foreign[0]} is none. Write it again.")
    return contents


def save_npz(path: Path, arrays: dict[str, NDArray[np.generic]]) -> None:
    """Write `arrays` to `path`, whole or not at all."""
    with replacing(path) as partial, partial.open("wb") as stream:
        # The type stubs take the keyword arguments for allow_pickle.
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
