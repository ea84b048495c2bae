"""From the facts of a run to what each part of its page shows: rows, figures and words, not yet HTML."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.decision import log_odds, sigmoid
from contract.errors import ArtifactError
from contract.record import WITNESSES
from contract.yaml_text import written
from cxrflow.report.curves import Curves, curves
from cxrflow.report.draw import Plot, evenly, png, span
from cxrflow.report.facts import Facts, import_sentences
from cxrflow.report.hardware import meters, parts, resource_table, timeline
from cxrflow.report.words import words
from cxrflow.runs import git_commit
from qnn.records import OF_EACH, Measured, MeasuredClasses
from qnn.reliability import reliability_of

SAMPLES = 8  # of each class
METRICS = ("accuracy", "auc", "balanced_accuracy", "sensitivity", "specificity", "f1")
CLASS_METRICS = ("accuracy", "auc", "balanced_accuracy", "kappa", "brier")  # of K classes
MOST_CURVES = 8  # of classes; more cannot be told apart
ROC_POINTS = 201  # of a curve that is a mean of others


def auc_words(measured: Measured | MeasuredClasses) -> str:
    """Return what the AUC of one set of images is called."""
    return words("macro_auc" if isinstance(measured, MeasuredClasses) else "auc")


@dataclass(frozen=True)
class Tile:
    """One figure on the first screen."""

    label: str
    value: str
    note: str = ""


def tiles(facts: Facts) -> list[Tile]:
    """Return what a reader wants to know first."""
    shown = []
    if facts.test is not None:
        for label, name in (("test accuracy", "accuracy"), (f"test {auc_words(facts.test)}", "auc")):
            ends = facts.test.intervals.get(name)
            note = f"95 % over patients: {interval(ends)}" if ends else ""
            shown.append(Tile(label, figure(facts.test.value(name)), note))
    if (equality := facts.equality) is not None:
        shown.append(Tile("differing integers", f"{equality.differing:,}", str(equality)))
    if facts.simulated is not None and facts.simulated.images_per_s is not None:
        sim = facts.simulated
        shown.append(Tile("images/s", f"{sim.images_per_s:,.0f}", f"at {sim.clock_mhz:g} MHz, simulated"))
        shown.append(
            Tile("first logit", f"{sim.first_latency_us:.1f} µs", f"{sim.first_latency_cycles:,} cycles, simulated")
        )
    elif facts.estimates is not None:
        shown.append(Tile("images/s", f"{facts.estimates.images_per_s:,.0f}", "estimated, not simulated"))
    lut = next((meter for meter in meters(facts) if meter.title == "LUT"), None)
    if lut is not None:
        shown.append(Tile("LUT", f"{lut.used:,}", f"{lut.share:.1%} of the part; {lut.source.name}"))
    return shown


def figure(value: float | None) -> str:
    """Return a metric in four digits; nothing where it is undefined."""
    return "" if value is None else f"{value:.4f}"


def interval(ends: Sequence[float]) -> str:
    """Return an interval in three digits."""
    return f"{ends[0]:.3f} to {ends[1]:.3f}"


@dataclass(frozen=True)
class SplitRow:
    """One split: its images by class."""

    name: str
    counts: tuple[int, ...]
    patients: int

    @property
    def share(self) -> float:
        """Share of class 1."""
        return self.counts[1] / max(1, sum(self.counts))


def splits(facts: Facts) -> list[SplitRow]:
    """Return the counts of each split."""
    if facts.metrics is None:
        return []
    return [
        SplitRow(name, tuple(counts.get(label, 0) for label in facts.class_names), counts.get("patients", 0))
        for name, counts in facts.metrics.counts.items()
    ]


@dataclass(frozen=True)
class Sample:
    """One test image as the network sees it, and its answer."""

    image: str  # data URI
    probability: float
    note: str
    wrong: bool


def samples(facts: Facts) -> list[tuple[str, list[Sample]]]:
    """Return test images of both classes, evenly spaced through the set; no names."""
    golden = facts.golden
    if golden is None:
        return []
    names = facts.class_names
    if golden.outputs.shape[1] == 1:
        threshold = facts.test.threshold if isinstance(facts.test, Measured) else 0.0
        called, shown = (golden.probability > sigmoid(threshold)).astype(np.int64), golden.probability
        notes = [f"logit {logit:,}" for logit in golden.logits.tolist()]
    else:
        called, shown = _answers(facts), golden.probability.max(axis=1)
        notes = [names[answer] if answer < len(names) else f"class {answer}" for answer in called.tolist()]
    return [
        (
            name,
            [
                Sample(png(golden.pixels[i]), float(shown[i]), notes[i], bool(called[i] != golden.labels[i]))
                for i in evenly(np.flatnonzero(golden.labels == label), SAMPLES)
            ],
        )
        for label, name in enumerate(names)
    ]


def _answers(facts: Facts) -> NDArray[np.int64]:
    """Return (N,) the classes of the test images' K integers."""
    assert facts.golden is not None
    chosen = None if facts.exported is None else facts.exported.choice
    if chosen is None or len(chosen.multipliers) != facts.golden.outputs.shape[1]:
        raise ArtifactError(
            "export.json does not say what the integers of golden.npz mean, expected a choice of as many. Run "
            f"`{facts.make('export')}` again."
        )
    return chosen.classes(facts.golden.outputs)


def training_plots(facts: Facts) -> list[Plot]:
    """Return loss and AUC over the epochs."""
    if not facts.history or facts.metrics is None:
        return []
    epochs = [row.epoch + 1 for row in facts.history]
    kept = facts.metrics.best_epoch + 1
    plots = []
    for title, lines in (
        ("Loss", (("training, augmented", "train_loss", 0), ("validation, clean", "val_loss", 1))),
        ("AUC", (("validation, augmented", "val_auc_aug", 0), ("validation, clean", "val_auc", 1))),
    ):
        values = {name: [getattr(row, name) for row in facts.history] for _, name, _ in lines}
        low = min(1.0, epochs[0])
        plot = Plot(title, "epoch", title, x=(low, max(epochs[-1], low + 1)), y=span(*values.values()))
        for label, name, colour in lines:
            if len(epochs) == 1:
                plot.scatter(label, epochs, values[name], colour)
            else:
                plot.line(label, epochs, values[name], colour)
        if plot.x[0] <= kept <= plot.x[1]:
            plot.marks.append((kept, f"kept: epoch {kept}"))
        plots.append(plot)
    return plots


@dataclass(frozen=True)
class MetricRow:
    """One metric."""

    name: str
    validation: float | None
    test: float | None
    ends: Sequence[float] | None  # 95 % interval over test patients


def metric_rows(facts: Facts) -> list[MetricRow]:
    """Return the metrics at the operating point."""
    if facts.metrics is None or facts.test is None:
        return []
    validation, test = facts.metrics.validation, facts.test
    several = isinstance(test, MeasuredClasses)
    rows = []
    for name in CLASS_METRICS if several else (*METRICS, "sensitivity_bacteria", "sensitivity_virus"):
        if several or name in METRICS or test.value(name) is not None:
            word = auc_words(test) if name == "auc" else words(name)
            rows.append(MetricRow(word, validation.value(name), test.value(name), test.intervals.get(name)))
    return [*rows, MetricRow("calibration error (ECE)", validation.ece, test.ece, test.intervals.get("ece"))]


@dataclass(frozen=True)
class ClassRow:
    """One class against the rest, on the test images."""

    name: str
    images: int
    figures: list[tuple[float | None, Sequence[float] | None]]  # of OF_EACH, with their intervals


def class_rows(facts: Facts) -> list[ClassRow]:
    """Return the figures of each of K classes; none of two, of which one's are the other's."""
    if not isinstance(facts.test, MeasuredClasses):
        return []
    return [
        ClassRow(one.name, one.n, [(getattr(one, name), one.intervals.get(name)) for name in OF_EACH])
        for one in facts.test.classes
    ]


def confusion(facts: Facts) -> list[list[int]]:
    """Return the test images by label and by answer."""
    test = facts.test
    if test is None:
        return []
    return test.confusion if isinstance(test, MeasuredClasses) else [[test.tn, test.fp], [test.fn, test.tp]]


def class_curves(facts: Facts) -> list[Plot]:
    """Return the ROC of each of K classes against the rest, of the test images; at most MOST_CURVES."""
    plot = Plot("ROC, each class against the rest", "1 - specificity", "sensitivity", (0, 1), (0, 1), diagonal=True)
    for k, (name, found) in enumerate(zip(facts.class_names[:MOST_CURVES], _curves_of_each(facts), strict=False)):
        if found is not None:
            plot.line(name, found.false_rate, found.sensitivity, k)
    return [plot] if plot.series else []


def _curves_of_each(facts: Facts) -> Iterator[Curves | None]:
    """Yield the curves of each of K classes against the rest, of the test images; none of one logit."""
    golden = facts.golden
    if golden is None or golden.outputs.shape[1] == 1 or facts.exported is None or facts.exported.choice is None:
        return
    _answers(facts)  # stops where the two do not fit
    odds = log_odds(facts.exported.choice.real(golden.outputs))
    for k in range(odds.shape[1]):
        yield curves(odds[:, k], (golden.labels == k).astype(np.int64))


def _add_macro(roc: Plot, name: str, facts: Facts, number: int) -> None:
    """Draw a run of K classes: at each 1 - specificity the mean over classes of the sensitivity that is reached."""
    found = [each for each in _curves_of_each(facts) if each is not None]
    if found:
        rates = np.linspace(0, 1, ROC_POINTS)
        reached = [c.sensitivity[np.searchsorted(c.false_rate, rates, side="right") - 1] for c in found]
        area = None if facts.test is None else facts.test.auc
        roc.line(f"{name}: macro AUC {figure(area)}", rates, np.mean(reached, axis=0), number)


def curve_plots(runs: Sequence[tuple[str, Facts]]) -> list[Plot]:
    """Return ROC and precision-recall of the test images of one or several runs, with operating points of one.

    Of several, those of K classes have the mean ROC of their classes; of one, see `class_curves`.
    """
    roc = Plot("ROC", "1 - specificity", "sensitivity", (0, 1), (0, 1), diagonal=True)
    recall = Plot("Precision-recall", "recall (sensitivity)", "precision", (0, 1), (0, 1))
    for number, (name, facts) in enumerate(runs):
        one_logit = facts.golden is not None and facts.golden.outputs.shape[1] == 1
        found = curves(facts.golden.logits, facts.golden.labels) if facts.golden is not None and one_logit else None
        if len(runs) > 1 and not one_logit:
            _add_macro(roc, name, facts, number)
        if found is None:
            continue
        area = None if facts.test is None else facts.test.auc
        roc.line(f"{name}: AUC {figure(area)}", found.false_rate, found.sensitivity, number)
        recall.line(
            f"{name}: average precision {found.average_precision:.4f}",
            found.sensitivity[1:], found.precision[1:], number,
        )  # fmt: skip
        if len(runs) == 1 and isinstance(facts.test, Measured):
            _add_points(roc, recall, facts, facts.test, found)
    return [plot for plot in (roc, recall) if plot.series]


def _add_points(roc: Plot, recall: Plot, facts: Facts, test: Measured, found: Curves) -> None:
    """Mark the operating points."""
    assert facts.golden is not None
    positives = int((facts.golden.labels == 1).sum())
    negatives = len(facts.golden.labels) - positives
    for number, (rule, point) in enumerate(test.operating_points.items(), start=1):
        if point.sensitivity is None or point.specificity is None:
            continue
        roc.scatter(words(rule), [1 - point.specificity], [point.sensitivity], number, 5.0)
        true, false = point.sensitivity * positives, (1 - point.specificity) * negatives
        if true + false:
            recall.scatter(words(rule), [point.sensitivity], [true / (true + false)], number, 5.0)


def reliability_plot(facts: Facts) -> Plot | None:
    """Return predicted against observed shares of pneumonia, or of right answers, among the test images."""
    golden = facts.golden
    if golden is None:
        return None
    if golden.outputs.shape[1] == 1:
        found = reliability_of(golden.probability, golden.labels, golden.labels)
    else:
        found = reliability_of(golden.probability.max(axis=1), _answers(facts) == golden.labels, golden.labels)
    plot = Plot("Reliability", "predicted probability", "observed share", (0, 1), (0, 1), diagonal=True)
    plot.line(f"test, calibration error {found.ece:.3f}", found.predicted, found.observed, 0)
    plot.scatter("images in the bin, by area", found.predicted, found.observed, 0, 2 + 12 * np.sqrt(found.weight))
    return plot


@dataclass(frozen=True)
class ChainRow:
    """One link of the chain of equality."""

    stage: str
    images: int
    differing: int | None
    first: str
    witness: str  # how it computes, where it is counted for information only


def chain_rows(facts: Facts) -> list[ChainRow]:
    """Return the links in order."""
    rows = []
    for link in facts.chain:
        difference = link.first_difference
        if link.differing is None:
            first = link.note or "cannot be executed in Python"
        elif difference is not None:
            first = f"image {difference.image}: {difference.got:,.0f} instead of {difference.want:,.0f}"
        else:
            first = link.where or ("not recorded" if link.differing else "none")
        rows.append(ChainRow(words(link.stage), link.images, link.differing, first, WITNESSES.get(link.stage, "")))
    return rows


def versions(facts: Facts) -> list[tuple[str, str]]:
    """Return every tool and its version."""
    found: dict[str, str] = {}
    if facts.metrics is not None:
        found |= facts.metrics.versions
    if facts.deployed is not None:
        found |= facts.deployed.versions
    if facts.synthesis is not None:
        found[facts.synthesis.tool] = facts.synthesis.version
    if facts.routed is not None:
        found["vivado"] = facts.routed.vivado
    return sorted(found.items(), key=lambda item: item[0].lower())


def commits(facts: Facts) -> list[tuple[str, str]]:
    """Return the commits of cxrflow that worked on the run."""
    known = [
        ("training", facts.metrics.made_from.git_commit if facts.metrics else None),
        ("deploy folder", facts.deployed.provenance.git_commit if facts.deployed else None),
        ("this report", git_commit()),
    ]
    return [(what, commit) for what, commit in known if commit]


def commands(facts: Facts) -> list[str]:
    """Return what reproduces the run from a checkout."""
    commit = next((c for what, c in reversed(commits(facts)) if what != "this report"), None)
    plain = (commit or "").removesuffix("-dirty")
    file, source = f"{facts.name}.yaml", facts.experiment.data.source
    data = "" if source == "phantom" else f" --data path/to/{source.name}"
    dirty = "    # and what was not committed then" if plain != commit else ""
    lines = [f"git checkout {plain}{dirty}"] if plain else []
    lines.append("make install")
    for name in _builds_on(facts):
        lines.append(f"cxrflow train {name}.yaml{data}    # this run builds on it; its own report has its experiment")
    lines.append(
        f"cxrflow run {file}{data}" if facts.experiment.network.is_quantized else f"cxrflow train {file}{data}"
    )
    lines += [f"cxrflow {command} {file}{data}" for command in _extra_commands(facts)]
    return [*lines, f"cxrflow report {facts.name}"]


def _builds_on(facts: Facts) -> Iterable[str]:
    train = facts.experiment.train
    named = (train.distill.teacher if train.distill else None, train.init_from)
    return dict.fromkeys(path.name for path in named if path is not None)


def _extra_commands(facts: Facts) -> list[str]:
    """Return the subcommands beyond `cxrflow run` whose results are in the report."""
    return [
        command
        for there, command in (
            (facts.gates, "synth --gates"),
            (facts.synthesis if facts.gates is None else None, "synth"),
            (facts.routed, "bitstream" if "bitstream" not in facts.missing else "synth --tool vivado"),
        )
        if there is not None
    ]


def tested_plots(facts: Facts) -> list[Plot]:
    """Return the curves of the test images."""
    return [*curve_plots([("test", facts)]), *class_curves(facts), *filter(None, [reliability_plot(facts)])]


def page(facts: Facts) -> dict[str, Any]:
    """Return everything that the template of a run's report shows."""
    return {
        "facts": facts,
        "imported": import_sentences(facts),
        "tiles": tiles(facts),
        "splits": splits(facts),
        "samples": samples(facts),
        "training": training_plots(facts),
        "metric_rows": metric_rows(facts),
        "class_rows": class_rows(facts),
        "of_each": list(map(words, OF_EACH)),
        "confusion": confusion(facts),
        "curves": tested_plots(facts),
        "chain": chain_rows(facts),
        "parts": parts(facts),
        "timeline": timeline(facts),
        "meters": meters(facts),
        "resources": resource_table(facts),
        "experiment": written(facts.fields),
        "versions": versions(facts),
        "commits": commits(facts),
        "commands": commands(facts),
    }
