"""Keep decoded images in a file, because decoding a full-size release takes minutes and reading 5 MB takes none.

An entry is found by everything that decides its content: preprocessing, decoders, size, and name, size and time of
every file. A changed source therefore gets a new entry, and an entry that is damaged is treated as if it did not exist.
"""

import functools
import hashlib
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL
from numpy.typing import NDArray

from contract.errors import ConfigError
from datasets.dicom import codec_versions
from datasets.listing import XrayFile

DECODERS = ("codestream", "decode", "dicom")  # modules of this folder that make pixels of a file


@dataclass(frozen=True, eq=False)
class Decoded:
    """All images of a source, N of them, in the order of the list that made the key."""

    pixels: NDArray[np.uint8]  # (N, H, W), zero where unreadable
    contents: tuple[str, ...]  # (N,) sha256 [hex] of the file bytes, empty where unreadable
    problems: tuple[str, ...]  # (N,) why a file is unreadable, empty where it is not
    people: NDArray[np.int64]  # (N,) equal where DICOM headers name one patient, -1 where no header does; no ids


def cache_key(files: Sequence[XrayFile], *, height: int, width: int) -> str:
    """Return the name of the entry for these files, and the size of the images [pixel].

    The decoders are in it too, ours by their code and others by their versions: another one may give other pixels, or
    refuse a file; a missing one gives none.
    """
    decoders = [own_decoders(), PIL.__version__, codec_versions()]
    state = [*decoders, height, width, [(file.name, *file.state) for file in files]]
    return hashlib.sha256(json.dumps(state).encode()).hexdigest()


@functools.cache
def own_decoders() -> str:
    """Return the hash of the code that decides what a file's pixels are, and whether it is refused."""
    here = Path(__file__).parent
    contract = here.parent / "contract"
    files = [*(here / f"{name}.py" for name in DECODERS), contract / "preprocess.py", *contract.glob("images/*.py")]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(files))).hexdigest()


def load(cache: Path, key: str, *, count: int, height: int, width: int) -> Decoded | None:
    """Return the entry with this key, or None when there is none that can be used."""
    try:
        with np.load(_path(cache, key), allow_pickle=False) as entry:
            pixels, contents, problems = entry["pixels"], entry["contents"], entry["problems"]
            people = entry["people"]
    except (
        Exception
    ):  # damaged files raise from zipfile, zlib, struct, ast, numpy; the answer is always to decode again
        return None
    if pixels.shape != (count, height, width) or pixels.dtype != np.uint8:
        return None
    if any(texts.shape != (count,) or texts.dtype.kind != "U" for texts in (contents, problems)):
        return None
    if people.shape != (count,) or people.dtype != np.int64:
        return None
    return Decoded(pixels, tuple(contents.tolist()), tuple(problems.tolist()), people)


def store(cache: Path, key: str, decoded: Decoded) -> None:
    """Write an entry; a reader sees all of it or nothing."""
    temporary = None
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=cache, suffix=".tmp", delete=False) as file:
            temporary = Path(file.name)
            np.savez(
                file,
                pixels=decoded.pixels,
                contents=np.array(decoded.contents, dtype=np.str_),
                problems=np.array(decoded.problems, dtype=np.str_),
                people=decoded.people,
            )
        temporary.replace(_path(cache, key))
    except OSError as err:
        raise ConfigError(
            f"the cache folder {cache} cannot be written ({err.strerror or err}); expected a folder with free space, "
            "so choose another one."
        ) from err
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _path(cache: Path, key: str) -> Path:
    return cache / f"xrays-{key[:32]}.npz"
