"""The stages as one table: no folder in another's, nothing deleted that another made, nothing shown that is stale.

The kind of fault: a stage lies in another one's folder, and making that one again, for whatever reason, deletes hours
of simulation, of Yosys, or of a Vivado on somebody else's machine.
"""

import json
import shutil
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import yaml

from contract.errors import ConfigError
from contract.manifest import load_manifest
from cxrflow.code import closure
from cxrflow.console import Console
from cxrflow.experiment import Experiment, load_experiment
from cxrflow.runs import read_stamp
from cxrflow.stage_table import IMPORT, SHELLS, STAGES, TRAINING, stages_of, table
from cxrflow.stages import INPUTS, WORK, Run, TrainingInterruptedError
from tests.cxrflow.conftest import REPOSITORY, Place
from tests.cxrflow.test_sources import forged

__all__ = ["forged"]  # a fixture
BOARD = "pynq-z2"


def test_every_row_has_its_function_and_every_function_its_row() -> None:
    assert WORK.keys() == STAGES.keys() >= INPUTS.keys()
    seen = set[str]()
    for name, row in STAGES.items():
        assert row.reads.keys() <= seen and row.may_read.keys() <= seen, name  # in the order in which they are made
        assert row.does.endswith(".") and row.without, name
        assert all(closure(module) for module in row.code), name
        seen.add(name)
    assert SHELLS == {"axi_dma": "bitstream", "finn_iodma": "bitstream_iodma"}


@pytest.mark.parametrize("front", [TRAINING, IMPORT])
def test_no_stage_of_a_run_lies_in_another_ones_folder(front: str) -> None:
    stages = stages_of(front)
    assert all(before in stages for row in stages.values() for before in (*row.reads, *row.may_read))
    for one, other in permutations(stages.values(), 2):
        assert not other.place(Path(), BOARD).is_relative_to(one.place(Path(), BOARD))


@pytest.mark.parametrize("before", [None, "name: before\n"])
@pytest.mark.parametrize(
    ("stop", "epochs", "kept"),
    [
        (ConfigError("the training diverged."), 2, False),
        (ConfigError("there is no GPU."), 0, False),
        (KeyboardInterrupt(), 0, False),
        (TrainingInterruptedError("interrupted."), 2, True),
    ],
)
def test_a_training_is_recorded_once_there_is_something_to_resume(
    tmp_path: Path, before: str | None, stop: BaseException, epochs: int, kept: bool
) -> None:
    run = Run(Experiment.model_validate({"name": "x", "build": {"target_fps": 1000}}), tmp_path, Console())
    file = run.folder / "experiment.yaml"
    if before is not None:
        run.folder.mkdir()
        file.write_text(before, encoding="utf-8")
    told: list[dict[str, float]] = []
    with pytest.raises(type(stop)), run.recording(told.append) as on_epoch:
        for epoch in range(epochs):
            on_epoch({"epoch": epoch})
        raise stop
    assert len(told) == epochs
    if kept:
        assert load_experiment(file) == run.experiment
    else:
        assert (file.read_text(encoding="utf-8") if file.exists() else None) == before


def test_the_docs_show_the_table() -> None:
    assert table() in (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")


def rebuild(place: Place, **build: Any) -> None:
    """Build again, for another folding or for the same one as if the code had changed."""
    source = yaml.safe_load((place.folder / "tiny.yaml").read_text(encoding="utf-8"))["data"]
    place.experiment(data=source, build=build)
    stamp = place.run / "build" / BOARD / "stage.json"
    content = json.loads(stamp.read_text(encoding="utf-8"))
    stamp.write_text(json.dumps(content | {"key": "of other code"}), encoding="utf-8")
    outcome = place("build", "tiny.yaml")
    assert outcome.code == 0 and "nothing changed" not in outcome.err, outcome.err


def files(run: Path) -> dict[str, bytes]:
    """All that lies outside the build."""
    build = run / "build" / BOARD
    inside = (path for path in run.rglob("*") if path.is_file() and not path.is_relative_to(build))
    return {str(path.relative_to(run)): path.read_bytes() for path in inside if path.parent != run}


def test_another_build_deletes_nothing_and_what_was_made_of_the_earlier_one_is_not_used(forged: Place) -> None:
    results = forged.run / "vivado" / BOARD / "results"
    results.mkdir(parents=True)
    (results / "accelerator.bit").write_text("brought")
    assert forged("package", "tiny.yaml").code == 0
    assert load_manifest(forged.run / "deploy" / BOARD / "accelerator.json").hardware is not None
    before = files(forged.run)
    rebuild(forged, target_fps=1000)
    assert files(forged.run) == before
    for command in ("ip", "package"):
        outcome = forged(command, "tiny.yaml")
        assert outcome.code == 0
        assert "sim/pynq-z2 was made from an earlier build and is left out; `cxrflow simulate` makes" in outcome.err
    assert load_manifest(forged.run / "deploy" / BOARD / "accelerator.json").hardware is None
    assert forged("report", "tiny").code == 0
    html = (forged.run / "report.html").read_text(encoding="utf-8")
    assert "The RTL, simulated: made from an earlier build" in html
    assert not [name for name in before if name not in files(forged.run) and not name.startswith(("ip/", "deploy/"))]


def test_the_same_build_made_again_leaves_everything_good(forged: Place) -> None:
    """An edit that changes the key and not the result: whoever reads the build is as good as before."""
    rtl = forged.run / "build" / BOARD / "rtl"
    shutil.copytree(rtl, forged.folder / "rtl")
    for stage in ("synth", "synth_vivado"):  # of made-up estimates, which the new build does not have
        shutil.rmtree(forged.run / stage)
    stamp = read_stamp(forged.run / "build" / BOARD)
    rebuild(forged)
    again = read_stamp(forged.run / "build" / BOARD)
    assert stamp is not None and again is not None
    changed = {name for name in stamp.files if stamp.files[name] != again.files.get(name)}
    assert not [name for name in changed if name.startswith("rtl/") or name in ("build.json", "folding.json")], changed


@pytest.fixture
def earlier(finished: Place) -> Place:
    """A run as earlier versions left it: simulation, project and results inside the build."""
    build = finished.run / "build" / BOARD
    for name, file in (("sim", "sim.json"), ("vivado", "settings.tcl"), ("vivado/results", "accelerator.bit")):
        (build / name).mkdir()
        (build / name / file).write_text("{}")
        if "/" not in name:
            (build / name / "stage.json").write_text(
                json.dumps({"key": "", "inputs": {}, "experiment": {}, "files": {}})
            )
    return finished


def test_an_earlier_versions_run_is_told_the_command_and_loses_nothing(earlier: Place) -> None:
    words = ("is of an earlier version of cxrflow, with sim, vivado inside it", "Run `cxrflow build` again")
    before = {str(p.relative_to(earlier.run)): p.read_bytes() for p in earlier.run.rglob("*") if p.is_file()}
    for command in (
        ("simulate", "tiny.yaml"),
        ("ip", "tiny.yaml"),
        ("package", "tiny.yaml"),
        ("report", "tiny"),
        ("results",),
    ):
        earlier(*command).assert_refused(*words)
    outcome = earlier("build", "tiny.yaml")
    assert outcome.code == 0 and "is now runs/tiny/build/pynq-z2.earlier" in outcome.err, outcome.err
    kept = "build/pynq-z2.earlier"
    for name, content in before.items():
        if not name.endswith("experiment.yaml"):
            path = earlier.run / name.replace("build/pynq-z2", kept)
            assert path.read_bytes() == content
    for command in (("ip", "tiny.yaml"), ("package", "tiny.yaml"), ("report", "tiny"), ("results",)):
        assert earlier(*command).code == 0


def test_an_export_of_other_settings_is_made_again(forged: Place) -> None:
    exported = forged.folder / "runs" / "tiny" / "export" / "export.json"
    for bits in (8, 10, None):
        outcome = forged("export", "tiny.yaml", "--set", f"export.factor_bits={'null' if bits is None else bits}")
        assert outcome.code == 0, outcome.err
        narrowed = json.loads(exported.read_text(encoding="utf-8")).get("narrowed")
        assert (narrowed and narrowed["factor_bits"]) == bits
    assert "nothing changed" in forged("export", "tiny.yaml").err
