"""The Verilog around many foldings of a unit, for the benches that share tests/rtl/units_bench.py."""

import json
from pathlib import Path
from typing import Any

from tests.rtl.units_bench import LANE
from tests.rtl.verilator_env import Program, program


def divisors(n: int) -> list[int]:
    return [d for d in range(1, n + 1) if n % d == 0]


def instance(i: int, module: str, parameters: dict[str, object], *, s_bits: int, m_bits: int) -> str:
    """Return unit `i` on its lane of the bench's ports; `s_bits` and `m_bits` of a beat, not yet whole bytes."""
    s_bits, m_bits = (-(-bits // 8) * 8 for bits in (s_bits, m_bits))
    assert s_bits <= LANE and m_bits < LANE
    values = ", ".join(f".{name}({value})" for name, value in parameters.items())
    return f"""
    assign m_tdata[{LANE * i + m_bits} +: {LANE - m_bits}] = '0;
    {module} #(
        {values}
    ) u_{i} (
        .clk(clk), .rst(rst),
        .s_axis_tdata(s_tdata[{LANE * i} +: {s_bits}]), .s_axis_tvalid(s_tvalid[{i}]), .s_axis_tready(s_tready[{i}]),
        .m_axis_tdata(m_tdata[{LANE * i} +: {m_bits}]), .m_axis_tvalid(m_tvalid[{i}]), .m_axis_tready(m_tready[{i}])
    );"""


def compiled(module: str, sources: list[Path], units: list[str], cases: list[dict[str, Any]], folder: Path) -> Program:
    """Compile MODULE_bench on `units`, what `instance` returned; `cases` is what the bench reads of them."""
    n = len(units)
    top = folder / f"{module}_tb.sv"
    top.write_text(
        f"""module {module}_tb (
    input  wire clk, rst,
    input  wire [{n - 1}:0] s_tvalid, m_tready,
    input  wire [{LANE * n - 1}:0] s_tdata,
    output wire [{n - 1}:0] s_tready, m_tvalid,
    output wire [{LANE * n - 1}:0] m_tdata
);{"".join(units)}
endmodule
""",
        encoding="ascii",
    )
    (folder / "case.json").write_text(json.dumps(cases), encoding="utf-8")
    return program([*sources, top], top.stem, f"{module}_bench", folder)
