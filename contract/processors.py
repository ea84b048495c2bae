"""The processing systems beside the programmable logic: of which parts, how software knows them, their PL clocks.

Part, board and driver must agree on them: finn_build chooses the device family by it, the driver tells whether a
bitstream is for this board, and the simulated board answers where the real one's registers are. A new one is a row.

Sources: UG585 (SLCR) and UG1087 (CRL_APB) for the clocks' registers; the .hwh files of Vivado for their names there.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class ClockRegisters:
    """Where the PL clocks are made: source / (divisor 0 * divisor 1), divisor 0 in bits 8..13."""

    ranges: tuple[tuple[int, int], ...]  # address and size [byte] of the registers
    register: int  # address of PL clock 0's
    divisor1_shift: int
    source_mhz: float
    boot: Mapping[int, int]  # address -> value after booting


@dataclass(frozen=True)
class ProcessingSystem:
    """One kind of processing system."""

    name: str  # in a Vivado project's settings
    parts: tuple[str, ...]  # how the names of its parts begin
    compatible: bytes  # how the kernel's names of its boards begin
    machine: str  # of its processor, as `uname -m`
    cell: str  # name of Vivado's IP, and its version
    master: str  # the port that our registers are behind
    base: int  # the address where it starts
    clocks: ClockRegisters
    hwh: Mapping[str, str]  # what a .hwh says of PL clock {i}: names and values, of {on}, {divisor} and {mhz}


_PS7 = ProcessingSystem(
    name="ps7",
    parts=("xc7z",),
    compatible=b"xlnx,zynq-7000",
    machine="armv7l",
    cell="processing_system7:5.5",
    master="M_AXI_GP0",
    base=0x4000_0000,
    clocks=ClockRegisters(
        ranges=((0xF800_0000, 0x1000),),
        register=0xF800_0170,  # FPGA0_CLK_CTRL
        divisor1_shift=20,
        source_mhz=50.0 * 20,
        # ARM, DDR and IO PLL, whose multipliers of 50 MHz are in bits 12..18; the PL clock starts at 50 MHz.
        boot={0xF800_0100: 26 << 12, 0xF800_0104: 21 << 12, 0xF800_0108: 20 << 12, 0xF800_0170: 1 << 20 | 20 << 8},
    ),
    hwh={
        "PCW_FPGA_FCLK{i}_ENABLE": "{on}",
        "PCW_FCLK{i}_PERIPHERAL_CLKSRC": "IO PLL",
        "PCW_FCLK{i}_PERIPHERAL_DIVISOR0": "{divisor}",
        "PCW_FCLK{i}_PERIPHERAL_DIVISOR1": "1",
        "PCW_FPGA{i}_PERIPHERAL_FREQMHZ": "{mhz}",
        "PCW_ACT_FPGA{i}_PERIPHERAL_FREQMHZ": "{mhz}",
    },
)

_ZYNQMP = ProcessingSystem(
    name="zynqmp",
    parts=("xczu", "xck"),
    compatible=b"xlnx,zynqmp",
    machine="aarch64",
    cell="zynq_ultra_ps_e:3.5",
    master="M_AXI_HPM0_FPD",
    base=0xA000_0000,
    clocks=ClockRegisters(
        ranges=((0xFF5E_0000, 0x1000), (0xFD1A_0000, 0x1000)),
        register=0xFF5E_00C0,  # PL0_REF_CTRL
        divisor1_shift=16,
        source_mhz=33.333 * 90 / 2,
        # IO, R, A, D and V PLL, multiplier in bits 8..14 and a half in bit 16; the PL clock starts at 50 MHz and is on.
        boot={
            0xFF5E_0020: 1 << 16 | 90 << 8, 0xFF5E_0030: 1 << 16 | 45 << 8, 0xFD1A_0020: 1 << 16 | 72 << 8,
            0xFD1A_002C: 1 << 16 | 64 << 8, 0xFD1A_0038: 1 << 16 | 90 << 8,
            0xFF5E_00C0: 1 << 24 | 1 << 16 | 30 << 8,
        },
    ),
    hwh={
        "PSU__FPGA_PL{i}_ENABLE": "{on}",
        "PSU__CRL_APB__PL{i}_REF_CTRL__SRCSEL": "IOPLL",
        "PSU__CRL_APB__PL{i}_REF_CTRL__DIVISOR0": "{divisor}",
        "PSU__CRL_APB__PL{i}_REF_CTRL__DIVISOR1": "1",
        "PSU__CRL_APB__PL{i}_REF_CTRL__ACT_FREQMHZ": "{mhz}",
    },
)  # fmt: skip

PROCESSORS = (_PS7, _ZYNQMP)
KNOWN_PARTS = "a part that begins with " + " or ".join(one for system in PROCESSORS for one in system.parts)


def processors_of(part: str) -> ProcessingSystem:
    """Return the processing system of a part. Raises ValueError: none that is known."""
    for system in PROCESSORS:
        if part.startswith(system.parts):
            return system
    raise ValueError(f"{part} is of no known family, expected {KNOWN_PARTS}")
