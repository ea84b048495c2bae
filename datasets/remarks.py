"""What other columns of a table say about its lines: that the label is in doubt, or that the image is not to be used.

Such a column is known by its heading, word by word: one for doubt (`is_uncertain`) or for its opposite (`certainty`),
one for what is left out (`exclude`) or kept (`include`), or one of remarks (`status`), of which only cells that say
nothing else count. A heading that is known over cells that are not, such as a confidence of 0.7, is told and changes
nothing.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from enum import Enum

from datasets.headings import words
from datasets.labels import plain, says_nothing, says_yes

_MAX_CELLS = 1000  # different ones of a column; more are texts
_DOUBT = {"ambiguous", "borderline", "disagreement", "disputed", "doubt", "doubtful", "equivocal",
          "indeterminate", "likely", "maybe", "possible", "possibly", "probable", "probably",
          "questionable", "suspected", "uncertain", "uncertainty", "unclear", "unconfirmed",
          "undecided", "unreviewed", "unsure", "unverified"}  # fmt: skip
_SURE = {"agreement", "certain", "certainty", "confidence", "confident", "confirmed", "likelihood",
         "probability", "reliability", "reliable", "sure", "trusted", "verified"}  # fmt: skip
_OUT = {"blacklist", "blacklisted", "broken", "corrupt", "corrupted", "damaged", "delete", "deleted",
        "discard", "discarded", "drop", "dropped", "error", "exclude", "excluded", "exclusion",
        "failed", "ignore", "ignored", "ineligible", "invalid", "nondiagnostic", "reject", "rejected",
        "rejection", "remove", "removed", "skip", "skipped", "uninterpretable", "unreadable",
        "unusable", "withdrawn"}  # fmt: skip
_IN = {"accept", "accepted", "consent", "consented", "eligible", "include", "included", "inclusion",
       "keep", "kept", "usable", "use"}  # fmt: skip
_POOR = {"bad", "blurred", "blurry", "limited", "low", "poor", "suboptimal"}
_GOOD = {"acceptable", "adequate", "good", "ok"}
_REMARKS = {"action", "comment", "comments", "decision", "flag", "flags", "note", "notes", "qa", "qc",
            "quality", "remark", "remarks", "review", "state", "status"}  # fmt: skip
_BESIDE = {"annotation", "be", "case", "class", "cxr", "data", "diagnosis", "expert", "file", "flagged",
           "from", "has", "image", "images", "in", "is", "label", "labels", "level", "of", "please",
           "radiologist", "reader", "reason", "row", "sample", "scan", "should", "study", "target",
           "this", "to", "was", "xray", "xrays", "y"}  # fmt: skip
_DENIES = {"do", "no", "non", "not"}
_LABELS = {"annotation", "class", "diagnosis", "label", "labels", "target"}  # verified_label is one
_DRAFT = {"draft", "in review", "needed", "needs review", "pending", "preliminary", "provisional", "recheck",
          "review needed", "to be reviewed", "to review", "under review"}  # fmt: skip
_MUCH = {"absolute", "definite", "high", "strong", "very high"}  # of certainty, or of doubt
_LITTLE = {"bad", "low", "none", "poor", "very low", "weak"}  # of certainty


class _Kind(Enum):
    DOUBT = _DOUBT
    SURE = _SURE
    OUT = _OUT
    IN = _IN
    POOR = _POOR
    GOOD = _GOOD


_OPPOSITE = {
    _Kind.POOR: _Kind.GOOD,
    _Kind.GOOD: _Kind.POOR,
    _Kind.DOUBT: _Kind.SURE,
    _Kind.SURE: _Kind.DOUBT,
    _Kind.OUT: _Kind.IN,
    _Kind.IN: _Kind.OUT,
}


class Remarks:
    """The columns of a table that speak of doubt and of what to leave out, by what all its lines say in them."""

    def __init__(self, heading: Sequence[str], taken: Collection[int]) -> None:
        """Take the heading of a table; `taken` are the positions of columns with another meaning."""
        self._heading = heading
        self._lines: dict[int, dict[str, list[int]]] = {
            at: {} for at, cell in enumerate(heading) if at not in taken and (_column_kind(cell) or _is_remark(cell))
        }
        self.doubt: dict[int, str] = {}  # by the line, a sentence on what it says
        self.out: dict[int, str] = {}  # by the line, why its image is left out
        self.notes: tuple[str, ...] = ()

    def add(self, line: int, cells: Sequence[str]) -> None:
        """Look at the cells of one line."""
        for at in list(self._lines):
            said = self._lines[at]
            said.setdefault(cells[at].strip() if at < len(cells) else "", []).append(line)
            if len(said) > _MAX_CELLS and _column_kind(self._heading[at]) is None:
                del self._lines[at]

    def settle(self) -> None:
        """Find out what was said, after the last line."""
        for at, said in self._lines.items():
            name = self._heading[at].strip()[:80]
            verdicts = _column(_column_kind(self._heading[at]), list(said))
            for cell, verdict in verdicts.items():
                if verdict == _Kind.DOUBT:
                    self.doubt |= {line: f"line {line} has {cell[:40]!r} as {name!r}" for line in said[cell]}
                if verdict == _Kind.OUT:
                    self.out |= dict.fromkeys(said[cell], f"with {cell[:40]!r} as {name!r}")
            if unread := [cell for cell, verdict in verdicts.items() if verdict == _Kind.POOR]:
                cells = ", ".join(repr(cell[:40]) for cell in unread[:4]) + (", ..." if len(unread) > 4 else "")
                self.notes += (
                    f"Column {name!r} ({cells}) may say which labels or images to trust, which changes nothing: remove "
                    "the lines that are not to count.",
                )


def _column(kind: _Kind | None, cells: Sequence[str]) -> dict[str, _Kind | None]:
    """Return what each different cell of a column says; POOR: nobody can tell."""
    filled = [cell for cell in cells if cell]
    graded = any(_is_number(cell) and says_yes(cell) is None and not says_nothing(cell) for cell in filled)
    marks = len(filled) < len(cells) and all(says_yes(cell) or plain(cell) == "x" for cell in filled)
    if kind and filled and (graded or (marks and kind in (_Kind.SURE, _Kind.IN))):
        return dict.fromkeys(filled, _Kind.POOR)
    return {cell: _cell(kind, cell) for cell in filled}


def _cell(kind: _Kind | None, cell: str) -> _Kind | None:
    known = plain(cell)
    said = _kind(cell) or (_Kind.DOUBT if known in _DRAFT else None)
    if said in (_Kind.DOUBT, _Kind.OUT) or kind is None:
        return said if said not in (_Kind.SURE, _Kind.IN, _Kind.GOOD) else None
    much = known == "x" or (kind == _Kind.DOUBT and known in _MUCH)
    yes = True if much else False if known in _LITTLE else says_yes(cell)
    if yes is None and (says_nothing(cell) or known in _MUCH or said in (_Kind.SURE, _Kind.IN, _Kind.GOOD)):
        return None
    if yes is None:  # a text: the reason for the doubt, or for leaving it out
        return kind if kind in (_Kind.DOUBT, _Kind.OUT) else _Kind.POOR
    return {(_Kind.DOUBT, True): _Kind.DOUBT, (_Kind.SURE, False): _Kind.DOUBT, (_Kind.OUT, True): _Kind.OUT,
            (_Kind.IN, False): _Kind.OUT, (_Kind.POOR, True): _Kind.POOR,
            (_Kind.GOOD, False): _Kind.POOR}.get((kind, yes))  # fmt: skip


def _kind(text: str) -> _Kind | None:
    """Return what a heading or a cell speaks of, where it speaks of nothing else."""
    text = " ".join(words(text)).replace("non diagnostic", "nondiagnostic").replace("not diagnostic", "nondiagnostic")
    found = {word for word in text.split() if not word.isdigit()}
    rest = found - _BESIDE - _REMARKS - _DENIES
    kind = next((kind for kind in _Kind if rest and rest <= kind.value), None)
    return _OPPOSITE.get(kind, kind) if kind and found & _DENIES else kind


def _column_kind(heading: str) -> _Kind | None:
    """Return what a heading speaks of: a label that was verified is no remark about a label."""
    if plain(heading) in _DRAFT:
        return _Kind.DOUBT
    if plain(heading) == "is final":
        return _Kind.SURE
    kind = _kind(heading)
    return None if kind == _Kind.SURE and words(heading)[-1] in _LABELS else kind


def folder_notes(paths: Iterable[str]) -> tuple[str, ...]:
    """Return sentences on folders of the paths that are called by doubt or by what is left out."""
    counts = Counter(folder for path in paths for folder in {*path.replace("\\", "/").split("/")[:-1]})
    return tuple(
        f"{count:,} paths lie in a folder {folder[:80]!r}, which changes nothing: remove the lines that are not to "
        "count."
        for folder, count in counts.items()
        if _kind(folder) in (_Kind.DOUBT, _Kind.OUT, _Kind.POOR)
    )


def _is_remark(heading: str) -> bool:
    found = {word for word in words(heading) if not word.isdigit()}
    return bool(found & _REMARKS) and found <= _REMARKS | _BESIDE


def _is_number(cell: str) -> bool:
    return bool(cell) and all(char.isdigit() or char in "+-.,%" for char in cell)
