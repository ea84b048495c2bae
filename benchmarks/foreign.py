"""A network that others made, on a PYNQ-Z2, beside what is published for it.

    python -m benchmarks.foreign [TFC_1W1A.onnx] [--fps 837019] [--runs FOLDER]

Without a file it is Brevitas' own TFC W1A1 (784-64-64-64-10) with random weights. finn-examples publishes 837,019
images/s at 100 MHz for it on a PYNQ-Z2. Prints how long the import and all up to verified RTL took, cycles per image as
simulated, and Yosys' counts; nothing is routed, no clock is claimed. Exit code 1 if the import took more than 5 s, or
import to verified RTL more than 60 s: the goals on a quiet machine.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from contract.record import read_record
from cxrflow.imported import import_file, import_module
from finn_build.records import Simulated, Synthesis

PUBLISHED_FPS = 837_019  # images/s, finn-examples, TFC W1A1, 100 MHz
IMPORT_S, VERIFIED_S = 5.0, 60.0  # goals


def main() -> int:
    """Print what was measured; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?")
    parser.add_argument("--fps", type=int, default=PUBLISHED_FPS, help="images per second to build for")
    parser.add_argument("--runs", type=Path, help="keep the run in this folder")
    options = parser.parse_args()
    if options.runs is not None:
        return measure(options.file, options.runs, options.fps)
    with tempfile.TemporaryDirectory(prefix="foreign-") as runs:
        return measure(options.file, Path(runs), options.fps)


def measure(file: Path | None, runs: Path, fps: int) -> int:
    """Import, build, simulate and synthesise; print what was measured; return the exit code."""
    start = time.perf_counter()
    if file is None:
        import torch

        from tests.bnn_pynq import bnn_pynq

        net = bnn_pynq("tfc_1w1a")
        start = time.perf_counter()
        run = import_module(net, torch.zeros(1, 1, 28, 28), "foreign", runs=runs, target_fps=fps)
    else:
        run = import_file(file, "foreign", runs=runs, target_fps=fps)
    imported = time.perf_counter() - start
    with run.locked():
        run.make("build")
        run.simulate()
        verified = time.perf_counter() - start
        run.synth()
    sim = read_record(run.place("simulate") / "sim.json", Simulated)
    synthesis = read_record(run.place("synth") / "synth.json", Synthesis)
    print(f"import {imported:.1f} s (goal {IMPORT_S:g}), import to verified RTL {verified:.1f} s (goal {VERIFIED_S:g})")
    print(f"{sim.images} inputs equal, {sim.images_with_random_stalls} of them with random stalls")
    rate = 1e6 * sim.clock_mhz / sim.cycles_per_image
    print(f"{sim.cycles_per_image:.1f} cycles per image, {rate:,.0f} images/s at {sim.clock_mhz:g} MHz, simulated")
    print(f"published: {PUBLISHED_FPS:,} images/s at 100 MHz, {1e8 / PUBLISHED_FPS:.1f} cycles")
    print("Yosys: " + ", ".join(f"{count} {name}" for name, count in synthesis.total.model_dump().items()))
    return int(imported > IMPORT_S or verified > VERIFIED_S)


if __name__ == "__main__":
    sys.exit(main())
