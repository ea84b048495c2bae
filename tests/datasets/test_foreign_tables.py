"""Tables of people who name things in their own way: what is not understood is asked about, never passed over.

The kind of fault: a column, a list, a second id or a part of a path that says something and is ignored without a word,
so that test images train, one patient is on both sides, or another file is read than the one that was meant.
"""

from pathlib import Path
from typing import Any

import pytest

from datasets.headings import may_name_patients
from datasets.split_columns import SplitColumns, split_folders
from datasets.xray import XrayData
from tests.datasets.made import everything, load, png, refused, table, write


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write(tmp_path, {f"images/{i}.png": png(i) for i in range(40)})


def rows(*more: Any) -> list[tuple[Any, ...]]:
    """Return lines of path and label, and what each of `more`, called with the number, says."""
    return [(f"images/{i}.png", i // 2 % 2, *(say(i) for say in more)) for i in range(40)]


@pytest.mark.parametrize(
    ("column", "cells"),
    [("partition", "train test"), ("phase", "Train Val"), ("Dataset_type", "TRAIN TEST"), ("data_split", "0 1"),
     ("Usage", "Training PublicTest PrivateTest"), ("is_test", "0 1"), ("test", "False True"), ("isTrain", "1.0 0.0"),
     ("Test set", "yes "), ("where", " test"), ("collection", "train-set hold-out"), ("x", "trainval test unused"),
     ("group", "train eval"), ("used_for", "training_set external_test"), ("TrainTestSplit", "A B"),
     ("hold_out", "0 1"), ("Test?", "0 1"), ("train_or_test", "0 1"), ("datasplit", "1 2 3"), ("is_testset", "0 1"),
     ("kfold", "0 1 2"), ("cv_fold", "0 1"), ("cohort", "derivation validation"), ("role", "fit test"),
     ("usage", "modelling hold-out"), ("mode", "train inference"), ("tvt", "train tuning"), ("phase", "tr ts va"),
     ("dataset", "cxr_train cxr_test"), ("source", "nihTrain nihTest"), ("x", "x-train-512x512 x-test-512x512"),
     ("ConsensusTestset", "0 1"), ("in_final_test_set", "no yes"), ("data_use", "T V"), ("Usage", "d v"),
     ("usage", "Public Private"), ("holdout", "1 2 3"), ("x", "seen unseen"), ("source", "internal external"),
     ("exclude_from_training", "0 1"), ("test", "1 2"), ("external", "no yes"), ("site", "A B unseen"),
     ("reserved", "0 1"), ("set_id", "T V"),
     ("subset_name", "main locked"),
     ("conjunto", "entrenamiento validaci\u00f3n"), ("particao", "treino teste")],
)  # fmt: skip
def test_splits_in_a_column_of_another_name(images: Path, column: str, cells: str) -> None:
    said = cells.split(" ")
    path = table(images / "x.csv", rows(lambda i: said[i % len(said)]), f"path,label,{column}")
    refused(path, f"column {column!r} looks like splits, which are expected in one called 'split'", "rename it, or rem")
    both = rows(lambda i: said[i % len(said)], lambda i: ("train", "test")[i // 4 % 2])
    data = load(table(images / "x.csv", both, f"path,label,{column},split"))
    assert len(data.test) == 20
    empty = rows(lambda i: said[i % len(said)], lambda _: "")
    refused(table(images / "x.csv", empty, f"path,label,{column},split"), "looks like splits")


@pytest.mark.parametrize(
    ("column", "cells"),
    [("view", "PA AP"), ("phase", "inspiration expiration"), ("test", "PCR antigen"), ("pcr_test", "0 1"),
     ("notes", "seen by the test team|in training"), ("partition", "train train"), ("trained_reader", "0 1"),
     ("sex", "F M"), ("device", "1 2"), ("valid_age", "0 1"), ("x", " "), ("quality", "valid invalid"),
     ("country", "TR DE VA"), ("test_result", "positive negative"), ("training_hospital", "yes no"),
     ("notes", "taken before training in sports|pcr test"), ("notes", "no test yet|rest"), ("drug_use", "T V"),
     ("used", "T F"), ("hospital", "public private"), ("test", "0 1 2 3"), ("cohort", "A B"),
     ("data_use", "T"), ("view", "T V")],
)  # fmt: skip
def test_a_column_that_divides_by_something_else(column: str, cells: str) -> None:
    columns = SplitColumns(["path", column], {0})
    for cell in cells.split("|" if "|" in cells else " "):
        columns.add(["x", cell])
    assert columns.found() is None


@pytest.mark.parametrize(
    "names",
    [("train", "test"), ("Training", "hold-out"), ("trainval", "test"), ("xray_train", "xray_test"),
     ("train_512x512", "test_512x512"), ("stage_2_train_images", "stage_2_test_images"), ("imagesTr", "imagesTs"),
     ("trainA", "testA"), ("derivation", "validation"), ("tr", "te"), ("train_images", "unlabeled"),
     ("for training", "for testing"), ("images TRAIN set", "images TEST set")],
)  # fmt: skip
def test_splits_in_the_folders_of_the_paths(tmp_path: Path, names: tuple[str, str]) -> None:
    files = {f"xrays/{names[i // 4 % 2]}/{i}.png": png(i) for i in range(40)}
    write(tmp_path, files)
    lines = [(path, i // 2 % 2, ("train", "test")[i // 4 % 2]) for i, path in enumerate(files)]
    refused(
        table(tmp_path / "x.csv", [line[:2] for line in lines], "path,label"), "folders that look like splits", names[0]
    )
    assert len(load(table(tmp_path / "x.csv", lines, "path,label,split")).test) == 20
    one = [line[:2] for line in lines if names[0] in line[0]]  # as CheXpert's train.csv has it
    assert load(table(tmp_path / "x.csv", one, "path,label")).report.counts


@pytest.mark.parametrize("name", ["evaluation", "eval", "external", "unseen", "holdout", "Hold-Out", "test"])
def test_a_folder_of_test_images_beside_any_other(name: str) -> None:
    assert split_folders([f"a/{name}/1.png", "a/b/2.png", "a/c/3.png"]) == sorted([name, "b", "c"])
    assert split_folders([f"{name}/1.png", "2.png"]) == [name] and split_folders([f"{name}/1.png"]) is None


def test_a_cohort_is_told(images: Path) -> None:
    path = table(images / "x.csv", rows(lambda i: "AB"[i // 4 % 2]), "path,label,cohort")
    assert "Column 'cohort' (A, B) divides the images and is not read" in str(load(path).report.notes)


@pytest.mark.parametrize("names", [("xray_train", "xray_test"), ("imagesTr", "imagesTs"), ("Holdout", "fit")])
def test_folders_of_splits_are_no_classes(tmp_path: Path, names: tuple[str, str]) -> None:
    root = write(tmp_path, {f"{name}/{kind}/{i}.png": png(i) for i in range(9) for kind in "ab" for name in names})
    refused(root, "its folders look like splits", "expected them to be called train and test", positive=names[0])


def test_names_of_files_that_tell_splits(tmp_path: Path) -> None:
    """They may be chance, so that they are no splits, but said; where the source has splits they are no news."""
    names = [f"{('train', 'cxr-test')[i // 4 % 2]}_{i}.png" for i in range(40)]
    files = {f"{('normal', 'pneumonia')[i // 2 % 2]}/{name}": png(i) for i, name in enumerate(names)}
    write(tmp_path, files)
    lines = [(path, i // 2 % 2, ("train", "test")[i // 4 % 2]) for i, path in enumerate(files)]
    for path in (tmp_path, table(tmp_path / "x.csv", lines, "path,label")):
        warning = next(text for text in load(path).report.warnings if "tell train" in text)
        assert "tell train from test (" in warning and "train_0.png and " in warning and "cxr-test_" in warning
    split = load(table(tmp_path / "x.csv", lines, "path,label,split"))
    assert len(split.test) == 20 and not any("tell train" in text for text in split.report.warnings)


def test_a_line_of_more_cells_than_columns(images: Path) -> None:
    """A comma in a text that is not quoted moved the labels of its line by one column."""
    lines = [f"images/{i}.png,{'cough, fever' if i == 5 else 'cough'},{i % 2},{i // 2 % 2}" for i in range(40)]
    path = images / "x.csv"
    path.write_text("\n".join(["path,indication,Edema,Pneumonia", *lines]))
    refused(path, "line 7 has 5 cells, expected 4", "in quotes", label="Pneumonia")
    path.write_text("\n".join(["path,indication,Edema,Pneumonia", *(line.replace(", ", " ") + ",," for line in lines)]))
    assert len(load(path, label="Pneumonia").test) > 0
    path.write_text(
        "\n".join(["label,path", *(f"{i},{i // 2 % 2},images/{i}.png" for i in range(40))])
    )  # as R writes it
    refused(path, "line 2 has 3 cells, expected 2")


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_excels_first_line_says_the_separator(images: Path, mark: str) -> None:
    lines = [f"sep={mark}", f"path{mark}label", *(f"images/{i}.png{mark}{i % 2}" for i in range(40))]
    (images / "x.csv").write_text("\n".join(lines))
    assert len(everything(load(images / "x.csv"))) == 40
    (images / "x.csv").write_text(f"sep={mark}\npath{mark}label\nimages/0.png{mark}0\nimages/1.png\n")
    refused(images / "x.csv", "line 4 has 1 cells, expected 2")


def test_splits_in_the_table_of_labels(images: Path) -> None:
    path = table(images / "x.csv", [(f"images/{i}.png", i) for i in range(40)], "path,image_id")
    for column in ("split", "partition"):
        some = [(i, i // 2 % 2, ("train", "test")[i // 4 % 2]) for i in range(40)]
        other = table(images / "labels.csv", some, f"image_id,label,{column}")
        refused(path, f"column {column!r} looks like", "in x.csv", "move it there", where=other, label_table=other)
    other = table(images / "labels.csv", some, "image_id,label")
    assert len(everything(load(path, label_table=other))) == 40


def lists(root: Path, train: str = "train_val_list.txt", test: str = "test_list.txt", name: str = "{}.png") -> None:
    for path, kept in ((train, range(30)), (test, range(30, 40))):
        if path:
            (root / path).write_text("".join(f"{name.format(i)}\n" for i in kept))


@pytest.mark.parametrize("form", [{}, {"name": "{}.PNG"}, {"name": "images/{}.png"}, {"train": "Train_Val_List.TXT"}])
def test_lists_of_splits_that_are_written_in_another_way(images: Path, form: dict[str, str]) -> None:
    path = table(images / "x.csv", rows(), "path,label")
    lists(images, **form)
    data = load(path)
    assert {int(name[7:-4]) for name, (split, _) in everything(data).items() if split == "test"} == {*range(30, 40)}


@pytest.mark.parametrize(
    ("form", "words"),
    [({"train": ""}, "test_list.txt lies beside it but no train_val_list.txt, expected both"),
     ({"test": ""}, "train_val_list.txt lies beside it but no test_list.txt, expected both"),
     ({"name": "other{}.png"}, "names no image that train_val_list.txt or test_list.txt beside it lists")],
)  # fmt: skip
def test_lists_of_splits_that_cannot_be_used(images: Path, form: dict[str, str], words: str) -> None:
    path = table(images / "x.csv", rows(lambda i: ("train", "test")[i // 4 % 2]), "path,label")
    lists(images, **form)
    refused(path, words, "to have the images divided")
    own = table(images / "x.csv", rows(lambda i: ("train", "test")[i // 4 % 2]), "path,label,split")
    assert len(load(own).test) == 20


def same_patients(data: XrayData) -> dict[int, set[int]]:
    """Return, by the number of each image, the images that are kept together with it."""
    group = {int(name[7:-4]): key for split in (data.train, data.val, data.test)
             for name, key in zip(split.names, split.patients.tolist(), strict=True)}  # fmt: skip
    return {i: {j for j in group if group[j] == group[i]} for i in group}


def test_two_columns_of_patients_are_joined(images: Path) -> None:
    pairs = {i: {i, i ^ 1} for i in range(40)}
    for first, second in (("patient_id", "subject_id"), ("subject_id", "patient_id"), ("patientid", "Subject")):
        path = table(images / "x.csv", rows(lambda i: i + 1, lambda i: 100 + i // 2), f"path,label,{first},{second}")
        assert same_patients(load(path)) == pairs
    # One column lacks ids, one is an anonymiser's: what is left still joins, and an id is its own column's.
    some = rows(lambda i: i // 2 if i % 4 < 2 else "", lambda _: "SITE", lambda i: 50 - i // 2 if i % 4 > 1 else "")
    data = load(table(images / "x.csv", some, "path,label,patient,subject,subject_id"))
    assert same_patients(data) == pairs
    assert "All lines of the table carry one patient id, as anonymised ones do" in " ".join(data.report.warnings)


@pytest.mark.parametrize(
    "column",
    ["SubjectID", "MRN", "pid", "participant_id", "case_id", "person", "PatientNo", "patient_index", "patient_idx",
     "empi_anon", "PatientIndex", "anon_subject_num", "hashed_mrn", "patient_hash",
     "pt_id", "deid_patient_id", "Patients", "anonPatientKey", "Patient's ID", "subjectid", "CaseNumber",
     "patient_id_x", "sub_id", "SubjID", "Paciente", "Patienten-ID", "donor_id", "Patientennummer",
     "Patientenschl\u00fcssel", "ID del paciente", "num\u00e9ro patient", "codice_paziente", "examinee"],
)  # fmt: skip
def test_patients_in_a_column_of_another_name(images: Path, column: str) -> None:
    path = table(images / "x.csv", rows(lambda i: f"P{i // 2}"), f"path,label,{column}")
    data = load(path)
    assert same_patients(data) == {i: {i, i ^ 1} for i in range(40)} and not data.report.warnings


@pytest.mark.parametrize(
    "column", ["Patient Age", "patient_sex", "case", "subject matter", "No", "persons_in_room", "donor"]
)
def test_a_column_beside_the_patients(images: Path, column: str) -> None:
    data = load(table(images / "x.csv", rows(lambda i: f"P{i // 2}"), f"path,label,{column}"))
    assert same_patients(data) == {i: {i} for i in range(40)}


@pytest.mark.parametrize(("first", "nobody"), [(1, True), (100_000, True), (1, False)])
def test_zeros_are_nobody_unless_patients_are_counted_from_0(images: Path, first: int, nobody: bool) -> None:
    ids = rows(lambda i: "000" if i < 4 else f"{'K' if first == 1 and nobody else ''}{i // 2 + first}")
    data = load(table(images / "x.csv", ids, "path,label,patient"))
    assert {len(same_patients(data)[i]) for i in range(4)} == {1 if nobody else 4}
    assert any("4 of 40 images have no patient" in note for note in data.report.notes) == nobody


@pytest.mark.parametrize("column", ["Patient Age", "Patientenalter", "patient_sex", "study"])
def test_what_is_said_of_patients_is_not_asked_about(column: str) -> None:
    assert may_name_patients(column) == (column == "study")


@pytest.mark.parametrize(
    "column", ["StudyID", "AccessionNumber", "visit_uid", "hash", "ID", "name", "Patientenk\u00fcrzel"]
)
def test_ids_of_something_that_repeat_are_asked_about(images: Path, column: str) -> None:
    path = table(images / "x.csv", rows(lambda i: f"P{i // 2}"), f"path,label,{column}")
    said = f"Column {column!r} has 20 ids for 40 images: if they are patients', call it 'patient'."
    assert said in load(path).report.notes
    path = table(images / "x.csv", rows(lambda i: f"P{i // 2}", lambda i: f"Q{i // 4}"), f"path,label,{column},patient")
    assert not any("call it 'patient'" in note for note in load(path).report.notes)
    path = table(images / "x.csv", rows(lambda i: f"P{i}"), f"path,label,{column}")
    assert not any("call it 'patient'" in note for note in load(path).report.notes)


def test_patients_in_the_table_of_labels(images: Path) -> None:
    path = table(images / "x.csv", [(f"images/{i}.png", i) for i in range(40)], "path,image_id")
    other = table(images / "labels.csv", [(i, i // 2 % 2, i // 2) for i in range(40)], "image_id,label,subject_id")
    refused(path, "'subject_id' names the patients", "in x.csv, beside the paths", where=other, label_table=other)


@pytest.mark.parametrize("mark", ["/", "\\"])
def test_a_top_folder_that_is_not_there_is_left_out_of_all_paths(images: Path, mark: str) -> None:
    lines = [(f"old-name/{row[0]}".replace("/", mark), row[1]) for row in rows()]
    data = load(table(images / "x.csv", lines, "path,label"))
    assert "All paths begin with 'old-name', a folder that is not there: it was left out of them." in data.report.notes
    assert len(everything(data)) == 40
    assert not any("begin with" in note for note in load(table(images / "x.csv", rows(), "path,label")).report.notes)


@pytest.mark.parametrize(
    ("first", "other", "missing"), [("siteA/", "siteB/", 40), ("siteA/", "", 20), ("", "hospital/a/", 20)]
)
def test_a_folder_that_some_paths_begin_with_is_missing(images: Path, first: str, other: str, missing: int) -> None:
    lines = [((other if i % 2 else first) + row[0], row[1]) for i, row in enumerate(rows())]
    refused(table(images / "x.csv", lines, "path,label"), f"{missing} of 40 files are not there, the first is")


def test_an_id_is_not_the_beginning_of_another_name(tmp_path: Path) -> None:
    """UIDs have dots, and files of DICOM often no suffix."""
    write(tmp_path, {f"x/1.2.{i}.dcm" if i % 2 else f"x/1.2.{i}.77": png(i) for i in range(40)})
    ids = [(f"1.2.{i}" if i % 2 else f"1.2.{i}.77", i // 2 % 2) for i in range(40)]
    assert len(everything(load(table(tmp_path / "x.csv", ids, "image_id,label")))) == 40
    short = [("1.2.4", ids[4][1]) if i == 4 else row for i, row in enumerate(ids)]
    refused(
        table(tmp_path / "x.csv", short, "image_id,label"), "1 of 40 files are not there, the first is '1.2.4' in l"
    )
    twins = [(f"1.2.{i}.7{1 + i % 2}", f"1.2.{i}.72", i // 2 % 2) for i in range(40)]
    refused(table(tmp_path / "x.csv", twins, "image,filename,label"), "line 2 has '1.2.0.71' as 'image' and")


def test_a_table_of_labels_that_has_none_of_the_images(images: Path) -> None:
    path = table(images / "x.csv", [(f"images/{i}.png", i) for i in range(40)], "path,image_id")
    other = table(images / "labels.csv", [(f"s{i}", i % 2) for i in range(40)], "image_id,label")
    refused(path, "none of its 40 lines finds a label, since no image_id of theirs is in", label_table=other)
    refused(table(images / "y.csv", [], "path,image_id"), "has no rows", label_table=other)
    refused(path, "none of its 40 lines", label_table=table(images / "labels.csv", [], "image_id,label"))


@pytest.fixture
def numbered(tmp_path: Path) -> Path:
    """1.png to 40.png, which a number of a line is the name of, too."""
    return write(tmp_path, {f"images/{i}.png": png(i) for i in range(1, 41)})


def numbered_rows(*more: Any, name: str = "{}.png") -> list[tuple[Any, ...]]:
    """Return lines in which the order is that of names: the second line is of 10.png."""
    order = sorted(range(1, 41), key=str)
    return [(line, name.format(i), i % 2, *(say(i) for say in more)) for line, i in enumerate(order, 1)]


def own(data: XrayData) -> bool:
    found = everything(data)
    return len(found) == 40 and all(
        label == int(name.rpartition("/")[2].removesuffix(".png")) % 2 for name, (_, label) in found.items()
    )


@pytest.mark.parametrize(
    "column",
    ["image_name", "ImageName", "img_path", "file_path", "filepath", "img", "image_file", "fname", "dicom", "File Name",
     "relative_path", "Images", "ImageID", "what"],
)  # fmt: skip
def test_the_number_of_a_line_is_no_image(numbered: Path, column: str) -> None:
    """The kind of fault: `id` numbers the lines, and each line labels the image of that number."""
    for number in ("id", "Id", "index", "PatientId"):
        if number == "index" and column == "what":
            continue  # nothing names the images: asked about
        assert own(load(table(numbered / "x.csv", numbered_rows(), f"{number},{column},label")))


def test_an_id_alone_names_the_images(numbered: Path) -> None:
    some = [(i, i % 2, 30 + i % 9) for i in range(1, 41)]
    for column in ("id", "patientId", "image_id", "img"):
        assert own(load(table(numbered / "x.csv", some, f"{column},label,age")))


def test_an_id_of_patients_beside_the_images(numbered: Path) -> None:
    for heading in ("patientId,image_name,label", "PatientID,ImageID,Label", "patientid,DicomPath,label"):
        lines = [((i + 1) // 2, f"{i}.png", i % 2) for i in range(1, 41)]
        data = load(table(numbered / "x.csv", lines, heading))
        assert own(data) and not data.report.warnings  # every patient is known
        assert len({*data.train.patients, *data.val.patients, *data.test.patients}) == 20


def test_of_two_columns_of_files_those_that_are_there(numbered: Path) -> None:
    """BRAX names each image twice, as DICOM and as PNG, and people have one of the two."""
    lines = [(f"dicom/{i}.dcm", f"images/{i}.png", f"P{i // 2}", i % 2) for i in range(1, 41)]
    path = table(numbered / "x.csv", lines, "DicomPath,PngPath,PatientID,label")
    assert own(load(path))
    write(numbered, {"dicom/7.dcm": png(7)})
    refused(path, "line 2 has 'dicom/1.dcm' as 'DicomPath' and 'images/1.png' as 'PngPath', expected one of the two")


@pytest.mark.parametrize("pair", ["image_name,png", "image_name,image_id", "id,image_id", "id,what", "image,img_path"])
def test_two_columns_that_name_two_images(numbered: Path, pair: str) -> None:
    for i in range(1, 41):
        write(numbered, {f"images/x{i}.png": png(i)})
    lines = [(f"x{i}", f"x{i % 40 + 1}.png", i % 2) for i in range(1, 41)]
    one, two = pair.split(",")
    path = table(numbered / "x.csv", lines, f"{pair},label")
    words = [f"as {name!r}" for name in (one, two)]
    if pair == "id,image_id":  # only one of them is called an image's
        assert {*everything(load(path))} == {f"x{i}.png" for i in range(1, 41)}
    else:
        refused(path, "line 2 has ", *words, "remove or rename the wrong one")


def test_numbers_do_not_stand_in_for_files_that_are_missing(numbered: Path) -> None:
    for column in ("image_id", "id", "image_number"):
        path = table(numbered / "x.csv", numbered_rows(name="old/{}.png"), f"{column},img_path,label")
        refused(path, "40 of 40 files are not there, the first is 'old/1.png'")
    lines = [(f"images/{i}.png", f"old/{i}.png", i % 2) for i in range(1, 41)]
    assert own(load(table(numbered / "x.csv", lines, "image_id,img_path,label")))


@pytest.mark.parametrize("place", ["", "images/"])
def test_an_id_that_is_two_files_beside_the_table(tmp_path: Path, place: str) -> None:
    """A DICOM file and its PNG may be two exports, of other grays: which is meant is asked at any depth."""
    write(tmp_path, {f"{place}{i}.{kind}": png(i) for i in range(40) for kind in ("dcm", "png")})
    path = table(tmp_path / "x.csv", [(f"{place}{i}", i % 2) for i in range(40)], "image_id,label")
    refused(path, f"line 2 names '{place}0', which is ", "0.dcm and ", "0.png; expected one file, so write the path")
    for i in range(40):
        (tmp_path / f"{place}{i}.png").unlink()
    assert len(everything(load(path))) == 40


def test_a_join_that_finds_few_labels_is_said(images: Path) -> None:
    """Row numbers called `id` in both tables are ids as any: the lines have to agree in them, too."""
    path = table(images / "x.csv", [(i, f"images/{i}.png") for i in range(40)], "id,filename")
    said = [(i if i < 2 else 39 + i, f"{i}.png", "pneumonia" if i < 2 else "normal") for i in range(40)]
    labels = table(images / "labels.csv", said, "id,img,label")
    words = "Of the lines of x.csv 38 find no label there by id and filename (img)."
    refused(path, "all labels are 'pneumonia'", words, where=labels, label_table=labels)
