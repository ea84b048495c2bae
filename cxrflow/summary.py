"""The tables that a terminal shows about a run. Every figure is read from the run's files, and names its source."""

from collections.abc import Sequence
from statistics import mean, median, stdev
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from contract.manifest import DISCLAIMER
from contract.record import WITNESSES, Link
from contract.table import shown
from cxrflow.doctor import Finding
from cxrflow.formats import Figures
from cxrflow.report.facts import Facts
from finn_build.records import Amounts, Counted, Estimates, Folded, Simulated
from finn_build.resources import FORMULAS, TITLES, VIVADO, WHOLE, YOSYS, Sourced, of_source
from qnn.records import OF_EACH, ClassEvaluation, Evaluation, Measured, MeasuredClasses, Metrics

if TYPE_CHECKING:
    from datasets.survey import Survey
    from datasets.xray import XrayData

Seeds = Sequence[tuple[Metrics, Measured | MeasuredClasses]]  # of the runs of one experiment
SHOWN_DUPLICATES = 3
METRICS = ("accuracy", "auc", "balanced_accuracy", "sensitivity", "specificity", "f1")
KINDS = ("sensitivity_bacteria", "sensitivity_virus")
CLASS_METRICS = ("accuracy", "auc", "balanced_accuracy", "kappa", "brier", "ece")  # of K classes


def _table(
    title: str, headings: Sequence[str], rows: Sequence[Sequence[str]], *, text: Sequence[str], note: str = ""
) -> RenderableType:
    """Return a table in which nothing is ever cut off: columns named in `text` fold, the others hold numbers."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in headings:
        header = Text("\n".join(map(shown, heading.split("\n"))))  # "[us]" is a unit, and not one of Rich's styles
        if heading in text:
            table.add_column(header, overflow="fold")
        else:
            cells = [word for row in rows for word in row[headings.index(heading)].split()]
            width = max(map(len, [*heading.split(), *cells]))
            table.add_column(header, justify="right", min_width=width)
    for row in rows:
        table.add_row(*(Text(shown(cell)) for cell in row))
    above, below = Text(title, style="bold"), Text(note, style="dim")
    return Group(*([above] if title else []), table, *([below] if note else []))


def data_table(data: "XrayData") -> RenderableType:
    """Images and patients per split."""
    rows = []
    for name, split in (("train", data.train), ("validation", data.val), ("test", data.test)):
        counts = [str(int((split.labels == label).sum())) for label in range(len(data.class_names))]
        rows.append((name, *counts, str(len(set(split.patients.tolist())))))
    title = f"{data.source}, fingerprint {data.fingerprint[:12]}"
    return _table(title, ("split", *data.class_names, "patients"), rows, text=["split"])


def check_tables(data: "XrayData", survey: "Survey | None") -> list[RenderableType]:
    """Class balance and patients per split; then, where there are files, what they are."""
    rows = []
    for name, split in (("train", data.train), ("validation", data.val), ("test", data.test)):
        counts = [int((split.labels == label).sum()) for label in range(len(data.class_names))]
        shares = [f"{100 * counts[1] / max(1, sum(counts)):.1f}"] if len(counts) == 2 else []
        rows.append((name, *map(str, counts), *shares, str(len(set(split.patients.tolist())))))
    title = f"{data.source}, fingerprint {data.fingerprint[:12]}"
    share = [f"% {data.class_names[1]}"] if len(data.class_names) == 2 else []
    headings = ("split", *data.class_names, *share, "patients")
    tables = [_table(title, headings, rows, text=["split"])]
    if survey is not None and survey.sizes:
        sides = [f"{min(side)} to {max(side)}, median {median(side):g}" for side in zip(*survey.sizes, strict=True)]
        note = f"width {sides[0]}; height {sides[1]} pixels; {len(set(survey.sizes))} different sizes."
        kinds = [(kind, mode, str(bits), str(count)) for kind, mode, bits, count in survey.kinds]
        columns = ("format", "mode", "bits", "images")
        tables.append(_table("files as stored", columns, kinds, text=["format", "mode"], note=note))
    return tables


def check_sentences(data: "XrayData") -> list[str]:
    """What else is to be known: duplicates, unreadable images, patients on two sides."""
    report = data.report
    said = [
        f"{len(report.duplicates)} images occur more than once, {len(report.unreadable)} are unreadable, "
        f"{report.train_val_patient_overlap} patients are in both train and validation, "
        f"{report.patients_in_train_and_test} in both train and test."
    ]
    return said + [f"the same image: {', '.join(group)}" for group in report.duplicates[:SHOWN_DUPLICATES]]


def metrics_table(metrics: Metrics) -> RenderableType:
    """Validation and test metrics at the operating point."""
    validation, test = metrics.validation, metrics.test
    names = _names(validation)
    rows = [
        (
            _words(name, validation),
            _figure(validation.value(name)),
            "" if test is None else f"{_figure(test.value(name))} {_interval(test.intervals.get(name))}",
        )
        for name in names
    ]
    headings = ("metric", "validation", "test, 95 % over patients")
    table = _table(f"{metrics.network}. {DISCLAIMER}", headings, rows, text=["metric"])
    measured = validation if test is None else test
    if not isinstance(measured, MeasuredClasses):
        return table
    return Group(table, *_class_tables(measured, f"{'validation' if test is None else 'test'} images of"))


def _class_tables(measured: MeasuredClasses, label: str) -> list[RenderableType]:
    """Each class against the rest, and what is said of the images of each; `label` is above their names."""
    of_each = [
        (
            one.name,
            *(f"{_figure(getattr(one, name))} {_interval(one.intervals.get(name))}" for name in OF_EACH),
        )
        for one in measured.classes
    ]
    says = [(one.name, *map(str, row)) for one, row in zip(measured.classes, measured.confusion, strict=True)]
    answers = tuple(f"says {one.name}" for one in measured.classes)
    return [
        _table("", (label, *OF_EACH), of_each, text=[label]),
        _table("", (label, *answers), says, text=[label]),
    ]


def _names(measured: Measured | MeasuredClasses) -> tuple[str, ...]:
    """Return the metrics that a set of images has."""
    if isinstance(measured, MeasuredClasses):
        return CLASS_METRICS
    return (*METRICS, *(name for name in KINDS if measured.value(name) is not None))


def evaluation_tables(found: Evaluation | ClassEvaluation) -> list[RenderableType]:
    """Metrics with intervals, operating points or classes and, where measured, shifts of an evaluation."""
    rows: list[tuple[str, ...]] = [
        (_words(name, found), _figure(found.value(name)), _interval(found.intervals.get(name)))
        for name in _names(found)
        if name != "ece"
    ]
    rows.append(("calibration error", _figure(found.ece), _interval(found.intervals.get("ece"))))
    used = found.seen.train + found.seen.val if found.seen is not None else 0
    known = f", of which the training has used {used}" if used else ""
    title = f"{found.n} images of {found.source}{known}. {DISCLAIMER}"
    tables = [_table(title, ("metric", "value", "95 % over patients"), rows, text=["metric"])]
    of_point: tuple[str, ...] = ("accuracy", "balanced_accuracy", "sensitivity", "specificity")
    note = ""
    if isinstance(found, ClassEvaluation):
        tables += _class_tables(found, "images of")
        of_point, note = (*of_point, "precision"), "of the class that 'train.one_class' names, against the rest"
    rows = [
        (_words(rule), *(_figure(getattr(point, name)) for name in of_point))
        for rule, point in found.operating_points.items()
    ]
    words = ("operating point", *(name.replace("_", "\n") for name in of_point))
    tables += [_table("", words, rows, text=["operating point"], note=note)] if rows else []
    if found.shifts:
        rows = [
            (f"{at.shift} [{at.unit}]", f"{at.level:g}", *map(_figure, (at.accuracy, at.auc, at.balanced_accuracy)))
            for at in found.shifts
        ]
        tables.append(_table("", ("shift", "level", "accuracy", "AUC", "balanced\naccuracy"), rows, text=["shift"]))
    return tables


def _words(name: str, measured: Measured | MeasuredClasses | None = None) -> str:
    if isinstance(measured, MeasuredClasses):
        return {"auc": "macro AUC", "kappa": "Cohen's kappa", "brier": "Brier score", "ece": "calibration error"}.get(
            name, name.replace("_", " ")
        )
    return name.replace("_", " ")


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _of_classes(auc: str, classes: int) -> str:
    """Say that the AUC of more than two classes is their macro AUC, which stands in one column with that of two."""
    return f"{auc} (macro)" if auc and classes > 2 else auc


def _interval(ends: Sequence[float] | None) -> str:
    return "" if ends is None else f"{ends[0]:.3f}..{ends[1]:.3f}"


def seeds_table(name: str, tests: Sequence[Measured | MeasuredClasses]) -> RenderableType:
    """Test metrics of each run of a training with several seeds, their mean and sample standard deviation."""
    rows = []
    for metric in METRICS if isinstance(tests[0], Measured) else CLASS_METRICS:
        values = [test.value(metric) for test in tests]
        known = [value for value in values if value is not None]
        spread = (f"{mean(known):.4f}", f"{stdev(known):.4f}") if len(known) == len(values) else ("", "")
        rows.append((_words(metric, tests[0]), *spread, *map(_figure, values)))
    headings = ("test metric", "mean", "std", *(f"seed{i}" for i in range(len(tests))))
    return _table(f"{name}, {len(tests)} seeds. {DISCLAIMER}", headings, rows, text=["test metric"])


SEEDS_HEADINGS = (
    "experiment", "network", "images", "seeds", "test accuracy", "test AUC", "balanced accuracy", "sensitivity",
    "specificity", "accuracy: Youden, sensitivity 95 %", "ECE", "training [s]",
)  # fmt: skip


def seeds_figures(trained: Sequence[tuple[str, Metrics]]) -> Figures:
    """Return one row per experiment that was trained with several seeds.

    A figure is mean ± sample standard deviation over seeds; in brackets the 95 % interval over patients that one run
    has, its ends averaged over the runs. Runs on other images are another row.

    Args:
        trained: names of runs, such as NAME-seed0, and their metrics.
    """
    groups = _of_seeds(trained)
    return Figures(
        SEEDS_HEADINGS,
        [_seeds_row(name, group) for name, group in groups],
        [_seeds_record(name, group) for name, group in groups],
        text=("experiment", "network", "images"),
    )


def _seeds_record(name: str, group: Seeds) -> dict[str, Any]:
    """Return the figures of one experiment: mean and sample standard deviation over seeds, mean ends over patients."""
    tests = [test for _, test in group]
    record: dict[str, Any] = {
        "experiment": name,
        "network": ", ".join(sorted({metrics.network for metrics, _ in group})),
        "images": ", ".join(sorted({metrics.source for metrics, _ in group})),
        "seeds": len(group),
    }
    for metric in METRICS if isinstance(tests[0], Measured) else CLASS_METRICS:
        known = [value for test in tests if (value := test.value(metric)) is not None]
        if len(known) < len(tests):
            continue
        words = f"test {_words(metric, tests[0])}"
        record |= {f"{words}, mean": mean(known), f"{words}, std": stdev(known)}
        ends = [test.intervals[metric] for test in tests if metric in test.intervals]
        if len(ends) == len(tests):
            low, high = (mean(end) for end in zip(*ends, strict=True))
            record |= {f"{words}, 95 % over patients, low": low, f"{words}, 95 % over patients, high": high}
    return record | {"training [s], mean": mean(metrics.seconds for metrics, _ in group)}


def _of_seeds(trained: Sequence[tuple[str, Metrics]]) -> list[tuple[str, Seeds]]:
    """Return runs that differ in their seeds only, by the name of their experiment."""
    groups: dict[tuple[str, str], list[tuple[Metrics, Measured | MeasuredClasses]]] = {}
    for run, metrics in trained:
        name, _, number = run.rpartition("-seed")
        if name and number.isdigit() and metrics.test is not None:
            groups.setdefault((name, metrics.fingerprint), []).append((metrics, metrics.test))
    return [(name, group) for (name, _), group in groups.items() if len(group) > 1]


def _seeds_row(name: str, group: Seeds) -> tuple[str, ...]:
    tests = [test for _, test in group]
    of_points = [test.operating_points if isinstance(test, Measured) else {} for test in tests]
    points = [[known[rule].accuracy for known in of_points if rule in known] for rule in ("youden", "sensitivity_95")]
    return (
        name,
        ", ".join(sorted({metrics.network for metrics, _ in group})),
        ", ".join(sorted({metrics.source for metrics, _ in group})),
        str(len(group)),
        _with_interval(tests, "accuracy"),
        _of_classes(_with_interval(tests, "auc"), 2 if isinstance(tests[0], Measured) else 3),
        _with_interval(tests, "balanced_accuracy"),
        _spread([test.value("sensitivity") for test in tests]) or "-",
        _spread([test.value("specificity") for test in tests]) or "-",
        ", ".join(f"{mean(v):.4f}" if len(v) == len(tests) else "-" for v in points if any(of_points)) or "-",
        _spread([test.ece for test in tests]),
        f"{mean(metrics.seconds for metrics, _ in group):.0f}",
    )


def _with_interval(tests: Sequence[Measured | MeasuredClasses], metric: str) -> str:
    """Return a metric's spread over seeds, and the mean ends of its interval over patients."""
    ends = [test.intervals[metric] for test in tests if metric in test.intervals]
    spread = _spread([test.value(metric) for test in tests])
    if not spread or len(ends) < len(tests):
        return spread
    return f"{spread} [{_interval([mean(end) for end in zip(*ends, strict=True)])}]"


def _spread(values: Sequence[float | None]) -> str:
    """Return mean and spread; nothing where a run has no value."""
    known = [value for value in values if value is not None]
    return f"{mean(known):.4f} ± {stdev(known):.4f}" if len(known) == len(values) else ""


def chain_table(facts: Facts) -> RenderableType:
    """The chain of equality."""
    rows = [
        (link.stage, str(link.images or "-"), "-" if link.differing is None else f"{link.differing}{_remark(link)}")
        for link in facts.chain
    ]
    headings = ("stage", "images", "differing")
    return _table("integer logits against the golden ones", headings, rows, text=["stage"])


def _remark(link: Link) -> str:
    where = f": {link.where}" if link.places else ""
    return f" (counted, not required{where})" if link.differing and link.stage in WITNESSES else ""


def hardware_table(facts: Facts) -> RenderableType | None:
    """Folding, cycles and stall shares per layer, and what every node takes by formula and, where it ran, Yosys."""
    estimates, folding, sim = facts.estimates, facts.folding, facts.simulated
    if estimates is None or folding is None:
        return None
    layers = {layer.name: layer for layer in estimates.layers}
    measured = {layer.name: layer for layer in sim.layers} if sim else {}
    known = facts.resources[::-1]
    rows = []
    for name in dict.fromkeys([*layers, *(name for one in known for name in one.nodes)]):
        folded, use = folding.root.get(name, Folded()), measured.get(name)
        needed = f"{100 * estimates.needed(layers[name].cycles):.0f}" if name in layers else ""
        shares = () if use is None else (use.waits_for_output, use.waits_for_input)
        rows.append(
            (
                name + (" *" if sim and name in sim.slowest else ""),
                *("" if value is None else str(value) for value in (folded.PE, folded.SIMD)),
                str(layers[name].cycles) if name in layers else "",
                *_amounts([one.nodes.get(name) for one in known]),
                needed,
                *((f"{100 * share:.1f}" for share in shares) if shares else ("", "")),
            )
        )
    rows.append(("in all", "", "", "", *_amounts([one.total for one in known]), "", "", ""))
    counted = [f"{title}\n{one.source.short}" for title in SHOWN.values() for one in known]
    return _table(
        _headline(estimates, sim),
        ("layer", "PE", "SIMD", "cycles", *counted, "need", "stall", "ready"),
        rows,
        text=["layer"],
        note="cycles: as FINN and our own units' formulas have them. "
        + _sources(known)
        + ("" if facts.synthesis else " `cxrflow synth` counts.")
        + " need: % of the cycles of an image; * the slowest, which needs them all. stall: stalled by what follows, "
        "ready: while nothing came, % of the simulated cycles, seen on the layer's streams.",
    )


SHOWN = {name: TITLES[name] for name in ("lut", "bram18", "dsp")}  # where flip-flops would take too much room


def _amounts(amounts: Sequence[Amounts | None]) -> list[str]:
    """Return the cells of SHOWN, the sources of one resource side by side."""
    return [str(one[name]) if one and name in one else "" for name in SHOWN for one in amounts]


def _sources(known: Sequence[Sourced]) -> str:
    return " ".join(f"{one.source.short}: {one.source.name}, {one.source.means}." for one in known)


def synth_table(facts: Facts) -> RenderableType | None:
    """What synthesis made of every node, beside our formulas and their error, and the share of the board's budget."""
    synth = facts.synthesis
    if synth is None:
        return None
    formulas = of_source(facts.resources, FORMULAS)
    estimates = {} if formulas is None else formulas.nodes
    rows = [_synth_row(layer.name, layer, estimates.get(layer.name)) for layer in synth.layers]
    rows.append(_synth_row("total", synth.total, None if formulas is None else formulas.total))
    total, usable, board = synth.total.amounts, synth.usable.model_dump(), synth.board.model_dump()
    shares = {name.upper(): f"{100 * total[name] / max(1, usable[name]):.1f}%" for name in total}
    rows.append(("of the budget", *(shares.get(heading, "") for heading in _SYNTH_HEADINGS[1:])))
    budget = ", ".join(f"{usable[name]:,} of {board[name]:,} {name.upper()}" for name in total)
    return _table(
        f"{synth.tool} {synth.version} for {synth.part}: {synth.kind}",
        _SYNTH_HEADINGS,
        rows,
        text=["node"],
        note="LUT: LUTRAM and SRL included, no two packed into one. BRAM18: a RAMB36 is two. ours: "
        f"{FORMULAS.name}, {FORMULAS.means}. Budget: {budget}.",
    )


def levels_table(facts: Facts) -> RenderableType | None:
    """Where a critical path is to be looked for: logic one behind the other between registers, node by node."""
    synth = facts.synthesis
    if synth is None or not synth.levels:
        return None
    rows = [(way.name, str(way.luts), str(way.carries), way.start, way.end) for way in synth.levels]
    if (longest := synth.longest) is not None:
        passes = " > ".join(longest.through)
        rows.append((f"all: {passes}", str(longest.luts), str(longest.carries), longest.start, longest.end))
    return _table(
        "the longest way between two registers, in levels of logic",
        ("node", "LUTs", "carry cells", "from", "to"),
        rows,
        text=["node", "from", "to"],
        note="LUTs one behind the other after Yosys' mapping, and the carry cells on that way, four of which count as "
        "one LUT. A node's ends at its ports, too; TREADY passes several nodes, which the last line joins. What cells "
        "and wires take, and whether the clock is met, only Vivado knows: `cxrflow synth EXPERIMENT --tool vivado`.",
    )


_SYNTH_HEADINGS = (
    "node", "LUT", "LUT\nours", "LUT\nerror", "FF", "CARRY", "LUT\nRAM", "SRL", "RAMB36", "BRAM18", "BRAM18\nours",
    "BRAM18\nerror", "DSP", "DSP\nours", "DSP\nerror",
)  # fmt: skip


def _synth_row(name: str, count: Counted, estimate: Amounts | None) -> tuple[str, ...]:
    counted = count.amounts

    def compared(resource: str) -> tuple[str, str, str]:
        """Return the count, our formula's and its error."""
        measured = counted[resource]
        if estimate is None:
            return str(measured), "", ""
        return str(measured), str(estimate[resource]), _relative(estimate[resource], measured)

    return (
        name, *compared("lut"), str(count.ff), str(count.carry), str(count.lutram), str(count.srl), str(count.bram36),
        *compared("bram18"), *compared("dsp"),
    )  # fmt: skip


def _relative(estimate: int, measured: int) -> str:
    """Return the estimate's error, as far as there is something to be wrong about."""
    if measured == 0:
        return "" if estimate == 0 else "none"
    return f"{100 * (estimate / measured - 1):+.0f}%"


def _headline(estimates: Estimates, sim: Simulated | None) -> str:
    if sim is None:
        return (
            f"estimated by FINN: {estimates.cycles_per_image} cycles per image, {estimates.images_per_s:,.0f} images/s"
        )
    between = "" if sim.initiation_interval is None else f"{sim.initiation_interval:.1f} cycles per image "
    rate = "" if sim.images_per_s is None else f"{sim.images_per_s:,.0f} images/s at {sim.clock_mhz:g} MHz, "
    return (
        f"measured in simulation: {between}(FINN's estimate {sim.estimated_interval}), {rate}first logit after "
        f"{sim.first_latency_cycles:,} cycles ({sim.first_latency_us:.1f} us); simulated in "
        f"{sim.simulation_seconds:.2f} s of one core at {sim.simulated_cycles_per_s / 1e6:.2f} M cycles/s"
    )


def vivado_table(facts: Facts) -> RenderableType | None:
    """What Vivado says of a routed design, per node beside Yosys and our formulas; None where it did not run."""
    routed = facts.routed
    if routed is None:
        return None
    known = [one for source in (VIVADO, WHOLE, YOSYS, FORMULAS) if (one := of_source(facts.resources, source))]
    names = dict.fromkeys(name for one in known for name in one.nodes)
    rows = [(name, *_amounts([one.nodes.get(name) for one in known])) for name in names]
    rows.append(("in all", *_amounts([one.total for one in known])))
    above = f" Above the board's budget: {', '.join(routed.above_budget)}." if routed.above_budget else ""
    return _table(
        f"routed for {routed.clock_mhz:.1f} MHz: setup slack {routed.wns_ns:.3f} ns (up to "
        f"{routed.fmax_mhz:.1f} MHz), hold slack {routed.whs_ns:.3f} ns, {routed.power.total_w:.2f} W estimated",
        ("layer", *(f"{title}\n{one.source.short}" for title in SHOWN.values() for one in known)),
        rows,
        text=["layer"],
        note=_sources(known) + above,
    )


def infer_table(results: list[dict[str, Any]], *, device: str, points: str = "") -> RenderableType:
    """One row per image; `points` says of which operating point, and which others there are."""
    from driver.__main__ import cells, remark

    remarks = {"remark": ""} if any(map(remark, results)) else {}
    rows = [(row["file"], *cells(row).values(), *(remark(row) for _ in remarks)) for row in results]
    headings = ("file", *(cells(results[0]) if results else ()), *remarks)
    note = " ".join(filter(None, (f"On {device}.", points, DISCLAIMER)))
    return _table("", headings, rows, text=["file", "class", "remark"], note=note)


def explain_table(rows: list[dict[str, Any]], *, device: str) -> RenderableType:
    """One row per explained image."""
    several = any("map_of" in row for row in rows)
    cells = [
        (
            row["file"],
            *([row["map_of"]] if several else []),
            str(row["logit"]),
            str(row["images"]),
            "" if row["cycles"] is None else f"{row['cycles']:,} {row['cycles_are']}",
            f"{row['preprocess_ms']:.1f}",
            f"{row['device_ms']:.1f}",
            row["overlay"],
        )
        for row in rows
    ]
    named = ("file", "map of") if several else ("file",)
    headings = (*named, "logit", "images", "accelerator cycles", "preprocessing [ms]", "device [ms]", "overlay")
    return _table("", headings, cells, text=["file", "map of", "overlay"], note=f"On {device}. {DISCLAIMER}")


RESULT_HEADINGS = (
    "run", "network", "images", "test accuracy", "test AUC", "equal integers", "cycles/image (simulated)",
    "images/s (simulated)", "first logit [us] (simulated)",
    *(f"LUT, BRAM18, DSP ({source.name})" for source in (FORMULAS, YOSYS)), "commit",
)  # fmt: skip


def results_figures(found: Sequence[Facts]) -> Figures:
    """Return the table of finished runs."""
    rows, records = [result_row(facts) for facts in found], [result_record(facts) for facts in found]
    return Figures(RESULT_HEADINGS, rows, records, text=("run", "network", "images", "equal integers", "commit"))


def result_record(facts: Facts) -> dict[str, Any]:
    """Return the figures of a run with a deploy folder, by their names with unit and source."""
    assert facts.deployed is not None
    provenance, sim = facts.deployed.provenance, facts.simulated
    equality = facts.equality
    return {
        "run": facts.name,
        "network": provenance.network,
        "images": provenance.data,
        "board": facts.board.name,
        "test accuracy": provenance.test_metrics.accuracy,
        "test macro AUC" if len(facts.class_names) > 2 else "test AUC": provenance.test_metrics.auc,
        "compared images": equality.images if equality else 0,
        "differing integers": equality.differing if equality else 0,
        "compared to": equality.last if equality else "",
        "cycles per image (simulated)": None if sim is None else sim.initiation_interval,
        "images/s (simulated)": None if sim is None else sim.images_per_s,
        "first logit [us] (simulated)": None if sim is None else sim.first_latency_us,
        "clock [MHz] (asked for)": facts.clock_mhz,
        **resources_record(facts),
        "commit": provenance.git_commit,
    }


def resources_record(facts: Facts) -> dict[str, Any]:
    """Return what a design takes, by every source that has spoken."""
    return {
        f"{TITLES[name]} ({one.source.name})": count for one in facts.resources for name, count in one.total.items()
    }


def result_row(facts: Facts) -> tuple[str, ...]:
    """Return the cells of a run with a deploy folder; a figure that was not measured is an empty cell."""
    assert facts.deployed is not None
    provenance, sim = facts.deployed.provenance, facts.simulated
    return (
        facts.name,
        provenance.network,
        provenance.data,
        _figure(provenance.test_metrics.accuracy),
        _of_classes(_figure(provenance.test_metrics.auc), len(facts.class_names)),
        str(facts.equality or ""),
        f"{sim.initiation_interval:.0f}" if sim and sim.initiation_interval is not None else "",
        f"{sim.images_per_s:,.0f}" if sim and sim.images_per_s is not None else "",
        f"{sim.first_latency_us:.1f}" if sim else "",
        *(
            ", ".join(str(one.total[name]) for name in SHOWN) if one else ""
            for one in (of_source(facts.resources, source) for source in (FORMULAS, YOSYS))
        ),
        provenance.git_commit or "",
    )


def figures_table(figures: Figures, *, title: str = "") -> RenderableType:
    """Return figures as a terminal shows them; the best are bold, and starred for who sees no bold."""
    marked = any(figures.best)
    rows = [
        [f"{cell} *" if (number, at) in figures.best else cell for at, cell in enumerate(row)]
        for number, row in enumerate(figures.rows)
    ]
    note = "* the best of those that are alike. " * marked + DISCLAIMER
    return _table(title, figures.headings, rows, text=figures.text, note=note)


def doctor_table(findings: list[Finding]) -> RenderableType:
    """What is there and what is not."""
    headings = ("tool", "found", "needed for", "if missing")
    rows = []
    for finding in findings:
        missing = "MISSING" if finding.required else "not there"
        rows.append((finding.name, finding.found or missing, finding.enables, "" if finding.found else finding.remedy))
    return _table("what this machine can do", headings, rows, text=headings)
