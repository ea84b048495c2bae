"""A file that is called ONNX may be anything: it is read within bounds, or refused in one sentence.

The kinds of fault: bytes that grow when they are parsed, a shape that is not that of the values, values that lie
elsewhere, an order of nodes that cannot be executed, graphs within nodes, and damage.
"""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from contract.errors import ArtifactError
from contract.onnx_file import MAX_BYTES, MAX_ITEMS, load_onnx


def small_model() -> ModelProto:
    """y = x @ w + b."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["xw"]), helper.make_node("Add", ["xw", "b"], ["y"])]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size]) for name, size in (("x", 3), ("y", 2))]
    constants = [numpy_helper.from_array(np.ones(s, dtype=np.float32), n) for n, s in (("w", (3, 2)), ("b", (2,)))]
    return helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], constants))


@pytest.mark.parametrize("typed", [np.float32, np.float64, np.int8, np.int64, np.uint64, np.bool_, np.float16])
@pytest.mark.parametrize("raw", [True, False])
def test_what_onnx_writes_is_read(tmp_path: Path, typed: type, raw: bool) -> None:
    model = small_model()
    want: NDArray[np.generic] = np.ones((3, 2), dtype=typed)
    tensor = numpy_helper.from_array(want, "w")
    if not raw:
        tensor = helper.make_tensor("w", tensor.data_type, want.shape, want.ravel())
    model.graph.initializer[0].CopyFrom(tensor)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    found = load_onnx(tmp_path / "m.onnx")
    np.testing.assert_array_equal(numpy_helper.to_array(found.graph.initializer[0]), want)


def test_integers_of_four_bits_are_read(tmp_path: Path) -> None:
    model = small_model()
    model.graph.initializer[0].CopyFrom(helper.make_tensor("w", TensorProto.INT4, (3, 1), [1, -2, 3]))
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    assert numpy_helper.to_array(load_onnx(tmp_path / "m.onnx").graph.initializer[0]).tolist() == [[1], [-2], [3]]


def external(model: ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"


def huge_shape(model: ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [1 << 40, 1 << 40]


def other_shape(model: ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [300, 2]


def negative_shape(model: ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [-3, -2]


def two_kinds_of_values(model: ModelProto) -> None:
    model.graph.initializer[0].float_data.extend([1.0] * 6)


def cycle(model: ModelProto) -> None:
    model.graph.node[0].input[0] = "y"


def made_twice(model: ModelProto) -> None:
    model.graph.node[1].output[0] = "xw"


def constant_twice(model: ModelProto) -> None:
    """Readers differ in which of them they take."""
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(2, dtype=np.float32), "b"))


def input_twice(model: ModelProto) -> None:
    model.graph.input.append(model.graph.input[0])


def attribute_twice(model: ModelProto) -> None:
    model.graph.node[0].attribute.extend([helper.make_attribute("a", 1), helper.make_attribute("a", 2)])


def inner_graph(model: ModelProto) -> None:
    model.graph.node[0].attribute.append(helper.make_attribute("body", model.graph))


def functions(model: ModelProto) -> None:
    model.functions.add().name = "f"


def no_output(model: ModelProto) -> None:
    model.graph.output[0].name = "nowhere"


def many_nodes(model: ModelProto) -> None:
    model.graph.node.extend([helper.make_node("Relu", ["x"], [f"t{i}"]) for i in range(10_000)])


def text(model: ModelProto) -> None:
    model.graph.initializer[0].CopyFrom(helper.make_tensor("w", TensorProto.STRING, [1], [b"a"]))


def unknown_type(model: ModelProto) -> None:
    model.graph.initializer[0].data_type = 999


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (external, "lies in another file, expected all in one"),
        (huge_shape, r"has the shape \[1099511627776"),
        (other_shape, r"has the shape \[300, 2\], and its values are fewer or more"),
        (negative_shape, r"has the shape \[-3, -2\]"),
        (two_kinds_of_values, "fewer or more"),
        (cycle, "node 'xw' reads 'y', which no node before it makes"),
        (made_twice, "makes 'xw', which is there already"),
        (constant_twice, "two constants are called 'b'"),
        (input_twice, "two inputs are called 'x'"),
        (attribute_twice, "two attributes of node 'xw' are called 'a'"),
        (inner_graph, "node 'xw' holds a graph of its own"),
        (functions, "functions of its own"),
        (no_output, "nobody makes the output 'nowhere'"),
        (many_nodes, "10,002 nodes, expected 10,000 at most"),
        (text, "holds no numbers"),
        (unknown_type, "is of the unknown type 999"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_cannot_be_trusted_is_one_sentence(
    tmp_path: Path, damage: Callable[[ModelProto], None], message: str
) -> None:
    model = small_model()
    damage(model)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ArtifactError, match=f"m.onnx is not a whole ONNX model .*{message}.*Give another."):
        load_onnx(tmp_path / "m.onnx", advice="Give another.")


def test_a_file_that_is_too_large_is_whole(tmp_path: Path) -> None:
    with (tmp_path / "m.onnx").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(ArtifactError, match=r"m.onnx has 268,435,457 bytes, expected 268,435,456 at most\. Export"):
        load_onnx(tmp_path / "m.onnx")


def field(number: int, content: bytes) -> bytes:
    """Return a length-delimited field of a message."""
    key, length, size = number << 3 | 2, bytearray(), len(content)
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([key]) + bytes(length) + bytes([size]) + content


def bombs() -> dict[str, bytes]:
    """Return files of a few megabytes that would take hundreds of them, or a deep stack, when parsed."""
    deep = b""
    for _ in range(3000):
        deep = field(6, field(5, deep))  # AttributeProto.g, NodeProto.attribute
        deep = field(1, deep)
    return {
        "empty nodes": field(7, field(1, b"") * (2 * MAX_ITEMS)),
        "empty texts": field(7, field(1, field(1, b"") * (2 * MAX_ITEMS))),
        "unknown fields": field(7, b"\x98\x06\x00" * (2 * MAX_ITEMS)),
        "deep": field(7, deep),
        "packed": field(7, field(5, field(7, b"\x00" * (65 << 20)))),
        "length": b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        "number without an end": b"\xff" * 100,
        "wire type": b"\x3b",
    }


@pytest.mark.parametrize("name", bombs())
def test_bombs_are_refused_before_they_are_parsed(tmp_path: Path, name: str) -> None:
    content = bombs()[name]
    (tmp_path / "m.onnx").write_bytes(content)
    tracemalloc.start()
    with pytest.raises(ArtifactError, match="is not a whole ONNX model"):
        load_onnx(tmp_path / "m.onnx")
    assert tracemalloc.get_traced_memory()[1] < 3 * len(content) + (8 << 20)
    tracemalloc.stop()


def test_damage_anywhere_is_one_sentence_or_a_model(tmp_path: Path) -> None:
    content, rng = small_model().SerializeToString(), np.random.default_rng(0)
    path = tmp_path / "m.onnx"
    for _ in range(600):
        damaged = bytearray(content)
        for at in rng.integers(0, len(content), rng.integers(1, 4)):
            damaged[at] = rng.integers(0, 256)
        path.write_bytes(damaged[: rng.integers(1, len(content) + 1)] if rng.random() < 0.3 else damaged)
        try:
            assert load_onnx(path).graph.node
        except ArtifactError as err:
            assert "\n" not in str(err)


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="is not there"):
        load_onnx(tmp_path / "none.onnx")
    with pytest.raises(ArtifactError, match="no regular file"):
        load_onnx(tmp_path)
