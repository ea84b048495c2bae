"""How fast is the CPU reference? Against ONNX Runtime, FINN's Python execution and plain numpy, on one core.

Run it from the checkout: `python -m benchmarks.reference`. It takes a minute or two; the exit code is 1 if a target is
missed. Opponents take turns with the reference and the best of many times counts, so that the ratios hold on a busy
machine.

What is compared, on random networks with thresholds as batch norm makes them, which the export turns into factors:

- `onnxruntime float32`: the same network in float32 with batch norm folded and no quantizer: Gemm + Relu for each
  hidden layer, Gemm for the head. Its input is float32 already; the reference converts the pixels within its time.
- `FINN, hardware graph`: FINN's MVAU (for 1-bit layers our own) and Thresholding nodes, executed in Python. They take
  one image at a time, so the time is that of a sample of images, times their number.
- `FINN, streamlined graph`: MatMul and MultiThreshold nodes, all images at once. FINN itself does not offer that; there
  is no target.
- `numpy, broadcast`: `(acc[..., None] >= thresholds).sum(axis=-1)`, all of (N, C, L) at once. The plain one computes in
  integers. With products by BLAS only the thresholds differ; there is no target, as a sign has nothing to broadcast.
"""

import os
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from contract.network import Convolution, Dense, GlobalSum, Input, IntegerNetwork, Layer, Product
from driver.reference import Reference
from export.requantization import requantized

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
NETWORKS = {"W8A8 784-64-64-1": (8, [64, 64, 1]), "W1A1 784-256-256-256-1": (1, [256, 256, 256, 1])}
CONVOLUTIONS = ((5, 16, 0), (3, 32, 1), (3, 64, 1), (3, 64, 1))  # kernel, channels, padding; all of stride 2
SIDE = 64  # of what they read [pixels]
BATCH = 624  # the test set of the public chest X-ray release
SMALL_BATCH = 64  # of convolutions
FINN_SAMPLE = 24  # images

P = TypeVar("P", bound=Product)
Run = Callable[[], object]
Pixels = NDArray[np.uint8]


def random_network(bits: int, widths: list[int]) -> IntegerNetwork:
    """Return a network of `bits`-bit weights and activations whose levels are all in use."""
    rng = np.random.default_rng(0)
    layers: list[Dense] = []
    low, high, mw = 0, 255, 784
    for mh in widths[:-1]:
        weights = (
            rng.choice([-1, 1], (mh, mw)) if bits == 1 else np.clip(rng.normal(0, 40, (mh, mw)).round(), -127, 127)
        )
        layers.append(_activated(Dense(weights.astype(np.int8), None), rng, bits, low, high))
        low, high = layers[-1].output_range()
        mw = mh
    head = rng.choice([-1, 1], (1, mw)) if bits == 1 else rng.integers(-127, 128, (1, mw))
    return requantized(IntegerNetwork(Input(28, 28), (*layers, Dense(head.astype(np.int8), None))))


def random_convolutional_network(bits: int) -> IntegerNetwork:
    """Return one of `CONVOLUTIONS`, a global sum and a head, of `bits`-bit weights and activations."""
    rng = np.random.default_rng(0)
    source = Input(SIDE, SIDE)
    layers: list[Layer] = []
    image, (low, high), most = source.image, (0, 255), 2 ** (bits - 1) - 1
    for kernel, channels, padding in CONVOLUTIONS:
        weights = rng.normal(0, most / 3, (channels, kernel, kernel, image[2])).round().clip(-most, most)
        layer = Convolution(weights.astype(np.int8), None, image=image, stride=(2, 2), padding=(padding,) * 4)
        layers.append(_activated(layer, rng, bits, low, high))
        image, (low, high) = layers[-1].output_shape, layers[-1].reach(low, high)  # type: ignore[assignment]
    head = Dense(rng.integers(-127, 128, (1, image[2])).astype(np.int8), None)
    return requantized(IntegerNetwork(source, (*layers, GlobalSum(image), head)))


def _activated(layer: P, rng: np.random.Generator, bits: int, low: int, high: int) -> P:
    """Return the layer with thresholds as batch norm makes them, all of them in use."""
    weights = layer.weights.reshape(len(layer.weights), -1).astype(np.float64)
    middle = weights.sum(axis=1) * (low + high) / 2
    spread = np.sqrt((weights**2).sum(axis=1) * (high - low) ** 2 / 12)
    edges = np.array([0.0]) if bits == 1 else np.linspace(-2, 2, 2**bits - 1)
    edges = edges + rng.normal(0, 0.3, (len(weights), 1))
    thresholds = np.ceil(middle[:, None] + spread[:, None] * edges).astype(np.int64)
    return replace(layer, thresholds=thresholds, bipolar=bits == 1)


def onnxruntime_float32(network: IntegerNetwork) -> Any:
    """Return an ONNX Runtime session of one thread: float32, batch norm folded, no quantizer."""
    from onnx import TensorProto, helper, numpy_helper

    nodes, constants, x = [], [], "pixels"
    for i, layer in enumerate(network.dense):
        gain, bias = np.ones(len(layer.weights)), np.zeros(len(layer.weights))
        if layer.thresholds is not None:  # the line that the thresholds are a rounding of
            first, last = layer.thresholds[:, 0], layer.thresholds[:, -1]
            gain = (layer.thresholds.shape[1] - 1) / np.maximum(last - first, 1) if (last > first).any() else gain
            bias = 0.5 - gain * first
        constants += [
            numpy_helper.from_array((layer.weights * gain[:, None]).T.astype(np.float32), f"weights_{i}"),
            numpy_helper.from_array(bias.astype(np.float32), f"bias_{i}"),
        ]
        nodes.append(helper.make_node("Gemm", [x, f"weights_{i}", f"bias_{i}"], [f"acc_{i}"]))
        x = f"acc_{i}"
        if layer.thresholds is not None:
            nodes.append(helper.make_node("Relu", [x], [f"y_{i}"]))
            x = f"y_{i}"
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["N", 784])
    return _session(nodes, pixels, x, constants)


def onnxruntime_convolutions(network: IntegerNetwork) -> Any:
    """Return the same of a convolutional network; what it computes is of no interest here, only how much."""
    from onnx import TensorProto, helper, numpy_helper

    nodes, constants, x = [], [], "pixels"
    for i, layer in enumerate(network.layers[:-2]):
        assert isinstance(layer, Convolution)
        weights = np.ascontiguousarray(layer.weights.transpose(0, 3, 1, 2)).astype(np.float32)
        constants.append(numpy_helper.from_array(weights / 100, f"weights_{i}"))
        constants.append(numpy_helper.from_array(np.zeros(len(weights), dtype=np.float32), f"bias_{i}"))
        window = {"strides": layer.stride, "pads": layer.padding}
        nodes.append(helper.make_node("Conv", [x, f"weights_{i}", f"bias_{i}"], [f"acc_{i}"], **window))
        nodes.append(helper.make_node("Relu", [f"acc_{i}"], [f"y_{i}"]))
        x = f"y_{i}"
    constants.append(numpy_helper.from_array(network.head.weights.T.astype(np.float32), "head"))
    nodes.append(helper.make_node("GlobalAveragePool", [x], ["mean"]))
    nodes.append(helper.make_node("Flatten", ["mean"], ["flat"]))
    nodes.append(helper.make_node("MatMul", ["flat", "head"], ["logit"]))
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["N", 1, SIDE, SIDE])
    return _session(nodes, pixels, "logit", constants)


def _session(nodes: list[Any], pixels: Any, output: str, constants: list[Any]) -> Any:
    import onnxruntime
    from onnx import TensorProto, helper

    logits = helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", 1])
    graph = helper.make_graph(nodes, "float32", [pixels], [logits], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def streamlined_graph(network: IntegerNetwork) -> Any:
    """Return what FINN's streamlining leaves of an export: MatMul and MultiThreshold nodes."""
    from onnx import TensorProto, helper
    from qonnx.core.datatype import DataType
    from qonnx.core.modelwrapper import ModelWrapper

    nodes, infos = [], []
    constants: dict[str, NDArray[Any]] = {}
    types, x = {"pixels": "UINT8"}, "pixels"
    for i, layer in enumerate(network.dense):
        constants[f"weights_{i}"] = layer.weights.T
        types |= {f"weights_{i}": "BIPOLAR" if (abs(layer.weights) == 1).all() else "INT8", f"acc_{i}": "INT32"}
        nodes.append(helper.make_node("MatMul", [x, f"weights_{i}"], [f"acc_{i}"]))
        outputs = [f"acc_{i}"]
        if layer.thresholds is not None:
            constants[f"thresholds_{i}"] = layer.thresholds
            y = "BIPOLAR" if layer.bipolar else f"UINT{layer.thresholds.shape[1].bit_length()}"
            types |= {f"thresholds_{i}": "INT32", f"y_{i}": y}
            scale, bias = (2.0, -1.0) if layer.bipolar else (1.0, 0.0)
            nodes.append(
                helper.make_node(
                    "MultiThreshold", [f"acc_{i}", f"thresholds_{i}"], [f"y_{i}"], domain="qonnx.custom_op.general",
                    out_dtype=y, out_scale=scale, out_bias=bias,
                )
            )  # fmt: skip
            outputs.append(f"y_{i}")
        infos += [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, len(layer.weights)]) for name in outputs]
        x = outputs[-1]
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [1, 784])
    graph = helper.make_graph(nodes, "finn", [pixels], infos[-1:], value_info=infos[:-1])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("qonnx.custom_op.general", 1)]
    model = ModelWrapper(helper.make_model(graph, opset_imports=opsets, ir_version=9))
    for name, values in constants.items():
        model.set_initializer(name, values.astype(np.float32))
    for name, datatype in types.items():
        model.set_tensor_datatype(name, DataType[datatype])
    return model


def one_by_one(model: Any, pixels: Pixels) -> NDArray[np.float32]:
    """Execute a graph of hardware nodes as FINN does, an image at a time; `model` is set to that."""
    from finn.core.onnx_exec import execute_onnx

    from finn_build.graph import in_python

    name_in, name_out = model.graph.input[0].name, model.graph.output[0].name
    flat = pixels.reshape(len(pixels), 1, -1).astype(np.float32)
    return np.array([execute_onnx(in_python(model), {name_in: image})[name_out][0] for image in flat])


def broadcast(network: IntegerNetwork, pixels: Pixels, dtype: type[np.generic]) -> NDArray[Any]:
    """What one would write first: products in `dtype`, each accumulator compared with all thresholds at once."""
    x: NDArray[Any] = pixels.reshape(len(pixels), -1)
    for layer in network.dense:
        x = x.astype(dtype) @ layer.weights.T.astype(dtype)
        if layer.thresholds is not None:
            x = (x[..., None] >= layer.thresholds.astype(dtype)).sum(axis=-1)
            x = 2 * x - 1 if layer.bipolar else x
    return x


def best_times(runs: dict[str, Run], *, repeats: int, calls: int) -> dict[str, float]:
    """Return the least time of a call [s] of each run, taking turns `repeats` times with `calls` calls each."""
    best = dict.fromkeys(runs, np.inf)
    for _ in range(repeats):
        for name, run in runs.items():
            start = time.perf_counter()
            for _ in range(calls):
                run()
            best[name] = min(best[name], (time.perf_counter() - start) / calls)
    return best


class Report:
    """Prints one line per comparison and remembers whether all targets were reached."""

    def __init__(self) -> None:
        """Print the head of the table."""
        self.reached = True
        print(f"{'network':24}{'images':>7}  {'against':38}{'its time':>11}{'ours':>11}{'ratio':>10}  target")

    def line(self, network: str, images: int, against: str, its: float, ours: float, target: float | None) -> None:
        """Print one comparison; times are in seconds."""
        ratio = its / ours
        verdict = "" if target is None else f"{target:g}{'' if ratio >= target else '  MISSED'}"
        self.reached &= target is None or ratio >= target
        times = f"{its * 1e6:>8.0f} us{ours * 1e6:>8.0f} us"
        print(
            f"{network:24}{images:>7}  {against:38}{times}{ratio:>10,.{2 if ratio < 100 else 0}f}  {verdict}",
            flush=True,
        )


def compare_onnxruntime(report: Report, name: str, network: IntegerNetwork, pixels: Pixels) -> None:
    """At batch 1 and at the full batch."""
    reference, session = Reference(network).outputs, onnxruntime_float32(network)
    for images in (1, BATCH):
        some = pixels[:images]
        feed = {"pixels": some.reshape(images, -1).astype(np.float32)}
        runs: dict[str, Run] = {"ours": lambda: reference(some), "its": lambda: session.run(None, feed)}  # noqa: B023
        times = best_times(runs, repeats=300, calls=20 if images == 1 else 1)
        report.line(name, images, "onnxruntime float32", times["its"], times["ours"], 0.3)


def compare_convolutions(report: Report) -> None:
    """Of 4 bits, at a small batch."""
    network = random_convolutional_network(4)
    pixels = np.random.default_rng(1).integers(0, 256, (SMALL_BATCH, SIDE, SIDE), dtype=np.uint8)
    reference, session = Reference(network).outputs, onnxruntime_convolutions(network)
    assert np.array_equal(reference(pixels[:4]), network.outputs(pixels[:4])[-1])
    feed = {"pixels": pixels[:, None].astype(np.float32)}
    times = best_times(
        {"ours": lambda: reference(pixels), "its": lambda: session.run(None, feed)}, repeats=100, calls=1
    )
    report.line("W4A4 16-32-64-64-1", len(pixels), "onnxruntime float32", times["its"], times["ours"], 0.2)


def compare_numpy(report: Report, name: str, network: IntegerNetwork, pixels: Pixels) -> None:
    """With integer products, and with BLAS so that only the thresholds differ."""
    reference = Reference(network).outputs
    for dtype in (np.int64, np.float32):
        assert np.array_equal(broadcast(network, pixels[:50], dtype), reference(pixels[:50]))
        runs: dict[str, Run] = {
            "ours": lambda: reference(pixels),
            "its": lambda: broadcast(network, pixels, dtype),  # noqa: B023
        }
        times = best_times(runs, repeats=5, calls=1)
        target = 10 if dtype is np.int64 else None
        report.line(name, len(pixels), f"numpy {dtype.__name__}, broadcast", times["its"], times["ours"], target)


def compare_finn(report: Report, name: str, network: IntegerNetwork, pixels: Pixels) -> None:
    """Both graphs, checked to give our integers."""
    from finn_build.finn_session import finn_session
    from finn_build.graph import execute
    from finn_build.hardware_graph import hardware_graph

    reference = Reference(network).outputs
    sample = pixels[:FINN_SAMPLE]
    with tempfile.TemporaryDirectory() as folder, finn_session(Path(folder)):
        streamlined, hardware = streamlined_graph(network), hardware_graph(network)
        for got in (execute(streamlined, sample), one_by_one(hardware, sample)):
            assert np.array_equal(got, reference(sample))
        runs: dict[str, Run] = {
            "ours": lambda: reference(pixels),
            "hardware": lambda: one_by_one(hardware, sample),
            "streamlined": lambda: execute(streamlined, pixels),
        }
        times = best_times(runs, repeats=5, calls=1)
    whole = times["hardware"] / len(sample) * len(pixels)
    report.line(name, len(pixels), "FINN, hardware graph, image by image", whole, times["ours"], 1000)
    report.line(name, len(pixels), "FINN, streamlined graph, as one batch", times["streamlined"], times["ours"], None)


def scale(name: str, network: IntegerNetwork) -> bool:
    """Print time per image and memory up to a million images; return whether they stay the same.

    The images overlap in one buffer of a million bytes, so that they need no memory themselves.
    """
    reference = Reference(network).outputs
    reference(np.zeros((BATCH, 784), dtype=np.uint8))
    noise = np.random.default_rng(2).integers(0, 256, 1_000_000 + 783, dtype=np.uint8)
    pixels = np.lib.stride_tricks.sliding_window_view(noise, 784)
    per_image, peaks = {}, {}
    for images in (1_000, 10_000, 100_000, 1_000_000):
        repeats = max(1, 100_000 // images)
        start = time.process_time()  # not wall time: a run of seconds has no best moment on a busy machine
        for _ in range(repeats):
            reference(pixels[:images])
        per_image[images] = (time.process_time() - start) / repeats / images
    for images in (10_000, 100_000, 1_000_000):
        tracemalloc.start()
        reference(pixels[:images])
        peaks[images] = (tracemalloc.get_traced_memory()[1] - 8 * images) / 2**20  # without the logits
        tracemalloc.stop()
    times = "".join(f"{images:>10,}: {seconds * 1e6:5.2f} us" for images, seconds in per_image.items())
    print(f"{name:24}  time per image {times}")
    print(f"{'':24}  working memory " + "".join(f"{images:>10,}: {mib:4.1f} MiB" for images, mib in peaks.items()))
    return per_image[1_000_000] < 1.5 * per_image[10_000] and peaks[1_000_000] < 1.01 * peaks[100_000]


def main() -> int:
    """Print the table; return the exit code."""
    pixels = np.random.default_rng(1).integers(0, 256, (BATCH, 28, 28), dtype=np.uint8)
    networks = {name: random_network(bits, widths) for name, (bits, widths) in NETWORKS.items()}
    for network in networks.values():
        assert np.array_equal(Reference(network).outputs(pixels), network.outputs(pixels)[-1])
    report = Report()
    for compare in (compare_onnxruntime, compare_numpy, compare_finn):
        for name, network in networks.items():
            compare(report, name, network, pixels)
    compare_convolutions(report)
    print()
    steady = [scale(name, network) for name, network in networks.items()]
    return 0 if report.reached and all(steady) else 1


if __name__ == "__main__":
    if ONE_THREAD.items() - os.environ.items():  # BLAS reads these when it is loaded, so start again
        os.execve(sys.executable, sys.orig_argv, {**os.environ, **ONE_THREAD})
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    sys.exit(main())
