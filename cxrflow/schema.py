"""What an experiment file and a sweep file may hold, from the classes that read them: JSON schema, and a page.

The classes own everything: the text below a field is its meaning, with the unit in brackets; type, bounds, default and
examples are the field's. Editors complete and check by the schema; docs/experiment-file.md is the page.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from contract.yaml_text import parsed
from cxrflow.experiment import Experiment, refusal
from cxrflow.sweep.spec import Sweep

FEW = 4  # kinds of values that a sentence names
DIALECT = "https://json-schema.org/draft/2020-12/schema"
KINDS: dict[str, type[BaseModel]] = {"experiment": Experiment, "sweep": Sweep}

EXAMPLE = """\
name: my-run
network:
  hidden: [256, 64]          # two hidden layers, so three layers of weights and two of activations
  weight_bits: [8, 4, 4]     # 8 bits in the first layer, 4 in the second and in the head
  act_bits: [8, 4]           # 8 bits behind the first layer, 4 behind the second
train:
  epochs: 50
build:
  board: pynq-z2
  clk_ns: 10.0               # 1000 / 10.0 = 100 MHz
  target_fps: 100000
"""
SWEEP_EXAMPLE = """\
name: my-sweep
experiment: w8a8.yaml
grid:
  network.weight_bits: [8, [8, 4, 4]]
  network.act_bits: [4, 8]
seeds: 3
"""
REFUSED = (  # what fields say together, which no schema does
    "build: {target_fps: 1000, folding: folding.json}",
    "build: {folding: folding.json, activation: requantize}",
    "build: {clk_ns: 5.0}",
    "build: {target_fps: 1000}\nnetwork: {hidden: [64, 64], weight_bits: [8, 4]}",
    "build: {target_fps: 1000}\nnetwork: {hidden: []}",
    "build: {target_fps: 1000}\nnetwork: {convolutions: [16, 32], act_bits: 1}",
    "build: {target_fps: 1000}\nnetwork: {outputs: 3}",
    "build: {target_fps: 1000}\ntrain: {epochs: 50, patience: 50}",
    "build: {target_fps: 1000}\ndata: {classes: [NORMAL, BACTERIA, VIRUS], positive: VIRUS}",
    "build: {target_fps: 1000}\ndata: {classes: [NORMAL, BACTERIA, VIRUS], blank: negative}",
    "build: {target_fps: 1000}\ndata: {classes: [NORMAL, BACTERIA, VIRUS]}\ntrain: {operating_point: youden}",
    "build: {target_fps: 1000}\ndata: {classes: [NORMAL, BACTERIA, VIRUS]}\ntrain: {one_class: PNEUMONIA}",
    "build: {target_fps: 1000}\nmodel: {file: network.onnx}\nexport: {factor_bits: 12}",
)


def schema(kind: str) -> dict[str, Any]:
    """Return the JSON schema of an `experiment` or a `sweep` file."""
    found: dict[str, Any] = _untitled(KINDS[kind].model_json_schema())
    if kind == "sweep":
        _name_fields(found)
    return {"$schema": DIALECT, "title": f"cxrflow {kind} file"} | found


def _untitled(node: Any) -> Any:
    """Return a schema without the titles that pydantic makes of the names; a field may be called title, too."""
    if isinstance(node, list):
        return [_untitled(inner) for inner in node]
    if not isinstance(node, dict):
        return node
    return {
        name: {field: _untitled(inner) for field, inner in value.items()}
        if name in ("properties", "$defs")
        else value
        if name in ("default", "examples")
        else _untitled(value)
        for name, value in node.items()
        if name != "title"
    }


def _name_fields(sweep: dict[str, Any]) -> None:
    """Name the experiment's fields in a sweep's grid and space, so that an editor completes them."""
    experiment = _untitled(Experiment.model_json_schema())
    sweep["$defs"] = experiment["$defs"] | sweep["$defs"]
    fields = {
        f"{path}.{name}": field for path, section in sections(experiment) if path for name, field in _fields(section)
    }
    grid = next(one for one in sweep["properties"]["grid"]["anyOf"] if one.get("type") == "object")
    grid["properties"] = {
        name: {"type": "array", "minItems": 1, "items": field} for name, field in fields.items()
    }  # fmt: skip
    space = sweep["$defs"]["Search"]["properties"]["space"]
    space["properties"] = dict.fromkeys(fields, space["additionalProperties"])


def sections(root: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the dotted path and the schema of every section of a file, the file's own, "", first."""

    def below(path: str, section: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        yield path, section
        for name, field in _fields(section):
            inner = _section(root, field)
            if inner is not None:
                yield from below(f"{path}.{name}".lstrip("."), inner)

    return below("", root)


def _fields(section: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return list(section["properties"].items())


def _section(root: dict[str, Any], field: dict[str, Any]) -> dict[str, Any] | None:
    """Return the section that a field is, or None."""
    for one in (field, *field.get("anyOf", ())):
        if "$ref" in one:
            return dict(root["$defs"][one["$ref"].rpartition("/")[2]])
    return None


def page() -> str:
    """Return docs/experiment-file.md."""
    parts = [
        "# The experiment file and the sweep file: every field",
        "Made by `cxrflow schema --format markdown` from the code that reads the files; a test holds it equal to that.",
        "An editor with a YAML language server completes and checks by the same schema:",
        _block(
            "cxrflow schema > experiment.schema.json\ncxrflow schema sweep > sweep.schema.json\n"
            "# yaml-language-server: $schema=experiment.schema.json    <- first line of the YAML file"
        ),
        "## The experiment file",
        "One YAML file says everything that can change a result. A field that is left out has its default; a "
        "misspelled one is an error that names the nearest. `null` is YAML's word for nothing.",
        _block(EXAMPLE),
        *_tables("experiment"),
        "## What fields say together",
        "Refused, and how:",
        *(f"{_block(text)}\n\n> {_said(text)}" for text in REFUSED),
        "## The sweep file",
        "Many runs of one experiment; docs/sweeps.md says what becomes of them.",
        _block(SWEEP_EXAMPLE),
        *_tables("sweep"),
    ]
    return "\n\n".join(parts) + "\n"


def _said(text: str) -> str:
    """Return what is said of an experiment that is refused."""
    said = refusal({"name": "x", **parsed(text)})
    assert said is not None, text
    return said


def _block(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.rstrip().splitlines())


def _tables(kind: str) -> Iterator[str]:
    """Yield the heading, the meaning and the table of every section."""
    root = schema(kind)
    for path, section in sections(root):
        if path:
            yield f"### {path}"
            yield from section.get("description", "").split("\n\n")
        rows = [_row(root, path, name, field, name in section.get("required", ())) for name, field in _fields(section)]
        heading = ("field", "meaning", "unit", "may be", "default", "example")
        yield "\n".join(f"| {' | '.join(cells)} |" for cells in (heading, ("---",) * len(heading), *rows))
        if kind == "experiment":
            for name in dict.fromkeys(_listed(field) for _, field in _fields(section)):
                yield from _one(root, name) if name else ()
        if kind == "sweep" and path == "search":
            yield from _domain(root)


def _listed(field: dict[str, Any]) -> str:
    """Return the definition of what a field lists, where that has fields itself; else nothing."""
    items = field.get("items", {})
    refs = (one["$ref"] for one in items.get("anyOf", (items,)) if "$ref" in one)
    return str(next(refs, "")).rpartition("/")[2]


def _one(root: dict[str, Any], name: str) -> Iterator[str]:
    """Yield what one of a list may be; it is no section, because there are several."""
    yield f"### one {name.lower()}"
    definition = root["$defs"][name]
    yield definition["description"]
    rows = [_row(root, "", field, one, field in definition["required"]) for field, one in _fields(definition)]
    heading = ("field", "meaning", "unit", "may be", "default", "example")
    yield "\n".join(f"| {' | '.join(cells)} |" for cells in (heading, ("---",) * len(heading), *rows))


def _domain(root: dict[str, Any]) -> Iterator[str]:
    """Yield what a field of the search's space may be; it is no section, because people name its fields."""
    yield "### search.space"
    domain = root["$defs"]["Domain"]
    yield domain["description"]
    rows = [_row(root, "search.space", name, field, False) for name, field in _fields(domain)]
    heading = ("field", "meaning", "unit", "may be", "default", "example")
    yield "\n".join(f"| {' | '.join(cells)} |" for cells in (heading, ("---",) * len(heading), *rows))


def _row(root: dict[str, Any], path: str, name: str, field: dict[str, Any], required: bool) -> tuple[str, ...]:
    """Return the cells of one field."""
    meaning, unit = _meaning(field["description"])
    inner = _section(root, field)
    if inner is not None:
        place = f"{path}.{name}".lstrip(".")
        optional = " or `null`" if "anyOf" in field else ""
        default = "must be given" if required else "`null`" if optional else "of its fields"
        return f"`{name}`", meaning, "", f"[fields](#{anchor(place)}){optional}", default, ""
    default = "must be given" if required else _code(field["default"])
    shown = ", ".join(f"`{name}: {_yaml(value)}`" for value in examples(field))
    return f"`{name}`", meaning, unit, _legal(field), default, shown


def anchor(heading: str) -> str:
    """Return the name that a Markdown viewer gives to a heading."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def _meaning(description: str) -> tuple[str, str]:
    """Return what a field means, and its unit, which its text has in brackets."""
    text = " ".join(description.split())
    found = re.search(r" \[([^\]]+)\]", text)
    return (text, "") if found is None else (text[: found.start()] + text[found.end() :], found[1])


def examples(field: dict[str, Any]) -> list[Any]:
    """Return examples that are not the default: the field's own, or another of its values."""
    if "examples" in field:
        return list(field["examples"])
    if field.get("type") == "boolean":
        return [not field["default"]]
    listed = next(one["enum"] for one in (field, *field.get("anyOf", ())) if "enum" in one)
    return [next(one for one in listed if one != field["default"])]


def _yaml(value: Any) -> str:
    """Return a value on one line of YAML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_yaml(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_yaml, value)) + "]"
    return value if isinstance(value, str) and re.fullmatch(r"[A-Za-z][\w./-]*", value) else json.dumps(value)


def _code(value: Any) -> str:
    return f"`{_yaml(value)}`"


def _legal(field: dict[str, Any]) -> str:
    """Return in words which values a schema allows."""
    if "anyOf" in field:
        beside = {name: value for name, value in field.items() if name != "anyOf"}
        return " or ".join(dict.fromkeys(_legal(beside | one) for one in field["anyOf"]))
    if "$ref" in field:
        return f"[fields](#{anchor('one ' + field['$ref'].rpartition('/')[2].lower())})"
    if "enum" in field:
        return ", ".join(_code(value) for value in field["enum"])
    if "const" in field:
        return _code(field["const"])
    kind = field.get("type")
    if kind in ("integer", "number"):
        but = f", not {field['not']['const']}" if "not" in field else ""
        return ("whole number" if kind == "integer" else "number") + _range(field) + but
    if kind == "array":
        least, most = field.get("minItems"), field.get("maxItems")
        many = "" if most is None else f" of {least} to {most}" if least else f" of up to {most}"
        listed = field["items"].get("anyOf", [field["items"]])
        return f"list{many}, each {_legal(field['items'])}" if len(listed) < FEW else "list of values of the field"
    if kind == "object":
        names = field.get("propertyNames", {}).get("enum")
        if names:
            return f"{', '.join(map(_code, names))}: {_legal(field['additionalProperties'])} each"
        return "values by field, such as `network.weight_bits`"
    if kind == "string":
        return "path" if field.get("format") == "path" else _text(field)
    return {"boolean": "`true`, `false`", "null": "`null`"}[str(kind)]


def _text(field: dict[str, Any]) -> str:
    return "name of up to 64 letters, digits, `.`, `_` and `-`" if "pattern" in field else "text"


def _range(field: dict[str, Any]) -> str:
    """Return the bounds of a number."""
    low, high = field.get("minimum"), field.get("maximum")
    above, below = field.get("exclusiveMinimum"), field.get("exclusiveMaximum")
    if low is not None and high is not None:
        return f" {_number(low)}..{_number(high)}"
    words = (
        "" if low is None else f"from {_number(low)}",
        "" if above is None else f"above {_number(above)}",
        "" if high is None else f"up to {_number(high)}",
        "" if below is None else f"below {_number(below)}",
    )
    return " " * any(words) + ", ".join(filter(None, words))


def _number(value: float) -> str:
    """Return a bound as people write it."""
    if isinstance(value, int) and value >= 2**32 and value.bit_count() == 1:
        return f"2^{value.bit_length() - 1}"
    return f"{int(value):,}" if value == int(value) else f"{value:g}"
