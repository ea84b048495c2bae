"""The export folder: what is in it, that its checks have teeth, and the integer operating point."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx

import export.export as module
from contract.errors import MismatchError
from contract.golden import load_labelled
from contract.network import load_network
from contract.npz import load_npz
from contract.record import read_record
from export.integer_network import Extracted, canonical, extract
from export.qonnx_model import evaluate_qonnx, to_qonnx
from export.records import Exported
from qnn.network import predict_logits
from qnn.spec import NetworkSpec
from tests.random_networks import export_net, export_random, random_net, random_pixels, small_spec

WIDTHS = [(8, 8), (1, 1), (4, 4), ((1, 8, 3), (8, 1)), ((6, 1, 2), (1, 5)), ((2, 3, 7), (2, 6))]


@pytest.mark.parametrize(("weight_bits", "act_bits"), WIDTHS, ids=str)
def test_integers_brevitas_and_qonnx_agree(tmp_path: Path, weight_bits: object, act_bits: object) -> None:
    """`export_run` raises where Brevitas or QONNX in float64 differ; here also qonnx's own executor, in float32."""
    net = random_net(small_spec(weight_bits, act_bits), seed=5)
    for block in net.blocks:
        block.norm.weight.data[1] = 0.0
    pixels = random_pixels(200)
    summary = export_net(tmp_path / "export", net, pixels)
    assert summary["chain"] == [
        {"stage": stage, "images": 200, "differing": 0} for stage in ("brevitas_float64", "qonnx_float64")
    ]
    golden, network = load_npz(tmp_path / "export" / "golden.npz"), load_network(tmp_path / "export" / "reference.npz")
    want = network.outputs(pixels)[-1][:, 0]
    assert len(np.unique(want)) > 1
    np.testing.assert_array_equal(golden["outputs"][:, 0], want)
    np.testing.assert_array_equal(golden["pixels"], pixels)
    np.testing.assert_array_equal(golden["labels"], np.arange(200) % 2)
    double = evaluate_qonnx(tmp_path / "export" / "model.onnx", pixels, double=True)
    np.testing.assert_array_equal(double[:, 0], want)

    model = ModelWrapper(str(tmp_path / "export" / "model.onnx"))
    name_in, name_out = model.graph.input[0].name, model.graph.output[0].name
    for image, logit in zip(pixels[:12], want, strict=False):
        got = execute_onnx(model, {name_in: image.reshape(1, -1).astype(np.float32)})[name_out]
        assert got.shape == (1, 1) and got[0, 0] == logit


def test_the_graph_eats_pixels_directly(tmp_path: Path) -> None:
    export_random(tmp_path / "export", small_spec(8, (4, 8)), count=4)
    model = ModelWrapper(str(tmp_path / "export" / "model.onnx"))
    name = model.graph.input[0].name
    assert model.get_tensor_datatype(name) == DataType["UINT8"]
    assert model.get_tensor_shape(name) == [1, 64]
    assert [node.op_type for node in model.find_consumers(name)] == ["MatMul"]
    quantizers = [n for n in model.graph.node if n.op_type == "Quant"]
    assert len([n for n in quantizers if model.get_initializer(n.input[0]) is not None]) == 3  # weights
    assert len([n for n in quantizers if model.get_initializer(n.input[0]) is None]) == 2  # hidden activations


def test_weight_scales_are_the_same_number_in_every_precision(tmp_path: Path) -> None:
    """Brevitas derives a weight scale from the weights; in float64 that is another one, and this network shows it."""
    spec = NetworkSpec(hidden=(64, 64))
    pixels = random_pixels(2500, height=28, width=28, seed=3)
    for seed in (3, 6):
        export_net(tmp_path / f"{seed}", random_net(spec, seed=seed), pixels)


def test_export_json(tmp_path: Path) -> None:
    net = random_net(small_spec(4, 4))
    summary = export_net(tmp_path / "export", net, random_pixels(30), operating_point=-0.5)
    assert json.loads((tmp_path / "export" / "export.json").read_text(encoding="utf-8")) == summary
    extracted = extract(canonical(net))
    golden = load_npz(tmp_path / "export" / "golden.npz")
    real = extracted.scale * golden["outputs"][:, 0].astype(np.float64) + extracted.offset
    np.testing.assert_array_equal(golden["outputs"][:, 0].astype(np.int64) > summary["threshold"], real > -0.5)
    np.testing.assert_allclose(golden["probability"].astype(np.float64), 1 / (1 + np.exp(-real)))
    assert summary["network"] == "64-12-6-1 W4A4" and summary["fingerprint"] == "a fingerprint"
    assert [(layer["outputs"], layer["inputs"]) for layer in summary["layers"]] == [(12, 64), (6, 12), (1, 6)]
    network = load_network(tmp_path / "export" / "reference.npz")
    assert [layer.activation for layer in network.dense] == ["requantize", "requantize", "none"]
    exported = read_record(tmp_path / "export" / "export.json", Exported)
    assert exported.activations == "Activations, layer by layer: requantize, requantize, none."


@pytest.mark.parametrize(("weight_bits", "act_bits"), [(8, 8), (2, 2), (1, 1)], ids=str)
def test_several_logits_are_exported_with_what_they_mean(tmp_path: Path, weight_bits: int, act_bits: int) -> None:
    """K integers, of which the class is that of the real network's greatest logit."""
    spec = small_spec(weight_bits, act_bits).model_copy(update={"outputs": 5})
    net, pixels = random_net(spec, seed=4), random_pixels(200)
    summary = export_net(tmp_path / "export", net, pixels)
    exported = read_record(tmp_path / "export" / "export.json", Exported)
    assert exported.choice is not None and summary["network"].startswith("64-12-6-5 W")
    assert (exported.scale, exported.offset, exported.threshold) == (None, None, None)
    golden = load_labelled(tmp_path / "export" / "golden.npz")
    assert golden.outputs.shape == golden.probability.shape == (200, 5)
    extracted = extract(canonical(net))
    real = extracted.scales * golden.outputs + extracted.offsets
    np.testing.assert_allclose(exported.choice.real(golden.outputs), real, rtol=1e-6, atol=1e-6)
    sorted_logits = np.sort(real, axis=1)
    clear = sorted_logits[:, -1] - sorted_logits[:, -2] > 1e-5
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(exported.choice.classes(golden.outputs)[clear], real.argmax(axis=1)[clear])
    double = predict_logits(net, pixels, dtype=torch.float64)
    assert np.isclose(real, double, rtol=1e-5, atol=1e-5).mean() > 0.95  # as of one logit: rare roundings differ


def test_several_logits_that_differ_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def shifted(net: Any) -> Extracted:
        extracted = extract(net)
        extracted.network.dense[-1].weights[2] ^= 1
        return extracted

    monkeypatch.setattr(module, "extract", shifted)
    spec = small_spec(8, 8).model_copy(update={"outputs": 3})
    with pytest.raises(
        MismatchError, match=r"brevitas_float64: \d+ of 900 logits .* first at image \d+, output 2: got"
    ):
        export_net(tmp_path / "export", random_net(spec), random_pixels(300))


def test_a_threshold_that_is_one_off_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def shifted(net: Any) -> Extracted:
        extracted = extract(net)
        thresholds = extracted.network.dense[1].thresholds
        assert thresholds is not None
        thresholds += 1
        return extracted

    monkeypatch.setattr(module, "extract", shifted)
    with pytest.raises(MismatchError, match=r"brevitas_float64: \d+ of 300 logits differ .* first at image \d+: got"):
        export_net(tmp_path / "export", random_net(small_spec(8, 8)), random_pixels(300))


def test_another_qonnx_file_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = to_qonnx
    other = canonical(random_net(small_spec(8, 8), seed=9))
    monkeypatch.setattr(module, "to_qonnx", lambda _net, path: real(other, path))
    with pytest.raises(MismatchError, match=r"qonnx_float64: \d+ of 20 logits differ"):
        export_net(tmp_path / "export", random_net(small_spec(8, 8)), random_pixels(20))
