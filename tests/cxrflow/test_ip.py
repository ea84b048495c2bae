"""`cxrflow ip`, as a stage among the others."""

import json
import shutil
from pathlib import Path

import yaml

from cxrflow.runs import read_stamp, run_stage
from tests.cxrflow.conftest import SIMULATED, Place, reads_of


def test_once_and_not_again(finished: Place) -> None:
    first = finished("ip", "tiny.yaml")
    folder = finished.run / "ip" / "pynq-z2"
    assert first.code == 0, first.err
    assert first.out == "runs/tiny/ip/pynq-z2\n"
    stamp = read_stamp(folder)
    assert stamp is not None and {"component.xml", "datasheet.md", "hdl/accelerator.v"} <= stamp.files.keys()
    assert (folder / "cxrflow_tiny.core").is_file()
    again = finished("ip", "tiny.yaml")
    assert again.code == 0 and "ip: nothing changed" in again.err
    assert read_stamp(folder) == stamp


def test_the_build_of_another_experiment_is_refused(finished: Place) -> None:
    source = yaml.safe_load((finished.folder / "tiny.yaml").read_text(encoding="utf-8"))["data"]
    finished.experiment(data=source, build={"clk_ns": 5.0})
    finished("ip", "tiny.yaml").assert_refused("was made for another experiment: build.clk_ns was 10.0, now 5.0")


def test_a_new_simulation_makes_it_again(finished: Place) -> None:
    """The datasheet shows what was measured."""
    assert finished("ip", "tiny.yaml").code == 0
    sheet = finished.run / "ip" / "pynq-z2" / "datasheet.md"

    def simulate(out: Path) -> None:
        out.mkdir()
        (out / "sim.json").write_text(json.dumps(SIMULATED), encoding="utf-8")

    inputs = {"reads": reads_of(finished.run, "simulate")}
    run_stage(finished.run / "sim" / "pynq-z2", inputs, {}, simulate, say=lambda _: None)
    assert "77 |" not in sheet.read_text(encoding="utf-8")
    again = finished("ip", "tiny.yaml")
    assert again.code == 0 and "ip: again, because reads.sim/pynq-z2/sim.json has changed" in again.err
    assert "| 77 |" in sheet.read_text(encoding="utf-8")


def test_a_changed_file_is_noticed(finished: Place) -> None:
    assert finished("ip", "tiny.yaml").code == 0
    (finished.run / "ip" / "pynq-z2" / "component.xml").write_text("", encoding="utf-8")
    finished("ip", "tiny.yaml").assert_refused("component.xml was changed")


def test_before_the_build(bare: Place) -> None:
    bare("ip", "tiny.yaml").assert_refused("is not there or not finished. Run `cxrflow train` first.")


def test_without_the_build(finished: Place) -> None:
    shutil.rmtree(finished.run / "build")
    finished("ip", "tiny.yaml").assert_refused("is not there or not finished. Run `cxrflow build` first.")
