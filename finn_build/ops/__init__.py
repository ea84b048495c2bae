"""The hardware ops, one per file: whatever file of this folder has an `OP` is found."""

import importlib
import pkgutil

from finn_build.ops.op import DOMAIN, OPS, layer_op, op_of

__all__ = ["OPS", "layer_op", "op_of", "register"]

for _module in pkgutil.iter_modules(__path__):
    _op = getattr(importlib.import_module(f"{__name__}.{_module.name}"), "OP", None)
    if _op is not None:
        OPS[_op.op_type] = _op


def register() -> None:
    """Let qonnx find the nodes that are ours."""
    from qonnx.custom_op.registry import add_op_to_domain

    for op in OPS.values():
        found = op.node_class()
        if found is not None:
            add_op_to_domain(DOMAIN, found)
