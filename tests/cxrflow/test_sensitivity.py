"""Which layer needs how many bits: points on a tiny run, the road of widths, the proposal, and what is refused.

What could go wrong with any such table is its kind of fault: figures that are not those of the network that they are
said to be of. So the integers of a point are held against the run's own export, its price against the build's, and
the test images are taken away.
"""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.network import load_network
from contract.record import read_record
from cxrflow import stages
from cxrflow.console import Console
from cxrflow.experiment import Experiment, load_experiment
from cxrflow.sensitivity import command
from cxrflow.sensitivity.measurement import Measurement, Source
from cxrflow.sensitivity.proposal import RESOURCES, Budget, Options, Row, expected, propose, road, with_one
from cxrflow.stages import Run
from cxrflow.sweep.page import MONITOR
from cxrflow.sweep.spec import Point
from finn_build.build import estimate_network
from finn_build.records import Estimates
from finn_build.resources import TITLES
from qnn.records import Metrics
from tests.cxrflow.conftest import THREE, Place, draw_three


def run_of(place: Place) -> Run:
    return Run(load_experiment(place.run / "experiment.yaml"), place.run.parent, Console())


def one_by_one(points: list[Point], trial: Callable[[Point], Measurement], *_: Any) -> None:
    """Stand for Ray, whose processes take longer to start than all of this."""
    for point in points:
        if trial(point).row() is None:
            trial(point).run()


def test_a_price_is_what_the_build_would_write(finished: Place) -> None:
    from export.export import integers
    from qnn.checkpoint import load_checkpoint

    run = run_of(finished)
    net = load_checkpoint(finished.run / "train" / "checkpoint.pt").net
    network = integers(net, run.experiment.export, run.data().val).network
    assert network.dense[0].requantization is not None  # which has another price than thresholds
    found = estimate_network(network, run.experiment.build)
    written = (finished.run / "build" / "pynq-z2" / "estimates.json").read_text(encoding="utf-8")
    assert found == json.loads(written)


def test_in_its_own_widths_a_network_keeps_every_weight(finished: Place) -> None:
    from export.export import integers
    from qnn.checkpoint import load_checkpoint
    from qnn.rewidth import in_widths

    run = run_of(finished)
    network, data = run.experiment.network, run.data()
    net = load_checkpoint(finished.run / "train" / "checkpoint.pt").net
    own = load_network(finished.run / "export" / "reference.npz")
    for bits in (4, 1, 2):
        spec = network.model_copy(update={"weight_bits": (bits, 4)})
        config = run.experiment.train.augment
        found = integers(in_widths(net, spec, data.train, config), run.experiment.export, data.val).network
        # The scale is the largest weight's, so each integer is that of 4 bits (at most 7) in steps that are as large.
        expected = own.dense[0].weights * (2 ** (bits - 1) - 1) / 7 if bits > 1 else own.dense[0].weights
        signs = found.dense[0].weights * expected >= 0
        assert signs.all() and found.dense[0].weights.max() == max(1, 2 ** (bits - 1) - 1)
        assert bits == 1 or abs(found.dense[0].weights - expected).max() <= 0.5
        assert (abs(found.dense[1].weights) == abs(own.dense[1].weights)).all()


def test_batch_norms_are_measured_anew_and_nothing_else_changes(finished: Place) -> None:
    import torch

    from qnn.checkpoint import load_checkpoint
    from qnn.rewidth import in_widths
    from qnn.spec import Augmentation

    run = run_of(finished)
    net = load_checkpoint(finished.run / "train" / "checkpoint.pt").net
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    spec = run.experiment.network.model_copy(update={"weight_bits": (2, 4)})
    images = run.data().train
    found = in_widths(net, spec, images, Augmentation(enabled=False))
    assert all((tensor == before[name]).all() for name, tensor in net.state_dict().items())
    for name, tensor in found.named_parameters():
        if name.endswith(("linear.weight", "norm.weight", "norm.bias")):
            assert (tensor == before[name]).all(), name
    with torch.no_grad():
        sums = found.blocks[0].linear(torch.from_numpy(images.pixels).flatten(1).float())
    norm = found.blocks[0].norm
    torch.testing.assert_close(norm.running_mean, sums.mean(dim=0))
    torch.testing.assert_close(norm.running_var, sums.var(dim=0))
    assert (norm.running_mean != before["blocks.0.norm.running_mean"]).any()


def test_batch_norms_do_not_depend_on_the_number_of_threads() -> None:
    """Ray gives a point one thread, and a proposal is measured beside it with as many as there are cores."""
    import numpy as np
    import torch

    from datasets.xray import Split
    from qnn.network import PixelMLP
    from qnn.rewidth import in_widths
    from qnn.spec import Augmentation, NetworkSpec

    n, numbers = 1024, np.random.default_rng(0)
    pixels, nothing = numbers.integers(0, 256, (n, 28, 28), np.uint8), np.zeros(n, np.int64)
    images = Split(pixels, nothing, nothing, tuple(map(str, range(n))))
    spec = NetworkSpec(height=28, width=28, hidden=(64,), weight_bits=8, act_bits=8)
    net, threads, found = PixelMLP(spec), torch.get_num_threads(), []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            found.append(in_widths(net, spec, images, Augmentation(enabled=False)).state_dict())
            assert torch.get_num_threads() == number
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_table_figures_and_proposal_from_validation_images_alone(
    finished: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    blind = stages.load_data

    def without_test(*args: Any, **options: Any) -> Any:
        return replace(blind(*args, **options), test=None)  # type: ignore[arg-type]

    monkeypatch.setattr(stages, "load_data", without_test)
    monkeypatch.setattr(command, "drive_points", one_by_one)
    arguments = ("sensitivity", "tiny", "--bits", "4,1", "--lut", "370", "--write", "mixed.yaml")
    outcome = finished(*arguments)
    assert outcome.code == 0, outcome.err
    place = finished.run / "sensitivity" / "as-trained"
    rows = list(csv.DictReader((place / "sensitivity.csv").open(encoding="utf-8")))
    assert [(row["of"], row["bits"]) for row in rows] == [
        ("all as they are", ""), ("as they are, batch norms measured anew", ""),
        ("layer 0 weights", "1"), ("layer 1 weights", "1"), ("layer 0 activations", "1"),
    ]  # fmt: skip
    assert all(0 <= float(row[MONITOR]) <= 1 for row in rows)
    metrics = read_record(finished.run / "train" / "metrics.json", Metrics)
    built = read_record(finished.run / "build" / "pynq-z2" / "estimates.json", Estimates)
    assert metrics.best is not None and built.formulas is not None
    assert float(rows[0][MONITOR]) == pytest.approx(metrics.best.monitor, abs=1e-6)  # floats that tie are not integers
    assert [int(rows[0][f"{TITLES[name]} (our formulas)"]) for name in RESOURCES] == [
        built.formulas.total.amounts[name] for name in RESOURCES
    ]
    assert not rows[0]["change"] and [float(row["change"]) for row in rows[1:]] == pytest.approx(
        [float(row[MONITOR]) - float(rows[1][MONITOR]) for row in rows[1:]]
    )
    assert "The first row is the run itself; all others have batch norms measured anew, and changes" in outcome.out
    assert {"auc.png", "auc.svg", "price.png", "price.svg"} <= {path.name for path in (place / "figures").iterdir()}
    assert "our formulas" in outcome.out and "not a medical device" in outcome.out
    written = yaml.safe_load((finished.folder / "mixed.yaml").read_text(encoding="utf-8"))
    again = load_experiment(finished.folder / "mixed.yaml")
    bits = again.network.weight_bits_per_layer, again.network.act_bits_per_layer
    assert f"weight_bits {list(bits[0])}, act_bits {list(bits[1])}" in outcome.out
    own = run_of(finished).experiment
    assert written["name"] == "tiny-mixed" and again.train == own.train and again.data == own.data
    measured = next(
        r for r in place.glob("*/trial.json") if f"W{again.network.describe().rpartition('W')[2]}" in r.read_text()
    )
    assert json.loads(measured.read_text(encoding="utf-8"))["lut"] <= 370
    before = {path: path.stat().st_mtime_ns for path in place.glob("*/trial.json")}
    assert finished(*arguments).out == outcome.out  # what is done is done
    assert {path: path.stat().st_mtime_ns for path in place.glob("*/trial.json")} == before
    narrow = finished("sensitivity", "tiny", "--bits", "4,1", "--lut", "10")
    assert narrow.code == 1 and "No widths are within 10 LUT: the narrowest that were tried take " in narrow.out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--bits", "8,9"], ("--bits is '8,9'", "widths of 1 to 8")),
        (["--bits", ""], ("--bits is ''",)),
        (["--lut", "5", "--loss", "0.1"], ("expected one kind of budget",)),
        (["--write", "runs/tiny/train/x.yaml"], ("lies in", "Choose another with --write")),
        ([], ("is not there or not finished", "`cxrflow train`")),
    ],
)
def test_mistakes_are_one_sentence(bare: Place, options: list[str], words: tuple[str, ...]) -> None:
    bare.run.mkdir(parents=True)
    (bare.run / "experiment.yaml").write_text((bare.folder / "tiny.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    outcome = bare("sensitivity", "tiny", *options)
    outcome.assert_refused(*words, code=outcome.code)
    assert not (bare.run / "sensitivity").exists()


def test_widths_that_a_layer_cannot_have_are_rows_that_say_why(tmp_path: Path) -> None:
    convolutions = [{"channels": 2, "padding": padding} for padding in (0, 1)]
    network = {"convolutions": convolutions, "hidden": [], "weight_bits": 4, "act_bits": 4}
    experiment = Experiment.model_validate(
        {"name": "padded", "network": network, "build": {"board": "pynq-z2", "target_fps": 1000}}
    )
    source = Source(experiment, tmp_path / "padded", "", "", 0)
    found = command.refusals(source, [(i, 1) for i in range(5)], tmp_path)
    assert list(found) == [(3, 1)]  # the activation in front of the padding
    assert found[3, 1]["error"].startswith("'network': weight layer 1 pads its image with 0")


def test_runs_without_widths_or_training_are_refused(bare: Place) -> None:
    for name, changes, words in (
        ("float", {"network": {"weight_bits": "float"}}, "has float layers, expected 1 to 8 bits"),
        ("import", {"model": {"file": "x.onnx"}}, "is the imported network x.onnx"),
    ):
        folder = bare.folder / "runs" / name
        folder.mkdir(parents=True)
        content = {"name": name, "build": {"board": "pynq-z2", "target_fps": 1000}, **changes}
        (folder / "experiment.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
        bare("sensitivity", name).assert_refused(words)


@st.composite
def _options(draw: st.DrawFn) -> tuple[tuple[int, ...], Options]:
    """Own widths, and rows in other ones: figures of any kind, as cheap or dear as they like."""
    start = tuple(draw(st.lists(st.integers(1, 8), min_size=1, max_size=4)))
    number = st.integers(0, 50)

    def row() -> Row:
        lut, bram18 = draw(number), draw(number)
        return {
            "monitor": draw(number) / 50, "lut": lut, "bram18": bram18, "dsp": 0, "lut_equivalents": lut + 2 * bram18,
        }  # fmt: skip

    base = row()
    return start, [{bits: row() for bits in draw(st.sets(st.integers(1, 8)))} | {own: base} for own in start]


@settings(max_examples=200, deadline=None)
@given(_options(), st.integers(0, 150), st.booleans(), st.integers(0, 3))
def test_what_is_proposed_is_within_the_budget_and_no_measured_point_there_is_better(
    given_options: tuple[tuple[int, ...], Options], most: int, within_limits: bool, astray: int
) -> None:
    """Also where sums do not foretell what is measured; where they do, no step is left that could be undone."""
    start, options = given_options
    base = options[0][start[0]]
    budget = Budget({"lut": most + 1} if within_limits else {}, 0.1, base)
    steps = road(start, options, budget.limits)
    assert steps[0] == start and len(set(steps)) == len(steps)
    known = [(with_one(start, i, bits), row) for i, rows in enumerate(options) for bits, row in rows.items()]
    measured = list(known)

    def measure(widths: tuple[int, ...]) -> Row:
        sums = expected(start, options, widths)
        row = {
            "monitor": sums["monitor"] - sum(widths) * astray % 7 / 50, "lut": sums["lut"] + sum(widths) * astray % 3,
            "bram18": sums["bram18"], "dsp": 0, "lut_equivalents": sums["lut"] + 2 * sums["bram18"],
        }  # fmt: skip
        measured.append((widths, row))
        return row

    found = propose(start, options, budget, measure, known)
    within = [one for one in measured if budget.fits(one[1])]
    assert (found is None) == (not within)
    if found is None:
        return
    assert (found.widths, found.row) in within
    assert budget.merit(found.row) == max(budget.merit(row) for _, row in within)
    if found.worse is not None:
        assert found.worse in within and budget.merit(found.worse[1]) < budget.merit(found.row)
    elif within_limits and not astray and found.widths in steps:
        for i, bits in enumerate(start):
            wider = expected(start, options, with_one(found.widths, i, bits))
            assert not budget.fits(wider) or wider["monitor"] <= found.row["monitor"] + 1e-9


def _rows(figures: dict[int, tuple[float, int]]) -> dict[int, Row]:
    return {
        bits: {"monitor": auc, "lut": lut, "bram18": 0, "dsp": 0, "lut_equivalents": lut}
        for bits, (auc, lut) in figures.items()
    }


@pytest.mark.parametrize("adds_up", [True, False])
def test_a_late_step_that_saves_more_than_is_needed(adds_up: bool) -> None:
    """Earlier ones are undone; where that is measured to gain nothing, the one change that suffices is proposed."""
    base = (0.9634, 5291)
    options = [
        _rows({8: base, 3: (0.8718, 3111), 1: (0.6427, 2492)}),
        _rows({8: base, 3: (0.9564, 4927), 1: (0.9233, 4902)}),
        _rows({8: base, 3: (0.9601, 5217), 1: (0.8941, 5196)}),
    ]
    start = (8, 8, 8)

    def measure(widths: tuple[int, ...]) -> Row:
        sums = expected(start, options, widths)
        return sums | {"lut_equivalents": sums["lut"]} | ({} if adds_up else {"monitor": 0.5})

    budget = Budget({"lut": 4000}, 0.0, options[0][8])
    assert road(start, options, budget.limits)[1] != (3, 8, 8)
    found = propose(start, options, budget, measure, [((3, 8, 8), options[0][3])])
    assert found is not None and found.widths == (3, 8, 8)
    assert (found.worse is None) == adds_up


@pytest.mark.slow
def test_on_ray_after_retraining_of_three_classes(bare: Place) -> None:
    """Points are ordinary runs that begin where the run ended, and only the macro AUC of validation images is known."""
    content = {
        "name": "three",
        "data": {"source": "three", "classes": list(THREE)},
        "network": {"height": 8, "width": 8, "hidden": [6], "weight_bits": 3, "act_bits": 2},
        "train": {"epochs": 2, "batch_size": 16},
        "build": {"board": "pynq-z2", "target_fps": 10000},
    }
    draw_three(bare.folder / "three")
    (bare.folder / "three.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    assert bare("train", "three.yaml").code == 0
    outcome = bare("sensitivity", "three", "--bits", "1", "--retrain", "1", "--workers", "1")
    assert outcome.code == 0, outcome.err
    folder = bare.folder / "runs" / "three" / "sensitivity" / "retrained-1"
    found = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*/train/metrics.json")]
    assert len(found) >= 4 and all("test" not in metrics for metrics in found)
    assert all(metrics["train_config"]["init_from"].endswith("runs/three") for metrics in found)
    assert len((folder / "sensitivity.csv").read_text(encoding="utf-8").splitlines()) == 1 + 5
