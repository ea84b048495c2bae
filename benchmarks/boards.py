"""What boards take: wide open networks, built, simulated on 624 images, and synthesised by Yosys.

    python -m benchmarks.boards [--cache runs/.cache/synth] [--only W1A1]

W1A1 784-256-256-256-1 at the fewest cycles that each board's DMA allows, and W8A8 784-64-64-1 as fast as 80 % of a
PYNQ-Z2's LUTs allow. Weights are random: neither cycles nor resources depend much on them. Prints the cycles per image
and of the first logit as simulated, the bound on the latter, resources and their share of the part, and how fast the
simulation was. Every logit is compared. Exit code 1 if a design is slower than asked for or takes more than its budget:
half of the LUTs for W1A1 on a PYNQ-Z2.
"""

import argparse
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from finn_build.build import build
from finn_build.config import BuildConfig
from finn_build.synth import synthesise_build
from finn_build.targets.boards import BOARDS
from finn_build.verify import simulate_build
from qnn.spec import NetworkSpec
from tests.random_networks import export_random

IMAGES = 624
USED = {"lut": "lut", "bram18": "bram18_equivalents", "dsp": "dsp"}  # the board's names, and synth.json's


@dataclass(frozen=True)
class Case:
    """One network on one board."""

    bits: int
    hidden: tuple[int, ...]
    config: BuildConfig
    cycles: int  # per image, at most

    @property
    def name(self) -> str:
        """Widths, sizes and board."""
        return f"W{self.bits}A{self.bits} 784-{'-'.join(map(str, self.hidden))}-1, {self.config.board}"


CASES = (
    Case(1, (256, 256, 256), BuildConfig(board="pynq-z2", target_fps="max", budget={"lut": 0.5}), 98),
    Case(1, (256, 256, 256), BuildConfig(board="zcu104", target_fps="max"), 49),
    Case(8, (64, 64), BuildConfig(board="pynq-z2", target_fps="max", budget={"lut": 0.8, "dsp": 1.0}), 130),
)


def measure(case: Case, folder: Path, cache: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what sim.json and synth.json hold."""
    spec = NetworkSpec(hidden=case.hidden, weight_bits=case.bits, act_bits=case.bits)
    export, out = folder / "export", folder / "build"
    export_random(export, spec, count=IMAGES)

    def report(line: str) -> None:
        print(f"{case.name}: {line}", file=sys.stderr, flush=True)

    build(export, out, case.config, report)
    sim = simulate_build(out, export, folder / "sim", report)
    return sim, synthesise_build(out, BOARDS[case.config.board], folder / "synth", cache=cache)


def main() -> int:
    """Print one row per case; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=Path("runs/.cache/synth"))
    parser.add_argument("--only", default="", help="cases whose names hold this")
    options = parser.parse_args()
    table = Table(title=f"{IMAGES} images each")
    headings = ("cycles/image", "first logit, bound", "LUT", "BRAM18", "DSP", "simulated in s", "M cycles/s")
    for heading in ("network, board", *headings):
        table.add_column(heading, justify="right", no_wrap=True)
    missed = 0
    for case in CASES:
        if options.only not in case.name:
            continue
        folder = Path(tempfile.mkdtemp())
        try:
            sim, synth = measure(case, folder, options.cache)
        finally:
            shutil.rmtree(folder)
        board = case.config.filled
        used = {name: synth["total"][key] for name, key in USED.items()}
        missed += sim["initiation_interval"] > case.cycles or any(used[name] > board.usable[name] for name in used)
        table.add_row(
            case.name,
            f"{sim['initiation_interval']:g}",
            f"{sim['first_latency_cycles']}, {sim['latency_bound_cycles']}",
            *(f"{count:,} ({count / getattr(board, name):.1%})" for name, count in used.items()),
            f"{sim['simulation_seconds']:.2f}",
            f"{sim['simulated_cycles_per_s'] / 1e6:.2f}",
        )
    Console(width=160).print(table)
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
