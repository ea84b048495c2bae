"""Read the release's zip where it lies: nothing is ever unpacked to disk, so no name in it can write anywhere.

A zip from the internet is hostile until checked. The size of its directory is checked before zipfile turns it into
objects, and everything in it before any image is read; reading is bounded by the sizes checked here, because zipfile
stops at the size that the directory names.
"""

import re
import stat
import zipfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from contract.errors import DataError, ImageError
from contract.preprocess import MAX_FILE_BYTES
from datasets.labels import LabelRules
from datasets.layout import HIDDEN, MAX_DEPTH, folders, is_clutter, list_tree
from datasets.listing import SPLIT_NAMES, Listing, shown, too_many_bytes
from datasets.table import is_table_name
from datasets.xray import CLASS_NAMES

MAX_MEMBERS = 250_000  # ChestX-ray14 has 112,120 images; to list as many again takes seconds
MAX_DIRECTORY_BYTES = 128 << 20  # of all entries' names and sizes
MAX_NAME = 1000  # characters of a path
_ZIP64_END = 76  # bytes between the directory and its end record in a zip64 file
_ENTRY = b"PK\1\2"  # begins every entry of the directory
MAX_RATIO = 200  # unpacked to packed bytes of the whole archive; images hardly shrink
RATIO_FREE_BYTES = 256 << 20  # unpacked to less than this, any ratio is harmless
_ELSEWHERE = re.compile(r"^[^/]*:|(?:^|/)\.{0,2}(?:/|$)")  # a drive, an empty name, . or ..
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_OTHERS = {9: "Deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 95: "XZ", 98: "PPMd"}  # methods by number


class ZipTree:
    """A folder inside a zip."""

    def __init__(self, archive: zipfile.ZipFile, path: Path, members: dict[str, zipfile.ZipInfo]) -> None:
        """Take the checked members, by name with "/". The root is the zip itself until `enter`."""
        self.root = path
        self._archive, self._members, self._top = archive, members, ""
        self._children: dict[str, dict[str, bool]] = {"": {}}
        for name in members:
            folder, _, base = name.removesuffix("/").rpartition("/")
            within = self._add_folder(folder)
            within[base] = within.get(base, False) or name.endswith("/")

    def _add_folder(self, folder: str) -> dict[str, bool]:
        """Return what lies directly in a folder, which is added, with those that it lies in, if it is new."""
        found = self._children.get(folder)
        if found is None:
            found = self._children[folder] = {}
            above, _, base = folder.rpartition("/")
            self._add_folder(above)[base] = True
        return found

    def enter(self) -> str:
        """Make the folder that holds train and test the root, else the first that holds several things; return it.

        Of two such folders the one nearest to the top, then the first by name: the release's zip has its copy one
        deeper. Raises DataError where another one is elsewhere and is no copy: it would be left out unseen.
        """
        tops = [
            top
            for top, names in self._children.items()
            if not _is_hidden(top)
            and top.rpartition("/")[2].upper() not in CLASS_NAMES  # splits in a class: refused by `list_tree`
            and {"train", "test"} <= {SPLIT_NAMES.get(name.lower()) for name in names}
        ]
        top = min(tops, key=lambda top: (top.count("/"), bool(top), top), default=None)
        if top is None:
            top = ""
            while len(inside := folders(self, top or ".")) == 1:
                deeper = f"{top}/{inside[0]}".removeprefix("/")
                if not folders(self, deeper):
                    break
                top = deeper
        for other in tops:
            if not f"{other}/".startswith(f"{top}/" if top else "") and self._held(other) != self._held(top):
                raise DataError(
                    f"{self.root}: holds two sets of X-rays, {shown(top)} and {shown(other)}, expected one; unpack it "
                    "and point at one of them."
                )
        self._top = f"{top}/" if top else ""
        self.root = self.root / top
        return self._top

    def _held(self, top: str) -> set[tuple[str, int, int]]:
        """Return the files below a folder and what tells their contents apart."""
        return {
            (name.removeprefix(top), info.file_size, info.CRC)
            for name, info in self._members.items()
            if name.startswith(f"{top}/") and not info.is_dir()
        }

    def _inside(self, path: str) -> str:
        return self._top.removesuffix("/") if path == "." else f"{self._top}{path}"

    def children(self, folder: str) -> list[tuple[str, bool]]:
        """See Tree."""
        return list(self._children.get(self._inside(folder), {}).items())

    def state(self, name: str) -> tuple[int | str, ...]:
        """See Tree."""
        info = self._members.get(self._inside(name))
        return ("folder",) if info is None else (info.file_size, info.CRC)

    def read(self, name: str) -> bytes:
        """See Tree."""
        info = self._members.get(self._inside(name))
        if info is None or info.is_dir():
            raise ImageError(f"{name}: is not a regular file; expected an image file.")
        if info.file_size > MAX_FILE_BYTES:
            raise too_many_bytes(name, info.file_size)
        try:
            return self._archive.read(info)
        except Exception as err:  # zipfile and zlib raise many kinds for damaged archives
            raise ImageError(f"{name}: is damaged inside the zip ({type(err).__name__}); fetch the zip again.") from err


def open_zip(path: Path) -> zipfile.ZipFile:
    """Open a zip of any kind, after checking that its directory is of a sane size.

    Raises:
        DataError: it is damaged, or its directory would take gigabytes.
    """
    try:
        with path.open("rb") as stream:
            end = zipfile._EndRecData(stream)  # type: ignore[attr-defined]  # what ZipFile itself goes by
            size, at = (end[zipfile._ECD_SIZE], end[zipfile._ECD_LOCATION]) if end else (0, 0)  # type: ignore[attr-defined]
            stream.seek(max(0, at - size - _ZIP64_END))
            count = stream.read(size + _ZIP64_END).count(_ENTRY) if size <= MAX_DIRECTORY_BYTES else 0
        if size <= MAX_DIRECTORY_BYTES and count <= MAX_MEMBERS:
            return zipfile.ZipFile(path)
    except UnicodeDecodeError as err:
        raise DataError(
            f"{path}: names an entry in a way that is no UTF-8, expected plain names; do not trust this zip, fetch the "
            "original one."
        ) from err
    except Exception as err:  # zipfile and zlib raise many kinds for damaged files
        raise damaged(path, err) from err
    found = f"{count:,} entries" if size <= MAX_DIRECTORY_BYTES else f"a directory of {size:,} bytes"
    raise DataError(
        f"{path}: holds {found}, expected at most {MAX_MEMBERS:,} entries in {MAX_DIRECTORY_BYTES:,} bytes; use "
        "another zip."
    )


def list_zip(path: Path, *, rules: LabelRules) -> Listing:
    """List the images of a zip that holds the release, or two class folders, at any depth.

    Args:
        path: the zip. The release's own zip holds everything twice; the copy nearest to the top is read.
        rules: how class names are read.

    Raises:
        DataError: the zip is damaged, encrypted or hostile, or has no such folders.
    """
    archive = open_zip(path)
    try:
        members = checked_members(archive, path)
        tree = ZipTree(archive, path, members)
        top = tree.enter()
        listing = _list(tree, members, rules)
    except BaseException:
        archive.close()
        raise
    left_out = {why: list(names) for why, names in listing.left_out.items()}
    for name in members:
        if not (name.endswith("/") or name.startswith(top)):
            why = HIDDEN if _is_hidden(name) else "elsewhere in the zip, such as a second copy"
            left_out.setdefault(why, []).append(name)
    return replace(listing, source=f"zip {shown(path.name)}", left_out=left_out, close=archive.close)


def _list(tree: ZipTree, members: Iterable[str], rules: LabelRules) -> Listing:
    """List what is in class folders; where there are none, say that a table in a zip is not read."""
    try:
        return list_tree(tree, kind="zip", rules=rules)
    except DataError as err:
        tables = sorted(name for name in members if is_table_name(name) and not _is_hidden(name))
        if not tables:
            raise
        names = ", ".join(map(shown, tables[:4]))
        raise DataError(
            f"{err} A table in a zip is not read: if it names the images, unpack the zip and give the table ({names})."
        ) from err


def damaged(path: Path, err: Exception) -> DataError:
    """Return the error for what starts like a zip and is none."""
    return DataError(
        f"{path}: is cut short or damaged, no whole zip or .npz file ({type(err).__name__}); fetch it again."
    )


def checked_members(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    """Return all members by name, after looking for everything that a zip should not hold."""
    members: dict[str, zipfile.ZipInfo] = {}
    infos = archive.infolist()
    for info in infos:
        problem = _problem(info)
        if info.filename in members:
            problem = "occurs twice"
        if problem:
            name = ascii(info.filename)[:100]
            raise DataError(
                f"{path}: its entry {name} {problem}, expected plain folders and files; do not trust this zip, "
                "fetch the original one."
            )
        if unusual := _unusual(info):
            raise DataError(f"{path}: its entry {ascii(info.filename)[:100]} {unusual}; pack it again.")
        members[info.filename] = info
    size = path.stat().st_size
    packed, unpacked = (sum(getattr(info, key) for info in infos) for key in ("compress_size", "file_size"))
    if packed > size or (unpacked > RATIO_FREE_BYTES and unpacked > MAX_RATIO * size):
        raise DataError(
            f"{path}: claims to unpack from {size:,} to {unpacked:,} bytes, expected images, which hardly shrink; do "
            "not trust this zip, fetch the original one."
        )
    return members


def _problem(info: zipfile.ZipInfo) -> str:
    """Return why an entry is refused, or nothing."""
    name = info.filename.replace("\\", "/")  # where some Windows tools would unpack it to
    if len(name) > MAX_NAME or name.count("/") > MAX_DEPTH:  # before it is taken apart
        return f"has a path of {len(name):,} characters in {name.count('/'):,} folders"
    if _ELSEWHERE.search(name.removesuffix("/")):
        return "has a path that leads elsewhere"
    if not name.isprintable():
        return "has a name that cannot be printed"
    if info.flag_bits & 0x1:
        return "is encrypted"
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device"
    return ""


def _unusual(info: zipfile.ZipInfo) -> str:
    """Return why an entry that does no harm is not read, or nothing."""
    if "\\" in info.filename:
        return "has backslashes in its path, as some Windows tools write it, expected slashes between folders"
    if info.compress_type not in _METHODS:
        number = info.compress_type
        return f"is packed by {_OTHERS.get(number, 'an uncommon method')} (method {number}), expected deflate or none"
    return ""


def _is_hidden(name: str) -> bool:
    return any(map(is_clutter, name.removesuffix("/").split("/"))) if name else False
