"""Throw hostile sources of X-rays at the loader: tables, folders, zips and arrays that begin whole and are damaged.

    python -m tests.fuzz_sources 10000 --seed 7     # for each kind of source; see tests.fuzzing

A source is loaded or refused in one sentence; what is loaded keeps its promises: names that can be printed, no patient
on two sides of a split that we drew, as many images as the report counts.
"""

import csv
import gzip
import io
import os
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from contract.errors import CxrflowError
from datasets.labels import LabelRules
from datasets.source import listed, load_xrays
from datasets.survey import survey
from tests.fuzzing import Target, main, mutated

SIZE = 8
CHOICES = ("refuse", "drop", "negative", "positive")
LABELS = ("0", "1", "0.0", "NORMAL", "pneumonia", "", "nan", "-1", "Effusion|Mass", "No Finding", "x" * 3000, "\u202e")
NAMES = (
    "train", "Train", "test", "val", "valid", "dev", "holdout", "NORMAL", "PNEUMONIA", "normal", "a", "b", "nan",
    "uncertain", "__MACOSX", ".hidden", "..", "", "Thumbs.db", "P001", "x" * 300, "\udcff\udcfe", "a\nb", "\x1b[2J",
    "C:", "name;,\t", "é", "\\", "p10000000", "s50000000", "patient00001", "study1",
)  # fmt: skip
HEADINGS = (
    "path", "label", "patient", "split", "image_id", "Image Index", "Finding Labels", "Target", "rad_id", "subject_id",
    "study_id", "dicom_id", "patientId", "class", "Path", "", "label\0", "x" * 2000,
)  # fmt: skip
CELLS = (
    "", "train", "test", "validate", "dev", "fold1", "P1", "ANONYMOUS", "R8", "-1", "nan", "1.0", "/etc/passwd", "..",
    "../x0.png", "./x0.png", "x0", "x0.png", "X0.PNG", "a\0b", "a\nb", '"', "''", "=1+1", "x" * 5000, "|", "|" * 1500,
    "\udcff", "\\\\server\\share", "1e999", "10000000.0",
)  # fmt: skip


def png(seed: int, side: int = 12) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


PICTURES = [png(i) for i in range(40)]


def whole_table(rng: Random) -> tuple[list[str], list[list[str]]]:
    """Return the heading and the lines of a table that is read, mostly."""
    heading = ["path", "label", *rng.sample(["patient", "split", "rad_id", "subject_id", "extra"], rng.randrange(4))]
    words = rng.choice([("0", "1"), ("NORMAL", "PNEUMONIA"), ("0.0", "1.0"), ("No Finding", "Pneumonia")])
    splits = rng.choice([("train", "test"), ("train", "train", "val", "test"), ("",)])
    rows = []
    for i in range(20):
        values = {"path": rng.choice([f"x{i}.png", f"x{i}", f"./x{i}.png"]), "label": words[i % 2], "extra": "y",
                  "patient": f"P{i // 2}", "subject_id": str(10000000 + i // 2), "rad_id": f"R{i % 3}",
                  "split": splits[i // 2 % len(splits)]}  # fmt: skip
        rows.append([values[name] for name in heading])
    return heading, rows


def make_table(rng: Random) -> dict[str, bytes]:
    heading, rows = whole_table(rng)
    for _ in range(rng.choice([0, 0, 0, 1, 1, 2, 3, 8])):
        match rng.choice(["cell", "cell", "label", "heading", "row", "again", "short", "column", "many"]):
            case "cell":
                row = rng.choice(rows)
                row[rng.randrange(len(row))] = rng.choice(CELLS)
            case "label":
                rng.choice(rows)[1] = rng.choice(LABELS)
            case "heading":
                heading[rng.randrange(len(heading))] = rng.choice(HEADINGS)
            case "row":
                rows.insert(rng.randrange(len(rows)), [rng.choice(CELLS) for _ in heading])
            case "again":
                rows.append(list(rng.choice(rows)))
            case "short":
                rows[rng.randrange(len(rows))] = rows[0][: rng.randrange(len(heading))] or [""]
            case "column":
                heading.append(rng.choice(HEADINGS))
                rows = [[*row, rng.choice(CELLS)] for row in rows]
            case "many":
                rows += [list(rows[0])] * rng.choice([10, 3000])
        rows = [row + [""] * (2 - len(row)) for row in rows]
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=rng.choice(",,,;\t"), quoting=rng.choice([0, 0, 1]))
    writer.writerows([heading, *rows])
    content = stream.getvalue().encode(rng.choice(["utf-8", "utf-8", "utf-8-sig", "utf-16"]), "surrogatepass")
    content = mutated(rng, content) if rng.random() < 0.3 else content
    if rng.random() < 0.05:
        content += rng.choice([b"x," * 300_000, b'"' + b"y\n" * 50_000, b"\n" * 50_000, b"z" * 200_000])
    files = {f"x{i}.png": PICTURES[i] for i in range(20)}
    name = rng.choice(["source.csv", "source.csv", "source.tsv", "source.csv.gz", "folder/labels.csv", "source.txt"])
    if name.endswith(".gz"):
        content = mutated(rng, gzip.compress(content, 1, mtime=0), most=rng.choice([0, 1]))
    if name.startswith("folder/"):
        files = {f"folder/{rng.choice(['', 'deep/er/'])}{key}": data for key, data in files.items()}
    if rng.random() < 0.1:
        lists = [f"x{i}.png" for i in range(20)]
        rng.shuffle(lists)
        at = rng.randrange(20)
        files |= {"train_val_list.txt": "\n".join(lists[:at]).encode(), "test_list.txt": "\n".join(lists[at:]).encode()}
    return {**files, name: content}


def placed(rng: Random) -> dict[str, bytes]:
    """Return pictures by path in one of the layouts, with some paths changed."""
    layout = rng.choice([("train", "test"), ("Train", "valid", "TEST"), ("train", "val", "test", "holdout"), ("",)])
    classes = rng.choice(
        [("NORMAL", "PNEUMONIA"), ("Normal", "Pneumonia"), ("healthy", "sick"), ("0", "1"), ("a", "nan")]
    )
    files = {}
    for k, split in enumerate(layout):
        for i in range(20 if len(layout) == 1 else 8):
            picture = PICTURES[(8 * k + i) % len(PICTURES)]
            files["/".join([*([split] if split else []), classes[i % 2], f"person{i // 4}_virus_{k}{i}.png"])] = picture
    for _ in range(rng.choice([0, 1, 1, 2, 3, 8])):
        parts = rng.choice(sorted(files)).split("/")
        match rng.choice(["part", "insert", "drop", "deep"]):
            case "part":
                parts[rng.randrange(len(parts))] = rng.choice(NAMES)
            case "insert":
                parts.insert(rng.randrange(len(parts)), rng.choice(NAMES))
            case "drop":
                del parts[rng.randrange(len(parts))]
            case "deep":
                parts[1:1] = ["d"] * rng.choice([10, 31, 40, 3000])
        data = rng.choice([PICTURES[0], PICTURES[1], b"", b"no image", mutated(rng, PICTURES[2])])
        files["/".join(parts) or "x"] = data
    return files


def make_folder(rng: Random) -> dict[str, bytes]:
    """As `placed`, without what a disk does not take: too long, both a file and a folder, NUL, out of the folder."""
    files: dict[str, bytes] = {}
    folders = {"source"}
    for path, data in placed(rng).items():
        parts = ["source", *[part for part in path.split("/") if part not in ("", ".", "..")][:60]]
        above = {"/".join(parts[:k]) for k in range(1, len(parts))}
        name = "/".join(parts)
        if all(len(os.fsencode(part)) < 250 for part in parts) and name not in folders and not above & files.keys():
            files[name], folders = data, folders | above
    return files or {"source/x": b""}


def make_zip(rng: Random) -> dict[str, bytes]:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = rng.random() < 0.7  # one odd name is enough for a refusal of the whole
        for path, data in placed(rng).items():
            if plain and (len(path) > 200 or not path.isprintable() or {"", "..", "C:", "\\"} & set(path.split("/"))):
                continue
            info = zipfile.ZipInfo(path.encode("utf-8", "replace").decode()[:60_000] or "x")
            info.compress_type = rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
            if rng.random() < 0.01:
                info.external_attr = rng.choice([0o120777, 0o010777, 0o040777]) << 16
            if rng.random() < 0.01:
                info.compress_type = zipfile.ZIP_BZIP2
            archive.writestr(info, data)
        if rng.random() < 0.03:
            archive.writestr("train/NORMAL/zeros.png", bytes(rng.choice([1 << 20, 20 << 20])), zipfile.ZIP_DEFLATED)
    content = stream.getvalue()
    if rng.random() < 0.3:  # near its end is the directory, which counts most
        at = rng.choice([0, max(0, len(content) - rng.choice([22, 200, 4000]))])
        content = content[:at] + mutated(rng, content[at:])
    if rng.random() < 0.02:
        content += _entries(rng.choice([70_000, 300_000]))
    return {f"source.{rng.choice(['zip', 'zip', 'npz', 'csv', 'bin'])}": content}


def _entries(count: int) -> bytes:
    """Return a directory of many entries, with its end record; the files in front of it do not exist."""
    entry = struct.pack("<4s4B4HL2L5H2L", b"PK\1\2", 20, 3, 20, 0, 0, 0, 0, 33, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"x"
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, len(entry) * count, 0, 0)
    return entry * count + end


OTHERS: tuple[Callable[[Any], Any], ...] = (  # what may be in the place of an array
    lambda was: np.zeros((0, 8, 8), np.uint8), lambda was: np.zeros((4, 1), np.int64),
    lambda was: np.atleast_1d(was)[:3], lambda was: np.array([None] * 4),
    lambda was: np.zeros((4, 8, 8, 3), np.uint8), lambda was: np.full((16, 1), -1),
    lambda was: np.zeros((1_500_000, 1), np.uint8), lambda was: np.zeros((4, 2, 2), np.uint8),
    lambda was: np.float64(1), lambda was: np.zeros(16, np.dtype([("a", "u1")])),
    lambda was: np.zeros((1 << 17, 8, 8), np.uint8),
)  # fmt: skip


def make_arrays(rng: Random) -> dict[str, bytes]:
    random = np.random.default_rng(rng.randrange(1 << 32))
    arrays: dict[str, Any] = {}
    for split, count in (("train", 16), ("val", 4), ("test", 4)):
        images = random.integers(0, 256, (count, SIZE, SIZE), dtype=np.uint8)
        arrays[f"{split}_images"] = np.asfortranarray(images) if rng.random() < 0.1 else images
        arrays[f"{split}_labels"] = (np.arange(count) % 2).astype(rng.choice(["u1", "i8", "?"]))[:, None]
    for _ in range(rng.choice([0, 1, 1, 2])):
        name = rng.choice(sorted(arrays))
        arrays[name] = rng.choice(OTHERS)(arrays[name])
    stream = io.BytesIO()
    (np.savez_compressed if rng.random() < 0.5 else np.savez)(stream, **arrays)
    content = stream.getvalue()
    if rng.random() < 0.4:
        content = _with_header(rng, content)
    if rng.random() < 0.3:
        at = rng.choice([0, max(0, len(content) - 1000)])
        content = content[:at] + mutated(rng, content[at:])
    return {f"source.{rng.choice(['npz', 'npz', 'zip'])}": content}


def _with_header(rng: Random, content: bytes) -> bytes:
    """Let the header of one array lie."""
    shapes = (
        "(-1, 8, 8)", "(10**9, 8, 8)", "(1000000000, 8, 8)", "(16, 8)", "()", "(16, 99999999999999999999, 8)",
        "(" * 90, "(16, 8, 8, 1)", f"(16, {'9' * 4000}, 1)", "(16.0, 8, 8)", "(4, 8, 8)", "(0, 0, 0)",
    )  # fmt: skip
    text = f"{{'descr': {rng.choice(['u1', '|O', '<U9', '<f8', '|V9', 'x', '(9999999,)u1'])!r}, 'fortran_order': "
    text += f"{rng.choice(['True', 'False', '2'])}, 'shape': {rng.choice(shapes)}, }}\n"
    header = (
        b"\x93NUMPY" + rng.choice([b"\1\0", b"\2\0", b"\3\0", b"\7\7"]) + struct.pack("<H", len(text)) + text.encode()
    )
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(stream, "w") as new:
        changed = rng.choice(old.namelist())
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, header + data[128:] if name == changed else data)
    return stream.getvalue()


def feed(folder: Path) -> None:
    """Load the source in a folder, by rules that its content decides; what is refused is said in one sentence."""
    source = next(path for path in [*folder.glob("source*"), *folder.glob("folder")])
    rng = Random(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()))
    some = rng.random() < 0.3
    rules = LabelRules(
        label=rng.choice(["label", "extra", "Finding"]) if some else None,
        positive=rng.choice([None, "1", "Pneumonia", "sick"]) if some else None,
        negative=rng.choice([None, "*", "No Finding"]) if some else None,
        uncertain=rng.choice(CHOICES),  # type: ignore[arg-type]
        blank=rng.choice(CHOICES),  # type: ignore[arg-type]
        label_table=source if rng.random() < 0.05 else None,
    )
    options: dict[str, Any] = {"height": SIZE, "width": SIZE, "val_fraction": 0.25, "seed": 0, "strict": False}
    try:
        data = load_xrays(source, cache=None, rules=rules, **options)
    except CxrflowError as err:
        _one_sentence(str(err))
        raise
    splits = (data.train, data.val, data.test)
    for text in (*data.report.notes, data.source, *(name for split in splits for name in split.names)):
        assert text.isprintable(), text
    counted = {name: sum(counts.values()) for name, counts in data.report.counts.items()}
    assert counted == {name: len(split) for name, split in zip(("train", "val", "test"), splits, strict=True)}
    if not any("own" in note and "validation" in note for note in data.report.notes):
        assert data.report.train_val_patient_overlap == 0
    with listed(source, rules) as listing:
        survey(listing, progress=lambda done, total: None)
        assert len(listing.files) >= sum(counted.values()) + len(data.report.unreadable)


def _one_sentence(message: str) -> None:
    message.encode("utf-8", "surrogateescape")
    assert "\n" not in message and message.endswith((".", "?")) and len(message) < 5000, message[:2000]


KINDS: tuple[tuple[str, Callable[[Random], dict[str, bytes]]], ...] = (
    ("tables", make_table), ("folders", make_folder), ("zips", make_zip), ("arrays", make_arrays),
)  # fmt: skip
TARGETS = tuple(Target(name, make, feed) for name, make in KINDS)

if __name__ == "__main__":
    main(TARGETS)
