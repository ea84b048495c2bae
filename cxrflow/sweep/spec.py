"""The sweep file: an experiment, and the fields of it that take several values or are searched over."""

import hashlib
import itertools
import math
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, PositiveFloat, PositiveInt, ValidationError, model_validator

from contract.errors import ConfigError
from contract.fields import Fields
from cxrflow.experiment import REFERENCE, Experiment, PlainName, explain, load_experiment, read_fields, resolved
from cxrflow.overrides import dotted, entry, overrides, parts, place

EXAMPLE = "Compare with experiments/sweep-bits.yaml."
MANY = 10_000  # points that nobody asks for by accident
READABLE = 40  # characters of a run's name that its values may take
Value = bool | int | float | str | tuple[Any, ...] | dict[str, Any] | None  # whatever a field of an experiment may be
Values = Mapping[str, Value]  # dotted field of the experiment -> its value


def _plain_values(listed: Any) -> Any:
    """Refuse what is no list, what YAML has and no experiment, such as a date, and what is there twice."""
    if not isinstance(listed, list | tuple):
        raise ValueError(f"found {reprlib.repr(listed)}, expected a list of values such as [1, 2, 4]")
    for value in listed:
        if not isinstance(value, bool | int | float | str | list | tuple | dict | None):
            raise ValueError(f"found a {type(value).__name__}, expected numbers, texts, lists, fields or nothing")
    known = list(map(repr, listed))
    twice = next((text for text in known if known.count(text) > 1), None)
    if twice is not None:  # two trials in one folder
        raise ValueError(f"{twice[:60]} is there more than once; keep one of them")
    return listed


def _dotted(fields: Any) -> Any:
    """Refuse what is no field of a section: a whole section, or the name, which is the sweep's to give."""
    for field in fields if isinstance(fields, dict) else ():
        if "." not in str(field):
            raise ValueError(f"{reprlib.repr(field)} is no field with its section, such as network.weight_bits")
    return fields


Choices = Annotated[tuple[Value, ...], BeforeValidator(_plain_values)]
Some = Annotated[tuple[Value, ...], Field(min_length=1), BeforeValidator(_plain_values)]
Grid = Annotated[dict[str, Some], Field(min_length=1), BeforeValidator(_dotted)]
Space = Annotated[dict[str, "Domain"], Field(min_length=1), BeforeValidator(_dotted)]


class Domain(Fields):
    """What a field may be in a search: one of `choice`, or a number from `low` to `high`."""

    choice: Choices = Field(default=(), examples=[[[32], [64, 32]]])
    """Values, of which one is taken."""
    low: float | None = Field(default=None, examples=[0.002])
    """The least number. null: it is one of choice."""
    high: float | None = Field(default=None, examples=[0.01])
    """The greatest number. null: it is one of choice."""
    log: bool = False
    """Whether numbers are equally likely per factor rather than per difference."""
    integer: bool = False
    """Whether numbers are whole."""

    @model_validator(mode="after")
    def _is_one_or_the_other(self) -> Self:
        if bool(self.choice) == (self.low is not None) or (self.low is None) != (self.high is None):
            raise ValueError("give either 'choice', a list that is not empty, or 'low' and 'high'")
        if self.low is not None and self.high is not None and (self.low >= self.high or (self.log and self.low <= 0)):
            raise ValueError(f"{self.low:g}..{self.high:g} is no range; give low < high, and above 0 with log")
        if self.integer and any(end is not None and not end.is_integer() for end in (self.low, self.high)):
            raise ValueError(f"{self.low:g}..{self.high:g} ends at no whole number, expected two with 'integer'")
        return self

    @property
    def ends(self) -> tuple[Value, ...]:
        """All choices, or the least and the greatest number."""
        numbers = (self.low, self.high)
        return self.choice or tuple(int(v or 0) if self.integer else v for v in numbers)


class Search(Fields):
    """Optuna proposes points: higher validation AUC, fewer LUT-equivalents, more images/s."""

    trials: int = Field(ge=1, le=MANY, examples=[60])
    """How many points are tried."""
    space: Space = Field(examples=[{"train.lr": {"low": 0.002, "high": 0.01, "log": True}}])
    """What each field may be: fields of the experiment with their section, as network.weight_bits."""
    stop_hopeless: bool = True
    """Whether ASHA ends trials whose validation AUC is behind the others'."""
    seed: int = Field(default=0, ge=0, lt=2**32, examples=[1])
    """Of the proposals."""


class Limits(Fields):
    """What a design may take at most to be on the front."""

    lut: PositiveInt | None = Field(default=None, examples=[20000])
    """LUTs, by Yosys where it ran, else by the cost model. null: no limit, here and below."""
    bram18: Annotated[int, Field(ge=0)] | None = Field(default=None, examples=[40])
    """Block RAMs of 18 kbit; one of 36 kbit is two."""
    dsp: Annotated[int, Field(ge=0)] | None = Field(default=None, examples=[0])
    """DSP blocks."""
    latency_us: PositiveFloat | None = Field(default=None, examples=[20.0])
    """Bound of the first logit after the first pixel [us]."""


class Sweep(Fields):
    """Many runs of one experiment."""

    name: PlainName
    """Of the sweep, and of its folder."""
    experiment: Path = Field(examples=["w8a8.yaml"])
    """File of the experiment that every run is like, but for the fields below; beside this file."""
    grid: Grid | None = Field(default=None, examples=[{"network.weight_bits": [1, 8, [8, 4, 4]]}])
    """Every value of each field with every other. null: see search; one of the two is given."""
    search: Search | None = None
    """Points that Optuna proposes. null: see grid."""
    seeds: int = Field(default=1, ge=1, le=100, examples=[3])
    """Runs per point of a grid, each with its own training and validation split."""
    limits: Limits = Limits()
    """What the front may take."""

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
        """Yield the grid's points, all seeds of one after the other; of a search, every choice with every other."""
        space = {} if self.search is None else {field: domain.ends for field, domain in self.search.space.items()}
        for values in itertools.product(*(self.grid or space).values()):
            for seed in range(self.seeds):
                yield Point(tuple(zip(self.fields, values, strict=True)), seed)

    def beside(self, folder: Path) -> "Sweep":
        """Return the sweep with its values' relative paths as they are meant beside its file: workers are elsewhere."""

        def meant(field: str, values: tuple[Value, ...]) -> tuple[Value, ...]:
            return tuple(resolved(field, value, folder) for value in values)

        if self.search is None:
            return self.model_copy(update={"grid": {name: meant(name, v) for name, v in (self.grid or {}).items()}})
        space = {
            field: domain.model_copy(update={"choice": meant(field, domain.choice)})
            for field, domain in self.search.space.items()
        }
        return self.model_copy(update={"search": self.search.model_copy(update={"space": space})})


@dataclass(frozen=True)
class Point:
    """One trial: what its experiment has in place of the sweep's."""

    values: tuple[tuple[str, Value], ...]
    seed: int = 0

    @property
    def name(self) -> str:
        """Of the run: readable where that is short, unique always."""
        names = [field.rpartition(".")[2].replace("[", "").replace("]", "") for field, _ in self.values]
        words = "_".join(f"{name}-{plain(value)}" for name, (_, value) in zip(names, self.values, strict=True))
        digest = hashlib.sha256(repr(self.values).encode()).hexdigest()[:8]
        return f"{words[:READABLE]}_{digest}"

    def experiment(self, base: Experiment, runs: Path | None = None) -> Experiment:
        """Return the trial's experiment; the runs that it names lie in `runs`, beside the sweep and not in it.

        Raises:
            ConfigError: a value is not allowed.
        """
        content = base.model_dump(mode="json")
        content["network"].pop("outputs", None)  # as many as the classes need, which may be among the values
        for field, value in self.values:
            path = parts(field)
            section: Any = content
            for name in path[:-1]:
                section = entry(section, name)
                if not isinstance(section, dict | list):
                    raise ConfigError(
                        f"'{field}' is not a field of the experiment: it has no section '{name}'. {REFERENCE} has "
                        "them all."
                    )
            if isinstance(section, dict):
                section[str(path[-1])] = value
            else:
                place(section, path, value, by="the sweep")
        content["name"] = self.name
        try:
            experiment = Experiment.model_validate(content)
            if runs is not None:
                experiment = experiment.with_runs_of(runs, self.seed)
            experiment = experiment.seeded(self.seed)
        except ValidationError as err:
            raise ConfigError(f"the point {self}: {explain(err, Experiment)}") from err
        if not experiment.network.is_quantized:
            raise ConfigError(
                f"the point {self}: a float layer cannot become hardware, and a sweep builds every point. Give "
                "widths of 1 to 8 bits, or train the float network alone with `cxrflow train`."
            )
        return experiment

    def __str__(self) -> str:
        """Return the fields and their values as a sentence has them."""
        return ", ".join(f"{field} {plain(value)}" for field, value in self.values)


def plain(value: object) -> str:
    """Return a value of a field as one word."""
    if isinstance(value, tuple | list):
        return "x".join(map(plain, value))
    if isinstance(value, dict):
        return "x".join(f"{name}-{plain(inner)}" for name, inner in value.items())
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return "".join(c if c.isalnum() or c in ".-" else "-" for c in text)


def load_sweep(
    path: Path, *, data: Path | None = None, yes: bool = False, fields: Sequence[str] = ()
) -> tuple[Sweep, Experiment]:
    """Read a sweep file and its experiment, and check every point: of a search, every choice with every other.

    Args:
        path: the YAML file.
        data: replaces the experiment's data source.
        yes: allows a grid of more than MANY points.
        fields: KEY=VALUE, each of which replaces a field of the experiment that does not vary.

    Raises:
        ConfigError: a field is unknown, wrong, or set and varies, the grid is empty or huge, or a point is not allowed.
    """
    sweep = parse_sweep(path).beside(path.parent)
    beside = path.parent / sweep.experiment
    for changed, _ in overrides(fields, Experiment):
        name = dotted(changed)
        if any(f"{one}.".startswith(f"{name}.") or f"{name}.".startswith(f"{one}.") for one in sweep.fields):
            raise ConfigError(f"--set names '{name}', which varies in {path}. Change it there.")
    base = load_experiment(beside if beside.exists() else sweep.experiment, data=data, fields=fields)
    if base.model is not None:
        raise ConfigError(
            f"{path} is about {sweep.experiment}, an imported network, which is not trained here and so cannot vary. "
            "Give the experiment of a training."
        )
    if sweep.size > MANY and not yes:
        raise ConfigError(f"{path} asks for {sweep.size:,} runs, expected at most {MANY:,}. Give --yes if it is meant.")
    for point in checked(sweep):
        point.experiment(base)
    return sweep, base


def checked(sweep: Sweep) -> Iterator[Point]:
    """Yield the points that are checked before anything runs: all, or of more than MANY the first, and every value."""
    return itertools.chain(_each_value(sweep), itertools.islice(sweep.points(), MANY))


def parse_sweep(path: Path) -> Sweep:
    """Read a sweep file. Raises ConfigError: a field is unknown or wrong."""
    try:
        return Sweep.model_validate(read_fields(path, EXAMPLE))
    except ValidationError as err:
        raise ConfigError(f"{path}: {explain(err, Sweep, example=EXAMPLE)}") from err


def _each_value(sweep: Sweep) -> Iterator[Point]:
    """Yield points of a search that have each field's every choice, or its ends, once."""
    space = {} if sweep.search is None else sweep.search.space
    ends = {field: domain.ends for field, domain in space.items()}
    first: dict[str, Value] = {field: values[0] for field, values in ends.items()}
    for field, values in ends.items():
        for value in values:
            yield Point(tuple({**first, field: value}.items()))
