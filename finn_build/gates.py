"""Simulate the netlist that synthesis makes, gate by gate: the DSPs that FINN's RTL simulation goes around included.

In Verilator finn-rtllib's matrix-vector unit is behavioural code; on a part it is DSP48 primitives with packed
operands. Here the whole design is synthesised into one flat netlist, which runs with Yosys' cell models. Yosys has no
behaviour for block RAMs and the DSP48E2: theirs are in `gate_cells.v`.
"""

import json
import re
import shutil
from dataclasses import asdict, replace
from importlib import resources
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
        (folder / "cells.v").write_text(_cells(text), encoding="utf-8")
        (folder / "sim_top.v").write_text(sim_top(design, ["s_axis", "m_axis"], []), encoding="utf-8")
        black_box = replace(design.nodes[-1], name=TOP, in_bits=design.in_bits)  # the harness sees its two streams only
        flat = replace(design, nodes=(black_box,), sources=("cells.v", "netlist.v"))
        harness = verilate(folder, flat, scratch / "verilator", quick=True)
        return usage, simulate(harness, folder, flat, pixels, stall_seed=stall_seed)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _cells(netlist: str) -> str:
    """Return the models of the cells that the netlist uses."""
    library = Path(str(resources.files("pyosys"))) / "share" / "xilinx" / "cells_sim.v"
    models = _modules(library.read_text(encoding="utf-8"))
    own = (Path(str(resources.files("finn_build"))) / "gate_cells.v").read_text(encoding="utf-8")
    models |= _modules(own) | {name: _block_ram(name) for name in _RAMB}
    used = set(re.findall(r"^  ([A-Z]\w*) (?:#\(|\S+ +\()", netlist, flags=re.MULTILINE))
    missing = sorted(used - models.keys())
    if missing:
        raise ToolError(f"the netlist has cells without a model: {', '.join(missing)}. Add one to gate_cells.v.")
    core = [models["gate_ramb"]] if used & _RAMB.keys() else []
    return "\n".join(core + [models[name] for name in sorted(used)])


def _modules(text: str) -> dict[str, str]:
    """Return the modules of a file by name, without the timing that a simulation of cycles has no use for."""
    text = re.sub(r"^\s*specify\b.*?^\s*endspecify\b", "", text, flags=re.DOTALL | re.MULTILINE)
    return {
        name: module
        for module, name in re.findall(r"^(module (\w+)\b.*?^endmodule)\b", text, flags=re.DOTALL | re.MULTILINE)
    }


_RAMB = {"RAMB18E1": 16, "RAMB36E1": 32, "RAMB18E2": 16, "RAMB36E2": 32}  # bits of one data port


def _block_ram(cell: str) -> str:
    """Return a block RAM cell, with the pins and parameters that Yosys sets, around the model of all of them."""
    bits = _RAMB[cell]
    parity, blocks = bits // 8, 4 * bits
    top = 13 if bits == 16 else 14  # of the address
    spare = ", ADDRENA, ADDRENB, SLEEP" if cell.endswith("E2") else ""
    o, i = ("DOUT", "DIN") if cell.endswith("E2") else ("DO", "DI")
    data = [f"INIT_{n:02X}" for n in reversed(range(blocks))]
    parities = [f"INITP_{n:02X}" for n in reversed(range(blocks // 8))]

    def value(name: str) -> str:
        """Return a parameter of one port, parity above data, on the 8 + 64 bits of the shared model."""
        return _word([f"{name}[{bits + parity - 1}:{bits}]"], [f"{name}[{bits - 1}:0]"], bits)

    both = _word([f"{i}PB{i}P", f"{i}PA{i}P"], [f"{i}B{i}", f"{i}A{i}"], bits)
    return f"""\
module {cell} #(
    parameter [255:0] {", ".join(f"{name} = 0" for name in (*data, *parities))},
    parameter [{bits + parity - 1}:0] INIT_A = 0, INIT_B = 0, SRVAL_A = 0, SRVAL_B = 0,
    parameter integer READ_WIDTH_A = 0, READ_WIDTH_B = 0, WRITE_WIDTH_A = 0, WRITE_WIDTH_B = 0,
    parameter integer DOA_REG = 0, DOB_REG = 0,
    parameter WRITE_MODE_A = "", WRITE_MODE_B = "", RAM_MODE = "", RAM_EXTENSION_A = "NONE", RAM_EXTENSION_B = "NONE"
) (
    input CLKARDCLK, CLKBWRCLK, ENARDEN, ENBWREN, RSTRAMARSTRAM, RSTRAMB,
    input REGCEAREGCE, REGCEB, RSTREGARSTREG, RSTREGB{spare},
    input [{15 if cell == "RAMB36E1" else top}:0] ADDRARDADDR, ADDRBWRADDR,
    input [{bits - 1}:0] {i}A{i}, {i}B{i},
    input [{parity - 1}:0] {i}PA{i}P, {i}PB{i}P, WEA,
    input [{2 * parity - 1}:0] WEBWE,
    output [{bits - 1}:0] {o}A{o}, {o}B{o},
    output [{parity - 1}:0] {o}PA{o}P, {o}PB{o}P
);
    wire [71:0] q_a, q_b;
    gate_ramb #(
        .BYTES({32 * blocks}), .INIT({{{", ".join(data)}}}), .INITP({{{", ".join(parities)}}}),
        .READ_WIDTH_A(READ_WIDTH_A), .READ_WIDTH_B(READ_WIDTH_B), .WRITE_WIDTH_A(WRITE_WIDTH_A),
        .WRITE_WIDTH_B(WRITE_WIDTH_B), .INIT_A({value("INIT_A")}), .INIT_B({value("INIT_B")}),
        .SRVAL_A({value("SRVAL_A")}), .SRVAL_B({value("SRVAL_B")})
    ) core (
        .clk_a(CLKARDCLK), .clk_b(CLKBWRCLK), .en_a(ENARDEN), .en_b(ENBWREN), .rst_a(RSTRAMARSTRAM), .rst_b(RSTRAMB),
        .addr_a(16'(ADDRARDADDR[{top}:0])), .addr_b(16'(ADDRBWRADDR[{top}:0])), .we_a(8'(WEA)), .we_b(8'(WEBWE)),
        .data_b(WRITE_WIDTH_B > {bits + parity} ? {both} : {_word([f"{i}PB{i}P"], [f"{i}B{i}"], bits)}),
        .q_a(q_a), .q_b(q_b)
    );
    localparam [0:0] DOUBLE = READ_WIDTH_A > {bits + parity};
    assign {o}A{o} = q_a[{bits - 1}:0];
    assign {o}PA{o}P = q_a[64 +: {parity}];
    assign {o}B{o} = DOUBLE ? q_a[{bits} +: {bits}] : q_b[{bits - 1}:0];
    assign {o}PB{o}P = DOUBLE ? q_a[{64 + parity} +: {parity}] : q_b[64 +: {parity}];
    initial if (DOA_REG != 0 || DOB_REG != 0 || RAM_EXTENSION_A != "NONE" || RAM_EXTENSION_B != "NONE")
        $fatal(1, "this {cell} has no model");
endmodule
"""


def _word(parity: list[str], data: list[str], bits: int) -> str:
    """Return the concatenation of pins, the first on top, on 8 parity and 64 data bits."""
    above, between = 8 - len(parity) * bits // 8, 64 - len(data) * bits
    parts = [f"{above}'b0"] * (above > 0) + parity + [f"{between}'b0"] * (between > 0) + data
    return f"{{{', '.join(parts)}}}"
