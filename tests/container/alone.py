"""`make docker-check`: check.py under pytest, alone in its folder and in namespaces of its own.

The kind: what programs leave that are stopped half-way, or that share a folder: mounts, processes that their parent
does not know, gigabytes, a storage removed under somebody else. So the check runs once at a time; its processes and
mounts are in namespaces that end with it, whatever ends it or this program, kill -9 included; and what it was building
is removed at the end by this program, or by the next one where this one was killed.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).parents[2]
WORK = ROOT / "build" / "docker-check"
DEMO = ROOT / "runs" / "demo"
BUILDING = ("storage", "state", "tmp")  # of WORK, while it runs; the base and the packages stay for the next time
PROGRAMS = ("mmdebstrap", "buildah", "podman", "runc", "catatonit", "unshare", "setpriv")
NEEDED_GB = 14  # wheels, base, image, and what is unpacked on the way
INSIDE = "CXRFLOW_DOCKER_CHECK"  # set where the check is alone
# The shell is the first process, which reaps what others leave.
ALONE = (
    "setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
    "sh", "-c", '"$@" & wait $!', "sh",
)  # fmt: skip
INTERRUPTED = 130


class RefusalError(Exception):
    """Why it cannot run; a sentence."""


def main(arguments: Sequence[str]) -> int:
    """Run the check with more arguments for pytest."""
    command = [sys.executable, "-m", "pytest", "-s", str(Path(__file__).with_name("check.py")), *arguments]
    try:
        require_what_is_needed()
        return run_alone(command, WORK)
    except RefusalError as refusal:
        print(refusal, file=sys.stderr)
        return 2


def require_what_is_needed() -> None:
    """Raise RefusalError where this machine cannot do it."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        raise RefusalError(f"{', '.join(missing)} not on PATH: install Debian's {' '.join(missing)}.")
    if os.getuid() != 0:
        raise RefusalError("this does not run as root, which buildah needs to make a base. Run it as root.")
    if subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], capture_output=True, check=False).returncode:
        raise RefusalError("root may make no namespaces here, without which mounts stay. Run it elsewhere.")
    if not (DEMO / "build" / "pynq-z2" / "build.json").is_file():
        raise RefusalError(f"{DEMO} has no build for pynq-z2: run `make demo`.")
    WORK.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(WORK).free // 10**9
    if free < NEEDED_GB:
        raise RefusalError(f"{WORK} has {free} GB left, {NEEDED_GB} GB are needed. Free some space.")


def run_alone(command: Sequence[str], work: Path) -> int:
    """Run a command in namespaces that end with it, alone in `work`; return its exit code. Raises RefusalError."""
    with _locked(work) as lock:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _stop)
        environment = {**os.environ, INSIDE: "1", "TMPDIR": str(work / "tmp")}
        try:
            clear(work)
            (work / "tmp").mkdir()
            # Whoever runs in there holds the lock, too: it is free when nobody does.
            with subprocess.Popen([*ALONE, *command], env=environment, pass_fds=(lock,)) as process:
                try:
                    code = process.wait()
                except KeyboardInterrupt:
                    _end(process)
                    raise
        except KeyboardInterrupt:
            print("\ninterrupted: what it was building is removed now, which takes a while.", flush=True)
            clear(work)
            print("Nothing of it runs or is mounted, and what it was building is removed.", flush=True)
            return INTERRUPTED
        clear(work)
        return code if code >= 0 else 128 - code


def clear(work: Path) -> None:
    """Remove what is being built, and what is mounted there by somebody who was killed before there were namespaces."""
    for name in BUILDING:
        for place in reversed(mounts(work / name)):
            subprocess.run(["umount", place], check=True)
        shutil.rmtree(work / name, ignore_errors=True)
    for partial in work.glob("*.partial"):
        partial.unlink()


def mounts(folder: Path) -> list[str]:
    """What is mounted at or below a folder, in the order of mounting."""
    places = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [place for place in places if Path(place).is_relative_to(folder)]


@contextlib.contextmanager
def _locked(work: Path) -> Iterator[int]:
    work.mkdir(parents=True, exist_ok=True)
    with (work / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RefusalError(f"another check runs in {work}. Wait for its end, or stop it.") from None
        yield lock.fileno()


def _stop(_number: int, _frame: FrameType | None) -> None:
    """Once: what follows takes a moment, and is not interrupted."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End the first process in the namespace: unshare, its parent, returns when all the others have ended."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for child in children:
        os.kill(int(child), signal.SIGKILL)
    if not children:
        process.kill()
    process.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
