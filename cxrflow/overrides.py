"""`--set KEY=VALUE`: any field of the experiment from the command line.

KEY is the field's path in the file, as build.stream_bits; a name without a dot is a field of `data`, or the run's name.
VALUE is what the file would have there: YAML, but where the field holds text or a path it is taken as it stands.
Nothing behind the sign means: as if the field were not in the file. A field is set once; the file's own checks follow.
"""

import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from ruamel.yaml.error import YAMLError

from contract.errors import ConfigError
from contract.yaml_text import parsed

LONGEST = 10_000  # letters of a value
Override = tuple[tuple[str, ...], Any]  # path, and value; None: as if the field were not there


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
    found: dict[tuple[str, ...], Any] = {}
    setters: dict[tuple[str, ...], str] = {}
    for setter, text in [*options.items(), *(("--set", text) for text in fields)]:
        name, is_set, value = text.partition("=")
        path = tuple(part.strip() for part in name.split("."))
        if not is_set or not all(path) or len(value) > LONGEST:
            raise ConfigError(
                f"--set is {text[:60]!r}, expected FIELD=VALUE, such as label=Pneumonia or build.stream_bits=32."
            )
        if len(path) == 1 and path[0] not in model.model_fields:
            path = (inside, *path)
            if _annotation(model, path) is None and (other := _section_of(model, path[-1])) is not None:
                raise ConfigError(
                    f"--set names '{path[-1]}', which is a field of '{other}', not of '{inside}'. Give it as "
                    f"{other}.{path[-1]}=VALUE."
                )
        if (earlier := next((one for one in found if one[: len(path)] == path[: len(one)]), None)) is not None:
            beside = "" if earlier == path else f", with '{'.'.join(earlier)}'"
            by = " and ".join(dict.fromkeys((setters[earlier], setter)))
            raise ConfigError(f"'{'.'.join(path)}' is set twice{beside}: by {by}. Give it once.")
        setters[path] = setter
        found[path] = _value(".".join(path), value, _annotation(model, path)) if value else None
    return list(found.items())


def apply(raw: dict[str, Any], changes: Sequence[Override]) -> None:
    """Change the fields of an experiment, not yet checked. Raises ConfigError where a path leads through a value."""
    for path, value in changes:
        section = raw
        for depth, name in enumerate(path[:-1], 1):
            inner = section.get(name)
            if inner is None and value is None:
                break
            section[name] = inner = {} if inner is None else inner
            if not isinstance(inner, dict):
                raise ConfigError(
                    f"--set names '{'.'.join(path)}', but '{'.'.join(path[:depth])}' is {repr(inner)[:60]} and has no "
                    "fields. Set that as a whole."
                )
            section = inner
        else:
            section.pop(path[-1], None)
            if value is not None:
                section[path[-1]] = value


def _section_of(model: type[BaseModel], name: str) -> str | None:
    """Return the first section that has a field of this name."""
    return next((section for section in model.model_fields if _annotation(model, (section, name)) is not None), None)


def _annotation(model: type[BaseModel], path: Sequence[str]) -> Any:
    """Return the type of a field; None where there is no such field, which is said when the whole is checked."""
    annotation: Any = model
    for name in path:
        sections = list(_sections(annotation))
        field = sections[0].model_fields.get(name) if sections else None
        if field is None:
            return None
        annotation = field.annotation
    return annotation


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models that a field can hold."""
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield kind


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
