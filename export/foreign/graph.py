"""A file's graph as one chain: constants computed, shapes followed, every node checked.

What comes out are `Product`s, each a matrix that the whole vector, or each window of an image, is multiplied by, with
the elementwise steps before it, the steps behind the last one, and how the host ends, see contract.decision.ENDS.
Nothing is integer yet.

Images are (1, channels, height, width) in a file, and row by row, the channels of a place side by side, in the chain.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, defs, helper, numpy_helper

from contract.errors import ConfigError
from contract.network import MAX_SIZE, MAX_WEIGHTS, Image, Window
from contract.onnx_file import FLOATS
from export.foreign import steps
from export.foreign.steps import Maximum, Quantizer, Step, UnsupportedError, step

Constant = NDArray[Any]
QONNX = ("qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general", "")  # domains of one meaning
ENDS = {"Softmax": "softmax", "LogSoftmax": "log_softmax", "Sigmoid": "sigmoid", "TopK": "argmax", "ArgMax": "argmax"}
QUANTIZERS = ("Quant", "BipolarQuant", "QuantizeLinear", "MultiThreshold", "Trunc")
INNER = (*QUANTIZERS, "MatMul", "Gemm", "Conv")  # of hidden layers
_FORM = {"signed": AttributeProto.INT, "narrow": AttributeProto.INT, "rounding_mode": AttributeProto.STRING}
OWN = {  # operators of QONNX: fewest and most inputs, and attributes
    "Quant": (4, 4, _FORM), "IntQuant": (4, 4, _FORM), "Trunc": (5, 6, _FORM), "BipolarQuant": (2, 2, {}),
    "MultiThreshold": (2, 2, {
        "out_scale": AttributeProto.FLOAT, "out_bias": AttributeProto.FLOAT, "out_dtype": AttributeProto.STRING,
        "data_layout": AttributeProto.STRING,
    }),
}  # fmt: skip
_MOST = float(np.finfo(np.float64).max)  # JSON has no infinity
MAX_NODES = 500  # on the way of the data, each of which is executed some thousand times
MAX_CONSTANT = 1 << 26  # elements of all computed constants, and of all matrices: one constant may be read many times
MAX_RANK = 8  # dimensions of the data
ACCEPTED = (
    "Add, ArgMax, AveragePool, BatchNormalization, BipolarQuant, Cast, Clip, Conv, DequantizeLinear, Div, Dropout, "
    "Flatten, Gemm, GlobalAveragePool, Identity, LogSoftmax, MatMul, MaxPool, Mul, MultiThreshold, Quant, "
    "QuantizeLinear, ReduceMean, ReduceSum, Relu, Reshape, Sigmoid, Softmax, Squeeze, Sub, TopK, Transpose, Trunc and "
    "Unsqueeze"
)


@dataclass(frozen=True)
class Windows:
    """How a product lies on an image."""

    image: Image  # that it reads
    window: Window
    depthwise: bool  # each channel alone
    averages: bool = False  # all weights are 1: a sum, or a mean without its division


Work = tuple[Step | Quantizer | Maximum, ...]


@dataclass(frozen=True)
class Product:
    """acc = matrix @ x, of what the steps before it make of the product before, or of the input."""

    node: str  # as errors call it
    # (C, M); with windows M is the rows, columns and channels of one, or of depthwise ones rows and columns
    matrix: NDArray[np.float64]
    steps: Work  # between the product before, or the input, and this one
    last: str  # node that makes what is read; of the first product the input's name
    data: str  # the tensor that it reads
    windows: Windows | None = None  # none: of the whole vector


@dataclass(frozen=True)
class Chain:
    """The whole file."""

    input: str  # its name
    shape: tuple[int, ...]  # of one input, the batch left out
    declared: str | None  # datatype of the input that the file itself names, as contract.values has them
    whole: tuple[int, int] | None  # least and greatest of what it can be, where its element type is an integer one
    products: tuple[Product, ...]
    head: Work  # behind the last product
    result: str  # tensor that the host's end reads
    output: str  # tensor that the file gives, which is `result` where there is no end
    end: str  # of contract.decision.ENDS
    idle: str = ""  # a softmax in front of the argmax, which changes no order and is left out; as errors call it
    order: NDArray[np.int64] | None = None  # (M,) where in the file each value stands that is fed; None: in its order

    def read(self, fed: NDArray[Any]) -> NDArray[Any]:
        """Return (N, M) of what is fed in the file's own order."""
        if self.order is None:
            return fed
        read = np.empty_like(fed)
        read[:, self.order] = fed
        return read


@dataclass
class _Data:
    """The activation on its way: which element of the last product stands where, and what was done to it."""

    ids: NDArray[np.int64]  # its shape is the tensor's
    made_by: str
    steps: list[Step | Quantizer | Maximum] = field(default_factory=list)
    whole: bool = False  # whether the file has it as integers here
    image: Image | None = None  # whose elements these are, place by place; None: not of windows, or the input
    made_by_product: bool = True  # False: the input

    def column(self, constant: Constant) -> NDArray[np.float64]:
        """Return a constant that is broadcast to the tensor as (E, 1), in the order of the elements.

        Of an image E counts its channels, all places of which must have the same.
        """
        try:
            full = np.broadcast_to(constant, self.ids.shape)
        except ValueError:
            raise UnsupportedError(
                f"has a constant of the shape {constant.shape} for values of {self.ids.shape}, expected one per value"
            ) from None
        column = np.empty((self.ids.size, 1))
        column[self.ids.ravel(), 0] = full.ravel()
        return self.of_channels(column)

    def of_channels(self, column: NDArray[Any]) -> NDArray[Any]:
        """Return what there is for each element, (E, ...), for each channel of an image."""
        if self.image is None:
            return column
        places = column.reshape(-1, self.image[2], *column.shape[1:])
        if (places != places[:1]).any():
            raise UnsupportedError("differs from place to place of an image, expected the same for a whole channel")
        return np.asarray(places[0])

    def places(self) -> tuple[Image, NDArray[np.int64]]:
        """Return the image that the tensor (1, C, H, W) is, and its elements place by place, (H * W * C,)."""
        if self.ids.ndim != 4 or len(self.ids) != 1:
            raise UnsupportedError(f"reads {self.ids.shape}, expected an image: (1, channels, height, width)")
        image = (self.ids.shape[2], self.ids.shape[3], self.ids.shape[1])
        order = self.ids[0].transpose(1, 2, 0).ravel()
        if self.made_by_product and (image != self.image or not np.array_equal(order, np.arange(order.size))):
            raise UnsupportedError(
                "reads an image whose channels or places stand in another order than the layer before makes them, or "
                "that a dense layer makes: expected an image of the layer before, as it is"
            )
        return image, order

    def in_order(self) -> bool:
        """Tell whether the elements stand in the order in which the last product made them."""
        return np.array_equal(self.ids.ravel(), np.arange(self.ids.size))


def label(node: NodeProto) -> str:
    """Return a node as errors call it."""
    name = node.name or (node.output[0] if node.output else "")
    return f"node '{_shown(name, 60)}' ({_shown(node.op_type, 40)})"


def _shown(name: str, most: int) -> str:
    """Return a name of the file's, shortened, in a line."""
    return "".join(c if c.isprintable() else "?" for c in name[:most])


def _opset(model: ModelProto) -> int:
    """Return the version of the standard operators, which decides what they mean. Raises ConfigError."""
    versions = {opset.version for opset in model.opset_import if opset.domain in ("", "ai.onnx")}
    newest = defs.onnx_opset_version()
    if len(versions) != 1 or not 1 <= min(versions) <= newest:
        found = ", ".join(map(str, sorted(versions)[:5])) or "none"
        raise ConfigError(
            f"the file's version of the standard operators (opset_import of the domain '') is {found}, expected one "
            f"from 1 to {newest}. Export the network again."
        )
    return int(versions.pop())


def _require_form(node: NodeProto, opset: int) -> None:
    """Stop at a node of other inputs, outputs or attributes than its operator has. Raises UnsupportedError."""
    kind, required = node.op_type, tuple[str, ...]()
    if kind in OWN:
        least, most, attributes = OWN[kind]
        needed = least
    elif defs.has(kind):
        try:
            schema = defs.get_schema(kind, opset)
        except defs.SchemaError:
            raise UnsupportedError(f"is no operator of version {opset} of the standard ones") from None
        least, most = schema.min_input, schema.max_input
        needed = sum(one.option == defs.OpSchema.FormalParameterOption.Single for one in schema.inputs)
        attributes = {name: int(one.type.value) for name, one in schema.attributes.items()}
        required = tuple(name for name, one in schema.attributes.items() if one.required)
    else:
        return  # refused as unknown
    if not least <= len(node.input) <= most:
        wanted = f"{least}" if least == most else f"{least} or more" if most > 9 else f"{least}, or {most}"
        raise UnsupportedError(f"has {len(node.input)} input{'s' * (len(node.input) != 1)}, expected {wanted}")
    if not all(node.input[:needed]):
        raise UnsupportedError(f"lacks its input {list(node.input).index('')}, expected its name")
    if not node.output or (not node.output[0] and not (kind == "TopK" and len(node.output) > 1)):
        raise UnsupportedError("gives nothing, expected the name of an output")
    for one in node.attribute:
        if one.name == "training_mode":
            continue  # refused by what it says, in versions before it, too
        if one.name not in attributes or one.type != attributes[one.name]:
            expected = ", ".join(attributes) or "none"
            what = "of another type" if one.name in attributes else "that it does not have"
            raise UnsupportedError(
                f"has an attribute '{_shown(one.name, 40)}' {what} in version {opset}, expected {expected}"
            )
    if missing := [name for name in required if all(one.name != name for one in node.attribute)]:
        raise UnsupportedError(f"lacks the attribute '{missing[0]}', expected it")


def read_graph(model: ModelProto) -> Chain:
    """Return the chain of a model that `contract.onnx_file.load_onnx` returned.

    Raises:
        ConfigError: a node does what cannot become integers; names it, and says what would be accepted.
    """
    return _Reader(model).read()


class _Reader:
    def __init__(self, model: ModelProto) -> None:
        self.graph = model.graph
        self.opset = _opset(model)
        for tensor in self.graph.initializer:
            if tensor.data_type in (TensorProto.COMPLEX64, TensorProto.COMPLEX128):
                raise ConfigError(
                    f"the constant '{_shown(tensor.name, 60)}' holds complex numbers, expected real ones."
                )
        self.constants: dict[str, Constant] = {t.name: _array(t) for t in self.graph.initializer}
        inputs = [value for value in self.graph.input if value.name not in self.constants]
        if len(inputs) != 1:
            raise ConfigError(f"the file has {len(inputs)} inputs, expected one. Cut the graph to one input.")
        self.input = inputs[0]
        self.shape = self._input_shape()
        self.data: dict[str, _Data] = {}
        self.products: list[Product] = []
        self.order: NDArray[np.int64] | None = None  # of an input that is an image of several channels
        self.end, self.ended, self.result, self.idle = "", "", "", ""
        self.best: tuple[str, ...] = ()  # what the TopK gives
        self.count = self.computed = self.multiplied = 0  # nodes of the data, elements of constants, of matrices

    def read(self) -> Chain:
        ids = np.arange(math.prod(self.shape)).reshape(self.shape)
        name = f"the input '{_shown(self.input.name, 60)}'"
        start = _Data(ids, name, whole=self._whole() is not None, made_by_product=False)
        self.data[self.input.name] = start
        for node in self.graph.node:
            try:
                self._node(node)
            except UnsupportedError as err:
                raise ConfigError(f"{label(node)} {err}.") from None
            except (
                ValueError, IndexError, KeyError, TypeError, OverflowError, ZeroDivisionError, RuntimeError
            ) as err:  # fmt: skip
                why = " ".join(str(err).split())[:150].rstrip(".")
                raise ConfigError(f"{label(node)} cannot be read ({why}), expected a valid node.") from err
        return self._chain()

    def _chain(self) -> Chain:
        names = [output.name for output in self.graph.output]
        if not self.products:
            raise ConfigError("the file has no matrix product of its input, expected dense layers (MatMul or Gemm).")
        found = [name for name in names if name in self.data]
        if len(self.data) != 1 or not found or (len(names) > 1 and not set(names) <= set(self.best)):
            shown = ", ".join(_shown(name, 60) for name in names[:5])
            if len(names) == 1:
                raise ConfigError(
                    f"the file's output {shown} is not what the chain of its layers ends with: other nodes go on from "
                    "there, or it does not depend on the input. Cut the graph at its output."
                )
            raise ConfigError(f"the file has the outputs {shown}, expected one, at the end of the chain.")
        (data,) = self.data.values()
        if self.products[-1].windows is not None:
            raise ConfigError(
                f"{self.products[-1].node} is the last layer, expected a dense one (MatMul, Gemm, or a Conv of one "
                "window)."
            )
        if not data.in_order():
            raise ConfigError(f"{data.made_by} changes the order of the outputs, expected it as the last layer has it.")
        first = self.products[0].windows
        shape = self._first_shape() if self.order is None or first is None else first.image
        return Chain(
            self.input.name, shape, self._declared(), self._whole(), tuple(self.products), tuple(data.steps),
            self.result or found[0], found[0], self.end, self.idle, self.order,
        )  # fmt: skip

    def _first_shape(self) -> tuple[int, ...]:
        return self.shape[1:] if len(self.shape) > 1 else self.shape

    def _input_shape(self) -> tuple[int, ...]:
        dims = self.input.type.tensor_type.shape.dim
        shape = tuple(dim.dim_value for dim in dims)
        if len(shape) > 1 and shape[0] <= 0:
            shape = (1, *shape[1:])  # any batch
        if (
            not 1 <= len(shape) <= MAX_RANK
            or min(shape) <= 0
            or (len(shape) > 1 and shape[0] != 1)
            or math.prod(shape) > MAX_SIZE
        ):
            named = [_shown(dim.dim_param, 60) or dim.dim_value for dim in dims[:10]]
            raise ConfigError(
                f"the input '{_shown(self.input.name, 60)}' has the shape {named}, expected one input and known sizes "
                "behind it: (1, ...), with the batch first. Export the network with an example of that shape."
            )
        return shape

    def _whole(self) -> tuple[int, int] | None:
        kind = self.input.type.tensor_type.elem_type
        known = kind in helper.get_all_tensor_dtypes()
        dtype = helper.tensor_dtype_to_np_dtype(kind) if known else np.dtype(object)
        if dtype.kind in "iu":
            ends = np.iinfo(dtype)
            return int(ends.min), int(ends.max)
        if kind not in FLOATS:
            found = TensorProto.DataType.Name(kind) if known else str(kind)
            raise ConfigError(
                f"the input '{_shown(self.input.name, 60)}' is of the type {found}, expected floats, or integers of 8 "
                "bits or more. Export the network again."
            )
        return None

    def _declared(self) -> str | None:
        kind = self.input.type.tensor_type.elem_type
        if kind in (TensorProto.UINT8, TensorProto.INT8):
            return "uint8" if kind == TensorProto.UINT8 else "int8"
        for note in self.graph.quantization_annotation:
            if note.tensor_name == self.input.name:
                for entry in note.quant_parameter_tensor_names:
                    if entry.key == "finn_datatype" and not entry.value.upper().startswith("FLOAT"):
                        return str(entry.value).lower()
        return None

    def _node(self, node: NodeProto) -> None:
        read = [name for name in node.input if name in self.data]
        missing = [name for name in node.input if name and name not in self.data and name not in self.constants]
        if missing:
            raise UnsupportedError(
                f"reads '{_shown(missing[0], 60)}' a second time, or what a second branch made of it: residual "
                "connections and branches are not supported, expected a single chain of layers"
            )
        domain = (
            node.domain if node.op_type in ("Quant", "BipolarQuant", "MultiThreshold", "Trunc", "IntQuant") else None
        )
        if (domain is not None and domain not in QONNX and not domain.startswith("qonnx.")) or (
            domain is None and node.domain not in ("", "ai.onnx")
        ):
            raise UnsupportedError(f"is of the unknown domain '{_shown(node.domain, 40)}', expected one of {ACCEPTED}")
        _require_form(node, self.opset)
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if not read:
            self._constant(node, attributes)
        elif node.op_type == "Shape":
            self.constants[node.output[0]] = np.array(self.data[read[0]].ids.shape, dtype=np.int64)
        elif len(read) > 1:
            raise UnsupportedError("joins two branches of the data, expected a single chain of layers")
        else:
            self._on_data(node, attributes, read[0])

    def _constant(self, node: NodeProto, attributes: dict[str, Any]) -> None:
        """Compute a node that reads constants only."""
        kind = "Quant" if node.op_type == "IntQuant" else node.op_type
        if kind not in CONSTANT:
            kinds = ", ".join(sorted(CONSTANT))
            raise UnsupportedError(f"reads no data, and constants are not made by it here, expected one of {kinds}")
        inputs = [self.constants[name] if name else None for name in node.input]
        _require_small(kind, inputs, attributes)
        value = np.asarray(CONSTANT[kind](inputs, attributes))
        self.computed += value.size
        if self.computed > MAX_CONSTANT:
            raise UnsupportedError(
                f"makes {value.size:,} numbers, {self.computed:,} with those before it, expected {MAX_CONSTANT:,} at "
                "most"
            )
        self.constants[node.output[0]] = value

    def _on_data(self, node: NodeProto, attributes: dict[str, Any], name: str) -> None:
        self.count += 1
        if self.count > MAX_NODES:
            raise UnsupportedError(f"is the {self.count}th node on the way of the data, expected {MAX_NODES} at most")
        data, kind = self.data[name], "Quant" if node.op_type == "IntQuant" else node.op_type
        if self.end and kind not in SHAPES and not (kind in ("ArgMax", "TopK") and self.end.endswith("softmax")):
            if kind in INNER:
                raise UnsupportedError(
                    f"goes on from {self.ended}, and a hidden one is not accepted, expected it as the last of all, or "
                    "Relu or Clip in its place"
                )
            raise UnsupportedError(
                f"stands behind the {self.end} of the head, expected that to be the last, or only other shapes of it"
            )
        constants = [self.constants.get(other) if other else None for other in node.input]
        if kind in ("MatMul", "Gemm"):
            data = self._product(node, attributes, data, constants, name)
        elif kind == "Conv":
            data = self._convolution(node, attributes, data, constants, name)
        elif kind in ("AveragePool", "GlobalAveragePool", "ReduceMean", "ReduceSum"):
            data = self._average(node, attributes, data, constants, name)
        elif kind == "MaxPool":
            self._maximum(attributes, data)
        elif kind in SHAPES:
            if kind != "Cast" or self.end != "argmax":  # a class is an integer, of whatever type
                data.ids = SHAPES[kind](data.ids, constants, attributes)
            if data.ids.ndim > MAX_RANK:
                raise UnsupportedError(f"makes {data.ids.ndim} dimensions, expected {MAX_RANK} at most")
        elif kind in ENDS:
            self._end(kind, node, attributes, data, name)
        elif kind in STEPS:
            data.steps.append(STEPS[kind](node, data, constants, attributes, self.opset))
        else:
            raise UnsupportedError(f"is not supported here, expected one of {ACCEPTED}")
        if kind in ("Cast", "QuantizeLinear", "DequantizeLinear"):
            data.whole = kind == "QuantizeLinear"
        data.made_by = label(node)
        del self.data[name]  # read once; whoever reads it again is told so
        self.data[self._kept(node) if kind == "TopK" else node.output[0]] = data

    def _kept(self, node: NodeProto) -> str:
        """Return which tensor of a TopK goes on: its indices, unless nobody reads them and somebody its values."""
        self.best = tuple(node.output[:2])
        used = {name for other in self.graph.node for name in other.input} | {v.name for v in self.graph.output}
        values, indices = (*self.best, "")[:2]
        if values not in used or indices in used:
            return indices
        if self.idle:
            raise UnsupportedError(f"gives the greatest of what {self.idle} makes, expected its index only")
        self.end = "max"
        return values

    def _image(self, data: _Data) -> Image:
        """Return the image that a product with windows reads; the input's order is kept."""
        image, order = data.places()
        if not data.made_by_product and not np.array_equal(order, np.arange(order.size)):
            if image[2] == 1 or len(self.shape) < 4:  # whoever feeds a row of values has it in the file's own order
                raise UnsupportedError(
                    "reads an image that the file turns, or makes of a row of values, expected the input itself to be "
                    "one: (1, channels, height, width)"
                )
            self.order = order
        return image

    def _convolution(
        self, node: NodeProto, attributes: dict[str, Any], data: _Data, constants: list[Constant | None], name: str
    ) -> _Data:
        if constants[1] is None:
            raise UnsupportedError("has the data as its weights, expected constants")
        weights = np.asarray(constants[1], dtype=np.float64)
        self._count_factors(weights.size)
        image = data.places()[0]
        groups, channels = int(attributes.get("group", 1)), image[2]
        if weights.ndim != 4:
            raise UnsupportedError(f"has weights of the shape {weights.shape}, expected two dimensions of windows")
        depthwise = groups == channels == len(weights) and groups > 1
        if not depthwise and groups != 1:
            raise UnsupportedError(
                f"has {groups} groups of {channels} channels for {len(weights)} outputs, expected 1, or as many groups "
                "and outputs as channels"
            )
        if weights.shape[1] != (1 if depthwise else channels) or not 0 < weights.size <= MAX_WEIGHTS:
            raise UnsupportedError(f"has weights of the shape {weights.shape} for {channels} channels")
        window = _window(attributes, image, weights.shape[2:])
        if not depthwise and window.kernel == image[:2] and not any(window.padding):  # it is all of it
            matrix = np.empty((len(weights), data.ids.size))
            matrix[:, data.ids.ravel()] = weights.reshape(len(weights), -1)
            self.products.append(Product(label(node), matrix, tuple(data.steps), data.made_by, name))
            made = _Data(np.arange(len(weights)).reshape(1, -1, 1, 1), label(node))
        else:
            shape = (len(weights), -1)
            matrix = weights.reshape(shape) if depthwise else weights.transpose(0, 2, 3, 1).reshape(shape)
            windows = Windows(self._image(data), window, depthwise)
            self.products.append(
                Product(label(node), np.ascontiguousarray(matrix), tuple(data.steps), data.made_by, name, windows)
            )
            made = _of_windows(windows, len(weights), label(node))
        if len(constants) > 2 and constants[2] is not None:
            made.steps.append(step("add", made.column(_float(constants[2]).reshape(-1, 1, 1))))
        return made

    def _average(
        self, node: NodeProto, attributes: dict[str, Any], data: _Data, constants: list[Constant | None], name: str
    ) -> _Data:
        """Take a mean, or a sum, as a product whose weights are 1, with the division behind it."""
        if not self.products:
            raise UnsupportedError("stands before the first product, expected it behind one")
        kind, kept = node.op_type, True
        if kind.startswith("Reduce"):
            axes = _axes(constants, attributes)
            if axes is None or sorted(axis % 4 for axis in axes) != [2, 3]:
                raise UnsupportedError(
                    f"works along the axes {axes}, expected those of an image: 2 and 3 of (1, channels, height, width)"
                )
            kept = bool(attributes.get("keepdims", 1))
        image = self._image(data)
        window = Window(image[:2])
        if kind == "AveragePool":
            window = _window(attributes, image, tuple(attributes["kernel_shape"]))
            if any(window.padding):
                raise UnsupportedError("pads its image, expected pads = 0")
        windows = Windows(image, window, depthwise=True, averages=True)
        count = math.prod(window.kernel)
        self._count_factors(image[2] * count)
        matrix = np.ones((image[2], count))
        self.products.append(Product(label(node), matrix, tuple(data.steps), data.made_by, name, windows))
        made = _of_windows(windows, image[2], label(node))
        if kind != "ReduceSum":
            made.steps.append(step("divide", np.array(float(count))))
        if not kept:
            made.ids = made.ids[:, :, 0, 0]
        return made

    def _maximum(self, attributes: dict[str, Any], data: _Data) -> None:
        if not self.products:
            raise UnsupportedError("stands before the first product, expected it behind one")
        image, _ = data.places()
        window = _window(attributes, image, tuple(attributes["kernel_shape"]))
        if any(window.padding):
            raise UnsupportedError("pads its image, expected pads = 0: a maximum is taken of what is there")
        data.steps.append(Maximum(image, window.kernel, window.stride))
        height, width = window.places(image)
        data.image = (height, width, image[2])
        data.ids = _ids(data.image)

    def _end(self, kind: str, node: NodeProto, attributes: dict[str, Any], data: _Data, name: str) -> None:
        axis = int(attributes.get("axis", {"ArgMax": 0, "Softmax": -1, "LogSoftmax": -1}.get(kind, -1)))
        if kind.endswith("Softmax") and self.opset < 13:
            axis = int(attributes.get("axis", 1))
        dims, ids = data.ids.ndim, data.ids
        if attributes.get("select_last_index", 0):
            raise UnsupportedError("takes the last of equal outputs, expected the first: select_last_index = 0")
        if kind != "Sigmoid" and (not -dims <= axis < dims or ids.shape[axis] != ids.size):
            raise UnsupportedError(f"works along axis {axis} of {ids.shape}, expected that of the {ids.size} outputs")
        if kind == "TopK":
            self._require_greatest(node, attributes)
        if not self.products:
            raise UnsupportedError("stands before the first matrix product, expected it at the end")
        if self.end:  # a softmax, whose greatest is asked for: that of the outputs themselves
            self.idle = data.made_by
        else:
            self.result = name
        self.end, self.ended = ENDS[kind], label(node)
        if self.end == "argmax":
            if not data.in_order():
                raise UnsupportedError("reads the outputs in another order, expected it as the last layer has it")
            kept = kind == "TopK" or attributes.get("keepdims", 1)
            data.ids = np.zeros([1] * (dims if kept else dims - 1), dtype=np.int64)

    def _require_greatest(self, node: NodeProto, attributes: dict[str, Any]) -> None:
        """Stop unless a TopK takes the one greatest. Raises UnsupportedError."""
        count = self.constants.get(node.input[1]) if len(node.input) > 1 else np.array(attributes.get("k", 0))
        if count is None or count.size != 1 or int(count.item()) != 1:
            raise UnsupportedError("takes more than the one greatest, expected k = 1, the index of the greatest")
        if not attributes.get("largest", 1):
            raise UnsupportedError("takes the least output (largest = 0), expected the greatest")

    def _count_factors(self, more: int) -> None:
        self.multiplied += more
        if self.multiplied > MAX_CONSTANT:
            raise UnsupportedError(
                f"multiplies by {more:,} numbers, {self.multiplied:,} with the products before it, expected "
                f"{MAX_CONSTANT:,} at most"
            )

    def _product(
        self, node: NodeProto, attributes: dict[str, Any], data: _Data, constants: list[Constant | None], name: str
    ) -> _Data:
        left, right = constants[0], constants[1]
        gemm = node.op_type == "Gemm"
        if gemm and (left is not None or attributes.get("transA", 0)):
            raise UnsupportedError("multiplies from the other side, expected x @ W, transA = 0")
        matrix, shape = right if left is None else left, data.ids.shape
        assert matrix is not None  # the data is the other one
        self._count_factors(matrix.size)
        if not matrix.size or not matrix.ndim or not shape:
            raise UnsupportedError(f"multiplies {shape} and {matrix.shape}, expected a matrix of one output or more")
        matrix = np.asarray(matrix, dtype=np.float64)
        if gemm and attributes.get("transB", 0):
            matrix = matrix.T
        result = _product_shape(shape, matrix.shape) if left is None else _product_shape(matrix.shape, shape)
        matrix = (
            matrix.reshape(matrix.shape[-2:]) if matrix.ndim > 1 else matrix[:, None] if left is None else matrix[None]
        )
        matrix = matrix if left is not None else matrix.T  # (C, M)
        if matrix.shape[1] != data.ids.size or math.prod(result) != len(matrix):
            raise UnsupportedError(
                f"multiplies parts of the {data.ids.size} values by a matrix of {matrix.shape}: only dense layers, "
                "that multiply all at once, are supported"
            )
        ordered = np.empty_like(matrix)
        ordered[:, data.ids.ravel()] = matrix
        self.products.append(Product(label(node), ordered, tuple(data.steps), data.made_by, name))
        made = _Data(np.arange(len(matrix)).reshape(result), label(node))
        if gemm:
            alpha, beta = float(attributes.get("alpha", 1.0)), float(attributes.get("beta", 1.0))
            if not (math.isfinite(alpha) and math.isfinite(beta)):
                raise UnsupportedError(f"has alpha {alpha} and beta {beta}, expected finite numbers")
            if alpha != 1:
                made.steps.append(step("multiply", np.array(alpha)))
            if len(constants) > 2 and constants[2] is not None:
                made.steps.append(step("add", made.column(np.asarray(constants[2], dtype=np.float64) * beta)))
        return made


def _ids(image: Image) -> NDArray[np.int64]:
    """Return the elements of an image, counted place by place, as a file has them: (1, C, H, W)."""
    return np.arange(math.prod(image)).reshape(1, *image).transpose(0, 3, 1, 2)


def _of_windows(windows: Windows, channels: int, node: str) -> _Data:
    """Return what a product with windows gives."""
    image = (*windows.window.places(windows.image), channels)
    if math.prod(image) > MAX_SIZE:
        raise UnsupportedError(f"gives an image of {image}, expected {MAX_SIZE:,} values at most")
    return _Data(_ids(image), node, image=image)


def _window(attributes: dict[str, Any], image: Image, kernel: tuple[int, ...]) -> Window:
    """Return the windows that the attributes of a Conv or of a pool say. Raises UnsupportedError, ValueError."""
    if len(kernel) != 2 or tuple(attributes.get("kernel_shape", kernel)) != tuple(kernel):
        raise UnsupportedError(f"has windows of {kernel}, expected two dimensions, and its weights' own")
    if any(one != 1 for one in attributes.get("dilations", ())):
        raise UnsupportedError(f"has dilations {list(attributes['dilations'])[:4]}, expected 1")
    if attributes.get("storage_order"):
        raise UnsupportedError("stores by columns, expected storage_order = 0")
    stride = tuple(int(one) for one in attributes.get("strides", (1, 1)))
    pads = tuple(int(one) for one in attributes.get("pads", (0, 0, 0, 0)))
    if len(stride) != 2 or len(pads) != 4:
        raise UnsupportedError(f"has strides {stride} and pads {pads}, expected 2 and 4 numbers")
    way = bytes(attributes.get("auto_pad", b"NOTSET")).decode(errors="replace")
    if way in ("SAME_UPPER", "SAME_LOWER"):
        needed = [max(0, (-(-a // s) - 1) * s + k - a) for a, s, k in zip(image, stride, kernel, strict=False)]
        less, more = [one // 2 for one in needed], [one - one // 2 for one in needed]
        pads = (*less, *more) if way == "SAME_UPPER" else (*more, *less)
    elif way not in ("NOTSET", "VALID", ""):
        raise UnsupportedError(f"has auto_pad {_shown(way, 20)!r}, expected NOTSET, VALID, SAME_UPPER or SAME_LOWER")
    found = Window((int(kernel[0]), int(kernel[1])), (stride[0], stride[1]), (pads[0], pads[1], pads[2], pads[3]))
    places = found.places(image)
    ends = [(places[i] - 1) * stride[i] + kernel[i] - pads[i] for i in (0, 1)]
    if attributes.get("ceil_mode") and any(ends[i] != image[i] + pads[i + 2] for i in (0, 1)):
        raise UnsupportedError("has windows that reach beyond the image (ceil_mode), expected ceil_mode = 0")
    return found


def _product_shape(left: tuple[int, ...], right: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of a matrix product of tensors, as NumPy has it, without making one. Raises ValueError."""
    one = np.lib.stride_tricks.as_strided(np.zeros(1), left, (0,) * len(left))
    other = np.lib.stride_tricks.as_strided(np.zeros(1), right, (0,) * len(right))
    inner = one.shape[-1], other.shape[-2] if other.ndim > 1 else other.shape[-1]
    if inner[0] != inner[1]:
        raise UnsupportedError(f"multiplies {left} by {right}, expected sizes that fit")
    outer = np.broadcast_shapes(left[:-2], right[:-2])
    return (*outer, *left[-2:-1], *(right[-1:] if len(right) > 1 else ()))


def _array(tensor: TensorProto) -> Constant:
    return _plain(numpy_helper.to_array(tensor))


def _plain(array: Constant) -> Constant:
    """Return integers of 4 bits, floats of 8 and 16 bits, which are types of ml_dtypes, as float64."""
    if array.dtype.kind == "c":
        raise UnsupportedError("makes complex numbers, expected real ones")
    return array if array.dtype.kind in "biuf" else array.astype(np.float64)


def _float(value: Constant | None, default: float = 0.0) -> NDArray[np.float64]:
    return np.asarray(default if value is None else value, dtype=np.float64)


# Shapes: what these do to elements, they do to their numbers.


def _reshape(ids: NDArray[Any], constants: list[Constant | None], attributes: dict[str, Any]) -> NDArray[Any]:
    wanted = constants[1] if len(constants) > 1 else np.array(attributes["shape"])
    if wanted is None or wanted.size > 8:
        raise UnsupportedError("has a shape that is no constant, expected one")
    keep = not attributes.get("allowzero", 0)
    shape = [ids.shape[i] if keep and v == 0 else int(v) for i, v in enumerate(wanted.ravel().tolist())]
    reshaped: NDArray[Any] = ids.reshape(shape)
    return reshaped


def _axes(constants: list[Constant | None], attributes: dict[str, Any]) -> tuple[int, ...] | None:
    given = constants[1] if len(constants) > 1 else attributes.get("axes")
    return None if given is None else tuple(int(v) for v in np.asarray(given).ravel())


def _squeeze(ids: NDArray[Any], constants: list[Constant | None], attributes: dict[str, Any]) -> NDArray[Any]:
    return np.squeeze(ids, _axes(constants, attributes))


def _unsqueeze(ids: NDArray[Any], constants: list[Constant | None], attributes: dict[str, Any]) -> NDArray[Any]:
    return np.expand_dims(ids, _axes(constants, attributes) or ())


def _flatten(ids: NDArray[Any], constants: list[Constant | None], attributes: dict[str, Any]) -> NDArray[Any]:
    axis = int(attributes.get("axis", 1))
    return ids.reshape(math.prod(ids.shape[: axis if axis >= 0 else ids.ndim + axis]), -1)


def _transpose(ids: NDArray[Any], constants: list[Constant | None], attributes: dict[str, Any]) -> NDArray[Any]:
    return np.transpose(ids, attributes.get("perm"))


def _same(ids: NDArray[Any], constants: list[Constant | None], attributes: dict[str, Any]) -> NDArray[Any]:
    return ids


def _dropout(ids: NDArray[Any], constants: list[Constant | None], attributes: dict[str, Any]) -> NDArray[Any]:
    training = constants[2] if len(constants) > 2 else None
    if training is not None and np.any(training):
        raise UnsupportedError("is in training mode, expected inference. Export the network in eval mode")
    return ids


def _cast(ids: NDArray[Any], constants: list[Constant | None], attributes: dict[str, Any]) -> NDArray[Any]:
    if attributes.get("to") not in (TensorProto.FLOAT, TensorProto.DOUBLE):
        raise UnsupportedError("makes other numbers than float32 or float64 of the data, expected one of these")
    return ids


SHAPES: dict[str, Callable[..., NDArray[Any]]] = {
    "Reshape": _reshape, "Flatten": _flatten, "Squeeze": _squeeze, "Unsqueeze": _unsqueeze, "Transpose": _transpose,
    "Identity": _same, "Dropout": _dropout, "Cast": _cast,
}  # fmt: skip


# Steps: elementwise, on the data.


def _binary(
    node: NodeProto, data: _Data, constants: list[Constant | None], attributes: dict[str, Any], opset: int
) -> Step | Quantizer:
    first = constants[0] is None
    value = constants[1] if first else constants[0]
    assert value is not None  # the data is the other one
    if data.whole and value.dtype.kind in "iu" and (node.op_type == "Div" or value.dtype.itemsize < 4):
        raise UnsupportedError(
            f"computes with {value.dtype}, which rounds towards 0 or wraps around, expected a Cast to float before it"
        )
    if value.ndim > data.ids.ndim:
        data.ids = data.ids.reshape(np.broadcast_shapes((1,) * value.ndim, data.ids.shape))
    c = data.column(value)
    if not np.isfinite(c).all():
        raise UnsupportedError("has a constant that is no number, expected finite ones")
    if node.op_type == "Div" and (not first or (c == 0).any()):
        raise UnsupportedError("divides by 0, or a constant by the data, expected the data divided by a constant")
    if node.op_type == "Sub":
        return step("add", -c) if first else step("subtract_from", c)
    return step({"Add": "add", "Mul": "multiply", "Div": "divide"}[node.op_type], c)


def _batch_norm(
    node: NodeProto, data: _Data, constants: list[Constant | None], attributes: dict[str, Any], opset: int
) -> Step | Quantizer:
    if attributes.get("training_mode", 0):
        raise UnsupportedError("is in training mode, expected inference. Export the network in eval mode")
    if data.ids.ndim < 2:
        raise UnsupportedError(f"normalises values of the shape {data.ids.shape}, expected (1, channels)")
    channels = (-1, *(1,) * (data.ids.ndim - 2))
    gain, bias, mean, variance = (data.column(_float(c).reshape(channels)) for c in constants[1:5])
    if not all(np.isfinite(v).all() for v in (gain, bias, mean, variance)) or (variance < 0).any():
        raise UnsupportedError("has a constant that is no number, or a negative variance")
    epsilon = float(attributes.get("epsilon", 1e-5))
    if (variance + epsilon <= 0).any():
        raise UnsupportedError("has a variance of 0, expected more")
    return step("normalise", gain, mean, np.sqrt(variance + epsilon), bias)


def _relu(
    node: NodeProto, data: _Data, constants: list[Constant | None], attributes: dict[str, Any], opset: int
) -> Step | Quantizer:
    return step("clip", np.array(0.0), np.array(_MOST))


def _clip(
    node: NodeProto, data: _Data, constants: list[Constant | None], attributes: dict[str, Any], opset: int
) -> Step | Quantizer:
    low, high = (
        _float(constants[i] if len(constants) > i else None, attributes.get(name, default))
        for i, (name, default) in enumerate((("min", -np.inf), ("max", np.inf)), start=1)
    )
    if low.size != 1 or high.size != 1 or np.isnan(low).any() or np.isnan(high).any():
        raise UnsupportedError("has bounds that are not two numbers, expected two")
    return step("clip", low.reshape(()).clip(-_MOST, _MOST), high.reshape(()).clip(-_MOST, _MOST))


def _grid(constants: list[Constant | None], attributes: dict[str, Any], align: Callable[..., Any]) -> steps.Grid:
    scale, zero, bits = (align(_float(c)) for c in constants[1:4])
    return steps.quant(
        scale, zero, bits, signed=bool(attributes.get("signed", 1)), narrow=bool(attributes.get("narrow", 0)),
        rounding=bytes(attributes.get("rounding_mode", b"ROUND")).decode(errors="replace").upper(),
    )  # fmt: skip


def _few(data: _Data) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    return lambda value: np.reshape(value, ()) if value.size == 1 else data.column(value)


def _quant(
    node: NodeProto, data: _Data, constants: list[Constant | None], attributes: dict[str, Any], opset: int
) -> Step | Quantizer:
    return _grid(constants, attributes, _few(data)).quantizer()


def _trunc(
    node: NodeProto, data: _Data, constants: list[Constant | None], attributes: dict[str, Any], opset: int
) -> Step | Quantizer:
    if len(constants) not in (5, 6) or any(value is None for value in constants[1:]):
        raise UnsupportedError(f"has {len(constants)} inputs, expected 5, or 6 with a scale of its output")
    scale, zero, bits, *result = (_few(data)(_float(value)) for value in constants[1:])
    return steps.trunc(
        scale, zero, (bits, result[-1]), result[0] if len(result) > 1 else None,
        signed=bool(attributes.get("signed", 1)), narrow=bool(attributes.get("narrow", 0)),
        rounding=bytes(attributes.get("rounding_mode", b"FLOOR")).decode(errors="replace").upper(),
    )  # fmt: skip


def _bipolar_quant(
    node: NodeProto, data: _Data, constants: list[Constant | None], attributes: dict[str, Any], opset: int
) -> Step | Quantizer:
    return steps.bipolar(_few(data)(_float(constants[1])))


def _along(data: _Data, value: Constant | None, attributes: dict[str, Any]) -> NDArray[np.float64]:
    """Return a scale or zero point of QuantizeLinear, of the data."""
    array = _aligned(value, data.ids.shape, attributes)
    return array if array.ndim == 0 else data.column(array)


def _aligned(value: Constant | None, shape: tuple[int, ...], attributes: dict[str, Any]) -> NDArray[np.float64]:
    """Return a scale or zero point for a tensor: one, or one per entry of the axis."""
    array, axis = _float(value), int(attributes.get("axis", 1))
    if array.size == 1:
        return array.reshape(())
    if not -len(shape) <= axis < len(shape) or array.size != shape[axis]:
        raise UnsupportedError(
            f"has a scale or zero point of the shape {array.shape} along the axis {axis} of values of {shape}, "
            "expected one number, or one per entry of that axis"
        )
    return array.reshape([-1 if i == axis % len(shape) else 1 for i in range(len(shape))])


def _quantize(
    node: NodeProto, data: _Data, constants: list[Constant | None], attributes: dict[str, Any], opset: int
) -> Step | Quantizer:
    zero = constants[2] if len(constants) > 2 else None
    kind = np.dtype(np.uint8) if zero is None else zero.dtype
    if attributes.get("output_dtype") or attributes.get("block_size") or kind not in (np.uint8, np.int8):
        raise UnsupportedError("makes other integers than uint8 or int8, expected a zero point of these")
    scale, offset = _along(data, constants[1], attributes), _along(data, zero, attributes)
    ends = np.iinfo(kind)  # type: ignore[type-var]
    if not np.isfinite(scale).all() or (scale == 0).any():
        raise UnsupportedError("has a scale of 0, or one that is no number")
    low, high = np.array(float(ends.min)), np.array(float(ends.max))

    def integers(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.clip(np.round(x / scale) + offset, low, high))  # rounded before the zero point

    levels = np.atleast_2d(np.arange(float(ends.min), float(ends.max) + 1))
    return steps.Quantizer(integers, lambda x: (integers(x) - low).astype(np.int64), levels)


def _dequantize(
    node: NodeProto, data: _Data, constants: list[Constant | None], attributes: dict[str, Any], opset: int
) -> Step | Quantizer:
    if attributes.get("block_size"):
        raise UnsupportedError("has scales of blocks, expected one, or one per channel")
    scale = _along(data, constants[1], attributes)
    zero = _along(data, constants[2] if len(constants) > 2 else None, attributes)
    data.steps.append(step("add", -zero))
    return step("multiply", scale)


def _multi_threshold(
    node: NodeProto, data: _Data, constants: list[Constant | None], attributes: dict[str, Any], opset: int
) -> Step | Quantizer:
    given = _float(constants[1])
    layout = bytes(attributes.get("data_layout", b"NCHW")).decode(errors="replace")
    if data.ids.ndim < 2:
        raise UnsupportedError(f"has values of the shape {data.ids.shape}, expected (1, channels)")
    axis = data.ids.ndim - 1 if layout.endswith("C") and len(layout) > 2 else 1
    if given.ndim != 2 or len(given) not in (1, data.ids.shape[axis]):
        raise UnsupportedError(
            f"has thresholds of {given.shape} for values of {data.ids.shape}, expected a row a channel"
        )
    rows = data.ids.size if data.image is None else data.image[2]
    if given.size and given.shape[1] * rows > MAX_CONSTANT:
        raise UnsupportedError("has too many thresholds")
    channel = np.zeros(data.ids.size, dtype=np.int64)
    channel[data.ids.ravel()] = np.indices(data.ids.shape)[axis].ravel() if len(given) > 1 else 0
    scale, bias = float(attributes.get("out_scale", 1.0)), float(attributes.get("out_bias", 0.0))
    if not (math.isfinite(scale) and math.isfinite(bias)):
        raise UnsupportedError(f"has out_scale {scale} and out_bias {bias}, expected finite numbers")
    return steps.multi_threshold(given[data.of_channels(channel)], scale, bias)


STEPS: dict[str, Callable[..., Step | Quantizer]] = {
    "Add": _binary, "Sub": _binary, "Mul": _binary, "Div": _binary, "BatchNormalization": _batch_norm, "Relu": _relu,
    "Clip": _clip, "Quant": _quant, "BipolarQuant": _bipolar_quant, "QuantizeLinear": _quantize,
    "DequantizeLinear": _dequantize, "MultiThreshold": _multi_threshold, "Trunc": _trunc,
}  # fmt: skip


# Constants: float64, except where a node needs their type.


def _require_small(kind: str, inputs: list[Constant | None], attributes: dict[str, Any]) -> None:
    """Stop at a result that is too large, before it is made."""
    given = [value for value in inputs if value is not None]
    shape: tuple[int, ...] = ()
    if kind in ("Add", "Sub", "Mul", "Div", "Pow", "Quant", "BipolarQuant", "Clip"):
        shapes = [value.shape for value in given]
        try:
            shape = np.broadcast_shapes(*shapes)
        except ValueError:
            found = ", ".join(map(str, shapes))
            raise UnsupportedError(f"computes with constants of the shapes {found}, expected such that fit") from None
    elif kind == "Gather":
        shape = (*given[1].shape, *given[0].shape[:1], *given[0].shape[1:])
    elif kind == "Concat":
        shape = (sum(value.size for value in given),)
    if math.prod(shape) > MAX_CONSTANT:
        raise UnsupportedError(f"makes {math.prod(shape):,} numbers, expected {MAX_CONSTANT:,} at most")


def _constant_value(attributes: dict[str, Any]) -> Constant:
    for name in ("value_float", "value_int", "value_floats", "value_ints"):
        if name in attributes:
            return np.asarray(attributes[name])
    if "value" not in attributes:
        raise UnsupportedError("holds no numbers, expected a value")
    return _array(attributes["value"])


def _dequantized(inputs: list[Constant | None], attributes: dict[str, Any]) -> Constant:
    if attributes.get("block_size"):
        raise UnsupportedError("has scales of blocks, expected one, or one per channel")
    x = _float(inputs[0])
    zero = _aligned(inputs[2] if len(inputs) > 2 else None, x.shape, attributes)
    return np.asarray((x - zero) * _aligned(inputs[1], x.shape, attributes))


def _quantized(inputs: list[Constant | None], attributes: dict[str, Any]) -> Constant:
    zero = inputs[2] if len(inputs) > 2 else np.zeros((), dtype=np.uint8)
    assert zero is not None
    ends = np.iinfo(zero.dtype)  # type: ignore[type-var]
    x = _float(inputs[0])
    integers = np.round(x / _aligned(inputs[1], x.shape, attributes)) + _aligned(zero, x.shape, attributes)
    return np.asarray(np.clip(integers, ends.min, ends.max).astype(zero.dtype))


def _clipped(inputs: list[Constant | None], attributes: dict[str, Any]) -> Constant:
    low, high = (inputs[i] if len(inputs) > i else attributes.get(n) for i, n in ((1, "min"), (2, "max")))
    x = inputs[0]
    assert x is not None
    kept = x if low is None else np.maximum(x, low)
    return np.asarray(kept if high is None else np.minimum(kept, high)).astype(x.dtype)


def _power(inputs: list[Constant | None], attributes: dict[str, Any]) -> Constant:
    base, exponent = inputs[0], inputs[1]
    assert base is not None and exponent is not None
    if base.dtype.kind in "iu":  # the result is of the same type
        return np.asarray(np.power(base, exponent)).astype(base.dtype)
    return np.asarray(_float(base) ** _float(exponent))


def _divided(x: Constant, by: Constant) -> Constant:
    """Divide integers as ONNX does, towards zero: -7 by 2 is -3."""
    if (by == 0).any():
        raise UnsupportedError("divides integers by 0, expected other ones")
    down = x // by
    return np.asarray(down + ((down < 0) & (down * by != x))).astype(down.dtype)


def _arithmetic(function: Callable[..., Any]) -> Callable[..., Constant]:
    def compute(inputs: list[Constant | None], attributes: dict[str, Any]) -> Constant:
        whole = all(value is not None and value.dtype.kind in "iu" for value in inputs)
        arrays = [np.asarray(value) if whole else _float(value) for value in inputs]
        if whole and function is np.divide:
            return _divided(*arrays)
        return np.asarray(function(*arrays))

    return compute


def _gather(inputs: list[Constant | None], attributes: dict[str, Any]) -> Constant:
    assert inputs[0] is not None and inputs[1] is not None
    if inputs[1].size > 64:
        raise UnsupportedError("gathers many constants, expected a few of a shape")
    return np.asarray(np.take(inputs[0], inputs[1].astype(np.int64), axis=int(attributes.get("axis", 0))))


def _shaped(kind: str) -> Callable[..., Constant]:
    return lambda inputs, attributes: SHAPES[kind](inputs[0], inputs, attributes)  # type: ignore[arg-type]


CONSTANT: dict[str, Callable[[list[Constant | None], dict[str, Any]], Constant]] = {
    "Constant": lambda inputs, attributes: _constant_value(attributes),
    "Add": _arithmetic(np.add), "Sub": _arithmetic(np.subtract), "Mul": _arithmetic(np.multiply),
    "Div": _arithmetic(np.divide), "Pow": _power,
    "Sqrt": lambda inputs, attributes: np.sqrt(_float(inputs[0])),
    "Neg": lambda inputs, attributes: np.negative(inputs[0]),  # type: ignore[arg-type]
    "Quant": lambda inputs, attributes: _grid(inputs, attributes, lambda v: v).values(_float(inputs[0])),
    "BipolarQuant": lambda inputs, attributes: np.where(_float(inputs[0]) >= 0, _float(inputs[1]), -_float(inputs[1])),
    "QuantizeLinear": _quantized, "DequantizeLinear": _dequantized, "Clip": _clipped,
    "Shape": lambda inputs, attributes: np.array(np.asarray(inputs[0]).shape, dtype=np.int64),
    "Gather": _gather,
    "Concat": lambda inputs, attributes: np.concatenate(inputs, axis=int(attributes["axis"])),  # type: ignore[arg-type]
    "Cast": lambda inputs, attributes: _plain(
        np.asarray(inputs[0]).astype(helper.tensor_dtype_to_np_dtype(attributes["to"]))
    ),
    **{kind: _shaped(kind) for kind in ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Identity")},
}  # fmt: skip
