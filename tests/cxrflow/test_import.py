"""A run of a network that somebody made elsewhere: from the file to the simulated RTL, and what it has not.

Kinds of fault: a later stage that wants a training, a refused file that leaves a run behind, one front end in the
place of the other's results, an answer that is not the file's own.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from contract.errors import ArtifactError, ConfigError, DataError, MismatchError
from contract.manifest import load_manifest
from contract.network import Input
from contract.npz import save_npz
from contract.onnx_file import load_onnx
from contract.record import read_record
from cxrflow import stages
from cxrflow.console import Console
from cxrflow.experiment import Experiment, load_experiment
from cxrflow.imported import import_file, import_module
from driver.accelerator import Accelerator
from driver.bench import bench
from export.foreign.execute import Execution
from export.records import Exported
from finn_build.records import Built, Simulated
from tests.bnn_pynq import bnn_pynq, export_bnn_pynq
from tests.cxrflow.conftest import Place
from tests.deploy_folder import write_integers
from tests.foreign_files import DOMAIN, Graph
from tests.served import serving


def small_file(folder: Path) -> Path:
    """8 x 8 floats, a quantizer, one layer of signs, and a softmax of 3 outputs."""
    rng = np.random.default_rng(0)
    graph = Graph((1, 1, 8, 8)).add("Flatten").quant(0.25, 3)
    graph.add("MatMul", graph.weights(rng.uniform(-1, 1, (64, 6)), 0.3, 2))
    graph.add("Add", rng.normal(size=6)).add("BipolarQuant", 0.5, domain=DOMAIN)
    graph.add("MatMul", graph.weights(rng.uniform(-1, 1, (6, 3)), 0.2, 4)).add("Add", rng.normal(size=3))
    return graph.add("Softmax", axis=-1).save(folder / "net.onnx")


@pytest.fixture
def here(tmp_path: Path) -> Place:
    """A folder with the file, samples and labels."""
    small_file(tmp_path)
    x = np.random.default_rng(1).normal(size=(10, 1, 8, 8))
    save_npz(tmp_path / "s.npz", {"x": x, "y": np.arange(10) % 3})
    return Place(tmp_path)


@pytest.mark.slow
def test_from_the_file_to_the_simulated_rtl(here: Place) -> None:
    made = here("import", "net.onnx", "--name", "net", "--samples", "s.npz", "--labels", "s.npz")
    assert made.code == 0, made.err
    assert "64-6-3 W4A1. It is fed float, of which the host makes int3 by 7 thresholds; it gives 3 integers" in made.out
    assert "of 10 samples get the class of their label." in made.out
    file = "runs/net/experiment.yaml"
    assert set(load_experiment(here.folder / file).sections("model")) == {"model"}
    done = here("run", file)
    assert done.code == 0, done.err
    assert all(stage in done.out for stage in ("file_float64", "qonnx_to_finn", "rtl_with_random_stalls"))
    deploy, x = here.folder / "runs" / "net" / "deploy" / "pynq-z2", np.random.default_rng(2).normal(size=(12, 8, 8))
    model = load_onnx(here.folder / "net.onnx")
    (want,) = Execution(model, model.graph.output[0].name, double=True)(x)
    for device in ("cpu", "sim"):
        with Accelerator(deploy, device) as accelerator:
            answers = accelerator.infer(x)
            for same in (x[:, None], x.reshape(12, 64)):
                np.testing.assert_array_equal(accelerator.infer(same).outputs, answers.outputs)
            with pytest.raises(DataError, match=r"expected float \(N, 1, 8, 8\) or \(N, 64\), as the file"):
                accelerator.infer(x.reshape(12, 4, 16))
            np.testing.assert_allclose(answers.results, want, rtol=1e-12)
            np.testing.assert_array_equal(answers.classes, want.argmax(axis=1))
    with Accelerator(deploy, "cpu") as accelerator:
        assert bench(accelerator, seconds=0.01)["golden_images_verified"] == 110
    save_npz(here.folder / "some.npz", {"x": x})
    (here.folder / "some.json").write_text(json.dumps(x.tolist()))
    answered = json.loads(here("infer", deploy, "some.npz", "--device", "cpu", "--json", "--csv", "o.csv").out)
    assert [row["class"] for row in answered["results"]] == [f"class {k}" for k in want.argmax(axis=1)]
    with serving(deploy) as served:
        for device in ("cpu", "sim"):
            reply = served.ask("POST", f"/api/predict?device={device}", (here.folder / "some.json").read_bytes())
            for row, other in zip(reply.json()["results"], answered["results"], strict=True):
                assert (row["outputs"], row["results"]) == (other["outputs"], other["results"])
    for wrong, why in (
        (x[:0], "of the shape (0, 8, 8), expected"),
        (x.astype("U9"), "expected"),
        (x * np.nan, "wrong.npz holds what is no finite number of float32, first in input 0"),
        (x.reshape(12, 4, 16), "of the shape (12, 4, 16), expected (N, 1, 8, 8) or (N, 64)"),
    ):
        save_npz(here.folder / "wrong.npz", {"x": wrong})
        here("infer", deploy, "wrong.npz", "--device", "cpu").assert_refused(why)
    first = (here.folder / "o.csv").read_text().splitlines()[0]
    assert first == "file,class,output_0,output_1,output_2,result_0,result_1,result_2"
    for command in (("ip", file), ("report", "net"), ("compare", "net", "net"), ("results",)):
        outcome = here(*command)
        assert outcome.code == 0, (command, outcome.err)
    for command in ("results",), ("compare", "net", "net"):
        assert "110 images, the file to RTL" in " ".join(here(*command).out.split())
    page = (here.folder / "runs" / "net" / "report.html").read_text(encoding="utf-8")
    assert "An imported network: nothing was trained or measured here." in page and "the file to RTL" in page
    assert str(here.folder) not in page
    assert "<h2>Training" not in page and "#metrics" not in page and "pixel" not in page.split("</style>")[1]
    here("explain", deploy, "some.npz", "--device", "cpu").assert_refused("reads float(N, 1, 8, 8), and a map")
    for command in (("train", file), ("export", file), ("evaluate", "net"), ("data", "check", file)):
        here(*command).assert_refused("imported network")


def test_what_is_refused_leaves_nothing(here: Place) -> None:
    (here.folder / "bad.onnx").write_bytes(b"not a model")
    here("import", "bad.onnx", "--name", "bad").assert_refused("bad.onnx is not a whole ONNX model")
    here("import", "none.onnx", "--name", "bad").assert_refused("which is no file")
    here("import", "net.onnx", "--name", "a/b").assert_refused("is no plain name")
    here("import", "net.onnx", "--name", "bad", "--input", "int9").assert_refused("expected 'float', 'uint8'")
    here("import", "net.onnx", "--name", "bad", "--board", "none").assert_refused("is not a known board")
    here("import", "net.onnx", "--name", "bad", "--labels", "s.npz").assert_refused("without --samples")
    for scale in ("0", "-1", "nan", "1e300"):
        here("import", "net.onnx", "--name", "bad", "--input-scale", scale).assert_refused("'model.input_scale' is")
    assert not (here.folder / "runs" / "bad").exists()


def test_a_run_stays_as_it_was_whatever_stops_an_import(here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kind of fault: a run that says one network and holds another, or a folder of nothing, and a wrong way out."""
    assert here("import", "net.onnx", "--name", "old").code == 0
    before = {path: path.read_bytes() for path in (here.folder / "runs" / "old").rglob("*") if path.is_file()}
    Graph((1, 4)).quant(1.0, 2).add("MatMul", np.eye(4)[:, :2]).save(here.folder / "net.onnx")
    for error in (RuntimeError("a bug"), KeyboardInterrupt(), MismatchError("other integers.")):

        def stops(*args: object, error: BaseException = error) -> None:
            raise error

        monkeypatch.setattr("export.foreign.folder.prove", lambda *args, stops=stops, **given: stops())
        for name in ("old", "new"):
            with pytest.raises(type(error)) as caught:
                import_file(here.folder / "net.onnx", name, runs=here.folder / "runs")
            assert "What was made" not in str(caught.value)
        assert {
            path: path.read_bytes() for path in (here.folder / "runs" / "old").rglob("*") if path.is_file()
        } == before
        assert not (here.folder / "runs" / "new").exists()
    monkeypatch.undo()
    run = import_file(str(here.folder / "net.onnx"), "old", runs=str(here.folder / "runs"), target_fps=10)
    assert repr(run) == f"<Run old: imported from net.onnx, for pynq-z2; in {run.folder}: import>"
    run.make("build")
    Graph((1, 4)).quant(1.0, 3).add("MatMul", np.eye(4)[:, :2]).save(here.folder / "other.onnx")
    assert here("import", "other.onnx", "--name", "old").code == 0
    here("simulate", run.folder / "experiment.yaml").assert_refused("Run `cxrflow build` again, or `cxrflow import`")


def test_what_an_import_is_measured_on_is_no_input_of_the_build(here: Place) -> None:
    """Samples and labels that leave the integers as they are leave all that was made of them, too."""
    net = Graph((1, 4)).quant(1.0, 2).add("MatMul", np.eye(4)[:, :2]).save(here.folder / "net.onnx")
    samples, runs = here.folder / "s.npz", here.folder / "runs"
    save_npz(samples, {"x": np.eye(4), "y": np.array([0, 1, 1, 1])})
    import_file(net, "net", runs=runs, samples=samples).make("build")
    (here.folder / "t.npz").write_bytes(samples.read_bytes())
    again = import_file(net, "net", runs=runs, samples=here.folder / "t.npz", labels=samples)
    exported = read_record(again.place("import") / "export.json", Exported)
    assert exported.imported is not None and exported.imported.labels is not None
    assert exported.imported.labels.images == 4
    assert not again.make("build") and again.inputs("simulate")
    save_npz(samples, {"x": -np.eye(4), "y": np.array([0, 1, 1, 1])})
    other = import_file(net, "net", runs=runs, samples=samples)
    with pytest.raises(ArtifactError, match="was made from an earlier import"):
        other.inputs("simulate")


@pytest.mark.parametrize("which", ["file", "samples", "labels"])
def test_a_file_that_is_too_large_is_not_read(here: Place, which: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def hash_some(path: Path) -> str:
        assert path.name != "large", "read to its end"
        return ""

    monkeypatch.setattr(stages, "hash_file", hash_some)
    with (here.folder / "large").open("wb") as file:
        file.truncate(20 << 30)
    given: dict[str, Any] = {"file": here.folder / "net.onnx"} | {which: here.folder / "large"}
    with pytest.raises(ArtifactError, match=r"large has 21,474,836,480 bytes, expected [\d,]+ at most\. Give another"):
        import_file(name="net", runs=here.folder / "runs", **given)


def test_nor_is_a_folding_that_is_too_large(tmp_path: Path) -> None:
    with (tmp_path / "folding.json").open("wb") as file:
        file.truncate(20 << 30)
    fields = {"name": "x", "data": {"source": "phantom"}, "build": {"folding": tmp_path / "folding.json"}}
    experiment = Experiment.model_validate(fields)
    with pytest.raises(
        ArtifactError, match=r"folding.json has 21,474,836,480 bytes, expected 4,194,304 at most\. Give"
    ):
        stages._build_inputs(stages.Run(experiment, tmp_path, Console()))


def test_neither_front_end_takes_the_place_of_the_other(here: Place) -> None:
    assert here("import", "net.onnx", "--name", "tiny").code == 0
    before = (here.folder / "runs" / "tiny" / "export" / "reference.npz").read_bytes()
    here("export", here.experiment(data={"source": "phantom"})).assert_refused("is the run of an imported network")
    assert (here.folder / "runs" / "tiny" / "export" / "reference.npz").read_bytes() == before
    assert "nothing changed" in here("import", "net.onnx", "--name", "tiny", "--target-fps", "77").err
    assert load_experiment(here.run / "experiment.yaml").build.target_fps == 77  # what to go on with
    Graph((1, 4)).quant(1.0, 2).add("MatMul", np.eye(4)[:, :2]).save(here.folder / "net.onnx")
    again = here("import", "net.onnx", "--name", "tiny")
    assert again.code == 0 and "4-2 W2" in again.out
    (here.folder / "net.onnx").rename(own := here.folder / "runs" / "tiny" / "export" / "net.onnx")
    here("import", own, "--name", "tiny").assert_refused("lies in runs/tiny, the run that it is to become")
    assert own.exists()


def test_a_brevitas_module(tmp_path: Path) -> None:
    run = import_module(bnn_pynq("tfc_1w1a"), torch.rand(1, 1, 28, 28), "mine", runs=tmp_path)
    assert (tmp_path / "mine.onnx").is_file() and (run.place("import") / "reference.npz").is_file()
    with pytest.raises(
        ConfigError, match="of the type str and an example of the type list are given, expected a torch"
    ):
        import_module("net", [1], "mine", runs=tmp_path)
    with pytest.raises(
        ConfigError, match=r"cannot export the module with an example of the shape \(1, 3\) \(RuntimeErr"
    ):
        import_module(bnn_pynq("tfc_1w1a"), torch.rand(1, 3), "mine", runs=str(tmp_path))
    before = (tmp_path / "mine.onnx").read_bytes()
    for name in ("mine", "other"):  # what is refused leaves no file, and the earlier run its own
        with pytest.raises(ConfigError, match="which is no file"):
            import_module(bnn_pynq("tfc_1w2a"), torch.rand(1, 1, 28, 28), name, runs=tmp_path, samples="no.npz")
    assert (tmp_path / "mine.onnx").read_bytes() == before and not (tmp_path / "other.onnx").exists()
    with pytest.raises(ConfigError, match="is no plain name"):
        import_module(bnn_pynq("tfc_1w1a"), torch.rand(1, 1, 28, 28), "../mine", runs=tmp_path)


class TestManifest:
    """accelerator.json of an imported network is checked before it is believed."""

    @pytest.mark.parametrize(
        ("field", "value", "message"),
        [
            ("rule", {"reads": "double"}, "rule.reads is 'double'"),
            ("rule", {"datatype": "int4"}, "rule.datatype is 'int4', expected uint8"),
            ("rule", {"low": -1}, "rule gives -1 and 2 more"),
            ("rule", {"thresholds": []}, "rule.thresholds has 0 rows"),
            ("rule", {"thresholds": [[2.0, 1.0]]}, "rule.thresholds is not ascending"),
            ("rule", {"thresholds": [[0.0, float("nan")]]}, "holds nan, expected finite numbers"),
            ("rule", {"more": 1}, "rule.more is unknown"),
            ("head", {"end": "exec"}, "head.end is 'exec'"),
            ("head", {"steps": [["__import__", [[1.0]]]]}, "head.steps holds"),
            ("head", {"steps": [["clip", [[1.0]]]]}, "clip with 1 parameters, expected 2"),
            ("head", {"steps": [["add", [[1.0, 2.0]]]]}, "head.steps has 2 numbers, expected 3"),
            ("head", {"thresholds": [[1]] * 3}, "thresholds or values only"),
            ("head", {"thresholds": [[1]] * 3, "values": [[1.0]] * 3}, "head.values has 1 numbers, expected 2"),
            ("head", {"thresholds": [[2**70]] * 3, "values": [[1.0, 2]] * 3}, "expected integers of at most 64 bits"),
        ],
    )
    def test_what_is_wrong_is_named(self, tmp_path: Path, field: str, value: dict[str, object], message: str) -> None:
        write_integers(tmp_path, Input(8, 8), 4, outputs=3, result_bits=32)
        path = tmp_path / "accelerator.json"
        raw = json.loads(path.read_text())
        raw["rule"] = {"reads": "float", "datatype": "uint8", "low": 0, "thresholds": [[0.5, 1.5]]}
        raw["head"] = {"steps": [["multiply", [[0.5]]]], "thresholds": None, "values": None, "end": "argmax"}
        path.write_text(json.dumps(raw))
        assert load_manifest(path).head is not None
        raw[field] |= value
        path.write_text(json.dumps(raw))
        with pytest.raises(ArtifactError, match=f"accelerator.json: .*{message}"):
            load_manifest(path)


@pytest.mark.parametrize(
    "name", ["tfc_2w2a", *(pytest.param(name, marks=pytest.mark.slow) for name in ("tfc_1w1a", "tfc_1w2a"))]
)
def test_brevitas_tfc_down_to_rtl(tmp_path: Path, name: str) -> None:
    """Random weights and statistics; SFC and LFC are in benchmarks/foreign.py, which takes minutes."""
    file = export_bnn_pynq(tmp_path / "m.onnx", name, "qonnx")
    run = import_file(file, "tfc", runs=tmp_path / "runs", target_fps=20_000)
    run.make("build")
    run.simulate()
    built = read_record(run.place("build") / "build.json", Built)
    assert [link.stage for link in built.chain[:3]] == ["qonnx_float32", "qonnx_to_finn", "streamline"]
    assert all(link.differing is not None for link in built.chain[:3])
    sim = read_record(run.place("simulate") / "sim.json", Simulated)
    assert (sim.images, sim.images_with_random_stalls, sim.differing) == (100, 100, 0)
