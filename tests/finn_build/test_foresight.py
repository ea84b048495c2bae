"""What can't be built is refused before a training, with the nearest that can; what can be built never is.

Networks are trained here by chance: the largest weight of a layer has all its bits, as Brevitas scales weights, the
rest is random. Tight budgets make every case occur.
"""

import contextlib
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from contract.errors import ConfigError
from contract.network import Dense, Input, IntegerNetwork
from export.requantization import requantized
from finn_build import ops, steps
from finn_build.config import BuildConfig
from finn_build.folding import smallest, solve
from finn_build.foresight import Shape, foresee
from finn_build.hardware_graph import hardware_graph
from finn_build.targets.boards import BOARDS

WIDTHS = st.sampled_from([1, 2, 3, 4, 8])


def trained(network: list[Shape], *, height: int, width: int, seed: int, dense: float) -> IntegerNetwork:
    """Return a network of these layers; `dense` is how far its weights use their width."""
    rng = np.random.default_rng(seed)
    layers: list[Dense] = []
    for shape in network:
        largest = max(1, 2 ** (shape.weight_bits - 1) - 1)
        size = (shape.outputs, shape.inputs)
        if shape.weight_bits == 1:
            weights = rng.choice([-1, 1], size, p=[dense / 2, 1 - dense / 2])
        else:
            weights = np.rint(rng.uniform(-1, 1, size) * largest * dense).astype(int)
            weights.flat[rng.integers(weights.size)] = rng.choice([-largest, largest])
        layer = Dense(weights.astype(np.int8), None)
        if shape.act_bits is not None:
            low, high = (0, 255) if not layers else layers[-1].output_range()
            least, greatest = (v[:, None] for v in layer.accumulator_range(low, high))
            levels = rng.integers(least, greatest + 2, (shape.outputs, 2**shape.act_bits - 1))
            layer = replace(layer, thresholds=np.sort(levels, axis=1), bipolar=shape.act_bits == 1)
        layers.append(layer)
    return requantized(IntegerNetwork(Input(height, width), tuple(layers)))


@st.composite
def shapes(draw: st.DrawFn) -> list[Shape]:
    """One to three hidden layers behind 8 x 9 pixels."""
    sizes = [72, *draw(st.lists(st.sampled_from([1, 2, 3, 7, 8, 13, 24]), min_size=1, max_size=3)), 1]
    last = len(sizes) - 2
    return [
        Shape(sizes[i], sizes[i + 1], draw(WIDTHS), None if i == last else draw(WIDTHS)) for i in range(len(sizes) - 1)
    ]


FACTORS = st.sampled_from([0.8, 0.95, 1.0, 1.02, 1.1, 1.3])


@settings(max_examples=60, deadline=None)
@given(
    shapes(),
    st.integers(0, 10**6),
    st.sampled_from([0.0, 0.3, 1.0]),
    st.sampled_from([20_000, 200_000, 1_000_000]),
    st.tuples(FACTORS, FACTORS, FACTORS),
)
def test_it_foresees_what_happens(
    network: list[Shape], seed: int, dense: float, rate: int, factors: tuple[float, float, float]
) -> None:
    """The budget is about what the smallest design of the trained network takes."""
    ops.register()
    graph = hardware_graph(trained(network, height=8, width=9, seed=seed, dense=dense))
    config = BuildConfig(target_fps=rate)
    board, cycles = BOARDS[config.board], config.cycles
    assert cycles is not None
    least = smallest(steps.folding_problem(graph, config.filled), cycles)
    if least is None:
        return
    shares = {
        name: min(1.0, max(1, round(used * factor)) / getattr(board, name))
        for name, used, factor in zip(
            ("lut", "bram18", "dsp"), (least.used.lut, least.used.bram18, least.used.dsp), factors, strict=True
        )
    }
    tight = BuildConfig.model_validate({"target_fps": rate, "budget": shares})
    builds = smallest(steps.folding_problem(graph, tight.filled), cycles) is not None
    try:
        sure, possible = not foresee(network, tight), True
    except ConfigError as err:
        sure = possible = False
        assert "The nearest" in str(err) or "Not even one neuron" in str(err)
    assert builds or not sure
    assert possible or not builds


def shape_list(hidden: list[int], weight_bits: int, act_bits: int, *, inputs: int = 784) -> list[Shape]:
    sizes = [inputs, *hidden, 1]
    acts = [*[act_bits] * len(hidden), None]
    return [Shape(sizes[i], sizes[i + 1], weight_bits, acts[i]) for i in range(len(acts))]


def refusal(network: list[Shape], config: BuildConfig) -> str:
    with pytest.raises(ConfigError) as caught:
        foresee(network, config)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")
    return str(caught.value)


@pytest.mark.parametrize(("rate", "reason"), [(10_000_000, "the DMA of pynq-z2"), (600_000, "no folding gives 166")])
def test_a_rate_that_is_too_high_is_refused_with_the_highest(rate: int, reason: str) -> None:
    network = shape_list([64, 64], 8, 8)
    message = refusal(network, BuildConfig(target_fps=rate, budget={"lut": 0.3}))
    assert message.startswith("this network cannot be built: ") and reason in message
    nearest = int(message.split("'build.target_fps': ")[1].rstrip("."))
    assert 1 < nearest < rate
    assert foresee(network, BuildConfig(target_fps=nearest, budget={"lut": 0.3})) == []


@pytest.mark.parametrize("hidden", [[512, 512], [4096, 4096], [2520, 840, 210]])
def test_sizes_that_never_fit_are_refused_with_the_largest_that_do(hidden: list[int]) -> None:
    message = refusal(shape_list(hidden, 8, 8), BuildConfig(target_fps=10_000))
    sizes = json.loads(message.split("'network.hidden': ")[1].rstrip("."))
    assert len(sizes) == len(hidden) and all(0 < new < old for new, old in zip(sizes, hidden, strict=True))
    assert foresee(shape_list(sizes, 8, 8), BuildConfig(target_fps=10_000)) == []


def test_an_image_that_is_too_large_for_any_layer_is_refused_with_what_helps() -> None:
    network = shape_list([4], 8, 8, inputs=128 * 128)
    message = refusal(network, BuildConfig(target_fps=1, budget={"lut": 0.002, "bram18": 0.001}))
    assert message.endswith("Not even one neuron in every hidden layer is sure to fit. Use a larger 'build.budget'.")


EXTREME = st.sampled_from([1, 2, 7, 64, 97, 1021, 4096])
SHARES = st.sampled_from([0.0005, 0.003, 0.02, 0.2, 1.0])


@settings(max_examples=20, deadline=None)
@given(
    st.lists(EXTREME, min_size=1, max_size=4),
    st.data(),
    st.sampled_from([64, 121, 784, 128 * 128]),
    st.sampled_from([1, 1000, 10**6, 10**9, "max"]),
    st.sampled_from([2.5, 10, 1000]),
    st.one_of(st.just({}), st.fixed_dictionaries({"lut": SHARES, "bram18": SHARES, "dsp": SHARES})),
)
@example([4096, 1], None, 128 * 128, 1, 10, {})  # one part in 32 does not fit, one in 170 does
@example([4096, 4096], None, 128 * 128, 10**9, 10, {})  # no sizes fit at this rate
def test_the_nearest_is_sure_and_without_one_nothing_is(
    hidden: list[int], data: st.DataObject | None, inputs: int, rate: int | str, clk_ns: float, shares: dict[str, float]
) -> None:
    """The kind: a refusal that leads nowhere. One neuron a layer, at one image/s, is the smallest that can be asked."""
    sizes = [inputs, *hidden, 1]
    bits = st.lists(WIDTHS, min_size=len(sizes), max_size=len(sizes))
    weights, acts = (data.draw(bits), data.draw(bits)) if data else ([8] * len(sizes), [8] * len(sizes))

    def network(hidden: list[int]) -> list[Shape]:
        sizes = [inputs, *hidden, 1]
        return [
            Shape(sizes[i], sizes[i + 1], weights[i], acts[i] if i < len(hidden) else None)
            for i in range(len(hidden) + 1)
        ]

    def config(rate: int | str) -> BuildConfig:
        return BuildConfig.model_validate({"target_fps": rate, "clk_ns": clk_ns, "budget": shares})

    try:
        foresee(network(hidden), config(rate))
    except ConfigError as err:
        message = str(err)
    else:
        return
    found = re.search(r"'network.hidden': (\[.*?\])", message)
    lower = re.search(r"'build.target_fps': (\d+)", message)
    if found or lower:
        nearest = json.loads(found[1]) if found else hidden
        assert foresee(network(nearest), config(int(lower[1]) if lower else rate)) == []
        return
    assert message.count("Not even one neuron") == 1
    with contextlib.suppress(ConfigError):
        assert foresee(network([1] * len(hidden)), config(1)) != []


def test_widths_that_only_training_decides_are_a_warning() -> None:
    network = shape_list([64, 64], 8, 8)
    config = BuildConfig(target_fps=100_000)
    assert foresee(network, config) == []
    ops.register()
    sparse = hardware_graph(trained(network, height=28, width=28, seed=0, dense=0.0))
    used = solve(steps.folding_problem(sparse, config.filled), config).used
    board = config.filled
    budget = {"lut": (used.lut + 1) / board.lut, "bram18": (used.bram18 + 1) / board.bram18, "dsp": 0.01}
    tight = BuildConfig.model_validate({"target_fps": 100_000, "budget": budget})
    assert smallest(steps.folding_problem(sparse, tight.filled), tight.cycles or 0) is not None
    (warning,) = foresee(network, tight)
    assert warning.startswith("the build may fail, which only the trained weights decide: no folding ")


def test_factors_of_a_known_width_are_counted_on_and_thresholds_only_without_them() -> None:
    """8-bit activations of 512 channels do not fit as thresholds; how wide factors will be is a choice."""
    network, config = shape_list([512, 128], 8, 8), BuildConfig(target_fps=20_000)
    (warning,) = foresee(network, config)
    assert warning.startswith("the build may fail")
    narrow = [replace(shape, factor_bits=8) for shape in network]
    assert foresee(narrow, config) == []
    assert foresee(narrow, config.model_copy(update={"activation": "thresholds"})) != []


def test_a_folding_file_of_another_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "folding.json"
    path.write_text(json.dumps({"MVAU_rtl_0": {"PE": 3, "SIMD": 7}, "Thresholding_rtl_0": {"PE": 2}}), encoding="utf-8")
    config = BuildConfig(folding=path)
    assert foresee(shape_list([12, 6], 4, 4), config) == []
    assert "has PE 3, but it must divide MH = 16" in refusal(shape_list([16, 6], 4, 4), config)
    assert "names MVAU_rtl_0, which is no layer" in refusal(shape_list([12, 6], 1, 4), config)


@pytest.mark.parametrize(("digit", "legal"), [(-1, False), (0, True), (7, True), (65, False), (True, False)])
def test_what_depends_on_the_training_is_bounded_before(digit: object, legal: bool, tmp_path: Path) -> None:
    path = tmp_path / "folding.json"
    path.write_text(json.dumps({"Thresholding_rtl_0": {"unit": "lut", "DIGIT": digit}}), encoding="utf-8")
    network, config = shape_list([12, 6], 4, 4), BuildConfig(folding=path)
    assert foresee(network, config) == [] if legal else "legal are 0 to 64." in refusal(network, config)


def test_ternary_weights_that_may_all_be_binary_take_either_folding_file(tmp_path: Path) -> None:
    network = shape_list([1, 1], 2, 4, inputs=64)
    path = tmp_path / "folding.json"
    for first_of_two in ("MVAU_rtl_1", "LutMVAU_rtl_1"):
        path.write_text(json.dumps({first_of_two: {"PE": 1, "SIMD": 1}}), encoding="utf-8")
        assert foresee(network, BuildConfig(folding=path)) == []
