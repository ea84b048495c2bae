"""Notice a column, or folders, that say train and test where no known column does: test images would be trained on.

Such a column is asked about and never guessed. It is known by what its cells say, word by word, or by its heading, such
as `is_test` over 0 and 1. Names of files that say so are told: they may be chance.
"""

import unicodedata
from collections.abc import Collection, Iterable, Sequence

from datasets.headings import halves, words
from datasets.listing import SPLIT_NAMES

_MAX_CELLS = 200  # different ones of a column; more are no splits
_FEW = 10  # different cells of a column in which the name of one split makes the others splits, too
_MAX_WORDS = 3  # between blanks; more are a text
_TRAIN = {"apprentissage", "development", "discovery", "entrainement", "entrenamiento", "internal",
          "learning", "seen", "train", "training", "treinamento", "treino", "trn"}  # fmt: skip
_HELD = {"blind", "dev", "eval", "evaluation", "external", "heldout", "holdout", "locked", "prueba",
         "reserved", "sequestered", "test", "teste", "testing", "tst", "unseen", "val", "valid",
         "validacao", "validacion", "validate", "validation"}  # fmt: skip
_SPLITS = _TRAIN | _HELD | set(SPLIT_NAMES)
_SURE = {"entrenamiento", "eval", "evaluation", "external", "heldout", "holdout", "locked", "reserved",
         "sequestered", "test", "testing", "train", "training", "treinamento", "treino", "unseen",
         "validacao", "validacion", "validation"}  # fmt: skip # "valid" may be no split
_SHORT = {"tr": "train", "te": "held", "ts": "held", "va": "held", "vl": "held"}  # where all cells are like this
_BESIDE = {"and", "data", "dataset", "fold", "image", "images", "official", "only", "part", "partition",
           "private", "public", "sample", "set", "split", "subset"}  # fmt: skip
_ASKING = {"exclude", "excluded", "flag", "for", "from", "in", "include", "included", "is", "or", "use",
           "used", "vs"}  # fmt: skip # in a heading, beside the name of a split
_USES = {"data", "dataset", "for", "image", "images", "usage", "use", "used"}  # a heading of these words alone
_LETTERS = {"d", "e", "h", "t", "v"}  # for train and test, val, dev, eval and holdout: where all cells are like this
_ASSIGNS = {"fold", "folds", "kfold", "partition", "split", "splits"}  # in a heading: whatever the cells are
_SETS = {"dataset", "set", "subset"}  # in a heading that names a split, whatever else: ConsensusTestset
_BOARD = {"private", "public"}  # the parts of a competition's test images, and of the sector of hospitals
_BOARDS = {"competition", "folder", "lb", "leaderboard", "round"}
_COHORTS = {"cohort", "cohorts"}
_FLAGS = {"", "0", "0.0", "1", "1.0", "f", "false", "n", "no", "t", "true", "x", "y", "yes"}
_EMPTY = {"", "-", "n/a", "na", "nan", "none", "null"}


class SplitColumns:
    """The columns of a table that may be splits, by what all its lines say in them."""

    def __init__(self, heading: Sequence[str], known: Collection[int]) -> None:
        """Take the heading of a table; `known` are the positions of the columns whose meaning is known."""
        self._heading = heading
        self._cells: dict[int, dict[str, str]] = {at: {} for at in range(len(heading)) if at not in known}

    @property
    def positions(self) -> tuple[int, ...]:
        """The columns that are looked at."""
        return tuple(self._cells)

    def add(self, cells: Sequence[str]) -> None:
        """Look at the cells of one line."""
        for at in list(self._cells):
            if at < len(cells):
                seen, cell = self._cells[at], cells[at].strip()[:_MAX_CELLS]
                seen.setdefault(cell.casefold(), cell)
                if len(seen) > _MAX_CELLS:
                    del self._cells[at]

    def cohorts(self) -> tuple[str, ...]:
        """Return sentences on columns that divide the lines by what may be, and may not be, splits."""
        return tuple(
            f"Column {self._heading[at].strip()[:80]!r} ({', '.join(sorted(cell[:40] for cell in cells.values()))}) "
            "divides the images and is not read: if a part of them is for testing, say so in a column 'split'."
            for at, cells in self._cells.items()
            if _COHORTS & {*words(self._heading[at])} and 1 < len(cells) <= _FEW
        )

    def found(self) -> str | None:
        """Return the heading of the first column that looks like splits; None: there is none."""
        return next((self._heading[at].strip() for at, cells in self._cells.items()
                     if _looks_like_split(self._heading[at], cells)), None)  # fmt: skip


def split_folders(paths: Iterable[str]) -> list[str] | None:
    """Return the folders of one depth of the paths that look like splits, of both sides; None: there are none."""
    depths: list[dict[str, str]] = []  # folders as they are written, by how they are compared
    ends = set[int]()
    for path in paths:
        folders = path.replace("\\", "/").split("/")[:-1]
        ends.add(len(folders))
        for depth, name in enumerate(folders):
            if depth == len(depths):
                depths.append({})
            if len(depths[depth]) <= _MAX_CELLS:
                depths[depth].setdefault(name.casefold()[:_MAX_CELLS], name)
    for names in depths[min(ends, default=0) :]:  # some paths end before
        names.setdefault("", "")
    return next((sorted(filter(None, names.values())) for names in depths if _looks_like_split("folder", names)), None)


def split_names(paths: Iterable[str]) -> tuple[str, str] | None:
    """Return two files whose names say that one is for training and one held out; None: no names do."""
    first: dict[str, str] = {}
    for path in paths:
        name = path.replace("\\", "/").rpartition("/")[2]
        if (kind := _kind(name.rpartition(".")[0] or name)) is not None and kind not in first:
            first[kind] = path
            if len(first) == 2:
                return first["train"], first["held"]
    return None


def _looks_like_split(heading: str, found: dict[str, str]) -> bool:
    """Return whether a column divides the lines by words for splits, or by a heading that is one.

    Args:
        heading: what the column is called.
        found: its different cells, in lower case and as they are written.
    """
    if len(found) < 2:
        return False
    named = _parts(heading)
    surely = bool(named & _SURE & _HELD - {"test", "testing"})  # the others may be tests of something
    numbers = all(map(str.isdigit, found)) and len(found) <= (_FEW if surely else 2)
    codes = found.keys() <= _FLAGS or numbers
    asks = named & _SPLITS and (named <= _SPLITS | _BESIDE | _ASKING or named & _SETS)
    if named & _ASSIGNS or (asks and codes):
        return True
    cells = [cell for known, cell in found.items() if known not in _EMPTY]
    if named <= _USES | _BESIDE | _BOARDS and {*found} >= _BOARD:
        return True
    if (
        named & {"usage", "use", "used", *_SETS}
        and named <= _USES | _SETS | {"id", "name", "type"}
        and set(map(str.casefold, cells)) <= _LETTERS
    ):
        return len(cells) > 1
    if {"train", "held"} <= set(map(_kind, cells)):
        return True
    plain = [_parts(cell) for cell in cells if _is_plain(cell)]
    if plain and (len(plain) == len(cells) or (len(cells) <= _FEW and any(parts & _SURE for parts in plain))):
        return True
    short = [{kind for word in words(cell) if (kind := _SHORT.get(word))} for cell in cells]
    return all(short) and len(set[str]().union(*short)) > 1


def _kind(cell: str) -> str | None:
    """Return whether a cell names what is trained on, such as stage_2_train_images, or held out, such as PublicTest."""
    if len(cell.split()) > _MAX_WORDS:
        return None
    parts = _parts(cell) & _SPLITS
    return None if not parts else "train" if parts & _TRAIN else "held"


def _is_plain(cell: str) -> bool:
    """Return whether a cell is the name of a split and nothing else."""
    parts = _parts(cell)
    return bool(parts & _SPLITS) and parts <= _SPLITS | _BESIDE


def _parts(name: str) -> set[str]:
    """Return the words of a name without numbers, those apart that are glued together, as in publictest or trainval."""
    letters = "".join(char for char in unicodedata.normalize("NFKD", name) if not unicodedata.combining(char))
    text = " ".join(word for word in words(letters) if not word.isdigit())
    whole = text.replace("hold out", "holdout").replace("held out", "heldout").split()
    return {part for word in whole for part in halves(word, _SPLITS | _BESIDE)}
