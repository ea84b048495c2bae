"""One accelerator, and more than one who wants it: threads, processes, a fork; a folder that is replaced; an end.

The kinds of fault: two calls on one device mix their answers; a process uses what another one holds; a decision of one
network is applied to the logits of another; a closed device answers, or waits for ever.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from contract.errors import ArtifactError, ConfigError, DeviceError, DeviceTimeoutError, ToolError
from driver import accelerator as module
from driver.accelerator import Accelerator, only_process_on_the_board
from driver.package import open_package
from driver.reference import Reference
from driver.simulated.core import ReferenceCore
from driver.simulated.device import SimulatedDevice
from driver.simulated.faults import Faults
from driver.simulated.stand_in import StandIn
from driver.witness import EXTRA
from tests.driver.boards import SIDE, SIMD, Bench, some_pixels, write_folder, write_manifest, write_summing_folder
from tests.processes import children

ROOT = Path(__file__).parents[2]
SHELLS = ("axi_dma", "finn_iodma")
BEATS = SIDE * SIDE // SIMD


@pytest.fixture(params=SHELLS)
def board(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    write_folder(tmp_path)
    return Bench(tmp_path, request.param)


@pytest.fixture
def accelerator(board: Bench) -> Iterator[Accelerator]:
    with board.open(timeout_s=2.0) as opened:
        opened.prepare()
        yield opened


class TestThreads:
    def test_each_gets_the_answers_to_its_own_images(self, board: Bench, accelerator: Accelerator) -> None:
        wrong: list[str] = []

        def work(seed: int) -> None:
            rng = np.random.default_rng(seed)
            for _ in range(30):
                pixels = rng.integers(0, 256, (int(rng.integers(1, 50)), 8, 8), dtype=np.uint8)
                try:
                    same = np.array_equal(accelerator.infer(pixels).logits, board.reference(pixels))
                except Exception as err:
                    wrong.append(repr(err))
                else:
                    wrong.extend([] if same else ["another's answers"])

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not wrong

    def test_a_call_from_within_a_call_is_refused(self, accelerator: Accelerator) -> None:
        def images() -> Iterator[Any]:
            accelerator.infer(some_pixels(1))
            yield b""

        with pytest.raises(ConfigError, match="from within its own call"):
            accelerator.infer(images())  # type: ignore[arg-type]
        assert len(accelerator.infer(some_pixels(5)).logits) == 5

    def test_close_ends_the_call_of_another_thread_and_those_in_the_queue(self, accelerator: Accelerator) -> None:
        began, ends = threading.Event(), []
        png = _png()

        def images() -> Iterator[Any]:
            while True:
                began.set()
                yield png

        def endless() -> None:
            with pytest.raises(ConfigError) as caught:
                accelerator.infer(images())  # type: ignore[arg-type]
            ends.append(str(caught.value))

        def queued() -> None:
            with pytest.raises(ConfigError) as caught:
                accelerator.infer(some_pixels(1))
            ends.append(str(caught.value))

        threads = [threading.Thread(target=endless), threading.Thread(target=queued)]
        threads[0].start()
        began.wait(10)
        threads[1].start()
        accelerator.close()
        for thread in threads:
            thread.join(10)
        assert ends == ["the accelerator is closed. Open it again."] * 2


def _png() -> bytes:
    import io

    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(some_pixels(1)[0]).save(stream, "PNG")
    return stream.getvalue()


class TestTheEnd:
    @pytest.mark.parametrize("call", ["infer", "verify", "prepare", "__enter__"])
    def test_what_is_closed_says_so(self, accelerator: Accelerator, call: str) -> None:
        accelerator.close()
        accelerator.close()
        with pytest.raises(ConfigError, match="the accelerator is closed"):
            getattr(accelerator, call)(*([some_pixels(1)] if call == "infer" else []))

    def test_the_cpu_too(self, board: Bench) -> None:
        with Accelerator(board.folder, "cpu") as opened:
            pass
        with pytest.raises(ConfigError, match="closed"):
            opened.infer(some_pixels(1))

    def test_the_first_error_is_the_one_that_is_seen(self, board: Bench) -> None:
        with pytest.raises(DeviceError, match=r"a register of \w+ failed: the board does"), board.open() as opened:
            opened.prepare()
            board.device.faults = Faults(vanish_after=9)
            opened.infer(some_pixels(1))

    def test_closing_from_within_a_call(self, accelerator: Accelerator) -> None:
        def images() -> Iterator[Any]:
            accelerator.close()
            yield _png()

        with pytest.raises(ConfigError, match="closed"):
            accelerator.infer(images())  # type: ignore[arg-type]

    def test_an_exception_of_the_callers_leaves_nothing_on_the_device(
        self, board: Bench, accelerator: Accelerator
    ) -> None:
        class MineError(Exception):
            pass

        def images() -> Iterator[Any]:
            for _ in range(accelerator.link.capacity + 1):
                yield _png()
            raise MineError

        before = board.device.downloads
        with pytest.raises(MineError):
            accelerator.infer(images())  # type: ignore[arg-type]
        pixels = some_pixels(40)
        np.testing.assert_array_equal(accelerator.infer(pixels).logits, board.reference(pixels))
        assert board.device.downloads == before  # the transfer that was under way has ended well

    @pytest.mark.parametrize("at", ["start", "finish"])
    def test_ctrl_c_at_any_moment(self, board: Bench, accelerator: Accelerator, at: str) -> None:
        real = getattr(accelerator.link, at)

        def interrupted(*arguments: Any) -> Any:
            real(*arguments)
            setattr(accelerator.link, at, real)
            raise KeyboardInterrupt

        setattr(accelerator.link, at, interrupted)
        with pytest.raises(KeyboardInterrupt):
            accelerator.infer(some_pixels(40))
        pixels = some_pixels(40)
        np.testing.assert_array_equal(accelerator.infer(pixels).logits, board.reference(pixels))


class TestProcesses:
    def test_a_fork_can_neither_use_nor_close(self, board: Bench, accelerator: Accelerator) -> None:
        read, write = os.pipe()
        child = os.fork()
        if not child:
            try:
                accelerator.infer(some_pixels(1))
            except ConfigError as err:
                os.write(write, str(err).encode())
            accelerator._cleanup.callback(os._exit, 7)  # if anything is freed
            accelerator.close()
            os._exit(0)
        os.close(write)
        with os.fdopen(read, "rb") as said:
            assert f"opened by process {os.getpid()}, and process {child} is a fork" in said.read().decode()
        assert os.waitpid(child, 0)[1] == 0
        pixels = some_pixels(20)
        np.testing.assert_array_equal(accelerator.infer(pixels).logits, board.reference(pixels))

    def test_a_board_has_one_user_at_a_time(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        tree = tmp_path / "compatible"
        tree.write_bytes(b"xlnx,zynq-7000\0")
        monkeypatch.setattr(module, "DEVICE_TREE", tree)
        other = (
            "import sys; from pathlib import Path; import driver.accelerator as module\n"
            f"module.DEVICE_TREE = Path({str(tree)!r})\n"
            "with module.only_process_on_the_board(): print('mine', flush=True); sys.stdin.read()"
        )
        with subprocess.Popen(
            [sys.executable, "-c", other], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None and process.stdout.readline() == "mine\n"
            with (
                pytest.raises(ConfigError, match="the board is in use by another program"),
                only_process_on_the_board(),
            ):
                pass
            process.communicate("")
        with only_process_on_the_board():
            with pytest.raises(ConfigError, match="in use by another"), only_process_on_the_board():
                pass
            child = os.fork()  # which lives on with a copy of everything
            if not child:
                time.sleep(30)
                os._exit(0)
        with only_process_on_the_board():
            pass
        os.kill(child, 9)
        os.waitpid(child, 0)

    def test_of_one_program_the_last_accelerator_has_the_board(self, board: Bench) -> None:
        write_manifest(board.folder, hardware=board.hardware)
        runtime = StandIn(board.device)
        pixels = some_pixels(30)
        wrong: list[str] = []

        def work(opened: Accelerator) -> None:
            while True:
                try:
                    same = np.array_equal(opened.infer(pixels).logits, board.reference(pixels))
                except ConfigError as err:
                    wrong.extend([] if "closed: another one was opened on its board" in str(err) else [str(err)])
                    return
                wrong.extend([] if same else ["another's answers"])

        threads = []
        for _ in range(4):
            opened = Accelerator(board.folder, "board", runtime=runtime)
            threads.append(threading.Thread(target=work, args=(opened,)))
            threads[-1].start()
        for thread in threads[:-1]:
            thread.join(20)
        assert threads[-1].is_alive() and not any(thread.is_alive() for thread in threads[:-1])
        with Accelerator(board.folder, "board", runtime=runtime) as last:
            threads[-1].join(20)
            assert len(last.infer(pixels).logits) == 30 and not wrong

    def test_another_overlay_of_the_same_program_is_noticed(self, board: Bench) -> None:
        write_manifest(board.folder, hardware=board.hardware)
        runtime = StandIn(board.device)
        pixels = some_pixels(3)
        with Accelerator(board.folder, "board", runtime=runtime) as opened:
            opened.prepare()
            runtime.Overlay("/somebody/elses.bit")
            with pytest.raises(DeviceError, match="another design was loaded on this board meanwhile"):
                opened.infer(pixels)
            np.testing.assert_array_equal(opened.infer(pixels).logits, board.reference(pixels))


class Bitstreams(StandIn):
    """A board that becomes what the file holds that it is told to load."""

    def __init__(self, device: SimulatedDevice, networks: dict[bytes, Reference]) -> None:
        super().__init__(device)
        self.networks = networks
        self.loaded: list[dict[str, bytes]] = []

    def Overlay(self, bitfile_name: str, *args: Any, **options: Any) -> Any:  # noqa: N802
        path = Path(bitfile_name)
        self.loaded.append({p.name: p.read_bytes() for p in path.parent.iterdir()})
        assert isinstance(self._device.core, ReferenceCore)
        self._device.core._outputs = self.networks[path.read_bytes()]
        return super().Overlay(bitfile_name, *args, **options)


class TestReplacedFolders:
    """A new deploy is copied over the old one while it runs: never the network of one, the decision of another."""

    @staticmethod
    def deploy(folder: Path, name: str, shell: str) -> tuple[Bench, Bitstreams]:
        folder.mkdir(exist_ok=True)
        write_folder(folder)
        for kind in ("bit", "hwh"):
            (folder / f"accelerator.{kind}").write_bytes(f"{kind} {name}".encode())
        board = Bench(folder, shell)
        write_manifest(folder, hardware=board.hardware)
        return board, Bitstreams(board.device, {f"bit {name}".encode(): board.reference})

    @pytest.mark.parametrize("shell", SHELLS)
    def test_a_reset_loads_what_was_proven_at_opening(self, tmp_path: Path, shell: str) -> None:
        old, runtime = self.deploy(tmp_path / "deploy", "old", shell)
        new, other = self.deploy(tmp_path / "new", "new", shell)
        runtime.networks |= other.networks
        pixels = some_pixels(40)
        assert not np.array_equal(old.reference(pixels), new.reference(pixels))
        with Accelerator(old.folder, "board", runtime=runtime, timeout_s=0.2) as opened:
            opened.prepare()
            for path in new.folder.iterdir():
                (old.folder / path.name).write_bytes(path.read_bytes())
            (old.folder / "accelerator.xsa").write_bytes(b"pynq would take this instead")
            old.device.faults = Faults(stall_after=3)
            with pytest.raises(DeviceError, match="no answer"):
                opened.infer(pixels)
            np.testing.assert_array_equal(opened.infer(pixels).logits, old.reference(pixels))
        assert runtime.loaded == [{"accelerator.bit": b"bit old", "accelerator.hwh": b"hwh old"}] * 2
        with Accelerator(old.folder, "board", runtime=runtime) as opened:
            np.testing.assert_array_equal(opened.infer(pixels).logits, new.reference(pixels))

    @pytest.mark.parametrize("change", ["missing", "another"])
    def test_a_simulator_that_is_another_one_is_not_started_again(self, tmp_path: Path, change: str) -> None:
        write_summing_folder(tmp_path)
        with Accelerator(tmp_path, "sim", timeout_s=5.0) as opened:
            opened.prepare()
            harness = tmp_path / "sim" / "harness"
            content = harness.read_bytes()
            harness.unlink()
            if change == "another":
                harness.write_bytes(content + b"\n")
            assert opened._simulator is not None
            opened._simulator._process.kill()
            opened._simulator._process.wait()
            for _ in range(2):
                with pytest.raises(ArtifactError, match="The folder was replaced while it was in use"):
                    opened.infer(some_pixels(1))
            harness.unlink(missing_ok=True)
            harness.write_bytes(content)
            harness.chmod(0o755)
            assert len(opened.infer(some_pixels(2)).logits) == 2

    @pytest.mark.parametrize("name", ["golden.npz", "reference.npz", "accelerator.bit"])
    def test_a_file_that_changes_while_it_is_opened(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        board, runtime = self.deploy(tmp_path, "old", "axi_dma")

        (tmp_path / "new").mkdir()
        write_folder(tmp_path / "new")  # whose files are whole, too
        (tmp_path / "new" / "accelerator.bit").write_bytes(b"bit new")

        def changing(folder: Path) -> Any:
            package = open_package(folder)
            (folder / name).write_bytes((tmp_path / "new" / name).read_bytes())
            return package

        monkeypatch.setattr(module, "open_package", changing)
        with pytest.raises(ArtifactError, match=f"{name} is another file than when it was opened"):
            Accelerator(board.folder, "board", runtime=runtime)


class TestSimulatorsThatDie:
    @pytest.fixture
    def opened(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Accelerator]:
        folder, temporary = tmp_path / "deploy", tmp_path / "temporary"
        folder.mkdir()
        temporary.mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(temporary))
        write_summing_folder(folder)
        before = children()
        with Accelerator(folder, "sim", timeout_s=0.5) as opened:
            opened.prepare()
            yield opened
        assert not list(temporary.iterdir())
        assert children() <= before, "no process is left, not even a dead one"

    def right(self, opened: Accelerator) -> bool:
        pixels = some_pixels(40)
        want = -pixels.reshape(40, -1).astype(np.int64).sum(axis=1)
        return np.array_equal(opened.infer(pixels).logits, want)

    def process(self, opened: Accelerator) -> "subprocess.Popen[bytes]":
        assert opened._simulator is not None
        return opened._simulator._process

    def test_between_two_calls_nobody_notices(self, opened: Accelerator) -> None:
        for _ in range(3):
            self.process(opened).kill()
            self.process(opened).wait()
            assert self.right(opened)

    def test_during_a_call(self, opened: Accelerator) -> None:
        real = opened.link.finish

        def dying(*arguments: Any) -> Any:
            self.process(opened).kill()
            return real(*arguments)

        died = pytest.raises(ToolError, match="the simulator ended with exit code -9")
        with mock.patch.object(opened.link, "finish", dying), died:
            opened.infer(some_pixels(400))
        assert self.right(opened)

    def test_one_that_stops_is_replaced(self, opened: Accelerator) -> None:
        stopped = self.process(opened)
        stopped.send_signal(signal.SIGSTOP)
        with pytest.raises(DeviceTimeoutError, match=r"no answer after 0\.5 s"):
            opened.infer(some_pixels(40))
        assert stopped.poll() == -signal.SIGKILL and self.right(opened)

    def test_a_slow_one_has_all_the_time_that_it_uses(self, opened: Accelerator) -> None:
        assert opened._simulator is not None
        real = opened._simulator.send

        def slow(*arguments: Any) -> Any:
            time.sleep(0.3)
            return real(*arguments)

        with mock.patch.object(opened._simulator, "send", slow):
            start = time.monotonic()
            assert len(opened.infer(some_pixels(130)).logits) == 130  # 32 at a time
        assert time.monotonic() - start > 1.2

    def test_cycles_go_on_counting(self, opened: Accelerator) -> None:
        golden, asked = 20 + EXTRA, 40 + EXTRA  # images; the program counts a cycle per beat
        assert opened.cycles == golden * BEATS
        self.process(opened).kill()
        self.process(opened).wait()
        assert self.right(opened) and opened.cycles == (golden + golden + asked) * BEATS
