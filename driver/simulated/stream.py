"""The accelerator's two streams as its DMA sees them: with back-pressure, and with faults."""

import threading
from collections import deque
from collections.abc import Callable

from contract.manifest import Hardware
from driver.simulated.core import Core, Result, beat_bytes
from driver.simulated.faults import Faults
from driver.simulated.memory import PhysicalMemory

MAX_IMAGES = 32  # images whose results wait inside while nobody takes them, as in finn_build/stitch.py


class Streams:
    """The core, and the results that wait to be taken.

    `lock` is the whole device's, `changed` tells of changes under it. Whoever takes results registers `taker`, which is
    called with the lock held whenever there may be new ones.

    The program's main thread reads and writes registers, and Ctrl-C may come at any moment of it. `with lock` is safe
    then: Python delivers a signal before or after, not in between. `with changed` is Python code and could leave the
    lock held for ever, and `changed.wait` could leave it twice; the second is for the device's own threads.
    """

    def __init__(self, core: Core, hardware: Hardware) -> None:
        """Connect `core`, whose streams `hardware` describes."""
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.taker: Callable[[], None] = lambda: None
        self.broken: Exception | None = None  # why the core computes no more
        self._core = core
        self._core_lock = threading.Lock()  # the core computes outside of `changed`
        self._image_bytes, self._image_results = hardware.input.packed_bytes, hardware.output.shape[0]
        self._beat_bytes = beat_bytes(hardware.input)
        self._results: deque[Result] = deque()
        self._partial = 0  # bytes of an unfinished image inside the core
        self._resets = 0
        self.arm(Faults())

    def arm(self, faults: Faults) -> None:
        """Let `faults` happen from now on."""
        with self.lock:
            self._faults = faults
            self._computed = self._taken = 0  # results, of which an image has `_image_results`
            self._beats = 0
            self._held: Result | None = None  # until the next result has overtaken it
            self._results.extend(
                (value, i == len(faults.spare_results)) for i, value in enumerate(faults.spare_results, 1)
            )
            self.taker()
            self.changed.notify_all()

    def reset(self) -> None:
        """Reset the core; everything inside is gone."""
        with self.lock:
            self._resets += 1
            self._results.clear()
            self.changed.notify_all()
        if not self._core_lock.acquire(blocking=False):
            self._core.abort()  # it may be at work on something that nobody wants any more, or stuck
            self._core_lock.acquire()
        try:
            self._core.reset()
            with self.lock:
                self._partial, self.broken = 0, None
        finally:
            self._core_lock.release()

    def feed(self, read: Callable[[int, int], bytes], size: int, *, last: bool, alive: Callable[[], bool]) -> None:
        """Stream `size` bytes into the core. Blocks while the core is full; returns early when no longer `alive`.

        Args:
            read: returns bytes, given their offset and their number.
            size: of the whole transfer [bytes].
            last: whether its final beat carries TLAST.
            alive: False once the transfer has been aborted. Called with the lock held.
        """
        sent = 0
        while sent < size:
            with self.lock:
                while alive() and self._room() <= 0:
                    self.changed.wait()
                if not alive():
                    return
                count = min(size - sent, self._room())
                resets = self._resets
            data = read(sent, count)
            data += bytes(-len(data) % self._beat_bytes)  # the rest of a beat; TKEEP is not looked at
            sent += count
            data = self._bend(data)
            with self._core_lock:
                if resets != self._resets:
                    return
                try:
                    results = self._core.send(data, last and sent == size)
                except Exception as err:  # this is the DMA's thread: software is told when it next looks
                    if resets == self._resets:
                        self.broken = err
                    return
                self._partial = (self._partial + len(data)) % self._image_bytes
            with self.lock:
                if resets != self._resets:
                    return
                for result in results:
                    self._results.extend(self._disturb(result))
                self.taker()
                self.changed.notify_all()

    def take(self) -> Result | None:
        """Return the next result, or None if there is none yet. Call it with the lock held."""
        if not self.ready():
            return None
        self._taken += 1
        self.changed.notify_all()
        return self._results.popleft()

    def store(self, memory: PhysicalMemory, address: int, word: bytes) -> None:
        """Write the result that was taken last to memory. Raises BusError."""
        index = self._taken - 1
        if index == self._faults.tear_write:
            for i, byte in enumerate(word):
                if self._faults.tear_bytes >> i & 1:
                    memory.write(address + i, bytes([byte]))
        elif index != self._faults.lose_write:
            memory.write(address, word)

    def ready(self) -> bool:
        """Tell whether `take` would return a result. Call it with the lock held."""
        stalled = self._faults.stall_after is not None and self._taken >= self._faults.stall_after
        return bool(self._results) and not stalled

    def _room(self) -> int:
        waiting = -(-len(self._results) // self._image_results)
        return (MAX_IMAGES - waiting) * self._image_bytes - self._partial

    def _bend(self, data: bytes) -> bytes:
        """Lose or repeat beats on their way to the core."""
        with self.lock:
            first, size = self._beats, self._beat_bytes
            self._beats += len(data) // size
            for fault, times in ((self._faults.add_beat, 2), (self._faults.drop_beat, 0)):
                at = -1 if fault is None else (fault - first) * size
                if 0 <= at < len(data):
                    data = data[:at] + times * data[at : at + size] + data[at + size :]
            return data

    def _disturb(self, result: Result) -> list[Result]:
        faults, index = self._faults, self._computed
        self._computed += 1
        value, last = result
        if index == faults.flip_result:
            # Shifted by 2**31, an int32 is unsigned and no bit is the sign.
            value = ((value + 2**31) ^ (1 << faults.flip_bit)) - 2**31
        last = last and not faults.missing_tlast
        if index == faults.drop_result:
            return []
        if index == faults.add_result:
            return [(value, last and faults.add_tlast), (value, last)]
        if index == faults.swap_result:
            self._held = value, last
            return []
        if self._held is not None:
            (other, first), self._held = self._held, None
            return [(value, first), (other, last)]
        return [(value, last)]
