"""What the server accepts, and how it refuses the rest."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from contract.manifest import DISCLAIMER, Manifest

MEBI = 1 << 20


def _of_memory(share: int, most: int) -> int:
    """Return a share of this machine's memory [byte], but not more than `most`."""
    return min(most, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // share)


@dataclass(frozen=True)
class Limits:
    """Bounds on one request, and on all of them together."""

    file_bytes: int = 48 * MEBI  # one upload; 24 megapixels of 16 bits, not compressed
    request_bytes: int = 64 * MEBI  # one request, forms included
    files: int = 16  # of one request
    inputs: int = 2000  # of a file, where they are no pictures; fewer where they or their answers are large
    outputs: int = 20_000  # integers of an answer, which may wait for its reader
    pixels: int = 24_000_000  # of one image; plain X-ray detectors have up to about 18 million
    # All uploads in memory at one time, and again what they have become while it waits for its turn on a device.
    held_bytes: int = field(default_factory=lambda: _of_memory(8, 192 * MEBI))
    patience_s: float = 1.0  # that an image may be decoded before the next one no longer waits for it [s]
    decode_s: float = 20.0  # until it is given up [s]
    decode_bytes: int = field(default_factory=lambda: _of_memory(4, 512 * MEBI))  # that this may take, beside the file
    idle_s: float = 10.0  # longest silence within an upload [s]
    upload_s: float = 60.0  # longest upload [s]
    header_s: float = 10.0  # from opening a connection to the end of the request's header [s]
    connections: int = 256

    def inputs_of(self, manifest: Manifest) -> int:
        """Return how many inputs of a network a file may hold, which is no picture."""
        held = self.decode_bytes // 4 // manifest.fed.input_bytes  # by the server, too
        return max(1, min(self.inputs, self.outputs // manifest.outputs, held))


class Refusal(Exception):  # noqa: N818 # not an error of ours
    """An answer that is not a result: HTTP status, a word for programs, and a sentence for people."""

    def __init__(self, status: int, code: str, sentence: str) -> None:
        """Nothing in `sentence` may come from a file name or from inside a file."""
        super().__init__(sentence)
        self.status, self.code, self.sentence = status, code, sentence

    def body(self) -> dict[str, Any]:
        """Return the JSON of this answer."""
        return {"status": self.status, "code": self.code, "error": self.sentence, "note": DISCLAIMER}


class Budget:
    """Bytes of uploads that may be in memory at one time."""

    def __init__(self, limit: int) -> None:
        """Allow up to `limit` bytes."""
        self._left, self._lock = limit, Lock()

    def take(self, size: int) -> None:
        """Reserve `size` bytes. Raises Refusal if that is more than is left."""
        with self._lock:
            if size > self._left:
                raise Refusal(503, "busy", "Too many uploads are in memory right now. Send this one again in a moment.")
            self._left -= size

    def give(self, size: int) -> None:
        """Return what was taken."""
        with self._lock:
            self._left += size

    @contextlib.contextmanager
    def held(self, size: int) -> Iterator[None]:
        """Take `size` bytes and give them back. Raises Refusal."""
        self.take(size)
        try:
            yield
        finally:
            self.give(size)


BUG = Refusal(500, "bug", "The server failed at this request. This is a bug of ours; other requests go on.")
