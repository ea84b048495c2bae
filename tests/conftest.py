"""Fixtures for every test folder."""

from pathlib import Path

import pytest

from tests.browser import browser, page

__all__ = ["browser", "page"]  # fixtures


@pytest.fixture(scope="session")
def real_xrays() -> Path:
    """The public release beside the checkout, for those who have it."""
    folder = Path(__file__).parents[2] / "shared" / "data" / "chest_xray"
    if not folder.is_dir():
        pytest.skip("real chest X-rays not found")
    return folder
