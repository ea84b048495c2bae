"""What is fed to a network that reads no pictures, and files of it that may come from anywhere.

A file is an .npz with an array `x`, an .npy, a JSON array, or a table of numbers (CSV); its first bytes say which. A
number in a text is the float64 nearest to it. No message quotes a text of the file: the page's server hands them on.
"""

import io
import json
import math
import re
from array import array
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from contract.errors import ArtifactError, DataError
from contract.npz import load_npy, load_npz
from contract.quantizer import FLOAT, expected_shape, first_beyond, is_exact, same_order
from contract.values import VALUES

FORMATS = "an .npz with an array 'x', an .npy, a JSON array of numbers, or a table of numbers (CSV)"
# By which `infer` tells them from pictures, where both are fed.
SUFFIXES = (".npz", ".npy", ".json", ".csv", ".tsv", ".txt")
MAX_TEXT_BYTES = 24 << 20  # of a JSON file or a table: what a list of nothing but {} takes stays below 1 GB
MAX_NESTED = 9  # lists within lists: the sides of an input, and that there are several
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
NOT_FINITE = re.compile(r"[+-]?(nan|inf(inity)?)", re.ASCII | re.IGNORECASE)  # a number to whoever wrote it, no name


@dataclass(frozen=True)
class Fed:
    """What is fed to a network; not what it reads, where a rule makes integers of it."""

    reads: str  # FLOAT, or a name in contract.values.VALUES
    shape: tuple[int, ...]  # of one input
    flat: bool = True  # whether a row of values is one, too; not of an image whose channels may come one after another

    def __str__(self) -> str:
        """Return it as errors call it: uint8(N, 28, 28)."""
        return f"{self.reads}(N, {', '.join(map(str, self.shape))})"

    @property
    def dtype(self) -> type[np.float64] | type[np.uint8] | type[np.int8]:
        """The numpy type of arrays that `read_inputs` returns."""
        return np.float64 if self.reads == FLOAT else VALUES[self.reads].dtype

    @property
    def input_bytes(self) -> int:
        """Size of one input."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    @property
    def sides(self) -> list[int]:
        """Of one input, without those of length 1."""
        return [side for side in self.shape if side != 1]

    @property
    def expected(self) -> str:
        """What a file is to hold, for people."""
        reads = "float" if self.reads == FLOAT else VALUES[self.reads]
        return f"{reads} of the shape {expected_shape(self.shape, flat=self.flat)}"


def read_inputs(source: Path | bytes, fed: Fed, *, name: str) -> NDArray[Any]:
    """Return the inputs of a file, (N, *fed.shape) of `fed.dtype`, N >= 1; one input may stand there without its N.

    Args:
        source: the file, or its content.
        fed: what it is to hold.
        name: what errors call it.

    Raises:
        DataError: it holds something else.
        ArtifactError: it is not there, or a damaged or too large .npz or .npy.
    """
    if isinstance(source, bytes):
        x = _array(io.BytesIO(source), name)
    elif not source.is_file():  # a pipe would be waited for
        raise ArtifactError(f"{name} is {'no regular file' if source.exists() else 'not there'}, expected {FORMATS}.")
    else:
        try:
            with source.open("rb") as stream:
                x = _array(stream, name)
        except OSError as err:
            raise ArtifactError(f"{name} cannot be read ({err.strerror}), expected {FORMATS}.") from err
    if x.ndim and same_order(x.shape, fed.shape, flat=fed.flat):
        x = x[None]
    if x.ndim < 2 or not len(x) or not same_order(x.shape[1:], fed.shape, flat=fed.flat):
        raise DataError(
            f"{name} holds an array of the shape {x.shape}, expected {expected_shape(fed.shape, flat=fed.flat)}."
        )
    return _as_fed(x, fed.reads, name).reshape(len(x), *fed.shape)


def _array(stream: BinaryIO, name: str) -> NDArray[Any]:
    """Return the array of a file, of any shape and any of numpy's plain types. Raises DataError, ArtifactError."""
    start = stream.read(6)
    stream.seek(0)
    if start.startswith(b"PK"):
        found = load_npz(stream, name=name).get("x")
        if found is None:
            raise DataError(f"{name} has no array 'x', expected one of the inputs.")
        return found
    if start == b"\x93NUMPY":
        return load_npy(stream, name=name)
    content = stream.read(MAX_TEXT_BYTES + 1)
    if len(content) > MAX_TEXT_BYTES:
        raise DataError(f"{name} is a text of more than {MAX_TEXT_BYTES >> 20} MiB. Save it as .npz.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        raise DataError(f"{name} is of no known kind, expected {FORMATS}.") from err
    return _json(text, name) if text.lstrip().startswith(("[", "{")) else _table(text, name)


def _json(text: str, name: str) -> NDArray[np.float64]:
    """Return the numbers of lists within lists. Raises DataError."""
    try:
        level = [json.loads(text, parse_int=float, parse_constant=_refuse)]
    except (ValueError, RecursionError) as err:
        raise DataError(f"{name} is no whole JSON of lists and finite numbers, expected {FORMATS}.") from err
    shape: list[int] = []
    while level and len(shape) <= MAX_NESTED and all(type(one) is list for one in level):
        lengths = {len(one) for one in level}
        if len(lengths) > 1:
            raise DataError(f"{name} has lists of {min(lengths)} and of {max(lengths)} side by side, expected of one.")
        shape += lengths
        level = list(chain.from_iterable(level))
    if not shape or not all(type(one) is float for one in level):
        raise DataError(f"{name} holds what is no number in its lists, expected numbers in lists of one length.")
    return np.array(level, dtype=np.float64).reshape(shape)


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _table(text: str, name: str) -> NDArray[np.float64]:
    """Return the numbers of a table without empty lines and the line of names above it. Raises DataError."""
    values, columns, named, first = array("d"), 0, False, True
    for number, line in enumerate(io.StringIO(text, newline=None), 1):
        if not line.strip():
            continue
        sign = next((sign for sign in ";\t," if sign in line), None)
        cells = [cell.strip().strip('"') for cell in line.split(sign)]
        found = [float(cell) for cell in cells if NUMBER.fullmatch(cell)]
        if first and not found and not any(map(NOT_FINITE.fullmatch, cells)):
            named = True
        elif len(found) < len(cells):
            raise DataError(f"{name} has what is no finite number in line {number}, expected {FORMATS}.")
        elif len(found) != (columns := columns or len(found)):
            raise DataError(f"{name} has {len(found)} numbers in line {number}, expected {columns} as above.")
        else:
            values.extend(found)
        first = False
    if not columns:
        raise DataError(f"{name} holds no number, expected {FORMATS}.")
    table = np.array(values, dtype=np.float64).reshape(-1, columns)
    if not named and table.size > columns > 1 and np.array_equal(table[0], np.arange(columns)):
        raise DataError(
            f"{name} begins with the line 0 to {columns - 1}, which a table has as names of its columns: remove that "
            "line, or write names above it if it is an input."
        )
    return table


def _as_fed(x: NDArray[Any], reads: str, name: str) -> NDArray[Any]:
    """Return inputs in the type that is fed; nothing is rounded. Raises DataError."""
    if not is_exact(x):
        raise DataError(f"{name} holds {x.dtype}, expected numbers that float64 holds exactly.")
    if (wrong := first_beyond(x)) is not None:
        raise DataError(f"{name} holds what is no finite number of float32, first in input {wrong}.")
    if reads == FLOAT:
        return x.astype(np.float64, copy=False)
    values = VALUES[reads]
    whole = np.iinfo(values.dtype)
    if whole.min <= x.min() and x.max() <= whole.max and (x.dtype.kind != "f" or bool((x == np.rint(x)).all())):
        fed = x.astype(values.dtype, copy=False)
        if values.hold(fed):
            return fed
    raise DataError(f"{name} holds numbers from {x.min()} to {x.max()}, expected whole ones: {values}.")
