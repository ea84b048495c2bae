"""Read and write .npz files that may come from anywhere.

numpy allocates what a member's header promises, whatever is behind it. Here every size is checked first: that of the
archive against the file, that of an array against its member.
"""

import io
import math
import os
import zipfile
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from contract.errors import ArtifactError
from contract.files import BLOCK, replacing, require_size

MAX_UNPACKED_BYTES = 512 << 20  # a file that unpacks to more is refused before it is unpacked
MAX_BYTES = MAX_UNPACKED_BYTES + (1 << 20)  # of a file: what packs to more is no better
MAX_MEMBERS = 1000
MAX_EXPANSION = 1100  # of deflate: 1032 and a little
_MAX_HEADER = 10_000  # bytes that say an array's type and shape
_KINDS = "biufU"  # booleans, integers, floats, texts: nothing that holds objects or fields


def load_npz(
    source: Path | BinaryIO, *, name: str | None = None, advice: str = "Write it again."
) -> dict[str, NDArray[np.generic]]:
    """Return all arrays of a file. Nothing in it is executed: pickled objects are refused.

    Args:
        source: the file, or a stream of it that can seek.
        name: what errors call it; its path where not given.
        advice: ends the messages about a damaged one: what to do.

    Raises:
        ArtifactError: the file is missing, damaged, too large when unpacked, or holds anything but plain arrays.
    """
    name = str(source) if name is None else name
    if isinstance(source, Path):
        if not source.is_file():
            raise ArtifactError(f"{name} is not there. Run the stage that writes it, or give the folder that holds it.")
        require_size(source, MAX_BYTES, advice=advice)
    try:
        with zipfile.ZipFile(source) as archive:
            members = archive.infolist()
            assert archive.fp is not None
            _check_sizes(name, archive.fp.seek(0, os.SEEK_END), members, advice)
            return {member.filename.removesuffix(".npy"): _member(archive, member) for member in members}
    except ArtifactError:
        raise
    except Exception as err:  # numpy and zipfile raise many kinds for damaged files
        raise _damaged(name, "npz file of plain arrays", err, advice) from err


def load_npy(source: BinaryIO, *, name: str, advice: str = "Write it again.") -> NDArray[np.generic]:
    """Return the array of an .npy file, a stream that can seek. Arguments and errors are `load_npz`'s."""
    try:
        size = source.seek(0, os.SEEK_END)
        source.seek(0)
        if size > MAX_UNPACKED_BYTES:
            raise ValueError(f"it has {size:,} bytes, expected {MAX_UNPACKED_BYTES:,} at most")
        return _read(source, size, "it")
    except Exception as err:  # as above
        raise _damaged(name, "npy file of a plain array", err, advice) from err


def _damaged(name: str, what: str, err: Exception, advice: str) -> ArtifactError:
    return ArtifactError(f"{name} is not a whole .{what} ({type(err).__name__}: {str(err)[:200]}). {advice}")


def _check_sizes(name: str, size: int, members: list[zipfile.ZipInfo], advice: str) -> None:
    """Stop at an archive that unpacks to more than it may, or than a file of its size can."""
    unpacked = sum(member.file_size for member in members)
    if unpacked > MAX_UNPACKED_BYTES:
        raise ArtifactError(
            f"{name} unpacks to {unpacked:,} bytes, more than the {MAX_UNPACKED_BYTES:,} allowed. {advice}"
        )
    if len(members) > MAX_MEMBERS or len({member.filename.removesuffix(".npy") for member in members}) < len(members):
        raise ValueError(f"its {len(members)} members have the same names, or are too many")
    if sum(member.compress_size for member in members) > size:
        raise ValueError("its members overlap")
    for member in members:
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError("it is compressed in another way than deflate")
        if member.file_size > MAX_EXPANSION * (member.compress_size + 1):
            raise ValueError(f"{member.filename} promises more than it can unpack to")


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[np.generic]:
    """Return the array of one member. Raises ValueError, and what zipfile and numpy raise."""
    with archive.open(member) as stream:
        return _read(stream, member.file_size, member.filename.removesuffix(".npy"))


def _read(stream: IO[bytes], size: int, name: str) -> NDArray[np.generic]:
    """Return the array of an .npy of so many bytes. Raises ValueError, and what the stream and numpy raise."""
    magic = stream.read(npy.MAGIC_LEN)
    if magic[:-2] != npy.MAGIC_PREFIX:
        raise ValueError(f"{name} is none")
    length = stream.read(2 if magic[-2] == 1 else 4)
    header = int.from_bytes(length, "little")
    if header > _MAX_HEADER or magic[-2] not in (1, 2):
        raise ValueError(f"{name} has a header of {header:,} bytes, or of another version")
    read_header = npy.read_array_header_1_0 if magic[-2] == 1 else npy.read_array_header_2_0
    shape, fortran, dtype = read_header(io.BytesIO(length + stream.read(header)))
    if dtype.kind not in _KINDS or not dtype.itemsize:
        raise ValueError(f"{name} holds {dtype.kind!r}, refused as with allow_pickle=False")
    count = math.prod(shape)
    if count * dtype.itemsize != size - npy.MAGIC_LEN - len(length) - header:
        raise ValueError(f"{name} is shorter or longer than its header says")
    flat = np.empty(count, dtype)
    view = flat.view(np.uint8).data
    at = 0
    while block := stream.read(BLOCK):  # to the end, where the checksum is compared
        view[at : at + len(block)] = block
        at += len(block)
    if at != len(view):
        raise ValueError(f"{name} is cut off")
    return flat.reshape(shape, order="F" if fortran else "C")


def save_npz(path: Path, arrays: dict[str, NDArray[np.generic]]) -> None:
    """Write `arrays` to `path`, whole or not at all."""
    with replacing(path) as partial, partial.open("wb") as stream:
        # The type stubs take the keyword arguments for allow_pickle.
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
