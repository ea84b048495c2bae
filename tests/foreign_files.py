"""ONNX files such as others make, and what they compute in rational arithmetic."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from export.foreign.rational import compute

MODELS = Path(__file__).parents[2] / "shared" / "models"
DOMAIN = "qonnx.custom_op.general"
ARITHMETIC = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide}


@dataclass
class Graph:
    """A file in the making: a chain of nodes."""

    shape: tuple[int, ...]
    nodes: list[NodeProto] = field(default_factory=list)
    constants: list[TensorProto] = field(default_factory=list)
    last: str = "x"
    opset: int = 13
    element: int = TensorProto.FLOAT

    def constant(self, value: Any, dtype: type = np.float32) -> str:
        """Add an initializer; return its name."""
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype=dtype), name))
        return name

    def add(self, kind: str, *inputs: Any, first: bool = False, domain: str = "", **attributes: Any) -> "Graph":
        """Add a node that reads the data, and constants behind it (before it with `first`)."""
        names = [value if isinstance(value, str) else self.constant(value) for value in inputs]
        output = f"t{len(self.nodes)}"
        read = [*names, self.last] if first else [self.last, *names]
        self.nodes.append(helper.make_node(kind, read, [output], name=f"{kind}_{output}", domain=domain, **attributes))
        self.last = output
        return self

    def quant(
        self, scale: Any, bits: Any, *, zero: Any = 0.0, signed: int = 1, narrow: int = 0, mode: str = "ROUND"
    ) -> "Graph":
        """Add a Quant node to the data."""
        return self.add(
            "Quant", scale, zero, float(bits), domain=DOMAIN, signed=signed, narrow=narrow, rounding_mode=mode
        )

    def weights(self, values: Any, scale: Any, bits: int, *, narrow: int = 1) -> str:
        """Add a constant behind a Quant node, or of 1 bit behind a BipolarQuant node; return its name."""
        name, output = self.constant(values), f"w{len(self.nodes)}"
        given = [self.constant(scale)] if bits == 1 else [self.constant(v) for v in (scale, 0.0, float(bits))]
        more = {} if bits == 1 else {"signed": 1, "narrow": narrow, "rounding_mode": "ROUND"}
        kind = "BipolarQuant" if bits == 1 else "Quant"
        self.nodes.append(
            helper.make_node(kind, [name, *given], [output], name=f"{kind}_{output}", domain=DOMAIN, **more)
        )
        return output

    def model(self, outputs: Iterable[str] = ()) -> ModelProto:
        """Return the file."""
        ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in (*outputs,) or (self.last,)]
        source = helper.make_tensor_value_info("x", self.element, self.shape)
        graph = helper.make_graph(self.nodes, "g", [source], ends, self.constants)
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid(DOMAIN, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=9)

    def save(self, path: Path, outputs: Iterable[str] = ()) -> Path:
        """Write the file; return its path."""
        path.write_bytes(self.model(outputs).SerializeToString())
        return path


def qkeras(
    sizes: tuple[int, ...],
    bits: int,
    *,
    shape: tuple[int, ...] = (),
    front: bool = True,
    activation: str = "quantized_relu",
    norm: bool = False,
    weights: str = "quantized_bits",
    alpha: bool = False,
    end: str = "Softmax",
) -> ModelProto:
    """Return a network of QKeras as qonnx.converters.keras of qonnx 0.4.0 writes it, with random weights.

    Names, order, types of parameters and the Identity nodes at the end are what from_keras gave for QDense, QActivation
    and BatchNormalization layers. `activation` and `weights` are quantizers of QKeras: quantized_bits, quantized_relu
    (with "leaky" that of a negative slope, which is a signed quantizer behind a Relu there), binary or ternary, whose
    scale is the integer 1; `alpha` gives weights a power of two per output, as auto_po2 chooses it, which the converter
    stops at and its successors write; `norm` is what it makes of a batch norm; `front` is a quantized_bits(8, 3) on the
    input, of `shape` and else of a row.
    """
    rng, count = np.random.default_rng(0), len(sizes) - 1
    constants: dict[str, NDArray[Any]] = {}
    early: dict[int, NodeProto] = {}
    nodes: list[NodeProto] = []
    found: dict[str, int] = {"Quant": 2 * count}

    def quantizer(i: int, read: str | None, scale: Any, bits: int, *, sign: bool, narrow: bool = False) -> NodeProto:
        names = [f"Quant_{i}_param{j}" for j in range(3 if read else 4)]
        given = [np.array(scale), np.array(0, np.int64), np.array(bits, np.int64)]
        constants.update(zip(names[-3:], given, strict=True))
        return helper.make_node(
            "Quant", [read or names[0], *names[-3:]], [f"Quant_{i}_out0"], name=f"Quant_{i}", domain=DOMAIN,
            narrow=int(narrow), rounding_mode="ROUND", signed=int(sign),
        )  # fmt: skip

    def add(kind: str, *constant: Any) -> str:
        number = found[kind] = found.get(kind, -1) + 1
        names = []
        for j, value in enumerate(constant):
            names.append(value if isinstance(value, str) else f"{kind}_{number}_param{j}")
            if not isinstance(value, str):
                constants[names[-1]] = value
        nodes.append(helper.make_node(kind, [last, *names], [f"{kind}_{number}_out0"], name=f"{kind}_{number}"))
        return f"{kind}_{number}_out0"

    def quantize(scale: float, bits: int, *, sign: bool, narrow: bool = False) -> str:
        nodes.append(quantizer(found["Quant"], last, scale, bits, sign=sign, narrow=narrow))
        found["Quant"] += 1
        return str(nodes[-1].output[0])

    last = "global_in"
    if front:
        last = quantize(2.0**-4, 8, sign=True)
    if shape:
        last = add("Reshape", np.array([-1, sizes[0]]))
    for i, (before, after) in enumerate(pairwise(sizes)):
        kernel = 2 * (count - 1 - i)  # the last layer's comes first
        for j, value in enumerate((rng.uniform(-1, 1, (before, after)), rng.uniform(-0.5, 0.5, after))):
            own = {"binary": (1, 1), "ternary": (1.0, 2)}.get(weights) if j == 0 else None
            one, width = own or (2.0 ** (1 - bits), bits)
            scale = one * 2.0 ** rng.integers(-1, 2, (1, after)) if alpha and j == 0 else one
            early[kernel + j] = quantizer(kernel + j, None, scale, width, sign=True, narrow=own is not None)
            constants[f"Quant_{kernel + j}_param0"] = value.astype(np.float32)
        last = add("MatMul", f"Quant_{kernel}_out0")
        last = add("Add", f"Quant_{kernel + 1}_out0")
        if i == count - 1:
            break
        if norm:
            last = add("Mul", rng.choice([-1.5, 0.75], after).astype(np.float32))
            last = add("Add", (rng.integers(-9, 9, after) / 8).astype(np.float32))
        if activation in ("quantized_relu", "leaky"):
            last = add("Relu")
        if activation in ("binary", "ternary"):
            last = quantize(*{"binary": (1, 1), "ternary": (1.0, 2)}[activation], sign=True, narrow=True)
        else:
            last = quantize(2.0 ** (1 - bits), bits, sign=activation != "quantized_relu")
    if end:
        last = add(end)
    last = add("Identity")
    add("Identity")
    nodes[-1].output[0] = "global_out"
    source, sink = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)
        for name, dims in (("global_in", (1, *(shape or sizes[:1]))), ("global_out", (1, sizes[-1])))
    )
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph([*(early[i] for i in sorted(early)), *nodes], "g", [source], [sink], tensors)
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("ai.onnx.ml", 2)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=7, producer_name="tf2onnx")


class Rational:
    """Executes a file in rational arithmetic, one vector at a time; square roots are those of float64."""

    def __init__(self, model: ModelProto) -> None:
        """Compute the constants."""
        self.graph = model.graph
        self.constants: dict[str, NDArray[Any]] = {}
        for tensor in model.graph.initializer:
            array = numpy_helper.to_array(tensor)
            self.constants[tensor.name] = self._exact(array) if array.dtype.kind == "f" else array
        self.attributes = [{a.name: helper.get_attribute_value(a) for a in n.attribute} for n in model.graph.node]

    def _exact(self, array: NDArray[Any]) -> NDArray[Any]:
        exact = np.empty(array.shape, dtype=object)
        for i, value in np.ndenumerate(array):
            exact[i] = Fraction(float(value))
        return exact

    def __call__(self, x: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return every tensor for one input."""
        found = {**self.constants, "x": self._exact(np.asarray(x, dtype=np.float64))}
        for node, attributes in zip(self.graph.node, self.attributes, strict=True):
            found[node.output[0]] = self.compute(node, attributes, [found[name] for name in node.input])
        return found

    def compute(self, node: NodeProto, attributes: dict[str, Any], inputs: list[NDArray[Any]]) -> NDArray[Any]:
        """Return what one node gives."""
        kind, x = node.op_type, inputs[0]
        if kind == "MatMul":
            return np.asarray(x.dot(inputs[1]))
        if kind == "Gemm":
            product = x.dot(inputs[1].T if attributes.get("transB") else inputs[1])
            product = product * Fraction(float(attributes.get("alpha", 1)))
            return np.asarray(
                product + inputs[2] * Fraction(float(attributes.get("beta", 1))) if len(inputs) > 2 else product
            )
        if kind in ("Identity", "Dropout"):
            return x
        if kind in ("Reshape", "Flatten"):
            return x.reshape(1, -1)
        if kind == "Transpose":
            return np.transpose(x, attributes.get("perm"))
        return compute(node, list(inputs))
