"""The shell's block design, made by our Tcl in a real interpreter with stub commands: a netlist, which is checked."""

import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import lcm
from pathlib import Path

import pytest

from contract.errors import ConfigError
from finn_build.flows.vivado.prepare import DMA_NAME, write_project
from finn_build.flows.vivado.streams import plan_streams
from finn_build.targets.boards import BOARDS
from tests import tcl
from tests.finn_build.flows.vivado.vivado_model import IPS, STUBS, Scenario, write_build

WIDTHS = [1, 2, 4, 7, 8, 14, 16, 28, 49, 56, 112, 196, 392]  # pixels per beat; all divide 784
LEGAL_STREAM = {8, 16, 32, 64, 128, 256, 512, 1024}


@dataclass
class Netlist:
    """What the Tcl made."""

    part: str = ""
    cells: dict[str, str] = field(default_factory=dict)
    config: dict[str, str] = field(default_factory=dict)  # CELL.NAME -> value
    interfaces: list[tuple[str, str]] = field(default_factory=list)
    nets: list[tuple[str, str]] = field(default_factory=list)
    assigned: list[tuple[str, str]] = field(default_factory=list)
    excluded: list[tuple[str, str]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)

    def number(self, cell: str, name: str) -> int:
        return int(self.config[f"{cell}.{name}"])

    def ports(self, cell: str, patterns: "list[str] | tuple[str, ...]", count: int) -> Iterator[str]:
        """The cell's ports; of a bus with `count` of them."""
        for pattern in patterns:
            for i in range(count if "?" in pattern else 1):
                yield f"{cell}/{pattern.replace('?', str(i))}"


def netlist(folder: Path, scenario: Scenario | None = None, **build: object) -> Netlist:
    """Write a project for a small build and run its Tcl up to the validated block design."""
    write_project(write_build(folder / "build", **build), folder / "project")  # type: ignore[arg-type]
    stand_in = (scenario or Scenario()).write(folder / "scenario")
    main = folder / "main.tcl"
    sources = (stand_in, STUBS / "stubs.tcl", folder / "project" / "build.tcl")
    main.write_text("".join(f"source {{{path}}}\n" for path in sources) + "dump\n", encoding="utf-8")
    done = subprocess.run(tcl.command(main), cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = Netlist()
    for line in done.stdout.splitlines():
        kind, *words = line.split("\t")
        match kind:
            case "cell":
                found.cells[words[0]] = words[1]
            case "config":
                found.config[words[0]] = words[1]
            case "interface":
                found.interfaces.append((words[0], words[1]))
            case "net":
                found.nets.append((words[0], words[1]))
            case "assigned" | "excluded":
                getattr(found, kind).append((words[0], words[1]))
            case "call":
                found.calls.append(" ".join(words))
            case "part":
                found.part = words[0]
    return found


def check_interfaces(design: Netlist) -> None:
    """Every master and every slave of every cell is in exactly one net, with one of the other kind."""
    masters, slaves = set(), set()
    for cell, kind in design.cells.items():
        bus = kind == "smartconnect"
        masters |= set(design.ports(cell, list(IPS[kind].masters), design.number(cell, "NUM_MI") if bus else 1))
        slaves |= set(design.ports(cell, list(IPS[kind].slaves), design.number(cell, "NUM_SI") if bus else 1))
    ends = Counter(end for net in design.interfaces for end in net)
    outside = {"DDR", "FIXED_IO"} & ends.keys()
    assert ends.keys() - outside == masters | slaves, ends.keys() ^ (masters | slaves)
    assert set(ends.values()) == {1}
    for a, b in design.interfaces:
        if a not in outside:
            assert a in masters and b in slaves, (a, b)


def check_clocks_and_resets(design: Netlist, clock: str, reset: str) -> None:
    """Every clock and reset pin has one driver, the one and only."""
    drivers: dict[str, list[str]] = {}
    for source, sink in design.nets:
        drivers.setdefault(sink, []).append(source)
    for cell, kind in design.cells.items():
        for pin in IPS[kind].clocks:
            assert drivers.pop(f"{cell}/{pin}") == [f"zynq_ps/{clock}"]
        for pin in IPS[kind].resets:
            source = f"zynq_ps/{reset}" if kind == "proc_sys_reset" else "reset/peripheral_aresetn"
            assert drivers.pop(f"{cell}/{pin}") == [source]
    assert not drivers


def check_addresses(design: Netlist) -> None:
    """The processor reaches the DMA's registers, both channels reach the memory, and nothing is left open."""
    where = dict.fromkeys(design.assigned)
    memory = [segment for kind in design.cells.values() for segment in IPS[kind].segments if "Reg" not in segment]
    low = next(segment for segment in memory if "DDR_LOW" in segment)
    spaces = [f"{DMA_NAME}/{space}" for space in IPS["axi_dma"].spaces]
    assert set(where) == {
        ("zynq_ps/Data", f"/{DMA_NAME}/S_AXI_LITE/Reg"),
        *((space, f"/zynq_ps/{low}") for space in spaces),
    }
    assert set(design.excluded) == {(s, f"/zynq_ps/{m}") for s in spaces for m in memory if m != low}


def check_widths(design: Netlist, *, memory: int, accelerator: int) -> None:
    """Every width is one that its IP has, and neighbours agree."""
    number = design.number
    stream = number(DMA_NAME, "c_m_axis_mm2s_tdata_width")
    assert stream in LEGAL_STREAM and stream <= memory
    assert number(DMA_NAME, "c_m_axi_mm2s_data_width") == number(DMA_NAME, "c_m_axi_s2mm_data_width") == memory
    assert number(DMA_NAME, "c_s_axis_s2mm_tdata_width") == 32
    port = "PCW_S_AXI_HP0_DATA_WIDTH" if "processing_system7" in design.cells.values() else "PSU__SAXIGP2__DATA_WIDTH"
    assert number("zynq_ps", port) == memory
    if "width_converter" in design.cells:
        widths = [number("width_converter", f"{side}_TDATA_NUM_BYTES") for side in "SM"]
        assert widths == [stream // 8, accelerator // 8] and stream != accelerator
        assert lcm(*widths) <= 512 and 784 % widths[0] == 0
        assert number("width_converter", "HAS_TLAST") == 1
    else:
        assert stream == accelerator
    assert (number(DMA_NAME, "c_sg_length_width"), number(DMA_NAME, "c_include_sg")) == (26, 0)


@pytest.mark.parametrize(
    ("board", "simd"), [(board, simd) for board in BOARDS for simd in ((8, 49) if board != "zcu104" else (16, 7))]
)
def test_the_netlist_of_every_board(board: str, simd: int, tmp_path: Path) -> None:
    entry = BOARDS[board]
    design = netlist(tmp_path, board=board, simd=simd)
    assert design.part == entry.part and not design.calls
    pins = ("FCLK_CLK0", "FCLK_RESET0_N") if entry.ps == "ps7" else ("pl_clk0", "pl_resetn0")
    check_interfaces(design)
    check_clocks_and_resets(design, *pins)
    check_addresses(design)
    check_widths(design, memory=entry.dma_bits, accelerator=8 * simd)
    external = {pair for pair in design.interfaces if "/" not in pair[0]}
    assert external == ({(p, f"zynq_ps/{p}") for p in ("DDR", "FIXED_IO")} if entry.ps == "ps7" else set())
    for name, value in entry.ps_settings.items():
        assert design.config[f"zynq_ps.{name}"] == str(value)


def test_board_files_are_taken_where_they_are_and_ours_come_after(tmp_path: Path) -> None:
    entry = BOARDS["pynq-z2"]
    design = netlist(tmp_path, Scenario(boards=entry.board_parts), clk_ns=8.0)
    assert len(design.calls) == 1 and "apply_board_preset 1" in design.calls[0]
    assert "zynq_ps.PCW_UIPARAM_DDR_PARTNO" not in design.config
    assert float(design.config["zynq_ps.PCW_FPGA0_PERIPHERAL_FREQMHZ"]) == 125.0
    assert design.config["zynq_ps.PCW_USE_S_AXI_HP0"] == "1"
    check_interfaces(design)


class TestStreams:
    @pytest.mark.parametrize("memory", [32, 64, 128])
    @pytest.mark.parametrize("simd", WIDTHS)
    def test_widest_that_carries_an_image_in_whole_words(self, simd: int, memory: int) -> None:
        streams = plan_streams(8 * simd, image_bytes=784, memory_bits=memory)
        assert streams.dma in LEGAL_STREAM and streams.dma <= memory == streams.memory
        assert 784 % (streams.dma // 8) == 0
        if 8 * simd in LEGAL_STREAM and 8 * simd <= memory:
            assert not streams.converted
        else:
            fitting = [w for w in LEGAL_STREAM if w <= memory and 784 % (w // 8) == 0 and lcm(w // 8, simd) <= 512]
            assert streams.converted and streams.dma == max(fitting)

    def test_an_odd_image_takes_bytes(self) -> None:
        assert plan_streams(8 * 9, image_bytes=27 * 27, memory_bits=64).dma == 8

    @pytest.mark.parametrize(("bits", "image"), [(6272, 784), (12, 784), (40, 784)])
    def test_what_no_converter_makes_is_refused(self, bits: int, image: int) -> None:
        with pytest.raises(ConfigError, match=rf"the input stream has {bits} bits .* smaller SIMD"):
            plan_streams(bits, image_bytes=image, memory_bits=64)
