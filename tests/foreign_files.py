"""ONNX files such as others make, and what they compute in rational arithmetic: nothing of the importer is used."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

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


def rounded(x: Fraction, mode: str = "ROUND") -> Fraction:
    """Round exactly."""
    down = x.numerator // x.denominator
    if mode == "FLOOR":
        return Fraction(down)
    if mode == "CEIL":
        return Fraction(-(-x.numerator // x.denominator))
    if mode == "ROUND_TO_ZERO":
        return Fraction(int(x))
    return Fraction(round(x))  # half to even


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
        if kind in ("Add", "Sub", "Mul", "Div"):
            return np.asarray(
                {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide}[kind](x, inputs[1])
            )
        if kind == "MatMul":
            return np.asarray(x.dot(inputs[1]))
        if kind == "Gemm":
            product = x.dot(inputs[1].T if attributes.get("transB") else inputs[1])
            product = product * Fraction(float(attributes.get("alpha", 1)))
            return np.asarray(
                product + inputs[2] * Fraction(float(attributes.get("beta", 1))) if len(inputs) > 2 else product
            )
        if kind == "Relu":
            return np.asarray(np.where(x > 0, x, Fraction(0)))  # type: ignore[call-overload]
        if kind in ("Identity", "Dropout"):
            return x
        if kind in ("Reshape", "Flatten"):
            return x.reshape(1, -1)
        if kind == "Transpose":
            return np.transpose(x, attributes.get("perm"))
        if kind == "BatchNormalization":
            gain, bias, mean, variance = inputs[1:]
            std = np.array([Fraction(float(np.sqrt(float(v) + attributes["epsilon"]))) for v in variance])
            return np.asarray((x - mean) / std * gain + bias)
        if kind == "BipolarQuant":
            return np.asarray(np.where(x >= 0, 1, -1) * inputs[1])
        if kind == "Quant":
            bits, signed, narrow = int(inputs[3]), attributes["signed"], attributes["narrow"]
            low, high = (-(2 ** (bits - 1)) + narrow, 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1 - narrow)
            mode = attributes.get("rounding_mode", b"ROUND").decode()
            scale, zero = np.broadcast_to(inputs[1], x.shape), np.broadcast_to(inputs[2], x.shape)
            result = np.empty(x.shape, dtype=object)
            for i, value in np.ndenumerate(x):
                y = value / scale[i] + zero[i]
                level = (1 if y >= 0 else -1) if bits == 1 and signed else rounded(min(max(y, low), high), mode)
                result[i] = (level - zero[i]) * scale[i]
            return result
        raise NotImplementedError(kind)
