"""Tell split and class from the names of folders: the public release's layout, or two folders, one per class.

The release's 16-image `val` is too small to choose anything by, so it joins `train`, and validation patients are
drawn from both. It is known by its 16 file names; any other validation folder is used as it is.

Whatever lies in a tree and is not read is counted, with a reason: a folder that was overlooked looks like a data set
that is smaller than it is.
"""

import difflib
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Protocol

from contract.errors import DataError, ImageError
from datasets.classes import NamedClasses, Reading, settle_named
from datasets.labels import Classes, Found, LabelRules, says_nothing, says_uncertain, settle
from datasets.listing import SPLIT_NAMES, Listing, XrayFile, shown
from datasets.split_columns import split_folders
from datasets.xray import CLASS_NAMES

MAX_ENTRIES = 3_000_000  # files and folders of a tree
MAX_DEPTH = 32  # folders within each other
HIDDEN = "hidden, or left behind by a file manager"
_CLUTTER = ("thumbs.db", "desktop.ini", "__macosx")  # what file managers leave behind; names with a leading dot too
_RELEASE_VAL = {  # the release's validation images, without suffix
    "NORMAL": {f"NORMAL2-IM-{i}-0001" for i in (1427, 1430, 1431, 1436, 1437, 1438, 1440, 1442)},
    "PNEUMONIA": {
        f"person{person}_bacteria_{i}"
        for person, i in ((1946, 4874), (1946, 4875), (1947, 4876), (1949, 4880),
                          (1950, 4881), (1951, 4882), (1952, 4883), (1954, 4886))
    },
}  # fmt: skip


class Tree(Protocol):
    """Folders and files, wherever they are. A folder is its path with "/", relative to the root, which is "."."""

    root: Path  # for messages

    def children(self, folder: str) -> list[tuple[str, bool]]:
        """Return (name, whether it is a folder) of what lies directly in a folder, in any order. Raises DataError."""

    def state(self, name: str) -> tuple[int | str, ...]:
        """Return what changes when the content of this file does."""

    def read(self, name: str) -> bytes:
        """Return the content of a file. Raises ImageError, OSError."""


def is_clutter(name: str) -> bool:
    """Return whether a file or folder of this name was left behind by a file manager."""
    return name.startswith(".") or name.lower() in _CLUTTER


def folders(tree: Tree, folder: str = ".") -> list[str]:
    """Return the names of the visible folders in a folder, sorted."""
    return sorted(name for name, is_folder in tree.children(folder) if is_folder and not is_clutter(name))


def walk(tree: Tree, folder: str = ".") -> Iterator[str]:
    """Yield every file below a folder, hidden ones too, by its path from the root; a folder at MAX_DEPTH as a file.

    Raises:
        DataError: there are more than MAX_ENTRIES files and folders.
    """
    waiting, seen = [folder], 0
    while waiting:
        here = waiting.pop()
        try:
            children = sorted(tree.children(here))
        except DataError:  # not ours to read; loading would have said so
            children = []
        for name, is_folder in children:
            seen += 1
            if seen > MAX_ENTRIES:
                raise DataError(
                    f"{tree.root}: holds more than {MAX_ENTRIES:,} files and folders, expected X-rays; point at a "
                    "folder that holds nothing else."
                )
            path = name if here == "." else f"{here}/{name}"
            if is_folder and path.count("/") < MAX_DEPTH:
                waiting.append(path)
            else:
                yield path


def is_release(tree: Tree, rules: LabelRules) -> bool:
    """Return whether a tree is laid out, or meant to be, like the release; two folders are not, nor are several classes
    of which the user says what they count as.
    """
    names = folders(tree)
    if any(name.lower() in SPLIT_NAMES for name in names):
        return True
    return len(names) != 2 and not (len(names) > 2 and _said(rules))


def _said(rules: LabelRules) -> bool:
    """Return whether the user says what classes count as: then they need not have our names."""
    named = rules.positive is not None or rules.negative is not None or rules.classes is not None
    return named or (rules.blank, rules.uncertain) != ("refuse", "refuse")


def list_tree(tree: Tree, *, kind: str, rules: LabelRules) -> Listing:
    """List a tree in either layout. `kind` says what the tree is, such as "folder"."""
    source = f"{kind} {shown(tree.root.name or str(tree.root))}"
    if is_release(tree, rules):
        files, kept, splits, notes = _release_files(tree, rules)
        return Listing(tree.root, source, tuple(kept), splits, notes, _left_out(tree, files, splits=True))
    return _two_classes(tree, source, rules)


def _two_classes(tree: Tree, source: str, rules: LabelRules) -> Listing:
    """List folders that are classes, two or, where the user says what they count as, more."""
    names = folders(tree)
    if splits := split_folders(f"{name}/" for name in names):
        raise DataError(
            f"{shown(str(tree.root))}: its folders look like splits, {' and '.join(map(shown, splits[:4]))}, expected "
            "them to be called train and test, with a folder per class in each; rename them."
        )
    for name in names:
        inside = folders(tree, name)
        if inside and all(split.lower() in SPLIT_NAMES for split in inside):
            raise DataError(
                f"{shown(str(tree.root / name))}: is a class with splits in it ({shown(inside[0])}), expected splits "
                f"with classes in them, such as {inside[0]}/{shown(name)}; move the folders."
            )
    class_folders: list[tuple[str, str, str | None]] = [(name, name, None) for name in names]
    files, kept, notes = _judged(tree, class_folders, rules)
    _require_images(tree, class_folders, kept)
    return Listing(tree.root, source, tuple(kept), notes=notes, left_out=_left_out(tree, files, splits=False))


def _judged(
    tree: Tree, class_folders: list[tuple[str, str, str | None]], rules: LabelRules
) -> tuple[list[XrayFile], list[XrayFile], tuple[str, ...]]:
    """Read class folders, (path, class, split) each; return their files, those of them that count, and notes."""
    where = str(tree.root)
    if rules.classes is not None:
        return _named(tree, class_folders, rules, NamedClasses(rules.classes))
    places: dict[str, str] = {}
    for path, name, _ in class_folders:
        places.setdefault(name, f"the folder {path!r}")
    classes = Classes(places, rules, where=where)
    files: list[XrayFile] = []
    found: list[Found] = []
    for path, name, split in class_folders:
        here = _class_files(tree, path, split, 0)
        files += here
        found += [Found(classes.verdict([name]), f"the folder {path!r}", name)] * len(here)
    labels, notes = settle(found, rules, where=where)
    kept = [replace(file, label=label) for file, label in zip(files, labels, strict=True) if label is not None]
    return files, kept, (*classes.note, *notes)


def _named(
    tree: Tree, class_folders: list[tuple[str, str, str | None]], rules: LabelRules, named: NamedClasses
) -> tuple[list[XrayFile], list[XrayFile], tuple[str, ...]]:
    """Do the same where the user has named the classes: the names of files may divide a folder."""
    files: list[XrayFile] = []
    found: list[Reading] = []
    for path, name, split in class_folders:
        here = _class_files(tree, path, split, 0)
        files += here
        found += [named.read([name], file=file.name, place=shown(file.name)) for file in here]
    labels, notes = settle_named(found, rules, where=str(tree.root))
    kept = [replace(file, label=label) for file, label in zip(files, labels, strict=True) if label is not None]
    return files, kept, (*named.note, *notes)


def _release_files(
    tree: Tree, rules: LabelRules
) -> tuple[list[XrayFile], list[XrayFile], tuple[str, ...], tuple[str, ...]]:
    """List {train[,test][,val]}/CLASS/*; return the files, those of them that count, the splits that they have, notes.

    The classes are NORMAL and PNEUMONIA, or those that the user says.
    """
    places: dict[str, str] = {}
    for name in folders(tree):
        if name.lower() in SPLIT_NAMES:
            _add_once(tree, places, SPLIT_NAMES[name.lower()], name)
    # A missing test split is drawn, unless some other folder may be the one that was meant.
    own = {name for name in folders(tree) if name.lower() not in SPLIT_NAMES}
    for required in ("train", "test") if own else ("train",):
        if required not in places:
            names = [shown(name)[:80] for name in folders(tree)]
            more = f" and {len(names) - 8:,} more" if len(names) > 8 else ""
            found = ", ".join(names[:8]) + more or "no folders"
            several = (
                ", with 'data.positive' and 'data.negative' set to the two that count or 'data.classes' to all that do,"
                if len(names) > 2
                else ""
            )
            several = "" if places else several
            raise DataError(
                f"{tree.root}: has no folder {required!r}, found {found}; point at the folder that holds train and "
                f"test, at one with a folder per class{several or ','} or at a table of paths and labels."
            )
    class_folders: list[tuple[str, str, str | None]] = []
    notes: tuple[str, ...] = ()
    for split, folder in places.items():
        classes: dict[str, str] = {}
        for name in folders(tree, folder):
            known = name if _said(rules) else _class_name(tree.root / folder / name)
            _add_once(tree, classes, known, f"{folder}/{name}")
        joins = split == "val" and folder.lower() == "val" and _is_release_val(tree, classes)
        if joins:
            notes = ("The release's own 16 validation images are too few to choose by: they join the training images.",)
        class_folders += [(path, name, "train" if joins else split) for name, path in classes.items()]
    if _said(rules):
        files, kept, said = _judged(tree, class_folders, rules)
    else:
        files = [file for path, name, split in class_folders
                 for file in _class_files(tree, path, split, CLASS_NAMES.index(name))]  # fmt: skip
        kept, said = files, ()
    _require_images(tree, class_folders, kept)
    found_splits = {file.split for file in kept} | {"train"} | ({"test"} & places.keys())
    splits = tuple(split for split in ("train", "val", "test") if split in found_splits)
    return files, kept, splits, (*said, *notes)


def _is_release_val(tree: Tree, classes: dict[str, str]) -> bool:
    """Return whether the class folders of `val` hold the release's 16 images and nothing else."""
    held = {
        class_name.upper(): sorted(
            PurePosixPath(name).stem for name, _ in tree.children(folder) if not is_clutter(name)
        )
        for class_name, folder in classes.items()
    }
    return held == {class_name: sorted(stems) for class_name, stems in _RELEASE_VAL.items()}


def _class_files(tree: Tree, folder: str, split: str | None, label: int) -> list[XrayFile]:
    """List whatever lies in a class folder; what is no image will be reported as unreadable."""
    files = []
    for name, is_folder in tree.children(folder):
        if is_clutter(name):
            continue
        path = f"{folder}/{name}"
        read = partial(_refuse_folder, tree, path) if is_folder else partial(tree.read, path)
        files.append(XrayFile(shown(path), label, split, (), tree.state(path), read))
    return files


def _require_images(tree: Tree, class_folders: list[tuple[str, str, str | None]], kept: list[XrayFile]) -> None:
    """Stop at a class that counts and holds folders only, such as one per patient: it has not so many images."""
    counted = {file.name.rpartition("/")[0] for file in kept}
    for path, _, _ in class_folders:
        children = sorted((name, is_folder) for name, is_folder in tree.children(path) if not is_clutter(name))
        if shown(path) in counted and all(is_folder for _, is_folder in children):
            raise DataError(
                f"{shown(str(tree.root / path))}: holds folders and no image beside them ({len(children):,}, the first "
                f"is {shown(children[0][0])!r}); expected images in a class folder, so move them up, or give a "
                "table of paths, labels and patients."
            )


def _refuse_folder(tree: Tree, path: str) -> bytes:
    held = sum(1 for _ in walk(tree, path))
    raise ImageError(
        f"{shown(path)}: is a folder, expected an image file; its {held:,} files were not read, so move them into "
        "the class folder that they belong to."
    )


def _left_out(tree: Tree, files: list[XrayFile], *, splits: bool) -> dict[str, list[str]]:
    """Return what lies in the tree and was not listed, hidden files included, by the reason."""
    listed = {file.name for file in files}
    kinds: dict[str, list[str]] = {}
    for path in walk(tree):
        parts = path.split("/")
        if shown(path) in listed or shown("/".join(parts[: 3 if splits else 2])) in listed:
            continue  # the latter is in a folder that will be reported as unreadable, with its files
        if any(map(is_clutter, parts)):
            why = HIDDEN
        elif splits and len(parts) > 1 and parts[0].lower() not in SPLIT_NAMES:
            why = f"in the folder {shown(parts[0])!r}, which is none of train, val and test"
        else:
            why = "outside the class folders"
        kinds.setdefault(why, []).append(path)
    return kinds


def _class_name(folder: Path) -> str:
    """Return the class that a folder stands for."""
    name = folder.name.upper()
    if name in CLASS_NAMES:
        return name
    near = difflib.get_close_matches(name, CLASS_NAMES, n=1)
    if near:
        advice = f"did you mean {near[0]}?"
    elif says_nothing(name) or says_uncertain(name):
        field = "uncertain" if says_uncertain(name) else "blank"
        advice = f"rename or remove it, or set 'data.{field}' to drop, negative or positive."
    else:
        advice = (
            "rename or remove it, or set 'data.positive' and 'data.negative' to the folders that count, or "
            "'data.classes' to all that do."
        )
    raise DataError(f"{shown(str(folder))}: is no class folder, expected {' or '.join(CLASS_NAMES)}; {advice}")


def _add_once(tree: Tree, known: dict[str, str], key: str, folder: str) -> None:
    """Add a folder under its canonical name; train and Train side by side are a mistake."""
    if key in known:
        raise DataError(
            f"{shown(str(tree.root / folder))}: means the same as {shown(PurePosixPath(known[key]).name)} beside it; "
            "expected one of them, so merge them."
        )
    known[key] = folder
