"""A plugin of pytest for boards: what needs a package that has no build for their processors is skipped, by its name.

These packages read image files a second time, beside Pillow. What the tests around them want is the same everywhere.
"""

import sys
from types import ModuleType
from typing import NoReturn

import pytest

from tests import randomness

ABSENT = ("imagecodecs", "tifffile")


class _Absent(ModuleType):
    """Importable, and no more."""

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_"):  # pytest looks at what a module holds
            raise AttributeError(name)
        pytest.skip(f"{self.__name__} has no build for this processor")


for name in ABSENT:
    sys.modules[name] = _Absent(name)


@pytest.fixture(autouse=True)
def _none_depends_on_another() -> None:
    """As in tests/conftest.py, which needs more than a board has."""
    randomness.restart()
