"""The cost formulas, corrected by what Yosys made of layers: one factor per kind of layer, for LUTs and for FFs.

The factor is the median of Yosys' count over the formula's. Its error is stated on what it was not fitted on: the
layers of each run, and each whole design, are predicted with factors from all other runs. DSPs and BRAMs need none.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import median
from typing import Any

from contract.errors import ConfigError
from contract.files import write_whole
from cxrflow.summary import read

FILE = "cost-model.json"
FITTED = ("lut", "ff")
SMALL = 20  # LUTs: below, an error in percent says nothing
FEWEST = 3  # layers of a kind, below which its formula stays as it is


@dataclass(frozen=True)
class Layer:
    """A layer that was synthesised."""

    run: str
    kind: str
    formula: Mapping[str, int]  # `lut` and `ff`, by the formula
    counted: Mapping[str, int]  # by Yosys


@dataclass(frozen=True)
class CostModel:
    """Factors, and how far they are off on layers and designs of other runs."""

    factors: dict[str, dict[str, float]]  # of `lut` and `ff`, by kind of layer
    layers: int  # that it was fitted on
    error: float | None  # median of |predicted - counted| / counted LUTs on held-out layers; None: nothing to hold out
    design_error: float | None  # the same of whole designs

    def predict(self, layers: Iterable[Mapping[str, Any]]) -> dict[str, int]:
        """Return `lut` and `ff` of layers as estimates.json has them, in all."""
        known = list(layers)
        return {
            name: round(sum(self.factors[name].get(layer["kind"], 1.0) * layer[name] for layer in known))
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
    layers = list(_synthesised(runs))
    errors, designs = [], []
    for name in sorted({layer.run for layer in layers}):
        held, others = [x for x in layers if x.run == name], [x for x in layers if x.run != name]
        if others:
            factors = _factors(others, "lut")
            predicted = [factors.get(layer.kind, 1.0) * layer.formula["lut"] for layer in held]
            counted = [layer.counted["lut"] for layer in held]
            errors += [abs(p - c) / c for p, c in zip(predicted, counted, strict=True) if c >= SMALL]
            designs.append(abs(sum(predicted) - sum(counted)) / sum(counted))
    model = CostModel(
        {name: _factors(layers, name) for name in FITTED},
        len(layers),
        median(errors) if errors else None,
        median(designs) if designs else None,
    )
    write_whole(runs / FILE, json.dumps(asdict(model), indent=2) + "\n")
    return model


def load(runs: Path) -> CostModel:
    """Return what `fit` kept, or the bare formulas where there is nothing, or another version's."""
    found = read(runs / FILE) or {}
    if found.keys() != {field.name for field in fields(CostModel)}:
        return CostModel({name: {} for name in FITTED}, 0, None, None)
    return CostModel(**found)


def formulas(build: Path) -> list[dict[str, Any]]:
    """Return what the formulas say of a build's layers. Raises ConfigError: an older cxrflow made it."""
    found = (read(build / "estimates.json") or {}).get("formulas")
    if found is None:
        raise ConfigError(
            f"{build} was built by another version of cxrflow. Run the same `cxrflow sweep` again: it does what this "
            "version does in another way, and keeps the rest."
        )
    return list(found["layers"])


def _factors(layers: Sequence[Layer], name: str) -> dict[str, float]:
    """Return the factors of `lut` or `ff`, by kind of layer."""
    ratios = defaultdict(list)
    for layer in layers:
        if layer.formula[name] > 0:
            ratios[layer.kind].append(layer.counted[name] / layer.formula[name])
    return {kind: median(values) for kind, values in ratios.items() if len(values) >= FEWEST}


def _synthesised(runs: Path) -> Iterator[Layer]:
    for path in sorted(runs.glob("*/build/*/synth/synth.json")):
        counted = {layer["name"]: layer for layer in (read(path) or {"layers": []})["layers"]}
        for layer in formulas(path.parents[1]):
            if layer["name"] in counted:
                yield Layer(path.parents[3].name, layer["kind"], layer, counted[layer["name"]])
