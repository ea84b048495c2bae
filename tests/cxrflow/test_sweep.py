"""Sweeps on tiny networks and images: the file, the rows, resuming, the front, and real Ray workers."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState
from typer.testing import CliRunner

from contract.errors import ArtifactError, ConfigError
from cxrflow.cli import app
from cxrflow.experiment import Experiment, load_experiment
from cxrflow.report.page import write_report
from cxrflow.stage_table import BUILT
from cxrflow.sweep import command, drive, model, table
from cxrflow.sweep.spec import Limits, Point, load_sweep
from cxrflow.sweep.trial import Trial
from finn_build.records import PricedNode
from tests.cxrflow.conftest import Place, draw_xrays

REPOSITORY = Path(__file__).resolve().parents[2]
BASE = """\
name: tiny
data: {source: XRAYS}
network: {height: 8, width: 8, hidden: [8]}
train: {epochs: 2, passes: 1, batch_size: 16}
build: {board: pynq-z2, target_fps: 100000}
"""
GRID: dict[str, Any] = {"network.weight_bits": [1, 4], "network.act_bits": [2]}


def written(folder: Path, **fields: Any) -> Path:
    """Write a sweep file, the experiment it is about, and its X-rays."""
    if not (folder / "xrays").exists():
        draw_xrays(folder / "xrays")
    (folder / "tiny.yaml").write_text(BASE.replace("XRAYS", str(folder / "xrays")), encoding="utf-8")
    path = folder / "sweep.yaml"
    content = {"name": "tiny-sweep", "experiment": "tiny.yaml", "grid": GRID, **fields}
    path.write_text(yaml.safe_dump({k: v for k, v in content.items() if v is not None}), encoding="utf-8")
    return path


def cxrflow(*arguments: str | Path, **options: Any) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "cxrflow.cli", *map(str, arguments)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        **options,
    )


def finish(process: "subprocess.Popen[str]") -> str:
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 0, said
    return said


class TestFile:
    def test_points_are_the_product_and_each_is_an_experiment_of_its_own(self, tmp_path: Path) -> None:
        grid = {"network.hidden": [[16, 8], [8]], "network.act_bits": [1, 2, 4], "train.augment.scale": [0.2]}
        sweep, base = load_sweep(written(tmp_path, grid=grid, seeds=2))
        experiments = [point.experiment(base) for point in sweep.points()]
        assert len({e.name for e in experiments}) == len(experiments) == sweep.size == 12
        assert {(e.network.hidden, e.network.act_bits) for e in experiments} == {
            (hidden, bits) for hidden in ((16, 8), (8,)) for bits in (1, 2, 4)
        }
        assert {(e.data.seed, e.train.seed, e.train.augment.scale) for e in experiments} == {(0, 0, 0.2), (1, 1, 0.2)}

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"gird": 1}, "'gird' is not a known field; did you mean 'grid'"),
            ({"grid": {"network.weight_bitz": [1]}}, "'network.weight_bitz' is not a known field; did you mean"),
            ({"grid": {"netwrk.weight_bits": [1]}}, "has no section 'netwrk'"),
            ({"grid": {"network.weight_bits": [1, 9]}}, "weight_bits 9: .*widths are 1..8"),
            ({"grid": {}}, "'grid'.*at least 1"),
            ({"grid": {"network.act_bits": []}}, "at least 1"),
            ({"grid": None}, "exactly one of 'grid' and 'search'"),
            (
                {"grid": {"train.seed": list(range(101)), "train.epochs": list(range(1, 101))}},
                "asks for 10,100 runs, expected at most 10,000.*--yes",
            ),
            ({"grid": None, "search": {"trials": 3, "space": {"train.lr": {"low": 1, "high": 0}}}}, "is no range"),
            ({"grid": None, "search": {"trials": 3, "space": {"train.lr": {"low": 1, "high": 99}}}}, "lr"),
            ({"seeds": True}, "True, expected a number"),
            ({"limits": {"lut": True}}, "True, expected a number"),
            (
                {"grid": None, "search": {"trials": 3, "space": {"train.lr": {"low": True, "high": 2}}}},
                "True, expected a n",
            ),
            ({"experiment": "missing.yaml"}, "missing.yaml is not there"),
            ({"name": "../x"}, "no plain name"),
        ],
    )
    def test_mistakes_are_one_sentence(self, tmp_path: Path, fields: dict[str, Any], words: str) -> None:
        with pytest.raises(ConfigError, match=words) as error:
            load_sweep(written(tmp_path, **fields))
        assert "\n" not in str(error.value) and error.value.exit_code == 2

    def test_the_shipped_ones(self) -> None:
        bits, _ = load_sweep(REPOSITORY / "experiments" / "sweep-bits.yaml")
        assert bits.size == 36 * 3
        assert load_sweep(REPOSITORY / "experiments" / "sweep-search.yaml")[0].search is not None


def point(monitor: float, lut: float, fps: float, **more: Any) -> dict[str, Any]:
    return {"monitor": monitor, "lut": lut, "lut_equivalents": lut, "images_per_s": fps, **more}


def test_the_front_is_what_nothing_beats() -> None:
    best = [point(0.9, 100, 10), point(0.95, 200, 10), point(0.9, 150, 20)]
    beaten = [point(0.9, 100, 9), point(0.89, 100, 10), point(0.95, 201, 10), point(0.9, 150, 10)]
    assert table.front([*beaten, *reversed(best)], Limits()) == [best[0], best[2], best[1]]
    twins = [point(0.9, 100, 10), point(0.9, 100, 10)]
    assert table.front(twins, Limits()) == twins
    assert table.front(best, Limits(lut=160)) == [best[0], best[2]]
    with pytest.raises(ConfigError, match="no point of the sweep has lut of at most 50; the nearest has 100"):
        table.front(best, Limits(lut=50))


def test_a_field_may_have_values_of_several_kinds(tmp_path: Path) -> None:
    found = [{"key": "", "run": str(i), "values": {"bits": bits}} for i, bits in enumerate(("float", 4, [4, 2], None))]
    table.save([*found, {"key": "", "run": "4", "values": {}}], tmp_path)
    assert pd.read_parquet(tmp_path / "results.parquet")["bits"].fillna("").tolist() == ["float", "4", "4x2", "", ""]


def test_the_cost_model_is_judged_on_layers_it_was_not_fitted_on(tmp_path: Path) -> None:
    """Yosys counts twice the formula in every run but one, where it counts four times."""
    layers = []
    for run, factor in (("a", 2), ("b", 2), ("c", 2), ("d", 4)):
        layers += 3 * [model.Layer(run, "MVAU_rtl", {"lut": 100, "ff": 10}, {"lut": factor * 100, "ff": 30})]
        layers.append(model.Layer(run, "FIFO", {"lut": 0, "ff": 0}, {"lut": 0, "ff": 5}))
    fitted = model.fitted(layers)
    assert fitted.factors == {"lut": {"MVAU_rtl": 2}, "ff": {"MVAU_rtl": 3}} and fitted.layers == 16
    assert fitted.error == fitted.design_error == 0  # the medians of nine or three 0 and three or one 0.5
    nodes = [
        PricedNode(name="", kind=kind, lut=lut, ff=1, bram18=0, dsp=0)
        for kind, lut in (("MVAU_rtl", 10), ("Thresholding_rtl", 5))
    ]
    assert fitted.predict(nodes) == {"lut": 25, "ff": 4}
    (tmp_path / model.FILE).write_text(fitted.model_dump_json(), encoding="utf-8")
    assert model.load(tmp_path) == fitted
    (tmp_path / model.FILE).write_text('{"factors": {"MVAU": 2}}', encoding="utf-8")
    assert model.load(tmp_path).predict(nodes) == {"lut": 15, "ff": 2}
    earlier = {"cycles_per_image": 1, "images_per_s": 1, "latency_cycles": 1}
    earlier["layers"] = [{"name": "a", "cycles": 1, "LUT": 1, "BRAM_18K": 0, "DSP": 0}]  # type: ignore[assignment]
    (tmp_path / "estimates.json").write_text(json.dumps(earlier), encoding="utf-8")
    with pytest.raises(ArtifactError, match="built by another version of cxrflow"):
        model.formulas(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", '{"status": "finished"}', "[" * 10_000, "\0"])
def test_a_damaged_trial_is_a_row_that_says_so(text: str, tmp_path: Path) -> None:
    for run, content in (("bad", text), ("good", json.dumps(RUNNING))):
        (tmp_path / run).mkdir()
        (tmp_path / run / "trial.json").write_text(content, encoding="utf-8")
    bad, good = table.rows(tmp_path)
    assert good == RUNNING
    assert (bad["run"], bad["status"]) == ("bad", table.DAMAGED) and "bad/trial.json is damaged" in bad["error"]
    table.save([bad, good], tmp_path)
    assert pd.read_csv(tmp_path / "results.csv")["status"].tolist() == [table.DAMAGED, "running"]


RUNNING = {
    "key": "k", "run": "good", "status": "running", "error": "", "node": "", "experiment": "e", "seed": 0,
    "values": {"network.hidden": [8]}, "network": "64-8-1 W4A4",
}  # fmt: skip


def test_every_section_of_an_experiment_is_in_the_key_of_a_trial(tmp_path: Path) -> None:
    assert set(Experiment.model_fields) == {"name", *BUILT}
    base = load_experiment(written(tmp_path).parent / "tiny.yaml")
    points = [Point((("export.factor_bits", bits),)) for bits in (8, 9)]
    keys = {Trial(point, point.experiment(base), tmp_path / "runs", "data").key for point in points}
    assert len(keys) == 2


def test_a_trial_keeps_from_the_test_images_until_it_is_selected(tmp_path: Path) -> None:
    base = load_experiment(written(tmp_path).parent / "tiny.yaml")
    chosen = Point((("network.weight_bits", 4),))
    trial = Trial(chosen, chosen.experiment(base), tmp_path / "runs", "data")
    assert trial.row() is None
    row = trial.run()
    assert row["status"] == "finished" and row == trial.row() and row["cycles"] <= 1000
    path = trial.folder / "train" / "metrics.json"
    blind = json.loads(path.read_text(encoding="utf-8"))
    assert "test" not in blind and "validation" in blind
    with pytest.raises(ConfigError, match=r"has not looked at the test images.*`cxrflow sweep select"):
        write_report(trial.folder)
    command._trial(tmp_path / "runs", trial.experiment.name).train()
    seen = json.loads(path.read_text(encoding="utf-8"))
    assert {key: value for key, value in seen.items() if key != "test"} == blind and seen["test"]["n"] > 0
    assert trial.run() == row  # nothing is trained again
    assert replace(trial, data="other").row() is None

    failing = Point((("build.budget", {"lut": 0.001}),))  # type: ignore[arg-type]
    other = Trial(failing, failing.experiment(base), tmp_path / "runs", "data")
    with pytest.raises(ConfigError, match="no folding"):
        other.run()
    failed = other.row()
    assert failed is not None and failed["status"] == "failed" and "no folding" in failed["error"]


@pytest.mark.slow
def test_a_sweep_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    """With a trial that fails, a second sweep beside it, and test images for what is selected."""
    grid = {**GRID, "build.target_fps": [100_000, 1_000_000_000]}
    arguments = ("sweep", written(tmp_path, grid=grid), "--runs", tmp_path / "runs", "--workers")
    folder = tmp_path / "runs" / "tiny-sweep"
    process = cxrflow(*arguments, "2")
    try:
        _until(lambda: any(row["status"] == "finished" for row in table.rows(folder)), process)
        with pytest.raises(ConfigError, match="another cxrflow is working"):
            command.refit(folder)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    before = {row["run"]: (folder / row["run"] / "trial.json").stat().st_mtime_ns for row in table.rows(folder)
              if row["status"] == "finished"}  # fmt: skip
    said = finish(cxrflow(*arguments, "1"))  # starting a worker takes longer than what is left
    assert "The front" in said and "not a medical device" in said and "Traceback" not in said
    found = table.rows(folder)
    assert sorted(row["status"] for row in found) == ["failed", "failed", "finished", "finished"]
    assert all("cycles per image" in row["error"] for row in found if row["status"] == "failed")
    assert (
        before.items() <= {row["run"]: (folder / row["run"] / "trial.json").stat().st_mtime_ns for row in found}.items()
    )
    kept = pd.read_parquet(folder / "results.parquet")
    assert len(kept) == len(pd.read_csv(folder / "results.csv")) == 4 and "test_auc" not in kept
    assert {path.name for path in (folder / "figures").glob("*.png")} == {
        "pareto.png", "auc-weights.png", "auc-activations.png", "latency.png"
    }  # fmt: skip
    page = (folder / "sweep.html").read_text(encoding="utf-8")
    assert "not a medical device" in page and "http" not in page.replace("http-equiv", "")
    for words, printed in (
        (["select", str(folder), "--on", "validation", "--top", "1"], "test accuracy"),
        (["refit", str(folder)], "off, median over"),
    ):
        answer = CliRunner().invoke(app, ["sweep", *words])
        assert answer.exit_code == 0 and printed in answer.output, answer.output
    assert sum("test_auc" in row for row in table.rows(folder)) == 1


@pytest.mark.slow
def test_a_search_on_a_cluster_that_grows(tmp_path: Path) -> None:
    """A second node takes trials of a sweep that is running; Optuna's proposals lie in the space."""
    from ray.cluster_utils import Cluster

    space = {"network.hidden": {"choice": [[8], [4]]}, "train.lr": {"low": 1e-3, "high": 1e-2, "log": True}}
    search = {"trials": 3, "space": space}
    file, folder = written(tmp_path, grid=None, search=search), tmp_path / "runs" / "tiny-sweep"
    handler = signal.getsignal(signal.SIGTERM)  # Ray takes it, for good
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        process = cxrflow("sweep", file, "--runs", tmp_path / "runs", "--address", cluster.address)
        _until(lambda: len(table.rows(folder)) > 0, process)
        cluster.add_node(num_cpus=1)
        assert "The front" in finish(process)
    finally:
        cluster.shutdown()
        signal.signal(signal.SIGTERM, handler)
    found = table.rows(folder)
    assert [row["status"] for row in found].count("finished") + [row["status"] for row in found].count("stopped") == 3
    assert len({row["node"] for row in found if row["node"]}) == 2
    for row in found:
        assert row["values"]["network.hidden"] in ([8], [4]) and 1e-3 <= row["values"]["train.lr"] <= 1e-2


@pytest.mark.parametrize("stopped", [True, False])
def test_optuna_learns_that_a_stopped_trial_has_no_figures(stopped: bool) -> None:
    modes = list(drive.OBJECTIVES.values())
    proposals = drive.Proposals(space={"lr": FloatDistribution(0, 1)}, metric=list(drive.OBJECTIVES), mode=modes)
    assert proposals.suggest("a") is not None
    figures = {"monitor": 0.9} if stopped else {"monitor": 0.9, "lut_equivalents": 100, "images_per_s": 10.0}
    proposals.on_trial_complete("a", figures)
    assert [trial.state for trial in proposals._ot_study.trials] == [
        TrialState.PRUNED if stopped else TrialState.COMPLETE
    ]


def test_no_sweep_is_written_into_its_data(tmp_path: Path) -> None:
    (tmp_path / "xrays").mkdir()
    outcome = Place(tmp_path)("sweep", written(tmp_path), "--data", "xrays", "--runs", "xrays/runs")
    outcome.assert_refused("lies in", "which this command reads", "Choose another with --runs.")
    assert not any((tmp_path / "xrays").iterdir())


def test_a_cluster_that_does_not_answer_is_one_sentence(tmp_path: Path) -> None:
    outcome = Place(tmp_path)("sweep", written(tmp_path), "--address", "127.0.0.1:9")
    outcome.assert_refused("no Ray cluster answers at '127.0.0.1:9'")


def _until(done: Any, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 400
    while not done():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.1)
