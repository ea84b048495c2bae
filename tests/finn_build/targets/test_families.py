"""A device family answers for itself, and nobody else knows one by its name."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

import finn_build
from contract.processors import PROCESSORS
from finn_build.ops import mvau
from finn_build.targets.boards import BOARDS
from finn_build.targets.families import FAMILIES, family_of
from tests.rtl.verilator_env import executable

ROOT = Path(finn_build.__file__).parent


def test_no_other_file_names_a_family() -> None:
    names = {name for family in FAMILIES.values() for name in (family.name, family.vivado, family.ps)}
    beginnings = tuple(beginning for system in PROCESSORS for beginning in system.parts)
    folders = (ROOT, *(ROOT.parent / name for name in ("cxrflow", "driver", "benchmarks")))
    files = [path for folder in folders for path in folder.rglob("*.py") if ROOT / "targets" not in path.parents]
    assert len(files) > 50
    files.remove(ROOT.parent / "driver" / "with_pynq.py")  # its board is a ZCU104 whatever is run
    for path in files:
        text = path.read_text(encoding="utf-8")
        if not any(name in text for name in (*names, *beginnings)):
            continue  # parsing takes longer
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert node.value not in names and not node.value.startswith(beginnings), (path.name, node.value)


def test_every_processing_system_has_one_family() -> None:
    """And two boards are known to be of the right one."""
    assert sorted(family.ps for family in FAMILIES.values()) == sorted(system.name for system in PROCESSORS)
    for name, ps, family in (("pynq-z2", "ps7", "zynq"), ("zcu104", "zynqmp", "zynquplus")):
        assert (BOARDS[name].ps, BOARDS[name].vivado_family) == (ps, family)
    with pytest.raises(ValueError, match=r"lfe5u-25f is of no known family, expected a part that begins with xc7z or "):
        family_of("lfe5u-25f")


@pytest.mark.parametrize("name", FAMILIES)
def test_its_cells_are_those_of_yosys(name: str) -> None:
    """Whatever it counts, instantiates or has a model for is a cell of Yosys' library, and no name that nobody has."""
    family = FAMILIES[name]
    texts = {file: (family.library / file).read_text(encoding="utf-8") for file in ("cells_sim.v", "cells_xtra.v")}
    known = {word for text in texts.values() for word in text.split()}
    bodies = {cell.split("(")[0].rstrip(";") for cell in known}
    assert {cell for cell in (*family.cells, *family.rams) if cell not in bodies} == set()
    assert all(cell in family.black_boxes or f"module {cell}" in texts["cells_sim.v"] for cell in family.cells)
    for cell, file in family.black_boxes.items():
        assert f"module {cell}" in texts[file]
    assert all(f"module {cell} " in family.block_ram(cell) for cell in family.rams)
    assert "module gate_ramb " in family.gate_cells.read_text(encoding="utf-8")
    assert family.dsp_port > mvau.dsp_lanes(8, 8, name) > 0


RAM = """
    RAMB18E1 #(.WRITE_WIDTH_{w}(18), .READ_WIDTH_{r}(18)) write_{w} (
        .CLKARDCLK(clk), .CLKBWRCLK(clk), .ENARDEN(1'b1), .ENBWREN(1'b1), .RSTRAMARSTRAM(1'b0), .RSTRAMB(1'b0),
        .{wa}({{n, 4'b0}}), .{ra}({{10'(n - 10'd1), 4'b0}}), .WE{we}('1),
        .DI{w}DI(16'(7 * n)), .DIP{w}DIP(n[1:0]), .DO{r}DO(q_{w}[15:0]), .DOP{r}DOP(q_{w}[17:16])
    );"""
MAIN = """
#include "Vtop.h"
int main() {
    Vtop top;
    for (unsigned n = 0; n < 1000; n++) {
        top.n = n;
        top.clk = 0; top.eval();
        top.clk = 1; top.eval();
        unsigned before = n - 1, want = (before & 3) << 16 | ((7 * before) & 0xffff);
        if (n && (top.q_A != want || top.q_B != want)) return 1;
    }
    return 0;
}
"""


@pytest.mark.slow
def test_a_block_ram_keeps_what_either_port_writes(tmp_path: Path) -> None:
    """Yosys takes either port to write, by the shape of the memory: words of 18 bits, parity with them."""
    family = FAMILIES["xc7"]
    core = re.search(r"^module gate_ramb\b.*?^endmodule", family.gate_cells.read_text(), flags=re.DOTALL | re.MULTILINE)
    assert core is not None
    rams = [
        RAM.format(w="A", r="B", wa="ADDRARDADDR", ra="ADDRBWRADDR", we="A"),
        RAM.format(w="B", r="A", wa="ADDRBWRADDR", ra="ADDRARDADDR", we="BWE"),
    ]
    bench = "\nmodule top (input clk, input [9:0] n, output [17:0] q_A, q_B);" + "".join(rams) + "\nendmodule\n"
    (tmp_path / "top.v").write_text(core.group() + "\n" + family.block_ram("RAMB18E1") + bench, encoding="utf-8")
    (tmp_path / "main.cpp").write_text(MAIN, encoding="utf-8")
    program = executable(["top.v"], "top", tmp_path / "main.cpp", tmp_path)
    assert subprocess.run([program], check=False).returncode == 0
