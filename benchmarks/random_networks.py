"""Random networks to RTL: built from integers, simulated with stalls on both sides, and equal.

    python -m benchmarks.random_networks --kind mlp 100 [--seed 7] [--jobs 2]
    python -m benchmarks.random_networks --seed 7 --only 42 --keep FOLDER    one network again, its files kept
    python -m benchmarks.random_networks --without queue 20                   must fail: it takes a mended fault back
    python -m benchmarks.random_networks --kind cnn 60                        networks with convolutions
    python -m benchmarks.random_networks --kind cnn --without window 20       must fail: windows are at wrong places

A network has 1 to 6 layers of 1 to 64 outputs, weights and activations of 1 to 8 bits in any mixture, and a random
legal folding; half of them read uint8 pixels and give one logit, the others read any datatype, some with channels, and
give 1 to 12 integers. With --kind cnn there are 1 to 4 convolutions, depthwise ones, max pools and global sums in front
of the last layer, on images of 5 to 20 rows and columns: windows of 1 to 5 by 1 to 5, strides of 1 to 3, any padding.
What is rare in training is frequent here: one beat per vector, one pass, one column, weights of one sign
or one value, thresholds that are always or never reached. Each is built by the product's own steps and simulated with
FINN's assertions on and one of ours: a beat that waits on any stream stays. The interval must be the estimated one.
A network that fails is named by its index. Exit code 1 if anything differs.
"""

import argparse
import contextlib
import json
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from itertools import count
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import TypeVar
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from qonnx.custom_op.registry import getCustomOp

from contract.errors import CxrflowError
from contract.golden import Golden
from contract.network import (
    Convolution,
    Dense,
    Depthwise,
    GlobalSum,
    Image,
    Input,
    IntegerNetwork,
    Layer,
    MaxPool,
    Product,
)
from contract.values import VALUES
from export.requantization import requantized
from finn_build import plan, portable_rtl
from finn_build.build import build_network
from finn_build.config import BuildConfig
from finn_build.finn_session import finn_session
from finn_build.hardware_graph import hardware_graph
from finn_build.ops import layer_op
from finn_build.ops.op import divisors
from finn_build.ops.product import Product as ProductOp
from finn_build.simulate import SimResult, simulate, verilate
from finn_build.stitch import load_design

IMAGES = 40
STALLS = 3  # simulations with stalls, each with pauses of its own
MULTIPLIERS = 64  # of one layer at most: more only make the simulator slow
BOARDS = ("pynq-z2", "zcu104")
SLOW = 8000  # cycles of an image that a convolution takes at most, if any folding does
KINDS = ("convolution", "convolution", "convolution", "depthwise", "max_pool", "global_sum")
WITHOUT = ("queue", "signs", "window")  # mended faults that can be taken back, and windows at wrong places
WRONG_WINDOW = portable_rtl.Edit(
    "swg_common.sv",
    "a fault that must be found",
    "STATE_LOOP_W    : addr_incr = HEAD_INCR_W;",
    "STATE_LOOP_W    : addr_incr = HEAD_INCR_W + 1;",
)
P = TypeVar("P", bound=Product)


@dataclass(frozen=True)
class Case:
    """One network, its folding file and its images."""

    network: IntegerNetwork
    folding: dict[str, dict[str, int | str]]
    board: str
    golden: Golden

    @property
    def about(self) -> str:
        """Sizes, board and folding."""
        source = self.network.input
        sizes = "-".join(map(str, (source.size, *map(_called, self.network.layers))))
        return f"{source.datatype} {sizes} on {self.board}, {json.dumps(self.folding)}"


def _called(layer: Layer) -> str:
    """Return a layer as `about` has it: its outputs, or its kind, its window and its channels."""
    if isinstance(layer, Dense):
        return str(len(layer.weights))
    window = getattr(layer, "window", None)
    size = f"{window.kernel[0]}x{window.kernel[1]}/{window.stride[0]}{window.stride[1]}" if window else ""
    return f"{layer.kind}{size}c{layer.output_shape[-1]}"


def draw(seed: int, index: int, kind: str = "mlp") -> Case:
    """Return network `index` of `seed`, always the same one."""
    return _draw_cnn(seed, index) if kind == "cnn" else _draw_mlp(seed, index)


def _draw_mlp(seed: int, index: int) -> Case:
    rng = np.random.default_rng([seed, index])
    height = int(rng.integers(1, 9))
    width = int(rng.integers(1, 64 // height + 1))
    source, outputs = _ends(np.random.default_rng([seed, index, 1]), height, width)
    pixels = _images(rng, source)
    layers: list[Dense] = []
    x, low, high = pixels.reshape(IMAGES, -1).astype(np.int64), source.values.low, source.values.high
    for _ in range(int(rng.integers(0, 6))):
        layer, x = _hidden(rng, x, low, high)
        layers.append(layer)
        low, high = layer.output_range()
    layers.append(Dense(_weights(rng, outputs, x.shape[1]), None))
    network = IntegerNetwork(source, tuple(layers))
    golden = Golden(pixels, network.outputs(pixels)[-1])
    network = requantized(network)
    return Case(network, _folding(rng, network), str(rng.choice(BOARDS)), golden)


def _draw_cnn(seed: int, index: int) -> Case:
    """Return the first network of a series that FINN's window generators can give the windows of."""
    for attempt in count():
        rng = np.random.default_rng([seed, index, attempt, 2])
        height, width = (int(v) for v in rng.integers(5, 21, 2))
        source, outputs = _ends(rng, height, width)
        pixels = _images(rng, source)
        layers: list[Layer] = []
        x, image = pixels.reshape(IMAGES, *source.image).astype(np.int64), source.image
        ends = source.values.low, source.values.high
        for _ in range(int(rng.integers(1, 5))):
            layer = _of_kind(rng, str(rng.choice(KINDS)), image, ends, first=not layers)
            if isinstance(layer, Product):
                layer, x = _activated(rng, layer, layer.sums(x), *ends)
            else:
                x = layer(x)
            layers.append(layer)
            if len(layer.output_shape) == 1:
                break
            image, ends = (layer.output_shape[0], layer.output_shape[1], layer.output_shape[2]), layer.reach(*ends)
        layers.append(Dense(_weights(rng, outputs, x[0].size), None))
        network = IntegerNetwork(source, tuple(layers))
        golden = Golden(pixels, network.outputs(pixels)[-1])
        network = requantized(network)
        folding = _any_folding(rng, network)
        if folding is not None:
            return Case(network, folding, str(rng.choice(BOARDS)), golden)
    raise AssertionError


def _of_kind(
    rng: np.random.Generator, kind: str, image: Image, ends: tuple[int, int], *, first: bool
) -> Convolution | Depthwise | MaxPool | GlobalSum:
    """Return a layer without activation; on an image that is too small for anything else, a convolution."""
    if kind == "global_sum" and not first:
        return GlobalSum(image)
    padded = ends != (-1, 1) or first
    kernel: list[int] = []
    around: list[tuple[int, int]] = []
    for side in image[:2]:
        most = int(rng.integers(1, 6))
        before, after = (int(v) for v in rng.integers(0, most, 2)) if padded and rng.random() < 0.5 else (0, 0)
        kernel.append(min(most, before + side + after))
        around.append((min(before, kernel[-1] - 1), min(after, kernel[-1] - 1)))
    size, stride = (kernel[0], kernel[1]), (int(rng.integers(1, 4)), int(rng.integers(1, 4)))
    if kind == "max_pool":
        size = min(size[0], image[0]), min(size[1], image[1])
        return MaxPool(image, size, stride)
    padding = (around[0][0], around[1][0], around[0][1], around[1][1])
    values = (-1, 1) if ends == (-1, 1) else range(ends[0], ends[1] + 1)
    fill = int(rng.choice(values)) if first and any(padding) else 0
    where = {"image": image, "stride": stride, "padding": padding, "fill": fill}
    if kind == "depthwise":
        return Depthwise(_weights(rng, image[2], *size), None, **where)  # type: ignore[arg-type]
    return Convolution(_weights(rng, int(rng.integers(1, 9)), *size, image[2]), None, **where)  # type: ignore[arg-type]


def _any_folding(rng: np.random.Generator, network: IntegerNetwork) -> dict[str, dict[str, int | str]] | None:
    """Return one of the search's foldings of every node, not too slow; None: a node has none."""
    model = hardware_graph(network)
    nodes = [(layer_op(node), layer_op(node).layer(model, getCustomOp(node))) for node in model.graph.node]
    choices = [[f for f in op.foldings(layer) if f.pe * f.simd <= MULTIPLIERS or layer.window] for op, layer in nodes]
    for i in range(len(nodes) - 1, 0, -1):  # what takes beats as they are given takes them of the node before
        (before, layer), (op, as_given) = nodes[i - 1], nodes[i]
        if as_given.as_given:
            taken = {op.taken(f) for f in choices[i]}
            choices[i - 1] = [f for f in choices[i - 1] if before.given(layer, f) in taken]
    folding: dict[str, dict[str, int | str]] = {}
    given = 0
    for (op, layer), possible in zip(nodes, choices, strict=True):
        fitting = [f for f in possible if not layer.as_given or op.taken(f) == given]
        quick = [f for f in fitting if op.cycles(layer, f) <= SLOW] or fitting
        if not quick:
            return None
        chosen = quick[int(rng.integers(len(quick)))]
        given, folding[layer.name] = op.given(layer, chosen), op.attributes(chosen)
    return folding


def _size(rng: np.random.Generator) -> int:
    """Small sizes as often as large ones."""
    return int(
        rng.choice(
            [1, 2, 3, int(rng.integers(1, 17)), int(rng.integers(1, 65)), 64], p=[0.1, 0.1, 0.1, 0.4, 0.25, 0.05]
        )
    )


def _ends(rng: np.random.Generator, height: int, width: int) -> tuple[Input, int]:
    """Return what is read and how many integers are given; half of all are gray pixels and a logit."""
    if rng.random() < 0.5:
        return Input(height, width), 1
    datatype = str(rng.choice(["bipolar", "int8", *VALUES]))
    return Input(height, width, int(rng.choice([1, 1, 2, 3])), datatype), int(rng.integers(1, 13))


def _images(rng: np.random.Generator, source: Input) -> NDArray[np.generic]:
    """Return IMAGES: black, white, black and white, one bright pixel, then any."""
    values = source.values
    pixels = values.random(rng, (IMAGES, *source.shape))
    pixels[0], pixels[1], pixels[-1] = values.low, values.high, values.low  # type: ignore[call-overload]
    pixels[-1].flat[-1] = values.high
    pixels[2::4] = rng.choice(np.array([values.low, values.high], dtype=values.dtype), pixels[2::4].shape)
    return pixels


def _weights(rng: np.random.Generator, *shape: int) -> NDArray[np.int8]:
    """Return weights of 1 to 8 bits; every second time of one sign, one value or the like."""
    bits = int(rng.integers(1, 9))
    least, greatest = (-1, 1) if bits == 1 else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    kinds: dict[str, Sequence[int]] = {
        "any": range(least, greatest + 1), "never negative": range(greatest + 1), "never positive": range(least, 1),
        "none or all": (0, greatest), "none or least": (least, 0), "0 and 1": (0, 1), "-1 and 0": (-1, 0), "zero": (0,),
        "least": (least,), "greatest": (greatest,), "bipolar": (-1, 1), "ternary": (-1, 0, 1),
    }  # fmt: skip
    kind = "any" if rng.random() < 0.5 else str(rng.choice(list(kinds)))
    values = (-1, 1) if kind == "any" and bits == 1 else kinds[kind]
    return rng.choice(np.array(values), shape).astype(np.int8)


def _hidden(rng: np.random.Generator, x: NDArray[np.int64], low: int, high: int) -> tuple[Dense, NDArray[np.int64]]:
    """Return a hidden layer behind the activations `x`, (N, MW) within low..high, and its own."""
    layer = Dense(_weights(rng, _size(rng), x.shape[1]), None)
    return _activated(rng, layer, layer.sums(x), low, high)


def _activated(
    rng: np.random.Generator, layer: P, sums: NDArray[np.int64], low: int, high: int
) -> tuple[P, NDArray[np.int64]]:
    """Return a layer, whose inputs are within low..high and give `sums`, with an activation, and what that gives."""
    bipolar = bool(rng.random() < 0.3)
    bits = int(rng.integers(1, 9))
    levels = 1 if bipolar else int(rng.choice([2**bits - 1, int(rng.integers(1, 2**bits))]))
    least, greatest = layer.accumulator_range(low, high)
    thresholds = np.empty((len(layer.weights), levels), dtype=np.int64)
    for channel, (first, last) in enumerate(zip(least.tolist(), (greatest + 1).tolist(), strict=True)):
        spread = rng.integers(first, last + 1, levels)
        seen = rng.choice(sums[..., channel].ravel(), levels) + rng.integers(-1, 2, levels)
        never, always = np.full(levels, last), np.full(levels, first)
        how = rng.choice(4, p=[0.4, 0.4, 0.1, 0.1])
        some = np.where(rng.random(levels) < 0.1, rng.choice([first, last], levels), (spread, seen, never, always)[how])
        thresholds[channel] = np.sort(some.clip(first, last))
    counts = (sums[..., None] >= thresholds).sum(axis=-1)
    return replace(layer, thresholds=thresholds, bipolar=bipolar), 2 * counts - 1 if bipolar else counts


def _folding(rng: np.random.Generator, network: IntegerNetwork) -> dict[str, dict[str, int | str]]:
    """Return a legal folding of every node, often with one beat per vector or one pass."""
    folding: dict[str, dict[str, int | str]] = {}
    for node in hardware_graph(network).graph.node:
        sizes, op = {a.name: a.i for a in node.attribute}, layer_op(node)
        if not isinstance(op, ProductOp):
            folding[node.name] = {"PE": _divisor(rng, sizes[op.sizes["PE"]], 16)}
            continue
        simd = _divisor(rng, sizes["MW"], MULTIPLIERS)
        pe = _divisor(rng, sizes["MH"], max(1, MULTIPLIERS // simd))
        style = str(rng.choice(["auto", "block", "distributed"]))
        folding[node.name] = {"PE": pe, "SIMD": simd, "ram_style": style}
        if len(op.units()) > 1:
            folding[node.name]["resType"] = str(rng.choice(["dsp", "lut"]))
    return folding


def _divisor(rng: np.random.Generator, n: int, most: int) -> int:
    legal = [d for d in divisors(n) if d <= most]
    return legal[-1] if rng.random() < 0.4 else int(rng.choice(legal))


@contextlib.contextmanager
def taken_back(fault: str | None) -> Iterator[None]:
    """Put a mended fault back: the queue of FINN's unit, or unsigned weights; or put one in: windows."""
    if fault == "queue":
        edits = tuple(edit for edit in portable_rtl.EDITS if edit is not portable_rtl.QUEUE)
        with mock.patch.object(portable_rtl, "EDITS", edits):
            yield
    elif fault == "window":
        with mock.patch.object(portable_rtl, "EDITS", (*portable_rtl.EDITS, WRONG_WINDOW)):
            yield
    elif fault == "signs":
        with mock.patch.object(plan, "weight_type", lambda w: plan.integer_type(int(w.min()), int(w.max()))):
            yield
    else:
        yield


def check(case: Case, folder: Path) -> str:
    """Build and simulate one network in the new folder `folder`; return what is wrong, empty if nothing is."""
    folder.mkdir(parents=True)
    path = folder / "folding.json"
    path.write_text(json.dumps(case.folding), encoding="utf-8")
    config = BuildConfig(board=case.board, folding=path)
    try:
        build_network(case.network, case.golden, folder / "build", config, lambda _: None)
        rtl = folder / "build" / "rtl"
        design = load_design(rtl)
        harness = verilate(rtl, design, folder / "sim", checked=True)
        result = simulate(harness, rtl, design, case.golden.pixels)
        stalled = [simulate(harness, rtl, design, case.golden.pixels, stall_seed=i) for i in range(STALLS)]
    except CxrflowError as err:
        return f"{type(err).__name__}: {err}"
    for name, got in [("", result), *((f" with stalls {i}", s) for i, s in enumerate(stalled))]:
        wrong = np.argwhere(got.outputs != case.golden.outputs)
        if len(wrong):
            n, k = wrong[0]
            first = f"image {n}, output {k}: {got.outputs[n, k]}, not {case.golden.outputs[n, k]}"
            return f"{len(wrong)} of {got.outputs.size} integers differ{name}, first {first}"
    estimates = json.loads((folder / "build" / "estimates.json").read_text(encoding="utf-8"))
    return _interval_differs(result, estimates["cycles_per_image"])


def _interval_differs(result: SimResult, estimated: int) -> str:
    """Compare the second half of the images: before, the pipeline fills."""
    half = IMAGES // 2
    measured = (result.finished[-1] - result.finished[half]) / (IMAGES - 1 - half)
    return "" if measured == estimated else f"an image takes {measured:.2f} cycles, estimated {estimated}"


def run(seed: int, index: int, without: str | None, keep: Path | None, kind: str = "mlp") -> tuple[int, str, str]:
    """Check one network; return its index, what it is, and what is wrong."""
    with taken_back(without), tempfile.TemporaryDirectory() as scratch:
        place = keep if keep is not None else Path(scratch) / "network"
        with finn_session(Path(scratch) / "finn"):
            case = draw(seed, index, kind)
        return index, case.about, check(case, place)


def main(arguments: Sequence[str] | None = None) -> int:
    """Check many networks; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int, nargs="?", default=100, help="how many networks")
    parser.add_argument("--kind", choices=("mlp", "cnn"), default="mlp")
    parser.add_argument("--seed", type=int, help="of all networks; a new one by default")
    parser.add_argument("--only", type=int, metavar="INDEX", help="one network alone")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="with --only: a new folder for its files")
    parser.add_argument("--without", choices=WITHOUT, help="take a mended fault back, which must be found")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="networks at a time")
    given = parser.parse_args(arguments)
    if given.keep is not None and given.only is None:
        parser.error("--keep needs --only: it keeps the files of one network")
    seed = secrets.randbelow(10**6) if given.seed is None else given.seed
    indices = range(given.count) if given.only is None else [given.only]
    print(f"{len(indices)} networks of seed {seed}", flush=True)
    return _report(seed, indices, given)


def _end_with_parent() -> None:
    """Let this process, and so the compilers that it runs, end when the one is killed that started it."""
    parent = parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    Thread(target=wait, daemon=True).start()


def _report(seed: int, indices: Sequence[int], given: argparse.Namespace) -> int:
    start, failed = time.monotonic(), 0
    again = (
        f"python -m benchmarks.random_networks --seed {seed}"
        + (f" --kind {given.kind}" if given.kind != "mlp" else "")
        + (f" --without {given.without}" if given.without else "")
    )
    spawn, jobs = get_context("spawn"), min(given.jobs, len(indices))
    with ProcessPoolExecutor(jobs, mp_context=spawn, initializer=_end_with_parent) as pool:
        tasks = [pool.submit(run, seed, index, given.without, given.keep, given.kind) for index in indices]
        for done, task in enumerate(as_completed(tasks), start=1):
            index, about, wrong = task.result()
            if wrong or given.only is not None:
                print(f"network {index}: {wrong or 'equal'}; {about}; {again} --only {index}", flush=True)
            failed += bool(wrong)
            seconds = time.monotonic() - start
            if done % 10 == 0 or done == len(tasks):
                left = seconds / done * (len(tasks) - done)
                print(
                    f"{done} of {len(tasks)} networks, {failed} failed, {seconds:.0f} s, {left:.0f} s left", flush=True
                )
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
