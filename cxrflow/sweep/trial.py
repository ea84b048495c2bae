"""One trial: an ordinary run folder, trained and measured on validation images alone, compiled, and its row.

The row is trial.json in the run folder, written when the trial has ended in whatever way. So a sweep that was killed
knows what is left to do from the folders alone.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contract.errors import CxrflowError
from contract.files import write_whole
from cxrflow.console import Console
from cxrflow.experiment import Experiment
from cxrflow.runs import fingerprint, hash_sources
from cxrflow.stages import BUILT, Run
from cxrflow.summary import read
from cxrflow.sweep.spec import Point
from finn_build.boards import BOARDS

ROW = "trial.json"
ENDED = ("finished", "stopped", "failed")
OnEpoch = Callable[[dict[str, float]], None]


@dataclass(frozen=True)
class Trial:
    """A point of a sweep and where its run is."""

    point: Point
    experiment: Experiment
    runs: Path  # the folder that holds the sweep's runs
    data: str  # fingerprint of the X-rays

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.runs / self.experiment.name

    @property
    def key(self) -> str:
        """What decides the trial's result."""
        code = hash_sources("contract", "datasets", "qnn", "export", "finn_build")
        return fingerprint({**self.experiment.sections(*BUILT), "content": self.data, "code": code})

    def row(self) -> dict[str, Any] | None:
        """Return the row of a trial that has ended and would be the same now, or None."""
        row = read(self.folder / ROW)
        return row if row is not None and row.get("key") == self.key and row.get("status") in ENDED else None

    def run(self, on_epoch: OnEpoch | None = None, *, node: str = "") -> dict[str, Any]:
        """Train on validation images, compile, and write the row; return it. `node` is the machine of a cluster.

        Raises:
            CxrflowError: the trial failed; its row says why.
        """
        self.write("running", node=node)
        try:
            run = Run(self.experiment, self.runs, Console(), on_epoch=on_epoch)
            with run.locked():
                run.train(test=False)
                run.export()
                run.build()
        except CxrflowError as err:
            self.write("failed", error=str(err), node=node)
            raise
        return self.write("finished", node=node)

    def write(self, status: str, *, error: str = "", node: str = "") -> dict[str, Any]:
        """Write the trial's row, with what there is; return it."""
        row = {
            "key": self.key,
            "run": self.experiment.name,
            "status": status,
            "error": error,
            "node": node,
            "experiment": self.point.name,
            "seed": self.point.seed,
            "values": dict(self.point.values),
            "network": self.experiment.network.describe(),
            **(self._accuracy() if status == "finished" else {}),
            **(self._hardware() if status == "finished" else {}),
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.folder / ROW, json.dumps(row, indent=2) + "\n")
        return row

    def _accuracy(self) -> dict[str, Any]:
        metrics = read(self.folder / "train" / "metrics.json") or {}
        validation = metrics["validation"]
        return {
            "monitor": metrics["best"]["monitor"],  # mean AUC of clean and augmented validation images
            **{f"validation_{name}": validation[name] for name in ("auc", "accuracy", "balanced_accuracy")},
            "training_s": metrics["seconds"],
        }

    def _hardware(self) -> dict[str, Any]:
        """What the formulas say of the build."""
        board = BOARDS[self.experiment.build.board]
        found = read(self.folder / "build" / board.name / "estimates.json") or {}
        used = found["formulas"]["total"]
        return {
            "board": board.name,
            "cycles": found["cycles_per_image"],
            "images_per_s": found["images_per_s"],
            "latency_us": found["latency_bound_cycles"] * self.experiment.build.clk_ns / 1000,
            **used,
            "lut_equivalents": board.lut_equivalents(used["lut"], used["bram18"], used["dsp"]),
        }
