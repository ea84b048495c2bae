"""Write a trained network's export folder, and prove it before it is finished.

model.onnx      QONNX, uint8 pixels to integer logits
reference.npz   the integers of the hardware (contract.network)
golden.npz      every test image with its integers, probabilities, class and label
export.json     what the integers mean, and what was compared: of one logit scale, offset and threshold, of K the choice
"""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from brevitas.core.scaling import ConstScaling
from numpy.typing import NDArray

from contract.decision import Choice, Decision, choice, golden_answers, integer_threshold
from contract.errors import MismatchError
from contract.network import save_network
from contract.npz import save_npz
from datasets.xray import Split
from export.config import ExportConfig
from export.integer_network import Extracted, canonical, extract, integer_weights
from export.qonnx_model import evaluate_qonnx, integer_logit_network, to_qonnx
from export.records import describe_layers
from export.requantization import requantized
from export.snapping import Snapped, snapped
from qnn.checkpoint import Checkpoint
from qnn.network import PixelMLP, predict_logits
from qnn.records import GREATEST


def export_run(
    checkpoint: Checkpoint,
    test: Split,
    out: Path,
    config: ExportConfig | None = None,
    *,
    validation: Split | None = None,
) -> dict[str, Any]:
    """Export `checkpoint` into the new folder `out`; return what export.json holds.

    Args:
        checkpoint: the network and its operating point.
        test: the images on which everything is compared.
        out: the folder; must not exist.
        config: what can be chosen.
        validation: the images that tell what narrow factors lose; needed only where `config` asks for them.

    Raises:
        ConfigError: the network has no integer form, or loses too much by what `config` asks for.
        MismatchError: Brevitas or QONNX disagrees with the integers on a test image.
    """
    net = canonical(checkpoint.net)
    extracted = as_trained = extract(net)
    narrowed: dict[str, Any] = {}
    if config is not None and config.factor_bits is not None:
        assert validation is not None
        found = snapped(net, extracted, config.factor_bits, validation)
        net, extracted = found.net, found.extracted
        narrowed = {"narrowed": _narrowed(found, config.factor_bits, as_trained, test, checkpoint.operating_point)}
    network = requantized(extracted.network)
    outputs = network.outputs(test.pixels)[-1]
    decision = _decision(extracted, checkpoint.operating_point)
    probability, classes = golden_answers(decision, outputs)

    out.mkdir(parents=True)
    to_qonnx(net, out / "model.onnx")
    chain = [
        compare_network(net, test.pixels, outputs),
        compare_file(out / "model.onnx", test.pixels, outputs),
    ]
    float32 = {
        "brevitas": _differing_in_float32(net if narrowed else checkpoint.net, extracted, test.pixels, outputs),
        "qonnx": int((evaluate_qonnx(out / "model.onnx", test.pixels, double=False) != outputs).any(axis=1).sum()),
    }
    save_network(out / "reference.npz", network)
    save_npz(
        out / "golden.npz",
        {
            "pixels": test.pixels,
            "outputs": outputs,
            "probability": probability,
            "classes": classes,
            "labels": test.labels,
        },
    )
    summary = {
        "network": net.spec.describe(),
        **_said(decision),
        "fingerprint": checkpoint.fingerprint,
        "chain": chain,
        "images_differing_in_plain_float32": float32,
        "layers": describe_layers(network),
        **narrowed,
    }
    (out / "export.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return summary


def integers(net: PixelMLP, config: ExportConfig, validation: Split) -> Extracted:
    """Return the integers that `export_run` would write of a network, without comparing anything. Raises as it does."""
    net = canonical(net)
    extracted = extract(net)
    if config.factor_bits is not None:
        extracted = snapped(net, extracted, config.factor_bits, validation).extracted
    return replace(extracted, network=requantized(extracted.network))


def _narrowed(found: Snapped, bits: int, before: Extracted, test: Split, operating_point: float) -> dict[str, Any]:
    """Return what export.json says of factors that were made narrow. Metrics are of the network as it was trained."""
    classes = [
        golden_answers(_decision(e, operating_point), e.network.outputs(test.pixels)[-1])[1]
        for e in (before, found.extracted)
    ]
    return {
        "factor_bits": bits,
        "layers": found.layers,
        "channels_snapped": found.channels,
        "validation_auc_before": found.validation_auc[0],
        "validation_auc": found.validation_auc[1],
        "test_images_of_another_class": int((classes[0] != classes[1]).sum()),
    }


def _decision(extracted: Extracted, operating_point: float) -> Decision | Choice:
    """Return what the integers mean."""
    if len(extracted.scales) > 1:
        return choice(extracted.scales.tolist(), extracted.offsets.tolist(), rule=GREATEST)
    scale, offset = extracted.scale, extracted.offset
    return Decision(scale, offset, integer_threshold(operating_point, scale, offset), rule="the checkpoint's")


def _said(decision: Decision | Choice) -> dict[str, Any]:
    """Return what export.json says about it."""
    if isinstance(decision, Choice):
        return {"choice": asdict(decision)}
    return {"scale": decision.scale, "offset": decision.offset, "threshold": decision.threshold}


def compare_network(net: PixelMLP, pixels: NDArray[np.uint8], outputs: NDArray[np.int64]) -> dict[str, Any]:
    """Compare the Brevitas network that `canonical` returned, in float64, with (N, K) integers.

    Raises:
        MismatchError: it gives others.
    """
    return _compare("brevitas_float64", _brevitas_logits(net, pixels), outputs)


def compare_file(path: Path, pixels: NDArray[np.uint8], outputs: NDArray[np.int64]) -> dict[str, Any]:
    """Compare a QONNX file of ours, in float64, with (N, K) integers. Raises MismatchError."""
    return _compare("qonnx_float64", evaluate_qonnx(path, pixels, double=True), outputs)


def _compare(stage: str, got: NDArray[np.float64], want: NDArray[np.int64]) -> dict[str, Any]:
    """Stop unless `got` is exactly `want`, up to the last bits of a float64 sum."""
    integers = np.round(got)
    wrong = np.argwhere((integers != want) | (np.abs(got - integers) > 1e-6))
    if len(wrong):
        n, k = wrong[0]
        which = f", output {k}" if want.shape[1] > 1 else ""
        raise MismatchError(
            f"{stage}: {len(wrong)} of {want.size} logits differ from the integer network; first at image {n}{which}: "
            f"got {got[n, k]!r}, want {want[n, k]}. This is a bug: please report it with this run's checkpoint.pt."
        )
    return {"stage": stage, "images": len(want), "differing": 0}


def _brevitas_logits(net: PixelMLP, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the (N, K) integer logits of the Brevitas network, evaluated in float64."""
    network = integer_logit_network(net)
    scales = [integer_weights(block.linear)[1] for block in network.blocks]
    network.double()
    for block, bits, scale in zip(network.blocks, net.spec.weight_bits_per_layer, scales, strict=False):
        if int(bits) > 1:
            # Brevitas derives the scale from the weights, and in float64 that is another number. QONNX and the
            # integers have float32's, so it stays. Brevitas divides this by the largest weight; both steps are exact.
            each = torch.from_numpy(scale * (2 ** (int(bits) - 1) - 1)).reshape(
                -1, *(1,) * (block.linear.weight.ndim - 1)
            )
            fixed = ConstScaling(each if (scale != scale[0]).any() else float(each.flatten()[0]), dtype=torch.float64)
            block.linear.weight_quant.tensor_quant.scaling_impl = fixed
    flat = torch.from_numpy(pixels.reshape(len(pixels), -1)).double()
    with torch.inference_mode():
        return np.asarray(network(flat).numpy())


def _differing_in_float32(
    net: PixelMLP, extracted: Extracted, pixels: NDArray[np.uint8], outputs: NDArray[np.int64]
) -> int:
    """Count the images on which the network, in plain float32, rounds to other integer logits."""
    real = predict_logits(net, pixels).astype(np.float64).reshape(outputs.shape)
    return int((np.round((real - extracted.offsets) / extracted.scales) != outputs).any(axis=1).sum())
