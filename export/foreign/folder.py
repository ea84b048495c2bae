"""Write the export folder of a file that somebody made elsewhere, and prove it before it is finished.

imported.onnx   the file
reference.npz   the integers of the hardware (contract.network)
tensors.npz     some of these inputs as the file reads them, with tensors of the file (contract.file_tensors)
golden.npz      inputs as the hardware reads them, with their integers: the samples, and some at all ends and at random
export.json     the host's part at either end, and what was compared
"""

import json
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from contract.errors import ConfigError, DataError
from contract.file_tensors import FileTensors
from contract.files import hash_file, write_whole
from contract.inputs import Fed, read_inputs
from contract.network import Convolution, Depthwise, IntegerNetwork, save_network
from contract.npz import load_npz, save_npz
from contract.onnx_file import load_onnx
from export.foreign.execute import Execution
from export.foreign.graph import Chain, Product, read_graph
from export.foreign.layers import Imported, to_integers
from export.foreign.proof import Proof, prove
from export.foreign.rational import Decisions, decide
from export.records import describe_layers
from export.requantization import requantized

GOLDEN = 100  # of the inputs that the proof made, that every later stage is compared on
WITNESSED = 100  # of the golden inputs, on which FINN's own conversion is heard
MIN_WITNESSED, MAX_WITNESSED = 4, 1 << 22  # fewer where images between layers would take more values than that
MAX_SAMPLES = 100_000
ADVICE = "Export the network again, or give another file."


@dataclass(frozen=True)
class Given:
    """What somebody gives beside the file."""

    reads: str | None = None  # what is fed: float, or a datatype; None: what the file says
    scale: float = 1.0  # the file's input is `scale` times what is fed
    samples: Path | None = None  # what is fed, see contract.inputs
    labels: Path | None = None  # .npz with an array `y`, (N,): the class of each sample


def import_file(path: Path, out: Path, given: Given = Given()) -> dict[str, Any]:  # it is frozen
    """Import an ONNX file into the new folder `out`; return what export.json holds.

    Raises:
        ArtifactError: the file, or a file of samples, is damaged.
        ConfigError: the file holds what cannot become integers; names the node.
        DataError: samples or labels do not fit the file.
        MismatchError: the integers are not the file's function.
    """
    model = load_onnx(path, advice=ADVICE)
    with np.errstate(all="ignore"):  # what is no number in the end is refused, or differs from the file
        chain = read_graph(model)
        imported = to_integers(chain, given.reads, given.scale)
    _require_32_bits(imported.network)
    imported = replace(imported, network=requantized(imported.network))
    reads = imported.network.input.datatype if imported.rule is None else imported.rule.reads
    classes = imported.head.class_count(imported.network.output_size)
    samples, labels = _given(given, chain, reads, classes)
    proof = prove(model, chain, imported, scale=given.scale, samples=samples)
    decisions = decide(model, imported.network, imported.rule, imported.head, scale=given.scale, result=chain.result)
    count = 0 if samples is None else len(samples)
    out.mkdir(parents=True)
    write_whole(out / "imported.onnx", path.read_bytes())
    save_network(out / "reference.npz", imported.network)
    chosen = _chosen(len(proof.fed), count)
    save_npz(out / "golden.npz", {"pixels": proof.inputs[chosen], "outputs": proof.outputs[chosen]})
    _tensors(model, chain, proof.read[chosen]).save(out / "tensors.npz")
    summary = _summary(path, imported, proof, decisions, reads, chain.shape, count, labels)
    (out / "export.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return summary


def _require_32_bits(network: IntegerNetwork) -> None:
    low, high = network.output_ranges()
    if low.min() < -(2**31) or high.max() >= 2**31:
        raise ConfigError(
            f"the outputs reach from {low.min()} to {high.max()}, expected 32 bits. Use fewer bits or smaller layers."
        )


def _summary(
    path: Path,
    imported: Imported,
    proof: Proof,
    decisions: Decisions,
    reads: str,
    shape: tuple[int, ...],
    samples: int,
    labels: NDArray[np.int64] | None,
) -> dict[str, Any]:
    compared = {"stage": "file_float64", "images": len(proof.fed), "differing": 0}
    witness = {"stage": "file_float32", "images": len(proof.fed), "differing": proof.differing_in_float32}
    exact: dict[str, Any] = {"stage": "file_rational", "images": decisions.count}
    exact |= {"differing": None, "note": decisions.note} if decisions.note else {"differing": decisions.differing}
    measured = None
    if labels is not None:
        correct = int((imported.head.classes(proof.outputs[:samples]) == labels).sum())
        measured = {"images": samples, "correct": correct}
    return {
        "network": describe(imported.network),
        "imported": {
            "file": path.name[:200],
            "sha256": hash_file(path),
            "reads": reads,
            "shape": list(shape),
            "samples": samples,
            "labels": measured,
        },
        "rule": None if imported.rule is None else asdict(imported.rule),
        "head": asdict(imported.head),
        "chain": [compared, witness, exact],
        "layers": describe_layers(imported.network),
    }


def describe(network: IntegerNetwork) -> str:
    """Return sizes and widths in a few letters, such as 784-64-10 W2A4, or 3072-c64-d64-10 W1A1 with convolutions."""
    letters = {Convolution.kind: "c", Depthwise.kind: "d"}
    products = [layer for layer, _ in network.products()]
    each = (f"{letters.get(layer.kind, '')}{len(layer.weights)}" for layer in products)
    sizes = "-".join((str(network.input.size), *each))
    weights = max(_bits(layer.weights) for layer in products)
    levels = [1 if x.bipolar else x.thresholds.shape[1].bit_length() for x in products if x.thresholds is not None]
    return f"{sizes} W{weights}" + (f"A{max(levels)}" if levels else "")


def _bits(weights: NDArray[np.int8]) -> int:
    if (np.abs(weights) == 1).all():
        return 1
    return max(2, *(1 + int(v if v >= 0 else ~v).bit_length() for v in (int(weights.min()), int(weights.max()))))


def _chosen(count: int, samples: int) -> NDArray[np.int64]:
    """Return which inputs go on: the samples, and some of what the proof made: both ends, and others evenly spread."""
    made = np.unique(np.linspace(samples + 2, count - 1, GOLDEN - 2).astype(np.int64))
    return np.concatenate([np.arange(samples + 2), made])


def _tensors(model: ModelProto, chain: Chain, read: NDArray[np.float64]) -> FileTensors:
    """Return what the file makes of up to WITNESSED of the inputs (N, M), evenly spread."""
    names = [product.data for product in chain.products] + [chain.result]
    size = sum(_size(product) for product in chain.products)
    count = max(MIN_WITNESSED, min(WITNESSED, MAX_WITNESSED // size))
    fed = read[np.unique(np.linspace(0, len(read) - 1, count).astype(np.int64))]
    found = iter(Execution(model, *(name for name in names if name != chain.input), double=True)(fed))
    return FileTensors(fed, tuple(fed if name == chain.input else next(found) for name in names))


def _size(product: Product) -> int:
    """Return how many values a product reads."""
    return product.matrix.shape[1] if product.windows is None else math.prod(product.windows.image)


def _given(
    given: Given, chain: Chain, reads: str, classes: int
) -> tuple[NDArray[Any] | None, NDArray[np.int64] | None]:
    """Return the (N, M) samples and the (N,) labels below `classes`, checked. Raises DataError, ArtifactError."""
    if given.samples is None:
        if given.labels is not None:
            raise DataError("--labels is given without --samples, expected the samples that they belong to.")
        return None, None
    samples = read_inputs(given.samples, Fed(reads, chain.shape, flat=chain.order is None), name=str(given.samples))
    if len(samples) > MAX_SAMPLES:
        raise DataError(f"{given.samples} holds {len(samples):,} samples, expected {MAX_SAMPLES:,} at most.")
    samples = samples.reshape(len(samples), -1)
    if given.labels is None:
        return samples, None
    labels = load_npz(given.labels).get("y")
    if labels is None:
        raise DataError(f"{given.labels} has no array 'y', expected one of labels.")
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) != len(samples):
        raise DataError(
            f"{given.labels} has labels {labels.dtype}{labels.shape}, expected {len(samples)} integers, one a sample."
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise DataError(
            f"{given.labels} has labels from {labels.min()} to {labels.max()}, expected classes from 0 to "
            f"{classes - 1}: the file tells {classes} apart."
        )
    return samples, labels.astype(np.int64)
