"""Every module of ours keeps its properties, proven for runs of any length, and the proofs are not empty."""

from pathlib import Path

import pytest

from tests.rtl.proofs import FORMAL, prove, tasks
from tests.rtl.verilator_env import RTL

MODULES = sorted(path.stem for path in RTL.glob("*.sv"))


def test_every_module_has_proofs() -> None:
    assert sorted(path.stem for path in FORMAL.glob("*.sby")) == MODULES


@pytest.mark.slow
@pytest.mark.parametrize(("module", "task"), [(m, t) for m in MODULES for t in tasks(m)])
def test_proof(module: str, task: str, tmp_path: Path) -> None:
    status, log = prove(module, task, tmp_path / "sby")
    assert status == "PASS", log
    assert ("successful proof by k-induction" in log) == (task != "covers")
