"""The experiment file: one YAML file that says everything that can change a result."""

import difflib
import re
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from contract.errors import ConfigError
from finn_build.config import BuildConfig
from qnn.spec import NetworkSpec, TrainConfig

MAX_FILE_BYTES = 1 << 20  # an experiment is a page of text


class DataConfig(BaseModel):
    """Where the X-rays come from and how training images are split."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    source: Literal["phantom"] | Path = "phantom"  # the synthetic set, or a folder {train,test}/{NORMAL,PNEUMONIA}
    val_fraction: float = Field(default=0.125, gt=0, lt=0.5)  # of the training images, by whole patients
    seed: int = Field(default=0, ge=0, lt=2**32)  # of the split, and of the phantoms
    strict: bool = False  # an unreadable image is an error instead of being skipped


class Experiment(BaseModel):
    """One run, from X-rays to hardware."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str  # also the run folder's name
    data: DataConfig = DataConfig()
    network: NetworkSpec = NetworkSpec()
    train: TrainConfig = TrainConfig()
    build: BuildConfig

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
            raise ValueError(f"'{name}' is no plain name; use up to 64 letters, digits, '.', '_' and '-'")
        return name


class _NoAliases(yaml.SafeLoader):
    """A few lines of YAML aliases can expand to gigabytes; an experiment needs none."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not allowed here")
        return super().compose_node(parent, index)


def load_experiment(path: Path, *, data: Path | None = None) -> Experiment:
    """Read an experiment file.

    Args:
        path: the YAML file.
        data: replaces the file's data source.

    Raises:
        ConfigError: the file is missing, is not YAML, or a field is wrong; names the field and the nearest valid one.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigError(f"{path} has {path.stat().st_size:,} bytes, expected a page of YAML.")
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=_NoAliases)
    except FileNotFoundError:
        raise ConfigError(f"{path} is not there. Ready experiments are in experiments/.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError, ValueError) as err:
        reason = " ".join(str(err).split())
        raise ConfigError(f"{path} is not readable YAML: {reason}. Compare with experiments/w8a8.yaml.") from err
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} holds {type(raw).__name__}, expected fields such as 'name' and 'network'.")
    if data is not None:
        section = raw.setdefault("data", {})
        if isinstance(section, dict):
            section["source"] = str(data)
    _resolve_paths(raw, path.parent)
    try:
        return Experiment.model_validate(raw)
    except ValidationError as err:
        raise ConfigError(f"{path}: {explain(err, Experiment)}") from err


def save_experiment(path: Path, experiment: Experiment) -> None:
    """Write every field, defaults included; reading it back gives the same experiment."""
    path.write_text(yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False), encoding="utf-8")


def explain(err: ValidationError, model: type[BaseModel]) -> str:
    """Return one sentence about the first thing that is wrong."""
    first = err.errors()[0]
    location = [str(part) for part in first["loc"]]
    where = ".".join(location) or "the file"
    if first["type"] == "extra_forbidden":
        valid = _fields_at(model, location[:-1])
        near = difflib.get_close_matches(location[-1], valid, n=1, cutoff=0.5)
        advice = f"did you mean '{near[0]}'?" if near else f"valid here are {', '.join(valid)}."
        return f"'{where}' is not a known field; {advice}"
    if first["type"] == "missing":
        return f"'{where}' is missing; add it, as in experiments/w8a8.yaml."
    message = first["msg"].removeprefix("Value error, ")
    return f"'{where}': {message}."


def _fields_at(model: type[BaseModel], location: list[str]) -> list[str]:
    """Return the valid field names of the section at `location`."""
    for part in location:
        field = model.model_fields.get(part)
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            return []
        model = field.annotation
    return list(model.model_fields)


def _resolve_paths(raw: dict[str, Any], base: Path) -> None:
    """Make relative paths in the file mean what they mean beside the file, and absolute for the run's own copy."""
    for section, field in (("data", "source"), ("build", "folding")):
        values = raw.get(section)
        value = values.get(field) if isinstance(values, dict) else None
        if isinstance(value, str) and value != "phantom":
            here, beside = Path(value), base / value
            values[field] = str((beside if beside.exists() and not here.exists() else here).expanduser().resolve())  # type: ignore[index]
