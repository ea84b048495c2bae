"""Unpack samples of 1 to 16 bits, one right after the other from the highest bit on; a row begins on a whole byte."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def unpack_bits(rows: NDArray[np.uint8], count: int, bits: int, order: str = ">") -> NDArray[Any]:
    """Return the first `count` samples of each row.

    Args:
        rows: (h, n), n bytes of a row, at least enough for the samples.
        count: samples of a row.
        bits: of a sample.
        order: of the bytes of 16-bit samples, numpy's < or >; of fewer bits it changes nothing.

    Returns:
        (h, count) uint8 or uint16.
    """
    if bits == 8:
        return rows[:, :count]
    if bits == 16:
        return np.ascontiguousarray(rows[:, : 2 * count]).view(f"{order}u2").astype(np.uint16)
    single = np.unpackbits(rows, axis=1)[:, : count * bits].reshape(len(rows), count, bits)
    width = 8 if bits < 8 else 16
    padded = np.zeros((len(rows), count, width), dtype=np.uint8)
    padded[:, :, width - bits :] = single
    packed = np.packbits(padded, axis=2)
    return packed[:, :, 0] if width == 8 else packed.view(">u2")[:, :, 0].astype(np.uint16)
