"""The driver on the simulated device, with both shells, against the golden logits of a deploy folder."""

import hashlib
import io
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from contract.errors import ArtifactError, ConfigError, DataError, DeviceError, DeviceTimeoutError, MismatchError
from contract.manifest import DISCLAIMER, load_manifest, save_manifest
from driver import __main__ as command_line
from driver.accelerator import Accelerator
from driver.bench import NOT_AVAILABLE, bench
from driver.simulated.faults import DmaError, Faults
from driver.simulated.stand_in import StandIn
from tests.driver.boards import RNG, SIDE, Bench, some_pixels, write_folder, write_manifest

TIMEOUT_S = 1.0  # of transfers that are made to fail


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("deploy")
    write_folder(out)
    return out


@pytest.fixture(params=["axi_dma", "finn_iodma"])
def board(request: pytest.FixtureRequest, folder: Path) -> Iterator[Bench]:
    write_manifest(folder)
    bench = Bench(folder, request.param)
    yield bench
    bench.device.close()
    write_manifest(folder)


class TestAnswers:
    def test_golden_and_a_thousand_random_batches(self, board: Bench) -> None:
        sizes = [0, 1, 15, 16, 17, 33, *RNG.integers(0, 40, 994).tolist()]
        with board.open() as accelerator:
            assert accelerator.verify() == 50
            for size in sizes:
                pixels = some_pixels(size)
                np.testing.assert_array_equal(accelerator.infer(pixels).logits, board.reference(pixels))

    @pytest.mark.parametrize("capacity", [1, 16, 700])
    def test_any_transfer_size(self, board: Bench, capacity: int) -> None:
        pixels = some_pixels(100)
        with board.open(capacity=capacity) as accelerator:
            np.testing.assert_array_equal(accelerator.infer(pixels).logits, board.reference(pixels))

    def test_probability_and_class_follow_the_manifest(self, folder: Path) -> None:
        with Accelerator(folder, "cpu") as accelerator:
            answers = accelerator.infer(some_pixels(200))
        np.testing.assert_array_equal(answers.classes, answers.logits > 3)
        np.testing.assert_allclose(np.log(answers.probability / (1 - answers.probability)), 0.125 * answers.logits - 1)
        assert set(answers.classes) == {0, 1}

    def test_bad_files_are_named_and_the_others_answered(self, board: Bench, tmp_path: Path) -> None:
        pixels = some_pixels(2)
        files: list[Any] = [tmp_path / "a.png", tmp_path / "text.jpeg", tmp_path / "gone.png", io.BytesIO()]
        Image.fromarray(pixels[0]).save(files[0])
        files[1].write_text("not an image")
        Image.fromarray(pixels[1]).save(files[3], "PNG")
        files[3].seek(0)
        with board.open() as accelerator:
            answers = accelerator.infer(files)
        assert answers.index.tolist() == [0, 3]
        np.testing.assert_array_equal(answers.logits, board.reference(pixels))
        assert list(answers.failures) == [1, 2] and "text.jpeg" in answers.failures[1]

    @pytest.mark.parametrize(
        ("images", "message"),
        [
            (np.zeros((1, SIDE, SIDE), np.float32), "float32, expected uint8.*Do not divide by 255"),
            (np.ma.zeros((1, SIDE, SIDE), np.uint8), "a masked array, expected one without"),
            (np.zeros((1, SIDE, SIDE, 3), np.uint8), r"\(1, 8, 8, 3\), expected \(N, 8, 8\)"),
            (np.zeros((1, 3, SIDE, SIDE), np.uint8), "expected"),
            (np.zeros((SIDE, SIDE), np.uint8), "expected"),
            ("a.png", "one file, expected a list"),
        ],
        ids=["float", "masked", "channels last", "channels first", "no batch", "one file"],
    )
    def test_wrong_input_is_refused(self, folder: Path, images: Any, message: str) -> None:
        with Accelerator(folder, "cpu") as accelerator, pytest.raises(DataError, match=message):
            accelerator.infer(images)


AXI_FAULTS = {
    "stalled": (
        Faults(stall_after=20),
        DeviceTimeoutError,
        r"no answer after 1 s: 1[56] images in flight, MM2S status",
    ),
    "no tlast": (Faults(missing_tlast=True), DeviceTimeoutError, "S2MM status 0x.*busy"),
    "too few": (Faults(drop_result=20), DeviceError, r"bytes of results came for 1[56] images, expected"),
    "too many": (Faults(add_result=20), DeviceError, "S2MM status 0x.*internal error"),
    "slave error": (Faults(send_error=DmaError.SLAVE), DeviceError, "MM2S status 0x.*slave error"),
    "decode error": (Faults(receive_error=DmaError.DECODE), DeviceError, "S2MM status 0x.*decode error"),
    "dead bus": (Faults(vanish_after=30, vanish="ones"), DeviceError, "nothing answers"),
    "board gone": (Faults(vanish_after=30, vanish="raises"), DeviceError, "the board does not answer"),
}
FINN_FAULTS = {name: AXI_FAULTS[name] for name in ("dead bus", "board gone")} | {
    "stalled": (Faults(stall_after=20), DeviceTimeoutError, r"1[56] images in flight, input engine 0x0"),
    "too few": (Faults(drop_result=20), DeviceTimeoutError, "images in flight"),
}


class TestFaults:
    @pytest.mark.parametrize(
        ("shell", "fault"),
        [("axi_dma", name) for name in AXI_FAULTS] + [("finn_iodma", name) for name in FINN_FAULTS],
    )
    def test_named_error_and_the_next_call_works(self, folder: Path, shell: str, fault: str) -> None:
        faults, kind, message = (AXI_FAULTS if shell == "axi_dma" else FINN_FAULTS)[fault]
        board = Bench(folder, shell)
        pixels = some_pixels(47)
        with board.open(timeout_s=TIMEOUT_S) as accelerator:
            accelerator.verify()
            board.device.faults = faults
            with pytest.raises(kind, match=message):
                accelerator.infer(pixels)
            board.device.faults = Faults()
            np.testing.assert_array_equal(accelerator.infer(pixels).logits, board.reference(pixels))
        board.device.close()
        write_manifest(folder)

    def test_a_flipped_bit_is_found_by_the_golden_vectors(self, board: Bench) -> None:
        with board.open(capacity=64) as accelerator:  # one transfer: result 20 is image 20
            board.device.faults = Faults(flip_result=20, flip_bit=3)
            with pytest.raises(MismatchError, match="1 of 50 golden logits differ; first at image 20"):
                accelerator.infer(some_pixels(1))

    def test_wrong_clock(self, board: Bench) -> None:
        board.device.faults = Faults(clock_stuck=True)
        with pytest.raises(DeviceError, match="reads back as 50 MHz after it was set to 100 MHz"):
            board.open()

    def test_buffers_are_freed(self, board: Bench) -> None:
        freed: list[int] = []
        runtime = StandIn(board.device)
        allocate: Callable[..., Any] = runtime.allocate

        def counting(**arguments: Any) -> Any:
            buffer = allocate(**arguments)
            free = buffer.freebuffer

            def counted() -> None:
                freed.append(buffer.device_address)
                free()

            buffer.freebuffer = counted
            return buffer

        runtime.allocate = counting  # type: ignore[method-assign, assignment]
        write_manifest(board.folder, hardware=board.hardware)
        with Accelerator(board.folder, "board", runtime=runtime):
            pass
        assert len(set(freed)) == 4


class TestFolder:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda f: (f / "golden.npz").write_bytes(b"x"), "golden.npz has sha256 .*damaged, or of another build"),
            (lambda f: (f / "reference.npz").unlink(), "reference.npz is not there"),
            (lambda f: (f / "accelerator.json").write_text("{"), "is not JSON"),
            (lambda f: write_manifest(f, sha256={"../x": "0"}), "outside its own folder"),
            (lambda f: write_manifest(f, height=9), "with the product 72"),
        ],
        ids=["damaged", "missing", "no manifest", "path trick", "other size"],
    )
    def test_what_is_not_whole_is_refused(
        self, folder: Path, tmp_path: Path, change: Callable[[Path], Any], message: str
    ) -> None:
        for name in ("accelerator.json", "golden.npz", "reference.npz"):
            (tmp_path / name).write_bytes((folder / name).read_bytes())
        change(tmp_path)
        with pytest.raises(ArtifactError, match=message):
            Accelerator(tmp_path, "cpu").infer(some_pixels(1))

    def test_no_golden_image_is_no_proof(self, folder: Path, tmp_path: Path) -> None:
        copy = shutil.copytree(folder, tmp_path / "copy")
        with np.load(folder / "golden.npz") as golden:
            np.savez(copy / "golden.npz", **{name: golden[name][:0] for name in golden.files})
        manifest = load_manifest(copy / "accelerator.json")
        digest = hashlib.sha256((copy / "golden.npz").read_bytes()).hexdigest()
        save_manifest(copy / "accelerator.json", replace(manifest, sha256={**manifest.sha256, "golden.npz": digest}))
        with pytest.raises(ArtifactError, match="holds no golden images that fit"):
            Accelerator(copy, "cpu")

    def test_devices_that_are_not_there(self, folder: Path) -> None:
        write_manifest(folder)
        for device, message in (
            ("board", "has no bitstream"),
            ("sim", "holds no simulator"),
            ("gpu", "expected one of"),
        ):
            with pytest.raises(ConfigError, match=message):
                Accelerator(folder, device)
        assert Accelerator(folder, "auto").device == "cpu"

    def test_a_folder_for_another_chip(self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("golden.npz", "reference.npz"):
            (tmp_path / name).write_bytes((folder / name).read_bytes())
        (tmp_path / "accelerator.bit").write_bytes(b"bits")
        write_manifest(tmp_path, hardware=Bench(folder, "axi_dma").hardware)
        manifest = json.loads((tmp_path / "accelerator.json").read_text())
        manifest["sha256"]["accelerator.bit"] = hashlib.sha256(b"bits").hexdigest()
        (tmp_path / "accelerator.json").write_text(json.dumps(manifest))
        tree = tmp_path / "compatible"
        tree.write_bytes(b"xlnx,zynqmp-zcu104-revC\0xlnx,zynqmp\0")
        monkeypatch.setattr("driver.accelerator.DEVICE_TREE", tree)
        with pytest.raises(ConfigError, match=r"is for pynq-z2 \(xc7z020clg400-1\), this board is xlnx,zynqmp-zcu104"):
            Accelerator(tmp_path, "board")


def test_bench_reports_every_figure(board: Bench) -> None:
    with board.open(capacity=1024) as accelerator:
        figures = bench(accelerator, seconds=0.05)
    assert figures["golden_images_verified"] == 50 and figures["energy_uj_per_image"] == NOT_AVAILABLE
    assert [row["batch"] for row in figures["batches"]] == [1, 16, 256, 1024]
    assert figures["accelerator_us_per_image"] == pytest.approx(0.16)
    assert [row["witness_us_per_image"] for row in figures["batches"][:2]] == pytest.approx([0.32, 0.02])
    assert all(0 < row["packing_share"] < 1 for row in figures["batches"])


def test_bench_measures_energy_above_idle(folder: Path) -> None:
    class Rail:
        class power:  # noqa: N801
            value = 12.0

    with Accelerator(folder, "cpu") as accelerator:
        figures = bench(accelerator, seconds=0.05, rails=lambda: {"12V": Rail})
    assert figures["energy_uj_per_image"] == 0.0  # as much as at idle


def test_command_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(some_pixels(1)[0]).save(tmp_path / "a.png")
    arguments = ["--folder", str(folder), "--device", "cpu"]
    assert command_line.main(["verify", *arguments]) == 0
    assert "all 50 golden logits are equal" in capsys.readouterr().out
    table, no_image = tmp_path / "answers.csv", tmp_path / "notes.txt"
    no_image.write_text("no image")
    assert command_line.main(["infer", "--twice", *arguments, str(tmp_path / "a.png")]) == 0
    assert "a.png  logit" in capsys.readouterr().out
    assert command_line.main(["infer", *arguments, "--csv", str(table), str(tmp_path / "a.png"), str(no_image)]) == 1
    said = capsys.readouterr()
    assert "a.png  logit" in said.out and DISCLAIMER in said.out and "notes.txt" in said.err
    assert table.read_text().startswith("file,logit,probability,class\n")
    assert command_line.main(["verify", "--folder", str(tmp_path)]) == 2


def test_a_reader_that_has_gone_is_no_traceback(folder: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "driver", "verify", "--folder", str(folder), "--device", "cpu"]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("device", ["board", "cpu"])
class TestWhatIsNoImage:
    """What a program may pass by mistake, for any device: one sentence, and the next call works."""

    @pytest.fixture
    def accelerator(self, folder: Path, device: str) -> Iterator[Accelerator]:
        if device == "cpu":
            with Accelerator(folder, "cpu") as opened:
                yield opened
        else:
            with Bench(folder, "axi_dma").open(capacity=2) as opened:
                yield opened
            write_manifest(folder)

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda x: list(x), r"images\[0\] is of type ndarray.*one array of uint8 \(N, 8, 8\).*numpy.stack"),
            (lambda x: (image for image in x), r"images\[0\] is of type ndarray"),
            (lambda x: x.tolist(), r"images\[0\] is of type list"),
            (lambda x: memoryview(x), "images is of type memoryview"),
            (lambda x: None, "images is None"),
            (lambda x: 3, "images is of type int"),
            (lambda x: {0: b""}, "images is of type dict"),
            (lambda x: {b""}, "images is of type set"),
            (lambda x: bytearray(b"x"), "images is one file"),
            (lambda x: io.BytesIO(), "images is one file"),
            (lambda x: [b"", None], r"images\[1\] is None"),
            (lambda x: [0], r"images\[0\] is of type int"),
            (lambda x: [bytearray(b"x")], r"images\[0\] is of type bytearray"),
            (lambda x: [io.StringIO("x")], "opened as text"),
        ],
    )
    def test_is_named(self, accelerator: Accelerator, make: Callable[[Any], Any], message: str) -> None:
        pixels = some_pixels(3)
        with pytest.raises(DataError, match=message):
            accelerator.infer(make(pixels))
        assert len(accelerator.infer(pixels).logits) == 3

    def test_a_closed_file_and_one_that_gives_text_are_failures(self, accelerator: Accelerator) -> None:
        closed, text = io.BytesIO(b"x"), io.BytesIO(b"x")
        closed.close()
        text.read = lambda *_: "x"  # type: ignore[method-assign,assignment,misc]
        failures = accelerator.infer([closed, text]).failures
        assert "closed file" in failures[0] and "gives str, expected bytes" in failures[1]


@pytest.mark.parametrize("device", ["cpu", "sim", "board"])
@pytest.mark.parametrize(
    "options",
    [
        *[{"capacity": value} for value in (1.5, "4", None, float("nan"), True, 0, -1)],
        *[{"timeout_s": value} for value in ("1", None, True, 1j)],
    ],
    ids=str,
)
def test_options_are_numbers(folder: Path, device: str, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="expected 1 or more images, a whole number, and more than 0"):
        Accelerator(folder, device, **options)


def test_numbers_of_numpy_are_options_too(folder: Path) -> None:
    Accelerator(folder, "cpu", capacity=np.int64(3), timeout_s=np.float32(1)).close()  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="folder is None"):
        Accelerator(None)  # type: ignore[arg-type]


def test_an_accelerator_is_not_sent_to_another_process(folder: Path) -> None:
    with Accelerator(folder, "cpu") as accelerator, pytest.raises(ConfigError, match="Open the folder there"):
        pickle.dumps(accelerator)


class Described(StandIn):
    """A pynq whose description of the DMA is as given."""

    def __init__(self, device: Any, parameters: Any) -> None:
        super().__init__(device)
        self.parameters = parameters

    def Overlay(self, *args: Any, **options: Any) -> Any:  # noqa: N802
        overlay = super().Overlay(*args, **options)
        for entry in overlay.ip_dict.values():
            known = isinstance(self.parameters, dict)
            entry["parameters"] = {**entry["parameters"], **self.parameters} if known else self.parameters
        return overlay


class TestDescriptionOfTheDma:
    def open(self, folder: Path, parameters: Any, **options: Any) -> Accelerator:
        board = Bench(folder, "axi_dma")
        write_manifest(folder, hardware=board.hardware)
        return Accelerator(folder, "board", runtime=Described(board.device, parameters), **options)

    @pytest.mark.parametrize(
        "parameters",
        [
            *[{"c_sg_length_width": value} for value in ("x", "", "7", "27", "9" * 5000, -1, 0, None, 14.0)],
            *[{"c_include_sg": value} for value in ("true", "", "2", None)],
            None,
        ],
        ids=lambda parameters: str(parameters)[:40],
    )
    def test_that_makes_no_sense_is_named(self, folder: Path, parameters: Any) -> None:
        with pytest.raises(DeviceError, match=r"description says c_(include_sg|sg_length_width)=.*expected \d"):
            self.open(folder, parameters)
        write_manifest(folder)

    @pytest.mark.parametrize("sg", ["1", "0x1", 1])
    def test_scatter_gather_is_refused(self, folder: Path, sg: Any) -> None:
        with pytest.raises(DeviceError, match="scatter-gather"):
            self.open(folder, {"c_include_sg": sg})
        write_manifest(folder)

    @pytest.mark.parametrize("bits", ["8", "0xC", 9])
    def test_the_capacity_that_is_advised_is_the_greatest_that_works(self, folder: Path, bits: Any) -> None:
        with pytest.raises(DeviceError, match="transfers up to") as refused:
            self.open(folder, {"c_sg_length_width": bits})
        found = re.search(r"capacity of (\d+)", str(refused.value))
        assert found is not None
        with self.open(folder, {"c_sg_length_width": bits}, capacity=int(found[1])) as accelerator:
            assert accelerator.verify() == 50
        with pytest.raises(DeviceError, match="transfers up to"):
            self.open(folder, {"c_sg_length_width": bits}, capacity=int(found[1]) + 1)
        write_manifest(folder)

    def test_not_one_image_fits(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("driver.axi_dma.EXTRA", 3)
        with pytest.raises(DeviceError, match="Not one image fits: build it again"):
            self.open(folder, {"c_sg_length_width": "8"}, capacity=1)
        write_manifest(folder)
