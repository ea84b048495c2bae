"""The tables that a terminal shows about a run. Every figure is read from the run's files."""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median, stdev
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from contract.errors import ArtifactError
from contract.manifest import DISCLAIMER
from contract.table import shown
from cxrflow.doctor import Finding
from cxrflow.report.files import WITNESSES

if TYPE_CHECKING:
    from datasets.survey import Survey
    from datasets.xray import XrayData

SHOWN_DUPLICATES = 3
METRICS = ("accuracy", "auc", "balanced_accuracy", "sensitivity", "specificity", "f1")


def _table(
    title: str, headings: Sequence[str], rows: Sequence[Sequence[str]], *, text: Sequence[str], note: str = ""
) -> RenderableType:
    """Return a table in which nothing is ever cut off: columns named in `text` fold, the others hold numbers."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in headings:
        if heading in text:
            table.add_column(heading, overflow="fold")
        else:
            cells = [word for row in rows for word in row[headings.index(heading)].split()]
            width = max(map(len, [*heading.split(), *cells]))
            table.add_column(heading, justify="right", min_width=width)
    for row in rows:
        table.add_row(*(Text(shown(cell)) for cell in row))
    above, below = Text(title, style="bold"), Text(note, style="dim")
    return Group(*([above] if title else []), table, *([below] if note else []))


def data_table(data: "XrayData") -> RenderableType:
    """Images and patients per split."""
    rows = []
    for name, split in (("train", data.train), ("validation", data.val), ("test", data.test)):
        counts = [str(int((split.labels == label).sum())) for label in (0, 1)]
        rows.append((name, *counts, str(len(set(split.patients.tolist())))))
    title = f"{data.source}, fingerprint {data.fingerprint[:12]}"
    return _table(title, ("split", *data.class_names, "patients"), rows, text=["split"])


def check_tables(data: "XrayData", survey: "Survey | None") -> list[RenderableType]:
    """Class balance and patients per split; then, where there are files, what they are."""
    rows = []
    for name, split in (("train", data.train), ("validation", data.val), ("test", data.test)):
        negative, positive = (int((split.labels == label).sum()) for label in (0, 1))
        share = f"{100 * positive / max(1, negative + positive):.1f}"
        rows.append((name, str(negative), str(positive), share, str(len(set(split.patients.tolist())))))
    title = f"{data.source}, fingerprint {data.fingerprint[:12]}"
    headings = ("split", *data.class_names, f"% {data.class_names[1]}", "patients")
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


def metrics_table(run: Path) -> RenderableType | None:
    """Validation and test metrics at the operating point."""
    metrics = read(run / "train" / "metrics.json")
    if metrics is None:
        return None
    test = metrics["test"]
    rows = [
        (
            _words(name),
            f"{metrics['validation'][name]:.4f}",
            f"{test[name]:.4f} {_interval(test['intervals'].get(name))}",
        )
        for name in (*METRICS, *(f"sensitivity_{kind}" for kind in ("bacteria", "virus")))
        if name in test and name in metrics["validation"]
    ]
    headings = ("metric", "validation", "test, 95 % over patients")
    return _table(f"{metrics['network']}. {DISCLAIMER}", headings, rows, text=["metric"])


def evaluation_tables(folder: Path) -> list[RenderableType]:
    """Metrics with intervals, operating points and, where measured, shifts of an evaluation."""
    found = read(folder / "evaluation.json") or {}
    names = [*METRICS, *(name for name in found if name.startswith("sensitivity_"))]
    ends, rows = found["intervals"], list[tuple[str, ...]]()
    rows += [(_words(name), _figure(found[name]), _interval(ends.get(name))) for name in names]
    rows.append(("calibration error", _figure(found["ece"]), _interval(ends.get("ece"))))
    title = f"{found['n']} images of {found['source']}. {DISCLAIMER}"
    tables = [_table(title, ("metric", "value", "95 % over patients"), rows, text=["metric"])]
    headings = ("accuracy", "balanced_accuracy", "sensitivity", "specificity")
    points = found["operating_points"].items()
    rows = [(_words(rule), *(_figure(values[name]) for name in headings)) for rule, values in points]
    words = ("operating point", *(name.replace("_", "\n") for name in headings))
    tables.append(_table("", words, rows, text=["operating point"]))
    if "shifts" in found:
        shown = ("accuracy", "auc", "balanced_accuracy")
        rows = [
            (f"{row['shift']} [{row['unit']}]", f"{row['level']:g}", *(_figure(row[name]) for name in shown))
            for row in found["shifts"]
        ]
        tables.append(_table("", ("shift", "level", "accuracy", "AUC", "balanced\naccuracy"), rows, text=["shift"]))
    return tables


def _words(name: str) -> str:
    return name.replace("_", " ")


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _interval(ends: Sequence[float] | None) -> str:
    return "" if ends is None else f"{ends[0]:.3f}..{ends[1]:.3f}"


def seeds_table(runs: Path, name: str, seeds: int) -> RenderableType:
    """Test metrics of each run of a training with several seeds, their mean and sample standard deviation."""
    tests = [(read(runs / f"{name}-seed{i}" / "train" / "metrics.json") or {})["test"] for i in range(seeds)]
    rows = []
    for metric in METRICS:
        values = [test[metric] for test in tests]
        rows.append((_words(metric), f"{mean(values):.4f}", f"{stdev(values):.4f}", *map(_figure, values)))
    headings = ("test metric", "mean", "std", *(f"seed{i}" for i in range(seeds)))
    return _table(f"{name}, {seeds} seeds. {DISCLAIMER}", headings, rows, text=["test metric"])


SEEDS_HEADINGS = (
    "experiment", "network", "images", "seeds", "test accuracy", "test AUC", "balanced accuracy", "sensitivity",
    "specificity", "accuracy: Youden, sensitivity 95 %", "ECE", "training [s]",
)  # fmt: skip


def seeds_rows(runs: Path) -> list[tuple[str, ...]]:
    """Return one row of cells per experiment that was trained with several seeds.

    A figure is mean ± sample standard deviation over seeds; in brackets the 95 % interval over patients that one run
    has, its ends averaged over the runs.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(runs.glob("*-seed*/train/metrics.json")):
        name, _, number = path.parent.parent.name.rpartition("-seed")
        metrics = read(path)
        if number.isdigit() and metrics is not None:
            groups.setdefault(name, []).append(metrics)
    return [_seeds_row(name, group) for name, group in groups.items() if len(group) > 1]


def _seeds_row(name: str, group: list[dict[str, Any]]) -> tuple[str, ...]:
    tests, networks = [metrics["test"] for metrics in group], {metrics["network"] for metrics in group}

    def cell(metric: str) -> str:
        text = _spread([test[metric] for test in tests])
        ends = [mean(test["intervals"][metric][end] for test in tests) for end in (0, 1)]
        return f"{text} [{_interval(ends)}]"

    return (
        name,
        ", ".join(sorted(networks)),
        group[0]["source"],
        str(len(group)),
        cell("accuracy"),
        cell("auc"),
        cell("balanced_accuracy"),
        _spread([test["sensitivity"] for test in tests]),
        _spread([test["specificity"] for test in tests]),
        ", ".join(
            f"{mean(test['operating_points'][rule]['accuracy'] for test in tests):.4f}"
            for rule in ("youden", "sensitivity_95")
        ),
        _spread([test["ece"] for test in tests]),
        f"{mean(metrics['seconds'] for metrics in group):.0f}",
    )


def _spread(values: Sequence[float]) -> str:
    return f"{mean(values):.4f} ± {stdev(values):.4f}"


def points_table(title: str, headings: Sequence[str], rows: Sequence[tuple[str, ...]]) -> RenderableType:
    """Points of a sweep; the first column is text."""
    return _table(f"{title}. {DISCLAIMER}", tuple(headings), list(rows), text=[headings[0]])


def chain_rows(run: Path, board: str) -> list[tuple[str, int, int | None]]:
    """Return (stage, images, differing integers) along the chain of equality, as far as the run went."""
    rows: list[tuple[str, int, int | None]] = []
    build = run / "build" / board
    for content in (read(run / "export" / "export.json"), read(build / "build.json")):
        rows += [(row["stage"], row["images"], row["differing"]) for row in (content or {}).get("chain", [])]
    deployed = read(run / "deploy" / board / "accelerator.json")
    equal = (deployed or {}).get("provenance", {}).get("golden_images_equal_on_cpu")
    if equal is not None:  # the folder is not written when a logit differs
        rows.append(("cpu_reference", equal, 0))
    sim = read(build / "sim" / "sim.json")
    if sim is not None:
        rows.append(("rtl", sim["images"], sim["differing"]))
        rows.append(("rtl_with_random_stalls", sim["images_with_random_stalls"], 0))
    gates = read(build / "gates" / "gates.json")
    if gates is not None:
        rows.append(("netlist", gates["images"], gates["differing"]))
    return rows


def chain_table(run: Path, board: str) -> RenderableType:
    """The chain of equality."""
    rows = [
        (stage, str(images or "-"), "-" if differing is None else f"{differing}{_remark(stage, differing)}")
        for stage, images, differing in chain_rows(run, board)
    ]
    headings = ("stage", "images", "differing")
    return _table("integer logits against the golden ones", headings, rows, text=["stage"])


def _remark(stage: str, differing: int) -> str:
    return " (counted, not required)" if differing and stage in WITNESSES else ""


def hardware_table(run: Path, board: str) -> RenderableType | None:
    """Folding, cycles and stall shares per layer."""
    build = run / "build" / board
    estimates, folding = read(build / "estimates.json"), read(build / "folding.json")
    if estimates is None or folding is None:
        return None
    sim = read(build / "sim" / "sim.json")
    measured = {layer["name"]: layer for layer in sim["layers"]} if sim else {}
    costs = {layer["name"]: layer for layer in estimates.get("formulas", {}).get("layers", [])}
    rows = []
    for layer in estimates["layers"]:
        name, use, cost = layer["name"], measured.get(layer["name"]), costs.get(layer["name"])
        rows.append(
            (
                name + (" *" if sim and name == sim["slowest_layer"] else ""),
                str(folding[name].get("PE", "")),
                str(folding[name].get("SIMD", "")),
                str(layer["cycles"]),
                *(str(cost[key]) if cost else "" for key in ("lut", "bram18", "dsp")),
                *(f"{100 * use[key]:.1f}" if use else "" for key in ("busy", "waits_for_input", "waits_for_output")),
            )
        )
    return _table(
        _headline(estimates, sim),
        ("layer", "PE", "SIMD", "cycles", "LUT", "BRAM18", "DSP", "busy", "waits\nin", "waits\nout"),
        rows,
        text=["layer"],
        note="cycles, LUT, BRAM18, DSP: estimates; `cxrflow synth` counts. "
        "busy, waits: % of the simulated cycles; * the slowest.",
    )


def synth_table(run: Path, board: str) -> RenderableType | None:
    """What synthesis made of every node, beside the estimate and its error, and the share of the board's budget."""
    synth = read(run / "build" / board / "synth" / "synth.json")
    if synth is None:
        return None
    rows = [_synth_row(layer["name"], layer, layer["estimate"]) for layer in synth["layers"]]
    rows.append(_synth_row("total", synth["total"], synth["estimate"]))
    share = {name: f"{100 * synth['total'][key] / synth['usable'][name]:.1f}%" for name, key in _BUDGETED.items()}
    shares = {"LUT": share["lut"], "FF": share["ff"], "BRAM18": share["bram18"], "DSP": share["dsp"]}
    rows.append(("of the budget", *(shares.get(heading, "") for heading in _SYNTH_HEADINGS[1:])))
    usable = ", ".join(f"{synth['usable'][name]:,} of {synth['board'][name]:,} {name.upper()}" for name in _BUDGETED)
    return _table(
        f"{synth['tool']} {synth['version']} for {synth['part']}: {synth['kind']}",
        _SYNTH_HEADINGS,
        rows,
        text=["node"],
        note="LUT: LUTRAM and SRL included, no two packed into one. BRAM18: a RAMB36 is two. est.: FINN's estimate "
        f"before any RTL, without FIFOs and width converters. Budget: {usable}.",
    )


_SYNTH_HEADINGS = (
    "node", "LUT", "LUT\nest.", "LUT\nerror", "FF", "CARRY", "LUT\nRAM", "SRL", "RAMB36", "BRAM18", "BRAM18\nest.",
    "BRAM18\nerror", "DSP", "DSP\nest.", "DSP\nerror",
)  # fmt: skip
_BUDGETED = {"lut": "lut", "ff": "ff", "bram18": "bram18_equivalents", "dsp": "dsp"}  # of the board, of synth.json


def _synth_row(name: str, counts: dict[str, int], estimate: dict[str, float] | None) -> tuple[str, ...]:
    cells = {key: str(count) for key, count in counts.items() if key not in ("name", "estimate")}
    compared = {
        key: ("", "") if estimate is None else (f"{estimate[key]:.0f}", _relative(estimate[key], counts[measured]))
        for key, measured in _BUDGETED.items()
        if key != "ff"
    }
    return (
        name, cells["lut"], *compared["lut"], cells["ff"], cells["carry"], cells["lutram"], cells["srl"],
        cells["bram36"], cells["bram18_equivalents"], *compared["bram18"], cells["dsp"], *compared["dsp"],
    )  # fmt: skip


def _relative(estimate: float, measured: int) -> str:
    """Return the estimate's error, as far as there is something to be wrong about."""
    if measured == 0:
        return "" if estimate == 0 else "none"
    return f"{100 * (estimate / measured - 1):+.0f}%"


def _headline(estimates: dict[str, Any], sim: dict[str, Any] | None) -> str:
    if sim is None:
        return f"estimated: {estimates['cycles_per_image']} cycles per image, {estimates['images_per_s']:,.0f} images/s"
    return (
        f"measured: {sim['initiation_interval']:.1f} cycles per image (estimate {sim['estimated_interval']}), "
        f"{sim['images_per_s']:,.0f} images/s at {sim['clock_mhz']:g} MHz, first logit after "
        f"{sim['first_latency_cycles']:,} cycles ({sim['first_latency_us']:.1f} us); simulated in "
        f"{sim['simulation_seconds']:.2f} s at {sim['simulated_cycles_per_s'] / 1e6:.2f} M cycles/s"
    )


def vivado_table(path: Path) -> RenderableType | None:
    """What Vivado says of a routed design, per layer beside Yosys where it ran; None if `path` is not such a file."""
    routed = read(path)
    if routed is None or "wns_ns" not in routed:
        return None
    keys = ("LUT", "FF", "BRAM_18K", "DSP")
    rows = [
        (layer["name"], *(str(layer[key]) for key in keys), str((layer["yosys"] or {}).get("LUT", "")))
        for layer in routed["layers"]
    ]
    for name, used in (("accelerator", routed["accelerator"]), ("whole design", routed["used"])):
        if used is not None:
            rows.append((name, *(str(used[key]) for key in keys), ""))
    above = routed["above_budget"]
    return _table(
        f"routed for {routed['clock_mhz']:.1f} MHz: setup slack {routed['wns_ns']:.3f} ns (up to "
        f"{routed['fmax_mhz']:.1f} MHz), hold slack {routed['whs_ns']:.3f} ns, "
        f"{routed['power']['total_w']:.2f} W estimated",
        ("layer", "LUT", "FF", "BRAM18", "DSP", "LUT, Yosys"),
        rows,
        text=["layer"],
        note=f"above the board's budget: {', '.join(above)}" if above else "",
    )


def infer_table(results: list[dict[str, Any]], *, device: str) -> RenderableType:
    """One row per image."""
    rows = [(row["file"], str(row["logit"]), f"{row['probability']:.4f}", row["class"]) for row in results]
    return _table(
        "", ("file", "logit", "probability", "class"), rows, text=["file", "class"], note=f"On {device}. {DISCLAIMER}"
    )


def explain_table(rows: list[dict[str, Any]], *, device: str) -> RenderableType:
    """One row per explained image."""
    cells = [
        (
            row["file"],
            str(row["logit"]),
            str(row["images"]),
            "" if row["cycles"] is None else f"{row['cycles']:,} {row['cycles_are']}",
            f"{row['preprocess_ms']:.1f}",
            f"{row['device_ms']:.1f}",
            row["overlay"],
        )
        for row in rows
    ]
    headings = ("file", "logit", "images", "accelerator cycles", "preprocessing [ms]", "device [ms]", "overlay")
    return _table("", headings, cells, text=["file", "overlay"], note=f"On {device}. {DISCLAIMER}")


RESULT_HEADINGS = (
    "run", "network", "images", "test accuracy", "test AUC", "equal integers", "cycles/image", "images/s",
    "first logit [us]", "LUT, BRAM18, DSP (estimate)",
    "LUT, BRAM18, DSP (Yosys)", "commit",
)  # fmt: skip


def results_rows(runs: Path) -> list[tuple[str, ...]]:
    """Return one row of cells per finished deploy folder; a figure that was not measured is an empty cell."""
    return [_result_row(path.parent) for path in sorted(runs.glob("*/deploy/*/accelerator.json"))]


def _result_row(deploy: Path) -> tuple[str, ...]:
    run, board = deploy.parent.parent, deploy.name
    manifest, build = read(deploy / "accelerator.json") or {}, run / "build" / board
    provenance, metrics = manifest["provenance"], manifest["provenance"]["test_metrics"]
    estimates, sim = read(build / "estimates.json") or {}, read(build / "sim" / "sim.json")
    total, synth = estimates.get("formulas", {}).get("total"), read(build / "synth" / "synth.json")
    chain = [(images, differing) for _, images, differing in chain_rows(run, board) if differing is not None]
    most = max(images for images, _ in chain)
    return (
        run.name,
        provenance["network"],
        provenance["data"],
        f"{metrics['accuracy']:.4f}",
        f"{metrics['auc']:.4f}",
        f"{most} images, Brevitas to " + ("RTL" if sim else "CPU reference"),
        f"{sim['initiation_interval']:.0f}" if sim else "",
        f"{sim['images_per_s']:,.0f}" if sim else "",
        f"{sim['first_latency_us']:.1f}" if sim else "",
        ", ".join(str(total[key]) for key in ("lut", "bram18", "dsp")) if total else "",
        ", ".join(str(synth["total"][key]) for key in ("lut", "bram18_equivalents", "dsp")) if synth else "",
        str(provenance["git_commit"] or ""),
    )


def comparison_table(names: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> RenderableType:
    """Runs side by side: one row of cells per figure, one column per run."""
    return _table("", ("", *names), [(name, *cells) for name, cells in rows], text=["", *names], note=DISCLAIMER)


def doctor_table(findings: list[Finding]) -> RenderableType:
    """What is there and what is not."""
    headings = ("tool", "found", "needed for", "if missing")
    rows = []
    for finding in findings:
        missing = "MISSING" if finding.required else "not there"
        rows.append((finding.name, finding.found or missing, finding.enables, "" if finding.found else finding.remedy))
    return _table("what this machine can do", headings, rows, text=headings)


def read(path: Path) -> dict[str, Any] | None:
    """Return a JSON object, or None if the file is not there. Raises ArtifactError."""
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as err:
        raise ArtifactError(
            f"{path} is damaged ({err}), expected what its stage wrote. Delete {path.parent} and run it again."
        ) from err
    return content if isinstance(content, dict) else None
