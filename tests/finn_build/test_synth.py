"""Synthesis of small random designs: the counts, what is kept of them, and the netlist gate by gate."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from contract.errors import MismatchError, ToolError
from contract.golden import load_golden
from finn_build import costs, synth
from finn_build.build import build
from finn_build.config import BuildConfig
from finn_build.gates import check_gates
from finn_build.ops import image_last
from finn_build.ops.lut_mvau import weight_words
from finn_build.stitch import Design, load_design
from finn_build.synth import Unit, Usage, synthesise, synthesise_units, total, unit_of
from finn_build.targets.boards import BOARDS
from tests.random_networks import export_random, small_spec

ROM = """\
module NAME_top (input wire clk, input wire [6:0] addr, output reg [15:0] data);
    (* ram_style = STYLE *) reg [15:0] memory [0:127];
    parameter STYLE = "auto";
    initial $readmemh("./NAME_weights.dat", memory);
    always @(posedge clk) data <= memory[addr];
endmodule
"""


@dataclass(frozen=True)
class Built:
    export: Path
    build: Path
    design: Design

    @property
    def rtl(self) -> Path:
        return self.build / "rtl"


def built(folder: Path, weight_bits: int, act_bits: int, board: str, unit: str = "dsp", *, deep: bool = False) -> Built:
    """Build a small network; its layers of 2 bits and more of DSPs, or of LUTs. Those of 1 bit have one in the middle.

    A deep one is as a user would fold it by hand: few PE and SIMD, so deep memories, and no word about where those go.
    """
    hidden = (6, 4) if weight_bits == 1 else (6,)
    export_random(folder / "export", small_spec(weight_bits, act_bits, hidden), count=8)
    build(folder / "export", folder / "search", BuildConfig(board=board, target_fps=500_000), lambda _: None)
    folding = json.loads((folder / "search" / "folding.json").read_text(encoding="utf-8"))
    for name, values in folding.items():
        values |= {"resType": unit} if name.startswith("MVAU_rtl") else {}
        if deep and "SIMD" in values:
            values |= {"PE": min(2, values["PE"]), "SIMD": 1}
            del values["ram_style"]
    (folder / "folding.json").write_text(json.dumps(folding), encoding="utf-8")
    config = BuildConfig(board=board, folding=folder / "folding.json")
    build(folder / "export", folder / "build", config, lambda _: None)
    return Built(folder / "export", folder / "build", load_design(folder / "build" / "rtl"))


@pytest.fixture(scope="module")
def w8a8(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return built(tmp_path_factory.mktemp("w8a8"), 8, 8, "pynq-z2")


@pytest.mark.slow
class TestGates:
    """FINN's RTL simulates as behavioural code; the netlist has the packed DSPs."""

    def test_w8a8(self, w8a8: Built, tmp_path: Path) -> None:
        """In one go with the counts: the nodes together are the whole netlist."""
        found = check_gates(w8a8.build, w8a8.export, tmp_path / "gates", family="xc7")
        assert (found["images"], found["differing"]) == (8, 0)
        whole = Usage(**found["netlist"])  # type: ignore[arg-type]
        cache = tmp_path / "cache"
        parts = synthesise(w8a8.rtl, w8a8.design, family="xc7", scratch=tmp_path / "scratch", cache=cache)
        assert [part.name for part in parts] == [*(node.name for node in w8a8.design.nodes), image_last.NAME]
        together = total(parts)
        assert (together.dsp, together.bram18_equivalents) == (whole.dsp, whole.bram18_equivalents)
        for name in ("lut", "ff", "carry"):
            assert getattr(together, name) == pytest.approx(getattr(whole, name), rel=0.03)
        counts = {part.name: part.usage for part in parts}
        formulas = json.loads((w8a8.build / "estimates.json").read_text(encoding="utf-8"))["formulas"]
        assert [layer["name"] for layer in formulas["layers"]] == list(counts)
        assert all(layer["dsp"] == counts[layer["name"]].dsp for layer in formulas["layers"]) and together.dsp > 0
        assert formulas["total"]["lut"] == pytest.approx(together.lut, rel=0.15)
        self._kept(w8a8, cache, tmp_path, counts)

    def _kept(self, w8a8: Built, cache: Path, tmp_path: Path, counts: dict[str, Usage]) -> None:
        """What is kept is used, but not when it is damaged."""
        lines: list[str] = []
        key = unit_of(w8a8.rtl, w8a8.design, image_last.NAME).key("xc7", synth.tool_version())
        (cache / f"{key}.json").write_text('{"lut": -1}', encoding="utf-8")
        again = synthesise(
            w8a8.rtl, w8a8.design, family="xc7", scratch=tmp_path / "again", cache=cache, report=lines.append
        )
        assert {part.name: part.usage for part in again if part.name != image_last.NAME} == {
            name: usage for name, usage in counts.items() if name != image_last.NAME
        }
        assert len(lines) == 2 and lines[1].startswith(image_last.NAME) and again[-1].usage.lut > 0

    @pytest.mark.parametrize(
        ("bits", "board", "unit", "deep"),
        [
            (4, "pynq-z2", "dsp", False),
            (1, "pynq-z2", "lut", False),
            (3, "pynq-z2", "lut", False),
            (8, "zcu104", "dsp", True),
        ],
    )
    def test_widths_and_families(self, bits: int, board: str, unit: str, deep: bool, tmp_path: Path) -> None:
        case = built(tmp_path, bits, bits, board, unit, deep=deep)
        family = BOARDS[board].yosys_family
        found = check_gates(case.build, case.export, tmp_path / "gates", family=family)
        assert (found["images"], found["differing"]) == (8, 0)
        assert (found["netlist"]["dsp"] > 0) == (unit == "dsp")  # type: ignore[index]
        assert [path.name for path in (tmp_path / "gates").iterdir()] == ["gates.json"]


@pytest.mark.slow
def test_logits_that_differ_are_refused(w8a8: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    golden = load_golden(w8a8.export / "golden.npz")
    assert len(set(golden.logits.tolist())) > 1

    class Netlist:
        outputs = golden.outputs[::-1].copy()

    def wrong(*_: object, **__: object) -> tuple[Usage, type[Netlist]]:
        return Usage(), Netlist

    monkeypatch.setattr("finn_build.gates.simulate_gates", wrong)
    with pytest.raises(MismatchError, match=r"gates: \d of 8 logits differ .* first at image"):
        check_gates(w8a8.build, w8a8.export, tmp_path / "gates", family="xc7")


def test_equal_nodes_are_one_and_a_memory_decides(w8a8: Built) -> None:
    def keys() -> dict[str, str]:
        names = [node.name for node in w8a8.design.nodes]
        return {name: unit_of(w8a8.rtl, w8a8.design, name).key("xc7", "0") for name in names}

    before = keys()
    same = {rom(name, "block").key("xc7", "0") for name in ("first", "second")}
    assert len(same) == 1 and rom("first", "distributed").key("xc7", "0") not in same
    assert before["MVAU_rtl_0"] != unit_of(w8a8.rtl, w8a8.design, "MVAU_rtl_0").key("xcup", "0")
    memory = w8a8.rtl / "MVAU_rtl_1_weights.dat"
    kept = memory.read_bytes()
    try:
        memory.write_bytes(bytes([ord("1") if kept[0] == ord("0") else ord("0")]) + kept[1:])
        after = keys()
    finally:
        memory.write_bytes(kept)
    assert [name for name in before if before[name] != after[name]] == ["MVAU_rtl_1"]


def rom(name: str, style: str) -> Unit:
    weights = np.random.default_rng(1).integers(-128, 128, (128, 2))
    words = "\n".join(weight_words(weights, pe=1, simd=2, bits=8))
    text = ROM.replace("NAME", name).replace('"auto"', f'"{style}"')
    return Unit(name, f"{name}_top", ((f"{name}_top.v", text.encode()), (f"{name}_weights.dat", words.encode())))


@pytest.mark.slow
@pytest.mark.parametrize("family", ["xc7", "xcup"])
def test_the_ram_style_is_honoured(family: costs.Family, tmp_path: Path) -> None:
    units = [rom("first", "block"), rom("second", "distributed")]
    block, distributed = synthesise_units(units, family=family, scratch=tmp_path / "s", cache=tmp_path / "c")
    assert (block.bram18_equivalents, block.lut) == (1, 0)
    # Each output bit is a table of 128 bits: two 6-input LUTs, some of which are alike, and a multiplexer for free.
    assert distributed.bram18_equivalents == 0 and 16 <= distributed.lut <= 48


DEEP = """\
module deep_top (input wire clk, we, input wire [9:0] addr, input wire [7:0] d, output reg [7:0] q);
    reg [7:0] memory [0:1023];
    always @(posedge clk) begin
        if (we) memory[addr] <= d;
        q <= memory[addr];
    end
endmodule
"""


def test_a_deep_memory_of_ultrascale_is_a_block_ram(tmp_path: Path) -> None:
    deep = Unit("deep", "deep_top", (("deep_top.v", DEEP.encode()),))
    (usage,) = synthesise_units([deep], family="xcup", scratch=tmp_path / "scratch", cache=tmp_path / "cache")
    assert (usage.bram18_equivalents, usage.lut) == (1, 0)


def test_refused_verilog_shows_the_first_error(tmp_path: Path) -> None:
    broken = Unit(
        "broken", "broken_top", (("broken_top.v", b"module broken_top (output wire x);\n assign x = y;\nendmodule"),)
    )
    with pytest.raises(ToolError, match=r"Yosys refused the design: .*broken_top.v:2: ERROR: .*'y'"):
        synthesise_units([broken], family="xc7", scratch=tmp_path / "scratch", cache=tmp_path / "cache")
    assert list(tmp_path.iterdir()) == []  # nothing is kept, and no folder for it


@pytest.mark.parametrize(
    ("cells", "message"), [({"LUT6": 3, "URAM288": 1}, "nobody counts: URAM288"), (None, "not readable")]
)
def test_strange_statistics_are_refused(cells: dict[str, int] | None, message: str, tmp_path: Path) -> None:
    content = {"modules": {"\\top": {"num_cells_by_type": cells}}}
    (tmp_path / "stat.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ToolError, match=message):
        synth.count(tmp_path / "stat.json", "top", "xc7")


def test_cells_are_counted_as_the_part_counts_them(tmp_path: Path) -> None:
    cells = {"LUT2": 5, "INV": 1, "LUT6_2": 2, "RAM32M": 3, "SRLC32E": 4, "FDRE": 7, "FDSE": 1, "CARRY4": 2, "MUXF7": 9}
    content = {"modules": {"\\top": {"num_cells_by_type": cells | {"RAMB36E1": 2, "RAMB18E1": 1, "DSP48E1": 6}}}}
    (tmp_path / "stat.json").write_text(json.dumps(content), encoding="utf-8")
    found = synth.count(tmp_path / "stat.json", "top", "xc7")
    assert found == Usage(lut=8 + 12 + 4, lutram=12, srl=4, ff=8, carry=2, bram36=2, bram18=1, dsp=6)
    assert found.bram18_equivalents == 5
