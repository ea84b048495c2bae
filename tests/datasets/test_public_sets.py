"""The tables of the public sets as they are released: made-up lines under the right columns, in the right folders.

Each has its own way to be read wrong in silence: lines per box, blanks that mean "not mentioned", -1, several findings
in one cell, three raters who disagree, the splits in another file, the labels in another table, per study.
"""

import gzip
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from datasets.xray import XrayData
from tests.datasets.made import everything, image, load, png, refused, write
from tests.dicom_files import content, make

CHEXPERT = (
    "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,"
    "Edema,Consolidation,Pneumonia,Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,Support Devices"
)
NIH = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
)


def lines(path: Path, *rows: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n")
    return path


def labels(data: XrayData) -> dict[str, int]:
    return {name: label for name, (_, label) in everything(data).items()}


def groups(data: XrayData) -> list[int]:
    """Return how many images each patient has, in any order."""
    return sorted(Counter([*data.train.patients, *data.val.patients, *data.test.patients]).values())


def no_patient_is_on_two_sides(data: XrayData) -> bool:
    sides = [set(split.patients.tolist()) for split in (data.train, data.val, data.test)]
    return not (sides[0] & sides[1] | sides[0] & sides[2] | sides[1] & sides[2])


def test_rsna(tmp_path: Path) -> None:
    """A line per box: several lines of one image, all with Target 1; the id of the image is called patientId."""
    rows = ["patientId,x,y,width,height,Target"]
    for i in range(40):
        boxes = [f"uid-{i:02d},{10 * k}.0,20.0,30.0,40.0,1" for k in range(1 + i % 3)]
        rows += boxes if i % 2 else [f"uid-{i:02d},,,,,0"]
        write(
            tmp_path, {f"stage_2_train_images/uid-{i:02d}.dcm": content(make(image(i), bits=8, PatientID=f"uid-{i}"))}
        )
    table = lines(tmp_path / "stage_2_train_labels.csv", *rows)
    data = load(table)
    assert labels(data) == {f"uid-{i:02d}": i % 2 for i in range(40)} and len(rows) > 50
    assert f"{len(rows) - 1} lines name 40 images." in data.report.notes and groups(data) == [1] * 40
    assert load(tmp_path).fingerprint == data.fingerprint and not load(tmp_path).report.warnings
    lines(table, *rows, "uid-01,1.0,1.0,1.0,1.0,0")
    refused(table, "lines 3 and", "name 'uid-01' and contradict each other")

    classes = ["Normal", "Lung Opacity", "No Lung Opacity / Not Normal"]
    detailed = [f"uid-{i:02d},{classes[i % 3]}" for i in range(40) for _ in range(1 + i % 2)]
    other = lines(tmp_path / "stage_2_detailed_class_info.csv", "patientId,class", *detailed)
    data = load(other, positive="Lung Opacity", negative="Normal")
    assert Counter(labels(data).values()) == {0: 14, 1: 13}


def chexpert(root: Path) -> Path:
    """40 patients with a frontal and a lateral view each; their Pneumonia is 1, 0, -1 or blank in turn."""
    rows = [CHEXPERT]
    for i in range(80):
        name = f"train/patient{i // 2:05d}/study1/view{1 + i % 2}_{('frontal', 'lateral')[i % 2]}.jpg"
        findings = [""] * 14
        findings[0], findings[7] = ("1.0" if i % 8 in (2, 7) else ""), ("1.0", "0.0", "-1.0", "")[i // 2 % 4]
        rows.append(f"CheXpert-v1.0-small/{name},Female,68,{('Frontal,AP', 'Lateral,')[i % 2]},{','.join(findings)}")
        write(root, {name: png(i, "JPEG")})
    return lines(root / "train.csv", *rows)


def test_chexpert(tmp_path: Path) -> None:
    """Paths begin with the folder that the table lies in, or lay in; a column per finding; 1, 0, -1 and blank."""
    for name in ("CheXpert-v1.0-small", "renamed"):
        table = chexpert(tmp_path / name)
        words = (
            "is no class folder, expected NORMAL or PNEUMONIA",
            "give the table that names the images, as the source: train.csv.",
        )
        refused(table.parent, *words)
        refused(table, "has the columns Path, Sex, Age", "No Finding", "set 'data.label' to the column that holds")
        refused(table, "line 6 has the uncertain label '-1.0'", "'data.uncertain'", label="Pneumonia", blank="drop")
        refused(table, "line 8 has no usable label", "(20 of 80 images", label="Pneumonia", uncertain="drop")
        data = load(table, label="Pneumonia", uncertain="drop", blank="drop")
        assert Counter(labels(data).values()) == {0: 20, 1: 20} and groups(data) == [2] * 20
        assert all(label == (1, 0)[int(key[33:38]) % 4] for key, label in labels(data).items())
        assert no_patient_is_on_two_sides(data) and "by whole patients; val_fraction" in " ".join(data.report.notes)
        data = load(table, label="pneumonia", uncertain="positive", blank="negative")
        assert Counter(labels(data).values()) == {0: 40, 1: 40}
        said = " ".join(data.report.notes)
        assert "20 of 80 images have no label: counted as NORMAL" in said and "20 of 80 images have an unc" in said
        refused(table, "no column 'Pneumnia', which 'data.label' asks for, found Path, Sex", label="Pneumnia")
        data = load(table, label="No Finding", positive="1", blank="negative")
        assert Counter(labels(data).values()) == {0: 60, 1: 20}


def test_nih(tmp_path: Path) -> None:
    """Several findings in one cell, a comma at the end of every line, images in twelve folders, the splits in lists."""
    findings = ["No Finding", "Pneumonia", "Effusion|Pneumonia", "Cardiomegaly|Effusion"]
    rows, lists = [NIH], {"train_val_list.txt": list[str](), "test_list.txt": list[str]()}
    for i in range(80):
        name = f"{i // 2:08d}_{i % 2:03d}.png"
        rows.append(f"{name},{findings[i // 2 % 4]},{i % 2},{i // 2},58,M,PA,2682,2749,0.143,0.143,")
        lists["test_list.txt" if i // 2 % 5 == 4 else "train_val_list.txt"].append(name)
        write(tmp_path, {f"images_{1 + i % 12:03d}/images/{name}": png(i)})
    table = lines(tmp_path / "Data_Entry_2017.csv", *rows)
    refused(table, "has the label 'Effusion', a third class", "set 'data.positive' and 'data.negative'")

    data = load(table, positive="Pneumonia", negative="*")
    assert all(label == (0, 1, 1, 0)[int(name[:8]) % 4] for name, label in labels(data).items())
    assert len(labels(data)) == 80 and groups(data) == [2] * 40 and no_patient_is_on_two_sides(data)
    assert "has no test split: 16 images, about 20%, were set aside by whole patients" in " ".join(data.report.notes)
    data = load(table, positive="Pneumonia", negative="No Finding")
    assert Counter(labels(data).values()) == {0: 20, 1: 40}
    assert "20 of 80 images are of other classes and were left out: 'Cardiomegaly|Effusion'." in data.report.notes

    lists["train_val_list.txt"].remove("00000000_000.png")
    for name, listed in lists.items():
        lines(tmp_path / name, *listed)
    data = load(table, positive="Pneumonia", negative="*")
    assert all((split == "test") == (int(name[:8]) % 5 == 4) for name, (split, _) in everything(data).items())
    assert "train_val_list.txt and test_list.txt say the splits." in data.report.notes and len(data.test) == 16
    assert "1 in neither train_val_list.txt nor test_list.txt (00000000_000.png)" in data.report.warnings[0]
    lines(tmp_path / "test_list.txt", *lists["test_list.txt"], "00000001_000.png")
    refused(
        table, "lists '00000001_000.png', which", where=tmp_path / "test_list.txt", positive="Pneumonia", negative="*"
    )


def mimic(root: Path) -> tuple[Path, Path]:
    """20 patients with two studies of two images each; a study's Pneumonia is 1.0, 0.0, -1.0 or blank in turn."""
    split, said = ["dicom_id,study_id,subject_id,split"], ["subject_id,study_id,Atelectasis,No Finding,Pneumonia"]
    for i in range(80):
        subject, study, name = 10000000 + i // 4, 50000000 + i // 2, f"d{i:04d}-aa"
        split.append(f"{name},{study},{subject},{('train', 'train', 'train', 'validate', 'test')[i // 4 % 5]}")
        if i % 2 == 0:
            said.append(f"{subject},{study},,,{('1.0', '0.0', '-1.0', '')[i // 2 % 4]}")
        write(root, {f"files/p{str(subject)[:2]}/p{subject}/s{study}/{name}.jpg": png(i, "JPEG")})
    del said[-1]  # some studies have no labels at all
    return lines(root / "mimic-cxr-2.0.0-split.csv", *split), lines(root / "mimic-cxr-2.0.0-chexpert.csv", *said)


def test_mimic(tmp_path: Path) -> None:
    """The images and their splits in one table, the labels in another, by study; both may be packed."""
    split, said = mimic(tmp_path)
    options = {"label": "Pneumonia", "uncertain": "drop", "blank": "drop"}
    refused(split, "has the columns dicom_id, study_id, subject_id, split, expected one called 'path' and one called")
    refused(tmp_path, "give the table that names the images, as the source: mimic-cxr-2.0.0-chexpert.csv, mimic")
    data = load(split, label_table=said, **options)
    assert Counter(labels(data).values()) == {0: 20, 1: 20} and no_patient_is_on_two_sides(data)
    for name, (where, label) in everything(data).items():
        i = int(name[1:5])
        assert label == (1, 0)[i // 2 % 4] and where == ("train", "train", "train", "val", "test")[i // 4 % 5]
    said_once = "2 files were not read: 2 in no line of mimic-cxr-2.0.0-chexpert.csv (d0078-aa)."
    assert data.report.warnings[0] == said_once  # and not as files in no line of the other table, too
    packed = []
    for path in (split, said):
        packed.append(path.with_name(f"{path.name}.gz"))
        packed[-1].write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert load(packed[0], label_table=packed[1], **options).fingerprint == data.fingerprint
    refused(packed[0], "shares no id with", where=lines(tmp_path / "x.csv", "a,Pneumonia", "1,1"),
            label_table=tmp_path / "x.csv", **options)  # fmt: skip


def test_a_label_table_that_says_the_same_again_and_again(tmp_path: Path) -> None:
    """Joining every line with every line would be millions: what is said twice counts once, and too much is refused."""
    split, said = mimic(tmp_path)
    options: dict[str, Any] = {"label_table": said, "label": "Pneumonia", "uncertain": "drop", "blank": "drop"}
    expected = load(split, **options)
    rows = said.read_text().splitlines()
    lines(said, *rows, *[rows[1]] * 3000)
    lines(split, *split.read_text().splitlines(), *[split.read_text().splitlines()[1]] * 3000)
    assert load(split, **options).fingerprint == expected.fingerprint
    lines(said, *rows, *[f"{rows[1].rpartition(',')[0]},{i}" for i in range(300)])
    refused(split, "is one of more than 200 different labels of one study_id and subject_id", where=said, **options)


def test_mimics_patients_are_in_the_paths(tmp_path: Path) -> None:
    split, _ = mimic(tmp_path)
    rows = ["path,label"]
    for i, line in enumerate(split.read_text().splitlines()[1:]):
        name, study, subject, _ = line.split(",")
        rows.append(f"files/p{subject[:2]}/p{subject}/s{study}/{name}.jpg,{i // 4 % 2}")
    data = load(lines(tmp_path / "labels.csv", *rows))
    assert groups(data) == [4] * 20 and no_patient_is_on_two_sides(data)


def test_vindr(tmp_path: Path) -> None:
    """Three raters per image, a line per box of each; they may disagree. Files are called .dicom."""
    said = [  # of the three raters of an image
        ("No finding", "No finding", "No finding"),
        ("Consolidation", "Consolidation", "Consolidation|Pleural effusion"),
        ("Pleural effusion", "Pleural effusion", "Pleural effusion"),
        ("Consolidation", "No finding", "Pleural effusion"),
    ]
    rows = ["image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max"]
    for i in range(80):
        for rater, findings in enumerate(said[i % 4]):
            rows += [f"img{i:02d},{name},{len(name)},R{8 + rater},1.0,2.0,30.0,40.0" for name in findings.split("|")]
        write(tmp_path, {f"train/img{i:02d}.dicom": content(make(image(i), bits=8))})
    table = lines(tmp_path / "train.csv", *rows)
    some: dict[str, Any] = {"positive": "Consolidation", "negative": "No finding"}
    refused(table, "lines", "name 'img03' and contradict each other", "(20 of 80 images are like this)", **some)
    data = load(table, uncertain="drop", **some)
    assert labels(data) == {f"img{i:02d}": i % 4 for i in range(80) if i % 4 < 2}
    assert "20 of 80 images are of other classes and were left out: 'Pleural effusion'." in data.report.notes
    data = load(table, uncertain="positive", positive="Consolidation", negative="*")
    assert labels(data) == {f"img{i:02d}": (0, 1, 0, 1)[i % 4] for i in range(80)}

    # PhysioNet's table of the same: a column per finding, a line per rater, 0 and 1.
    rows = ["image_id,rad_ID,Consolidation,Pneumonia,No finding"]
    rows += [f"img{i:02d},R{8 + k},0,{int(i % 4 > k)},0" for i in range(80) for k in range(3)]
    table = lines(tmp_path / "image_labels_train.csv", *rows)
    data = load(table, label="Pneumonia", uncertain="drop")
    assert labels(data) == {f"img{i:02d}": i % 4 // 3 for i in range(80) if i % 4 in (0, 3)}


def test_the_excerpts_are_not_read_in_another_way(tmp_path: Path) -> None:
    """The same images in a folder of two classes give the same data set as CheXpert's table."""
    table = chexpert(tmp_path / "CheXpert-v1.0-small")
    data = load(table, label="Pneumonia", uncertain="drop", blank="drop")
    for name, label in labels(data).items():
        target = tmp_path / "folders" / ("normal", "pneumonia")[label] / name.replace("/", "_")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tmp_path / name, target)
    other = load(tmp_path / "folders")
    assert Counter(labels(other).values()) == Counter(labels(data).values())
