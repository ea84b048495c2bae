"""accelerator.json: what is saved comes back, and anything else is one ArtifactError that names the field."""

import copy
import dataclasses
import json
import math
import types
import typing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contract.decision import Choice, Decision, OneAgainstRest
from contract.errors import ArtifactError
from contract.manifest import DISCLAIMER, SCHEMA, Hardware, Manifest, Stream, load_manifest, save_manifest

MANIFEST = Manifest(
    schema=SCHEMA,
    name="w8a8",
    disclaimer=DISCLAIMER,
    class_names=["NORMAL", "PNEUMONIA"],
    preprocessing={"version": 1, "resize": "area average"},
    height=28,
    width=28,
    channels=1,
    datatype="uint8",
    outputs=1,
    decision=Decision(
        scale=0.0123, offset=-4.5, threshold=-17, rule="Youden on the validation split", operating_points={"other": 3}
    ),
    hardware=Hardware(
        shell="axi_dma",
        board="pynq-z2",
        part="xc7z020clg400-1",
        clock_mhz=100.0,
        input=Stream([28, 28], "uint8", [98, 8], 784, 64),
        output=Stream([1], "int32", [1, 1], 4, 32),
        dma={"dma": "axi_dma_0"},
        cycles_per_image=784,
    ),
    sha256={"reference.npz": "ab" * 32},
    versions={"numpy": "2.4.6"},
    provenance={"run": "w8a8", "git_commit": None, "test_metrics": {"auc": 0.9}},
)
RAW: dict[str, Any] = dataclasses.asdict(MANIFEST)
CHOICE = Choice([1, 5, 2**30 - 1], [0, 1 - 2**60, 2**60 - 1], 35, "the greatest", {"c": OneAgainstRest(2, 1 - 2**62)})


def load(path: Path, raw: object) -> Manifest:
    path.write_text(json.dumps(raw), encoding="utf-8")
    return load_manifest(path)


def leaves(raw: object, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value, inner ones too, except what provenance holds: that is free text."""
    inner = raw.items() if isinstance(raw, dict) else enumerate(raw) if isinstance(raw, list) else ()
    here = [at] if at else []
    return here if at == ("provenance",) else here + [p for key, value in inner for p in leaves(value, (*at, key))]


PLACES = leaves(RAW)
FIELDS = [p for p in PLACES if p[0] not in ("preprocessing", "sha256", "versions") and "dma" not in p[:-1]]
FIELDS = [p for p in FIELDS if isinstance(p[-1], str) and "operating_points" not in p]
LATER = [("rule",), ("head",), ("fed_shape",)]  # older folders have none


def replaced(at: tuple[Any, ...], value: object) -> dict[str, Any]:
    raw = copy.deepcopy(RAW)
    holder: Any = raw
    for key in at[:-1]:
        holder = holder[key]
    holder[at[-1]] = value
    return raw


def conforms(value: object, kind: Any) -> bool:
    """Tell whether `value` is what the annotation `kind` says. An int may stand for a float, as in Python's typing."""
    if kind is Any:
        return True
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return any(conforms(value, arg) for arg in args)
    if origin is list:
        return isinstance(value, list) and all(conforms(v, args[0]) for v in value)
    if origin is dict:
        return isinstance(value, dict) and all(conforms(k, args[0]) and conforms(v, args[1]) for k, v in value.items())
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return type(value) is kind and all(conforms(getattr(value, name), hints[name]) for name in hints)
    if kind in (int, float):
        number = isinstance(value, (int, float) if kind is float else int) and not isinstance(value, bool)
        return number and math.isfinite(typing.cast(float, value))
    return isinstance(value, kind)


def test_round_trip(tmp_path: Path) -> None:
    assert MANIFEST.hardware is not None
    several = dataclasses.replace(
        MANIFEST,
        class_names=[],
        decision=None,
        channels=3,
        datatype="bipolar",
        outputs=3,
        hardware=dataclasses.replace(
            MANIFEST.hardware,
            input=Stream([28, 28, 3], "bipolar", [98, 24], 98 * 3, 24),
            output=Stream([3], "int32", [3, 1], 6, 16),
        ),
    )
    classes = dataclasses.replace(several, class_names=["a", "b", "c"], decision=CHOICE)
    for manifest in (MANIFEST, dataclasses.replace(MANIFEST, hardware=None), several, classes):
        save_manifest(tmp_path / "accelerator.json", manifest)
        assert load_manifest(tmp_path / "accelerator.json") == manifest
        assert list(tmp_path.iterdir()) == [tmp_path / "accelerator.json"]


def test_folders_from_before_networks_of_others_are_read(tmp_path: Path) -> None:
    raw = {key: value for key, value in RAW.items() if (key,) not in LATER}
    manifest = load(tmp_path / "accelerator.json", raw)
    assert manifest.rule is None and manifest.head is None and manifest.fed_shape is None


@pytest.mark.parametrize("wrong", [28, [28], [28, 29], [-28, -28], [1] * 9, [784.0], ["784"], [[784]], [2**40, 2**40]])
def test_the_shape_of_what_is_fed(tmp_path: Path, wrong: object) -> None:
    assert load(tmp_path / "accelerator.json", {**RAW, "fed_shape": [7, 4, 28]}).fed_shape == [7, 4, 28]
    with pytest.raises(ArtifactError, match="fed_shape"):
        load(tmp_path / "accelerator.json", {**RAW, "fed_shape": wrong})


def test_operating_points_may_be_missing(tmp_path: Path) -> None:
    raw = copy.deepcopy(RAW)
    del raw["decision"]["operating_points"]
    decision = load(tmp_path / "accelerator.json", raw).decision
    assert decision is not None and decision.operating_points == {}


@pytest.mark.parametrize("at", [p for p in FIELDS if p not in LATER], ids=".".join)
def test_a_missing_field_is_named(tmp_path: Path, at: tuple[str, ...]) -> None:
    raw = copy.deepcopy(RAW)
    holder = raw
    for key in at[:-1]:
        holder = holder[key]
    del holder[at[-1]]
    with pytest.raises(ArtifactError, match=rf"{'.'.join(at)} is missing"):
        load(tmp_path / "accelerator.json", raw)


@pytest.mark.parametrize("at", [p for p in PLACES if p[0] != "provenance"], ids=lambda p: ".".join(map(str, p)))
def test_a_wrong_type_is_refused_by_name(tmp_path: Path, at: tuple[Any, ...]) -> None:
    wrong: list[object] = [True, math.nan, math.inf, 1e300, [[]], {"a": {}}]
    wrong += [] if at in (("hardware",), ("hardware", "shell"), *LATER) else [None]
    value: Any = RAW
    for key in at:
        value = value[key]
    if not isinstance(value, str) and at[0] != "preprocessing":
        wrong.append("12")
    if type(value) is int and at[0] != "preprocessing":
        wrong += [1.5, 2**63]
    if isinstance(value, str) and at[0] != "preprocessing":
        wrong.append(12)
    name = next(key for key in reversed(at) if isinstance(key, str))
    for replacement in wrong:
        with pytest.raises(ArtifactError, match=name.replace(".", r"\.")):
            load(tmp_path / "accelerator.json", replaced(at, replacement))


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (("schema",), 1),
        (("schema",), 1.0),
        (("height",), 0),
        (("width",), -28),
        (("decision", "scale"), 0.0),
        (("hardware", "clock_mhz"), -1.0),
        (("hardware", "cycles_per_image"), 0),
        (("hardware", "shell"), "pcie"),
        (("hardware", "input", "datatype"), "int8"),
        (("hardware", "input", "shape"), [28, 0]),
        (("class_names",), ["NORMAL"]),
    ],
)
def test_a_value_out_of_range_is_refused(tmp_path: Path, at: tuple[str, ...], value: object) -> None:
    with pytest.raises(ArtifactError, match=rf"{'.'.join(at)} is "):
        load(tmp_path / "accelerator.json", replaced(at, value))


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (("hardware", "dma"), {"input": "x"}, r"hardware.dma has \['input'\], expected \['dma'\]"),
        (("hardware", "shell"), None, r"hardware.dma has \['dma'\], expected \[\]"),
        (("hardware", "part"), "xc6s", r"hardware.part is 'xc6s', expected a part that begins with xc7z or "),
        (("hardware", "shell"), "finn_iodma", r"expected \['input', 'output'\]"),
        (("hardware", "input", "packed_bytes"), 783, "783 packed bytes in beats of 64 bits, expected 784 in"),
        (("hardware", "input", "folded_shape"), [97, 8], "with the product 784"),
        (("hardware", "input", "width_bits"), 32, "784 packed bytes in beats of 32 bits, expected 784 in beats of 64"),
        (("hardware", "output", "width_bits"), 64, "4 packed bytes in beats of 64 bits, expected 1 integers of"),
        (("hardware", "output", "shape"), [2], r"shape \[2\] and folded shape \[1, 1\], expected int32, \[1\] and"),
        (("hardware", "output", "datatype"), "uint8", "hardware.output has 'uint8'"),
        (("width",), 27, "with the product 756"),
        (("channels",), 2, "with the product 1568"),
        (("datatype",), "int8", "hardware.input.datatype is 'uint8', expected int8"),
        (("datatype",), "float32", "datatype is 'float32', expected one of uint8"),
        (("outputs",), 3, "decision.multipliers is missing"),
        (("decision",), None, "expected none, as there is no decision"),
    ],
)
def test_streams_that_contradict_each_other(tmp_path: Path, at: tuple[str, ...], value: object, message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        load(tmp_path / "accelerator.json", replaced(at, value))


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (("multipliers",), [1, 5], "has 2 numbers, expected 3"),
        (("multipliers", 1), 0, "is 0, expected 1 to 1073741823"),
        (("multipliers", 1), 2**30, "is 1073741824, expected"),
        (("multipliers", 1), 1.0, "holds 1.0, expected integers"),
        (("multipliers", 1), True, "holds True, expected integers"),
        (("offsets",), None, "is None, expected list"),
        (("offsets", 0), 2**60, "is 1152921504606846976, expected -1152921504606846975 to"),
        (("shift",), 201, "is 201, expected -200 to 200"),
        (("shift",), 1.5, "is 1.5, expected int"),
        (("rule",), 1, "is 1, expected str"),
        (("operating_points", "c"), 5, "is int, expected an object"),
        (("operating_points", "c", "label"), 3, "is 3, expected 0 to 2"),
        (("operating_points", "c", "label"), -1, "is -1, expected 0 to 2"),
        (("operating_points", "c", "margin"), 2**62, "is 4611686018427387904, expected"),
        (("operating_points", "c", "margin"), 0.0, "is 0.0, expected int"),
        (("extra",), 1, "is unknown"),
    ],
)
def test_a_choice_that_could_leave_64_bits_is_refused_by_name(
    tmp_path: Path, at: tuple[Any, ...], value: object, message: str
) -> None:
    raw = copy.deepcopy(RAW) | {"outputs": 3, "class_names": ["a", "b", "c"], "hardware": None}
    raw["decision"] = dataclasses.asdict(CHOICE)
    holder = raw["decision"]
    for key in at[:-1]:
        holder = holder[key]
    holder[at[-1]] = value
    where = ".".join(key for key in ("decision", *at) if isinstance(key, str))
    with pytest.raises(ArtifactError, match=rf"{where} {message}"):
        load(tmp_path / "accelerator.json", raw)


def test_there_are_as_many_names_as_classes(tmp_path: Path) -> None:
    raw = RAW | {"outputs": 3, "class_names": ["a", "b"], "hardware": None, "decision": dataclasses.asdict(CHOICE)}
    with pytest.raises(ArtifactError, match=r"class_names is \['a', 'b'\], expected 3 names"):
        load(tmp_path / "accelerator.json", raw)


@pytest.mark.parametrize("holder", [(), ("decision",), ("hardware",), ("hardware", "output")], ids=str)
def test_an_unknown_field_is_named(tmp_path: Path, holder: tuple[str, ...]) -> None:
    with pytest.raises(ArtifactError, match=rf"{'.'.join((*holder, 'extra'))} is unknown"):
        load(tmp_path / "accelerator.json", replaced((*holder, "extra"), 1))


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"1" * 5000, b"\xff\xfe{}", b"[" * 100_000, b'{"schema": 1}', b'"text"'],
    ids=["empty", "cut", "list", "null", "long number", "not UTF-8", "deep", "almost empty", "text"],
)
def test_what_is_no_manifest(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "accelerator.json"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match="Package the run again"):
        load_manifest(path)


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (("hardware", "input", "shape"), [2**62] * 100_000, "100000 numbers, expected 4 at most"),
        (("height",), 2**40, "height is 1099511627776, expected 4096 at most"),
        (("outputs",), 2**40, "outputs is 1099511627776, expected 65536 at most"),
        (("class_names",), ["x" * 10**6], r"class_names is 'xxx"),
        (("sha256",), {"a" * 300: "0"}, "names the file 'aaa"),
        (("sha256",), {"a/../../b": "0"}, "outside its own folder"),
        (("sha256",), {"/dev/zero": "0"}, "outside its own folder"),
    ],
    ids=["shape", "height", "outputs", "class_names", "long name", "outside", "device"],
)
def test_sizes_are_bounded_before_anything_is_computed(
    tmp_path: Path, at: tuple[str, ...], value: object, message: str
) -> None:
    with pytest.raises(ArtifactError, match=message) as caught:
        load(tmp_path / "accelerator.json", replaced(at, value))
    assert len(str(caught.value)) < 500


def text_at(at: tuple[Any, ...]) -> bool:
    value: Any = RAW
    for key in at:
        value = value[key]
    return isinstance(value, str)


@pytest.mark.parametrize("at", [at for at in [*PLACES, ("provenance", "run")] if text_at(at)], ids=str)
def test_every_text_is_bounded(tmp_path: Path, at: tuple[Any, ...]) -> None:
    """All of them end in sentences, tables or a page; 300 letters are as many as any record of a run may have."""
    with pytest.raises(
        ArtifactError, match=f"{at[0]}.* is 'xxx.*, a text of 1,000,000 letters, expected 300 at most"
    ) as err:
        load(tmp_path / "accelerator.json", replaced(at, "x" * 10**6))
    assert len(str(err.value)) < 600
    load(tmp_path / "accelerator.json", replaced(("name",), "x" * 300))


def test_names_within_a_field_are_bounded(tmp_path: Path) -> None:
    for at in ("versions",), ("provenance",), ("decision", "operating_points"):
        with pytest.raises(ArtifactError, match="a text of 1,000,000 letters"):
            load(tmp_path / "accelerator.json", replaced((*at, "x" * 10**6), 1))


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"accelerator\.json is not there\. Give a deploy folder"):
        load_manifest(tmp_path / "accelerator.json")
    with pytest.raises(ArtifactError):
        load_manifest(tmp_path)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.sampled_from(PLACES), value=JSON_VALUES, cut=st.none() | st.integers(0, 2000))
def test_mutations_parse_to_the_annotated_types_or_are_refused(
    tmp_path: Path, at: tuple[Any, ...], value: object, cut: int | None
) -> None:
    path = tmp_path / "accelerator.json"
    path.write_text(json.dumps(replaced(at, value))[:cut], encoding="utf-8")
    try:
        manifest = load_manifest(path)
    except ArtifactError:
        return
    assert conforms(manifest, Manifest)
