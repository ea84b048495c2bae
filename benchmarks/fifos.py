"""The search for FIFO depths against the plain one, which tries every stage alone: the same depths, how much sooner.

    python -m benchmarks.fifos runs/demo [RUN ...]    # finished builds

Exit code 1 if the depths differ.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from qonnx.core.modelwrapper import ModelWrapper
from rich.console import Console
from rich.table import Table

from finn_build.fifos import Stage, bound, fifo_depths, interval, stages
from finn_build.finn_session import finn_session
from finn_build.ops.fifo import SMALLEST


def one_by_one(stages: Sequence[Stage]) -> dict[str, int]:
    """Return the depth in front of each stage that needs a FIFO; the definition that `fifo_depths` must reproduce."""
    depths = {stage.name: bound(stage) for stage in stages}
    target = interval(stages, depths)
    for stage in sorted(stages, key=lambda s: -s.bits):
        low, high = SMALLEST, depths[stage.name]
        if interval(stages, {**depths, stage.name: 0}) <= target:
            low = high = 0
        while low < high:
            middle = (low + high) // 2
            enough = interval(stages, {**depths, stage.name: middle}) <= target
            low, high = (low, middle) if enough else (middle + 1, high)
        depths[stage.name] = low
    return {name: depth for name, depth in depths.items() if depth}


def timed(search: Callable[[Sequence[Stage]], dict[str, int]], chain: Sequence[Stage]) -> tuple[dict[str, int], float]:
    """Return the depths and the shortest of three times [s]."""
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        depths = search(chain)
        seconds.append(time.perf_counter() - start)
    return depths, min(seconds)


def main() -> int:
    """Print one row per build; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    table = Table(title="FIFO depths of a chain")
    for heading in ("build", "nodes", "FIFOs", "one by one [ms]", "in groups [ms]", "ratio"):
        table.add_column(heading, justify="right")
    same = True
    with tempfile.TemporaryDirectory() as scratch, finn_session(Path(scratch)):
        for graph in (
            path for run in parser.parse_args().runs for path in run.glob("build/*/steps/*_insert_fifos.onnx")
        ):
            chain = [stage for stage in stages(ModelWrapper(str(graph))) if "FIFO" not in stage.name]
            (plain, slow), (depths, fast) = timed(one_by_one, chain), timed(fifo_depths, chain)
            same &= plain == depths
            build = graph.parents[1]
            table.add_row(
                f"{build.parents[1].name} {build.name}", str(len(chain)), str(len(depths)),
                f"{1e3 * slow:.1f}", f"{1e3 * fast:.1f}", f"{slow / fast:.1f}",
            )  # fmt: skip
    Console(width=100).print(table)
    if not same:
        print("the depths differ")
    return int(not same)


if __name__ == "__main__":
    sys.exit(main())
