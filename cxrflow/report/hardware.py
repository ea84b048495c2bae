"""The accelerator of a run as its page shows it: boxes, timeline, resources."""

from collections import Counter
from dataclasses import dataclass

from matplotlib.ticker import MaxNLocator

from contract.network import Shape
from cxrflow.report.facts import Facts
from finn_build.ops import op_of
from finn_build.ops.op import Node, recorded
from finn_build.records import Amounts, SimulatedLayer
from finn_build.resources import TITLES, WHOLE, Source, Sourced


@dataclass(frozen=True)
class Map:
    """A feature map as a picture: a square, and one more behind it for each factor 4 of channels."""

    side: float  # a share of the largest map's
    behind: int


@dataclass(frozen=True)
class Part:
    """One node of the accelerator, as a box."""

    name: str
    kind: str  # layer, fifo or converter
    title: str
    called: str = ""  # its op
    facts: tuple[tuple[str, str], ...] = ()  # what stands in the box
    use: SimulatedLayer | None = None
    maps: tuple[Map, ...] = ()  # what it takes and gives, of images
    cycles_share: float = 0.0  # of the cycles from image to image
    slowest: bool = False


def parts(facts: Facts) -> list[Part]:
    """Return the accelerator's nodes from the first pixel to the logit."""
    if facts.estimates is None or facts.design is None:
        return []
    held = {fifo.name: fifo.peak for fifo in (facts.simulated.fifos if facts.simulated else [])}
    found, counts = [], Counter[str]()
    for node in map(recorded, facts.design.nodes):
        op = op_of(node)
        counts[op.called] += 1
        number = counts[op.called]
        title = op.title(node, number=number, held=held.get(node.name))
        found.append(_layer(facts, node, title) if op.computes else _between(facts, node, title))
    return found


def _between(facts: Facts, node: Node, title: str) -> Part:
    """Return what moves data."""
    op = op_of(node)
    return Part(node.name, op.box, title, op.called, slowest=_is_slowest(facts, node))


def _is_slowest(facts: Facts, node: Node) -> bool:
    return facts.simulated is not None and node.name in facts.simulated.slowest


def _layer(facts: Facts, node: Node, title: str) -> Part:
    """Return the box of a layer that computes."""
    assert facts.estimates is not None
    estimate = next((layer for layer in facts.estimates.layers if layer.name == node.name), None)
    folded = facts.folding.root.get(node.name) if facts.folding else None
    shown: list[tuple[str, str]] = []
    if _of_images(node):
        shown.append(("image", f"{_size(node.takes)} → {_size(node.gives)}"))
    if node.in_bits:
        shown.append(("width", f"{node.in_bits} → {node.out_bits} bit"))
    if folded is not None:
        shown += [
            (name, f"{value:,}") for name, value in (("PE", folded.PE), ("SIMD", folded.SIMD)) if value is not None
        ]
    if estimate is not None:
        shown.append(("cycles", f"{estimate.cycles:,}"))
    boxed = best(facts, node.name)
    if boxed is not None:
        shown += [(TITLES[name], f"{count:,}") for name, count in boxed.nodes[node.name].items()]
        shown.append(("counted by", boxed.source.name))
    use = next((u for u in facts.simulated.layers if u.name == node.name), None) if facts.simulated else None
    return Part(
        node.name, "layer", title, op_of(node).called, tuple(shown), use,
        maps=tuple(_map(shape, facts) for shape in (node.takes, node.gives)) if _of_images(node) else (),
        cycles_share=facts.estimates.needed(estimate.cycles) if estimate else 0.0,
        slowest=_is_slowest(facts, node),
    )  # fmt: skip


def _of_images(node: Node) -> bool:
    return len(node.takes) == 3 and node.gives != ()


def _size(shape: Shape) -> str:
    return " x ".join(map(str, shape))


def _map(shape: Shape, facts: Facts) -> Map:
    assert facts.design is not None
    largest = max(1, *(side for node in facts.design.nodes for side in (*node.takes[:-1], *node.gives[:-1])))
    return Map(max(shape[:-1], default=1) / largest, (shape[-1].bit_length() - 1) // 2)


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
        rows.append((part.title if part.kind == "layer" else part.called, part.name, bars))
    end = max((bar.giving[1] for _, _, bars in rows for bar in bars), default=0) + 1
    cycles = [cycle for cycle in MaxNLocator(6, integer=True).tick_values(0, end) if cycle <= end]
    return Timeline(rows, end, [(100 * cycle / end, f"{cycle:,.0f}") for cycle in cycles])


def best(facts: Facts, node: str | None = None) -> Sourced | None:
    """Return the source closest to the part, of those that are about the accelerator alone.

    Args:
        facts: of the run.
        node: one that the source must have a figure for; None: in all.
    """
    alone = (one for one in facts.resources if one.source is not WHOLE or node is not None)
    return next((one for one in alone if node is None or node in one.nodes), None)


@dataclass(frozen=True)
class Meter:
    """One resource: what the design takes, and what the board has."""

    title: str
    used: int
    usable: int  # the budget
    available: int
    source: Source

    @property
    def share(self) -> float:
        """Of the whole part."""
        return self.used / max(1, self.available)


def meters(facts: Facts, of: Sourced | None = None) -> list[Meter]:
    """Return the resources of the whole accelerator; `of` is the source, the closest to the part if not given."""
    of = of or best(facts)
    if of is None:
        return []
    return [
        Meter(TITLES[name], count, facts.board.usable[name], getattr(facts.board, name), of.source)
        for name, count in of.total.items()
    ]


@dataclass(frozen=True)
class ResourceTable:
    """What every node takes, and all together, by every source that is known."""

    columns: list[tuple[str, list[str]]]  # a resource, and the names of the sources that count it
    rows: list[tuple[str, list[list[str]]]]  # a node, or "in all", and per resource what each of these sources says
    notes: list[str]  # what each source is


def resource_table(facts: Facts) -> ResourceTable | None:
    """Return the table of all sources side by side, the farthest from the part first."""
    known = facts.resources[::-1]
    if not known:
        return None
    counted = {name: [one for one in known if name in one.total] for name in TITLES}
    counted = {name: sources for name, sources in counted.items() if sources}
    names = dict.fromkeys([*(part.name for part in parts(facts)), *(name for one in known for name in one.nodes)])
    amounts = [(name, {one.source: one.nodes.get(name, {}) for one in known}) for name in names]
    amounts.append(("in all", {one.source: one.total for one in known}))
    return ResourceTable(
        [(TITLES[name], [one.source.name for one in sources]) for name, sources in counted.items()],
        [
            (name, [[_cell(of[one.source], resource) for one in sources] for resource, sources in counted.items()])
            for name, of in amounts
        ],
        [f"{one.source.name}: {one.source.means}" for one in known],
    )


def _cell(amounts: Amounts, resource: str) -> str:
    return f"{amounts[resource]:,}" if resource in amounts else ""
