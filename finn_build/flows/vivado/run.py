"""Run Vivado in batch mode, notice when it hangs, and say in one sentence what went wrong.

Vivado's exit code and its log are all there is: the first line that begins with ERROR is the cause, what follows is
its consequences.
"""

import contextlib
import os
import queue
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contract.errors import ToolError
from finn_build import child
from finn_build.flows.vivado.listed import LISTED

OLDEST, NEWEST = (2022, 2), (2025, 2)
FLAGS = ("-mode", "batch", "-notrace", "-nojournal")
IDLE_MINUTES = 30.0  # without a sign of life before Vivado is taken for hung: routing is silent for long
POLL_S = 0.2
GRACE_S = 10.0  # between asking Vivado to end and ending it
SHOWN = re.compile(r"^INFO: \[cxrflow\] |^\[\w{3} \w{3} .*\] .*(finished|Launched)|^(Starting|Phase) ")

Say = Callable[[str], None]


@dataclass
class Transcript:
    """What Vivado said."""

    code: int = 0
    errors: list[str] = field(default_factory=list)  # lines that say what failed
    crash: str | None = None  # the line that says so
    listed: str | None = None  # the first critical warning of a listed kind
    last: str = ""  # the last line that says anything


def command_line(script: str, log: str) -> list[str]:
    """Return the command that runs a script of a project, to be called in the project's folder."""
    return ["vivado", *FLAGS, "-log", log, "-source", script]


def find_vivado() -> str | None:
    """Return the path of Vivado, or None.

    Raises:
        ToolError: it is too old, or does not start.
    """
    path = shutil.which("vivado")
    if path is None:
        return None
    try:
        done = subprocess.run([path, "-version"], capture_output=True, text=True, timeout=120, check=False)
    except (OSError, subprocess.SubprocessError) as err:
        raise ToolError(f"{path} does not start ({err}). Source Vivado's settings64.sh again.") from err
    match = re.search(r"vivado v(\d{4})\.(\d)", done.stdout, re.IGNORECASE)
    if match is None:
        said = next(iter((done.stdout + done.stderr).splitlines()), "nothing")
        raise ToolError(
            f"{path} -version says '{said}', expected 'Vivado v20xx.x'. Source Vivado's settings64.sh again."
        )
    version = int(match[1]), int(match[2])
    if version < OLDEST:
        raise ToolError(
            f"{path} is Vivado {match[1]}.{match[2]}, expected {_name(OLDEST)} to {_name(NEWEST)}. Install a newer one."
        )
    return path


def _name(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def run_vivado(vivado: str, folder: Path, script: str, *, log: str, say: Say, idle_minutes: float) -> None:
    """Run a script of the project in `folder` to its end.

    Args:
        vivado: the program.
        folder: where it runs, and writes.
        script: the name of the Tcl file.
        log: the name of the log file.
        say: told of every step.
        idle_minutes: how long it may be silent.

    Raises:
        ToolError: it failed; names the first cause.
    """
    command = [vivado, *command_line(script, log)[1:]]
    transcript = Transcript()
    output: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "errors": "replace"}
    with child.running(command, cwd=folder, **output) as process:
        try:
            for line in _lines(process, folder, idle_minutes):
                _note(line, transcript)
                if SHOWN.search(line):
                    say(line)
        except _IdleError:
            raise ToolError(
                f"Vivado gave no sign of life for {idle_minutes:g} minutes and was ended; its last line was '"
                f"{transcript.last}'. The same command goes on after the last finished run; --idle-minutes allows more."
            ) from None
        finally:
            _end(process)
    transcript.code = process.returncode
    refuse(transcript, folder / log)


class _IdleError(Exception):
    pass


def _lines(process: "subprocess.Popen[str]", folder: Path, idle_minutes: float) -> Iterator[str]:
    """Yield what a process prints. Raises _IdleError when neither it nor a log in `folder` grows for too long."""
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line.rstrip())
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    written, alive = _written(folder), time.monotonic()
    while True:
        try:
            line = lines.get(timeout=POLL_S)
        except queue.Empty:
            now = _written(folder)
            if now != written:
                written, alive = now, time.monotonic()
            elif time.monotonic() - alive > 60 * idle_minutes:
                raise _IdleError from None
            continue
        if line is None:
            process.wait()
            return
        alive = time.monotonic()
        yield line


def _written(folder: Path) -> int:
    """Return the size of all logs of the project's runs [bytes]."""
    total = 0
    for path in folder.glob("project/*.runs/*/*.log"):
        with contextlib.suppress(OSError):
            total += path.stat().st_size
    return total


def _end(process: "subprocess.Popen[str]") -> None:
    """End a process and all that it started, if it has not ended."""
    if process.poll() is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_S)
    with contextlib.suppress(ProcessLookupError):  # what did not listen
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _note(line: str, transcript: Transcript) -> None:
    if line.startswith("ERROR:"):
        transcript.errors.append(line)
    elif line.strip() == "while executing" and not transcript.errors:
        transcript.errors.append(transcript.last)  # an error of Tcl itself has no ERROR before it
    if transcript.crash is None and re.search(
        r"Abnormal program termination|segfault in|^\S+: line \d+: .*Killed", line
    ):
        transcript.crash = line
    if transcript.listed is None and line.startswith("CRITICAL WARNING: ["):
        transcript.listed = line if line[len("CRITICAL WARNING: [") :].split("]")[0] in LISTED else None
    if line.strip():
        transcript.last = line.strip()


CAUSES = (  # pattern of the first error -> what to do; the error itself is always shown
    (
        r"valid license was not found|Common 17-345|license.*(fail|expired|denied)",
        "Vivado has no licence for this part. Check XILINXD_LICENSE_FILE, or take a board whose part the free edition "
        "covers (pynq-z2, zcu104)",
    ),
    (
        r"Coretcl 2-106|part could not be found",
        "this Vivado has no support for the part. Add the device with Vivado's installer",
    ),
    (
        r"over-utilized|UTLZ-1|requires more .* than are available",
        "the design does not fit the part. Lower 'build.target_fps', or take a bigger board",
    ),
    (
        r"^ERROR: \[cxrflow timing\]",
        "the clock is too fast for the design. Raise 'build.clk_ns'; the reports are beside the log",
    ),
    (
        r"^ERROR: \[cxrflow critical warning\]",
        "a warning of this kind means another design than the verified one, so there is no bitstream",
    ),
    (r"^ERROR: \[cxrflow (?!run)", "the block design is not as it must be"),
)


def refuse(transcript: Transcript, log: Path) -> None:
    """Stop unless Vivado ended well. Raises ToolError with the first cause."""
    if transcript.errors:
        # A run of Vivado's own is reported once more by our script, which must not hide a cause that is in that line.
        first = transcript.errors[0]
        cause = next((text for pattern, text in CAUSES if re.search(pattern, first, re.IGNORECASE)), "Vivado failed")
        raise ToolError(f"{cause}. Its first error: {_sentence(first)} The log is {log}.")
    if transcript.crash is not None:
        raise ToolError(
            f"Vivado crashed: {_sentence(transcript.crash)} Run the same command again: it goes on after the last "
            "finished run. 'Killed' means that memory ran out."
        )
    if transcript.code:
        signalled = transcript.code > 128  # as shells say it
        how = f"was ended by signal {transcript.code - 128}" if signalled else f"ended with code {transcript.code}"
        raise ToolError(f"Vivado {how} without an error; its last line was '{transcript.last}'. The log is {log}.")
    if transcript.listed is not None:
        reason = LISTED[transcript.listed.split("[", 1)[1].split("]")[0]]
        raise ToolError(f"there is no bitstream, because {reason}: {_sentence(transcript.listed)} The log is {log}.")


def _sentence(line: str) -> str:
    return line if line.endswith(".") else f"{line}."
