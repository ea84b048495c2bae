"""From integers to RTL: make the graphs, save and compare each, stitch, and record what was built.

`build_network` takes an integer network and golden images, from wherever these come; `build` reads them from an export
folder: `reference.npz`, `golden.npz`, and for the witness `model.onnx`, or of an imported network `imported.onnx` and
`tensors.npz`. `chain.py` compares, `verify.py` simulates.
"""

import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from contract.errors import ArtifactError
from contract.file_tensors import FileTensors
from contract.golden import Golden, load_golden
from contract.network import Dense, IntegerNetwork, Product, load_network
from finn_build import file_witness, steps, witness
from finn_build.chain import Chain, Report
from finn_build.config import BuildConfig
from finn_build.estimates import estimate, formulas
from finn_build.fifos import latency_bound, stages
from finn_build.finn_session import finn_session
from finn_build.hardware_graph import hardware_graph
from finn_build.ops import layer_op
from finn_build.stitch import stitch
from finn_build.targets.boards import BOARDS


def build(export: Path, out: Path, config: BuildConfig, report: Report) -> dict[str, Any]:
    """Compile the folder `export` into the new folder `out`; return what build.json holds.

    Raises:
        MismatchError: a step changed the integers; names step and layer.
        ConfigError: the network or the folding cannot be built.
        ArtifactError: a file of `export` is damaged.
    """
    golden, network = load_golden(export / "golden.npz"), load_network(export / "reference.npz")
    if not (export / "model.onnx").exists():  # an imported network: its own execution was compared when it came
        file, tensors = export / "imported.onnx", FileTensors.load(export / "tensors.npz")
        hear = partial(file_witness.hear, file, tensors)
        return build_network(network, golden, out, config, report, hear=hear)
    dense = all(isinstance(layer, Dense) for layer in network.layers)
    qonnx = witness.load_onnx(export / "model.onnx", dense=dense)
    if not dense:
        return build_network(network, golden, out, config, report, hear=witness.leave_out)
    witness.require_one_network(qonnx, network)
    return build_network(network, golden, out, config, report, hear=partial(witness.hear, qonnx, network))


def build_network(
    network: IntegerNetwork,
    golden: Golden,
    out: Path,
    config: BuildConfig,
    report: Report,
    *,
    hear: Callable[[Chain, Path], None] | None = None,
) -> dict[str, Any]:
    """Compile an integer network into the new folder `out`; return what build.json holds.

    Args:
        network: what the hardware computes.
        golden: images, and the integers that every step must give for them.
        out: the folder; must not exist.
        config: board, clock, and the wanted rate or a folding file.
        report: told what is being done, a line at a time.
        hear: adds witnesses to the chain: FINN's own conversions of the file that the network comes from. It is given
            a folder for FINN's own files.

    Raises:
        MismatchError: a step changed the integers; names step and layer.
        ConfigError: the network or the folding cannot be built.
        ArtifactError: network and images do not belong together, or no accumulator is near a threshold.
    """
    _require_fitting_images(golden, network)
    _require_fitting_thresholds(network)
    (out / "steps").mkdir(parents=True)
    board = BOARDS[config.board]
    chain = Chain(network, golden, out, report)
    with finn_session(out / "finn"):
        graph = hardware_graph(network)
        steps.fold(hardware_graph(network), config)  # what no folding gives is refused before anything slow
        steps.input_pixels(graph, config)
        if hear is not None:
            hear(chain, (out / "finn").resolve())
        chain.step("hardware_graph", lambda: graph)
        _tell_of_thresholds(graph, config, report)
        model = chain.step("fold", lambda: steps.fold(graph, config), images=config.sample)
        folding = _folding(model)
        estimates = _of_folded(model, network, config)
        for step in steps.TO_RTL:
            model = chain.step(step.__name__, partial(step, model, config), images=0)
        _of_chain(estimates, model, config, report)
        stitch(model, out / "rtl")
    _write(out / "folding.json", folding)
    _write(out / "estimates.json", estimates)
    summary = {
        "board": board.name,
        "part": board.part,
        "clk_ns": config.clk_ns,
        "target_fps": config.target_fps,
        "stream_bits": config.stream_bits,
        "folding": folding,
        "chain": chain.links,
    }
    _write(out / "build.json", summary)
    return summary


def estimate_network(network: IntegerNetwork, config: BuildConfig) -> dict[str, Any]:
    """Return what estimates.json of a build would hold, to the last digit, without writing or executing anything.

    Raises:
        ConfigError: the network or the folding cannot be built.
    """
    with tempfile.TemporaryDirectory() as scratch, finn_session(Path(scratch)):
        model = steps.fold(hardware_graph(network), config)
        estimates = _of_folded(model, network, config)
        _of_chain(estimates, steps.insert_fifos(model, config), config, lambda _: None)
    return estimates


def _of_folded(model: ModelWrapper, network: IntegerNetwork, config: BuildConfig) -> dict[str, Any]:
    """Return what is known once the layers are folded."""
    board = BOARDS[config.board]
    beats = network.input.size // steps.input_pixels(model, config)
    return estimate(model, part=board.part, clk_ns=config.clk_ns, input_beats=beats)


def _of_chain(estimates: dict[str, Any], model: ModelWrapper, config: BuildConfig, report: Report) -> None:
    """Add what is known once there are width converters and FIFOs."""
    chained = stages(model)
    _count_converters(estimates, max(stage.cycles for stage in chained), config, report)
    estimates["latency_bound_cycles"] = latency_bound(chained)
    estimates["formulas"] = formulas(model, BOARDS[config.board].yosys_family)


def _require_fitting_thresholds(network: IntegerNetwork) -> None:
    """Stop at a threshold that no accumulator of its layer is near. Raises ArtifactError."""
    for i, (layer, (low, high)) in enumerate(zip(network.layers, network.input_ranges(), strict=True)):
        if not isinstance(layer, Product) or layer.thresholds is None:
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


def _tell_of_thresholds(graph: ModelWrapper, config: BuildConfig, report: Report) -> None:
    """Say which activations compare with thresholds although `config` wants them to multiply and shift."""
    if config.activation != "requantize" or config.folding is not None:
        return
    for layer in steps.folding_problem(graph, config.filled).layers:
        if not layer.weight_bits and not layer.factor_bits:
            report(f"{layer.name} keeps its thresholds: no multiplication and shift gives exactly the same")


def _require_fitting_images(golden: Golden, network: IntegerNetwork) -> None:
    """Stop unless the golden images and integers are such as the network reads and gives. Raises ArtifactError."""
    pixels, outputs = golden.pixels, golden.outputs
    if not network.input.fits(pixels) or outputs.shape != (len(pixels), network.output_size):
        raise ArtifactError(
            f"golden.npz has images {pixels.dtype}{pixels.shape} and integers {outputs.shape}, reference.npz is for "
            f"{network.input} and {network.output_size} integers per image. Export the run again."
        )


def _count_converters(estimates: dict[str, Any], slowest: int, config: BuildConfig, report: Report) -> None:
    """Correct the estimated rate where a width converter is the slowest node, which the search does not know."""
    if slowest <= estimates["cycles_per_image"]:
        return
    estimates["cycles_per_image"], estimates["images_per_s"] = slowest, 1e9 / (slowest * config.clk_ns)
    report(
        f"an image takes {slowest} cycles: a width converter, between streams of which neither width divides the "
        "other, is slower than every layer. Another SIMD or PE beside it is faster"
    )


def _folding(model: ModelWrapper) -> dict[str, dict[str, Any]]:
    """Return PE, SIMD and memory per layer in FINN's folding file format; feeding it back gives this design again."""
    folding: dict[str, dict[str, Any]] = {"Defaults": {}}
    for node in model.graph.node:
        inst = getCustomOp(node)
        folding[node.name] = {name: inst.get_nodeattr(name) for name in layer_op(node).legal(inst)}
    return folding


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
