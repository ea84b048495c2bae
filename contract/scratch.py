"""Folders for what nobody needs afterwards. One that a kill -9 left is removed by whoever makes the next."""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

PREFIX = "cxrflow-"
_LOCK = "lock"  # held by whoever uses the folder, and the last in it that is removed
_NEW = f"{_LOCK}.new"  # nobody sees the lock before it is held
_BEGUN_S = 86400.0  # a folder without a lock this old [s] was left by one who was killed before it had one, or after


@contextlib.contextmanager
def scratch(what: str) -> Iterator[Path]:
    """Hand out a new folder among the machine's temporary ones, and remove it afterwards.

    Folders of this kind that belong to us and that nobody holds any more are removed, too.
    """
    _clear()
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{what}-"))
    try:
        with (folder / _NEW).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (folder / _NEW).rename(folder / _LOCK)
            yield folder
    finally:
        _remove(folder)


def _clear() -> None:
    """Remove what those left who were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
        with contextlib.suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            if (folder / _LOCK).exists():
                with (folder / _LOCK).open("r+") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    _remove(folder)
            elif time.time() - folder.stat().st_mtime > _BEGUN_S and {p.name for p in folder.iterdir()} <= {_NEW}:
                _remove(folder)


def _remove(folder: Path) -> None:
    """Remove a folder as far as that is possible, its lock last: whoever finds the rest can tell that it is ours."""
    with contextlib.suppress(OSError):
        for path in [path for path in folder.iterdir() if path.name != _LOCK]:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()
        (folder / _LOCK).unlink(missing_ok=True)
        folder.rmdir()
