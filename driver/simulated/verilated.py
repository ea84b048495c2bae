"""The accelerator's RTL, simulated cycle by cycle by the Verilated program in a process of its own.

The program is `harness --serve BEATS BYTES RESULTS`, see finn_build/harness.cpp. Everything is little-endian. Request:
'B', uint32 beats, uint8 last, the beats. Reply: uint32 results, uint64 cycles since the start, and per result int32
and uint8 TLAST. A reset is a new process: it is fast, and works whatever has become of the old one.
"""

import contextlib
import os
import struct
import subprocess
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO

from contract.errors import ToolError
from driver.simulated.core import Result

_REPLY = struct.Struct("<IQ")
_RESULT = struct.Struct("<iB")
_END_S = 10.0  # how long a program that said its last word may take to end [s]


class VerilatedCore:
    """See driver.simulated.core.Core. A context manager; `close` ends the program."""

    def __init__(
        self,
        program: Path,
        rtl: Path,
        *,
        beats: int,
        beat_bytes: int,
        results: int,
        prove: Callable[[], None] = lambda: None,
    ) -> None:
        """Start the program.

        Args:
            program: what `finn_build.simulate.verilate` returned.
            rtl: the folder with the design's memory files.
            beats: of one image on the input stream.
            beat_bytes: bytes of one beat.
            results: of one image on the output stream.
            prove: called before each start; raises a CxrflowError if program or memory files are not the right ones.

        Raises:
            ToolError: the program cannot be started.
        """
        self._beat_bytes = beat_bytes
        self._command = [str(program.resolve()), "--serve", str(beats), str(beat_bytes), str(results)]
        self._program, self._rtl, self._prove = program, rtl, prove
        self._before = self._cycles = 0  # simulated by earlier processes, and by this one
        self._changing = threading.Lock()  # which process is the one
        self._closed = False
        self._start()

    @property
    def cycles(self) -> int:
        """Clock cycles simulated since the core was opened."""
        return self._before + self._cycles

    def progress(self) -> int:
        """Return what grows while the program works."""
        return self.cycles

    @property
    def ended(self) -> bool:
        """Whether the program has ended by itself. Popen.poll could leave its lock held where Ctrl-C comes."""
        if self._process.returncode is not None:
            return True
        try:
            return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:
            return True

    def send(self, data: bytes, last: bool) -> list[Result]:
        """See Core. Raises ToolError if the program ended."""
        beats, rest = divmod(len(data), self._beat_bytes)
        if rest:
            raise ValueError(f"{len(data)} bytes are not whole beats of {self._beat_bytes} bytes")
        self._used = True
        try:
            self._stdin.write(b"B" + struct.pack("<IB", beats, last) + data)
            self._stdin.flush()
        except (BrokenPipeError, ValueError) as err:  # ValueError: already closed
            raise self._why_ended() from err
        count, self._cycles = _REPLY.unpack(self._read(_REPLY.size))
        return [(value, bool(last)) for value, last in _RESULT.iter_unpack(self._read(count * _RESULT.size))]

    def reset(self) -> None:
        """See Core. Raises ToolError if the program does not start again, and what `prove` raises."""
        with self._changing:
            if self._closed or not (self._used or self.ended):
                return
            self._stop()
            self._start()

    def abort(self) -> None:
        """See Core."""
        self._process.kill()

    def close(self) -> None:
        """See Core."""
        with self._changing:
            self._closed = True
            self._stop()

    def __enter__(self) -> "VerilatedCore":
        """Return the core itself."""
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End the program."""
        self.close()

    def _start(self) -> None:
        self._prove()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 # closed by `_stop`
        try:
            process = subprocess.Popen(
                self._command, cwd=self._rtl, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors
            )
        except OSError as err:
            self._errors.close()
            raise ToolError(f"the simulator {self._program} does not start ({err}). Build the run again.") from err
        assert process.stdin is not None and process.stdout is not None
        self._stdin: IO[bytes] = process.stdin
        self._stdout: IO[bytes] = process.stdout
        self._process = process
        self._used = False  # it has been sent something

    def _stop(self) -> None:
        """End the process and free what belongs to it. There is nothing in it to be saved."""
        self._process.kill()
        self._process.wait()
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()
        self._stdout.close()
        self._errors.close()
        self._before, self._cycles = self.cycles, 0

    def _read(self, size: int) -> bytes:
        try:
            data = self._stdout.read(size)
        except ValueError as err:  # closed
            raise self._why_ended() from err
        if len(data) != size:
            raise self._why_ended()
        return data

    def _why_ended(self) -> ToolError:
        try:
            code = self._process.wait(_END_S)
            self._errors.seek(0)
            said = self._errors.read().decode(errors="replace").strip()
        except subprocess.TimeoutExpired:
            self._process.kill()
            return ToolError("the simulator closed its output and did not end.")
        except ValueError:
            return ToolError("the simulator was already closed.")
        return ToolError(f"the simulator ended with exit code {code}: {said[-500:] or 'no message'}.")
