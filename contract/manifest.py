"""`accelerator.json`: everything the driver needs to know about an accelerator, and the only thing it trusts.

Plain dataclasses, because the board has no pydantic. Reading checks every field's type and range, so that a damaged or
forged manifest is one clear error and never a wrong answer.
"""

import json
from dataclasses import asdict, dataclass, fields
from math import prod
from pathlib import Path
from reprlib import repr as shortened
from typing import Any

from contract.decision import Decision
from contract.errors import ArtifactError
from contract.files import is_inside, read_json, write_whole
from contract.network import MAX_SIDE
from contract.shells import CELLS

SCHEMA = 1
MAX_DIMENSIONS = 4  # of a stream's shape
DISCLAIMER = "Research use only, not a medical device."


@dataclass(frozen=True)
class Stream:
    """One AXI-Stream of the accelerator."""

    shape: list[int]  # of one image or one result
    datatype: str  # "uint8" or "int32"
    folded_shape: list[int]  # (beats, elements per beat)
    packed_bytes: int  # of one image or one result on the stream
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
    height: int
    width: int
    decision: Decision
    hardware: Hardware | None  # None: this network runs on the CPU reference only
    sha256: dict[str, str]  # file name in the manifest's folder -> its hash
    versions: dict[str, str]
    provenance: dict[str, Any]  # run, git commit, dataset fingerprint, test metrics


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
        raise _FieldError(f"{where or 'the file'} is {type(raw).__name__}, expected an object")
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
    if record["datatype"] not in ("uint8", "int32"):
        raise _FieldError(f"{where}datatype is {shortened(record['datatype'])}, expected uint8 or int32")
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


def _check_streams(hardware: Hardware, pixels: int) -> None:
    """Stop unless the streams carry one byte per pixel in and one integer out."""
    source, sink = hardware.input, hardware.output
    if not source.packed_bytes == prod(source.shape) == prod(source.folded_shape) == pixels:
        raise _FieldError(
            f"hardware.input has {source.packed_bytes} packed bytes, shape {source.shape} and folded shape "
            f"{source.folded_shape}, expected {pixels} bytes in each"
        )
    if len(source.folded_shape) != 2 or source.width_bits != 8 * source.folded_shape[1]:
        raise _FieldError(f"hardware.input.width_bits is {source.width_bits}, which is not 8 per pixel of a beat")
    if sink.shape != [1] or not 1 <= sink.packed_bytes <= 4 or sink.width_bits != 8 * sink.packed_bytes:
        raise _FieldError("hardware.output is not one integer of 1 to 4 bytes")


def _manifest(raw: object) -> Manifest:
    record = _record(raw, Manifest, "")
    if record["schema"] != SCHEMA or type(record["schema"]) is not int:
        raise _FieldError(f"schema is {shortened(record['schema'])}, this version reads {SCHEMA}")
    for name in ("name", "disclaimer"):
        _is(record[name], str, name)
    for name in ("height", "width"):
        _is(record[name], int, name, positive=True)
        if record[name] > MAX_SIDE:
            raise _FieldError(f"{name} is {record[name]}, expected {MAX_SIDE} at most")
    _is(record["class_names"], list, "class_names")
    if len(record["class_names"]) != 2 or not all(isinstance(name, str) for name in record["class_names"]):
        raise _FieldError(f"class_names is {shortened(record['class_names'])}, expected two names")
    for name in ("preprocessing", "sha256", "versions", "provenance"):
        _is(record[name], dict, name)
    _values_are(record["preprocessing"], (int, str), "preprocessing")
    _values_are(record["sha256"], str, "sha256")
    for name in record["sha256"]:
        if not is_inside(name):
            raise _FieldError(f"sha256 names the file {shortened(name)}, outside its own folder")
    _values_are(record["versions"], str, "versions")
    if isinstance(record["decision"], dict):
        record["decision"] = {"operating_points": {}, **record["decision"]}
    decision = _record(record["decision"], Decision, "decision.")
    _is(decision["scale"], (int, float), "decision.scale", positive=True)
    _is(decision["offset"], (int, float), "decision.offset")
    _is(decision["threshold"], int, "decision.threshold")
    _is(decision["rule"], str, "decision.rule")
    _is(decision["operating_points"], dict, "decision.operating_points")
    for name, threshold in decision["operating_points"].items():
        _is(threshold, int, f"decision.operating_points.{name[:60]}")
    record["decision"] = Decision(**decision)
    record["hardware"] = _hardware(record["hardware"])
    if record["hardware"] is not None:
        _check_streams(record["hardware"], record["height"] * record["width"])
    return Manifest(**record)
