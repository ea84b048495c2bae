"""What a label says: one of the two classes, nothing, or that nobody is sure. The one place that reads labels.

A cell or a folder's name is compared without regard to case, spaces, dashes, underscores and a trailing ".0". Some
words are no class at all, whatever is beside them: "nan" or an empty cell means that nothing was said, "-1" that the
reader was not sure. Neither may become a class by accident, so both are refused until the user says what they count
as. Which of two classes is positive is guessed only where both names are known: beside a known one, a word that
nobody thought of may be a class, and may be a label that is missing. A name of several words is known only where
each of them is: "pneumonia ruled out" names pneumonia, too. An image that is labelled both ways, by two
raters, two lines or two files of one content, is an uncertain one too.

Source: Irvin et al., "CheXpert", arXiv:1901.07031: blank is "not mentioned", -1 is "uncertain"; MIMIC-CXR-JPG does the
same.
"""

import difflib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from pathlib import Path
from typing import Literal

from contract.errors import ConfigError, DataError

Choice = Literal["refuse", "drop", "negative", "positive"]  # what an image without a certain label counts as
REST = "*"  # as 'data.negative': every class but the positive one

_NEGATIVE = {
    "0", "clear", "control", "false", "healthy", "neg", "negative", "no", "no finding", "no findings", "nofinding",
    "nofindings", "normal", "unremarkable", "well",
}  # fmt: skip
_POSITIVE = {"+", "1", "abnormal", "diseased", "ill", "pos", "positive", "sick", "true", "yes"}
_FINDINGS = {  # one of these words in a name makes it a finding, unless the name denies it
    "abnormality", "atelectasis", "bronchitis", "calcification", "cardiomediastinum", "cardiomegaly", "consolidation",
    "covid", "covid19", "disease", "edema", "effusion", "emphysema", "fibrosis", "fracture", "hernia", "infection",
    "infiltrate", "infiltration", "lesion", "mass", "nodule", "oedema", "opacities", "opacity", "pneumonia",
    "pneumonitis", "pneumothorax", "sars", "tb", "thickening", "tuberculosis", "tumor", "tumour",
}  # fmt: skip
_GENERAL = {"abnormality", "disease", "infection", "infiltrate", "infiltration", "opacities", "opacity"}  # may be any
_DENIES = {"no", "non", "not", "without"}  # before a class: the other one
_BLANK = {
    "-", "-2", "-3", "-8", "-9", "-99", "-999", "-9999", "blank", "broken", "discard", "discarded", "empty", "error",
    "exclude", "excluded", "fixme", "ignore", "ignored", "invalid", "missing", "n.a", "n.d", "n/a", "na", "nan", "nd",
    "nil", "no data", "no label", "nodata", "nolabel", "none", "not applicable", "not assessed", "not assigned",
    "not available", "not classified", "not done", "not evaluated", "not labeled", "not labelled", "not mentioned",
    "not read", "not reported", "not reviewed", "not specified", "null", "open", "pending", "reject", "rejected",
    "removed", "skip", "skipped", "tba", "tbc", "tbd", "to be determined", "to do", "todo", "unannotated", "unassigned",
    "unclassified", "undefined", "unknown", "unlabeled", "unlabelled", "unmarked", "unread", "unreviewed",
    "unspecified", "untagged", "value", "void",
}  # fmt: skip
_UNCERTAIN = {
    "-1", "ambiguous", "borderline", "conflict", "disputed", "don't know", "dont know", "doubt", "doubtful",
    "equivocal", "inconclusive", "indeterminate", "likely", "maybe", "not certain", "not sure", "possible", "possibly",
    "probable", "probably", "questionable", "suspect", "suspected", "suspicious", "u", "uncertain", "unclear",
    "undecided", "undetermined", "unresolved", "unsure",
}  # fmt: skip
_DOUBTS = re.compile(  # anywhere in a name: it is uncertain, whatever else it names
    r"(?<![\w-])-1(?![\w.])|(?:^|[\s(\[])\?|\?(?:$|[\s)\]])|\+/|\u00b1|\br/o\b|\brule out\b|\bversus\b|\bvs\b"
    r"|\b(?:can ?not|can't|cant|could not|couldn't|not)(?: yet| be| been)* (?:excluded?|rule|ruled)\b"
    r"|\b(?:could|may|might) (?:be|represent)\b|\b(?:low|intermediate) (?:probability|suspicion|likelihood)\b"
    r"|\bnot (?:certain|sure|clear)\b"
)
_DOUBTFUL = re.compile(  # the same, but "no suspicious nodule" is no doubt
    r"\b(?:ambiguous|borderline|doubtful|equivocal|inconclusive|indeterminate|likely|maybe|perhaps|possibl[ey]"
    r"|possibility|presum(?:ed|ably|ptive)|probabl[ey]|query|questionable|suspect(?:ed|s)?|suspicio(?:n|us)|uncertain"
    r"|unclear|undecided|undetermined|unlikely|unsure)\b"
)
_NOTHING = re.compile(  # anywhere in a name: it says nothing
    r"(?:^|[\s(\[#])(?:n/a|n\.a\.?|nan|no label|not (?:applicable|assessed|available|evaluated|labell?ed|mentioned|read"
    r"|reported|reviewed|specified))(?:$|[\s)\],;:])"
)
# Words that leave a finding what it is. Anything else beside one, such as "resolved" or "change in", may deny it.
_NEUTRAL = {
    "acquired", "active", "acute", "airspace", "alveolar", "and", "apical", "aspiration", "associated",
    "atypical", "bacteria", "bacterial", "bacterium", "basal", "bilateral", "broncho", "calcified", "cardiac",
    "case", "cases", "cavitary", "chest", "chlamydia", "class", "clavicle", "community", "confirmed", "corona",
    "coronavirus", "cov", "cov2", "cxr", "definite", "diffuse", "diseases", "enlarged", "eosinophilic",
    "evidence", "findings", "focal", "fungal", "fungus", "glass", "ground", "haemophilus", "heart", "hiatal",
    "hilar", "hospital", "image", "images", "in", "infectious", "influenza", "interstitial", "klebsiella",
    "label", "left", "legionella", "lipoid", "lobar", "lobe", "lower", "lung", "lungs", "mediastinal", "mers",
    "middle", "mild", "moderate", "multifocal", "multiple", "mycoplasma", "necrotizing", "nosocomial", "of",
    "organising", "organizing", "other", "patchy", "patient", "patients", "pleural", "pneumococcal",
    "pneumocystis", "pulmonary", "ray", "rib", "right", "round", "sars", "severe", "sign", "signs", "single",
    "solitary", "streptococcal", "streptococcus", "thoracic", "type", "typical", "unilateral", "upper",
    "ventilator", "viral", "virus", "with", "x", "xray", "xrays",
}  # fmt: skip
_ASIDE = {  # words that a denial reaches across
    "", "any", "case", "cases", "class", "cxr", "evidence", "image", "images", "label", "of", "patient", "patients",
    "sign", "signs", "x", "xray", "xrays",
}  # fmt: skip
_JOINS = r"[,;:&()\[\]+/.#]+"  # between words, without a blank
_LONG = 6  # letters; a shorter word within another one is chance, as mass in massive
_ENDINGS = "eisy"  # letters that plurals end in, in English and Latin: opacities, masses, atelectases
_ALIKE = 0.88  # difflib's measure of two spellings of one word; emphysema and empyema have 0.875
_TRUTH = {"+", "0", "1", "false", "neg", "negative", "no", "pos", "positive", "true", "yes"}  # of what the column names
_COLUMN_WORDS = {"class", "diagnosis", "finding", "findings", "flag", "gt", "ground", "has", "is", "label", "labels",
                 "name", "present", "status", "target", "truth", "y"}  # fmt: skip
_NO_FINDING = {"finding", "findings", "healthy", "nofinding", "nofindings", "normal", "unremarkable"}
_CODES = {"9", "99", "999", "9999"}  # for a missing label, where the classes are others; statistics packages write them


@dataclass(frozen=True)
class LabelRules:
    """How the labels of a source, and its colours, are to be read; the fields of an experiment's `data` section."""

    label: str | None = None  # the column that holds the label or the finding; None: one of the usual names
    label_table: Path | None = None  # a second table that holds the labels; None: the source's own
    positive: str | None = None  # the class that counts as pneumonia; None: the names say so
    negative: str | None = None  # the class that counts as normal, or REST; None: the other one of two
    uncertain: Choice = "refuse"
    blank: Choice = "refuse"
    classes: tuple[str, ...] | None = None  # K names, which `datasets.classes` reads; None: two, which are found here
    colour: Literal["refuse", "gray"] = "refuse"  # what the colour images of an array become

    def __post_init__(self) -> None:
        """Raise ConfigError where K classes are to be read as two."""
        for name in ("uncertain", "blank") if self.classes is not None else ():
            if getattr(self, name) in ("negative", "positive"):
                raise ConfigError(
                    f"'{name}' is {getattr(self, name)}, but with 'classes' it can only be refuse or drop."
                )


class Verdict(IntEnum):
    """What one image is labelled as."""

    NEGATIVE = 0
    POSITIVE = 1
    BLANK = 2  # nothing is said
    UNCERTAIN = 3  # a word for doubt
    CONFLICT = 4  # both classes
    OTHER = 5  # neither class


@dataclass(frozen=True)
class Found:
    """One image's verdict and where it comes from, for messages."""

    verdict: Verdict
    place: str  # such as "line 3"
    text: str  # the label as it is written; of a conflict, a sentence that says what contradicts what
    doubt: str = ""  # a sentence on what another column says of a label that is none of doubt itself


def plain(name: str) -> str:
    """Return what two spellings of one class have in common."""
    text = unicodedata.normalize("NFKC", "".join(char for char in name if unicodedata.category(char) != "Cf"))
    text = " ".join(text.casefold().replace("_", " ").split())
    if number := re.fullmatch(r"[+]?(-?)0*(\d+)(?:[.,]0*)?", text):
        return f"{number[1] if number[2] != '0' else ''}{number[2]}"
    # A dash between words joins them; elsewhere it is a sign: "pneumonia -1", "edema (-)".
    return " ".join(re.sub(r"(?<=[^\W_)\]])-(?=[^\W_(\[])|(?<=[^\W_)\]] )-(?= [^\W_(\[])", " ", text).split())


def says_nothing(name: str) -> bool:
    """Return whether a name is no class but a word, or a mark, for a missing label."""
    known = plain(name)
    if known in _POSITIVE or says_uncertain(name):
        return False
    return _bare(known) in _BLANK or not any(map(str.isalnum, known)) or _NOTHING.search(known) is not None


def says_uncertain(name: str) -> bool:
    """Return whether a name is no class but a word, or a mark, for doubt."""
    known = plain(name)
    if _bare(known) in _UNCERTAIN or (set(known) <= {"?"} and known != "") or _DOUBTS.search(known):
        return True
    return not _DENIES & set(known.split()) and _DOUBTFUL.search(known) is not None


def says_healthy(column: str) -> bool:
    """Return whether a column's name says that a 1 in it is no finding, such as "No Finding" or "is_normal"."""
    words = plain(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", column)).strip("?! ").split()
    kept = [word for word in words if word not in ("flag", "is", "label", "status")]
    sense = _sense(" ".join(kept))
    return bool(kept) and sense != Verdict.POSITIVE and (sense == Verdict.NEGATIVE or kept[0] in _DENIES)


def says_present(column: str) -> bool:
    """Return whether a column's name says that a 1 in it is a finding, or what class it is: all its words are known."""
    words = [word.strip("?! ") for word in plain(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", column)).split()]
    kept = [word for word in words if word not in _COLUMN_WORDS]
    return bool(words) and (not kept or _sense(" ".join(kept)) == Verdict.POSITIVE)


def names_any_finding(column: str) -> bool:
    """Return whether a column's name has a word for a finding in it, in whatever sense."""
    return any(map(_means_finding, _column_words(column)))


def names_pneumonia(column: str) -> Verdict | None:
    """Return what a 1 in a column of this name says, a pneumonia or none; None: something else."""
    if names_healthy(column):
        return Verdict.NEGATIVE
    if not any(_same_word(word, "pneumonia") for word in _column_words(column)):
        return None
    return Verdict.NEGATIVE if says_healthy(column) else Verdict.POSITIVE if says_present(column) else None


def names_illness(column: str) -> bool:
    """Return whether a column's name says that a 0 in it is no finding at all, such as `abnormal`."""
    words = {*_column_words(column)} - _COLUMN_WORDS
    return bool(words) and words <= {"abnormal", "abnormality", "any", "disease", "diseased", "ill", "positive", "sick"}


def names_healthy(column: str) -> bool:
    """Return whether a column's name says that a 1 in it is no finding at all; "no", "clear", "control" may not."""
    words = _column_words(column)
    counts = words[:2] == ["no", "of"]  # a number of findings
    return says_healthy(column) and not counts and not _NO_FINDING.isdisjoint(words)


def _column_words(column: str) -> list[str]:
    return plain(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", column)).split()


def says_yes(cell: str) -> bool | None:
    """Return what a cell of yes and no says; None: it is none, or empty."""
    known = plain(cell)
    if known in ("y", "n", "t", "f"):
        return known in ("y", "t")
    return _sense(known) == Verdict.POSITIVE if known in _TRUTH else None


def says_class(name: str) -> Verdict | None:
    """Return the class that a word for one names whatever it stands beside; None: it names none, or is yes or no."""
    known = plain(name)
    return None if known in _TRUTH else _sense(known)


@lru_cache(maxsize=1000)
def doubts_another(name: str, finding: str) -> bool:
    """Return whether a word of doubt is about another finding than this one: "effusion?" says nothing of pneumonia."""
    there, wanted = ({word for word in re.findall(r"[^\W\d_]+", plain(text)) if _means_finding(word)}
                     for text in (name, finding))  # fmt: skip
    same = any(_same_word(word, part) or {word, part} & _GENERAL for word in there for part in wanted)
    return bool(there and wanted) and not same


def denies(one: str, other: str) -> bool:
    """Return whether a label says that another one is not so: "no finding" beside "effusion", not "no pneumonia"."""
    return _denies(plain(one), plain(other))


@lru_cache(maxsize=10_000)
def _denies(known: str, other: str) -> bool:
    if known in _TRUTH or other in _TRUTH or (_sense(known), _sense(other)) != (Verdict.NEGATIVE, Verdict.POSITIVE):
        return False
    return not doubts_another(known, other)


def _means_finding(word: str) -> bool:
    return any(_same_word(word, known) for known in _FINDINGS)


def _bare(known: str) -> str:
    """Return a name without the marks around it, as in #N/A, <unknown>, (pending) or n.a."""
    return known.strip("#<>()[]{}.!*'\"? ")


def _sense(known: str) -> Verdict | None:
    """Return the class that a plain name means whatever is beside it; None: it could be either."""
    if known in _NEGATIVE:
        return Verdict.NEGATIVE
    if known in _POSITIVE:
        return Verdict.POSITIVE
    words = known.split()
    if len(words) > 1 and words[0] in _DENIES and words[1] not in _DENIES:
        denied = _sense(" ".join(words[1:])) if _one_thing(words[1:]) else None
        return None if denied is None else Verdict(1 - denied)
    if _names_finding(words):
        return Verdict.POSITIVE
    for first, end, rest in ((words[:1], [], words[1:]), ([], words[-1:], words[:-1])):
        if {*first, *end} & {"neg", "negative"} and _one_thing(rest) and _names_finding(rest):
            return Verdict.NEGATIVE
    return None


def _one_thing(words: Sequence[str]) -> bool:
    """Return whether a denial of these words can mean one thing only: "non-viral pneumonia" is a pneumonia, too."""
    parts = [part for word in words for part in re.split(_JOINS, word) if part not in _ASIDE and not part.isdigit()]
    return len(parts) <= 1 or " ".join(words) in _NEGATIVE | _POSITIVE


def _names_finding(words: Sequence[str]) -> bool:
    """Return whether a name is that of a finding, and no word of it can mean that it is not there."""
    parts = [part for word in words for part in re.split(_JOINS, word) if part]
    known = [_is_finding(part) for part in parts]
    return any(known) and all(
        found or part in _NEUTRAL or part in _POSITIVE or (part.isdigit() and part.strip("0") != "")
        for found, part in zip(known, parts, strict=True)
    )


def _includes(name: str, positive: str) -> bool:
    """Return whether another class names the positive one too: as a kind of it, or beside others in one cell."""
    if name == positive or _sense(name) == Verdict.NEGATIVE:
        return False
    words, wanted = (re.findall(r"[^\W\d_]+|\d+|[+]", text) for text in (name, positive))
    # Directly behind a denial it is not there.
    there = [word for before, word in zip(["", *words], words, strict=False) if before not in _DENIES]
    # A number tells kinds of one thing apart, class 1 and class 2, where both have one: not COVID and COVID-19.
    if not {word for word in words if word.isdigit()} and any(map(str.isalpha, wanted)):
        wanted = [word for word in wanted if not word.isdigit()]
    return bool(wanted) and all(any(_same_word(word, part) for word in there) for part in wanted)


def _same_name(one: str, two: str) -> bool:
    """Return whether two names of classes may be two spellings of one; numbers are not."""
    letters = any(map(str.isalpha, one)) and any(map(str.isalpha, two))
    return letters and _includes(one, two) and _includes(two, one)


def _same_word(word: str, wanted: str) -> bool:
    """Return whether a word is the wanted one, in another number, spelling or compound such as bronchopneumonia."""
    if word == wanted or {word, wanted} == {"tb", "tuberculosis"}:
        return True
    if not (word.isalpha() and wanted.isalpha()):
        return False
    if word.rstrip(_ENDINGS) == wanted.rstrip(_ENDINGS) != "" or (len(wanted) >= _LONG and wanted in word):
        return True
    # Oedema, tumour, two letters that changed places; not what "atypical" says of "typical".
    one, two = (text.replace("oe", "e").replace("ae", "e") for text in (word, wanted))
    close = abs(len(one) - len(two)) <= 2 and min(len(one), len(two)) >= _LONG - 1
    if one == two or not close or one.endswith(two) or two.endswith(one):
        return one == two
    return difflib.SequenceMatcher(None, one, two).ratio() >= _ALIKE


def _is_finding(word: str) -> bool:
    """Return whether one word is a finding: pneumonia may be joined with its kind or a number."""
    if word in _FINDINGS:
        return True
    kind = word.removeprefix("pneumonia") if word.startswith("pneumonia") else word.removesuffix("pneumonia")
    return kind != word and (kind in _NEUTRAL | {"", "e", "s"} or (kind.isdigit() and kind.strip("0") != ""))


class Classes:
    """The two classes of a source, known by their names."""

    def __init__(self, names: Mapping[str, str], rules: LabelRules, *, where: str) -> None:
        """Find out which names are the two classes.

        Args:
            names: every spelling that occurs, and where it occurs first, such as "line 3".
            rules: what the user says about them.
            where: the source, for messages.

        Raises:
            DataError: there are not two classes, or nothing tells which is positive.
        """
        self._rules = rules
        self._plain = {name: plain(name) for name in names}
        chosen = {plain(name) for name in (rules.positive, rules.negative) if name is not None}
        self._nothing = {known for name, known in self._plain.items() if says_nothing(name)} - chosen
        self._doubt = {known for name, known in self._plain.items() if says_uncertain(name)} - chosen
        self._nothing |= _codes(set(self._plain.values()) - self._nothing - self._doubt) - chosen
        self._spelling: dict[str, str] = {}
        for name, known in self._plain.items():
            if known not in self._nothing | self._doubt:
                self._spelling.setdefault(known, name)
        self.positive, self.negative = self._find(self._spelling, names, where)
        healthy = self.negative is not None and says_class(self.negative) == Verdict.NEGATIVE
        ill = (
            {known for known in self._plain.values() if says_class(known) != Verdict.NEGATIVE}
            if healthy
            else set[str]()
        )
        self._ill = ill - {self.positive}  # what an image that is NORMAL has not
        # Where the user has said nothing, even a doubt about something else is asked about.
        if self.positive is not None and (None not in (rules.positive, rules.negative) or rules.uncertain != "refuse"):
            self._doubt = {known for known in self._doubt if not doubts_another(known, self.positive)}

    def _find(self, spelling: dict[str, str], names: Mapping[str, str], where: str) -> tuple[str | None, str | None]:
        """Return the plain names of the positive and the negative class, the latter perhaps REST; None: has none."""
        shown = sorted(spelling.values())
        positive, negative = self._rules.positive, self._rules.negative
        if positive is not None and negative is not None:
            self._require(positive, "positive", spelling, where)
            if negative != REST:
                self._require(negative, "negative", spelling, where)
            if plain(positive) == plain(negative):
                raise DataError(f"{where}: 'data.positive' and 'data.negative' are both {positive!r}; correct one.")
            if negative == REST and (same := [name for name in spelling if _includes(name, plain(positive))]):
                raise DataError(
                    f"{where}: {names[spelling[same[0]]]} has the label {_short(spelling[same[0]])}, which has "
                    f"{positive!r}, or what reads like it, in it, but would count as NORMAL, as 'data.negative' is "
                    f"{REST!r}; write several "
                    "findings of one cell with | between them, relabel such images, or set 'data.negative' to the one "
                    "class that counts."
                )
            return plain(positive), negative if negative == REST else plain(negative)
        if len(spelling) > 2:
            third = list(spelling.values())[2]
            raise DataError(
                f"{where}: {names[third]} has the label {_short(third)}, a third class beside "
                f"{' and '.join(map(_short, list(spelling.values())[:2]))}, expected two; remove or relabel such "
                f"images, or set 'data.positive' and 'data.negative' to the two that count (of {_listed(shown)}), "
                "or 'data.classes' to all that do."
            )
        self._check_count(shown, where)
        return self._by_name(spelling, where)

    def _check_count(self, shown: list[str], where: str) -> None:
        """Stop at fewer than two classes, unless labels that are none are yet to be refused or to become one."""
        if len(shown) == 2 or any(choice != "drop" for choice in self._choices()):
            return
        if not shown:
            raise DataError(f"{where}: no label names a class, expected two classes; fill the labels in.")
        raise DataError(
            f"{where}: all labels are {self._spellings(shown[0])}, expected images of two classes; add images of the "
            "other one."
        )

    def _spellings(self, name: str) -> str:
        """Return a class with what else it is written as: nobody takes -0 for 0 but we."""
        written = [one for one, known in self._plain.items() if known == plain(name)]
        return _listed(written) + (", which mean the same" if len(written) > 1 else "")

    def _choices(self) -> set[Choice]:
        """Return what is to be done about the labels here that are no class."""
        known = set(self._plain.values())
        said = ((self._nothing, self._rules.blank), (self._doubt, self._rules.uncertain))
        return {choice for words, choice in said if words & known}

    def _by_name(self, spelling: dict[str, str], where: str) -> tuple[str | None, str | None]:
        """Tell the positive one of at most two classes from the other."""
        found = sorted(spelling)
        if not found:
            return None, None
        shown = " and ".join(_short(spelling[name]) for name in found)
        for field, given in (("positive", self._rules.positive), ("negative", self._rules.negative)):
            if given is None or given == REST:
                continue
            if plain(given) not in found:
                raise DataError(
                    f"{where}: has the classes {shown}, but 'data.{field}' is {given!r}; expected one of the two, so "
                    "correct it."
                )
            if len(found) == 2 and _same_name(*found):
                raise DataError(
                    f"{where}: has the classes {shown}, which read like two spellings of one, but 'data.{field}' is "
                    f"{given!r} alone; relabel one, or set both 'data.positive' and 'data.negative'."
                )
            return _ordered(plain(given), found, positive=field == "positive")
        if self._rules.label is not None and not _TRUTH.isdisjoint(found) and not says_present(self._rules.label):
            raise DataError(
                f"{where}: 'data.label' is {self._rules.label!r}, a finding or the lack of one, with the cells "
                f"{shown}; expected a name that is known to be a finding's, so set 'data.positive' to the cell that "
                "counts as PNEUMONIA."
            )
        senses = [_sense(name) for name in found]
        # One word that is known says nothing about the other: beside a 1 may be a word for "not read yet".
        # Without another finding than the positive one, such as "no effusion", a chest may have a pneumonia.
        certain = None not in senses and len(set(senses)) == len(found)
        if certain and not (len(found) == 2 and any(doubts_another(one, other) for one, other in (found, found[::-1]))):
            return _ordered(found[0], found, positive=senses[0] == Verdict.POSITIVE)
        others = self._choices() - {"drop"}
        # What blanks and doubt count as does not say what a word means that is not known: it may be "absent". Where
        # they are refused, that comes later, and with a place.
        if len(found) == 1 and (others == {"refuse"} or (others and senses[0] is not None)):
            return _ordered(found[0], found, positive=senses[0] != Verdict.NEGATIVE)
        if len(found) == 1:
            raise DataError(
                f"{where}: nothing tells whether {shown} is pneumonia; expected a name such as NORMAL or PNEUMONIA, so "
                "set 'data.positive' or 'data.negative' in the experiment to it."
            )
        raise DataError(
            f"{where}: nothing tells which of {shown} is pneumonia; expected names such as NORMAL and PNEUMONIA, so "
            "set 'data.positive' in the experiment to one of the two; the other counts as NORMAL."
        )

    def _require(self, given: str, field: str, spelling: dict[str, str], where: str) -> None:
        if plain(given) not in spelling:
            raise DataError(
                f"{where}: no label is {given!r}, which 'data.{field}' asks for; the labels are "
                f"{_listed(sorted(spelling.values()))}, so correct it."
            )

    def verdict(self, names: Iterable[str]) -> Verdict:
        """Return what one reading of an image, which may name several classes, makes of it."""
        said = {self._plain[name] for name in names}
        classes = said - self._nothing - self._doubt
        ill = classes & self._ill
        if said & self._doubt:
            if ill and classes == ill and self._rules.uncertain == "negative":  # what is certain is not NORMAL
                return Verdict.OTHER
            return Verdict.CONFLICT if classes else Verdict.UNCERTAIN
        if ill and self.negative in classes:  # healthy, and something else
            return Verdict.CONFLICT
        if any(_denies(one, other) for one in classes for other in classes):
            return Verdict.CONFLICT
        if self.positive in classes:
            return Verdict.CONFLICT if self.negative in classes else Verdict.POSITIVE
        if not classes:
            return Verdict.BLANK
        return Verdict.NEGATIVE if self.negative in (REST, *classes) else Verdict.OTHER

    def known(self, name: str) -> Verdict | None:
        """Return the class that a name, in whatever spelling, is; None: it is none of the two."""
        if (known := plain(name)) in self._spelling and known == self.positive:
            return Verdict.POSITIVE
        return Verdict.NEGATIVE if known in self._spelling and self.negative in (REST, known) else None

    def meaning(self, names: Sequence[str]) -> Verdict:
        """Return the verdict of names of which some may be on no image."""
        return self.verdict(names) if all(name in self._plain for name in names) else Verdict.OTHER

    @property
    def note(self) -> tuple[str, ...]:
        """Say which foreign class names count as which of ours."""
        if (self.negative, self.positive) == ("normal", "pneumonia"):
            return ()
        said = [
            f"{'everything else' if name == REST else repr(self._spelling[name])} {{}} {ours}"
            for name, ours in ((self.negative, "NORMAL"), (self.positive, "PNEUMONIA"))
            if name is not None
        ]
        return (" and ".join(said).replace("{}", "counts as", 1).replace("{}", "as", 1) + ".",) if said else ()


def _codes(classes: set[str]) -> set[str]:
    """Return the numbers among the names of classes that stand for a missing label: 9 beside 0 and 1."""
    others = classes - _CODES
    two = others == {"0", "1"} or (len(others) == 2 and None not in map(_sense, others))
    return classes & _CODES if two else set()


def _ordered(one: str, found: Sequence[str], *, positive: bool) -> tuple[str | None, str | None]:
    """Return the positive and the negative class of at most two, of which `one` is known."""
    other = next((name for name in found if name != one), None)
    return (one, other) if positive else (other, one)


def agreed(verdicts: Iterable[Verdict]) -> Verdict:
    """Return what several readings of one image make of it: what all of them say, or a conflict."""
    said = set(verdicts)
    if len(said) > 1:
        said.discard(Verdict.BLANK)
    if len(said) > 1:  # a reading that names other classes only is no contradiction to doubt
        said -= {Verdict.OTHER} if Verdict.UNCERTAIN in said else set()
    return said.pop() if len(said) == 1 else Verdict.CONFLICT


def settle(found: Sequence[Found], rules: LabelRules, *, where: str) -> tuple[list[int | None], tuple[str, ...]]:
    """Return the label, 0 or 1, of every image, None where it is left out, and sentences about what was decided.

    Args:
        found: N images.
        rules: what the user says about images without a certain label.
        where: the source, for messages.

    Raises:
        DataError: an image has no certain label and nothing says what it counts as.
    """
    choice = {Verdict.NEGATIVE: 0, Verdict.POSITIVE: 1, Verdict.OTHER: None}
    notes = []
    counts = Counter(image.verdict for image in found)
    for kinds, field in (((Verdict.BLANK,), "blank"), ((Verdict.UNCERTAIN, Verdict.CONFLICT), "uncertain")):
        chosen = rules.blank if field == "blank" else rules.uncertain
        first = next((image for image in found if image.verdict in kinds), None)
        if first is None:
            continue
        if chosen == "refuse":
            raise DataError(f"{where}: {_complaint(first, field, sum(counts[kind] for kind in kinds), len(found))}")
        done = {"drop": "left out", "negative": "counted as NORMAL", "positive": "counted as PNEUMONIA"}[chosen]
        these = [image for image in found if image.verdict in kinds]
        texts = [image.text for image in these if image.verdict == Verdict.CONFLICT]
        doubts = [image.doubt for image in these if image.doubt]
        notes.append(decided(len(these), len(found), done, field, conflicts=texts, doubts=doubts))
        choice |= dict.fromkeys(kinds, {"drop": None, "negative": 0, "positive": 1}[chosen])
    if counts[Verdict.OTHER]:
        names = Counter(image.text for image in found if image.verdict == Verdict.OTHER)
        notes.append(
            f"{counts[Verdict.OTHER]} of {len(found)} images are of other classes and were left out: "
            f"{_listed([name for name, _ in names.most_common()])}."
        )
    return [choice[image.verdict] for image in found], tuple(notes)


def _complaint(first: Found, field: str, count: int, total: int) -> str:
    how = f"set 'data.{field}' to drop, negative or positive ({count} of {total} images are like this)"
    if first.verdict == Verdict.CONFLICT:
        return f"{first.text}; correct one, or {how}."
    if first.doubt:
        return f"{first.doubt}, a doubt about its label; correct it, remove the column, or {how}."
    if first.verdict == Verdict.BLANK:
        seen = f" ({first.text!r} says nothing)" if first.text.strip() else ""
        return f"{first.place} has no usable label; fill it in or remove it{seen}, or {how}."
    return f"{first.place} has the uncertain label {_short(first.text)}; correct or remove it, or {how}."


def decided(count: int, total: int, done: str, field: str, *, conflicts: Sequence[str], doubts: Sequence[str]) -> str:
    """Say what was done about images without a certain label.

    Args:
        count: such images.
        total: all images.
        done: what was done.
        field: of the rules, that says so.
        conflicts: what contradicts what, of those whose labels do.
        doubts: what another column says, of those whose labels are in doubt by it.
    """
    words = "no label" if field == "blank" else "an uncertain label or two that contradict each other"
    which = ""
    if conflicts:
        which += f" Labels of {len(conflicts)} contradict each other: {conflicts[0].partition(', expected')[0]}."
    if doubts:
        which += f" Another column doubts those of {len(doubts)}: {doubts[0]}."
    return f"{count} of {total} images have {words}: {done}, as 'data.{field}' says.{which}"


def _short(name: str) -> str:
    return repr(name) if len(name) <= 40 else f"{name[:40]!r}..."


def _listed(names: Sequence[str]) -> str:
    """Name a few of many."""
    rest = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return ", ".join(map(_short, names[:6])) + rest
