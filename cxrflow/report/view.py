"""From the facts of a run to what each part of its page shows: rows, figures and words, not yet HTML."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml

from cxrflow.report import files
from cxrflow.report.curves import Curves, curves, reliability
from cxrflow.report.draw import Plot, evenly, png, span
from cxrflow.report.facts import Facts
from cxrflow.runs import git_commit

SAMPLES = 8  # of each class
METRICS = ("accuracy", "auc", "balanced_accuracy", "sensitivity", "specificity", "f1")
WORDS = {
    "auc": "AUC", "f1": "F1", "sensitivity_95": "sensitivity 95 %", "youden": "Youden's J",
    "cpu_reference": "CPU reference",
    "rtl": "RTL, simulated cycle by cycle", "rtl_with_random_stalls": "RTL with random stalls",
    "netlist": "netlist after Yosys, simulated", "brevitas_float64": "Brevitas in float64",
    "qonnx_float64": "QONNX in float64", "qonnx_float32": "QONNX in plain float32",
}  # fmt: skip
FLOAT32 = "qonnx_float32"  # counted for information: float32 cannot hold every sum
RESOURCES = (  # title, and its name in: the board and its budget, the estimate, Yosys' counts, Vivado's counts
    ("LUT", "lut", "LUT", "lut", "LUT"),
    ("flip-flop", "ff", None, "ff", "FF"),
    ("BRAM18", "bram18", "BRAM_18K", "bram18_equivalents", "BRAM_18K"),
    ("DSP", "dsp", "DSP", "dsp", "DSP"),
)


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
    if facts.metrics is not None:
        for label, name in (("test accuracy", "accuracy"), ("test AUC", "auc")):
            value = getattr(facts.metrics.test, name)
            ends = facts.metrics.test.intervals.get(name)
            shown.append(Tile(label, figure(value), f"95 % over patients: {interval(ends)}" if ends else ""))
    counted = [link for link in facts.chain if link.differing is not None and link.stage != FLOAT32]
    if counted:
        wrong = sum(link.differing or 0 for link in counted)
        most = max(link.images for link in counted)
        last = words(counted[-1].stage) if facts.simulated is None else "the simulated RTL"
        shown.append(Tile("differing integers", f"{wrong:,}", f"{most:,} images, from Brevitas to {last}"))
    if facts.simulated is not None and facts.simulated.images_per_s is not None:
        sim = facts.simulated
        shown.append(Tile("images/s", f"{sim.images_per_s:,.0f}", f"at {sim.clock_mhz:g} MHz, simulated"))
        shown.append(Tile("first logit", f"{sim.first_latency_us:.1f} µs", f"{sim.first_latency_cycles:,} cycles"))
    elif facts.estimates is not None:
        shown.append(Tile("images/s", f"{facts.estimates.images_per_s:,.0f}", "estimated, not simulated"))
    lut = next((meter for meter in meters(facts) if meter.title == "LUT"), None)
    if lut is not None:
        shown.append(Tile("LUT", f"{lut.used:,}", f"{lut.share:.1%} of the part; {lut.source}"))
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
    threshold = 0.0 if facts.metrics is None else facts.metrics.test.threshold
    called = golden.probability > 1 / (1 + np.exp(-threshold))
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
            plot.marks.append((round(float(plot.px(kept)), 1), f"kept: epoch {kept}"))
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
    if facts.metrics is None:
        return []
    validation, test = facts.metrics.validation, facts.metrics.test
    rows = []
    for name in (*METRICS, "sensitivity_bacteria", "sensitivity_virus"):
        if name in METRICS or getattr(test, name) is not None:
            rows.append(
                MetricRow(words(name), getattr(validation, name), getattr(test, name), test.intervals.get(name))
            )
    return [*rows, MetricRow("calibration error (ECE)", validation.ece, test.ece, test.intervals.get("ece"))]


def curve_plots(runs: Sequence[tuple[str, Facts]]) -> list[Plot]:
    """Return ROC and precision-recall of the test images of one or several runs, with operating points of one."""
    roc = Plot("ROC", "1 - specificity", "sensitivity", (0, 1), (0, 1), diagonal=True)
    recall = Plot("Precision-recall", "recall (sensitivity)", "precision", (0, 1), (0, 1))
    for number, (name, facts) in enumerate(runs):
        found = None if facts.golden is None else curves(facts.golden.logits, facts.golden.labels)
        if found is None:
            continue
        area = None if facts.metrics is None else facts.metrics.test.auc
        roc.line(f"{name}: AUC {figure(area)}", found.false_rate, found.sensitivity, number)
        recall.line(
            f"{name}: average precision {found.average_precision:.4f}",
            found.sensitivity[1:], found.precision[1:], number,
        )  # fmt: skip
        if len(runs) == 1 and facts.metrics is not None:
            _add_points(roc, recall, facts, found)
    return [plot for plot in (roc, recall) if plot.series]


def _add_points(roc: Plot, recall: Plot, facts: Facts, found: Curves) -> None:
    """Mark the operating points."""
    assert facts.metrics is not None and facts.golden is not None
    positives = int((facts.golden.labels == 1).sum())
    negatives = len(facts.golden.labels) - positives
    for number, (rule, point) in enumerate(facts.metrics.test.operating_points.items(), start=1):
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
    steps = [link for link in (facts.built.chain if facts.built else []) if link.stage != FLOAT32]
    for link in facts.chain:
        difference = link.first_difference
        if link.differing is None:
            first = "cannot be executed in Python"
        elif difference is not None:
            first = f"image {difference.image}: {difference.got:,.0f} instead of {difference.want:,.0f}"
        else:
            first = "not recorded" if link.differing else "none"
        name = f"FINN: {words(link.stage)}" if link in steps else words(link.stage)
        rows.append(ChainRow(name, link.images, link.differing, first, link.stage == FLOAT32))
    return rows


@dataclass(frozen=True)
class Part:
    """One node of the accelerator, as a box."""

    name: str
    kind: str  # layer, fifo or converter
    title: str
    facts: tuple[tuple[str, str], ...] = ()  # what stands in the box
    use: files.SimulatedLayer | None = None
    cycles_share: float = 0.0  # of the cycles from image to image
    slowest: bool = False
    in_bits: int = 0
    out_bits: int = 0


def parts(facts: Facts) -> list[Part]:
    """Return the accelerator's nodes from the first pixel to the logit. Without RTL, the estimated layers."""
    if facts.estimates is None:
        return []
    if facts.design is not None:
        nodes = facts.design.nodes
    else:  # FINN has no RTL for a layer: there are estimates only
        nodes = [files.Node(name=layer.name, op_type="", in_bits=0, out_bits=0) for layer in facts.estimates.layers]
    depths = {fifo.name: fifo for fifo in (facts.simulated.fifos if facts.simulated else [])}
    found, layers, activations = [], 0, 0
    for node in nodes:
        if "FIFO" in node.op_type:
            fifo = depths.get(node.name)
            held = f"FIFO, {fifo.depth:,} beats deep, held {fifo.peak:,} at most" if fifo else "FIFO, not simulated"
            found.append(Part(node.name, "fifo", held, in_bits=node.in_bits, out_bits=node.out_bits))
        elif "WidthConverter" in node.op_type:
            title = f"width converter, {node.in_bits} to {node.out_bits} bit"
            found.append(Part(node.name, "converter", title, in_bits=node.in_bits, out_bits=node.out_bits))
        elif "Thresholding" in node.name:
            activations += 1
            found.append(_layer(facts, node, f"Activation {activations}: thresholds"))
        else:
            size = facts.exported.layers[layers] if facts.exported and layers < len(facts.exported.layers) else None
            layers += 1
            sign = (
                ", sign" if node.op_type == "LutMVAU_rtl" and "LutMVAU" in node.name and _has_sign(facts, node) else ""
            )
            title = f"Layer {layers}" + (f": {size.inputs:,} to {size.outputs:,}{sign}" if size else "")
            found.append(_layer(facts, node, title))
    return found


def _has_sign(facts: Facts, node: files.Node) -> bool:
    """Whether a layer of ours answers with signs: then no thresholds follow it."""
    assert facts.design is not None
    nodes = [n for n in facts.design.nodes if "FIFO" not in n.op_type and "WidthConverter" not in n.op_type]
    place = nodes.index(node)
    return place + 1 < len(nodes) and "MVAU" in nodes[place + 1].op_type


def _layer(facts: Facts, node: files.Node, title: str) -> Part:
    """Return the box of a layer that computes."""
    assert facts.estimates is not None
    estimate = next((layer for layer in facts.estimates.layers if layer.name == node.name), None)
    folded = facts.folding.layers.get(node.name) if facts.folding else None
    counted = next((c for c in facts.synthesis.layers if c.name == node.name), None) if facts.synthesis else None
    shown: list[tuple[str, str]] = []
    if node.in_bits:
        shown.append(("width", f"{node.in_bits} → {node.out_bits} bit"))
    if folded is not None:
        shown += [
            (name, f"{value:,}") for name, value in (("PE", folded.PE), ("SIMD", folded.SIMD)) if value is not None
        ]
    if estimate is not None:
        shown.append(("cycles", f"{estimate.cycles:,}"))
    for name, _, estimated, yosys, _ in RESOURCES:
        if counted is not None:
            shown.append((name, f"{getattr(counted, yosys):,}"))
        elif estimate is not None and estimated is not None:
            shown.append((f"{name} (est.)", f"{getattr(estimate, estimated):,.0f}"))
    use = next((u for u in facts.simulated.layers if u.name == node.name), None) if facts.simulated else None
    return Part(
        node.name, "layer", title, tuple(shown), use,
        cycles_share=min(1.0, estimate.cycles / max(1, facts.estimates.cycles_per_image)) if estimate else 0.0,
        slowest=facts.simulated is not None and facts.simulated.slowest_layer == node.name,
        in_bits=node.in_bits, out_bits=node.out_bits,
    )  # fmt: skip


@dataclass(frozen=True)
class Bar:
    """One image in one node: from its first beat in to its last beat out [cycles]."""

    image: int  # from 1
    taking: tuple[int, int]
    giving: tuple[int, int]


@dataclass(frozen=True)
class Timeline:
    """The first images on their way through the accelerator."""

    rows: list[tuple[str, str, list[Bar]]]  # title, name of the node, bars
    cycles: int  # of the whole axis
    ticks: list[tuple[float, str]]  # place in percent, text


def timeline(facts: Facts) -> Timeline | None:
    """Return the timeline that the simulation recorded."""
    from cxrflow.report.draw import ticks

    if facts.simulated is None or not facts.simulated.timeline:
        return None
    streams = {stream.into: stream.images for stream in facts.simulated.timeline}
    names = [part.name for part in parts(facts)]
    rows = []
    for part, after in zip(parts(facts), [*names[1:], "output"], strict=True):
        into, out = streams.get(part.name, []), streams.get(after, [])
        bars = [Bar(i + 1, a, b) for i, (a, b) in enumerate(zip(into, out, strict=False))]
        title = (
            part.title
            if part.kind == "layer"
            else part.kind.replace("fifo", "FIFO").replace("converter", "width converter")
        )
        rows.append((title, part.name, bars))
    end = max((bar.giving[1] for _, _, bars in rows for bar in bars), default=0) + 1
    return Timeline(rows, end, [(100 * v / end, text) for v, text in ticks(0, end, most=7)])


@dataclass(frozen=True)
class Meter:
    """One resource: what the design takes, and what the board has."""

    title: str
    used: int
    usable: int  # the budget
    available: int
    source: str

    @property
    def share(self) -> float:
        """Of the whole part."""
        return self.used / max(1, self.available)


def meters(facts: Facts) -> list[Meter]:
    """Return the resources of the whole accelerator, from the best source there is: Vivado, Yosys, estimate."""
    found = []
    for title, key, estimated, yosys, vivado in RESOURCES:
        routed = facts.routed and (facts.routed.accelerator or facts.routed.used)
        if routed:
            used, source = getattr(routed, vivado), "Vivado, routed"
        elif facts.synthesis is not None:
            used, source = getattr(facts.synthesis.total, yosys), "Yosys, synthesised"
        elif facts.estimates is not None and estimated is not None:
            used, source = round(sum(getattr(layer, estimated) for layer in facts.estimates.layers)), "estimated"
        else:
            continue
        found.append(Meter(title, used, facts.board.usable[key], getattr(facts.board, key), source))
    return found


def resource_rows(facts: Facts) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """Return per node, and in all, (estimate, Yosys, Vivado) of every resource; empty where there is no figure."""
    if facts.estimates is None:
        return []
    estimates = {layer.name: layer for layer in facts.estimates.layers}
    yosys = {layer.name: layer for layer in facts.synthesis.layers} if facts.synthesis else {}
    vivado = {layer.name: layer for layer in facts.routed.layers} if facts.routed else {}
    names = list(dict.fromkeys([*(part.name for part in parts(facts)), *yosys, *vivado]))
    rows = [(name, _cells(estimates.get(name), yosys.get(name), vivado.get(name))) for name in names]
    total = [sum(getattr(layer, r[2]) for layer in estimates.values()) if r[2] else None for r in RESOURCES]
    in_all = _cells(None, facts.synthesis.total if facts.synthesis else None, _routed_total(facts))
    rows.append(("in all", [(_number(t), y, v) for t, (_, y, v) in zip(total, in_all, strict=True)]))
    return rows


def _routed_total(facts: Facts) -> files.RoutedLayer | None:
    return None if facts.routed is None else facts.routed.accelerator


def _cells(estimate: object, yosys: object, vivado: object) -> list[tuple[str, str, str]]:
    return [
        tuple(  # type: ignore[misc]
            "" if source is None or key is None else _number(getattr(source, key))
            for source, key in ((estimate, resource[2]), (yosys, resource[3]), (vivado, resource[4]))
        )
        for resource in RESOURCES
    ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


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
    lines = [f"git checkout {plain}"] if plain else []
    lines.append("make install")
    for name in _builds_on(facts):
        lines.append(f"cxrflow train {name}.yaml{data}    # this run builds on {name}, so train that first")
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
        "resources": RESOURCES,
        "resource_rows": resource_rows(facts),
        "experiment": yaml.safe_dump(facts.fields, sort_keys=False, allow_unicode=True),
        "versions": versions(facts),
        "commits": commits(facts),
        "commands": commands(facts),
    }
