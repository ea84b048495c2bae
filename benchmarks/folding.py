"""Our folding against FINN's own: the same networks at the same frame rate, resources from Yosys on both.

    python -m benchmarks.folding [--cache runs/.cache/synth] [--only W4A4]

FINN's folding is what its step target_fps_parallelization gives for the same graph; both are built by the same steps
and synthesised node by node. LUT-equivalents count a block RAM and a DSP as the part's LUTs per each of them. Exit code
1 if ours takes more for any network, or saves less than 20 % on more than half of them.
"""

import argparse
import json
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from contract.network import load_network
from finn_build.build import build
from finn_build.config import BuildConfig
from finn_build.finn_session import finn_session
from finn_build.hardware_graph import hardware_graph
from finn_build.ops import layer_op, mvau
from finn_build.ops.product import Product
from finn_build.stitch import load_design
from finn_build.synth import Usage, synthesise, total
from finn_build.targets.boards import BOARDS
from qnn.spec import NetworkSpec
from tests.random_networks import export_random

SAVING = 0.2


@dataclass(frozen=True)
class Case:
    """One network at one frame rate."""

    weight_bits: object
    act_bits: object
    hidden: tuple[int, ...]
    fps: int
    board: str = "pynq-z2"

    @property
    def name(self) -> str:
        """Widths, sizes and images/s."""
        return f"W{self.weight_bits}A{self.act_bits} {'-'.join(map(str, self.hidden))} {self.fps // 1000}k"


CASES = (
    Case(8, 8, (64, 64), 100_000),
    Case(8, 8, (32,), 250_000),
    Case(6, 6, (64, 64), 100_000),
    Case(4, 4, (64, 64), 100_000),
    Case(4, 4, (64, 64), 400_000, "zcu104"),
    Case(3, 3, (48, 32), 200_000),
    Case(2, 2, (64, 64), 400_000),
    Case(1, 2, (64, 64), 200_000),
    Case(1, 1, (64, 64), 400_000),
    Case((8, 2, 4), (4, 2), (64, 32), 200_000),
)


def finn_folding(export: Path, folder: Path, case: Case) -> Path:
    """Write the folding file that FINN's search gives."""
    board = BOARDS[case.board]
    with finn_session(folder):
        from finn.builder.build_dataflow_config import DataflowBuildConfig
        from finn.builder.build_dataflow_steps import step_target_fps_parallelization

        model = hardware_graph(load_network(export / "reference.npz"))
        names = [node.name for node in model.graph.node]
        for node in model.graph.node:  # FINN's search knows its own types only
            if isinstance(layer_op(node), Product):
                node.op_type = mvau.OP.op_type
        config = DataflowBuildConfig(
            output_dir=str(folder), synth_clk_period_ns=10.0, generate_outputs=[], fpga_part=board.part,
            target_fps=case.fps,
        )  # fmt: skip
        (folder / "report").mkdir(exist_ok=True)
        model = step_target_fps_parallelization(model, config)
        folding = {}
        for name, node in zip(names, model.graph.node, strict=True):
            values = {a.name: a.i for a in node.attribute if a.name in ("PE", "SIMD")}
            folding[name] = {
                key: values[key] for key in ("PE", "SIMD") if key in values and key in layer_op(node).sizes
            }
    path = folder / "folding.json"
    path.write_text(json.dumps(folding), encoding="utf-8")
    return path


def measure(export: Path, out: Path, config: BuildConfig, cache: Path) -> tuple[Usage, int]:
    """Return what the design takes, and its estimated cycles per image."""
    build(export, out, config, lambda line: None)
    rtl = out / "rtl"
    family = BOARDS[config.board].yosys_family
    parts = synthesise(rtl, load_design(rtl), family=family, scratch=out / "yosys", cache=cache)
    cycles = json.loads((out / "estimates.json").read_text(encoding="utf-8"))["cycles_per_image"]
    return total(parts), int(cycles)


def compare(case: Case, cache: Path) -> tuple[tuple[Usage, int], tuple[Usage, int]]:
    """Return FINN's design and ours."""
    folder = Path(tempfile.mkdtemp())
    try:
        spec = NetworkSpec.model_validate(
            {"hidden": case.hidden, "weight_bits": case.weight_bits, "act_bits": case.act_bits}
        )
        export_random(folder / "export", spec, count=16)
        (folder / "search").mkdir()
        file = finn_folding(folder / "export", folder / "search", case)
        finn = measure(folder / "export", folder / "finn", BuildConfig(board=case.board, folding=file), cache)
        ours = BuildConfig(board=case.board, target_fps=case.fps)
        return finn, measure(folder / "export", folder / "ours", ours, cache)
    finally:
        shutil.rmtree(folder)


def main() -> int:
    """Print one row per network; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=Path("runs/.cache/synth"))
    parser.add_argument("--only", default="", help="networks whose names hold this")
    options = parser.parse_args()
    table = Table(title="FINN's folding and ours, by Yosys")
    for heading in ("network, images/s", "cycles", "LUT", "BRAM18", "DSP", "LUT-equivalents", "ours / FINN's"):
        table.add_column(heading, justify="right", no_wrap=True)
    ratios = []
    for case in CASES:
        if options.only not in case.name:
            continue
        pair = compare(case, options.cache)
        worth = [BOARDS[case.board].lut_equivalents(u.lut, u.bram18_equivalents, u.dsp) for u, _ in pair]
        ratios.append(worth[1] / worth[0])
        both = [
            " : ".join(f"{value:,.0f}" for value in values)
            for values in zip(
                *((cycles, u.lut, u.bram18_equivalents, u.dsp, w) for (u, cycles), w in zip(pair, worth, strict=True)),
                strict=True,
            )
        ]
        table.add_row(case.name, *both, f"{ratios[-1]:.2f}")
        print(f"{case.name}: {ratios[-1]:.2f}", file=sys.stderr, flush=True)
    Console(width=140).print(table)
    saving = sum(ratio <= 1 - SAVING for ratio in ratios)
    worse = sum(ratio > 1 for ratio in ratios)
    print(f"{saving} of {len(ratios)} take at least {SAVING:.0%} fewer LUT-equivalents, {worse} more")
    return int(worse > 0 or 2 * saving < len(ratios))


if __name__ == "__main__":
    sys.exit(main())
