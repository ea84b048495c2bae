"""Levels of logic: how many LUTs and carry cells lie one behind the other between two registers of a mapped netlist.

That is as much of a critical path as can be known before place and route. How long each cell and each wire takes, and
so whether a clock is met, only Vivado knows; but a way of many levels is where to look first.

Nodes are mapped one by one. What passes a node without a register, as TREADY does in most, goes on in the next, so each
node's ways between its ports are kept, too, and joined along the chain of the design.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

REGISTER = "register"
CLOCKS = ("C", "CLK", "WCLK", "G", "CLKARDCLK", "CLKBWRCLK", "ap_clk", "clk")
RESETS = ("ap_rst_n", "rst")  # come from registers of their own
_CARRY = ("CARRY4", "CARRY8")
_WITHIN = ("MUXF7", "MUXF8", "MUXF9")  # behind the LUTs of a slice, no wire between
_FREE = ("BUFG", "IBUF", "OBUF", "GND", "VCC")
# What counts for the longest: a LUT and the wire to it as much as four carry cells. UG474: a chain's own wire is fixed.
LUT, CARRY = 4, 1

Bit = int | str  # a number, or a constant, as Yosys' JSON has them


@dataclass(frozen=True)
class Way:
    """A way without a register in between."""

    luts: int = 0  # one behind the other
    carries: int = 0  # carry cells among them
    start: str = ""  # the register or port that it begins at
    end: str = ""  # where it ends

    @property
    def weight(self) -> int:
        """By which the longest is found."""
        return LUT * self.luts + CARRY * self.carries

    def then(self, other: "Way") -> "Way":
        """Return this way and another one behind it."""
        return Way(self.luts + other.luts, self.carries + other.carries, self.start, other.end)


Ways = dict[tuple[str, str], Way]  # the longest from a start to an end: REGISTER, or a port as `port_of` calls it


def port_of(name: str) -> str:
    """Return what a port's signals have in common: data and its valid, or the ready that comes back."""
    bus, _, signal = name.rpartition("_")
    return f"{bus}.{'ready' if signal == 'tready' else 'data'}"


@dataclass
class _Netlist:
    """One flat module of Yosys' JSON, from bits to cells."""

    module: Mapping[str, Any]
    names: dict[Bit, str] = field(default_factory=dict)  # of wires, the shortest that people gave
    arrives: dict[Bit, dict[str, Way]] = field(default_factory=dict)  # start -> the longest way to a bit
    ends: list[tuple[Bit, str, str]] = field(default_factory=list)  # a bit, and which end it is, and its name

    def name(self, bit: Bit) -> str:
        return self.names.get(bit, "an inner wire")

    def arrive(self, bit: Bit, start: str, way: Way) -> None:
        best = self.arrives.setdefault(bit, {})
        if start not in best or way.weight > best[start].weight:
            best[start] = way


def longest_ways(module: Mapping[str, Any]) -> Ways:
    """Return the longest ways of a flat module, as `write_json` has it: between registers and ports, each to each."""
    net = _Netlist(module)
    for name, wire in sorted(module["netnames"].items(), key=lambda item: (item[1].get("hide_name", 0), len(item[0]))):
        for i, bit in enumerate(wire["bits"]):
            shown = name if len(wire["bits"]) == 1 else f"{name}[{i}]"
            net.names.setdefault(bit, shown if not wire.get("hide_name") else "an inner wire")
    for name, port in module["ports"].items():
        for bit in port["bits"]:
            if port["direction"] == "output":
                net.ends.append((bit, port_of(name), name))
            elif name not in CLOCKS:
                net.arrive(bit, REGISTER if name in RESETS else port_of(name), Way(start=name))
    _follow(net, [arc for cell in module["cells"].values() for arc in _arcs(net, cell)])
    found: Ways = {}
    for bit, end, name in net.ends:
        for start, way in net.arrives.get(bit, {}).items():
            best = found.get((start, end))
            if best is None or way.weight > best.weight:
                found[start, end] = Way(way.luts, way.carries, way.start, name)
    return found


Arc = tuple[list[Bit], Bit, int, int]  # from any of these bits to that one, and the LUTs and carry cells that it takes


def _arcs(net: _Netlist, cell: Mapping[str, Any]) -> Iterable[Arc]:
    """Yield what a cell passes without a register; note what starts and what ends in it."""
    kind, wires = cell["type"], cell["connections"]
    ins = {
        port: bits for port, bits in wires.items() if cell["port_directions"][port] == "input" and port not in CLOCKS
    }
    outs = {port: bits for port, bits in wires.items() if cell["port_directions"][port] == "output"}
    everything: list[Bit] = [bit for bits in ins.values() for bit in bits if isinstance(bit, int)]
    if kind.startswith("LUT") or kind == "INV" or kind in _WITHIN or kind in _FREE:
        luts = 0 if kind in _WITHIN or kind in _FREE else 1
        yield from ((everything, bit, luts, 0) for bits in outs.values() for bit in bits)
        return
    if kind in _CARRY:
        for bits in outs.values():
            for j, bit in enumerate(bits):  # what enters at a place reaches that and all above
                yield [b for port in ins.values() for b in port[: j + 1] if isinstance(b, int)], bit, 0, 1
        return
    addresses: list[Bit] = []
    if kind.startswith(("RAM32", "RAM64", "RAM128", "RAM256", "RAM512", "SRL")):  # LUTs, read without a clock
        addresses = [b for port in ins if port[0] == "A" or port.startswith("DPRA") for b in ins[port]]
        addresses = [bit for bit in addresses if isinstance(bit, int)]
    here = next((net.name(bit) for bits in outs.values() for bit in bits), kind)
    for bits in outs.values():
        for bit in bits:
            net.arrive(bit, REGISTER, Way(start=net.name(bit)))
            if addresses:
                yield addresses, bit, 1, 0
    net.ends += [(bit, REGISTER, here) for bit in everything]


def _follow(net: _Netlist, arcs: list[Arc]) -> None:
    """Find the longest way to every bit. An arc waits for those that drive its inputs; a ring of them is left out."""
    drivers: dict[Bit, int] = {}
    for _, bit, _, _ in arcs:
        drivers[bit] = drivers.get(bit, 0) + 1
    waiting = [sum(drivers.get(bit, 0) for bit in set(sources)) for sources, _, _, _ in arcs]
    readers: dict[Bit, list[int]] = {}
    for number, (sources, _, _, _) in enumerate(arcs):
        for bit in set(sources):
            readers.setdefault(bit, []).append(number)
    ready = [number for number, count in enumerate(waiting) if not count]
    while ready:
        sources, target, luts, carries = arcs[ready.pop()]
        for bit in sources:
            for start, way in net.arrives.get(bit, {}).items():
                net.arrive(target, start, Way(way.luts + luts, way.carries + carries, way.start))
        for number in readers.get(target, ()):
            waiting[number] -= 1
            if not waiting[number]:
                ready.append(number)


def longest_of_chain(units: Mapping[str, tuple[Ways, Mapping[str, str]]]) -> tuple[Way, list[str]]:
    """Return the longest way of a whole design, and the units that it passes.

    Args:
        units: by name: the ways of each, and which wire of the design each of its buses is.
    """
    hops: list[tuple[str, str, Way, str]] = []
    for name, (ways, buses) in units.items():
        for (start, end), way in ways.items():
            hops.append((_wire(start, buses), _wire(end, buses), way, name))
    reached: dict[str, tuple[Way, list[str]]] = {}  # a wire, and the longest way to it from a register or from outside
    sources = {end for _, end, _, _ in hops} - {REGISTER}
    best: tuple[Way, list[str]] = Way(), []
    for start, end, way, name in hops:
        if (start == REGISTER or start not in sources) and end != REGISTER:
            reached[end] = max(reached.get(end, (Way(), [])), (way, [name]), key=lambda one: one[0].weight)
        if (start == REGISTER or start not in sources) and way.weight > best[0].weight:
            best = way, [name]
    for _ in range(len(hops)):  # ends sooner: a way passes each unit once
        longer = dict(reached)
        for start, end, way, name in hops:
            before = reached.get(start)
            if before is None or start == REGISTER or name in before[1]:
                continue
            joined = before[0].then(way), [*before[1], name]
            if end == REGISTER or not any(start == end for start, _, _, _ in hops):
                best = max(best, joined, key=lambda one: one[0].weight)
            if end != REGISTER and joined[0].weight > longer.get(end, (Way(), []))[0].weight:
                longer[end] = joined
        if longer == reached:
            break
        reached = longer
    return best


def _wire(port: str, buses: Mapping[str, str]) -> str:
    bus, dot, kind = port.rpartition(".")
    return port if port == REGISTER else f"{buses.get(bus, bus)}{dot}{kind}"
