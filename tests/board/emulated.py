"""A board's processor, emulated by qemu-user: Debian's Python for it, numpy and Pillow, and nothing else.

Debian's packages are fetched by apt with a state folder of its own, so that the architectures and package lists of this
machine stay as they are, and are only unpacked: no program of theirs runs but Python. No root is needed. They lie in
the user's cache folder, because they are hundreds of MB and the same for every checkout.

Python is the oldest that Debian has and the driver takes (PYNQ's images have 3.10). For arm64 numpy and Pillow are
wheels, the oldest there are for that Python; PyPI has none for armhf, so there they are Debian's.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
MIRROR, SUITE, PYTHON = "http://deb.debian.org/debian", "bookworm", "3.11"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
GROUPS = {  # what some tests need besides, at this environment's own versions
    "page": ("fastapi", "uvicorn", "python-multipart", "pydicom"),
    "tests": ("pytest", "hypothesis"),
}
# The real pynq's dependencies that are compiled, and what of them Debian has. What is not compiled is the same
# everywhere, and may be taken from .venv-pynq.
COMPILED = ("grpcio", "grpcio-tools", "protobuf", "pydantic_core", "rpds-py", "wcwidth")
PYNQ_PACKAGES = ("python3-cffi", "python3-distutils", "python3-psutil")
PYNQ_LOCK = ROOT / "requirements-pynq.lock"
LAYOUT = 1  # another number after every change of what is unpacked and how
UNUSED_S = 30 * 86400.0  # after which a folder in the cache makes room for a new one
FETCH_S = 600.0  # for one call of apt or pip
NEEDED_MB = 600  # to fetch and unpack one board
PYTEST = ("-m", "pytest", "--noconftest", "-p", "no:cacheprovider")  # quiet already, by pyproject.toml: see verdict
LINKS = {"blas": "libblas.so.3", "lapack": "liblapack.so.3"}  # what update-alternatives would make


@dataclass(frozen=True)
class Processor:
    """A kind of processor, by everybody's name for it."""

    board: str
    debian: str
    qemu: str
    triplet: str
    wheels: str
    packages: tuple[str, ...] = ()  # Debian's
    pinned: tuple[str, ...] = ()  # wheels
    pynq: bool = False  # with a group "pynq" of COMPILED, too

    @property
    def compiler(self) -> str:
        """The C compiler for it."""
        return f"{self.triplet}-gcc"

    @property
    def toolchain(self) -> tuple[str, str]:
        """Debian's packages of the compiler and the C library."""
        return f"gcc-{self.triplet}", f"libc6-dev-{self.debian}-cross"


ARMHF = Processor(
    "PYNQ-Z2", "armhf", "qemu-arm-static", "arm-linux-gnueabihf", "armv7l", ("python3-numpy", "python3-pil")
)
ARM64 = Processor(
    "ZCU104", "arm64", "qemu-aarch64-static", "aarch64-linux-gnu", "aarch64", (), ("numpy==1.23.2", "pillow==9.3.0")
)
PROCESSORS = (ARMHF, ARM64)


class MissingError(Exception):
    """What keeps this machine from emulating a board; a sentence."""


@dataclass(frozen=True)
class Board:
    """An unpacked system of `processor`."""

    processor: Processor
    folder: Path

    @property
    def root(self) -> Path:
        """What the emulator shows to programs in place of this machine's own folders, where it has them."""
        return self.folder / "root"

    @property
    def python(self) -> Path:
        """Python, as a script that this machine can start, and that Python takes for itself: see `_wrap`."""
        return self.root / "usr" / "bin" / f"python{PYTHON}"

    def command(self, program: Path) -> list[str]:
        """Return the command that runs another program."""
        return [self.processor.qemu, "-L", str(self.root), str(program)]

    def environment(self, folder: Path, *groups: str, **variables: str) -> dict[str, str]:
        """Return an environment with the modules of `folder` and the packages of GROUPS, or in other folders."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LD_"))}
        paths = [str(folder), *(str(self.folder / name) for name in ("wheels", *groups))]
        return {**kept, "PYTHONPATH": os.pathsep.join(paths), **variables}

    def run(
        self,
        *arguments: str | Path,
        cwd: Path,
        groups: Sequence[str] = (),
        timeout_s: float = 200.0,
        **variables: str,
    ) -> "subprocess.CompletedProcess[str]":
        """Run Python to its end. After `timeout_s` all of it is killed, and run once more: the emulator may hang."""
        command = [str(self.python), *map(str, arguments)]
        environment = self.environment(cwd, *groups, **variables)
        with contextlib.suppress(subprocess.TimeoutExpired):  # seen: once in many runs it waits for a thread for ever
            return finish(command, cwd=cwd, env=environment, timeout_s=timeout_s)
        return finish(command, cwd=cwd, env=environment, timeout_s=timeout_s)


def finish(
    command: Sequence[str], *, cwd: Path, env: Mapping[str, str], timeout_s: float
) -> "subprocess.CompletedProcess[str]":
    """Run a command and everything that it starts; kill all of it when the time is over."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    ) as process:
        try:
            out, err = process.communicate(timeout=timeout_s)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def verdict(said: str) -> str:
    """Return how many tests passed, of what pytest said, wherever it says it, and without the emulated time."""
    found = re.findall(r"^=*\s*(\d+ passed.*?) in [\d.]+s", said, re.M)
    if len(found) != 1:
        raise ValueError(f"{len(found)} lines of pytest say how many tests passed, expected 1:\n{said[-2000:]}")
    return str(found[0])


def open_board(processor: Processor) -> Board:
    """Return the board, fetched if this user's cache has none. Raises MissingError."""
    for program, package in ((processor.qemu, "qemu-user-static"), ("apt-get", "apt"), ("dpkg-deb", "dpkg")):
        if shutil.which(program) is None:
            raise MissingError(f"{program} is not on PATH: install Debian's {package} to emulate a {processor.board}.")
    if not KEYRING.is_file():
        raise MissingError(f"{KEYRING} is not there: install debian-archive-keyring.")
    told = Path(os.environ.get("XDG_CACHE_HOME", ""))  # a relative one is to be ignored, by XDG's own words
    cache = (told if told.is_absolute() else Path.home() / ".cache") / "cxrflow" / "board"
    wanted = {name: _closure(names) for name, names in GROUPS.items()}
    if processor.pynq:
        locked = PYNQ_LOCK.read_text(encoding="utf-8").splitlines()
        wanted["pynq"] = [line for line in locked if line.split("==")[0] in COMPILED]
    packages = ["python3", *processor.packages, *(PYNQ_PACKAGES if processor.pynq else ())]
    key = hashlib.sha256(repr((LAYOUT, MIRROR, SUITE, processor, packages, LINKS, wanted)).encode()).hexdigest()[:12]
    folder = cache / f"{processor.debian}-{key}"
    try:
        with _alone(cache, processor.debian):
            if not folder.is_dir():
                for old in cache.glob(f"{processor.debian}-*"):
                    if time.time() - old.stat().st_mtime > UNUSED_S:
                        shutil.rmtree(old, ignore_errors=True)
                free = shutil.disk_usage(cache).free // 10**6
                if free < NEEDED_MB:
                    raise MissingError(f"{cache} has {free} MB left, {NEEDED_MB} MB are needed. Free some space.")
                with _whole(folder) as new, tempfile.TemporaryDirectory(dir=new.parent) as scratch:
                    _unpack(processor, packages, new / "root", Path(scratch))
                    _wrap(processor, new / "root", folder / "root")
                    for name, pins in {"wheels": list(processor.pinned), **wanted}.items():
                        _install(processor, pins, new / name, scratch)
            os.utime(folder)
    except OSError as err:
        raise MissingError(f"{cache} cannot be used ({err.strerror or err}): it holds what is emulated.") from err
    return Board(processor, folder)


@contextlib.contextmanager
def _alone(cache: Path, name: str) -> Iterator[None]:
    """Let one process at a time fetch."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """Hand out a folder that gets its name when it is whole; nothing stays of one that is not."""
    for left in folder.parent.glob(f".{folder.name}.*"):  # of a process that was killed; nobody else is here
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent, ignore_cleanup_errors=True) as new:
        inside = Path(new) / "new"
        inside.mkdir()
        yield inside
        inside.rename(folder)


def _unpack(processor: Processor, packages: Sequence[str], root: Path, state: Path) -> None:
    """Fetch Debian's packages with all that they depend on, and unpack them. `state` is an empty folder for apt."""
    for part in ("lists/partial", "archives/partial"):
        (state / part).mkdir(parents=True)
    (state / "status").touch()
    (state / "sources.list").write_text(f"deb [signed-by={KEYRING}] {MIRROR} {SUITE} main\n")
    # Lists that cannot be fetched are a warning to apt, after which it knows no package, unless it is told otherwise.
    (state / "apt.conf").write_text(
        f'APT::Architecture "{processor.debian}";\nAPT::Architectures {{ "{processor.debian}"; }};\n'
        'APT::Install-Recommends "false";\nAPT::Sandbox::User "";\nAcquire::Languages "none";\n'
        'APT::Update::Error-Mode "any";\n'
        f'Dir::State "{state}";\nDir::State::status "{state}/status";\nDir::Cache "{state}";\n'
        f'Dir::Etc::sourcelist "{state}/sources.list";\nDir::Etc::sourceparts "/dev/null";\n'
        'Dir::Etc::preferencesparts "/dev/null";\nDir::Etc::preferences "/dev/null";\n'
    )
    environment = {**os.environ, "APT_CONFIG": str(state / "apt.conf")}
    _fetch(["apt-get", "-qq", "update"], environment)
    _fetch(["apt-get", "-qqy", "--download-only", "install", *packages], environment)
    for archive in sorted((state / "archives").glob("*.deb")):
        _fetch(["dpkg-deb", "-x", str(archive), str(root)], environment)
    libraries = root / "usr" / "lib" / processor.triplet
    for folder, library in LINKS.items():
        if (libraries / folder / library).exists():
            (libraries / library).symlink_to(f"{folder}/{library}")


def _wrap(processor: Processor, root: Path, final: Path) -> None:
    """Put a script in Python's place that emulates it, so that Python can start itself: it is `sys.executable`."""
    python = root / "usr" / "bin" / f"python{PYTHON}"
    program = python.with_suffix(python.suffix + ".elf")
    python.rename(program)
    final = final / "usr" / "bin"
    python.write_text(
        f'#!/bin/sh\nexec {processor.qemu} -L "{final.parents[1]}" -0 "{final / python.name}" '
        f'"{final / program.name}" "$@"\n'
    )
    python.chmod(0o755)


def _closure(names: Sequence[str]) -> list[str]:
    """Return NAME==VERSION of these packages and of all that they require, as they are installed here."""
    found: dict[str, str] = {}
    left = list(names)
    while left:
        name = canonicalize_name(left.pop())
        if name not in found:
            found[name] = version(name)
            needed = map(Requirement, requires(name) or [])
            left += [r.name for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})]
    return [f"{name}=={found[name]}" for name in sorted(found)]


def _install(processor: Processor, pins: Sequence[str], folder: Path, scratch: str) -> None:
    """Unpack wheels for the processor, by way of the folder `scratch`."""
    folder.mkdir()
    if not pins:
        return
    platforms = [f"{name}_{processor.wheels}" for name in ("manylinux2014", "manylinux_2_17", "linux")]
    command = [
        sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--only-binary", ":all:", "--target", str(folder),
        "--python-version", PYTHON, "--implementation", "cp", *(f"--platform={name}" for name in platforms), *pins,
    ]  # fmt: skip
    _fetch(command, {**os.environ, "TMPDIR": scratch})


def _fetch(command: list[str], environment: Mapping[str, str]) -> None:
    """Run one step. Raises MissingError with the line of what it said that tells why, or the last."""
    try:
        done = finish(command, cwd=Path("/"), env=environment, timeout_s=FETCH_S)
    except subprocess.TimeoutExpired:
        raise MissingError(f"`{' '.join(command[:3])}` did not end in {FETCH_S:g} s.") from None
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()
        # tar and apt go on after what went wrong.
        causes = [line for line in lines if os.strerror(errno.ENOSPC) in line or line.startswith("E: ")]
        raise MissingError(f"`{' '.join(command[:3])}` failed and said: {(causes or lines[-1:])[0]}")
