import csv
import json
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from contract.errors import ConfigError
from contract.preprocess import load_pixels
from cxrflow.console import Console
from cxrflow.experiment import load_experiment
from cxrflow.stages import Run
from driver.__main__ import main as drive
from tests.cxrflow.conftest import Place


@pytest.fixture
def deployed(finished: Any) -> Path:
    """The deploy folder of a finished run."""
    return Path(finished.run / "deploy" / "pynq-z2")


@pytest.fixture
def images(finished: Any) -> list[Path]:
    """Test X-rays of both classes."""
    return sorted((finished.folder / "xrays" / "test").rglob("*.png"))


def test_answers_are_the_golden_integers(finished: Any, deployed: Path, images: list[Path]) -> None:
    outcome = finished("infer", deployed, *images, "--json")
    assert outcome.code == 0 and outcome.err == ""
    answer = json.loads(outcome.out)
    assert answer["failures"] == {} and "not a medical device" in answer["note"]
    golden = np.load(deployed / "golden.npz")
    columns = (golden["pixels"], golden["outputs"][:, 0].tolist(), golden["probability"])
    by_pixels = {pixels.tobytes(): (logit, chance) for pixels, logit, chance in zip(*columns, strict=True)}
    threshold = json.loads((deployed / "accelerator.json").read_text())["decision"]["threshold"]
    assert len(answer["results"]) == len(images)
    for row, image in zip(answer["results"], images, strict=True):
        logit, chance = by_pixels[load_pixels(image, height=8, width=8).tobytes()]
        assert row["file"] == str(image) and row["logit"] == logit
        assert row["probability"] == pytest.approx(chance, abs=1e-12)
        assert row["class"] == ("PNEUMONIA" if logit > threshold else "NORMAL")


def test_an_operating_point_that_is_asked_for(finished: Any, deployed: Path, images: list[Path]) -> None:
    points = json.loads((deployed / "accelerator.json").read_text())["decision"]["operating_points"]
    table = finished.folder / "at.csv"
    outcome = finished("infer", deployed, *images, "--json", "--point", "sensitivity_95", "--csv", table)
    for row in json.loads(outcome.out)["results"]:
        assert row["class"] == ("PNEUMONIA" if row["logit"] > points["sensitivity_95"] else "NORMAL")
        assert row["operating_point"] == "sensitivity_95"
    assert (
        table.read_text()
        .splitlines()[0]
        .endswith("operating_point,operating_point_threshold,operating_point_probability")
    )
    out = " ".join(finished("infer", deployed, images[0]).out.split())
    assert (
        "Operating point: balanced (above a logit of" in out and "); --point takes youden, sensitivity_95, too." in out
    )
    for command in ("infer", "explain"):
        finished(command, deployed, images[0], "--point", "best").assert_refused(
            "no operating point 'best', expected one of balanced, youden, sensitivity_95", code=2
        )


def test_bad_images_are_named_and_good_ones_answered(finished: Any, deployed: Path, images: list[Path]) -> None:
    text, folder, missing = (finished.folder / name for name in ("text.jpeg", "folder.png", "missing.png"))
    text.write_text("not an image")
    folder.mkdir()
    outcome = finished("infer", deployed, images[0], text, folder, missing, images[1])
    assert outcome.code == 1 and "Traceback" not in outcome.err
    assert [line.split(": ")[:2] for line in outcome.err.splitlines()] == [
        ["error", path.name] for path in (text, folder, missing)
    ]
    assert "folder.png: is a folder, and no file of it was given" in outcome.err
    assert str(images[0]) in outcome.out and str(images[1]) in outcome.out  # long names are not cut off
    (folder / "text.jpeg").write_text("not an image")
    (folder / "good.png").write_bytes(images[0].read_bytes())
    (folder / ".hidden").write_text("")
    outcome = finished("infer", deployed, folder)  # a folder stands for its files
    assert outcome.code == 1 and "good.png" in outcome.out and outcome.err.startswith("error: text.jpeg")
    answer = json.loads(finished("infer", deployed, images[0], text, "--json").out)
    assert list(answer["failures"]) == [str(text)] and len(answer["results"]) == 1


def test_legal_modes_of_one_picture_give_answers(finished: Any, deployed: Path) -> None:
    gray = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    variants = {
        "l.png": gray, "rgb.png": gray.convert("RGB"), "rgba.png": gray.convert("RGBA"), "p.png": gray.convert("P"),
        "sixteen.png": Image.fromarray(np.arange(256, dtype=np.uint16).reshape(16, 16) * 257),
        "cmyk.jpeg": gray.convert("CMYK"),
    }  # fmt: skip
    for name, image in variants.items():
        image.save(finished.folder / name)
    outcome = finished("infer", deployed, *variants, "--json")
    assert outcome.code == 0, outcome.err
    rows = json.loads(outcome.out)["results"]
    assert len(rows) == len(variants)
    assert len({row["logit"] for row in rows if not row["file"].endswith(("jpeg", "p.png"))}) == 1


def change(path: Path, **values: Any) -> None:
    manifest = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(manifest | values), encoding="utf-8")


def swap_reference(deployed: Path) -> None:
    (deployed / "reference.npz").write_bytes((deployed / "golden.npz").read_bytes())


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (swap_reference, ["reference.npz has sha256", "damaged, or of another build"]),
        (lambda d: (d / "reference.npz").unlink(), ["reference.npz is not there"]),
        (lambda d: (d / "golden.npz").write_bytes(b""), ["golden.npz has sha256"]),
        (lambda d: (d / "accelerator.json").unlink(), ["accelerator.json is not there", "Give a deploy folder"]),
        (lambda d: (d / "accelerator.json").write_text("{"), ["accelerator.json is not JSON"]),
        (lambda d: change(d / "accelerator.json", sha256={}), ["does not name reference.npz"]),
        (lambda d: change(d / "accelerator.json", height=9), ["accelerator.json says uint8(N, 9, 8)"]),
        (lambda d: change(d / "accelerator.json", preprocessing={}), ["preprocessing"]),
        (lambda d: change(d / "accelerator.json", preprocessing={"version": 0}), ["preprocessing"]),
        (lambda d: change(d / "accelerator.json", heigth=8), ["heigth is unknown"]),
        (lambda d: change(d / "accelerator.json", schema=99), ["schema is 99"]),
    ],
)
def test_a_tampered_folder_is_refused(
    finished: Any, deployed: Path, images: list[Path], damage: Any, words: list[str]
) -> None:
    damage(deployed)
    outcome = finished("infer", deployed, images[0])
    outcome.assert_refused(*words)
    assert outcome.out == ""


def test_answers_as_csv(finished: Any, deployed: Path, images: list[Path]) -> None:
    table = finished.folder / "answers.csv"
    assert finished("infer", deployed, images[0], "--csv", table).code == 0
    assert table.read_text().splitlines()[0] == "file,logit,probability,class,unlike,unlikeness"
    assert str(images[0]) in table.read_text()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 60), dtype=np.uint8)).save(table.with_name("n.png"))
    assert "unlike the training images (" in finished("infer", deployed, "n.png").out.replace("\n", " ")


def test_names_that_are_programs_lines_or_no_text(finished: Any, deployed: Path, images: list[Path]) -> None:
    """What a file's name may do: to a spreadsheet, a terminal, a reader of lines, and an encoder."""
    place = finished.folder / "odd"
    place.mkdir()
    cells = {
        "=1+1.png": "'=1+1.png", " +b.png": "' +b.png", "\uff1dfull.png": "'\uff1dfull.png", "-1;=2.png": "'-1;=2.png",
        "caf\udce9.png": r"caf\udce9.png", "\x1b[31mred.png": r"\x1b[31mred.png", "two\nlines.png": r"two\nlines.png",
        "\u202egnp.exe": r"\u202egnp.exe",
    }  # fmt: skip
    for name in cells:
        (place / name).write_bytes(images[0].read_bytes())
    (place / "bad\udcff.png").write_bytes(b"no image")
    process = finished.start("infer", str(deployed), "odd")
    out, err = process.communicate(timeout=600)
    assert process.returncode == 1 and "Traceback" not in err and r"bad\udcff.png: is not a JPEG" in err
    assert all(cells[name] in out for name in cells if "\\" in cells[name])
    assert Place(place)("infer", deployed, "--csv", "out.csv", "--", *cells).code == 0
    with (place / "out.csv").open(newline="", encoding="utf-8") as stream:
        assert [row["file"] for row in csv.DictReader(stream)] == list(cells.values())
    assert '"\'-1;=2.png",' in (place / "out.csv").read_text(encoding="utf-8")  # a semicolon begins no new cell


@pytest.mark.parametrize(
    ("option", "command"),
    [
        ("--csv", "infer DEPLOY IMAGE"),
        ("--out", "explain DEPLOY IMAGE"),
        ("--out", "compare tiny tiny"),
        ("--figure", "data check tiny.yaml"),
        ("--runs", "train tiny.yaml"),
    ],
)
def test_a_place_that_cannot_be_written_names_its_option(
    finished: Any, deployed: Path, images: list[Path], option: str, command: str
) -> None:
    """The kind: an output of the user's choice; the advice names what chose it."""
    places = {"DEPLOY": deployed, "IMAGE": images[0]}
    outcome = finished(*(places.get(word, word) for word in command.split()), option, "tiny.yaml/place")
    outcome.assert_refused(f"Choose another with {option}.")


@pytest.mark.parametrize(("command", "option"), [("infer", "--csv"), ("explain", "--out")])
def test_the_driver_names_it_too(
    finished: Any, deployed: Path, images: list[Path], command: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    place = str(finished.folder / "tiny.yaml" / "place")
    assert drive([command, str(images[0]), "--folder", str(deployed), "--device", "cpu", option, place]) == 2
    assert capsys.readouterr().err.endswith(f"Choose another with {option}.\n")


def test_a_waveform_that_cannot_be_written(finished: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(finished.folder)
    run = Run(load_experiment(Path("tiny.yaml")), Path("runs"), Console())
    with pytest.raises(ConfigError, match=r"cannot be written .*Choose another with --wave\."):
        run._write_wave(Path("tiny.yaml/a.fst"))


def test_a_csv_is_whole_or_not_there(finished: Any, deployed: Path, images: list[Path]) -> None:
    table = finished.folder / "answers.csv"
    table.write_text("of yesterday")
    finished("infer", deployed, images[0], "--csv", "none/a.csv").assert_refused("none/a.csv cannot be written")
    finished("infer", deployed, images[0], "--csv", "xrays").assert_refused("xrays is no regular file")
    with mock.patch("csv.writer", side_effect=OSError(28, "No space left on device")):
        finished("infer", deployed, images[0], "--csv", table).assert_refused("No space left on device")
    assert table.read_text() == "of yesterday" and not list(finished.folder.glob(".*partial"))
