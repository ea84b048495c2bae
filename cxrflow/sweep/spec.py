"""The sweep file: an experiment, and the fields of it that take several values or are searched over."""

import hashlib
import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, PositiveFloat, PositiveInt, ValidationError, model_validator

from contract.errors import ConfigError
from contract.fields import Fields
from cxrflow.experiment import Experiment, PlainName, explain, load_experiment, read_fields

EXAMPLE = "Compare with experiments/sweep-bits.yaml."
MANY = 10_000  # points that nobody asks for by accident
READABLE = 40  # characters of a run's name that its values may take
Value = bool | int | float | str | tuple[Any, ...] | None
Values = Mapping[str, Value]  # dotted field of the experiment -> its value


class Domain(Fields):
    """What a field may be in a search: one of `choice`, or a number from `low` to `high`."""

    choice: tuple[Value, ...] = ()
    low: float | None = None
    high: float | None = None
    log: bool = False  # equally likely per factor rather than per difference
    integer: bool = False  # whole numbers only

    @model_validator(mode="after")
    def _is_one_or_the_other(self) -> Self:
        if bool(self.choice) == (self.low is not None) or (self.low is None) != (self.high is None):
            raise ValueError("give either 'choice', a list that is not empty, or 'low' and 'high'")
        if self.low is not None and self.high is not None and (self.low >= self.high or (self.log and self.low <= 0)):
            raise ValueError(f"{self.low:g}..{self.high:g} is no range; give low < high, and above 0 with log")
        return self

    @property
    def ends(self) -> tuple[Value, ...]:
        """All choices, or the least and the greatest number."""
        numbers = (self.low, self.high)
        return self.choice or tuple(int(v or 0) if self.integer else v for v in numbers)


class Search(Fields):
    """Optuna proposes points: higher validation AUC, fewer LUT-equivalents, more images/s."""

    trials: Annotated[int, Field(ge=1, le=MANY)]
    space: Annotated[dict[str, Domain], Field(min_length=1)]
    stop_hopeless: bool = True  # ASHA ends trials whose validation AUC is behind the others'
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0  # of the proposals


class Limits(Fields):
    """What a design may take at most to be on the front."""

    lut: PositiveInt | None = None
    bram18: Annotated[int, Field(ge=0)] | None = None
    dsp: Annotated[int, Field(ge=0)] | None = None
    latency_us: PositiveFloat | None = None


class Sweep(Fields):
    """Many runs of one experiment."""

    name: PlainName  # also the folder's name
    experiment: Path  # what every run is like but for the fields below
    grid: Annotated[dict[str, Annotated[tuple[Value, ...], Field(min_length=1)]], Field(min_length=1)] | None = None
    search: Search | None = None
    seeds: Annotated[int, Field(ge=1, le=100)] = 1  # runs per point, each with its own training and validation split
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _grid_or_search(self) -> Self:
        if (self.grid is None) == (self.search is None):
            raise ValueError("set exactly one of 'grid' and 'search'")
        if self.search is not None and self.seeds != 1:
            raise ValueError("'seeds' is for a grid; a search proposes each point once")
        return self

    @property
    def fields(self) -> tuple[str, ...]:
        """The experiment's fields that vary, dotted."""
        return tuple(self.grid if self.grid is not None else self.search.space if self.search is not None else ())

    @property
    def size(self) -> int:
        """How many trials it asks for."""
        if self.search is not None:
            return self.search.trials
        return self.seeds * math.prod(len(values) for values in (self.grid or {}).values())

    def points(self) -> "Iterator[Point]":
        """Yield the grid's points, all seeds of one after the other."""
        for values in itertools.product(*(self.grid or {}).values()):
            for seed in range(self.seeds):
                yield Point(tuple(zip(self.fields, values, strict=True)), seed)


@dataclass(frozen=True)
class Point:
    """One trial: what its experiment has in place of the sweep's."""

    values: tuple[tuple[str, Value], ...]
    seed: int = 0

    @property
    def name(self) -> str:
        """Of the run: readable where that is short, unique always."""
        words = "_".join(f"{field.rpartition('.')[2]}-{_plain(value)}" for field, value in self.values)
        digest = hashlib.sha256(repr(self.values).encode()).hexdigest()[:8]
        return f"{words[:READABLE]}_{digest}"

    def experiment(self, base: Experiment) -> Experiment:
        """Return the trial's experiment. Raises ConfigError, in a sentence, where a value is not allowed."""
        content = base.model_dump(mode="json")
        for field, value in self.values:
            *sections, last = field.split(".")
            section = content
            for name in sections:
                inner = section.get(name)
                if not isinstance(inner, dict):
                    raise ConfigError(
                        f"'{field}' is not a field of the experiment: it has no section '{name}'. {EXAMPLE}"
                    )
                section = inner
            section[last] = value
        content["name"] = self.name
        try:
            return Experiment.model_validate(content).seeded(self.seed)
        except ValidationError as err:
            shown = ", ".join(f"{field} {_plain(value)}" for field, value in self.values)
            raise ConfigError(f"the point {shown}: {explain(err, Experiment)}") from err


def _plain(value: Value) -> str:
    if isinstance(value, tuple | list):
        return "x".join(map(_plain, value))
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return "".join(c if c.isalnum() or c in ".-" else "-" for c in text)


def load_sweep(path: Path, *, data: Path | None = None, yes: bool = False) -> tuple[Sweep, Experiment]:
    """Read a sweep file and its experiment, and check every point of a grid.

    Args:
        path: the YAML file.
        data: replaces the experiment's data source.
        yes: allows a grid of more than MANY points.

    Raises:
        ConfigError: a field is unknown or wrong, the grid is empty or huge, or a point is not allowed.
    """
    sweep = parse_sweep(path)
    beside = path.parent / sweep.experiment
    base = load_experiment(beside if beside.exists() else sweep.experiment, data=data)
    if sweep.size > MANY and not yes:
        raise ConfigError(f"{path} asks for {sweep.size:,} runs, expected at most {MANY:,}. Give --yes if it is meant.")
    for point in itertools.islice(sweep.points(), MANY) if sweep.grid is not None else _corners(sweep):
        point.experiment(base)
    return sweep, base


def parse_sweep(path: Path) -> Sweep:
    """Read a sweep file. Raises ConfigError: a field is unknown or wrong."""
    try:
        return Sweep.model_validate(read_fields(path, EXAMPLE))
    except ValidationError as err:
        raise ConfigError(f"{path}: {explain(err, Sweep, example=EXAMPLE)}") from err


def _corners(sweep: Sweep) -> Iterator[Point]:
    """Yield points of a search that have each field's every choice, or its ends, once."""
    assert sweep.search is not None
    ends = {field: domain.ends for field, domain in sweep.search.space.items()}
    first: dict[str, Value] = {field: values[0] for field, values in ends.items()}
    for field, values in ends.items():
        for value in values:
            yield Point(tuple({**first, field: value}.items()))
