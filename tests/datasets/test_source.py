"""Every format but DICOM's pixels: the same images must give the same data set, and each mistake its own sentence."""

import gzip
import io
import json
import pickle
import shutil
import stat
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from contract.preprocess import area_average
from datasets.cache import cache_key, own_decoders
from datasets.source import TEST_FRACTION
from tests.datasets.made import SIZE, everything, image, load, medmnist, png, refused, table, write, write_zip
from tests.datasets.same import assert_same_images
from tests.dicom_files import content, make

REPOSITORY = Path(__file__).parents[2]


def release_files() -> dict[str, bytes]:
    """Return the content of a release by name: 8 patients per class in train with two images each, 2 in test."""
    files = {}
    for split, count in (("train", 16), ("test", 2)):
        for label, class_name in enumerate(("NORMAL", "PNEUMONIA")):
            for i in range(count):
                patient = 100 * (split == "test") + i // 2
                name = f"person{patient}_virus_{i}.png" if label else f"IM-{patient:04d}-{i:04d}.png"
                files[f"{split}/{class_name}/{name}"] = png(1000 * label + 100 * (split == "test") + i)
    return files


class TestZip:
    def test_equals_the_folder_doubled_and_with_clutter_as_the_release_is(self, tmp_path: Path) -> None:
        files = release_files()
        folder = load(write(tmp_path / "release", files))
        for top in ("", "chest_xray/"):
            members = {f"{top}{name}": data for name, data in files.items()}
            members |= {f"{top}chest_xray/{name}": png(5) for name in files}
            members |= {f"__MACOSX/{top}{name}".replace("/person", "/._person"): b"x" for name in files}
            members |= {f"{top}train/NORMAL/.DS_Store": b"x", f"{top}chest_xray/": b"", f"{top}train/": b""}
            path = write_zip(tmp_path / f"{len(top)}.zip", members, compression=zipfile.ZIP_DEFLATED)
            before = path.read_bytes()
            data = load(path, cache=tmp_path / "cache")
            assert_same_images(data, folder)
            assert_same_images(
                load(path, cache=tmp_path / "cache", progress=lambda *_: pytest.fail("not cached")), folder
            )
            assert data.source == f"zip {path.name}" and path.read_bytes() == before
            (note,) = data.report.notes
            assert note.startswith("73 files were not read: 37 hidden") and "; 36 in the folder 'chest_xray'" in note
        assert {path.name for path in tmp_path.iterdir()} == {"release", "0.zip", "11.zip", "cache"}

    def test_a_damaged_image_is_left_out(self, tmp_path: Path) -> None:
        files = release_files()
        path = write_zip(tmp_path / "x.zip", files)
        name = "train/NORMAL/IM-0000-0000.png"
        data = path.read_bytes()
        at = data.index(files[name]) + 100
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        report = load(path).report
        assert report.unreadable == ((name, "is damaged inside the zip (BadZipFile); fetch the zip again."),)

    @pytest.mark.parametrize(
        ("name", "word"),
        [
            ("../../etc/x.png", "leads elsewhere"),
            ("/etc/x.png", "leads elsewhere"),
            ("train/NORMAL/../../../x.png", "leads elsewhere"),
            ("C:/x.png", "leads elsewhere"),
            ("train//x.png", "leads elsewhere"),
            ("..\\..\\x.png", "leads elsewhere"),
            ("\\\\server\\x.png", "leads elsewhere"),
            ("C:\\x.png", "leads elsewhere"),
            ("train/NORMAL/\x1b[31m.png", "cannot be printed"),
        ],
    )
    def test_path_tricks(self, tmp_path: Path, name: str, word: str) -> None:
        refused(write_zip(tmp_path / "x.zip", release_files() | {name: png(0)}), word, "do not trust this zip")
        assert [path.name for path in tmp_path.rglob("*")] == ["x.zip"]

    def test_what_other_tools_pack_is_no_trick(self, tmp_path: Path) -> None:
        """The kind of fault: a refusal that sends people after something else than what is wrong."""
        files = {name.replace("/", "\\"): data for name, data in release_files().items()}
        refused(
            write_zip(tmp_path / "x.zip", files), "has backslashes in its path", "expected slashes", "; pack it again."
        )
        for method, name in ((zipfile.ZIP_BZIP2, "bzip2 (method 12)"), (zipfile.ZIP_LZMA, "LZMA (method 14)")):
            path = write_zip(tmp_path / "y.zip", release_files(), compression=method)
            refused(path, f"is packed by {name}, expected deflate or none; pack it again.")

    @pytest.mark.parametrize("top", ["", "set/"])
    def test_a_table_in_a_zip_is_not_read(self, tmp_path: Path, top: str) -> None:
        files = {f"{top}images/{i}.png": png(i) for i in range(4)} | {f"{top}labels.csv": b"path,label\n"}
        path = write_zip(tmp_path / "x.zip", files | {"__MACOSX/._labels.csv": b""})
        refused(path, "has no folder 'train'", "A table in a zip is not read", "unpack the zip and give", "labels.csv",
                where=tmp_path)  # fmt: skip

    def test_links(self, tmp_path: Path) -> None:
        path = write_zip(tmp_path / "x.zip", release_files())
        with zipfile.ZipFile(path, "a") as archive:
            info = zipfile.ZipInfo("train/NORMAL/link.png")
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, "/etc/passwd")
        refused(path, "link.png' is a link or a device, expected plain folders and files")

    def test_encrypted(self, tmp_path: Path) -> None:
        path = write_zip(tmp_path / "x.zip", release_files())
        data = bytearray(path.read_bytes())
        at = 0
        while (at := data.find(b"PK\1\2", at)) >= 0:  # every entry of the directory
            data[at + 8] |= 1
            at += 4
        path.write_bytes(data)
        refused(path, "is encrypted, expected plain folders and files")

    def test_bomb(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("datasets.archive.RATIO_FREE_BYTES", 1 << 20)  # a whole bomb would take a second
        files = release_files() | {f"train/NORMAL/{i}.png": bytes(2 << 20) for i in range(16)}
        path = write_zip(tmp_path / "x.zip", files, compression=zipfile.ZIP_DEFLATED)
        refused(path, "claims to unpack from", "expected images, which hardly shrink; do not trust this zip")

    def test_one_absurd_member_is_left_out(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("datasets.archive.MAX_FILE_BYTES", 1 << 16)
        path = write_zip(tmp_path / "x.zip", release_files() | {"train/NORMAL/big.png": bytes(1 << 17)})
        ((name, reason),) = load(path).report.unreadable
        assert name == "train/NORMAL/big.png" and "has 131,072 bytes, expected at most" in reason

    def test_overlapping_members(self, tmp_path: Path) -> None:
        path = write_zip(tmp_path / "x.zip", release_files())
        data = bytearray(path.read_bytes())
        at = data.find(b"PK\1\2")
        data[at + 20 : at + 24] = struct.pack("<I", 1 << 30)  # packed size of the first entry
        path.write_bytes(data)
        refused(path, "do not trust this zip")

    def test_the_same_name_twice(self, tmp_path: Path) -> None:
        path = write_zip(tmp_path / "x.zip", release_files())
        with zipfile.ZipFile(path, "a") as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            archive.writestr("train/NORMAL/IM-0000-0000.png", b"other")
        refused(path, "occurs twice")

    def test_a_directory_of_an_absurd_size(self, tmp_path: Path) -> None:
        """A quarter of a million entries take seconds and much memory: they are counted before they are objects."""
        path = tmp_path / "x.zip"
        entry = struct.pack("<4s4B4HL2L5H2L", b"PK\1\2", 20, 3, 20, 0, 0, 0, 0, 33, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"x"
        for count, length, words in (
            (250_001, len(entry) * 250_001, "holds 250,001 entries, expected at most 250,000"),
            (1, 200 << 20, "holds a directory of 209,715,200 bytes"),
        ):
            end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, length, 0, 0)
            path.write_bytes(b"PK\3\4" + entry * count + end)
            refused(path, words)

    def test_two_sets_or_splits_in_classes(self, tmp_path: Path) -> None:
        """The kind of fault: half of a zip is read, or a sentence blames what is not the fault."""
        one = {f"x/a/{name}": data for name, data in release_files().items()}
        two = one | {f"x/b/{name}": data + b"x" for name, data in release_files().items()}
        path = write_zip(tmp_path / "two.zip", two)
        refused(path, "holds two sets of X-rays, x/a and x/b, expected one")
        copy = {name.replace("x/a/", "copy/of/"): data for name, data in one.items()}
        assert len(everything(load(write_zip(tmp_path / "copy.zip", one | copy)))) == len(release_files())
        files = {f"deep/{name}/{split}/{split[0]}{name[0]}{i}.png": png(i) for name in ("NORMAL", "PNEUMONIA")
                 for split in ("train", "test") for i in range(3)}  # fmt: skip
        for path in (write_zip(tmp_path / "first.zip", files), write(tmp_path / "first", files) / "deep"):
            refused(path, "NORMAL: is a class with splits in it (test), expected splits with classes in them")

    @pytest.mark.parametrize("depth", [40, 20_000])
    def test_a_path_of_many_folders(self, tmp_path: Path, depth: int) -> None:
        path = write_zip(tmp_path / "x.zip", release_files() | {"a/" * depth + "x": b"x"})
        refused(path, f"has a path of {2 * depth + 1:,} characters in {depth:,} folders")

    def test_a_name_that_is_no_text(self, tmp_path: Path) -> None:
        path = write_zip(tmp_path / "x.zip", release_files() | {"é.png": b"x"})
        path.write_bytes(path.read_bytes().replace("é.png".encode(), b"\xff\xfe.png"))
        refused(path, "names an entry in a way that is no UTF-8")

    def test_cut_short_empty_or_without_xrays(self, tmp_path: Path) -> None:
        path = write_zip(tmp_path / "x.zip", release_files())
        path.write_bytes(path.read_bytes()[:-300])
        refused(path, "is cut short or damaged, no whole zip or .npz file (BadZipFile); fetch it again")
        refused(write_zip(tmp_path / "y.zip", {}), "has no folder 'train'", "point at the folder")
        refused(write_zip(tmp_path / "z.zip", {"a/readme.txt": b"x"}), "has no folder 'train'")


class TestMedMnist:
    @pytest.mark.parametrize("size", [SIZE, 28])
    def test_official_splits_are_kept(self, tmp_path: Path, size: int) -> None:
        path = medmnist(tmp_path, size)
        data, arrays = load(path, cache=tmp_path / "cache"), np.load(path)
        for split, name in ((data.train, "train"), (data.val, "val"), (data.test, "test")):
            images = [area_average(pixels, height=SIZE, width=SIZE) for pixels in arrays[f"{name}_images"]]
            np.testing.assert_array_equal(split.pixels, images)
            np.testing.assert_array_equal(split.labels, arrays[f"{name}_labels"][:, 0])
        assert_same_images(load(path, cache=tmp_path / "cache", seed=7, val_fraction=0.4), data)
        notes = " ".join(data.report.notes)
        assert "official splits" in notes and "No patient is known" in notes and "own 6 validation images" in notes
        assert json.dumps(data.report.to_dict())

    def test_content_labels_and_splits_are_in_the_fingerprint(self, tmp_path: Path) -> None:
        arrays = dict(np.load(medmnist(tmp_path)))
        images, labels = arrays["train_images"].copy(), arrays["train_labels"][::-1].copy()
        images[3, 2, 1] ^= 1
        swapped = {"train_images": arrays["val_images"], "train_labels": arrays["val_labels"],
                   "val_images": arrays["train_images"], "val_labels": arrays["train_labels"]}  # fmt: skip
        cases: list[dict[str, Any]] = [{}, {}, {"train_images": images}, {"train_labels": labels}, swapped]
        seen = [load(medmnist(tmp_path, name=f"{i}.npz", **case)).fingerprint for i, case in enumerate(cases)]
        assert seen[0] == seen[1] and len(set(seen)) == 4

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"val_images": None}, ["has no array val_images, found train_images", "`cxrflow data fetch pneumo"]),
            ({"test_labels": np.zeros((7, 1), np.uint8)}, ["has 8 test_images but 7 test_labels"]),
            ({"train_images": np.zeros((20, 8, 8, 3), np.uint8)}, ["train_images is uint8 of shape (20, 8, 8, 3)"]),
            ({"train_images": np.zeros((20, 8, 8), np.float32)}, ["train_images is float32", "expected uint8"]),
            ({"train_labels": np.full((20, 1), 2)}, ["train_labels holds 2, expected 0 (normal) and 1"]),
            ({"train_labels": np.zeros((20, 14), int)}, ["train_labels is int64 of shape (20, 14)"]),
            ({"train_labels": np.zeros((20, 1), int)}, ["/train/PNEUMONIA: holds no usable image"]),
        ],
        ids=["missing", "count", "colour", "float", "third class", "another set", "one class"],
    )  # fmt: skip
    def test_arrays_that_do_not_fit(self, tmp_path: Path, changes: dict[str, Any], words: list[str]) -> None:
        refused(medmnist(tmp_path, **changes), *words)

    @pytest.mark.parametrize(
        "name",
        ["breastmnist", "breastmnist_64", "BreastMNIST_224", "breast-mnist (1)", "my_breastmnist", "chestmnist_128",
         "adrenalmnist3d", "vesselmnist3d_64", "organmnist_axial", "OrganAMNIST", "octmnist"],
    )  # fmt: skip
    def test_another_set_is_not_pneumonia(self, tmp_path: Path, name: str) -> None:
        """The kind of fault: 0 and 1 of anything are taken for normal and pneumonia; in breastmnist 0 is malignant."""
        path = medmnist(tmp_path, name=f"{name}.npz")
        for rest in (None, "*"):
            named = any(known in path.stem.lower() for known in ("breastmnist", "breast-mnist", "octmnist", "organa"))
            advice = "list its own classes" if named else "set 'data.positive' to the one, 0 or 1,"
            refused(path, "is MedMNIST's ", "expected pneumoniamnist", advice, negative=rest)
        data, plain = load(path, positive="0"), load(medmnist(tmp_path, name="PneumoniaMNIST_64 copy.npz"))
        np.testing.assert_array_equal(data.test.labels, 1 - plain.test.labels)
        assert "'1' counts as NORMAL and '0' as PNEUMONIA." in data.report.notes
        assert not any("as PNEUMONIA" in note for note in plain.report.notes)
        assert load(path, positive="1", negative="0").fingerprint == plain.fingerprint
        refused(path, "'data.positive' is 'malignant'", positive="malignant")

    def test_pickled_objects_are_not_opened(self, tmp_path: Path) -> None:
        proof = tmp_path / "executed"

        class Bomb:
            def __reduce__(self) -> tuple[Any, ...]:
                return Path.touch, (proof,)

        for name in ("train_images", "train_labels"):
            path = medmnist(tmp_path, SIZE, "x.npz", **{name: np.array([Bomb()] * 20)})
            refused(path, f"{name} holds pickled objects, which could run code", "fetch the original file")
        (tmp_path / "pickle.npz").write_bytes(pickle.dumps(Bomb()))
        refused(tmp_path / "pickle.npz", "is of no known format")
        assert not proof.exists()

    @pytest.mark.parametrize("split", ["train_images", "test_labels"])
    def test_an_array_with_and_without_the_suffix(self, tmp_path: Path, split: str) -> None:
        """The kind of fault: one entry is checked and another one read, with other labels, or as bytes."""
        path, other = medmnist(tmp_path), io.BytesIO()
        np.save(other, 1 - (np.arange(8) % 2)[:, None])
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(split, other.getvalue())
        refused(path, f"has '{split}' with and without the suffix .npy, expected one array of a name")

    def test_arrays_that_are_not_read_are_named(self, tmp_path: Path) -> None:
        extra = np.zeros((4, SIZE, SIZE), dtype=np.uint8)
        said = "Not read, because they are none of train, val, test: Train_images, extra_images."
        assert said in load(medmnist(tmp_path, extra_images=extra, Train_images=extra)).report.notes
        assert not any("Not read" in note for note in load(medmnist(tmp_path)).report.notes)
        for shape in ((20, SIZE, SIZE, 1), (20, 1, SIZE, SIZE)):
            path = medmnist(tmp_path, train_images=np.zeros(shape, dtype=np.uint8))
            refused(path, f"is uint8 of shape {shape}, expected", "take the axis of one channel away")

    def test_damaged_files(self, tmp_path: Path) -> None:
        whole = medmnist(tmp_path).read_bytes()
        (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
        refused(tmp_path / "cut.npz", "is cut short or damaged", "fetch it again")
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {"descr": "|u1", "fortran_order": False, "shape": (10**6, 10**4, 10**4)}
        )
        path = medmnist(tmp_path, train_images=None)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("train_images.npy", header.getvalue())
        refused(path, "train_images claims 100,000,000,000,000 bytes but holds", "expected a whole array")

    @pytest.mark.parametrize(
        ("shape", "words"),
        [
            ("(-1, 8, 8)", "train_images is uint8 of shape (-1, 8, 8), expected uint8"),
            ("(0, 0, 0)", "is uint8 of shape (0, 0, 0)"),
            ("(200000000, 1, 1)", "is uint8 of shape (200000000, 1, 1)"),
            (f"(16, {'9' * 4000}, 1)", "is uint8 of shape (16, 999"),
            (f"({'1, ' * 40})", "is uint8 of 40 dimensions"),
            ("(" * 200, "is cut short or damaged"),
        ],
        ids=["negative", "nothing", "many", "digits", "dimensions", "nested"],
    )
    def test_headers_that_lie(self, tmp_path: Path, shape: str, words: str) -> None:
        text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}\n"
        path = medmnist(tmp_path, train_images=None)
        with zipfile.ZipFile(path, "a") as archive:
            header = b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text.encode()
            archive.writestr("train_images.npy", header + bytes(1000))
        refused(path, words)

    def test_columns_first_is_the_same_image(self, tmp_path: Path) -> None:
        images = np.asfortranarray(np.load(medmnist(tmp_path))["train_images"])
        other = medmnist(tmp_path, name="other.npz", train_images=images)
        assert_same_images(load(other), load(tmp_path / "pneumoniamnist.npz"))

    def test_an_array_that_unpacks_to_gigabytes(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("datasets.archive.RATIO_FREE_BYTES", 1 << 20)
        refused(medmnist(tmp_path, train_images=np.zeros((20, 2000, 2000), np.uint8)), "claims to unpack from")

    def test_images_smaller_than_the_network(self, tmp_path: Path) -> None:
        refused(medmnist(tmp_path), "34 of 34 images are unreadable", "is 8 x 8 pixels", height=16, width=16)


class TestTwoClasses:
    def folder(self, root: Path, names: tuple[str, str] = ("healthy", "sick"), count: int = 20) -> Path:
        return write(root, {f"{name}/{i}.png": png(100 * k + i) for k, name in enumerate(names) for i in range(count)})

    def test_the_test_split_depends_on_the_images_only(self, tmp_path: Path) -> None:
        root = self.folder(tmp_path / "x")
        data, other = load(root), load(root, seed=5, val_fraction=0.4)
        assert data.test.names == other.test.names and data.fingerprint == other.fingerprint
        assert data.val.names != other.val.names
        assert len(data.test) == round(TEST_FRACTION * 40) and set(data.test.labels.tolist()) == {0, 1}
        assert all(label == int(name.startswith("sick")) for name, (_, label) in everything(data).items())
        notes = " ".join(data.report.notes)
        assert "'healthy' counts as NORMAL and 'sick' as PNEUMONIA" in notes
        assert "8 images, about 20%, were set aside by images" in notes and "No patient is known" in notes

    def test_nearly_black_images_are_named(self, tmp_path: Path) -> None:
        """Twelve bits in a file of sixteen: the file says that they are dark, but whoever made it hardly meant it."""
        root = self.folder(tmp_path / "x")
        assert not load(root).report.warnings
        twelve = np.random.default_rng(0).integers(0, 4096, (SIZE, SIZE)).astype(np.uint16)
        for name, values in (("sick/7.png", twelve), ("sick/8.png", twelve.T * 16)):  # the latter fill their bits
            stream = io.BytesIO()
            Image.fromarray(np.ascontiguousarray(values)).save(stream, "PNG")
            write(root, {name: stream.getvalue()})
        (warning,) = load(root).report.warnings
        assert warning.startswith("1 of 40 images are nearly black, sick/7.png the first: white is the largest value")

    def test_known_patients_stay_together(self, tmp_path: Path) -> None:
        files = {}
        for i in range(40):
            files[f"NORMAL/IM-{i // 4:04d}-{i:04d}.png"] = png(i)
            files[f"PNEUMONIA/person{i // 4}_virus_{i}.png"] = png(100 + i)
        data = load(write(tmp_path / "x", files))
        splits = [set(split.patients.tolist()) for split in (data.train, data.val, data.test)]
        assert not splits[0] & splits[1] | splits[0] & splits[2] | splits[1] & splits[2]
        assert "set aside by whole patients" in data.report.notes[0] and len(data.report.notes) == 1

    def test_names_that_do_not_say_which_is_positive(self, tmp_path: Path) -> None:
        root = self.folder(tmp_path / "x", ("a", "b"))
        refused(root, "nothing tells which of 'a' and 'b' is pneumonia", "set 'data.positive'")
        refused(root, "'data.positive' is 'c'; expected one of the two", positive="c")
        data = load(root, positive="A")
        assert all(label == int(name.startswith("a")) for name, (_, label) in everything(data).items())

    def test_too_few_patients_for_a_test_split(self, tmp_path: Path) -> None:
        refused(
            self.folder(tmp_path / "x", count=4),
            "none can be drawn from it: the images of class NORMAL come from 4",
            "patients, but a test split of 20% needs at least 5; add images.",
        )

    def test_one_class_after_the_unreadable_are_gone(self, tmp_path: Path) -> None:
        root = self.folder(tmp_path / "x")
        for path in (root / "sick").iterdir():
            path.write_bytes(b"")
        refused(root, "PNEUMONIA: holds no usable image (sick/", "); expected images of both classes")

    def test_a_folder_in_a_class_is_named_and_not_to_be_moved_into_it(self, tmp_path: Path) -> None:
        root = self.folder(tmp_path / "x")
        (root / "sick").rename(root / "old")
        (root / "sick").mkdir()
        (root / "old").rename(root / "sick" / "old")
        refused(root, "holds folders and no image beside them (1, the first is 'old')", "table", where=root / "sick")

    def test_three_folders_or_none(self, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        refused(tmp_path / "empty", "has no folder 'train', found no folders")
        root = self.folder(tmp_path / "x")
        (root / "covid").mkdir()
        refused(root, "has no folder 'train', found covid, healthy, sick", "a folder per class")


def twenty_rows() -> list[tuple[Any, ...]]:
    """Return 10 patients of each class with two images each; the last four of each class are for testing."""
    rows = []
    for i in range(40):
        label, patient = i % 2, i // 4
        split = "test" if patient > 7 else "train"
        rows.append((f"images/{i}.png", "PNEUMONIA" if label else "Normal", f"p{label}{patient}", split))
    return rows


class TestTable:
    @pytest.fixture
    def images(self, tmp_path: Path) -> Path:
        return write(tmp_path, {f"images/{i}.png": png(i) for i in range(40)})

    def test_columns_in_any_order_and_spelling(self, images: Path) -> None:
        rows = twenty_rows()
        data = load(table(images / "labels.csv", rows))
        found = everything(data)
        for name, label, _, split in rows:
            assert found[name][1] == int(label == "PNEUMONIA")
            assert (found[name][0] == "test") == (split == "test")
        patients = [set(split.patients.tolist()) for split in (data.train, data.val, data.test)]
        assert [len(group) for group in patients] == [12, 4, 4] and data.report.notes == ()
        other = images / "other.tsv"
        lines = ["Split\tImage Path\tDiagnosis\tPatient ID\tAge"]
        lines += [f"{split.upper()}\t{name}\t{int(label == 'PNEUMONIA')}\t{who}\t9" for name, label, who, split in rows]
        other.write_bytes(("\ufeff" + "\r\n".join([*lines, "", lines[-1]])).encode())
        assert_same_images(load(other), data)

    def test_without_patients_and_splits(self, images: Path) -> None:
        data = load(table(images / "labels.csv", twenty_rows(), "path,label"))
        assert len(data.test) == 8 and len(data.report.notes) == 2
        assert (
            load(table(images / "labels.csv", twenty_rows(), "path,label,patient"))
            .report.notes[0]
            .endswith("were set aside by whole patients; val_fraction and seed do not change which.")
        )

    def test_its_own_validation_split_is_used(self, images: Path) -> None:
        rows = [(*row[:3], "valid" if i < 8 else row[3]) for i, row in enumerate(twenty_rows())]
        data = load(table(images / "labels.csv", rows))
        assert set(data.val.names) == {row[0] for row in rows[:8]}
        assert "own 8 validation images" in data.report.notes[0]

    def test_nobody_is_in_its_validation_and_in_a_test_split_that_is_drawn(self, images: Path) -> None:
        rows = [(*row[:3], "val" if i < 20 and i % 4 < 2 else "train") for i, row in enumerate(twenty_rows())]
        data = load(table(images / "labels.csv", rows))
        assert len(data.test) and not set(data.test.patients.tolist()) & set(data.val.patients.tolist())

    def test_a_patient_on_both_sides_is_counted(self, images: Path) -> None:
        rows = [(*row[:3], "valid" if i < 8 else row[3]) for i, row in enumerate(twenty_rows())]
        rows[0] = (*rows[0][:2], "p19", "val")  # a patient on both sides is the table's decision, but is reported
        report = load(table(images / "labels.csv", rows)).report
        assert report.patients_in_train_and_test == 1
        assert "2 of 8 test images are of patients who are in train or val, too" in " ".join(report.warnings)

    def test_an_image_on_both_sides_is_a_warning(self, images: Path) -> None:
        """The kind of fault: test metrics on images that were trained on, without a word."""
        rows = [
            (*row[:3], ("train", "train", "test", "train", "val")[i // 4 % 5]) for i, row in enumerate(twenty_rows())
        ]
        assert not any("too: " in note for note in load(table(images / "labels.csv", rows)).report.notes)
        path = images / rows[0][0]
        path.with_name("copy.png").write_bytes(path.read_bytes())
        for split, where in (("test", "train or val"), ("val", "train")):
            for labels in (rows, [(*row[:2], "", row[3]) for row in rows]):  # with patients, and without
                copy = (f"{Path(rows[0][0]).parent}/copy.png", rows[0][1], labels[0][2] and "p99", split)
                report = load(table(images / "labels.csv", [*labels, copy])).report
                said = f"1 of 9 {split} images are in {where}, too: {split} metrics flatter the network."
                assert (
                    said in report.warnings
                    and said in report.notes
                    and not any("who" in note for note in report.warnings)
                )

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda rows: rows.append(("images/x.png", "Normal", "p", "train")),
             ["1 of 41 files are not there, the first is 'images/x.png' in line 42", "correct or remove"]),
            (lambda rows: rows.append(("images/../images/1.png", "COVID", "p", "train")),
             ["line 42 has the label 'COVID', a third class beside 'Normal' and 'PNEUMONIA', expected two"]),
            (lambda rows: rows.append(("images/1.png", "Normal", "p00", "train")),
             ["lines 3 and 42 name 'images/1.png' and contradict each other"]),
            (lambda rows: rows.append(("images/1.png", "Normal", "p00")), ["line 42 has 3 cells, expected 4"]),
            (lambda rows: rows.append(("images/1.png", "", "p00", "test")), ["line 42 has no usable label; fill it"]),
            (lambda rows: rows.append(("images/1.png", "PNEUMONIA", "p00", "tset")), ["has the split 'tset'"]),
            (lambda rows: rows.append(("images/41.png", "PNEUMONIA", "p00", "")), ["line 42 has no split while"]),
            (lambda rows: rows.clear(), ["has no rows, expected paths and labels"]),
            (lambda rows: rows.__setitem__(slice(None), [r for r in rows if r[1] == "Normal"]),
             ["all labels are 'Normal', expected images of two classes; add"]),
            (lambda rows: rows.__setitem__(slice(None), [r for r in rows if r[1] == "Normal" or r[3] == "train"]),
             ["labels.csv/test/PNEUMONIA: holds no usable image; expected images of both classes"]),
            (lambda rows: rows.__setitem__(slice(None), [(*r[:3], "test") for r in rows]),
             ["names no training image, all are of test; expected images of train, too, so mark some as train"]),
        ],
        ids=["missing file", "third class", "contradiction", "short line", "no label", "split", "half a split",
             "no rows", "one class", "one class in test", "no train"],
    )  # fmt: skip
    def test_rows_that_do_not_fit(
        self, images: Path, change: Callable[[list[tuple[Any, ...]]], Any], words: list[str]
    ) -> None:
        rows = twenty_rows()
        change(rows)
        refused(table(images / "labels.csv", rows), *words)

    @pytest.mark.parametrize(
        ("data", "words"),
        [
            (b"name,label\nx,1\n", ["has the columns name, label, expected one called 'path' and one called 'label'"]),
            (b"path,label\n\xff,1\n", ["is not UTF-8 text, expected a table; save it as CSV in UTF-8"]),
            (b'path,label\n"x,1\n', ["line 2 is no line of a table"]),
            (b"", ["is empty; expected a folder with a table"]),
        ],
        ids=["columns", "encoding", "quotes", "empty"],
    )
    def test_files_that_are_no_table(self, tmp_path: Path, data: bytes, words: list[str]) -> None:
        path = tmp_path / ("x.csv" if data else "x.bin")
        path.write_bytes(data)
        refused(path, *words)

    @pytest.mark.parametrize(
        ("cell", "words"),
        [
            ("a" * 300 + ".png", ["1 of 41 files are not there", "'aaaa"]),
            ("a" * 70_000, ["1 of 41 files are not there"]),
            ("a\0b.png", ["line 42 has no usable path"]),
            ("a\nb.png", [r"the first is 'a\nb.png' in line 43"]),
            ("/no/such/file.png", ["the first is '/no/such/file.png' in line 42"]),
            ("../../../../../../../../../../no.png", ["1 of 41 files are not there"]),
            ("images", ["the first is 'images' in line 42, a folder without a file of that name"]),
            ("\u202egnp.exe", [r"the first is '\u202egnp.exe'"]),
            ("x" * 200_000, ["line 42 is no line of a table (field larger than field limit (131072))"]),
            ('"' + "x" * 100_000, ["1 of 41 files are not there"]),
        ],
        ids=["long", "very long", "NUL", "newline", "absolute", "up", "folder", "override", "huge", "quote"],
    )
    def test_cells_that_are_no_path(self, images: Path, cell: str, words: list[str]) -> None:
        refused(table(images / "labels.csv", [*twenty_rows(), (cell, "Normal", "p", "train")]), *words)

    def test_a_folder_is_not_taken_for_the_file_of_an_id(self, tmp_path: Path) -> None:
        write(tmp_path, {f"P{i:03d}/P{i:03d}.png": png(i) for i in range(40)})
        rows = [(f"P{i:03d}", i % 2) for i in range(40)]
        data = load(table(tmp_path / "labels.csv", rows, "image_id,label").parent)
        assert set(everything(data)) == {row[0] for row in rows} and not data.report.unreadable
        (tmp_path / "P003/P003.png").unlink()
        refused(tmp_path, "1 of 40 files are not there, the first is 'P003' in line 5, a folder without")

    def test_a_path_is_not_read_from_elsewhere(self, images: Path) -> None:
        write(images, {"41.png": png(41), "deep/images/42.png": png(42)})
        for name in ("images/41.png", "images/42.png"):
            path = table(images / "labels.csv", [*twenty_rows(), (name, "Normal", "p", "train")])
            refused(path, f"1 of 41 files are not there, the first is '{name}'")

    def test_lines_that_are_not_read_are_counted(self, images: Path) -> None:
        write(images, {"images/extra/x.png": b"x", "images/y.png": b"x", "notes.txt": b"x", ".hidden": b"x"})
        table(images / "labels.csv", twenty_rows())
        (warning,) = load(images).report.warnings
        assert warning.startswith("4 files were not read: ")
        assert "1 hidden" in warning and "3 in no line of labels.csv" in warning
        write(images, {"images/z.dcm": b"x", "images/.z.png": b"x"})  # beside the table alone, images are counted
        (warning,) = load(images / "labels.csv").report.warnings
        assert warning == "3 files were not read: 3 in no line of labels.csv (images/y.png)."

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gzip"])
    @pytest.mark.parametrize("mark", [",", ";", "\t"])
    def test_what_spreadsheets_write(self, images: Path, encoding: str, mark: str) -> None:
        lines = [mark.join(["path", "label", "patient", "split", '"notes (a, b; c, d, e)"'])]
        lines += [mark.join([*row, '"a, b;\t""c"""']) for row in twenty_rows()]
        text = "\r\n".join(lines)
        path = images / ("labels.csv.gz" if encoding == "gzip" else "labels.csv")
        path.write_bytes(gzip.compress(text.encode()) if encoding == "gzip" else text.encode(encoding))
        expected = load(table(images / "plain.csv", twenty_rows()))
        assert_same_images(load(path), expected)

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            ("path,label\n" + "x," * 600_000, ["has a line of more than 1,048,576 characters, or a quote"]),
            (",".join(f"c{i}" for i in range(20_000)) + "\n", ["line 1 has 20,000 cells, expected at most 10,000"]),
            ('path,label\n"x\n' + "y\n" * 700_000, ["what begins in line 2 is no line of a table (field larger than"]),
            ('path,label\n"x\ny,1\n', ["what begins in line 2 is no line of a table (unexpected end of data)"]),
            ("path,label\nx,1\n".encode("utf-16-le").decode(), ["is UTF-16 text without the mark"]),
            ("path,label\nx,1\n".encode("utf-16-be").decode(), ["is UTF-16 text without the mark"]),
            ('path,patient,label\nx,"1,10E+11",1\n', ["line 2 has the patient '1,10E+11'", "save the column as text"]),
            ("path,label,path\nx,1,y\n", ["has 2 columns called 'path', expected one"]),
            (
                "path,label,target\nx,1,0\n",
                ["has the columns label and target, each of which could be", "'data.label'"],
            ),
            ("path,class,target\nx,1,1\n", ["has the columns class and target, each of which could be the label"]),
            (
                "path,label\nx," + "|" * 3000 + "\n",
                ["line 2 has a label of 3,000 characters, expected a class or find"],
            ),
            (
                "image,filename,label\n1.png,1.png,0\n2.png,3.png,1\n",
                ["line 3 has '2.png' as 'image' and '3.png' as 'filename'", "remove or rename the wrong one"],
            ),
            (
                "path,Subset,split,label\nx,train,Test,1\n",
                ["line 2 has 'train' as 'Subset' and 'Test' as 'split'", "the same in both"],
            ),
            ("path,x\ny,1\n", ["expected one called 'path' and one called 'label'", "or set 'data.label'"]),
        ],
        ids=[
            "line",
            "columns",
            "open quote",
            "open quote at the end",
            "utf-16-le",
            "utf-16-be",
            "shortened",
            "twice",
            "label",
            "two labels",
            "long label",
            "two files",
            "two splits",
            "no label",
        ],
    )
    def test_tables_of_an_absurd_shape(self, tmp_path: Path, content: str, words: list[str]) -> None:
        (tmp_path / "x.csv").write_text(content)
        refused(tmp_path / "x.csv", *words)

    def test_columns_that_agree_may_say_it_twice(self, images: Path) -> None:
        rows = [
            (path, path.removeprefix("images/").removesuffix(".png"), *rest, "NIH") for path, *rest in twenty_rows()
        ]
        text = "\n".join(",".join(row) for row in [("path", "image", "label", "patient", "split", "set"), *rows])
        (images / "twice.csv").write_text(text)
        assert_same_images(load(images / "twice.csv"), load(table(images / "once.csv", twenty_rows())))

    def test_more_lines_than_anybody_has(self, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("datasets.csv_rows.MAX_ROWS", 30)
        refused(table(images / "labels.csv", twenty_rows()), "has more than 30 lines")
        monkeypatch.setattr("datasets.csv_rows.MAX_TABLE_BYTES", 300)
        refused(images / "labels.csv", "has more than 300 bytes, expected a table")
        (images / "x.csv.gz").write_bytes(gzip.compress((images / "labels.csv").read_bytes()))
        refused(images / "x.csv.gz", "has more than 300 bytes, expected a table")
        monkeypatch.undo()
        (images / "x.csv.gz").write_bytes(gzip.compress((images / "labels.csv").read_bytes())[:-20])
        refused(images / "x.csv.gz", "is damaged, no whole gzip file (EOFError)")


class TestDicomFolder:
    """A folder of DICOM files, at any depth, with one table of labels by file name or id."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        files = {
            f"study{i // 5}/{i:03d}.dcm": content(
                make(image(i), bits=8, PatientID=f"SECRET-{i // 4}", PatientName="Doe")
            )
            for i in range(40)
        }
        table(write(tmp_path / "x", files) / "labels.csv", [(f"{i:03d}", (i // 4) % 2) for i in range(40)], "id,target")
        return tmp_path / "x"

    def test_patients_come_from_the_headers_and_leave_no_trace(self, folder: Path, tmp_path: Path) -> None:
        data = load(folder, cache=tmp_path / "cache")
        found = everything(data)
        for group in range(10):  # by whole patients
            names = [f"{i:03d}" for i in range(4 * group, 4 * group + 4)]
            assert len({found[name] for name in names}) == 1 and found[names[0]][1] == group % 2
        number = dict(zip(data.train.names, data.train.patients.tolist(), strict=True))
        assert len(set(number.values())) == len(number) / 4
        for name, pixels in zip(data.train.names, data.train.pixels, strict=True):
            np.testing.assert_array_equal(pixels, area_average(image(int(name)), height=SIZE, width=SIZE))
        assert_same_images(load(folder, cache=tmp_path / "cache"), data)  # from the cache, with another secret
        (entry,) = (tmp_path / "cache").iterdir()
        with np.load(entry) as arrays:
            assert set(arrays["people"].tolist()) == set(range(10))
            kept = b"".join(array.tobytes() for array in arrays.values()) + repr(data.report).encode()
        assert not [word for word in ("SECRET", "Doe") if word.encode() in kept or word.encode("utf-32-le") in kept]

    def test_the_tables_patients_win_over_the_headers(self, folder: Path) -> None:
        rows = [(f"{i:03d}", (i // 4) % 2, f"q{i}") for i in range(40)]
        data = load(table(folder / "labels.csv", rows, "id,target,patient").parent)
        assert len(set(data.train.patients.tolist())) == len(data.train)

    def test_one_id_for_all_is_no_id(self, folder: Path) -> None:
        for i, path in enumerate(sorted(folder.rglob("*.dcm"))):
            path.write_bytes(content(make(image(i), bits=8, PatientID="ANONYMOUS")))
        data = load(folder)
        notes = " ".join(data.report.notes)
        assert "All DICOM headers carry one patient id, as anonymised ones do" in notes
        assert "No patient is known" in notes
        for i, path in enumerate(sorted(folder.rglob("*.dcm"))):
            path.write_bytes(content(make(image(i), bits=8, PatientID=("ANON", "X")[i % 2])))
        said = "carry one patient id, as anonymised ones do, or several that name nobody: they were not used."
        assert said in " ".join(load(folder).report.notes)

    def test_files_without_pixels_are_left_out(self, folder: Path) -> None:
        ds = make(image(0), bits=8)
        del ds["PixelData"]
        (folder / "study0" / "000.dcm").write_bytes(content(ds))
        many = make(image(0), bits=8, NumberOfFrames=2)
        (folder / "study0" / "001.dcm").write_bytes(content(many))
        reasons = dict(load(folder).report.unreadable)
        assert "without pixels" in reasons["000"] and "has 2 frames" in reasons["001"]

    def test_an_ambiguous_name(self, folder: Path) -> None:
        shutil.copy(folder / "study0" / "000.dcm", folder / "study1" / "000.dcm")
        refused(folder, "names '000', which is")

    def test_a_codec_that_is_installed_later_is_noticed(
        self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        load(folder, cache=tmp_path / "cache")
        monkeypatch.setattr("datasets.cache.codec_versions", lambda: ["3.0.3", "2.1.0", None, None])
        load(folder, cache=tmp_path / "cache")
        assert len(list((tmp_path / "cache").iterdir())) == 2

    @pytest.mark.parametrize("name", ["contract/images/tiff.py", "contract/preprocess.py", "datasets/dicom.py"])
    def test_images_are_decoded_again_by_another_decoder(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file that an earlier version took may be refused by this one, and its pixels must not live on."""
        read, file = Path.read_bytes, REPOSITORY / name
        before = cache_key([], height=28, width=28)
        monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) + (b"#" if path.samefile(file) else b""))
        own_decoders.cache_clear()
        assert cache_key([], height=28, width=28) != before
        monkeypatch.undo()
        own_decoders.cache_clear()
        assert cache_key([], height=28, width=28) == before
