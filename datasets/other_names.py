"""What names the classes of a table beside its label: other columns of labels, columns of words, and paths.

Where they say the opposite of the label in most lines, the label's 0 and 1 may be inverted, which is asked about. Where
a column contradicts it in some lines, these lines have two labels.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path

from contract.errors import DataError
from datasets.columns import MAX_LABEL, without_suffix
from datasets.headings import ends_in_label, names_another_time, names_labels
from datasets.labels import (
    Verdict,
    doubts_another,
    names_any_finding,
    names_healthy,
    names_illness,
    names_pneumonia,
    plain,
    says_class,
    says_nothing,
    says_uncertain,
    says_yes,
)

_MAX_PAIRS = 100  # of a label and another cell of its line
_PATH = -1  # in the place of a column: what paths say, by folders and by names such as Normal-12.png
_NUMBERED = re.compile(r"[A-Za-z]{0,3}[\d._-]*")  # p10000032, as folders of patients and studies are called
_MOST = 0.75  # of the lines; what has nothing to do with the label contradicts it in half of them
_CLASSES = {Verdict.NEGATIVE, Verdict.POSITIVE}
_LETTER = 1  # character: letters for classes may mean anything in another column
_Says = Callable[[str], int | None]  # a label or a cell -> its class; None: none that is known


class OtherNames:
    """What names the classes beside the label, which 0 and 1 may be the numbers of, instead of no and yes.

    That is a column of words, a column of yes and no that is called by a class, and the paths.
    """

    def __init__(self, heading: Sequence[str], label: int) -> None:
        """Take the heading of a table and where its labels are."""
        self._heading, self._label = heading, label
        # How often a label stands beside a cell, or in a path, at _PATH.
        self._pairs: dict[int, Counter[tuple[str, str]]] = {
            at: Counter() for at in (_PATH, *range(len(heading))) if at != label
        }
        general = not names_any_finding(heading[label])  # else the two columns are of two findings
        self._called = {
            at: called == Verdict.POSITIVE
            for at, cell in enumerate(heading)
            if general and (called := names_pneumonia(cell)) is not None
        }

    def add(self, cells: Sequence[str]) -> None:
        """Look at the cells of one line."""
        label = cells[self._label].strip()
        for at in list(self._pairs):
            if 0 <= at < len(cells):
                self._count(at, label, cells[at].strip()[:MAX_LABEL])

    def add_path(self, label: str, path: str) -> None:
        """Look at an image's path."""
        if _PATH in self._pairs:
            folder, _, name = path.replace("\\", "/").rpartition("/")
            stem = re.sub(r"[\W\d_]+$", "", without_suffix(name)[:MAX_LABEL])
            word = "" if any(map(str.isdigit, stem)) else _class_in(stem)  # most names are ids: not one by one
            if word := word or _class_in(folder):
                self._count(_PATH, label.strip(), word)

    def contradictions(
        self, label_says: _Says, known: _Says, positive: str | None, *, answered: bool
    ) -> dict[int, set[tuple[str, str]]]:
        """Return, by the column, which pairs of a label and a cell cannot both be: of readers, or of names of classes.

        Args:
            label_says: a label -> its class; None: it has none.
            known: a cell -> the class whose name it is, as the labels write it.
            positive: the name of the class with the number 1, where there are two whose names may be written otherwise;
                None: a cell is compared by the labels' own names alone.
            answered: the user has said which label counts as positive: where a column of other words says the opposite
                in most lines, that was asked.
        """
        found = {}
        for at, pairs in self._pairs.items():
            read = {label: label_says(label) for label, _ in pairs}
            if at == _PATH or (reader := self._reader(at, read, known, positive)) is None:
                continue
            says, doubts = reader
            both = {pair for pair in pairs if read[pair[0]] is not None and says(pair[1]) is not None}
            other = {pair for pair in both if read[pair[0]] != says(pair[1])}
            lines, of = (sum(pairs[pair] for pair in some) for some in (other, both))
            if answered and says != known and lines >= _MOST * of:
                other = set()
            unsure = {pair for pair in pairs if doubts and read[pair[0]] is not None and says_uncertain(pair[1])}
            if other | unsure:
                found[at] = other | unsure
        return found

    def _reader(
        self, at: int, read: Mapping[str, int | None], known: _Says, positive: str | None
    ) -> tuple[_Says, bool] | None:
        """Return what reads the cells of a column, and whether doubt in it is about the label; None: it is no label."""
        heading, pairs = self._heading[at], self._pairs[at]
        certain = {cell for _, cell in pairs if not (says_nothing(cell) or says_uncertain(cell))}
        truth = all(says_yes(cell) is not None for cell in certain)
        own = names_labels(heading)
        named = not (truth or names_any_finding(heading)) and all(len(cell) > _LETTER for cell in certain)
        if not certain or names_another_time(heading) or names_healthy(heading):  # of the latter each yes is looked at
            return None
        if all(known(cell) is not None for cell in certain) and (own or named or self._agrees(at, read, known)):
            return known, own
        if positive is None:
            return None
        if self._called.get(at):
            return partial(_finding, sure=names_pneumonia(positive) == Verdict.POSITIVE), False
        if truth and names_illness(heading):
            return _illness, False
        if own and truth:  # numbers of classes whose names the label has: most lines tell which is which
            same = sum(
                count if says_yes(cell) == read[label] else -count
                for (label, cell), count in pairs.items()
                if cell in certain and read[label] in _CLASSES
            )
            return partial(_number, first=same >= 0), True
        words = {plain(cell): says_class(cell) for cell in certain}
        if own and None in words.values() and (told := self._told(at, read, words)):
            return told, True
        if own or (named and {*words.values()} == _CLASSES):
            finding = positive if names_any_finding(positive) else "pneumonia" if len(words) > len(_CLASSES) else ""
            return partial(_class_of, finding=finding), own
        return None

    def _agrees(self, at: int, read: Mapping[str, int | None], known: _Says) -> bool:
        """Return whether a column that may hold labels, or anything else, says what the label says in most lines."""
        if not ends_in_label(self._heading[at]) or names_any_finding(self._heading[at]):
            return False
        both = {pair: count for pair, count in self._pairs[at].items() if None not in (read[pair[0]], known(pair[1]))}
        same = sum(count for (label, cell), count in both.items() if read[label] == known(cell))
        return same >= _MOST * sum(both.values())

    def _told(self, at: int, read: Mapping[str, int | None], words: Collection[str]) -> _Says | None:
        """Return which class each of two words stands for in most lines; None: they do not stand for two."""
        counts: dict[str, Counter[int]] = {word: Counter() for word in words}
        for (label, cell), count in self._pairs[at].items():
            if (one := read[label]) is not None and plain(cell) in counts:
                counts[plain(cell)][one] += count
        most = {word: said.most_common(1)[0] for word, said in counts.items() if said}
        if {one for one, _ in most.values()} != _CLASSES or len(most) != len(words) or len(most) > len(_CLASSES):
            return None
        if any(count < _MOST * counts[word].total() for word, (_, count) in most.items()):
            return None
        return lambda cell: most[plain(cell)][0] if plain(cell) in most else None

    def contradicting(
        self, lines: Iterable[tuple[int, list[str]]], columns: Mapping[int, set[tuple[str, str]]]
    ) -> Iterator[tuple[int, int, str]]:
        """Yield (column, line, sentence) of what was found, of the lines of the table."""
        for line, cells in lines:
            label = cells[self._label].strip()
            for at, bad in columns.items():
                cell = cells[at].strip()[:MAX_LABEL] if at < len(cells) else ""
                if (label, cell) in bad:
                    one, two = (self._heading[i].strip()[:80] for i in (self._label, at))
                    yield (
                        at,
                        line,
                        (
                            f"line {line} has {label[:40]!r} as {one!r} and {cell[:40]!r} as {two!r}, expected them to "
                            "agree, or the one that counts in 'data.label'"
                        ),
                    )

    def strays(self, label_says: _Says) -> int:
        """Return how many paths name the other class than the label does."""
        pairs = self._pairs.get(_PATH, Counter())
        return sum(
            count
            for (label, word), count in pairs.items()
            if None not in (said := label_says(label), named := says_class(word)) and said != named
        )

    def _count(self, at: int, label: str, cell: str) -> None:
        self._pairs[at][label, cell] += 1
        if len(self._pairs[at]) > _MAX_PAIRS:  # no names of classes
            del self._pairs[at]

    def _says(self, at: int, cell: str) -> Verdict | None:
        if at in self._called and (yes := says_yes(cell)) is not None:
            return Verdict(yes == self._called[at])
        return says_class(cell)

    def check(self, table: Path, verdict: Callable[[str], Verdict]) -> None:
        """Stop where most lines name the other class than the label does; `verdict` reads labels."""
        for at, pairs in self._pairs.items():
            read = {(label, cell): (verdict(label), self._says(at, cell)) for label, cell in pairs}
            known = {pair: both for pair, both in read.items() if both[1] is not None and both[0] in _CLASSES}
            other = {pair: both for pair, both in known.items() if both[0] != both[1]}
            lines, of = (sum(pairs[pair] for pair in some) for some in (other, known))
            if {both[0] for both in other.values()} == _CLASSES and lines >= _MOST * of:
                label, cell = next(iter(sorted(other)))
                where = "in the path" if at == _PATH else f"as {self._heading[at].strip()[:80]!r}"
                else_ = "else" if lines == of else f"in most lines ({lines:,} of {of:,} contradict the label)"
                raise DataError(
                    f"{table}: has {cell[:40]!r} {where} where the label is {label[:40]!r}, and the opposite "
                    f"{else_}, expected them to agree; set 'data.positive' to the label that counts as PNEUMONIA."
                )


def _finding(cell: str, *, sure: bool) -> Verdict | None:
    """Return what yes and no below the name of a pneumonia say; not `sure`: the label may be another finding's."""
    yes = says_yes(cell)
    return Verdict.POSITIVE if yes else Verdict.NEGATIVE if yes is False and sure else None


def _illness(cell: str) -> Verdict | None:
    """Return what no says below a word for any illness; with yes, the label may be about another one."""
    return Verdict.NEGATIVE if says_yes(cell) is False else None


def _number(cell: str, *, first: bool) -> Verdict | None:
    """Return the class of a number; `first`: 0 is the negative one."""
    yes = says_yes(cell)
    return None if yes is None else Verdict(yes == first)


def _class_of(cell: str, *, finding: str) -> Verdict | None:
    """Return the class that a word names; None, too, where it is about another finding."""
    return None if finding and doubts_another(cell, finding) else says_class(cell)


@lru_cache(maxsize=10_000)
def _class_in(folder: str) -> str:
    """Return the last part of a path that names a class, empty where none does."""
    parts = (part for part in reversed(folder.split("/")) if _NUMBERED.fullmatch(part) is None)
    return next((part for part in parts if says_class(part) is not None), "")[:MAX_LABEL]
