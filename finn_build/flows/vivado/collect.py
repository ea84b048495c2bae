"""What Vivado leaves, checked once more and as JSON: nothing is a result before every figure was read and is good."""

import json
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from contract.errors import ArtifactError, ToolError
from contract.files import hash_file
from contract.record import read_record
from contract.shells import CELLS, DMA_LENGTH_BITS
from finn_build.flows.vivado.prepare import DMA_NAME, planned_streams, project_key
from finn_build.flows.vivado.reports import (
    RESOURCES,
    layer_resources,
    parse_hierarchy,
    parse_power,
    parse_timing,
    parse_utilization,
    read_report,
)
from finn_build.flows.vivado.streams import Streams
from finn_build.records import Built
from finn_build.stitch import LOGIT_BITS, TOP, load_design
from finn_build.targets.boards import BOARDS, Board

REPORTS = ("timing_summary", "utilization", "utilization_hierarchical", "power")
BITSTREAM = ("accelerator.bit", "accelerator.hwh")
CATALOGUE = {"LUT": "lut", "FF": "ff", "BRAM_18K": "bram18", "DSP": "dsp", "URAM": "uram"}  # names in boards.toml


def belongs(results: Path, project: Path) -> bool:
    """Whether results of Vivado are there and are of the project that is there now."""
    facts = results / "facts.txt"
    return facts.is_file() and _facts(facts).get("project_key") == project_key(project)


def collect_bitstream(build_dir: Path, project: Path, out: Path) -> dict[str, Any]:
    """Check what `build.tcl` left in the project's `results` and copy it into the new folder `out`, the bitstream last.

    Returns what `bitstream.json` holds.

    Raises:
        ToolError: timing is not met, the part is too small, or a report cannot be read.
        ArtifactError: the bitstream or its description is not what was asked for.
    """
    results = project / "results"
    content = _figures(build_dir, results)
    _check_description(results / "accelerator.hwh", planned_streams(build_dir))
    if not (results / "accelerator.bit").is_file() or not (results / "accelerator.bit").stat().st_size:
        raise ArtifactError(f"{results / 'accelerator.bit'} is not there or empty. Build the bitstream again.")
    out.mkdir(parents=True)
    _copy_reports(results, out)
    facts = _facts(results / "facts.txt")
    content = {
        "shell": "axi_dma",
        "dma": CELLS["axi_dma"],
        **content,
        "vivado": facts.get("vivado", ""),
        "board_file": facts.get("board_part", ""),
        "ps_clock_mhz": _clock(facts, results),
        "sha256": {name: hash_file(results / name) for name in BITSTREAM},
    }
    _write(out / "bitstream.json", content)
    for name in reversed(BITSTREAM):
        shutil.copyfile(results / name, out / name)
    return content


def collect_synthesis(build_dir: Path, project: Path, out: Path) -> dict[str, Any]:
    """Do the same for `synth.tcl`: write `synth.json` and the reports into the new folder `out`."""
    results = project / "synth_results"
    content = _figures(build_dir, results)
    out.mkdir(parents=True)
    _copy_reports(results, out)
    content = {"tool": "vivado", "vivado": _facts(results / "facts.txt").get("vivado", ""), **content}
    _write(out / "synth.json", content)
    return content


def _clock(facts: dict[str, str], results: Path) -> float:
    try:
        return float(facts["clock_mhz"])
    except (KeyError, ValueError):
        raise ArtifactError(
            f"{results / 'facts.txt'} has no clock_mhz that is a number, as Vivado writes it. Build it again."
        ) from None


def _figures(build_dir: Path, results: Path) -> dict[str, Any]:
    """Read every report. Raises ToolError if the design is not good."""
    text = {name: read_report(results / "reports" / f"{name}.rpt") for name in REPORTS}
    build = read_record(build_dir / "build.json", Built)
    board = BOARDS[build.board]
    timing = parse_timing(text["timing_summary"])
    if not timing.met:
        raise ToolError(
            f"timing is not met at {1e3 / timing.period_ns:g} MHz: worst slack of setup {timing.setup_ns:g} ns, hold "
            f"{timing.hold_ns:g} ns, pulse width {timing.pulse_ns:g} ns. Raise 'build.clk_ns'."
        )
    if timing.period_ns > 1.01 * build.clk_ns:
        raise ToolError(
            f"timing was checked for a clock of {timing.period_ns:g} ns, expected {build.clk_ns:g} ns as the build "
            "has it. Build the bitstream again."
        )
    used = parse_utilization(text["utilization"])
    _require_fit({name: count for name, (count, _) in used.items()}, board)
    instances = parse_hierarchy(text["utilization_hierarchical"])
    accelerator = next((i.used for i in instances if i.name == TOP), None)
    return {
        "board": board.name,
        "part": board.part,
        "clock_mhz": 1e3 / timing.period_ns,
        "wns_ns": timing.setup_ns,
        "whs_ns": timing.hold_ns,
        "wpws_ns": timing.pulse_ns,
        "fmax_mhz": timing.fmax_mhz,
        "power": {**parse_power(text["power"]), "what": "Vivado's estimate without the design's activity"},
        "used": {name: count for name, (count, _) in used.items()},
        "available": {name: count for name, (_, count) in used.items()},
        "above_budget": [n for n, key in CATALOGUE.items() if used[n][0] > board.usable[key]],
        "accelerator": accelerator,
        "layers": layer_resources(instances, load_design(build_dir / "rtl").nodes),
    }


def _require_fit(used: Mapping[str, int], board: Board) -> None:
    """Stop if the design takes more than the part has."""
    for name in RESOURCES:
        available = getattr(board, CATALOGUE[name])
        if used[name] > available:
            raise ToolError(
                f"the design takes {used[name]:,} {name}, but {board.part} has {available:,}. Lower "
                "'build.target_fps', or take a bigger board."
            )


def _check_description(path: Path, streams: Streams) -> None:
    """Stop unless pynq will find in the .hwh what the driver counts on."""
    try:
        modules = {module.get("INSTANCE"): module for module in ET.parse(path).getroot().iter("MODULE")}
    except (OSError, ET.ParseError) as err:
        raise ArtifactError(f"{path} is no hardware description ({err}). Build the bitstream again.") from err
    if DMA_NAME not in modules:
        raise ArtifactError(
            f"{path} has no cell {DMA_NAME}, found {', '.join(map(str, modules)) or 'none'}. Build the bitstream again."
        )
    parameters = {p.get("NAME", "").lower(): p.get("VALUE") for p in modules[DMA_NAME].iter("PARAMETER")}
    wanted = {
        "c_include_sg": "0",
        "c_sg_length_width": str(DMA_LENGTH_BITS),
        "c_m_axis_mm2s_tdata_width": str(streams.dma),
        "c_s_axis_s2mm_tdata_width": str(LOGIT_BITS),
    }
    for name, value in wanted.items():
        if parameters.get(name) != value:
            raise ArtifactError(
                f"{path}: {name} of {DMA_NAME} is {parameters.get(name)}, expected {value}. Build the bitstream again."
            )


def _copy_reports(results: Path, out: Path) -> None:
    (out / "reports").mkdir()
    for name in REPORTS:
        shutil.copyfile(results / "reports" / f"{name}.rpt", out / "reports" / f"{name}.rpt")


def _facts(path: Path) -> dict[str, str]:
    """Read `facts.txt`: a name and a value on each line."""
    pairs = (line.partition(" ") for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
    return {name: value.strip() for name, _, value in pairs}


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
