"""Programs that end with us, and with all that they start, however this process ends: kill -9 included.

Compilers start compilers, so ending the one that we started is not enough: each is in a process group of its own, which
is ended as a whole. Whoever is killed cannot do that, so a shell watches a pipe that only we hold open.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

# The command runs beside a reader of our pipe. At the pipe's end the reader ends the group.
_WATCHED = """\
exec 3<&0 </dev/null
"$@" 3<&- &
command=$!
{ read -r _ <&3; kill -KILL 0; } &
reader=$!
exec 3<&-
wait $command
code=$?
kill -KILL $reader
exit $code
"""


@contextlib.contextmanager
def running(command: Sequence[str | Path], **options: Any) -> Iterator["subprocess.Popen[Any]"]:
    """Start a program, without standard input; after the block nothing of it runs.

    Args:
        command: the program and its arguments. One that a signal ended has the exit code 128 + signal.
        options: as for subprocess.Popen.
    """
    theirs, ours = os.pipe()
    try:
        shell = ["/bin/sh", "-c", _WATCHED, "sh", *command]
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
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "errors": "replace"}
    with running(command, **pipes, **options) as process:
        out, err = process.communicate()
    return subprocess.CompletedProcess(list(map(str, command)), process.returncode, out, err)
