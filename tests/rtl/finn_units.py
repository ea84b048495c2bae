"""Units of finn-rtllib on their own, as a build writes them: what goes in, what must come out, stalls of every kind."""

import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper

from contract.network import Window
from finn_build import portable_rtl, stitch, timing
from finn_build.finn_session import finn_session
from finn_build.ops import depthwise as depthwise_op
from finn_build.ops import fifo as fifo_op
from finn_build.ops import op_of, reduction, width_converter
from finn_build.ops.mvau import Mvu
from finn_build.ops.op import Node
from finn_build.ops.pixel_window import Steps, Windows
from finn_build.ops.reduction import Reduce
from finn_build.ops.requantizer import Requantize
from finn_build.ops.thresholding import Thresholding
from finn_build.targets.boards import BOARDS
from tests.rtl.verilator_env import executable

HERE = Path(__file__).parent
VECTORS = 61  # a prime: patterns of stalls and of data never fall into step
RTL_DOMAIN = "finn.custom_op.fpgadataflow.rtl"


@dataclass(frozen=True)
class Unit:
    """One node. Elements are packed without gaps, the first in the low bits."""

    op_type: str
    attributes: dict[str, Any]
    inputs: NDArray[np.int64]  # (vectors, elements)
    outputs: NDArray[np.int64]  # (vectors, elements)
    initializer: NDArray[np.int64] | None  # weights, (MW, MH), or thresholds, (C, L)
    about: str
    elements: tuple[int, int]  # per input and output beat
    bits: tuple[int, int]  # of an input and an output element
    model: Callable[[], timing.Part]  # of its handshakes, empty


def divisors(n: int) -> list[int]:
    return [d for d in range(1, n + 1) if n % d == 0]


def matrix_vector(
    mw: int, mh: int, pe: int, simd: int, *, weight_bits: int = 4, activations: str = "UINT4", style: str = "auto",
    weights: NDArray[np.int64] | None = None,
) -> Unit:  # fmt: skip
    """FINN's matrix-vector unit with its memory of weights."""
    rng = np.random.default_rng([mw, mh, pe, simd, weight_bits])
    kind, reach = DataType[activations], 2 ** (weight_bits - 1)
    if weights is None:
        weights = rng.integers(-reach, reach, (mh, mw))
    x = rng.integers(int(kind.min()), int(kind.max()) + 1, (VECTORS, mw))
    x[:2] = [[kind.min()], [kind.max()]]
    largest = mw * reach * max(abs(int(kind.min())), int(kind.max()))
    accu = f"INT{largest.bit_length() + 1}"
    attributes = {
        "MW": mw, "MH": mh, "PE": pe, "SIMD": simd, "inputDataType": activations, "ram_style": style,
        "weightDataType": f"INT{weight_bits}", "outputDataType": accu, "accDataType": accu, "noActivation": 1,
        "numInputVectors": [1], "mem_mode": "internal_decoupled", "resType": "dsp",
    }  # fmt: skip
    about = f"MVAU {mw} x {mh}, SIMD {simd}, PE {pe}, weights {weight_bits} bits, {activations}, {style}"
    return Unit(
        "MVAU_rtl", attributes, x, x @ weights.T, weights.T, about, (simd, pe), (kind.bitwidth(), int(accu[3:])),
        partial(Mvu, beats=mw // simd, passes=mh // pe, simd=simd),
    )  # fmt: skip


def thresholding(channels: int, pe: int, steps: int, *, accu: str = "INT10") -> Unit:
    """FINN's thresholds; those of the first channel are at the ends of what can occur."""
    rng = np.random.default_rng([channels, pe, steps])
    kind = DataType[accu]
    low, high = int(kind.min()), int(kind.max())
    thresholds = np.sort(rng.integers(low, high + 1, (channels, steps)), axis=1)
    x = rng.integers(low, high + 1, (VECTORS, channels))
    x[:2] = [[low], [high]]
    near = rng.integers(0, steps, channels)
    for i, off in enumerate((-1, 0, 1)):  # beside a threshold
        x[2 + i] = np.clip(thresholds[np.arange(channels), near] + off, low, high)
    out = f"UINT{steps.bit_length()}"
    attributes = {
        "NumChannels": channels, "PE": pe, "numSteps": steps, "inputDataType": accu, "weightDataType": accu,
        "outputDataType": out, "ActVal": 0, "numInputVectors": [1],
    }  # fmt: skip
    counts = (x[:, :, None] >= thresholds).sum(axis=2)
    about = f"thresholding of {channels} channels, PE {pe}, {steps} thresholds, {accu}"
    return Unit(
        "Thresholding_rtl", attributes, x, counts, thresholds, about, (pe, pe), (kind.bitwidth(), steps.bit_length()),
        partial(Thresholding, bits=steps.bit_length()),
    )  # fmt: skip


def requantizer(channels: int, pe: int, digit: int, unit: str = "lut", *, accu: str = "INT10") -> Unit:
    """Our requantizer, whose factors have 8 bits."""
    rng = np.random.default_rng([channels, pe, digit])
    kind, levels, shift = DataType[accu], 15, 10
    low, high = int(kind.min()), int(kind.max())
    factors = rng.integers(1, 2**8, channels)
    addends = (rng.integers(0, levels, channels) << shift) - factors * ((low + high) // 2)
    x = rng.integers(low, high + 1, (VECTORS, channels))
    x[:2] = [[low], [high]]
    attributes = {
        "NumChannels": channels, "PE": pe, "numSteps": levels, "inputDataType": accu, "weightDataType": accu,
        "outputDataType": "UINT4", "ActVal": 0, "numInputVectors": [1], "factors": factors.tolist(),
        "addends": addends.tolist(), "shift": shift, "levels": levels, "FactorBits": 8, "DIGIT": digit, "unit": unit,
    }  # fmt: skip
    y = ((x * factors + addends) >> shift).clip(0, levels)
    about = f"requantizer of {channels} channels, PE {pe}, {digit} bits at a time, {unit}, {accu}"
    return Unit(
        "Requantizer_rtl", attributes, x, y, None, about, (pe, pe), (kind.bitwidth(), 4),
        partial(Requantize, steps=8 // digit, digit=digit, in_luts=unit == "lut"),
    )  # fmt: skip


def converter(elements: int, bits: int, before: int, after: int) -> Unit:
    """FINN's width converter between beats of so many elements."""
    rng = np.random.default_rng([elements, bits, before, after])
    x = rng.integers(0, 2**bits, (VECTORS, elements))
    attributes = {
        "inWidth": before * bits, "outWidth": after * bits, "dataType": f"UINT{bits}",
        "inShape": [1, elements], "outShape": [1, elements],
    }  # fmt: skip
    about = f"width converter, {elements} elements of {bits} bits, {before} to {after} a beat"
    return Unit(
        "StreamingDataWidthConverter_rtl", attributes, x, x, None, about, (before, after), (bits, bits),
        partial(width_converter.converter, before * bits, after * bits),
    )  # fmt: skip


def fifo(depth: int, bits: int, style: str = "auto") -> Unit:
    """FINN's FIFO."""
    x = np.random.default_rng([depth, bits]).integers(0, 2**bits, (VECTORS * 17, 1))
    attributes = {
        "depth": depth, "ram_style": style, "dataType": f"UINT{bits}", "folded_shape": [1, 1, 1],
        "normal_shape": [1, 1],
    }  # fmt: skip
    return Unit(
        "StreamingFIFO_rtl", attributes, x, x, None, f"FIFO of {depth}, {bits} bits, {style}", (1, 1), (bits, bits),
        partial(fifo_op.make_fifo, depth),
    )  # fmt: skip


def max_pool(channels: int, pe: int, window: int, kind: str) -> Unit:
    """Our max pool, of three windows an image."""
    x, attributes = _windows(channels, pe, window, kind)
    y = x.max(axis=3)
    about = f"max pool of {channels} channels, PE {pe}, {window} places, {kind}"
    return _reduction(
        "MaxPool_rtl", attributes | {"outputDataType": kind}, x, y, None, about, partial(Reduce, beats=window)
    )


def global_sum(channels: int, pe: int, places: int, kind: str) -> Unit:
    """Our global sum."""
    rng, values = np.random.default_rng([channels, pe, places]), _values(kind)
    x = rng.choice(values, (VECTORS, places, channels))
    x[:2] = values[[0, -1]][:, None, None]
    y = x.sum(axis=1)
    result = f"INT{1 + int(np.abs(y).max()).bit_length()}"
    attributes = reduction.attributes(channels, (), places) | {
        "PE": pe, "inputDataType": kind, "outputDataType": result,
    }  # fmt: skip
    about = f"global sum of {channels} channels, PE {pe}, {places} places, {kind}"
    model = partial(Reduce, beats=places, results=channels // pe)
    return _reduction("GlobalSum_rtl", attributes, x, y, None, about, model)


def depthwise(channels: int, pe: int, window: int, weight_bits: int, kind: str, unit: str = "lut") -> Unit:
    """Our depthwise unit, of three windows an image."""
    x, attributes = _windows(channels, pe, window, kind)
    weights_type = "BIPOLAR" if weight_bits == 1 else f"INT{weight_bits}"
    weights = np.random.default_rng(channels).choice(_values(weights_type), (window, channels))
    y = np.einsum("ngfwp,wfp->ngfp", x, weights.reshape(window, -1, pe))
    accu = f"INT{1 + int(np.abs(y).max()).bit_length()}"
    attributes |= {
        "weightDataType": weights_type, "accDataType": accu, "outputDataType": accu, "resType": unit,
    }  # fmt: skip
    about = f"depthwise unit of {channels} channels, PE {pe}, {window} places, W{weight_bits}, {kind}, {unit}"
    stages = depthwise_op.registers(weight_bits, DataType[kind].bitwidth(), in_luts=unit == "lut")
    model = partial(Reduce, beats=window, stages=stages)
    return _reduction("Depthwise_rtl", attributes, x, y, weights, about, model)


def pixel_window(
    image: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int], pixels: int, kind: str = "UINT8"
) -> Unit:
    """Our windows of an image of one channel."""
    steps = Steps((*image, 1), Window(kernel, stride), pixels)
    x = np.random.default_rng([*image, *kernel, *stride, pixels]).choice(_values(kind), (VECTORS, *image, 1))
    y = np.stack([view for _, _, view in steps.window.seen(x, steps.image)], axis=3)
    sent, given = ((v + 1) // 2 if kind == "BIPOLAR" else v for v in (x, y))
    attributes = {
        "IFMDim": list(image), "ConvKernelDim": list(kernel), "Stride": list(stride), "Pixels": pixels,
        "inputDataType": kind, "outputDataType": kind,
    }  # fmt: skip
    bits = DataType[kind].bitwidth()
    return Unit(
        "PixelWindow_rtl", attributes, sent.reshape(VECTORS, -1), given.reshape(VECTORS, -1), None,
        f"windows of {kernel} by {stride} on {image}, {pixels} pixels, {kind}", (pixels, prod(kernel)), (bits, bits),
        partial(Windows, steps),
    )  # fmt: skip


def _values(kind: str) -> NDArray[np.int64]:
    low, high = int(DataType[kind].min()), int(DataType[kind].max())
    return np.array([-1, 1]) if kind == "BIPOLAR" else np.arange(low, high + 1)


def _windows(channels: int, pe: int, window: int, kind: str) -> tuple[NDArray[np.int64], dict[str, Any]]:
    """Return, (VECTORS, 3, groups, places, PE), windows as they come, and attributes of a node that treats them."""
    values = _values(kind)
    x = np.random.default_rng([channels, pe, window]).choice(values, (VECTORS, 3, channels // pe, window, pe))
    x[:2] = values[[0, -1]][:, None, None, None, None]
    return x, reduction.attributes(channels, (1, 3), window) | {"PE": pe, "inputDataType": kind}


def _reduction(
    op_type: str, attributes: dict[str, Any], x: NDArray[np.int64], y: NDArray[np.int64],
    weights: NDArray[np.int64] | None, about: str, model: Callable[[], timing.Part],
) -> Unit:  # fmt: skip
    """Return one of our units that make one beat of several, whose first axis of inputs and outputs is the image."""
    kinds = [DataType[attributes[name]] for name in ("inputDataType", "outputDataType")]
    ends = zip((x, y), kinds, strict=True)
    sent, given = (((v + 1) // 2 if kind.name == "BIPOLAR" else v).reshape(VECTORS, -1) for v, kind in ends)
    pe, bits = attributes["PE"], (kinds[0].bitwidth(), kinds[1].bitwidth())
    return Unit(op_type, attributes, sent, given, weights, about, (pe, pe), bits, model)


def words(vectors: NDArray[np.int64], elements: int, bits: int) -> str:
    """Return (N, n) elements as one hexadecimal word per beat."""
    packed = [
        sum((int(v) % 2**bits) << (i * bits) for i, v in enumerate(beat)) for beat in vectors.reshape(-1, elements)
    ]
    return "".join(f"{word:x}\n" for word in packed)


Edit = Callable[[str, str], str]  # (file name, text) -> text


def write(units: Sequence[Unit], folder: Path, *, edit: Edit = portable_rtl.portable) -> list[str]:
    """Write the units and their bench into the new folder `folder`; return the sources in compile order."""
    folder.mkdir(parents=True)
    with finn_session(folder / "finn"):
        from finn.transformation.fpgadataflow.prepare_ip import PrepareIP

        model = _graph(units).transform(PrepareIP(BOARDS["pynq-z2"].part, 10.0))
        sources: dict[str, None] = {}
        blocks = []
        for i, unit in enumerate(units):
            node = stitch._node(model, f"unit{i}")
            sources |= dict.fromkeys(stitch._copy_sources(model, node, folder))
            blocks.append(_block(i, unit, node, folder))
    for name in sources:
        path = folder / name
        library = _library_text(name)
        if library is not None:
            path.write_text(edit(name, library), encoding="utf-8")
    (folder / "units_tb.sv").write_text(
        f"""module units_tb (input wire clk, rst, source_go, sink_go, report, tracing);
    wire ap_clk = clk, ap_rst_n = !rst;
    wire [{len(units) - 1}:0] in_ready, out_valid, taken, given;
    integer file;
    initial file = $fopen("trace.txt", "w");
    always @(posedge clk) if (tracing) $fwrite(file, "%b %b %b %b %b\\n", sink_go, in_ready, out_valid, taken, given);
{"".join(blocks)}
endmodule
""", encoding="ascii",
    )  # fmt: skip
    ordered = sorted(sources, key=lambda name: (not name.endswith("_pkg.sv"), name))
    return [*ordered, str(HERE / "stream_ends.sv"), "units_tb.sv"]


def _library_text(name: str) -> str | None:
    import finn

    found = [p for root in finn.__path__ for p in (Path(root) / "finn-rtllib").rglob(name)]
    return found[0].read_text(encoding="utf-8") if found else None


def _graph(units: Sequence[Unit]) -> ModelWrapper:
    """Return a graph in which each unit stands alone."""
    nodes, infos, ends = [], [], []
    for i, unit in enumerate(units):
        names = [f"x{i}"] + ([f"w{i}"] if unit.initializer is not None else [])
        nodes.append(
            helper.make_node(
                unit.op_type, names, [f"y{i}"], name=f"unit{i}", domain=RTL_DOMAIN, backend="fpgadataflow",
                **unit.attributes,
            )
        )  # fmt: skip
        infos.append(helper.make_tensor_value_info(f"x{i}", TensorProto.FLOAT, [1, unit.inputs.shape[1]]))
        ends.append(helper.make_tensor_value_info(f"y{i}", TensorProto.FLOAT, [1, unit.outputs.shape[1]]))
    model = ModelWrapper(helper.make_model(helper.make_graph(nodes, "units", infos, ends)))
    for i, unit in enumerate(units):
        if unit.initializer is not None:
            integers = unit.op_type == "Thresholding_rtl"
            model.set_initializer(f"w{i}", unit.initializer.astype(np.int64 if integers else np.float32))
            model.set_tensor_datatype(f"w{i}", DataType[unit.attributes["weightDataType"]])
    return model


def _block(i: int, unit: Unit, node: Node, folder: Path) -> str:
    beats = []
    for end, vectors, elements, bits in zip(
        ("in", "out"), (unit.inputs, unit.outputs), unit.elements, unit.bits, strict=True
    ):
        text = words(vectors, elements, bits)
        (folder / f"unit{i}_{end}.hex").write_text(text, encoding="ascii")
        beats.append(text.count("\n"))
    used = unit.elements[1] * unit.bits[1]
    a, b = 2 * i, 2 * i + 1
    return f"""
    // {unit.about}
    wire [{node.in_bits - 1}:0] stream{a}_tdata;
    wire [{node.out_bits - 1}:0] stream{b}_tdata;
    wire stream{a}_tvalid, stream{a}_tready, stream{b}_tvalid, stream{b}_tready;
    wire [31:0] count{a}, count{b};
    assign in_ready[{i}] = stream{a}_tready, out_valid[{i}] = stream{b}_tvalid;
    assign taken[{i}] = stream{a}_tready && stream{a}_tvalid, given[{i}] = stream{b}_tready && stream{b}_tvalid;
    stream_source #(.BITS({node.in_bits}), .BEATS({beats[0]}), .FILE("unit{i}_in.hex")) u_source{i} (
        .clk(clk), .rst(rst), .go(source_go), .tdata(stream{a}_tdata), .tvalid(stream{a}_tvalid),
        .tready(stream{a}_tready), .moved(count{a})
    );
{op_of(node).instance(a, node).replace(f"stream{a + 1}_", f"stream{b}_")}
    stream_sink #(
        .BITS({node.out_bits}), .BEATS({beats[1]}), .FILE("unit{i}_out.hex"), .CARE({node.out_bits}'h{2**used - 1:x})
    ) u_sink{i} (
        .clk(clk), .rst(rst), .go(sink_go), .tdata(stream{b}_tdata), .tvalid(stream{b}_tvalid),
        .tready(stream{b}_tready), .moved(count{b})
    );
    always @(posedge clk) if (report) $display("unit {i} %0d %0d", count{a}, count{b});"""


def run(
    units: Sequence[Unit], folder: Path, *, edit: Edit = portable_rtl.portable, deepest: int = 12, cycles: int = 40_000,
    seed: int = 1,
) -> str:  # fmt: skip
    """Run the bench; return what went wrong, empty if nothing did."""
    program = executable(write(units, folder, edit=edit), "units_tb", HERE / "units_main.cpp", folder, "--assert")
    command = [str(program), str(seed), str(deepest), str(cycles)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        return done.stdout + done.stderr
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("unit ")]
    assert len(lines) == len(units), done.stdout
    rests = [_rests(unit, int(words_[2]), int(words_[3])) for unit, words_ in zip(units, lines, strict=True)]
    return "".join(rests) + disagreements(units, folder / "trace.txt")


def disagreements(units: Sequence[Unit], trace: Path) -> str:
    """Say where a unit's TREADY or TVALID was not what timing.py's model of it says, cycle by cycle."""
    cycles = [line.split() for line in trace.read_text(encoding="ascii").splitlines()]
    assert len(cycles) > 1000
    found = []
    for i, unit in enumerate(units):
        part, bit = unit.model(), len(units) - 1 - i  # %b prints the highest bit first
        for cycle, (sink, in_ready, out_valid, taken, given) in enumerate(cycles):
            if (part.ready(sink == "1"), part.valid()) != (in_ready[bit] == "1", out_valid[bit] == "1"):
                found.append(
                    f"{unit.about}: cycle {cycle}: ready {in_ready[bit]}, valid {out_valid[bit]}; not the model's\n"
                )
                break
            part.step(taken[bit] == "1", given[bit] == "1")
    return "".join(found)


def _rests(unit: Unit, taken: int, given: int) -> str:
    """Whole vectors that went in have come out."""
    per_in, per_out = (
        vectors.shape[1] // elements
        for vectors, elements in zip((unit.inputs, unit.outputs), unit.elements, strict=True)
    )
    low = taken // per_in * per_out
    return "" if low <= given <= low + per_out and taken > 100 else f"{unit.about}: {taken} beats in, {given} out\n"


def foldings(mw: int, mh: int) -> Iterable[tuple[int, int]]:
    """Return every (PE, SIMD) of a layer."""
    return [(pe, simd) for pe in divisors(mh) for simd in divisors(mw)]
