"""K classes that the user names in 'data.classes': which of them a label is, and what to do where it is none of them.

`datasets.labels` is for two classes whose names have to be guessed. Here nothing is guessed: a label counts where the
list has it, without regard to case and with a dash between words for a space, and the position in the list is the
class's number. The public release says in the names of its pneumonia files whether they are of bacteria or of a virus,
so the list may hold BACTERIA and VIRUS where the source has PNEUMONIA.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from contract.errors import DataError
from datasets.labels import (
    LabelRules,
    Verdict,
    decided,
    denies,
    doubts_another,
    plain,
    says_class,
    says_nothing,
    says_uncertain,
)

LEFT_OUT = "are of none of the classes in 'data.classes' and were left out"
_DIVIDED = "pneumonia"  # the class that file names divide
# personN_bacteria_M, and BACTERIA-N-M in the later release
_KIND = re.compile(r"_(bacteria|virus)_\d|^(bacteria|virus)-\d+-\d", re.IGNORECASE)
_KINDS = {  # what the list may call each kind
    "bacteria": {"bacteria", "bacterial", "bacterial pneumonia"},
    "virus": {"virus", "viral", "viral pneumonia"},
}


class ClassesError(DataError):
    """The source has not the classes that 'data.classes' lists."""

    def __init__(self, found: str, advice: str) -> None:
        """Take both parts of the message; where the list has to stay as it is, what was found needs other advice."""
        super().__init__(found + advice)
        self.found = found


Why = Literal["", "blank", "uncertain", "conflict", "other"]


@dataclass(frozen=True)
class Reading:
    """What one image is labelled as, and where that comes from, for messages."""

    label: int | None
    why: Why  # why there is no label; "": there is one
    place: str  # such as "line 3"
    text: str  # the label as it is written; of a conflict, a sentence that says what contradicts what
    doubt: str = ""  # a sentence on what another column says of a label that is none of doubt itself


def pneumonia_kind(name: str) -> str:
    """Return what the public release's file names say: bacteria, virus or nothing. `name` may be a path with "/"."""
    match = _KIND.search(name.rsplit("/", 1)[-1])
    return (match[1] or match[2]).lower() if match else ""


def means_healthy(name: str) -> bool:
    """Return whether a class's name is known to say that nothing was found."""
    return says_class(name) == Verdict.NEGATIVE


class NamedClasses:
    """The classes of 'data.classes'."""

    def __init__(self, names: Sequence[str]) -> None:
        """Take the names; the position is the label."""
        self.names = tuple(names)
        self._labels = {plain(name): label for label, name in enumerate(names)}
        self._kinds: dict[str, int] = {}
        self._claimed = {kind: [name for name in self.names if plain(name) in _KINDS[kind]] for kind in _KINDS}
        if _DIVIDED not in self._labels:
            self._kinds = {kind: self._labels[plain(named[0])] for kind, named in self._claimed.items() if named}

    def known(self, name: str) -> int | None:
        """Return the class that a name, in whatever spelling, is; None: it is none of the list."""
        return self._labels.get(plain(name))

    @property
    def note(self) -> tuple[str, ...]:
        """Say how PNEUMONIA is divided, if it is."""
        if not self._kinds:
            return ()
        said = " and ".join(f"{kind} as {self.names[label]}" for kind, label in self._kinds.items())
        return (f"PNEUMONIA is divided by what file names say: {said}.",)

    def undivided(self, name: str) -> str:
        """Say why PNEUMONIA is not divided, if `name` is one of its kinds and the list has PNEUMONIA; else nothing."""
        if _DIVIDED not in self._labels or not any(name in named for named in self._claimed.values()):
            return ""
        whole = self.names[self._labels[_DIVIDED]]
        return f"As {whole} is listed, file names do not divide it: leave {whole} out to have them do so."

    def read(self, texts: Iterable[str], *, file: str, place: str, healthy: str = "") -> Reading:
        """Return what one reading of an image, which may name several classes, makes of it.

        Args:
            texts: the labels.
            file: the image's path or name.
            place: where the labels are, for messages.
            healthy: another column there that says that there is nothing; empty: none does.

        Raises:
            DataError: the file's name says a kind of pneumonia that two of the classes are called by.
        """
        labels, why = set[int](), set[Why]()
        written = tuple(texts)
        for text in written:
            known = plain(text)
            if known in self._labels:
                labels.add(self._labels[known])
            elif known == _DIVIDED and self._kinds:
                kind = pneumonia_kind(file)
                if len(claimed := self._claimed.get(kind, ())) > 1:
                    raise DataError(
                        f"{place} is a {text[:40]} of which its file's name says {kind}, and 'data.classes' lists "
                        f"{' and '.join(claimed)}, which both are that; keep one of them."
                    )
                if kind in self._kinds:
                    labels.add(self._kinds[kind])
                else:
                    why.add("other" if kind else "blank")
            else:
                why.add(self._no_class(text))
        text = " | ".join(written)
        if len(labels) > 1:
            both = " and ".join(self.names[label] for label in sorted(labels))
            return Reading(None, "conflict", place, f"{place} has the labels {both}, expected one class per image")
        if "uncertain" in why:
            return Reading(None, "uncertain", place, text)
        if labels and means_healthy(self.names[min(labels)]):
            other = next(
                (
                    one
                    for one in written
                    if plain(one) not in self._labels and self._no_class(one) == "other" and not means_healthy(one)
                ),
                None,
            )
            if other is not None:
                both = f"{self.names[min(labels)]} and {other[:40]!r}"
                return Reading(None, "conflict", place, f"{place} has the labels {both}, expected one class per image")
        if denied := next(((one, two) for one in written for two in written if denies(one, two)), None):
            both = " and ".join(repr(one[:40]) for one in denied)
            return Reading(None, "conflict", place, f"{place} has the labels {both}, expected one class per image")
        if labels and healthy and not means_healthy(self.names[min(labels)]):
            said = f"{place} has the label {self.names[min(labels)]} and says yes to {healthy!r}"
            return Reading(None, "conflict", place, f"{said}, expected one class per image")
        if labels:
            return Reading(labels.pop(), "", place, text)
        return Reading(None, "other" if "other" in why else "blank", place, text)

    def _no_class(self, text: str) -> Why:
        """Return what a label is that is none of the classes."""
        if says_uncertain(text):
            ill = [name for name in self.names if not means_healthy(name)]
            return "other" if ill and all(doubts_another(text, name) for name in ill) else "uncertain"
        return "blank" if says_nothing(text) else "other"

    def agreed(self, readings: Sequence[Reading], *, place: str) -> Reading:
        """Return what several readings of one image make of it: what all of them say, or a conflict."""
        said = {(reading.label, reading.why) for reading in readings}
        if len(said) > 1:
            said.discard((None, "blank"))
        first = next(reading for reading in readings if (reading.label, reading.why) in said)
        if len(said) == 1:
            return first
        other = next(one for one in readings if (one.label, one.why) in said and one.label != first.label)
        what = " and ".join(repr(one.text[:40]) for one in (first, other))
        return Reading(None, "conflict", place, f"{place} has the labels {what}, expected one class per image")


def settle_named(
    found: Sequence[Reading], rules: LabelRules, *, where: str
) -> tuple[list[int | None], tuple[str, ...]]:
    """Return the label of every image, None where it is left out, and sentences about what was left out.

    Args:
        found: N images.
        rules: what the user says about images without a certain label.
        where: the source, for messages.

    Raises:
        DataError: an image has no certain label and nothing says that it may be left out.
    """
    notes = []
    counts = Counter(image.why for image in found)
    kinds: tuple[tuple[tuple[Why, ...], str], ...] = ((("blank",), "blank"), (("uncertain", "conflict"), "uncertain"))
    for why, field in kinds:
        count = sum(counts[one] for one in why)
        if not count:
            continue
        first = next(image for image in found if image.why in why)
        if getattr(rules, field) == "refuse":
            raise DataError(f"{where}: {_complaint(first, field, count, len(found))}")
        these = [image for image in found if image.why in why]
        texts = [image.text for image in these if image.why == "conflict"]
        doubts = [image.doubt for image in these if image.doubt]
        notes.append(decided(count, len(found), "left out", field, conflicts=texts, doubts=doubts))
    if counts["other"]:
        names = Counter(image.text for image in found if image.why == "other")
        listed = ", ".join(repr(name[:40]) for name, _ in names.most_common(6))
        more = f" and {len(names) - 6} more" if len(names) > 6 else ""
        notes.append(f"{counts['other']} of {len(found)} images {LEFT_OUT}: {listed}{more}.")
    return [image.label for image in found], tuple(notes)


def _complaint(first: Reading, field: str, count: int, total: int) -> str:
    how = f"set 'data.{field}' to drop ({count} of {total} images are like this)"
    if first.why == "conflict":
        return f"{first.text}; correct one, or {how}."
    if first.doubt:
        return f"{first.doubt}, a doubt about its label; correct it, remove the column, or {how}."
    if first.why == "uncertain":
        return f"{first.place} has the uncertain label {first.text[:40]!r}; correct or remove it, or {how}."
    if plain(first.text) == _DIVIDED:
        return (
            f"{first.place} is labelled {first.text!r}, and its file's name says neither bacteria nor virus; list "
            f"PNEUMONIA in 'data.classes', or {how}."
        )
    seen = f" ({first.text[:40]!r} says nothing)" if first.text.strip() else ""
    return f"{first.place} has no usable label; fill it in or remove it{seen}, or {how}."
