"""The accelerator of a run as its page shows it: boxes, timeline, resources."""

from dataclasses import dataclass

from cxrflow.report import files
from cxrflow.report.draw import ticks
from cxrflow.report.facts import Facts

RESOURCES = (  # title, and its name in: the board and its budget, the estimate, Yosys' counts, Vivado's counts
    ("LUT", "lut", "LUT", "lut", "LUT"),
    ("flip-flop", "ff", None, "ff", "FF"),
    ("BRAM18", "bram18", "BRAM_18K", "bram18_equivalents", "BRAM_18K"),
    ("DSP", "dsp", "DSP", "dsp", "DSP"),
)


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
            found.append(Part(node.name, "fifo", held))
        elif "WidthConverter" in node.op_type:
            title = f"width converter, {node.in_bits} to {node.out_bits} bit"
            found.append(Part(node.name, "converter", title))
        elif "Thresholding" in node.name:
            activations += 1
            found.append(_layer(facts, node, f"Activation {activations}: thresholds"))
        else:
            size = facts.exported.layers[layers] if facts.exported and layers < len(facts.exported.layers) else None
            layers += 1
            sign = ", sign" if _has_sign(facts, node) else ""
            title = f"Layer {layers}" + (f": {size.inputs:,} to {size.outputs:,}{sign}" if size else "")
            found.append(_layer(facts, node, title))
    return found


def _has_sign(facts: Facts, node: files.Node) -> bool:
    """Whether a layer answers with signs, as ours can: then another layer follows it, and no thresholds."""
    layers = [n for n in (facts.design.nodes if facts.design else []) if "MVAU" in n.op_type or "Thresh" in n.op_type]
    following = layers[layers.index(node) + 1 :] if node in layers else []
    return bool(following) and "MVAU" in following[0].op_type


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
