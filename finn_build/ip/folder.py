"""A verified design as an IP that stands alone: Verilog, IP-XACT, constraints, FuseSoC, datasheet and testbench.

Reads what `build` and `simulate_build` wrote, and copies what a user of the IP needs and nothing else. Every figure in
the datasheet comes from those files.
"""

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.golden import Golden, load_golden
from contract.record import read_record
from contract.values import VALUES
from contract.yaml_text import written
from finn_build.ip.component import Bus, Port, Vlnv, component
from finn_build.licences import write_licences
from finn_build.records import Built, Estimates, Folded, Simulated, Synthesis
from finn_build.resources import TITLES, Sourced, sourced
from finn_build.stitch import LOGIT_BITS, TOP, Design, load_design
from finn_build.targets.boards import BOARDS, Board

TEMPLATES = resources.files("finn_build") / "ip" / "templates"
CONSTRAINTS = f"constraints/{TOP}_ooc.xdc"
GOLDEN_IMAGES = 8  # streamed by the testbench


@dataclass(frozen=True)
class Ip:
    """What is packaged, and every figure about it."""

    vlnv: Vlnv
    board: Board
    design: Design
    memories: tuple[str, ...]  # file names
    build: Built
    estimates: Estimates
    sim: Simulated | None  # None: not simulated
    resources: tuple[Sourced, ...]

    @property
    def files(self) -> list[str]:
        """Verilog in compile order, then memory files, relative to the IP's folder."""
        return [f"hdl/{name}" for name in (*self.design.sources, *self.memories)]

    @property
    def description(self) -> str:
        """One line about it."""
        count = sum(node.layer for node in self.design.nodes)
        return f"Quantized X-ray classifier, {count} FINN layers, AXI-Stream in and out, made by cxrflow"


def write_ip(
    build_dir: Path, golden_path: Path, out: Path, *, name: str, sim: Path | None = None, synth: Path | None = None
) -> None:
    """Write the design in `build_dir` into the new folder `out` as an IP.

    Args:
        build_dir: what `build` wrote.
        golden_path: golden.npz of the export that was built.
        out: created.
        name: of the run; becomes part of the IP's name.
        sim: what `simulate_build` wrote; without it, the datasheet says that nothing was simulated.
        synth: what `synthesise_build` wrote; without it, resources are our formulas'.

    Raises:
        ConfigError: the build has no RTL.
        ArtifactError: a file of the build is missing or damaged.
    """
    ip = _read_ip(build_dir, name, sim, synth)
    golden = _choose(load_golden(golden_path))
    _copy_hdl(ip, build_dir / "rtl", out / "hdl")
    (out / "sim").mkdir()
    (out / "constraints").mkdir()
    values = _values(ip, golden)
    for template, path in (
        ("accelerator_tb.v", f"sim/{TOP}_tb.v"),
        ("simulate.sh", "sim/simulate.sh"),
        ("package_ip.tcl", "package_ip.tcl"),
        ("datasheet.md", "datasheet.md"),
    ):
        (out / path).write_text(_fill(template, values), encoding="utf-8")
    _write_golden(golden, ip.design, out / "sim")
    clock = f"create_clock -period {ip.build.clk_ns:.3f} -name ap_clk [get_ports ap_clk]\n"
    (out / CONSTRAINTS).write_text(f"# Only for synthesis of the IP on its own.\n{clock}", encoding="utf-8")
    (out / "component.xml").write_text(_component(ip), encoding="utf-8")
    (out / f"{ip.vlnv.name}.core").write_text(_core(ip), encoding="utf-8")
    write_licences(out)


def _read_ip(build_dir: Path, name: str, sim: Path | None, synth: Path | None) -> Ip:
    build = read_record(build_dir / "build.json", Built)
    estimates = read_record(build_dir / "estimates.json", Estimates)
    return Ip(
        vlnv=Vlnv("cxrflow", "user", "cxrflow_" + re.sub(r"\W", "_", name, flags=re.ASCII), "1.0"),
        board=BOARDS[build.board],
        design=load_design(build_dir / "rtl"),
        memories=tuple(sorted(path.name for path in (build_dir / "rtl").glob("*.dat"))),
        build=build,
        estimates=estimates,
        sim=None if sim is None else read_record(sim / "sim.json", Simulated),
        resources=sourced(estimates, None if synth is None else read_record(synth / "synth.json", Synthesis)),
    )


def _copy_hdl(ip: Ip, rtl: Path, out: Path) -> None:
    out.mkdir(parents=True)
    for name in (*ip.design.sources, *ip.memories):
        shutil.copyfile(rtl / name, out / name)


def _choose(golden: Golden) -> Golden:
    """Return a few images, from the smallest logit, or first integer, to the greatest."""
    order = np.argsort(golden.outputs[:, 0], kind="stable")
    few = order[np.linspace(0, len(order) - 1, min(GOLDEN_IMAGES, len(order))).round().astype(int)]
    return Golden(golden.pixels[few], golden.outputs[few])


def _write_golden(golden: Golden, design: Design, out: Path) -> None:
    """Write the images as the beats of the input stream, and the logits, for $readmemh."""
    (out / "golden_beats.hex").write_text(_hex(design.pack(golden.pixels)), encoding="ascii")
    words = golden.outputs.astype("<i4").view(np.uint8).reshape(-1, 4)
    (out / "golden_logits.hex").write_text(_hex(words), encoding="ascii")


def _hex(words: NDArray[np.uint8]) -> str:
    """One word a line, the high byte first as people write it."""
    return "".join(f"{bytes(word[::-1]).hex()}\n" for word in words)


def _unit(design: Design) -> str:
    """Return where the first pixel of a beat is."""
    return "byte" if VALUES[design.datatype].bits == 8 else "bits"


def ports(design: Design) -> list[Port]:
    """Return the ports of the top."""
    return [
        Port("ap_clk", "in", None, "clock of everything"),
        Port("ap_rst_n", "in", None, "synchronous reset, active low"),
        Port("s_axis_tdata", "in", design.in_bits, f"{design.simd} pixels, the first in the low {_unit(design)}"),
        Port("s_axis_tvalid", "in", None, ""),
        Port("s_axis_tlast", "in", None, "the last beat of a transfer of whole images"),
        Port("s_axis_tready", "out", None, ""),
        Port(
            "m_axis_tdata",
            "out",
            LOGIT_BITS,
            "one signed logit" if design.results == 1 else f"one of {design.results} signed integers",
        ),
        Port("m_axis_tvalid", "out", None, ""),
        Port("m_axis_tlast", "out", None, "the last result of a transfer"),
        Port("m_axis_tready", "in", None, ""),
    ]


def _buses() -> list[Bus]:
    streams = [
        Bus(bus, "axis", mode, {s: f"{bus}_{s.lower()}" for s in ("TDATA", "TVALID", "TLAST", "TREADY")}, {})
        for bus, mode in (("s_axis", "slave"), ("m_axis", "master"))
    ]
    clock = {"ASSOCIATED_BUSIF": "s_axis:m_axis", "ASSOCIATED_RESET": "ap_rst_n"}
    return [
        *streams,
        Bus("ap_clk", "clock", "slave", {"CLK": "ap_clk"}, clock),
        Bus("ap_rst_n", "reset", "slave", {"RST": "ap_rst_n"}, {"POLARITY": "ACTIVE_LOW"}),
    ]


def _component(ip: Ip) -> str:
    # FINN chose the DSP blocks of this family when it generated the Verilog.
    return component(
        ip.vlnv,
        description=ip.description,
        top=TOP,
        ports=ports(ip.design),
        buses=_buses(),
        files=ip.files,
        constraints=CONSTRAINTS,
        family=ip.board.vivado_family,
    )


def _core(ip: Ip) -> str:
    """Return the FuseSoC core file. Memory files are copied to where the simulation runs."""
    memory: list[Any] = [{f"hdl/{name}": {"copyto": name}} for name in ip.memories]
    golden: list[Any] = [{f"sim/{name}": {"copyto": name}} for name in ("golden_beats.hex", "golden_logits.hex")]
    verilog = [
        {f"hdl/{name}": {"file_type": "systemVerilogSource" if name.endswith(".sv") else "verilogSource"}}
        for name in ip.design.sources
    ]
    options = [
        "--timing", "--timescale", "1ns/1ps", "--no-assert", "-Wno-fatal", "-Wno-lint", "-Wno-style",
        "-CFLAGS", "-std=c++20",
    ]  # fmt: skip
    content = {
        "name": str(ip.vlnv),
        "description": ip.description,
        "filesets": {
            "rtl": {"files": verilog},
            "memory": {"files": memory, "file_type": "user"},
            "tb": {"files": [{f"sim/{TOP}_tb.v": {"file_type": "verilogSource"}}]},
            "golden": {"files": golden, "file_type": "user"},
        },
        "targets": {
            "default": {"filesets": ["rtl", "memory"], "toplevel": TOP},
            "sim": {
                "filesets": ["rtl", "memory", "tb", "golden"],
                "toplevel": f"{TOP}_tb",
                "default_tool": "verilator",
                "tools": {"verilator": {"mode": "binary", "verilator_options": options}},
            },
        },
    }
    return f"CAPI=2:\n{written(content, width=1000)}"


def _fill(template: str, values: Mapping[str, object]) -> str:
    text = (TEMPLATES / template).read_text(encoding="utf-8")
    return re.sub("@([A-Z_]+)@", lambda match: str(values[match[1]]), text)


def _values(ip: Ip, golden: Golden) -> dict[str, object]:
    """Return what the templates name."""
    design, sim = ip.design, ip.sim
    packages = [name for name in design.sources if name.endswith("_pkg.sv")]
    others = [name for name in design.sources if name not in packages]
    return {
        "NAME": ip.vlnv.name,
        "VLNV": ip.vlnv,
        "VENDOR": ip.vlnv.vendor,
        "LIBRARY": ip.vlnv.library,
        "VERSION": ip.vlnv.version,
        "DESCRIPTION": ip.description,
        "BOARD": ip.board.name,
        "PART": ip.build.part,
        "FAMILY": ip.board.vivado_family,
        "CLK_NS": f"{ip.build.clk_ns:.3f}",
        "MHZ": f"{1e3 / ip.build.clk_ns:g}",
        "IMAGES": len(golden.outputs),
        "RESULTS": design.results,
        "BEATS": design.in_beats,
        "LAST": design.in_beats - 1,
        "SIMD": design.simd,
        "DATATYPE": design.datatype,
        "UNIT": _unit(design),
        "RESULT": "one int32 logit per image"
        if design.results == 1
        else f"{design.results} int32 per image, one a beat",
        "IN_BITS": design.in_bits,
        "LOGIT_BITS": design.out_bits_used,
        "CYCLES": max(ip.estimates.latency_cycles, ip.estimates.cycles_per_image),
        "LATENCY": f"{sim.first_latency_cycles:,} cycles" if sim else "not simulated",
        "INTERVAL": f"{sim.cycles_per_image:,.0f} cycles" if sim else "not simulated",
        "PACKAGES": " ".join(f"../../hdl/{name}" for name in packages),
        "SOURCES": "\n".join(f"../../hdl/{name}" for name in others),
        "MEMORIES": "\n".join(f"    hdl/{name}" for name in ip.memories),
        "TCL_SOURCES": "\n".join(f"    hdl/{name}" for name in design.sources),
        "XDC": CONSTRAINTS,
        "PORTS": _table(("port", "direction", "bits", "meaning"), [_port_row(port) for port in ports(design)]),
        "SPEED": _speed(ip),
        "RESOURCES": _resources(ip),
        "SOURCES_OF_RESOURCES": _resource_note(ip),
        "GOLDEN": _golden(ip),
    }


def _table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _port_row(port: Port) -> tuple[object, ...]:
    return f"`{port.name}`", port.direction, port.bits or 1, port.meaning


def _speed(ip: Ip) -> str:
    """Estimate beside measurement; a figure that was not measured is an empty cell."""
    estimates, sim = ip.estimates, ip.sim
    interval, rate = (sim.initiation_interval, sim.images_per_s) if sim else (None, None)
    rows = [
        ("cycles per image", f"{estimates.cycles_per_image:,}", "" if interval is None else f"{interval:,.1f}"),
        ("images/s", f"{estimates.images_per_s:,.0f}", "" if rate is None else f"{rate:,.0f}"),
        (
            "first pixel to first logit [cycles]",
            f"{estimates.latency_cycles:,}",
            f"{sim.first_latency_cycles:,}" if sim else "",
        ),
        ("the same [us]", "", f"{sim.first_latency_us:.2f}" if sim else ""),
    ]
    clock = f"at {1e3 / ip.build.clk_ns:g} MHz, a clock that no synthesis has confirmed"
    return _table((clock, "FINN's estimate", "simulated RTL"), rows)


def _resources(ip: Ip) -> str:
    """What every node takes, a column per resource and source."""
    folding, cycles = ip.build.folding.root, {layer.name: f"{layer.cycles:,}" for layer in ip.estimates.layers}
    columns = [(resource, one) for resource in ("lut", "bram18", "dsp") for one in ip.resources[::-1]]
    rows: list[tuple[object, ...]] = []
    for name in dict.fromkeys([*cycles, *(name for one in ip.resources for name in one.nodes)]):
        folded = folding.get(name, Folded())
        taken = (one.nodes.get(name, {}).get(resource) for resource, one in columns)
        known = (folded.PE, folded.SIMD, cycles.get(name), *taken)
        rows.append((name, *("" if value is None else value for value in known)))
    rows.append(("**all**", "", "", "", *(f"{one.total[resource]:,}" for resource, one in columns)))
    budget = (f"{ip.board.usable[resource]:,}" for resource, _ in columns)
    rows.append((f"budget of the {ip.board.name}", "", "", "", *budget))
    headings = (f"{TITLES[resource]} ({one.source.name})" for resource, one in columns)
    return _table(("node", "PE", "SIMD", "cycles", *headings), rows)


def _resource_note(ip: Ip) -> str:
    sources = "".join(f"{one.source.name}: {one.source.means}. " for one in ip.resources[::-1])
    return f"{sources}No DMA is counted. Cycles are those that FINN and our own units' formulas expect."


def _golden(ip: Ip) -> str:
    if ip.sim is None:
        return "Not simulated. `cxrflow simulate` compares every golden logit; after it, `cxrflow ip` fills this in."
    sim = ip.sim
    return (
        f"{sim.images:,} golden images were streamed through this Verilog in Verilator: {sim.differing} logits "
        f"differ from the trained network's integers. {sim.images_with_random_stalls:,} were streamed again "
        "with source and sink pausing at random: 0 differ."
    )
