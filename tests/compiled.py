"""Verilator's own code, compiled once for all processes of a test run: it takes longer than a small module."""

import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tests import headers

_SHARED: list[Path] = []  # one folder, that the processes share


def share(folder: Path) -> None:
    """Let what is compiled be kept in `folder`, which may not exist yet."""
    _SHARED[:] = [folder]


def place(kind: str) -> Path:
    """Return the folder of objects of one kind: compiled in the same way. It exists once they are there."""
    (folder,) = _SHARED
    return folder / kind


def keep(objects: Iterable[Path], folder: Path) -> None:
    """Copy objects into the new folder `folder`, all at once; where another process was sooner, its own stay."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(dir=folder.parent))
    for path in objects:
        shutil.copy(path, new)
    try:
        new.rename(folder)
    except OSError:
        shutil.rmtree(new)


def before_the_compiler() -> str:
    """Return what Verilator's makefile puts before the compiler, as $OBJCACHE, so that headers are compiled once."""
    (folder,) = _SHARED
    return shlex.join([sys.executable, "-I", "-S", headers.__file__, str(folder)])


def for_simulators_of_a_process() -> str:
    """Return code that lets another process find Verilator's code compiled for our simulators."""
    return f"""\
from pathlib import Path
from finn_build import simulate
simulate._runtime = lambda: Path({str(place("simulate"))!r})
"""
