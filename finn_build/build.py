"""From integers to a verified design: run the steps, save and compare after each one, stitch, simulate.

`build_network` and `simulate_network` take an integer network and golden images, from wherever these come; `build` and
`simulate_build` read them from an export folder: `reference.npz`, `golden.npz`, and `model.onnx` for the witness.
"""

import json
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from contract.errors import ArtifactError, MismatchError
from contract.golden import Golden, load_golden
from contract.network import IntegerNetwork, load_network
from contract.record import read_record
from finn_build import diagnose, steps, witness
from finn_build.boards import BOARDS
from finn_build.config import BuildConfig
from finn_build.estimates import estimate, formulas
from finn_build.fifos import SMALLEST, latency_bound, stages
from finn_build.finn_session import finn_session
from finn_build.graph import execute
from finn_build.hardware_graph import hardware_graph
from finn_build.records import Built, Estimates
from finn_build.simulate import Progress, SimResult, simulate, verilate
from finn_build.stitch import Design, load_design, stitch
from finn_build.wave import vcd_to_fst

Report = Callable[[str], None]  # told what is being done, a line at a time
STALLED_IMAGES = 64  # simulated a second time with random pauses of source and sink
WAVE_IMAGES = 3
OPERATORS = {"BatchNormalization", "BipolarQuant", "MatMul", "Quant", "Relu"}  # all that export writes
# What may follow what on the way of the data; both ends of the graph are None.
NEXT: dict[str | None, tuple[str | None, ...]] = {
    None: ("MatMul",),
    "MatMul": ("BatchNormalization", None),
    "BatchNormalization": ("Relu", "BipolarQuant"),
    "Relu": ("Quant",),
    "Quant": ("MatMul",),
    "BipolarQuant": ("MatMul",),
}


def load_onnx(path: Path) -> ModelWrapper:
    """Read an ONNX file, trusting nothing. Raises ArtifactError."""
    if not path.is_file():
        raise ArtifactError(f"{path} is not there. Export the run first.")
    try:
        model = ModelWrapper(str(path))
        shapes = [model.get_tensor_shape(model.graph.input[0].name), model.get_tensor_shape(model.graph.output[0].name)]
        foreign = [f"{_name(node)} ({node.op_type})" for node in model.graph.node if node.op_type not in OPERATORS]
    except Exception as err:  # protobuf and onnx raise many kinds for damaged files
        raise ArtifactError(f"{path} is not a whole ONNX model ({type(err).__name__}). Export the run again.") from err
    if len(model.graph.input) != 1 or len(model.graph.output) != 1 or not all(s and len(s) == 2 for s in shapes):
        raise ArtifactError(f"{path} has the shapes {shapes}, expected one (1, MW) input and one (1, 1) output.")
    if foreign:
        raise ArtifactError(
            f"{path} holds the operators {', '.join(foreign)}, but only {', '.join(sorted(OPERATORS))} can be built. "
            "Export the run again."
        )
    _require_layers(path, model)
    return model


def _name(node: Any) -> str:
    return str(node.name or node.output[0])


def _require_layers(path: Path, model: ModelWrapper) -> None:
    """Stop unless the data passes through whole layers, one after the other. Raises ArtifactError."""
    tensor, before = model.graph.input[0].name, None
    for _ in model.graph.node:
        readers = [node for node in model.graph.node if tensor in node.input]
        if not readers or len(readers) > 1 or readers[0].op_type not in NEXT[before]:
            break
        tensor, before = readers[0].output[0], readers[0].op_type
    readers = [node for node in model.graph.node if tensor in node.input]
    if readers or None not in NEXT[before] or tensor != model.graph.output[0].name:
        found = " and ".join(f"{_name(node)} ({node.op_type})" for node in readers) or "the end of the graph"
        legal = " or ".join(kind or "the end of the graph" for kind in NEXT[before])
        raise ArtifactError(
            f"{path}: {tensor} is followed by {found}, expected {legal}. A layer is MatMul, BatchNormalization and "
            "either Relu and Quant or BipolarQuant; the last one is a MatMul alone. Export the run again."
        )


def _require_fitting_thresholds(network: IntegerNetwork) -> None:
    """Stop at a threshold that no accumulator of its layer is near. Raises ArtifactError."""
    for i, (layer, (low, high)) in enumerate(zip(network.layers, network.input_ranges(), strict=True)):
        if layer.thresholds is None:
            continue
        least, greatest = (v[:, None] for v in layer.accumulator_range(low, high))
        wrong = np.argwhere((layer.thresholds < least) | (layer.thresholds > greatest + 1))
        if wrong.size:
            channel, level = (int(v) for v in wrong[0])
            found = layer.thresholds[channel, level]
            raise ArtifactError(
                f"reference.npz: layer {i}, channel {channel} has the threshold {found}, which does not fit "
                f"its accumulator; legal are {least[channel, 0]} (always reached) to "
                f"{greatest[channel, 0] + 1} (never reached). Export the run again."
            )


def _require_one_image_size(golden: Golden, network: IntegerNetwork) -> None:
    """Stop unless the golden images are of the network's size."""
    image = (network.height, network.width)
    if golden.pixels.shape[1:] != image:
        raise ArtifactError(
            f"golden.npz has images {golden.pixels.shape[1:]}, reference.npz is for {image}. Export the run again."
        )


def build(export: Path, out: Path, config: BuildConfig, report: Report) -> dict[str, Any]:
    """Compile the folder `export` into the new folder `out`; return what build.json holds.

    Raises:
        MismatchError: a step changed the integers; names step and layer.
        ConfigError: the network or the folding cannot be built.
        ArtifactError: a file of `export` is damaged.
    """
    golden, network = load_golden(export / "golden.npz"), load_network(export / "reference.npz")
    qonnx = load_onnx(export / "model.onnx")
    pixels = qonnx.get_tensor_shape(qonnx.graph.input[0].name)[1]
    if pixels != network.height * network.width:
        raise ArtifactError(
            f"model.onnx is for {pixels} pixels, reference.npz for {network.height} x {network.width}. "
            "Export the run again."
        )
    return build_network(network, golden, out, config, report, qonnx=qonnx)


def build_network(
    network: IntegerNetwork,
    golden: Golden,
    out: Path,
    config: BuildConfig,
    report: Report,
    *,
    qonnx: ModelWrapper | None = None,
) -> dict[str, Any]:
    """Compile an integer network into the new folder `out`; return what build.json holds.

    Args:
        network: what the hardware computes.
        golden: images, and the logits that every step must give for them.
        out: the folder; must not exist.
        config: board, clock, and the wanted rate or a folding file.
        report: told what is being done, a line at a time.
        qonnx: the QONNX graph that the network comes from; FINN's own conversion of it is executed as a witness.

    Raises:
        MismatchError: a step changed the integers; names step and layer.
        ConfigError: the network or the folding cannot be built.
        ArtifactError: network and images do not belong together, or no accumulator is near a threshold.
    """
    _require_one_image_size(golden, network)
    _require_fitting_thresholds(network)
    (out / "steps").mkdir(parents=True)
    board = BOARDS[config.board]
    chain = _Chain(network, golden, out, report)
    with finn_session(out / "finn"):
        if qonnx is not None:
            _hear_witness(qonnx, network, chain, (out / "finn").resolve())
        model = chain.step("hardware_graph", lambda: hardware_graph(network))
        graph = model
        model = chain.step("fold", lambda: steps.fold(graph, config), images=config.sample)
        folding = _folding(model)
        beats = network.height * network.width // steps.input_pixels(model, board)
        estimates = estimate(model, part=board.part, clk_ns=config.clk_ns, input_beats=beats)
        for step in steps.TO_RTL:
            model = chain.step(step.__name__, partial(step, model, config), images=0)
        chained = stages(model)
        _count_converters(estimates, max(stage.cycles for stage in chained), config, report)
        estimates["latency_bound_cycles"] = latency_bound(chained)
        estimates["formulas"] = formulas(model, board.yosys_family)
        stitch(model, out / "rtl")
    _write(out / "folding.json", folding)
    _write(out / "estimates.json", estimates)
    summary = {
        "board": board.name,
        "part": board.part,
        "clk_ns": config.clk_ns,
        "target_fps": config.target_fps,
        "folding": folding,
        "chain": chain.links,
    }
    _write(out / "build.json", summary)
    return summary


class _Chain:
    """The graphs on the way to hardware, each saved, executed and compared with the golden logits."""

    def __init__(self, network: IntegerNetwork, golden: Golden, out: Path, report: Report) -> None:
        self.network, self.golden, self.out, self.report = network, golden, out, report
        self.links: list[dict[str, Any]] = []  # as build.json has them

    def step(self, name: str, make: Callable[[], ModelWrapper], *, images: int | None = None) -> ModelWrapper:
        """Add a graph that must give the golden logits, on all images or as many as given.

        Raises:
            MismatchError: it does not; names the first layer that differs.
        """
        model, got, seconds = self._execute(name, make, images)
        if not np.array_equal(got, self.golden.logits[: len(got)]):
            self._fail(name, model, got)
        self._add(name, got, seconds)
        return model

    def witness(self, name: str, make: Callable[[], ModelWrapper]) -> ModelWrapper | None:
        """Add a graph whose differing images are counted. Returns it; None where FINN can't make or execute it."""
        try:
            model, got, seconds = self._execute(name, make, None)
        except Exception as err:  # FINN's and qonnx's transformations raise anything
            reason = " ".join(str(err).split())[:200] or type(err).__name__
            note = f"FINN cannot treat this network: {reason.rstrip('.')}"
            self.links.append({"stage": name, "images": 0, "differing": None, "first_difference": None, "note": note})
            self.report(f"{name}, a witness: {note}")
            return None
        self._add(name, got, seconds, witness=True)
        return model

    def _execute(
        self, name: str, make: Callable[[], ModelWrapper], images: int | None
    ) -> tuple[ModelWrapper, NDArray[np.float64], float]:
        start = time.perf_counter()
        model = make()
        seconds = time.perf_counter() - start
        model.save(str(self.out / "steps" / f"{len(self.links):02d}_{name}.onnx"))
        pixels = self.golden.pixels[:images]
        return model, execute(model, pixels) if len(pixels) else np.empty(0), seconds

    def _add(self, name: str, got: NDArray[np.float64], seconds: float, *, witness: bool = False) -> None:
        count, want = len(got), self.golden.logits[: len(got)]
        differing, first = int((got != want).sum()), diagnose.first_difference(got, want)
        link = {"stage": name, "images": count, "differing": differing if count else None, "first_difference": first}
        self.links.append({**link, "seconds": seconds})
        found = f"{count} images, {differing} differ" if count else "not executable in Python"
        self.report(f"{name}{', a witness' if witness else ''}: {found}")

    def _fail(self, name: str, model: ModelWrapper, got: NDArray[np.float64]) -> None:
        want = self.golden.logits[: len(got)]
        image = self.golden.pixels[diagnose.first_wrong_image(got, want)]
        found = diagnose.graph_activations(model, image)
        layer = diagnose.name_first_wrong_layer(found, self.network, image, self.out / "mismatch")
        try:
            diagnose.require_equal(got, want, stage=name)
        except MismatchError as err:
            raise MismatchError(f"{err} {layer}") from None


def _count_converters(estimates: dict[str, Any], slowest: int, config: BuildConfig, report: Report) -> None:
    """Correct the estimated rate where a width converter is the slowest node, which the search does not know."""
    if slowest <= estimates["cycles_per_image"]:
        return
    estimates["cycles_per_image"], estimates["images_per_s"] = slowest, 1e9 / (slowest * config.clk_ns)
    report(
        f"an image takes {slowest} cycles: a width converter, between streams of which neither width divides the "
        "other, is slower than every layer. Another SIMD or PE beside it is faster"
    )


def _hear_witness(qonnx: ModelWrapper, network: IntegerNetwork, chain: _Chain, work: Path) -> None:
    """Execute the QONNX graph in float32, and FINN's own conversions of it, and count the images that differ."""
    model = chain.witness("qonnx_float32", lambda: qonnx)
    if model is None:
        return
    converted = chain.witness("qonnx_to_finn", lambda: witness.qonnx_to_finn(model, work))
    if converted is None:
        return
    streamlined = chain.witness("streamline", lambda: witness.streamline(converted))
    if streamlined is not None:
        witness.require_same_weights(streamlined, network)


def _folding(model: ModelWrapper) -> dict[str, dict[str, Any]]:
    """Return PE, SIMD and memory per layer in FINN's folding file format; feeding it back gives this design again."""
    folding: dict[str, dict[str, Any]] = {"Defaults": {}}
    for node in model.graph.node:
        inst = getCustomOp(node)
        known = inst.get_nodeattr_types()
        folding[node.name] = {name: inst.get_nodeattr(name) for name in steps.FOLDED if name in known}
    return folding


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def simulate_build(
    build_dir: Path,
    export: Path,
    out: Path,
    report: Report,
    *,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Simulate the design in `build_dir` on the golden images of the folder `export`; see `simulate_network`."""
    golden, network = load_golden(export / "golden.npz"), load_network(export / "reference.npz")
    return simulate_network(build_dir, network, golden, out, report, progress=progress)


def simulate_network(
    build_dir: Path,
    network: IntegerNetwork,
    golden: Golden,
    out: Path,
    report: Report,
    *,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Verilate the design in `build_dir`, stream every golden image through it and compare every logit.

    Writes `sim.json` and the program `harness` into the new folder `out`; returns what sim.json holds.

    Raises:
        MismatchError: a logit differs; names the layer.
        ToolError: g++, make, perl or Verilator is missing.
    """
    summary = read_record(build_dir / "build.json", Built)
    estimates = read_record(build_dir / "estimates.json", Estimates)
    rtl = build_dir / "rtl"
    design = load_design(rtl)
    out.mkdir(parents=True)
    start = time.perf_counter()
    report("compiling the simulator")
    harness = verilate(rtl, design, out / "verilator")
    compile_seconds = time.perf_counter() - start
    report(f"simulating {len(golden.logits)} images")
    result = simulate(harness, rtl, design, golden.pixels, progress=progress)
    _require_rtl_equal(result, golden, network, rtl, design, out, stage="RTL")
    stalled_count = min(STALLED_IMAGES, len(golden.logits))
    stalled = simulate(harness, rtl, design, golden.pixels[:stalled_count], stall_seed=1)
    _require_rtl_equal(stalled, golden, network, rtl, design, out, stage="RTL with random stalls")
    measured = _measure(result, design, estimates, clk_ns=summary.clk_ns)
    for remark in measured["remarks"]:
        report(remark)
    content = {
        "images": len(golden.logits),
        "differing": 0,
        "images_with_random_stalls": stalled_count,
        "compile_seconds": compile_seconds,
        **measured,
    }
    _write(out / "sim.json", content)
    harness.rename(out / "harness")  # the simulated device runs it again
    shutil.rmtree(out / "verilator")
    return content


def write_wave(rtl: Path, design: Design, pixels: NDArray[np.uint8], wave: Path, scratch: Path) -> None:
    """Simulate a few images, (N, height, width), and write every signal to the FST file `wave`."""
    try:
        harness = verilate(rtl, design, scratch, wave=True)
        simulate(harness, rtl, design, pixels, wave=scratch / "wave.vcd")
        wave.parent.mkdir(parents=True, exist_ok=True)
        vcd_to_fst(scratch / "wave.vcd", wave)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _require_rtl_equal(
    result: SimResult, golden: Golden, network: IntegerNetwork, rtl: Path, design: Design, out: Path, *, stage: str
) -> None:
    want = golden.logits[: len(result.logits)]
    got = result.logits.astype(np.float64)
    if np.array_equal(got, want):
        return
    image = golden.pixels[diagnose.first_wrong_image(got, want)]
    dumping = verilate(rtl, design, out / "dump", dump=True)
    # The dumps are written where the simulation runs, so it runs in a copy.
    folder = out / "dump_rtl"
    shutil.copytree(rtl, folder)
    simulate(dumping, folder, design, image[None])
    layer = diagnose.name_first_wrong_layer(
        diagnose.rtl_activations(folder, design.nodes), network, image, out / "mismatch"
    )
    try:
        diagnose.require_equal(got, want, stage=stage)
    except MismatchError as err:
        raise MismatchError(f"{err} {layer}") from None


def _measure(result: SimResult, design: Design, estimates: Estimates, *, clk_ns: float) -> dict[str, Any]:
    """Turn counters into what a hardware engineer asks for."""
    layers: list[dict[str, Any]] = []
    for i, node in enumerate(design.nodes):
        if node.layer:
            waits_in = result.streams[i].starved / result.cycles
            waits_out = result.streams[i + 1].stalled / result.cycles
            waits_both = result.streams[i + 1].both / result.cycles
            layers.append(
                {
                    "name": node.name,
                    "estimated_cycles": node.cycles,
                    "busy": 1 - (waits_in + waits_out - waits_both),
                    "waits_for_input": waits_in,
                    "waits_for_output": waits_out,
                }
            )
    fifos = [
        {"name": node.name, "depth": node.depth, "peak": peak}
        for node, peak in zip((node for node in design.nodes if node.fifo), result.fifo_peaks, strict=True)
    ]
    return {
        "clock_mhz": 1e3 / clk_ns,
        "cycles": result.cycles,
        "initiation_interval": result.initiation_interval,
        "estimated_interval": estimates.cycles_per_image,
        "images_per_s": 1e9 / (result.initiation_interval * clk_ns),
        "first_latency_cycles": result.first_latency,
        "first_latency_us": result.first_latency * clk_ns / 1e3,
        "latency_bound_cycles": estimates.latency_bound_cycles,
        "simulation_seconds": result.seconds,
        "simulated_cycles_per_s": result.cycles / result.seconds,
        "layers": layers,
        "slowest_layer": max(layers, key=lambda layer: float(layer["busy"]))["name"],
        "fifos": fifos,
        "timeline": [
            {"into": name, "images": images}
            for name, images in zip([*(node.name for node in design.nodes), "output"], result.timed, strict=True)
        ],
        "remarks": _remarks(result, estimates, fifos),
    }


def _remarks(result: SimResult, estimates: Estimates, fifos: list[dict[str, Any]]) -> list[str]:
    """Say what the depths of the FIFOs promised and the simulation did not show."""
    interval, estimated = result.initiation_interval, estimates.cycles_per_image
    remarks = [
        f"{fifo['name']} never held more than {fifo['peak']} of its {fifo['depth']} beats: too deep for these images"
        for fifo in fifos
        if SMALLEST < fifo["depth"] > fifo["peak"]
    ]
    if interval > estimated:
        remarks.append(
            f"an image takes {interval:.2f} cycles, but the slowest part of the design {estimated}: it waits for a "
            "FIFO that is too shallow or for another layer"
        )
    bound = estimates.latency_bound_cycles
    if bound is not None and result.first_latency > bound:
        remarks.append(f"the first logit took {result.first_latency} cycles, more than the bound of {bound}")
    return remarks
