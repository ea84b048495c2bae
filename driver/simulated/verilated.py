"""The accelerator's RTL, simulated cycle by cycle by the Verilated program in a process of its own.

The program is `harness --serve BEATS BYTES`, see finn_build/harness.cpp. Everything is little-endian. Requests: 'B',
uint32 beats, uint8 last, the beats; or 'R', a reset. Reply: uint32 results, uint64 cycles since the start, and per
result int32 logit and uint8 TLAST.
"""

import contextlib
import struct
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType

from contract.errors import ToolError
from driver.simulated.core import Result

_REPLY = struct.Struct("<IQ")
_RESULT = struct.Struct("<iB")
_END_S = 10.0  # how long the program may take to end [s]


class VerilatedCore:
    """See driver.simulated.core.Core. A context manager; `close` ends the program."""

    def __init__(self, program: Path, rtl: Path, *, beats: int, beat_bytes: int) -> None:
        """Start the program.

        Args:
            program: what `finn_build.simulate.verilate` returned.
            rtl: the folder with the design's memory files.
            beats: of one image on the input stream.
            beat_bytes: bytes of one beat.

        Raises:
            ToolError: the program cannot be started.
        """
        self._beat_bytes = beat_bytes
        self.cycles = 0  # simulated since the start
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 # closed by `close`
        command = [str(program.resolve()), "--serve", str(beats), str(beat_bytes)]
        try:
            self._process = subprocess.Popen(
                command, cwd=rtl, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors
            )
        except OSError as err:
            raise ToolError(f"the simulator {program} does not start ({err}). Build the run again.") from err

    def send(self, data: bytes, last: bool) -> list[Result]:
        """See Core. Raises ToolError if the program ended."""
        beats, rest = divmod(len(data), self._beat_bytes)
        if rest:
            raise ValueError(f"{len(data)} bytes are not whole beats of {self._beat_bytes} bytes")
        return self._ask(b"B" + struct.pack("<IB", beats, last) + data)

    def reset(self) -> None:
        """See Core."""
        self._ask(b"R")

    def close(self) -> None:
        """See Core."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def __enter__(self) -> "VerilatedCore":
        """Return the core itself."""
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End the program."""
        self.close()

    def _ask(self, request: bytes) -> list[Result]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(request)
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError) as err:  # ValueError: already closed
            raise self._ended() from err
        count, cycles = _REPLY.unpack(self._read(_REPLY.size))
        self.cycles = cycles
        return [(logit, bool(last)) for logit, last in _RESULT.iter_unpack(self._read(count * _RESULT.size))]

    def _read(self, size: int) -> bytes:
        assert self._process.stdout is not None
        data = self._process.stdout.read(size)
        if len(data) != size:
            raise self._ended()
        return data

    def _ended(self) -> ToolError:
        if self._errors.closed:
            return ToolError("the simulator was already closed.")
        code = self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip()
        return ToolError(f"the simulator ended with exit code {code}: {said[-500:] or 'no message'}.")
