"""K classes that the user names: the number of a class is its place in the list, in every kind of source.

The kinds of fault: the order of folders or of the alphabet decides a class's number; a class that the list does not
have becomes one that it has; a label that says nothing is a class; a split that knows of two classes only.
"""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import roc_auc_score
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

from contract.errors import ConfigError, DataError
from contract.preprocess import load_pixels
from datasets.classes import NamedClasses, pneumonia_kind
from datasets.folder import list_folder
from datasets.labels import LabelRules
from datasets.phantom import make_phantoms
from datasets.split import validation_mask
from datasets.xray import Split
from tests.datasets.made import everything, load, medmnist, png, refused, table, write, write_zip
from tests.datasets.same import assert_same_images

THREE = ("NORMAL", "BACTERIA", "VIRUS")
KINDS = {"n": "NORMAL", "b": "PNEUMONIA", "v": "PNEUMONIA"}


def release_files(extra: dict[str, bytes] | None = None, *, later: bool = False) -> dict[str, bytes]:
    """Return the content of a release by name: of each class 8 patients in train, 2 in test, two images of each."""
    files: dict[str, bytes] = {}
    for split, count in (("train", 16), ("test", 4)):
        for at, kind in enumerate("nbv"):
            for i in range(count):
                patient = 100 * (split == "test") + 1000 * at + i // 2
                word = {"b": "bacteria", "v": "virus"}.get(kind)
                name = f"person{patient}_{word}_{i}.png" if word else f"IM-{patient:04d}-{i:04d}.png"
                if later:
                    name = f"{(word or 'normal').upper()}-{1_000_000 + patient}-{i:04d}.png"
                files[f"{split}/{KINDS[kind]}/{name}"] = png(1000 * at + 100 * (split == "test") + i)
    return files | (extra or {})


def test_the_later_release_tells_kinds_and_patients_by_other_names(tmp_path: Path) -> None:
    files = {name.split("/", 1)[1]: content for name, content in release_files(later=True).items()}
    data = load(write(tmp_path / "r", files), classes=THREE)
    for name, (_, label) in everything(data).items():
        assert THREE[label] == name.split("/")[1].split("-")[0]
    assert "by whole patients" in " ".join(data.report.notes)
    whole = [{name.split("-")[1] for name in split.names} for split in (data.train, data.val, data.test)]
    assert sum(map(len, whole)) == len(set.union(*whole)) == 30


def kind_of(name: str) -> str:
    return {"": "NORMAL", "bacteria": "BACTERIA", "virus": "VIRUS"}[pneumonia_kind(name)]


@pytest.mark.parametrize("classes", [THREE, ("VIRUS", "NORMAL", "Bacterial pneumonia")], ids=str)
def test_file_names_divide_the_release_in_the_order_of_the_list(tmp_path: Path, classes: tuple[str, ...]) -> None:
    folder = load(write(tmp_path / "r", release_files()), classes=classes)
    assert folder.class_names == classes
    order = [name.upper().removesuffix("L PNEUMONIA").replace("BACTERIAL", "BACTERIA") for name in classes]
    for name, (_, label) in everything(folder).items():
        assert order[label].startswith(kind_of(name)[:5]), name
    assert folder.report.counts["test"] == dict.fromkeys(classes, 4)
    assert "PNEUMONIA is divided by what file names say" in folder.report.notes[0]
    assert_same_images(load(write_zip(tmp_path / "r.zip", release_files()), classes=classes), folder)
    two = load(tmp_path / "r")
    assert two.class_names == ("NORMAL", "PNEUMONIA") and two.fingerprint != folder.fingerprint
    np.testing.assert_array_equal(two.test.patients, folder.test.patients)


def test_the_order_is_part_of_the_fingerprint(tmp_path: Path) -> None:
    """A network of one order must not be taken for one of the other."""
    root = write(tmp_path / "r", release_files())
    assert load(root, classes=THREE).fingerprint != load(root, classes=THREE[::-1]).fingerprint


def test_a_pneumonia_of_no_kind_is_asked_about(tmp_path: Path) -> None:
    root = write(tmp_path / "r", release_files({"train/PNEUMONIA/person5000_1.png": png(77)}))
    refused(root, "person5000_1.png is labelled 'PNEUMONIA'", "says neither bacteria nor virus", classes=THREE)
    data = load(root, classes=THREE, blank="drop")
    assert "train/PNEUMONIA/person5000_1.png" not in everything(data)
    assert any("1 of 61 images have no label: left out" in note for note in data.report.notes)
    assert load(root, classes=("NORMAL", "PNEUMONIA")).report.counts["test"] == {"NORMAL": 4, "PNEUMONIA": 8}


def test_classes_that_are_not_listed_are_left_out_and_counted(tmp_path: Path) -> None:
    root = write(tmp_path / "r", release_files())
    data = load(root, classes=("VIRUS", "NORMAL"))
    assert data.report.counts["test"] == {"VIRUS": 4, "NORMAL": 4}
    assert any("20 of 60 images are of none of the classes in 'data.classes'" in note for note in data.report.notes)
    refused(root, "all classes, NORMAL, BACTERIA, FUNGUS", "of FUNGUS there is none", classes=(*THREE[:2], "FUNGUS"))


def test_what_the_list_does_to_the_division_is_said(tmp_path: Path) -> None:
    """PNEUMONIA in the list switches it off; two names for one kind leave it open which is meant."""
    root = write(tmp_path / "r", release_files())
    words = "As PNEUMONIA is listed, file names do not divide it: leave PNEUMONIA out"
    refused(root, "of BACTERIA there is none", words, classes=(*THREE, "PNEUMONIA"))
    for listed in (("normal", "bacteria", "Bacterial", "virus"), ("normal", "virus", "Viral Pneumonia")):
        with pytest.raises(DataError, match=rf"'data.classes' lists {listed[1]} and {listed[2]}, which both are that"):
            load(root, classes=listed)
    names = ("bacteria", "bacterial", "x")  # where nothing is divided, labels may be called so
    assert load(kinds_folder(tmp_path / "f", names), classes=names).class_names == names


def kinds_folder(root: Path, names: tuple[str, ...]) -> Path:
    files = {f"{name}/p{at}{i}.png": png(100 * at + i) for at, name in enumerate(names) for i in range(20)}
    return write(root, files)


def test_any_folder_and_table_of_k_classes_is_k(tmp_path: Path) -> None:
    names = ("covid", "normal", "Lung_Opacity", "viral pneumonia")
    classes = ("Viral Pneumonia", "lung opacity", "COVID", "Normal")
    data = load(kinds_folder(tmp_path / "f", names), classes=classes)
    rows = []
    for name, (where, label) in everything(data).items():
        assert classes[label].casefold() == name.split("/")[0].casefold().replace("_", " ")
        rows.append((f"f/{name}", name.split("/")[0], "", where))
    for split in (data.train, data.val, data.test):
        assert set(split.labels.tolist()) == {0, 1, 2, 3}
    packed = {path.relative_to(tmp_path / "f").as_posix(): path.read_bytes() for path in (tmp_path / "f").glob("*/*")}
    assert_same_images(load(write_zip(tmp_path / "f.zip", packed), classes=classes), data)
    table(tmp_path / "f" / "metadata.csv", [("x", "y")], heading="FILE NAME,URL")  # beside the folders: not the labels
    assert_same_images(load(tmp_path / "f", classes=classes), data)
    listed = load(table(tmp_path / "t.csv", rows, heading="path,label,patient,split"), classes=classes)
    assert {name.removeprefix("f/"): at for name, at in everything(listed).items()} == everything(data)


@pytest.mark.parametrize("classes", [("covid", "flu"), ("covid", "normal", "flu"), ("x", "y", "flu")], ids=str)
def test_a_class_that_the_source_has_not_is_named_with_those_that_it_has(
    tmp_path: Path, classes: tuple[str, ...]
) -> None:
    names = ("covid", "normal", "zebra")
    root = kinds_folder(tmp_path / "f", names)
    rows = [(f"f/{name}/p{at}{i}.png", name) for at, name in enumerate(names) for i in range(20)]
    missing = next(name for name in classes if name not in names)
    for source in (root, table(tmp_path / "t.csv", rows, heading="path,label")):
        refused(source, f"{source}: ", f"of {missing} there is none", *names, "Correct 'data.classes'", classes=classes)


def test_folders_of_several_classes_may_all_count(tmp_path: Path) -> None:
    refused(kinds_folder(tmp_path / "f", ("covid", "flu", "normal", "zebra")), "or 'data.classes' to all that do")


def test_splits_with_k_folders_are_used_as_they_are(tmp_path: Path) -> None:
    files: dict[str, bytes] = {}
    for split, count in (("train", 8), ("Val", 3), ("test", 4)):
        for at, name in enumerate(("c", "a", "b")):
            files |= {f"{split}/{name}/{split}{at}{i}.png": png(1000 * len(split) + 100 * at + i) for i in range(count)}
    data = load(write(tmp_path / "s", files), classes=("a", "b", "c"))
    assert {split: set(counts.values()) for split, counts in data.report.counts.items()} == {
        "train": {8}, "val": {3}, "test": {4},
    }  # fmt: skip
    assert all("abc"[label] == name.split("/")[1] for name, (_, label) in everything(data).items())
    shutil.rmtree(tmp_path / "s" / "test" / "b")
    refused(
        tmp_path / "s", "expected images of all classes, a, b, c", "of b there is none in test", classes=("a", "b", "c")
    )


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("a|b", ["has the labels a and b, expected one class per image", "'data.uncertain' to drop"]),
        ("maybe", ["has the uncertain label 'maybe'"]),
        ("", ["line 2 has no usable label"]),
        ("n/a", ["line 2 has no usable label", "('n/a' says nothing)"]),
    ],
)
def test_a_label_that_is_no_class_is_asked_about_or_dropped(tmp_path: Path, label: str, words: list[str]) -> None:
    names = ("a", "b", "c")
    kinds_folder(tmp_path / "f", names)
    rows = [(f"f/{name}/p{at}{i}.png", name) for at, name in enumerate(names) for i in range(20)]
    path = table(tmp_path / "t.csv", [(rows[0][0], label), *rows[1:]], heading="path,label")
    refused(path, *words, classes=names)
    data = load(path, classes=names, blank="drop", uncertain="drop")
    assert len(everything(data)) == 59 and rows[0][0] not in everything(data)


def test_what_is_meant_for_two_classes_is_refused_in_python_too() -> None:
    for field in ("uncertain", "blank"):
        with pytest.raises(ConfigError, match=f"'{field}' is negative, but with 'classes' it can only be refuse or"):
            LabelRules(classes=THREE, **{field: "negative"})  # type: ignore[arg-type]


def test_raters_and_copies_that_disagree_are_a_conflict(tmp_path: Path) -> None:
    names = ("a", "b", "c")
    root = kinds_folder(tmp_path / "f", names)
    rows = [(f"f/{name}/p{at}{i}.png", name, "") for at, name in enumerate(names) for i in range(20)]
    both = [(rows[0][0], "a", "1"), (rows[0][0], "c", "2"), *rows[1:]]
    path = table(tmp_path / "t.csv", both, heading="path,label,rater")
    refused(path, "has the labels 'a' and 'c', expected one class per image", classes=names)
    assert len(everything(load(path, classes=names, uncertain="drop"))) == 59
    write(root, {"b/copy.png": png(0)})
    refused(root, "a/p00.png (a) and b/copy.png (b) are the same image and contradict", classes=names)
    assert len(everything(load(root, classes=names, uncertain="drop"))) == 59


class TestMedMnist:
    def set_of(self, tmp_path: Path, name: str, classes: int, **changes: Any) -> Path:
        labels = {f"{split}_labels": (np.arange(n) % classes).astype(np.uint8)[:, None]
                  for split, n in (("train", 20), ("val", 6), ("test", 8))}  # fmt: skip
        return medmnist(tmp_path, name=f"{name}.npz", **{**labels, **changes})

    def test_own_names_or_numbers(self, tmp_path: Path) -> None:
        path = self.set_of(tmp_path, "octmnist_64", 4)
        own = ("drusen", "normal", "Diabetic macular edema", "choroidal neovascularization")
        data, numbers = load(path, classes=own), load(path, classes=("2", "3", "1", "0"))
        np.testing.assert_array_equal(data.test.labels, np.array([3, 2, 0, 1] * 2))
        np.testing.assert_array_equal(numbers.test.labels, data.test.labels)
        assert "By the numbers in the file, 0 is choroidal neovascularization, 1 is Diabetic" in data.report.notes[0]
        part = load(path, classes=("drusen", "normal"))
        assert len(part.test) == 4 and "were left out: choroidal neovascularization" in part.report.notes[1]
        with pytest.raises(DataError, match=r"expected pneumoniamnist: .*; list its own classes, ") as caught:
            load(path)
        assert "data.positive" not in str(caught.value)  # which would be refused: there are four
        refused(path, "no class 'retina'", "drusen, normal, so list these", classes=("drusen", "normal", "retina"))

    def test_breast_has_its_own_two(self, tmp_path: Path) -> None:
        path = self.set_of(tmp_path, "breastmnist", 2)
        refused(path, "expected pneumoniamnist", "'data.classes: ['malignant', 'normal, benign']'")
        refused(path, """on the command line: --set "classes=['malignant', 'normal, benign']"), or rename""")
        how = """so list these (on the command line: --set "classes=['malignant', 'normal, benign']\""""
        refused(path, how, classes=("normal", "malignant"))
        data = load(path, classes=("normal, benign", "malignant"))
        assert "By the numbers in the file, 0 is malignant, 1 is 'normal, benign'." in data.report.notes
        assert data.class_names == ("normal, benign", "malignant") and data.test.labels.tolist() == [1, 0] * 4

    def test_a_file_of_ones_own_is_not_called_official(self, tmp_path: Path) -> None:
        mine = load(self.set_of(tmp_path, "mine", 5), classes=tuple("01234"))
        assert mine.source == "mine.npz" and "MedMNIST" not in " ".join(mine.report.notes)
        assert any(note.startswith("The file's own splits are used as they are") for note in mine.report.notes)
        known = load(self.set_of(tmp_path, "tissuemnist_64", 8), classes=("Leukocytes", "Podocytes"))
        assert known.source == "MedMNIST tissuemnist_64.npz"
        assert "'Collecting Duct, Connecting Tubule', Distal Convoluted Tubule" in " ".join(known.report.notes)

    def test_colour_becomes_gray_where_that_is_asked_for(self, tmp_path: Path) -> None:
        """The gray of a colour file; the set has its own names."""
        rng = np.random.default_rng(0)
        colours = {f"{split}_images": rng.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)
                   for split, n in (("train", 20), ("val", 6), ("test", 8))}  # fmt: skip
        path, names = self.set_of(tmp_path, "dermamnist", 2, **colours), ("basal cell carcinoma", "1")
        refused(path, "the images are in colour", "'data.colour: gray' (or --set colour=gray)", classes=names)
        names = ("actinic keratoses and intraepithelial carcinoma", "basal cell carcinoma")
        data = load(path, classes=names, colour="gray")
        red, green, blue = np.moveaxis(colours["test_images"].astype(np.int64), 3, 0)
        np.testing.assert_array_equal(data.test.pixels, (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16)
        assert any("Colour was made gray" in note for note in data.report.notes)
        Image.fromarray(colours["test_images"][5]).save(tmp_path / "a.png")
        np.testing.assert_array_equal(data.test.pixels[5], load_pixels(tmp_path / "a.png", height=8, width=8))
        gray = self.set_of(tmp_path, "octmnist", 4)
        refused(gray, "the images are gray already, so leave 'data.colour' out", classes=("0", "1"), colour="gray")

    def test_a_field_that_says_nothing_of_a_source_is_refused(self, tmp_path: Path) -> None:
        """The kind: a field that is taken in silence, so that somebody believes it did something."""
        write(tmp_path / "folder", {f"{split}/{name}/{i}.png": png(i + 50 * (name == "NORMAL") + 9 * (split == "test"))
                                    for split in ("train", "test") for name in ("NORMAL", "PNEUMONIA")
                                    for i in range(9)})  # fmt: skip
        refused(tmp_path / "folder", "of which 'data.colour' says nothing", "MedMNIST .npz", colour="gray")
        for source in (tmp_path / "folder", medmnist(tmp_path)):
            refused(source, "of which 'data.label' says nothing", "table (CSV) of paths and labels", label="Finding")
            refused(source, "of which 'data.label_table' says nothing", label_table=tmp_path / "labels.csv")

    def test_colour_volumes_and_several_labels_are_refused_with_the_reason(self, tmp_path: Path) -> None:
        shapes = {"in colour": (20, 8, 8, 3), "volumes": (20, 8, 8, 8)}
        for why, shape in shapes.items():
            path = self.set_of(tmp_path, "bloodmnist", 3, train_images=np.zeros(shape, dtype=np.uint8))
            refused(path, f"the images are {why}", classes=("0", "1", "2"))
            refused(path, f"the images are {why}")  # the same reason without fields, not advice that leads to it
        refused(path, "the images are volumes, so give one of MedMNIST's 2-D sets", colour="gray")
        path = self.set_of(tmp_path, "chestmnist", 2, train_labels=np.zeros((20, 14), dtype=np.uint8))
        refused(path, "an image has several labels at once", classes=("0", "1"))
        refused(path, "an image has several labels at once")
        path = self.set_of(tmp_path, "octmnist", 4, train_labels=np.zeros((20, 1), dtype=np.float32))
        refused(path, "write the labels as whole numbers", classes=("0", "1"))
        path = self.set_of(tmp_path, "octmnist", 4, test_labels=np.full((8, 1), 1000, dtype=np.int64))
        refused(path, "test_labels holds 1000 to 1000, expected 0 to 999", classes=("0", "1"))


@settings(max_examples=25)
@given(st.integers(3, 6), st.integers(0, 2**32 - 1))
def test_every_class_is_divided_by_whole_patients(classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    of_patient = np.concatenate([np.full(int(rng.integers(8, 30)), k) for k in range(classes)])
    patients = np.repeat(np.arange(len(of_patient)), rng.integers(1, 4, len(of_patient)))
    names = tuple("abcdef"[:classes])
    mask = validation_mask(of_patient[patients], patients, val_fraction=0.25, seed=1, class_names=names)
    assert not set(patients[mask]) & set(patients[~mask])
    for k in range(classes):
        rows = of_patient[patients] == k
        assert 0 < mask[rows].mean() < 0.6


def test_names_are_read_as_they_are_meant() -> None:
    named = NamedClasses(("Normal", "Bacterial", "viral"))
    for text, label in (("normal", 0), ("NORMAL ", 0), ("bacterial", 1), ("Viral", 2)):
        assert named.read([text], file="", place="x").label == label
    assert named.read(["pneumonia"], file="d/person3_Bacteria_9.jpeg", place="x").label == 1
    assert named.read(["Pneumonia"], file="person3_virus_9.jpeg", place="x").label == 2
    assert named.read(["fungal"], file="", place="x").why == "other"
    whole = NamedClasses(("normal", "pneumonia", "virus"))  # PNEUMONIA is a class of its own: nothing is divided
    assert whole.read(["pneumonia"], file="person3_virus_9.jpeg", place="x").label == 1


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_phantoms_of_three_classes_differ_in_shape_and_not_in_brightness() -> None:
    data = make_phantoms(height=28, width=28, val_fraction=0.1, seed=0, classes=THREE)
    every = [data.train, data.val, data.test]
    labels = np.concatenate([split.labels for split in every])
    assert data.class_names == THREE and np.bincount(labels).min() > 0.9 * len(labels) / 3
    brightness = np.concatenate([split.pixels.mean(axis=(1, 2)) for split in every])
    sick = labels > 0
    for area in (roc_auc_score(labels[sick] == 2, brightness[sick]), roc_auc_score(sick, brightness)):
        assert 0.48 <= area <= 0.52

    def flat(split: Split) -> np.ndarray:
        return split.pixels.reshape(len(split), -1).astype(np.float32) / 255 - 0.5

    with threadpool_limits(1):
        network = MLPClassifier((64, 64), random_state=0, max_iter=50, tol=0, n_iter_no_change=50)
        network.fit(flat(data.train), data.train.labels)
    probabilities = network.predict_proba(flat(data.test))
    assert roc_auc_score(data.test.labels, probabilities, multi_class="ovr") > 0.85
    ill = data.test.labels > 0
    ratio = probabilities[ill, 2] / probabilities[ill, 1:].sum(axis=1)
    assert roc_auc_score(data.test.labels[ill] == 2, ratio) > 0.85


@pytest.mark.parametrize("seed", range(1, 7))
@pytest.mark.parametrize("patients", [12, 60])
def test_brightness_tells_no_class_from_another_whatever_the_seed(seed: int, patients: int) -> None:
    """The kind: what holds of the drawing, and by chance not of the few images that are drawn."""
    few = {"n_train_patients": 24, "n_test_patients": patients, "val_fraction": 0.2, "seed": seed}
    test = make_phantoms(height=12, width=9, classes=THREE, **few).test  # type: ignore[arg-type]
    brightness = test.pixels.mean(axis=(1, 2))
    for a, b in ((0, 1), (0, 2), (1, 2)):
        pair = (test.labels == a) | (test.labels == b)
        assert 0.45 <= roc_auc_score(test.labels[pair] == b, brightness[pair]) <= 0.55


def test_phantoms_of_two_named_classes_are_those_of_ever_and_of_four_are_refused() -> None:
    few = {"height": 8, "width": 8, "n_train_patients": 60, "n_test_patients": 20, "val_fraction": 0.2, "seed": 3}
    plain, named = make_phantoms(**few), make_phantoms(**few, classes=("well", "ill"))  # type: ignore[arg-type]
    np.testing.assert_array_equal(plain.test.pixels, named.test.pixels)
    np.testing.assert_array_equal(plain.val.labels, named.val.labels)
    with pytest.raises(ConfigError, match="lists 4 classes, but phantoms are drawn in two or three"):
        make_phantoms(**few, classes=("a", "b", "c", "d"))  # type: ignore[arg-type]
    for wrong in (("VIRUS", "BACTERIA", "NORMAL"), ("ill", "no finding"), ("PNEUMONIA", "other", "more")):
        with pytest.raises(ConfigError, match=rf"in that order: {wrong[0]} as normal, .* means healthy first"):
            make_phantoms(**few, classes=wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="n_test_patients is 2, but every class needs a patient; give at least 3"):
        make_phantoms(**{**few, "n_test_patients": 2}, classes=THREE)  # type: ignore[arg-type]


def test_the_real_release_in_three_classes(real_xrays: Path) -> None:
    listing = list_folder(real_xrays, rules=LabelRules(classes=THREE))
    counts = Counter((file.split, THREE[file.label]) for file in listing.files)
    assert [counts["train", name] for name in THREE] == [1341, 2530, 1345]
    assert [counts["test", name] for name in THREE] == [234, 242, 148]
