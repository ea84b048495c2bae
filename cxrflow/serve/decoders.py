"""The processes that decode uploads, from the server's side: used again, ended when they take too long, replaced.

One process decodes one image at a time, and the others wait for it. An image that takes longer than a second steps
aside: the next ones are decoded in a second process meanwhile, so that a file made to take for ever delays nobody by
more than that. There are never more than two, which bounds the memory.
"""

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event, Lock, Timer
from typing import Any, BinaryIO, cast

import anyio.to_thread
import numpy as np
from numpy.typing import NDArray

from contract.manifest import Manifest
from cxrflow.serve.decode import OUT_OF_MEMORY, READY, Job, read_message, write_message
from cxrflow.serve.limits import BUG, MEBI, Limits, Refusal

LOG = logging.getLogger("cxrflow.serve")
COMMAND = (sys.executable, "-m", "cxrflow.serve.decode")
CODE = Path(__file__).parents[2]  # where that module is found
START_S = 60.0  # until a new process is ready [s]; a board reads its code from an SD card
PICTURE_BYTES = 4 * MEBI  # of an answer, beside the network's pixels


@dataclass(frozen=True)
class Decoded:
    """What is kept of one upload."""

    inputs: NDArray[Any]  # (N, ...) what is fed to the network; of an image N = 1
    width: int | None  # of the upload [pixel]; None: it is no image
    height: int | None
    seconds: float  # from bytes to these
    preview: bytes  # a small JPEG; none where nobody asked for it

    def each(self) -> "list[Decoded]":
        """Return one for each input."""
        share = self.seconds / len(self.inputs)
        return [replace(self, inputs=self.inputs[n : n + 1], seconds=share) for n in range(len(self.inputs))]


class Decoders:
    """All of the processes. Its methods but `close` belong to one event loop."""

    def __init__(self, limits: Limits, command: Sequence[str] = COMMAND) -> None:
        """Start nothing yet."""
        self._limits, self._command = limits, command
        self._turn = asyncio.Semaphore(1)
        self._aside = False  # whether a slow image is being decoded beside the queue
        self._lock = Lock()
        self._idle: list[_Process] = []
        self._busy: set[_Process] = set()
        self._closed = False

    def start(self) -> None:
        """Start one process, so that the first upload need not wait for it."""
        with self._lock, contextlib.suppress(Refusal):
            self._idle.append(_Process(self._command))

    def close(self) -> None:
        """End all of them."""
        with self._lock:
            self._closed = True
            for process in self._busy:
                process.kill()
            while self._idle:
                self._idle.pop().end()

    async def decode(self, content: bytes | bytearray, declared: str, manifest: Manifest, *, preview: bool) -> Decoded:
        """Decode one upload when its turn comes.

        Args:
            content: the file.
            declared: its media type, as its sender says.
            manifest: of the network.
            preview: whether a small picture is wanted.

        Raises:
            Refusal: it is not usable, or takes more time or memory than one may.
        """
        limits, sides = self._limits, (manifest.height, manifest.width)
        job = Job(declared, *sides, preview, limits.pixels, limits.decode_s, limits.decode_bytes)
        if not manifest.reads_pictures:
            fed = manifest.fed
            job = replace(job, reads=fed.reads, shape=fed.shape, inputs=limits.inputs_of(manifest))
        await self._turn.acquire()
        slow = False

        def step_aside() -> None:
            nonlocal slow
            if not self._aside:
                slow = self._aside = True
                self._turn.release()

        timer = asyncio.get_running_loop().call_later(limits.patience_s, step_aside)
        try:
            return await anyio.to_thread.run_sync(self._decode_now, job, content)
        finally:
            timer.cancel()
            if slow:
                self._aside = False
            else:
                self._turn.release()

    def _decode_now(self, job: Job, content: bytes | bytearray) -> Decoded:
        process = self._take()
        try:
            return process.decode(job, content)
        finally:
            self._give_back(process)

    def _take(self) -> "_Process":
        """Return a process that nobody else has. Raises Refusal where none can be started."""
        with self._lock:
            while self._idle and not self._idle[-1].alive():
                self._idle.pop().end()
            process = self._idle.pop() if self._idle else _Process(self._command)
            self._busy.add(process)
            if self._closed:
                process.kill()
            return process

    def _give_back(self, process: "_Process") -> None:
        """Keep one process for the next image: this one, or a new one where it has ended."""
        with self._lock:
            self._busy.discard(process)
            if self._idle or self._closed or not process.alive():
                process.end()
            else:
                self._idle.append(process)
        if not (self._idle or self._closed):
            self.start()


class _Process:
    """One of them. Its methods belong to one thread at a time, but `kill`."""

    def __init__(self, command: Sequence[str]) -> None:
        """Start it. Raises Refusal."""
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=CODE,
                env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},  # their stacks are memory, too
            )
        except OSError:
            raise _no_process() from None
        assert self._process.stdin is not None and self._process.stdout is not None
        self._jobs, self._answers = cast(BinaryIO, self._process.stdin), cast(BinaryIO, self._process.stdout)
        self._ready = False

    def alive(self) -> bool:
        """Return whether it can be asked."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End it now, whatever it is doing."""
        self._process.kill()

    def end(self) -> None:
        """End it and forget it."""
        self._stop()
        for stream in (self._jobs, self._answers):
            with contextlib.suppress(OSError):  # what is left in a buffer has nowhere to go
                stream.close()

    def decode(self, job: Job, content: bytes | bytearray) -> Decoded:
        """Decode one upload. Raises Refusal, and then may have ended."""
        if not self._ready:
            with self._killed_after(START_S):
                self._ready = self._answers.read(len(READY)) == READY
            if not self._ready:
                self._stop()
                raise _no_process()
        answer = None
        with self._killed_after(job.seconds) as expired, contextlib.suppress(OSError):
            write_message(self._jobs, vars(job), content)
            answer = read_message(self._answers, most=job.inputs * job.fed.input_bytes + PICTURE_BYTES)
        if answer is None:
            raise _death(self._stop(), job, expired=expired.is_set())
        try:
            return _decoded(*answer, job)
        except Refusal as refusal:
            if refusal.code == OUT_OF_MEMORY:  # who knows what its libraries make of that
                self._stop()
            raise
        except (KeyError, TypeError, ValueError):  # somebody else's answer
            self._stop()
            raise _death(0, job, expired=False) from None

    def _stop(self) -> int:
        self.kill()
        return self._process.wait()

    @contextlib.contextmanager
    def _killed_after(self, seconds: float) -> Iterator[Event]:
        """Kill the process where the body takes longer; return what is set then."""
        expired = Event()

        def expire() -> None:
            expired.set()
            self.kill()

        timer = Timer(seconds, expire)
        timer.daemon = True
        timer.start()
        try:
            yield expired
        finally:
            timer.cancel()


def _decoded(header: dict[str, Any], data: bytes, job: Job) -> Decoded:
    """Return what an answer says. Raises Refusal where it is one, and other errors where it is no answer at all."""
    if "bug" in header:
        LOG.error("decoding: %s", ascii(header["bug"])[:300])
        raise BUG
    if "status" in header:
        raise Refusal(int(header["status"]), str(header["code"]), str(header["sentence"]))
    count = int(header["count"])
    if not 1 <= count <= job.inputs:
        raise ValueError(count)
    size = count * job.fed.input_bytes
    inputs = np.frombuffer(data[:size], dtype=job.fed.dtype).reshape(count, *job.fed.shape)
    width, height = (None, None) if job.reads else (int(header["width"]), int(header["height"]))
    return Decoded(inputs, width, height, float(header["seconds"]), data[size:])


def _death(code: int, job: Job, *, expired: bool) -> Refusal:
    """Say why there is no answer: by what the process ended with, and whether its time had expired."""
    if expired or code == -signal.SIGXCPU:
        sentence = f"takes more than {job.seconds:g} s to decode. Save it again, smaller or in a plainer format."
        return Refusal(422, "unusable", f"{job.noun} {sentence}")
    if code == -signal.SIGKILL:  # by the system
        return Refusal(503, "busy", "This machine is short of memory right now. Send this one again in a moment.")
    return Refusal(422, "unusable", f"{job.noun} makes its decoder crash. Save it again with another program.")


def _no_process() -> Refusal:
    return Refusal(503, "busy", "The process that decodes images cannot be started right now. Send this one again.")
