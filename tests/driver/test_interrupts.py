"""Ctrl-C at any moment of a call: the next call gives the right logits, at once, on every device.

Python delivers a signal to the main thread when a function begins and when one has returned. So these are the moments
at which a KeyboardInterrupt is raised here, one after the other, by a profile function: what a timer hits once in a
thousand times is hit each time.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from driver import link
from driver.accelerator import Accelerator
from driver.reference import Reference
from driver.simulated.faults import Faults
from driver.simulated.stand_in import StandIn
from tests.driver.boards import Bench, some_pixels, write_folder, write_manifest, write_summing_folder

MOMENTS = 60  # that are tried of a call


def interrupt(call: Callable[[], object], moment: int) -> BaseException | None:
    """Raise KeyboardInterrupt at one of the moments of a call; return it, if it was reached, and with it all frames."""
    left = moment

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal left
        if event in ("call", "c_return"):
            left -= 1
            if left == 0:
                sys.setprofile(None)
                raise KeyboardInterrupt

    sys.setprofile(count)
    try:
        call()
    except KeyboardInterrupt as err:
        return err
    finally:
        sys.setprofile(None)
    return None


def survives(accelerator: Accelerator, pixels: NDArray[np.uint8], want: NDArray[np.int64], before: Any) -> None:
    """Interrupt calls at their first moments and at others, spread evenly; each time the next one must be right."""
    moments = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal moments
        moments += event in ("call", "c_return")

    before()
    sys.setprofile(count)
    accelerator.infer(pixels)
    sys.setprofile(None)
    for moment in np.unique([*range(1, MOMENTS // 3), *np.linspace(1, moments, MOMENTS).astype(int)]):
        accelerator.prepare()
        before()
        kept = interrupt(lambda: accelerator.infer(pixels), int(moment))  # as an interactive Python keeps it
        np.testing.assert_array_equal(accelerator.infer(pixels).logits, want, err_msg=f"{moment} {kept}")


@pytest.mark.parametrize("shell", ["axi_dma", "finn_iodma"])
@pytest.mark.parametrize("fault", [False, True], ids=["", "while it recovers"])
def test_on_a_board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: str, fault: bool) -> None:
    monkeypatch.setattr(link, "LOAD_S", 1.0)
    write_folder(tmp_path)
    board = Bench(tmp_path, shell)
    pixels = some_pixels(9)
    with board.open(capacity=4, timeout_s=1.0) as accelerator:

        def before() -> None:
            accelerator._needs_reset = fault

        survives(accelerator, pixels, board.reference(pixels), before)


def test_on_a_simulator(tmp_path: Path) -> None:
    write_summing_folder(tmp_path)
    pixels = some_pixels(9)
    with Accelerator(tmp_path, "sim", capacity=4) as accelerator:
        survives(accelerator, pixels, Reference.load(tmp_path / "reference.npz")(pixels), lambda: None)


class Slow(StandIn):
    """A pynq that takes its time to load, as a board does."""

    loading = False

    def Overlay(self, *args: Any, **options: Any) -> Any:  # noqa: N802
        assert not self.loading
        self.loading = True
        time.sleep(0.4)
        self.loading = False
        return super().Overlay(*args, **options)


def test_a_call_after_one_that_was_left_while_it_loaded_waits_for_it(tmp_path: Path) -> None:
    write_folder(tmp_path)
    board = Bench(tmp_path, "axi_dma")
    write_manifest(tmp_path, hardware=board.hardware)
    pixels = some_pixels(3)
    with Accelerator(tmp_path, "board", runtime=Slow(board.device), timeout_s=0.1) as accelerator:
        accelerator.prepare()
        board.device.faults = Faults(drop_result=1)
        timer = threading.Timer(0.25, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            accelerator.infer(pixels)
        np.testing.assert_array_equal(accelerator.infer(pixels).logits, board.reference(pixels))
