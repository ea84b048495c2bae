"""Trained networks as files: written whole or not at all, and read without trusting them.

A PyTorch file is an archive of tensors and a pickle, and a pickle can run any program. So files are read with
weights_only=True, which admits tensors and plain containers only, and then checked against the spec that they carry.
Before that, they are looked at: torch allocates what a damaged file promises, and a hundred bytes of pickle, tuples of
twice the same tuple, take it for ever.
"""

import io
import math
import os
import pickle
import pickletools
import zipfile
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as shortened
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from contract.errors import ArtifactError
from contract.files import LONGEST_TEXT, replacing
from qnn.network import PixelMLP
from qnn.spec import NetworkSpec

FORMAT = 1
MAX_BYTES = 2 << 30  # of a file
MAX_PICKLE = 16 << 20  # bytes of what is not tensors
MAX_SHARED = 16  # uses of a container that has been used before: torch's files have none
MAX_SPEC = 1 << 16  # letters
# What torch's own files name; the storages end in "Storage".
_GLOBALS = {"torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter", "collections OrderedDict"}
_PLAIN = {"GLOBAL", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES"}
KEYS = {"format", "spec", "state", "operating_point", "fingerprint"}


@dataclass(frozen=True)
class Checkpoint:
    """A trained network and what is needed to use it."""

    net: PixelMLP  # in evaluation mode, float32
    operating_point: float  # class 1 where the logit exceeds this [logit]
    fingerprint: str  # of the data set it was trained on


def save_torch(path: Path, content: dict[str, Any]) -> None:
    """Write `content` to `path`, whole or not at all. Equal contents give equal bytes."""
    buffer = io.BytesIO()  # a file name would become part of the bytes
    torch.save(content, buffer)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial, partial.open("wb") as stream:
        stream.write(buffer.getbuffer())
        stream.flush()
        os.fsync(stream.fileno())


def load_torch(path: Path, *, advice: str) -> dict[str, Any]:
    """Return the dict in `path`, executing nothing of it. `advice` ends the messages: what to do about a bad file.

    Raises:
        ArtifactError: the file is missing, damaged, or holds more than tensors and plain containers.
    """
    if not path.is_file():
        raise ArtifactError(f"{path} is not there. {advice}")
    try:
        _check_archive(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as err:
        raise ArtifactError(
            f"{path} is not a file of plain tensors: it is damaged or holds code, and was not executed. {advice}"
        ) from err
    except Exception as err:  # torch, zipfile and pickle raise many kinds for damaged files
        raise ArtifactError(f"{path} is not a whole PyTorch file ({type(err).__name__}). {advice}") from err
    if not isinstance(content, dict):
        raise ArtifactError(f"{path} holds a {type(content).__name__}, expected a dict. {advice}")
    return content


def _check_archive(path: Path) -> None:
    """Stop at an archive whose tensors are larger than the file, and at a pickle that torch does not write.

    Raises:
        pickle.UnpicklingError: it is another kind of file, or such a one.
    """
    if not zipfile.is_zipfile(path) or path.stat().st_size > MAX_BYTES:
        raise pickle.UnpicklingError("no archive, or too large")
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if any(member.file_size != member.compress_size or member.compress_type for member in members):
            raise pickle.UnpicklingError("compressed")
        if sum(member.file_size for member in members) > path.stat().st_size:
            raise pickle.UnpicklingError("overlapping members")
        pickles = [member for member in members if member.filename.endswith("data.pkl")]
        if len(pickles) != 1 or pickles[0].file_size > MAX_PICKLE:
            raise pickle.UnpicklingError("no pickle, several, or a large one")
        code = archive.read(pickles[0])
    before, shared = "", 0
    memo: dict[object, str] = {}
    for operation, argument, _ in pickletools.genops(code):
        name = operation.name
        if name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = before if argument not in memo else "again"
        elif name in ("BINGET", "LONG_BINGET"):
            shared += memo.get(argument) not in _PLAIN
        foreign = name == "GLOBAL" and argument not in _GLOBALS and not str(argument).endswith("Storage")
        if foreign or shared > MAX_SHARED or name in ("DUP", "GET", "STACK_GLOBAL", "INST", "OBJ", "NEWOBJ"):
            raise pickle.UnpicklingError(name)
        before = name


def save_checkpoint(path: Path, net: PixelMLP, *, operating_point: float, fingerprint: str) -> None:
    """Write a trained network.

    Args:
        path: where to; conventionally checkpoint.pt.
        net: the network, in any mode.
        operating_point: class 1 where the logit exceeds this [logit].
        fingerprint: of the data set it was trained on.
    """
    state = {name: tensor.detach().cpu().clone() for name, tensor in net.state_dict().items()}
    _check_state(path, state, net, advice="Train with a lower learning rate.")
    content = {
        "format": FORMAT,
        "spec": net.spec.model_dump_json(),
        "state": state,
        "operating_point": float(operating_point),
        "fingerprint": fingerprint,
    }
    save_torch(path, content)


def load_checkpoint(path: Path, *, expected: NetworkSpec | None = None) -> Checkpoint:
    """Read what `save_checkpoint` wrote.

    Args:
        path: the file.
        expected: the spec that the caller works with; None takes the file's.

    Raises:
        ArtifactError: the file is missing, damaged, hostile, inconsistent, or of another network than `expected`.
    """
    advice = "Train again, or give the checkpoint.pt of a finished training."
    content = load_torch(path, advice=advice)
    if set(content) != KEYS:
        raise ArtifactError(
            f"{path} has the keys {shortened(sorted(map(str, content)))}, expected {sorted(KEYS)}. {advice}"
        )
    if type(content["format"]) is not int or content["format"] != FORMAT:
        raise ArtifactError(f"{path} has format {shortened(content['format'])}, expected {FORMAT}. {advice}")
    point, fingerprint = content["operating_point"], content["fingerprint"]
    texts = isinstance(fingerprint, str) and len(fingerprint) <= LONGEST_TEXT
    if not isinstance(point, float) or not math.isfinite(point) or not texts:
        raise ArtifactError(
            f"{path} has operating point {shortened(point)} and fingerprint {shortened(fingerprint)}, "
            f"expected a finite number and a text of {LONGEST_TEXT} letters at most. {advice}"
        )
    spec = _read_spec(path, content["spec"], advice=advice)
    if expected is not None and spec != expected:
        raise ArtifactError(
            f"{path} holds {spec.describe()} for {spec.height} x {spec.width} pixels, "
            f"expected {expected.describe()} for {expected.height} x {expected.width}. "
            "Train again with this experiment."
        )
    with torch.device("meta"):  # tensors without memory
        promised = PixelMLP(spec)
    size = sum(tensor.numel() * tensor.element_size() for tensor in promised.state_dict().values())
    if isinstance(content["state"], dict) and size > path.stat().st_size:
        raise ArtifactError(f"{path} describes a network of {size:,} bytes, more than it holds itself. {advice}")
    _check_state(path, content["state"], promised, advice=advice)
    net = PixelMLP(spec).eval()
    net.load_state_dict(content["state"])
    return Checkpoint(net, point, fingerprint)


def _read_spec(path: Path, text: object, *, advice: str) -> NetworkSpec:
    if not isinstance(text, str) or len(text) > MAX_SPEC:
        found = f"{len(text):,} letters" if isinstance(text, str) else shortened(text)
        raise ArtifactError(
            f"{path} describes its network in {found}, expected a text of {MAX_SPEC:,} letters at most. {advice}"
        )
    try:
        return NetworkSpec.model_validate_json(text)
    except ValidationError as err:
        problem = err.errors()[0]["msg"][:200]
        raise ArtifactError(f"{path} describes no valid network ({problem}). {advice}") from err


def _check_state(path: Path, state: object, net: PixelMLP, *, advice: str) -> None:
    """Refuse tensors that do not fit `net` one by one, or are not finite."""
    wanted = net.state_dict()
    if not isinstance(state, dict) or set(state) != set(wanted):
        found = shortened(sorted(map(str, state))) if isinstance(state, dict) else type(state).__name__
        raise ArtifactError(f"{path} has the tensors {found}, expected {sorted(wanted)}. {advice}")
    for name, want in wanted.items():
        got = state[name]
        kind = f"{got.dtype}{tuple(got.shape)}" if isinstance(got, Tensor) else type(got).__name__
        plain = isinstance(got, Tensor) and got.layout == torch.strided and got.device.type == "cpu"
        if not plain or got.shape != want.shape or got.dtype != want.dtype:
            raise ArtifactError(f"{path}: {name} is {kind}, expected {want.dtype}{tuple(want.shape)}. {advice}")
        if not torch.isfinite(got).all():
            raise ArtifactError(f"{path}: {name} has values that are not finite, expected numbers. {advice}")
