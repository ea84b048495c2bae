"""A folding that somebody wrote, in FINN's own format: {node: {attribute: value}}. It is checked whole, then used.

A graph without its constants is enough, so a file is refused before a training as far as it can be, and before the
first slow step of a build for good. What an attribute may be is the op's to say.
"""

from pathlib import Path
from reprlib import repr as shortened
from typing import Any, NamedTuple

from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from contract.errors import ArtifactError, ConfigError
from contract.files import read_json
from finn_build.ops import layer_op
from finn_build.ops.op import Attributes


def read_folding(model: ModelWrapper, path: Path) -> dict[str, Attributes]:
    """Return the attributes that a folding file gives to nodes, by the names that these have in `model`.

    Args:
        model: the graph of the layers; without constants, what depends on them is not checked.
        path: the file.

    Raises:
        ConfigError: it is no such file, or a value is not legal.
    """
    try:
        wanted: Any = read_json(path, advice="Give an existing file, see folding.json of a build, or use target_fps.")
    except ArtifactError as err:
        raise ConfigError(f"folding file {err}") from err
    strange = [wanted] if not isinstance(wanted, dict) else [v for v in wanted.values() if type(v) is not dict]
    if strange:
        raise ConfigError(
            f"folding file {path} is not a JSON object of objects ({shortened(strange[0])}). See folding.json of a "
            "build."
        )
    if wanted.pop("Defaults", {}):
        raise ConfigError(f"folding file {path} has Defaults, which do nothing here: give every layer its own values.")
    known = {node.name: _Known(node, {}) for node in model.graph.node}
    for node in model.graph.node:
        known |= {name: _Known(node, said) for name, said in layer_op(node).built_as(node.name).items()}
    found: dict[str, Attributes] = {}
    for name, values in wanted.items():
        if name not in known:
            layers = ", ".join(node.name for node in model.graph.node)
            raise ConfigError(
                f"folding file {path} names {_readable(name)}, which is no layer; layers are {layers}. "
                "Take it out, or give it the name of one."
            )
        node, said = known[name]
        if node.name in found:
            raise ConfigError(f"folding file {path} has a layer twice, as {name} too. Take one of them out.")
        found[node.name] = said | values
        _require_legal(path, model, node, found[node.name], called=name)
    return found


class _Known(NamedTuple):
    """A layer by one of its names, and what of its folding that name says."""

    node: Any
    said: Attributes


def _require_legal(path: Path, model: ModelWrapper, node: Any, values: dict[str, Any], *, called: str) -> None:
    trained = not node.input[1:] or model.get_initializer(node.input[1]) is not None
    legal = layer_op(node).legal(getCustomOp(node), trained=trained)
    for attribute, value in values.items():
        if attribute not in legal:
            raise ConfigError(
                f"folding file {path} sets {_readable(attribute)} of {called}; settable are {', '.join(legal)}. "
                "Take it out."
            )
        may_be = legal[attribute].values
        if type(value) is not type(may_be[0]) or value not in may_be:  # True is no 1, and 2.0 no 2
            raise ConfigError(
                f"folding file {path}: {called} has {attribute} {shortened(value)}{legal[attribute]}. "
                "Give a legal one, or take it out."
            )
    if reason := layer_op(node).unbuildable(getCustomOp(node), values):
        raise ConfigError(f"folding file {path}: {called} {reason}.")
    if idle := layer_op(node).idle(getCustomOp(node), values, trained=trained):
        raise ConfigError(f"folding file {path}: {called} has {idle}. Take it out, or choose the 'unit' that heeds it.")


def _readable(name: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in name[:60])
