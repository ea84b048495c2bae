"""Tell split and class from the names of folders: the public release's layout, or two folders, one per class.

The release's 16-image `val` is too small to choose anything by, so it joins `train`, and validation patients are
drawn from both.
"""

import difflib
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Protocol

from contract.errors import DataError
from datasets.listing import Listing, XrayFile, class_note, two_classes
from datasets.xray import CLASS_NAMES

_SPLITS = {"train": "train", "val": "train", "test": "test"}  # folder -> the split that its images join
_CLUTTER = ("thumbs.db", "desktop.ini", "__macosx")  # what file managers leave behind; names with a leading dot too


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


def is_release(tree: Tree) -> bool:
    """Return whether a tree is laid out, or meant to be, like the release."""
    return any(name.lower() in ("train", "test") for name in folders(tree)) or len(folders(tree)) != 2


def list_tree(tree: Tree, *, kind: str, positive: str | None) -> Listing:
    """List a tree in either layout. `kind` says what the tree is, such as "folder"."""
    source = f"{kind} {tree.root.name or tree.root}"
    if is_release(tree):
        return Listing(tree.root, source, tuple(_release_files(tree)), splits=("train", "test"))
    labels = two_classes(folders(tree), positive, where=str(tree.root))
    files = [file for name, label in labels.items() for file in _class_files(tree, name, None, label)]
    return Listing(tree.root, source, tuple(files), notes=class_note(labels))


def _release_files(tree: Tree) -> list[XrayFile]:
    """List {train,test[,val]}/{NORMAL,PNEUMONIA}/*."""
    splits: dict[str, str] = {}
    for name in folders(tree):
        if name.lower() in _SPLITS:
            _add_once(tree, splits, name.lower(), name)
    for required in ("train", "test"):
        if required not in splits:
            found = ", ".join(folders(tree)) or "no folders"
            raise DataError(
                f"{tree.root}: has no folder {required!r}, found {found}; point at the folder that holds train and "
                "test, at one with a folder per class, or at a table of paths and labels."
            )
    files = []
    for split, folder in splits.items():
        classes: dict[str, str] = {}
        for name in folders(tree, folder):
            _add_once(tree, classes, _class_name(tree.root / folder / name), f"{folder}/{name}")
        for class_name, class_folder in classes.items():
            files += _class_files(tree, class_folder, _SPLITS[split], CLASS_NAMES.index(class_name))
    return files


def _class_files(tree: Tree, folder: str, split: str | None, label: int) -> list[XrayFile]:
    """List whatever lies in a class folder; what is no image will be reported as unreadable."""
    names = [f"{folder}/{name}" for name, _ in tree.children(folder) if not is_clutter(name)]
    return [XrayFile(name, label, split, None, tree.state(name), partial(tree.read, name)) for name in names]


def _class_name(folder: Path) -> str:
    """Return the class that a folder stands for."""
    name = folder.name.upper()
    if name in CLASS_NAMES:
        return name
    near = difflib.get_close_matches(name, CLASS_NAMES, n=1)
    advice = f"did you mean {near[0]}?" if near else "rename or remove it."
    raise DataError(f"{folder}: is no class folder, expected {' or '.join(CLASS_NAMES)}; {advice}")


def _add_once(tree: Tree, known: dict[str, str], key: str, folder: str) -> None:
    """Add a folder under its canonical name; train and Train side by side are a mistake."""
    if key in known:
        raise DataError(
            f"{tree.root / folder}: means the same as {PurePosixPath(known[key]).name} beside it; "
            "expected one of them, so merge them."
        )
    known[key] = folder
