"""A label that is none must not become a class, and one image must not have two, in whatever kind of source.

The kinds of fault: a word for "nothing was said" or "not sure" taken for a class; a contradiction that nobody sees,
because the two labels are on two spellings of one path, on a link, on a copy, or come from two raters; a class that is
guessed because the other one is known, or a column that means the opposite, and then every image is labelled wrong.
"""

import io
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from contract.errors import DataError
from datasets.classes import NamedClasses
from datasets.labels import Classes, Found, LabelRules, Verdict, agreed, plain, says_healthy, settle
from tests.datasets.made import everything, image, load, medmnist, png, refused, table, write, write_zip

NOTHING = ["", "nan", "NaN", "NA", "n/a", "None", "null", "<NA>", "-", "not mentioned", "unknown",
           "pending", "TBD", "todo", ".", "not_labeled", "unlabelled", "rejected", "#N/A",
           "(pending)", "-2", "-9"]  # fmt: skip
DOUBT = ["-1", "-1.0", "-1.", "uncertain", "U", "?", "??", "Equivocal", "suspected", "undecided"]


@pytest.mark.parametrize(
    ("spellings", "same"),
    [(["1", "1.0", "1.", " 01 ", "+1", "1,0"], "1"), (["-1", "-1.0"], "-1"), (["0", "-0", "0.00"], "0"),
     (["No Finding", "no_finding", "NO-FINDING"], "no finding"), (["1.5"], "1.5"), (["-"], "-"), (["p-1"], "p 1")],
)  # fmt: skip
def test_spellings_of_one_class(spellings: list[str], same: str) -> None:
    assert {plain(name) for name in spellings} == {same}


def test_spellings_of_the_only_class_are_named() -> None:
    with pytest.raises(DataError, match="all labels are '0', '-0', which mean the same, expected images of two"):
        Classes({"0": "line 2", "-0": "line 3"}, LabelRules(), where="x")


@pytest.mark.parametrize(
    ("negative", "positive"),
    [("0", "1"), ("NORMAL", "PNEUMONIA"), ("No Finding", "Bacterial Pneumonia"), ("normal", "Tuberculosis"),
     ("No", "Yes"), ("no pneumonia", "pneumonia"), ("TB negative", "TB positive"), ("Normal", "Not Normal"),
     ("not sick", "COVID-19"), ("No evidence of TB", "TB"), ("non-COVID-19 cases", "COVID-19 cases"),
     ("\uff10", "\ufeff1")],
)  # fmt: skip
def test_two_known_names_need_no_answer(negative: str, positive: str) -> None:
    for names in ([negative, positive], [positive, negative]):
        classes = Classes(dict.fromkeys(names, ""), LabelRules(), where="x")
        assert [classes.verdict([name]) for name in (negative, positive)] == [Verdict.NEGATIVE, Verdict.POSITIVE]


@pytest.mark.parametrize(
    "names",
    [("1", "2"), ("1", "99"), ("0", "2"), ("0", "9"), ("0.1", "0.9"), ("1", "other"), ("0", "x"), ("NORMAL", "batch 2"),
     ("pneumonia", "misc"), ("COVID-19", "PNEUMONIA"), ("healthy", "normal"), ("no tb", "no pneumonia"),
     ("typical", "atypical"), ("pneumonia", "resolved pneumonia"), ("Viral Pneumonia", "Bacterial Pneumonia"),
     ("normal", "not quite"),
     ("0", "no " * 600 + "tb")],
)  # fmt: skip
def test_one_known_name_says_nothing_of_the_other(names: tuple[str, str]) -> None:
    with pytest.raises(DataError, match=r"nothing tells which of .* set 'data\.positive'"):
        Classes(dict.fromkeys(names, ""), LabelRules(), where="x")
    for one, other in (names, names[::-1]):
        classes = Classes(dict.fromkeys(names, ""), LabelRules(positive=one), where="x")
        assert [classes.verdict([name]) for name in (other, one)] == [Verdict.NEGATIVE, Verdict.POSITIVE]


@pytest.mark.parametrize(
    "name",
    ["pneumonia?", "? pneumonia", "Pneumonia (?)", "possible pneumonia", "pneumonia, probable", "suspected_pneumonia",
     "r/o pneumonia", "Rule-out pneumonia", "pneumonia unlikely", "maybe pneumonia", "cannot exclude pneumonia",
     "can't rule out effusion", "pneumonia not excluded", "pneumonia cannot be ruled out", "pneumonia vs. edema",
     "pneumonia -1", "Pneumonia: -1", "pneumonia_(-1)",
     "Abnormal?", "positive (uncertain)", "likely normal", "normal?", "COVID-19 suspect", "may be tb"],
)  # fmt: skip
def test_a_word_of_doubt_makes_any_name_uncertain(name: str) -> None:
    """The kind of fault: a name is taken for a class because a word of it is known, whatever the others say."""
    classes = Classes(dict.fromkeys(("normal", "pneumonia", name), ""), LabelRules(), where="x")
    assert classes.verdict([name]) == Verdict.UNCERTAIN
    chosen = Classes(dict.fromkeys(("normal", name), ""), LabelRules(positive=name), where="x")
    assert chosen.verdict([name]) == Verdict.POSITIVE


@pytest.mark.parametrize("name", ["N/A - pneumonia", "pneumonia (n/a)", "pneumonia: not assessed", "no label, normal"])
def test_a_word_for_nothing_makes_any_name_blank(name: str) -> None:
    classes = Classes(dict.fromkeys(("normal", "pneumonia", name), ""), LabelRules(), where="x")
    assert classes.verdict([name]) == Verdict.BLANK


@pytest.mark.parametrize(
    "name",
    ["pneumonia ruled out", "resolved pneumonia", "pneumonia absent", "pneumonia excluded", "negative for pneumonia",
     "free of pneumonia", "pneumonia free", "absence of pneumonia", "no change in pneumonia", "without new pneumonia",
     "history of pneumonia", "old tb", "healed fracture", "effusion gone", "pneumonia 0", "pneumonia no",
     "nonpneumonia", "pneumonialess", "pneumonia -", "pneumonia (-)", "-pneumonia", "pneumonia -2",
     "Pneumonia \u22121", "no suspicious nodule", "pneumonia follow up", "treated covid-19",
     "pneumonia or normal", "Non-viral pneumonia", "Non-COVID pneumonia", "not bacterial pneumonia", "no tb pneumonia",
     "No acute pneumonia", "COVID negative pneumonia", "pneumonia covid negative", "no effusion, pneumonia",
     "without effusion/mass", "non-pulmonary tuberculosis"],
)  # fmt: skip
def test_a_finding_beside_an_unknown_word_is_not_guessed(name: str) -> None:
    for other in ("normal", "pneumonia"):
        with pytest.raises(DataError, match=r"nothing tells which of .* set 'data\.positive'"):
            Classes(dict.fromkeys((other, name), ""), LabelRules(), where="x")
    with pytest.raises(DataError, match=r"a third class .* set 'data\.positive' and 'data\.negative'"):
        Classes(dict.fromkeys(("normal", "pneumonia", name), ""), LabelRules(), where="x")


@pytest.mark.parametrize(
    "name",
    ["Viral Pneumonia", "PNEUMONIA_bacterial", "pneumonia (viral)", "lobar pneumonia", "Pneumonia 2", "pneumonia1",
     "ViralPneumonia", "Bronchopneumonia", "COVID-19", "SARS-CoV-2 pneumonia", "Lung_Opacity", "Pleural effusion",
     "Pneumonia-1", "pneumonia - bacterial", "pneumonia (+)",
     "Nodule/Mass", "Other lesion", "Pulmonary fibrosis", "TB positive", "pneumonia cases", "Lung tumor"],
)  # fmt: skip
def test_a_finding_beside_neutral_words_is_positive(name: str) -> None:
    classes = Classes(dict.fromkeys(("normal", name), ""), LabelRules(), where="x")
    assert [classes.verdict([word]) for word in ("normal", name)] == [Verdict.NEGATIVE, Verdict.POSITIVE]


@pytest.mark.parametrize("code", ["9", "99", "999.0"])
def test_a_code_for_missing_beside_the_classes(code: str) -> None:
    for names in (("0", "1"), ("normal", "pneumonia")):
        assert Classes(dict.fromkeys((*names, code), ""), LabelRules(), where="x").verdict([code]) == Verdict.BLANK
    rules = LabelRules(positive=code, negative="0")
    assert Classes(dict.fromkeys(("0", "1", code), ""), rules, where="x").verdict([code]) == Verdict.POSITIVE


def rows(label: str, other: str) -> list[tuple[str, str]]:
    return [(f"images/{i}.png", other if i % 2 else label) for i in range(40)]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write(tmp_path, {f"images/{i}.png": png(i) for i in range(40)})


@pytest.mark.parametrize("word", NOTHING)
def test_a_word_for_nothing_is_no_class(images: Path, word: str) -> None:
    for other in ("0", "1.0", "normal", "something"):
        path = table(images / "labels.csv", rows(other, word), "path,label")
        refused(path, "line 3 has no usable label", "'data.blank' to drop, negative or positive (20 of 40 images")
        refused(path, f"all labels are {other!r}, expected images of two classes", blank="drop")
    path = table(images / "labels.csv", rows("0", word), "path,label")
    data = load(path, blank="positive")
    assert {label for name, (_, label) in everything(data).items() if int(name[7:-4]) % 2} == {1}
    assert "20 of 40 images have no label: counted as PNEUMONIA, as 'data.blank' says." in data.report.notes


@pytest.mark.parametrize(
    "column", ["No Finding", "Normal", "healthy", "Negative", "NoFinding", "is_normal", "Not Pneumonia", "no_tb"]
)
def test_a_column_that_means_healthy_is_no_finding(images: Path, column: str) -> None:
    path = table(images / "labels.csv", rows("1", "0"), f"path,{column}")
    refused(path, f"'data.label' is {column!r}, which names what is not there", "'data.positive'", label=column)
    data = load(path, label=column, positive="0")
    assert all(label == int(name[7:-4]) % 2 for name, (_, label) in everything(data).items())


@pytest.mark.parametrize("cells", ["0 1", "False True", "no yes", "negative positive", "0 "])
@pytest.mark.parametrize(
    "column",
    ["Pneumonia absent", "finding_free", "Clear lungs", "Normality", "ruled_out", "PneumoniaExcluded", "usable", "x",
     "pneumonia_resolved", "nonpneumonia", "outcome", "Non-viral pneumonia"],
)  # fmt: skip
def test_a_column_of_truth_values_must_be_known_to_name_a_finding(images: Path, column: str, cells: str) -> None:
    """The kind of fault: 1 is taken for the finding in a column that denies it, and every label is inverted."""
    no, yes = cells.split(" ")
    path = table(images / "labels.csv", rows(yes, no), f"path,{column}")
    for rest in (None, "*"):
        refused(
            path, f"'data.label' is {column!r}", "'data.positive' to", label=column, negative=rest, blank="negative"
        )
    if no and yes:
        data = load(path, label=column, positive=no)
        assert all(label == int(name[7:-4]) % 2 for name, (_, label) in everything(data).items())


@pytest.mark.parametrize(
    "column",
    ["Pneumonia", "Enlarged Cardiomediastinum", "Pleural Effusion", "is_sick", "hasTB", "Target", "COVID-19", "label",
     "Nodule/Mass", "Lung Opacity", "pneumonia_label", "Pneumonia present", "Not Normal?", "abnormal", "y",
     "Viral Pneumonia", "Pleural_Thickening", "pneumonia status", "TB positive"],
)  # fmt: skip
def test_a_column_that_names_a_finding_needs_no_answer(column: str) -> None:
    for names in (("0", "1"), ("no", "yes"), ("negative", "positive")):
        classes = Classes(dict.fromkeys(names, ""), LabelRules(label=column), where="x")
        assert [classes.verdict([name]) for name in names] == [Verdict.NEGATIVE, Verdict.POSITIVE]


def test_columns_that_mean_a_finding() -> None:
    for column in ("Pneumonia", "Abnormal", "label", "Not Normal?", "Norma", "Nodule", "target", "Non-Small Cell", ""):
        assert says_healthy(column) == column.startswith("Non-")


@pytest.mark.parametrize("word", DOUBT)
def test_a_word_for_doubt_is_no_class(images: Path, word: str) -> None:
    path = table(images / "labels.csv", rows("1.0", word), "path,label")
    refused(path, f"line 3 has the uncertain label {word!r}; correct", "'data.uncertain' to drop, negative or positive")
    data = load(path, uncertain="negative")
    assert all(label == 1 - int(name[7:-4]) % 2 for name, (_, label) in everything(data).items())


def test_what_the_user_names_is_a_class(images: Path) -> None:
    data = load(table(images / "labels.csv", rows("-1", "1"), "path,label"), negative="-1")
    assert "'-1' counts as NORMAL and '1' as PNEUMONIA." in data.report.notes and len(everything(data)) == 40
    assert len(
        everything(load(table(images / "x.csv", rows("none", "tb"), "path,label"), positive="tb", negative="none"))
    )


@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize("own", [True, False])
def test_a_split_without_a_label_is_not_said_to_be_missing(images: Path, split: str, own: bool) -> None:
    """The kind of fault: a note that is false, because images were left out before it was written."""
    where = [("train", "train", "train", "val", "test")[i // 2 % 5] for i in range(40)]
    some = [(f"images/{i}.png", i, where[i], "" if where[i] == split else i % 2) for i in range(40)]
    path, options = table(images / "x.csv", some, "path,image_id,split,label"), {}
    if not own:  # the labels are in another table, which lacks that split's
        path = table(images / "x.csv", [row[:3] for row in some], "path,image_id,split")
        kept = [(row[1], row[3]) for row in some if row[3] != ""]
        options = {"label_table": table(images / "labels.csv", kept, "image_id,label")}
    if split == "train":
        refused(
            path, "has no label that counts for any training image, all are of val and test", blank="drop", **options
        )
        return
    data = load(path, blank="drop", **options)
    said = " ".join(data.report.notes)
    what = {"val": "All validation images of the source were left out, for their labels: others were drawn.",
            "test": "All test images of the source were left out, for their labels: "}[split]  # fmt: skip
    assert what in said and "has no test split" not in said
    assert len(data.test) == (8 if split == "val" else 4) and len(data.val) >= 6


def test_several_classes_of_which_two_count(images: Path) -> None:
    classes = ["Normal", "Lung Opacity", "No Lung Opacity / Not Normal"]
    some = [(f"images/{i}.png", classes[i % 3]) for i in range(39)]
    path = table(images / "labels.csv", some, "path,class")
    refused(path, "line 4 has the label 'No Lung Opacity / Not Normal', a third class", "'data.positive' and 'data.neg")
    data = load(path, positive="lung opacity", negative="normal")
    assert {label: sum(found == label for _, found in everything(data).values()) for label in (0, 1)} == {0: 13, 1: 13}
    assert (
        "13 of 39 images are of other classes and were left out: 'No Lung Opacity / Not Normal'." in data.report.notes
    )
    data = load(path, positive="lung opacity", negative="*")
    assert [label for _, (_, label) in sorted(everything(data).items())].count(0) == 26
    assert "everything else counts as NORMAL and 'Lung Opacity' as PNEUMONIA." in data.report.notes
    refused(path, "no label is 'Covid', which 'data.positive' asks for", positive="Covid", negative="*")
    refused(path, "are both 'normal'", positive="normal", negative="normal")


@pytest.mark.parametrize(
    ("positive", "name"),
    [("pneumonia", "Effusion, Pneumonia"), ("Pneumonia", "Effusion;Pneumonia"), ("Pneumonia", "Pneumonia/Effusion"),
     ("Pneumonia", "['effusion', 'pneumonia']"), ("pneumonia", "bacterial pneumonia"), ("Pneumonia", "Pneumonias"),
     ("Pneumonia", "PNEUMONIA & mass"), ("Mass", "Nodule Mass"), ("Lung Opacity", "opacity of the lung"), ("1", "0, 1"),
     ("pneumonia", "pneumonia + effusion"), ("Effusion", "pleural effusions"), ("Pneumonia", "pneumonia ruled out"),
     ("pneumonia", "non-viral pneumonia"), ("TB", "no effusion, TB"), ("COVID-19", "covid19 (COVID-19)"),
     ("COVID", "COVID19"), ("COVID19", "COVID-19"), ("COVID-19", "COVID"), ("COVID-19", "covid19"),
     ("Mass", "Masses"), ("masses", "lung mass"), ("Nodule", "Nodules"), ("nodules", "Nodule"), ("TB", "Tuberculosis"),
     ("Lung Opacity", "lung opacities"), ("Atelectasis", "atelectases"), ("Edema", "pulmonary oedema"),
     ("Tumour", "tumor"), ("Pneumonia", "Pnuemonia")],
)  # fmt: skip
def test_the_rest_must_not_name_the_positive_class(positive: str, name: str) -> None:
    """The kind of fault: images of the finding are trained on as NORMAL, because a cell says more than its name, or
    has another spelling of it.
    """
    rules = LabelRules(positive=positive, negative="*")
    with pytest.raises(DataError, match=r"line 3 has the label .* in it, but would count as NORMAL.* with \| between"):
        Classes({"normal": "line 1", positive: "line 2", name: "line 3"}, rules, where="x")


@pytest.mark.parametrize(
    "names",
    [("COVID", "COVID19"), ("Mass", "Masses"), ("edema", "oedema"), ("Pneumonia", "Pnuemonia"), ("TB", "tuberculosis")],
)
def test_two_spellings_of_one_class_are_no_two(names: tuple[str, str]) -> None:
    for one in names:
        for field in ("positive", "negative"):
            with pytest.raises(DataError, match=r"which read like two spellings of one, but .* set both"):
                Classes(dict.fromkeys(names, ""), LabelRules(**{field: one}), where="x")  # type: ignore[arg-type]
    both = Classes(dict.fromkeys(names, ""), LabelRules(positive=names[0], negative=names[1]), where="x")
    assert [both.verdict([name]) for name in names] == [Verdict.POSITIVE, Verdict.NEGATIVE]


@pytest.mark.parametrize(
    ("positive", "name"),
    [("Pneumonia", "No pneumonia"), ("Mass", "massive effusion"), ("Viral Pneumonia", "Bacterial Pneumonia"),
     ("Pneumonia", "Pneumothorax"), ("1", "10"), ("COVID", "Non-COVID pneumonia"), ("TB", "tb negative"),
     ("Viral Pneumonia", "Pneumonia"), ("Pneumonia", "effusion without pneumonia"), ("Lung Opacity", "Lung mass"),
     ("class 1", "class 2"), ("Emphysema", "Empyema"), ("Pneumonia", "Pneumonitis"), ("COVID-19", "Non-COVID"),
     ("Lung Opacity", "No Lung Opacity / Not Normal"), ("Nodule", "Normal"), ("Fibrosis", "Fracture")],
)  # fmt: skip
def test_the_rest_may_deny_the_positive_class(positive: str, name: str) -> None:
    classes = Classes(dict.fromkeys((positive, name, "x"), ""), LabelRules(positive=positive, negative="*"), where="x")
    assert classes.verdict([name]) == Verdict.NEGATIVE


@pytest.mark.parametrize(
    ("cell", "wanted"),
    [("No Finding|Pneumonia", Verdict.CONFLICT), ("Pneumonia|normal", Verdict.CONFLICT),
     ("Pneumonia", Verdict.POSITIVE),
     ("No Finding|Effusion", Verdict.CONFLICT), ("no pneumonia|Pneumonia", Verdict.CONFLICT), ("a", Verdict.NEGATIVE),
     ("No Effusion|Pneumonia", Verdict.POSITIVE), ("no pneumonia|Effusion", Verdict.NEGATIVE),
     ("No Finding|normal", Verdict.NEGATIVE), ("No Finding|pacemaker", Verdict.NEGATIVE)],
)  # fmt: skip
def test_a_cell_that_denies_what_it_names_is_a_conflict(cell: str, wanted: Verdict) -> None:
    """The kind of fault: with 'data.negative: "*"' a healthy chest is no class of its own, and was a pneumonia."""
    parts = cell.split("|")
    classes = Classes(
        dict.fromkeys(("Pneumonia", "x", *parts), ""), LabelRules(positive="Pneumonia", negative="*"), where="x"
    )
    assert classes.verdict(parts) == wanted
    ill = NamedClasses(("Pneumonia", "Effusion"))
    assert (ill.read(parts, file="x.png", place="line 2").why == "conflict") == (wanted == Verdict.CONFLICT)


def test_the_absence_of_another_finding_is_no_class() -> None:
    for other in ("no effusion", "no pneumothorax"):
        with pytest.raises(DataError, match="nothing tells which of"):
            Classes({"pneumonia": "line 1", other: "line 2"}, LabelRules(), where="x")


def test_the_line_that_is_uncertain_is_the_one_that_is_named(images: Path) -> None:
    rows = [(f"images/{i}.png", ("normal", "pneumonia")[i % 2]) for i in range(1, 30)]
    path = table(images / "x.csv", [*rows, ("images/0.png", ""), ("images/0.png", "pneumonia?")], "path,label")
    refused(path, "line 32 has the uncertain label 'pneumonia?'", blank="drop")
    refused(path, "line 32 has the uncertain label 'pneumonia?'", blank="drop", classes=("normal", "pneumonia"))


@pytest.mark.parametrize("second", ["images/../images/0.png", "./images/0.png", "images/link.png", "images/hard.png"])
def test_two_paths_of_one_file(images: Path, second: str) -> None:
    (images / "images/link.png").symlink_to("0.png")
    os.link(images / "images/0.png", images / "images/hard.png")
    some = rows("Normal", "PNEUMONIA")
    path = table(images / "labels.csv", [*some, (second, "PNEUMONIA")], "path,label")
    refused(path, "lines 2 and 42 name 'images/0.png' and contradict each other", "or set 'data.uncertain' to drop")
    data = load(path, uncertain="drop")
    assert "images/0.png" not in everything(data) and len(everything(data)) == 39
    data = load(table(images / "labels.csv", [*some, (second, "normal")], "path,label"))
    assert len(everything(data)) == 40 and "41 lines name 40 images." in data.report.notes


def copied(root: Path, kind: str) -> Path:
    """Make a source in which one image is in both classes."""
    files = {f"{('NORMAL', 'PNEUMONIA')[i % 2]}/{i}.png": png(i) for i in range(40)}
    if kind == "npz":
        train = np.random.default_rng(0).integers(0, 256, (20, 8, 8), dtype=np.uint8)
        train[1] = train[0]
        return medmnist(root, train_images=train)
    if kind == "pixels":  # another file of the same image
        stream = io.BytesIO()
        Image.fromarray(image(0)).save(stream, "BMP")
        files["PNEUMONIA/other.bmp"] = stream.getvalue()
    else:
        files["PNEUMONIA/copy.png"] = png(0)
    if kind == "zip":
        return write_zip(root / "x.zip", files)
    folder = write(root / "x", files)
    if kind == "release":
        for split in ("train", "test"):
            shutil.copytree(folder / "NORMAL", folder / split / "NORMAL")
            shutil.copytree(folder / "PNEUMONIA", folder / split / "PNEUMONIA")
        shutil.rmtree(folder / "NORMAL")
        shutil.rmtree(folder / "PNEUMONIA")
        (folder / "train/PNEUMONIA/copy.png").unlink()  # then the two labels are in train and test
        (folder / "test/NORMAL/0.png").unlink()
    if kind == "table":
        return table(folder / "x.csv", [(name, name.split("/")[0]) for name in files], "path,label")
    return folder


@pytest.mark.parametrize("kind", ["folder", "release", "zip", "npz", "table", "pixels"])
def test_one_image_in_two_classes(tmp_path: Path, kind: str) -> None:
    path = copied(tmp_path, kind)
    refused(path, "(NORMAL) and", "(PNEUMONIA) are the same image and contradict each other", "'data.uncertain'")
    dropped, changed = load(path, uncertain="drop"), load(path, uncertain="positive")
    gone = set(everything(changed)) - set(everything(dropped))
    assert len(gone) >= 2 and {everything(changed)[name][1] for name in gone} == {1}
    assert any(f"{len(gone)} of" in note and "left out" in note for note in dropped.report.notes)


@pytest.mark.parametrize("word", ["absent", "resolved", "x", "clear lungs", "NORMAL_CXR", "misc", "2"])
def test_one_class_beside_none_is_not_positive_by_that(images: Path, word: str) -> None:
    """The kind of fault: a word becomes PNEUMONIA because the user said what the cells without one count as."""
    path = table(images / "labels.csv", rows(word, ""), "path,label")
    for blank in ("negative", "positive"):
        refused(path, f"nothing tells whether {word!r} is pneumonia", "set 'data.positive' or 'data.neg", blank=blank)
    for field, blank, expected in (("positive", "negative", 1), ("negative", "positive", 0)):
        data = load(path, **{field: word}, blank=blank)
        assert all(label == (int(name[7:-4]) % 2 != expected) for name, (_, label) in everything(data).items())
    refused(path, "line 3 has no usable label")
    refused(table(images / "x.csv", rows(word, "-1"), "path,label"), "nothing tells whether", uncertain="negative")


@pytest.mark.parametrize(("word", "blank"), [("normal", "negative"), ("0", "negative"), ("1", "positive")])
def test_a_known_class_beside_none_is_that_one(images: Path, word: str, blank: str) -> None:
    path = table(images / "labels.csv", rows(word, ""), "path,label")
    refused(path, "holds no usable image; expected images of both classes", where=path, blank=blank)


def test_class_folders_that_are_no_class(tmp_path: Path) -> None:
    root = write(tmp_path / "x", {f"{name}/{i}.png": png(100 * k + i) for k, name in enumerate(("normal", "uncertain"))
                                  for i in range(20)})  # fmt: skip
    refused(root, "the folder 'uncertain' has the uncertain label 'uncertain'", "'data.uncertain' to drop")
    data = load(root, uncertain="positive")
    assert everything(data)["uncertain/3.png"][1] == 1 and everything(data)["normal/3.png"][1] == 0


@pytest.mark.parametrize("splits", [["train", "test"], [""]])
@pytest.mark.parametrize("packed", [False, True])
def test_the_same_fields_for_folders(tmp_path: Path, splits: list[str], packed: bool) -> None:
    """The kind of fault: a field that a table obeys, and class folders refuse or ignore."""
    files = {f"{split}/{name}/{i}.png".lstrip("/"): png(1000 * j + 100 * k + i) for j, split in enumerate(splits)
             for k, name in enumerate(("NORMAL", "PNEUMONIA", "COVID", "unsure")) for i in range(20)}  # fmt: skip
    path = write_zip(tmp_path / "x.zip", files) if packed else write(tmp_path / "x", files)
    refused(path, "'data.positive' and 'data.negative' ", where=path)
    fields = {"positive": "pneumonia", "negative": "*"}
    refused(path, "has the uncertain label 'unsure'", "'data.uncertain'", where=path, **fields)
    data = load(path, uncertain="drop", **fields)
    assert all(("PNEUMONIA" in name) == label for name, (_, label) in everything(data).items())
    assert len(everything(data)) == 60 * len(splits)
    data = load(path, uncertain="positive", positive="COVID", negative="NORMAL")
    assert {name.split("/")[-2] for name in everything(data)} == {"NORMAL", "COVID", "unsure"}


CELLS = st.sampled_from(["0", "1", "0.0", "", "nan", "-1", "Effusion", "1|Effusion", "0|Effusion", "0|1", "0|-1"])
CHOICES = st.sampled_from(["refuse", "drop", "negative", "positive"])


@given(st.lists(st.lists(CELLS, min_size=1, max_size=3), min_size=1, max_size=8), CHOICES, CHOICES, st.booleans())
def test_a_label_is_what_every_reading_says(readings: list[list[str]], blank: Any, uncertain: Any, rest: bool) -> None:
    """A second reading of the rules, image by image: each has one or more raters, whose cells may list findings."""

    def said(cell: str) -> set[str]:
        words = {plain(word) for word in cell.split("|")}
        return words - {"", "nan"} or {"nothing"}

    expected: list[int | None] = []
    for cells in readings:
        opinions = set()
        for words in map(said, cells):
            if ("-1" in words and len(words) > 1) or ({"0", "1"} <= words and not rest):
                opinions.add("both")
            elif "1" in words:
                opinions.add("positive")
            elif words == {"nothing"} or words == {"-1"}:
                opinions.add("nothing" if words == {"nothing"} else "doubt")
            else:
                opinions.add("negative" if rest or "0" in words else "other")
        if len(opinions) > 1:
            opinions -= {"nothing"}
        if len(opinions) > 1 and "doubt" in opinions:
            opinions -= {"other"}
        opinion = opinions.pop() if len(opinions) == 1 else "both"
        choice = {"nothing": blank, "doubt": uncertain, "both": uncertain, "other": "drop"}.get(opinion, opinion)
        expected.append({"drop": None, "negative": 0, "positive": 1, "refuse": -1}[choice])

    rules = LabelRules(positive="1", negative="*" if rest else "0", blank=blank, uncertain=uncertain)
    names = {name: "" for cell in ["0", "1", *(c for cells in readings for c in cells)] for name in cell.split("|")}
    classes = Classes(names, rules, where="x")
    found = [Found(agreed(classes.verdict(cell.split("|")) for cell in cells), "", "") for cells in readings]
    if -1 in expected:
        with pytest.raises(DataError, match=r"set 'data\."):
            settle(found, rules, where="x")
    else:
        assert settle(found, rules, where="x")[0] == expected


def test_every_word_has_one_meaning() -> None:
    words = {name: "" for name in [*NOTHING, *DOUBT, "normal", "pneumonia"]}
    classes = Classes(words, LabelRules(), where="x")
    assert {classes.verdict([word]) for word in NOTHING} == {Verdict.BLANK}
    assert {classes.verdict([word]) for word in DOUBT} == {Verdict.UNCERTAIN}


@pytest.mark.parametrize(
    ("cell", "counts"),
    [("Effusion|No Finding", "conflict"), ("No Finding|Effusion", "conflict"), ("No Finding|Effusion?", "conflict"),
     ("No Finding|Normal", 0), ("Pneumonia|Effusion?", 1), ("possible effusion|Pneumonia", 1), ("Effusion?", None),
     ("r/o mass", None), ("Effusion|Effusion?", None), ("Effusion|Pneumonia?", "certain"), ("Pneumonia?", "doubt"),
     ("no pneumonia?", "doubt"), ("?", "doubt"), ("bronchopneumonia?", "doubt"), ("possible infection", "doubt"),
     ("Pneumonia|Pneumonia?", "conflict"), ("Pneumonia|No Finding", "conflict"), ("No Finding|copd", "conflict")],
)  # fmt: skip
@pytest.mark.parametrize("named", [False, True])
def test_findings_that_share_a_cell(images: Path, cell: str, counts: Any, named: bool) -> None:
    """The kind of fault: one word of a cell decides, and the image is NORMAL although another word says it is not."""
    said = [("No Finding", "Pneumonia", "Normal|No Finding", "Mass")[i % 4] for i in range(36)] + [cell] * 4
    path = table(images / "x.csv", [(f"images/{i}.png", said[i]) for i in range(40)], "path,label")
    fields: dict[str, Any] = {"positive": "Pneumonia", "negative": "No Finding"}
    if named:
        fields = {"classes": ("No Finding", "Pneumonia")}
    for choice in ("drop",) if named else ("drop", "negative", "positive"):
        data = load(path, uncertain=choice, **fields)
        found = {everything(data).get(f"images/{i}.png", ("", None))[1] for i in range(36, 40)}
        asked = {"drop": None, "negative": 0, "positive": 1}[choice]
        if counts == "certain":  # a certain finding is not NORMAL
            assert found == {None if choice == "negative" else asked}
        else:
            assert found == {asked if counts in ("conflict", "doubt") else counts}
        sentence = "4 of 40 images have an uncertain label or two that contradict each other"
        uncertain = counts in ("conflict", "doubt") or (counts == "certain" and choice != "negative")
        assert any(sentence in note for note in data.report.notes) == uncertain
    if counts in ("conflict", "doubt"):
        refused(path, "line 38", "'data.uncertain'", **fields)
