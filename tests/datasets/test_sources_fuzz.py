"""A few hostile sources of each kind; `make fuzz` tries thousands."""

from pathlib import Path

import pytest

from tests import fuzzing
from tests.fuzz_sources import TARGETS


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_a_source_is_loaded_or_refused_in_a_sentence(tmp_path: Path, target: fuzzing.Target) -> None:
    outcome = fuzzing.run(target, 30, seed=5, found=tmp_path)
    assert not outcome.findings, outcome.findings
    assert outcome.accepted and outcome.refused
