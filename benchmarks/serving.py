"""What `cxrflow serve` costs: from choosing a file to the shown result, fifty uploads at once, and memory at its worst.

python -m benchmarks.serving runs/demo [IMAGES]     # after `make demo`; IMAGES is a folder of X-rays

The server is the real command in a process of its own, on the CPU reference; the page is in a real headless Chromium. A
result counts as shown when the picture, its map and the figures are on the screen. Without IMAGES, they are phantoms
enlarged to 1024 x 1024 pixels, a usual size of a chest X-ray file.
"""

import contextlib
import re
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import sync_playwright

from datasets.phantom import make_phantoms
from tests.browser import chromium_path
from tests.dicom_files import content, make
from tests.served import File, Served, noise, png

TIMES, AT_ONCE = 100, 50
WIDE = 4800  # of the largest images that are accepted: 4800 x 5000 pixels


def phantoms(folder: Path) -> list[Path]:
    """Write some phantoms as files of a usual size."""
    drawn = make_phantoms(height=64, width=64, n_train_patients=20, n_test_patients=6, val_fraction=0.2, seed=5)
    for i, pixels in enumerate(drawn.test.pixels[:8]):
        Image.fromarray(pixels).resize((1024, 1024), Image.Resampling.BICUBIC).save(folder / f"{i}.jpeg", quality=90)
    return sorted(folder.iterdir())


def page_ms(url: str, files: list[Path]) -> list[float]:
    """Return the times from choosing a file to its result [ms], measured in the page."""
    times = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.goto(url)
        page.wait_for_selector("#examples button:nth-child(6)")
        for i in range(TIMES + 1):
            before = int(page.get_attribute("#result", "data-shown") or 0)
            page.set_input_files("#files", str(files[i % len(files)]))
            page.wait_for_function("n => Number(document.getElementById('result').dataset.shown) >= n", arg=before + 2)
            times.append(float(page.get_attribute("#result", "data-ms") or "nan"))
        browser.close()
    return times[1:]  # the first one loads fonts and compiles


def at_once(server: Served, files: list[Path]) -> list[float]:
    """Upload all at the same time; return how long each took [ms]. Raises AssertionError at any error."""
    contents = [files[i % len(files)].read_bytes() for i in range(AT_ONCE)]

    def one(data: bytes) -> float:
        start = time.perf_counter()
        reply = server.post("/api/explain", File(data))
        assert reply.status == 200, reply.content
        return 1e3 * (time.perf_counter() - start)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(one, contents))


class Memory(threading.Thread):
    """Looks again and again how much memory a process and its children have together."""

    def __init__(self, process: int) -> None:
        """Begin."""
        super().__init__(daemon=True)
        self._process, self._peak = process, 0
        self._ended = threading.Event()
        self.start()

    def run(self) -> None:
        """Look until it is told to end."""
        while not self._ended.wait(0.02):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread or decoder that has just ended
                threads = Path(f"/proc/{self._process}/task").iterdir()
                children = [child for thread in threads for child in (thread / "children").read_text().split()]
                self._peak = max(self._peak, sum(map(self._resident, [self._process, *map(int, children)])))

    def _resident(self, process: int) -> int:
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
        return int(found[1]) if found else 0

    def peak_mib(self) -> int:
        """Return the most until now [MiB]."""
        return self._peak >> 10

    def end(self) -> None:
        """Look no more."""
        self._ended.set()
        self.join()


def worst(server: Served) -> list[int]:
    """Send the largest images that are accepted, in every kind, four at a time; return the statuses."""
    tile = np.tile(noise(100), (50, WIDE // 100))
    wide = tile.astype(np.uint16)
    deep = content(make(wide << 4, bits=12, WindowCenter="2000", WindowWidth="900"))
    kinds = [png(tile), png(tile, "JPEG"), png(np.stack([tile] * 3, axis=2)), png(np.stack([tile] * 4, axis=2)), deep]
    large = [*kinds, png(wide * 257)] * 4
    with ThreadPoolExecutor(4) as pool:
        return [reply.status for reply in pool.map(lambda data: server.post("/api/explain", File(data)), large)]


def report(page: NDArray[np.float64], together: NDArray[np.float64], statuses: list[int], memory: list[int]) -> None:
    """Print what was measured."""
    print(f"page to result, {TIMES} times: median {np.median(page):.0f} ms, 95 % {np.quantile(page, 0.95):.0f} ms")
    print(f"{AT_ONCE} uploads at once: no error, the last answer after {together.max():.0f} ms")
    accepted, busy = statuses.count(200), statuses.count(503)
    assert accepted + busy == len(statuses), statuses
    print(f"{len(statuses)} images of {WIDE} x 5000 pixels, 4 at a time: {accepted} answered, {busy} told to wait")
    print(
        "most memory of the server and its decoders [MiB]: "
        f"{memory[0]} at its start, {memory[1]} before these, {memory[2]} after them"
    )


def main() -> None:
    """Measure and print."""
    command = [sys.executable, "-m", "cxrflow.cli", "serve", sys.argv[1], "--device", "cpu", "--port", "0"]
    with tempfile.TemporaryDirectory() as folder:
        files = sorted(Path(sys.argv[2]).iterdir())[:20] if len(sys.argv) > 2 else phantoms(Path(folder))
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            server = Served(int(url.split(":")[2].strip("/")))
            try:
                memory = Memory(process.pid)
                time.sleep(2)
                began = memory.peak_mib()
                page = np.array(page_ms(url, files))
                together = np.array(at_once(server, files))
                usual = memory.peak_mib()
                statuses = worst(server)
                report(page, together, statuses, [began, usual, memory.peak_mib()])
                memory.end()
            finally:
                process.terminate()


if __name__ == "__main__":
    main()
