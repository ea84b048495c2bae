"""A Brevitas module as a file that the importer reads: for who has the network in Python, not as a file."""

import contextlib
import io
import warnings
from pathlib import Path
from typing import Any

from contract.errors import ConfigError
from contract.files import replacing


def save_module(module: Any, example: Any, path: Path) -> None:
    """Write a torch.nn.Module with Brevitas' quantizers as QONNX, whole or not at all.

    Args:
        module: the network; it is exported in eval mode, as it then is.
        example: a tensor of one input, (1, ...).
        path: the file.

    Raises:
        ConfigError: it is no module, or it cannot be exported; says why.
    """
    from brevitas.export import export_qonnx
    from torch import Tensor, nn

    if not isinstance(module, nn.Module) or not isinstance(example, Tensor):
        raise ConfigError(
            f"a module of the type {type(module).__name__} and an example of the type {type(example).__name__} are "
            "given, expected a torch.nn.Module with Brevitas' quantizers and a tensor of one input, (1, ...)."
        )
    silence = contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO())
    with replacing(path) as partial, warnings.catch_warnings(), silence[0], silence[1]:
        warnings.simplefilter("ignore")  # the exporter warns about itself
        try:
            export_qonnx(module.eval(), args=example, export_path=str(partial), dynamo=False)
        except Exception as err:  # PyTorch, Brevitas and the module's own code raise anything
            why = " ".join(str(err).split())[:200].rstrip(".") or type(err).__name__
            raise ConfigError(
                f"Brevitas cannot export the module with an example of the shape {tuple(example.shape)} "
                f"({type(err).__name__}: {why}). Try `module.eval()(example)` first."
            ) from err
