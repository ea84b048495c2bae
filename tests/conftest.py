"""Fixtures for every test folder."""

import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from tests import compiled, once, randomness
from tests.browser import browser, page

__all__ = ["browser", "page"]  # fixtures


# What a process that is started in the foreground does.
SIGNALS: dict[int, Callable[[int, FrameType | None], Any] | signal.Handlers] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGHUP: signal.SIG_DFL,
}


def pytest_configure() -> None:
    """Let processes of the tests heed Ctrl-C and a hang-up, which are ignored where the tests run in the background.

    Ray's workers have a low priority by default and would wait for all other tests. Threads of numpy and torch would
    wait for each other wherever more of these processes than processors compute: ten times as long, seen at a test.
    Looking for garbage among all that is imported and collected, which stays, takes a fifth of the time that this does.
    """
    gc.set_threshold(10_000)
    for number, handler in SIGNALS.items():
        signal.signal(number, handler)
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112  Ray's own spelling
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def pytest_collection_finish() -> None:
    """Look for garbage among what the tests make, not among themselves and PyTorch."""
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files with slow tests first: started last, they would leave all but one process idle at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True)
def _none_depends_on_another() -> None:
    """Take back what tests, and fixtures of whole files, did to this process: a command heeds signals to the end."""
    for number, handler in SIGNALS.items():
        signal.signal(number, handler)
    randomness.restart()


@pytest.fixture(scope="session", autouse=True)
def _compiled_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Share what is the same in all simulators, also with the processes beside this one."""
    compiled.share(once.shared(tmp_path_factory) / "compiled")
    simulators = compiled.place("simulate")
    simulators.mkdir(parents=True, exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OBJCACHE", compiled.before_the_compiler())
        if "finn_build.simulate" in sys.modules:  # else it is not worth its import
            patch.setattr("finn_build.simulate._runtime", lambda: simulators)
        yield


@pytest.fixture(scope="session")
def real_xrays() -> Path:
    """The public release beside the checkout, for those who have it."""
    folder = Path(__file__).parents[2] / "shared" / "data" / "chest_xray"
    if not folder.is_dir():
        pytest.skip("real chest X-rays not found")
    return folder
