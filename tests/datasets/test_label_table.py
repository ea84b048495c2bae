"""Labels in a table of their own: each image gets its own label, or nobody's.

The kind of fault: two tables are joined by an id that several images share, although a finer one is there, and an
image gets its sibling's label. In every source here two images of a patient have different labels, so that a join by
patients is wrong wherever it is not refused.
"""

from pathlib import Path
from typing import Any

import pytest

from datasets.headings import names_exams, names_images, names_patients, names_something
from datasets.xray import XrayData
from tests.datasets.made import everything, load, png, refused, table, write


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write(tmp_path, {f"images/{i}x.png": png(i) for i in range(40)})


def own(data: XrayData) -> bool:
    """Return whether each image has its own label: 1 where its number is odd."""
    return all(label == int(name.rpartition("/")[2][:-5]) % 2 for name, (_, label) in everything(data).items())


def first(images: Path, *more: str, say: Any = lambda i: f"u{i}", name: str = "images/{}x.png") -> Path:
    lines = [(name.format(i), f"P{i // 2}", *(say(i) for _ in more)) for i in range(40)]
    return table(images / "x.csv", lines, ",".join(["path", "patient_id", *more]))


@pytest.mark.parametrize(
    ("column", "other"),
    [("StudyID", "study_id"), ("AccessionNumber", "AccessionNumber"), ("DicomID", "dicom_id"), ("uid", "UID"),
     ("SOPInstanceUID", "sop_instance_uid"), ("visit", "visit"), ("record id", "RecordID"), ("img", "img"),
     ("filename", "filename"), ("image", "Image"), ("file", "file"), ("ImageID", "image_id"), ("key", "key")],
)  # fmt: skip
def test_the_finer_of_two_ids_counts(images: Path, column: str, other: str) -> None:
    name = "{}x.png" if column in ("image", "file", "filename") else "u{}"
    path = first(images, column, say=name.format)
    lines = [(name.format(i), f"P{i // 2}", "" if i % 4 == 0 else i % 2) for i in range(40) if i % 8 != 5]
    labels = table(images / "labels.csv", lines, f"{other},patient_id,label")
    data = load(path, label_table=labels, blank="negative")
    assert own(data) and len(everything(data)) == 35
    assert any("5 in no line of labels.csv (images/5x.png)" in text for text in data.report.warnings)


@pytest.mark.parametrize(
    ("column", "form"),
    [("path", "images/{}x.png"), ("filename", "{}x.png"), ("File Name", "images\\{}x.png"), ("image", "{}x.png"),
     ("img", "{}x"), ("image_id", "{}x"), ("dicom_id", "{}x"), ("ImagePath", "./images/{}x.png")],
)  # fmt: skip
def test_names_of_files_are_joined_with_the_paths(images: Path, column: str, form: str) -> None:
    lines = [(form.format(i), f"P{i // 2}", i % 2) for i in range(40)]
    labels = table(images / "labels.csv", lines, f"{column},patient_id,label")
    data = load(first(images), label_table=labels)
    assert own(data) and len(everything(data)) == 40
    assert load(first(images, name="./images/{}x.png"), label_table=labels).report.counts == data.report.counts


def test_a_column_that_nobody_knows_and_that_names_files(images: Path) -> None:
    lines = [(f"{i}x.png", f"P{i // 2}", (i // 2) % 2) for i in range(40)]  # the labels agree: still they are images'
    for heading in ("name,patient_id,label", "what,patient_id,label"):
        labels = table(images / "labels.csv", lines[1:], heading)
        words = f"column {heading.partition(',')[0]!r} holds names of images"
        refused(first(images), words, "'image_id', or call", where=labels, label_table=labels)


def test_a_name_that_is_two_images(images: Path) -> None:
    write(images, {f"more/{i}x.png": png(100 + i) for i in range(4)})
    lines = [(f"{folder}/{i}x.png", f"P{i}") for folder in ("images", "more") for i in range(4)]
    path = table(images / "x.csv", lines, "path,patient")
    labels = table(images / "labels.csv", [(f"{i}x.png", i % 2) for i in range(4)], "filename,label")
    refused(path, "one label for 'images/0x.png' and 'more/0x.png'", "write the paths out", where=labels,
            label_table=labels)  # fmt: skip


def test_a_label_of_whole_patients_or_studies(images: Path) -> None:
    """That is right where the table says so: one label each, and nothing tells the images apart."""
    for column, key in (("patient_id", "P"), ("subject_id", "P"), ("StudyID", "S")):
        path = table(images / "x.csv", [(f"images/{i}x.png", f"{key}{i // 2}") for i in range(40)], f"path,{column}")
        labels = table(images / "labels.csv", [(f"{key}{i}", i % 2) for i in range(20)], f"{column},label")
        data = load(path, label_table=labels)
        assert all(label == int(name[7:-5]) // 2 % 2 for name, (_, label) in everything(data).items())
        said = f"40 images share their {column} with others: a label of labels.csv counts for all."
        assert said in data.report.notes
        again = table(
            images / "labels.csv", [(f"{key}{i // 2}", i // 2 % 2, i) for i in range(40)], f"{column},label,age"
        )
        assert load(path, label_table=again).fingerprint == data.fingerprint


@pytest.mark.parametrize("labels", [("1", "0"), ("1", ""), ("Effusion", "1")])
@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("column", ["patient_id", "StudyID", "case_id"])
def test_lines_of_one_patient_that_disagree(images: Path, labels: tuple[str, str], single: bool, column: str) -> None:
    """Nothing tells which line is which image's; also where the table of the images has but one of them."""
    some = [(f"images/{i}x.png", f"P{i // 2}") for i in range(40) if not (single and i % 2)]
    path = table(images / "x.csv", some, f"path,{column}")
    for more in (",taken", ",uid"):
        said = [(f"P{i // 2}", labels[i % 2], f"2020-{i}") for i in range(40)]
        other = table(images / "labels.csv", said, f"{column},label{more}")
        words = f"lines 2 and 3 give one {column} two labels, by which its labels would be joined"
        refused(path, words, "a column that names the image", where=other, label_table=other, blank="negative")


def test_names_of_images_that_the_other_table_lacks(images: Path) -> None:
    said = [(f"1.2.{i}", f"P{i // 2}", i // 2 % 2) for i in range(40)]
    labels = table(images / "labels.csv", said, "SOPInstanceUID,patient_id,label")
    words = "none of its 40 lines finds a label, since no patient_id and path (SOPInstanceUID) of theirs"
    refused(first(images), words, label_table=labels)


def test_a_column_that_tells_the_images_of_a_patient_apart(images: Path) -> None:
    said = [(f"P{i}", "frontal", i % 2) for i in range(20)]  # only of one view each
    labels = table(images / "labels.csv", said, "patient_id,View Position,label")
    path = first(images, "ViewPosition", say=lambda i: ("frontal", "lateral")[i % 2])
    refused(path, "column 'View Position' of both tables differs within one patient_id", "or remove 'View Position'",
            where=labels, label_table=labels)  # fmt: skip
    same = load(first(images, "ViewPosition", say=lambda _: "frontal"), label_table=labels)
    assert len(everything(same)) == 40


def test_raters_may_disagree_about_a_patient(images: Path) -> None:
    said = [(f"P{i // 2}", f"R{i % 2}", i // 2 % 2 if i // 2 < 18 else i % 2) for i in range(40)]
    labels = table(images / "labels.csv", said, "patient_id,reader,label")
    words = "lines 38 and 39 name 'images/36x.png' and contradict each other"
    refused(first(images), words, where=labels, label_table=labels)
    assert len(everything(load(first(images), label_table=labels, uncertain="drop"))) == 36


def test_the_line_of_a_label_is_that_of_its_own_table(images: Path) -> None:
    said = [(f"{i}x", i % 2 if i else "") for i in range(39, -1, -1)]
    labels = table(images / "labels.csv", said, "image_id,label")
    refused(first(images), "line 41 has no usable label", where=labels, label_table=labels)


def test_what_headings_say() -> None:
    every = ["StudyInstanceUID", "PatientID", "SOPInstanceUID", "No Finding", "Image Index", "OriginalImage[Width",
             "Patient Age", "study_date", "NumberOfFrames", "case", "case_no", "Follow-up #", "id", "image_count",
             "image_source",
             "x" * 100_000]  # fmt: skip
    assert [name for name in every if names_patients(name)] == ["PatientID", "case_no"]
    assert [name for name in every if names_images(name)] == ["SOPInstanceUID", "Image Index"]
    assert [name for name in every if names_exams(name)] == ["StudyInstanceUID"]
    assert [name for name in every if names_something(name)] == [
        "StudyInstanceUID", "PatientID", "SOPInstanceUID", "Image Index", "case_no", "id"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("column", "names", "other"),
    [("label_name", "pneumonia normal", False), ("text", "TB no_tb", True),
     ("finding text", "bacterial pneumonia|no finding", False)],
)  # fmt: skip
def test_words_that_say_the_opposite_of_the_numbers(images: Path, column: str, names: str, other: bool) -> None:
    """The kind of fault: every label is inverted, because 0 and 1 were numbers of classes."""
    sick, healthy = names.split("|" if "|" in names else " ")
    words = (f"has {sick!r} as {column!r} where the label is '0', and the opposite else", "set 'data.positive'")
    for turned in (True, False):
        said = [
            (f"images/{i}x.png", i % 2, (sick, healthy, "")[2 if i > 30 else i % 2 ^ (not turned)]) for i in range(40)
        ]
        path = table(images / "x.csv", said, f"path,label,{column}")
        options: dict[str, Any] = {}
        if other:
            path, options = first(images), {"label_table": table(images / "labels.csv", said, f"path,label,{column}")}
        if turned:
            refused(path, *words, where=options.get("label_table", path), **options)
        assert own(load(path, positive="1", **options))
        if not turned:
            assert own(load(path, **options))


def test_another_finding_may_say_anything(images: Path) -> None:
    words = (("normal", "enlarged", "abnormal"), ("yes", "no"), ("COVID", "TB"))
    said = [(f"images/{i}x.png", i % 2, *(some[i % len(some)] for some in words)) for i in range(40)]
    assert own(load(table(images / "x.csv", said, "path,label,heart,smoker,other")))
    labels = table(images / "labels.csv", [*said, ("no image", "2", "normal")], "path,label,heart,smoker,other")
    assert own(load(first(images), label_table=labels))


@pytest.mark.parametrize(
    ("column", "cells", "most"),
    [("pneumonia", "1 0", 40), ("has_pneumonia", "yes no", 40), ("normal", "0 1", 40), ("is_healthy", "False True", 40),
     ("no_pneumonia", "n y", 40), ("label_name", "pneumonia normal", 32)],
)  # fmt: skip
def test_a_column_called_by_a_class_that_says_the_opposite(images: Path, column: str, cells: str, most: int) -> None:
    """The kind again: where columns of yes and no, or most lines and not all, say that 0 is the sick one."""
    cell = cells.split()
    said = [(f"images/{i}x.png", i % 2, cell[i % 2 ^ (i >= most)]) for i in range(40)]
    path = table(images / "x.csv", said, f"path,label,{column}")
    everywhere = "else" if most == 40 else "in most lines (32 of 40 contradict the label)"
    refused(path, f"as {column!r} where the label is '0', and the opposite {everywhere}", "set 'data.positive'")
    if most < 40:
        refused(path, f"as {column!r}, expected them to agree", "(8 of 40 images are like this)", positive="0")
    assert len(everything(load(path, positive="0", uncertain="drop"))) == most
    said = [(f"images/{i}x.png", i % 2, cell[1 - i % 2]) for i in range(40)]
    assert own(load(table(images / "x.csv", said, f"path,label,{column}")))


@pytest.mark.parametrize("form", ["xrays/{}/{}x.png", "xrays/{}-{}.png", "{} ({}).png"])
def test_paths_that_say_the_opposite_of_the_labels(tmp_path: Path, form: str) -> None:
    names = [form.format(("PNEUMONIA", "normal")[i % 2], i) for i in range(40)]
    write(tmp_path, {name: png(i) for i, name in enumerate(names)})
    said = [(name, i % 2) for i, name in enumerate(names)]
    path, labels = table(tmp_path / "x.csv", said, "path,label"), table(tmp_path / "labels.csv", said, "path,label")
    alone = table(tmp_path / "alone.csv", said, "path")
    for options in ({}, {"label_table": labels}):
        words = ("has 'PNEUMONIA' in the path where the label is '0', and the opposite else",)
        refused(alone if options else path, *words, where=options.get("label_table", path), **options)
        load(alone if options else path, positive="0", **options)


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("healthy", ["No Finding", "normal", "is_healthy"])
def test_a_finding_in_a_line_that_says_there_is_none(images: Path, healthy: str, joined: bool) -> None:
    """The kind: one-hot columns that contradict each other, of which only one is read."""
    heading = f"path,Pneumonia,Support Devices,{healthy}"

    def source(*both: int, cells: str = "0 1") -> tuple[Path, dict[str, Any]]:
        said = [(f"images/{i}x.png", *(cells.split()[one] for one in (i % 2, i % 2, i % 2 == 0 or i in both)))
                for i in range(40)]  # fmt: skip
        path = table(images / "x.csv", said, heading)
        if not joined:
            return path, {"label": "Pneumonia"}
        return first(images), {"label": "Pneumonia", "label_table": table(images / "labels.csv", said, heading)}

    path, options = source(3, 5)
    words = f"line 5 has the label '1' and says yes to {healthy!r}, expected one label per image; correct one"
    refused(path, words, "'data.uncertain' to", "(2 of 40", where=options.get("label_table", path), **options)
    assert len(everything(load(path, uncertain="drop", **options))) == 38
    classes = {"label": "Support Devices", "positive": "1"}  # what is no finding may be there in a healthy chest
    assert own(load(path, **{**options, **classes}))
    for cells in ("0.0 1.0", "no yes", "False True"):
        path, options = source(3, cells=cells)
        refused(path, "line 5 has", "(1 of 40 images", where=options.get("label_table", path), **options)
    path, options = source()
    assert own(load(path, **options))


def test_a_class_of_many_in_a_line_that_says_there_is_none(images: Path) -> None:
    names = ("none at all", "TB", "COVID")
    said = [(f"images/{i}x.png", names[i % 3], int(i % 3 == 0 or i == 4)) for i in range(40)]
    path = table(images / "x.csv", said, "path,label,Normal")
    refused(path, "line 6 has the label TB and says yes to 'Normal', expected one class", classes=("TB", "COVID"))
    assert len(everything(load(path, classes=("TB", "COVID"), uncertain="drop"))) == 25


@pytest.mark.parametrize(
    ("column", "options"), [("label", {}), ("Target", {}), ("label_2", {}), ("Pneumonia", {"label": "Pneumonia"})]
)
def test_labels_that_the_first_table_has_too_are_not_read(images: Path, column: str, options: dict[str, Any]) -> None:
    name = options.get("label", "label")
    labels = table(images / "labels.csv", [(f"images/{i}x.png", i % 2) for i in range(40)], f"path,{name}")
    data = load(first(images, column, say=lambda i: 1 - int(i) % 2), label_table=labels, **options)
    assert own(data) and f"Column {column!r} of x.csv is not read: labels.csv has the labels." in data.report.notes
    assert not any("is not read" in note for note in load(first(images), label_table=labels, **options).report.notes)


@pytest.mark.parametrize("column", ["label", "path"])
def test_the_second_column_of_a_name_as_pandas_calls_it(images: Path, column: str) -> None:
    said = [(f"images/{i}x.png", i % 2, 1 - i % 2) for i in range(40)]
    path = table(images / "x.csv", said, f"path,label,{column}.1")
    refused(path, f"has 2 columns called '{column}' and '{column}.1', expected one; rename or remove the others")
    if column == "label":
        assert own(load(path, label="label", positive="1"))
