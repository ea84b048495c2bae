"""The cost formulas, corrected by what Yosys made of layers: one factor per kind of layer, for LUTs and for FFs.

The factor is the median of Yosys' count over the formula's. Its error is stated on what it was not fitted on: the
layers of each run, and each whole design, are predicted with factors from all other runs. DSPs and BRAMs need none.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Literal

from pydantic import Field

from contract.errors import ArtifactError
from contract.files import write_whole
from contract.record import Count, Number, Positive, Record, Text, read_record
from cxrflow.report.facts import collect, each
from finn_build.records import Amounts, Estimates, PricedNode
from finn_build.resources import YOSYS, of_source

FILE = "cost-model.json"
FITTED: tuple[Literal["lut", "ff"], ...] = ("lut", "ff")
SMALL = 20  # LUTs: below, an error in percent says nothing
FEWEST = 3  # layers of a kind, below which its formula stays as it is


@dataclass(frozen=True)
class Layer:
    """A layer that was synthesised."""

    run: str
    kind: str
    formula: Amounts  # by the formula
    counted: Amounts  # by Yosys


Factors = Annotated[dict[Text, Positive], Field(max_length=100)]


class CostModel(Record):
    """Factors, and how far they are off on layers and designs of other runs."""

    factors: dict[Literal["lut", "ff"], Factors]  # by kind of layer
    layers: Count  # that it was fitted on
    error: Number | None  # median of |predicted - counted| / counted LUTs on held-out layers; None: nothing to hold out
    design_error: Number | None  # the same of whole designs

    def predict(self, layers: Iterable[PricedNode]) -> dict[str, int]:
        """Return `lut` and `ff` of layers in all."""
        known = list(layers)
        return {
            name: round(sum(self.factors.get(name, {}).get(node.kind, 1.0) * node.amounts[name] for node in known))
            for name in FITTED
        }

    def sentence(self) -> str:
        """Say how good it is."""
        if self.error is None or self.design_error is None:
            return f"{self.layers} layers synthesised: too few runs to hold one out, so the error is not known."
        return (
            f"LUTs are {self.error:.1%} off, median over {self.layers} layers that Yosys synthesised, each predicted "
            f"from the other runs' layers; of whole designs, {self.design_error:.1%}."
        )


def fit(runs: Path) -> CostModel:
    """Fit on every synthesised build in the folder `runs`, and keep the result in it."""
    model = fitted(list(_synthesised(runs)))
    write_whole(runs / FILE, model.model_dump_json(indent=2) + "\n")
    return model


def fitted(layers: Sequence[Layer]) -> CostModel:
    """Return the model of layers that Yosys has counted."""
    errors, designs = [], []
    for name in sorted({layer.run for layer in layers}):
        held, others = [x for x in layers if x.run == name], [x for x in layers if x.run != name]
        if others:
            factors = _factors(others, "lut")
            predicted = [factors.get(layer.kind, 1.0) * layer.formula["lut"] for layer in held]
            counted = [layer.counted["lut"] for layer in held]
            errors += [abs(p - c) / c for p, c in zip(predicted, counted, strict=True) if c >= SMALL]
            designs.append(abs(sum(predicted) - sum(counted)) / max(1, sum(counted)))
    return CostModel(
        factors={name: _factors(layers, name) for name in FITTED},
        layers=len(layers),
        error=median(errors) if errors else None,
        design_error=median(designs) if designs else None,
    )


def load(runs: Path) -> CostModel:
    """Return what `fit` kept, or the bare formulas where there is nothing that can be read."""
    try:
        return read_record(runs / FILE, CostModel)
    except ArtifactError:
        return CostModel(factors={}, layers=0, error=None, design_error=None)


def formulas(build: Path) -> list[PricedNode]:
    """Return what the formulas say of a build's nodes. Raises ArtifactError."""
    found = read_record(build / "estimates.json", Estimates).formulas
    if found is None:
        raise ArtifactError(
            f"{build} was built by another version of cxrflow. Run the same `cxrflow sweep` again: it does what this "
            "version does in another way, and keeps the rest."
        )
    return found.layers


def _factors(layers: Sequence[Layer], name: str) -> dict[str, float]:
    """Return the factors of `lut` or `ff`, by kind of layer."""
    ratios = defaultdict(list)
    for layer in layers:
        if layer.formula[name] > 0 and layer.counted[name] > 0:
            ratios[layer.kind].append(layer.counted[name] / layer.formula[name])
    return {kind: median(values) for kind, values in ratios.items() if len(values) >= FEWEST}


def _synthesised(runs: Path) -> Iterator[Layer]:
    """Yield the layers of every synthesised trial; of a damaged one, none: its row says what is wrong."""
    trials = sorted({path.parents[2] for path in runs.glob("*/synth/*/synth.json")})
    found, _ = each(trials, lambda run: collect(run, "build", "synth"))
    for facts in found:
        counted = of_source(facts.resources, YOSYS)
        if counted is None or facts.estimates is None or facts.estimates.formulas is None:
            continue
        for node in facts.estimates.formulas.layers:
            if node.name in counted.nodes:
                yield Layer(facts.name, node.kind, node.amounts, counted.nodes[node.name])
