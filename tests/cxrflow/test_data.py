"""`cxrflow data check` and `cxrflow data fetch` as a user meets them, and sources that cannot be used: exit code 2."""

import hashlib
import http.server
import os
import shutil
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from datasets import fetch
from tests.cxrflow.conftest import REPOSITORY, Place
from tests.dicom_files import content, make


def zipped(xrays: Path) -> Path:
    path = xrays.parent / "xrays.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for image in sorted(xrays.rglob("*.png")):
            archive.write(image, f"chest_xray/{image.relative_to(xrays)}")
    return path


def npz(folder: Path, **changes: Any) -> Path:
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for split, count in (("train", 40), ("val", 8), ("test", 10)):
        arrays[f"{split}_images"] = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        arrays[f"{split}_labels"] = (np.arange(count) % 2).astype(np.uint8)[:, None]
    np.savez(folder / "pneumoniamnist.npz", **(arrays | changes))
    return folder / "pneumoniamnist.npz"


def dicoms(folder: Path) -> Path:
    (folder / "dicom").mkdir()
    lines = ["path,label"]
    for i in range(40):
        pixels = np.random.default_rng(i).integers(0, 4096, (30, 40)).astype(np.uint16)
        photometric = "MONOCHROME1" if i % 2 else "MONOCHROME2"
        ds = make(pixels, bits=12, PatientID=f"SECRET{i // 2}", PhotometricInterpretation=photometric)
        (folder / "dicom" / f"{i}.dcm").write_bytes(content(ds))
        lines.append(f"{i}.dcm,{'sick' if i // 2 % 2 else 'healthy'}")
    (folder / "dicom" / "labels.csv").write_text("\n".join(lines))
    return folder / "dicom"


# --- check


def test_check_shows_what_is_there(bare: Any) -> None:
    folder = bare.folder / "xrays" / "train" / "NORMAL"
    (folder / "bad.png").write_text("no")
    shutil.copy(folder / "IM-train0000-0001.png", folder / "copy.png")
    shutil.copy(folder / "IM-train0000-0001.png", bare.folder / "xrays" / "test" / "NORMAL" / "leak.png")
    Image.new("RGB", (40, 50), "gray").save(folder / "colour.jpeg")
    Image.fromarray(np.arange(900, dtype=np.uint16).reshape(30, 30)).save(folder / "sixteen.png")
    outcome = bare("data", "check", "tiny.yaml")
    assert outcome.code == 0, outcome.err
    rows = [line.split() for line in outcome.out.splitlines()]
    assert ["PNG", "L", "8", "66"] in rows and ["JPEG", "RGB", "8", "1"] in rows
    assert ["PNG", "I;16", "16", "1"] in rows
    train, validation, test = (
        next(row for row in rows if row[:1] == [name]) for name in ("train", "validation", "test")
    )
    assert int(train[1]) + int(validation[1]) == 24 + 3 and int(train[2]) + int(validation[2]) == 24
    assert test[1:4] == ["9", "8", "47.1"]
    assert "width 16 to 40, median 16; height 16 to 50, median 16 pixels; 3 different sizes." in outcome.out
    assert (
        "1 images occur more than once, 1 are unreadable, 0 patients are in both train and validation, 1 in both train "
        "and test." in outcome.out
    )
    assert "the same image: test/NORMAL/leak.png, train/NORMAL/IM-train0000-0001.png" in outcome.out
    (figure,) = (bare.folder / "runs" / "data-check").iterdir()
    assert f"Figure: runs/data-check/{figure.name}. Research use only, not a medical device." in outcome.out
    with Image.open(figure) as drawn:
        assert drawn.format == "PNG" and drawn.size > (800, 400) and len(drawn.convert("L").getcolors() or []) > 50
    assert not bare.run.exists()


@pytest.mark.parametrize(("source", "words"), [
    (lambda bare: zipped(bare.folder / "xrays"), ["zip xrays.zip", "width 16 to 16"]),
    (lambda bare: npz(bare.folder), ["MedMNIST pneumoniamnist.npz", "array", "width 28 to 28"]),
    (lambda bare: dicoms(bare.folder), ["table labels.csv", "DICOM MONOCHROME1 12 20", "DICOM MONOCHROME2 12 20"]),
    (lambda bare: "phantom", ["synthetic phantoms, seed 0"]),
], ids=["zip", "npz", "dicom", "phantom"])  # fmt: skip
def test_check_of_any_source(bare: Any, source: Callable[[Any], Any], words: list[str]) -> None:
    small = ["tiny.yaml"] if "zip" in words[0] else []  # without an experiment, the network is 28 x 28
    outcome = bare("data", "check", "--data", source(bare), "--figure", "x.png", *small)
    assert outcome.code == 0, outcome.err
    for word in words:
        assert word in " ".join(outcome.out.split())
    assert (bare.folder / "x.png").stat().st_size > 10_000 and "SECRET" not in outcome.out + outcome.err


def test_check_of_nothing(bare: Any) -> None:
    bare("data", "check").assert_refused("neither an experiment nor --data was given")
    bare("data", "check", "--data", "").assert_refused("--data is empty, expected a folder")


def test_what_a_source_does_not_say_is_said(bare: Any) -> None:
    outcome = bare("data", "check", "--data", npz(bare.folder))
    for words in ("MedMNIST's official splits are used as they are", "No patient is known", "own 8 validation images"):
        assert words in outcome.err


# --- sources that cannot be used


def three_classes(folder: Path) -> Path:
    source = dicoms(folder)
    with (source / "labels.csv").open("a") as table:
        table.write("\n40.dcm,covid")
    return source


def missing_files(folder: Path) -> Path:
    source = dicoms(folder)
    (source / "7.dcm").unlink()
    return source / "labels.csv"


def no_pixels(folder: Path) -> Path:
    source = dicoms(folder)
    ds = make(np.zeros((30, 40), np.uint8), bits=8)
    del ds["PixelData"]
    for i in range(30):
        (source / f"{i}.dcm").write_bytes(content(ds))
    return source


def tricky(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "x.zip", "w") as archive:
        archive.writestr("../../x.png", b"x")
    return folder / "x.zip"


def cut(folder: Path) -> Path:
    path = zipped(folder / "xrays")
    path.write_bytes(path.read_bytes()[:-100])
    return path


def nothing(folder: Path) -> Path:
    (folder / "nothing").mkdir()
    return folder / "nothing"


def anything(folder: Path) -> Path:
    (folder / "x.bin").write_bytes(bytes(range(256)))
    return folder / "x.bin"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (lambda folder: npz(folder, train_images=np.array([{}])), ["train_images holds pickled objects", "not opened"]),
        (lambda folder: npz(folder, test_labels=np.zeros((3, 1), int)), ["has 10 test_images but 3 test_labels"]),
        (lambda folder: npz(folder, test_labels=np.zeros((10, 1), int)), ["test/PNEUMONIA: holds no usable image"]),
        (three_classes, ["line 42 has the label 'covid', a third class", "expected two; remove"]),
        (missing_files, ["1 of 40 files are not there, the first is '7.dcm' in line 9", "correct or remove"]),
        (no_pixels, ["30 of 40 images are unreadable", "0.dcm: is a DICOM file without pixels"]),
        (tricky, ["has a path that leads elsewhere, expected plain folders", "do not trust this zip"]),
        (cut, ["is cut short or damaged", "fetch it again"]),
        (nothing, ["has no folder 'train', found no folders", "point at the folder that holds"]),
        (anything, ["is of no known format; expected a folder"]),
    ],
    ids=["pickle", "mismatch", "one class", "third class", "missing files", "no pixels", "tricks", "cut", "empty", "?"],
)
def test_a_source_that_cannot_be_used(bare: Any, source: Callable[[Path], Path], words: list[str]) -> None:
    path = source(bare.folder)
    bare("data", "check", "--data", path).assert_refused(str(path.name), *words)
    bare("train", "tiny.yaml", "--data", path).assert_refused(str(path.name), *words)
    assert not bare.run.exists()


def test_the_positive_class_is_an_experiment_field(bare: Any) -> None:
    for split, name in (("train", "a"), ("test", "b")):
        for i, path in enumerate(sorted((bare.folder / "xrays" / split).rglob("*.png"))):
            (bare.folder / "two" / name).mkdir(parents=True, exist_ok=True)
            path.rename(bare.folder / "two" / name / f"{i}.png")
    experiment = bare.experiment(data={"source": "two"})
    bare("data", "check", experiment).assert_refused("nothing tells which of 'a' and 'b' is", "set 'data.positive'")
    experiment = bare.experiment(data={"source": "two", "positive": "b"})
    outcome = bare("data", "check", experiment)
    assert outcome.code == 0 and "'a' counts as NORMAL and 'b' as PNEUMONIA." in outcome.err
    assert yaml.safe_load((bare.folder / experiment).read_text())["data"]["positive"] == "b"


# --- fetch


@pytest.fixture
def served(bare: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[bytes]:
    """PneumoniaMNIST, made small, on a server of our own."""
    data = npz(bare.folder).read_bytes()
    (bare.folder / "pneumoniamnist.npz").unlink()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    what = fetch.Published(
        "pneumoniamnist.npz", f"http://127.0.0.1:{server.server_port}/", len(data), hashlib.md5(data).hexdigest(), "Us."
    )
    monkeypatch.setitem(fetch.PNEUMONIAMNIST, 28, what)
    yield data
    server.shutdown()
    server.server_close()


def test_fetch_and_use(bare: Any, served: bytes) -> None:
    outcome = bare("data", "fetch", "pneumoniamnist")
    assert outcome.code == 0, outcome.err
    assert "Licence: CC-BY-4.0" in outcome.out and "Cite: Us." in outcome.out
    assert "Use it with --data xrays/pneumoniamnist.npz" in outcome.out
    assert (bare.folder / "xrays" / "pneumoniamnist.npz").read_bytes() == served
    assert "Licence: CC-BY-4.0" in (bare.folder / "xrays" / "pneumoniamnist.npz.txt").read_text()
    assert bare("data", "check", "--data", "xrays/pneumoniamnist.npz").code == 0
    assert "already there and whole" in bare("data", "fetch", "pneumoniamnist", "--size", "28").err


def test_a_wrong_checksum_is_refused(bare: Any, served: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    what = fetch.Published("x.npz", fetch.PNEUMONIAMNIST[28].url, len(served), "0" * 32, "Us.")
    monkeypatch.setitem(fetch.PNEUMONIAMNIST, 28, what)
    bare("data", "fetch", "pneumoniamnist", "--to", "new").assert_refused(
        "expected md5 000", "put aside as new/x.npz.rej"
    )
    assert [path.name for path in (bare.folder / "new").iterdir()] == ["x.npz.rejected"]


def test_a_size_that_is_not_published(bare: Any) -> None:
    bare("data", "fetch", "pneumoniamnist", "--size", "32").assert_refused("--size is 32", "28, 64, 128, 224 pixels")


# --- fields on the command line


def findings(folder: Path) -> Path:
    """A table with a column per finding, as CheXpert's is, and two images that say nothing or are not sure."""
    lines = ["Path,Edema,Pneumonia"]
    for i in range(40):
        (folder / "x").mkdir(exist_ok=True)
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (28, 28), dtype=np.uint8)).save(folder / f"x/{i}.png")
        lines.append(f"{i}.png,1,{('0.0', '1.0')[i % 2] if i > 1 else ('', '-1.0')[i]}")
    (folder / "x/train.csv").write_text("\n".join(lines))
    return folder / "x/train.csv"


def test_fields_of_the_data_section_may_be_given_on_the_command_line(bare: Any) -> None:
    table = findings(bare.folder)
    check = ("data", "check", "--data", table)
    bare(*check).assert_refused("set 'data.label' to the column that holds the label or the finding")
    bare(*check, "--set", "label=Pneumonia").assert_refused("line 2 has no usable label", "set 'data.blank' to drop")
    fields = ["--set", "label=Pneumonia", "--set", "blank=negative", "--set", "uncertain=drop"]
    outcome = bare(*check, *fields)
    assert outcome.code == 0 and "1 of 40 images have no label: counted as NORMAL" in outcome.err
    assert "1 of 40 images have an uncertain label or two that contradict each other: left out" in outcome.err
    assert bare("train", "tiny.yaml", "--data", table, *fields).code == 0
    written = yaml.safe_load((bare.run / "experiment.yaml").read_text())["data"]
    assert (written["label"], written["blank"], written["uncertain"]) == ("Pneumonia", "negative", "drop")
    assert bare("export", "runs/tiny/experiment.yaml").code == 0  # the run's own file says it all
    bare("export", "tiny.yaml", "--data", table).assert_refused("was made for another experiment: data.blank was neg")
    bare(*check, "--set", "lable=x").assert_refused("'lable' is not a known field; did you mean 'label'?")
    bare(*check, "--set", "label").assert_refused("--set is 'label', expected FIELD=VALUE")
    bare(*check, "--set", "blank=maybe").assert_refused("'blank' is 'maybe', expected 'refuse', 'drop'")


def test_fields_count_for_the_phantoms_too(bare: Any) -> None:
    check = ("data", "check", "--data", "phantom", "--set")
    outcome = bare(*check, "classes=NORMAL,FOCAL,DIFFUSE")
    assert outcome.code == 0 and "DIFFUSE" in outcome.out
    bare(*check, "classes=a,b,c,d").assert_refused("lists 4 classes, but phantoms are drawn in two or three")
    bare(*check, "nonsense=3").assert_refused("'nonsense' is not a known field")
    for field in ("positive=a", "label=x", "label_table=x.csv", "blank=drop", "colour=gray"):
        said = f"'{field.partition('=')[0]}' says how X-rays are read, and 'source' is phantom"
        bare(*check, field).assert_refused(said)
    refused = bare("data", "check", "--data", "x", "--set", "classes=a,b", "--set", "positive=a")
    refused.assert_refused("--set: 'classes' names the classes, so 'positive'")  # and no 'the file'


@pytest.mark.parametrize("path", ["x" * 300, "~nobody-here/x"])
def test_a_path_that_is_none(bare: Any, path: str) -> None:
    bare("data", "check", "--data", path).assert_refused("--data is no usable path")


@pytest.mark.parametrize("command", ["evaluate tiny", "train runs/tiny/experiment.yaml"])
def test_what_can_be_no_source_is_refused_before_pytorch_is_loaded(command: str, tmp_path: Path) -> None:
    """Loading it takes seconds; here, it cannot be loaded at all."""
    for folder, name in (tmp_path / "runs" / "tiny", "experiment.yaml"), (tmp_path / "torch", "__init__.py"):
        folder.mkdir(parents=True)
        (folder / name).write_text("raise SystemExit('loaded')")
    Place(tmp_path).experiment("runs/tiny/experiment.yaml")
    before = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{REPOSITORY}"}
    process = Place(tmp_path).start(*command.split(), "--data", "/dev/null", env=before)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 2 and "error: /dev/null: is of no known format" in err
