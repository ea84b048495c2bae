"""What the compiler asks of a device family.

Every family is a file beside this one, and `finn_build.targets.families` finds it there.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from contract.processors import processors_of


class DeviceFamily:
    """One family of devices: its cells, its synthesis, its multipliers."""

    name: ClassVar[str]  # Yosys'; also the name of its file
    vivado: ClassVar[str]  # Vivado's, of the parts with processors
    ps: ClassVar[str]  # its parts' processing system, one of contract.processors
    dsp_port: ClassVar[int]  # width of the multiplier's wider input [bit]; finn-rtllib packs several rows into it
    dsp_version: ClassVar[int]  # finn-rtllib's number of the DSP cell
    # Cells of a mapped netlist, and what each counts as: fields of synth.Usage.
    cells: ClassVar[Mapping[str, Mapping[str, int]]]
    # Cells that finn-rtllib instantiates by name, and others that `synthesis` maps to and does not declare: the file of
    # Yosys' library that does.
    black_boxes: ClassVar[Mapping[str, str]]
    rams: ClassVar[Mapping[str, int]]  # block RAM cells, and the bits of one data port

    @property
    def library(self) -> Path:
        """The folder of Yosys' models of the cells."""
        raise NotImplementedError

    @property
    def gate_cells(self) -> Path:
        """The file of our models, of cells of which Yosys' have no behaviour."""
        raise NotImplementedError

    def block_ram(self, cell: str) -> str:
        """Return the model of one of `rams`, around `gate_ramb` of `gate_cells`."""
        raise NotImplementedError

    def synthesis(self, top: str) -> tuple[str, ...]:
        """Return Yosys' commands that map the module `top`, which is read, to the cells.

        `where SELECTION COMMAND` is ours: the command, for designs in which something is selected.
        """
        raise NotImplementedError


FAMILIES: dict[str, DeviceFamily] = {}  # by name; `finn_build.targets.families` fills it


def family_of(part: str) -> DeviceFamily:
    """Return the family of a part. Raises ValueError: none has it."""
    ps = processors_of(part).name
    return next(family for family in FAMILIES.values() if family.ps == ps)
