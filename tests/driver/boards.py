"""A tiny deploy folder and a simulated board around it, for tests of the driver."""

import hashlib
import stat
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.decision import Decision
from contract.manifest import DISCLAIMER, SCHEMA, Hardware, Manifest, Stream, load_manifest, save_manifest
from contract.network import Dense, Input, IntegerNetwork, save_network
from contract.npz import save_npz
from contract.preprocess import describe
from driver.accelerator import Accelerator
from driver.reference import Reference
from driver.simulated.core import ReferenceCore
from driver.simulated.device import SimulatedDevice, with_shell
from driver.simulated.stand_in import StandIn
from tests.randomness import generator

SIDE, SIMD = 8, 4
VOUCHED = ("*.npz", "accelerator.bit", "accelerator.hwh", "sim/*")
RNG = generator(7)


def tiny_network() -> IntegerNetwork:
    """A random network of 8 x 8 pixels."""
    hidden = Dense(
        RNG.integers(-7, 8, (6, SIDE * SIDE), dtype=np.int8), np.sort(RNG.integers(-9000, 9000, (6, 15)), axis=1)
    )
    return IntegerNetwork(Input(SIDE, SIDE), (hidden, Dense(RNG.integers(-7, 8, (1, 6), dtype=np.int8), None)))


def write_folder(out: Path) -> None:
    """Write a deploy folder without bitstream, as `cxrflow package` does."""
    network = tiny_network()
    pixels = RNG.integers(0, 256, (50, SIDE, SIDE), dtype=np.uint8)
    save_network(out / "reference.npz", network)
    save_npz(out / "golden.npz", {"pixels": pixels, "outputs": network.outputs(pixels)[-1]})
    write_manifest(out)


# Speaks the protocol of `harness --serve`: an image's logit is the sum of its bytes.
PROGRAM = """#!{python}
import struct, sys
beats, size = int(sys.argv[2]), int(sys.argv[3])
inside, cycles, stdin = b"", 0, sys.stdin.buffer
while command := stdin.read(1):
    results = []
    if command == b"R":
        inside = b""
    else:
        count, last = struct.unpack("<IB", stdin.read(5))
        inside += stdin.read(count * size)
        cycles += count
        while len(inside) >= beats * size:
            image, inside = inside[: beats * size], inside[beats * size :]
            results.append((-sum(image), last and not inside))
        if sum(image) == 0:
            sys.exit("no light")
    sys.stdout.buffer.write(struct.pack("<IQ", len(results), cycles))
    for logit, last in results:
        sys.stdout.buffer.write(struct.pack("<iB", logit, last))
    sys.stdout.flush()
"""


def write_program(out: Path) -> Path:
    """Write a program that sums bytes, as a simulator."""
    program = out / "harness"
    program.write_text(PROGRAM.format(python=sys.executable), encoding="utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


def write_summing_folder(out: Path) -> IntegerNetwork:
    """Write a deploy folder whose network sums pixels, and with it a simulator."""
    network = IntegerNetwork(Input(SIDE, SIDE), (Dense(np.full((1, SIDE * SIDE), -1, np.int8), None),))
    pixels = some_pixels(20)
    save_network(out / "reference.npz", network)
    save_npz(out / "golden.npz", {"pixels": pixels, "outputs": network.outputs(pixels)[-1]})
    (out / "sim").mkdir()
    write_program(out / "sim")
    (out / "sim" / "weights.dat").write_text("ff\n")
    write_manifest(out)
    return network


def write_manifest(out: Path, **changes: Any) -> None:
    """Write accelerator.json for the arrays in `out`; `changes` replaces its fields."""
    beats = SIDE * SIDE // SIMD
    manifest = Manifest(
        schema=SCHEMA,
        name="tiny",
        disclaimer=DISCLAIMER,
        class_names=["NORMAL", "PNEUMONIA"],
        preprocessing=describe(),
        height=SIDE,
        width=SIDE,
        channels=1,
        datatype="uint8",
        outputs=1,
        decision=Decision(scale=0.125, offset=-1.0, threshold=3, rule="test"),
        hardware=Hardware(
            shell=None,
            board="pynq-z2",
            part="xc7z020clg400-1",
            clock_mhz=100.0,
            input=Stream([SIDE, SIDE], "uint8", [beats, SIMD], beats * SIMD, 8 * SIMD),
            output=Stream([1], "int32", [1, 1], 4, 32),
            dma={},
            cycles_per_image=beats,
        ),
        sha256={
            str(p.relative_to(out)): hashlib.sha256(p.read_bytes()).hexdigest()
            for pattern in VOUCHED
            for p in sorted(out.glob(pattern))
        },
        versions={},
        provenance={},
    )
    save_manifest(out / "accelerator.json", replace(manifest, **changes))


class Bench:
    """One simulated device around the folder's network, and accelerators on it."""

    def __init__(self, folder: Path, shell: str, **changes: Any) -> None:
        self.folder = folder
        hardware = load_manifest(folder / "accelerator.json").hardware
        assert hardware is not None
        self.hardware = replace(with_shell(hardware, shell), **changes)
        self.reference = Reference.load(folder / "reference.npz")
        core = ReferenceCore(self.reference, self.hardware.input)
        self.device = SimulatedDevice(self.hardware, core, memory_base=0x1_0000_0000)  # needs both address words

    def open(self, **options: Any) -> Accelerator:
        write_manifest(self.folder, hardware=self.hardware)
        options = {"capacity": 16, **options}
        return Accelerator(self.folder, "board", runtime=StandIn(self.device), **options)


def some_pixels(count: int) -> NDArray[np.uint8]:
    """Random images."""
    return RNG.integers(0, 256, (count, SIDE, SIDE), dtype=np.uint8)
