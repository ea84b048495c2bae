"""Some hostile artifacts; `make fuzz` tries ten thousand for each reader."""

from pathlib import Path

import torch

from tests import fuzz_artifacts, fuzzing
from tests.cxrflow.conftest import Place


def test_every_reader_accepts_or_refuses(finished: Place, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for target in fuzz_artifacts.targets(finished.run):
            outcome = fuzzing.run(target, 40, seed=1, found=tmp_path / "found", workers=1)
            kept = [path.read_text() for path in (tmp_path / "found").rglob("finding.txt")]
            assert outcome.findings.total() == 0, kept
            assert outcome.accepted and (outcome.refused or target.name == "stage.json"), outcome
    finally:
        torch.set_num_threads(threads)
