"""What a stitched design takes from the part, from Yosys instead of Vivado: synthesis, not place and route.

Every node is synthesised by itself, with its weight memory, its AXI-Lite inputs tied as in the accelerator and its
hierarchy flattened. Nodes meet at registered AXI-Streams only, so the sum of the nodes is the whole design but for a
few gates. A result is kept under a hash of all that decides it: a folding search or a sweep synthesises only what
changed, and equal nodes once, whatever their names.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from importlib import metadata
from pathlib import Path
from typing import Any

from contract.errors import ToolError
from contract.files import write_whole
from finn_build import child
from finn_build.costs import Family
from finn_build.levels import Way, Ways, longest_of_chain, longest_ways
from finn_build.ops import image_last, op_of
from finn_build.ops.op import Node
from finn_build.stitch import LOGIT_BITS, TOP, Design, load_design
from finn_build.targets.boards import Board
from finn_build.targets.families import FAMILIES
from finn_build.targets.families.family import DeviceFamily

Report = Callable[[str], None]  # told about every node that is done
MOST_UNITS = 12  # in one process: what is done is kept when it ends
FLOW = 5  # part of every cache key: raise it when the flow or the counting changes

_PROGRAM = """\
import sys
from pyosys import libyosys

class Where(libyosys.Pass):
    def __init__(self):
        super().__init__("where", "run a command where something is selected")

    def execute(self, args, design):
        _, selection, *command = args
        libyosys.run_pass(f"tee -q -o selected.txt select -count {selection}")
        if not open("selected.txt").read().startswith("0 "):
            libyosys.run_pass(" ".join(command))

where = Where()
libyosys.run_pass("script " + sys.argv[1])
"""


@dataclass(frozen=True)
class Usage:
    """Cells of a mapped netlist."""

    lut: int = 0  # all LUTs: logic, memory and shift registers; two small ones are not packed into one
    lutram: int = 0  # of these, used as memory
    srl: int = 0  # of these, used as shift register
    ff: int = 0
    carry: int = 0  # carry chains, of 4 or 8 bits
    bram36: int = 0
    bram18: int = 0
    dsp: int = 0

    @property
    def bram18_equivalents(self) -> int:
        """Blocks of 18 Kbit, of which a RAMB36 holds two."""
        return 2 * self.bram36 + self.bram18

    def __add__(self, other: "Usage") -> "Usage":
        """Return both together."""
        return Usage(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


@dataclass(frozen=True)
class Part:
    """A node of the design, or the unit at its ports, and what it takes."""

    name: str  # as in design.json
    usage: Usage
    ways: Ways


@dataclass(frozen=True)
class Unit:
    """Something to synthesise by itself, in one flat module."""

    name: str
    top: str  # its module
    files: tuple[tuple[str, bytes], ...]  # by name; Verilog in compile order first, then memories

    def key(self, family: Family, version: str) -> str:
        """Return a hash of all that decides the result; equal units have equal keys, whatever their names."""
        neutral = re.compile(rf"{re.escape(self.name)}(?!\d)")
        content = [str(FLOW), version, family]
        for name, data in self.files:
            text = neutral.sub("unit", data.decode())
            content += [neutral.sub("unit", name), hashlib.sha256(text.encode()).hexdigest()]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def tool_version() -> str:
    """Return the installed Yosys. Raises ToolError."""
    try:
        return metadata.version("pyosys")
    except metadata.PackageNotFoundError as err:
        raise ToolError("synthesis needs pyosys, not found in this environment. Run `make install`.") from err


def synthesise(
    rtl: Path, design: Design, *, family: Family, scratch: Path, cache: Path, report: Report | None = None
) -> tuple[Part, ...]:
    """Synthesise every node of the design in the folder `rtl`.

    Args:
        rtl: what `stitch` wrote.
        design: what `stitch` returned.
        family: device family.
        scratch: folder for Yosys' files, created and removed.
        cache: folder of earlier results, created if missing; a damaged result is made again.
        report: told about every unit that is done.

    Returns:
        The nodes in the order of the design, then the unit at the ports.

    Raises:
        ToolError: Yosys is missing or refuses the design.
    """
    units = [unit_of(rtl, design, name) for name in (*(node.name for node in design.nodes), image_last.NAME)]
    usages = synthesise_units(units, family=family, scratch=scratch, cache=cache, report=report)
    ways = [_load_ways(_ways_file(cache, unit.key(family, tool_version()))) or {} for unit in units]
    return tuple(Part(unit.name, used, way) for unit, used, way in zip(units, usages, ways, strict=True))


def synthesise_units(
    units: Sequence[Unit], *, family: Family, scratch: Path, cache: Path, report: Report | None = None
) -> list[Usage]:
    """Synthesise units, each by itself, whose files of one name are equal; arguments as for `synthesise`."""
    version = tool_version()
    keys = [unit.key(family, version) for unit in units]
    known = {
        key: usage
        for key in keys
        if _load_ways(_ways_file(cache, key)) is not None and (usage := _load(cache / f"{key}.json")) is not None
    }
    missing = {key: unit for key, unit in zip(keys, units, strict=True) if key not in known}
    if report is not None and known:
        report(f"{sum(key in known for key in keys)} of {len(keys)} nodes are known from before")

    def done(folder: Path) -> None:
        for key, unit in batches[folder].items():
            known[key] = count(folder / "stat.json", unit.top, family)
            _save(cache / f"{key}.json", known[key])
            _save_ways(_ways_file(cache, key), unit, longest_ways(_module(folder / "paths.json", unit.top)))
            if report is not None:
                report(f"{unit.name}: {known[key].lut} LUT, {known[key].dsp} DSP")

    batches = {scratch / str(i): batch for i, batch in enumerate(_batches(missing))}
    try:
        for folder, batch in batches.items():
            _lay_out(list(batch.values()), family, folder)
        _run_all(list(batches), done)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return [known[key] for key in keys]


def _batches(missing: dict[str, Unit]) -> list[dict[str, Unit]]:
    """Divide the work, as the sizes of the memories foretell it, over the cores: starting Yosys costs seconds."""
    count = max(min(_cores(), len(missing)), -(-len(missing) // MOST_UNITS))
    batches: list[dict[str, Unit]] = [{} for _ in range(count)]
    weights = [0] * len(batches)
    for key, unit in sorted(missing.items(), key=lambda item: -_weight(item[1])):
        lightest = weights.index(min(weights))
        batches[lightest][key] = unit
        weights[lightest] += _weight(unit)
    return batches


def _weight(unit: Unit) -> int:
    return 10_000 + sum(len(content) for name, content in unit.files if name.endswith(".dat"))


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def synthesise_build(
    build: Path, board: Board, out: Path, *, cache: Path, report: Report | None = None
) -> dict[str, object]:
    """Synthesise the design in the folder `build` and write synth.json into the new folder `out`.

    Args:
        build: what `finn_build.build.build` wrote.
        board: whose part is filled.
        out: created.
        cache: as for `synthesise`.
        report: as for `synthesise`.

    Returns:
        What synth.json holds: per node and in total the counts, and what the board has.

    Raises:
        ToolError: Yosys is missing or refuses the design.
    """
    rtl, family = build / "rtl", board.yosys_family
    out.mkdir(parents=True)
    design = load_design(rtl)
    parts = synthesise(rtl, design, family=family, scratch=out / "yosys", cache=cache, report=report)
    content: dict[str, object] = {
        "tool": "yosys",
        "version": tool_version(),
        "kind": "synthesis, not place and route",
        "family": family,
        "part": board.part,
        "layers": [{"name": part.name, **_counts(part.usage)} for part in parts],
        "total": _counts(total(parts)),
        "levels": [_level(part) for part in parts],
        "longest": _longest(parts),
        "board": {name: getattr(board, name) for name in ("lut", "ff", "bram18", "dsp")},
        "usable": {name: board.usable[name] for name in ("lut", "ff", "bram18", "dsp")},
    }
    (out / "synth.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return content


def _level(part: Part) -> dict[str, object]:
    """Return the longest way of a node by itself; none that ends elsewhere counts, as if every port were a register."""
    longest = max(part.ways.values(), key=lambda way: way.weight, default=Way())
    return {"name": part.name, **asdict(longest)}


def _longest(parts: Sequence[Part]) -> dict[str, object]:
    """Return the longest way of the whole design, and the nodes that it passes without a register."""
    *nodes, ends = parts
    units = {
        part.name: (part.ways, {"stream0": f"stream{i}", "stream1": f"stream{i + 1}"}) for i, part in enumerate(nodes)
    }
    around = {"s_axis": "outside in", "m_axis": "outside out", "m_axis_core": "stream0"}
    units[ends.name] = ends.ways, {**around, "s_axis_core": f"stream{len(nodes)}"}
    way, through = longest_of_chain(units)
    return {**asdict(way), "through": through}


def _counts(usage: Usage) -> dict[str, int]:
    return {**asdict(usage), "bram18_equivalents": usage.bram18_equivalents}


def total(parts: Sequence[Part]) -> Usage:
    """Return the sum of all parts."""
    return sum((part.usage for part in parts), Usage())


def synthesise_whole(rtl: Path, design: Design, *, family: Family, scratch: Path) -> tuple[Usage, Path]:
    """Synthesise the accelerator as one flat netlist; return its cells and its Verilog, which lies in `scratch`."""
    tool_version()
    sources = [rtl / name for name in design.sources]
    files = tuple((path.name, path.read_bytes()) for path in (*sources, *sorted(rtl.glob("*.dat"))))
    _lay_out([Unit(TOP, TOP, files)], family, scratch, netlist="netlist.v")
    _run_all([scratch], lambda folder: None)
    return count(scratch / "stat.json", TOP, family), scratch / "netlist.v"


def unit_of(rtl: Path, design: Design, name: str) -> Unit:
    """Return what must be synthesised for one node of the design, or for the unit at its ports."""
    texts = {file: (rtl / file).read_text(encoding="utf-8") for file in design.sources if file != f"{TOP}.v"}
    nodes = {node.name: node for node in design.nodes}
    module = f"{name}_top"
    ends = {"in_beats": design.in_beats, "in_bits": design.in_bits, "out_beats": design.results, "out_bits": LOGIT_BITS}
    top = _node_top(nodes[name], module) if name in nodes else image_last.bench(module, **ends)
    files = [(file, texts[file].encode()) for file in needed_files(top, texts)]
    files.append((f"{module}.v", top.encode()))
    files += [(path.name, path.read_bytes()) for path in sorted(rtl.glob(f"{name}_*.dat"))]
    return Unit(name, module, tuple(files))


def _node_top(node: Node, module: str) -> str:
    """Return a module around one node, connected as in the accelerator."""
    return f"""\
module {module} (
    input  wire ap_clk, ap_rst_n,
    input  wire [{node.in_bits - 1}:0] stream0_tdata,
    input  wire stream0_tvalid,
    output wire stream0_tready,
    output wire [{node.out_bits - 1}:0] stream1_tdata,
    output wire stream1_tvalid,
    input  wire stream1_tready
);
{op_of(node).instance(0, node)}
endmodule
"""


def needed_files(top: str, texts: dict[str, str]) -> list[str]:
    """Return the files whose modules and packages `top` uses, directly or not, in the order of `texts`."""
    owners = {
        module: file
        for file, text in texts.items()
        for module in re.findall(r"^\s*(?:module|package)\s+(\w+)", text, flags=re.MULTILINE)
    }
    needed: set[str] = set()
    left = [top]
    while left:
        used = {owners[word] for word in set(re.findall(r"\w+", left.pop())) if word in owners}
        left += [texts[file] for file in used - needed]
        needed |= used
    return [file for file in texts if file in needed]


def _script(units: Sequence[Unit], sources: Sequence[str], family: Family, netlist: str | None) -> str:
    """Return the commands: each unit becomes one flat module that nothing outside it is optimized with."""
    target = FAMILIES[family]
    boxes = " ".join(f"--blackboxed-module {name}" for name in target.black_boxes)
    tops = " ".join(f"--top {unit.top}" for unit in units)
    top = units[0].top if len(units) == 1 else "batch"
    return "\n".join(
        (
            f"read_slang --ignore-assertions --allow-use-before-declare {boxes} {tops} {' '.join(sources)}",
            *(["read_verilog batch.v", "setattr -mod -set keep_hierarchy 1 *_top"] if top == "batch" else []),
            "read_verilog -lib -nooverwrite black_boxes.v",
            *target.synthesis(top),
            "tee -q -o stat.json stat -json",
            *(
                [f"select {' '.join(u.top for u in units)}", "write_json -selected paths.json"]
                if netlist is None
                # Verilator takes half the time for wires of one bit, and one for all names in the hierarchy.
                else ["splitnets", "rename -hide w:*", "opt_clean", f"write_verilog -noattr {netlist}"]
            ),
        )
    )


def _black_boxes(family: DeviceFamily) -> str:
    """Return ports and parameters of the family's black boxes, from Yosys' own library."""
    lines: list[str] = []
    for name, file in family.black_boxes.items():
        text = (family.library / file).read_text(encoding="utf-8")
        found = re.search(rf"^(module {name}\b.*?\);)(.*?)^endmodule", text, flags=re.DOTALL | re.MULTILINE)
        if found is None:
            raise ToolError(f"Yosys' {file} declares no {name}. Reinstall requirements.lock.")
        head, body = found.groups()
        lines += [head, *(line for line in body.splitlines() if re.match(r" *(parameter|input|output)\b", line))]
        lines.append("endmodule")
    return "\n".join(lines) + "\n"


def _lay_out(units: Sequence[Unit], family: Family, folder: Path, netlist: str | None = None) -> None:
    """Write what Yosys reads. Memories are found by relative path, so each process has a folder of its own."""
    folder.mkdir(parents=True)
    files = {name: content for unit in units for name, content in unit.files}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    sources = ["black_boxes.v", *(name for name in files if name.endswith((".v", ".sv")))]
    sources.sort(key=lambda name: not name.endswith("_pkg.sv"))
    (folder / "black_boxes.v").write_text(_black_boxes(FAMILIES[family]), encoding="utf-8")
    instances = "\n".join(f"    (* keep *) {unit.top} u_{unit.top} ();" for unit in units)
    (folder / "batch.v").write_text(f"module batch;\n{instances}\nendmodule\n", encoding="utf-8")
    (folder / "synth.ys").write_text(_script(units, sources, family, netlist) + "\n", encoding="utf-8")


def _run_all(folders: Sequence[Path], done: Callable[[Path], None]) -> None:
    """Run Yosys in every folder, one process per core at a time; tell `done` about each that succeeded."""
    waiting, running = list(folders), dict[Path, subprocess.Popen[Any]]()
    environment = {**os.environ, "TMPDIR": "."}  # what a killed Yosys has there goes with its folder
    with contextlib.ExitStack() as started:
        while waiting or running:
            while waiting and len(running) < _cores():
                folder = waiting.pop(0)
                with (folder / "yosys.log").open("wb") as log:
                    command = [sys.executable, "-c", _PROGRAM, "synth.ys"]
                    process = child.running(command, cwd=folder, env=environment, stdout=log, stderr=log)
                    running[folder] = started.enter_context(process)
            time.sleep(0.02)
            for folder in [folder for folder, process in running.items() if process.poll() is not None]:
                if running.pop(folder).returncode:
                    raise _refused(folder)
                done(folder)


def _refused(folder: Path) -> ToolError:
    lines = (folder / "yosys.log").read_text(encoding="utf-8", errors="replace").splitlines()
    told = (line for sign in (r":\d+: ERROR:", r"^ERROR") for line in lines if re.search(sign, line))  # slang, Yosys
    first = next(told, lines[-1] if lines else "no message")
    return ToolError(f"Yosys refused the design: {first.strip()}. Look at the RTL that it names.")


def count(stat: Path, module: str, family: Family) -> Usage:
    """Read what `stat -json` wrote about one module. Raises ToolError."""
    try:
        cells = json.loads(stat.read_text(encoding="utf-8"))["modules"][f"\\{module}"]["num_cells_by_type"]
        return _count({str(name): int(number) for name, number in cells.items()}, FAMILIES[family])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as err:
        raise ToolError(f"Yosys' statistics {stat} are not readable ({err}). Reinstall requirements.lock.") from err


def _count(cells: dict[str, int], family: DeviceFamily) -> Usage:
    unknown = cells.keys() - family.cells.keys()
    if unknown:
        raise ToolError(
            f"the netlist has cells that nobody counts: {', '.join(sorted(unknown))}. Name them in finn_build/targets."
        )
    usage = Counter[str]()
    for name, number in cells.items():
        for field, each in family.cells[name].items():
            usage[field] += each * number
    return Usage(**usage)


def _module(path: Path, name: str) -> dict[str, Any]:
    """Return one module that Yosys wrote as JSON. Raises ToolError."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))["modules"][name])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as err:
        raise ToolError(f"Yosys' netlist {path} is not readable ({err}). Reinstall requirements.lock.") from err


def _ways_file(cache: Path, key: str) -> Path:
    return cache / f"{key}.ways.json"


def _save_ways(path: Path, unit: Unit, ways: Ways) -> None:
    """Keep a unit's ways, for all that are equal: without its name, which is in those of registers."""
    rows = [
        [start, end, way.luts, way.carries, *(name.replace(f"u_{unit.name}.", "") for name in (way.start, way.end))]
        for (start, end), way in ways.items()
    ]
    write_whole(path, json.dumps(rows) + "\n")


def _load_ways(path: Path) -> Ways | None:
    """Read kept ways; None if there are none or they are damaged."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        kinds = [str, str, int, int, str, str]
        if not isinstance(rows, list) or any(list(map(type, row)) != kinds or min(row[2:4]) < 0 for row in rows):
            return None
    except (OSError, ValueError, RecursionError, TypeError):
        return None
    return {(start, end): Way(*way) for start, end, *way in rows}


def _load(path: Path) -> Usage | None:
    """Read one kept result; None if there is none or it is damaged."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    names = {field.name for field in fields(Usage)}
    if not isinstance(raw, dict) or raw.keys() != names or not all(type(v) is int and v >= 0 for v in raw.values()):
        return None
    return Usage(**raw)


def _save(path: Path, usage: Usage) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(asdict(usage)) + "\n")
