"""Projects built by a stand-in for Vivado: every failure has its own message, and no bitstream outlives one."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from contract.errors import ArtifactError, CxrflowError, VendorToolError
from contract.record import read_record
from finn_build.flows.vivado import run as run_module
from finn_build.flows.vivado.flow import build_bitstream, synthesize
from finn_build.flows.vivado.listed import LISTED
from finn_build.flows.vivado.prepare import write_project
from finn_build.flows.vivado.run import command_line
from finn_build.licences import FINN, NOTICE
from finn_build.records import Routed
from finn_build.targets.boards import BOARDS
from tests.finn_build.flows.vivado.vivado_model import HWH, Scenario, timing_report, utilization_report, write_build
from tests.licences import require_licences


class Bench:
    """A project, and the stand-in on PATH."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.monkeypatch = folder, monkeypatch
        self.build, self.project, self.out = folder / "build", folder / "build" / "vivado", folder / "out"
        write_build(self.build)
        write_project(self.build, self.project)
        self.said: list[str] = []

    def run(
        self, scenario: Scenario | None = None, *, idle_minutes: float = 1.0, alone: bool = False
    ) -> dict[str, object]:
        for name, value in (scenario or Scenario(alone=alone)).environment(self.folder / "scenario").items():
            self.monkeypatch.setenv(name, value)
        work = synthesize if alone else build_bitstream
        return work(self.build, self.project, self.out, say=self.said.append, idle_minutes=idle_minutes)

    def fails(self, scenario: Scenario | None, *words: str, idle_minutes: float = 1.0, alone: bool = False) -> str:
        """Expect one sentence with all `words` and no trace of a bitstream."""
        with pytest.raises(CxrflowError) as caught:
            self.run(scenario, idle_minutes=idle_minutes, alone=alone)
        message = str(caught.value)
        for word in words:
            assert word in message, message
        assert "\n" not in message and message.endswith(".")
        assert not list(self.folder.rglob("*.bit")), list(self.folder.rglob("*.bit"))
        assert not self.out.exists()
        return message


def processes_in(folder: Path) -> list[bytes]:
    """Return the command lines of processes that name the folder."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it ended in the meantime
            lines.append(path.read_bytes())
    return [line for line in lines if str(folder).encode() in line]


def all_end(folder: Path, seconds: float = 120) -> bool:
    """Tell whether no process names the folder any more: one that is killed still takes the kernel a moment."""
    deadline = time.monotonic() + seconds
    while processes_in(folder) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not processes_in(folder)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(run_module, "POLL_S", 0.05)
    monkeypatch.setattr(run_module, "GRACE_S", 0.3)
    return Bench(tmp_path, monkeypatch)


def test_a_good_build(bench: Bench) -> None:
    content = bench.run(Scenario(boards=BOARDS["pynq-z2"].board_parts))
    assert content["board_file"] == "tul.com.tw:pynq-z2:part0:1.0"
    assert content["ps_clock_mhz"] == pytest.approx(99.999)
    assert content == json.loads((bench.out / "bitstream.json").read_text(encoding="utf-8"))
    assert (bench.out / "accelerator.bit").read_bytes() == b"a bitstream"
    assert (bench.out / "accelerator.hwh").read_text(encoding="utf-8") == HWH
    digest = subprocess.run(["sha256sum", bench.out / "accelerator.bit"], capture_output=True, text=True, check=True)
    assert content["sha256"]["accelerator.bit"] == digest.stdout.split()[0]  # type: ignore[index]
    assert (content["shell"], content["dma"], content["vivado"]) == ("axi_dma", {"dma": "axi_dma_0"}, "2024.2")
    assert (content["wns_ns"], content["whs_ns"], content["clock_mhz"]) == (0.613, 0.021, 100.0)
    assert content["fmax_mhz"] == pytest.approx(1e3 / (10 - 0.613))
    assert content["power"]["total_w"] == 1.612 and content["power"]["confidence"] == "Medium"  # type: ignore[index]
    assert content["used"] == {"LUT": 9120, "FF": 11034, "BRAM_18K": 33, "DSP": 25, "URAM": 0}
    layers = {layer["name"]: layer for layer in content["layers"]}  # type: ignore[attr-defined]
    assert layers.keys() == {"MVAU_rtl_0", "Thresholding_rtl_0", "MVAU_rtl_1"}
    first = layers["MVAU_rtl_0"]  # with its weight memory: 7 RAMB36 and a RAMB18
    assert {k: first[k] for k in ("LUT", "FF", "BRAM_18K", "DSP")} == {
        "LUT": 1030,
        "FF": 940,
        "BRAM_18K": 15,
        "DSP": 16,
    }
    assert read_record(bench.out / "bitstream.json", Routed).layers[0].amounts == {
        "lut": 1030, "ff": 940, "bram18": 15, "dsp": 16
    }  # fmt: skip
    assert content["accelerator"]["LUT"] == 5000  # type: ignore[index]
    assert {p.name for p in (bench.out / "reports").iterdir()} == {
        "timing_summary.rpt", "utilization.rpt", "utilization_hierarchical.rpt", "power.rpt",
    }  # fmt: skip
    assert any("synth_1 finished" in line for line in bench.said)


OVER = (
    "ERROR: [DRC UTLZ-1] Resource utilization: LUT as Logic over-utilized in Top Level Design (This design requires "
    "more LUT as Logic cells than are available in the target device. This design requires 76726 of such cell types "
    "but only 53200 compatible sites are available in the target device.)\n"
    "ERROR: [Vivado_Tcl 4-23] Error(s) found during DRC. Placer not run."
)
LICENCE = (
    "ERROR: [Common 17-345] A valid license was not found for feature 'Synthesis' and/or device 'xczu9eg'. Please run "
    "the Vivado License Manager for assistance in determining which features and devices are licensed for your system."
)
SYNTAX = (
    "ERROR: [Synth 8-439] module 'mvu_vvu_axi' not found [hdl/MVAU_rtl_0_wrapper.v:31]\n"
    "ERROR: [Synth 8-6156] failed synthesizing module 'accelerator' [hdl/accelerator.v:6]"
)
CRASH = "Abnormal program termination (11)\nPlease check 'hs_err_pid10402.log' for details"
MEMORY = (
    "CRITICAL WARNING: [Synth 8-4445] could not open $readmem data file './MVAU_rtl_0_weights.dat'; please make sure "
    "the file is added to project and has read permission, ignoring [hdl/memstream.sv:81]"
)


@pytest.mark.parametrize("streams", [True, False], ids=["printed", "in the run's log only"])
@pytest.mark.parametrize(
    ("run", "text", "words"),
    [
        ("synth_1", LICENCE, ("no licence for this part", "Common 17-345", "xczu9eg")),
        ("impl_1", OVER, ("does not fit the part", "DRC UTLZ-1", "76726", "build.target_fps")),
        ("synth_1", SYNTAX, ("Vivado failed", "Synth 8-439", "module 'mvu_vvu_axi' not found")),
    ],
    ids=["licence", "over-utilised", "error in synthesis"],
)
def test_the_first_error_of_a_run_is_shown(
    bench: Bench, run: str, text: str, words: tuple[str, ...], streams: bool
) -> None:
    message = bench.fails(Scenario(run=run, text=text, ends="error", streams=streams), *words)
    assert "Synth 8-6156" not in message and "Vivado_Tcl 4-23" not in message


@pytest.mark.parametrize(
    ("scenario", "words"),
    [
        (Scenario(setup=-0.413), ("too fast", "worst setup slack -0.413 ns", "build.clk_ns")),
        (Scenario(hold=-0.05), ("too fast", "worst hold slack -0.05 ns")),
        (Scenario(wrong="clockless"), ("there is no setup path: the clock does not reach the design",)),
        (Scenario(wrong="part"), ("no support for the part", "Coretcl 2-106")),
        (Scenario(wrong="catalog"), ("catalog has no processing_system7",)),
        (Scenario(wrong="clock"), ("wants 100.000000 MHz", "another build.clk_ns")),
        (Scenario(wrong="reset"), ("takes the reset for active high",)),
        (Scenario(wrong="unmapped"), ("an address range is not assigned", "BD 41-1356")),
        (Scenario(wrong="evaluation"), ("evaluation licence only", "Vivado 12-1790")),
        (Scenario(run="synth_1", text=MEMORY), ("weights or thresholds would be empty", "MVAU_rtl_0_weights.dat")),
        (Scenario(run="synth_1", text=MEMORY, streams=False), ("weights or thresholds would be empty",)),
    ],
    ids=lambda value: f"{value.wrong}, {value.setup:g}, {value.streams:d}" if isinstance(value, Scenario) else "",
)
def test_what_our_script_refuses(bench: Bench, scenario: Scenario, words: tuple[str, ...]) -> None:
    bench.fails(scenario, *words)


@pytest.mark.parametrize(
    ("reports", "words"),
    [
        ({"timing_summary": timing_report(pulse=-0.1)}, ("timing is not met at 100 MHz", "pulse width -0.1 ns")),
        ({"timing_summary": timing_report(setup=-0.2)}, ("timing is not met", "worst slack of setup -0.2 ns")),
        ({"timing_summary": timing_report(setup="NA")}, ("nothing was constrained",)),
        ({"timing_summary": timing_report(period=20)}, ("checked for a clock of 20 ns, expected 10 ns",)),
        ({"timing_summary": "garbage"}, ("timing report",)),
        (
            {"utilization": utilization_report(used={"LUT": 60000})},
            ("takes 60,000 LUT, but xc7z020clg400-1 has 53,200",),
        ),
        ({"utilization": utilization_report(used={"BRAM": 140.5})}, ("takes 281 BRAM_18K, but", "has 280")),
        ({"utilization": "garbage"}, ("utilization report has no LUT, FF",)),
        ({"utilization_hierarchical": "garbage"}, ("hierarchical utilization report has no instances",)),
        ({"power": "garbage"}, ("power report has no 'Total On-Chip Power (W)'",)),
        ({"hwh": HWH.replace("axi_dma_0", "axi_dma_1")}, ("has no cell axi_dma_0, found zynq_ps, axi_dma_1",)),
        ({"hwh": HWH.replace('VALUE="26"', 'VALUE="14"')}, ("c_sg_length_width of axi_dma_0 is 14, expected 26",)),
        ({"hwh": "<MODULE"}, ("is no hardware description",)),
    ],
)
def test_what_is_found_in_the_reports(bench: Bench, reports: dict[str, str], words: tuple[str, ...]) -> None:
    bench.fails(Scenario(reports=reports), *words)


def test_a_bitstream_that_is_refused_is_not_taken_the_next_time(bench: Bench) -> None:
    bench.fails(Scenario(reports={"timing_summary": timing_report(pulse=-0.1)}), "pulse width")
    assert bench.run()["wns_ns"] == 0.613 and (bench.out / "accelerator.bit").is_file()


class TestProcess:
    def test_a_crash_and_the_way_on(self, bench: Bench) -> None:
        message = bench.fails(
            Scenario(run="impl_1", text=CRASH, ends="crash"), "Vivado crashed: Abnormal program termin"
        )
        assert "goes on after the last finished run" in message
        bench.said.clear()
        bench.run()
        assert "INFO: [cxrflow] synth_1 is finished already" in bench.said
        assert any("Launched impl_1" in line for line in bench.said)
        assert not any("Launched synth_1" in line for line in bench.said)

    def test_a_hang_is_ended_with_all_its_processes(self, bench: Bench) -> None:
        start = time.monotonic()
        bench.fails(
            Scenario(run="synth_1", text="Starting RTL Elaboration", ends="hang"),
            "no sign of life for 0.01 minutes", "'Starting RTL Elaboration'", "--idle-minutes",
            idle_minutes=0.01,
        )  # fmt: skip
        assert time.monotonic() - start < 120
        assert all_end(bench.folder)

    def test_a_growing_log_of_a_run_is_a_sign_of_life(self, bench: Bench) -> None:
        log = bench.project / "project" / "shell.runs" / "impl_1" / "runme.log"
        log.parent.mkdir(parents=True)
        bench.monkeypatch.setenv("FAKE_MAIN", f"for i in 1 2 3 4 5 6 7 8; do echo x >> {log}; sleep 0.4; done; exit 7")
        bench.fails(None, "ended with code 7 without an error", idle_minutes=0.04)

    def test_one_that_ends_well_but_did_nothing(self, bench: Bench) -> None:
        bench.monkeypatch.setenv("FAKE_MAIN", "true")
        bench.fails(None, "ended well but left no")

    def test_an_error_of_tcl_itself(self, bench: Bench) -> None:
        said = 'invalid command name "get_ipdef"\\n    while executing\\n"get_ipdef x"\\n    (file "build.tcl" line 9)'
        bench.monkeypatch.setenv("FAKE_MAIN", f"printf '{said}\\n'; exit 1")
        bench.fails(None, 'Vivado failed. Its first error: invalid command name "get_ipdef".')

    def test_an_old_one_is_refused(self, bench: Bench) -> None:
        bench.monkeypatch.setenv("FAKE_VERSION", "Vivado v2020.1 (64-bit)")
        bench.fails(None, "is Vivado 2020.1, expected 2022.2 to 2025.2")
        bench.monkeypatch.setenv("FAKE_VERSION", "bash: licence")
        bench.fails(None, "-version says 'bash: licence', expected 'Vivado v20xx.x'")

    @pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda end: end.name)
    def test_it_ends_with_whoever_started_it(self, bench: Bench, end: signal.Signals) -> None:
        scenario = Scenario(run="synth_1", text="Starting RTL Elaboration", ends="hang")
        environment = {
            **os.environ,
            **scenario.environment(bench.folder / "s"),
            "PYTHONPATH": str(Path(__file__).parents[4]),
        }
        code = (
            "import sys; from pathlib import Path; from finn_build.flows.vivado.run import run_vivado, find_vivado\n"
            "run_vivado(find_vivado(), Path(sys.argv[1]), 'build.tcl', log='build.log', say=print, idle_minutes=0.5)"
        )
        process = subprocess.Popen(
            [sys.executable, "-u", "-c", code, bench.project], env=environment, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        while "Starting" not in (line := process.stdout.readline()):
            assert line
        process.send_signal(end)
        process.wait(300)
        assert all_end(bench.folder)


class TestElsewhere:
    def test_without_vivado_the_command_is_named(self, bench: Bench) -> None:
        bench.monkeypatch.setenv("PATH", "/nowhere")
        with pytest.raises(VendorToolError) as caught:
            build_bitstream(bench.build, bench.project, bench.out, say=print, idle_minutes=1)
        assert caught.value.exit_code == 3
        command = "vivado -mode batch -notrace -nojournal -log build.log -source build.tcl"
        assert f"`cd {bench.project} && {command}`" in str(caught.value)

    def test_a_copy_of_the_folder_is_built_and_its_results_taken_back(self, bench: Bench) -> None:
        copy = bench.folder / "far away" / "vivado"  # nothing in the folder knows where it is
        shutil.copytree(bench.project, copy)
        environment = {**os.environ, **Scenario().environment(bench.folder / "scenario")}
        command = command_line("build.tcl", "build.log")
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
        shutil.copytree(copy / "results", bench.project / "results")
        bench.monkeypatch.setenv("PATH", "/nowhere")
        content = build_bitstream(bench.build, bench.project, bench.out, say=print, idle_minutes=1)
        assert content["wns_ns"] == 0.613 and (bench.out / "accelerator.bit").is_file()
        facts = bench.project / "results" / "facts.txt"
        facts.write_text(facts.read_text().replace("project_key ", "project_key 0"), encoding="utf-8")
        good = facts.read_text()
        shutil.rmtree(bench.out)
        facts.write_text(re.sub(r"clock_mhz .*", "clock_mhz fast", good.replace("project_key 0", "project_key ")))
        with pytest.raises(ArtifactError, match="has no clock_mhz that is a number"):
            build_bitstream(bench.build, bench.project, bench.folder / "again", say=print, idle_minutes=1)
        assert not facts.exists()  # what is not good is disowned
        facts.write_text(good)
        with pytest.raises(VendorToolError):  # of another design
            build_bitstream(bench.build, bench.project, bench.folder / "again", say=print, idle_minutes=1)

    def test_a_script_sourced_by_hand_leaves_no_bitstream_either(self, bench: Bench) -> None:
        environment = {**os.environ, **Scenario(wrong="evaluation").environment(bench.folder / "scenario")}
        command = command_line("build.tcl", "build.log")
        done = subprocess.run(command, cwd=bench.project, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 1 and "ERROR: [cxrflow critical warning]" in done.stdout
        assert not list(bench.folder.rglob("*.bit"))

    def test_nothing_in_the_folder_is_absolute_or_unneeded(self, bench: Bench) -> None:
        names = {str(p.relative_to(bench.project)) for p in bench.project.rglob("*") if p.is_file()}
        scripts = {"build.tcl", "block_design.tcl", "common.tcl", "memories.tcl", "synth.tcl", "settings.tcl"}
        require_licences(bench.project)
        assert names == scripts | {"clock.xdc", "LICENSE", FINN, NOTICE} | {
            f"hdl/{name}" for name in ("mvu_pkg.sv", "mvu.sv", "accelerator.v", "MVAU_rtl_0_weights.dat")
        }
        for name in names:
            assert str(bench.folder) not in (bench.project / name).read_text(encoding="utf-8")


class TestAlone:
    def test_figures_of_the_accelerator(self, bench: Bench) -> None:
        content = bench.run(alone=True)
        assert content == json.loads((bench.out / "synth.json").read_text(encoding="utf-8"))
        assert content["tool"] == "vivado" and content["accelerator"]["LUT"] == 5000  # type: ignore[index]
        assert [layer["name"] for layer in content["layers"]] == ["MVAU_rtl_0", "Thresholding_rtl_0", "MVAU_rtl_1"]  # type: ignore[attr-defined]
        assert not list(bench.folder.rglob("*.bit"))

    def test_it_fails_as_loudly(self, bench: Bench) -> None:
        bench.fails(Scenario(run="synth_design", text=LICENCE, alone=True), "no licence for this part", alone=True)
        bench.fails(Scenario(setup=-0.4, alone=True), "worst setup slack -0.4 ns", alone=True)


def test_every_listed_warning_has_a_reason() -> None:
    assert all(reason and not reason.endswith(".") for reason in LISTED.values())
    assert len(LISTED) == len(set(LISTED))


def test_ultrascale_reports(tmp_path: Path) -> None:
    from finn_build.flows.vivado.reports import parse_hierarchy, parse_utilization
    from tests.finn_build.flows.vivado.vivado_model import hierarchy_report

    used = parse_utilization(utilization_report(ultrascale=True))
    assert used["URAM"] == (3, 96) and used["LUT"] == (9120, 230400) and used["BRAM_18K"] == (33, 624)
    by_name = {i.name: i.used for i in parse_hierarchy(hierarchy_report(ultrascale=True))}
    assert by_name["accelerator"] == {"LUT": 5000, "FF": 6000, "BRAM_18K": 23, "DSP": 25, "URAM": 2}
    assert by_name["u_MVAU_rtl_0"]["DSP"] == 16
