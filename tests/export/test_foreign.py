"""Files of others become integers that are the file's own function, or are refused in a sentence that names the node.

Kinds of fault: a threshold that is one off (ties, rounding modes, zero points, signs of gains), an order of elements
that is lost (Reshape, Transpose), a scale that belongs to another channel, a level that is none of the grid, an end of
the graph that is computed on another order of outputs, and a file that is believed.
"""

import itertools
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

from contract.errors import ArtifactError, ConfigError, CxrflowError, DataError, MismatchError
from contract.golden import load_golden
from contract.network import IntegerNetwork, load_network
from contract.npz import load_npz, save_npz
from contract.onnx_file import load_onnx
from contract.record import read_record
from export.foreign import proof
from export.foreign.execute import Execution
from export.foreign.folder import Given, import_file
from export.foreign.graph import read_graph
from export.foreign.layers import Imported, to_integers
from export.foreign.rational import Decisions, decide
from export.foreign.steps import integer_rows
from export.records import Exported
from export.requantization import requantized
from tests.bnn_pynq import export_bnn_pynq
from tests.foreign_files import DOMAIN, MODELS, Graph, Rational, qkeras
from tests.random_networks import export_random, random_pixels, small_spec


def imported(graph: Graph, tmp_path: Path, reads: str | None = None, scale: float = 1.0) -> Imported:
    """Import without a folder, and prove it."""
    model = load_onnx(graph.save(tmp_path / "m.onnx"))
    chain = read_graph(model)
    found = to_integers(chain, reads, scale)
    proof.prove(model, chain, found, scale=scale, samples=None)
    return found


@contextmanager
def proven_on_few() -> Iterator[None]:
    """Prove on some hundred inputs, where the proof itself is not what is tested: each costs time."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("PROBES", "ALONE", "TIES"):
            patch.setattr(proof, name, 64)
        yield


@pytest.fixture
def few_probes() -> Iterator[None]:
    with proven_on_few():
        yield


@pytest.mark.parametrize("name", ["TFC_1W1A", "TFC_2W2A", "kws_w3a3", "tfc_w1a1_topk"])
def test_public_files(tmp_path: Path, name: str) -> None:
    path = MODELS / f"{name}.onnx"
    if not path.is_file():
        pytest.skip("the public files are not here")
    summary = import_file(path, tmp_path / "export", Given("uint8" if name == "tfc_w1a1_topk" else None))
    assert summary["chain"][0] == {"stage": "file_float64", "images": summary["chain"][0]["images"], "differing": 0}
    assert summary["chain"][0]["images"] >= 1000
    assert summary["chain"][2]["stage"] == "file_rational"
    assert summary["chain"][2]["images"] >= 960 and summary["chain"][2]["differing"] == 0
    assert (
        summary["network"]
        == {
            "TFC_1W1A": "784-64-64-64-10 W1A1",
            "TFC_2W2A": "784-64-64-64-10 W2A2",
            "kws_w3a3": "490-256-256-256-12 W3A3",
            "tfc_w1a1_topk": "784-64-64-64-10 W1A1",
        }[name]
    )
    record = read_record(tmp_path / "export" / "export.json", Exported)
    golden, network = (
        load_golden(tmp_path / "export" / "golden.npz"),
        load_network(tmp_path / "export" / "reference.npz"),
    )
    assert len(golden.pixels) == 100 and network.input.fits(golden.pixels)
    assert record.head is not None and record.rule is not None
    # What the folder says is enough: fed, ruled, multiplied, and ended, it is what the file gives.
    fed = np.random.default_rng(1).integers(0, 256, (50, network.input.size)).astype(np.uint8)
    real = fed / (1 if name == "tfc_w1a1_topk" else 255)
    codes = record.rule(fed if name == "tfc_w1a1_topk" else real)
    results = record.head.results(network.outputs(codes.reshape(-1, *network.input.shape))[-1])
    (want,) = Execution(load_onnx(path), load_onnx(path).graph.output[-1].name, double=True)(real)
    np.testing.assert_allclose(results, want, rtol=1e-12, atol=1e-12)


WIDTHS = st.sampled_from([1, 2, 3, 4])
OPERATIONS = ("Add", "Sub", "Mul", "Div", "BN", "Relu", "rsub", "Identity")
DYADIC = st.sampled_from([0.25, 0.5, 1.0, 2.0, -0.5])  # exact in float64, so that ties are ties


@st.composite
def dyadic_graphs(draw: st.DrawFn) -> Graph:
    """Two layers on three integers of 3 bits, all of scales that are powers of two, and a float head."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    graph, size = Graph((1, 3)), 3
    for _ in range(draw(st.integers(1, 2))):
        outputs, bits = draw(st.integers(1, 4)), draw(WIDTHS)
        scale = rng.choice([0.25, 0.5, 1.0], (1, outputs) if draw(st.booleans()) else ())
        weights = graph.weights(rng.integers(-3, 4, (size, outputs)) / 2, scale, bits)
        if draw(st.booleans()):
            bias = rng.integers(-8, 9, outputs) / 8
            graph.add("Gemm", weights, bias) if draw(st.booleans()) else graph.add("Gemm", weights)
        else:
            graph.add("MatMul", weights)
        for kind in draw(
            st.lists(st.sampled_from(["Add", "Sub", "Mul", "Div", "BN", "Relu", "rsub", "Identity"]), max_size=3)
        ):
            values = rng.choice([0.5, 1.0, -1.0, 2.0, 0.25], outputs)
            if kind == "BN":
                gain = rng.choice([-1.0, 0.0, 0.5, 2.0], outputs)
                graph.add("BatchNormalization", gain, values, -values, np.full(outputs, 4.0), epsilon=0.0)
            elif kind == "rsub":
                graph.add("Sub", values, first=True)
            elif kind in ("Relu", "Identity"):
                graph.add(kind)
            else:
                graph.add(kind, values if draw(st.booleans()) else values[0])
        act, signed = draw(WIDTHS), draw(st.integers(0, 1))
        if act == 1 and signed:
            graph.add("BipolarQuant", draw(DYADIC), domain=DOMAIN)
        else:
            graph.quant(
                rng.choice([0.25, 0.5, 1.0], (1, outputs)) if draw(st.booleans()) else abs(draw(DYADIC)), act,
                zero=float(draw(st.sampled_from([0, 0, 1]))), signed=signed, narrow=draw(st.integers(0, 1)) * (act > 1),
                mode=draw(st.sampled_from(["ROUND", "FLOOR", "CEIL", "ROUND_TO_ZERO"])),
            )  # fmt: skip
        if draw(st.booleans()):
            graph.add("Mul", draw(DYADIC))
        size = outputs
    graph.add("MatMul", graph.weights(rng.integers(-3, 4, (size, 2)), 0.5, 3))
    return graph.add("Add", np.array([0.5, -1.0]))


@settings(max_examples=25, deadline=None)
@given(graph=dyadic_graphs())
def test_every_input_in_rational_arithmetic(tmp_path_factory: pytest.TempPathFactory, graph: Graph) -> None:
    """All 512 inputs, so that every accumulator that occurs is looked at, ties and ends included."""
    with proven_on_few():
        found = imported(graph, tmp_path_factory.mktemp("m"), "int3")
    inputs = np.array(list(itertools.product(range(-4, 4), repeat=3)), dtype=np.int8)[::3]
    got = found.head.real(found.network.outputs(inputs.reshape(-1, *found.network.input.shape))[-1])
    rational = Rational(graph.model())
    want = np.array([[float(v) for v in rational(x[None])[graph.last].ravel()] for x in inputs])
    np.testing.assert_array_equal(got, want)


def decisions(model: ModelProto, reads: str | None, scale: float, change: int = 0) -> Decisions:
    """Look at all thresholds of a file in rational arithmetic, one in the middle of a layer moved by `change`."""
    chain = read_graph(model)
    found = to_integers(chain, reads, scale)
    for layer in found.network.dense[:-1]:
        assert layer.thresholds is not None
        layer.thresholds[len(layer.thresholds) // 2, layer.thresholds.shape[1] // 2] += change
    return decide(model, found.network, found.rule, found.head, scale=scale, result=chain.result)


def tails() -> Iterator[tuple[str, Graph]]:
    """Yield graphs of two layers with every kind of node between these."""
    rng = np.random.default_rng(0)
    for kind in (
        "norm",
        "dead",
        "narrow",
        "scales",
        "zeros",
        "qcdq",
        "multithreshold",
        "gemm",
        "transpose",
        "clip",
        "bipolar",
    ):
        graph = Graph((1, 6)).quant(0.25, 2, narrow=1) if kind == "narrow" else Graph((1, 6))
        weights = graph.weights(rng.integers(-3, 4, (6, 6)) / 2, 0.5, 3)
        bias = rng.integers(-9, 9, 6) / 8
        graph.add("Gemm", weights, bias, alpha=0.5, beta=2.0) if kind == "gemm" else graph.add("MatMul", weights)
        if kind == "narrow":
            graph.add("Mul", np.array([0.1, 0.2, 0.25, 0.5, 1, -0.1]))
        if kind in ("norm", "dead"):
            gain = np.zeros(6) if kind == "dead" else [1.0, -1, 0.5, 2, -2, 1]  # dead: each gives one level only
            graph.add("BatchNormalization", gain, bias, -bias, np.full(6, 4.0), epsilon=0.0)
        if kind == "transpose":
            graph.add("Reshape", graph.constant([2, 3], np.int64)).add("Sub", [0.5, 0.25, 1.0], first=True)
            graph.add("Transpose", perm=[1, 0]).add("Reshape", graph.constant([1, 6], np.int64))
        if kind == "clip":
            graph.add("Clip", -1.0, 1.5).add("Div", -0.5)
        if kind == "bipolar":
            graph.add("Add", bias).add("BipolarQuant", 0.5, domain=DOMAIN)
        elif kind == "multithreshold":
            graph.add(
                "MultiThreshold", np.sort(rng.integers(-9, 9, (6, 3)) / 2), domain=DOMAIN, out_scale=0.5, out_bias=-1.0
            )
        elif kind == "qcdq":
            zero = graph.constant(7, np.uint8)
            graph.add("QuantizeLinear", 0.25, zero).add("DequantizeLinear", 0.25, zero)
        else:
            scale = rng.choice([0.25, 0.5, 1.0], (1, 6)) if kind == "scales" else 0.5
            graph.quant(scale, 3, zero=3.0 * (kind == "zeros"), signed=int(kind != "zeros"), mode="FLOOR")
        graph.add("MatMul", graph.weights(rng.integers(-3, 4, (6, 2)), 0.5, 3))
        yield kind, graph.quant(0.75, 4, mode="HALF_UP")


@pytest.mark.parametrize(("name", "graph"), list(tails()), ids=lambda value: value if isinstance(value, str) else "")
def test_every_threshold_in_rational_arithmetic(name: str, graph: Graph) -> None:
    """The importer's are right, and one that is one off is seen, where there is an accumulator to see it."""
    model = graph.model()
    right, wrong = (decisions(model, "int4", 0.25, change) for change in (0, 1))
    assert (right.differing, right.note) == (0, "") and right.count >= 6 * 5 + 2 * 47
    assert (wrong.differing > 0) == (name != "dead") and not wrong.note


def test_what_rational_arithmetic_cannot_follow_is_said() -> None:
    rounded = Graph((1, 4))
    scale = np.float64(1) / 3
    rounded.add("MatMul", rounded.constant(np.arange(8).reshape(4, 2) * scale, np.float64))
    assert "a scale is rounded" in decisions(rounded.model(), "int4", 1.0).note
    trunc = finished(small().quant(0.125, 8).add("Trunc", 0.125, 0.0, 8.0, 4.0, domain=DOMAIN))
    assert decisions(trunc.model(), None, 1.0).note == "a node Trunc is not followed"


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), reads=st.sampled_from(["uint8", "int4", "uint2", "bipolar", "float"]))
def test_random_scales_are_proven_on_the_spot(tmp_path_factory: pytest.TempPathFactory, seed: int, reads: str) -> None:
    """`prove` raises where one of 1,000 inputs differs; scales, biases and gains are of any size and sign here."""
    rng = np.random.default_rng(seed)
    graph = Graph((1, 2, 5)) if rng.random() < 0.5 else Graph((1, 1, 2, 5))
    if reads == "float":
        graph.quant(rng.uniform(0.01, 1), 4)
    if rng.random() < 0.5:
        graph.add("Transpose", perm=[0, 2, 1] if len(graph.shape) == 3 else [0, 1, 3, 2])
    graph.add("Flatten")
    size = 10
    for outputs in rng.integers(2, 9, rng.integers(1, 4)):
        scale = rng.uniform(0.01, 0.3, (1, outputs)).astype(np.float32)
        graph.add("MatMul", graph.weights(rng.uniform(-1, 1, (size, outputs)), scale, int(rng.integers(1, 5))))
        graph.add(
            "BatchNormalization", rng.normal(size=outputs), rng.normal(size=outputs), rng.normal(size=outputs),
            rng.uniform(0.1, 9, outputs), epsilon=1e-5,
        )  # fmt: skip
        kind = rng.integers(0, 3)
        if kind == 0:
            graph.add("BipolarQuant", rng.uniform(0.1, 2), domain=DOMAIN)
        elif kind == 1:
            graph.add("Relu").quant(rng.uniform(0.05, 0.5), rng.integers(1, 5), signed=0)
        else:
            graph.quant(rng.uniform(0.05, 0.5), rng.integers(2, 6), narrow=int(rng.integers(0, 2)))
        if rng.random() < 0.3:
            graph.add("Mul", rng.choice([-1, 1], (1, outputs)) * np.float32(rng.uniform(0.1, 2)))
        size = int(outputs)
    graph.add("MatMul", graph.weights(rng.uniform(-1, 1, (size, 3)), 0.1, 4)).add("Add", rng.normal(size=3))
    end = rng.integers(0, 4)
    if end == 1:
        graph.add("Softmax", axis=-1)
    elif end == 2:
        graph.add("Sigmoid")
    elif end == 3:
        graph.quant(rng.uniform(0.05, 0.5), 6)
    imported(graph, tmp_path_factory.mktemp("m"), None if reads == "float" else reads)


JETS = (16, 64, 32, 32, 5)


@pytest.mark.parametrize(
    ("model", "fed", "want"),
    [
        (qkeras(JETS, 6, front=False), ("int8", 1 / 16), "16-64-32-32-5 W6A6"),
        (qkeras(JETS, 4, norm=True, activation="quantized_bits", end=""), (), "16-64-32-32-5 W5A4"),
        (qkeras((128, 24, 8, 24, 128), 6, weights="ternary", end=""), (), "128-24-8-24-128 W2A6"),
        (qkeras(JETS, 4, weights="binary", activation="binary"), (), "16-64-32-32-5 W1A1"),
        (qkeras(JETS, 4, activation="ternary", norm=True), (), "16-64-32-32-5 W5A2"),
        (qkeras(JETS, 4, activation="leaky", alpha=True), (), "16-64-32-32-5 W4A3"),
        (qkeras((48, 16, 1), 3, shape=(4, 12, 1), end="Sigmoid"), (), "48-16-1 W3A3"),
    ],
    ids=["jet tagging", "signed", "ternary autoencoder", "binary", "ternary", "negative slope", "image"],
)  # fmt: skip
def test_qkeras(tmp_path: Path, few_probes: None, model: ModelProto, fed: tuple[Any, ...], want: str) -> None:
    """All scales are powers of two, so the file gives the same in float32. A gain below 0 makes 8 of a weight of -8."""
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    summary = import_file(tmp_path / "m.onnx", tmp_path / "e", Given(*fed))
    assert summary["network"] == want
    assert [link["differing"] for link in summary["chain"]] == [0, 0, 0]


@pytest.mark.parametrize(("name", "want"), [("jets", "16-16-8-5 W6A6"), ("binary", "24-12-8-1 W1A4")])
def test_what_qkeras_itself_predicts(tmp_path: Path, few_probes: None, name: str, want: str) -> None:
    """Networks that QKeras trained, as qonnx' converter wrote them, give what Keras predicted, in float32.

    Made by QKeras 0.9.0 in TensorFlow 2.15.1, after an epoch on random inputs, with qonnx 0.4.0 (the last that has the
    converter) and tf2onnx 1.16.1:

        q6 = quantized_bits(6, 0, alpha=1)
        net = Sequential([Input((16,)), QDense(16, q6, bias_quantizer=q6), QActivation(quantized_relu(6)), ...,
                          QDense(5, q6, bias_quantizer=q6), Activation("softmax")])
        onnx.save(qonnx.converters.from_keras(net, "jets", opset=13)[0], "jets.onnx")

    `binary` flattens (6, 4, 1), has weights binary(alpha=1), BatchNormalization, quantized_relu(4, 2) and a sigmoid.
    The .npz has inputs in sixteenths and net.predict of them.
    """
    folder = Path(__file__).parent / "qkeras"
    summary = import_file(folder / f"{name}.onnx", tmp_path / "e", Given("int8", 1 / 16))
    assert summary["network"] == want and [link["differing"] for link in summary["chain"]] == [0, 0, 0]
    record, network = read_record(tmp_path / "e" / "export.json", Exported), load_network(tmp_path / "e/reference.npz")
    predicted = load_npz(folder / f"{name}.npz")
    assert record.head is not None
    results = record.head.results(network.outputs(predicted["x"].reshape(-1, *network.input.shape))[-1])
    np.testing.assert_allclose(results, predicted["y"].astype(np.float64), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("given", "attributes", "levels"),
    [
        ((0.125, 0.0, 8.0, 4.0), {"rounding_mode": "FLOOR"}, None),
        ((0.125, 0.0, 8.0, 3.0), {"rounding_mode": "ROUND"}, None),
        ((0.125, 3.0, 8.0, 4.0), {"rounding_mode": "CEIL"}, None),
        ((0.125, 0.0, 8.0, 1.0, 3.0), {"rounding_mode": "FLOOR"}, 8),
        ((0.125, 2.0, 8.0, 1.0, 3.0), {"rounding_mode": "ROUND_TO_ZERO", "signed": 0}, 8),
        ((0.125, 0.0, 8.0, 0.5, 4.0), {"rounding_mode": "ROUND", "narrow": 1}, 15),
    ],
)
def test_trunc_is_what_qonnx_does(
    tmp_path: Path, few_probes: None, given: tuple[float, ...], attributes: dict[str, Any], levels: int | None
) -> None:
    """Of accumulators or behind a quantizer, and before one or a product. Every fourth accumulator is a tie."""
    for quantized, last in itertools.product((False, True), repeat=2):
        graph = small()
        if quantized:
            graph.quant(0.125, 8)
        graph.add("Trunc", *given, domain=DOMAIN, **attributes)
        if last:
            graph.add("MatMul", graph.weights(np.linspace(-1, 1, 6).reshape(3, 2), 0.5, 3))
        found = imported(graph if last else finished(graph), tmp_path)
        thresholds = found.network.dense[0].thresholds
        assert thresholds is not None and not (last and levels and thresholds.shape[1] >= levels)


def test_intrusion_detection(tmp_path: Path, few_probes: None) -> None:
    """UNSW-NB15 as FINN's notebook on cybersecurity has it: bipolar in, made {0, 1} by the file, and bipolar out."""
    rng, size = np.random.default_rng(0), 593
    graph = Graph((1, size)).add("Add", np.array([1.0])).add("Div", 2.0)
    for outputs in (64, 64, 64):
        weights = graph.weights(rng.uniform(-0.06, 0.06, (outputs, size)), 0.04, 2)
        graph.add("Gemm", weights, rng.uniform(-0.1, 0.1, outputs), transB=1)
        graph.add(
            "BatchNormalization", rng.uniform(-1, 1, outputs), rng.uniform(-1, 1, outputs),
            rng.uniform(-2, 2, outputs), rng.uniform(0.5, 5, outputs), epsilon=1e-5,
        )  # fmt: skip
        graph.add("Relu").quant(1.7, 2, signed=0)
        size = outputs
    graph.add("Gemm", graph.weights(rng.uniform(-0.2, 0.2, (1, size)), 0.1, 2), np.array([-0.1]), transB=1)
    found = imported(graph.add("BipolarQuant", np.array([1.0]), domain=DOMAIN), tmp_path, "bipolar")
    assert found.network.input.size == 593 and found.network.input.datatype == "bipolar"
    assert found.head.values == [[-1.0, 1.0]]


@pytest.mark.parametrize("kind", ["Softmax", "Sigmoid", "ArgMax", "TopK"])
def test_other_shapes_of_the_end(tmp_path: Path, few_probes: None, kind: str) -> None:
    """Converters put Identity, Reshape or Cast behind the end; what the file then gives is what is compared."""
    graph = finished(small())
    if kind == "TopK":
        graph.nodes.append(helper.make_node("TopK", [graph.last, graph.constant([1], np.int64)], ["best", "index"]))
        graph.last = "index"
    else:
        given: dict[str, Any] = {"ArgMax": {"axis": 1, "keepdims": 0}, "Softmax": {"axis": 1}}.get(kind, {})
        graph.add(kind, **given)
    size = 2 if kind in ("Softmax", "Sigmoid") else 1
    graph.add("Identity").add("Reshape", graph.constant([size], np.int64)).add(
        "Unsqueeze", graph.constant([1], np.int64)
    )
    if size == 1:
        graph.add("Cast", to=TensorProto.INT32)
    assert imported(graph, tmp_path).head.end == (kind.lower() if size == 2 else "argmax")
    with pytest.raises(ConfigError, match=r"Relu_.*stands behind the .* of the head, expected that to be the last, or"):
        imported(graph.add("Relu"), tmp_path)


def small(reads_quant: bool = True) -> Graph:
    """Return the beginning of a file: float in, a quantizer, and one layer of 3 outputs on 4 inputs."""
    graph = Graph((1, 4))
    if reads_quant:
        graph.quant(0.5, 4)
    return graph.add("MatMul", graph.weights(np.linspace(-1, 1, 12).reshape(4, 3), 0.25, 4))


def finished(graph: Graph) -> Graph:
    """Add a quantizer and a head."""
    return graph.quant(0.5, 4).add("MatMul", graph.weights(np.linspace(-1, 1, 6).reshape(3, 2), 0.5, 3))


def times(graph: Graph, *factors: float) -> Graph:
    """Add products by numbers."""
    for factor in factors:
        graph.add("Mul", factor)
    return graph


def test_minus_128_under_a_negative_gain(tmp_path: Path) -> None:
    graph = Graph((1, 2)).quant(1.0, 4)
    graph.add("MatMul", graph.weights([[-128.0], [1.0]], 1.0, 8, narrow=0)).add("Mul", -1.0).quant(8.0, 4)
    graph.add("MatMul", graph.weights([[1.0, 3.0]], 1.0, 4))
    assert imported(graph, tmp_path).network.dense[0].weights.min() == -128


def test_gains_below_0_and_signed_levels_leave_integers_that_multiply(tmp_path: Path) -> None:
    """Rows that fall are negated, or their levels where -128 cannot be, and levels are numbered from 0."""
    rng = np.random.default_rng(3)
    weights = np.where(rng.random((16, 8)) < 0.1, -128.0, rng.integers(-127, 128, (16, 8)))
    gain, offset = rng.normal(size=(2, 1, 8)).astype(np.float32)
    graph = Graph((1, 16)).quant(0.1, 8)
    graph.add("MatMul", graph.weights(weights, 1.0, 8, narrow=0)).add("Mul", gain / 10).add("Add", offset).quant(
        0.37, 8
    )
    graph.add("MatMul", graph.weights(rng.integers(-7, 8, (8, 3)).astype(float), 1.0, 4))
    assert (gain < 0).any()
    network = requantized(imported(graph, tmp_path).network)
    assert [layer.activation for layer in network.dense] == ["requantize", "none"]


def test_qcdq_per_channel(tmp_path: Path) -> None:
    graph = Graph((1, 4))
    scale, zero = graph.constant(0.1), graph.constant(-3, np.int8)
    graph.add("QuantizeLinear", scale, zero).add("Clip", graph.constant(-8, np.int8), graph.constant(7, np.int8))
    graph.add("DequantizeLinear", scale, zero)
    weights = graph.constant(np.arange(-6, 6).reshape(4, 3), np.int8)
    given = [weights, graph.constant([0.1, 0.2, 0.3]), graph.constant([0, 1, -1], np.int8)]
    graph.nodes.append(helper.make_node("DequantizeLinear", given, ["w"], axis=1))
    graph.add("Gemm", "w", np.array([0.5, -0.5, 0.0]))
    assert imported(finished(graph), tmp_path).network.input.datatype == "uint4"


def test_fixed_point_of_its_own_for_every_weight_and_value(tmp_path: Path) -> None:
    """As HGQ makes them: scales are powers of two and differ from element to element, also of the input."""
    graph = Graph((1, 4)).quant(np.array([[0.5, 0.25, 1.0, 0.5]]), np.array(4.0))
    values = np.array([[0.5, 1.0, -0.25], [2.0, 0.25, 1.0], [-1.5, 0.75, 0.0], [0.0, 1.0, 1.0]])
    graph.add("MatMul", values).add("Relu").quant(np.array([[0.5, 0.25, 0.125]]), np.array(3.0), signed=0)
    graph.add("MatMul", np.array([[1.0, -0.5], [0.25, 2.0], [1.5, 1.0]]))
    found = imported(graph, tmp_path)
    assert found.rule is not None and len(found.rule.thresholds) == 4


def test_a_quantizer_that_declared_integers_pass_unchanged_or_not(tmp_path: Path) -> None:
    graph = Graph((1, 4)).add("Div", 255.0).quant(1 / 15, 4, signed=0)
    graph.add("MatMul", graph.weights(np.ones((4, 2)), 1.0, 2))
    found = imported(graph, tmp_path, "uint8")
    assert found.rule is not None and found.network.input.datatype == "uint4" and found.rule.reads == "uint8"
    np.testing.assert_array_equal(found.rule(np.array([[0, 8, 9, 255]], dtype=np.uint8)), [[0, 0, 1, 15]])


def dequantized(graph: Graph, axis: int) -> str:
    """Add (3, 2) integers behind a DequantizeLinear of two scales; return their name."""
    given = [graph.constant(np.ones((3, 2)), np.int8), graph.constant([0.5, 0.25])]
    graph.nodes.append(helper.make_node("DequantizeLinear", given, ["w"], axis=axis))
    return "w"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g: g.add("Relu").add("MatMul", g.weights(np.ones((3, 2)), 1.0, 2)),
         r"node 'MatMul_t5' \(MatMul\) reads float values of node 'Relu_t3' \(Relu\), expected a quantizer"),
        (lambda g: g.add("Tanh"), r"node 'Tanh_t3' \(Tanh\) is not supported here, expected one of Add, ArgMax"),
        (lambda g: g.add("Conv", np.ones((1, 1, 1, 1))), r"node 'Conv_t3' \(Conv\) reads .* expected an image"),
        (lambda g: g.add("Add", "t0"), r"node 'Add_t3' \(Add\) reads 't0' a second time.*residual"),
        (lambda g: g.quant(0.5, 9).add("MatMul", np.ones((3, 1))), r"Quant_t3' .* gives 512 values, expected 8 bits"),
        (lambda g: g.quant(0.5, 2.5), r"Quant_t3.*has \[2.5\] bits, expected whole numbers"),
        (lambda g: g.quant(0.0, 2), "Quant_t3.*has a scale of 0"),
        (lambda g: g.quant(0.5, 2, zero=0.5), "Quant_t3.*zero point that is no integer"),
        (lambda g: g.quant(0.5, 2, mode="ODD"), "Quant_t3.*rounds by 'ODD', expected one of ROUND"),
        (lambda g: g.quant(0.5, 4).add("MatMul", np.random.default_rng(0).normal(size=(3, 2))),
         r"the weights of node 'MatMul_t4' \(MatMul\) are .*expected weights of 1 to 8 bits"),
        (lambda g: g.quant(0.5, 4).add("MatMul", np.full((3, 2), np.inf)),
         r"the weights of node 'MatMul_t4' \(MatMul\) are no finite numbers, expected weights of 1 to 8 bits"),
        (lambda g: g.add("Dropout", 0.5, g.constant(True, bool)), "Dropout_t3.*is in training mode"),
        (lambda g: g.add("BatchNormalization", *[np.ones(3)] * 4, training_mode=1), "Batch.*_t3.*is in training mode"),
        (lambda g: g.add("ArgMax", axis=1, select_last_index=1), "ArgMax_t3.*takes the last of equal outputs"),
        (lambda g: g.add("Unsqueeze", g.constant(list(range(60)), np.int64)), "Unsqueeze_t3.*dimensions"),
        (lambda g: g.add("Unsqueeze", g.constant(list(range(9)), np.int64)), "Unsqueeze_t3.*makes 11 dimensions"),
        (lambda g: g.add("MultiThreshold", np.ones((1, 1)), domain=DOMAIN, out_scale=np.nan), "has out_scale nan"),
        (lambda g: g.add("Gemm", np.eye(3), alpha=np.nan), "Gemm_t3.*has alpha nan"),
        (lambda g: finished(times(g, *[1e38] * 9, 0.0)), r"'Quant_t13' .* reads: .* reach what is no number: they"),
        (lambda g: g.add("Div", np.array([1.0, 0.0, 1.0])), "Div_t3.*divides by 0"),
        (lambda g: g.add("Mul", np.array([1.0, np.nan, 1.0])), "Mul_t3.*is no number"),
        (lambda g: g.add("Mul", np.ones((5, 3))), r"Mul_t3.*constant of the shape \(5, 3\) for values of \(1, 3\)"),
        (lambda g: g.add("Softmax", axis=0), r"Softmax_t3.*works along axis 0 of \(1, 3\)"),
        (lambda g: g.add("Sigmoid").add("Mul", 2.0), "Mul_t4.*stands behind the sigmoid"),
        (lambda g: finished(g.add("Sigmoid")), r"Quant_t4.*goes on from node 'Sigmoid_t3' .*, and a hidden one is not"),
        (lambda g: g.add("Reshape", g.constant([7, 7], np.int64)), "Reshape_t3.*cannot be read .*a valid node"),
        (lambda g: g.add("Relu", domain="ai.evil"), "Relu_t3.*is of the unknown domain 'ai.evil'"),
        (lambda g: g.add("Trunc", 1.0, 0.0, 4.0, 8.0, domain=DOMAIN), r"Trunc_t3' \(Trunc\) makes 8 bits of 4"),
        (lambda g: g.add("Trunc", 1.0, 0.0, 8.0, 3.0, 4.0, domain=DOMAIN), "Trunc_t3.*its scale times a power of"),
        (lambda g: g.add("Trunc", 1.0, 0.0, 8.5, 4.0, domain=DOMAIN), "Trunc_t3.*bits that are not two whole numbers"),
        (lambda g: g.add("Trunc", 1.0, 0.0, domain=DOMAIN), "Trunc_t3.*has 3 inputs, expected 5, or 6"),
        (lambda g: g.add("Trunc", 0.125, 0.0, 4.0, 2.0, domain=DOMAIN).add("MatMul", np.ones((3, 1))),
         r"Trunc_t3' \(Trunc\), which node 'MatMul_t4' .* reads: a Trunc node is given values of more bits"),
        (lambda g: g.quant(1.0, 2).add("Add", np.array([0.3, 0.0, -1.0])).add("Relu").add("MatMul", np.ones((3, 2))),
         r"node 'Relu_t5' \(Relu\), which node 'MatMul_t6' \(MatMul\) reads: the levels .* not equally far apart"),
        (lambda g: g.add("QuantizeLinear", 1.0, g.constant(0, np.int8)).add("DequantizeLinear", np.ones(3), axis=0),
         r"DequantizeLinear_t4.*scale or zero point of the shape \(3,\) along the axis 0 of values of \(1, 3\)"),
        (lambda g: g.add("MatMul", dequantized(g, axis=0)), r"'w' \(Deq.*shape \(2,\) along the axis 0 of values"),
        (lambda g: g.add("MatMul", dequantized(g, axis=2)), r"'w' \(Deq.*along the axis 2 of values of \(3, 2\)"),
        (lambda g: g.add("MatMul", g.weights(np.ones((3, 2)), np.ones(3), 4)),
         r"computes with constants of the shapes \(3, 2\), \(3,\), \(\), \(\), expected such that fit"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)  # fmt: skip
def test_what_is_refused_names_the_node(tmp_path: Path, change: Any, message: str) -> None:
    graph = change(small())
    with pytest.raises(ConfigError, match=message):
        imported(graph, tmp_path)


def test_an_input_that_nobody_declares(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is float, and no quantizer stands before it.*--input uint8"):
        imported(small(reads_quant=False), tmp_path)
    assert imported(small(reads_quant=False), tmp_path, "int4").rule is None
    whole = Graph((1, 4), element=TensorProto.INT32).add("Cast", to=TensorProto.FLOAT).quant(0.5, 4)
    with pytest.raises(ConfigError, match=r"input is integers from -2147483648 to 2147483647, and nothing says which"):
        imported(whole.add("MatMul", np.ones((4, 2))), tmp_path)
    with pytest.raises(ConfigError, match=r"the input is 'int99', expected float or one of uint8"):
        imported(small(), tmp_path, "int99")


def test_constants_that_grow_are_not_made(tmp_path: Path) -> None:
    graph = Graph((1, 4))
    names = [graph.constant(np.ones(shape)) for shape in ((1 << 16, 1), (1, 1 << 16))]
    graph.nodes.append(helper.make_node("Add", names, ["huge"], name="grow"))
    with pytest.raises(ConfigError, match=r"node 'grow' \(Add\) makes 4,294,967,296 numbers"):
        imported(graph.add("Mul", 1.0), tmp_path)


@pytest.mark.parametrize(
    ("kind", "message"),
    [("Neg", "Neg.* makes 4,096 numbers, 20,480 with"), ("MatMul", "multiplies by 4,096 numbers, 20,480")],
)
def test_constants_that_are_read_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, message: str
) -> None:
    """A few bytes, of one constant: as many copies of it, or as many products by it."""
    monkeypatch.setattr("export.foreign.graph.MAX_CONSTANT", 1 << 14)
    graph = Graph((1, 64))
    big = graph.constant(np.zeros((64, 64)), np.int8)
    for i in range(5):
        read = [big] if kind == "Neg" else [graph.last, big]
        graph.nodes.append(helper.make_node(kind, read, [f"n{i}"], name=f"{kind}{i}"))
        graph.last = graph.last if kind == "Neg" else f"n{i}"
    with pytest.raises(ConfigError, match=message):
        imported(graph, tmp_path)


def test_a_file_that_would_take_hours_is_refused(tmp_path: Path) -> None:
    graph = small()
    for _ in range(600):
        graph.add("Identity")
    with pytest.raises(ConfigError, match=r"Identity\) is the 501th node on the way of the data, expected 500 at most"):
        imported(graph, tmp_path)


def test_a_threshold_that_is_one_off_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a network of one input per output, so that no other layer hides it."""
    graph = finished(small())
    model = load_onnx(graph.save(tmp_path / "m.onnx"))
    chain = read_graph(model)
    found = to_integers(chain, None)
    first = found.network.dense[0]
    assert first.thresholds is not None
    first.thresholds[0, 5] += 1
    broken = Imported(IntegerNetwork(found.network.input, found.network.dense), found.rule, found.head)
    with pytest.raises(MismatchError, match="the file's own execution in float64 and its integers differ on"):
        proof.prove(model, chain, broken, scale=1.0, samples=None)


def test_samples_and_labels(tmp_path: Path) -> None:
    path = finished(small()).add("Softmax", axis=-1).save(tmp_path / "m.onnx")
    x = np.random.default_rng(0).normal(size=(20, 4))
    (want,) = Execution(load_onnx(path), "t6", double=True)(x)
    save_npz(tmp_path / "s.npz", {"x": x, "y": want.argmax(axis=1)})
    summary = import_file(path, tmp_path / "e", Given(samples=tmp_path / "s.npz", labels=tmp_path / "s.npz"))
    assert summary["imported"]["labels"] == {"images": 20, "correct": 20}
    assert len(load_npz(tmp_path / "e" / "golden.npz")["pixels"]) == 120
    wrong: tuple[tuple[dict[str, NDArray[Any]], str], ...] = (
        ({"a": x}, "has no array 'x', expected one of the inputs"),
        ({"x": x}, "has no array 'y', expected one of labels"),
        ({"x": x[:, :3]}, r"an array of the shape \(20, 3\), expected \(N, 4\)"),
        ({"x": x.astype("U9")}, "holds <U9, expected numbers that float64 holds exactly"),
        ({"x": np.full((2, 4), np.nan)}, "no finite number"),
        ({"x": np.full((2, 4), 1e39)}, "no finite number of float32, first in input 0"),
        ({"x": x, "y": np.arange(3)}, r"labels int64\(3,\), expected 20 integers"),
    )
    for arrays, message in wrong:
        save_npz(tmp_path / "s.npz", arrays)
        with pytest.raises(DataError, match=message):
            import_file(path, tmp_path / "f", Given(samples=tmp_path / "s.npz", labels=tmp_path / "s.npz"))
    assert not (tmp_path / "f").exists()


@pytest.mark.parametrize("shape", [(1, 1, 4, 3), (1, 2, 3, 2)])
def test_samples_lie_as_the_file_reads_them(tmp_path: Path, few_probes: None, shape: tuple[int, ...]) -> None:
    """The kind of fault: an image on its side has as many values, and would be read as another one."""
    graph = Graph(shape).add("Flatten").quant(0.5, 4)
    path = graph.add("MatMul", graph.weights(np.linspace(-1, 1, 24).reshape(12, 2), 0.25, 4)).save(tmp_path / "m.onnx")
    x = np.random.default_rng(0).normal(size=(3, *shape[1:]))
    for number, right in enumerate((x, x.reshape(3, 12), x.squeeze(), x[:, None], x[..., None])):
        save_npz(tmp_path / "s.npz", {"x": right})
        import_file(path, tmp_path / f"e{number}", Given(samples=tmp_path / "s.npz"))
        read = load_npz(tmp_path / f"e{number}" / "golden.npz")["pixels"][:3]
        np.testing.assert_array_equal(read.reshape(3, -1), np.clip(np.round(x / 0.5), -8, 7).reshape(3, -1))
    expected = re.escape(f"expected (N, {', '.join(map(str, shape[1:]))}) or (N, 12).")
    for wrong in (x.T.reshape(3, 6, 2), np.swapaxes(x.squeeze(), 1, 2), x.reshape(3, 1, 2, 6), x.reshape(1, 36)):
        save_npz(tmp_path / "s.npz", {"x": wrong})
        with pytest.raises(DataError, match=re.escape(f"an array of the shape {wrong.shape}, ") + expected):
            import_file(path, tmp_path / "f", Given(samples=tmp_path / "s.npz"))


@pytest.mark.parametrize(
    ("front", "datatype", "low", "levels"),
    [
        (lambda g: g.add("Relu").quant(0.25, 4), "uint3", 0, 8),
        (lambda g: g.add("Clip", -1.0, 1.0).quant(0.0625, 8), "int6", -16, 33),
        (lambda g: g.add("Clip", 0.0, 1.0).quant(1 / 128, 8, signed=0), "uint8", 0, 129),
        (lambda g: g.add("Mul", np.array([[1.0, 0, 1, 2]])).quant(0.25, 4), "int4", -8, 16),
        (lambda g: g.add("Mul", np.zeros((1, 4))).add("Add", 1.0).quant(0.25, 4), None, None, 2),
        (lambda g: g.quant(1 / 16, 4).quant(1 / 4, 4), "int3", -2, 5),
        (lambda g: g.quant(0.25, 8).add("Trunc", 0.25, 0.0, 8.0, 4.0, domain=DOMAIN), "int4", -8, 16),
        (lambda g: g.add("Quant", 0.25, 0.0, np.array([[2.0, 3, 4, 4]]), domain=DOMAIN, signed=0), "uint4", 0, 16),
        (lambda g: g.add("Relu").quant(3e38, 4), None, None, 2),
    ],
    ids=["relu", "clip", "clip at 0", "pruned", "all pruned", "wider", "trunc", "bits", "huge"],
)
def test_levels_that_no_input_reaches(
    tmp_path: Path, few_probes: None, front: Any, datatype: str | None, low: int | None, levels: int
) -> None:
    """The kind of fault: a quantizer in front with levels that what stands before it cannot give, to some or to any."""
    graph = front(Graph((1, 4)))
    graph.add("MatMul", graph.weights([[1.0, -3], [2, 1], [-1, 3], [3, 2]], 0.25, 3))
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(200, 4)) * 3, [[3.4e38] * 4, [-3.4e38] * 4]]).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = imported(graph, tmp_path)
        assert found.rule is not None
        read = found.rule(x)
        assert found.rule.fits(found.rule.random(rng, (5, 4))) and np.isfinite(found.rule.random(rng, (5, 4))).all()
    assert len(found.rule.thresholds[0]) == levels - 1
    assert datatype in (None, found.network.input.datatype) and low in (None, found.rule.low)
    (want,) = Execution(load_onnx(tmp_path / "m.onnx"), graph.last, double=True)(x.astype(np.float64))
    np.testing.assert_array_equal(found.head.real(found.network.outputs(read.reshape(-1, 1, 4))[-1]), want)
    with pytest.raises(DataError, match="no finite number of float32, first in input 1"):
        found.rule(np.array([[0.0] * 4, [1e39] * 4]))


@pytest.mark.parametrize("kind", [np.int8, np.int32, np.int64])
def test_constants_of_integers_are_computed_as_integers(tmp_path: Path, few_probes: None, kind: type) -> None:
    """Rounded towards 0, wrapped around, and of the type they were: ONNX has no others."""
    graph = small()
    nodes = (("Div", [-7, 7, -1], 2), ("Mul", [100, -3, 0], 2), ("Pow", [2, -3, 1], 3), ("Div", [9, 4, -9], -4))
    for number, (operator, values, by) in enumerate(nodes):
        given = [graph.constant(values, kind), graph.constant(by, kind)]
        cast = helper.make_node("Cast", [f"i{number}"], [f"f{number}"], to=TensorProto.FLOAT)
        graph.nodes += [helper.make_node(operator, given, [f"i{number}"]), cast]
        graph.add("Add", f"f{number}")
    wrapped = -56.0 if kind is np.int8 else 200.0
    found = imported(graph, tmp_path)
    added = [float(np.sum(column)) for column in zip(*(p[0] for k, p in found.head.steps if k == "add"), strict=True)]
    assert added == [-3 + wrapped + 8 - 2, 3 - 6 - 27 - 1, 0 + 0 + 1 + 2]


def test_integers_that_a_file_computes_with_before_it_casts(tmp_path: Path) -> None:
    for operator, element, dtype in (("Div", TensorProto.INT32, np.int32), ("Sub", TensorProto.UINT8, np.uint8)):
        graph = Graph((1, 4), element=element)
        graph.add(operator, graph.constant(2, dtype)).add("Cast", to=TensorProto.FLOAT).quant(0.5, 4)
        with pytest.raises(
            ConfigError, match=rf"{operator}_t0.*computes with u?int\d+, which rounds towards 0 or wraps"
        ):
            imported(graph.add("MatMul", np.ones((4, 2))), tmp_path, "uint4")


def test_the_greatest_of_equal_outputs_is_the_files(tmp_path: Path) -> None:
    graph = Graph((1, 3)).quant(1.0, 2)
    graph.add("MatMul", graph.weights([[1.0, -1, 1, -1]] * 3, 1.0, 2)).add("ArgMax", axis=1, keepdims=0)
    found = imported(graph, tmp_path)
    x = np.array([[1.0, 0, 0], [-1, -1, 0], [0, 0, 0]])
    assert found.rule is not None
    np.testing.assert_array_equal(found.head.classes(found.network.outputs(found.rule(x)[:, None])[-1]), [0, 1, 0])


def test_integer_rows_are_exact() -> None:
    rng = np.random.default_rng(0)
    integers = rng.integers(-127, 128, (50, 9))
    integers[3] = 0
    scales = rng.uniform(1e-9, 1e9, (50, 1)).astype(np.float32).astype(np.float64)
    found = integer_rows(integers * scales)
    assert found is not None
    np.testing.assert_array_equal(found[0] * found[1], integers * scales)
    assert np.abs(found[0]).max() <= 127
    assert integer_rows(np.array([[1.0, np.inf]])) is None and integer_rows(np.array([[1.0, 1e-300]])) is None


def halves(divisor: float) -> Graph:
    """Two inputs of 8 bits over a divisor, whose sums lie on ties of a quantizer."""
    graph = Graph((1, 2)).add("Div", divisor)
    graph.add("MatMul", graph.weights(np.array([[-5], [-1]]) / 4, 0.25, 4)).quant(0.5, 6)
    return graph.add("MatMul", graph.weights(np.array([[0.5]]), 0.5, 4))


def test_sums_that_float64_rounds_term_by_term_may_lie_on_no_tie(tmp_path: Path) -> None:
    """The kind of fault: equal accumulators to which the file gives two levels, which few inputs show."""
    with pytest.raises(ConfigError, match=r"MatMul.* gives sums that lie on a rounding tie .* on output 0 .*1 / 255"):
        imported(halves(255.0), tmp_path, "uint8")
    with pytest.raises(ConfigError, match="rounding tie"):
        imported(halves(1.0), tmp_path, "uint8", 1 / 255)
    imported(halves(256.0), tmp_path, "uint8")  # exact, ties or not
    imported(halves(254.0 / np.pi), tmp_path, "uint8")  # not exact, and no ties


def test_damage_anywhere_is_one_sentence_or_proven(tmp_path: Path) -> None:
    content, rng = finished(small()).model().SerializeToString(), np.random.default_rng(0)
    path = tmp_path / "m.onnx"
    for i in range(80):
        damaged = bytearray(content)
        for at in rng.integers(0, len(content), rng.integers(1, 4)):
            damaged[at] = rng.integers(0, 256)
        path.write_bytes(damaged)
        try:
            import_file(path, tmp_path / f"e{i}")
        except CxrflowError as err:
            assert "\n" not in str(err) and len(str(err)) < 1000
    assert issubclass(ArtifactError, CxrflowError)


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("tfc_1w1a", "qonnx"), ("tfc_1w2a", "dynamo"), ("tfc_2w2a", "qcdq"), ("sfc_2w2a", "qonnx"),
        pytest.param("lfc_1w1a", "qonnx", marks=pytest.mark.slow),
        pytest.param("cnv_1w1a", "qonnx", marks=pytest.mark.slow),
        pytest.param("cnv_2w2a", "qonnx", marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_bnn_pynq(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, way: str) -> None:
    """The networks of Brevitas' own examples, with random weights and statistics, by each of its exporters."""
    monkeypatch.setattr(proof, "WINDOW_PROBES", 32)
    with proven_on_few() if name == "lfc_1w1a" else nullcontext():  # of 23 MB of weights, read for each input
        import_file(export_bnn_pynq(tmp_path / "m.onnx", name, way), tmp_path / "export")


@pytest.mark.parametrize(("weight_bits", "act_bits"), [(4, 3), (1, 1), (8, 2)])
def test_our_own_files_give_our_own_integers(tmp_path: Path, weight_bits: int, act_bits: int) -> None:
    export_random(tmp_path / "own", small_spec(weight_bits, act_bits))
    import_file(tmp_path / "own" / "model.onnx", tmp_path / "again")
    own, again = (load_network(tmp_path / name / "reference.npz") for name in ("own", "again"))
    pixels = random_pixels(200)
    head = read_record(tmp_path / "again" / "export.json", Exported).head
    assert head is not None
    got = head.real(again.outputs(pixels.reshape(-1, *again.input.shape))[-1])
    np.testing.assert_array_equal(got, own.outputs(pixels)[-1])
