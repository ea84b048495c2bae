"""What a design takes from the part, by who says so. The one place that knows the sources, their names and their order.

A figure is shown with its source's name, and compared only with figures of the same source: a formula, a count after
synthesis and a count after routing are three different things.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from finn_build.records import Amounts, Estimates, Routed, Synthesis

TITLES = {"lut": "LUT", "ff": "flip-flop", "bram18": "BRAM18", "dsp": "DSP"}  # of the resources, as people read them


@dataclass(frozen=True)
class Source:
    """Who says what a design takes."""

    name: str
    short: str  # for a narrow column
    means: str  # for a note


FORMULAS = Source("our formulas", "ours", "finn_build/ops, before any synthesis")
FINN = Source("FINN's formulas", "FINN", "before any RTL, without FIFOs and width converters; no LUT for units on DSPs")
YOSYS = Source("Yosys", "Yosys", "after synthesis, not after place and route; no two small LUTs packed into one")
VIVADO = Source("Vivado", "Vivado", "after routing, the accelerator alone")
WHOLE = Source("Vivado, whole design", "whole", "after routing, with everything around the accelerator")
SOURCES = (VIVADO, WHOLE, YOSYS, FORMULAS, FINN)  # the closest to the part first


@dataclass(frozen=True)
class Sourced:
    """What one source says of a design."""

    source: Source
    total: Amounts
    nodes: Mapping[str, Amounts]  # by the name of the node


def sourced(
    estimates: Estimates, synthesis: Synthesis | None = None, routed: Routed | None = None
) -> tuple[Sourced, ...]:
    """Return what is known of a design, from the closest to the part to the farthest.

    FINN's own estimate is among them only where there is no other: it counts no LUT for its units on DSPs.
    """
    found = []
    if routed is not None:
        total, source = (routed.accelerator, VIVADO) if routed.accelerator is not None else (routed.used, WHOLE)
        found.append(Sourced(source, total.amounts, {node.name: node.amounts for node in routed.layers}))
    if synthesis is not None:
        nodes = {node.name: node.amounts for node in synthesis.layers}
        found.append(Sourced(YOSYS, synthesis.total.amounts, nodes))
    if estimates.formulas is not None:
        priced = estimates.formulas
        found.append(Sourced(FORMULAS, priced.total.amounts, {node.name: node.amounts for node in priced.layers}))
    else:
        layers = {layer.name: layer.amounts for layer in estimates.layers}
        total_of = {name: sum(layer[name] for layer in layers.values()) for name in ("lut", "bram18", "dsp")}
        found.append(Sourced(FINN, total_of, layers))
    return tuple(found)


def of_source(known: Sequence[Sourced], source: Source) -> Sourced | None:
    """Return what `source` says, if it is among what is known."""
    return next((one for one in known if one.source is source), None)
