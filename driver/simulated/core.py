"""What computes the results on a simulated device, and a fast one in plain Python."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from contract.manifest import Stream
from contract.values import VALUES

Result = tuple[int, bool]  # of one beat: (integer, TLAST)


class Core(Protocol):
    """The accelerator between its two streams."""

    def send(self, data: bytes, last: bool) -> list[Result]:
        """Offer whole input beats, the final one with TLAST if `last`; return the results that came out.

        A partial image stays inside until more beats or a reset come.
        """

    def abort(self) -> None:
        """Make a `send` that is under way in another thread raise, before a reset; a short one may end instead."""

    def reset(self) -> None:
        """Pulse the reset: nothing is inside afterwards, and what had ended works again."""

    def close(self) -> None:
        """End what computes."""


class ReferenceCore:
    """The streams of `finn_build`'s top around the CPU reference."""

    def __init__(self, outputs: Callable[[NDArray[Any]], NDArray[np.int64]], stream: Stream) -> None:
        """Compute with `outputs`, usually of a `driver.reference.Reference`, images that arrive on `stream`."""
        self._outputs = outputs
        self._values, self._lanes = VALUES[stream.datatype], stream.folded_shape[1]
        self._image_bytes = stream.packed_bytes
        self._beat_bytes = beat_bytes(stream)
        self._partial = b""

    def send(self, data: bytes, last: bool) -> list[Result]:
        """See Core. As in axis_image_last.sv, TLAST counts only on the last beat of an image."""
        if len(data) % self._beat_bytes:
            raise ValueError(f"{len(data)} bytes are not whole beats of {self._beat_bytes} bytes")
        data = self._partial + data
        count = len(data) // self._image_bytes
        whole = count * self._image_bytes
        self._partial = data[whole:]
        if not count:
            return []
        packed = np.frombuffer(data[:whole], np.uint8).reshape(count, self._image_bytes)
        outputs = self._outputs(self._values.unpack(packed, lanes=self._lanes))
        results = [(int(output), False) for output in outputs.reshape(-1)]
        results[-1] = (results[-1][0], last and not self._partial)
        return results

    def abort(self) -> None:
        """See Core."""

    def reset(self) -> None:
        """See Core."""
        self._partial = b""

    def close(self) -> None:
        """See Core."""


def beat_bytes(stream: Stream) -> int:
    """Return the bytes of one beat."""
    return stream.width_bits // 8
