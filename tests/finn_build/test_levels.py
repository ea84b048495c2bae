"""Levels of logic of a mapped netlist: against a search of every way, and on a circuit whose ways are known.

The kind of fault: a way that is not seen, because a cell counts as a register that is none (a carry chain, a memory in
LUTs that is read without a clock), or because it goes on in the next node, as TREADY does.
"""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.errors import ToolError
from finn_build import synth
from finn_build.levels import CARRY, LUT, REGISTER, Way, Ways, longest_of_chain, longest_ways
from finn_build.synth import Unit, synthesise_units

DIRECTIONS = {
    "LUT4": {"I0": "input", "I1": "input", "O": "output"},
    "CARRY4": {"CI": "input", "S": "input", "DI": "input", "O": "output", "CO": "output"},
    "FDRE": {"C": "input", "D": "input", "CE": "input", "Q": "output"},
    "RAM32X1D": {"WCLK": "input", "D": "input", "A0": "input", "DPRA0": "input", "DPO": "output"},
    "MUXF7": {"I0": "input", "I1": "input", "O": "output"},
}


@st.composite
def modules(draw: st.DrawFn) -> dict[str, Any]:
    """A module of random cells, each fed by bits of earlier ones or by constants; registers also by later ones."""
    known: list[Any] = [2, 3, 4, "0", "1", "x"]
    cells, fresh = {}, 10
    for number in range(draw(st.integers(1, 9))):
        kind = draw(st.sampled_from(sorted(DIRECTIONS)))
        wires: dict[str, list[Any]] = {}
        made = []
        for port, direction in DIRECTIONS[kind].items():
            width = 4 if kind == "CARRY4" and port != "CI" else 1
            if direction == "input":
                wires[port] = [1] if port in ("C", "WCLK") else [draw(st.sampled_from(known)) for _ in range(width)]
            else:
                wires[port] = list(range(fresh, fresh + width))
                made += wires[port]
                fresh += width
        cells[f"c{number}"] = {"type": kind, "connections": wires, "port_directions": DIRECTIONS[kind]}
        known += made
    ports = {
        "ap_clk": {"direction": "input", "bits": [1]},
        "stream0_tdata": {"direction": "input", "bits": [2, 3]},
        "stream1_tready": {"direction": "input", "bits": [4]},
        "stream1_tvalid": {"direction": "output", "bits": [draw(st.sampled_from(known))]},
    }
    return {"ports": ports, "cells": cells, "netnames": {f"n{b}": {"bits": [b]} for b in known if isinstance(b, int)}}


def every_way(module: dict[str, Any]) -> dict[tuple[str, str], int]:
    """The greatest weight from each start to each end, by walking back every way from every end."""
    starts = {2: "stream0.data", 3: "stream0.data", 4: "stream1.ready"}
    drivers: dict[Any, tuple[str, int, list[Any]]] = {}
    ends: list[tuple[Any, str]] = [(b, "stream1.data") for b in module["ports"]["stream1_tvalid"]["bits"]]
    for cell in module["cells"].values():
        kind, wires = cell["type"], cell["connections"]
        if kind in ("LUT4", "MUXF7"):
            drivers[wires["O"][0]] = "logic", LUT * (kind == "LUT4"), wires["I0"] + wires["I1"]
        elif kind == "CARRY4":
            for i in range(4):
                before = wires["CI"] + wires["S"][: i + 1] + wires["DI"][: i + 1]
                drivers[wires["O"][i]] = drivers[wires["CO"][i]] = "logic", CARRY, before
        elif kind == "FDRE":
            drivers[wires["Q"][0]] = "register", 0, []
            ends += [(b, REGISTER) for b in wires["D"] + wires["CE"]]
        else:
            drivers[wires["DPO"][0]] = "memory", LUT, wires["A0"] + wires["DPRA0"]
            ends += [(b, REGISTER) for b in wires["D"] + wires["A0"] + wires["DPRA0"]]
    found: dict[tuple[str, str], int] = {}

    def back(bit: Any, end: str, weight: int) -> None:
        def reach(start: str) -> None:
            found[start, end] = max(found.get((start, end), 0), weight)

        if bit in starts:
            reach(starts[bit])
        if bit in drivers:
            kind, more, before = drivers[bit]
            if kind != "logic":
                reach(REGISTER)
            for one in before:
                back(one, end, weight + more)

    for bit, end in ends:
        back(bit, end, 0)
    return found


@given(modules())
def test_the_longest_way_is_the_longest_of_all(module: dict[str, Any]) -> None:
    assert {ends: way.weight for ends, way in longest_ways(module).items()} == every_way(module)


def test_a_ring_of_logic_does_not_hang() -> None:
    ring = {"type": "LUT4", "connections": {"I0": [5], "I1": [2], "O": [5]}, "port_directions": DIRECTIONS["LUT4"]}
    ports = {"stream0_tvalid": {"direction": "input", "bits": [2]}}
    assert longest_ways({"ports": ports, "cells": {"a": ring}, "netnames": {}}) == {}


ADDER = """\
module NAME_top (input wire ap_clk, input wire [31:0] stream0_tdata, input wire stream0_tvalid, stream1_tready,
                 output wire stream0_tready, stream1_tvalid, output wire [31:0] stream1_tdata);
    reg [31:0] sum, addend;
    always @(posedge ap_clk) begin
        addend <= stream0_tdata;
        sum <= sum + addend;
    end
    assign stream1_tdata = sum;
    assign stream1_tvalid = stream0_tvalid;
    assign stream0_tready = stream1_tready & stream0_tvalid;
endmodule
"""


def adder(name: str) -> Unit:
    return Unit(name, f"{name}_top", ((f"{name}_top.v", ADDER.replace("NAME", name).encode()),))


def test_yosys_carry_chain_of_an_adder_and_what_is_kept(tmp_path: Path) -> None:
    unit, cache = adder("one"), tmp_path / "cache"
    synthesise_units([unit], family="xc7", scratch=tmp_path / "s", cache=cache)
    file = synth._ways_file(cache, unit.key("xc7", synth.tool_version()))
    ways = synth._load_ways(file)
    assert ways is not None
    inside = ways[REGISTER, REGISTER]
    assert (inside.luts, inside.carries) == (1, 8)  # a LUT and 32 bits of carry cells of 4
    assert "sum" in inside.end and ("sum" in inside.start or "addend" in inside.start)
    assert ways["stream1.ready", "stream0.ready"].luts == 1 and ways["stream0.data", "stream1.data"].luts == 0
    for damaged in ("[", "[[1]]", '[["a", "b", -1, 0, "c", "d"]]', "{}", '[["a", "b", true, 0, "c", "d"]]'):
        file.write_text(damaged, encoding="utf-8")
        assert synth._load_ways(file) is None
    synthesise_units([adder("other")], family="xc7", scratch=tmp_path / "s", cache=cache)  # an equal one, made again
    assert synth._load_ways(file) == ways


def test_what_passes_several_nodes_is_joined() -> None:
    def node(luts: int, inner: int) -> Ways:
        return {
            (REGISTER, REGISTER): Way(inner, 0, "a", "b"),
            ("stream1.ready", "stream0.ready"): Way(luts, 0, "stream1_tready", "stream0_tready"),
            ("stream1.ready", REGISTER): Way(1, 0, "stream1_tready", "b"),
            (REGISTER, "stream0.ready"): Way(2, 0, "a", "stream0_tready"),
        }

    def chain(*nodes: Ways) -> dict[str, tuple[Ways, dict[str, str]]]:
        buses = [{"stream0": f"stream{i}", "stream1": f"stream{i + 1}"} for i in range(len(nodes))]
        return {f"n{i}": (ways, bus) for i, (ways, bus) in enumerate(zip(nodes, buses, strict=True))}

    way, through = longest_of_chain(chain(node(1, 3), node(1, 3), node(1, 3)))
    assert (way.luts, through) == (4, ["n2", "n1", "n0"])  # 2 out of n2, 1 through n1, 1 in n0; 3 within a node
    assert longest_of_chain(chain(node(0, 9), node(0, 3)))[0].luts == 9
    way, through = longest_of_chain(chain(node(5, 0), node(5, 0)))
    assert (way.luts, through) == (10, ["n1", "n0"])  # from outside to outside
    assert longest_of_chain({}) == (Way(), [])
    rings = {"a": (node(1, 1), {"stream0": "x", "stream1": "x"})}
    assert longest_of_chain(rings)[0].luts >= 1


@pytest.mark.parametrize("text", ["", "{}", '{"modules": {"other": {}}}', "[" * 9999])
def test_a_netlist_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "paths.json").write_text(text, encoding="utf-8")
    with pytest.raises(ToolError, match="not readable"):
        synth._module(tmp_path / "paths.json", "top")
