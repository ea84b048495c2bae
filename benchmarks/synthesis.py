"""How far the resource formulas of finn_build/ops are from what Yosys makes of each node.

    python -m benchmarks.synthesis [--family xc7] [--cache runs/.cache/synth] [--kind Requantizer_rtl]

Prints LUT, FF, BRAM18 and DSP, formula beside synthesis, over a grid of foldings and widths, and the median and the
worst error per kind of node. Exit code 1 if the median LUT error of a kind is above 15 %, of our requantizer 10 %.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import cast

import numpy as np
from onnx import helper
from qonnx.core.datatype import DataType
from qonnx.custom_op.registry import getCustomOp

from contract.network import Image, Window
from finn_build.costs import Family, RamStyle, Resources
from finn_build.finn_session import finn_session
from finn_build.ops import depthwise as op_depthwise
from finn_build.ops import fifo as op_fifo
from finn_build.ops import global_sum as op_global_sum
from finn_build.ops import lut_mvau as op_lut_mvau
from finn_build.ops import max_pool as op_max_pool
from finn_build.ops import mvau as op_mvau
from finn_build.ops import padding as op_padding
from finn_build.ops import requantizer as op_requantizer
from finn_build.ops import thresholding as op_thresholding
from finn_build.ops import width_converter as op_width_converter
from finn_build.ops import window as op_window
from finn_build.ops.activation import signed_bits
from finn_build.ops.lut_mvau import SOURCES, row_starts, weight_words
from finn_build.ops.op import AXILITE_TIES, DOMAIN, OPS, Folding, Layer, Node, instance
from finn_build.ops.own import memory_lines
from finn_build.portable_rtl import portable
from finn_build.synth import Unit, needed_files, synthesise_units
from finn_build.targets.boards import BOARDS
from finn_build.targets.families import FAMILIES

MEDIAN_LIMIT = 0.15  # of the LUT count
MEDIAN_LIMITS = {op_requantizer.OP.op_type: 0.10}
DEEPEST_LUTS = 256  # words: deeper weights in LUTs cost too much to be of interest
SMALL = 20  # LUTs: below, an error in percent says nothing


@dataclass(frozen=True)
class Case:
    """One node with its formula."""

    kind: str
    label: str
    estimate: Resources
    verilog: str  # of the module around it
    memories: dict[str, str]


def library() -> dict[str, str]:
    """Return every SystemVerilog source a node may need, portable, by file name."""
    rtllib = Path(str(resources.files("finn"))) / "finn-rtllib"
    files = [
        *rtllib.glob("*/hdl/*.sv"),
        *rtllib.glob("*/*.sv"),
        *(Path(str(resources.files("finn_build"))) / "rtl").glob("*.sv"),
    ]
    wanted = (
        "mvu",
        "add_multi",
        "replay",
        "memstream",
        "axilite",
        "thresholding",
        "fifo.sv",
        "dwc",
        "vpc",
        *SOURCES,
        op_requantizer.SOURCE,
        *op_depthwise.SOURCES,
        op_max_pool.SOURCE,
        op_global_sum.SOURCE,
        "swg_",
        "fmpadding",
        "axi2we",
    )
    named = {f.name: f for f in files if f.name.startswith(wanted) and "template" not in f.name}
    return {name: portable(name, f.read_text(encoding="utf-8")) for name, f in sorted(named.items())}


def mvau(name: str, family: Family, mw: int, mh: int, pe: int, simd: int, w: int, a: int, style: str = "auto") -> Case:
    """FINN's multi-bit unit with its weight memory."""
    acc = int(np.ceil(np.log2(mw))) + w + a
    words, in_bits, out_bits = mw // simd * (mh // pe), -(-simd * a // 8) * 8, -(-pe * acc // 8) * 8
    weight_bits = -(-pe * simd * w // 8) * 8
    weights = np.random.default_rng(0).integers(1 - 2 ** (w - 1), 2 ** (w - 1), (mh, mw))
    verilog = f"""\
module {name}_top (
    input wire clk, rst_n, input wire [{in_bits - 1}:0] i_tdata, input wire i_tvalid, output wire i_tready,
    output wire [{out_bits - 1}:0] o_tdata, output wire o_tvalid, input wire o_tready
);
    wire [{weight_bits - 1}:0] w_tdata;
    wire w_tvalid, w_tready;
    memstream_axi #(
        .SETS(1), .DEPTH({words}), .WIDTH({pe * simd * w}), .INIT_FILE("./{name}_weights.dat"), .RAM_STYLE("{style}"),
        .PUMPED_MEMORY(0)
    ) memory (
        .clk(clk), .clk2x(clk), .rst(!rst_n), .awready(), .awvalid('0), .awprot('0), .awaddr('0), .wready(),
        .wvalid('0), .wdata('0), .wstrb('0), .bready('0), .bvalid(), .bresp(), .arready(), .arvalid('0), .arprot('0),
        .araddr('0), .rready('0), .rvalid(), .rresp(), .rdata(), .s_axis_0_tready(), .s_axis_0_tvalid('0),
        .s_axis_0_tdata('0), .m_axis_0_tready(w_tready), .m_axis_0_tvalid(w_tvalid), .m_axis_0_tdata(w_tdata)
    );
    mvu_vvu_axi #(
        .IS_MVU(1), .VERSION({FAMILIES[family].dsp_version}), .MW({mw}), .MH({mh}), .PE({pe}), .SIMD({simd}),
        .ACTIVATION_WIDTH({a}), .WEIGHT_WIDTH({w}), .ACCU_WIDTH({acc}), .NARROW_WEIGHTS(1), .SIGNED_ACTIVATIONS(0)
    ) unit (
        .ap_clk(clk), .ap_clk2x(clk), .ap_rst_n(rst_n), .s_axis_weights_tdata(w_tdata),
        .s_axis_weights_tvalid(w_tvalid), .s_axis_weights_tready(w_tready), .s_axis_input_tdata(i_tdata),
        .s_axis_input_tvalid(i_tvalid), .s_axis_input_tready(i_tready), .m_axis_output_tdata(o_tdata),
        .m_axis_output_tvalid(o_tvalid), .m_axis_output_tready(o_tready)
    );
endmodule
"""
    estimate = op_mvau.cost(mw, mh, pe, simd, w, a, acc, family, ram_style=cast(RamStyle, style))
    label = f"{mw}x{mh} W{w}A{a} PE {pe} SIMD {simd} {style}"
    words_text = "\n".join(weight_words(weights, pe=pe, simd=simd, bits=w)) + "\n"
    return Case(op_mvau.OP.op_type, label, estimate, verilog, {f"{name}_weights.dat": words_text})


def own_top(name: str, in_bits: int, out_bits: int, unit: str) -> str:
    """Return a top module around one of our units, given with its parameters; streams in whole bytes."""
    return f"""\
module {name}_top (
    input wire clk, rst, input wire [{in_bits - 1}:0] s_axis_tdata, input wire s_axis_tvalid,
    output wire s_axis_tready, output wire [{out_bits - 1}:0] m_axis_tdata, output wire m_axis_tvalid,
    input wire m_axis_tready
);
{unit} unit (.*);
endmodule
"""


def lut_mvau(
    name: str, family: Family, mw: int, mh: int, pe: int, simd: int, w: int, a: int, style: str = "auto"
) -> Case:
    """Our unit in LUTs."""
    acc = int(np.ceil(np.log2(mw))) + (2 if w == a == 1 else max(w, a) + 1)
    in_bits, out_bits = -(-simd * a // 8) * 8, -(-pe * acc // 8) * 8
    random = np.random.default_rng(0)
    weights = random.choice([-1, 1], (mh, mw)) if w == 1 else random.integers(1 - 2 ** (w - 1), 2 ** (w - 1), (mh, mw))
    activations = DataType["BIPOLAR" if a == 1 else f"UINT{a}"]
    starts = row_starts(weights, activations, pe=pe, simd=simd, bits=w) - random.integers(-99, 99, mh)
    packed = sum((int(start) % 2**acc) << (i * acc) for i, start in enumerate(starts))
    verilog = own_top(
        name,
        in_bits,
        out_bits,
        f"""\
    lut_mvu #(
        .MW({mw}), .MH({mh}), .PE({pe}), .SIMD({simd}), .WEIGHT_BITS({w}), .ACT_BITS({a}), .ACCU_BITS({acc}),
        .START({mh * acc}'h{packed:x}), .WEIGHT_FILE("./{name}_weights.dat"), .RAM_STYLE("{style}")
    )""",
    )
    estimate = op_lut_mvau.cost(mw, mh, pe, simd, w, a, acc, family, ram_style=cast(RamStyle, style))
    words_text = "\n".join(weight_words(weights, pe=pe, simd=simd, bits=w)) + "\n"
    label = f"{mw}x{mh} W{w}A{a} PE {pe} SIMD {simd} {style}"
    return Case(op_lut_mvau.OP.op_type, label, estimate, verilog, {f"{name}_weights.dat": words_text})


def thresholding(name: str, family: Family, channels: int, pe: int, acc: int, a: int) -> Case:
    """FINN's thresholds."""
    count = 2**a - 1
    random = np.random.default_rng(0)
    table = np.sort(random.integers(-(2 ** (acc - 1)), 2 ** (acc - 1), (channels, count)), axis=1)
    # Stage s of lane p holds, per channel of the lane, the thresholds that a binary search looks at s-th.
    memories = {}
    for lane in range(pe):
        for stage in range(a):
            step = 2 ** (a - stage)
            words = table[lane::pe, step // 2 - 1 :: step] & (2**acc - 1)
            memories[f"{name}_threshs_{lane}_{stage}.dat"] = "\n".join(f"{v:x}" for v in words.reshape(-1)) + "\n"
    in_bits, out_bits = -(-pe * acc // 8) * 8, -(-pe * a // 8) * 8
    verilog = f"""\
module {name}_top (
    input wire clk, rst_n, input wire [{in_bits - 1}:0] i_tdata, input wire i_tvalid, output wire i_tready,
    output wire [{out_bits - 1}:0] o_tdata, output wire o_tvalid, input wire o_tready
);
    thresholding_axi #(
        .N({count}), .WI({acc}), .WT({acc}), .C({channels}), .PE({pe}), .SIGNED(1), .FPARG(0), .BIAS(0), .SETS(1),
        .THRESHOLDS_PATH("./{name}_"), .USE_AXILITE(0), .DEPTH_TRIGGER_URAM(0), .DEPTH_TRIGGER_BRAM(0),
        .DEEP_PIPELINE(1)
    ) unit (
        .ap_clk(clk), .ap_rst_n(rst_n), .s_axilite_AWVALID('0), .s_axilite_AWREADY(), .s_axilite_AWADDR('0),
        .s_axilite_WVALID('0), .s_axilite_WREADY(), .s_axilite_WDATA('0), .s_axilite_WSTRB('0), .s_axilite_BVALID(),
        .s_axilite_BREADY('0), .s_axilite_BRESP(), .s_axilite_ARVALID('0), .s_axilite_ARREADY(),
        .s_axilite_ARADDR('0), .s_axilite_RVALID(), .s_axilite_RREADY('0), .s_axilite_RDATA(), .s_axilite_RRESP(),
        .s_axis_set_tready(), .s_axis_set_tvalid('0), .s_axis_set_tdata('0), .s_axis_tready(i_tready),
        .s_axis_tvalid(i_tvalid), .s_axis_tdata(i_tdata), .m_axis_tready(o_tready), .m_axis_tvalid(o_tvalid),
        .m_axis_tdata(o_tdata)
    );
endmodule
"""
    estimate = op_thresholding.cost(channels, pe, acc, a, family)
    return Case(
        op_thresholding.OP.op_type, f"{channels} channels, {acc} to {a} bits, PE {pe}", estimate, verilog, memories
    )


def requantizer(
    name: str, family: Family, channels: int, pe: int, acc: int, a: int, factor: int, digit: int, unit: str, style: str
) -> Case:
    """Our requantizer, with factors and addends as wide as a uniform quantizer's."""
    shift = acc + factor - a - 6
    random = np.random.default_rng(0)
    factors = random.integers(2 ** (factor - 2), 2**factor, channels).tolist()
    addends = random.integers(-(2 ** (shift + a)), 2 ** (shift + a), channels).tolist()
    addend = signed_bits(addends)
    in_bits, out_bits = -(-pe * acc // 8) * 8, -(-pe * a // 8) * 8
    verilog = own_top(
        name,
        in_bits,
        out_bits,
        f"""\
    requantizer #(
        .CHANNELS({channels}), .PE({pe}), .ACC_BITS({acc}), .FACTOR_BITS({factor}), .DIGIT({digit}),
        .DSP({int(unit == "dsp")}), .ADDEND_BITS({addend}), .SHIFT({shift}), .OUT_BITS({a}), .LEVELS({2**a - 1}),
        .FACTOR_FILE("./{name}_factors.dat"), .ADDEND_FILE("./{name}_addends.dat"), .RAM_STYLE("{style}")
    )""",
    )
    folding = Folding(pe, ram_style=cast(RamStyle, style), in_luts=unit == "lut", digit=digit)
    estimate = op_requantizer.cost(
        channels, pe, acc, a, factor, addend, family, digit=digit, in_luts=unit == "lut", ram_style=folding.ram_style
    )
    memories = {
        f"{name}_factors.dat": memory_lines(op_requantizer.factor_words(factors, factor, folding), pe * digit),
        f"{name}_addends.dat": memory_lines(op_requantizer.lane_words(addends, addend, pe), pe * addend),
    }
    label = f"{channels} channels, {acc} to {a} bits, PE {pe}, {unit} {digit} of {factor} {style[0]}"
    return Case(op_requantizer.OP.op_type, label, estimate, verilog, memories)


def fifo(name: str, family: Family, depth: int, width: int) -> Case:
    """FINN's FIFO."""
    verilog = f"""\
module {name}_top (
    input wire clk, rst, input wire [{width - 1}:0] idat, input wire ivld, output wire irdy,
    output wire [{width - 1}:0] odat, output wire ovld, input wire ordy
);
    fifo #(.DEPTH({depth}), .DATA_WIDTH({width}), .RAM_STYLE("auto")) unit (.count(), .maxcount(), .*);
endmodule
"""
    return Case(op_fifo.OP.op_type, f"{depth} x {width} bits", op_fifo.cost(depth, width, family), verilog, {})


def width_converter(name: str, family: Family, in_bits: int, out_bits: int) -> Case:
    """FINN's width converter."""
    i, o = -(-in_bits // 8) * 8, -(-out_bits // 8) * 8
    verilog = f"""\
module {name}_top (
    input wire clk, rst_n, input wire [{i - 1}:0] i_tdata, input wire i_tvalid, output wire i_tready,
    output wire [{o - 1}:0] o_tdata, output wire o_tvalid, input wire o_tready
);
    dwc_axi #(.IBITS({in_bits}), .OBITS({out_bits})) unit (
        .ap_clk(clk), .ap_rst_n(rst_n), .s_axis_tready(i_tready), .s_axis_tvalid(i_tvalid), .s_axis_tdata(i_tdata),
        .m_axis_tready(o_tready), .m_axis_tvalid(o_tvalid), .m_axis_tdata(o_tdata)
    );
endmodule
"""
    estimate = op_width_converter.cost(in_bits, out_bits, family)
    return Case(op_width_converter.OP.op_type, f"{in_bits} to {out_bits} bits", estimate, verilog, {})


def depthwise(
    name: str, family: Family, channels: int, taps: int, pe: int, w: int, a: int, unit: str, style: str
) -> Case:
    """Our depthwise unit."""
    acc = int(np.ceil(np.log2(taps))) + (2 if w == a == 1 else w + a if min(w, a) > 1 else max(w, a) + 1)
    random = np.random.default_rng(0)
    shape = (channels, taps)
    weights = random.choice([-1, 1], shape) if w == 1 else random.integers(1 - 2 ** (w - 1), 2 ** (w - 1), shape)
    activations = DataType["BIPOLAR" if a == 1 else f"UINT{a}"]
    starts = op_depthwise.starts(weights, activations, pe=pe, bits=w, dsp=unit == "dsp")
    packed = sum((int(start) % 2**acc) << (i * acc) for i, start in enumerate(starts))
    verilog = own_top(
        name,
        -(-pe * a // 8) * 8,
        -(-pe * acc // 8) * 8,
        f"""\
    depthwise #(
        .CHANNELS({channels}), .TAPS({taps}), .PE({pe}), .WEIGHT_BITS({w}), .ACT_BITS({a}), .ACCU_BITS({acc}),
        .START({channels * acc}'h{packed:x}), .DSP({int(unit == "dsp")}), .WEIGHT_FILE("./{name}_weights"),
        .RAM_STYLE("{style}")
    )""",
    )
    memories = {
        f"{name}_weights_{lane:04}.dat": memory_lines(words, w)
        for lane, words in enumerate(op_depthwise.lane_weights(weights, pe=pe, bits=w))
    }
    estimate = op_depthwise.cost(channels, taps, pe, w, a, acc, in_luts=unit == "lut", ram_style=cast(RamStyle, style))
    label = f"{channels} channels, {taps} places, W{w}A{a} PE {pe} {unit} {style}"
    return Case(op_depthwise.OP.op_type, label, estimate, verilog, memories)


def max_pool(name: str, family: Family, window: int, pe: int, bits: int) -> Case:
    """Our max pool."""
    width = -(-pe * bits // 8) * 8
    verilog = own_top(name, width, width, f"    max_pool #(.WINDOW({window}), .PE({pe}), .BITS({bits}))")
    label = f"{window} places, {bits} bits, PE {pe}"
    return Case(op_max_pool.OP.op_type, label, op_max_pool.cost(window, pe, bits), verilog, {})


def global_sum(name: str, family: Family, places: int, channels: int, pe: int, bits: int) -> Case:
    """Our global sum."""
    total = ((2**bits - 1) * places).bit_length()
    verilog = own_top(
        name,
        -(-pe * bits // 8) * 8,
        -(-pe * total // 8) * 8,
        f"""\
    global_sum #(.PLACES({places}), .CHANNELS({channels}), .PE({pe}), .BITS({bits}), .SUM_BITS({total}))""",
    )
    estimate = op_global_sum.cost(places, channels, pe, bits, total)
    return Case(
        op_global_sum.OP.op_type, f"{channels} channels, {places} places, {bits} bits, PE {pe}", estimate, verilog, {}
    )


def around(name: str, op_type: str, attributes: dict[str, object], lines: tuple[str, ...] = ()) -> tuple[str, Layer]:
    """Return the Verilog that FINN writes of a node, with a module around it, and the node as the search sees it."""
    with tempfile.TemporaryDirectory() as scratch, finn_session(Path(scratch)):
        node = helper.make_node(op_type, ["in"], ["out"], name=name, domain=DOMAIN, **attributes)
        inst = getCustomOp(node)
        inst.set_nodeattr("code_gen_dir_ipgen", scratch)
        inst.generate_hdl(None, BOARDS["pynq-z2"].part, 10.0)
        text = "\n".join(file.read_text(encoding="utf-8") for file in sorted(Path(scratch).glob(f"{name}*v")))
        bits = inst.get_instream_width_padded(), inst.get_outstream_width_padded()
        layer = OPS[op_type].layer(None, inst)  # type: ignore[attr-defined]
    inner = Node(name, op_type, *bits, 0, 1, 1, 1)
    ports = f"""\
    input wire ap_clk, ap_rst_n, input wire [{bits[0] - 1}:0] stream0_tdata, input wire stream0_tvalid,
    output wire stream0_tready, output wire [{bits[1] - 1}:0] stream1_tdata, output wire stream1_tvalid,
    input wire stream1_tready"""
    return f"module {name}_top (\n{ports}\n);\n{instance(0, inner, lines)}\nendmodule\n{text}", layer


def window(
    name: str,
    family: Family,
    image: Image,
    kernel: int,
    stride: int,
    simd: int,
    bits: int,
    *,
    parallel: bool,
    style: str,
) -> Case:
    """FINN's window generator."""
    attributes: dict[str, object] = {
        **op_window.attributes(image, Window((kernel, kernel), (stride, stride))), "SIMD": simd, "ram_style": style,
        "parallel_window": int(parallel), "inputDataType": f"UINT{bits}", "outputDataType": f"UINT{bits}",
    }  # fmt: skip
    verilog, layer = around(name, op_window.OP.op_type, attributes)
    folding = Folding(simd, simd, cast(RamStyle, style), parallel=parallel)
    label = f"{image[0]}x{image[1]}x{image[2]}, {kernel}x{kernel}/{stride}, {bits} bits, SIMD {simd} {style}"
    how = " at once" if parallel else ""
    return Case(op_window.OP.op_type, label + how, op_window.OP.cost(layer, folding, family), verilog, {})


def padding(name: str, family: Family, image: Image, simd: int, bits: int, fill: int) -> Case:
    """FINN's padding."""
    attributes: dict[str, object] = {
        **op_padding.attributes(image, Window((3, 3), padding=(1, 1, 1, 1)), fill), "SIMD": simd,
        "inputDataType": f"UINT{bits}",
    }  # fmt: skip
    verilog, layer = around(name, op_padding.OP.op_type, attributes, (AXILITE_TIES,))
    estimate = op_padding.OP.cost(layer, Folding(simd, simd), family)
    return Case(op_padding.OP.op_type, f"{image}, {bits} bits, SIMD {simd}", estimate, verilog, {})


def grid(family: Family) -> Iterator[Case]:
    """Yield the cases."""
    f = family
    multi = [
        (64, 32, 1, 1, 8, 8), (64, 32, 2, 4, 8, 8), (64, 32, 4, 4, 8, 8), (64, 32, 8, 2, 8, 8), (64, 32, 1, 8, 8, 8),
        (784, 16, 4, 8, 8, 8), (64, 64, 64, 1, 8, 8), (64, 1, 1, 8, 8, 8), (64, 32, 4, 4, 4, 4), (64, 32, 8, 8, 4, 4),
        (64, 32, 4, 4, 2, 2), (64, 32, 8, 8, 2, 2), (64, 32, 2, 16, 3, 5), (256, 32, 4, 4, 6, 8),
        (64, 32, 1, 2, 4, 4), (784, 64, 16, 4, 2, 8),
    ]  # fmt: skip
    in_luts = [
        (784, 64, 8, 8, 1, 8), (784, 64, 16, 8, 1, 8), (784, 256, 16, 16, 1, 8), (784, 64, 1, 56, 8, 8),
        (784, 32, 4, 28, 6, 8), (784, 64, 4, 49, 2, 8), (784, 64, 2, 28, 4, 4), (64, 64, 4, 4, 4, 4),
        (64, 64, 1, 8, 8, 8), (64, 64, 2, 8, 3, 3), (64, 64, 8, 16, 2, 2), (256, 64, 16, 16, 1, 1),
        (256, 256, 32, 64, 1, 1), (256, 256, 16, 16, 1, 1), (64, 32, 4, 4, 1, 2), (256, 64, 16, 16, 1, 2),
        (64, 32, 4, 4, 8, 1), (64, 32, 2, 16, 8, 1), (64, 32, 1, 1, 1, 1), (64, 1, 1, 8, 1, 1),
        (256, 64, 4, 32, 1, 4), (64, 32, 8, 8, 4, 1),
    ]  # fmt: skip
    # The search always says where weights go; left to itself, Yosys chooses otherwise than the formulas would.
    for style in ("block", "distributed"):
        for i, m in enumerate(multi):
            yield mvau(f"mvau{style[0]}{i}", f, *m, style)
        for i, m in enumerate(in_luts):
            mw, mh, pe, simd = m[:4]
            if style == "block" or mw // simd * (mh // pe) <= DEEPEST_LUTS:
                yield lut_mvau(f"lutm{style[0]}{i}", f, *m, style)
    steps = [
        (64, 1, 22, 8), (64, 4, 22, 8), (64, 1, 16, 4), (64, 8, 16, 4), (256, 1, 12, 1), (256, 16, 10, 1),
        (64, 64, 18, 2), (64, 2, 18, 2), (16, 1, 24, 8), (32, 2, 20, 6), (256, 4, 18, 3), (64, 1, 8, 4),
        (12, 12, 12, 4),
    ]  # fmt: skip
    for i, t in enumerate(steps):
        yield thresholding(f"thres{i}", f, *t)
    multiplied = [
        (64, 1, 22, 8, 24, 2, "lut"), (64, 1, 22, 8, 24, 24, "lut"), (64, 1, 22, 8, 24, 12, "lut"),
        (64, 1, 22, 8, 24, 1, "lut"), (64, 1, 22, 8, 24, 24, "dsp"), (64, 4, 22, 8, 24, 4, "lut"),
        (512, 1, 22, 8, 24, 8, "lut"), (128, 2, 20, 8, 20, 20, "dsp"), (64, 8, 20, 8, 20, 10, "lut"),
        (64, 1, 16, 4, 16, 4, "lut"), (32, 2, 18, 6, 20, 5, "lut"), (64, 16, 20, 8, 16, 16, "dsp"),
        (256, 4, 23, 8, 24, 6, "lut"), (16, 1, 24, 8, 28, 7, "lut"), (64, 2, 27, 8, 24, 24, "dsp"),
        (512, 2, 22, 8, 24, 24, "dsp"), (64, 1, 22, 8, 8, 1, "lut"), (64, 1, 22, 8, 8, 4, "lut"),
        (64, 4, 22, 8, 8, 1, "lut"), (64, 1, 22, 8, 16, 16, "dsp"), (2, 2, 22, 8, 8, 8, "lut"),
        (1, 1, 22, 8, 16, 2, "lut"),
    ]  # fmt: skip
    for style in ("block", "distributed"):
        for i, q in enumerate(multiplied):
            yield requantizer(f"requant{style[0]}{i}", f, *q, style)
    separate = [
        (16, 9, 1, 4, 4), (32, 9, 4, 4, 4), (64, 9, 8, 2, 2), (16, 25, 2, 8, 8), (32, 9, 2, 1, 4), (32, 9, 4, 1, 1),
        (16, 4, 2, 4, 1), (64, 9, 1, 3, 8), (8, 9, 8, 4, 4), (64, 9, 2, 6, 4), (128, 9, 1, 4, 4), (16, 9, 4, 2, 8),
    ]  # fmt: skip
    for i, s in enumerate(separate):
        yield depthwise(f"sepl{i}", f, *s, "lut", "distributed")
        if op_depthwise.multiplies(*s[3:]):
            yield depthwise(f"sepd{i}", f, *s, "dsp", "distributed")
    yield depthwise("sepb0", f, 128, 9, 1, 8, 4, "lut", "block")
    yield depthwise("sepb1", f, 256, 9, 2, 4, 4, "dsp", "block")
    for i, p in enumerate(((4, 1, 4), (4, 8, 4), (9, 4, 8), (4, 16, 1), (9, 8, 2), (4, 32, 3), (4, 8, 5), (9, 4, 6))):
        yield max_pool(f"pool{i}", f, *p)
    for i, g in enumerate(
        ((49, 64, 1, 4), (49, 64, 8, 4), (16, 32, 32, 2), (64, 16, 4, 8), (196, 128, 2, 3), (4, 4, 2, 4))
    ):
        yield global_sum(f"sum{i}", f, *g)
    for i, (depth, width) in enumerate(
        ((2, 8), (2, 64), (8, 24), (32, 32), (33, 176), (64, 8), (64, 64), (256, 32), (1024, 16))
    ):
        yield fifo(f"queue{i}", f, depth, width)
    for i, (wide, narrow) in enumerate(
        ((176, 22), (64, 8), (8, 64), (16, 64), (128, 16), (24, 96), (22, 352), (256, 1), (4, 64))
    ):
        yield width_converter(f"dwc{i}", f, wide, narrow)
    shapes: tuple[tuple[Image, int, int, int, int, bool, str], ...] = (
        ((64, 64, 1), 5, 2, 1, 8, False, "distributed"), ((64, 64, 1), 5, 2, 1, 8, False, "block"),
        ((32, 32, 16), 3, 2, 1, 4, False, "block"), ((32, 32, 16), 3, 2, 4, 4, False, "distributed"),
        ((32, 32, 16), 3, 2, 16, 4, False, "distributed"), ((10, 10, 64), 3, 2, 8, 4, False, "distributed"),
        ((10, 10, 8), 1, 2, 4, 4, False, "distributed"), ((16, 16, 4), 2, 2, 4, 2, False, "distributed"),
        ((64, 64, 1), 5, 2, 1, 8, True, "distributed"), ((64, 64, 1), 5, 2, 1, 8, True, "block"),
        ((32, 32, 16), 3, 2, 16, 4, True, "distributed"), ((16, 16, 8), 3, 1, 8, 2, True, "distributed"),
        ((10, 10, 4), 2, 1, 4, 4, True, "distributed"),
    )  # fmt: skip
    for i, (image, kernel, stride, simd, bits, parallel, style) in enumerate(shapes):
        yield window(f"window{i}", f, image, kernel, stride, simd, bits, parallel=parallel, style=style)
    for i, (image, simd, bits, fill) in enumerate(
        (((64, 64, 1), 1, 8, 128), ((30, 30, 16), 1, 4, 0), ((30, 30, 16), 16, 4, 0), ((8, 8, 64), 8, 2, 0))
    ):
        yield padding(f"padding{i}", f, image, simd, bits, fill)


def unit(case: Case, name: str, sources: dict[str, str]) -> Unit:
    """Return what Yosys is given for one case."""
    files = [(file, sources[file].encode()) for file in needed_files(case.verilog, sources)]
    files.append((f"{name}_top.v", case.verilog.encode()))
    files += [(file, text.encode()) for file, text in case.memories.items()]
    return Unit(name, f"{name}_top", tuple(files))


def error(estimate: int, measured: int) -> float:
    """Return the relative error; small counts are as good as equal."""
    return abs(estimate - measured) / max(measured, SMALL)


def main() -> int:
    """Print the tables; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", choices=tuple(FAMILIES), default=BOARDS["pynq-z2"].yosys_family)
    parser.add_argument("--cache", type=Path, default=Path("runs/.cache/synth"))
    kinds = sorted({case.kind for case in grid(BOARDS["pynq-z2"].yosys_family)})
    parser.add_argument("--kind", choices=kinds, help="only nodes of one kind")
    options = parser.parse_args()
    sources = library()
    cases = [case for case in grid(options.family) if options.kind in (None, case.kind)]
    names = [case.verilog.split()[1].removesuffix("_top") for case in cases]
    units = [unit(case, name, sources) for case, name in zip(cases, names, strict=True)]
    scratch = Path(tempfile.mkdtemp())
    try:
        found = synthesise_units(units, family=options.family, scratch=scratch / "yosys", cache=options.cache)
    finally:
        shutil.rmtree(scratch)
    print(f"{'formula / Yosys':52} {'LUT':>13} {'error':>7} {'FF':>13} {'BRAM18':>9} {'DSP':>7}")
    errors: dict[str, dict[str, list[float]]] = {}
    for case, usage in zip(cases, found, strict=True):
        e = case.estimate
        bram = usage.bram18_equivalents
        pairs = {
            "LUT": (e.lut, usage.lut),
            "FF": (e.ff, usage.ff),
            "BRAM18": (e.bram18, bram),
            "DSP": (e.dsp, usage.dsp),
        }
        for name, (estimate, measured) in pairs.items():
            limited = error(estimate, measured) if name in ("LUT", "FF") else float(abs(estimate - measured))
            errors.setdefault(case.kind, {}).setdefault(name, []).append(limited)
        print(
            f"{case.kind[:11]:12}{case.label:40} {e.lut:6}/{usage.lut:6} {100 * (e.lut / usage.lut - 1):+6.0f}% "
            f"{e.ff:6}/{usage.ff:6} {e.bram18:4}/{bram:4} {e.dsp:3}/{usage.dsp:3}"
            f"   lutram {usage.lutram} srl {usage.srl} carry {usage.carry}"
        )
    print("\nmedian and worst error: LUT and FF relative, BRAM18 and DSP in blocks")
    for kind, resources_ in errors.items():
        cells = (
            f"{name} {100 * statistics.median(v):.0f} %, {100 * max(v):.0f} %"
            if name in ("LUT", "FF")
            else f"{name} {statistics.median(v):g}, {max(v):g}"
            for name, v in resources_.items()
        )
        print(f"{kind:34}" + "   ".join(cells))
    limits = {kind: MEDIAN_LIMITS.get(kind, MEDIAN_LIMIT) for kind in errors}
    return int(any(statistics.median(r["LUT"]) > limits[kind] for kind, r in errors.items()))


if __name__ == "__main__":
    sys.exit(main())
