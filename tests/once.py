"""What the processes of a test run make once for all of them."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def shared(factory: pytest.TempPathFactory) -> Path:
    """Return the folder that is the same for all processes of this run."""
    folder = factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


def made(name: str, factory: pytest.TempPathFactory, make: Callable[[Path], None]) -> Path:
    """Return the shared folder `name`, for reading: `make` fills it, unless another process has or is about to."""
    folder = shared(factory) / name
    whole = folder.with_suffix(".whole")
    with FileLock(folder.with_suffix(".lock")):
        if not whole.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a process that failed
            folder.mkdir()
            make(folder)
            whole.touch()
    return folder
