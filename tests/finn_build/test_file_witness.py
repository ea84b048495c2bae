"""FINN's own conversion of a file of others is counted, input by input, by the layer at which it first differs.

Kinds of fault: a tie that is counted at another layer, or not at all; a difference of the input's quantizer that is
taken for a layer's; a streamlined graph that is compared in other units; a file that FINN cannot take and that stops
the build.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from qonnx.core.modelwrapper import ModelWrapper

from contract.errors import ArtifactError
from contract.file_tensors import FileTensors
from contract.golden import Golden
from contract.npz import save_npz
from contract.onnx_file import load_onnx
from export.foreign.execute import Execution
from export.foreign.graph import read_graph
from export.foreign.layers import to_integers
from finn_build import file_witness
from finn_build.chain import Chain
from finn_build.finn_session import finn_session
from tests.foreign_files import Graph, qkeras

X = np.random.default_rng(0).integers(-7, 8, (60, 4)) / 2.0


def links(tmp_path: Path, path: Path, x: np.ndarray[Any, Any], reads: str | None = None) -> list[dict[str, Any]]:
    """Return what is told of a file, on inputs (N, M)."""
    chain = read_graph(model := load_onnx(path))
    names = [product.data for product in chain.products] + [chain.result]
    found = dict(zip(names, Execution(model, *names, double=True)(x), strict=True))
    network = to_integers(chain, reads, 0.5 if reads else 1.0).network
    empty = Golden(
        np.empty((0, *network.input.shape), dtype=np.int8), np.empty((0, network.output_size), dtype=np.int64)
    )
    (tmp_path / "steps").mkdir()
    told = Chain(network, empty, tmp_path, lambda line: None)
    with finn_session(tmp_path / "finn"):
        file_witness.hear(path, FileTensors(x, tuple(found[name] for name in names)), told, tmp_path / "finn")
    return told.links


def graph(act: float, front: float | None = 0.5) -> Graph:
    """Weights 1, so that accumulators are sums of halves; activations of the scale `act`, and a softmax."""
    made = Graph((1, 4))
    if front:
        made.quant(front, 5)
    made.add("MatMul", made.weights(np.ones((4, 3)), 1.0, 2)).quant(act, 5)
    made.add("MatMul", made.weights([[1.0, 1], [1, -1], [1, 0]], 1.0, 2)).quant(0.5, 6)
    return made.add("MatMul", made.weights(np.ones((2, 3)), 1.0, 2)).add("Softmax", axis=-1)


def test_ties_are_counted_where_they_are(tmp_path: Path) -> None:
    """Half to even against half up: they differ where a sum is an even number and a half."""
    path = graph(act=1.0).save(tmp_path / "m.onnx")
    ties = int((X.sum(axis=1) % 2 == 0.5).sum())
    assert 5 < ties < 30
    exact, *converted = links(tmp_path, path, X)
    assert (exact["stage"], exact["images"], exact["differing"]) == ("qonnx_float32", 60, 0)
    for link in converted:
        assert (link["images"], link["differing"], link["places"]) == (60, ties, {"layer 0": ties}), link["stage"]


def test_no_tie_no_difference(tmp_path: Path) -> None:
    found = links(tmp_path, graph(act=0.5).save(tmp_path / "m.onnx"), X)
    assert [(link["stage"], link["differing"], link["places"]) for link in found] == [
        ("qonnx_float32", 0, {}), ("qonnx_to_finn", 0, {}), ("streamline", 0, {})
    ]  # fmt: skip


def test_the_inputs_own_ties(tmp_path: Path) -> None:
    found = links(tmp_path, graph(act=0.5, front=1.0).save(tmp_path / "m.onnx"), X)
    ties = int((X % 2 == 0.5).any(axis=1).sum())
    assert [link["places"] for link in found] == [{}, {"input": ties}, {"input": ties}]


def test_scales_of_float64_as_qkeras_writes_them(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(qkeras((4, 5, 3), 4, norm=True).SerializeToString())
    found = links(tmp_path, path, X)
    assert [link["images"] for link in found] == [60, 60, 60] and found[0]["differing"] == 0


def test_a_threshold_that_streamlining_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def moved(model: Any) -> Any:
        tensor = next(
            t for t in model.graph.initializer if t.name == model.get_nodes_by_op_type("MultiThreshold")[2].input[1]
        )
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + 1000, tensor.name))
        return model

    monkeypatch.setattr("finn_build.witness.streamline", moved)
    _, first, second = links(tmp_path, graph(act=0.5).save(tmp_path / "m.onnx"), X)
    assert first["differing"] == 0 and second["differing"] > 50 and set(second["places"]) == {"layer 1"}


def test_what_finn_cannot_take_is_said(tmp_path: Path) -> None:
    made = graph(act=0.5)
    made.nodes[-1].attribute[0].i = 1
    made.element = TensorProto.FLOAT
    path = made.quant(0.01, 8).save(tmp_path / "m.onnx")
    tensors = FileTensors(X, (X, X, X))
    told = Chain.__new__(Chain)
    told.out, told.links, told.report = tmp_path, [], lambda line: None
    (tmp_path / "steps").mkdir()
    with finn_session(tmp_path / "finn"):
        file_witness.hear(path, tensors, told, tmp_path / "finn")
    assert [(link["stage"], link["differing"], link["note"]) for link in told.links] == [
        (stage, None, f"{who} cannot treat this network: it has 3 matrix products, the file 2")
        for stage, who in (("qonnx_float32", "qonnx"), ("qonnx_to_finn", "FINN"))
    ]


def test_convolutions_are_named_and_not_counted_as_too_few_products() -> None:
    of, floats = helper.make_tensor_value_info, TensorProto.FLOAT
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    weights = numpy_helper.from_array(np.ones((1, 1, 2, 2), dtype=np.float32), "w")
    made = helper.make_graph([node], "g", [of("x", floats, (1, 1, 2, 2))], [of("y", floats, (1, 1, 1, 1))], [weights])
    with pytest.raises(ValueError, match="it has convolutions, 1, and only"):
        file_witness._Graph(ModelWrapper(helper.make_model(made)), FileTensors(X, (X, X)))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"fed": X, "other": X}, "has fed, other, expected fed, values_0"),
        ({"fed": X, "values_0": X, "values_1": X[:5]}, r"has values_1 float64\(5, 4\), expected a row of float64"),
        ({"fed": X, "values_0": X.astype(np.float32), "values_1": X}, "has values_0 float32"),
    ],
)  # fmt: skip
def test_a_damaged_file_of_tensors(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    save_npz(tmp_path / "tensors.npz", arrays)
    with pytest.raises(ArtifactError, match=message):
        FileTensors.load(tmp_path / "tensors.npz")
    FileTensors(X, (X, X)).save(tmp_path / "tensors.npz")
    assert len(FileTensors.load(tmp_path / "tensors.npz").values) == 2
