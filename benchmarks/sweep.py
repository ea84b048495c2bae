"""How much faster two workers are than one: the same six trials, one at a time and two at a time.

python -m benchmarks.sweep [DATA]     # on synthetic X-rays, or on yours

Prints the seconds of both, Ray's start included, and their ratio. What comes after the trials is not in it: synthesis
of the front takes all cores in either case.
"""

import sys
import tempfile
import time
from pathlib import Path

from cxrflow.console import Console
from cxrflow.experiment import Experiment, load_experiment
from cxrflow.stages import load_data
from cxrflow.sweep.drive import drive
from cxrflow.sweep.spec import Sweep
from cxrflow.sweep.table import rows

EXPERIMENT = Path(__file__).parent.parent / "experiments" / "w8a8.yaml"
SWEEP = Sweep(
    name="workers",
    experiment=EXPERIMENT,
    grid={"network.weight_bits": (2, 4), "network.act_bits": (2, 4, 8)},
)


def seconds(base: Experiment, workers: int) -> float:
    """Return the time of all trials in a new folder."""
    with tempfile.TemporaryDirectory() as folder:
        runs, console = Path(folder), Console()
        data = load_data(base, cache=runs / ".cache", console=console)
        start = time.perf_counter()
        drive(SWEEP, base, runs, data=data.fingerprint, workers=workers, address=None, console=console)
        taken = time.perf_counter() - start
        assert all(row["status"] == "finished" for row in rows(runs))
    return taken


def main() -> None:
    """Measure and print."""
    base = load_experiment(EXPERIMENT, data=Path(sys.argv[1]) if len(sys.argv) > 1 else None)
    one, two = (seconds(base, workers) for workers in (1, 2))
    print(f"{SWEEP.size} trials: one worker {one:.0f} s, two workers {two:.0f} s, {one / two:.2f} times as fast")


if __name__ == "__main__":
    main()
