"""Brevitas' own example networks as files, as if trained: nothing is downloaded."""

import configparser
import contextlib
import io
import warnings
from pathlib import Path

import brevitas_examples.bnn_pynq
import torch
from brevitas.export import export_onnx_qcdq, export_qonnx
from brevitas_examples.bnn_pynq.models.CNV import cnv
from brevitas_examples.bnn_pynq.models.FC import fc

EXAMPLES = Path(str(brevitas_examples.bnn_pynq.__file__)).parent / "cfg"


def bnn_pynq(name: str) -> torch.nn.Module:
    """Return a network such as tfc_1w1a or cnv_1w1a, of random weights and statistics of both signs."""
    config = configparser.ConfigParser()
    config.read(EXAMPLES / f"{name}.ini")
    torch.manual_seed(0)
    net: torch.nn.Module = (cnv if name.startswith("cnv") else fc)(config)
    with torch.no_grad():
        for part in net.modules():
            if isinstance(part, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
                assert part.running_mean is not None and part.running_var is not None
                part.running_mean.uniform_(-20, 20)
                part.running_var.uniform_(10, 500)
                part.weight.uniform_(-1, 1)
                part.bias.uniform_(-1, 1)
    return net.eval()


def export_bnn_pynq(path: Path, name: str, way: str) -> Path:
    """Write one by an exporter: qonnx, dynamo (the newer one of it) or qcdq; return the path."""
    net, example = bnn_pynq(name), torch.rand(1, 3, 32, 32) if name.startswith("cnv") else torch.rand(1, 1, 28, 28)
    silence = contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO())
    with warnings.catch_warnings(), silence[0], silence[1]:
        warnings.simplefilter("ignore")
        if way == "qcdq":
            export_onnx_qcdq(net, args=example, export_path=str(path), dynamo=False)
        else:
            export_qonnx(net, args=example, export_path=str(path), dynamo=way == "dynamo")
    return path
