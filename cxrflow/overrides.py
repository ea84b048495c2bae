"""`--set KEY=VALUE`: any field of the experiment from the command line.

KEY is the field's path in the file, as build.stream_bits or network.convolutions[1].channels, where entries of a list
are counted from 0; a name without a dot is a field of `data`, or the run's name.
VALUE is what the file would have there: YAML, but where the field holds text or a path it is taken as it stands.
Nothing behind the sign means: as if the field were not in the file. A field is set once; the file's own checks follow.
"""

import re
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from ruamel.yaml.error import YAMLError

from contract.errors import ConfigError
from contract.yaml_text import parsed

LONGEST = 10_000  # letters of a value
FieldPath = tuple[str | int, ...]  # names, and places in lists
Override = tuple[FieldPath, Any]  # path, and value; None: as if the field were not there


def parts(field: str) -> FieldPath:
    """Return network.convolutions[1].channels as its names and places: ("network", "convolutions", 1, "channels")."""
    found: list[str | int] = []
    for part in field.split("."):
        listed = re.fullmatch(r"\s*([^\[\]]*)((?:\[\d{1,4}\])+)\s*", part)
        found.append(part.strip() if listed is None else listed[1])
        found += [] if listed is None else map(int, re.findall(r"\d+", listed[2]))
    return tuple(found)


def dotted(path: FieldPath) -> str:
    """Return a path as `parts` takes it."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


def entry(section: Any, name: str | int) -> Any:
    """Return what a section or a list has at a place; None: nothing."""
    if isinstance(section, dict):
        return section.get(name)
    return section[name] if isinstance(section, list) and isinstance(name, int) and name < len(section) else None


def overrides(
    fields: Sequence[str],
    model: type[BaseModel],
    *,
    inside: str = "data",
    options: Mapping[str, str] = types.MappingProxyType({}),
) -> list[Override]:
    """Return what each KEY=VALUE sets.

    Args:
        fields: as the command line has them.
        model: what the paths lead into.
        inside: the section that a name without a dot is in, unless it is a field of `model` itself.
        options: the KEY=VALUE that other options stand for, by their names.

    Raises:
        ConfigError: one is no KEY=VALUE, is a field of another section, has no YAML, or two set one field.
    """
    found: dict[FieldPath, Any] = {}
    setters: dict[FieldPath, str] = {}
    for setter, text in [*options.items(), *(("--set", text) for text in fields)]:
        name, is_set, value = text.partition("=")
        path = parts(name)
        if not is_set or not all(part != "" for part in path) or len(value) > LONGEST:
            raise ConfigError(
                f"--set is {text[:60]!r}, expected FIELD=VALUE, such as label=Pneumonia or build.stream_bits=32."
            )
        if len(path) == 1 and path[0] not in model.model_fields:
            path = (inside, *path)
            if _annotation(model, path) is None and (other := _section_of(model, str(path[-1]))) is not None:
                raise ConfigError(
                    f"--set names '{path[-1]}', which is a field of '{other}', not of '{inside}'. Give it as "
                    f"{other}.{path[-1]}=VALUE."
                )
        if (earlier := next((one for one in found if one[: len(path)] == path[: len(one)]), None)) is not None:
            beside = "" if earlier == path else f", with '{dotted(earlier)}'"
            by = " and ".join(dict.fromkeys((setters[earlier], setter)))
            raise ConfigError(f"'{dotted(path)}' is set twice{beside}: by {by}. Give it once.")
        setters[path] = setter
        found[path] = _value(dotted(path), value, _annotation(model, path)) if value else None
    return list(found.items())


def apply(raw: dict[str, Any], changes: Sequence[Override]) -> None:
    """Change the fields of an experiment, not yet checked. Raises ConfigError where a path leads through a value."""
    for path, value in changes:
        section: Any = raw
        for depth, name in enumerate(path[:-1], 1):
            inner = entry(section, name)
            if inner is None and value is None:
                break
            if inner is None and isinstance(section, dict):
                section[name] = inner = {}
            if not isinstance(inner, dict | list):
                raise ConfigError(
                    f"--set names '{dotted(path)}', but '{dotted(path[:depth])}' is {repr(inner)[:60]} and has no "
                    "fields. Set that as a whole."
                )
            section = inner
        else:
            place(section, path, value, by="--set")


def place(section: Any, path: FieldPath, value: Any, *, by: str) -> None:
    """Give a section, or a list, what the end of a path names; None: nothing. Raises ConfigError: it is not there."""
    last = path[-1]
    if isinstance(section, dict):
        section.pop(last, None)
        if value is not None:
            section[last] = value
    elif value is None or not isinstance(last, int) or last >= len(section):
        raise ConfigError(
            f"{by} names '{dotted(path)}', but '{dotted(path[:-1])}' is a list of {len(section)}. Expected a place in "
            "it, from [0], and a value; or set that as a whole."
        )
    else:
        section[last] = value


def _section_of(model: type[BaseModel], name: str) -> str | None:
    """Return the first section that has a field of this name."""
    return next((section for section in model.model_fields if _annotation(model, (section, name)) is not None), None)


def _annotation(model: type[BaseModel], path: FieldPath) -> Any:
    """Return the type of a field; None where there is no such field, which is said when the whole is checked."""
    annotation: Any = model
    for name in (part for part in path if isinstance(part, str)):
        sections = list(_sections(annotation))
        field = sections[0].model_fields.get(name) if sections else None
        if field is None:
            return None
        annotation = field.annotation
    return annotation


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models that a field can hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for kind in get_args(annotation):
        yield from _sections(kind)


def _takes_text(annotation: Any) -> bool:
    """Whether a field holds text or a path, alone or several, or may: then a value means its letters."""
    if get_origin(annotation) in (Union, types.UnionType, Annotated, tuple, list):
        return any(_takes_text(one) for one in get_args(annotation))
    return annotation in (str, Path)


def _value(name: str, text: str, annotation: Any) -> Any:
    if _takes_text(annotation):
        return text
    try:
        return parsed(text)
    except (YAMLError, RecursionError, ValueError, TypeError, AttributeError) as err:  # of the library's constructors
        raise ConfigError(
            f"--set '{name}' is {text[:60]!r}, which is no YAML, expected what the file would have there. Look whether "
            "every bracket and quote is closed."
        ) from err
