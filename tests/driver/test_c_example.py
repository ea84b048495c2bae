"""The example in C, as it is shipped, on the simulated device: every shell, result width and kind of answer.

The kind of fault: a program that is only read. So the text that a board compiles is compiled here, without a warning,
and its registers, packing and unpacking are held against integers of the reference.
"""

import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract.errors import MismatchError, ToolError
from contract.manifest import Manifest, load_manifest
from contract.network import Input
from contract.npz import load_npz
from contract.shells import ENGINE_IDLE, START, EngineReg
from contract.values import VALUES
from cxrflow.c_header import c_header
from cxrflow.package import copy_code
from driver.package import open_package
from driver.reference import Reference
from driver.simulated import bridge
from driver.simulated.core import ReferenceCore
from driver.simulated.device import SimulatedDevice, with_shell
from driver.simulated.faults import DmaError, Faults
from tests.deploy_folder import write_classes, write_deploy, write_integers

FLAGS = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-pedantic", "-O2", "-DTIMEOUT_S=1")
SHELLS = ("axi_dma", "finn_iodma")


class Example:
    """A deploy folder, its compiled program and its simulated device."""

    def __init__(self, folder: Path, shell: str, change: Callable[[Manifest], Manifest] = lambda manifest: manifest):
        self.folder, self.package = folder, open_package(folder)
        found = self.package.manifest
        assert found.hardware is not None
        self.manifest = change(replace(found, hardware=with_shell(found.hardware, shell)))
        assert self.manifest.hardware is not None
        copy_code(folder)
        (folder / "cxrflow_accel.h").write_text(c_header(self.manifest), encoding="utf-8")
        self.program = folder / "c" / "infer"
        command = ["gcc", *FLAGS, f"-I{folder}", "-o", str(self.program), str(folder / "c" / "infer.c")]
        subprocess.run(command, check=True)
        outputs = Reference.load(folder / "reference.npz").outputs
        core = ReferenceCore(outputs, self.manifest.hardware.input)
        self.device = SimulatedDevice(self.manifest.hardware, core, memory_base=0x1_2000_0000)  # above 4 GiB

    def golden(self, count: int = 4) -> int:
        return bridge.compare(self.package, self.device, [str(self.program)], count=count)

    def run(self, *images: Path, point: str | None = None) -> str:
        return bridge.run(self.device, [str(self.program), *(() if point is None else ("-p", point))], images)


@pytest.mark.parametrize("shell", SHELLS)
def test_golden_images_and_pictures_on_every_shell(tmp_path: Path, shell: str) -> None:
    write_deploy(tmp_path)

    def lower(manifest: Manifest) -> Manifest:
        points = {"balanced": 128, "all ill": -(2**31)}
        return replace(manifest, decision=replace(manifest.decision, operating_points=points))  # type: ignore[type-var]

    example = Example(tmp_path, shell, lower)
    assert example.golden() == 4
    golden = load_npz(tmp_path / "golden.npz")
    pixels, outputs = golden["pixels"], golden["outputs"][:, 0]
    picture = tmp_path / "a.pgm"
    picture.write_bytes(b"P5 # a comment\n28\n# and one more\n28 255\n" + pixels[5].tobytes())
    said = example.run(picture, picture)
    label = int(outputs[5] > 128)
    assert said.splitlines()[:2] == [f"{picture}  outputs {outputs[5]}  class {label}"] * 2
    assert said.endswith("not a medical device.\n")
    assert label == 0 and "  class 1\n" in example.run(picture, point="all ill")
    with pytest.raises(ToolError, match=r"no operating point youden beside the own one.* Others: all ill"):
        example.run(picture, point="youden")
    for content, words in (
        (b"P5 28 29 255\n" + bytes(28 * 29), "is 28 x 29 pixels of 0..255, expected 28 x 28"),
        (b"P5 28 28 65535\n" + bytes(2 * 784), "0..65535"),
        (b"P5 28 28 255\n" + bytes(783), "does not hold 784 pixels"),
        (b"P5 28 28 255\n" + bytes(785), "does not hold 784 pixels"),
        (b"P5 99999999999999999999999999 28 255\n", "expected 28 x 28"),
        (b"P5", "expected 28 x 28"),
        (b"\x89PNG" + bytes(900), r"neither PGM \(P5\) nor raw of 784 bytes"),
        (b"", "neither PGM"),
    ):
        picture.write_bytes(content)
        with pytest.raises(ToolError, match=words):
            example.run(picture)


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("result_bits", [8, 16, 24, 32])
def test_other_values_and_several_results(tmp_path: Path, shell: str, result_bits: int) -> None:
    """Values of 3 bits, five to a beat of 15; a PGM is no such input."""
    write_integers(tmp_path, Input(5, 3, 2, "int3"), 5, outputs=3, result_bits=32)

    def narrow(manifest: Manifest) -> Manifest:
        hardware = manifest.hardware
        assert hardware is not None
        sink = replace(hardware.output, packed_bytes=3 * result_bits // 8, width_bits=result_bits)
        return replace(manifest, hardware=replace(hardware, output=sink))

    example = Example(tmp_path, shell, narrow)
    golden = load_npz(tmp_path / "golden.npz")
    low, high = -(1 << (result_bits - 1)), (1 << (result_bits - 1)) - 1
    outputs: Any = golden["outputs"]
    fitting = ((outputs >= low) & (outputs <= high)).all(axis=1)
    stream = VALUES["int3"].pack(golden["pixels"].reshape(len(fitting), -1), lanes=5)
    files = [tmp_path / f"{i}.raw" for i in range(len(fitting))]
    for file, content in zip(files, stream, strict=True):
        file.write_bytes(content.tobytes())
    said = example.run(*files)
    found = [[int(n) for n in numbers.split()] for numbers in re.findall(r"outputs((?: -?\d+)+)", said)]
    assert np.array_equal(np.array(found)[fitting], golden["outputs"][fitting]) and "class" not in said
    (tmp_path / "a.pgm").write_bytes(b"P5 3 5 255\n" + bytes(15))
    with pytest.raises(ToolError, match="is PGM, but the network reads other values"):
        example.run(tmp_path / "a.pgm")


def test_the_class_of_several_has_its_name(tmp_path: Path) -> None:
    write_classes(tmp_path, ["NORMAL", "BACTERIA", "VIRUS"])
    example = Example(tmp_path, "axi_dma")
    assert example.golden() == 4
    golden: dict[str, Any] = load_npz(tmp_path / "golden.npz")
    (tmp_path / "a.raw").write_bytes(golden["pixels"][0].tobytes())
    decision = load_manifest(tmp_path / "accelerator.json").decision
    assert decision is not None
    for point in (None, "careful"):
        label = int(decision.classes(golden["outputs"][:1], point)[0])
        said = example.run(tmp_path / "a.raw", point=point)
        assert f"class {label} {['NORMAL', 'BACTERIA', 'VIRUS'][label]}\n" in said


@pytest.mark.parametrize(
    ("shell", "faults", "words"),
    [
        ("axi_dma", Faults(send_error=DmaError.DECODE, permanent=True), "the DMA failed: MM2S status 0x"),
        ("axi_dma", Faults(receive_error=DmaError.SLAVE, permanent=True), "the DMA failed: MM2S status 0x"),
        ("axi_dma", Faults(status=0x40, permanent=True), "the DMA failed"),
        ("finn_iodma", Faults(status=0x1, permanent=True), "input engine reads 0x00000001, expected idle"),
        ("axi_dma", Faults(vanish_after=3, permanent=True), "the simulated device is gone"),
        ("axi_dma", Faults(stall_after=0, permanent=True), "no result in time: MM2S status 0x"),
        ("finn_iodma", Faults(stall_after=0, permanent=True), "no result in time: the output engine reads 0x"),
        ("axi_dma", Faults(deaf=True, permanent=True), "the DMA does not run"),
        ("axi_dma", Faults(flip_result=1, permanent=True), "golden"),
    ],
)
def test_a_fault_is_a_message(tmp_path: Path, shell: str, faults: Faults, words: str) -> None:
    write_deploy(tmp_path)
    example = Example(tmp_path, shell)
    example.device.faults = faults
    with pytest.raises((ToolError, MismatchError), match=words):
        example.golden()


def test_what_is_mapped_gets_the_same_words(tmp_path: Path) -> None:
    """Files stand for /dev/mem: two engines that are idle, take everything and never end."""
    write_deploy(tmp_path)
    program = str(Example(tmp_path, "finn_iodma").program)
    engines = [tmp_path / "input", tmp_path / "output"]
    for engine in engines:
        engine.write_bytes(ENGINE_IDLE.to_bytes(4, "little") + bytes(8188))
    (tmp_path / "memory").write_bytes(bytes(8192))
    pixels = load_npz(tmp_path / "golden.npz")["pixels"][0].tobytes()
    (tmp_path / "a.raw").write_bytes(pixels)
    windows = [text for engine in engines for text in ("-r", f"{engine}@0xA0000000")]
    command = [program, *windows, "-b", f"{tmp_path}/memory@0x812345600", str(tmp_path / "a.raw")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 1 and "no result in time" in done.stderr
    for engine, address in zip(engines, (0x8_1234_5600, 0x8_1234_5600 + 896), strict=True):  # 784 in steps of 128
        words = np.frombuffer(engine.read_bytes(), "<u4")
        found = {reg: int(words[reg // 4]) for reg in EngineReg}
        assert found == {
            EngineReg.CTRL: START, EngineReg.REPS: 1,
            EngineReg.ADDRESS_LOW: address & 0xFFFF_FFFF, EngineReg.ADDRESS_HIGH: 8,
        }  # fmt: skip
    assert (tmp_path / "memory").read_bytes()[:784] == pixels


def test_what_is_no_device_is_a_message(tmp_path: Path) -> None:
    write_deploy(tmp_path)
    program = str(Example(tmp_path, "axi_dma").program)
    plain = tmp_path / "memory"
    plain.write_bytes(bytes(8192))
    for arguments, code, words in (
        ([], 2, "usage: infer -r PATH@ADDRESS -b PATH@ADDRESS [-p POINT] IMAGE..."),
        (["-r", "/dev/mem", "-b", "x@0", "a"], 1, "/dev/mem is no PATH@ADDRESS"),
        (["-r", "/dev/mem@x", "-b", "x@0", "a"], 1, "has no address behind the @"),
        (["-r", f"{tmp_path}/none@0", "a"], 1, "No such file"),
        (["-r", f"{'x' * 300}@0", "a"], 1, "is no PATH@ADDRESS"),
        (["-r", f"{plain}@0", "-b", f"{plain}@0x10", "a"], 1, "does not begin at a multiple of 128"),
    ):
        done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == code and words in done.stderr, done.stderr
