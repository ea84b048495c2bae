"""Measured initiation interval against FINN's estimate, for several foldings of one exported network.

python -m benchmarks.interval runs/w8a8            # after `cxrflow run experiments/w8a8.yaml`
"""

import argparse
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from finn_build.build import build
from finn_build.config import BuildConfig
from finn_build.verify import simulate_build


def main() -> None:
    """Build and simulate each folding; print one row each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("run", type=Path, help="run folder with a finished export")
    parser.add_argument("--fps", type=int, nargs="+", default=[10_000, 100_000, 400_000], help="wanted images/s")
    arguments = parser.parse_args()
    table = Table(title=f"{arguments.run}: cycles per image, FINN's estimate and simulation")
    headings = ("wanted fps", "PE x SIMD", "estimate", "measured", "ratio", "first logit", "images", "differ")
    for name in headings:
        table.add_column(name, justify="right", no_wrap=True)
    for fps in arguments.fps:
        table.add_row(f"{fps:,}", *measure(arguments.run / "export", fps))
    Console().print(table)


def measure(export: Path, fps: int) -> list[str]:
    """Return one row of the table for a wanted frame rate."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "build"
        summary = build(export, out, BuildConfig(target_fps=fps), lambda line: None)
        sim = simulate_build(out, export, out / "sim", lambda line: None)
    assert summary["rtl"]
    folds = [f"{v['PE']}x{v['SIMD']}" for v in summary["folding"].values() if "SIMD" in v]
    measured, estimate = sim["initiation_interval"], sim["estimated_interval"]
    return [
        ", ".join(folds),
        str(estimate),
        f"{measured:.2f}",
        f"{measured / estimate:.4f}",
        str(sim["first_latency_cycles"]),
        str(sim["images"]),
        str(sim["differing"]),
    ]


if __name__ == "__main__":
    main()
