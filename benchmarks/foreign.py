"""A network that others made, on a PYNQ-Z2, beside what is published for it.

    python -m benchmarks.foreign [tfc_1w1a|FILE.onnx] [--fps 837019] [--runs FOLDER]

Brevitas' own TFC, SFC and LFC (784 and three layers of 64, 256 or 1024, then 10) are made with random weights, by the
names of its examples: tfc_1w1a, sfc_2w2a, lfc_1w2a and so on. finn-examples publishes 837,019 images/s at 100 MHz for
TFC W1A1 on a PYNQ-Z2. Prints how long the import and all up to verified RTL took, cycles per image as simulated, and
Yosys' counts; nothing is routed, no clock is claimed. Of a TFC the exit code is 1 if the import took more than 5 s, or
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
FPS = {"tfc": PUBLISHED_FPS, "sfc": 100_000, "lfc": 10_000}  # images/s, that PYNQ-Z2's LUTs are enough for
IMPORT_S, VERIFIED_S = 5.0, 60.0  # goals


def main() -> int:
    """Print what was measured; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", nargs="?", default="tfc_1w1a", help="a file, or a name of Brevitas' examples")
    parser.add_argument("--fps", type=int, help="images per second to build for")
    parser.add_argument("--runs", type=Path, help="keep the run in this folder")
    options = parser.parse_args()
    fps = options.fps or FPS.get(options.network[:3], PUBLISHED_FPS)
    if options.runs is not None:
        return measure(options.network, options.runs, fps)
    with tempfile.TemporaryDirectory(prefix="foreign-") as runs:
        return measure(options.network, Path(runs), fps)


def measure(network: str, runs: Path, fps: int) -> int:
    """Import, build, simulate and synthesise; print what was measured; return the exit code."""
    start = time.perf_counter()
    if network[:3] in FPS and not Path(network).exists():
        import torch

        from tests.bnn_pynq import bnn_pynq

        net = bnn_pynq(network)
        start = time.perf_counter()
        run = import_module(net, torch.zeros(1, 1, 28, 28), "foreign", runs=runs, target_fps=fps)
    else:
        run = import_file(Path(network), "foreign", runs=runs, target_fps=fps)
    imported = time.perf_counter() - start
    with run.locked():
        run.make("build")
        run.simulate()
        verified = time.perf_counter() - start
        run.synth()
    sim = read_record(run.place("simulate") / "sim.json", Simulated)
    synthesis = read_record(run.place("synth") / "synth.json", Synthesis)
    tfc = network.startswith("tfc")
    goals = (f" (goal {IMPORT_S:g})", f" (goal {VERIFIED_S:g})") if tfc else ("", "")
    print(f"{network}: import {imported:.1f} s{goals[0]}, import to verified RTL {verified:.1f} s{goals[1]}")
    print(f"{sim.images} inputs equal, {sim.images_with_random_stalls} with random stalls, too")
    rate = 1e6 * sim.clock_mhz / sim.cycles_per_image
    print(f"{sim.cycles_per_image:.1f} cycles per image, {rate:,.0f} images/s at {sim.clock_mhz:g} MHz, simulated")
    if network == "tfc_1w1a":
        print(f"published: {PUBLISHED_FPS:,} images/s at 100 MHz, {1e8 / PUBLISHED_FPS:.1f} cycles")
    print("Yosys: " + ", ".join(f"{count} {name}" for name, count in synthesis.total.model_dump().items()))
    return int(tfc and (imported > IMPORT_S or verified > VERIFIED_S))


if __name__ == "__main__":
    sys.exit(main())
