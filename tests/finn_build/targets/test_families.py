"""A device family answers for itself, and nobody else knows one by its name."""

import ast
from pathlib import Path

import pytest

import finn_build
from contract.processors import PROCESSORS
from finn_build.ops import mvau
from finn_build.targets.boards import BOARDS
from finn_build.targets.families import FAMILIES, family_of

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
    for cell, file in family.black_boxes.items():
        assert f"module {cell}" in texts[file]
    assert all(f"module {cell} " in family.block_ram(cell) for cell in family.rams)
    assert "module gate_ramb " in family.gate_cells.read_text(encoding="utf-8")
    assert family.dsp_port > mvau.dsp_lanes(8, 8, name) > 0
