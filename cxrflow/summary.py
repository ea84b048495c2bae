"""The tables that a terminal shows about a run. Every figure is read from the run's files."""

import json
from pathlib import Path
from typing import Any

from rich.table import Table

from contract.manifest import DISCLAIMER
from cxrflow.doctor import Finding
from datasets.xray import XrayData

METRICS = ("accuracy", "auc", "balanced_accuracy", "sensitivity", "specificity", "f1")


def data_table(data: XrayData) -> Table:
    """Images and patients per split."""
    table = Table(title=f"{data.source}, fingerprint {data.fingerprint[:12]}", title_justify="left")
    for name in ("split", *data.class_names, "patients"):
        table.add_column(name, justify="left" if name == "split" else "right")
    for name, split in (("train", data.train), ("validation", data.val), ("test", data.test)):
        counts = [str(int((split.labels == label).sum())) for label in (0, 1)]
        table.add_row(name, *counts, str(len(set(split.patients.tolist()))))
    return table


def metrics_table(run: Path) -> Table | None:
    """Validation and test metrics at the operating point."""
    metrics = read(run / "train" / "metrics.json")
    if metrics is None:
        return None
    table = Table(title=f"{metrics['network']}. {DISCLAIMER}", title_justify="left")
    table.add_column("images")
    for name in METRICS:
        table.add_column(name.replace("_", " "), justify="right")
    for split in ("validation", "test"):
        table.add_row(split, *(f"{metrics[split][name]:.4f}" for name in METRICS))
    return table


def chain_rows(run: Path, board: str) -> list[tuple[str, int, int | None]]:
    """Return (stage, images, differing integers) along the chain of equality, as far as the run went."""
    rows: list[tuple[str, int, int | None]] = []
    build = run / "build" / board
    for content in (read(run / "export" / "export.json"), read(build / "build.json")):
        rows += [(row["stage"], row["images"], row["differing"]) for row in (content or {}).get("chain", [])]
    reference = read(run / "deploy" / board / "check.json")
    if reference is not None:
        rows.append(("cpu_reference", reference["images"], reference["differing"]))
    sim = read(build / "sim" / "sim.json")
    if sim is not None:
        rows.append(("rtl", sim["images"], sim["differing"]))
        rows.append(("rtl_with_random_stalls", sim["images_with_random_stalls"], 0))
    return rows


def chain_table(run: Path, board: str) -> Table:
    """The chain of equality."""
    table = Table(title="integer logits against the golden ones", title_justify="left")
    table.add_column("stage")
    table.add_column("images", justify="right")
    table.add_column("differing", justify="right")
    for stage, images, differing in chain_rows(run, board):
        table.add_row(stage, str(images or "-"), "-" if differing is None else str(differing))
    return table


def hardware_table(run: Path, board: str) -> Table | None:
    """Folding, cycles and stall shares per layer."""
    build = run / "build" / board
    estimates, folding = read(build / "estimates.json"), read(build / "folding.json")
    if estimates is None or folding is None:
        return None
    sim = read(build / "sim" / "sim.json")
    measured = {layer["name"]: layer for layer in sim["layers"]} if sim else {}
    table = Table(title=_headline(estimates, sim), title_justify="left")
    for name in ("layer", "PE", "SIMD", "cycles", "LUT", "BRAM18", "DSP", "busy", "waits in", "waits out"):
        table.add_column(name, justify="left" if name == "layer" else "right")
    for layer in estimates["layers"]:
        name, use = layer["name"], measured.get(layer["name"])
        shares = [f"{use[key]:.1%}" if use else "" for key in ("busy", "waits_for_input", "waits_for_output")]
        table.add_row(
            name + (" (slowest)" if sim and name == sim["slowest_layer"] else ""),
            str(folding[name].get("PE", "")),
            str(folding[name].get("SIMD", "")),
            str(layer["cycles"]),
            *(f"{layer[key]:.0f}" for key in ("LUT", "BRAM_18K", "DSP")),
            *shares,
        )
    table.caption = (
        "cycles, LUT, BRAM18, DSP: FINN's estimate (0 LUT for every MVAU_rtl); shares: measured in simulation"
    )
    return table


def _headline(estimates: dict[str, Any], sim: dict[str, Any] | None) -> str:
    if sim is None:
        return f"estimated: {estimates['cycles_per_image']} cycles per image, {estimates['images_per_s']:,.0f} images/s"
    return (
        f"measured: {sim['initiation_interval']:.1f} cycles per image (estimate {sim['estimated_interval']}), "
        f"{sim['images_per_s']:,.0f} images/s at {sim['clock_mhz']:g} MHz, first logit after "
        f"{sim['first_latency_cycles']:,} cycles ({sim['first_latency_us']:.1f} us); simulated in "
        f"{sim['simulation_seconds']:.2f} s at {sim['simulated_cycles_per_s'] / 1e6:.2f} M cycles/s"
    )


def doctor_table(findings: list[Finding]) -> Table:
    """What is there and what is not."""
    table = Table(title="what this machine can do", title_justify="left")
    for name in ("tool", "found", "needed for", "if missing"):
        table.add_column(name, overflow="fold")
    for finding in findings:
        missing = "[red]missing[/red]" if finding.required else "[yellow]missing[/yellow]"
        table.add_row(finding.name, finding.found or missing, finding.enables, "" if finding.found else finding.remedy)
    return table


def read(path: Path) -> dict[str, Any] | None:
    """Return a JSON object, or None if the file is not there."""
    if not path.exists():
        return None
    content = json.loads(path.read_text(encoding="utf-8"))
    return content if isinstance(content, dict) else None
