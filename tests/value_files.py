"""Files of values for tests, of each format that `contract.inputs` reads."""

import io
import json
from typing import Any

import numpy as np


def npy(x: Any, **how: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, x, **how)
    return stream.getvalue()


def npz(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def table(x: Any, delimiter: str = ",", header: str = "") -> bytes:
    stream = io.StringIO()
    np.savetxt(stream, x, fmt="%.17g", delimiter=delimiter, header=header, comments="")
    return stream.getvalue().encode()


def files_of_signs() -> list[bytes]:
    """.npy, .npz, JSON and a table of two inputs of 6 values, each -1 or +1."""
    x = np.array([[1, -1, 1, 1, -1, 1], [1, 1, 1, 1, 1, 1]], dtype=np.int8)
    nested = json.dumps(x.tolist()).encode()
    return [npy(x), npz(x=x.astype(np.float64), y=x[:, 0]), nested, table(x, ";", "a;b;c;d;e;f")]
