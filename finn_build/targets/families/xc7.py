"""7-series: Zynq-7000."""

from typing import ClassVar

from finn_build.targets.families.xilinx import CELLS, Xilinx


class SevenSeries(Xilinx):
    """DSP48E1 and CARRY4."""

    name = "xc7"
    vivado = "zynq"
    ps = "ps7"
    dsp_port = 25
    dsp_version = 1
    cells: ClassVar = CELLS | {
        "CARRY4": {"carry": 1}, "RAMB36E1": {"bram36": 1}, "RAMB18E1": {"bram18": 1}, "DSP48E1": {"dsp": 1},
    }  # fmt: skip
    rams: ClassVar = {"RAMB18E1": 16, "RAMB36E1": 32}
    memory_options = (
        "-lib +/xilinx/lutrams_xc5v.txt -D HAS_SIZE_36 -D HAS_CASCADE -D HAS_CONFLICT_BUG -D HAS_MIXWIDTH_SDP"
    )
    memory_maps: ClassVar = {"$__XILINX_BLOCKRAM_*": "brams_xc6v_map.v"}


FAMILY = SevenSeries()
