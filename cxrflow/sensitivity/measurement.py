"""One point of a sensitivity: a run's network in other widths, its validation AUC as integers, and what it would take.

It is a trial of a sweep in all but its work: its folder, its row, its resuming and Ray are the sweep's. Without
retraining nothing is built or exported: the integers are enough for both figures.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contract.errors import ArtifactError
from contract.files import hash_file
from contract.record import read_record
from cxrflow.code import code_key, function_key
from cxrflow.console import Console
from cxrflow.experiment import Experiment
from cxrflow.runs import fingerprint
from cxrflow.stage_table import BUILT
from cxrflow.stages import Run
from cxrflow.sweep.spec import Point
from cxrflow.sweep.trial import OnEpoch, Trial
from finn_build.records import Estimates
from qnn.records import Metrics

AS_IT_IS = Point(())  # the run itself: not retrained, and its batch norms as they were trained
Widths = tuple[int, ...]  # [bit] of all weight layers, the head's last, then of all activations
CODE = ("export.export", "finn_build.build", "qnn.rewidth", "qnn.training")


@dataclass(frozen=True)
class Source:
    """The run that is looked at."""

    experiment: Experiment
    folder: Path  # absolute: workers are elsewhere
    checkpoint: str  # sha256 of its network
    data: str  # fingerprint of its X-rays
    epochs: int  # of retraining; 0: none

    @property
    def widths(self) -> Widths:
        """Of its network."""
        network = self.experiment.network
        given = ((network.weight_bits, self._layers), (network.act_bits, self._layers - 1))
        return tuple(
            int(one) for bits, count in given for one in (bits if isinstance(bits, tuple) else (bits,) * count)
        )

    @property
    def names(self) -> list[str]:
        """What each width is of."""
        layers, front = self._layers, len(self.experiment.network.convolutions)
        each = [f"convolution {i}" if i < front else f"layer {i}" for i in range(layers)]
        return [f"{one} weights" for one in each] + [f"{one} activations" for one in each[:-1]]

    @property
    def _layers(self) -> int:
        """How many widths of weights an experiment can list."""
        return len(self.experiment.network.convolutions) + len(self.experiment.network.hidden) + 1

    @property
    def base(self) -> Experiment:
        """Return the experiment whose points are measured: with retraining, that begins where the run ended."""
        content = self.experiment.with_runs_of(self.folder.parent).model_dump(mode="json")
        content["train"] |= {"init_from": str(self.folder), "epochs": max(1, self.epochs), "patience": None}
        return Experiment.model_validate(content)

    def in_widths(self, widths: Widths) -> dict[str, tuple[int, ...]]:
        """Return the fields of an experiment that give its network these widths."""
        layers = self._layers
        return {"network.weight_bits": widths[:layers], "network.act_bits": widths[layers:]}

    def measurement(self, widths: Widths, place: Path) -> "Measurement":
        """Return the point of these widths; its folder is made in `place`, an absolute path."""
        return self.of_point(Point(tuple(self.in_widths(widths).items())), place)

    def of_point(self, point: Point, place: Path) -> "Measurement":
        """As `measurement`, of its point."""
        if point == AS_IT_IS:
            experiment, epochs = self.base.model_copy(update={"name": "as-it-is"}), 0
        else:
            experiment, epochs = point.experiment(self.base), self.epochs
        return Measurement(point, experiment, place, self.data, self.folder, self.checkpoint, epochs)


@dataclass(frozen=True)
class Measurement(Trial):
    """One point, and where it is measured."""

    source: Path  # the run's folder
    checkpoint: str  # sha256 of its network
    epochs: int

    @property
    def key(self) -> str:
        """What decides the result."""
        sections = self.experiment.sections(*BUILT)
        code = {"code": code_key(*CODE), "work": function_key(Measurement.measure)}
        return fingerprint({**sections, **code, "content": self.data, "from": self.checkpoint, "epochs": self.epochs})

    def measure(self, on_epoch: OnEpoch | None) -> dict[str, Any]:
        """Measure the network's integers on validation images, and price them. Raises CxrflowError."""
        from export.export import integers
        from finn_build.build import estimate_network
        from qnn.checkpoint import load_checkpoint
        from qnn.rewidth import in_widths
        from qnn.training import MONITOR_COPIES, augmented_validation

        run = Run(self.experiment, self.runs, Console(), on_epoch=on_epoch, cache=self.source.parent / ".cache")
        run.foresee()
        config = self.experiment.train
        if self.epochs:
            with run.locked():
                run.train(test=False)
            net = load_checkpoint(run.place("train") / "checkpoint.pt").net
            seconds = read_record(run.place("train") / "metrics.json", Metrics).seconds
        else:
            path = self.source / "train" / "checkpoint.pt"
            if hash_file(path) != self.checkpoint:
                raise ArtifactError(f"{path} has changed. Run `cxrflow sensitivity` again.")
            net, seconds = load_checkpoint(path).net, 0.0
            if self.point != AS_IT_IS:
                net = in_widths(net, self.experiment.network, run.data().train, config.augment)
        val = run.data().val
        extracted = integers(net, self.experiment.export, val)
        clean = extracted.auc(val.pixels, val.labels)
        augmented = extracted.auc(*augmented_validation(val, config.validation_augment, copies=MONITOR_COPIES))
        found = Estimates.model_validate(estimate_network(extracted.network, self.experiment.build))
        return {
            "monitor": (clean + augmented) / 2,
            "validation_auc": clean,
            "training_s": seconds,
            **self.hardware(found),
        }
