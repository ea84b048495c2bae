"""What 7-series and UltraScale+ devices have in common. No family of its own.

Sources: UG474, UG574 (LUTs and memories in them), UG473, UG573 (block RAM).
"""

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import ClassVar

from finn_build.targets.families.family import DeviceFamily

# LUTs that one memory cell takes.
_LUTRAM = {
    "RAM32X1S": 1, "RAM64X1S": 1, "RAM128X1S": 2, "RAM256X1S": 4, "RAM512X1S": 8, "RAM32X1D": 2, "RAM64X1D": 2,
    "RAM128X1D": 4, "RAM256X1D": 8, "RAM32M": 4, "RAM64M": 4, "RAM32M16": 8, "RAM64M8": 8,
}  # fmt: skip
_SRL = ("SRL16E", "SRLC16E", "SRLC32E")
_LUT = ("LUT1", "LUT2", "LUT3", "LUT4", "LUT5", "LUT6", "LUT6_2", "INV")
_FF = ("FDRE", "FDSE", "FDCE", "FDPE", "FDRE_1", "FDSE_1", "FDCE_1", "FDPE_1", "LDCE", "LDPE")
_FREE = ("MUXF7", "MUXF8", "MUXF9", "BUFG", "IBUF", "OBUF", "GND", "VCC")  # nothing that a budget counts
CELLS: dict[str, dict[str, int]] = {
    **{name: {"lut": 1} for name in _LUT},
    **{name: {"lut": luts, "lutram": luts} for name, luts in _LUTRAM.items()},
    **{name: {"lut": 1, "srl": 1} for name in _SRL},
    **{name: {"ff": 1} for name in _FF},
    **{name: {} for name in _FREE},
}

# synth_xilinx' own map_luts, but for the prices of LUTs by their inputs: its 2:2,3,6:5 makes five LUTs of 2 inputs as
# cheap as two of 6, though each of them takes one LUT of the part. That is up to 30 % more LUTs. Here up to 6 inputs
# cost one; 7 and 8 take two and four, and the multiplexers behind them.
_MAP_LUTS = (
    "opt_expr -mux_undef -noclkinv",
    "abc -luts 6:1,2,4",
    "clean",
    "xilinx_srl -fixed -minlen 3",
    "techmap -map +/xilinx/lut_map.v -map +/xilinx/cells_map.v -D LUT_WIDTH=6",
    "xilinx_dffopt",
    "opt_lut_ins -tech xilinx",
)


class Xilinx(DeviceFamily):
    """LUTs of 6 inputs, block RAMs of 18 Kbit, DSPs."""

    # finn-rtllib names all of them, whichever it takes.
    black_boxes: ClassVar = {"DSP48E1": "cells_sim.v", "DSP48E2": "cells_xtra.v", "LUT6_2": "cells_sim.v"}
    memories: ClassVar[tuple[str, ...]] = ()  # commands about memories before they are mapped
    # synth_xilinx' own memory_libmap and the mappings behind it, but that of LUTs, by the cells that each is for.
    memory_options: ClassVar[str]
    memory_maps: ClassVar[Mapping[str, str]]

    @property
    def library(self) -> Path:
        """The folder of Yosys' models of the cells."""
        return Path(str(resources.files("pyosys"))) / "share" / "xilinx"

    @property
    def gate_cells(self) -> Path:
        """The file of our models, of cells of which Yosys' have no behaviour."""
        return Path(__file__).with_name("gate_cells.v")

    def synthesis(self, top: str) -> tuple[str, ...]:
        """Return Yosys' commands that map the module `top`, which is read, to the cells."""
        flow = f"synth_xilinx -family {self.name} -flatten -noiopad -noclkbuf -top {top}"
        return (
            # synth_xilinx reads hundreds of cells more, of all families, and looks at them in every pass.
            "read_verilog -lib +/xilinx/cells_sim.v",
            f"hierarchy -check -top {top}",
            f"{flow} -run prepare:map_memory",
            # A ROM in LUTs is logic to Yosys, whose memory mapping knows distributed RAM only. slang gives bits.
            f'setattr -set ram_style "logic" t:$mem_v2 r:WR_PORTS=0 %i a:ram_style={bits("distributed")} %i',
            *self.memories,
            f"memory_libmap -logic-cost-rom 0.015625 -no-auto-huge -lib +/xilinx/brams_xc4v.txt {self.memory_options}",
            "techmap -map +/xilinx/lutrams_xc5v_map.v",
            # It takes a second to read one of them.
            *(f"where t:{cells} techmap -map +/xilinx/{file}" for cells, file in self.memory_maps.items()),
            f"{flow} -run map_ffram:map_luts",
            *_MAP_LUTS,
            f"{flow} -run finalize:",
        )

    def block_ram(self, cell: str) -> str:
        """Return a block RAM cell, with the pins and parameters that Yosys sets, around the model of all of them."""
        bits = self.rams[cell]
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
        .data_a({_word([f"{i}PA{i}P"], [f"{i}A{i}"], bits)}),
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


def bits(text: str) -> str:
    """Return a text as slang has it in an attribute."""
    return f"{8 * len(text)}'b" + "".join(f"{byte:08b}" for byte in text.encode("ascii"))


def _word(parity: list[str], data: list[str], bits: int) -> str:
    """Return the concatenation of pins, the first on top, on 8 parity and 64 data bits."""
    above, between = 8 - len(parity) * bits // 8, 64 - len(data) * bits
    parts = [f"{above}'b0"] * (above > 0) + parity + [f"{between}'b0"] * (between > 0) + data
    return f"{{{', '.join(parts)}}}"
