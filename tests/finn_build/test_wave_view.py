"""The views of a waveform: that they name what is in it, and that nobody's own view is lost.

That every signal is there in its width is in test_build.py, where a waveform is written; here GTKWave itself opens one.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from contract.errors import ConfigError
from finn_build.ops.op import Node
from finn_build.stitch import Design
from finn_build.wave_view import groups, surfer_text, view_files, write_views

NODE = Node("MVAU_rtl_0", "MVAU_rtl", 64, 24, 8, 1, 24, 896)
DESIGN = Design((NODE,), (), simd=8, in_beats=98, out_bits_used=24)
VCD = """$timescale 1ns $end
$scope module TOP $end $scope module sim_top $end
{ends}
$scope module u_dut $end
{streams}
$upscope $end $upscope $end $upscope $end
$enddefinitions $end
#0
#10
"""


def test_each_node_has_a_group_with_both_of_its_streams() -> None:
    titles = [group.title for group in groups(DESIGN)]
    assert titles[2] == "MVAU_rtl_0, layer: 896 cycles per image" and len(titles) == 4
    paths = [signal.path.rpartition(".")[2] for signal in groups(DESIGN)[2].signals]
    assert paths == [f"stream{i}_{end}" for i in (0, 1) for end in ("tvalid", "tready", "tdata")]
    lines = surfer_text(DESIGN).splitlines()
    assert [line for line in lines if line.startswith("divider_add")] == [f"divider_add {title}" for title in titles]
    assert "variable_add TOP.sim_top.u_dut.stream1_tdata" in lines and lines[-1] == "zoom_fit"


def test_what_somebody_saved_stays(tmp_path: Path) -> None:
    wave = tmp_path / "first.fst"
    gtkwave, surfer = view_files(wave)
    (said,) = write_views(wave, DESIGN, option="--wave")
    assert f"gtkwave {gtkwave}" in said and f"--command-file {surfer} {wave}" in said
    assert len(write_views(wave, DESIGN, option="--wave")) == 1  # ours are replaced
    gtkwave.write_text("[*] GTKWave Analyzer v3.3.118\n[dumpfile] mine\n")
    said = write_views(wave, DESIGN, option="--wave")[1]
    assert str(gtkwave) in said and "left as somebody saved it" in said and "mine" in gtkwave.read_text()
    surfer.unlink()
    surfer.mkdir()
    assert len(write_views(wave, DESIGN, option="--wave")) == 3
    with pytest.raises(ConfigError, match="--wave"):
        write_views(tmp_path / "nowhere" / "first.fst", DESIGN, option="--wave")


def declared(paths: list[tuple[str, int]], first: int) -> str:
    lines = [f"$var wire {bits} {chr(33 + first + i)} {name} $end" for i, (name, bits) in enumerate(paths)]
    return "\n".join(lines)


@pytest.mark.skipif(
    not (shutil.which("gtkwave") and shutil.which("xvfb-run")), reason="no GTKWave and xvfb (Debian: gtkwave, xvfb)"
)
def test_gtkwave_opens_it_with_every_signal_also_where_both_files_were_moved(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    wave = tmp_path / "here" / "first.vcd"
    every = dict.fromkeys((s.path, s.bits) for group in groups(DESIGN) for s in group.signals)
    inner = [(path.rpartition(".")[2], bits) for path, bits in every if ".u_dut." in path]
    outer = [(path.rpartition(".")[2], bits) for path, bits in every if ".u_dut." not in path]
    named = [(f"{name} [{bits - 1}:0]" if bits > 1 else name, bits) for name, bits in (*outer, *inner)]
    text = VCD.format(ends=declared(named[: len(outer)], 0), streams=declared(named[len(outer) :], len(outer)))
    wave.write_text(text)
    write_views(wave, DESIGN, option="--wave")
    (tmp_path / "here").rename(tmp_path / "there")
    found = tmp_path / "found"
    (tmp_path / "look.tcl").write_text(
        f"set f [open {found} w]\n"
        "for {set i 0} {$i < [gtkwave::getTotalNumTraces]} {incr i} {puts $f [gtkwave::getTraceNameFromIndex $i]}\n"
        "close $f\nexit\n"
    )
    save = view_files(tmp_path / "there" / "first.vcd")[0]
    command = ["xvfb-run", "-a", "gtkwave", str(save), f"--script={tmp_path / 'look.tcl'}"]
    subprocess.run(command, env={**os.environ, "HOME": str(tmp_path)}, capture_output=True, timeout=600, check=False)
    lines = found.read_text().splitlines()
    expected = [line for g in groups(DESIGN) for line in (g.title, *(s.shown for s in g.signals), g.title)]
    assert lines == expected
