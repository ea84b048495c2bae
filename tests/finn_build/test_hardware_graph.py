"""Any integer network, whoever made it, becomes the hardware that computes it.

Of every kind that reference.npz can hold: layers of size 1 and of primes, 1 bit next to 8, weights that are all 0 or
all of one sign, any number of levels, thresholds that all or no sums reach, sums beyond what float32 counts.
"""

import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from contract.golden import Golden
from contract.network import Dense, Input, IntegerNetwork
from contract.values import VALUES
from export.requantization import requantized
from finn_build import ops, steps
from finn_build.build import build_network
from finn_build.config import BuildConfig
from finn_build.gates import simulate_gates
from finn_build.graph import execute, hardware_tensors
from finn_build.hardware_graph import hardware_graph
from finn_build.ops.thresholding import stage_words
from finn_build.stitch import load_design
from finn_build.verify import simulate_network

SIZES = st.sampled_from([1, 2, 3, 5, 7, 8, 13, 16, 31, 64])
Weights = str | tuple[int, int]  # "binary", or the least and the greatest
RANGES: st.SearchStrategy[Weights] = st.sampled_from(
    ["binary", (-1, 1), (0, 3), (-4, 0), (0, 0), (-8, 7), (-31, 31), (-127, 127), (-128, 127)]
)
LEVELS = st.sampled_from([0, 1, 2, 3, 5, 7, 15, 100, 255])  # 0: bipolar


@pytest.fixture(scope="module", autouse=True)
def registered() -> None:
    ops.register()


def make(
    layers: list[tuple[int, Weights, int]],
    head: Weights,
    source: Input,
    *,
    outputs: int,
    seed: int,
    fitted: bool = True,
) -> tuple[IntegerNetwork, Golden]:
    """Return a network and golden images. A layer is its size, its weights and its levels.

    `fitted` is what a file must be: no threshold beyond the first that no sum reaches.
    """
    rng, values = np.random.default_rng(seed), source.values
    pixels = values.random(rng, (12, *source.shape))
    pixels[0], pixels[1] = values.low, values.high  # type: ignore[call-overload]
    made: list[Dense] = []
    x = pixels.reshape(len(pixels), -1).astype(np.int64)
    for size, weights, levels in [*layers, (outputs, head, -1)]:
        shape = (size, x.shape[1])
        w = rng.choice([-1, 1], shape) if isinstance(weights, str) else rng.integers(*weights, shape, endpoint=True)
        layer = Dense(w.astype(np.int8), None)
        low, high = (values.low, values.high) if not made else made[-1].output_range()
        if levels >= 0:
            least, greatest = (v[:, None] for v in layer.accumulator_range(low, high))
            sums = x @ w.T
            near = np.rint(rng.normal(sums.mean(axis=0)[:, None], 2 * sums.std() + 1, (size, max(levels, 1))))
            near[rng.random(near.shape) < 0.05] = -(10**9)  # reached by every sum, and by none
            near[rng.random(near.shape) < 0.05] = 10**9
            if seed % 3 == 0:  # the same for all channels, as far as each can reach them
                near[:] = near[0]
            thresholds = np.sort(near.astype(np.int64), axis=1)
            thresholds = thresholds.clip(least, greatest + 1) if fitted else thresholds
            layer = Dense(layer.weights, thresholds, bipolar=levels == 0)
        made.append(layer)
        x = IntegerNetwork(source, tuple(made)).outputs(pixels)[-1]
    network = IntegerNetwork(source, tuple(made))
    return requantized(network), Golden(pixels, network.outputs(pixels)[-1])


@st.composite
def networks(draw: st.DrawFn, most: int = 5, *, fitted: bool = True) -> tuple[IntegerNetwork, Golden]:
    layers = draw(st.lists(st.tuples(SIZES, RANGES, LEVELS), max_size=most))
    height, width = draw(st.sampled_from([(1, 1), (3, 5), (8, 8), (9, 7), (1, 13)]))
    source = Input(height, width, draw(st.integers(1, 2)), draw(st.sampled_from(["uint8", *VALUES])))
    seed, outputs = draw(st.integers(0, 10**6)), draw(st.integers(1, 12))
    return make(layers, draw(RANGES), source, outputs=outputs, seed=seed, fitted=fitted)


def require_same(model: ModelWrapper, network: IntegerNetwork, golden: Golden) -> None:
    """Every layer's output is the network's, and every number fits the width that the hardware has for it."""
    tensors = hardware_tensors(model, golden.pixels)
    outputs = iter(network.outputs(golden.pixels))
    for node in model.graph.node:
        values, inst = tensors[node.output[0]], getCustomOp(node)
        kind = inst.get_output_datatype()
        assert kind == model.get_tensor_datatype(node.output[0])
        assert kind.min() <= values.min() and values.max() <= kind.max()
        reader = model.find_consumer(node.output[0])
        assert reader is None or getCustomOp(reader).get_input_datatype(0) == kind
        if reader is None or not reader.op_type.startswith(("Thresholding", "Requantizer")):
            np.testing.assert_array_equal(values, next(outputs))
        for constant, name in enumerate(node.input[1:]):
            values, kind = model.get_initializer(name), model.get_tensor_datatype(name)
            assert all(kind.allowed(v) for v in (values.min(), values.max()))
            assert constant or inst.get_input_datatype(1) == kind
    assert next(outputs, None) is None


@settings(max_examples=40, deadline=None)
@given(networks(fitted=False), st.sampled_from([1, 10_000, 1_000_000]))
def test_every_layer_of_any_network_is_the_networks(made: tuple[IntegerNetwork, Golden], rate: int) -> None:
    network, golden = made
    model = hardware_graph(network)
    require_same(model, network, golden)
    plenty = BuildConfig(target_fps=rate, board="zcu104")
    require_same(steps.fold(model, plenty), network, golden)


def compared(node: Any, model: ModelWrapper, values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Search as thresholding.sv does for values, (n, channels), in what the memory files of a node hold."""
    inst = getCustomOp(node)
    pe, bits = inst.get_nodeattr("PE"), inst.get_input_datatype(1).bitwidth()
    rows = model.get_initializer(node.input[1])
    words = stage_words(rows, pe=pe, bits=bits)
    signed = inst.get_input_datatype(0).signed()
    if bits < inst.get_input_datatype(0).bitwidth():  # then thresholding_axi.sv saturates what it compares
        ends = DataType[f"{'' if signed else 'U'}INT{bits}"]
        values = values.clip(int(ends.min()), int(ends.max()))
    counts = np.zeros_like(values)
    stages = max(stage for _, stage in words) + 1
    for i, row in enumerate(values):
        for channel, value in enumerate(row.tolist()):
            place = 0
            for stage in range(stages):
                own = channel // pe if len(rows) > 1 else 0
                word = int(words[channel % pe, stage][(own << stage) + place], 16)
                threshold = word - 2**bits if signed and word >> (bits - 1) else word
                place = 2 * place + (threshold <= value)
            counts[i, channel] = place
    return counts


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.sampled_from([2, 3, 4, 6]), RANGES, st.sampled_from([1, 2, 3, 5, 15])),
    st.sampled_from([(3, 5), (128, 128)]),
    st.integers(0, 10**6),
)
def test_memory_files_hold_the_thresholds(layer: tuple[int, Weights, int], size: tuple[int, int], seed: int) -> None:
    network, golden = make([layer], (-3, 3), Input(*size), outputs=1, seed=seed)
    model = hardware_graph(network)
    (node,) = model.get_nodes_by_op_type("Thresholding_rtl") or [None]
    if node is None:  # binary weights, and a sign
        return
    getCustomOp(node).set_nodeattr("PE", 2 if layer[0] % 2 == 0 else 1)
    first = network.dense[0]
    assert first.thresholds is not None
    sums = golden.pixels.reshape(len(golden.pixels), -1).astype(np.int64) @ first.weights.T.astype(np.int64)
    ends = np.stack([v for end in first.accumulator_range(0, 255) for v in (end, end)])
    edges = np.stack([first.thresholds[:, 0], first.thresholds[:, 0] - 1, first.thresholds[:, -1]])
    values = np.concatenate([sums, ends, edges]).clip(*(v[None] for v in first.accumulator_range(0, 255)))
    want = (values[:, :, None] >= first.thresholds).sum(axis=2)
    np.testing.assert_array_equal(compared(node, model, values), want)


@pytest.mark.parametrize("lowest", [-257, -256, -255, -128, -1, 0, 128])
def test_a_sum_below_all_thresholds_stays_below(lowest: int) -> None:
    """Where the thresholds need fewer bits than the sums, -1000 is compared as the least number of those bits."""
    weights = np.array([[-100, 100]] * 2, dtype=np.int8)
    first = Dense(weights, np.array([[lowest, lowest, 200]] * 2))
    network = IntegerNetwork(Input(1, 2), (first, Dense(np.ones((1, 2), dtype=np.int8), None)))
    model = hardware_graph(network)
    (node,) = model.get_nodes_by_op_type("Thresholding_rtl")
    values = np.array([[-25_500, 0], [-1000, 0], [lowest - 1, lowest - 1], [lowest, lowest], [0, 25_500]])
    want = (values[:, :, None] >= first.thresholds).sum(axis=2)
    np.testing.assert_array_equal(compared(node, model, values), want)


def alike(count: int, *, inputs: int = 15, levels: int = 15, most: int = 255, odd: bool = False) -> Dense:
    """`count` channels of very different reach, from inputs of 0..most, that have the same thresholds; one of `odd` has
    another one.
    """
    signs = np.where(np.arange(inputs) % 4, 1, -1)
    weights = np.outer(np.arange(1, count + 1) * [(-1) ** c for c in range(count)], signs).astype(np.int8)
    layer = Dense(weights, None)
    least, greatest = (v[:, None] for v in layer.accumulator_range(0, most))
    row = (np.arange(levels) - levels // 2) * (greatest.max() // levels)
    thresholds = np.repeat(row[None], count, axis=0).clip(least, greatest + 1)
    if odd:
        thresholds[-1, levels // 2] += 1
    return Dense(weights, thresholds)


def stored(layer: Dense) -> tuple[int, int]:
    """Rows of thresholds, and factors, of the node of such a layer."""
    model = hardware_graph(network_of(layer))
    (node,) = model.get_nodes_by_op_type("Thresholding_rtl")
    return len(model.get_initializer(node.input[1])), len(getCustomOp(node).get_nodeattr("factors"))


def network_of(layer: Dense) -> IntegerNetwork:
    head = Dense(np.ones((1, len(layer.weights)), dtype=np.int8), None)
    return requantized(IntegerNetwork(Input(3, 5), (layer, head)))


def test_what_is_alike_in_all_channels_is_stored_once() -> None:
    assert stored(alike(6)) == (1, 1)
    assert stored(alike(6, odd=True)) == (6, 0)  # no line gives that one
    both = alike(2)
    assert both.thresholds is not None and (both.thresholds[0] != both.thresholds[1]).any()  # each as far as it reaches


def test_all_sums_of_one_channel_may_lie_between_two_thresholds_of_another() -> None:
    """A channel that always or never reaches a level takes any row that keeps it so, and no other."""
    weights = np.array([[1] * 15, [0] * 15], dtype=np.int8)
    # The second channel's sums are all 0, and reach a threshold of 0 and none of 1.
    for rows, wanted in (([[5, 9], [1, 1]], 1), ([[0, 9], [0, 1]], 1), ([[5, 9], [0, 1]], 2)):
        thresholds = np.array(rows)
        layer = Dense(weights, thresholds)
        model = hardware_graph(network_of(layer))
        (node,) = model.get_nodes_by_op_type("Thresholding_rtl")
        assert len(model.get_initializer(node.input[1])) == wanted


@pytest.mark.slow
def test_the_rtl_and_the_gates_of_channels_that_are_alike(tmp_path: Path) -> None:
    """A layer of each unit; several lanes and several passes."""
    hidden = [alike(6, levels=31), alike(4, inputs=6, levels=31, most=31), alike(4, inputs=4, levels=31, most=31)]
    network = IntegerNetwork(Input(3, 5), (*hidden, Dense(np.array([[3, -2, 1, 1]], dtype=np.int8), None)))
    pixels = np.random.default_rng(0).integers(0, 256, (12, 3, 5)).astype(np.uint8)
    golden = Golden(pixels, network.outputs(pixels)[-1])
    network = requantized(network)
    chosen = zip(("thresholds", "lut", "dsp"), (3, 1, 2), strict=True)
    wanted = {f"Thresholding_rtl_{i}": {"unit": unit, "PE": pe} for i, (unit, pe) in enumerate(chosen)}
    (tmp_path / "folding.json").write_text(json.dumps(wanted), encoding="utf-8")
    build, rtl = tmp_path / "build", tmp_path / "build" / "rtl"
    build_network(network, golden, build, BuildConfig(folding=tmp_path / "folding.json"), lambda _: None)
    # The last stage of a lane; a word for all passes.
    names = ("Thresholding_rtl_0_threshs_2_4", "Requantizer_rtl_1_addends", "Requantizer_rtl_2_addends")
    lines = [len((rtl / f"{name}.dat").read_text(encoding="ascii").split()) for name in names]
    assert lines == [16, 1, 1]
    sim = simulate_network(build, network, golden, tmp_path / "sim", lambda _: None)
    assert (sim["images"], sim["differing"], sim["images_with_random_stalls"]) == (12, 0, 12)
    design = load_design(rtl)
    _, gates = simulate_gates(rtl, design, pixels[:4], family="xc7", scratch=tmp_path / "gates", stall_seed=1)
    np.testing.assert_array_equal(gates.outputs, golden.outputs[:4])


@pytest.mark.parametrize("activation", ["thresholds", "requantize"])
def test_channels_that_are_alike_cost_no_memory(activation: str) -> None:
    """Memory is that of a single channel for each lane, in the formulas as in the files."""
    costs = []
    for layer in (alike(2, levels=255), alike(64, levels=255)):
        config = BuildConfig(target_fps=100_000, activation=activation)  # type: ignore[arg-type]
        model = hardware_graph(network_of(layer))
        problem = steps.folding_problem(model, config.filled, config.activation)
        found = problem.layers[1]
        assert found.one_row and found.one_factor
        op = ops.layer_op(found)
        folding = next(f for f in op.foldings(found) if f.pe == 1)
        costs.append(op.cost(dataclasses.replace(found, in_bits=20), folding, "xc7").bram18)
    assert costs[0] == costs[1]


def test_thresholds_beyond_float32_are_exact() -> None:
    """784 * 255 * 127 is more than 2**24, where float32 knows even numbers only."""
    weights = np.full((1, 784), 127, dtype=np.int8)
    odd = np.array([[2**24 + 1, 2**24 + 3, 25_000_001]])
    network = IntegerNetwork(Input(28, 28), (Dense(weights, odd), Dense(np.ones((1, 1), dtype=np.int8), None)))
    model = hardware_graph(network)
    (node,) = model.get_nodes_by_op_type("Thresholding_rtl")
    np.testing.assert_array_equal(model.get_initializer(node.input[1]), odd)
    words = stage_words(odd, pe=1, bits=25)
    assert words == {(0, 0): ["1000003"], (0, 1): ["1000001", f"{25_000_001:07x}"]}
    pixels = np.full((2, 28, 28), 255, dtype=np.uint8)
    pixels[1].flat[: (28 * 28 * 255 * 127 - 2**24) // 127 // 255 + 1] = 0
    golden = network.outputs(pixels)[-1]
    assert execute(model, pixels).tolist() == golden.tolist() == [[3], [0]]


@settings(max_examples=6, deadline=None)
@given(networks(most=3), st.sampled_from([1000, 100_000]))
def test_any_network_is_built(made: tuple[IntegerNetwork, Golden], rate: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "build"
        summary = build_network(*made, out, BuildConfig(target_fps=rate), lambda _: None)
        assert [row["stage"] for row in summary["chain"]] == ["hardware_graph", "fold", "insert_fifos", "hw_codegen"]
        assert (out / "rtl" / "accelerator.v").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layers", "source", "outputs", "rate"),
    [
        ([(1, "binary", 0), (13, (-128, 127), 255), (1, (-1, 1), 7), (7, "binary", 15)], Input(9, 7), 1, 200_000),
        (
            [(8, (0, 3), 100), (2, "binary", 1), (5, (-4, 0), 2), (3, (0, 0), 5), (4, (0, 3), 0)],
            Input(8, 8),
            3,
            1_000_000,
        ),
        ([(6, (-127, 127), 255), (3, (-127, 127), 15)], Input(128, 128), 1, 5_000),
        ([(8, "binary", 0), (6, (-3, 3), 3)], Input(4, 8, 2, "bipolar"), 10, 1_000_000),
        ([(8, (-127, 127), 15)], Input(5, 3, 3, "int4"), 12, 2_000_000),
    ],
    ids=["size 1, primes, 1 bit next to 8", "any levels, one sign, zeros", "sums beyond 2**24", "bipolar", "int4"],
)
def test_the_rtl_of_any_network_gives_its_integers(
    layers: list[tuple[int, Weights, int]], source: Input, outputs: int, rate: int, tmp_path: Path
) -> None:
    network, golden = make(layers, (-127, 127), source, outputs=outputs, seed=1)
    build_network(network, golden, tmp_path / "build", BuildConfig(target_fps=rate), lambda _: None)
    sim = simulate_network(tmp_path / "build", network, golden, tmp_path / "sim", lambda _: None)
    assert (sim["images"], sim["differing"]) == (12, 0)
    assert sim["initiation_interval"] == sim["estimated_interval"]
