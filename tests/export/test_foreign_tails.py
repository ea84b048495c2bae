"""How a file may end, and what constants it may have: equal to a reference of these tests, or refused by name.

Kinds of fault: an end that is taken for another one (LogSoftmax for Softmax, a TopK's values for its indices, the least
for the greatest), one output where several are compared, a softmax whose rounding decides, a node of another form than
its operator, a constant that float64 rounds and that is believed to be exact.
"""

import itertools
import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from contract.errors import ConfigError, CxrflowError, DataError
from contract.npz import save_npz
from contract.onnx_file import load_onnx
from export.foreign import layers, proof
from export.foreign.folder import Given, import_file
from export.foreign.graph import read_graph
from export.foreign.layers import Imported, to_integers
from export.foreign.steps import near_rows
from tests.foreign_files import DOMAIN, Graph


@pytest.fixture(autouse=True)
def few_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prove on 192 inputs, where the proof itself is not what is tested: each costs time."""
    for name in ("PROBES", "ALONE", "TIES", "WINDOW_PROBES"):
        monkeypatch.setattr(proof, name, 64)


def imported(graph: Graph, folder: Path, reads: str | None = None, outputs: tuple[str, ...] = ()) -> Imported:
    """Import without a folder, and prove it."""
    model = load_onnx(graph.save(folder / "m.onnx", outputs))
    chain = read_graph(model)
    found = to_integers(chain, reads)
    proof.prove(model, chain, found, scale=1.0, samples=None)
    return found


def one_layer(matrix: Any, bias: Any = 0.0) -> Graph:
    """Return integers in, one product by quarters, and a bias."""
    matrix = np.asarray(matrix, dtype=np.float64)
    return Graph((1, len(matrix))).add("MatMul", matrix).add("Add", np.broadcast_to(bias, matrix.shape[1]))


def best(graph: Graph, kind: str, number: int = 1, **attributes: Any) -> tuple[str, ...]:
    """Add a TopK; return its outputs that are the file's: of "values", "index" or "both"."""
    k = graph.constant([number], np.int64)
    graph.nodes.append(helper.make_node("TopK", [graph.last, k], ["values", "index"], name="TopK_e", **attributes))
    graph.last = "index" if kind == "index" else "values"
    return ("values", "index") if kind == "both" else (graph.last,)


def soft(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Softmax, by its definition."""
    powers = np.exp(x - x.max(axis=1)[:, None])
    return np.asarray(powers / powers.sum(axis=1)[:, None])


def first_greatest(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the number of the first of the greatest, in Python."""
    return np.array([[float(row.index(max(row)))] for row in x.tolist()])


ENDS: dict[str, Any] = {
    "": lambda x: x,
    "Softmax": soft,
    "LogSoftmax": lambda x: np.log(soft(x)),
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "values": lambda x: x.max(axis=1)[:, None],
    **dict.fromkeys(
        ("ArgMax", "Softmax ArgMax", "LogSoftmax ArgMax", "index", "both", "Softmax index"), first_greatest
    ),
}


@pytest.mark.parametrize("end", sorted(ENDS))
@settings(max_examples=5, deadline=None)
@given(
    count=st.integers(1, 4), seed=st.integers(0, 2**32 - 1), quantized=st.booleans(),
    keepdims=st.integers(0, 1), axis=st.sampled_from([1, -1]), opset=st.sampled_from([11, 13]),
)  # fmt: skip
def test_any_end_is_the_files(
    tmp_path_factory: pytest.TempPathFactory, end: str, count: int, seed: int, quantized: bool, keepdims: int,
    axis: int, opset: int,
) -> None:  # fmt: skip
    """On all 64 inputs of two integers of 3 bits. Few values, so that outputs are often equal."""
    rng = np.random.default_rng(seed)
    matrix, bias = rng.integers(-2, 3, (2, count)) / 4, rng.integers(-2, 3, count) / 4
    graph, outputs = one_layer(matrix, bias), tuple[str, ...]()
    graph.opset = opset
    inputs = np.array(list(itertools.product(range(-4, 4), repeat=2)), dtype=np.int8)
    real = inputs @ matrix + bias
    if quantized:
        graph.quant(0.5, 3)
        real = np.clip(np.round(real / 0.5), -4, 3) * 0.5
    for kind in end.split():
        if kind in ("index", "values", "both"):
            outputs = best(graph, kind, axis=axis)
        elif kind == "ArgMax":
            graph.add(kind, axis=axis, keepdims=keepdims)
        else:
            attributes: dict[str, Any] = {} if kind == "Sigmoid" else {"axis": axis}
            graph.add(kind, **attributes)
    found = imported(graph, tmp_path_factory.mktemp("m"), "int3", outputs)
    integers = found.network.outputs(inputs.reshape(-1, *found.network.input.shape))[-1]
    np.testing.assert_allclose(found.head.results(integers), ENDS[end](real), rtol=1e-12, atol=1e-12)
    compared = count > 1 or end not in ("", "Sigmoid")
    classes = first_greatest(real)[:, 0] if compared else real[:, 0] > 0
    np.testing.assert_array_equal(found.head.classes(integers), classes)


def test_ends_that_are_others_are_refused(tmp_path: Path) -> None:
    """Each would be another function than the host's."""

    def refused(message: str, outputs: tuple[str, ...] = (), graph: Graph | None = None) -> None:
        with pytest.raises(ConfigError, match=message):
            imported(graph or net, tmp_path, "int3", outputs)

    def three() -> Graph:
        return one_layer(np.eye(3) / 4)

    refused("TopK.*takes the least output", best(net := three(), "index", largest=0), net)
    refused("TopK.*takes more than the one greatest", best(net := three(), "index", 2), net)
    refused("TopK.*works along axis 0", best(net := three(), "index", axis=0), net)
    refused("TopK.*gives the greatest of what node 'Softmax", best(net := three().add("Softmax"), "values"), net)
    refused("ArgMax.*stands behind the sigmoid of the head", (), three().add("Sigmoid").add("ArgMax", axis=1))
    refused("ArgMax.*takes the last of equal", (), three().add("ArgMax", axis=1, select_last_index=1))
    refused("LogSoftmax.*works along axis 0", (), three().add("LogSoftmax", axis=0))
    refused("has the outputs t1, t2, expected one", ("t1", "t2"), three().add("ArgMax", axis=1))
    refused("the file's output t1 is not what the chain of its layers ends with", ("t1",), three().add("Relu"))
    refused("Mul.*stands behind the max of the head", (), (best(net := three(), "values"), net.add("Mul", 2.0))[1])


def test_a_softmax_that_rounds_differences_away_is_named(tmp_path: Path) -> None:
    """Outputs of 1e-20 are one probability each: the file's own ArgMax behind it always says 0."""
    graph = one_layer(np.eye(2)).add("Mul", 1e-20)
    assert imported(graph, tmp_path, "int3").head.end == ""
    with pytest.raises(ConfigError, match=r"node 'Softmax_t3' \(Softmax\) rounds outputs that differ to one probabil"):
        imported(graph.add("Softmax").add("ArgMax", axis=1), tmp_path, "int3")


@pytest.mark.parametrize(
    ("kind", "inputs", "message"),
    [
        ("Reshape", 1, "has 1 input, expected 2"), ("MatMul", 1, "has 1 input, expected 2"),
        ("Quant", 1, "has 1 input, expected 4"), ("Quant", 9, "has 9 inputs, expected 4"),
        ("BipolarQuant", 1, "has 1 input, expected 2"), ("MultiThreshold", 1, "has 1 input, expected 2"),
        ("Add", 1, "has 1 input, expected 2"), ("Gemm", 1, "has 1 input, expected 2, or 3"),
        ("BatchNormalization", 2, "has 2 inputs, expected 5"), ("QuantizeLinear", 1, "has 1 input, expected 2, or 3"),
        ("TopK", 1, "has 1 input, expected 2"), ("Relu", 2, "has 2 inputs, expected 1"),
    ],
)  # fmt: skip
def test_a_node_of_another_form_than_its_operator(tmp_path: Path, kind: str, inputs: int, message: str) -> None:
    graph = one_layer(np.eye(2))
    domain = DOMAIN if kind in ("Quant", "BipolarQuant", "MultiThreshold") else ""
    graph.add(kind, *[1.0] * (inputs - 1), domain=domain)
    with pytest.raises(ConfigError, match=rf"node '{kind}_t2' \({kind}\) {message}\."):
        imported(graph, tmp_path, "int3")
    read = list(graph.nodes[-1].input)
    del graph.nodes[-1].input[:]
    graph.nodes[-1].input.extend(["", *read[1:]])
    with pytest.raises(ConfigError, match=kind):
        imported(graph, tmp_path, "int3")


def test_attributes_are_those_of_the_operator(tmp_path: Path) -> None:
    """What one executor would pass over, another would not."""
    for kind, attributes, why in (
        ("Relu", {"alpha": 0.1}, "has an attribute 'alpha' that it does not have in version 13, expected none"),
        ("Gemm", {"alpha": "half"}, "has an attribute 'alpha' of another type"),
        ("Cast", {}, "lacks the attribute 'to', expected it"),
    ):
        graph = one_layer(np.eye(2)).add(kind, *([np.eye(2)] if kind == "Gemm" else []))
        for name, value in attributes.items():
            graph.nodes[-1].attribute.append(helper.make_attribute(name, value))
        with pytest.raises(ConfigError, match=f"node '{kind}_t2' .{kind}. {why}"):
            imported(graph, tmp_path, "int3")


def every_kind_of_dense_node() -> Graph:
    graph = Graph((1, 4)).add("Reshape", "shape").quant(0.5, 4).add("Gemm", np.eye(4), np.ones(4))
    graph.constants.append(numpy_helper.from_array(np.array([1, -1]), "shape"))
    graph.add("BatchNormalization", *[np.ones(4)] * 4).add("Clip", -3.0, 3.0).add("BipolarQuant", 1.0, domain=DOMAIN)
    graph.add("MatMul", graph.weights(np.eye(4)[:, :3], 0.5, 2)).add("Transpose", perm=[0, 1])
    return graph.add("ArgMax", axis=1)


def every_kind_of_window() -> Graph:
    graph = Graph((1, 2, 5, 6)).quant(0.5, 3)
    graph.add("Conv", np.ones((2, 2, 2, 2)), strides=[1, 2], pads=[1, 0, 0, 1], dilations=[1, 1]).quant(
        0.5, 3, signed=0
    )
    graph.add("Conv", np.ones((2, 1, 2, 2)), group=2).add("MaxPool", kernel_shape=[2, 1], ceil_mode=0)
    graph.quant(0.25, 2, signed=0).add("AveragePool", kernel_shape=[2, 2], auto_pad="VALID").quant(0.25, 3)
    return graph.add("GlobalAveragePool").add("Flatten").add("MatMul", np.ones((2, 2)))


@pytest.mark.parametrize(
    ("make", "seed"), [*((every_kind_of_dense_node, i) for i in range(4)), (every_kind_of_window, 0)]
)
def test_whatever_a_node_or_a_constant_becomes_is_a_sentence_or_proven(
    tmp_path: Path, make: Callable[[], Graph], seed: int
) -> None:
    """One or two changes to a legal file, which stays a whole one: inputs, attributes, kinds, types, shapes, values."""
    rng, graph = np.random.default_rng(seed), make()
    import_file(graph.save(tmp_path / "m.onnx"), tmp_path / "whole")
    content = graph.model().SerializeToString()
    kinds = [node.op_type for node in graph.nodes] + ["Add", "Trunc", "MultiThreshold", "TopK", "Softmax", "Squeeze"]
    values: list[Any] = ["a", 1.5, -7, 10**9, [1, 2], [1.5], "", [0, 0], [9] * 4]

    def change(model: ModelProto) -> None:
        node, tensor = rng.choice(list(model.graph.node)), rng.choice(list(model.graph.initializer))
        array, what = numpy_helper.to_array(tensor), rng.integers(0, 7)
        others = [
            array * np.nan, array * 0, array * 1e38, array[None], array.ravel(), np.zeros((0,)), np.zeros((2, 0)),
            np.asarray(-1), array.astype(np.int64), array.astype(np.complex64), array > 0, array.astype(np.float16),
        ]  # fmt: skip
        if what == 0:
            del node.input[rng.integers(0, len(node.input))]
        elif what == 1:
            node.input[rng.integers(0, len(node.input))] = ""
        elif what == 2:
            node.input.append(tensor.name)
        elif what == 3:
            name = str(rng.choice([*(one.name for one in node.attribute), "axis", "to", "perm", "signed", "min"]))
            kept = [one for one in node.attribute if one.name != name]
            del node.attribute[:]
            node.attribute.extend([*kept, helper.make_attribute(name, values[rng.integers(0, len(values))])])
        elif what == 4:
            node.op_type = str(rng.choice(kinds))
        else:
            tensor.CopyFrom(numpy_helper.from_array(others[rng.integers(0, len(others))], tensor.name))

    for i in range(40):
        model = ModelProto.FromString(content)
        for _ in range(rng.integers(1, 3)):
            change(model)
        (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
        with np.errstate(all="ignore"):
            try:
                import_file(tmp_path / "m.onnx", tmp_path / f"e{i}")
            except CxrflowError as err:
                assert str(err).isprintable() and "This is a bug" not in str(err)
                assert not (tmp_path / f"e{i}").exists()


def test_constants_of_nothing_are_refused_by_name(tmp_path: Path) -> None:
    """No outputs, no levels, one level only."""
    for graph, message in (
        (
            Graph((1, 3)).add("MatMul", np.ones((3, 0))),
            r"multiplies \(1, 3\) and \(3, 0\), expected a matrix of one out",
        ),
        (one_layer(np.eye(2)).quant(1.0, 1, signed=0, narrow=1), "gives the one value 0, expected two"),
        (one_layer(np.eye(2)).add("MultiThreshold", np.ones((2, 0)), domain=DOMAIN), "has no threshold"),
    ):
        with pytest.raises(ConfigError, match=message):
            imported(graph.add("MatMul", np.ones((2, 1))), tmp_path, "int3")


def test_versions_of_the_operators(tmp_path: Path) -> None:
    for version, why in ((None, "none"), (9999, "9999"), (0, "0")):
        model = one_layer(np.eye(2)).model()
        del model.opset_import[0]
        if version is not None:
            model.opset_import.append(helper.make_opsetid("ai.onnx", version))
        (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
        with pytest.raises(
            ConfigError, match=rf"version of the standard operators .* is {why}, expected one from 1 to"
        ):
            import_file(tmp_path / "m.onnx", tmp_path / "e", Given("int3"))
    model.opset_import[-1].version = 13  # by its longer name
    for node in model.graph.node:
        node.domain = "ai.onnx"
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    import_file(tmp_path / "m.onnx", tmp_path / "e", Given("int3"))


@pytest.mark.parametrize(
    ("bits", "signed"), [([[2.0, 3.0]], 0), ([[2.0, 3.0]], 1), ([[1.0, 2.0]], 0), ([[3.0, 3.0]], 1), ([[1.0, 1.0]], 1)]
)
def test_every_value_has_its_own_number_of_bits(tmp_path: Path, bits: list[list[float]], signed: int) -> None:
    """As HGQ trains them. qonnx' own quantizer knows one number only."""
    graph = one_layer(np.eye(2)).add(
        "Quant", 0.5, 0.0, np.array(bits), domain=DOMAIN, signed=signed, narrow=0, rounding_mode="ROUND"
    )
    found = imported(graph.add("MatMul", np.array([[1.0, 0.0], [0.0, 1.0]])), tmp_path, "int4")
    inputs = np.array(list(itertools.product(range(-8, 8), repeat=2)), dtype=np.int8)
    got = found.head.real(found.network.outputs(inputs.reshape(-1, 1, 2))[-1])
    for column, width in enumerate(bits[0]):
        low, high = (-(2 ** (width - 1)), 2 ** (width - 1) - 1) if signed else (0, 2**width - 1)
        want = np.clip(np.round(inputs[:, column] / 0.5), low, high) * 0.5
        if width == 1 and signed:
            want = np.where(inputs[:, column] >= 0, 0.5, -0.5)
        np.testing.assert_array_equal(got[:, column], want)


def test_one_bit_beside_more_bits_is_refused(tmp_path: Path) -> None:
    graph = one_layer(np.eye(2)).add("Quant", 0.5, 0.0, np.array([[1.0, 2.0]]), domain=DOMAIN, signed=1)
    with pytest.raises(ConfigError, match=r"Quant_t2.*has 1 bit for some values, which are -1 or \+1"):
        imported(graph.add("MatMul", np.eye(2)), tmp_path, "int3")


class TestWeights:
    """Integers times a scale, also where the scale has more digits than their product has in float64."""

    @settings(max_examples=40, deadline=None)
    @given(seed=st.integers(0, 2**32 - 1), most=st.sampled_from([1, 3, 7, 127, 128]))
    def test_rounded_rows_are_found(self, seed: int, most: int) -> None:
        rng = np.random.default_rng(seed)
        integers = rng.integers(-most, min(most, 127) + 1, (6, 9))
        integers[0] = 0
        scales = rng.uniform(1e-9, 1e9, (6, 1))
        found = near_rows(integers * scales)
        assert found is not None and np.abs(found[0]).max() <= most
        np.testing.assert_allclose(found[0] * found[1], integers * scales, rtol=1e-15)
        assert near_rows(rng.normal(size=(2, 9))) is None

    @settings(max_examples=60, deadline=None)
    @given(seed=st.integers(0, 2**32 - 1), single=st.booleans())
    def test_sums_that_are_said_to_be_exact_are(self, seed: int, single: bool) -> None:
        """In rational arithmetic: two scales of float32 have 48 bits, and their sums soon more than float64 has."""
        rng = np.random.default_rng(seed)
        scales = rng.uniform(0.1, 1, 2).astype(np.float32).astype(np.float64) * (1 if single else 1 + 2.0**-40)
        if rng.random() < 0.5:
            scales[0] = 0.25
        weights = rng.integers(-7, 8, (1, 6)) * scales[0]
        reals = np.arange(-8, 8) * scales[1]
        if layers._noise(np.tile(reals, (6, 1)), weights, exact=True).any():
            return
        for x in rng.choice(reals, (20, 6)):
            exact = sum(Fraction(float(a)) * Fraction(float(b)) for a, b in zip(weights[0], x, strict=True))
            assert Fraction(float((weights @ x)[0])) == exact

    def test_a_scale_that_a_node_makes(self, tmp_path: Path) -> None:
        """Greatest weight / 7 has no end in binary, so each weight is rounded by itself."""
        graph, rng = Graph((1, 4)).quant(0.25, 4), np.random.default_rng(0)
        values = rng.normal(size=(4, 3)).astype(np.float32)
        graph.nodes.append(helper.make_node("Div", [graph.constant(abs(values).max()), graph.constant(7.0)], ["scale"]))
        given = [graph.constant(values), "scale", graph.constant(0.0), graph.constant(4.0)]
        graph.nodes.append(helper.make_node("Quant", given, ["w"], domain=DOMAIN, signed=1, narrow=1))
        found = imported(graph.add("MatMul", "w"), tmp_path)
        want = np.round(values.T / (np.float64(abs(values).max()) / 7))
        np.testing.assert_array_equal(found.network.dense[0].weights, want)

    @pytest.mark.parametrize("dtype", [np.float64, np.float16])
    def test_constants_of_other_floats(self, tmp_path: Path, dtype: type) -> None:
        element = TensorProto.DOUBLE if dtype is np.float64 else TensorProto.FLOAT16
        graph = Graph((1, 3), element=element)
        names = [graph.constant(v, dtype) for v in (0.3, 0.0, 4.0, np.arange(-3, 3).reshape(3, 2) * 0.5)]
        graph.add("Quant", *names[:3], domain=DOMAIN, signed=1, narrow=0).add("MatMul", names[3])
        assert imported(graph, tmp_path).network.dense[0].weights.tolist() == [[-3, -1, 1], [-1, 0, 1]]

    def test_a_constant_that_the_file_rounds(self, tmp_path: Path) -> None:
        """Cast is done to constants in their own type, and a Constant node may hold plain numbers."""
        graph = Graph((1, 2))
        graph.nodes += [
            helper.make_node("Constant", [], ["gain"], value_floats=[0.5, 2.0]),
            helper.make_node("Cast", [graph.constant(0.1, np.float64)], ["rough"], to=TensorProto.FLOAT16),
            helper.make_node("Cast", ["rough"], ["bias"], to=TensorProto.FLOAT),
        ]
        found = imported(graph.add("MatMul", np.eye(2)).add("Mul", "gain").add("Add", "bias"), tmp_path, "int3")
        assert found.head.real(np.zeros((1, 2), np.int64))[0].tolist() == [float(np.float16(0.1))] * 2

    def test_what_eight_bits_do_not_hold_is_said(self, tmp_path: Path) -> None:
        graph = Graph((1, 2)).quant(0.25, 4)
        given = [graph.constant([[255], [1]], np.uint8), graph.constant(0.5), graph.constant(100, np.uint8)]
        graph.nodes.append(helper.make_node("DequantizeLinear", given, ["w"]))
        with pytest.raises(
            ConfigError, match=r"integers from -99 to 155 times a scale, on output 0: 9 bits with their "
        ):
            imported(graph.add("MatMul", "w"), tmp_path)
        floats = Graph((1, 9)).quant(0.25, 4).add("MatMul", np.random.default_rng(0).normal(size=(9, 2)))
        with pytest.raises(ConfigError, match=r"are float: no integers of 8 bits times a scale per output"):
            imported(floats, tmp_path)

    def test_scales_of_the_values_are_not_taken_for_the_weights(self, tmp_path: Path) -> None:
        graph = Graph((1, 2)).quant(0.25, 4).add("Mul", [[0.1, 0.3 + 1e-5]])
        graph.add("MatMul", graph.weights(np.array([[3.0], [2.0]]), 1.0, 4))
        with pytest.raises(
            ConfigError, match=r"multiplies values whose scales, from value to value.*Expected one scale"
        ):
            imported(graph, tmp_path)


def test_scales_of_what_is_fed(tmp_path: Path) -> None:
    path = one_layer(np.eye(2)).save(tmp_path / "m.onnx")
    for scale in (0.0, -1.0, float("nan"), float("inf"), 1e300, 5e-324):
        with pytest.raises(
            ConfigError, match=rf"--input-scale is {re.escape(f'{scale:g}')}, expected a number from 1e-12 to"
        ):
            import_file(path, tmp_path / "e", Given("int8", scale))


def test_names_are_text_in_a_line(tmp_path: Path) -> None:
    content = one_layer(np.eye(2)).model().SerializeToString()
    for name, message in (
        (b"\xff\xfe" * 4 + b"\xff", "a name that is no UTF-8"),
        (b"\n\x1b[31mnew", r"node '\?\?\[31mnew'"),
    ):
        (tmp_path / "m.onnx").write_bytes(content.replace(b"MatMul_t0", name).replace(b"MatMul", b"MatNul"))
        with pytest.raises(CxrflowError, match=message) as caught:
            import_file(tmp_path / "m.onnx", tmp_path / "e")
        assert str(caught.value).isprintable()


def test_inputs_of_which_the_file_makes_one_number(tmp_path: Path) -> None:
    """A gain of 0, or a Clip that none leaves: the input's integer moves, and what the file makes of it does not."""
    inputs = np.array(list(itertools.product(range(-4, 4), repeat=3)), dtype=np.int8)
    for gains in ([0.0, 1.0, 0.5], [0.5, 0.0, 0.0], [0.0, 0.0, 0.0]):
        graph = Graph((1, 3)).add("Mul", np.array(gains)).add("Add", np.array([0.5, 0.0, 0.0]))
        matrix = np.array([[1.0, -1.0], [2.0, 1.0], [1.0, 3.0]])
        found = imported(graph.add("MatMul", matrix), tmp_path, "int3")
        got = found.head.real(found.network.outputs(inputs.reshape(-1, 1, 3))[-1])
        np.testing.assert_array_equal(got, (inputs * gains + [0.5, 0, 0]) @ matrix)


def test_a_quantizer_of_negative_levels_only(tmp_path: Path) -> None:
    """0 is none of them, and no input may be probed with it."""
    graph = Graph((1, 2)).add("MultiThreshold", np.array([[-1.0]]), domain=DOMAIN, out_bias=-2.0)
    found = imported(graph.add("MatMul", np.array([[1.0], [3.0]])), tmp_path)
    assert found.rule is not None and (found.rule.low, len(found.rule.thresholds[0])) == (-2, 1)


def test_a_file_that_reads_integers(tmp_path: Path) -> None:
    """It could not read fractions, or what its type does not hold; other types are no numbers."""
    graph = Graph((1, 2), element=TensorProto.UINT8).add("Cast", to=TensorProto.FLOAT).add("MatMul", np.eye(2))
    path = graph.save(tmp_path / "m.onnx")
    import_file(path, tmp_path / "e", Given("uint4"))
    for reads, scale in ((None, 0.5), ("int8", 1.0), ("bipolar", 1.0)):
        with pytest.raises(ConfigError, match=r"the file's input is integers from 0 to 255, and \w+ is fed"):
            import_file(path, tmp_path / "f", Given(reads, scale))
    for element in (TensorProto.BOOL, TensorProto.STRING, TensorProto.COMPLEX64):
        graph.element = element
        with pytest.raises(ConfigError, match=f"is of the type {TensorProto.DataType.Name(element)}, expected floats"):
            import_file(graph.save(path), tmp_path / "f", Given("uint4"))


def test_labels_are_classes_of_the_file(tmp_path: Path) -> None:
    """Of K outputs K; of one that is not compared with others two; of one that is, the one."""

    numbers = itertools.count()

    def labelled(graph: Graph, *labels: int) -> CxrflowError | None:
        save_npz(tmp_path / "s.npz", {"x": np.zeros((len(labels), 2), np.int8), "y": np.array(labels)})
        try:
            files = (tmp_path / "s.npz", tmp_path / "s.npz")
            import_file(graph.save(tmp_path / "m.onnx"), tmp_path / f"e{next(numbers)}", Given("int8", 1.0, *files))
        except DataError as err:
            return err
        return None

    assert labelled(one_layer(np.eye(2)), 0, 1) is None
    assert "labels from -1 to 1, expected classes from 0 to 1" in str(labelled(one_layer(np.eye(2)), -1, 1))
    assert "labels from 0 to 2, expected classes from 0 to 1" in str(labelled(one_layer(np.ones((2, 1))), 0, 2))
    assert labelled(one_layer(np.ones((2, 1))).add("Sigmoid"), 0, 1) is None
    one = one_layer(np.ones((2, 1))).add("ArgMax", axis=1)
    assert "labels from 0 to 1, expected classes from 0 to 0" in str(labelled(one, 0, 1))
