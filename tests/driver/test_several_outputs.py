"""Networks of K integers and of other inputs than pixels, on the simulated board, behind both shells.

The kind of fault: something between the stream and the caller that takes an image for one result, or a value for one
byte: packing, lengths and limits of a transfer, TLAST, the counts of an engine, the witness.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract.decision import Head
from contract.errors import ConfigError, DataError, DeviceError, MismatchError
from contract.manifest import load_manifest, save_manifest
from contract.network import Input
from contract.shells import LARGEST_TRANSFER
from driver.__main__ import main
from driver.accelerator import Accelerator
from driver.reference import Reference
from driver.simulated.core import ReferenceCore
from driver.simulated.device import SimulatedDevice, with_shell
from driver.simulated.faults import Faults
from driver.simulated.stand_in import StandIn
from driver.simulated.stream import MAX_IMAGES
from driver.witness import EXTRA
from tests.deploy_folder import write_integers
from tests.driver.simulated_scenarios import until

SHELLS = ["axi_dma", "finn_iodma"]
SOURCES = {  # and values per beat
    "pixels": (Input(8, 8), 4),
    "signed": (Input(6, 5, 2, "int4"), 4),
    "bipolar": (Input(4, 8, 3, "bipolar"), 32),
    "odd": (Input(3, 5, 1, "uint3"), 5),  # 15 bits of each 16
}


def board(folder: Path, shell: str) -> tuple[SimulatedDevice, Any]:
    """A simulated board with the folder's accelerator, and what stands for pynq; the manifest names the shell."""
    manifest = load_manifest(folder / "accelerator.json")
    assert manifest.hardware is not None
    hardware = with_shell(manifest.hardware, shell)
    save_manifest(folder / "accelerator.json", replace(manifest, hardware=hardware))
    device = SimulatedDevice(hardware, ReferenceCore(Reference.load(folder / "reference.npz").outputs, hardware.input))
    return device, StandIn(device)


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("outputs", [1, 3, 10, 100])
@pytest.mark.parametrize("name", SOURCES)
def test_every_integer_comes_back(tmp_path: Path, name: str, outputs: int, shell: str) -> None:
    source, lanes = SOURCES[name]
    network = write_integers(tmp_path, source, lanes, outputs=outputs, result_bits=16 if shell == "finn_iodma" else 32)
    _, runtime = board(tmp_path, shell)
    images = source.values.random(np.random.default_rng(1), (37, *source.shape))
    want = network.outputs(images)[-1]
    for twice in (False, True):
        with Accelerator(tmp_path, "board", runtime=runtime, capacity=16, twice=twice) as accelerator:
            assert accelerator.verify() == 20
            answers = accelerator.infer(images)
            assert answers.outputs.dtype == np.int64 and answers.outputs.tolist() == want.tolist()
            assert accelerator.infer(images[:0]).outputs.shape == (0, outputs)
            with pytest.raises(ConfigError, match="has no decision"):
                _ = answers.classes
    with Accelerator(tmp_path, "cpu") as accelerator:
        assert accelerator.infer(images).outputs.tolist() == want.tolist()


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("at", range(3))
@pytest.mark.parametrize("fault", ["drop_result", "add_result", "swap_result", "lose_write", "add_beat", "drop_beat"])
def test_a_fault_at_any_result_of_an_image_is_found(tmp_path: Path, fault: str, at: int, shell: str) -> None:
    source, lanes = SOURCES["bipolar"]
    network = write_integers(tmp_path, source, lanes, outputs=3, result_bits=32)
    device, runtime = board(tmp_path, shell)
    images = source.values.random(np.random.default_rng(2), (5, *source.shape))
    want = network.outputs(images)[-1]
    with Accelerator(tmp_path, "board", runtime=runtime, timeout_s=0.3) as accelerator:
        accelerator.prepare()
        device.faults = replace(Faults(), **{fault: 6 + at})  # type: ignore[arg-type]
        try:
            found = accelerator.infer(images).outputs
        except DeviceError:
            pass
        else:  # driver/witness.py says that two results which changed places are not found
            assert fault == "swap_result" and sorted(found.ravel()) == sorted(want.ravel())
        device.faults = Faults()
        accelerator.prepare()
        assert accelerator.infer(images).outputs.tolist() == want.tolist()


@pytest.mark.parametrize("shell", SHELLS)
def test_a_wrong_integer_is_named(tmp_path: Path, shell: str) -> None:
    source, lanes = SOURCES["pixels"]
    write_integers(tmp_path, source, lanes, outputs=3, result_bits=32)
    device, runtime = board(tmp_path, shell)
    with Accelerator(tmp_path, "board", runtime=runtime) as accelerator:
        device.faults = Faults(flip_result=3 * 7 + 1, flip_bit=0)
        with pytest.raises(MismatchError, match="1 of 60 golden logits differ; first at image 7, output 1: got"):
            accelerator.verify()


@pytest.mark.parametrize("shell", SHELLS)
def test_a_transfer_is_as_long_as_its_longer_side_allows(tmp_path: Path, shell: str) -> None:
    """96 bipolar values are 12 bytes and give 10 results of 4 bytes: the results are the longer side."""
    source, lanes = SOURCES["bipolar"]
    write_integers(tmp_path, source, lanes, outputs=10, result_bits=32)
    _, runtime = board(tmp_path, shell)
    with Accelerator(tmp_path, "board", runtime=runtime, capacity=10**12) as accelerator:
        assert accelerator.link.capacity == LARGEST_TRANSFER // 40 - EXTRA


def test_what_the_network_does_not_read_is_refused(tmp_path: Path) -> None:
    source, lanes = SOURCES["bipolar"]
    write_integers(tmp_path, source, lanes, outputs=3, result_bits=32)
    zeros = np.zeros((2, *source.shape), dtype=np.int8)
    with Accelerator(tmp_path, "cpu") as accelerator:
        for images, message in (
            (zeros, r"images hold 0 to 0, expected bipolar \(-1 or \+1\) only"),
            (zeros.astype(np.uint8), "images are uint8, expected int8: the accelerator reads raw integers"),
            (zeros[..., 0], r"images have the shape \(2, 4, 8\), expected \(N, 4, 8, 3\), one integer per pixel and"),
        ):
            with pytest.raises(DataError, match=message):
                accelerator.infer(images)
        with pytest.raises(DataError, match=r"this network reads bipolar\(N, 4, 8, 3\), which image files are not"):
            accelerator.infer(["xray.png"])


@pytest.mark.parametrize("name", SOURCES)
def test_files_of_values_are_answered(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """The command of a deploy folder: every format, and of pixels in a row, too, which are no picture."""
    source, lanes = SOURCES[name]
    source = replace(source, height=1, width=source.height * source.width) if name == "pixels" else source
    network = write_integers(tmp_path, source, lanes, outputs=3, result_bits=32, head=Head())
    x = source.values.random(np.random.default_rng(1), (5, *source.shape))
    np.savetxt(tmp_path / "x.csv", x.reshape(5, -1), fmt="%d", delimiter=",")
    (tmp_path / "x.json").write_text(json.dumps(x.tolist()))
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "x.npz", x=x.astype(np.int64))
    for kind in ("csv", "json", "npy", "npz"):
        assert main(["infer", "--folder", str(tmp_path), "--device", "cpu", str(tmp_path / f"x.{kind}")]) == 0
        lines = capsys.readouterr().out.splitlines()[:5]
        for n, (line, outputs) in enumerate(zip(lines, network.outputs(x)[-1].tolist(), strict=True)):
            assert line.startswith(f"{tmp_path}/x.{kind}[{n}]") and f"outputs {' '.join(map(str, outputs))}  " in line
    (tmp_path / "x.csv").write_text("1,2,3")
    assert main(["infer", "--folder", str(tmp_path), "--device", "cpu", str(tmp_path / "x.csv")]) == 2
    assert "x.csv holds an array of the shape (1, 3), expected (N, " in capsys.readouterr().err


def test_results_of_as_many_images_wait_inside_as_without(tmp_path: Path) -> None:
    """The queue of TLAST counts images, however many results one has."""
    source, lanes = SOURCES["bipolar"]
    network = write_integers(tmp_path, source, lanes, outputs=3, result_bits=32)
    _, runtime = board(tmp_path, "axi_dma")
    dma = runtime.Overlay("accelerator.bit").axi_dma_0
    images = source.values.random(np.random.default_rng(4), (MAX_IMAGES + 1, *source.shape))
    sent = runtime.allocate(shape=(len(images), 12), dtype=np.uint8)
    sent[:] = source.values.pack(images.reshape(len(images), -1), lanes=lanes)
    half = MAX_IMAGES // 2
    for first in (0, half):
        dma.sendchannel.transfer(sent[first:], nbytes=half * 12)
        assert until(lambda: dma.sendchannel.idle)  # these just fit
    dma.sendchannel.transfer(sent[MAX_IMAGES:])
    assert not until(lambda: dma.sendchannel.idle, seconds=0.05)
    received = runtime.allocate(shape=(half, 3), dtype=np.int32)
    for first in (0, half):
        dma.recvchannel.transfer(received)
        dma.recvchannel.wait()  # for the TLAST of one transfer
        assert received.tolist() == network.outputs(images[first : first + half])[-1].tolist()
    assert until(lambda: dma.sendchannel.idle)
