"""Read a folder: the public release unpacked, or any folder with one folder per class."""

import os
from pathlib import Path

from contract.errors import DataError
from datasets.layout import list_tree
from datasets.listing import Listing, file_state, read_file


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
                return [(entry.name, entry.is_dir()) for entry in entries]
        except OSError as err:
            raise DataError(f"{place}: cannot be listed ({err.strerror}); expected a readable folder.") from err

    def state(self, name: str) -> tuple[int | str, ...]:
        """See Tree."""
        return file_state(self.root / name)

    def read(self, name: str) -> bytes:
        """See Tree."""
        return read_file(self.root / name, name)


def list_folder(root: Path, *, positive: str | None) -> Listing:
    """List the images of a folder of class folders.

    Args:
        root: holds {train,test[,val]}/{NORMAL,PNEUMONIA}, or two class folders.
        positive: which of the two class folders is pneumonia, if their names do not say.
    """
    return list_tree(FolderTree(root), kind="folder", positive=positive)
