"""The simulated device of a deploy folder: its RTL in Verilator behind a DMA model, with pynq's surface."""

from pathlib import Path
from typing import Any

from contract.errors import ConfigError
from contract.manifest import Hardware
from driver.package import Package
from driver.simulated.core import beat_bytes
from driver.simulated.device import SimulatedDevice, with_shell
from driver.simulated.stand_in import StandIn
from driver.simulated.verilated import VerilatedCore

PROGRAM = "sim/harness"  # in the deploy folder, beside the memory files that it reads


def open_simulated(package: Package, hardware: Hardware) -> tuple[Any, Hardware, VerilatedCore]:
    """Start the simulator; return what stands for pynq, the hardware with its shell, and the simulator to close.

    Raises:
        ConfigError: the folder holds no simulator.
        ToolError: the simulator does not start on this machine.
    """
    hardware = with_shell(hardware)
    core = open_core(package, hardware)
    return StandIn(SimulatedDevice(hardware, core)), hardware, core


def open_core(package: Package, hardware: Hardware) -> VerilatedCore:
    """Start the simulator of the folder's RTL; whoever asked closes it. Raises as `open_simulated`."""
    program = package.path(PROGRAM)
    if program is None:
        raise ConfigError(
            f"{package.folder} holds no simulator, expected {PROGRAM}. Run `cxrflow simulate` and package the run "
            "again, or use device='cpu'."
        )
    source = hardware.input
    files = [name for name in package.manifest.sha256 if Path(name).parent == Path(PROGRAM).parent]
    return VerilatedCore(
        program,
        program.parent,
        beats=source.folded_shape[0],
        beat_bytes=beat_bytes(source),
        results=hardware.output.shape[0],
        prove=lambda: package.prove(*files),
    )
