"""The devices behind the page: one whose simulator dies comes back, one whose folder is replaced says so; all end."""

import os
import threading
import time
from pathlib import Path

import anyio
import numpy as np
import pytest

from cxrflow.serve.devices import Fleet
from cxrflow.serve.limits import Refusal
from driver.accelerator import Accelerator
from tests.driver.boards import some_pixels, write_folder, write_summing_folder
from tests.processes import children
from tests.served import File, noise, png, serving


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    out = tmp_path / "deploy"
    out.mkdir()
    write_summing_folder(out)
    return out


def sums(fleet: Fleet, device: str) -> bool:
    """Ask for answers; tell whether they are right."""
    pixels = some_pixels(7)
    served, kind = fleet.choose(None, device)
    answers, _ = anyio.run(fleet.ask, served, kind, lambda accelerator: accelerator.infer(pixels))
    return np.array_equal(answers.logits, -pixels.reshape(7, -1).astype(np.int64).sum(axis=1))


def kill_the_simulator() -> None:
    """End the only child of this process that is a simulator, as the kernel would."""
    found = {pid for pid in children() if b"--serve\x00" in Path(f"/proc/{pid}/cmdline").read_bytes()}
    assert len(found) == 1, found
    os.kill(found.pop(), 9)


def test_the_page_answers_after_its_simulator_died(folder: Path) -> None:
    before = children()
    with serving(folder, devices=("sim",)) as served:
        for _ in range(3):
            assert served.post("/api/predict", File(png(noise()))).status == 200
            kill_the_simulator()
            time.sleep(0.1)
    assert children() <= before, "nothing is left, dead or alive"


@pytest.mark.parametrize("device", ["cpu", "sim"])
def test_a_run_that_was_packaged_again_is_not_mixed_with_the_old_one(folder: Path, device: str) -> None:
    fleet = Fleet([folder], [device])
    if device == "sim":
        assert sums(fleet, device)
        kill_the_simulator()
        time.sleep(0.1)
    harness = folder / "sim" / "harness"
    content = harness.read_bytes()
    harness.unlink()
    harness.write_bytes(content + b"\n")
    harness.chmod(0o755)
    write_folder(folder)  # of another network
    for attempt in range(3):
        first = "The folder was replaced while it was in use" if device == "sim" and not attempt else "packaged again"
        with pytest.raises(Refusal, match=first):
            sums(fleet, device)
    fleet.close()


def test_closing_ends_what_is_under_way_and_refuses_the_rest(folder: Path) -> None:
    fleet = Fleet([folder], ["cpu"])
    served, kind = fleet.choose(None, None)
    began, ended = threading.Event(), []

    def endless(accelerator: Accelerator) -> None:
        began.set()
        while True:
            accelerator.infer(some_pixels(3))

    def ask() -> None:
        with pytest.raises(Refusal, match="the accelerator is closed"):
            anyio.run(fleet.ask, served, kind, endless)
        ended.append(True)

    thread = threading.Thread(target=ask)
    thread.start()
    began.wait(10)
    fleet.close()
    thread.join(10)
    assert ended
    with pytest.raises(Refusal, match="the server is ending"):
        sums(fleet, kind)
