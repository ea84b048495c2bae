"""One plain-Verilog top for a chain of FINN nodes: AXI-Stream in, AXI-Stream out with TLAST.

The `rtl/` folder it writes is self-contained: the top, FINN's wrappers, portable copies of finn-rtllib and every memory
file, all by relative path. Verilator, Yosys and Vivado's module reference take it unchanged.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from contract.errors import ConfigError
from contract.record import read_record
from contract.values import VALUES
from finn_build.licences import write_licences
from finn_build.ops import image_last, op_of
from finn_build.ops.op import Node, recorded
from finn_build.portable_rtl import portable
from finn_build.records import Stitched

TOP = "accelerator"
LOGIT_BITS = 32  # the result stream: one sign-extended integer per beat


@dataclass(frozen=True)
class Design:
    """A stitched design, as `design.json` beside the Verilog describes it."""

    nodes: tuple[Node, ...]
    sources: tuple[str, ...]  # file names in compile order, packages first
    simd: int  # values per input beat
    in_beats: int  # beats per image
    out_bits_used: int  # width of a signed result before extension [bit]
    results: int = 1  # K, beats of results per image
    datatype: str = "uint8"  # of the input's values, a name in contract.values.VALUES

    @property
    def in_bits(self) -> int:
        """Width of the input stream's TDATA [bit]."""
        return self.nodes[0].in_bits

    def pack(self, images: NDArray[Any]) -> NDArray[np.uint8]:
        """Return (N, ...) images as (N * in_beats, in_bits / 8) bytes of beats, the low byte first."""
        values = VALUES[self.datatype]
        beats = values.pack(images.reshape(len(images), -1), lanes=self.simd).reshape(-1, values.beat_bytes(self.simd))
        return np.pad(beats, ((0, 0), (0, self.in_bits // 8 - beats.shape[1])))


def stitch(model: ModelWrapper, rtl: Path) -> Design:
    """Write the design of `model`, a graph after `hw_codegen`, into the new folder `rtl`.

    Raises:
        ConfigError: a node has no RTL, or the result is too wide.
        ToolError: finn-rtllib is not the version that our edits were written for.
    """
    rtl.mkdir(parents=True)
    nodes = tuple(_node(model, name) for name in (n.name for n in model.graph.node))
    sources: dict[str, None] = {}
    for node in nodes:
        for name in _copy_sources(model, node, rtl):
            sources[name] = None
    own = image_last.SOURCE
    (rtl / own).write_text((resources.files("finn_build") / "rtl" / own).read_text(encoding="utf-8"))
    first, last = (getCustomOp(model.graph.node[i]) for i in (0, -1))
    design = Design(
        nodes=nodes,
        sources=(*sorted(sources, key=lambda name: (not name.endswith("_pkg.sv"), name)), own, f"{TOP}.v"),
        simd=int(first.get_folded_input_shape()[-1]),
        in_beats=int(_product(first.get_folded_input_shape()[:-1])),
        out_bits_used=last.get_output_datatype().bitwidth(),
        results=int(_product(last.get_normal_output_shape())),
        datatype=first.get_input_datatype().name.lower(),
    )
    if design.out_bits_used > LOGIT_BITS:
        raise ConfigError(
            f"a result has {design.out_bits_used} bits, but the result stream carries {LOGIT_BITS}. "
            "Use narrower weights or activations in the last layer."
        )
    (rtl / f"{TOP}.v").write_text(_top(design), encoding="utf-8")
    (rtl / "sim_top.v").write_text(_sim_top(design), encoding="utf-8")
    write_licences(rtl)
    (rtl / "design.json").write_text(json.dumps(_describe(design), indent=2) + "\n", encoding="utf-8")
    return design


def _node(model: ModelWrapper, name: str) -> Node:
    onnx_node = model.get_node_from_name(name)
    inst = getCustomOp(onnx_node)
    names = inst.get_verilog_top_module_intf_names()
    expected = (["in0_V"], ["out0_V"])
    if ([n for n, _ in names["s_axis"]], [n for n, _ in names["m_axis"]]) != expected or names["aximm"]:
        raise ConfigError(
            f"{name} has streams {names}, but only chains with one stream in and one out can be stitched."
        )
    op = op_of(onnx_node)
    return Node(
        name=name,
        op_type=onnx_node.op_type,
        in_bits=names["s_axis"][0][1],
        out_bits=names["m_axis"][0][1],
        weight_bits=op.weight_bits(inst),
        pe=int(inst.get_folded_output_shape()[-1]),
        out_element_bits=inst.get_output_datatype().bitwidth(),
        cycles=op.node_cycles(model, inst),
        bipolar=inst.get_output_datatype().name == "BIPOLAR",
        depth=op.depth(inst),
        takes=tuple(map(int, inst.get_normal_input_shape()[1:])),
        gives=tuple(map(int, inst.get_normal_output_shape()[1:])),
    )


def _product(dims: tuple[int, ...]) -> int:
    result = 1
    for dim in dims:
        result *= int(dim)
    return result


def _copy_sources(model: ModelWrapper, node: Node, rtl: Path) -> list[str]:
    """Copy one node's Verilog, made portable, and its memory files; return the Verilog's names."""
    inst, op = getCustomOp(model.get_node_from_name(node.name)), op_of(node)
    files, generated = op.sources(inst), Path(inst.get_nodeattr("code_gen_dir_ipgen"))
    for file in files:
        if not (rtl / file.name).exists():
            text = op.portable(file.name, portable(file.name, file.read_text(encoding="utf-8")), node)
            (rtl / file.name).write_text(text, encoding="utf-8")
    for memory in generated.glob("*.dat"):
        name = f"{node.name}_weights.dat" if memory.name == "memblock.dat" else memory.name
        (rtl / name).write_bytes(memory.read_bytes())
    return [f.name for f in files]


def load_design(rtl: Path) -> Design:
    """Read back what `stitch` wrote into `rtl`. Raises ArtifactError."""
    raw = read_record(rtl / "design.json", Stitched)
    return Design(
        nodes=tuple(map(recorded, raw.nodes)),
        sources=tuple(raw.sources),
        simd=raw.input.pixels_per_beat,
        in_beats=raw.input.beats,
        out_bits_used=raw.output.logit_bits,
        results=raw.output.beats,
        datatype=raw.input.datatype,
    )


def _describe(design: Design) -> dict[str, object]:
    return {
        "top": TOP,
        "sources": list(design.sources),
        "input": {
            "bits": design.in_bits,
            "beats": design.in_beats,
            "pixels_per_beat": design.simd,
            "datatype": design.datatype,
        },
        "output": {"bits": LOGIT_BITS, "beats": design.results, "logit_bits": design.out_bits_used},
        "nodes": [asdict(node) for node in design.nodes],
    }


def _top(design: Design) -> str:
    """Return the Verilog of the top. Stream i enters node i; the last stream leaves the last node."""
    nodes = design.nodes
    widths = [node.in_bits for node in nodes] + [nodes[-1].out_bits]
    wires = "\n".join(
        f"    wire [{bits - 1}:0] stream{i}_tdata;\n    wire stream{i}_tvalid, stream{i}_tready;"
        for i, bits in enumerate(widths)
    )
    instances = "\n".join(op_of(node).instance(i, node) for i, node in enumerate(nodes))
    last = len(nodes)
    used, result = design.out_bits_used, f"stream{last}_tdata"
    extended = f"{{{{{LOGIT_BITS - used}{{{result}[{used - 1}]}}}}, {result}[{used - 1}:0]}}"
    end = image_last.instance(
        in_beats=design.in_beats,
        in_bits=design.in_bits,
        out_beats=design.results,
        out_bits=LOGIT_BITS,
        last=last,
        result=extended,
    )
    return f"""\
// Generated by cxrflow: {len(nodes)} nodes, {design.in_beats} beats of {design.simd} pixels per image. Do not edit.
// AXI-Stream in: {design.datatype} pixels, the first in the low {
        "byte" if VALUES[design.datatype].bits == 8 else "bits"
    }; TLAST on the last beat of a transfer of whole images.
// AXI-Stream out: {
        f"one int{LOGIT_BITS} logit" if design.results == 1 else f"{design.results} int{LOGIT_BITS}, one a beat,"
    } per image; TLAST on the last result of that transfer.
`default_nettype none
module {TOP} (
    (* X_INTERFACE_INFO = "xilinx.com:signal:clock:1.0 ap_clk CLK" *)
    (* X_INTERFACE_PARAMETER = "ASSOCIATED_BUSIF s_axis:m_axis, ASSOCIATED_RESET ap_rst_n" *)
    input  wire ap_clk,
    (* X_INTERFACE_PARAMETER = "POLARITY ACTIVE_LOW" *)
    input  wire ap_rst_n,
    input  wire [{design.in_bits - 1}:0] s_axis_tdata,
    input  wire s_axis_tvalid,
    input  wire s_axis_tlast,
    output wire s_axis_tready,
    output wire [{LOGIT_BITS - 1}:0] m_axis_tdata,
    output wire m_axis_tvalid,
    output wire m_axis_tlast,
    input  wire m_axis_tready
);
{wires}

{end}

{instances}
endmodule
`default_nettype wire
"""


def _sim_top(design: Design) -> str:
    """Return the simulation's top: the accelerator, and its inner handshakes and FIFO counters as outputs.

    The counters look into the design by name, so the design that is simulated is the design that is built.
    """
    streams = [f"u_dut.stream{i}" for i in range(len(design.nodes) + 1)]
    peaks = [f"u_dut.u_{node.name}.maxcount" for node in design.nodes if node.fifo]
    return sim_top(
        design,
        streams,
        peaks,
        body=f"`ifdef DUMP_STREAMS\n{_dumps(design)}\n`endif\n`ifdef CHECK_STREAMS\n{_checks(streams)}\n`endif\n",
    )


def sim_top(design: Design, streams: Sequence[str], peaks: Sequence[str], *, body: str = "") -> str:
    """Return the module that the simulator's harness drives, around the accelerator `u_dut`.

    Args:
        design: whose ports the accelerator has.
        streams: the streams whose handshakes are counted, from the input to the output; STREAM_tvalid and STREAM_tready
            are signals.
        peaks: signals of 32 bits, one per FIFO: the most items that it ever held.
        body: more Verilog for the module.
    """
    tvalid, tready = (", ".join(f"{name}_{end}" for name in reversed(streams)) for end in ("tvalid", "tready"))
    return f"""\
// Generated by cxrflow for simulation only. Do not edit.
module sim_top (
    input  wire ap_clk, ap_rst_n,
    input  wire [{design.in_bits - 1}:0] s_axis_tdata,
    input  wire s_axis_tvalid, s_axis_tlast,
    output wire s_axis_tready,
    output wire [{LOGIT_BITS - 1}:0] m_axis_tdata,
    output wire m_axis_tvalid, m_axis_tlast,
    input  wire m_axis_tready,
    output wire [{len(streams) - 1}:0] probe_tvalid, probe_tready, // bit i: stream i, the input of node i
    output wire [{max(32 * len(peaks), 1) - 1}:0] probe_peaks          // 32 bits per FIFO: most items ever held
);
    {TOP} u_dut (
        .ap_clk(ap_clk), .ap_rst_n(ap_rst_n), .s_axis_tdata(s_axis_tdata), .s_axis_tvalid(s_axis_tvalid),
        .s_axis_tlast(s_axis_tlast), .s_axis_tready(s_axis_tready), .m_axis_tdata(m_axis_tdata),
        .m_axis_tvalid(m_axis_tvalid), .m_axis_tlast(m_axis_tlast), .m_axis_tready(m_axis_tready)
    );
    assign probe_tvalid = {{{tvalid}}};
    assign probe_tready = {{{tready}}};
    assign probe_peaks = {{{", ".join(reversed(peaks)) or "1'b0"}}};
{body}endmodule
"""


def _dumps(design: Design) -> str:
    """Write every beat that leaves a layer to NAME.hex, for finding the layer that differs."""
    lines = []
    for i, node in enumerate(design.nodes, start=1):
        if node.layer:
            beat = f"u_dut.stream{i}"
            lines += [
                f"    integer f{i};",
                f'    initial f{i} = $fopen("{node.name}.hex", "w");',
                f"    always @(posedge ap_clk) if ({beat}_tvalid && {beat}_tready) begin",
                f'        $fwrite(f{i}, "%h\\n", {beat}_tdata);',
                f"        $fflush(f{i});",
                "    end",
            ]
    return "\n".join(lines)


def _checks(streams: Sequence[str]) -> str:
    """Stop where a beat that is refused does not wait, unchanged: the rule of every AXI stream."""
    lines = []
    for i, stream in enumerate(streams):
        tvalid, tready, tdata = (f"{stream}_{end}" for end in ("tvalid", "tready", "tdata"))
        lines += [
            f"    reg refused{i}; reg [$bits({tdata})-1:0] was{i};",
            "    always @(posedge ap_clk) begin",
            f"        refused{i} <= ap_rst_n && {tvalid} && !{tready};",
            f"        was{i} <= {tdata};",
            f"        if (refused{i} && ap_rst_n && !({tvalid} && {tdata} == was{i}))",
            f'            $fatal(1, "stream {i}: a beat that waits must stay");',
            "    end",
        ]
    return "\n".join(lines)
