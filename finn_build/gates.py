"""Simulate the netlist that synthesis makes, gate by gate: the DSPs that FINN's RTL simulation goes around included.

In Verilator finn-rtllib's matrix-vector unit is behavioural code; on a part it is DSP48 primitives with packed
operands. Here the whole design is synthesised into one flat netlist, which runs with Yosys' cell models. Yosys has no
behaviour for block RAMs and the DSP48E2: theirs are in `targets/`.
"""

import json
import re
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from contract.errors import ToolError
from contract.golden import load_golden
from finn_build import diagnose
from finn_build.costs import Family
from finn_build.simulate import SimResult, simulate, verilate
from finn_build.stitch import TOP, Design, load_design, sim_top
from finn_build.synth import Usage, synthesise_whole
from finn_build.targets.families import FAMILIES
from finn_build.targets.families.family import DeviceFamily

GATE_IMAGES = 8  # back to back: no image starts or ends alone


def check_gates(build: Path, export: Path, out: Path, *, family: Family) -> dict[str, object]:
    """Simulate the netlist of the design in `build` on golden images; write gates.json into the new folder `out`.

    Raises:
        MismatchError: an integer differs.
        ArtifactError: a file of `export` or `build` is damaged.
        ToolError: as for `simulate_gates`.
    """
    golden, rtl = load_golden(export / "golden.npz"), build / "rtl"
    pixels, outputs = golden.pixels[:GATE_IMAGES], golden.outputs[:GATE_IMAGES]
    out.mkdir(parents=True)
    usage, result = simulate_gates(rtl, load_design(rtl), pixels, family=family, scratch=out / "scratch")
    diagnose.require_equal(result.outputs, outputs, stage="gates")
    content: dict[str, object] = {
        "family": family,
        "images": len(outputs),
        "differing": 0,
        "cycles": result.cycles,
        "netlist": asdict(usage),
    }
    (out / "gates.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return content


def simulate_gates(
    rtl: Path,
    design: Design,
    pixels: NDArray[Any],
    *,
    family: Family,
    scratch: Path,
    stall_seed: int | None = None,
) -> tuple[Usage, SimResult]:
    """Synthesise the design in the folder `rtl` and stream images through the netlist.

    Args:
        rtl: what `stitch` wrote.
        design: what `stitch` returned.
        pixels: (N, ...) images.
        family: device family.
        scratch: folder for Yosys and Verilator, created and removed.
        stall_seed: as for `simulate`.

    Returns:
        The netlist's cells, and the simulation; its two streams are the input and the output of the accelerator.

    Raises:
        MismatchError: the netlist stops, or TLAST is wrong.
        ToolError: a tool is missing or fails, or a cell has no model.
    """
    try:
        usage, netlist = synthesise_whole(rtl, design, family=family, scratch=scratch / "yosys")
        folder = scratch / "netlist"
        folder.mkdir()
        text = netlist.read_text(encoding="utf-8")
        (folder / "netlist.v").write_text(text, encoding="utf-8")
        (folder / "cells.v").write_text(_cells(text, FAMILIES[family]), encoding="utf-8")
        (folder / "sim_top.v").write_text(sim_top(design, ["s_axis", "m_axis"], []), encoding="utf-8")
        black_box = replace(design.nodes[-1], name=TOP, in_bits=design.in_bits)  # the harness sees its two streams only
        flat = replace(design, nodes=(black_box,), sources=("cells.v", "netlist.v"))
        harness = verilate(folder, flat, scratch / "verilator")
        return usage, simulate(harness, folder, flat, pixels, stall_seed=stall_seed)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _cells(netlist: str, family: DeviceFamily) -> str:
    """Return the models of the cells that the netlist uses."""
    models = _modules((family.library / "cells_sim.v").read_text(encoding="utf-8"))
    models |= _modules(family.gate_cells.read_text(encoding="utf-8"))
    models |= {name: family.block_ram(name) for name in family.rams}
    used = set(re.findall(r"^  ([A-Z]\w*) (?:#\(|\S+ +\()", netlist, flags=re.MULTILINE))
    missing = sorted(used - models.keys())
    if missing:
        raise ToolError(
            f"the netlist has cells without a model: {', '.join(missing)}. Add one to {family.gate_cells.name}."
        )
    core = [models["gate_ramb"]] if used & family.rams.keys() else []
    return "\n".join(core + [models[name] for name in sorted(used)])


def _modules(text: str) -> dict[str, str]:
    """Return the modules of a file by name, without the timing that a simulation of cycles has no use for."""
    text = re.sub(r"^\s*specify\b.*?^\s*endspecify\b", "", text, flags=re.DOTALL | re.MULTILINE)
    return {
        name: module
        for module, name in re.findall(r"^(module (\w+)\b.*?^endmodule)\b", text, flags=re.DOTALL | re.MULTILINE)
    }
