"""The experiment file: one YAML file that says everything that can change a result."""

import copy
import difflib
import functools
import os
import re
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import YAMLError

from contract.errors import ConfigError
from contract.fields import Fields
from contract.files import bounded_text, write_whole
from contract.quantizer import MAX_SCALE, MIN_SCALE
from contract.table import join_names
from contract.values import VALUES
from contract.yaml_text import parsed, written
from cxrflow.overrides import apply, overrides
from export.config import ExportConfig
from finn_build.config import BuildConfig
from qnn.spec import MAX_CLASSES, NetworkSpec, TrainConfig

if TYPE_CHECKING:
    from datasets.labels import LabelRules

MAX_FILE_BYTES = 1 << 16  # an experiment is a page of text, and pure Python reads 50 kB/s
MAX_CLASS_NAME = 60  # letters
# Fields of `data` that LabelRules has, too.
READ_BY_SOURCES = ("label", "label_table", "positive", "negative", "uncertain", "blank", "classes", "colour")
EXAMPLE = "Compare with experiments/w8a8.yaml."
REFERENCE = "docs/experiment-file.md"
ROOTS = {"Experiment": "the-experiment-file", "Sweep": "the-sweep-file"}  # class of a file -> its part of the reference


PLAIN_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"


def _plain_name(name: str) -> str:
    if not re.fullmatch(PLAIN_NAME, name):
        raise ValueError(f"'{name}' is no plain name; use up to 64 letters, digits, '.', '_' and '-'")
    return name


PlainName = Annotated[  # of a run, and so of a folder
    str, AfterValidator(_plain_name), Field(json_schema_extra={"pattern": f"^{PLAIN_NAME}$"}, examples=["w4a4-small"])
]


class DataConfig(Fields):
    """Where the X-rays come from and how training images are split."""

    source: Literal["phantom"] | Path = Field(default="phantom", examples=["path/to/chest_xray"])
    """The synthetic set, or a folder, zip, npz or table; docs/data.md has them."""
    label: str | None = Field(default=None, examples=["Pneumonia"])
    """Column of a table that holds the label or the finding. null: one of the usual names."""
    label_table: Path | None = Field(default=None, examples=["labels.csv"])
    """A second table, which holds the labels. null: the source's own."""
    positive: str | None = Field(default=None, examples=["PNEUMONIA"])
    """The class that is pneumonia. null: the names say so."""
    negative: str | None = Field(default=None, examples=["NORMAL", "*"])
    """The class that is normal; "*" for all but the positive one. null: the other one of two."""
    uncertain: Literal["refuse", "drop", "negative", "positive"] = "refuse"
    """What an uncertain label counts as."""
    blank: Literal["refuse", "drop", "negative", "positive"] = "refuse"
    """What an image without a label counts as."""
    classes: tuple[str, ...] | None = Field(
        default=None,
        json_schema_extra={"minItems": 2, "maxItems": MAX_CLASSES},
        examples=[["NORMAL", "BACTERIA", "VIRUS"]],
    )
    """Names of K classes, in the order of their numbers. null: two, normal and pneumonia."""
    colour: Literal["refuse", "gray"] = "refuse"
    """What the colour images of a MedMNIST set become. JPEG, PNG, TIFF and BMP files in colour become gray, DICOM is
    refused, without being asked."""
    val_fraction: float = Field(default=0.125, gt=0, lt=0.5, examples=[0.2])
    """How much of the training images validates [share], by whole patients."""
    seed: int = Field(default=0, ge=0, lt=2**32, examples=[1])
    """Of the split, and of the phantoms."""
    strict: bool = False
    """Whether an unreadable image is an error instead of being skipped."""

    @field_validator("classes", mode="before")
    @classmethod
    def _check_classes(cls, value: Any) -> tuple[str, ...] | None:
        if value is None:
            return None
        from datasets.labels import plain  # here, so that `cxrflow --help` stays quick

        names = _listed_names(value)
        if not isinstance(names, list | tuple) or not 2 <= len(names) <= MAX_CLASSES:
            raise ValueError(
                f"classes is {_shortened(value)}, expected a list of 2 to {MAX_CLASSES} names such as "
                "[NORMAL, BACTERIA, VIRUS]"
            )
        strange = [name for name in names if isinstance(name, bool) or not isinstance(name, str | int)]
        if strange:  # None, which is YAML's null, is one of them
            raise ValueError(f"classes has {_shortened(strange[0])}, expected names; put it in quotes")
        texts = tuple(str(name).strip() for name in names)
        for name in texts:
            if not name.isprintable() or not 1 <= len(name) <= MAX_CLASS_NAME or plain(name) in ("images", "patients"):
                raise ValueError(
                    f"classes has the name {_shortened(name)}, expected 1 to {MAX_CLASS_NAME} letters that can be "
                    "printed, and not 'images' or 'patients', which are counted beside the classes"
                )
        known = [plain(name) for name in texts]
        twice = next((name for name, one in zip(texts, known, strict=True) if known.count(one) > 1), None)
        if twice is not None:
            raise ValueError(f"classes has {twice!r} more than once, expected different names")
        return texts

    @model_validator(mode="after")
    def _named_or_found(self) -> Self:
        if self.classes is None:
            return self
        if self.positive is not None or self.negative is not None:
            raise ValueError("'classes' names the classes, so 'positive' and 'negative' say nothing: leave them out")
        for name in ("uncertain", "blank"):
            if getattr(self, name) in ("negative", "positive"):
                raise ValueError(f"'{name}' is {getattr(self, name)}, but with 'classes' it can only be refuse or drop")
        return self

    @model_validator(mode="after")
    def _phantoms_are_not_read(self) -> Self:
        for name in READ_BY_SOURCES if self.source == "phantom" else ():
            if name != "classes" and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(
                    f"'{name}' says how X-rays are read, and 'source' is phantom, which is drawn: leave it out, or "
                    "give X-rays"
                )
        return self

    @property
    def files(self) -> list[Path]:
        """What is read: files, and folders."""
        return [path for path in (self.source, self.label_table) if isinstance(path, Path)]

    def named(self, output: Path) -> Iterable[Path]:
        """Yield the images elsewhere that a table names, if `output` is there and could be one of them."""
        from datasets.source import named_files

        return named_files(self.source, self.label_rules) if os.path.lexists(output) else ()

    @property
    def label_rules(self) -> "LabelRules":
        """How the labels are read."""
        from datasets.labels import LabelRules  # here, so that `cxrflow --help` stays quick

        return LabelRules(**{name: getattr(self, name) for name in READ_BY_SOURCES})


class ModelConfig(Fields):
    """A network that somebody made elsewhere: the file takes the place of data, training and export."""

    model_config = ConfigDict(protected_namespaces=())
    file: Path = Field(examples=["network.onnx"])
    """ONNX file of a quantized network."""
    input: Literal[tuple(["float", *VALUES])] | None = None  # type: ignore[valid-type]
    """What is fed. null: the file says."""
    input_scale: float = Field(default=1.0, ge=MIN_SCALE, le=MAX_SCALE, examples=[0.00392156862745098])
    """What is fed times this is what the file reads."""
    samples: Path | None = Field(default=None, examples=["samples.npz"])
    """.npz with an array x of inputs, on which every later stage is compared, too. null: made-up ones alone."""
    labels: Path | None = Field(default=None, examples=["labels.npz"])
    """.npz with an array y: the class of each sample. null: not known."""


class Experiment(Fields):
    """One run, from X-rays or somebody's network to hardware."""

    name: PlainName
    """Of the run, and of its folder."""
    data: DataConfig = DataConfig()
    """Where the X-rays come from."""
    network: NetworkSpec = NetworkSpec()
    """Sizes and widths."""
    train: TrainConfig = TrainConfig()
    """How it is trained."""
    model: ModelConfig | None = None
    """A network that somebody made elsewhere. null: it is trained here."""
    export: ExportConfig = ExportConfig()
    """How it becomes integers."""
    build: BuildConfig
    """What hardware is made of it."""

    @model_validator(mode="after")
    def _others_stay_as_they_are(self) -> Self:
        if self.model is not None and self.export != ExportConfig():
            raise ValueError("'export' changes a network, and an imported one is never changed; leave 'export' out")
        return self

    @model_validator(mode="before")
    @classmethod
    def _one_logit_per_class(cls, raw: Any) -> Any:
        """Give the network as many logits as 'data.classes' needs; the file may say the same, and nothing else."""
        data, network = (raw.get(name) or {} for name in ("data", "network")) if isinstance(raw, dict) else ({}, {})
        if not isinstance(data, dict) or not isinstance(network, dict):
            return raw  # refused below, by name
        classes = data.get("classes")
        names = _listed_names(classes)
        needed = len(names) if isinstance(names, list | tuple) and len(names) > 2 else 1
        if "outputs" not in network and needed > 1:
            return {**raw, "network": {**network, "outputs": needed}}
        if (found := network.get("outputs", 1)) != needed:
            said = "names no classes" if classes is None else f"names {len(names or ())} classes"
            raise ValueError(
                f"'network.outputs' is {_shortened(found)}, but 'data.classes' {said}, which needs {needed}; leave "
                "'network.outputs' out, or list the classes"
            )
        return raw

    @model_validator(mode="before")
    @classmethod
    def _one_class_as_listed(cls, raw: Any) -> Any:
        """Spell 'train.one_class' as 'data.classes' does: names are read without regard to case."""
        data, train = (raw.get(name) for name in ("data", "train")) if isinstance(raw, dict) else (None, None)
        if not isinstance(data, dict) or not isinstance(train, dict) or not isinstance(train.get("one_class"), str):
            return raw
        from datasets.labels import plain  # here, so that `cxrflow --help` stays quick

        names = _listed_names(data.get("classes"))
        one = plain(train["one_class"])
        listed = [name for name in names if isinstance(name, str)] if isinstance(names, list | tuple) else []
        same = next((name.strip() for name in listed if plain(name) == one), train["one_class"])
        return {**raw, "train": {**train, "one_class": same}}

    @model_validator(mode="after")
    def _training_knows_the_classes(self) -> Self:
        from datasets.xray import CLASS_NAMES  # here, so that `cxrflow --help` stays quick

        classes = self.data.classes or CLASS_NAMES
        if self.model is None and (conflict := self.train.conflict(self.network.outputs, classes)) is not None:
            raise ValueError(conflict)
        return self

    @property
    def files(self) -> list[Path]:
        """What is read: files, and folders."""
        model = () if self.model is None else (self.model.file, self.model.samples, self.model.labels)
        return [*self.data.files, *(path for path in (*model, self.build.folding) if path is not None)]

    def sections(self, *names: str) -> dict[str, Any]:
        """Return some sections, without what decides no result."""
        content = self.model_dump(mode="json", exclude={"data": {"strict"}})
        # A field that was added later and is left alone must not make older runs another experiment's.
        for name in ("label", "label_table", "negative", "uncertain", "blank", "classes", "colour"):
            if content["data"][name] == DataConfig.model_fields[name].default:
                del content["data"][name]
        if self.model is None:
            del content["model"]
        else:  # what the import is measured on: the stages behind it read its files, and the import hashes these
            content["model"] |= {"samples": None, "labels": None}
        if self.build.stream_bits is None:
            del content["build"]["stream_bits"]
        if self.export == ExportConfig():
            del content["export"]
        return {name: content[name] for name in names if name in content}

    def seeded(self, number: int) -> "Experiment":
        """Return the `number`-th of several like this one, with seeds of its own for training and validation split.

        Runs that it builds on by name are those of the same number.
        """
        suffix = f"-seed{number}"
        content = self.model_dump(mode="json")
        train = content["train"]
        content["name"] += suffix
        content["data"]["seed"] += number
        train["seed"] += number
        for section, field in _named_runs(train):
            section[field] += suffix
        try:
            return Experiment.model_validate(content)
        except ValidationError as err:
            raise ConfigError(f"with --seeds, {explain(err, Experiment)}") from err

    def with_runs_of(self, runs: Path, number: int | None = None) -> "Experiment":
        """Return it with the runs that it names as their folders in `runs`, for a run that lies elsewhere.

        Args:
            runs: folder of run folders.
            number: of a seed, whose run comes before the one of the bare name.
        """
        content = self.model_dump(mode="json")
        for section, field in _named_runs(content["train"]):
            folder = runs / section[field]
            seeded = folder.with_name(f"{folder.name}-seed{number}")
            section[field] = str((seeded if number is not None and (seeded.exists() or number) else folder).resolve())
        return Experiment.model_validate(content)


def load_experiment(
    path: Path,
    *,
    data: Path | None = None,
    strict: bool = False,
    name: str | None = None,
    board: str | None = None,
    clock_mhz: float | None = None,
    fields: Sequence[str] = (),
) -> Experiment:
    """Read an experiment file.

    Args:
        path: the YAML file.
        data: replaces the file's data source.
        strict: makes an unreadable image an error, whatever the file says.
        name: replaces the file's name of the run.
        board: replaces the file's board.
        clock_mhz: replaces the file's clock period.
        fields: KEY=VALUE, each of which replaces a field; see `cxrflow/overrides.py`.

    Raises:
        ConfigError: the file is missing, is not YAML, or a field is wrong; names the field and the nearest valid one.
    """
    raw = read_fields(path)
    given = {
        "--data": None if data is None else f"data.source={data}",
        "--strict": "data.strict=true" if strict else None,
        "--name": None if name is None else f"name={name}",
        "--board": None if board is None else f"build.board={board}",
        "--clock-mhz": None if clock_mhz is None else f"build.clk_ns={1e3 / clock_mhz!r}",
    }
    options = {option: field for option, field in given.items() if field is not None}
    apply(raw, overrides(fields, Experiment, options=options))
    try:
        _resolve_paths(raw, path.parent)
        return Experiment.model_validate(raw)
    except ValidationError as err:
        raise ConfigError(f"{path}: {explain(err, Experiment)}") from err
    except (OSError, ValueError, RuntimeError) as err:  # too long, a NUL, the home folder of nobody
        raise ConfigError(
            f"{path}: 'data.source', 'build.folding' or another field is no usable path ({_one_line(err)})."
        ) from err


def require_classes(trained: Path, fields: Sequence[str]) -> None:
    """Stop where KEY=VALUE give a run's images other classes than it was trained for, before another field is blamed.

    Raises:
        ConfigError: they do, or a field is wrong.
    """
    given, run = dict(overrides(fields, Experiment)), load_experiment(trained)
    if ("data", "classes") not in given or run.model is not None:
        return
    from datasets.xray import CLASS_NAMES

    try:
        classes = DataConfig(classes=given["data", "classes"]).classes or CLASS_NAMES
    except ValidationError:
        return  # loading the run with these fields says so
    if not same_classes(classes, of_run := run.data.classes or CLASS_NAMES):
        raise ConfigError(other_classes("the source", classes, run.name, of_run))


def same_classes(one: Sequence[str], other: Sequence[str]) -> bool:
    """Return whether two lists name the same classes in one order, without regard to case."""
    from datasets.labels import plain

    return list(map(plain, one)) == list(map(plain, other))


def other_classes(source: str, classes: Sequence[str], run: str, trained: Sequence[str]) -> str:
    """Say that images are of other classes than a run was trained for."""
    return (
        f"{source} is read in the classes {join_names(classes)[:200]}, but {run} was trained for "
        f"{join_names(trained)[:200]}. Give 'data.classes' these, in this order, and call the labels so in the source, "
        "too."
    )


def imported_experiment(
    name: str, model: Mapping[str, object], build: Mapping[str, object], *, fields: Sequence[str] = ()
) -> Experiment:
    """Return the experiment of a network that somebody made elsewhere, from the fields of two sections.

    `fields`, KEY=VALUE, change others; one without a dot is of `build`.

    Raises:
        ConfigError: a field is wrong.
    """
    raw: dict[str, Any] = {"name": name, "model": {k: str(v) if isinstance(v, Path) else v for k, v in model.items()}}
    raw["build"] = dict(build)
    apply(raw, overrides(fields, Experiment, inside="build"))
    try:
        _resolve_paths(raw, Path())
        return Experiment.model_validate(raw)
    except ValidationError as err:
        raise ConfigError(f"import: {explain(err, Experiment, example='See docs/import.md.')}") from err
    except (OSError, ValueError, RuntimeError) as err:  # as above
        raise ConfigError(f"import: a file's name is no usable path ({_one_line(err)}).") from err


def data_of(source: Path, *, strict: bool = False, fields: Sequence[str] = ()) -> DataConfig:
    """Return the data section of an experiment that has nothing else. Arguments and errors as in `load_experiment`."""
    raw: dict[str, Any] = {}
    options = {"--data": f"data.source={source}", **({"--strict": "data.strict=true"} if strict else {})}
    changes = overrides(fields, Experiment, options=options)
    if foreign := next((path for path, _ in changes if path[0] != "data"), None):
        raise ConfigError(
            f"--set names '{'.'.join(map(str, foreign))}', but without an experiment file there are fields of 'data' "
            "only. Give the file, too."
        )
    apply(raw, changes)
    try:
        _resolve_paths(raw, Path())
        return DataConfig.model_validate(raw["data"])
    except ValidationError as err:
        raise ConfigError(f"--set: {explain(err, DataConfig, example='See docs/data.md.')}") from err
    except (OSError, ValueError, RuntimeError) as err:  # as above
        raise ConfigError(f"--data is no usable path ({_one_line(err)}). Give a folder, zip, .npz or table.") from err


def read_fields(path: Path, example: str = EXAMPLE) -> dict[str, Any]:
    """Return the fields of a YAML file, not yet checked. `example` says what to compare with."""
    if not path.is_file():
        found = "is not a file" if path.exists() else "is not there"
        raise ConfigError(f"{path} {found}, expected a file of YAML. {example}")
    try:
        fields = parsed(bounded_text(path, MAX_FILE_BYTES))
    except DuplicateKeyError as err:  # whose own text advises to allow it
        where = f"line {err.problem_mark.line + 1}: {_one_line(err.problem)[:100]}"
        raise ConfigError(f"{path}, {where}; keep one of them. {example}") from err
    except (OSError, YAMLError, RecursionError, ValueError, TypeError, AttributeError) as err:
        # The library's constructors raise the last three for values such as an impossible date.
        raise ConfigError(f"{path} is not readable YAML: {_one_line(err)}. {example}") from err
    if not isinstance(fields, dict):
        found = "nothing" if fields is None else f"a {type(fields).__name__}"
        raise ConfigError(f"{path} holds {found}, expected fields such as 'name' and 'network'. {example}")
    return fields


def _one_line(err: Exception | str) -> str:
    return " ".join(str(err).split()).rstrip(".")[:300] or type(err).__name__


def save_experiment(path: Path, experiment: Experiment) -> None:
    """Write every field, defaults included; reading it back gives the same experiment.

    Of an imported network, what belongs to X-rays and training is left out.
    """
    foreign = {"data", "network", "train", "export"} if experiment.model is not None else {"model"}
    write_whole(path, written(experiment.model_dump(mode="json", exclude=foreign)))


def explain(err: ValidationError, model: type[BaseModel], *, example: str = EXAMPLE) -> str:
    """Say of one thing that is wrong what was found, what was expected and what to do."""
    # A misspelled field comes first: it is also why another one seems to be missing. Where a number or fields may
    # stand, fields are told what is wrong with them, not that they are no number.
    first = min(
        err.errors(),
        key=lambda error: (
            error["type"] != "extra_forbidden",
            error["type"] == "int_type" and isinstance(error["input"], dict),
        ),
    )
    location, section, heading = _known_location(model, [str(part) for part in first["loc"]])
    plain = (all(map(str.isidentifier, part.split("."))) and len(part) <= 60 for part in location)
    known = (part if is_plain else _shortened(part) for part, is_plain in zip(location, plain, strict=True))
    where = ".".join(known) or "the file"
    reference = f"{REFERENCE}{_anchor(model, heading)}"
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(location[-1], section.model_fields, n=1, cutoff=0.5)
        advice = f"did you mean '{near[0]}'?" if near else f"valid here are {', '.join(section.model_fields)}."
        return f"'{where}' is not a known field; {advice} {reference} has them all."
    if first["type"] == "missing":
        return f"'{where}' is missing. {example}"
    if first["type"] == "value_error":
        said = f"{str(first['ctx']['error']).rstrip('.')}."
        if not location:  # of several fields, which the sentence names
            return said
        of_one = model.__name__ in ROOTS and len(heading) < len(location)
        return f"'{where}': {said}" + (f" {reference} has every field." if of_one else "")
    if first["type"] == "model_type":
        expected = f"expected fields such as {', '.join(list(section.model_fields)[:3])}"
    elif first["type"] == "too_short":
        expected = f"expected at least {first['ctx']['min_length']} in it"
    else:
        expected = (
            first["msg"].replace("Input should be", "expected").replace("String should have", "expected a text of")
        )
    advice = example if model.__name__ not in ROOTS else f"{reference} has every field."
    return f"'{where}' is {_shortened(first['input'])}, {expected}. {advice}"


def refusal(raw: Mapping[str, Any]) -> str | None:
    """Return what is said of an experiment's fields that are refused; None of those that are not."""
    try:
        Experiment.model_validate(raw)
    except ValidationError as err:
        return explain(err, Experiment)
    return None


def _anchor(model: type[BaseModel], sections: Sequence[str]) -> str:
    """Return the part of the reference that is about a section of a file."""
    part = "".join(sections) or ROOTS.get(model.__name__, "")
    return f"#{part}" if part else ""


def _listed_names(value: Any) -> Any:
    """Return the list in a text, which --set gives: a YAML list in brackets, else names between commas."""
    if not isinstance(value, str):
        return value
    if not value.lstrip().startswith("["):
        return value.split(",")
    try:
        return parsed(value)
    except (YAMLError, RecursionError, ValueError, TypeError, AttributeError):  # as in read_fields
        return value  # refused as no list


def _shortened(value: object) -> str:
    try:
        text = reprlib.repr(value)
    except ValueError:  # Python writes no integer of thousands of digits
        return "a huge number"
    return text if len(text) <= 60 else text[:60] + "..."


def _known_location(model: type[BaseModel], location: list[str]) -> tuple[list[str], type[BaseModel], list[str]]:
    """Return what `location` names, without pydantic's own additions.

    Returns:
        The path of fields, and of names in a table, such as a sweep's fields; the section that it ends in; and the
        path of the sections alone, as the reference has them.
    """
    known, heading = [], []
    parts = iter(location)
    for part in parts:
        known.append(part)
        field = model.model_fields.get(part)
        if field is None:
            break
        if _is_table(field.annotation) and (name := next(parts, None)) is not None:
            known.append(name)
        section = _section(field.annotation)
        if section is None:
            break
        model = section
        heading.append(part)
    return known, model, heading


def _named_runs(train: dict[str, Any]) -> list[tuple[dict[str, Any], str]]:
    """Return the sections and fields of a training that hold the name of a run, and not the path of its folder."""
    fields = ((train, "init_from"), (train["distill"], "teacher"))
    return [(of, field) for of, field in fields if of and of[field] and len(Path(of[field]).parts) == 1]


def _is_table(annotation: Any) -> bool:
    """Whether a field holds values by names that are no fields."""
    return get_origin(annotation) is dict or any(map(_is_table, get_args(annotation)))


def _section(annotation: Any) -> type[BaseModel] | None:
    """Return the model that a field holds, also where it may be left out."""
    kinds = (annotation, *get_args(annotation))
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def _resolve_paths(raw: dict[str, Any], base: Path) -> None:
    """Make relative paths in the file mean what they mean beside the file, and absolute for the run's own copy."""
    _resolve(raw, ("data", "source"), base, keep=lambda value: value == "phantom")
    _resolve(raw, ("data", "label_table"), base)
    _resolve(raw, ("build", "folding"), base)
    for name in ("file", "samples", "labels"):
        _resolve(raw, ("model", name), base)
    for field in (("train", "init_from"), ("train", "distill", "teacher")):
        _resolve(raw, field, base, keep=lambda value: len(Path(value).parts) == 1)  # the name of a run


def resolved(field: str, value: Any, base: Path) -> Any:
    """Return the value of a dotted field with relative paths as they are meant beside a file in the folder `base`.

    Raises:
        ConfigError: it is no usable path.
    """
    *sections, name = field.split(".")
    holder: dict[str, Any] = {name: copy.deepcopy(value)}
    raw = functools.reduce(lambda inner, section: {section: inner}, reversed(sections), holder)
    try:
        _resolve_paths(raw, base)
    except (OSError, ValueError, RuntimeError) as err:  # as in load_experiment
        raise ConfigError(f"'{field}' is no usable path ({_one_line(err)}).") from err
    return holder[name]


def _resolve(values: Any, field: Sequence[str], base: Path, keep: Callable[[str], bool] = lambda _: False) -> None:
    """Replace the path at `field` of nested fields, if there is one."""
    *sections, name = field
    for section in sections:
        values = values.get(section) if isinstance(values, dict) else None
    value = values.get(name) if isinstance(values, dict) else None
    if isinstance(value, str) and not value.strip():  # else it would be the folder of the file
        raise ValueError(f"'{'.'.join(field)}' is empty")
    if isinstance(value, str) and not keep(value):
        here, beside = Path(value).expanduser(), base / value
        values[name] = str((beside if beside.exists() and not here.exists() else here).resolve())
