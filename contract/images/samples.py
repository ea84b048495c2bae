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
    first = np.arange(count) * bits  # the bit of a row at which a sample begins; it ends within three bytes
    byte, shift = first >> 3, (24 - bits - (first & 7)).astype(np.uint32)
    padded = np.pad(rows, ((0, 0), (0, 2)))
    words = padded[:, byte].astype(np.uint32) << 16
    words |= padded[:, byte + 1].astype(np.uint32) << 8
    words |= padded[:, byte + 2]
    return ((words >> shift) & ((1 << bits) - 1)).astype(np.uint8 if bits < 8 else np.uint16)
