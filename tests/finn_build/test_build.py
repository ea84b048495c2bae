"""Small random networks all the way to simulated RTL, and builds that must fail, by name."""

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from qonnx.core.modelwrapper import ModelWrapper

from contract.errors import ArtifactError, ConfigError, CxrflowError, MismatchError, ToolError
from contract.golden import load_golden
from contract.network import Dense, Input, IntegerNetwork, load_network, save_network
from contract.npz import load_npz, save_npz
from finn_build import wave_view
from finn_build.build import build, build_network, estimate_network
from finn_build.config import BuildConfig
from finn_build.hardware_graph import hardware_graph
from finn_build.simulate import simulate, stalled_shares, verilate
from finn_build.stitch import Design, load_design
from finn_build.verify import simulate_build, write_wave
from finn_build.witness import streamline
from tests import compiled
from tests.licences import require_headers, require_licences
from tests.random_networks import export_random, small_spec

HIDDEN = (16, 8)
LAYERS = ("MVAU_rtl_0", "Thresholding_rtl_0", "MVAU_rtl_1", "Thresholding_rtl_1", "MVAU_rtl_2")


def folding(*pe_simd: tuple[int, ...]) -> dict[str, dict[str, int]]:
    return {name: dict(zip(("PE", "SIMD"), v, strict=False)) for name, v in zip(LAYERS, pe_simd, strict=True)}


# name -> weight bits, activation bits, folding, slowest layer; a layer takes (MH / PE) * (MW / SIMD) cycles
CASES: dict[str, tuple[object, object, dict[str, dict[str, int]], str]] = {
    "first layer slowest": (8, 8, folding((1, 8), (1,), (1, 4), (2,), (1, 1)), "MVAU_rtl_0"),
    # ... and activations that wait on both sides in the same cycle
    "second layer slowest": (8, (6, 8), folding((1, 16), (1,), (1, 1), (1,), (1, 2)), "MVAU_rtl_1"),
    "first layer slowest, narrow": ((4, 3, 8), (4, 3), folding((4, 4), (4,), (8, 1), (4,), (1, 8)), "MVAU_rtl_0"),
}


def quiet(_: str) -> None:
    pass


@dataclass(frozen=True)
class Built:
    export: Path
    build: Path
    summary: dict[str, Any]
    sim: dict[str, Any]
    slowest: str
    folding: Path

    @property
    def rtl(self) -> Path:
        return self.build / "rtl"


@pytest.fixture(scope="module", params=list(CASES))
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    return make_case(request.param, tmp_path_factory.mktemp("case"))


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """One build that tests may copy; not simulated."""
    return make_case("second layer slowest", tmp_path_factory.mktemp("one"), simulated=False)


def make_case(name: str, folder: Path, *, simulated: bool = True) -> Built:
    weight_bits, act_bits, wanted, slowest = CASES[name]
    export_random(folder / "export", small_spec(weight_bits, act_bits, HIDDEN), count=100)
    path = folder / "wanted.json"
    path.write_text(json.dumps(wanted), encoding="utf-8")
    summary = build(folder / "export", folder / "build", BuildConfig(folding=path), quiet)
    sim = simulate_build(folder / "build", folder / "export", folder / "sim", quiet) if simulated else {}
    return Built(folder / "export", folder / "build", summary, sim, slowest, path)


def test_estimates_without_a_build_are_the_builds(one: Built) -> None:
    """With width converters, which count, too."""
    written = json.loads((one.build / "estimates.json").read_text(encoding="utf-8"))
    assert "StreamingDataWidthConverter_rtl" in {node["kind"] for node in written["formulas"]["layers"]}
    network = load_network(one.export / "reference.npz")
    assert estimate_network(network, BuildConfig(folding=one.folding)) == written


@pytest.mark.slow
class TestEachFolding:
    def test_every_stage_gives_the_same_integers(self, built: Built) -> None:
        exact = [row for row in built.summary["chain"] if row["differing"] is not None]
        assert {"qonnx_to_finn", "streamline", "hardware_graph", "fold"} < {row["stage"] for row in exact}
        assert all(row["differing"] == 0 for row in exact)
        assert (built.sim["images"], built.sim["differing"], built.sim["images_with_random_stalls"]) == (100, 0, 100)

    def test_the_measured_interval_is_the_estimated_one(self, built: Built) -> None:
        estimates = json.loads((built.build / "estimates.json").read_text(encoding="utf-8"))
        cycles = {layer["name"]: layer["cycles"] for layer in estimates["layers"]}
        assert estimates["cycles_per_image"] == max(cycles.values()) == cycles[built.slowest]
        assert abs(built.sim["initiation_interval"] - estimates["cycles_per_image"]) <= 1
        assert built.sim["estimated_interval"] == estimates["cycles_per_image"]
        assert built.sim["slowest"] == [built.slowest]

    def test_counters_are_plausible(self, built: Built) -> None:
        assert [layer["name"] for layer in built.sim["layers"]] == list(LAYERS)
        for layer in built.sim["layers"]:
            assert all(0 <= layer[share] <= 1 for share in ("waits_for_input", "waits_for_output"))
        (slowest,) = (layer for layer in built.sim["layers"] if layer["name"] == built.slowest)
        assert slowest["waits_for_input"] + slowest["waits_for_output"] < 0.1
        design = load_design(built.rtl)
        depths = {fifo["name"]: fifo["depth"] for fifo in built.sim["fifos"]}
        assert depths == {node.name: node.depth for node in design.nodes if node.fifo}
        assert built.sim["cycles"] >= 99 * built.sim["initiation_interval"] + built.sim["first_latency_cycles"]
        assert design.in_beats * design.simd == 64

    def test_its_own_folding_file_gives_the_same_rtl(self, built: Built, tmp_path: Path) -> None:
        own = json.loads((built.build / "folding.json").read_text(encoding="utf-8"))
        wanted = json.loads(built.folding.read_text(encoding="utf-8"))
        kept = {name: {key: own[name][key] for key in layer} for name, layer in wanted.items()}
        assert kept == wanted
        build(built.export, tmp_path / "again", BuildConfig(folding=built.build / "folding.json"), quiet)
        files = sorted(path.name for path in built.rtl.iterdir())
        assert files == sorted(path.name for path in (tmp_path / "again" / "rtl").iterdir())
        for name in files:
            assert (built.rtl / name).read_bytes() == (tmp_path / "again" / "rtl" / name).read_bytes(), name


def test_rtl_names_no_absolute_path_and_the_licences(one: Built) -> None:
    require_licences(one.rtl)
    require_headers(one.rtl)
    for path in one.rtl.iterdir():
        text = path.read_text(encoding="utf-8")
        assert str(one.build) not in text and not re.search(r'"/[^"\n]+"', text), path.name


@pytest.fixture(scope="module")
def programs(one: Built, tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """The simulators of `one`, without and with dumps. They read the memory files when they run."""
    folder, design = tmp_path_factory.mktemp("programs"), load_design(one.rtl)
    return {dump: verilate(one.rtl, design, folder / f"{dump}", dump=dump) for dump in (False, True)}


@pytest.mark.slow
def test_a_simulator_that_finds_verilators_code_compiled_is_the_same(
    one: Built, programs: dict[bool, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And optimized, which that code is not; also where it lies in a folder whose name make would take for two."""
    golden, design = load_golden(one.export / "golden.npz"), load_design(one.rtl)
    assert programs[False].is_file()  # so that it is there
    kept = Path(shutil.copytree(compiled.place("simulate"), tmp_path / "a b"))
    monkeypatch.setattr("finn_build.simulate._runtime", lambda: kept)
    harness = verilate(one.rtl, design, tmp_path / "optimized", cycles=100_000_000)
    assert simulate(harness, one.rtl, design, golden.pixels).outputs.tolist() == golden.outputs.tolist()
    noted = {path.stem for path in harness.parent.glob("*.d")}  # by g++: what it read
    assert noted and not any(name.startswith("verilated") for name in noted)


@pytest.mark.parametrize("images", [1, 2, 3, 624])
def test_every_image_is_in_one_simulation_with_pauses_of_its_own(images: int) -> None:
    shares = stalled_shares(images)
    assert [i for share in shares for i in range(share.first, share.end)] == list(range(images))
    assert len({share.stall_seed for share in shares} - {None}) == len(shares) == min(2, images)


def flip_nibble(path: Path, line: int, digit: int) -> None:
    """Change the top bit of one hexadecimal digit of one word of a memory file."""
    lines = path.read_text(encoding="ascii").split("\n")
    word = lines[line]
    lines[line] = f"{word[:digit]}{int(word[digit], 16) ^ 8:x}{word[digit + 1 :]}"
    path.write_text("\n".join(lines), encoding="ascii")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("memory", "line", "digit", "layer"),
    [
        ("MVAU_rtl_1_weights.dat", 0, 0, r"layer 1 \(Thresholding_rtl_1\), at channel 0"),
        ("MVAU_rtl_2_weights.dat", 1, 0, r"layer 2 \(MVAU_rtl_2\), at channel 0"),
        ("Thresholding_rtl_0_threshs_0_1.dat", 0, 1, r"layer 0 \(Thresholding_rtl_0\), at channel 0"),
        (None, 0, 0, ""),
    ],
)
def test_a_damaged_memory_is_found_and_named(
    one: Built,
    programs: dict[bool, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    memory: str | None,
    line: int,
    digit: int,
    layer: str,
) -> None:
    """In a copy of the build folder, which works wherever it is; the last one is not damaged."""

    def compiled(_rtl: Path, _design: Design, scratch: Path, *, cycles: int = 0, dump: bool = False) -> Path:
        assert cycles < 100_000
        scratch.mkdir(parents=True)
        return Path(shutil.copy(programs[dump], scratch))

    monkeypatch.setattr("finn_build.verify.verilate", compiled)
    copy = tmp_path / "elsewhere"
    shutil.copytree(one.build, copy, ignore=shutil.ignore_patterns("finn", "steps"))
    if memory is None:
        assert simulate_build(copy, one.export, tmp_path / "sim", quiet)["differing"] == 0
        return
    flip_nibble(copy / "rtl" / memory, line, digit)
    with pytest.raises(MismatchError, match=rf"^RTL: \d+ of 100 logits .*The first layer that differs is {layer}"):
        simulate_build(copy, one.export, tmp_path / "sim", quiet)
    tensors = load_npz(tmp_path / "sim" / "mismatch" / "mismatch.npz")
    assert tensors["got"].shape == tensors["want"].shape
    assert (tensors["got"] != tensors["want"]).any() and tensors["image"].shape == (8, 8)


@pytest.mark.slow
def test_the_waveform_holds_the_logits(one: Built, tmp_path: Path) -> None:
    from pylibfst import ffi, helpers, lib

    golden, design = load_golden(one.export / "golden.npz"), load_design(one.rtl)
    write_wave(one.rtl, design, golden.pixels[3:6], tmp_path / "new" / "wave.fst", tmp_path / "scratch")
    assert not (tmp_path / "scratch").exists()
    fst = lib.fstReaderOpen(str(tmp_path / "new" / "wave.fst").encode())
    assert fst != ffi.NULL
    _, signals = helpers.get_scopes_signals2(fst)
    room = ffi.new("char[65]")

    def value(name: str, time: int) -> str:
        (handle,) = {s.handle for path, s in signals.by_name.items() if path.split()[0] == f"TOP.sim_top.{name}"}
        return helpers.string(lib.fstReaderGetValueFromHandleAtTime(fst, time, handle, room))  # type: ignore[no-any-return]

    logits = []
    for time in range(lib.fstReaderGetStartTime(fst), lib.fstReaderGetEndTime(fst), 5):
        if value("ap_clk", time) == "0" and value("m_axis_tvalid", time) == value("m_axis_tready", time) == "1":
            data = int(value("m_axis_tdata", time), 2)
            logits.append(data - 2**32 if data >> 31 else data)
    lib.fstReaderClose(fst)
    assert logits == golden.logits[3:6].tolist()
    # What a viewer opens with names signals that are there, of the width that is there.
    shown = {(s.path, s.bits) for group in wave_view.groups(design) for s in group.signals}
    there = {(path.split()[0], int(s.length)) for path, s in signals.by_name.items()}
    assert shown <= there and len(shown) == 2 + 2 * 4 + 3 * (len(design.nodes) + 1)


def test_missing_tools_are_named(one: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "make").symlink_to("/bin/true")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(ToolError, match=r"simulation needs g\+\+, perl, not found .* apt-get install"):
        simulate_build(one.build, one.export, tmp_path / "sim", quiet)


def test_a_node_that_finn_maps_to_hls_stops_the_build(
    one: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if FINN had no RTL for a width converter; what we build has no node of that kind."""
    monkeypatch.setattr("finn.transformation.fpgadataflow.specialize_layers._determine_impl_style", lambda *_: "hls")
    with pytest.raises(ConfigError, match=r"no RTL for StreamingDataWidthConverter_hls_0.*HLS, which needs Vitis"):
        build(one.export, tmp_path / "build", BuildConfig(folding=one.folding), quiet)


class TestChain:
    """A graph that is not the integer network is found and named; FINN's own graph is counted, not required."""

    def test_a_graph_with_other_integers_is_named_with_its_layer(
        self, one: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def changed(network: IntegerNetwork) -> ModelWrapper:
            model = hardware_graph(network)
            name = model.get_nodes_by_op_type("Thresholding_rtl")[1].input[1]
            model.set_initializer(name, model.get_initializer(name) - 200)
            return model

        monkeypatch.setattr("finn_build.build.hardware_graph", changed)
        message = r"^hardware_graph: \d+ of 100 logits differ .* The first layer that differs is layer 1 \(Thresholding"
        with pytest.raises(MismatchError, match=message):
            build(one.export, tmp_path / "build", BuildConfig(folding=one.folding), quiet)
        assert (tmp_path / "build" / "mismatch" / "mismatch.npz").exists()

    def test_finns_own_thresholds_may_differ(self, one: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def changed(model: ModelWrapper) -> ModelWrapper:
            model = streamline(model)
            for node in model.get_nodes_by_op_type("MultiThreshold"):
                model.set_initializer(node.input[1], model.get_initializer(node.input[1]) + 500)
            return model

        monkeypatch.setattr("finn_build.witness.streamline", changed)
        summary = build(one.export, tmp_path / "build", BuildConfig(folding=one.folding), quiet)
        found = {row["stage"]: row["differing"] for row in summary["chain"]}
        assert found["streamline"] > 0 and found["hardware_graph"] == found["fold"] == 0
        for path in one.rtl.iterdir():
            assert path.read_bytes() == (tmp_path / "build" / "rtl" / path.name).read_bytes(), path.name

    def test_a_network_that_finn_cannot_treat_is_built_all_the_same(
        self, one: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(_: ModelWrapper) -> ModelWrapper:
            raise KeyError("no such node")

        monkeypatch.setattr("finn_build.witness.streamline", refuse)
        summary = build(one.export, tmp_path / "build", BuildConfig(folding=one.folding), quiet)
        notes = [(row["stage"], row["note"]) for row in summary["chain"] if "note" in row]
        assert notes == [("streamline", "FINN cannot treat this network: 'no such node'")]
        assert all(row["differing"] in (0, None) for row in summary["chain"])

    def test_layers_of_one_neuron_are_witnessed_too(self, tmp_path: Path) -> None:
        export_random(tmp_path / "export", small_spec(4, 4, (1, 3)), count=20)
        summary = build(tmp_path / "export", tmp_path / "build", BuildConfig(target_fps=100_000), quiet)
        found = {row["stage"]: row["differing"] for row in summary["chain"]}
        assert found["qonnx_float32"] == found["qonnx_to_finn"] == found["streamline"] == found["hardware_graph"] == 0


DEEP = '{"MVAU_rtl_0": ' * 100_000
TWICE = '{"MVAU_rtl_0": {"PE": 1, "PE": 2}}'


class TestFoldingFiles:
    def refusal(self, one: Built, tmp_path: Path, content: object) -> str:
        path = tmp_path / "folding.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        with pytest.raises(ConfigError) as caught:
            build(one.export, tmp_path / "build", BuildConfig(folding=path), quiet)
        message = str(caught.value)
        assert message.startswith(f"folding file {path}") and "\n" not in message
        return message

    def test_missing(self, one: Built, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="is not there"):
            build(one.export, tmp_path / "build", BuildConfig(folding=tmp_path / "folding.json"), quiet)

    @pytest.mark.parametrize(
        "content",
        [
            "{",
            "[]",
            "5",
            '{"MVAU_rtl_0": 5}',
            '{"MVAU_rtl_0": null}',
            '{"Defaults": 5}',
            '{"MVAU_rtl_0": [["PE", 1]]}',
            "null",
            DEEP,
            TWICE,
        ],
        ids=lambda text: text[:30],
    )
    def test_no_folding(self, one: Built, tmp_path: Path, content: str) -> None:
        expected = "is not JSON" if content in ("{", DEEP, TWICE) else "is not a JSON object of objects"
        assert expected in self.refusal(one, tmp_path, content)

    @pytest.mark.parametrize(
        ("layer", "values", "message"),
        [
            ("MVAU_rtl_7", {"PE": 1}, f"is no layer; layers are {', '.join(LAYERS)}"),
            ("MVAU_rtl_1", {"PE": 3}, "has PE 3, but it must divide MH = 8; legal are 1, 2, 4, 8."),
            ("MVAU_rtl_1", {"SIMD": 5}, "has SIMD 5, but it must divide MW = 16; legal are 1, 2, 4, 8, 16."),
            ("Thresholding_rtl_0", {"PE": 32}, "must divide NumChannels = 16; legal are 1, 2, 4, 8, 16."),
            ("Thresholding_rtl_0", {"DIGIT": -1}, "has DIGIT -1, but it must divide FactorBits = "),
            ("MVAU_rtl_1", {"PE": -1}, "has PE -1, but it must divide MH = 8; legal are 1, 2, 4, 8."),
            ("MVAU_rtl_1", {"PE": None}, "has PE None"),
            ("MVAU_rtl_1", {"ram_style": ["auto"]}, "has ram_style ['auto'], expected auto or block or distributed."),
            ("MVAU_rtl_1", {"ram_style": "x" * 10**6}, "has ram_style 'xxxxxxxxxxxx...xxxxxxxxxxxxx', expected auto"),
            ("\x1b[31m" + "x" * 10**6, {}, "names ?[31mxxx"),
            ("MVAU_rtl_1", {"PE": True}, "has PE True"),
            ("MVAU_rtl_1", {"PE": 2.0}, "has PE 2.0"),
            ("MVAU_rtl_1", {"PE": "2"}, "has PE '2'"),
            ("MVAU_rtl_1", {"resType": "hls"}, "MVAU_rtl_1 has resType 'hls', expected auto or dsp or lut."),
            ("MVAU_rtl_1", {"ram_style": "ultra"}, "has ram_style 'ultra', expected auto or block or distributed."),
            ("MVAU_rtl_1", {"MW": 8}, "sets MW of MVAU_rtl_1; settable are PE, SIMD, ram_style, resType."),
            (
                "Thresholding_rtl_0",
                {"SIMD": 1},
                "sets SIMD of Thresholding_rtl_0; settable are PE, DIGIT, unit, ram_style.",
            ),
            ("Defaults", {"PE": [2, ["MVAU_rtl"]]}, "has Defaults"),
        ],
    )
    def test_illegal_values(
        self, one: Built, tmp_path: Path, layer: str, values: dict[str, object], message: str
    ) -> None:
        wanted = json.loads(one.folding.read_text(encoding="utf-8"))
        found = self.refusal(one, tmp_path, {**wanted, layer: values})
        assert message in found and len(found) < 600

    def test_before_the_first_slow_step(self, one: Built, tmp_path: Path) -> None:
        """Neither FINN's conversions nor any execution comes before it."""
        path = tmp_path / "folding.json"
        path.write_text('{"MVAU_rtl_0": {"PE": 0}}', encoding="utf-8")
        golden, network = load_golden(one.export / "golden.npz"), load_network(one.export / "reference.npz")
        said: list[str] = []

        def hear(*_: object) -> None:
            said.append("slow")

        with pytest.raises(ConfigError, match="has PE 0"):
            build_network(network, golden, tmp_path / "build", BuildConfig(folding=path), said.append, hear=hear)
        assert said == []


def damage_model(export: Path) -> None:
    path = export / "model.onnx"
    path.write_bytes(path.read_bytes()[:900])


def insert_operator(export: Path) -> None:
    model = onnx.load(export / "model.onnx")
    i, node = next((i, n) for i, n in enumerate(model.graph.node) if n.op_type == "BatchNormalization")
    name, node.output[0] = node.output[0], "before"
    model.graph.node.insert(i + 1, onnx.helper.make_node("Tanh", ["before"], [name]))
    onnx.save(model, export / "model.onnx")


def name_a_module(export: Path) -> None:
    """qonnx imports a domain that it does not know as a module, whatever that does."""
    model = onnx.load(export / "model.onnx")
    next(n for n in model.graph.node if n.op_type == "Quant").domain = "antigravity"
    onnx.save(model, export / "model.onnx")


def drop_quant(export: Path) -> None:
    model = onnx.load(export / "model.onnx")
    relu, quant = (next(n for n in model.graph.node if n.name == name) for name in ("Relu_0", "Quant_3"))
    assert quant.input[0] == relu.output[0]
    relu.output[0] = quant.output[0]
    model.graph.node.remove(quant)
    onnx.save(model, export / "model.onnx")


def append_relu(export: Path) -> None:
    model = onnx.load(export / "model.onnx")
    last, name = model.graph.node[-1], model.graph.output[0].name
    last.output[0] = "before"
    model.graph.node.append(onnx.helper.make_node("Relu", ["before"], [name], name="Relu_7"))
    onnx.save(model, export / "model.onnx")


def skip_connection(export: Path) -> None:
    model = onnx.load(export / "model.onnx")
    second, first = (next(n for n in model.graph.node if n.name == name) for name in ("Relu_1", "BatchNormalization_0"))
    second.input[0] = first.output[0]
    onnx.save(model, export / "model.onnx")


def high_threshold(export: Path) -> None:
    network = load_network(export / "reference.npz")
    first, *rest = network.dense
    assert first.thresholds is not None
    changed = first.thresholds.copy()
    changed[5, -1] = first.accumulator_range(0, 255)[1][5] + 2
    first = Dense(first.weights, changed)
    save_network(export / "reference.npz", IntegerNetwork(Input(8, 8), (first, *rest)))


def other_weights(export: Path) -> None:
    network = load_network(export / "reference.npz")
    first, *rest = network.dense
    changed = Dense(first.weights[:, ::-1].copy(), first.thresholds)
    save_network(export / "reference.npz", IntegerNetwork(Input(8, 8), (changed, *rest)))


def fewer_layers(export: Path) -> None:
    layers = load_network(export / "reference.npz").dense
    head = Dense(np.ones((1, 16), dtype=np.int8), None)
    save_network(export / "reference.npz", IntegerNetwork(Input(8, 8), (layers[0], head)))


def other_size(export: Path) -> None:
    network = load_network(export / "reference.npz")
    save_network(export / "reference.npz", IntegerNetwork(Input(4, 16), network.dense))


def smaller_images(export: Path) -> None:
    golden = load_npz(export / "golden.npz")
    save_npz(export / "golden.npz", {**golden, "pixels": golden["pixels"][:, :7]})


def other_pixels(export: Path) -> None:
    smaller_images(export)
    first, *rest = load_network(export / "reference.npz").dense
    first = Dense(first.weights[:, :56].copy(), first.thresholds)
    save_network(export / "reference.npz", IntegerNetwork(Input(7, 8), (first, *rest)))


def other_logits(export: Path) -> None:
    golden = load_npz(export / "golden.npz")
    save_npz(export / "golden.npz", {**golden, "outputs": golden["outputs"].astype(np.int64) + 1})


@pytest.mark.parametrize(
    ("damage", "kind", "message"),
    [
        (damage_model, ArtifactError, r"model\.onnx is not a whole ONNX model"),
        (insert_operator, ArtifactError, r"holds the operators \w+ \(Tanh\), but only BatchNorm.* can be built"),
        (name_a_module, ArtifactError, r"holds the operators \w+ \(antigravity\.Quant\), but only BatchNorm"),
        (drop_quant, ArtifactError, r"Quant_3_out0 is followed by MatMul_1 \(MatMul\), expected Quant\. A layer is"),
        (append_relu, ArtifactError, r"before is followed by Relu_7 \(Relu\), expected BatchNormalization or the end"),
        (skip_connection, ArtifactError, r"followed by Relu_0 \(Relu\) and Relu_1 \(Relu\), expected Relu or Bip"),
        (
            high_threshold,
            ArtifactError,
            r"layer 0, channel 5 has the threshold \d+, .* legal are -\d+ .* to \d+ \(never",
        ),
        (other_weights, MismatchError, r"^layer 0: the weights of model\.onnx are not those of reference\.npz"),
        (fewer_layers, MismatchError, r"^model\.onnx has 3 matrix products, reference\.npz 2\."),
        (
            other_size,
            ArtifactError,
            r"golden\.npz has images uint8\(100, 8, 8\) .*, reference\.npz is for uint8\(N, 4, 16\)",
        ),
        (other_pixels, ArtifactError, r"model\.onnx is for 64 pixels, reference\.npz for uint8\(N, 7, 8\)"),
        (
            smaller_images,
            ArtifactError,
            r"golden\.npz has images uint8\(100, 7, 8\) .*, reference\.npz is for uint8\(N, 8, 8\)",
        ),
        (other_logits, MismatchError, r"^hardware_graph: 100 of 100 logits differ"),
    ],
)
def test_a_damaged_export_is_one_sentence(
    one: Built, tmp_path: Path, damage: Any, kind: type[CxrflowError], message: str
) -> None:
    shutil.copytree(one.export, tmp_path / "export")
    damage(tmp_path / "export")
    with pytest.raises(kind, match=message) as caught:
        build(tmp_path / "export", tmp_path / "build", BuildConfig(folding=one.folding), quiet)
    assert "\n" not in str(caught.value)
