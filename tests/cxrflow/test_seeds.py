"""Trainings that build on other runs, several seeds, and evaluations, as a user meets them."""

import json
import shutil
from typing import Any

import numpy as np
import pytest
import yaml

from contract.decision import Decision
from contract.files import hash_file
from contract.manifest import load_manifest
from qnn.checkpoint import load_checkpoint
from tests.cxrflow.conftest import TINY, Place, draw_xrays

FLOAT = {"weight_bits": "float", "act_bits": "float"}


def write(place: Place, name: str, **sections: dict[str, Any]) -> str:
    """Write an experiment of its own name, TINY but for the changed fields; return the file's name."""
    content = {key: {**part, **sections.get(key, {})} if isinstance(part, dict) else part for key, part in TINY.items()}
    content["name"] = name
    (place.folder / f"{name}.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return f"{name}.yaml"


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """X-rays and a trained teacher."""
    place = Place(tmp_path_factory.mktemp("taught"))
    draw_xrays(place.folder / "xrays")
    teacher = write(place, "teacher", network={"convolutions": [4], **FLOAT}, train={"epochs": 2})
    outcome = place("train", teacher)
    assert outcome.code == 0 and "sensitivity bacteria" in outcome.out, outcome.err
    return place


def metrics(place: Place, run: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((place.folder / "runs" / run / "train" / "metrics.json").read_text())
    return content


def test_a_changed_teacher_retrains_and_an_unchanged_one_does_not(taught: Place) -> None:
    student = write(taught, "student", train={"distill": {"teacher": "teacher"}})
    assert taught("train", student).code == 0
    before = metrics(taught, "student")["made_from"]["sources"]["teacher"]
    assert "nothing changed" in taught("train", student).err
    checkpoint = taught.folder / "runs" / "teacher" / "train" / "checkpoint.pt"
    good = checkpoint.read_bytes()
    try:
        checkpoint.write_bytes(good[:-1])
        taught("train", student).assert_refused("checkpoint.pt was changed")
    finally:
        checkpoint.write_bytes(good)
    write(taught, "teacher", network={"convolutions": [4], **FLOAT}, train={"epochs": 2, "lr": 0.02})
    assert taught("train", "teacher.yaml").code == 0
    outcome = taught("train", student)
    assert "train: again, because sources.teacher has changed" in outcome.err
    assert metrics(taught, "student")["made_from"]["sources"]["teacher"] != before
    assert metrics(taught, "student")["made_from"]["code"]


@pytest.mark.slow
def test_two_processes_give_the_same_weights_and_figures_bit_for_bit(taught: Place) -> None:
    """Nothing of the process may matter: neither its hash seed, nor its threads, nor what ran before: here, all tests.

    A process of its own also says nothing of the packages that it imports.
    """
    write(taught, "same", train={"seed": 7})
    env = {"PYTHONHASHSEED": "1", "OMP_NUM_THREADS": "2"}
    process = taught.start("train", "same.yaml", "--runs", "one", env=env, draws=False)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 0 and "Warning" not in err and "fast_hadamard" not in err, err
    assert taught("train", "same.yaml", "--runs", "two").code == 0
    found = []
    for name in ("one", "two"):
        stage = taught.folder / name / "same" / "train"
        content = json.loads((stage / "metrics.json").read_text())
        del content["seconds"]
        state = load_checkpoint(stage / "checkpoint.pt").net.state_dict()
        found.append((content, {key: tensor.numpy().tobytes() for key, tensor in state.items()}))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"train": {"distill": {"teacher": "nobody"}}}, ["'train.distill.teacher' is nobody", "no finished training"]),
        ({"train": {"init_from": "./nowhere/x"}}, ["'train.init_from' is", "no finished training"]),
        (
            {"train": {"distill": {"teacher": "teacher"}}, "data": {"seed": 1}},
            ["'train.distill.teacher' is teacher", "another training split", "data.seed"],
        ),
        (
            {"train": {"distill": {"teacher": "teacher"}}, "network": {"height": 9}},
            ["which takes 8 x 8 pixels, but this network takes 9 x 8"],
        ),
        ({"train": {"init_from": "teacher"}}, ["'train.init_from' is teacher", "only the bit widths may differ"]),
        ({"train": {"distill": {"teacher": "teacher", "wait": 1}}}, ["'train.distill.wait'", "did you mean 'weight'?"]),
        ({"train": {"distill": {}}}, ["'train.distill.teacher' is missing"]),
        ({"train": {"operating_point": "best"}}, ["'train.operating_point' is 'best'", "youden"]),
        ({"network": {"convolutions": [4, 4], "act_bits": 1}}, ["weight layer 1 pads its image with 0"]),
    ],
)
def test_refusals(taught: Place, sections: dict[str, dict[str, Any]], words: list[str]) -> None:
    taught("train", write(taught, "bad", **sections)).assert_refused(*words)
    assert not (taught.folder / "runs" / "bad" / "train").exists()


def test_a_quantized_convolution_is_trained_behind_its_start_and_exported(taught: Place) -> None:
    layers = {"convolutions": [{"channels": 4, "stride": 2}, 4], "pool": "global", "hidden": []}
    write(taught, "start", network={**layers, **FLOAT}, train={"epochs": 1})
    write(taught, "middle", network={**layers, "weight_bits": 8}, train={"epochs": 1, "init_from": "start"})
    file = write(taught, "narrow-cnn", network=layers, train={"epochs": 1, "init_from": "middle"})
    said = taught("train", file).err
    assert said.index("middle, of middle.yaml, comes first") < said.index("start, of start.yaml, comes first")
    assert all((taught.folder / "runs" / name / "train").is_dir() for name in ("start", "middle", "narrow-cnn"))
    assert taught("export", file).code == 0
    write(taught, "loop", train={"init_from": "loop"})
    taught("train", "loop.yaml").assert_refused("'train.init_from' is loop", "no finished training")


def test_seeds_are_runs_of_their_own_and_build_on_those_of_the_same_number(taught: Place) -> None:
    write(taught, "wide", train={"epochs": 2})
    narrow = write(taught, "narrow", network={"weight_bits": 2}, train={"epochs": 2, "init_from": "wide"})
    lost = write(taught, "lost", train={"epochs": 2, "init_from": "nobody"})
    taught("train", lost, "--seeds", "2").assert_refused("'train.init_from' is nobody-seed0", "no finished training")
    outcome = taught("train", narrow, "--seeds", "2")
    assert outcome.code == 0, outcome.err
    assert all(f"wide-seed{i}, of wide.yaml, comes first" in outcome.err for i in (0, 1))
    assert "balanced accuracy" in outcome.out and "std" in outcome.out
    found = [metrics(taught, f"narrow-seed{i}") for i in (0, 1)]
    assert found[0]["split"] != found[1]["split"] and [row["seed"] for row in found] == [0, 1]
    assert "nothing changed" in taught("train", "runs/narrow-seed1/experiment.yaml").err  # an ordinary run

    rows = taught("results", "--seeds").out.splitlines()
    cells = dict(
        zip(rows[0].split(" | "), next(row for row in rows if row.startswith("| narrow")).split(" | "), strict=True)
    )
    accuracies = [row["test"]["accuracy"] for row in found]
    low = np.mean([row["test"]["intervals"]["accuracy"][0] for row in found])
    expected = f"{np.mean(accuracies):.4f} ± {np.std(accuracies, ddof=1):.4f} [{low:.3f}.."
    assert cells["test accuracy"].startswith(expected) and cells["seeds"] == "2"
    assert not any(row.startswith("| teacher") for row in rows)  # one run is no spread


def test_evaluate_on_its_own_and_on_other_images(taught: Place) -> None:
    own = taught("evaluate", "teacher", "--shifts")
    assert own.code == 0, own.err
    (file,) = (taught.folder / "runs" / "teacher" / "evaluation").glob("*/evaluation.json")
    found = json.loads(file.read_text())
    trained = metrics(taught, "teacher")
    for name in ("accuracy", "auc", "sensitivity_bacteria", "intervals", "ece", "operating_points"):
        assert found[name] == trained["test"][name], name
    still = [row for row in found["shifts"] if (row["shift"], row["level"]) in (("rotation", 0), ("jpeg", 101))]
    assert len(still) == 2 and all(row["auc"] == trained["test"]["auc"] for row in still)
    assert (file.parent / "shifts.png").exists() and "rotation" in own.out
    taught("evaluate", "teacher", "--all").assert_refused("would measure on training images")

    draw_xrays(taught.folder / "elsewhere", train=10, test=6, seed=1)
    outcome = taught("evaluate", taught.folder / "runs" / "teacher", "--data", "elsewhere", "--all")
    assert outcome.code == 0 and "32 images of folder elsewhere" in outcome.out
    shutil.copytree(taught.folder / "runs" / "teacher", taught.folder / "runs" / "old")
    stage = taught.folder / "runs" / "old" / "train"
    content = metrics(taught, "old")
    del content["operating_points"]
    (stage / "metrics.json").write_text(json.dumps(content))
    stamp = json.loads((stage / "stage.json").read_text())
    stamp["files"]["metrics.json"] = hash_file(stage / "metrics.json")
    (stage / "stage.json").write_text(json.dumps(stamp))
    taught("evaluate", "old").assert_refused("made by an earlier version")
    taught("evaluate", "nobody").assert_refused("nobody/experiment.yaml is not there")


def test_calibration_and_operating_points_reach_the_deploy_folder(finished: Place) -> None:
    trained = json.loads((finished.run / "train" / "metrics.json").read_text())
    deploy = finished.run / "deploy" / "pynq-z2"
    decision = load_manifest(deploy / "accelerator.json").decision
    assert isinstance(decision, Decision)
    golden = np.load(deploy / "golden.npz")
    logits = golden["outputs"][:, 0]
    for rule, point in trained["operating_points"].items():
        np.testing.assert_array_equal(
            logits > decision.operating_points[rule], decision.scale * logits + decision.offset > point
        )
    assert decision.threshold == decision.operating_points["balanced"]
    classes = logits > decision.threshold
    assert (classes == (golden["labels"] == 1)).mean() == pytest.approx(trained["test"]["accuracy"])
    # Calibrated: the class is what the probability says.
    np.testing.assert_array_equal(classes, golden["probability"] > 0.5)
