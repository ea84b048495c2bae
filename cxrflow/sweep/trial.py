"""One trial: an ordinary run folder, trained and measured on validation images alone, compiled, and its row.

The row is trial.json in the run folder, written when the trial has ended in whatever way. So a sweep that was killed
knows what is left to do from the folders alone.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from contract.errors import ArtifactError, CxrflowError
from contract.files import write_whole
from contract.record import Count, Number, Record, Share, Text, read_record
from cxrflow.code import code_key
from cxrflow.console import Console
from cxrflow.experiment import Experiment
from cxrflow.runs import fingerprint
from cxrflow.stage_table import BUILT, STAGES
from cxrflow.stages import Run
from cxrflow.sweep.spec import Point
from finn_build.records import Estimates
from finn_build.targets.boards import BOARDS
from qnn.records import Metrics

ROW = "trial.json"
ENDED = ("finished", "stopped", "failed")
FIGURES = (  # that every trial has that finished
    "monitor", "training_s", "board", "cycles", "images_per_s", "latency_us", "lut", "ff", "bram18", "dsp",
    "lut_equivalents",
)  # fmt: skip
OnEpoch = Callable[[dict[str, float]], None]


class Row(Record):
    """trial.json. Resources are by our formulas, cycles and latency by FINN's and by the model of the handshakes."""

    command = "sweep"
    key: Text
    run: Text
    status: Literal["running", "finished", "stopped", "failed"]
    error: Annotated[str, Field(max_length=10_000)]
    node: Text
    experiment: Text
    seed: Count
    values: Annotated[dict[Text, Any], Field(max_length=100)]
    network: Text
    monitor: Number | None = None
    validation_auc: Share | None = None
    validation_accuracy: Share | None = None
    validation_balanced_accuracy: Share | None = None
    training_s: Number | None = None
    board: Text | None = None
    cycles: Count | None = None
    images_per_s: Number | None = None
    latency_us: Number | None = None
    lut: Count | None = None
    ff: Count | None = None
    bram18: Count | None = None
    dsp: Count | None = None
    lut_equivalents: Number | None = None

    @model_validator(mode="after")
    def _finished_is_whole(self) -> Self:
        if self.status == "finished":
            absent = [name for name in FIGURES if getattr(self, name) is None]
            if absent or self.board not in BOARDS:
                raise ValueError(f"a trial that finished has no {absent[0] if absent else 'known board'}")
        return self


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
        code = [code_key(*STAGES[stage].code) for stage in ("train", "export", "build")]
        return fingerprint({**self.experiment.sections(*BUILT), "content": self.data, "code": code})

    def row(self) -> dict[str, Any] | None:
        """Return the row of a trial that has ended and would be the same now, or None: a damaged one is done again."""
        try:
            row = read_record(self.folder / ROW, Row)
        except ArtifactError:
            return None
        return row.model_dump(exclude_unset=True) if row.key == self.key and row.status in ENDED else None

    def run(self, on_epoch: OnEpoch | None = None, *, node: str = "") -> dict[str, Any]:
        """Train on validation images, compile, and write the row; return it. `node` is the machine of a cluster.

        Raises:
            CxrflowError: the trial failed; its row says why.
        """
        self.write("running", node=node)
        try:
            figures = self.measure(on_epoch)
        except CxrflowError as err:
            self.write("failed", error=str(err), node=node)
            raise
        return self.write("finished", figures, node=node)

    def measure(self, on_epoch: OnEpoch | None) -> dict[str, Any]:
        """Do the work, and return FIGURES of it. Raises CxrflowError: it failed."""
        run = Run(self.experiment, self.runs, Console(), on_epoch=on_epoch)
        run.foresee()
        with run.locked():
            run.train(test=False)
            run.make("export")
            run.make("build")
        estimates = read_record(run.place("build") / "estimates.json", Estimates)
        return self._accuracy() | self.hardware(estimates)

    def write(
        self, status: str, figures: dict[str, Any] | None = None, *, error: str = "", node: str = ""
    ) -> dict[str, Any]:
        """Write the trial's row, with the `figures` of one that finished; return it."""
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
            **(figures or {}),
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.folder / ROW, json.dumps(row, indent=2) + "\n")
        return row

    def _accuracy(self) -> dict[str, Any]:
        metrics = read_record(self.folder / "train" / "metrics.json", Metrics)
        assert metrics.best is not None
        names = ("auc", "accuracy", "balanced_accuracy")
        return {
            "monitor": metrics.best.monitor,
            **{f"validation_{name}": metrics.validation.value(name) for name in names},
            "training_s": metrics.seconds,
        }

    def hardware(self, found: Estimates) -> dict[str, Any]:
        """Return those of FIGURES that are about the design."""
        board = BOARDS[self.experiment.build.board]
        assert found.formulas is not None and found.latency_bound_cycles is not None
        used = found.formulas.total
        return {
            "board": board.name,
            "cycles": found.cycles_per_image,
            "images_per_s": found.images_per_s,
            "latency_us": found.latency_bound_cycles * self.experiment.build.clk_ns / 1000,
            **used.amounts,
            "lut_equivalents": board.lut_equivalents(used.lut, used.bram18, used.dsp),
        }
