"""The programs that a stage can use, as the command line names them."""

from enum import StrEnum


class SynthTool(StrEnum):
    """What can synthesise."""

    yosys = "yosys"
