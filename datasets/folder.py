"""Read a folder: the public release unpacked, or any folder with one folder per class."""

import os
from pathlib import Path

from contract.errors import DataError
from datasets.labels import LabelRules
from datasets.layout import list_tree
from datasets.listing import Listing, file_state, read_file, shown


class FolderTree:
    """A folder on disk."""

    def __init__(self, root: Path) -> None:
        """Take the folder; nothing is listed yet."""
        self.root = root

    def children(self, folder: str) -> list[tuple[str, bool]]:
        """See Tree."""
        place = self.root / folder
        try:
            with os.scandir(place) as entries:
                return [(entry.name, entry.is_dir() and not _leads_back(entry)) for entry in entries]
        except OSError as err:
            raise DataError(
                f"{shown(str(place))}: cannot be listed ({err.strerror}); expected a readable folder."
            ) from err

    def state(self, name: str) -> tuple[int | str, ...]:
        """See Tree."""
        return file_state(self.root / name)

    def read(self, name: str) -> bytes:
        """See Tree."""
        return read_file(self.root / name, shown(name))


def _leads_back(entry: os.DirEntry[str]) -> bool:
    """Return whether a folder is a link to one that it lies in: looking into it would never end."""
    if not entry.is_symlink():
        return False
    here = Path(os.path.realpath(Path(entry.path).parent))
    return Path(os.path.realpath(entry.path)) in (here, *here.parents)


def list_folder(root: Path, *, rules: LabelRules) -> Listing:
    """List the images of a folder of class folders: {train,test[,val]}/{NORMAL,PNEUMONIA}, or two."""
    return list_tree(FolderTree(root), kind="folder", rules=rules)
