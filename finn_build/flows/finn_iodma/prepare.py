"""What the container is given: a build that this shell can carry, the host's Vivado and Vitis HLS, and its arguments.

Vivado and Vitis HLS are mounted read-only at their own paths, because their settings name those.
"""

import os
import re
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from contract.errors import ArtifactError, ConfigError, ToolError, VendorToolError
from contract.files import read_json
from finn_build.flows.finn_iodma import AGAIN
from finn_build.flows.finn_iodma.image import REPOSITORY

if TYPE_CHECKING:
    from finn_build.targets.boards import Board

LICENSES = ("XILINXD_LICENSE_FILE", "LM_LICENSE_FILE")
CLK_NS = 10.0  # the only clock period that the driver and FINN's shell agree on


@dataclass(frozen=True)
class Xilinx:
    """A host's Vivado and Vitis HLS."""

    vivado: Path
    hls: Path
    program: str  # Vitis HLS' command
    mounts: tuple[Path, ...]  # folders that hold both, by every name that may lead to them


def require_buildable(build_dir: Path, board: "Board") -> None:
    """Stop unless a build is of this board and of a clock that this shell can have.

    Raises:
        ConfigError: it is not.
        ArtifactError: the build is missing or damaged.
    """
    path = build_dir / "build.json"
    try:
        summary = read_json(path, advice="Run `cxrflow build` first.")
        found, clk_ns = summary["board"], summary["clk_ns"]
    except (KeyError, TypeError) as err:
        raise ArtifactError(f"{path} is missing or damaged ({err}). Run `cxrflow build` first.") from err
    if found != board.name:
        raise ConfigError(
            f"{build_dir} was built for {found}, not for {board.name}. Run `cxrflow build` for that board."
        )
    if board.finn_name is None:
        raise ConfigError(f"FINN does not know {board.name}, so it has no shell of FINN's for it. Use axi_dma.")
    if clk_ns != CLK_NS:
        raise ConfigError(
            f"the build's clk_ns is {clk_ns:g}, but FINN's shell makes its clock from a PS clock of 100 MHz, and the "
            f"driver sets that PS clock to the accelerator's. Build again with clk_ns: {CLK_NS:g}, or use axi_dma."
        )


def find_xilinx(environment: Mapping[str, str]) -> Xilinx:
    """Find Vivado, from XILINX_VIVADO or PATH, and the Vitis HLS that belongs to it. Raises ToolError."""
    vivado = _vivado(environment)
    version = next((part for part in reversed(vivado.parts) if re.fullmatch(r"20\d\d\.[12](\.\d+)?", part)), None)
    if version is None:
        raise ToolError(
            f"{vivado} has no version such as 2022.2 in its path, which FINN reads there. "
            f"Set XILINX_VIVADO to the folder that holds settings64.sh, and {AGAIN}."
        )
    # ROOT/Vivado/2022.2, from 2025.1 on ROOT/2025.1/Vivado
    root = vivado.parent.parent
    program = "vitis_hls" if version[:6] <= "2024.2" else "vitis-run"
    named = environment.get("XILINX_HLS")
    places = [
        *([Path(named)] if named else []), root / "Vitis_HLS" / version, root / "Vitis" / version,
        root / version / "Vitis",
    ]  # fmt: skip
    for hls in places:
        if (hls / "settings64.sh").is_file() and (hls / "bin" / program).is_file():
            roots = {root} if root != Path("/") else {vivado}
            roots |= {root.resolve() for root in roots} | {vivado.resolve(), hls, hls.resolve()}
            return Xilinx(vivado, hls, program, _outermost(roots))
    raise ToolError(
        f"Vitis HLS {version} is not beside {vivado}: no bin/{program} in {', '.join(map(str, places))}. FINN's DMA "
        "engines need it. Install it or set XILINX_HLS, or use the shell axi_dma, which needs Vivado alone."
    )


def _vivado(environment: Mapping[str, str]) -> Path:
    program = shutil.which("vivado", path=environment.get("PATH", ""))
    named = environment.get("XILINX_VIVADO")
    if not named and program is None:
        raise VendorToolError(
            "Vivado is not found: XILINX_VIVADO is not set and vivado is not on PATH; everything up to it is done. "
            f"Source settings64.sh of your Vivado, and {AGAIN}, here or on a copy of this folder where Vivado is."
        )
    vivado = Path(named) if named else Path(str(program)).resolve().parent.parent
    if (
        not vivado.is_absolute()
        or not (vivado / "settings64.sh").is_file()
        or not (vivado / "bin" / "vivado").is_file()
    ):
        raise ToolError(
            f"{vivado} holds no Vivado: settings64.sh or bin/vivado is missing. "
            f"Set XILINX_VIVADO to the folder that holds them, and {AGAIN}."
        )
    return vivado


def _outermost(folders: set[Path]) -> tuple[Path, ...]:
    """Drop the folders that lie within others."""
    return tuple(sorted(f for f in folders if not any(other in f.parents for other in folders)))


def container_command(
    image: str, build_dir: Path, export_dir: Path, work: Path, xilinx: Xilinx, environment: Mapping[str, str]
) -> list[str]:
    """Return the arguments of `docker run`. Everything is mounted at its own path; only `work` can be written.

    Without a licence to ask for, the container has no network.

    Raises:
        ConfigError: a path that Docker or FINN can't take.
    """
    licenses = {name: environment[name] for name in LICENSES if environment.get(name)}
    files = {Path(part) for value in licenses.values() for part in value.split(":") if part.startswith("/")}
    code = {REPOSITORY / name for name in ("contract", "finn_build", "LICENSE")}  # the last is copied beside the RTL
    read_only = {build_dir, export_dir, *code, *xilinx.mounts, *files}
    for path in sorted({*read_only, work}):
        if re.search(r"[\s,:\"]", str(path)):
            raise ConfigError(
                f"{path} holds a space, comma, colon or quote, which Docker or FINN can't take. Move it elsewhere."
            )
        if not path.exists():
            raise ConfigError(
                f"{path} is not there, though {_origin(path, licenses)} names it. Correct it, and {AGAIN}."
            )
    variables = {
        **licenses,
        "CXRFLOW_VIVADO": str(xilinx.vivado),
        "CXRFLOW_HLS": str(xilinx.hls),
        "CXRFLOW_HLS_PROGRAM": xilinx.program,
        "HOME": str(work / "home"),
        "USER": "cxrflow",  # this user has no name inside
        "PYTHONPATH": str(REPOSITORY),
        "NUM_DEFAULT_WORKERS": "4",
    }
    return [
        "docker", "run", "--rm", "--init", "--pull", "never", "--platform", "linux/amd64",
        "--name", f"cxrflow-{uuid.uuid4().hex[:12]}",
        "--user", f"{os.getuid()}:{os.getgid()}", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
        "--network", "host" if licenses else "none",
        *(f"--mount=type=bind,source={path},target={path},readonly" for path in sorted(_outermost(read_only))),
        f"--mount=type=bind,source={work},target={work}",
        *(f"--env={name}={value}" for name, value in variables.items()),
        "--workdir", str(work),
        image, "python", "-m", "finn_build.flows.finn_iodma.container", str(build_dir), str(export_dir), str(work),
    ]  # fmt: skip


def _origin(path: Path, licenses: Mapping[str, str]) -> str:
    return next((name for name, value in licenses.items() if str(path) in value.split(":")), "this build")
