"""The harness of `make fuzz` sees what it looks for: each way in which a reader can fail is a finding of its own."""

import os
import signal
import time
from pathlib import Path
from random import Random

import pytest

from contract.errors import DataError
from tests import fuzzing

ACTS = ("accept", "refuse", "bug", "spin", "sleep", "eat", "hide", "die")


def act(folder: Path) -> None:
    """A reader of the first byte's wishes."""
    match ACTS[(folder / "a" / "wish").read_bytes()[0]]:
        case "refuse":
            raise DataError("No.")
        case "bug":
            raise IndexError("of ours")
        case "spin":
            while True:
                pass
        case "sleep":
            time.sleep(60)
        case "eat":
            bytearray(2 * fuzzing.MEMORY)
        case "hide":
            try:
                bytearray(2 * fuzzing.MEMORY)
            except MemoryError as err:
                raise DataError("Too large.") from err
        case "die":
            os.kill(os.getpid(), signal.SIGSEGV)


def test_every_failure_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzzing, "SECONDS", 0.3)
    monkeypatch.setattr(fuzzing, "WAITING", 1.2)
    wishes = iter(range(len(ACTS)))
    made = {n: bytes([next(wishes)]) for n in range(len(ACTS))}
    target = fuzzing.Target("acts", lambda rng: {"a/wish": made[rng.randrange(1000)]}, act)
    monkeypatch.setattr(fuzzing, "_numbers", lambda _target, _seed, index: Fixed(index))
    outcome = fuzzing.run(target, len(ACTS), found=tmp_path)
    assert (outcome.accepted, outcome.refused) == (1, 1)
    kinds = sorted(kind.split(" at ")[0] for kind in outcome.findings.elements())
    assert kinds == ["IndexError", "died of SIGSEGV", *["more than 0.3 s"] * 2, *["more than 1024 MiB"] * 2]
    kept = {path.name for path in (tmp_path / "acts").iterdir()}
    assert kept == {str(ACTS.index(wish)) for wish in ACTS[2:]}
    assert "IndexError: of ours" in (tmp_path / "acts" / "2" / "finding.txt").read_text()
    assert ", in act" in (tmp_path / "acts" / "2" / "finding.txt").read_text()
    assert "in act" in (tmp_path / "acts" / "7" / "finding.txt").read_text()
    assert (tmp_path / "acts" / "2" / "input" / "a" / "wish").read_bytes() == b"\x02"


class Fixed(Random):
    """Always the same number."""

    def __new__(cls, number: int) -> "Fixed":
        return super().__new__(cls)

    def __init__(self, number: int) -> None:
        super().__init__(0)
        self.number = number

    def randrange(self, *_: object) -> int:  # type: ignore[override]
        return self.number


def test_the_same_numbers_mutate_alike() -> None:
    whole = bytes(range(256)) * 8
    first, again = ([fuzzing.mutated(Random(seed), whole) for seed in range(300)] for _ in range(2))
    assert first == again and len(set(first)) > 150
