"""Activations that multiply, add and shift: which layers get them, and that nothing but the hardware changes.

The kind of fault: two ways to build one function that differ in a corner, or a choice between them that a folding file,
a wish or a layer without exact integers gets wrong.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from contract.errors import ConfigError
from contract.golden import Golden
from contract.network import Dense, Input, IntegerNetwork
from export.requantization import requantized
from finn_build.build import build_network
from finn_build.config import BuildConfig
from finn_build.folding_file import read_folding
from finn_build.gates import simulate_gates
from finn_build.hardware_graph import hardware_graph
from finn_build.ops import register
from finn_build.stitch import load_design
from finn_build.verify import simulate_network
from tests.integer_networks import random_pixels

Folding = dict[str, dict[str, object]]


def uniform(bits: tuple[int, ...], *, exact: bool = True) -> tuple[IntegerNetwork, Golden]:
    """Layers of 8 channels whose thresholds are a line's, rounded; some channels always or never reach some.

    Without `exact`, the middle threshold of every layer is where no line would have it.
    """
    rng, layers, low, high = np.random.default_rng(1), [], 0, 255
    pixels = random_pixels(12)
    x = pixels.reshape(12, -1).astype(np.int64)
    for width in bits:
        levels = 2**width - 1
        weights = rng.integers(-127, 128, (8, x.shape[1]))
        sums = x @ weights.T
        gain = levels / (4 * sums.std() + 1) * rng.uniform(0.5, 2, 8)
        offset = rng.uniform(0, levels, 8) - gain * sums.mean(axis=0)
        line = (np.arange(1, levels + 1) - 0.5 - offset[:, None]) / gain[:, None]
        thresholds = np.ceil(line).astype(np.int64)
        layer = Dense(weights.astype(np.int8), None)
        least, greatest = (v[:, None] for v in layer.accumulator_range(low, high))
        if not exact:
            thresholds[:, levels // 2 :] += int(np.ptp(thresholds))
        layers.append(Dense(layer.weights, thresholds.clip(least, greatest + 1)))
        x = layers[-1](x)
        low, high = layers[-1].output_range()
    layers.append(Dense(rng.integers(-127, 128, (1, 8)).astype(np.int8), None))
    network = IntegerNetwork(Input(8, 8), tuple(layers))
    return requantized(network), Golden(pixels, network.outputs(pixels)[-1])


def made(out: Path, config: BuildConfig, bits: tuple[int, ...] = (8, 2), *, exact: bool = True) -> Folding:
    """Build; return what the activations were folded to."""
    told: list[str] = []
    summary = build_network(*uniform(bits, exact=exact), out, config, told.append)
    assert sum("keeps its thresholds" in line for line in told) == (0 if exact or config.folding else len(bits))
    assert all(link["differing"] in (0, None) for link in summary["chain"])
    names = [name for name in summary["folding"] if "MVAU" not in name][1:]  # the first is Defaults
    built = [summary["folding"][name] for name in names]
    what = ["Thresholding" if values["unit"] == "thresholds" else "Requantizer" for values in built]
    assert names == [f"{kind}_rtl_{i}" for i, kind in enumerate(what)] and len(names) == len(bits)
    estimated = json.loads((out / "estimates.json").read_text(encoding="utf-8"))
    for layers in (estimated["layers"], estimated["formulas"]["layers"]):
        assert set(names) <= {layer["name"] for layer in layers}
    assert {name for name in names if (out / "rtl" / f"{name}.v").exists()} == {*names}
    return dict(zip(names, built, strict=True))


def units(folding: Folding) -> list[object]:
    return [values["unit"] for values in folding.values()]


def test_many_bits_multiply_and_few_compare(tmp_path: Path) -> None:
    assert units(made(tmp_path / "auto", BuildConfig(target_fps=100_000))) == ["lut", "thresholds"]
    only = BuildConfig(target_fps=100_000, activation="thresholds")
    assert units(made(tmp_path / "thresholds", only)) == ["thresholds", "thresholds"]
    both = BuildConfig(target_fps=100_000, activation="requantize")
    assert "thresholds" not in units(made(tmp_path / "requantize", both))


def test_a_layer_without_exact_integers_keeps_its_thresholds(tmp_path: Path) -> None:
    config = BuildConfig(target_fps=100_000, activation="requantize")
    assert units(made(tmp_path / "build", config, (8, 4), exact=False)) == ["thresholds", "thresholds"]
    wanted = tmp_path / "folding.json"
    compares, multiplies = "Thresholding_rtl_1", "Requantizer_rtl_1"
    for name, values, found in (
        (compares, {"unit": "dsp"}, "unit 'dsp'"), (compares, {"DIGIT": 1}, "DIGIT 1"),
        (compares, {"DIGIT": -1}, "DIGIT -1"), (multiplies, {"PE": 1}, "unit 'lut'"),
    ):  # fmt: skip
        wanted.write_text(json.dumps({name: values}), encoding="utf-8")
        with pytest.raises(ConfigError, match=f"{name} has {found}, but no multiplication and shift"):
            made(tmp_path / found, BuildConfig(folding=wanted), (8, 4), exact=False)


def test_a_folding_file_may_call_an_activation_what_it_becomes(tmp_path: Path) -> None:
    register()
    graph, path = hardware_graph(uniform((8, 2))[0]), tmp_path / "folding.json"
    for given, read in (
        ({"Requantizer_rtl_1": {"PE": 2}}, {"Thresholding_rtl_1": {"unit": "lut", "PE": 2}}),
        ({"Requantizer_rtl_1": {"unit": "dsp"}}, {"Thresholding_rtl_1": {"unit": "dsp"}}),
        ({"Thresholding_rtl_1": {"unit": "lut"}}, {"Thresholding_rtl_1": {"unit": "lut"}}),
    ):
        path.write_text(json.dumps(given), encoding="utf-8")
        assert read_folding(graph, path) == read
    path.write_text(json.dumps({"Thresholding_rtl_1": {}, "Requantizer_rtl_1": {}}), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"has a layer twice, as Requantizer_rtl_1 too\. Take one of them out\."):
        read_folding(graph, path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"DIGIT": 5}, "has DIGIT 5, but it must divide FactorBits = "),
        ({"DIGIT": 0}, "has DIGIT 0, but it must divide"),
        ({"DIGIT": True}, "has DIGIT True"),
        ({"DIGIT": -1}, "has DIGIT -1, but it must divide"),
        ({"unit": "block"}, "has unit 'block', expected thresholds or dsp or lut."),
        ({"DIGIT": 1}, "Thresholding_rtl_0 has DIGIT, which is of a unit that multiplies: dsp or lut. Take it out"),
        ({"unit": "thresholds", "ram_style": "block"}, "has ram_style, which is of a unit that multiplies"),
        ({"unit": "dsp", "DIGIT": 1}, "has DIGIT 1, where a dsp takes all "),
        ({"factors": [1]}, "sets factors of Thresholding_rtl_0; settable are PE, DIGIT, unit, ram_style."),
    ],
)
def test_a_folding_file_chooses_what_there_is(values: dict[str, object], message: str, tmp_path: Path) -> None:
    path = tmp_path / "folding.json"
    path.write_text(json.dumps({"Thresholding_rtl_0": values}), encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        made(tmp_path / "build", BuildConfig(folding=path))


@pytest.mark.slow
def test_the_rtl_the_gates_and_the_same_again(tmp_path: Path) -> None:
    """Each unit with a beat of 1 channel and with one of 2; LUTs take a factor bit by bit, DSPs whole."""
    bits = (8, 5, 8, 5)
    network, golden = uniform(bits)
    made(tmp_path / "first", BuildConfig(target_fps=100_000, activation="requantize"), bits)
    wanted = json.loads((tmp_path / "first" / "folding.json").read_text(encoding="utf-8"))
    for i, (unit, pe) in enumerate((("dsp", 1), ("dsp", 2), ("lut", 1), ("lut", 2))):
        values = wanted[f"Requantizer_rtl_{i}"]
        values |= {"unit": unit, "PE": pe}
        if unit == "dsp":
            del values["DIGIT"]  # it takes a factor whole
    path = tmp_path / "wanted.json"
    path.write_text(json.dumps(wanted), encoding="utf-8")
    assert units(made(tmp_path / "build", BuildConfig(folding=path), bits)) == ["dsp", "dsp", "lut", "lut"]
    sim = simulate_network(tmp_path / "build", network, golden, tmp_path / "sim", lambda _: None)
    assert (sim["images"], sim["differing"], sim["images_with_random_stalls"]) == (12, 0, 12)
    assert sim["initiation_interval"] == sim["estimated_interval"] and not sim["remarks"]
    again = BuildConfig(folding=tmp_path / "build" / "folding.json")
    made(tmp_path / "again", again, bits)
    for file in (tmp_path / "build" / "rtl").iterdir():
        assert file.read_bytes() == (tmp_path / "again" / "rtl" / file.name).read_bytes(), file.name
    rtl = tmp_path / "build" / "rtl"
    _, gates = simulate_gates(
        rtl, load_design(rtl), golden.pixels, family="xc7", scratch=tmp_path / "gates", stall_seed=1
    )
    np.testing.assert_array_equal(gates.outputs, golden.outputs)
