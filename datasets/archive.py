"""Read the release's zip where it lies: nothing is ever unpacked to disk, so no name in it can write anywhere.

A zip from the internet is hostile until checked. Everything in its directory is checked before any image is read;
reading is bounded by the sizes checked here, because zipfile stops at the size that the directory names.
"""

import stat
import zipfile
from dataclasses import replace
from pathlib import Path, PurePosixPath

from contract.errors import DataError, ImageError
from contract.preprocess import MAX_FILE_BYTES
from datasets.layout import is_clutter, list_tree
from datasets.listing import Listing, file_state, too_many_bytes

MAX_MEMBERS = 500_000
MAX_RATIO = 200  # unpacked to packed bytes of the whole archive; images hardly shrink
RATIO_FREE_BYTES = 256 << 20  # unpacked to less than this, any ratio is harmless
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class ZipTree:
    """A folder inside a zip."""

    def __init__(self, archive: zipfile.ZipFile, path: Path, members: dict[str, zipfile.ZipInfo], top: str) -> None:
        """Take the checked members, by name with "/", and the folder ("" or ending in "/") that is the root."""
        self.root = path / top
        self._archive, self._top = archive, top
        self._members = {name.removeprefix(top): info for name, info in members.items() if name.startswith(top)}
        self._children: dict[str, dict[str, bool]] = {}
        for name in self._members:
            parts = PurePosixPath(name).parts
            for depth, part in enumerate(parts):
                within = self._children.setdefault("/".join(parts[:depth]) or ".", {})
                within[part] = within.get(part, False) or depth < len(parts) - 1 or name.endswith("/")

    def children(self, folder: str) -> list[tuple[str, bool]]:
        """See Tree."""
        return list(self._children.get(folder, {}).items())

    def state(self, name: str) -> tuple[int | str, ...]:
        """See Tree."""
        info = self._members.get(name)
        return ("folder",) if info is None else (info.file_size, info.CRC)

    def read(self, name: str) -> bytes:
        """See Tree."""
        info = self._members.get(name)
        if info is None or info.is_dir():
            raise ImageError(f"{name}: is not a regular file; expected an image file.")
        if info.file_size > MAX_FILE_BYTES:
            raise too_many_bytes(name, info.file_size)
        try:
            return self._archive.read(info)
        except Exception as err:  # zipfile and zlib raise many kinds for damaged archives
            raise ImageError(f"{name}: is damaged inside the zip ({type(err).__name__}); fetch the zip again.") from err


def list_zip(path: Path, *, positive: str | None) -> Listing:
    """List the images of a zip that holds the release, or two class folders, at any depth.

    Args:
        path: the zip. The release's own zip holds everything twice; the copy nearest to the top is read.
        positive: which of two class folders is pneumonia, if their names do not say.

    Raises:
        DataError: the zip is damaged, encrypted or hostile, or has no such folders.
    """
    try:
        archive = zipfile.ZipFile(path)
    except Exception as err:  # as above
        raise damaged(path, err) from err
    try:
        members = _checked(archive, path)
        tree = ZipTree(archive, path, members, _find_top(members))
        listing = list_tree(tree, kind="zip", positive=positive)
    except BaseException:
        archive.close()
        raise
    ignored = sum(not (name.endswith("/") or _is_hidden(name)) for name in members) - len(listing.files)
    notes = (f"{ignored} files elsewhere in the zip, such as a second copy, were not read.",) if ignored else ()
    return replace(listing, source=f"zip {path.name}", notes=(*listing.notes, *notes), close=archive.close)


def damaged(path: Path, err: Exception) -> DataError:
    """Return the error for what starts like a zip and is none."""
    return DataError(
        f"{path}: is cut short or damaged, no whole zip or .npz file ({type(err).__name__}); fetch it again."
    )


def _checked(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    """Return all members by name, after looking for everything that a zip should not hold."""
    members: dict[str, zipfile.ZipInfo] = {}
    infos = archive.infolist()
    if len(infos) > MAX_MEMBERS:
        raise DataError(f"{path}: holds {len(infos):,} entries, expected at most {MAX_MEMBERS:,}; use another zip.")
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
        members[info.filename] = info
    size = file_state(path)[0]
    packed, unpacked = (sum(getattr(info, key) for info in infos) for key in ("compress_size", "file_size"))
    if packed > size or (unpacked > RATIO_FREE_BYTES and unpacked > MAX_RATIO * size):
        raise DataError(
            f"{path}: claims to unpack from {size:,} to {unpacked:,} bytes, expected images, which hardly shrink; do "
            "not trust this zip, fetch the original one."
        )
    return members


def _problem(info: zipfile.ZipInfo) -> str:
    """Return why an entry is refused, or nothing."""
    name = info.filename
    if name.startswith("/") or "\\" in name or ":" in name.split("/")[0] or {"", ".", ".."} & set(_parts(name)):
        return "has a path that leads elsewhere"
    if not name.isprintable():
        return "has a name that cannot be printed"
    if info.flag_bits & 0x1:
        return "is encrypted"
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device"
    if info.compress_type not in _METHODS:
        return "is packed by an uncommon method"
    return ""


def _parts(name: str) -> list[str]:
    return name.removesuffix("/").split("/")


def _is_hidden(name: str) -> bool:
    return any(is_clutter(part) for part in _parts(name))


def _find_top(members: dict[str, zipfile.ZipInfo]) -> str:
    """Return the folder, "" or ending in "/", that holds train and test, or else the first that holds several things.

    Of two such folders the one nearest to the top, then the first by name: the release's zip has its copy one deeper.
    """
    inside: dict[str, set[str]] = {}
    for name in members:
        if _is_hidden(name):
            continue
        parts = _parts(name)
        for depth, part in enumerate(parts):
            if depth < len(parts) - 1 or name.endswith("/"):  # folders only
                inside.setdefault("".join(f"{p}/" for p in parts[:depth]), set()).add(part)
    tops = [top for top, names in inside.items() if {"train", "test"} <= {name.lower() for name in names}]
    if tops:
        return min(tops, key=lambda top: (top.count("/"), top))
    top = ""
    while len(inside.get(top, ())) == 1:
        deeper = f"{top}{next(iter(inside[top]))}/"
        if deeper not in inside:
            break
        top = deeper
    return top
