"""What stands at the accelerator's ports: `rtl/axis_image_last.sv` counts beats to tell where an image ends.

It is no node of the graph, so it has no `OP`.
"""

from finn_build.costs import Resources

NAME = "u_image_last"  # in the accelerator
SOURCE = "axis_image_last.sv"
KIND = "image_last"  # in estimates.json
COST = Resources(lut=50, ff=45)
MAX_IMAGES = 32  # images inside the accelerator at a time; each layer and FIFO holds less than two


def instance(*, in_beats: int, in_bits: int, out_beats: int, out_bits: int, last: int, result: str) -> str:
    """Return the Verilog of the unit between the accelerator's ports, stream 0 and the last stream.

    Args:
        in_beats: of an image.
        in_bits: TDATA of the input [bit].
        out_beats: results of an image.
        out_bits: TDATA of the output [bit].
        last: number of the last stream.
        result: what goes out of it, as an expression of `out_bits`.
    """
    return f"""\
    axis_image_last #(
{_parameters(in_beats, in_bits, out_beats, out_bits)}
    ) {NAME} (
        .clk(ap_clk), .rst(!ap_rst_n),
        .s_axis_tdata(s_axis_tdata), .s_axis_tvalid(s_axis_tvalid), .s_axis_tlast(s_axis_tlast),
        .s_axis_tready(s_axis_tready),
        .m_axis_core_tdata(stream0_tdata), .m_axis_core_tvalid(stream0_tvalid), .m_axis_core_tready(stream0_tready),
        .s_axis_core_tdata({result}),
        .s_axis_core_tvalid(stream{last}_tvalid), .s_axis_core_tready(stream{last}_tready),
        .m_axis_tdata(m_axis_tdata), .m_axis_tvalid(m_axis_tvalid), .m_axis_tlast(m_axis_tlast),
        .m_axis_tready(m_axis_tready)
    );"""


def bench(module: str, *, in_beats: int, in_bits: int, out_beats: int, out_bits: int) -> str:
    """Return a module around the unit alone, with the accelerator's parameters; arguments as for `instance`."""
    return f"""\
module {module} (
    input  wire clk, rst,
    input  wire [{in_bits - 1}:0] s_axis_tdata,
    input  wire s_axis_tvalid, s_axis_tlast,
    output wire s_axis_tready,
    output wire [{in_bits - 1}:0] m_axis_core_tdata,
    output wire m_axis_core_tvalid,
    input  wire m_axis_core_tready,
    input  wire [{out_bits - 1}:0] s_axis_core_tdata,
    input  wire s_axis_core_tvalid,
    output wire s_axis_core_tready,
    output wire [{out_bits - 1}:0] m_axis_tdata,
    output wire m_axis_tvalid, m_axis_tlast,
    input  wire m_axis_tready
);
    axis_image_last #(
{_parameters(in_beats, in_bits, out_beats, out_bits)}
    ) {NAME} (.*);
endmodule
"""


def _parameters(in_beats: int, in_bits: int, out_beats: int, out_bits: int) -> str:
    return f"""\
        .IN_BEATS({in_beats}), .OUT_BEATS({out_beats}), .MAX_IMAGES({MAX_IMAGES}),
        .IN_BITS({in_bits}), .OUT_BITS({out_bits})"""
