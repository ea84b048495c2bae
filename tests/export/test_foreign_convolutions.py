"""Convolutions and pools of others' files become integers that are the file's own function, or are refused by name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from contract.errors import ConfigError
from contract.network import Convolution, Depthwise, GlobalSum, Layer, MaxPool
from contract.onnx_file import load_onnx
from export.foreign import proof
from export.foreign.execute import Execution
from export.foreign.graph import read_graph
from export.foreign.layers import Imported, to_integers
from tests.foreign_files import Graph

RNG = np.random.default_rng(5)
Change = Callable[[Graph], Graph]


@pytest.fixture(autouse=True)
def few_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "WINDOW_PROBES", 48)


def imported(graph: Graph, tmp_path: Path, reads: str | None = "uint8", scale: float = 1.0) -> Imported:
    model = load_onnx(graph.save(tmp_path / "m.onnx"))
    chain = read_graph(model)
    found = to_integers(chain, reads, scale)
    proof.prove(model, chain, found, scale=scale, samples=None)
    return found


def conv(graph: Graph, channels: int, inputs: int, kernel: int, *, depthwise: bool = False, **attributes: Any) -> Graph:
    """Add a convolution of 3 bits with a bias, and a batch norm of gains of both signs."""
    shape = (channels, 1 if depthwise else inputs, kernel, kernel)
    weights = graph.weights(RNG.uniform(-0.9, 0.9, shape), RNG.choice([0.25, 0.5], (channels, 1, 1, 1)), 3)
    groups: dict[str, Any] = {"group": channels} if depthwise else {}
    graph.add("Conv", weights, RNG.normal(size=channels), **groups, **attributes)
    gain = RNG.choice([-1.0, 0.7, 1.3], channels)
    return graph.add(
        "BatchNormalization", gain, RNG.normal(size=channels), RNG.normal(size=channels), RNG.uniform(0.5, 2, channels)
    )


def head(graph: Graph, size: int) -> Graph:
    return graph.add("Flatten").add("MatMul", graph.weights(RNG.uniform(-0.9, 0.9, (size, 3)), 0.25, 3))


def pixels(shape: tuple[int, ...]) -> Graph:
    return Graph(shape).add("Sub", 128.0).add("Div", 64.0)


def of_a_row() -> Graph:
    graph = pixels((1, 72))
    return graph.add("Reshape", graph.constant([1, 2, 6, 6], np.int64))


def kinds(found: Imported) -> list[type[Layer]]:
    return [type(layer) for layer in found.network.layers[:-1]]


def test_a_chain_of_every_kind(tmp_path: Path) -> None:
    """Strides, padding on each side, channels in front, both pools, and the order of Flatten."""
    graph = conv(pixels((1, 3, 13, 11)), 4, 3, 3, strides=[2, 1], pads=[1, 0, 2, 1]).quant(0.5, 3, signed=0)
    graph = conv(graph, 4, 4, 3, depthwise=True, pads=[1, 1, 1, 1]).add("Relu").quant(0.25, 4, signed=0)
    graph.add("MaxPool", kernel_shape=[2, 3], strides=[1, 2])
    graph = conv(graph, 5, 4, 1).quant(np.full((1, 5, 1, 1), 0.5), 2)
    graph.add("AveragePool", kernel_shape=[2, 2]).quant(0.25, 3)
    found = imported(head(graph, 5 * 5 * 3), tmp_path)
    assert kinds(found) == [Convolution, Depthwise, MaxPool, Convolution, Depthwise]
    first = found.network.layers[0]
    assert isinstance(first, Convolution) and first.fill == 128 and found.network.input.shape == (13, 11, 3)


@pytest.mark.parametrize("way", ["SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize("mean", ["GlobalAveragePool", "ReduceMean", "ReduceSum"])
def test_a_mean_before_the_head_is_a_sum(tmp_path: Path, way: str, mean: str) -> None:
    given: dict[str, Any] = {"axes": [2, 3]} if mean == "ReduceMean" else {}
    graph = conv(pixels((1, 1, 9, 8)), 3, 1, 3, strides=[2, 2], auto_pad=way).quant(0.5, 3)
    graph.add("Mul", np.array([1, -1, 2]).reshape(1, 3, 1, 1))
    graph.add(mean, *([graph.constant([2, 3], np.int64)] if mean == "ReduceSum" else []), **given)
    found = imported(head(graph, 3), tmp_path)
    assert kinds(found) == [Convolution, GlobalSum]


def test_a_file_of_other_orders(tmp_path: Path) -> None:
    """Channels behind, as Keras has them, and a convolution that is the head; a quantizer in front, of real inputs."""
    graph = Graph((1, 6, 5, 2)).add("Transpose", perm=[0, 3, 1, 2]).quant(0.25, 3)
    graph = conv(graph, 3, 2, 2, pads=[1, 1, 0, 0]).add("Clip", -1.0, 1.0).quant(0.5, 2, signed=0)
    weights = graph.weights(RNG.uniform(-0.9, 0.9, (2, 3, 6, 5)), 0.25, 3)
    found = imported(graph.add("Conv", weights).add("Flatten"), tmp_path, "float")
    assert kinds(found) == [Convolution] and found.network.output_size == 2 and found.rule is not None


def first(graph: Graph, bits: int = 2) -> Graph:
    """Add a quantized convolution of two channels: images of 5 x 5."""
    return conv(graph, 2, 1, 2).quant(0.5, bits)


def falling(graph: Graph) -> Graph:
    return conv(graph, 2, 1, 2).add("MaxPool", kernel_shape=[2, 2]).add("Mul", -1.0).quant(0.5, 2, signed=0)


ONES: NDArray[np.float64] = np.ones((2, 2, 2, 2))
POOL: dict[str, Any] = {"kernel_shape": [2, 2]}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda g: g.add("Conv", ONES[:, :1], dilations=[2, 2]), r"node 'Conv_t2' \(Conv\) has dilations"),
        (lambda g: g.add("Conv", ONES[:, :1, 0]), "expected two dimensions of windows"),
        (lambda g: g.add("Conv", np.ones((2, 1, 9, 9))), "expected one that fits on"),
        (lambda g: g.add("Conv", ONES[:, :1], auto_pad="BEST"), "auto_pad 'BEST'"),
        (lambda g: g.add("MaxPool", **POOL), "stands before the first product"),
        (lambda g: g.add("GlobalAveragePool"), "stands before the first product"),
        (lambda g: first(g).add("Conv", ONES, group=3), "has 3 groups"),
        (lambda g: head(first(g).add("Conv", ONES, pads=[1] * 4).quant(0.5, 2), 72), "pads its image with 0"),
        (lambda g: head(first(g, 1).add("Conv", ONES, pads=[1] * 4).quant(0.5, 2), 72), "pads its image with 0"),
        (lambda g: first(g).add("MaxPool", **POOL, pads=[1] * 4), r"\(MaxPool\) pads its image"),
        (lambda g: first(g).add("MaxPool", **POOL, strides=[2, 2], ceil_mode=1), "ceil_mode"),
        (lambda g: conv(g, 2, 1, 2).add("Mul", RNG.uniform(1, 2, (1, 2, 5, 5))), "from place to place"),
        (first, r"\(Conv\) is the last layer, expected a dense one"),
        (lambda g: head(first(g).add("AveragePool", **POOL), 32), "a mean that is no integer, expected a quantizer"),
        (lambda g: head(falling(g), 32), "MaxPool between .* falling quantizer"),
        (lambda g: first(g).add("Transpose", perm=[0, 1, 3, 2]).add("Conv", ONES), "stand in another order"),
        (lambda g: first(g).add("ReduceMean", axes=[1]), "expected those of an image"),
        (
            lambda g: first(g).add("Transpose", perm=[0, 2, 3, 1]).add("ReduceMean", axes=[1, 2]),
            r"axes \(1, 2\), expected .* 2 and 3 of \(1, channels, height, width\)",
        ),
        (lambda g: first(g.add("Transpose", perm=[0, 1, 3, 2])), "that the file turns"),
        (lambda g: conv(of_a_row(), 2, 2, 3), "or makes of a row of values"),
    ],
)  # fmt: skip
def test_what_is_refused_names_the_node(tmp_path: Path, change: Change, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        imported(change(pixels((1, 1, 6, 6))), tmp_path)


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("Conv", {"strides": [2, 1], "pads": [1, 0, 2, 1]}), ("Conv", {"auto_pad": "SAME_LOWER", "strides": [2, 3]}),
        ("Conv", {"auto_pad": "SAME_UPPER", "strides": [3, 2]}),
        ("MaxPool", {"kernel_shape": [2, 3], "strides": [2, 1]}),
        ("AveragePool", {"kernel_shape": [3, 2], "strides": [1, 2]}), ("GlobalAveragePool", {}),
    ],
)  # fmt: skip
def test_what_is_executed_is_what_onnx_says(kind: str, given: dict[str, object]) -> None:
    """Our faster windows against the evaluator's own, on integers, so that no order of a sum matters."""
    constants = [helper.make_tensor("w", TensorProto.DOUBLE, (3, 2, 2, 3), RNG.integers(-4, 5, 36))]
    node = helper.make_node(kind, ["x", "w"] if kind == "Conv" else ["x"], ["y"], **given)
    ends = [helper.make_tensor_value_info(n, TensorProto.DOUBLE, s) for n, s in (("x", (1, 2, 7, 8)), ("y", None))]
    graph = helper.make_graph([node], "g", ends[:1], ends[1:], constants if kind == "Conv" else [])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=9)
    x: NDArray[np.float64] = RNG.integers(-9, 10, (1, 2, 7, 8)).astype(np.float64)
    (want,) = ReferenceEvaluator(model).run(None, {"x": x})
    (got,) = Execution(model, "y", double=True)(x)
    np.testing.assert_allclose(got[0], np.ravel(want), rtol=1e-15)
