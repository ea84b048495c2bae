"""A run of three classes by the command line, from the files of the release to the simulated RTL and the pages.

The kinds of fault: a table, a page or a file that knows of two classes only, and shows one of three as the other two;
a stage that takes a network of one order of classes for one of another.
"""

import json
import random
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from contract.decision import MEANING, Choice
from contract.drawing import ENDINGS
from contract.errors import CxrflowError
from contract.golden import load_labelled
from contract.manifest import load_manifest
from contract.preprocess import load_pixels
from contract.record import read_record
from cxrflow.experiment import load_experiment
from cxrflow.report.page import write_report
from cxrflow.sweep.spec import Point
from cxrflow.sweep.table import points, rows
from cxrflow.sweep.trial import Trial
from qnn.records import MeasuredClasses, Metrics
from tests.cxrflow.conftest import THREE, Place, call_all, draw_three
from tests.cxrflow.test_report import NASTY, forge, leaves
from tests.served import File, serving

pytestmark = pytest.mark.slow  # it trains and simulates a network


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("three"))
    draw_three(place.folder / "xrays")
    data = {"source": str(place.folder / "xrays"), "classes": list(THREE)}
    place.experiment(data=data, train={"epochs": 8, "lr": 0.02, "one_class": "VIRUS"})
    call_all(place, ["train", "export", "build", "simulate", "package"])
    assert place("report", "tiny").code == 0
    return place


def test_the_same_integers_from_training_to_rtl_and_what_they_mean(three: Place) -> None:
    sim = json.loads((three.run / "sim" / "pynq-z2" / "sim.json").read_text())
    assert (sim["images"], sim["differing"]) == (24, 0)
    manifest = load_manifest(three.run / "deploy" / "pynq-z2" / "accelerator.json")
    golden = load_labelled(three.run / "export" / "golden.npz")
    assert isinstance(manifest.decision, Choice) and manifest.class_names == list(THREE)
    assert golden.outputs.shape == (24, 3) and manifest.outputs == 3 and MEANING in manifest.sha256
    np.testing.assert_array_equal(manifest.decision.probabilities(golden.outputs), golden.probability)
    test = read_record(three.run / "train" / "metrics.json", Metrics).test
    assert isinstance(test, MeasuredClasses) and test.accuracy > 0.8
    for name, point in test.operating_points.items():
        mine = golden.labels == 2
        assert manifest.decision.operating_points[name].label == 2
        called = manifest.decision.classes(golden.outputs, name)
        assert np.mean(called[mine] == 2) == pytest.approx(point.sensitivity), name
    assert np.mean(manifest.decision.classes(golden.outputs) == golden.labels) == pytest.approx(test.accuracy)


def choice_of(deploy: Path) -> Choice:
    decision = load_manifest(deploy / "accelerator.json").decision
    assert isinstance(decision, Choice)
    return decision


def test_the_deploy_folder_answers_with_classes(three: Place) -> None:
    """On the simulated board, too; and the page serves it."""
    deploy, golden = three.run / "deploy" / "pynq-z2", load_labelled(three.run / "export" / "golden.npz")
    images = sorted((three.folder / "xrays" / "test").rglob("*.png"))
    by_pixels = {pixels.tobytes(): i for i, pixels in enumerate(golden.pixels)}
    at = [by_pixels[load_pixels(image, height=8, width=8).tobytes()] for image in images]
    for device in ("cpu", "sim"):
        outcome = three("infer", deploy, *images, "--device", device, "--json")
        assert outcome.code == 0, outcome.err
        rows = json.loads(outcome.out)["results"]
        assert [row["outputs"] for row in rows] == golden.outputs[at].tolist()
        for row, i in zip(rows, at, strict=True):
            assert list(row["probabilities"]) == list(THREE) and row["class"] == max(
                THREE, key=row["probabilities"].get
            )
            assert list(row["probabilities"].values()) == golden.probability[i].tolist()
            assert row["unlike"] == (row["unlikeness"] > 1)
    point = json.loads(three("infer", deploy, images[0], "--device", "cpu", "--point", "youden", "--json").out)
    margin = choice_of(deploy).real_margin(choice_of(deploy).operating_points["youden"])
    assert point["operating_point"] == {"name": "youden", "class": "VIRUS", "margin": margin}
    explained = three("explain", deploy, images[0], "--device", "cpu", "--class", "VIRUS", "--json")
    assert explained.code == 0 and json.loads(explained.out)["results"][0]["map_of"] == "VIRUS"
    with serving(deploy, devices=("cpu",)) as served:
        answer = served.post("/api/predict", File(images[0].read_bytes())).json()["results"][0]
        assert answer["outputs"] == golden.outputs[at[0]].tolist() and answer["unlikeness"] == rows[0]["unlikeness"]
        assert answer["unlike"] == rows[0]["unlike"]


def test_the_report_shows_each_class(three: Place) -> None:
    html = (three.run / "report.html").read_text()
    for name in THREE:
        assert f"says {name}" in html and f"Test images labelled {name}" in html
    for word in ("macro AUC", "Cohen&#39;s kappa", "Brier score", "Each class against the rest", "ROC, each class"):
        assert word in html, word
    assert "Operating points for VIRUS against the rest" in html and "sensitivity 95 %" in html
    assert "Operating points, on the test images" not in html and "balance</th>" not in html
    table = html[html.index('class="confusion"') :]
    counts = [int(n) for n in re.findall(r'<td(?: class="right")?>(\d+)</td>', table[: table.index("</table>")])]
    test = read_record(three.run / "train" / "metrics.json", Metrics).test
    assert isinstance(test, MeasuredClasses) and counts == [n for row in test.confusion for n in row]


@pytest.mark.usefixtures("_drawn_once")
def test_any_value_in_any_place_is_shown_or_one_sentence(three: Place, tmp_path: Path) -> None:
    shutil.copytree(three.run, tmp_path / "tiny")
    run, rng, refused = tmp_path / "tiny", random.Random(1), 0
    for _ in range(80):
        stage, name = rng.choice([("train", "metrics.json"), ("export", "export.json")])
        whole = (run / stage / name).read_text(encoding="utf-8")
        content = json.loads(whole)
        places = [p for p in leaves(content) if stage == "train" or "choice" in p or rng.random() < 0.1]
        places = [p for p in places if not {"spec", "train_config", "made_from", "versions"} & set(p)]
        *before, last = rng.choice(places)
        holder = content
        for key in before:
            holder = holder[key]
        holder[last] = rng.choice([*NASTY, [], ["x"], holder[last] * 2 if isinstance(holder[last], list) else 0])
        forge(run / stage, name, json.dumps(content))
        try:
            write_report(run)
        except CxrflowError as err:
            refused += 1
            assert str(err).count("\n") == 0 and len(str(err)) < 800
        forge(run / stage, name, whole)
    assert 10 < refused < 80


def test_compare_and_results_have_its_row(three: Place) -> None:
    out = three("compare", "tiny", "tiny")
    assert out.code == 0 and "test macro AUC" in " ".join(out.out.split()) and "kappa" in out.out
    results = three("results")
    assert results.code == 0 and "64-8-3 W4A4" in results.out
    assert "(macro)" in " ".join(results.out.split())


def test_beside_a_run_of_two_classes_the_classes_and_both_curves_are_shown(three: Place) -> None:
    three.experiment("two.yaml", data={"source": str(three.folder / "xrays")})
    file = three.folder / "two.yaml"
    file.write_text(file.read_text().replace("name: tiny", "name: two"))
    assert three("train", "two.yaml").code == three("export", "two.yaml").code == 0
    out = three("compare", "tiny", "two")
    assert out.code == 0, out.err
    said = " ".join(out.out.split())
    assert "test macro AUC or AUC" in said and "classes NORMAL, BACTERIA, VIRUS NORMAL, PNEUMONIA" in said
    html = (three.folder / "runs" / "compare.html").read_text()
    tests = (
        read_record(three.folder / "runs" / name / "train" / "metrics.json", Metrics).test for name in ("tiny", "two")
    )
    first, second = (f"{test.auc:.4f}" for test in tests if test is not None and test.auc is not None)
    assert f"tiny: macro AUC {first}" in html and f"two: AUC {second}" in html
    row = html[html.index("data.classes") :]
    assert re.findall(r"<td[^>]*>([^<]*)<", row)[:2] == ["NORMAL, BACTERIA, VIRUS", "none"]


def test_a_trial_of_a_sweep_is_judged_by_the_macro_auc(three: Place, tmp_path: Path) -> None:
    base = load_experiment(three.folder / "tiny.yaml")
    point = Point((("network.hidden", (4,)), ("train.epochs", 2)))
    experiment = point.experiment(base)
    assert experiment.network.describe() == "64-4-3 W4A4"
    row = Trial(point, experiment, tmp_path / "sweep", "data").run(lambda _: None)
    metrics = read_record(tmp_path / "sweep" / experiment.name / "train" / "metrics.json", Metrics)
    assert metrics.test is None and metrics.best is not None
    assert row["monitor"] == metrics.best.monitor and row["validation_auc"] == metrics.validation.value("auc")
    (found,) = points(rows(tmp_path / "sweep"))
    assert found["status"] == "finished" and found["lut"] > 0 and "test_auc" not in found


def test_evaluate_measures_k_classes_of_this_order_only(three: Place, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    for k, name in enumerate(("BACTERIA", "NORMAL", "VIRUS")):
        (tmp_path / "new" / name).mkdir(parents=True)
        for i in range(12):
            pixels = rng.integers(0, 110, (16, 16)).astype(np.uint8)
            pixels[4:10, 4:10] += np.uint8(110 * (k == 0))
            Image.fromarray(pixels).save(tmp_path / "new" / name / f"{k}{i}.png")
    outcome = three("evaluate", "tiny", "--data", tmp_path / "new", "--all", "--shifts")
    assert outcome.code == 0, outcome.err
    assert "macro AUC" in outcome.out and "says VIRUS" in outcome.out and "rotation" in outcome.out
    folder = three.folder / outcome.out.strip().splitlines()[-1]
    found: dict[str, Any] = json.loads((folder / "evaluation.json").read_text())
    assert [sum(row) for row in found["confusion"]] == [12, 12, 12]
    drawn = {f"{name}{ending}" for name in ("roc", "reliability", "shifts") for ending in ENDINGS}
    assert {path.name for path in folder.iterdir()} == {"evaluation.json", *drawn}
    order = three("evaluate", "tiny", "--data", tmp_path / "new", "--all", "--set", "classes=normal,virus,bacterial")
    order.assert_refused("was trained for NORMAL, BACTERIA, VIRUS", "in this order, and call the labels so")
    (tmp_path / "new" / "VIRUS").rename(tmp_path / "new" / "fungus")
    other = three("evaluate", "tiny", "--data", tmp_path / "new", "--all")
    other.assert_refused("of VIRUS there is none", "was trained for NORMAL, BACTERIA, VIRUS", "keep 'data.classes' so")
    assert "Correct 'data.classes'" not in other.err


def test_another_order_or_number_of_classes_is_another_run(three: Place) -> None:
    xrays = str(three.folder / "xrays")
    three.experiment("other.yaml", data={"source": xrays, "classes": ["VIRUS", "NORMAL", "BACTERIA"]})
    three("export", "other.yaml").assert_refused("train", code=2)
    three.experiment("two.yaml", data={"source": xrays})
    three("export", "two.yaml").assert_refused("train", code=2)


def test_what_is_in_the_data_is_shown_by_class(three: Place) -> None:
    checked = three("data", "check", "tiny.yaml")
    assert checked.code == 0, checked.err
    assert all(name in checked.out for name in THREE) and "% " not in checked.out.split("\n")[0]
