"""`cxrflow bitstream` and `cxrflow synth`, as commands: what is left on a machine without Vivado and on one with it."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from contract.manifest import load_manifest
from driver.package import open_package
from tests.cxrflow.conftest import SIMULATED, Place
from tests.finn_build.flows.finn_iodma.docker_bench import fake_docker
from tests.finn_build.flows.vivado.vivado_model import HWH, Scenario

COMMAND = "vivado -mode batch -notrace -nojournal -log build.log -source build.tcl"


@pytest.fixture
def verified(finished: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A finished run whose simulation is made up: the real one is tested elsewhere and takes half a minute."""
    import finn_build.verify

    def simulate(build: Path, export: Path, out: Path, *_: Any, **__: Any) -> None:
        out.mkdir()
        (out / "sim.json").write_text(json.dumps(SIMULATED), encoding="utf-8")
        (out / "harness").write_text("", encoding="utf-8")

    monkeypatch.setattr(finn_build.verify, "simulate_build", simulate)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    return finished


@pytest.fixture
def with_vivado(verified: Place, monkeypatch: pytest.MonkeyPatch) -> Callable[[Scenario], Place]:
    def install(scenario: Scenario) -> Place:
        for name, value in scenario.environment(verified.folder / "scenario").items():
            monkeypatch.setenv(name, value)
        return verified

    return install


def bits(place: Place) -> list[Path]:
    return list(place.folder.rglob("*.bit"))


def hwh_of(place: Place, stream_bits: int) -> str:
    return HWH.replace('VALUE="64"', f'VALUE="{stream_bits}"')


def stream_bits(place: Place) -> int:
    design = place.run / "build" / "pynq-z2" / "rtl" / "design.json"
    return int(json.loads(design.read_text(encoding="utf-8"))["input"]["bits"])


def test_without_vivado_everything_up_to_it_is_done(verified: Place) -> None:
    outcome = verified("bitstream", "tiny.yaml")
    outcome.assert_refused(f"`cd runs/tiny/vivado/pynq-z2 && {COMMAND}`", "2022.2 to 2025.2", code=3)
    for made in ("vivado/pynq-z2/build.tcl", "ip/pynq-z2/component.xml", "sim/pynq-z2/sim.json"):
        assert (verified.run / made).is_file()
    assert not (verified.run / "bitstream").exists() or not list((verified.run / "bitstream" / "pynq-z2").iterdir())
    assert load_manifest(verified.run / "deploy" / "pynq-z2" / "accelerator.json").hardware is None  # as it was
    alone = verified("synth", "tiny.yaml", "--tool", "vivado")
    alone.assert_refused("-log synth.log -source synth.tcl", "`cxrflow synth --tool vivado`", code=3)


def test_a_new_build_keeps_what_somebody_brought_from_vivado(verified: Place) -> None:
    """Hours of another machine: neither a new build nor a new project deletes them or takes them for its own."""
    verified("bitstream", "tiny.yaml").assert_refused("Vivado is not on PATH", code=3)
    results = verified.run / "vivado" / "pynq-z2" / "results"
    results.mkdir()
    (results / "accelerator.bit").write_text("brought")
    source = yaml.safe_load((verified.folder / "tiny.yaml").read_text(encoding="utf-8"))["data"]
    verified.experiment(data=source, build={"target_fps": 1000})
    outcome = verified("build", "tiny.yaml")
    assert outcome.code == 0, outcome.err
    assert (results / "accelerator.bit").read_text() == "brought"
    verified("bitstream", "tiny.yaml").assert_refused("Vivado is not on PATH", code=3)
    assert (results / "accelerator.bit").read_text() == "brought"


def test_with_vivado_the_deploy_folder_has_the_bitstream(
    with_vivado: Callable[[Scenario], Place], finished: Place
) -> None:
    place = with_vivado(Scenario(hwh=hwh_of(finished, stream_bits(finished))))
    outcome = place("bitstream", "tiny.yaml")
    assert outcome.code == 0, outcome.err
    assert "setup slack 0.613 ns" in outcome.out and outcome.out.endswith("runs/tiny/deploy/pynq-z2\n")
    package = open_package(place.run / "deploy" / "pynq-z2")  # every hash compared
    assert {"accelerator.bit", "accelerator.hwh"} <= package.manifest.sha256.keys()
    hardware = package.manifest.hardware
    assert hardware is not None and (hardware.shell, hardware.dma) == ("axi_dma", {"dma": "axi_dma_0"})
    assert (package.folder / "accelerator.bit").read_bytes() == b"a bitstream"
    again = place("bitstream", "tiny.yaml")
    assert again.code == 0 and "bitstream: nothing changed" in again.err and "package: nothing changed" in again.err
    # One that was exchanged is noticed.
    (place.run / "bitstream" / "pynq-z2" / "axi_dma" / "accelerator.bit").write_bytes(b"another")
    place("package", "tiny.yaml").assert_refused("accelerator.bit was changed")


def test_a_failure_leaves_no_bitstream(with_vivado: Callable[[Scenario], Place]) -> None:
    place = with_vivado(Scenario(setup=-0.413))
    place("bitstream", "tiny.yaml").assert_refused("the clock is too fast", "-0.413 ns")
    assert not bits(place) and not (place.run / "bitstream" / "pynq-z2" / "axi_dma").exists()


def test_another_board(verified: Place) -> None:
    outcome = verified("bitstream", "tiny.yaml", "--board", "zcu104")
    outcome.assert_refused("cd runs/tiny/vivado/zcu104", code=3)
    settings = (verified.run / "vivado" / "zcu104" / "settings.tcl").read_text(encoding="utf-8")
    assert "xczu7ev-ffvc1156-2-e" in settings
    assert "nothing changed" in outcome.err  # the training and the export


class TestFinnsShell:
    def test_the_deploy_folder_has_its_bitstream(
        self, verified: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fake_docker(tmp_path, monkeypatch)
        outcome = verified("bitstream", "tiny.yaml", "--shell", "finn_iodma")
        assert outcome.code == 0, outcome.err
        hardware = open_package(verified.run / "deploy" / "pynq-z2").manifest.hardware
        assert hardware is not None and hardware.dma == {"input": "idma0", "output": "odma0"}
        assert (hardware.shell, hardware.output.packed_bytes, hardware.output.width_bits) == ("finn_iodma", 3, 24)
        # The other shell is another bitstream.
        verified("bitstream", "tiny.yaml").assert_refused("Vivado is not on PATH", code=3)

    def test_without_its_tools_everything_up_to_them_is_done(self, verified: Place) -> None:
        outcome = verified("bitstream", "tiny.yaml", "--shell", "finn_iodma")
        outcome.assert_refused("Vivado is not found", "everything up to it is done", code=3)


def test_what_is_refused_before_anything_runs(bare: Place) -> None:
    bare("bitstream", "tiny.yaml", "--shell", "axidma").assert_refused(
        "'axidma' is not a known shell", "axi_dma or finn_"
    )
    bare("bitstream", "tiny.yaml", "--board", "z2").assert_refused("'z2' is not a known board", "pynq-z2, zcu104")
    bare("synth", "tiny.yaml", "--tool", "quartus").assert_refused(
        "'quartus' is not a known tool, expected yosys or vivado"
    )
    bare("synth", "tiny.yaml").assert_refused("Run `cxrflow train` first.")
    assert not bare.run.exists() or not list(bare.run.iterdir())


class TestMake:
    """The Makefile's own part: SHELL is make's variable, and it is also what people call a shell."""

    def call(self, folder: Path, *arguments: str) -> str:
        root = Path(__file__).parents[2]
        command = ["make", "-n", "-C", str(root), "bitstream", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return next(line for line in done.stdout.splitlines() if "cxrflow bitstream" in line)

    @pytest.mark.skipif(shutil.which("make") is None, reason="make not found")
    def test_arguments(self, tmp_path: Path) -> None:
        assert self.call(tmp_path).split("cxrflow ")[1] == "bitstream experiments/w8a8.yaml --name demo"
        words = self.call(tmp_path, "BOARD=zcu104", "SHELL=finn_iodma", "EXPERIMENT=experiments/w1a1.yaml")
        assert words.split("cxrflow ")[1] == "bitstream experiments/w1a1.yaml --board zcu104 --shell finn_iodma"
        assert "--shell" not in self.call(tmp_path, "SHELL=/bin/sh")
