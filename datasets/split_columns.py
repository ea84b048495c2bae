"""Notice a column, or folders, that say train and test where no known column does: test images would be trained on.

Such a column is asked about and never guessed. It is known by what its cells say, or by its heading, such as `is_test`
over 0 and 1.
"""

import re
from collections.abc import Collection, Iterable, Sequence

from datasets.csv_rows import normal
from datasets.listing import SPLIT_NAMES

_MAX_CELLS = 200  # different ones of a column; more are no splits
_TRAIN = {"train", "training", "trn", "development", "learning"}
_HELD = {"dev", "eval", "evaluation", "heldout", "holdout", "test", "testing", "tst", "val", "valid", "validate",
         "validation"}  # fmt: skip
_SPLITS = _TRAIN | _HELD | set(SPLIT_NAMES)
_BESIDE = {"and", "only", "data", "dataset", "external", "fold", "image", "images", "internal", "official", "part",
           "partition", "private", "public", "sample", "set", "split", "subset"}  # fmt: skip
_ASKING = {"flag", "for", "in", "is", "use", "used"}  # in a heading, beside the name of a split
_ASSIGNS = {"partition", "split", "splits"}  # in a heading: whatever the cells are
_FLAGS = {"", "0", "1", "0.0", "1.0", "false", "true", "f", "t", "no", "yes", "n", "y", "x"}
_EMPTY = {"", "-", "n/a", "na", "nan", "none", "null"}


class SplitColumns:
    """The columns of a table that may be splits, by what all its lines say in them."""

    def __init__(self, heading: Sequence[str], known: Collection[int]) -> None:
        """Take the heading of a table; `known` are the positions of the columns whose meaning is known."""
        self._heading = heading
        self._cells: dict[int, set[str]] = {at: set() for at in range(len(heading)) if at not in known}

    def add(self, cells: Sequence[str]) -> None:
        """Look at the cells of one line."""
        for at in list(self._cells):
            if at < len(cells):
                seen = self._cells[at]
                seen.add(cells[at].strip().casefold()[:_MAX_CELLS])
                if len(seen) > _MAX_CELLS:
                    del self._cells[at]

    def found(self) -> str | None:
        """Return the heading of the first column that looks like splits; None: there is none."""
        return next((self._heading[at].strip() for at, cells in self._cells.items()
                     if _looks_like_split(self._heading[at], cells)), None)  # fmt: skip


def split_folders(paths: Iterable[str]) -> list[str] | None:
    """Return the folders of one depth of the paths that look like splits, of both sides; None: there are none."""
    depths: list[dict[str, str]] = []  # folders as they are written, by how they are compared
    for path in paths:
        for depth, name in enumerate(path.replace("\\", "/").split("/")[:-1]):
            if depth == len(depths):
                depths.append({})
            if len(depths[depth]) <= _MAX_CELLS:
                depths[depth].setdefault(name.casefold()[:_MAX_CELLS], name)
    return next((sorted(names.values()) for names in depths if _looks_like_split("folder", set(names))), None)


def _looks_like_split(heading: str, cells: set[str]) -> bool:
    """Return whether a column divides the lines by words for splits, or by a heading that is one."""
    if len(cells) < 2:
        return False
    words = set(normal(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", heading)).split("_"))
    if words & _ASSIGNS or (words & _SPLITS and words <= _SPLITS | _BESIDE | _ASKING and cells <= _FLAGS):
        return True
    kinds = [_kind(cell) for cell in cells - _EMPTY]
    return {"train", "held"} <= set(kinds) or (None not in kinds and kinds != [])


def _kind(cell: str) -> str | None:
    """Return whether a cell is a name for what is trained on, such as TRAIN_SET, or held out, such as PublicTest."""
    text = re.sub(r"(?:\b|_)hold[ _-]out", " holdout", re.sub(r"(?:\b|_)held[ _-]out", " heldout", cell))
    words = {word for word in re.split(r"[^a-z]+", text) if word}
    # Glued to a word beside it, as in publictest, or to another split, as in trainval.
    parts = {part for word in words for part in _parts(word)}
    if not parts & _SPLITS or not parts <= _SPLITS | _BESIDE:
        return None
    return "train" if parts & _TRAIN else "held"


def _parts(word: str) -> tuple[str, ...]:
    if word in _SPLITS | _BESIDE:
        return (word,)
    halves = ((word[:i], word[i:]) for i in range(2, len(word) - 1))
    return next((pair for pair in halves if {*pair} <= _SPLITS | _BESIDE), (word,))
