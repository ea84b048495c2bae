"""A matrix-vector layer in LUTs for FINN's graphs, in plain RTL.

FINN's own RTL computes with DSPs and starts at 2 bits for weights and activations; below it generates HLS. This node is
FINN's matrix-vector node (its folding and shapes) with `rtl/lut_mvu.sv` as the hardware, for every width. It computes
the true sum of -1 / +1 products where FINN counts agreeing bits, so the thresholds behind it are those of
reference.npz. A sign behind it becomes part of it.
"""

from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from finn.custom_op.fpgadataflow.matrixvectoractivation import MVAU
from finn.custom_op.fpgadataflow.rtlbackend import RTLBackend
from numpy.typing import NDArray
from onnx import helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import add_op_to_domain, getCustomOp

from finn_build import costs
from finn_build.hardware_graph import DOMAIN

OP_TYPE = "LutMVAU_rtl"
SOURCES = ("count_ones.sv", "lut_mvu.sv")


class LutMVAU_rtl(MVAU, RTLBackend):  # noqa: N801  FINN tells its RTL nodes by the suffix
    """Matrix-vector product without multipliers. A width of 1 is bipolar.

    With a third input, (MH, 1) thresholds, the answer is whether the product reaches them: -1 or +1. Other activations
    are nodes of their own.
    """

    def get_nodeattr_types(self) -> dict[str, Any]:
        """Return the attributes of FINN's node. The weights live in the module: there is no weight stream."""
        return {
            **MVAU.get_nodeattr_types(self),
            **RTLBackend.get_nodeattr_types(self),
            "mem_mode": ("s", False, "internal_embedded", {"internal_embedded"}),
            "ram_style": ("s", False, "auto", {"auto", "block", "distributed"}),
            "resType": ("s", False, "lut", {"lut"}),
        }

    @property
    def fused(self) -> bool:
        """Whether it answers with signs."""
        return len(self.onnx_node.input) == 3

    def execute_node(self, context: dict[str, NDArray[np.float32]], graph: Any) -> None:
        """Compute the true sums, where FINN's node counts the agreements of two bipolar operands."""
        node = self.onnx_node
        sums = np.matmul(context[node.input[0]], context[node.input[1]])
        if self.fused:
            sums = np.where(sums >= context[node.input[2]].T, 1.0, -1.0)
        context[node.output[0]] = sums

    def _integers(self, model: ModelWrapper) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return weights, (MH, MW), and thresholds, (MH,); these are 0 where there are none."""
        weights = model.get_initializer(self.onnx_node.input[1]).T.astype(np.int64)
        if not self.fused:
            return weights, np.zeros(len(weights), dtype=np.int64)
        return weights, model.get_initializer(self.onnx_node.input[2])[:, 0]

    def lut_estimation(self, fpgapart: str) -> int:
        """Return the LUTs that the search for a folding counts with."""
        return self._cost(fpgapart).lut

    def bram_estimation(self, fpgapart: str) -> int:
        """Return the blocks of 18 Kbit of its weights."""
        return self._cost(fpgapart).bram18

    def _cost(self, fpgapart: str) -> costs.Resources:
        mw, mh, pe, simd = (self.get_nodeattr(name) for name in ("MW", "MH", "PE", "SIMD"))
        act_bits, weight_bits = (self.get_input_datatype(i).bitwidth() for i in (0, 1))
        return costs.lut_mvau(
            mw, mh, pe, simd, weight_bits, act_bits, self.get_accumulator_datatype().bitwidth(),
            "xc7" if fpgapart.startswith("xc7") else "xcup", ram_style=self.get_nodeattr("ram_style"),
        )  # fmt: skip

    def uram_estimation(self, fpgapart: str) -> int:
        """Return 0: UltraRAM can't be initialized."""
        return 0

    def dsp_estimation(self, fpgapart: str) -> int:
        """Return 0: there is no multiplier."""
        return 0

    def generate_hdl(self, model: ModelWrapper, fpgapart: str, clk: float) -> None:
        """Write the module NAME.v, with FINN's port names, and its weights."""
        name, folder = self.onnx_node.name, Path(self.get_nodeattr("code_gen_dir_ipgen"))
        weights, thresholds = self._integers(model)
        pe, simd, bits = self.get_nodeattr("PE"), self.get_nodeattr("SIMD"), self.get_input_datatype(1).bitwidth()
        starts = row_starts(weights, self.get_input_datatype(0), simd=simd, bits=bits) - thresholds
        words = weight_words(weights, pe=pe, simd=simd, bits=bits)
        (folder / f"{name}_weights.dat").write_text("\n".join(words) + "\n", encoding="ascii")
        (folder / f"{name}.v").write_text(self._wrapper(starts), encoding="ascii")
        self.set_nodeattr("gen_top_module", name)
        self.set_nodeattr("ipgen_path", str(folder))
        self.set_nodeattr("ip_path", str(folder))

    def _wrapper(self, starts: NDArray[np.int64]) -> str:
        name = self.onnx_node.name
        bits = self.get_accumulator_datatype().bitwidth()
        packed = sum((int(start) % 2**bits) << (i * bits) for i, start in enumerate(starts))
        values = {key: self.get_nodeattr(key) for key in ("MW", "MH", "PE", "SIMD")} | {
            "WEIGHT_BITS": self.get_input_datatype(1).bitwidth(),
            "ACT_BITS": self.get_input_datatype(0).bitwidth(),
            "ACT_SIGNED": int(self.get_input_datatype(0).signed()),
            "ACCU_BITS": bits,
            "START": f"{len(starts) * bits}'h{packed:x}",
            "SIGN": int(self.fused),
            "WEIGHT_FILE": f'"./{name}_weights.dat"',
            "RAM_STYLE": f'"{self.get_nodeattr("ram_style")}"',
        }
        parameters = ", ".join(f".{key}({value})" for key, value in values.items())
        return f"""\
// Generated by cxrflow. Do not edit.
module {name} (
    (* X_INTERFACE_PARAMETER = "ASSOCIATED_BUSIF in0_V:out0_V, ASSOCIATED_RESET ap_rst_n" *)
    (* X_INTERFACE_INFO = "xilinx.com:signal:clock:1.0 ap_clk CLK" *)
    input  wire ap_clk,
    (* X_INTERFACE_PARAMETER = "POLARITY ACTIVE_LOW" *)
    input  wire ap_rst_n,
    input  wire [{self.get_instream_width_padded() - 1}:0] in0_V_TDATA,
    input  wire in0_V_TVALID,
    output wire in0_V_TREADY,
    output wire [{self.get_outstream_width_padded() - 1}:0] out0_V_TDATA,
    output wire out0_V_TVALID,
    input  wire out0_V_TREADY
);
    lut_mvu #(
        {parameters}
    ) u_mvu (
        .clk(ap_clk), .rst(!ap_rst_n),
        .s_axis_tdata(in0_V_TDATA), .s_axis_tvalid(in0_V_TVALID), .s_axis_tready(in0_V_TREADY),
        .m_axis_tdata(out0_V_TDATA), .m_axis_tvalid(out0_V_TVALID), .m_axis_tready(out0_V_TREADY)
    );
endmodule
"""

    def get_rtl_file_list(self, abspath: bool = False) -> list[str]:
        """Return the module and its wrapper."""
        wrapper = f"{self.get_nodeattr('gen_top_module')}.v"
        if not abspath:
            return [*SOURCES, wrapper]
        folder = resources.files("finn_build") / "rtl"
        return [*(str(folder / name) for name in SOURCES), str(Path(self.get_nodeattr("code_gen_dir_ipgen")) / wrapper)]

    def code_generation_ipi(self) -> list[str]:
        """Return the commands that put the module into Vivado's block design.

        FINN's Zynq shell renames its nodes after their Verilog is written: the cell takes the new name, the files keep
        the old one.
        """
        return [
            *(f"add_files -norecurse {file}" for file in self.get_rtl_file_list(abspath=True)),
            f"create_bd_cell -type module -reference {self.get_nodeattr('gen_top_module')} {self.onnx_node.name}",
        ]


def row_starts(weights: NDArray[np.int64], activations: Any, *, simd: int, bits: int) -> NDArray[np.int64]:
    """Return, (MH,), what makes the true sum of a row of the sum of terms that lut_mvu.sv adds up.

    Args:
        weights: (MH, MW); -1 or +1 if `bits` is 1.
        activations: their qonnx datatype.
        simd: columns per beat.
        bits: of a weight; 1 is bipolar.
    """
    (mh, mw), wide = weights.shape, activations.bitwidth()
    if wide == 1:
        return np.full(mh, -mw if bits == 1 else 0)
    signed = 2 ** (wide - 1) * weights.sum(axis=1) if activations.signed() else 0
    if bits > 1:
        # Inverting what the highest bit takes of a pair, or of a single column, adds that many ones.
        inverted = (2 ** (wide + (simd > 1)) - 1) * -(-simd // 2) * (mw // simd)
        return np.full(mh, -(inverted << (bits - 1))) - signed
    # With M the greatest activation: ~b is M - b, and ~(a + b) is 2 * M + 1 - a - b, so a negative weight adds M too
    # much, and one more where it inverts a whole pair. A last odd column is as wide as a pair when it is inverted.
    negative, place = weights < 0, np.arange(mw) % simd
    too_much = (2**wide - 1) * negative.sum(axis=1) + negative[:, (place % 2 == 0) & (place + 1 < simd)].sum(axis=1)
    if simd % 2 and simd > 1:
        too_much += 2**wide * negative[:, place == simd - 1].sum(axis=1)
    return np.asarray(-too_much - signed)


def weight_words(weights: NDArray[np.int64], *, pe: int, simd: int, bits: int) -> list[str]:
    """Return the lines of WEIGHT_FILE, as the header of lut_mvu.sv describes them.

    Args:
        weights: (MH, MW); -1 or +1 if `bits` is 1.
        pe: rows per word.
        simd: columns per word.
        bits: of a weight; 1 is bipolar.
    """
    mh, mw = weights.shape
    coded = (weights > 0).astype(np.int64) if bits == 1 else weights & ((1 << bits) - 1)
    words = coded.reshape(mh // pe, pe, mw // simd, simd).transpose(0, 2, 1, 3).reshape(-1, pe * simd)
    digits = -(-pe * simd * bits // 4)
    unpacked = (words[:, :, None] >> np.arange(bits)) & 1  # (words, elements, bits), the least significant first
    packed = np.packbits(unpacked.reshape(len(words), -1).astype(np.uint8), axis=1, bitorder="little")
    return [f"{int.from_bytes(row.tobytes(), 'little'):0{digits}x}" for row in packed]


def replace_chosen_mvau(model: ModelWrapper) -> ModelWrapper:
    """Replace every node of FINN's RTL that is to be built of LUTs. It keeps its name."""
    for node in model.get_nodes_by_op_type("MVAU_rtl"):
        if getCustomOp(node).get_nodeattr("resType") == "lut":
            _replace(model, node)
    return model


def _replace(model: ModelWrapper, node: Any) -> None:
    inst = getCustomOp(node)
    kept = (
        "MW", "MH", "PE", "SIMD", "inputDataType", "weightDataType", "outputDataType", "accDataType", "ram_style",
    )  # fmt: skip
    attributes = {name: inst.get_nodeattr(name) for name in kept}
    vectors = [int(v) for v in inst.get_nodeattr("numInputVectors")]
    new = helper.make_node(
        OP_TYPE, node.input, node.output, name=node.name, domain=DOMAIN, backend="fpgadataflow", noActivation=1,
        numInputVectors=vectors, **attributes,
    )  # fmt: skip
    index = list(model.graph.node).index(node)
    model.graph.node.remove(node)
    model.graph.node.insert(index, new)


def register() -> None:
    """Let qonnx find the node."""
    add_op_to_domain(DOMAIN, LutMVAU_rtl)
