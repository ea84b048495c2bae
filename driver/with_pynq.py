"""`python -m driver.with_pynq FOLDER`: a deploy folder's golden vectors through the real pynq package.

What runs is pynq's own overlay, buffers, clocks and registers; what is simulated is the board below them, with the RTL
in Verilator. pynq 4.0.0 cannot load an overlay on Zynq-7000 (its metadata parser finds no clock there), so the
simulated board is a ZCU104 whatever the folder was made for; the streams are the folder's own.
"""

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from contract.errors import ConfigError, CxrflowError
from contract.manifest import save_manifest
from driver.accelerator import Accelerator
from driver.package import open_package
from driver.simulated.core import beat_bytes
from driver.simulated.device import SimulatedDevice, with_shell
from driver.simulated.pynq_device import pynq_runtime
from driver.simulated.runtime import PROGRAM
from driver.simulated.verilated import VerilatedCore


def verify(folder: Path, shell: str, *, capacity: int) -> int:
    """Compare every golden logit; return how many there are.

    Raises:
        ConfigError: the folder holds no simulator.
        MismatchError: a logit differs.
    """
    package = open_package(folder)
    hardware, program = package.manifest.hardware, package.path(PROGRAM)
    if hardware is None or program is None:
        raise ConfigError(f"{folder} holds no simulator, expected {PROGRAM}. Run `cxrflow simulate` and package again.")
    hardware = replace(with_shell(hardware, shell), board="zcu104", part="xczu7ev-ffvc1156-2-e")
    beats, results = hardware.input.folded_shape[0], hardware.output.shape[0]
    with (
        VerilatedCore(
            program, program.parent, beats=beats, beat_bytes=beat_bytes(hardware.input), results=results
        ) as core,
        tempfile.TemporaryDirectory() as changed,
    ):
        # The same files under a manifest with a shell, as after a bitstream was built.
        for name in package.manifest.sha256:
            (Path(changed) / name).parent.mkdir(exist_ok=True)
            (Path(changed) / name).symlink_to((folder / name).resolve())
        save_manifest(Path(changed) / "accelerator.json", replace(package.manifest, hardware=hardware))
        runtime = pynq_runtime(SimulatedDevice(hardware, core))
        with Accelerator(changed, "board", runtime=runtime, capacity=capacity) as accelerator:
            return accelerator.verify()


def main() -> int:
    """Verify one folder with both shells; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="deploy folder with sim/")
    parser.add_argument("--capacity", type=int, default=256, help="images per DMA transfer")
    options = parser.parse_args()
    import pynq

    for shell in ("axi_dma", "finn_iodma"):
        try:
            count = verify(options.folder, shell, capacity=options.capacity)
        except CxrflowError as err:
            print(f"error: {err}", file=sys.stderr)
            return err.exit_code
        print(f"pynq {pynq.__version__}, {shell}, RTL in Verilator: all {count} golden logits are equal")
    return 0


if __name__ == "__main__":
    sys.exit(main())
