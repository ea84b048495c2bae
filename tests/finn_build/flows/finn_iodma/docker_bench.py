"""A machine with Vivado, Vitis HLS and a stand-in for Docker."""

import os
import sys
from pathlib import Path

import pytest

from finn_build.flows.finn_iodma import run
from finn_build.flows.finn_iodma.image import image_inputs
from finn_build.flows.finn_iodma.prepare import LICENSES

FAKES = Path(__file__).parent / "fakes"


def fake_docker(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put empty installations and fakes/docker, which FAKE_DOCKER tells how to end, into `folder` and on PATH."""
    for tool, program in (("Vivado", "vivado"), ("Vitis_HLS", "vitis_hls")):
        write(folder / "Xilinx" / tool / "2022.2" / "settings64.sh", "")
        write(folder / "Xilinx" / tool / "2022.2" / "bin" / program, "")
    # Without site-packages, and without whatever `env python3` would go through.
    write(folder / "bin" / "docker", f"#!{sys.executable} -ES\n" + (FAKES / "docker").read_text())
    write(folder / "fake" / "inputs", image_inputs())
    for name in ("XILINX_HLS", *LICENSES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XILINX_VIVADO", str(folder / "Xilinx" / "Vivado" / "2022.2"))
    monkeypatch.setenv("FAKE_DOCKER_FOLDER", str(folder / "fake"))
    monkeypatch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(os, "getuid", lambda: 1234)
    monkeypatch.setattr(os, "getgid", lambda: 567)
    monkeypatch.setattr(run, "POLL_S", 0.01)


def write(path: Path, text: str) -> None:
    """Write an executable file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
