"""Read MedMNIST's 2-D .npz files, in any of their sizes, with their official splits, and others made like them.

Sets in colour are refused unless the user asks for their gray, which is that of a colour file (`luma`).

Two classes are pneumoniamnist's; of another set the user lists the classes, by the names that the set gives them or by
their numbers.

The file is a zip of arrays. Its directory and the arrays' headers are checked before an image is read, and pickled
objects, which would run code, are refused.

Source: Yang et al., "MedMNIST v2", Scientific Data 10, 41 (2023); the larger sizes are MedMNIST+.
"""

import threading
import zipfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from contract.errors import DataError
from contract.images.gray import luma
from contract.npz import MAX_UNPACKED_BYTES
from contract.table import join_names
from datasets.archive import checked_members, damaged, open_zip
from datasets.classes import ClassesError, NamedClasses
from datasets.labels import REST, Classes, LabelRules
from datasets.listing import Listing, XrayFile, file_state

_OTHERS = (  # MedMNIST's other sets; the binary ones of them mean something else by 0 and 1
    "path", "chest", "derma", "oct", "retina", "breast", "blood", "tissue", "organ", "organa", "organc", "organs",
    "nodule", "adrenal", "fracture", "vessel", "synapse",
)  # fmt: skip
_ORGANS = ("bladder", "femur-left", "femur-right", "heart", "kidney-left", "kidney-right", "liver", "lung-left",
           "lung-right", "pancreas", "spleen")  # fmt: skip
_NAMES = {  # of the classes of the 2-D sets with one label, by their numbers; medmnist/info.py
    "pneumoniamnist": ("normal", "pneumonia"),
    "breastmnist": ("malignant", "normal, benign"),
    "octmnist": ("choroidal neovascularization", "diabetic macular edema", "drusen", "normal"),
    "tissuemnist": ("Collecting Duct, Connecting Tubule", "Distal Convoluted Tubule", "Glomerular endothelial cells",
                    "Interstitial endothelial cells", "Leukocytes", "Podocytes", "Proximal Tubule Segments",
                    "Thick Ascending Limb"),
    **{f"organ{plane}mnist": _ORGANS for plane in "acs"},
    "pathmnist": ("adipose", "background", "debris", "lymphocytes", "mucus", "smooth muscle", "normal colon mucosa",
                  "cancer-associated stroma", "colorectal adenocarcinoma epithelium"),
    "dermamnist": ("actinic keratoses and intraepithelial carcinoma", "basal cell carcinoma",
                   "benign keratosis-like lesions", "dermatofibroma", "melanoma", "melanocytic nevi",
                   "vascular lesions"),
    "bloodmnist": ("basophil", "eosinophil", "erythroblast",
                   "immature granulocytes(myelocytes, metamyelocytes and promyelocytes)", "lymphocyte", "monocyte",
                   "neutrophil", "platelet"),
    "retinamnist": tuple("01234"),
}  # fmt: skip
COLOUR_NOTE = "Colour was made gray, (19595 R + 38470 G + 7471 B + 32768) >> 16: what only the colour says is lost."
SPLITS = ("train", "val", "test")
MAX_IMAGES = 1_000_000  # of a split; the largest MedMNIST set has a fifth of it
MAX_NUMBER = 999  # of a class
_MAX_HEADER = 10_000  # bytes of an array's description


def list_medmnist(path: Path, *, rules: LabelRules) -> Listing:
    """List the images of an .npz with {train,val,test}_images (N, h, w) uint8 and _labels (N, 1) 0..K-1.

    With the rule that colour becomes gray, images are (N, h, w, 3).

    Raises:
        DataError: it is another set of MedMNIST's and nothing says what its classes count as, the file is
            damaged, an array is missing, pickled or of another shape, or two arrays do not match.
    """
    with open_zip(path) as archive:
        unread = _unread(path, checked_members(archive, path))
    # First what no field can mend: advice about fields would only lead to it.
    names = [f"{split}_{kind}" for split in SPLITS for kind in ("images", "labels")]
    shapes = {name: _check_header(path, name, colour=rules.colour == "gray") for name in names}
    if rules.classes is None:
        classes = _classes(path, rules)
        meant: dict[int, int | None] = {label: int(classes.verdict([str(label)])) for label in (0, 1)}
        said = classes.note if rules.positive or rules.negative else ()
    else:
        meant, said = _named(path, NamedClasses(rules.classes))
    files, own = [], _set_of(path)
    for split in SPLITS:
        images, labels = shapes[f"{split}_images"], _labels(path, split, two=rules.classes is None)
        if images[0] != len(labels):
            raise DataError(
                f"{path}: has {images[0]} {split}_images but {len(labels)} {split}_labels, expected as many; "
                "fetch it again with `cxrflow data fetch pneumoniamnist`."
            )
        pixels = _Images(path, f"{split}_images")
        state = file_state(path)
        files += [
            XrayFile(f"{split}/{i:05d}", at, split, (), state, partial(pixels.read, i))
            for i, label in enumerate(labels)
            if (at := meant[int(label)]) is not None
        ]
    splits = "The file's own splits" if own is None else "MedMNIST's official splits"
    return Listing(
        path,
        path.name if own is None else f"MedMNIST {path.name}",
        tuple(files),
        splits=SPLITS,
        notes=(
            *said,
            *([COLOUR_NOTE] if rules.colour == "gray" else []),
            f"{splits} are used as they are; it does not say whether they share patients.",
            *unread,
        ),
    )


def _unread(path: Path, members: Iterable[str]) -> tuple[str, ...]:
    """Say which entries are not read. Raises DataError where numpy could read another one than we check."""
    arrays = Counter(member.removesuffix(".npy") for member in members)
    if twice := next((name for name, count in arrays.items() if count > 1), None):
        raise DataError(
            f"{path}: has {ascii(twice)[:60]} with and without the suffix .npy, expected one array of a name; do not "
            "trust this file, fetch the original one."
        )
    others = sorted(arrays.keys() - {f"{split}_{kind}" for split in SPLITS for kind in ("images", "labels")})
    if not others:
        return ()
    names = ", ".join(ascii(name)[1:-1][:60] for name in others[:6])
    more = f" and {len(others) - 6} more" if len(others) > 6 else ""
    return (f"Not read, because they are none of {', '.join(SPLITS)}: {names}{more}.",)


def _set_of(path: Path) -> str | None:
    """Return which set the file's name says it is; None: it says none."""
    name = "".join(filter(str.isalnum, path.stem.lower()))
    known = sorted((*_OTHERS, "pneumonia"), key=len, reverse=True)
    return next((f"{kind}mnist" for kind in known if f"{kind}mnist" in name), None)


def _named(path: Path, named: NamedClasses) -> tuple[dict[int, int | None], tuple[str, ...]]:
    """Return which of the user's classes each number in the file is, None where it is none, and sentences about it."""
    numbers = sorted({int(label) for split in SPLITS for label in np.unique(_labels(path, split, two=False))})
    own = dict(enumerate(_NAMES.get(_set_of(path) or "", ())))
    meant: dict[int, int | None] = {}
    for number in numbers:
        ways = (named.read([name], file="", place="").label for name in (own.get(number, ""), str(number)))
        meant[number] = next((label for label in ways if label is not None), None)
    missing = [name for label, name in enumerate(named.names) if label not in meant.values()]
    if missing:
        names = [own.get(number, str(number)) for number in numbers]
        how = f" ({_option(names)})" if any("," in name for name in names) else ""
        found = f"{path}: has no class {missing[0]!r}, which 'data.classes' lists; its classes are "
        found += join_names(names)[:400]
        raise ClassesError(found, f", so list these{how}.")
    said = ", ".join(
        f"{number} is {join_names([named.names[label]])}" for number, label in meant.items() if label is not None
    )
    others = [own.get(number, str(number)) for number, label in meant.items() if label is None]
    left = (
        (f"Images of classes that 'data.classes' does not list were left out: {join_names(others)}.",) if others else ()
    )
    return meant, (f"By the numbers in the file, {said}.", *left)


def _classes(path: Path, rules: LabelRules) -> Classes:
    """Return what 0 and 1 count as: NORMAL and PNEUMONIA, unless the user or the file's name says something else."""
    other = _set_of(path)
    if other not in (None, "pneumoniamnist") and rules.positive is None and rules.negative in (None, REST):
        own = _NAMES.get(other or "")
        listed = f"list its own classes, 'data.classes: {list(own)}' ({_option(own)}), " if own else ""
        only_two = own is None and all(_labels(path, split, two=False).max() <= 1 for split in SPLITS)
        two = "set 'data.positive' to the one, 0 or 1, that counts as PNEUMONIA, " if only_two else ""
        raise DataError(
            f"{path}: is MedMNIST's {other}, expected pneumoniamnist: 0 and 1 mean something else there; {listed}{two}"
            "or rename the file if it is no such set."
        )
    return Classes(dict.fromkeys(("0", "1"), "a label"), replace(rules, label=None), where=str(path))


def _option(names: Iterable[str]) -> str:
    """Return how the classes are listed on the command line, where a comma may be in a name."""
    return f'on the command line: --set "classes={list(names)}"'


class _Images:
    """One split's images, unpacked when the first is needed."""

    def __init__(self, path: Path, name: str) -> None:
        self._path, self._name = path, name
        self._lock = threading.Lock()
        self._pixels: NDArray[np.uint8] | None = None

    def read(self, i: int) -> NDArray[np.uint8]:
        """Return image i, (h, w), in gray."""
        with self._lock:
            if self._pixels is None:
                self._pixels = _array(self._path, self._name)
        return luma(self._pixels[i]) if self._pixels.ndim == 4 else self._pixels[i]


def _labels(path: Path, split: str, *, two: bool) -> NDArray[Any]:
    """Return the labels of a split, (N,) 0 or 1 if there have to be `two`, else from 0 to MAX_NUMBER."""
    labels = _array(path, f"{split}_labels").reshape(-1)
    if not two:
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) <= MAX_NUMBER:
            raise DataError(
                f"{path}: {split}_labels holds {int(labels.min())} to {int(labels.max())}, expected 0 to {MAX_NUMBER}; "
                "fetch the original file."
            )
        return labels.astype(np.int64)
    foreign = sorted(set(np.unique(labels).tolist()) - {0, 1})
    if foreign:
        raise DataError(
            f"{path}: {split}_labels holds {foreign[0]}, expected 0 (normal) and 1 (pneumonia) only; is it "
            "pneumoniamnist and not another MedMNIST set, whose classes 'data.classes' has to list?"
        )
    return labels


def _check_header(path: Path, name: str, *, colour: bool) -> tuple[int, ...]:
    """Return the shape of an array, after checking that it is what we read, without reading it."""
    kind, last = name.rsplit("_")[1], ", 3" if colour else ""
    wanted = f"uint8 of shape (N, h, w{last})" if kind == "images" else "integers of shape (N, 1)"
    try:
        with open_zip(path) as archive:
            names = archive.namelist()
            if f"{name}.npy" in names:
                shape, dtype = _read_header(archive, f"{name}.npy")
                unpacked = archive.getinfo(f"{name}.npy").file_size
    except DataError:
        raise
    except Exception as err:  # zipfile, zlib and numpy raise many kinds for damaged files
        raise damaged(path, err) from err
    if f"{name}.npy" not in names:
        found = ", ".join(ascii(n.removesuffix(".npy"))[1:-1] for n in names[:8])
        raise DataError(
            f"{path}: has no array {name}, found {found or 'none'}; expected MedMNIST's pneumoniamnist, so fetch it "
            "with `cxrflow data fetch pneumoniamnist`."
        )
    if dtype.hasobject:
        raise DataError(
            f"{path}: {name} holds pickled objects, which could run code and were not opened, expected {wanted}; "
            "fetch the original file."
        )
    of_images = len(shape) == 4 and shape[3] == 3 if colour else len(shape) == 3
    right = (of_images and dtype == np.uint8) if kind == "images" else (_is_column(shape) and dtype.kind in "uib")
    if not right or not all(0 < length <= MAX_IMAGES for length in shape):
        found = f"{dtype} of shape {shape}" if len(shape) < 9 else f"{dtype} of {len(shape)} dimensions"
        raise DataError(
            f"{path}: {name} is {found[:200]}, expected {wanted}, no axis above {MAX_IMAGES:,}; "
            f"{_why(kind, shape, colour=colour)}."
        )
    size = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if size > MAX_UNPACKED_BYTES or size > unpacked:
        raise DataError(
            f"{path}: {name} claims {size:,} bytes but holds {unpacked:,}, expected a whole array of at most "
            f"{MAX_UNPACKED_BYTES:,}; fetch the original file."
        )
    return shape


def _why(kind: str, shape: tuple[int, ...], *, colour: bool) -> str:
    """Say what an array of another shape probably is, and what to do."""
    if kind == "images" and len(shape) == 4 and 1 in (shape[1], shape[3]):
        return "take the axis of one channel away, as numpy.squeeze does"
    if kind == "images" and len(shape) == 4 and shape[3] == 3:
        how = "'data.colour: gray' (or --set colour=gray) makes gray of them"
        return f"the images are in colour, and a network here reads one gray value per pixel: {how}"
    if kind == "images" and len(shape) == 4:
        return "the images are volumes, so give one of MedMNIST's 2-D sets"
    if kind == "images" and len(shape) == 3 and colour:
        return "the images are gray already, so leave 'data.colour' out"
    if kind == "labels" and not _is_column(shape) and len(shape) == 2:
        return "an image has several labels at once, and a network here gives one class, so give another set"
    if kind == "labels" and _is_column(shape):
        return "write the labels as whole numbers, without an image that has none"
    return "fetch the original file"


def _is_column(shape: tuple[int, ...]) -> bool:
    return len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)


def _read_header(archive: zipfile.ZipFile, member: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    with archive.open(member) as stream:
        version = npy.read_magic(stream)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read(stream, max_header_size=_MAX_HEADER)
    return shape, dtype


def _array(path: Path, name: str) -> NDArray[Any]:
    """Unpack one array whose header was checked."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return arrays[name]  # type: ignore[no-any-return]
    except Exception as err:  # as above
        raise damaged(path, err) from err
