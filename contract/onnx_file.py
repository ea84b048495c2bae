"""Read an ONNX file that may come from anywhere.

Protocol buffers promise little: a few bytes can be a million empty nodes, and a tensor's shape need not be that of its
values. So the bytes are walked before they are parsed, with every message, string and packed number counted; and a
model is handed out only when each tensor holds what its shape says, nothing lies in another file, and the nodes are in
the order of the data, which no graph with a cycle has. Needs onnx, so no deploy folder has this module.
"""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from onnx import GraphProto, ModelProto, TensorProto, helper

from contract.errors import ArtifactError
from contract.files import require_size

MAX_BYTES = 256 << 20  # of a file
MAX_ITEMS = 200_000  # messages, strings and numbers that are not packed, in a file
MAX_PACKED = 64 << 20  # bytes of packed numbers, each of which may take 8 bytes of memory
MAX_NODES = 10_000
MAX_DEPTH = 20  # messages within messages
MAX_RANK = 8  # dimensions of a tensor
MAX_ELEMENTS = 1 << 26  # of a tensor
FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)  # that computations use
_TYPED = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data")


def load_onnx(path: Path, *, advice: str = "Export the network again.") -> ModelProto:
    """Return the model in a file, with no promise about what its nodes mean.

    Args:
        path: the file.
        advice: ends the messages: what to do about a damaged file.

    Raises:
        ArtifactError: it is missing, damaged, too large, needs other files, or is no graph of plain tensors.
    """
    if not path.is_file():  # a pipe would be waited for
        raise ArtifactError(f"{path} is {'no regular file' if path.exists() else 'not there'}. {advice}")
    require_size(path, MAX_BYTES, advice=advice)
    try:
        content = path.read_bytes()
    except OSError as err:
        raise ArtifactError(f"{path} cannot be read ({err.strerror}). {advice}") from err
    try:
        _Count().walk(memoryview(content), ModelProto.DESCRIPTOR, 0)
        model = ModelProto.FromString(content)
        _check(model)
    except Exception as err:  # protobuf's own errors have no common class
        why = " ".join(str(err).split())[:200].rstrip(".") or type(err).__name__
        raise ArtifactError(f"{path} is not a whole ONNX model ({why}). {advice}") from err
    return model


class _Count:
    """What a file's bytes would become in memory, counted before they do."""

    def __init__(self) -> None:
        self.items = self.packed = 0

    def walk(self, data: memoryview, kind: Any, depth: int) -> None:
        """Walk the fields of one message. Raises ValueError."""
        if depth > MAX_DEPTH:
            raise ValueError(f"it is nested more than {MAX_DEPTH} deep")
        for number, wire, value in _fields(data):
            self.items += 1
            if self.items > MAX_ITEMS:
                raise ValueError(f"it has more than {MAX_ITEMS:,} parts")
            field = kind.fields_by_number.get(number)
            if field is None or wire != 2:
                continue
            if field.message_type is not None:
                self.walk(value, field.message_type, depth + 1)
            elif field.type == field.TYPE_STRING:
                _require_text(value)
            elif field.type != field.TYPE_BYTES:
                self.packed += len(value)
                if self.packed > MAX_PACKED and field.type not in (field.TYPE_FLOAT, field.TYPE_DOUBLE):
                    raise ValueError(f"it has more than {MAX_PACKED:,} bytes of packed integers")


def _require_text(value: memoryview) -> None:
    """Stop at a name that protobuf would hand out as bytes, which nobody expects. Raises ValueError."""
    try:
        str(value, "utf-8")
    except UnicodeDecodeError:
        raise ValueError("it has a name that is no UTF-8") from None


def _fields(data: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """Yield number, wire type and content of the fields of a message. Raises ValueError."""
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            start, (_, at) = at, _varint(data, at)
        elif wire == 1:
            start, at = at, at + 8
        elif wire == 5:
            start, at = at, at + 4
        elif wire == 2:
            length, start = _varint(data, at)
            at = start + length
        else:
            raise ValueError(f"it has a field of the wire type {wire}")
        if at > end:
            raise ValueError("it is cut off")
        yield number, wire, data[start:at]


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("it is cut off")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _check(model: ModelProto) -> None:
    """Stop at what is no graph of plain tensors. Raises ValueError."""
    graph = model.graph
    if len(model.functions):
        raise ValueError("it has functions of its own, expected nodes only")
    if not graph.node or not graph.input or not graph.output:
        raise ValueError(f"it has {len(graph.node)} nodes, {len(graph.input)} inputs, {len(graph.output)} outputs")
    if len(graph.node) > MAX_NODES:
        raise ValueError(f"it has {len(graph.node):,} nodes, expected {MAX_NODES:,} at most")
    if len(graph.sparse_initializer):
        raise ValueError("it has sparse tensors")
    for tensor in graph.initializer:
        _check_tensor(tensor)
    for node in graph.node:
        _require_once(f"attributes of node {_name(node)}", node.attribute)
        for attribute in node.attribute:
            if attribute.HasField("g") or len(attribute.graphs) or attribute.HasField("sparse_tensor"):
                raise ValueError(f"node {_name(node)} holds a graph of its own, expected plain numbers")
            for tensor in (*([attribute.t] if attribute.HasField("t") else []), *attribute.tensors):
                _check_tensor(tensor)
    _check_order(graph)


def _check_tensor(tensor: TensorProto) -> None:
    name = f"tensor {tensor.name[:60]!r}"
    if tensor.data_location == TensorProto.EXTERNAL or len(tensor.external_data):
        raise ValueError(f"{name} lies in another file, expected all in one: save it without external data")
    if len(tensor.dims) > MAX_RANK or any(not 0 <= dim <= MAX_ELEMENTS for dim in tensor.dims):
        raise ValueError(f"{name} has the shape {list(tensor.dims)[:10]}")
    if (count := math.prod(tensor.dims)) > MAX_ELEMENTS:
        raise ValueError(f"{name} has {count:,} elements, expected {MAX_ELEMENTS:,} at most")
    if tensor.data_type == TensorProto.STRING or tensor.HasField("segment"):
        raise ValueError(f"{name} holds no numbers")
    if tensor.data_type not in helper.get_all_tensor_dtypes():
        raise ValueError(f"{name} is of the unknown type {tensor.data_type}")
    dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    bits = _BITS.get(tensor.data_type, 8 * dtype.itemsize)
    typed = sum(len(getattr(tensor, name)) for name in _TYPED)
    if tensor.HasField("raw_data"):
        fits = not typed and len(tensor.raw_data) == -(-count * bits // 8)
    else:
        storage = helper.tensor_dtype_to_storage_tensor_dtype(tensor.data_type)
        per = 2 if dtype.kind == "c" else 1
        own = len(getattr(tensor, helper.tensor_dtype_to_field(storage)))
        fits = typed == own and own in (count * per, -(-count * bits // 8))
    if not fits:
        raise ValueError(f"{name} has the shape {list(tensor.dims)}, and its values are fewer or more")


_BITS = {
    getattr(TensorProto, name): bits
    for name, bits in (("INT4", 4), ("UINT4", 4), ("FLOAT4E2M1", 4), ("INT2", 2), ("UINT2", 2))
    if hasattr(TensorProto, name)
}


def _check_order(graph: GraphProto) -> None:
    """Stop unless each tensor is made once, and before it is read; a constant may be named as an input, too."""
    for what, found in (("constants", graph.initializer), ("inputs", graph.input)):
        _require_once(what, found)
    made = {tensor.name for tensor in graph.initializer} | {value.name for value in graph.input} | {""}
    for node in graph.node:
        for name in node.input:
            if name not in made:
                raise ValueError(f"node {_name(node)} reads {name[:60]!r}, which no node before it makes")
        for name in node.output:
            if name and name in made:
                raise ValueError(f"node {_name(node)} makes {name[:60]!r}, which is there already")
            made.add(name)
    for value in graph.output:
        if value.name not in made:
            raise ValueError(f"nobody makes the output {value.name[:60]!r}")


def _require_once(what: str, found: Iterable[Any]) -> None:
    """Stop at two of one name: readers differ in which of them they take. Raises ValueError."""
    names = set[str]()
    for one in found:
        if one.name in names:
            raise ValueError(f"two {what} are called {one.name[:60]!r}, expected different names")
        names.add(one.name)


def _name(node: Any) -> str:
    return repr(str(node.name or (node.output[0] if node.output else node.op_type))[:60])
