"""docs/registers.md: the registers of each shell, from `contract/shells.py`, which owns them."""

from contract.shells import CELLS, ENDS, LARGEST_TRANSFER, STARTS, register_bits, register_map

_HEAD = """\
# The registers of the shells

Made by `cxrflow registers` from `contract/shells.py`, which the driver, the simulated device, the C header and the
Vivado project read; a test holds it equal to that. As C: `cxrflow registers --shell axi_dma --header > axi_dma.h`; a
deploy folder's `cxrflow_accel.h` has its own shell's registers and the sizes of its accelerator.

The accelerator itself has no registers: it is two AXI streams. Where the cells lie in the address map is in the
bitstream's `.hwh`. All registers have 32 bits. Nothing here has run on a board.
"""
_ABOUT = {
    "axi_dma": f"Xilinx' AXI DMA in simple mode (PG021): a transfer has at most {LARGEST_TRANSFER:,} bytes each way.\n"
    "After a reset, set `RUN` once in both control registers.",
    "finn_iodma": "FINN's own two engines, s_axilite of Vitis HLS (UG1399, ap_ctrl_hs): one reads images from memory,\n"
    "the other writes results to it.",
}


def page() -> str:
    """Return the whole page."""
    return "\n".join([_HEAD, *(section(shell) for shell in CELLS)])


def section(shell: str) -> str:
    """Return what the page says of one shell."""
    cells = ", ".join(f"`{cell}` ({role})" for role, cell in CELLS[shell].items())
    registers = [f"| 0x{offset:02X} | `{name}` | {meaning} |" for name, offset, meaning in register_map(shell)]
    bits = ", ".join(f"`{name}` 0x{mask:02X}" for name, mask in register_bits(shell).items())
    starts = [f"{i}. `{cell}`, `{name}`: {value}" for i, (cell, name, value) in enumerate(STARTS[shell], 1)]
    lines = [
        f"## {shell}", "", _ABOUT[shell], "", f"Cells: {cells}.", "",
        "| offset | register | holds |", "|---|---|---|", *registers, "",
        f"Bits: {bits}.", "", "A transfer is started by writing, in this order:", "", *starts, "",
        f"It has ended when {ENDS[shell]}.",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"
