"""Programs that end with us, and with all that they start, however this process ends: kill -9 included.

Compilers start compilers, so ending the one that we started is not enough: each is in a process group of its own, which
is ended as a whole. Whoever is killed cannot do that, so a shell watches a pipe that only we hold open.
"""

import contextlib
import os
import shlex
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

# The command runs beside a reader of our pipe. At the pipe's end the reader ends what only LAST ends, then the group.
# Whoever asks the group to end (SIGTERM) gets the exit code that the command then has.
_WATCHED = """\
exec 3<&0 </dev/null
"$@" 3<&- &
command=$!
{ read -r _ <&3; LAST; kill -KILL 0; } &
reader=$!
exec 3<&-
trap : TERM
wait $command
code=$?
while kill -0 $command 2>/dev/null; do wait $command; code=$?; done
kill -KILL $reader 2>/dev/null
exit $code
"""
# It may be too early: as long as the command runs, once a second, for a minute.
_LAST = """\
tries=0
until { COMMAND; } >/dev/null 2>&1 || ! kill -0 $command 2>/dev/null || [ $((tries += 1)) -gt 60 ]; do sleep 1; done"""


@contextlib.contextmanager
def running(
    command: Sequence[str | Path], *, last: Sequence[str] = (), **options: Any
) -> Iterator["subprocess.Popen[Any]"]:
    """Start a program, without standard input; after the block nothing of it runs.

    Args:
        command: the program and its arguments. One that a signal ended has the exit code 128 + signal.
        last: the command that ends what outlives the program, such as a container; run only where this process dies
            within the block.
        options: as for subprocess.Popen.
    """
    theirs, ours = os.pipe()
    try:
        script = _WATCHED.replace("LAST", _LAST.replace("COMMAND", shlex.join(last)) if last else ":")
        shell = ["/bin/sh", "-c", script, "sh", *command]
        try:
            process = subprocess.Popen(shell, stdin=theirs, start_new_session=True, **options)
        finally:
            os.close(theirs)
        with process:
            try:
                yield process
            finally:
                end(process)
    finally:
        os.close(ours)


def end(process: "subprocess.Popen[Any]") -> None:
    """End a program and all that it started, unless it has ended."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def run(command: Sequence[str | Path], **options: Any) -> "subprocess.CompletedProcess[str]":
    """Run a program to its end; return its exit code and all that it said. `options` are as for subprocess.Popen."""
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "errors": "replace"}
    with running(command, **pipes, **options) as process:
        out, err = process.communicate()
    return subprocess.CompletedProcess(list(map(str, command)), process.returncode, out, err)
