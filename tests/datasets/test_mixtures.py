"""Who is who when only some images say so: no patient on two sides, and every number that is printed is a recount.

The kind of fault: a rule that is right where all images have an id, or none has, and wrong or silent in between. So the
mixtures are drawn: ids in the table, in DICOM headers, in names, or nowhere; an anonymiser's constant; an issuer in
some files only. The reference knows each image's real person, and joins what the evidence joins, pair by pair.
"""

import re
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from datasets.patients import number_people
from datasets.xray import XrayData
from tests.datasets.made import everything, image, load, png, table, write
from tests.dicom_files import content, make

CONSTANT = "ZZ-SITE-7"


@dataclass(frozen=True)
class Case:
    """What one image says about its person."""

    person: int
    in_table: bool
    in_header: str  # "", "id", "issuer", "constant", "nobody"; no DICOM file where ""
    in_name: bool

    def name(self, i: int) -> str:
        """The file's name, as the i-th of the source."""
        return (
            f"{f'person{self.person}_virus_{i}' if self.in_name else f'x{i:03d}'}.{'dcm' if self.in_header else 'png'}"
        )

    @property
    def evidence(self) -> list[str | None]:
        """The ids of each kind, the best first, as they are meant: a constant and a word for nobody are none."""
        header = f"h{self.person}" if self.in_header in ("id", "issuer") else None
        return [f"t{self.person}" if self.in_table else None, header, f"n{self.person}" if self.in_name else None]


def source(root: Path, cases: list[Case]) -> Path:
    rows = []
    for i, case in enumerate(cases):
        ids = {"id": f"H{case.person}", "issuer": f"H{case.person}", "constant": CONSTANT, "nobody": "ANONYMIZED"}
        extra = {"IssuerOfPatientID": "Clinic"} if case.in_header == "issuer" else {}
        who = ids.get(case.in_header)
        write(root, {case.name(i): png(i) if who is None else content(make(image(i), bits=8, PatientID=who, **extra))})
        rows.append((case.name(i), i % 2, f"P{case.person}" * case.in_table))
    return table(root / "labels.csv", rows, "path,label,patient")


def reference(cases: list[Case]) -> list[set[int]]:
    """Return, for each image, which images are of the same person as far as anything tells."""
    n = len(cases)
    best = [next((k for k, known in enumerate(case.evidence) if known), 9) for case in cases]
    linked = np.eye(n, dtype=bool)
    for a in range(n):
        for b in range(n):
            for kind in range(3):
                same = cases[a].evidence[kind] is not None and cases[a].evidence[kind] == cases[b].evidence[kind]
                # The better kinds of one of the two are missing, or of some third image that shares this id.
                needed = any(
                    best[c] == kind and cases[c].evidence[kind] == cases[a].evidence[kind] for c in range(n) if same
                )
                linked[a, b] |= same and needed
    for k in range(n):
        linked |= linked[:, [k]] & linked[[k], :]
    return [set(np.flatnonzero(row).tolist()) for row in linked]


def check(cases: list[Case], data: XrayData) -> None:
    """Compare the groups with the reference, and every number that is printed with a count."""
    n, notes = len(cases), data.report.notes
    splits = {"train": data.train, "val": data.val, "test": data.test}
    group = {name: int(g) for split in splits.values() for name, g in zip(split.names, split.patients, strict=True)}
    numbers = [group[case.name(i)] for i, case in enumerate(cases)]
    together = reference(cases)
    assert [{j for j in range(n) if numbers[j] == numbers[i]} for i in range(n)] == together

    sides = {name: set(split.patients.tolist()) for name, split in splits.items()}
    assert not (sides["train"] & sides["val"] | sides["train"] & sides["test"] | sides["val"] & sides["test"])
    assert data.report.train_val_patient_overlap == data.report.patients_in_train_and_test == 0

    text = " ".join(notes)
    unknown = sum(not any(case.evidence) for case in cases)
    said = re.findall(r"(\d+) of (\d+) images have no patient", text)
    assert said == ([(str(unknown), str(n))] if 0 < unknown < n else [])
    assert ("No patient is known" in text) == (unknown == n)
    ((count, share, unit),) = re.findall(
        r"no test split: (\d+) images, about (\d+)%, were set aside by ([a-z ,]+);", text
    )
    assert int(count) == len(data.test) and int(share) == round(100 * len(data.test) / n)
    assert unit == ("images" if unknown == n else "whole patients" if not unknown else
                    "whole patients, and by images where no patient is known")  # fmt: skip
    nobody = {kind: sum(case.in_header == kind for case in cases) for kind in ("constant", "nobody")}
    carried = re.findall(r"(\d+) of \d+ images carry one patient id in their DICOM headers", text)
    carried += [str(n)] if "All DICOM headers carry one patient id" in text else []
    assert sorted(carried) == sorted(str(count) for count in nobody.values() if count)
    known = Counter(min(together[i]) for i in range(n) if any(cases[i].evidence))
    large = sorted((count for count in known.values() if count >= max(10, 0.1 * n)), reverse=True)
    who = "One patient has" if len(large) == 1 else f"{len(large)} patients have"
    said = re.findall(r"(\w+ patients? ha(?:s|ve)) ([\d and]+) of (\d+) images \((\d+)%\)", text)
    assert said == ([(who, " and ".join(map(str, large)), str(n), f"{sum(large) / n:.0%}"[:-1])] if large else [])
    if any(any(case.evidence) for case in cases) and unknown:
        assert any("have no patient" in warning for warning in data.report.warnings)


@st.composite
def mixtures(draw: st.DrawFn) -> list[Case]:
    """Draw about 100 images of which some kinds of evidence are rare, usual or absent."""
    kinds = draw(st.lists(st.sampled_from(["", "id", "issuer", "nobody"]), min_size=1, max_size=4))
    constant = draw(st.sampled_from([0.0, 0.0, 0.7, 1.0]))  # a rarer one is taken for a person: another test
    in_table, in_name = draw(st.sampled_from([0.0, 0.5, 0.9, 1.0])), draw(st.sampled_from([0.0, 0.3, 1.0]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return [
        Case(
            int(rng.integers(0, 50)),
            bool(rng.random() < in_table),
            "constant" if i % 10 < 10 * constant else str(rng.choice(kinds)),
            bool(rng.random() < in_name),
        )
        for i in range(int(rng.integers(90, 110)))
    ]


@settings(max_examples=8, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(mixtures())
def test_any_mixture(cases: list[Case]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        check(cases, load(source(Path(folder), cases)))


@pytest.mark.parametrize("carriers", [40, 59, 61, 90])
def test_an_anonymisers_constant_in_most_files(tmp_path: Path, carriers: int) -> None:
    """More than half of all files: no person. Fewer: taken for one, which is kept on one side, and named."""
    for i in range(120):
        who = CONSTANT if i < carriers else f"H{i:05d}"
        write(
            tmp_path, {f"{('NORMAL', 'PNEUMONIA')[i % 2]}/{i:03d}.dcm": content(make(image(i), bits=8, PatientID=who))}
        )
    data = load(tmp_path)
    groups = Counter([*data.train.patients, *data.val.patients, *data.test.patients])
    warnings = " ".join(data.report.warnings)
    if carriers > 60:
        assert (
            f"{carriers} of 120 images carry one patient id in their DICOM headers, as anonymised ones do" in warnings
        )
        assert f"{carriers} of 120 images have no patient: each counts as a patient of its own" in warnings
        assert set(groups.values()) == {1} and len(data.test) == 24
    else:
        assert f"One patient has {carriers} of 120 images ({carriers / 1.2:.0f}%): if that is no person" in warnings
        assert max(groups.values()) == carriers
        sides = [split.patients.tolist() for split in (data.train, data.val, data.test)]
        assert sorted(side.count(groups.most_common(1)[0][0]) for side in sides) == [0, 0, carriers]
    assert f"{len(data.test)} images, about {len(data.test) / 120:.0%}, were set aside" in " ".join(data.report.notes)


@pytest.mark.parametrize("word", ["anonymous", "Anonymized", "NONE", "unknown", "***", "N/A", "XXXX"])
def test_a_word_for_nobody_is_no_patient(tmp_path: Path, word: str) -> None:
    rows = [(f"{i}.png", i % 2, word if i % 4 == 0 else f"{i}") for i in range(40)]
    write(tmp_path, {row[0]: png(i) for i, row in enumerate(rows)})
    data = load(table(tmp_path / "x.csv", rows, "path,label,patient"))
    assert "10 of 40 images have no patient: each counts" in " ".join(data.report.warnings)
    assert len({*data.train.patients, *data.val.patients, *data.test.patients}) == len(everything(data)) == 40


def test_a_patient_called_0_is_a_patient(tmp_path: Path) -> None:
    rows = [(f"{i}.png", i // 2 % 2, str(i // 2)) for i in range(40)]
    write(tmp_path, {row[0]: png(i) for i, row in enumerate(rows)})
    data = load(table(tmp_path / "x.csv", rows, "path,label,patient"))
    assert len({*data.train.patients, *data.val.patients, *data.test.patients}) == 20 and not data.report.warnings


def test_an_issuer_in_some_files_only() -> None:
    a, b, x, y = b"a" * 32, b"b" * 32, b"x" * 32, b"y" * 32
    numbers = number_people([a + x, a + y, a, b + x, b + y, None, b"", b + x]).tolist()
    assert numbers[0] == numbers[1] == numbers[2] and numbers[3] == numbers[7] != numbers[4]
    assert numbers[5:7] == [-1, -2] and min(numbers[:5]) == 0 and max(numbers) == 2
