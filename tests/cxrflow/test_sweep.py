"""Sweeps on tiny networks and images: the file, the rows, resuming, the front, and real Ray workers."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from matplotlib.figure import Figure
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState
from typer.testing import CliRunner

from contract.errors import ArtifactError, ConfigError
from cxrflow.cli import app
from cxrflow.experiment import Experiment, load_experiment
from cxrflow.report.page import write_report
from cxrflow.sensitivity.measurement import Source
from cxrflow.stage_table import BUILT
from cxrflow.sweep import command, drive, model, page, table
from cxrflow.sweep.spec import Limits, Point, load_sweep
from cxrflow.sweep.trial import Row, Trial
from finn_build.records import PricedNode
from tests.cxrflow.conftest import Outcome, Place, draw_xrays

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


def done(outcome: Outcome) -> str:
    assert outcome.code == 0, outcome
    return outcome.out + outcome.err


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

    def test_entries_of_lists_vary(self) -> None:
        base = load_experiment(REPOSITORY / "experiments" / "cnn-depthwise-w4a4.yaml")
        values = (("network.convolutions[1].channels", 24), ("network.weight_bits[0]", 4))
        network = Point(values).experiment(base).network
        assert network.describe() == "4096-c16k5s2-d24s2-d64s2-d64s2-1 W4,4,4,4,8A4"
        source = Source(base, Path("runs"), "", "", 0)
        assert source.widths == (8, 4, 4, 4, 8, 4, 4, 4, 4) and source.names[3:6] == [
            "convolution 3 weights", "layer 4 weights", "convolution 0 activations",
        ]  # fmt: skip
        assert Point(tuple(source.in_widths(source.widths).items())).experiment(base).network == base.network
        with pytest.raises(ConfigError, match=r"'network.convolutions' is a list of 4"):
            Point((("network.convolutions[4]", 8),)).experiment(base)
        with pytest.raises(ConfigError, match="has no section '4'"):
            Point((("network.convolutions[4].channels", 8),)).experiment(base)

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"gird": 1}, "'gird' is not a known field; did you mean 'grid'"),
            ({"grid": {"network.weight_bitz": [1]}}, "'network.weight_bitz' is not a known field; did you mean"),
            ({"grid": {"netwrk.weight_bits": [1]}}, "has no section 'netwrk'"),
            ({"grid": {"network.weight_bits": [1, 9]}}, "weight_bits 9: .*widths are 1..8"),
            ({"grid": {}}, "'grid'.*at least 1"),
            ({"grid": {"network.act_bits": []}}, r"'grid\.network\.act_bits' is \[\], expected at least 1 in it"),
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
            (
                {"grid": {"network": [{"hidden": [8]}]}},
                "'network' is no field with its section, such as network.weight_",
            ),
            (
                {"grid": None, "search": {"trials": 3, "space": {"train.lr": {"lwo": 1}}}},
                r"'search\.space\.train\.lr\.lwo' is not a known field; did you mean 'low'\?.*#searchspace has",
            ),
            ({"limits": {"lut": -1}}, r"greater than 0\. docs/experiment-file\.md#limits has every field"),
            ({"grid": {"network.act_bits": 4}}, r"'grid\.network\.act_bits': found 4, expected a list of values"),
            ({"grid": {"train.lr": [date(2020, 1, 2)]}}, "found a date, expected numbers"),
            ({"grid": {"network.act_bits": [4, 2, 4]}}, "4 is there more than once"),
            (
                {"grid": {"network.weight_bits": [4, "float"]}},
                "weight_bits float: a float layer cannot become hardware",
            ),
            (
                {
                    "grid": None,
                    "search": {"trials": 3, "space": {"train.epochs": {"low": 1.5, "high": 3, "integer": True}}},
                },
                "no whole number",
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
    place = {"board": "pynq-z2", "values": {}}
    return {"monitor": monitor, "lut": lut, "lut_equivalents": lut, "images_per_s": fps, **place, **more}


def test_the_front_is_what_nothing_beats() -> None:
    best = [point(0.9, 100, 10), point(0.95, 200, 10), point(0.9, 150, 20)]
    beaten = [point(0.9, 100, 9), point(0.89, 100, 10), point(0.95, 201, 10), point(0.9, 150, 10)]
    assert table.front([*beaten, *reversed(best)], Limits()) == [best[0], best[2], best[1]]
    twins = [point(0.9, 100, 10), point(0.9, 100, 10)]
    assert table.front(twins, Limits()) == twins
    assert table.front(best, Limits(lut=160)) == [best[0], best[2]]
    with pytest.raises(ConfigError, match="no point of the sweep has lut of at most 50; the nearest has 100"):
        table.front(best, Limits(lut=50))


@pytest.mark.parametrize(
    "fields",
    [
        {"board": "zcu104"},
        {"values": {"data.source": "other"}},
        {"values": {"train.validation_augment.scale": 0.1}},
        {"values": {"build.clk_ns": 1}},
    ],
)
def test_points_are_compared_with_their_like_only(fields: dict[str, Any]) -> None:
    """What beats in every figure beats nothing on another family of parts, at another clock, or on other images."""
    one, other = point(0.9, 100, 10), point(0.95, 50, 20, **fields)
    assert table.front([one, other], Limits()) == [other, one]
    assert set(page.columns([one, other])) >= set(fields.get("values", {"board"}))  # and it is said why


# Two values of every field of an experiment, by its dotted name; a field of a section that may be None is a section's.
VALUES: dict[str, list[Any]] = {
    "data.source": ["phantom", "xrays"], "data.label": ["Finding", None], "data.label_table": [None, "labels.csv"],
    "data.positive": ["PNEUMONIA", None], "data.negative": ["NORMAL", "*"], "data.uncertain": ["drop", "negative"],
    "data.blank": ["drop", "refuse"], "data.colour": ["refuse", "gray"],
    "data.classes": [["NORMAL", "BACTERIA", "VIRUS"], None],
    "data.val_fraction": [0.1, 0.25], "data.seed": [1, 2], "data.strict": [True, False],
    "network.height": [8, 9], "network.width": [8, 9], "network.convolutions": [[], [4]],
    "network.pool": ["max", "global"],
    "network.hidden": [[8], [8, 4]], "network.weight_bits": [[8, 4], 1], "network.act_bits": [[2], 4],
    "network.outputs": [1], "train.epochs": [2, 3], "train.passes": [1, 2], "train.batch_size": [16, 8],
    "train.lr": [1e-3, 1], "train.weight_decay": [0, 1e-4], "train.pct_start": [0.1, 0.5], "train.seed": [0, 2**63 - 1],
    "train.precision": ["float32", "bfloat16"],
    "train.device": ["cpu", "auto"], "train.patience": [None, 1], "train.class_balance": [True, False],
    "train.augment": [{"enabled": False}, {"scale": 0.1, "gamma": 0}], "train.augment.enabled": [True, False],
    "train.validation_augment": [{}, {"enabled": False}], "train.distill": [None, {"teacher": "best", "weight": 0.5}],
    "train.init_from": [None, "other/run"], "train.operating_point": ["youden", "balanced"],
    "train.one_class": [None, "VIRUS"], "export.factor_bits": [None, 8], "build.board": ["pynq-z2", "zcu104"],
    "build.clk_ns": [10, 4.5], "build.target_fps": [1000, "max"], "build.folding": ["a.json"],
    "build.activation": ["auto", "requantize"], "build.budget": [{"lut": 0.5}, {}], "build.budget.lut": [0.5, 0.6],
    "build.sample": [1, 16], "build.stream_bits": [None, 8, 32],
}  # fmt: skip
ALSO: dict[str, dict[str, list[Any]]] = {  # what a field cannot be without
    "build.folding": {"build.target_fps": [None]},
    "train.one_class": {"data.classes": [["NORMAL", "BACTERIA", "VIRUS"]]},
    "network.pool": {"network.convolutions": [[4]]},
}


def test_every_field_has_values_here() -> None:
    sections = {"data", "network", "train", "export", "build"}
    fields = {f"{name}.{field}" for name in sections for field in _section(Experiment, name).model_fields}
    assert fields <= VALUES.keys() and set(Experiment.model_fields) - sections == {"name", "model"}


def _section(model: Any, name: str) -> Any:
    return type(model.model_fields[name].default) if name != "build" else model.model_fields[name].annotation


@pytest.mark.parametrize("field", sorted(VALUES))
def test_every_field_of_an_experiment_can_vary(field: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the file to the page, as after training: a list or a table once died in the figures, behind all of it."""
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **_: path.touch())  # drawing takes a second
    (tmp_path / "xrays").mkdir()  # nothing is read
    grid = {field: VALUES[field], **ALSO.get(field, {})}
    space = {name: {"choice": values} for name, values in grid.items()}
    for content in ({"grid": grid}, {"grid": None, "search": {"trials": 4, "space": space}}):
        sweep, _ = load_sweep(written(tmp_path, **content))
        points = list(sweep.points())
        assert len({point.name for point in points}) == len(points) == len(VALUES[field])
        found = []
        for number, one in enumerate(points):
            row = Row.model_validate(FINISHED | {"experiment": one.name, "values": dict(one.values)})
            found.append(json.loads(row.model_dump_json(exclude_unset=True)) | {"monitor": 0.9 + number / 100})
            if sweep.search is not None:  # what ended is proposed again as it was
                proposal = drive._proposal(sweep.search, found[-1]["values"])
                assert proposal is not None and drive._proposed(sweep.search, proposal) == one
        table.save(found, tmp_path)
        kept = pd.read_parquet(tmp_path / "results.parquet"), pd.read_csv(tmp_path / "results.csv")
        assert [len(one) for one in kept] == [len(points)] * 2
        together = table.points(found)
        results = page.Results(found, together, table.front(together, sweep.limits), model.load(tmp_path))
        drawn = page.figures(results.points, results.front, tmp_path / "figures")
        text = page.write_page(sweep, results, drawn, tmp_path).read_text(encoding="utf-8")
        assert (
            "not a medical device" in text
            and FINISHED["network"] in text
            and (field in text or field.startswith("network."))
        )


def test_what_stands_beside_an_axis_is_not_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **_: drawn.append(figure))
    values = {"network.weight_bits": 4, "network.act_bits": 2}
    found = table.points([FINISHED | {"experiment": str(bits), "values": values} for bits in (1, 2)])
    page.figures(found, found, tmp_path)
    assert len({id(figure) for figure in drawn}) == 4
    for figure in drawn:
        figure.draw_without_rendering()
        for axes in figure.axes:
            for label in (axes.xaxis.label, axes.yaxis.label):
                box = label.get_window_extent()
                assert box.x0 >= 0 <= box.y0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1, label


@pytest.mark.parametrize(
    "fields",
    [
        {"network.weight_bits": [[8, 4], 4], "network.hidden": [[8], [8, 8]]},
        {"network.weight_bits": [4, [8, "float"]]},
        {"network.act_bits": [4, "float"]},
    ],
)
def test_a_point_that_cannot_be_is_refused_before_anything_is_trained(fields: dict[str, Any], tmp_path: Path) -> None:
    """In a grid and in a search alike, also where only two choices together are wrong."""
    space = {name: {"choice": values} for name, values in fields.items()}
    for content in ({"grid": fields}, {"grid": None, "search": {"trials": 3, "space": space}}):
        with pytest.raises(ConfigError, match=r"the point .*(lists 2 widths|cannot become hardware)"):
            load_sweep(written(tmp_path, **content))


def test_a_field_that_does_not_vary_can_be_set(tmp_path: Path) -> None:
    """In every point; one that varies, in whole or in part, has its values in the file."""
    sweep, base = load_sweep(written(tmp_path), fields=["train.epochs=7", "val_fraction=0.25"])
    for point in sweep.points():
        found = point.experiment(base)
        assert (found.train.epochs, found.data.val_fraction) == (7, 0.25)
    for name, grid in (("network.act_bits", GRID), ("build.budget.lut", {"build.budget": [{"lut": 0.5}]})):
        with pytest.raises(ConfigError, match=f"'{name}', which varies in .*sweep.yaml. Change it there"):
            load_sweep(written(tmp_path, grid=grid), fields=[f"{name}=0.5"])


def test_a_relative_path_is_meant_beside_the_file(tmp_path: Path) -> None:
    """Workers run elsewhere; the name of a run stays a name."""
    (tmp_path / "other" / "run").mkdir(parents=True)
    grid = {"train.init_from": ["other/run", "run"], "train.distill": [{"teacher": "other/run"}, {"teacher": "t"}]}
    sweep, base = load_sweep(written(tmp_path, grid=grid))
    trains = [point.experiment(base).train for point in sweep.points()]
    assert {str(train.init_from) for train in trains} == {str(tmp_path / "other/run"), "run-seed0"}
    assert {str(train.distill and train.distill.teacher) for train in trains} == {
        str(tmp_path / "other" / "run"), "t-seed0"
    }  # fmt: skip


@pytest.mark.parametrize(("there", "found"), [
    ((), ("start", "start-seed1")), (("start",), ("start", "start-seed1")),
    (("start", "start-seed0", "start-seed1"), ("start-seed0", "start-seed1")),
])  # fmt: skip
def test_the_name_of_a_run_is_one_beside_the_sweep(
    tmp_path: Path, there: tuple[str, ...], found: tuple[str, ...]
) -> None:
    """The sweep's own runs lie one folder deeper; seed 0 is content with a run that was trained alone."""
    runs = tmp_path / "runs"
    for name in there:
        (runs / name).mkdir(parents=True)
    grid = {"train.init_from": ["start"], "train.distill": [{"teacher": "start"}]}
    sweep, base = load_sweep(written(tmp_path, grid=grid, seeds=2))
    trains = [point.experiment(base, runs).train for point in sweep.points()]
    assert tuple(train.init_from for train in trains) == tuple(runs / name for name in found)
    assert all(train.distill is not None and train.distill.teacher == train.init_from for train in trains)


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


FINISHED: dict[str, Any] = {
    "key": "k", "run": "r", "status": "finished", "error": "", "node": "", "seed": 0, "network": "64-8-1 W4A4",
    "monitor": 0.9, "training_s": 1.0, "board": "pynq-z2", "cycles": 10, "images_per_s": 10.0, "latency_us": 1.0,
    "lut": 100, "ff": 10, "bram18": 1, "dsp": 0, "lut_equivalents": 120.0,
}  # fmt: skip
RUNNING = {
    "key": "k", "run": "good", "status": "running", "error": "", "node": "", "experiment": "e", "seed": 0,
    "values": {"network.hidden": [8]}, "network": "64-8-1 W4A4",
}  # fmt: skip


@pytest.mark.parametrize("what", ["grid", "search"])
def test_an_unfinished_sweep_says_how_much_of_it_is_there(what: str, tmp_path: Path) -> None:
    """On the terminal, for `show`, and on the page; a row of an earlier grid is not one of this one's."""
    content = {"grid": {"network.weight_bits": [1, 2, 4]}, "seeds": 1}
    if what == "search":
        content = {"grid": None, "search": {"trials": 3, "space": {"network.weight_bits": {"choice": [1, 2, 4]}}}}
    sweep, _ = load_sweep(written(tmp_path, **content))
    found = [
        FINISHED | {"experiment": point.name, "run": f"{point.name}-seed0", "values": dict(point.values)}
        for point in sweep.points()
    ]
    assert page.unfinished(sweep, found) == ""
    left = [found[0], found[1] | {"status": "running"}, found[2] | {"status": "failed"}]
    assert page.unfinished(sweep, left).startswith("2 of 3 trials have ended")
    assert page.unfinished(sweep, [*left[:1], FINISHED]).startswith(f"{1 + (what == 'search')} of 3")
    results = page.Results(left, left[:1], left[:1], model.load(tmp_path))
    assert "2 of 3 trials have ended" in page.write_page(sweep, results, [], tmp_path).read_text(encoding="utf-8")


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
    grid = {**GRID, "network.act_bits": [[2]], "build.target_fps": [100_000, 1_000_000_000]}
    arguments = ("sweep", written(tmp_path, grid=grid), "--runs", tmp_path / "runs", "--workers", "1")
    folder = tmp_path / "runs" / "tiny-sweep"
    process = cxrflow(*arguments)
    try:
        _until(lambda: any(row["status"] == "finished" for row in table.rows(folder)), process)
        with pytest.raises(ConfigError, match="another cxrflow is working"):
            command.refit(folder)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    before = {row["run"]: (folder / row["run"] / "trial.json").stat().st_mtime_ns for row in table.rows(folder)
              if row["status"] == "finished"}  # fmt: skip
    said = done(Place(tmp_path)(*arguments))
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
        "pareto.png", "auc-weights.png", "latency.png"
    }  # fmt: skip
    shown = (folder / "sweep.html").read_text(encoding="utf-8")
    assert "trials have ended" not in shown
    assert "not a medical device" in shown and "http" not in shown.replace("http-equiv", "")
    (folder / "sweep.html").unlink()
    for words, printed in (
        (["show", str(folder)], "sweep.html"),
        (["select", str(folder), "--on", "validation", "--top", "1"], "test accuracy"),
        (["refit", str(folder)], "off, median over"),
    ):
        answer = CliRunner().invoke(app, ["sweep", *words])
        assert answer.exit_code == 0 and printed in answer.output, answer.output
    assert (folder / "sweep.html").is_file() and sum("test_auc" in row for row in table.rows(folder)) == 1


@pytest.mark.slow
def test_a_sweep_that_is_terminated_says_so_as_after_ctrl_c(tmp_path: Path) -> None:
    """Ray puts handlers of its own in the place of ours: a stack of C++ was all that a log had.

    All that it has started gets the same signal, as by `timeout` or a stopped service, and Tune waited a minute for it.
    """
    (file := written(tmp_path)).write_text(file.read_text().replace("tiny.yaml", "long.yaml"), encoding="utf-8")
    (tmp_path / "long.yaml").write_text((tmp_path / "tiny.yaml").read_text().replace("epochs: 2", "epochs: 90000"))
    process = cxrflow("sweep", file, "--runs", tmp_path / "runs", "--workers", "1")
    _until(lambda: table.rows(tmp_path / "runs" / "tiny-sweep"), process)
    os.killpg(process.pid, signal.SIGTERM)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "error: the sweep was interrupted; 0 of 2 trials have ended and are kept." in said
    assert "SIGTERM" not in said and "Traceback" not in said


STUCK = """
import ctypes, signal, sys
from cxrflow.sweep.ending import ends_within
heard = []
mutex, lock = ctypes.create_string_buffer(64), ctypes.CDLL(None).pthread_mutex_lock
signal.signal(signal.SIGTERM, lambda *_: {handles})
with ends_within({seconds}, lambda: print("ended", flush=True), 130):
    print("waits", flush=True)
    while not heard:
        {waits}
sys.exit("left")
"""


@pytest.mark.parametrize(
    ("seconds", "waits", "handles", "code", "said"),
    [(0.1, "lock(mutex)", "None", 130, "ended"), (60, "pass", "heard.append(1)", 1, "left")],
)
def test_what_waits_in_a_library_ends_all_the_same(
    seconds: float, waits: str, handles: str, code: int, said: str
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK.format(seconds=seconds, waits=waits, handles=handles)],
        cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "waits\n"
    process.terminate()
    assert process.communicate(timeout=120)[0].split() == [said] and process.returncode == code


@pytest.mark.slow
def test_a_search_on_a_cluster_that_grows(tmp_path: Path) -> None:
    """A second node takes trials of a sweep that is running; Optuna's proposals lie in the space."""
    from ray.cluster_utils import Cluster

    space = {
        "network.hidden": {"choice": [[8], [4]]},
        "network.weight_bits": {"choice": [[4, 2], 1]},
        "train.lr": {"low": 1e-3, "high": 1e-2, "log": True},
    }
    search = {"trials": 3, "space": space}
    file, folder = written(tmp_path, grid=None, search=search), tmp_path / "runs" / "tiny-sweep"
    handler = signal.getsignal(signal.SIGTERM)  # Ray takes it, for good
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        with ThreadPoolExecutor(1) as pool:
            swept = pool.submit(
                Place(tmp_path), "sweep", file, "--runs", tmp_path / "runs", "--address", cluster.address
            )
            while not table.rows(folder) and not swept.done():
                time.sleep(0.1)
            cluster.add_node(num_cpus=1)
            assert "The front" in done(swept.result())
    finally:
        cluster.shutdown()
        signal.signal(signal.SIGTERM, handler)
    found = table.rows(folder)
    assert [row["status"] for row in found].count("finished") + [row["status"] for row in found].count("stopped") == 3
    assert len({row["node"] for row in found if row["node"]}) == 2
    for row in found:
        assert row["values"]["network.hidden"] in ([8], [4]) and row["values"]["network.weight_bits"] in ([4, 2], 1)
        assert 1e-3 <= row["values"]["train.lr"] <= 1e-2


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
