"""Where the time of an inference goes, on whatever device: the figures that a board sends back.

Times are wall-clock medians. The accelerator's own time is not measured but computed, from the cycles per image that
simulation measured and the clock; everything else of a transfer is DMA, driver and Python.
"""

import io
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from contract.manifest import DISCLAIMER
from contract.preprocess import load_pixels
from driver.accelerator import Accelerator
from driver.link import Link
from driver.witness import EXTRA

BATCHES = (1, 16, 256, 1024)
SINGLES = 200  # single images for the latency percentiles
XRAY_SIDE = 1024  # side of the JPEG on which preprocessing is timed [pixels]
SAMPLE_S = 0.05  # between two readings of the power rails [s]
NOT_AVAILABLE = "not available"


class TimedLink:
    """A link that adds up how long each of its steps took [s]."""

    def __init__(self, link: Link) -> None:
        """Time `link`."""
        self._link, self.capacity = link, link.capacity
        self.packing = self.device = 0.0

    def stage(self, slot: int, pixels: NDArray[Any]) -> None:
        """See Link."""
        start = time.perf_counter()
        self._link.stage(slot, pixels)
        self.packing += time.perf_counter() - start

    def start(self, slot: int, count: int) -> None:
        """See Link."""
        start = time.perf_counter()
        self._link.start(slot, count)
        self.device += time.perf_counter() - start

    def finish(self, slot: int, count: int) -> NDArray[np.int64]:
        """See Link."""
        start = time.perf_counter()
        outputs = self._link.finish(slot, count)
        self.device += time.perf_counter() - start
        return outputs

    def check(self) -> None:
        """See Link."""
        self._link.check()

    def reset(self) -> None:
        """See Link."""
        self._link.reset()

    def close(self) -> None:
        """See Link."""
        self._link.close()


def bench(accelerator: Accelerator, *, seconds: float = 1.0, rails: Callable[[], Any] | None = None) -> dict[str, Any]:
    """Verify the golden vectors, then measure for about `seconds` per batch size; return JSON-able figures.

    Args:
        accelerator: an open one.
        seconds: per batch size [s].
        rails: pynq.get_rails, on boards that have power sensors.
    """
    golden = accelerator.verify()
    return {
        "note": DISCLAIMER,
        "name": accelerator.manifest.name,
        "device": accelerator.device,
        "golden_images_verified": golden,
        "preprocessing_ms": _preprocessing_ms(accelerator),
        "accelerator_us_per_image": _accelerator_us(accelerator),
        "single_image_latency_us": _latency_us(accelerator),
        "batches": [_batch(accelerator, size, seconds) for size in BATCHES],
        "energy_uj_per_image": _energy(accelerator, seconds, rails),
    }


def _accelerator_us(accelerator: Accelerator) -> float | None:
    """Return the accelerator's own time per image, from its cycles and its clock [us]; None without hardware."""
    hardware = accelerator.manifest.hardware
    return None if hardware is None else hardware.cycles_per_image / hardware.clock_mhz


def _images(accelerator: Accelerator, count: int) -> NDArray[Any]:
    manifest = accelerator.manifest
    source = manifest.input
    fed = source.values if manifest.rule is None else manifest.rule
    return fed.random(np.random.default_rng(0), (count, *source.shape))


def _preprocessing_ms(accelerator: Accelerator) -> float:
    """Time decoding and averaging one JPEG of a usual X-ray's size [ms]."""
    noise = np.random.default_rng(0).integers(0, 256, (XRAY_SIDE // 8, XRAY_SIDE // 8), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).resize((XRAY_SIDE, XRAY_SIDE)).save(stream, "JPEG", quality=90)
    size = {"height": accelerator.manifest.height, "width": accelerator.manifest.width}
    return 1e3 * _median(lambda: load_pixels(stream.getvalue(), height=size["height"], width=size["width"]), 5)


def _latency_us(accelerator: Accelerator) -> dict[str, float]:
    image = _images(accelerator, 1)
    times = [_seconds(lambda: accelerator.infer(image)) for _ in range(SINGLES)]
    return {
        name: 1e6 * float(np.percentile(times, q)) for name, q in (("p50", 50), ("p90", 90), ("p99", 99), ("max", 100))
    }


def _batch(accelerator: Accelerator, size: int, seconds: float) -> dict[str, Any]:
    images = _images(accelerator, size)
    timed = TimedLink(accelerator.link)
    accelerator.link = timed
    try:
        repeats = 0
        start = time.perf_counter()
        while (elapsed := time.perf_counter() - start) < seconds or not repeats:
            accelerator.infer(images)
            repeats += 1
    finally:
        accelerator.link = timed._link
    done = repeats * size
    transfer, accelerator_us = 1e6 * timed.device / done, _accelerator_us(accelerator)
    dma: float | str = NOT_AVAILABLE
    witness: float | str = NOT_AVAILABLE
    if accelerator.device == "board" and accelerator_us is not None:  # elsewhere it takes other times than its cycles
        witness = accelerator_us * EXTRA * -(-size // timed.capacity) / size
        dma = transfer - accelerator_us - witness
    return {
        "batch": size,
        "images_per_s": done / elapsed,
        "packing_us_per_image": 1e6 * timed.packing / done,
        "packing_share": timed.packing / elapsed,
        "transfer_us_per_image": transfer,  # DMA, accelerator and waiting for them
        "witness_us_per_image": witness,  # of these, the accelerator's time for the known images
        "dma_us_per_image": dma,
    }


def _energy(accelerator: Accelerator, seconds: float, rails: Callable[[], Any] | None) -> float | str:
    """Return the energy per image above idle, from the board's input rail [uJ], or that there is no sensor."""
    rail = dict(rails() if rails is not None else {}).get("12V")
    if rail is None:
        return NOT_AVAILABLE
    images = _images(accelerator, BATCHES[-1])
    idle = _mean_watts(rail, lambda: time.sleep(seconds))[0]
    done = 0

    def work() -> None:
        nonlocal done
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            accelerator.infer(images)
            done += len(images)

    watts, elapsed = _mean_watts(rail, work)
    return 1e6 * (watts - idle) * elapsed / done


def _mean_watts(rail: Any, work: Callable[[], None]) -> tuple[float, float]:
    """Return the mean power while `work` runs [W], and how long it ran [s]."""
    readings: list[float] = []
    stop = threading.Event()

    def sample() -> None:
        while not stop.wait(SAMPLE_S):
            readings.append(float(rail.power.value))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        elapsed = _seconds(work)
    finally:
        stop.set()
        thread.join()
    return float(np.mean(readings)) if readings else float(rail.power.value), elapsed


def _seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _median(work: Callable[[], Any], repeats: int) -> float:
    return float(np.median([_seconds(work) for _ in range(repeats)]))
