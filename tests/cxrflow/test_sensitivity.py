"""Which layer needs how many bits: points on a tiny run, the road of widths, the proposal, and what is refused.

What could go wrong with any such table is its kind of fault: figures that are not those of the network that they are
said to be of. So the integers of a point are held against the run's own export, its price against the build's, and
the test images are taken away.
"""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.network import load_network
from cxrflow import stages
from cxrflow.console import Console
from cxrflow.experiment import load_experiment
from cxrflow.sensitivity import command
from cxrflow.sensitivity.measurement import Measurement
from cxrflow.sensitivity.proposal import Options, Row, expected, road, walk
from cxrflow.stages import Run
from cxrflow.sweep.page import MONITOR
from cxrflow.sweep.spec import Limits, Point
from finn_build.build import estimate_network
from tests.cxrflow.conftest import Place


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
    assert network.layers[0].requantization is not None  # which has another price than thresholds
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
        expected = own.layers[0].weights * (2 ** (bits - 1) - 1) / 7 if bits > 1 else own.layers[0].weights
        signs = found.layers[0].weights * expected >= 0
        assert signs.all() and found.layers[0].weights.max() == max(1, 2 ** (bits - 1) - 1)
        assert bits == 1 or abs(found.layers[0].weights - expected).max() <= 0.5
        assert (abs(found.layers[1].weights) == abs(own.layers[1].weights)).all()


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
        ("all as they are", ""), ("layer 0 weights", "1"), ("layer 1 weights", "1"), ("layer 0 activations", "1"),
    ]  # fmt: skip
    assert all(0 <= float(row[MONITOR]) <= 1 for row in rows)
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
@given(_options(), st.integers(0, 150), st.booleans())
def test_what_is_proposed_is_within_the_budget(
    given_options: tuple[tuple[int, ...], Options], most: int, down: bool
) -> None:
    """And is found wherever the end of the road is within it, also where sums do not foretell what is measured."""
    start, options = given_options
    limits = Limits(lut=most + 1) if down else Limits()
    steps = road(start, options, limits)
    assert steps[0] == start and len(set(steps)) == len(steps)

    def measure(widths: tuple[int, ...]) -> Row:
        found = expected(start, widths, options)
        return found if widths in (steps[0], steps[-1]) else found | {"lut": found["lut"] + sum(widths) % 3}

    def fits(row: Row) -> bool:
        return bool(row["lut"] <= most + 1) if down else bool(row["monitor"] >= options[0][start[0]]["monitor"] - 0.1)

    found = walk(steps, fits, lambda widths: expected(start, widths, options), measure, down=down)
    if found is None:
        assert not fits(measure(steps[-1]))
    else:
        assert found == (found[0], measure(found[0])) and fits(found[1]) and found[0] in steps


@pytest.mark.slow
def test_on_ray_after_retraining_of_three_classes(bare: Place) -> None:
    """Points are ordinary runs that begin where the run ended, and only the macro AUC of validation images is known."""
    content = {
        "name": "three",
        "data": {"source": "phantom", "classes": ["NORMAL", "BACTERIA", "VIRUS"]},
        "network": {"height": 8, "width": 8, "hidden": [6], "weight_bits": 3, "act_bits": 2},
        "train": {"epochs": 2},
        "build": {"board": "pynq-z2", "target_fps": 10000},
    }
    (bare.folder / "three.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    assert bare("train", "three.yaml").code == 0
    outcome = bare("sensitivity", "three", "--bits", "1", "--retrain", "1", "--workers", "1")
    assert outcome.code == 0, outcome.err
    folder = bare.folder / "runs" / "three" / "sensitivity" / "retrained-1"
    found = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*/train/metrics.json")]
    assert len(found) >= 4 and all("test" not in metrics for metrics in found)
    assert all(metrics["train_config"]["init_from"].endswith("runs/three") for metrics in found)
    assert len((folder / "sensitivity.csv").read_text(encoding="utf-8").splitlines()) == 1 + 4
