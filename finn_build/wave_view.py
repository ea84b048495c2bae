"""What a waveform viewer opens with: the streams of the accelerator, a group per node, in the order of the data.

A waveform holds thousands of signals; whoever looks for the node that stalls or computes wrongly wants the handshake
and the data on both sides of each. GTKWave reads a save file, Surfer a file of its documented commands; both name the
signals as the FST does.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vcd.gtkw import GTKWSave

from contract.files import bounded_text, output
from finn_build.ops import OPS
from finn_build.stitch import LOGIT_BITS, Design

TOP = "TOP.sim_top"  # as Verilator calls it in the waveform


@dataclass(frozen=True)
class Signal:
    """One signal of a group."""

    path: str  # in the waveform, without the range of its bits
    bits: int
    shown: str  # what it is called in the viewer
    data: str = "hex"  # how its value is written, in GTKWave's words


@dataclass(frozen=True)
class Group:
    """Signals that belong together."""

    title: str
    signals: tuple[Signal, ...]


def groups(design: Design) -> list[Group]:
    """Return what is shown: clock and reset, the input, what goes into each node and out of it, and the result."""
    ends = [
        _stream(f"{TOP}.s_axis", "s_axis", design.in_bits, last=True),
        _stream(f"{TOP}.m_axis", "m_axis", LOGIT_BITS, last=True, data="signed"),
    ]
    nodes = design.nodes
    streams = [nodes[0].in_bits, *(node.out_bits for node in nodes)]
    found = [
        Group("clock and reset", (Signal(f"{TOP}.ap_clk", 1, "ap_clk"), Signal(f"{TOP}.ap_rst_n", 1, "ap_rst_n"))),
        Group(f"input of the accelerator: {design.in_beats} beats per image", tuple(ends[0])),
    ]
    for i, node in enumerate(nodes):
        into, out = (_stream(f"{TOP}.u_dut.stream{k}", side, streams[k]) for k, side in ((i, "in"), (i + 1, "out")))
        called = OPS[node.op_type].called
        found.append(Group(f"{node.name}, {called.lower()}: {node.cycles} cycles per image", (*into, *out)))
    return [*found, Group(f"result of the accelerator: {design.results} per image", tuple(ends[1]))]


def _stream(path: str, shown: str, bits: int, *, last: bool = False, data: str = "hex") -> Iterator[Signal]:
    yield Signal(f"{path}_tvalid", 1, f"{shown} tvalid")
    yield Signal(f"{path}_tready", 1, f"{shown} tready")
    yield Signal(f"{path}_tdata", bits, f"{shown} tdata", data)
    if last:
        yield Signal(f"{path}_tlast", 1, f"{shown} tlast")


def view_files(wave: Path) -> tuple[Path, Path]:
    """Return where the views of a waveform lie: GTKWave's save file, and Surfer's commands."""
    return wave.with_name(f"{wave.name}.gtkw"), wave.with_name(f"{wave.name}.sucl")


def write_views(wave: Path, design: Design, *, option: str) -> list[str]:
    """Write both files beside a waveform; return sentences: how to open it, and what was left as it is.

    Viewers save there what people arranged, so a file that is not as we write it stays.

    Args:
        wave: the waveform.
        design: whose it is.
        option: of the command line, that chose the place.

    Raises:
        ConfigError: a file cannot be written.
    """
    said = []
    texts = (gtkwave_text(wave, design), surfer_text(design))
    for path, text in zip(view_files(wave), texts, strict=True):
        if path.exists() and not _is_ours(path, text):
            said.append(f"{path} is left as somebody saved it; without it, a new one is written")
            continue
        with output(path, option=option) as partial:
            partial.write_text(text, encoding="utf-8")
    gtkwave, surfer = view_files(wave)
    return [f"look at it with `gtkwave {gtkwave}` or `surfer --command-file {surfer} {wave}`", *said]


def _is_ours(path: Path, text: str) -> bool:
    """Whether a file begins as we begin it; GTKWave puts lines of its own there."""
    try:
        return bounded_text(path, 1 << 20).partition("\n")[0] == text.partition("\n")[0]
    except (OSError, ValueError):
        return False


def gtkwave_text(wave: Path, design: Design) -> str:
    """Return a save file that `gtkwave FILE` opens, with the waveform beside it."""
    stream = io.StringIO()
    save = GTKWSave(stream)
    save.comment("Written by cxrflow: the streams of each node")  # type: ignore[arg-type]  # a text is what it prints
    save.dumpfile(str(wave))  # of both paths, so that GTKWave finds the one from the other when both were moved
    save.savefile(str(view_files(wave)[0]))
    save.treeopen(TOP)
    for group in groups(design):
        with save.group(group.title):
            for signal in group.signals:
                # GTKWave takes the range for a part of the name.
                name = f"{signal.path}[{signal.bits - 1}:0]" if signal.bits > 1 else signal.path
                save.trace(name, alias=signal.shown, datafmt=signal.data)
    return stream.getvalue()


def surfer_text(design: Design) -> str:
    """Return the commands for `surfer --command-file FILE WAVE`: a divider before the signals of each group."""
    lines: list[str] = []
    for group in groups(design):
        lines += [f"divider_add {group.title}", *(f"variable_add {signal.path}" for signal in group.signals)]
    return "\n".join([*lines, "zoom_fit"]) + "\n"
