"""Groups are checked against a brute-force transitive closure."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.dicom import names_nobody, same_id
from datasets.patients import duplicates, group_images, patient_key, same_images


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("train/PNEUMONIA/person1_bacteria_2.jpeg", "person 1"),
        ("test/PNEUMONIA/person0001_virus_6.jpeg", "person 1"),
        ("train/PNEUMONIA/person517_virus_1035_2.jpeg", "person 517"),
        ("train/NORMAL/IM-0115-0001.jpeg", "IM 115"),
        ("train/NORMAL/NORMAL2-IM-0115-0001.jpeg", "IM 115"),
        ("train/NORMAL/IM-0683-0001-0002.jpeg", "IM 683"),
        ("train/PNEUMONIA/BACTERIA-1351146-0002.jpeg", "patient 1351146"),
        ("train/PNEUMONIA/VIRUS-1351146-0001.jpeg", "patient 1351146"),
        ("train/NORMAL/NORMAL-0049278-0001.jpeg", "patient 49278"),
        ("images/00000013_005.png", "patient 13"),
        ("train/NORMAL/20240131_005.png", "train/NORMAL/20240131_005"),
        ("train/NORMAL/scan.7.png", "train/NORMAL/scan.7"),
        ("train/NORMAL/person.png", "train/NORMAL/person"),
        ("train/NORMAL/xperson1_virus_6.png", "train/NORMAL/xperson1_virus_6"),
    ],
)
def test_patient_key(name: str, key: str) -> None:
    assert patient_key(name) == key


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("12.0", "12"),
        ("012", "12"),
        ("p 12", "P12"),
        ("\uff11\uff12", "12"),
        ("P-007", "p-7"),
        ("12,", "12"),
        ("0", "000"),
        ("AB-10", "AB10"),
        ("AB_10", "AB 10"),
        ("2024/15", "2024\u201315"),
    ],
)
def test_an_id_has_many_spellings(one: str, other: str) -> None:
    """The kind of fault: one patient on both sides, because the two ids are of two programs."""
    assert same_id(one) == same_id(other)


@pytest.mark.parametrize(
    ("patient", "nobody"),
    [("ANON^ANON", True), ("DUMMY", True), ("-1", True), ("-99.0", True), ("xxxx", True), ("0", False), ("1-1", False)],
)
def test_words_for_nobody(patient: str, nobody: bool) -> None:
    assert names_nobody(patient) == nobody


@pytest.mark.parametrize(("one", "other"), [("12", "120"), ("1.20", "1.2"), ("p1", "p10"), ("-1", "1")])
def test_two_ids_stay_two(one: str, other: str) -> None:
    assert same_id(one) != same_id(other)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=20))
def test_groups_are_the_transitive_closure(images: list[tuple[int, int, int]]) -> None:
    names = [f"person{person}_virus_{i}.png" for i, (person, _, _) in enumerate(images)]
    contents = [f"{content}" for _, content, _ in images]
    pixels = np.array([[[value]] for _, _, value in images], dtype=np.uint8)
    copies = same_images(contents, pixels)
    keys = {key: i for i, key in enumerate(map(patient_key, names))}
    groups = group_images(np.array([keys[patient_key(name)] for name in names]), copies)
    twice = duplicates(names, copies)

    n = len(images)
    linked = np.array([[any(p == q for p, q in zip(a, b, strict=True)) for b in images] for a in images])
    for k in range(n):
        linked |= linked[:, [k]] & linked[[k], :]
    np.testing.assert_array_equal(groups[:, None] == groups[None, :], linked)
    copied = {name for group in twice for name in group}
    shares = [any(a[1] == b[1] or a[2] == b[2] for j, b in enumerate(images) if j != i) for i, a in enumerate(images)]
    assert copied == {name for name, shared in zip(names, shares, strict=True) if shared}
    assert all(len(group) > 1 for group in twice)
