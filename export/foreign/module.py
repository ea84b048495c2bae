"""A Brevitas module as a file that the importer reads: for who has the network in Python, not as a file."""

import contextlib
import io
import warnings
from pathlib import Path
from typing import Any

from contract.files import replacing


def save_module(module: Any, example: Any, path: Path) -> None:
    """Write a torch.nn.Module with Brevitas' quantizers as QONNX, whole or not at all.

    Args:
        module: the network; it is exported in eval mode, as it then is.
        example: a tensor of one input, (1, ...).
        path: the file.
    """
    from brevitas.export import export_qonnx

    silence = contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO())
    with replacing(path) as partial, warnings.catch_warnings(), silence[0], silence[1]:
        warnings.simplefilter("ignore")  # the exporter warns about itself
        export_qonnx(module.eval(), args=example, export_path=str(partial), dynamo=False)
