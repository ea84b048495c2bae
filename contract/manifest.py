"""`accelerator.json`: everything the driver needs to know about an accelerator, and the only thing it trusts.

Plain dataclasses, because the board has no pydantic. Reading checks every field's type and range, so that a damaged or
forged manifest is one clear error and never a wrong answer.
"""

import json
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from math import prod
from pathlib import Path
from reprlib import repr as shortened
from typing import Any

from contract.decision import (
    ENDS,
    PARAMETERS,
    Choice,
    Decision,
    Head,
    OneAgainstRest,
    beyond_bounds,
)
from contract.errors import ArtifactError
from contract.files import LONGEST_TEXT, is_inside, read_json, write_whole
from contract.inputs import Fed
from contract.network import MAX_OUTPUTS, MAX_SIDE, MAX_SIZE, Input
from contract.processors import KNOWN_PARTS, processors_of
from contract.quantizer import FLOAT, MAX_RULE, InputRule
from contract.shells import CELLS
from contract.values import BIPOLAR, PIXELS, VALUES

SCHEMA = 2
MAX_DIMENSIONS = 4  # of a stream's shape
MAX_FED_SIDES = 8  # of what an imported file reads
MAX_NAME = 100  # characters of a class's name
RESULT = "int32"  # what every result is to software, however few bytes it has on the stream
DISCLAIMER = "Research use only, not a medical device."


@dataclass(frozen=True)
class Stream:
    """One AXI-Stream of the accelerator."""

    shape: list[int]  # of one image, or of its K results
    datatype: str  # of an image in contract.values.VALUES; of a result "int32"
    folded_shape: list[int]  # (beats, elements per beat)
    packed_bytes: int  # of one image, or of its results, on the stream
    width_bits: int  # TDATA [bit]


@dataclass(frozen=True)
class Hardware:
    """The accelerator in the programmable logic."""

    shell: str | None  # "axi_dma" or "finn_iodma"; None until there is a bitstream
    board: str
    part: str
    clock_mhz: float
    input: Stream
    output: Stream
    dma: dict[str, str]  # role -> name of the block design's cell; empty until there is a bitstream
    cycles_per_image: int  # initiation interval, measured in simulation


@dataclass(frozen=True)
class Manifest:
    """The whole of accelerator.json."""

    schema: int
    name: str
    disclaimer: str
    class_names: list[str]
    preprocessing: dict[str, int | str]
    height: int  # of an image, as `channels`
    width: int
    channels: int
    datatype: str  # of its values, a name in contract.values.VALUES
    outputs: int  # K, integers per image
    # What the integers mean: of one, Decision; of K classes, Choice; None: the integers are all there is.
    decision: Decision | Choice | None
    hardware: Hardware | None  # None: this network runs on the CPU reference only
    sha256: dict[str, str]  # file name in the manifest's folder -> its hash
    versions: dict[str, str]
    provenance: dict[str, Any]  # run, git commit, dataset fingerprint, test metrics
    rule: InputRule | None = None  # what makes the network's integers of what is fed; None: these are fed
    head: Head | None = None  # what the integers of an imported network stand for; None: it was trained here
    fed_shape: list[int] | None = None  # of one input, as the imported file has it; None: that of `input`

    @property
    def classes(self) -> list[str]:
        """What people call each class; those of an imported network have numbers. Empty where there are no classes."""
        if self.head is None:
            return self.class_names
        return [f"class {k}" for k in range(max(2, self.outputs))]

    @property
    def fed(self) -> Fed:
        """What is fed to it. Not what the network reads, where there is a rule."""
        reads = self.datatype if self.rule is None else self.rule.reads
        return Fed(reads, tuple(self.fed_shape or self.input.shape))

    @property
    def reads_pictures(self) -> bool:
        """Whether image files, made gray levels of its size, are what is fed to it; a row of values is no picture."""
        return self.fed.reads == PIXELS.name and self.fed.sides == [self.height, self.width]

    @property
    def input(self) -> Input:
        """What the network reads."""
        return Input(self.height, self.width, self.channels, self.datatype)


def save_manifest(path: Path, manifest: Manifest) -> None:
    """Write accelerator.json, whole or not at all."""
    write_whole(path, json.dumps(asdict(manifest), indent=2) + "\n")


def load_manifest(path: Path) -> Manifest:
    """Read accelerator.json, trusting nothing. Raises ArtifactError naming the first wrong field."""
    raw = read_json(
        path, advice="Give a deploy folder, which holds accelerator.json. Package the run again if it is damaged."
    )
    try:
        return _manifest(raw)
    except _FieldError as err:
        raise ArtifactError(f"{path}: {err}. Package the run again with this version of cxrflow.") from err


class _FieldError(Exception):
    pass


def _record(raw: object, kind: type, where: str) -> dict[str, Any]:
    """Check that `raw` has exactly the fields of the dataclass `kind`."""
    if not isinstance(raw, dict):
        raise _FieldError(f"{where.rstrip('.') or 'the file'} is {type(raw).__name__}, expected an object")
    want = {f.name for f in fields(kind)}
    for name in sorted(want ^ set(raw)):
        raise _FieldError(f"{where}{name if name in want else name[:60]} is {'missing' if name in want else 'unknown'}")
    return dict(raw)


def _is(value: object, kind: type | tuple[type, ...], where: str, *, positive: bool = False) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    # Within 64 bits; false for inf and NaN too.
    fits = number and -(2**63) < value < 2**63  # type: ignore[operator]
    if not isinstance(value, kind) or isinstance(value, bool) or (number and not fits):
        expected = "a finite number" if isinstance(kind, tuple) else kind.__name__
        raise _FieldError(f"{where} is {shortened(value)}, expected {expected}")
    if positive and not value > 0:  # type: ignore[operator]
        raise _FieldError(f"{where} is {value!r}, expected more than 0")


def _bounded(value: object, where: str) -> None:
    """Check the lengths of all texts of a value, names included."""
    if isinstance(value, str) and len(value) > LONGEST_TEXT:
        raise _FieldError(
            f"{where} is {shortened(value)}, a text of {len(value):,} letters, expected {LONGEST_TEXT} at most"
        )
    inner = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []
    for one in inner:
        _bounded(one, where)


def _values_are(record: dict[str, Any], kind: type | tuple[type, ...], where: str) -> None:
    """Check the values of a JSON object."""
    for name, value in record.items():
        if not isinstance(value, kind) or isinstance(value, bool):
            raise _FieldError(
                f"{where}.{name[:60]} is {shortened(value)}, expected a {'text' if kind is str else 'text or an int'}"
            )


def _stream(raw: object, where: str) -> Stream:
    record = _record(raw, Stream, where)
    for name in ("shape", "folded_shape"):
        _is(record[name], list, where + name)
        if len(record[name]) > MAX_DIMENSIONS:
            raise _FieldError(f"{where}{name} has {len(record[name])} numbers, expected {MAX_DIMENSIONS} at most")
        for value in record[name]:
            _is(value, int, where + name, positive=True)
    for name in ("packed_bytes", "width_bits"):
        _is(record[name], int, where + name, positive=True)
    _is(record["datatype"], str, where + "datatype")
    return Stream(**record)


def _hardware(raw: object) -> Hardware | None:
    if raw is None:
        return None
    record = _record(raw, Hardware, "hardware.")
    shell = record["shell"]
    if shell is not None and not (isinstance(shell, str) and shell in CELLS):
        raise _FieldError(f"hardware.shell is {shortened(shell)}, expected {', '.join(CELLS)} or null")
    for name in ("board", "part"):
        _is(record[name], str, f"hardware.{name}")
    try:
        processors_of(record["part"])
    except ValueError as err:
        raise _FieldError(f"hardware.part is {shortened(record['part'])}, expected {KNOWN_PARTS}") from err
    _is(record["clock_mhz"], (int, float), "hardware.clock_mhz", positive=True)
    _is(record["cycles_per_image"], int, "hardware.cycles_per_image", positive=True)
    _is(record["dma"], dict, "hardware.dma")
    _values_are(record["dma"], str, "hardware.dma")
    record["input"] = _stream(record["input"], "hardware.input.")
    record["output"] = _stream(record["output"], "hardware.output.")
    roles = set(CELLS[shell]) if shell is not None else set()
    if set(record["dma"]) != roles:
        raise _FieldError(
            f"hardware.dma has {shortened(sorted(record['dma']))}, expected {sorted(roles)} for this shell"
        )
    return Hardware(**record)


def _check_streams(hardware: Hardware, image: Input, outputs: int) -> None:
    """Stop unless the streams carry an image in whole beats in, and its integers out, one a beat."""
    source, sink = hardware.input, hardware.output
    if source.datatype != image.datatype:
        raise _FieldError(f"hardware.input.datatype is {shortened(source.datatype)}, expected {image.datatype}")
    if source.shape != list(image.shape) or len(source.folded_shape) != 2 or prod(source.folded_shape) != image.size:
        raise _FieldError(
            f"hardware.input has shape {source.shape} and folded shape {source.folded_shape}, expected "
            f"{list(image.shape)} and two numbers with the product {image.size}"
        )
    beats, lanes = source.folded_shape
    beat_bytes = image.values.beat_bytes(lanes)
    if (source.width_bits, source.packed_bytes) != (8 * beat_bytes, beats * beat_bytes):
        raise _FieldError(
            f"hardware.input has {source.packed_bytes} packed bytes in beats of {source.width_bits} bits, expected "
            f"{beats * beat_bytes} in beats of {8 * beat_bytes}"
        )
    if sink.datatype != RESULT or sink.shape != [outputs] or sink.folded_shape != [outputs, 1]:
        raise _FieldError(
            f"hardware.output has {shortened(sink.datatype)} of shape {sink.shape} and folded shape "
            f"{sink.folded_shape}, expected {RESULT}, {[outputs]} and {[outputs, 1]}"
        )
    if sink.width_bits not in (8, 16, 24, 32) or sink.packed_bytes != outputs * sink.width_bits // 8:
        raise _FieldError(
            f"hardware.output has {sink.packed_bytes} packed bytes in beats of {sink.width_bits} bits, expected "
            f"{outputs} integers of 1 to 4 bytes each"
        )


def _manifest(raw: object) -> Manifest:
    later = {"rule": None, "head": None, "fed_shape": None}  # older folders have none
    record = _record({**later, **raw} if isinstance(raw, dict) else raw, Manifest, "")
    for name, value in record.items():
        _bounded(value, name)
    if record["schema"] != SCHEMA or type(record["schema"]) is not int:
        raise _FieldError(f"schema is {shortened(record['schema'])}, this version reads {SCHEMA}")
    for name in ("name", "disclaimer"):
        _is(record[name], str, name)
    for name, most in (("height", MAX_SIDE), ("width", MAX_SIDE), ("channels", MAX_SIDE), ("outputs", MAX_OUTPUTS)):
        _is(record[name], int, name, positive=True)
        if record[name] > most:
            raise _FieldError(f"{name} is {record[name]}, expected {most} at most")
    _is(record["datatype"], str, "datatype")
    if record["datatype"] not in VALUES:
        raise _FieldError(f"datatype is {shortened(record['datatype'])}, expected one of {', '.join(VALUES)}")
    if record["height"] * record["width"] * record["channels"] > MAX_SIZE:
        raise _FieldError(f"height, width and channels make more than {MAX_SIZE} values")
    for name in ("preprocessing", "sha256", "versions", "provenance"):
        _is(record[name], dict, name)
    _values_are(record["preprocessing"], (int, str), "preprocessing")
    _values_are(record["sha256"], str, "sha256")
    for name in record["sha256"]:
        if not is_inside(name):
            raise _FieldError(f"sha256 names the file {shortened(name)}, outside its own folder")
    _values_are(record["versions"], str, "versions")
    record["decision"] = _decision(record["decision"], record["outputs"])
    _is(record["class_names"], list, "class_names")
    names, named = record["class_names"], 0 if record["decision"] is None else max(2, record["outputs"])
    if len(names) != named or not all(isinstance(name, str) for name in names):
        expected = ("two" if named == 2 else str(named)) + " names" if named else "none, as there is no decision"
        raise _FieldError(f"class_names is {shortened(names)}, expected {expected}")
    for name in names:  # they are shown to people, in tables and terminals
        if not name.isprintable() or not name.strip() or len(name) > MAX_NAME:
            raise _FieldError(f"class_names holds {shortened(name)}, expected 1 to {MAX_NAME} printable characters")
    if len(set(names)) != len(names):
        raise _FieldError(f"class_names is {shortened(names)}, expected names that differ")
    record["rule"] = _rule(record["rule"], record)
    record["head"] = _head(record["head"], record)
    _check_fed_shape(record["fed_shape"], record)
    record["hardware"] = _hardware(record["hardware"])
    manifest = Manifest(**record)
    if manifest.hardware is not None:
        _check_streams(manifest.hardware, manifest.input, manifest.outputs)
    return manifest


def _decision(raw: object, outputs: int) -> Decision | Choice | None:
    if raw is None:
        return None
    if outputs != 1:
        return _choice(raw, outputs)
    record = _record({"operating_points": {}, **raw} if isinstance(raw, dict) else raw, Decision, "decision.")
    _is(record["scale"], (int, float), "decision.scale", positive=True)
    _is(record["offset"], (int, float), "decision.offset")
    _is(record["threshold"], int, "decision.threshold")
    _is(record["rule"], str, "decision.rule")
    _is(record["operating_points"], dict, "decision.operating_points")
    for name, threshold in record["operating_points"].items():
        _is(threshold, int, f"decision.operating_points.{name[:60]}")
    return Decision(**record)


def _choice(raw: object, outputs: int) -> Choice:
    record = _record(raw, Choice, "decision.")
    for name in ("multipliers", "offsets"):
        _numbers(record[name], f"decision.{name}", outputs, int)
    _is(record["shift"], int, "decision.shift")
    _is(record["rule"], str, "decision.rule")
    _is(record["operating_points"], dict, "decision.operating_points")
    points = {}
    for name, point in record["operating_points"].items():
        where = f"decision.operating_points.{name[:60]}."
        points[name] = OneAgainstRest(**_record(point, OneAgainstRest, where))
        _is(points[name].label, int, f"{where}label")
        _is(points[name].margin, int, f"{where}margin")
    found = Choice(**{**record, "operating_points": points})
    wrong = beyond_bounds(found)
    if wrong is not None:
        raise _FieldError(f"decision.{wrong}")
    return found


def _numbers(value: object, where: str, count: int | None, kind: type | tuple[type, ...] = (int, float)) -> list[Any]:
    """Return a list of so many finite numbers, or of any number of them."""
    _is(value, list, where)
    assert isinstance(value, list)
    if count is not None and len(value) != count:
        raise _FieldError(f"{where} has {len(value)} numbers, expected {count}")
    for number in value:
        counts = isinstance(number, kind) and isinstance(number, int | float) and not isinstance(number, bool)
        if not counts or not abs(number) < (2**63 if isinstance(number, int) else float("inf")):
            expected = "integers of at most 64 bits" if kind is int else "finite numbers"
            raise _FieldError(f"{where} holds {shortened(number)}, expected {expected}")
    return value


def _ascending(value: object, where: str, count: int | None, kind: type | tuple[type, ...] = (int, float)) -> list[Any]:
    numbers = _numbers(value, where, count, kind)
    if any(a > b for a, b in pairwise(numbers)):
        raise _FieldError(f"{where} is not ascending")
    return numbers


def _rule(raw: object, manifest: dict[str, Any]) -> InputRule | None:
    if raw is None:
        return None
    record = _record(raw, InputRule, "rule.")
    _is(record["reads"], str, "rule.reads")
    if record["reads"] not in (FLOAT, *VALUES):
        raise _FieldError(f"rule.reads is {shortened(record['reads'])}, expected {FLOAT} or one of {', '.join(VALUES)}")
    if record["datatype"] != manifest["datatype"]:
        raise _FieldError(f"rule.datatype is {shortened(record['datatype'])}, expected {manifest['datatype']}")
    _is(record["low"], int, "rule.low")
    rows, size = record["thresholds"], manifest["height"] * manifest["width"] * manifest["channels"]
    _is(rows, list, "rule.thresholds")
    if len(rows) not in (1, size) or not isinstance(rows[0], list) or not 1 <= len(rows[0]) * len(rows) <= MAX_RULE:
        raise _FieldError(f"rule.thresholds has {len(rows)} rows, expected 1 or {size}, of {MAX_RULE} numbers at most")
    thresholds = tuple(tuple(_ascending(row, "rule.thresholds", len(rows[0]))) for row in rows)
    values, count = VALUES[record["datatype"]], len(rows[0])
    bipolar = values.name == BIPOLAR
    greatest = values.high - (2 if bipolar else 1) * count
    if (bipolar and count != 1) or not values.low <= record["low"] <= greatest:
        raise _FieldError(f"rule gives {record['low']} and {count} more, expected values of {values}")
    return InputRule(record["reads"], record["datatype"], record["low"], thresholds)


def _check_fed_shape(raw: object, manifest: dict[str, Any]) -> None:
    if raw is None:
        return
    _is(raw, list, "fed_shape")
    sides = _numbers(raw, "fed_shape", None, int)
    size = manifest["height"] * manifest["width"] * manifest["channels"]
    if len(sides) > MAX_FED_SIDES or any(side < 1 for side in sides) or prod(sides) != size:
        raise _FieldError(f"fed_shape is {shortened(raw)}, expected sides with the product {size}")


def _head(raw: object, manifest: dict[str, Any]) -> Head | None:
    if raw is None:
        return None
    if manifest["decision"] is not None:
        raise _FieldError("head and decision are both there, expected one of them")
    record, outputs = _record(raw, Head, "head."), manifest["outputs"]
    if record["end"] not in ENDS or not isinstance(record["end"], str):
        raise _FieldError(f"head.end is {shortened(record['end'])}, expected {', '.join(filter(None, ENDS))} or ''")
    _is(record["steps"], list, "head.steps")
    steps = []
    for step in record["steps"]:
        if not isinstance(step, list) or len(step) != 2 or not isinstance(step[0], str) or step[0] not in PARAMETERS:
            raise _FieldError(f"head.steps holds {shortened(step)}, expected a name and its parameters")
        name, parameters = step
        _is(parameters, list, "head.steps")
        if len(parameters) != PARAMETERS[name]:
            raise _FieldError(f"head.steps has {name} with {len(parameters)} parameters, expected {PARAMETERS[name]}")
        for values in parameters:
            _is(values, list, "head.steps")
            _numbers(values, "head.steps", 1 if len(values) == 1 else outputs)
        steps.append((name, parameters))
    thresholds, values = record["thresholds"], record["values"]
    if (thresholds is None) != (values is None):
        raise _FieldError("head has thresholds or values only, expected both or none")
    if thresholds is not None:
        _is(thresholds, list, "head.thresholds")
        _is(values, list, "head.values")
        if len(thresholds) != outputs or len(values) != outputs:
            raise _FieldError(f"head.thresholds has {len(thresholds)} rows, expected {outputs}, as head.values")
        for row, reals in zip(thresholds, values, strict=True):
            _ascending(row, "head.thresholds", None, int)
            _numbers(reals, "head.values", len(row) + 1)
    return Head(steps, thresholds, values, record["end"])
