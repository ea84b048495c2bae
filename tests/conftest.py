"""Fixtures for every test folder."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import browser, page

__all__ = ["browser", "page"]  # fixtures


def pytest_configure() -> None:
    """Let processes of the tests heed Ctrl-C and a hang-up, which are ignored where the tests run in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files with slow tests first: started last, they would leave all but one process idle at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True)
def _signals_stay() -> Iterator[None]:
    """Take back what a command that a test called in this process does when it is to end."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handlers = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, handlers, strict=True):
        if handler is not None:  # not one that Python knows
            signal.signal(number, handler)


@pytest.fixture(scope="session")
def real_xrays() -> Path:
    """The public release beside the checkout, for those who have it."""
    folder = Path(__file__).parents[2] / "shared" / "data" / "chest_xray"
    if not folder.is_dir():
        pytest.skip("real chest X-rays not found")
    return folder
