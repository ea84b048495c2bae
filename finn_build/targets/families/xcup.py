"""UltraScale+: Zynq UltraScale+ and the modules made of it."""

from typing import ClassVar

from finn_build.targets.families.xilinx import CELLS, Xilinx, bits


class UltraScalePlus(Xilinx):
    """DSP48E2 and CARRY8."""

    name = "xcup"
    vivado = "zynquplus"
    ps = "zynqmp"
    dsp_port = 27
    dsp_version = 2
    cells: ClassVar = CELLS | {
        "CARRY4": {"carry": 1}, "CARRY8": {"carry": 1}, "RAMB36E2": {"bram36": 1}, "RAMB18E2": {"bram18": 1},
        "DSP48E2": {"dsp": 1},
    }  # fmt: skip
    rams: ClassVar = {"RAMB18E2": 16, "RAMB36E2": 32}
    black_boxes: ClassVar = Xilinx.black_boxes | {"RAMB18E2": "cells_xtra.v", "RAMB36E2": "cells_xtra.v"}
    memory_options = (
        "-lib +/xilinx/lutrams_xcu.txt -lib +/xilinx/urams.txt -D HAS_SIZE_36 -D HAS_MIXWIDTH_SDP -D HAS_ADDRCE"
    )
    memory_maps: ClassVar = {"$__XILINX_BLOCKRAM_*": "brams_xcu_map.v", "$__XILINX_URAM_*": "urams_map.v"}
    # Keep memories of more than 256 words that may be anything out of LUTs: Yosys' table says that one LUT memory holds
    # 2**16 words, where it means 2**9, and then finds no cell for it.
    memories = (
        f'setattr -set ram_style "block" t:$mem_v2 r:SIZE>256 %i r:WR_PORTS>0 %i a:ram_style={bits("distributed")} %d',
    )


FAMILY = UltraScalePlus()
