"""Folders for what nobody needs afterwards. One that a kill -9 left is removed by whoever makes the next."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = "cxrflow-"
_LOCK = "lock"  # held by whoever uses the folder


@contextlib.contextmanager
def scratch(what: str) -> Iterator[Path]:
    """Hand out a new folder among the machine's temporary ones, and remove it afterwards.

    Folders of this kind that belong to us and that nobody holds any more are removed, too.
    """
    _clear()
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}{what}-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with (folder / f"{_LOCK}.new").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (folder / f"{_LOCK}.new").rename(folder / _LOCK)  # nobody sees it before it is held
            yield folder


def _clear() -> None:
    """Remove what those left who were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
        with contextlib.suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            with (folder / _LOCK).open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
