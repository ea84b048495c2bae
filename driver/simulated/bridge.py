"""`python -m driver.simulated.bridge FOLDER PROGRAM [IMAGE ...]`: a program in C on the simulated device.

The program's registers are a socket's questions, its buffer is a file that it maps; `c/infer.c` is one, and knows no
more of this than that a path may be a socket. A question is `r` or `w`, an address of 8 bytes and a value of 4, all
little-endian; the answer is 4 bytes. The DMA sees the file's content as it is when a register is written, and the file
has what the DMA wrote when one is read.

Without images the program gets golden ones, and its integers are compared with theirs.
"""

import argparse
import contextlib
import re
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

if __name__ == "__main__":
    from driver.needed import require_packages

    require_packages()

from contract.errors import ConfigError, CxrflowError, MismatchError, ToolError
from contract.manifest import Hardware
from contract.npz import load_npz
from contract.shells import CELLS
from driver.package import Package, open_package
from driver.reference import Reference
from driver.simulated.core import Core, ReferenceCore
from driver.simulated.device import SimulatedDevice, with_shell
from driver.simulated.memory import PAGE
from driver.simulated.runtime import PROGRAM, open_core

GOLDEN = 16  # images that a program gets that is given none
LIMIT_S = 600.0  # for a program


def run(device: SimulatedDevice, program: Sequence[str], images: Sequence[Path]) -> str:
    """Run a program with images on a device; return what it printed. Raises ToolError: it failed."""
    hardware = device.hardware
    size = -(-(hardware.input.packed_bytes + hardware.output.packed_bytes + PAGE) // PAGE) * PAGE
    address = device.memory.allocate(size)
    device.download()
    with tempfile.TemporaryDirectory() as place:
        line, memory = Path(place) / "registers", Path(place) / "memory"
        memory.write_bytes(bytes(size))
        windows = [f"{line}@{device.ips[hardware.dma[role]].address:#x}" for role in CELLS[str(hardware.shell)]]
        options = [text for window in windows for text in ("-r", window)]
        command = [*program, *options, "-b", f"{memory}@{address:#x}", *map(str, images)]
        with _answering(line, device, memory, address):
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
            except (OSError, subprocess.TimeoutExpired) as err:
                raise ToolError(f"{program[0]} cannot be run ({err}). Compile it first: `make -C c`.") from err
    if done.returncode:
        raise ToolError(f"{program[0]} ended with {done.returncode}: {' '.join(done.stderr.split())[:500]}")
    return done.stdout


@contextlib.contextmanager
def _answering(line: Path, device: SimulatedDevice, memory: Path, address: int) -> Iterator[None]:
    """Answer whoever connects to the socket `line`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(line))
        listener.listen()

        def accept() -> None:
            with contextlib.suppress(OSError):  # closed
                while True:
                    connection, _ = listener.accept()
                    threading.Thread(target=_answer, args=(connection, device, memory, address), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)


def _answer(connection: socket.socket, device: SimulatedDevice, memory: Path, address: int) -> None:
    """Answer one window's questions until the program is gone, or asks what no device answers."""
    question = struct.Struct("<cQI")
    with connection, connection.makefile("rb") as asked, memory.open("r+b", buffering=0) as shared:
        while len(message := asked.read(question.size)) == question.size:
            what, register, value = question.unpack(message)
            try:
                if what == b"w":
                    shared.seek(0)
                    device.memory.write(address, shared.read())
                    device.write(register, value)
                else:
                    value = device.read(register)
                    shared.seek(0)
                    shared.write(device.memory.read(address, memory.stat().st_size))
                connection.sendall(struct.pack("<I", value))
            except (OSError, CxrflowError) as err:
                print(f"error: {err}", file=sys.stderr)
                return


def compare(package: Package, device: SimulatedDevice, program: Sequence[str], *, count: int = GOLDEN) -> int:
    """Give a program golden images; return how many. Raises MismatchError: its integers are others."""
    golden = load_npz(package.folder / "golden.npz")
    pixels, outputs = golden["pixels"][:count], golden["outputs"][:count]
    stream, values = device.hardware.input, package.manifest.input.values
    packed = values.pack(pixels.reshape(len(pixels), -1), lanes=stream.folded_shape[1])
    with tempfile.TemporaryDirectory() as place:
        files = [Path(place) / f"golden{i}.raw" for i in range(len(pixels))]
        for file, content in zip(files, packed, strict=True):
            file.write_bytes(content.tobytes())
        said = run(device, program, files)
    found = [[int(n) for n in line.split()] for line in re.findall(r"  outputs((?: -?\d+)+)", said)]
    if found != outputs.tolist():
        wrong = next((i for i, (a, b) in enumerate(zip(found, outputs.tolist(), strict=False)) if a != b), len(found))
        raise MismatchError(
            f"{program[0]}: of {len(outputs)} golden images it answered {len(found)}, and number {wrong} with other "
            "integers than golden.npz has. This is a bug of the program."
        )
    return len(found)


def _core(package: Package, hardware: Hardware) -> Core:
    """Return the RTL in its simulator where the folder has it, else the reference."""
    if package.path(PROGRAM) is not None:
        return open_core(package, hardware)
    return ReferenceCore(Reference.load(package.folder / "reference.npz").outputs, hardware.input)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one program; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m driver.simulated.bridge", description=(__doc__ or "").split(":")[0]
    )
    parser.add_argument("folder", type=Path, help="deploy folder")
    parser.add_argument("program", help="such as c/infer; compiled with the folder's cxrflow_accel.h")
    parser.add_argument("images", nargs="*", type=Path, help="for the program (default: golden ones, compared)")
    parser.add_argument("--point", help="operating point of the class, which the program is given as -p")
    options = parser.parse_args(arguments)
    try:
        package = open_package(options.folder)
        if package.manifest.hardware is None:
            raise ConfigError(f"{options.folder} has no hardware, expected a folder that was built. Package it again.")
        hardware = with_shell(package.manifest.hardware)
        device = SimulatedDevice(hardware, _core(package, hardware))
        program = [str(Path(options.program).resolve()), *(["-p", options.point] if options.point else [])]
        try:
            if options.images:
                print(run(device, program, options.images), end="")
            else:
                count = compare(package, device, program)
                print(f"{options.program}, {hardware.shell}, simulated: all {count} golden images are equal")
        finally:
            device.close()
    except CxrflowError as err:
        print(f"error: {err}", file=sys.stderr)
        return err.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
