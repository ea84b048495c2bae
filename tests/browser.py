"""A real headless Chromium for tests: what a page shows, asks the network for, and would be criticised for."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

SCREENSHOTS = Path(__file__).parents[1] / "build" / "screenshots"  # ignored by git, kept for people and CI to look at
_FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
    "--disable-component-update", "--no-first-run",
)  # fmt: skip


def chromium_path() -> str:
    """Return where Debian's Chromium is; without it, the test that needs it fails."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.fail("no Chromium on this machine, and pages are tested in a real one: apt-get install chromium")
    return found


@pytest.fixture(scope="module")  # not session: as long as it is open, no other test may run an event loop
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium_path(), args=list(_FLAGS))
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty page in a fresh profile, as wide as a laptop."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    yield context.new_page()
    context.close()


def requests_of(page: Page) -> list[str]:
    """Return a list that will hold the address of everything that `page` asks for from now on."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    return asked


def accessibility_findings(page: Page, *, impacts: tuple[str, ...] = ("serious", "critical")) -> list[str]:
    """Return what axe-core finds wrong with the page as it is, one line each: rule, and the elements."""
    found = Axe().run(page).response["violations"]
    return [
        f"{rule['id']} ({rule['impact']}): {node['html'][:200]} {node['failureSummary']}"
        for rule in found
        if rule["impact"] in impacts
        for node in rule["nodes"]
    ]


def screenshot(page: Page, name: str) -> Path:
    """Keep a picture of the whole page as NAME.png."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    path = SCREENSHOTS / f"{name}.png"
    page.screenshot(path=path, full_page=True)
    return path
