"""From the facts of a run to what each part of its page shows: rows, figures and words, not yet HTML."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from contract.decision import sigmoid
from contract.record import WITNESSES
from contract.yaml_text import written
from cxrflow.report.curves import Curves, curves, reliability
from cxrflow.report.draw import Plot, evenly, png, span
from cxrflow.report.facts import Facts, import_sentences
from cxrflow.report.hardware import meters, parts, resource_table, timeline
from cxrflow.runs import git_commit

SAMPLES = 8  # of each class
METRICS = ("accuracy", "auc", "balanced_accuracy", "sensitivity", "specificity", "f1")
WORDS = {
    "auc": "AUC", "f1": "F1", "sensitivity_95": "sensitivity 95 %", "youden": "Youden's J",
    "cpu_reference": "CPU reference",
    "rtl": "RTL, simulated cycle by cycle", "rtl_with_random_stalls": "RTL with random stalls",
    "netlist": "netlist after Yosys, simulated", "brevitas_float64": "Brevitas in float64",
    "file_float64": "the file's own execution in float64", "file_float32": "the file's own execution",
    "qonnx_float64": "QONNX in float64", "qonnx_float32": "QONNX in plain float32",
    "qonnx_to_finn": "FINN's own conversion of QONNX", "streamline": "FINN's own streamlining",
    "hardware_graph": "graph written from the integers", "fold": "folded graph",
}  # fmt: skip


def words(name: str) -> str:
    """Return a field's or stage's name as people write it."""
    return WORDS.get(name, name.replace("_", " "))


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
        for label, name in (("test accuracy", "accuracy"), ("test AUC", "auc")):
            ends = facts.test.intervals.get(name)
            note = f"95 % over patients: {interval(ends)}" if ends else ""
            shown.append(Tile(label, figure(facts.test.value(name)), note))
    counted = [link for link in facts.chain if link.differing is not None and link.stage not in WITNESSES]
    if counted:
        wrong = sum(link.differing or 0 for link in counted)
        imported = facts.exported is not None and facts.exported.imported is not None
        # The file itself was executed on more inputs than go through the stages behind it.
        most = max(link.images for link in (counted[1:] or counted if imported else counted))
        first = "the file" if imported else "Brevitas"
        last = words(counted[-1].stage) if facts.simulated is None else "the simulated RTL"
        shown.append(Tile("differing integers", f"{wrong:,}", f"{most:,} images, from {first} to {last}"))
    if facts.simulated is not None and facts.simulated.images_per_s is not None:
        sim = facts.simulated
        shown.append(Tile("images/s", f"{sim.images_per_s:,.0f}", f"at {sim.clock_mhz:g} MHz, simulated"))
        shown.append(Tile("first logit", f"{sim.first_latency_us:.1f} µs", f"{sim.first_latency_cycles:,} cycles"))
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
    counts: tuple[int, int]
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
        SplitRow(
            name, tuple(counts.get(label, 0) for label in facts.class_names), counts.get("patients", 0)  # type: ignore[arg-type]
        )
        for name, counts in facts.metrics.counts.items()
    ]  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """One test image as the network sees it, and its answer."""

    image: str  # data URI
    probability: float
    logit: int
    wrong: bool


def samples(facts: Facts) -> list[tuple[str, list[Sample]]]:
    """Return test images of both classes, evenly spaced through the set; no names."""
    golden = facts.golden
    if golden is None:
        return []
    threshold = 0.0 if facts.test is None else facts.test.threshold
    called = golden.probability > sigmoid(threshold)
    return [
        (
            name,
            [
                Sample(
                    png(golden.pixels[i]),
                    float(golden.probability[i]),
                    int(golden.logits[i]),
                    bool(called[i] != (golden.labels[i] == 1)),
                )
                for i in evenly(np.flatnonzero(golden.labels == label), SAMPLES)
            ],
        )
        for label, name in enumerate(facts.class_names)
    ]


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
    rows = []
    for name in (*METRICS, "sensitivity_bacteria", "sensitivity_virus"):
        if name in METRICS or test.value(name) is not None:
            rows.append(MetricRow(words(name), validation.value(name), test.value(name), test.intervals.get(name)))
    return [*rows, MetricRow("calibration error (ECE)", validation.ece, test.ece, test.intervals.get("ece"))]


def curve_plots(runs: Sequence[tuple[str, Facts]]) -> list[Plot]:
    """Return ROC and precision-recall of the test images of one or several runs, with operating points of one."""
    roc = Plot("ROC", "1 - specificity", "sensitivity", (0, 1), (0, 1), diagonal=True)
    recall = Plot("Precision-recall", "recall (sensitivity)", "precision", (0, 1), (0, 1))
    for number, (name, facts) in enumerate(runs):
        found = None if facts.golden is None else curves(facts.golden.logits, facts.golden.labels)
        if found is None:
            continue
        area = None if facts.test is None else facts.test.auc
        roc.line(f"{name}: AUC {figure(area)}", found.false_rate, found.sensitivity, number)
        recall.line(
            f"{name}: average precision {found.average_precision:.4f}",
            found.sensitivity[1:], found.precision[1:], number,
        )  # fmt: skip
        if len(runs) == 1 and facts.test is not None:
            _add_points(roc, recall, facts, found)
    return [plot for plot in (roc, recall) if plot.series]


def _add_points(roc: Plot, recall: Plot, facts: Facts, found: Curves) -> None:
    """Mark the operating points."""
    assert facts.test is not None and facts.golden is not None
    positives = int((facts.golden.labels == 1).sum())
    negatives = len(facts.golden.labels) - positives
    for number, (rule, point) in enumerate(facts.test.operating_points.items(), start=1):
        if point.sensitivity is None or point.specificity is None:
            continue
        roc.scatter(words(rule), [1 - point.specificity], [point.sensitivity], number, 5.0)
        true, false = point.sensitivity * positives, (1 - point.specificity) * negatives
        if true + false:
            recall.scatter(words(rule), [point.sensitivity], [true / (true + false)], number, 5.0)


def reliability_plot(facts: Facts) -> Plot | None:
    """Return predicted against observed shares of pneumonia among the test images."""
    if facts.golden is None:
        return None
    found = reliability(facts.golden.probability, facts.golden.labels)
    plot = Plot("Reliability", "predicted probability", "observed share", (0, 1), (0, 1), diagonal=True)
    error = float((found.weight * np.abs(found.predicted - found.observed)).sum())
    plot.line(f"test, calibration error {error:.3f}", found.predicted, found.observed, 0)
    plot.scatter("images in the bin, by area", found.predicted, found.observed, 0, 2 + 12 * np.sqrt(found.weight))
    return plot


@dataclass(frozen=True)
class ChainRow:
    """One link of the chain of equality."""

    stage: str
    images: int
    differing: int | None
    first: str
    counted_only: bool


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
        rows.append(ChainRow(words(link.stage), link.images, link.differing, first, link.stage in WITNESSES))
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
        "curves": [*curve_plots([("test", facts)]), *filter(None, [reliability_plot(facts)])],
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
