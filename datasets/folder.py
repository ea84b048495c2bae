"""Read chest X-rays from folders laid out like the public release: {train,test[,val]}/{NORMAL,PNEUMONIA}/*.

The release's 16-image `val` is too small to choose anything by, so it joins `train`, and validation patients are
drawn from both. Damaged images are common in copies of this data: they are left out, by name, and reported.
"""

import difflib
import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contract.errors import DataError, ImageError
from contract.preprocess import load_pixels
from datasets import cache as pixel_cache
from datasets.cache import Decoded
from datasets.patients import group_images
from datasets.split import validation_mask
from datasets.xray import CLASS_NAMES, Split, XrayData, fingerprint, make_report

Progress = Callable[[int, int], None]  # images done, images in all

_SPLITS = {"train": "train", "val": "train", "test": "test"}  # folder -> the split that its images join
_CLUTTER = ("thumbs.db", "desktop.ini", "__macosx")  # what file managers leave behind; names with a leading dot too
_MAX_UNREADABLE = 0.5  # above this share, the images are not the ones the user thinks they are


@dataclass(frozen=True)
class _File:
    name: str  # relative to the root, with "/"
    path: Path
    split: str  # train or test
    label: int


def load_folder(
    root: Path,
    *,
    height: int,
    width: int,
    val_fraction: float,
    seed: int,
    strict: bool,
    cache: Path | None,
    progress: Progress | None = None,
) -> XrayData:
    """Read a release folder.

    Args:
        root: the folder that holds train and test.
        height, width: size of the images [pixel].
        val_fraction: share of the training images, by whole patients, that becomes validation.
        seed: chooses the validation patients.
        strict: the first unreadable image is an error, instead of being left out and reported.
        cache: folder for decoded images; None decodes every time.
        progress: called after each decoded image, not called on a cache hit.
    """
    files = _find_files(root)
    decoded = _decode_all(files, height, width, cache, progress)
    unreadable = _check_readable(root, files, decoded.problems, strict=strict)
    good = [i for i, problem in enumerate(decoded.problems) if not problem]
    files = [files[i] for i in good]
    _check_classes(root, files)
    contents = [decoded.contents[i] for i in good]

    patients, duplicates = group_images([file.name for file in files], contents, decoded.pixels[good])
    labels = np.array([file.label for file in files], dtype=np.int64)
    every = Split(decoded.pixels[good], labels, patients, tuple(file.name for file in files))
    in_test = np.array([file.split == "test" for file in files])
    rest, test = every.take(~in_test), every.take(in_test)
    in_val = validation_mask(rest.labels, rest.patients, val_fraction=val_fraction, seed=seed)
    train, val = rest.take(~in_val), rest.take(in_val)
    return XrayData(
        train=train,
        val=val,
        test=test,
        fingerprint=fingerprint(
            (file.split, CLASS_NAMES[file.label], content) for file, content in zip(files, contents, strict=True)
        ),
        source=f"folder {root.name or root}",
        report=make_report(train, val, test, duplicates=duplicates, unreadable=unreadable),
    )


def _find_files(root: Path) -> list[_File]:
    """List the image files, sorted by name so that the split does not depend on the file system."""
    if not root.is_dir():
        found = "is not a folder" if root.exists() else "does not exist"
        raise DataError(
            f"{root}: {found}; expected a folder with train/NORMAL, train/PNEUMONIA and the same under test."
        )
    splits: dict[str, Path] = {}
    for folder in _visible_folders(root):
        if folder.name.lower() in _SPLITS:
            _add_once(splits, folder.name.lower(), folder)
    for required in ("train", "test"):
        if required not in splits:
            found = ", ".join(folder.name for folder in _visible_folders(root)) or "no folders"
            raise DataError(
                f"{root}: has no folder {required!r}, found {found}; point at the folder that holds train and test."
            )
    files = [file for name, folder in splits.items() for file in _split_files(root, _SPLITS[name], folder)]
    _check_classes(root, files)
    return sorted(files, key=lambda file: file.name)


def _split_files(root: Path, split: str, folder: Path) -> Iterator[_File]:
    """Yield the files of one split's class folders."""
    classes: dict[str, Path] = {}
    for class_folder in _visible_folders(folder):
        _add_once(classes, _class_name(class_folder), class_folder)
    for class_name, class_folder in classes.items():
        for path in _visible(class_folder):
            yield _File(path.relative_to(root).as_posix(), path, split, CLASS_NAMES.index(class_name))


def _class_name(folder: Path) -> str:
    """Return the class that a folder stands for."""
    name = folder.name.upper()
    if name in CLASS_NAMES:
        return name
    near = difflib.get_close_matches(name, CLASS_NAMES, n=1)
    advice = f"did you mean {near[0]}?" if near else "rename or remove it."
    raise DataError(f"{folder}: is no class folder, expected {' or '.join(CLASS_NAMES)}; {advice}")


def _add_once(folders: dict[str, Path], key: str, folder: Path) -> None:
    """Add a folder under its canonical name; train and Train side by side are a mistake."""
    if key in folders:
        raise DataError(
            f"{folder}: means the same as {folders[key].name} beside it; expected one of them, so merge them."
        )
    folders[key] = folder


def _visible(folder: Path) -> list[Path]:
    """List a folder without hidden files, sorted."""
    try:
        paths = sorted(folder.iterdir())
    except OSError as err:
        raise DataError(f"{folder}: cannot be listed ({err.strerror}); expected a readable folder.") from err
    return [path for path in paths if not path.name.startswith(".") and path.name.lower() not in _CLUTTER]


def _visible_folders(folder: Path) -> list[Path]:
    return [path for path in _visible(folder) if path.is_dir()]


def _check_classes(root: Path, files: list[_File]) -> None:
    """Stop unless train and test hold images of both classes."""
    for split in ("train", "test"):
        for label, class_name in enumerate(CLASS_NAMES):
            if not any(file.split == split and file.label == label for file in files):
                raise DataError(
                    f"{root / split / class_name}: holds no usable image; expected images of both classes, "
                    f"{' and '.join(CLASS_NAMES)}, in train and in test."
                )


def _check_readable(
    root: Path, files: list[_File], problems: tuple[str, ...], *, strict: bool
) -> tuple[tuple[str, str], ...]:
    """Return (name, reason) of the unreadable images, unless they are an error."""
    bad = [(file.name, problem) for file, problem in zip(files, problems, strict=True) if problem]
    if bad and strict:
        raise ImageError(f"{bad[0][0]}: {bad[0][1]}")
    if len(bad) > _MAX_UNREADABLE * len(files):
        raise DataError(
            f"{root}: {len(bad)} of {len(files)} images are unreadable, more than half; check the folder, "
            f"starting with {bad[0][0]}: {bad[0][1]}"
        )
    return tuple(bad)


def _decode_all(files: list[_File], height: int, width: int, cache: Path | None, progress: Progress | None) -> Decoded:
    """Take the images from the cache, or decode them and fill it."""
    if cache is None:
        return _decode(files, height, width, progress)
    key = pixel_cache.cache_key([(file.name, file.path) for file in files], height=height, width=width)
    decoded = pixel_cache.load(cache, key, count=len(files), height=height, width=width)
    if decoded is None:
        decoded = _decode(files, height, width, progress)
        pixel_cache.store(cache, key, decoded)
    return decoded


def _decode(files: list[_File], height: int, width: int, progress: Progress | None) -> Decoded:
    """Decode in threads: Pillow releases the interpreter while it works."""
    pixels = np.zeros((len(files), height, width), dtype=np.uint8)
    contents, problems = [], []
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        for i, (image, content, problem) in enumerate(pool.map(lambda file: _decode_one(file, height, width), files)):
            if image is not None:
                pixels[i] = image
            contents.append(content)
            problems.append(problem)
            if progress is not None:
                progress(i + 1, len(files))
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C stops after the images under way, not after all
    return Decoded(pixels, tuple(contents), tuple(problems))


def _decode_one(file: _File, height: int, width: int) -> tuple[NDArray[np.uint8] | None, str, str]:
    """Return pixels (H, W), sha256 of the file bytes [hex], and why the image is unreadable (empty if it is not)."""
    try:
        pixels = load_pixels(file.path, height=height, width=width, name=file.name)
        with file.path.open("rb") as stream:
            return pixels, hashlib.file_digest(stream, "sha256").hexdigest(), ""
    except ImageError as err:
        return None, "", str(err).removeprefix(f"{file.name}: ")
    except OSError as err:
        return None, "", f"vanished while it was read ({err.strerror})."
