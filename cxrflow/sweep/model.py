"""The cost formulas, corrected by what Yosys made of layers: one factor per kind of layer.

The factor is the median of Yosys' LUTs over the formula's. Its error is stated on layers that it was not fitted on: the
layers of each run are predicted with factors from all other runs.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from cxrflow.runs import write_whole
from cxrflow.summary import read

FILE = "cost-model.json"
SMALL = 20  # LUTs: below, an error in percent says nothing
FEWEST = 3  # layers of a kind, below which its formula stays as it is


@dataclass(frozen=True)
class Layer:
    """A layer that was synthesised."""

    run: str
    kind: str
    estimated: float  # LUTs by the formula
    counted: int  # LUTs by Yosys


@dataclass(frozen=True)
class CostModel:
    """Factors by kind of layer, and how far they are off on layers of other runs."""

    factors: dict[str, float]
    error: float | None  # median of |predicted - counted| / counted on held-out layers; None: nothing to hold out
    layers: int

    def lut(self, estimates: Iterable[tuple[str, float]]) -> float:
        """Return the LUTs of layers given as (kind, formula's LUTs)."""
        return sum(self.factors.get(kind, 1.0) * count for kind, count in estimates)

    def sentence(self) -> str:
        """Say how good it is."""
        if self.error is None:
            return f"{self.layers} layers synthesised: too few runs to hold one out, so the error is not known."
        return (
            f"LUTs are {self.error:.1%} off, median over {self.layers} layers that Yosys synthesised, each predicted "
            "from the other runs' layers."
        )


def fit(runs: Path) -> CostModel:
    """Fit on every synthesised build in the folder `runs`, and keep the result in it."""
    layers = list(_synthesised(runs))
    names = sorted({layer.run for layer in layers})
    errors = []
    for name in names if len(names) > 1 else ():
        factors = _factors([layer for layer in layers if layer.run != name])
        errors += [
            abs(factors.get(layer.kind, 1.0) * layer.estimated - layer.counted) / layer.counted
            for layer in layers
            if layer.run == name
        ]
    model = CostModel(_factors(layers), median(errors) if errors else None, len(layers))
    write_whole(runs / FILE, json.dumps(model.__dict__, indent=2) + "\n")
    return model


def load(runs: Path) -> CostModel:
    """Return what `fit` kept, or the bare formulas."""
    found = read(runs / FILE)
    return CostModel({}, None, 0) if found is None else CostModel(**found)


def kind(layer: str) -> str:
    """Return the kind of a layer: its name without the number."""
    return layer.rpartition("_")[0]


def _factors(layers: Sequence[Layer]) -> dict[str, float]:
    ratios = defaultdict(list)
    for layer in layers:
        ratios[layer.kind].append(layer.counted / layer.estimated)
    return {name: median(values) for name, values in ratios.items() if len(values) >= FEWEST}


def _synthesised(runs: Path) -> Iterable[Layer]:
    for path in sorted(runs.glob("*/build/*/synth/synth.json")):
        for layer in (read(path) or {}).get("layers", []):
            estimate = (layer["estimate"] or {}).get("lut", 0)
            if estimate > 0 and layer["lut"] >= SMALL:
                yield Layer(path.parents[3].name, kind(layer["name"]), float(estimate), int(layer["lut"]))
