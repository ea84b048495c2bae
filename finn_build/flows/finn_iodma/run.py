"""Run the container to its end, passing on what it says, and say in one sentence what went wrong."""

import contextlib
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from contract import errors
from contract.errors import ArtifactError, ConfigError, CxrflowError, ToolError
from contract.files import read_json
from finn_build import child
from finn_build.flows.finn_iodma import AGAIN
from finn_build.flows.finn_iodma.image import IMAGE, ask, last_line

TIMEOUT_S = 8 * 3600.0  # of a whole build; one of these networks takes well under an hour
POLL_S = 0.2
TAIL = 5  # lines of the log that an unexplained failure shows

Say = Callable[[str], None]


def run_container(command: list[str], log: Path, say: Say) -> int:
    """Run the container, passing on what it says; return its exit code. Raises ToolError if it takes too long."""
    deadline, name = time.monotonic() + TIMEOUT_S, command[command.index("--name") + 1]
    with (
        log.open("w", encoding="utf-8") as out,
        log.open(encoding="utf-8", errors="replace") as said,
        child.running(command, last=("docker", "kill", name), stdout=out, stderr=subprocess.STDOUT) as process,
    ):
        try:
            while True:
                ended = process.poll() is not None  # before reading, so that nothing said last is lost
                for line in said:
                    say(line.rstrip())
                if ended:
                    return process.returncode
                if time.monotonic() > deadline:
                    raise ToolError(
                        f"the container did not end in {TIMEOUT_S / 3600:g} h and was stopped. Its log is {log}; "
                        f"if Vivado was still placing or routing, make the design smaller, and {AGAIN}."
                    )
                time.sleep(POLL_S)
        finally:
            if process.poll() is None:  # too long, or Ctrl-C
                with contextlib.suppress(ToolError):
                    ask("kill", name)  # the container, which outlives its client


def require_success(code: int, work: Path) -> None:
    """Stop unless the container ended well. Raises the CxrflowError that it met, or that its exit code stands for."""
    log = work / "container.log"
    text = log.read_text(encoding="utf-8", errors="replace")
    if code == 0:
        return
    _raise_what_it_met(work / "failure.json")
    if "no space left on device" in text.lower():
        raise ConfigError(
            f"a disk is full: that of {work} or of Docker (`docker system df`). Free some space, and {AGAIN}."
        )
    if code == 125:
        raise ToolError(f"Docker could not start the container: {last_line(text)}. Correct that, and {AGAIN}.")
    if code in (126, 127):
        raise ToolError(f"the image {IMAGE} is damaged: {last_line(text)}. Run `make docker-build`.")
    if code == 78:
        raise ToolError(
            f"Vivado's settings do not work in the container: {last_line(text)}. Repair its installation, and {AGAIN}."
        )
    if code in (137, 143):
        raise ToolError(
            f"the container was killed (exit code {code}), mostly for want of memory. "
            f"Give Docker 16 GB or close other programs, and {AGAIN}. Its log is {log}."
        )
    tail = " | ".join(text.strip().splitlines()[-TAIL:]) or "nothing"
    raise ToolError(f"the container failed with exit code {code} and said last: {tail}. Please report it with {log}.")


def _raise_what_it_met(path: Path) -> None:
    """Raise the error that the container wrote down, if it did."""
    try:
        failure = read_json(path, advice="")
        kind, message = getattr(errors, failure["kind"]), str(failure["message"])
    except (ArtifactError, KeyError, TypeError, AttributeError):
        return
    if isinstance(kind, type) and issubclass(kind, CxrflowError):
        raise kind(message)
