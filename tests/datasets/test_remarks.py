"""What other columns say of a label or an image is never passed over: a second label, a doubt, a line to leave out.

The kind of fault: a table is read by its columns of paths and labels alone, and trains on what its makers took back.
"""

from pathlib import Path
from typing import Any

import pytest

from datasets.labels import Classes, LabelRules
from datasets.other_names import OtherNames
from datasets.remarks import Remarks
from tests.datasets.made import everything, load, png, refused, table, write


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write(tmp_path, {f"images/{i}.png": png(i) for i in range(40)})


def rows(*more: Any) -> list[tuple[Any, ...]]:
    """Return lines of path and label, and what each of `more`, called with the number and the label, says."""
    return [(f"images/{i}.png", i % 2, *(say(i, i % 2) for say in more)) for i in range(40)]


def turned(i: int, label: int) -> int:
    """The label, but for 4 of 40 lines; of these, two are healthy and two are not."""
    return label ^ (i in (4, 7, 8, 9))


@pytest.mark.parametrize(
    ("column", "names"),
    [("label_2", "0 1"), ("Labels", "0 1"), ("radiologist2", "no yes"), ("reader_1", "0.0 1.0"), ("2nd reader", "0 1"),
     ("consensus", "negative positive"), ("FinalDiagnosis", "normal pneumonia"), ("gt", "0 1"), ("class_id", "0 1"),
     ("category", "normal pneumonia"), ("what", "healthy abnormal"), ("r1", "0 1"), ("auto_label", "0 1"),
     ("verified_label", "0 1"),
     ("label_text", "N P"), ("text", "no_tb TB")],
)  # fmt: skip
def test_a_second_label_that_contradicts_the_first(images: Path, column: str, names: str) -> None:
    said = names.split()
    path = table(images / "x.csv", rows(lambda i, label: said[turned(i, label)]), f"path,label,{column}")
    words = f"line 6 has '0' as 'label' and {said[1]!r} as {column!r}, expected them to agree, or the one that counts"
    refused(path, words, "in 'data.label'; correct one, or set 'data.uncertain'", "(4 of 40 images are like this)")
    refused(path, "as 'label' and", "(4 of 40", positive="1", negative="0")


def test_labels_that_contradict_and_what_the_user_says(images: Path) -> None:
    path = table(images / "x.csv", rows(turned), "path,label,label_2")
    data = load(path, uncertain="drop")
    assert len(everything(data)) == 36
    assert "Labels of 4 contradict each other: line 6 has '0' as 'label' and '1' as 'label_2'." in str(
        data.report.notes
    )
    data = load(path, label="label")
    assert {name: label for name, (_, label) in everything(data).items()} == {row[0]: row[1] for row in rows()}
    assert "4 lines are labelled otherwise by a column that 'data.label' does not name: line 6" in str(
        data.report.notes
    )
    wholly = table(images / "x.csv", rows(lambda _, label: 1 - label), "path,label,label_2")
    refused(wholly, "(40 of 40 images are like this)", positive="1")
    unsure = table(images / "x.csv", rows(lambda i, label: "uncertain" if i == 3 else label), "path,label,reader 2")
    refused(unsure, "line 5 has '1' as 'label' and 'uncertain' as 'reader 2'")
    three = [(f"images/{i}.png", "abc"[i % 3], "abc"[(i + (i < 4)) % 3]) for i in range(40)]
    named = table(images / "x.csv", three, "path,label,reader_2")
    refused(named, "line 2 has 'a' as 'label' and 'b' as 'reader_2'", "(4 of 40", classes=("a", "b", "c"))


@pytest.mark.parametrize(
    ("column", "cells"),
    [("prediction", "0 1"), ("prior_diagnosis", "normal pneumonia"), ("sex", "0 1"), ("pcr", "negative positive"),
     ("reader", "0 1"), ("grade", "0 1 2"), ("class_id", "0 1 2"), ("effusion", "normal effusion"),
     ("No Finding", "0 1"),
     ("indication", "normal pneumonia"), ("view", "AP PA"), ("label_2", "bacteria virus"), ("sex_class", "0 1"),
     ("label_2", " n/a")],
)  # fmt: skip
def test_a_column_that_may_say_something_else(column: str, cells: str) -> None:
    others = OtherNames(["path", "label", column], 1)
    said = cells.split(" ")
    for i in range(60):
        others.add(["x", str(i % 2), said[i // 2 % len(said)]])
    classes = Classes({"0": "line 2", "1": "line 3"}, LabelRules(), where="x")
    assert others.contradictions(classes.known, classes.known, "1", answered=False) == {}


@pytest.mark.parametrize(
    ("column", "cells", "doubt", "out", "unread"),
    [("is_uncertain", "0 1", "1", "", ""), ("uncertain", " x", "x", "", ""), ("certainty", "high low", "low", "", ""),
     ("confidence", "0.9 0.2 1", "", "", "0.9 0.2 1"), ("confident", "yes no", "no", "", ""),
     ("not_sure", "0 1", "1", "", ""),
     ("status", "final draft uncertain rejected", "draft uncertain", "rejected", ""), ("verified", " 1", "", "", "1"),
     ("exclude", "0 1", "", "1", ""), ("excluded", " motion none", "", "motion", ""), ("include", "1 0", "", "0", ""),
     ("quality_reject", "no yes", "", "yes", ""), ("usable", "TRUE FALSE", "", "FALSE", ""),
     ("dropped", "3 0", "", "", "3 0"),
     ("quality", "good bad non-diagnostic", "", "non-diagnostic", "bad"), ("bad_quality", "0 1", "", "", "1"),
     ("comment", "seen excluded unsure", "unsure", "excluded", ""),
     ("label_status", "final pending", "pending", "", ""), ("smoking_status", "uncertain never", "", "", ""),
     ("verified_label", "0 1", "", "", ""),
     ("needs_review", "0 1", "1", "", ""),
     ("is_final", "1 0", "0", "", ""), ("uncertainty", "low high", "high", "", ""), ("ok", "1 0", "", "", "0"),
     ("likelihood", "definite possible", "possible", "", ""), ("action", "keep drop", "", "drop", ""),
     ("consent", "yes no withdrawn", "", "no withdrawn", ""), ("drop_shadow", "0 1", "", "", ""),
     ("flag", "0 1", "", "", "")],
)  # fmt: skip
def test_what_a_remark_says(column: str, cells: str, doubt: str, out: str, unread: str) -> None:
    said = cells.split(" ")
    remarks = Remarks(["path", column], {0})
    for line, cell in enumerate(said):
        remarks.add(line, ["x", cell])
    remarks.settle()
    assert [said[line] for line in remarks.doubt] == doubt.split()
    assert [said[line] for line in remarks.out] == out.split()
    listed = ", ".join(map(repr, unread.split()))
    assert [f"Column {column!r} ({listed}) may" in note for note in remarks.notes] == [True] * bool(unread)


def test_what_is_told_and_changes_nothing(images: Path) -> None:
    write(images, {f"images/rejected/{i}.png": png(i) for i in range(40, 44)})
    more = [(f"images/rejected/{i}.png", i % 2, "train") for i in range(40, 44)]
    split = rows(lambda i, _: "test" if i % 4 < 2 else "train")
    holdout = [(*row, i % 3 // 2) for i, row in enumerate([*split, *more])]
    data = load(table(images / "x.csv", holdout, "path,label,split,holdout"))
    assert len(everything(data)) == 44 and len(data.test) == 20
    assert "Column 'holdout' looks like splits and is not read: another column says them." in data.report.notes
    assert "4 paths lie in a folder 'rejected', which changes nothing" in " ".join(data.report.notes)


@pytest.mark.parametrize("column", ["abnormal", "is_sick", "positive"])
def test_a_column_of_any_illness_that_says_no(images: Path, column: str) -> None:
    path = table(images / "x.csv", rows(turned), f"path,label,{column}")
    refused(path, f"line 9 has '1' as 'label' and '0' as {column!r}", "(2 of 40 images")


@pytest.mark.parametrize("joined", [False, True])
def test_a_doubt_in_a_column_of_its_own(images: Path, joined: bool) -> None:
    said = rows(lambda i, _: "yes" if i < 4 else "")
    options: dict[str, Any] = {}
    path = table(images / "x.csv", said, "path,label,uncertain")
    where = path
    if joined:  # the second line of an image, which says nothing new but the doubt
        where = table(images / "labels.csv", [*rows(lambda *_: ""), *said[:4]], "path,label,uncertain")
        path, options = table(images / "x.csv", [(row[0],) for row in said], "path"), {"label_table": where}
    line = 42 if joined else 2
    words = (
        f"line {line} has 'yes' as 'uncertain', a doubt about its label; correct it, remove the column, or set 'data."
    )
    refused(path, words, "(4 of 40 images", where=where, **options)
    data = load(path, uncertain="drop", **options)
    assert len(everything(data)) == 36
    assert f"Another column doubts those of 4: line {line} has 'yes' as 'uncertain'." in " ".join(data.report.notes)
    refused(path, words, classes=("0", "1"), where=where, **options)
    positive = load(path, uncertain="positive", **options)
    assert everything(positive)["images/0.png"][1] == 1


def test_what_a_column_leaves_out_is_counted(images: Path) -> None:
    said = [*rows(lambda i, _: int(i < 4)), ("images/gone.png", "", 1), ("./images/5.png", 1, 1)]
    path = table(images / "x.csv", said, "path,label,exclude")
    for source in (path, images):
        data = load(source)
        assert {*everything(data)} == {f"images/{i}.png" for i in range(4, 40) if i != 5}
        assert "5 files were not read: 5 with '1' as 'exclude' (images/0.png)." in " ".join(data.report.warnings)
    refused(table(images / "x.csv", rows(lambda *_: 1), "path,label,exclude"), "first with '1' as 'exclude'; correct")
