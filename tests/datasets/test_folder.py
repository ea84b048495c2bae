"""Small release folders, built here, with everything that goes wrong in real ones."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from contract.errors import CxrflowError, DataError, ImageError
from contract.preprocess import load_pixels
from datasets.source import load_xrays
from datasets.xray import XrayData
from tests.datasets.made import png, write
from tests.datasets.same import assert_same_images

SIZE = 8


def load(root: Path, **changes: Any) -> XrayData:
    options = {"height": SIZE, "width": SIZE, "val_fraction": 0.25, "seed": 0, "strict": False, "cache": None}
    return load_xrays(root, **{**options, **changes})


def write_image(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 16), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """12 patients with 2 images each per class in train, 3 single images per class in test, and the release's val.

    Of val, the patients IM 1427 and person 1946 have images in train, too.
    """
    root = tmp_path / "release"
    for i in range(24):
        write_image(root / f"train/NORMAL/IM-{i // 2 or 1427:04d}-{i:04d}.png", i)
        write_image(root / f"train/PNEUMONIA/person{i // 2 or 1946}_virus_{i}.png", 100 + i)
    for i in range(3):
        write_image(root / f"test/NORMAL/NORMAL2-IM-{900 + i}-0001.png", 200 + i)
        write_image(root / f"test/PNEUMONIA/person{900 + i}_bacteria_1.png", 300 + i)
    for i, number in enumerate((1427, 1430, 1431, 1436, 1437, 1438, 1440, 1442)):
        write_image(root / f"val/NORMAL/NORMAL2-IM-{number}-0001.png", 400 + i)
    for i, name in enumerate(
        (
            "1946_bacteria_4874",
            "1946_bacteria_4875",
            "1947_bacteria_4876",
            "1949_bacteria_4880",
            "1950_bacteria_4881",
            "1951_bacteria_4882",
            "1952_bacteria_4883",
            "1954_bacteria_4886",
        )
    ):
        write_image(root / f"val/PNEUMONIA/person{name}.png", 500 + i)
    return root


def assert_same(a: XrayData, b: XrayData) -> None:
    assert_same_images(a, b)
    assert a.report == b.report


class TestContent:
    def test_every_image_is_where_its_name_says(self, release: Path) -> None:
        data = load(release)
        assert (len(data.train) + len(data.val), len(data.test)) == (64, 6)
        for split in (data.train, data.val, data.test):
            for name, label, pixels in zip(split.names, split.labels, split.pixels, strict=True):
                assert data.class_names[label] == name.split("/")[1]
                np.testing.assert_array_equal(pixels, load_pixels(release / name, height=SIZE, width=SIZE))
        assert {name.split("/")[0] for name in data.train.names + data.val.names} == {"train", "val"}
        assert {name.split("/")[0] for name in data.test.names} == {"test"}

    def test_no_patient_and_no_copy_is_on_both_sides(self, release: Path) -> None:
        shutil.copy(release / "train/NORMAL/IM-0001-0002.png", release / "train/NORMAL/copy.png")
        same_pixels = release / "train/PNEUMONIA/person5_virus_10.png"
        with Image.open(same_pixels) as image:
            image.save(release / "train/PNEUMONIA/other.bmp")
        shutil.copy(release / "test/NORMAL/NORMAL2-IM-900-0001.png", release / "train/NORMAL/leak.png")
        expected = {
            ("train/NORMAL/IM-0001-0002.png", "train/NORMAL/copy.png"),
            ("train/PNEUMONIA/other.bmp", "train/PNEUMONIA/person5_virus_10.png"),
            ("test/NORMAL/NORMAL2-IM-900-0001.png", "train/NORMAL/leak.png"),
        }
        for seed in range(4):
            data = load(release, seed=seed)
            assert not set(data.train.patients) & set(data.val.patients)
            assert data.report.train_val_patient_overlap == 0 and data.report.patients_in_train_and_test == 1
            assert set(data.report.duplicates) == expected
            group = {
                name: number
                for split in (data.train, data.val, data.test)
                for name, number in zip(split.names, split.patients.tolist(), strict=True)
            }
            assert all(group[a] == group[b] for a, b in expected)
            assert group["val/NORMAL/NORMAL2-IM-1427-0001.png"] == group["train/NORMAL/IM-1427-0000.png"]

    def test_report_counts_and_is_json(self, release: Path) -> None:
        data = load(release)
        report = json.loads(json.dumps(data.report.to_dict()))
        assert report["counts"]["test"] == {"NORMAL": 3, "PNEUMONIA": 3}
        assert sum(report["counts"][split]["NORMAL"] for split in ("train", "val")) == 32

    def test_clutter_is_ignored_and_case_does_not_matter(self, release: Path) -> None:
        expected = load(release)
        (release / "train/NORMAL").rename(release / "train/Normal")
        (release / "test").rename(release / "Test")
        for name in (".DS_Store", "Thumbs.db"):
            (release / "train/Normal" / name).write_bytes(b"x")
        (release / "__MACOSX").mkdir()
        (release / "train/README.txt").write_text("hello")
        data = load(release)
        assert data.report.unreadable == () and data.fingerprint == expected.fingerprint


class TestSplits:
    """A folder that a person would take for a split must not disappear, nor join another one, in silence."""

    def source(self, root: Path, val: str, count: int = 6, zipped: bool = False) -> Path:
        """Make train, test and `val`, with `count` images of each class in `val`."""
        for k, (split, images) in enumerate((("Train", 12), ("TEST", 4), (val, count))):
            for i in range(images):
                write_image(root / f"{split}/NORMAL/n{k}-{i}.png", 100 * k + i)
                write_image(root / f"{split}/PNEUMONIA/p{k}-{i}.png", 100 * k + 50 + i)
        if not zipped:
            return root
        return Path(shutil.make_archive(str(root), "zip", root.parent, root.name))

    @pytest.mark.parametrize("zipped", [False, True])
    @pytest.mark.parametrize("val", ["val", "valid", "Validation", "VALIDATE", "Dev"])
    def test_own_validation_images_are_used(self, tmp_path: Path, val: str, zipped: bool) -> None:
        source = self.source(tmp_path / "x", val, zipped=zipped)
        data, other = load(source), load(source, seed=9, val_fraction=0.4)
        assert {name.split("/")[0] for name in data.val.names} == {val} and len(data.val) == 12
        assert (len(data.train), len(data.test)) == (24, 8) and data.val.names == other.val.names
        note = "The source's own 12 validation images are used; val_fraction and seed change nothing."
        assert note in data.report.notes and not data.report.warnings

    @pytest.mark.parametrize("zipped", [False, True])
    def test_a_folder_that_is_no_known_split_is_named(self, tmp_path: Path, zipped: bool) -> None:
        data = load(self.source(tmp_path / "x", "holdout", zipped=zipped))
        (warning,) = data.report.warnings
        assert warning.startswith("12 files were not read: 12 in the folder 'holdout', which is none of train, val and")
        assert len(data.train) + len(data.val) == 24 and warning in data.report.notes

    @pytest.mark.parametrize("zipped", [False, True])
    @pytest.mark.parametrize("val", [True, False])
    def test_a_missing_test_split_is_set_aside(self, tmp_path: Path, val: bool, zipped: bool) -> None:
        source = self.source(tmp_path / "x", "val")
        for name in ("TEST", *(() if val else ("val",))):
            shutil.rmtree(source / name)
        source = Path(shutil.make_archive(str(source), "zip", source.parent, source.name)) if zipped else source
        data, other = load(source), load(source, seed=9, val_fraction=0.4)
        assert len(data.test) == 4 and data.test.names == other.test.names and set(data.test.labels.tolist()) == {0, 1}
        assert not val or {name.split("/")[0] for name in data.val.names} == {"val"}
        assert len(data.train) + len(data.val) + len(data.test) == (36 if val else 24)
        assert "The source has no test split: 4 images" in " ".join(data.report.notes)

    def test_two_folders_for_one_split(self, tmp_path: Path) -> None:
        source = self.source(tmp_path / "x", "val")
        shutil.copytree(source / "val", source / "valid")
        with pytest.raises(DataError, match=r"valid: means the same as val beside it"):
            load(source)

    @pytest.mark.parametrize("change", ["renamed", "one more", "one less", "called valid", "in another class"])
    def test_only_the_releases_own_16_images_join_training(self, release: Path, change: str) -> None:
        assert "own 16 validation images are too few" in " ".join(load(release).report.notes)
        first = release / "val/NORMAL/NORMAL2-IM-1427-0001.png"
        match change:
            case "renamed":
                first.rename(first.with_name("NORMAL2-IM-1428-0001.png"))
            case "one more":
                write_image(release / "val/NORMAL/x.png", 900)
            case "one less":
                first.unlink()
            case "called valid":
                (release / "val").rename(release / "valid")
            case "in another class":
                first.rename(release / "val/PNEUMONIA" / first.name)
        data = load(release)
        assert {name.split("/")[0] for name in data.train.names} == {"train"}
        assert {name.split("/")[0] for name in data.val.names} <= {"val", "valid"} and len(data.val) in (15, 16, 17)

    def test_whatever_is_not_read_is_counted(self, release: Path, tmp_path: Path) -> None:
        for name in ("README.txt", "train/list.csv", "train/.hidden/a/b.png", "Thumbs.db", "extra/deep/er/x.png"):
            (release / name).parent.mkdir(parents=True, exist_ok=True)
            (release / name).write_bytes(b"x")
        for i in range(7):
            (release / f"train/NORMAL/P001/{i // 3}").mkdir(parents=True, exist_ok=True)
            (release / f"train/NORMAL/P001/{i // 3}/{i}.png").write_bytes(b"x")
        (release / "train/NORMAL/back").symlink_to(release, target_is_directory=True)
        zipped = Path(shutil.make_archive(str(tmp_path / "x"), "zip", release))
        for source in (release, zipped):
            data = load(source)
            note = next(note for note in data.report.notes if "not read" in note)
            assert note.startswith("5 files were not read: ")
            for words in ("2 hidden", "2 outside the class folders", "1 in the folder 'extra', which is none of"):
                assert words in note
            reasons = dict(data.report.unreadable)
            assert "is a folder, expected an image file; its 7 files were not read" in reasons["train/NORMAL/P001"]

    def test_names_that_are_no_text(self, tmp_path: Path) -> None:
        source = self.source(tmp_path / "x", "val")
        (source / "val/NORMAL/n2-0.png").rename(source / os.fsdecode(b"val/NORMAL/\xff\xfe.png"))
        (source / "val/NORMAL/n2-1.png").rename(source / "val/NORMAL/\x1b[31m.png")
        (source / "Train/NORMAL/\udcffbad\n.png").write_bytes(b"x")
        data = load(source, cache=tmp_path / "cache")
        assert {r"val/NORMAL/\udcff\udcfe.png", r"val/NORMAL/\x1b[31m.png"} <= set(data.val.names)
        ((name, reason),) = data.report.unreadable
        assert name == r"Train/NORMAL/\udcffbad\n.png" and reason.startswith("is not a JPEG")
        assert json.dumps(data.report.to_dict()).encode()


class TestFingerprint:
    def test_order_time_and_name_do_not_matter(self, release: Path) -> None:
        before = load(release)
        os.utime(release / "train/NORMAL/IM-0003-0006.png", (1, 1))
        (release / "train/NORMAL/IM-0003-0006.png").rename(release / "train/NORMAL/a.png")
        assert load(release, seed=1).fingerprint == before.fingerprint

    def test_content_class_and_split_matter(self, release: Path) -> None:
        seen = {load(release).fingerprint}
        write_image(release / "train/NORMAL/IM-0003-0006.png", 999)
        seen.add(load(release).fingerprint)
        shutil.move(release / "train/NORMAL/IM-0003-0006.png", release / "train/PNEUMONIA/IM-0003-0006.png")
        seen.add(load(release).fingerprint)
        shutil.move(release / "train/PNEUMONIA/IM-0003-0006.png", release / "test/PNEUMONIA/IM-0003-0006.png")
        seen.add(load(release).fingerprint)
        assert len(seen) == 4


class TestBadImages:
    def test_are_left_out_by_name(self, release: Path) -> None:
        (release / "train/NORMAL/empty.jpeg").touch()
        (release / "train/NORMAL/folder").mkdir()
        write_image(release / "test/NORMAL/tiny.png", 0)
        Image.new("L", (3, 3)).save(release / "test/NORMAL/tiny.png")
        data = load(release)
        assert len(data.train) + len(data.val) == 64 and len(data.test) == 6
        reasons = dict(data.report.unreadable)
        assert set(reasons) == {"train/NORMAL/empty.jpeg", "train/NORMAL/folder", "test/NORMAL/tiny.png"}
        assert "3 x 3 pixels" in reasons["test/NORMAL/tiny.png"] and "tiny.png" not in reasons["test/NORMAL/tiny.png"]

    def test_strict_stops_at_the_first(self, release: Path, tmp_path: Path) -> None:
        (release / "train/NORMAL/empty.jpeg").touch()
        for cache in (None, tmp_path / "cache", tmp_path / "cache"):
            with pytest.raises(ImageError, match=r"^train/NORMAL/empty\.jpeg: is not a JPEG"):
                load(release, strict=True, cache=cache)

    def test_more_than_half_is_an_error(self, release: Path) -> None:
        for i in range(80):
            (release / f"train/NORMAL/x{i}.jpeg").touch()
        with pytest.raises(DataError, match=r"80 of 150 images are unreadable, more than half"):
            load(release)

    def test_a_class_without_a_readable_image(self, release: Path) -> None:
        for path in (release / "test/NORMAL").iterdir():
            path.write_bytes(b"")
        with pytest.raises(DataError, match=r"test/NORMAL: holds no usable image"):
            load(release)


class TestLayout:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda r: shutil.rmtree(r), "does not exist; expected a folder with train/NORMAL"),
            (lambda r: (shutil.rmtree(r), r.touch()), "is empty; expected a folder"),  # type: ignore[func-returns-value]
            (lambda r: shutil.rmtree(r / "train"), "has no folder 'train', found test, val"),
            (lambda r: (r / "test").rename(r / "holdout"), "has no folder 'test', found holdout, train, val"),
            (lambda r: (shutil.rmtree(r), r.mkdir()), "has no folder 'train', found no folders"),  # type: ignore[func-returns-value]
            (lambda r: (r / "train/PNEUMONIA").rename(r / "train/PNEUMONA"), "PNEUMONA: is no class .*mean PNEUMONIA"),
            (lambda r: (r / "test/NORMAL").rename(r / "test/NORMALS"), "NORMALS: is no class .*mean NORMAL"),
            (lambda r: (r / "train/COVID").mkdir(), "COVID: is no class folder, expected NORMAL or PNEUMONIA; rename"),
            (lambda r: (r / "train/normal").mkdir(), "means the same as NORMAL"),
            (lambda r: shutil.rmtree(r / "train/NORMAL") or shutil.rmtree(r / "val"), "train/NORMAL: holds no usable"),  # type: ignore[func-returns-value]
            (lambda r: [path.unlink() for path in (r / "test/PNEUMONIA").iterdir()], "test/PNEUMONIA: holds no"),
        ],
        ids=[
            "no root", "file as root", "no train", "no test", "empty", "PNEUMONA", "NORMALS", "COVID", "twice",
            "one class", "empty class",
        ],
    )  # fmt: skip
    def test_error_names_the_folder_and_the_fix(self, release: Path, change: Any, message: str) -> None:
        change(release)
        with pytest.raises(DataError, match=message) as caught:
            load(release)
        assert "\n" not in str(caught.value)


class TestCache:
    def test_a_hit_equals_a_miss_and_decodes_nothing(self, release: Path, tmp_path: Path) -> None:
        (release / "train/NORMAL/empty.jpeg").touch()
        calls: list[tuple[int, int]] = []
        options = {"cache": tmp_path / "cache", "progress": lambda done, total: calls.append((done, total))}
        plain, miss = load(release), load(release, **options)
        assert calls[-1] == (71, 71) and len(calls) == 71
        hit = load(release, **options)
        assert len(calls) == 71
        assert_same(plain, miss)
        assert_same(miss, hit)
        assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".npz"]

    def test_size_and_changed_files_make_new_entries(self, release: Path, tmp_path: Path) -> None:
        cache = tmp_path / "cache"
        load(release, cache=cache)
        assert load(release, cache=cache, height=4).train.pixels.shape[1:] == (4, SIZE)
        write_image(release / "train/NORMAL/IM-0003-0006.png", 999)
        assert_same(load(release, cache=cache), load(release))
        assert len(list(cache.iterdir())) == 3

    def test_two_folders_of_the_same_names_sizes_and_times_are_two(self, tmp_path: Path) -> None:
        """As unpacked archives have them, whose times are one constant, with images that are not compressed."""
        data = []
        for at, name in enumerate("ab"):
            folder = write(
                tmp_path / name,
                {f"{kind}/{i}.bmp": png(1000 * at + i, "BMP") for i, kind in enumerate(20 * ["NORMAL", "PNEUMONIA"])},
            )
            for path in folder.glob("*/*"):
                os.utime(path, (315532800, 315532800))
            data.append((load(folder, cache=tmp_path / "cache"), load(folder)))
        for cached, fresh in data:
            assert_same(cached, fresh)
        assert data[0][0].fingerprint != data[1][0].fingerprint

    @pytest.mark.parametrize("damage", ["empty", "cut", "bit", "pickle", "shape"])
    def test_a_damaged_entry_is_rebuilt(self, release: Path, tmp_path: Path, damage: str) -> None:
        cache = tmp_path / "cache"
        expected = load(release, cache=cache)
        (entry,) = cache.iterdir()
        content = bytearray(entry.read_bytes())
        if damage == "empty":
            content = bytearray()
        elif damage == "cut":
            content = content[:-100]
        elif damage == "bit":
            content[1000] ^= 1
        entry.write_bytes(content)
        if damage == "pickle":
            np.savez(entry, pixels=np.array([{}]), contents=np.array([{}]), problems=np.array([{}]))
        elif damage == "shape":
            texts = np.array([""] * 70)
            np.savez(entry, pixels=np.zeros((70, 2, 3), np.uint8), contents=texts, problems=texts)
        assert_same(load(release, cache=cache), expected)
        calls: list[int] = []
        load(release, cache=cache, progress=lambda done, _: calls.append(done))
        assert not calls

    def test_a_cache_that_cannot_be_written(self, release: Path, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(CxrflowError, match=r"cache folder .* cannot be written"):
            load(release, cache=tmp_path / "file")


def test_the_real_release(real_xrays: Path, tmp_path: Path) -> None:
    data = load(real_xrays, height=28, width=28, val_fraction=0.125, strict=True, cache=tmp_path)
    counts = data.report.counts
    assert data.fingerprint == "b31b52659ed9e2ecd01f9d6ffbba45d5af593b20781f28f4a705ae012d888d7f"
    assert hashlib.sha256("\n".join(data.val.names).encode()).hexdigest()[:16] == "7d76e30cd99f5c03"
    assert data.report.notes == ()
    assert len(data.train) + len(data.val) == 5216
    assert (counts["train"]["NORMAL"] + counts["val"]["NORMAL"], counts["test"]) == (
        1341,
        {"NORMAL": 234, "PNEUMONIA": 390},
    )
    assert sum(len(group) - 1 for group in data.report.duplicates) >= 30
    assert data.report.train_val_patient_overlap == 0 and not set(data.train.patients) & set(data.val.patients)
