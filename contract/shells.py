"""The shells around an accelerator, as hardware and software must agree on them: cells, registers, limits.

`axi_dma` is Xilinx' AXI DMA in simple mode (PG021), `finn_iodma` FINN's own two engines (s_axilite of Vitis HLS,
UG1399, ap_ctrl_hs). The driver, the simulated device, the C header and the Vivado project read this.
"""

from enum import IntEnum

CELLS = {  # shell -> role -> the cell of the block design that the driver looks for
    "axi_dma": {"dma": "axi_dma_0"},
    "finn_iodma": {"input": "idma0", "output": "odma0"},
}
DMA_LENGTH_BITS = 26  # of the AXI DMA's length registers: the widest that the IP offers
LARGEST_TRANSFER = (1 << DMA_LENGTH_BITS) - 1  # bytes


class Register(IntEnum):
    """A byte offset, and what stands there."""

    meaning: str

    def __new__(cls, offset: int, meaning: str) -> "Register":
        """Make a member of its offset."""
        member = int.__new__(cls, offset)
        member._value_, member.meaning = offset, meaning
        return member


class DmaReg(Register):
    """One channel of the AXI DMA, by PG021's names. Offsets are from the channel's start."""

    DMACR = 0x00, "bit 0 run, bit 2 reset"
    DMASR = 0x04, "bit 0 halted, bit 1 idle, bits 4..6 errors"
    SA = 0x18, "buffer address, low half"  # called DA in S2MM
    SA_MSB = 0x1C, "buffer address, high half"
    LENGTH = 0x28, "bytes; writing it starts the transfer"  # S2MM's holds afterwards what was received


DMA_CHANNELS = {"MM2S": 0x00, "S2MM": 0x30}  # memory to accelerator, and back: where their registers start
RUN, RESET = 1 << 0, 1 << 2  # control
HALTED, IDLE = 1 << 0, 1 << 1  # status
DMA_ERRORS = {1 << 4: "internal error", 1 << 5: "slave error", 1 << 6: "decode error"}  # status


class EngineReg(Register):
    """One of FINN's engines."""

    CTRL = 0x00, "bit 0 start, bit 1 done (cleared by reading), bit 2 idle"
    ADDRESS_LOW = 0x10, "buffer address, low half"
    ADDRESS_HIGH = 0x14, "buffer address, high half"
    REPS = 0x1C, "images per start"


START, DONE, ENGINE_IDLE = 1 << 0, 1 << 1, 1 << 2  # control


# What starts a transfer, in this order: cell, register, what is written. The receiver comes first: nothing may come out
# that nobody waits for.
_BUFFERS = (("S2MM", "DA", "results"), ("MM2S", "SA", "images"))
STARTS = {
    "axi_dma": [
        ("axi_dma_0", f"{channel}_{register}", value)
        for channel, address, what in _BUFFERS
        for register, value in (
            (address, f"address of the {what}, low half"),
            (f"{address}_MSB", f"address of the {what}, high half"),
            ("LENGTH", f"bytes of all {what}"),
        )
    ],
    "finn_iodma": [
        (CELLS["finn_iodma"][role], register, value)
        for role, what in (("output", "results"), ("input", "images"))
        for register, value in (
            ("ADDRESS_LOW", f"address of the {what}, low half"),
            ("ADDRESS_HIGH", f"address of the {what}, high half"),
            ("REPS", "images"),
            ("CTRL", "START"),
        )
    ],
}
ENDS = {
    "axi_dma": "both status registers have IDLE, and neither HALTED nor one of ERRORS; then S2MM_LENGTH holds the "
    "bytes that came",
    "finn_iodma": "CTRL of odma0 has DONE, which reading clears, and CTRL of idma0 has IDLE",
}


def register_bits(shell: str) -> dict[str, int]:
    """Return name and mask of the bits that software sets and looks at, in control and status."""
    if shell == "finn_iodma":
        return {"START": START, "DONE": DONE, "IDLE": ENGINE_IDLE}
    return {"RUN": RUN, "RESET": RESET, "HALTED": HALTED, "IDLE": IDLE, "ERRORS": sum(DMA_ERRORS)}


def register_map(shell: str) -> list[tuple[str, int, str]]:
    """Return name, byte offset and meaning of every register of a shell's cell."""
    if shell == "finn_iodma":
        return [(reg.name, reg.value, reg.meaning) for reg in EngineReg]
    return [
        (f"{channel}_{reg.name if channel == 'MM2S' else reg.name.replace('SA', 'DA')}", start + reg.value, reg.meaning)
        for channel, start in DMA_CHANNELS.items()
        for reg in DmaReg
    ]
