"""The Vivado project of a verified design: a folder that can be copied to where Vivado is and sourced there.

The Tcl is the same for every design; `settings.tcl` holds all that differs. Nothing in the folder is an absolute path.
"""

import hashlib
import shutil
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from contract.record import read_record
from contract.shells import CELLS, DMA_LENGTH_BITS
from finn_build.flows.vivado.listed import LISTED
from finn_build.flows.vivado.streams import Streams, plan_streams
from finn_build.licences import write_licences
from finn_build.records import Built
from finn_build.stitch import LOGIT_BITS, TOP, load_design
from finn_build.targets.boards import BOARDS

TEMPLATES = resources.files("finn_build") / "flows" / "vivado" / "tcl"
SCRIPTS = ("build", "block_design", "common", "memories", "synth")
DMA_NAME = CELLS["axi_dma"]["dma"]
JOBS = 4  # processes that Vivado may use


def write_project(build_dir: Path, out: Path) -> None:
    """Write the new folder `out`: the design's Verilog and memory files, and the Tcl that builds a bitstream of it.

    Args:
        build_dir: what `build` wrote.
        out: created.

    Raises:
        ConfigError: there is no legal stream width.
        ArtifactError: a file of the build is missing or damaged.
    """
    build = read_record(build_dir / "build.json", Built)
    board, rtl = BOARDS[build.board], build_dir / "rtl"
    design = load_design(rtl)
    streams = planned_streams(build_dir)
    memories = sorted(path.name for path in rtl.glob("*.dat"))
    (out / "hdl").mkdir(parents=True)
    for name in (*design.sources, *memories):
        shutil.copyfile(rtl / name, out / "hdl" / name)
    for script in SCRIPTS:
        (out / f"{script}.tcl").write_text((TEMPLATES / f"{script}.tcl").read_text(encoding="utf-8"), encoding="utf-8")
    write_licences(out)
    clock = f"create_clock -period {build.clk_ns:.3f} -name ap_clk [get_ports ap_clk]\n"
    (out / "clock.xdc").write_text(f"# Only for synthesis of the accelerator alone.\n{clock}", encoding="ascii")
    settings: dict[str, object] = {
        "board_name": board.name,
        "part": board.part,
        "board_parts": board.board_parts,
        "ps": board.ps,
        "ps_settings": dict(board.ps_settings),
        "clock_mhz": f"{1e3 / build.clk_ns:.6f}",
        "design_name": "shell",
        "dma_name": DMA_NAME,
        "length_bits": DMA_LENGTH_BITS,
        "memory_bits": streams.memory,
        "dma_bits": streams.dma,
        "accelerator_bits": streams.accelerator,
        "result_bits": LOGIT_BITS,
        "jobs": JOBS,
        "sources": [f"hdl/{name}" for name in design.sources],
        "memories": [f"hdl/{name}" for name in memories],
        "listed": LISTED,
    }
    text = "".join(f"set {name} {_tcl(value)}\n" for name, value in settings.items())
    key = _hash_folder(out, text)
    head = f"# Written by cxrflow: {TOP} on {board.name}, shell axi_dma. Everything that differs between designs.\n"
    (out / "settings.tcl").write_text(f"{head}{text}set project_key {key}\n", encoding="utf-8")


def planned_streams(build_dir: Path) -> Streams:
    """Return the widths of the shell around the design in `build_dir`."""
    design, board = load_design(build_dir / "rtl"), BOARDS[read_record(build_dir / "build.json", Built).board]
    image_bytes = design.in_beats * design.in_bits // 8
    return plan_streams(design.in_bits, image_bytes=image_bytes, memory_bits=board.dma_bits)


def project_key(project: Path) -> str:
    """Return the key of a project, by which results that were made elsewhere are told from those of another design."""
    return (project / "settings.tcl").read_text(encoding="utf-8").split()[-1]


def _hash_folder(folder: Path, settings: str) -> str:
    digest = hashlib.sha256(settings.encode())
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _tcl(value: object) -> str:
    """Return a value as a Tcl word, a mapping as a list of names and values. No value of ours holds a brace."""
    if isinstance(value, Mapping):
        value = [part for pair in value.items() for part in pair]
    if isinstance(value, (list, tuple)):
        return "{" + " ".join(_tcl(part) for part in value) + "}"
    text = str(value)
    assert not set(text) & set("{}\\"), text
    return "{" + text + "}"
