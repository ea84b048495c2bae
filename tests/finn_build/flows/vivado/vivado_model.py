"""What the tests know of Vivado on their own: the ports of its IPs, the look of its reports, and a small build to use.

Sources: PG021, PG164, PG247 and PG085 for the ports; reports as Vivado 2019.2 to 2025.2 print them.
"""

import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from finn_build.ops.op import Node
from finn_build.targets.boards import BOARDS
from tests import tcl

STUBS = Path(__file__).parent / "vivado_stubs"


@dataclass(frozen=True)
class Ip:
    """One IP: what its block design cell has."""

    masters: Sequence[str] = ()  # interfaces; FNMATCH patterns where their number is a parameter
    slaves: Sequence[str] = ()
    clocks: Sequence[str] = ()  # inputs
    resets: Sequence[str] = ()
    outputs: Sequence[str] = ()
    spaces: Sequence[str] = ()
    segments: Sequence[str] = ()


IPS = {
    "processing_system7": Ip(
        masters=["M_AXI_GP0", "DDR", "FIXED_IO"],
        slaves=["S_AXI_HP0"],
        clocks=["M_AXI_GP0_ACLK", "S_AXI_HP0_ACLK"],
        outputs=["FCLK_CLK0", "FCLK_RESET0_N"],
        spaces=["Data"],
        segments=["S_AXI_HP0/HP0_DDR_LOWOCM"],
    ),
    "zynq_ultra_ps_e": Ip(
        masters=["M_AXI_HPM0_FPD"],
        slaves=["S_AXI_HP0_FPD"],
        clocks=["maxihpm0_fpd_aclk", "saxihp0_fpd_aclk"],
        outputs=["pl_clk0", "pl_resetn0"],
        spaces=["Data"],
        segments=[f"SAXIGP2/HP0_{name}" for name in ("DDR_LOW", "DDR_HIGH", "QSPI", "LPS_OCM")],
    ),
    "axi_dma": Ip(
        masters=["M_AXI_MM2S", "M_AXI_S2MM", "M_AXIS_MM2S"],
        slaves=["S_AXI_LITE", "S_AXIS_S2MM"],
        clocks=["s_axi_lite_aclk", "m_axi_mm2s_aclk", "m_axi_s2mm_aclk"],
        resets=["axi_resetn"],
        spaces=["Data_MM2S", "Data_S2MM"],
        segments=["S_AXI_LITE/Reg"],
    ),
    "smartconnect": Ip(masters=["M0?_AXI"], slaves=["S0?_AXI"], clocks=["aclk"], resets=["aresetn"]),
    "proc_sys_reset": Ip(clocks=["slowest_sync_clk"], resets=["ext_reset_in"], outputs=["peripheral_aresetn"]),
    "axis_dwidth_converter": Ip(masters=["M_AXIS"], slaves=["S_AXIS"], clocks=["aclk"], resets=["aresetn"]),
    "module:accelerator": Ip(masters=["m_axis"], slaves=["s_axis"], clocks=["ap_clk"], resets=["ap_rst_n"]),
}

LAYERS = [("MVAU_rtl_0", "MVAU_rtl"), ("Thresholding_rtl_0", "Thresholding_rtl"), ("MVAU_rtl_1", "MVAU_rtl")]


def write_build(
    folder: Path, *, board: str = "pynq-z2", simd: int = 8, pixels: int = 784, clk_ns: float = 10.0
) -> Path:
    """Write what a build leaves, as far as Vivado's side reads it. The Verilog is a placeholder."""
    rtl = folder / "rtl"
    rtl.mkdir(parents=True)
    nodes = [
        Node(name, kind, 8 * simd if i == 0 else 8, 8, 8 if kind == "MVAU_rtl" else 0, 1, 8, pixels // simd)
        for i, (name, kind) in enumerate(LAYERS)
    ]
    sources = ["mvu_pkg.sv", "mvu.sv", "accelerator.v"]
    for name in (*sources, "MVAU_rtl_0_weights.dat"):
        (rtl / name).write_text(f"// {name}\n", encoding="utf-8")
    design = {
        "top": "accelerator",
        "sources": sources,
        "input": {"bits": 8 * simd, "beats": pixels // simd, "pixels_per_beat": simd, "datatype": "uint8"},
        "output": {"bits": 32, "beats": 1, "logit_bits": 24},
        "nodes": [asdict(node) for node in nodes],
    }
    build = {"board": board, "part": BOARDS[board].part, "clk_ns": clk_ns}
    build |= {"folding": {}, "chain": []}
    for path, content in ((rtl / "design.json", design), (folder / "build.json", build)):
        path.write_text(json.dumps(content), encoding="utf-8")
    return folder


def timing_report(
    *, setup: float | str = 0.613, hold: float | str = 0.021, pulse: float = 3.75, period: float = 10
) -> str:
    """`report_timing_summary` of a design with one clock; a slack of NA has no path."""
    return f"""\
Copyright 1986-2022 Xilinx, Inc. All Rights Reserved. Copyright 2022-2024 Advanced Micro Devices, Inc.
-----------------------------------------------------------------------------------------
| Tool Version : Vivado v.2024.2 (lin64) Build 5239630 Fri Nov 08 22:34:34 MST 2024
| Command      : report_timing_summary -file timing_summary.rpt
| Speed File   : -1  PRODUCTION 1.12 2019-11-22
-----------------------------------------------------------------------------------------

Timing Summary Report

------------------------------------------------------------------------------------------------
| Timer Settings
| --------------
------------------------------------------------------------------------------------------------

  Enable Multi Corner Analysis               :  Yes

------------------------------------------------------------------------------------------------
| Design Timing Summary
| ---------------------
------------------------------------------------------------------------------------------------

    WNS(ns)      TNS(ns)  TNS Failing Endpoints  TNS Total Endpoints      WHS(ns)      THS(ns)  THS Failing Endpoints  \
THS Total Endpoints     WPWS(ns)     TPWS(ns)  TPWS Failing Endpoints  TPWS Total Endpoints  
    -------      -------  ---------------------  -------------------      -------      -------  ---------------------  \
-------------------     --------     --------  ----------------------  --------------------  
{setup:>11}        0.000                      0                18403  {hold:>11}        0.000                      0  \
              18403  {pulse:>11}        0.000                       0                  7345  


------------------------------------------------------------------------------------------------
| Clock Summary
| -------------
------------------------------------------------------------------------------------------------

Clock       Waveform(ns)       Period(ns)      Frequency(MHz)
-----       ------------       ----------      --------------
clk_fpga_0  {{0.000 {period / 2:.3f}}}      {period:.3f}          {1e3 / period:.3f}         


------------------------------------------------------------------------------------------------
| Intra Clock Table
| -----------------
------------------------------------------------------------------------------------------------

Clock             WNS(ns)      TNS(ns)  TNS Failing Endpoints  TNS Total Endpoints
-----             -------      -------  ---------------------  -------------------
clk_fpga_0          9.999        0.000                      0                18403
"""


def utilization_report(*, used: Mapping[str, float] | None = None, ultrascale: bool = False) -> str:
    """`report_utilization`, of Zynq-7000 as 2019.2 prints it or of UltraScale+ with the newer column `Prohibited`."""
    counts = {"LUT": 9120, "FF": 11034, "BRAM": 16.5, "DSP": 25, "URAM": 3, **(used or {})}
    family = "CLB" if ultrascale else "Slice"
    extra = "   0 |" if ultrascale else ""
    heading = " Prohibited |" if ultrascale else ""
    memory = "| URAM           | {URAM:>4} |   0 |   0 |        96 |  3.13 |\n" if ultrascale else ""
    return f"""\
| Design State : Routed

1. {family} Logic
--------------

+----------------------------+------+-------+-----------+-------+
|          Site Type         | Used | Fixed |{heading} Available | Util% |
+----------------------------+------+-------+-----------+-------+
| {family} LUTs*                | {counts["LUT"]} |     0 |{extra}    230400 |  3.96 |
|   LUT as Logic             | 8954 |     0 |{extra}    230400 |  3.89 |
|     LUT as Shift Register  |    7 |     0 |{"  |" if ultrascale else ""}           |       |
| {family} Registers            | {counts["FF"]} |     0 |{extra}    460800 |  2.39 |
+----------------------------+------+-------+-----------+-------+
* Warning! LUT value is adjusted to account for LUT combining.

3. Memory
---------

+----------------+------+-------+-----------+-------+
|    Site Type   | Used | Fixed |{heading} Available | Util% |
+----------------+------+-------+-----------+-------+
| Block RAM Tile | {counts["BRAM"]:>4} |     0 |{extra}       312 |  5.29 |
|   RAMB36/FIFO* |   16 |     0 |{extra}       312 |  5.13 |
|   RAMB18       |    1 |     0 |{extra}       624 |  0.16 |
{memory.format(**counts)}+----------------+------+-------+-----------+-------+

4. {"ARITHMETIC" if ultrascale else "DSP"}
------

+-----------+------+-------+-----------+-------+
| Site Type | Used | Fixed |{heading} Available | Util% |
+-----------+------+-------+-----------+-------+
| DSPs      | {counts["DSP"]:>4} |     0 |{extra}      1728 | <0.01 |
+-----------+------+-------+-----------+-------+
"""


def hierarchy_report(*, alone: bool = False, ultrascale: bool = False) -> str:
    """`report_utilization -hierarchical`; `alone`: of the accelerator without a shell."""
    rows: list[tuple[Any, ...]] = [
        (0, "accelerator", "(top)", 5000, 6000, 10, 3, 2, 25),
        (0, "(accelerator)", "(top)", 11, 12, 0, 0, 0, 0),
        (1, "u_MVAU_rtl_0", "MVAU_rtl_0", 1000, 900, 0, 0, 0, 16),
        (2, "inst", "mvu_vvu_axi", 990, 890, 0, 0, 0, 16),
        (1, "u_MVAU_rtl_0_weights", "MVAU_rtl_0_memstream_wrapper", 30, 40, 7, 1, 2, 0),
        (1, "u_Thresholding_rtl_0", "Thresholding_rtl_0", 800, 700, 0, 0, 0, 0),
        (1, "u_MVAU_rtl_1", "MVAU_rtl_1", 400, 300, 0, 0, 0, 9),
    ]
    if not alone:
        rows = [
            (0, "shell_wrapper", "(top)", 9120, 11034, 16, 1, 3, 25),
            (1, "shell_i", "shell", 9120, 11034, 16, 1, 3, 25),
            (2, "axi_dma_0", "shell_axi_dma_0_0", 1500, 2000, 4, 0, 0, 0),
            *((level + 2, name, *rest) for level, name, *rest in rows),
        ]
    headings = ["Total LUTs", "Logic LUTs", "LUTRAMs", "SRLs", "FFs", "RAMB36", "RAMB18"]
    headings += ["URAM", "DSP Blocks"] if ultrascale else ["DSP48 Blocks"]
    lines = [f"|   Instance   |   Module   | {' | '.join(headings)} |"]
    for level, name, module, lut, ff, ramb36, ramb18, uram, dsp in rows:
        cells: list[object] = [lut, lut - 5, 3, 2, ff, ramb36, ramb18, *([uram] if ultrascale else []), dsp]
        lines.append(f"| {'  ' * int(level)}{name} | {module} | {' | '.join(f'{c}(1.21%)' for c in cells)} |")
    rule = "+----+----+"
    return "\n".join(["1. Utilization by Hierarchy", "-----", "", rule, lines[0], rule, *lines[1:], rule, ""])


POWER = """\
1. Summary
----------

+--------------------------+--------------+
| Total On-Chip Power (W)  | 1.612        |
| Design Power Budget (W)  | Unspecified* |
| Dynamic (W)              | 1.475        |
| Device Static (W)        | 0.137        |
| Confidence Level         | Medium       |
+--------------------------+--------------+
"""
HWH = """\
<?xml version="1.0" encoding="UTF-8" standalone="no" ?>
<EDKSYSTEM EDWVERSION="1.2"><MODULES>
<MODULE INSTANCE="zynq_ps" MODTYPE="processing_system7" VLNV="xilinx.com:ip:processing_system7:5.5"/>
<MODULE INSTANCE="axi_dma_0" MODTYPE="axi_dma" VLNV="xilinx.com:ip:axi_dma:7.1"><PARAMETERS>
<PARAMETER NAME="C_INCLUDE_SG" VALUE="0"/><PARAMETER NAME="C_SG_LENGTH_WIDTH" VALUE="26"/>
<PARAMETER NAME="c_m_axis_mm2s_tdata_width" VALUE="64"/><PARAMETER NAME="c_s_axis_s2mm_tdata_width" VALUE="32"/>
</PARAMETERS></MODULE></MODULES></EDKSYSTEM>
"""


@dataclass
class Scenario:
    """What the stand-in for Vivado does. Everything goes well unless said otherwise."""

    wrong: str = "nothing"
    run: str = "none"  # in which of Vivado's runs the text is said, and how that run ends
    text: str = ""
    ends: str = "well"
    streams: bool = True  # whether the run's log is printed too
    boards: Sequence[str] = ()  # installed board files
    setup: float = 0.613  # slack [ns] of Vivado's own timing paths
    hold: float = 0.021
    reports: dict[str, str] = field(default_factory=dict)
    alone: bool = False
    hwh: str = HWH

    def write(self, folder: Path) -> Path:
        """Write it for the stubs into `folder`; return the Tcl file."""
        folder.mkdir(parents=True, exist_ok=True)
        files = {
            "log": self.text,
            "hwh": self.hwh,
            "timing_summary": timing_report(setup=self.setup, hold=self.hold),
            "utilization": utilization_report(),
            "utilization_hierarchical": hierarchy_report(alone=self.alone),
            "power": POWER,
        } | self.reports
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
        plain: dict[str, Any] = {
            "wrong": self.wrong,
            "run": self.run,
            "ends": self.ends,
            "streams": int(self.streams),
            "boards": " ".join(self.boards),
            "setup": self.setup,
            "hold": self.hold,
        } | {name: folder / name for name in files}
        ips = {
            kind: f"interfaces {{{' '.join((*ip.masters, *ip.slaves))}}} "
            f"pins {{{' '.join((*ip.clocks, *ip.resets, *ip.outputs))}}} "
            f"spaces {{{' '.join(ip.spaces)}}} segments {{{' '.join(ip.segments)}}}"
            for kind, ip in IPS.items()
        }
        text = "".join(
            f"array set ::{name} {{{' '.join(f'{key} {{{value}}}' for key, value in values.items())}}}\n"
            for name, values in (("scenario", plain), ("ip", ips))
        )
        text += "set ::routed 0\n"
        (folder / "scenario.tcl").write_text(text, encoding="utf-8")
        return folder / "scenario.tcl"

    def environment(self, folder: Path) -> dict[str, str]:
        """Return what puts the stand-in on PATH with this scenario."""
        found = tcl.command(Path("x"))[:-1]
        python = Path(sys.executable).parent
        return {
            "PATH": f"{STUBS}{os.pathsep}{python}{os.pathsep}{os.environ['PATH']}",
            "FAKE_VIVADO": str(self.write(folder)),
            "FAKE_TCL": shlex.join(found),
        }
