"""The schema, the page made of it and the code that reads the files say the same of every field.

The kind of fault: a reference that is written by hand, or a schema that allows what the reader refuses.
"""

import functools
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

from contract.errors import ConfigError
from contract.yaml_text import parsed
from cxrflow import schema
from cxrflow.experiment import Experiment, load_experiment, save_experiment
from cxrflow.sweep.spec import Sweep, load_sweep, parse_sweep
from tests.cxrflow.conftest import Place

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "experiment-file.md").read_text(encoding="utf-8")
# What a file needs beside a field, so that its value is the only thing that could be wrong.
BESIDE: dict[str, dict[str, Any]] = {
    "build.folding": {"build": {"target_fps": None}},
    "data": {"data": {"source": "x"}},  # phantoms are drawn, and take no field about reading
    "network.outputs": {"data": {"classes": ["a", "b", "c"]}},
    "train.one_class": {"data": {"classes": ["NORMAL", "BACTERIA", "VIRUS"]}},
    "network.pool": {"network": {"convolutions": [4]}},
    "train.distill": {"train": {"distill": {"teacher": "t"}}},
    "model": {"model": {"file": "network.onnx"}},
    "grid": {},
    "search": {"grid": None, "search": {"trials": 1, "space": {"train.lr": {"low": 1, "high": 2}}}},
}
PER_LAYER = ("network.weight_bits", "network.act_bits")
STRANGE: tuple[Any, ...] = (
    None, True, "?!", "float", [], {}, {"x": 1}, -1, 0, 0.5, 1, 2, 3, 9, 1e4, 2.0**33, [1], [0], ["x"], "*",
)  # fmt: skip


def leaves(kind: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the dotted name and the schema of every field that is no section."""
    root = schema.schema(kind)
    found = {
        f"{path}.{name}".lstrip("."): field
        for path, section in schema.sections(root)
        for name, field in section["properties"].items()
    }
    inside = {path for path, _ in schema.sections(root)}
    return [(name, field) for name, field in found.items() if name not in inside]


def content(kind: str, name: str, value: Any) -> dict[str, Any]:
    """Return a file with one field of this value, and nothing that would refuse it."""
    base: dict[str, Any] = (
        {"name": "x", "build": {"target_fps": 1000}}
        if kind == "experiment"
        else {"name": "x", "experiment": "w8a8.yaml", "grid": {"train.lr": [0.1]}}
    )
    beside = [BESIDE[part] for part in BESIDE if name == part or name.startswith(f"{part}.")]
    for other in beside:
        base = merged(base, other)
    inner: Any = functools.reduce(lambda below, part: {part: below}, reversed(name.split(".")), value)
    return merged(base, inner)


def merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    both = {k: merged(one[k], other[k]) for k in one.keys() & other.keys() if isinstance(one[k], dict) and other[k]
            and isinstance(other[k], dict) and k not in ("budget", "grid", "space")}  # fmt: skip
    return {**one, **other, **both}


def valid(kind: str, file: dict[str, Any]) -> bool:
    return bool(jsonschema.Draft202012Validator(schema.schema(kind)).is_valid(file))


def refused_here(kind: str, name: str, file: dict[str, Any]) -> bool:
    """Whether the reader refuses the file because of this field, not because of several together."""
    try:
        schema.KINDS[kind].model_validate(file)
    except ValidationError as err:
        where = [".".join(map(str, error["loc"])) for error in err.errors()]
        return any(f"{place}.".startswith(f"{name}.") for place in where)
    return False


def test_the_page_is_made_of_the_code() -> None:
    assert schema.page() == PAGE, "run `cxrflow schema --format markdown > docs/experiment-file.md`"


@pytest.mark.parametrize("kind", schema.KINDS)
def test_schema_and_reader_agree_on_every_field(kind: str) -> None:
    """Of every example, of what is just inside and outside the bounds, and of what no field means."""
    validator = jsonschema.Draft202012Validator(schema.schema(kind))
    jsonschema.Draft202012Validator.check_schema(schema.schema(kind))
    for name, field in leaves(kind):
        assert field["description"][0].isupper() or field["description"][0] == ".", name
        for value in schema.examples(field):
            assert validator.is_valid(content(kind, name, value)), (name, value)
            schema.KINDS[kind].model_validate(content(kind, name, value))
        for value in (*STRANGE, *edges(field)):
            file = content(kind, name, value)
            lax = value in (0, 1) and "boolean" in json.dumps(field)  # which pydantic takes for a boolean
            other = (
                isinstance(value, list) and name in PER_LAYER
            ) or name == "network.outputs"  # another field decides
            if not lax and not other:
                assert validator.is_valid(file) != refused_here(kind, name, file), (name, value)


def edges(field: dict[str, Any]) -> list[float]:
    """Return numbers at the bounds of a field and beyond."""
    found = []
    for one in (field, *field.get("anyOf", ())):
        for word in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
            if word in one:
                found += [one[word] - 1, one[word], one[word] + 1]
    return found


@pytest.mark.parametrize("path", sorted((REPOSITORY / "experiments").glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_files_and_what_a_run_keeps_are_valid(path: Path, tmp_path: Path) -> None:
    kind = "sweep" if path.name.startswith("sweep") else "experiment"
    assert valid(kind, parsed(path.read_text(encoding="utf-8")))
    if kind == "experiment":
        save_experiment(tmp_path / "resolved.yaml", load_experiment(path))
        assert valid(kind, parsed((tmp_path / "resolved.yaml").read_text(encoding="utf-8")))
    else:
        load_sweep(path)


def test_the_examples_of_the_page_are_files(tmp_path: Path) -> None:
    (tmp_path / "example.yaml").write_text(schema.EXAMPLE, encoding="utf-8")
    experiment = load_experiment(tmp_path / "example.yaml")
    assert experiment.network.weight_bits_per_layer == (8, 4, 4) and experiment.build.clk_ns == 10.0
    (tmp_path / "sweep.yaml").write_text(schema.SWEEP_EXAMPLE, encoding="utf-8")
    assert parse_sweep(tmp_path / "sweep.yaml").size == 12


@pytest.mark.parametrize("kind", schema.KINDS)
def test_a_wrong_key_points_to_its_table(kind: str, tmp_path: Path) -> None:
    anchors = {schema.anchor(heading) for heading in re.findall(r"^#+ (.*)$", PAGE, flags=re.MULTILINE)}
    assert {*re.findall(r"\]\(#([^)]*)\)", PAGE)} <= anchors
    for path, _ in schema.sections(schema.schema(kind)):
        file = content(kind, f"{path}.wrogn".lstrip("."), 1)
        (tmp_path / "wrong.yaml").write_text(json.dumps(file), encoding="utf-8")
        assert not valid(kind, file)
        with pytest.raises(ConfigError, match=r"'[\w.]*wrogn' is not a known field") as error:
            (load_experiment if kind == "experiment" else parse_sweep)(tmp_path / "wrong.yaml")
        part = re.search(r"docs/experiment-file\.md#(\S+) has them all", str(error.value))
        assert part is not None and part[1] in anchors, str(error.value)
        assert part[1] == (schema.anchor(path) if path else f"the-{kind}-file")


def test_an_editor_completes_a_sweep_s_fields() -> None:
    known = {name for name, _ in leaves("experiment")}
    root = schema.schema("sweep")
    grid = next(one for one in root["properties"]["grid"]["anyOf"] if "properties" in one)
    space = root["$defs"]["Search"]["properties"]["space"]
    assert known - {"name"} <= grid["properties"].keys() and grid["properties"].keys() == space["properties"].keys()
    wrong = {"name": "x", "experiment": "e.yaml", "grid": {"network.weight_bits": [9]}}
    assert not valid("sweep", wrong) and Sweep.model_validate(wrong)  # which load_sweep refuses, with the experiment


def test_the_command(bare: Place) -> None:
    for kind in schema.KINDS:
        outcome = bare("schema", kind)
        assert outcome.code == 0 and json.loads(outcome.out) == schema.schema(kind)
    assert bare("schema", "--format", "markdown").out == PAGE
    bare("schema", "experimnt").assert_refused("'experimnt' is no kind of file, expected experiment or sweep")
    bare("schema", "--format", "xml").assert_refused("--format is xml, expected json or markdown")
    assert Experiment.model_json_schema()["properties"].keys() == schema.schema("experiment")["properties"].keys()
