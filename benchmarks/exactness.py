"""Every shipped experiment from training to gates, its activations multiplied and shifted: 0 integers may differ.

    python -m benchmarks.exactness [NAME ...] [--factor-bits 8] [--data FOLDER] [--epochs 2] [--no-gates] [--runs DIR]

What the chain compares does not depend on how long a network was trained, so two epochs will do, on synthetic X-rays if
no others are given, and without the runs that an experiment starts from. `build.activation` is requantize. Prints the
chain of each; exit code 1 if anything differs. Float experiments have no integers and are left out.
"""

import argparse
import sys
from pathlib import Path

from contract.errors import CxrflowError
from contract.record import WITNESSES
from cxrflow.console import Console
from cxrflow.experiment import Experiment, load_experiment
from cxrflow.report.facts import collect
from cxrflow.stages import Run

EXPERIMENTS = Path(__file__).parents[1] / "experiments"


def shipped() -> dict[str, Path]:
    """Return the experiments that become hardware, by name."""
    files = [path for path in sorted(EXPERIMENTS.glob("*.yaml")) if not path.stem.startswith("sweep-")]
    return {path.stem: path for path in files if load_experiment(path).network.is_quantized}


def shortened(file: Path, *, data: Path | None, epochs: int, factor_bits: int | None) -> Experiment:
    """Return an experiment with few epochs, no run to start from, and activations that multiply."""
    experiment = load_experiment(file, data=data)
    content = experiment.model_dump()
    content["train"] |= {"epochs": epochs, "patience": None, "init_from": None, "distill": None}
    content["build"]["activation"] = "requantize"
    content["export"]["factor_bits"] = factor_bits
    return Experiment.model_validate(content)


def main() -> int:
    """Print the chains; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(shipped())}; all if none is given")
    parser.add_argument("--factor-bits", type=int, help="export.factor_bits of all")
    parser.add_argument("--data", type=Path, help="X-rays in place of the synthetic ones")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--no-gates", action="store_true", help="stop at the RTL")
    parser.add_argument("--runs", type=Path, default=Path("runs") / "exactness")
    options = parser.parse_args()
    options.runs.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in options.names or shipped():
        experiment = shortened(
            EXPERIMENTS / f"{name}.yaml", data=options.data, epochs=options.epochs, factor_bits=options.factor_bits
        )
        print(f"{name}, {experiment.network.describe()}", flush=True)
        try:
            with Run(experiment, options.runs, Console()).locked() as run:
                run.train()
                for stage in ("export", "build", "simulate", *(() if options.no_gates else ("gates",))):
                    run.make(stage)
        except CxrflowError as err:
            print(f"  {err}")
            failed.append(name)
            continue
        for link in collect(run.folder).chain:
            note = ", counted only" if link.stage in WITNESSES else ""
            print(f"  {link.stage:24} {link.images:5} images {link.differing} differ{note}", flush=True)
            if link.differing and link.stage not in WITNESSES:
                failed.append(name)
    print(f"differ or stopped: {', '.join(failed)}" if failed else "0 integers differ")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
