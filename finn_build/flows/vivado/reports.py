"""Vivado's reports as numbers. Columns are found by their headings: their order differs between releases."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contract.errors import ToolError
from finn_build.ops.op import Node

RESOURCES = ("LUT", "FF", "BRAM_18K", "DSP", "URAM")
SITES = {  # row of the utilization report, without its asterisk -> our name and how many of ours one of it is
    "Slice LUTs": ("LUT", 1),
    "CLB LUTs": ("LUT", 1),
    "Slice Registers": ("FF", 1),
    "CLB Registers": ("FF", 1),
    "Block RAM Tile": ("BRAM_18K", 2),
    "DSPs": ("DSP", 1),
    "URAM": ("URAM", 1),
}
COLUMNS = {  # of the hierarchical report; the DSP column has another heading in each family
    "Total LUTs": ("LUT", 1),
    "FFs": ("FF", 1),
    "RAMB36": ("BRAM_18K", 2),
    "RAMB18": ("BRAM_18K", 1),
    "URAM": ("URAM", 1),
}
TIMING = ("WNS(ns)", "TNS(ns)", "WHS(ns)", "THS(ns)", "WPWS(ns)")


@dataclass(frozen=True)
class Timing:
    """Of a routed design. Slack is negative where timing is not met."""

    period_ns: float  # of the fastest clock
    setup_ns: float  # worst slack
    hold_ns: float
    pulse_ns: float

    @property
    def met(self) -> bool:
        """Whether the design works at its clock."""
        return min(self.setup_ns, self.hold_ns, self.pulse_ns) >= 0

    @property
    def fmax_mhz(self) -> float:
        """The clock that the setup slack would allow."""
        return 1e3 / (self.period_ns - self.setup_ns)


@dataclass(frozen=True)
class Instance:
    """One row of the hierarchical report: a module with everything in it."""

    name: str
    used: dict[str, int]  # by RESOURCES


def read_report(path: Path) -> str:
    """Read a report. Raises ToolError if there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as err:
        raise ToolError(f"{path} cannot be read ({err.strerror}), expected a report of Vivado. Build again.") from err


def parse_utilization(text: str) -> dict[str, tuple[int, int]]:
    """Return {resource: (used, in the part)} of `report_utilization`. A family without UltraRAM has (0, 0).

    Raises:
        ToolError: a resource is missing.
    """
    found: dict[str, tuple[int, int]] = {"URAM": (0, 0)}
    for row in _tables(text, "Site Type"):
        site = SITES.get(row["Site Type"].strip().rstrip("*"))
        if site is not None and row.get("Available", "").strip():
            name, count = site
            found[name] = (round(count * float(row["Used"])), round(count * float(row["Available"])))
    missing = [name for name in RESOURCES if name not in found]
    if missing:
        raise _unreadable("utilization", f"has no {', '.join(missing)}")
    return {name: found[name] for name in RESOURCES}


def parse_hierarchy(text: str) -> list[Instance]:
    """Return the rows of `report_utilization -hierarchical`, without those of a module's own logic, in parentheses.

    Raises:
        ToolError: there are none.
    """
    instances = []
    for row in _tables(text, "Instance"):
        name = row["Instance"].strip()
        if name.startswith("("):
            continue
        used = dict.fromkeys(RESOURCES, 0)
        for heading, cell in row.items():
            resource, count = ("DSP", 1) if heading.startswith("DSP") else COLUMNS.get(heading, ("", 0))
            if resource:
                used[resource] += count * _count(cell)
        instances.append(Instance(name, used))
    if not instances:
        raise _unreadable("hierarchical utilization", "has no instances")
    return instances


def _count(cell: str) -> int:
    """Return the number at the start of a cell, after which some releases write a share: 120(0.5%)."""
    match = re.match(r"\s*(\d+)", cell)
    return int(match[1]) if match else 0


def layer_resources(instances: Sequence[Instance], nodes: Sequence[Node]) -> list[dict[str, Any]]:
    """Return what each node of the design takes, its weight memory included; nothing for one that Vivado dissolved."""
    by_name = {instance.name: instance for instance in instances}
    layers: list[dict[str, Any]] = []
    for node in nodes:
        parts = [by_name[name] for name in (f"u_{node.name}", f"u_{node.name}_weights") if name in by_name]
        if parts:
            layers.append({"name": node.name, **{r: sum(part.used[r] for part in parts) for r in RESOURCES}})
    return layers


def parse_timing(text: str) -> Timing:
    """Return the figures of `report_timing_summary`. Raises ToolError, also if nothing is constrained."""
    figures = _timing_row(text)
    periods = [float(p) for p in re.findall(r"^\s*\S+\s+\{[\d. ]+\}\s+([\d.]+)\s+[\d.]+\s*$", text, re.MULTILINE)]
    if not periods:
        raise _unreadable("timing", "names no clock")
    return Timing(min(periods), figures["WNS(ns)"], figures["WHS(ns)"], figures["WPWS(ns)"])


def _timing_row(text: str) -> dict[str, float]:
    lines = text[max(0, text.find("Design Timing Summary")) :].splitlines()
    for i, line in enumerate(lines):
        if "WNS(ns)" in line and i + 2 < len(lines):
            headings = re.split(r"\s{2,}", line.strip())
            cells = lines[i + 2].split()
            if len(cells) == len(headings):
                try:
                    return {name: float(cells[headings.index(name)]) for name in TIMING}
                except ValueError:  # NA: no path, no constraint
                    break
    raise _unreadable("timing", "has no figures for setup, hold and pulse width: nothing was constrained")


def parse_power(text: str) -> dict[str, Any]:
    """Return the estimate of `report_power` [W] and how much Vivado trusts it. Raises ToolError."""
    rows = {
        "total_w": r"Total On-Chip Power \(W\)",
        "dynamic_w": r"Dynamic \(W\)",
        "static_w": r"Device Static \(W\)",
        "confidence": "Confidence Level",
    }
    power: dict[str, Any] = {}
    for name, heading in rows.items():
        match = re.search(rf"^\|\s*{heading}\s*\|\s*(\S+)\s*\|", text, re.MULTILINE)
        if match is None:
            raise _unreadable("power", f"has no '{heading}'".replace("\\", ""))
        power[name] = match[1] if name == "confidence" else float(match[1].rstrip("*"))
    return power


def _tables(text: str, first: str) -> Iterator[dict[str, str]]:
    """Yield the rows of every table whose first heading is `first`, as {heading: cell}."""
    headings: list[str] = []
    for line in text.splitlines():
        if not line.startswith("|"):
            headings = headings if line.startswith("+") else []
            continue
        cells = line.strip().strip("|").split("|")
        if cells[0].strip() == first:
            headings = [cell.strip() for cell in cells]
        elif len(cells) == len(headings):
            yield dict(zip(headings, cells, strict=True))


def _unreadable(report: str, why: str) -> ToolError:
    return ToolError(
        f"Vivado's {report} report {why}, expected the format of releases 2022.2 to 2025.2. "
        "Nothing that cannot be read is taken for good."
    )
