"""When the logits differ: which layer is the first to be wrong, and by what.

Called only after a comparison failed, so it may be slow. It leaves the two tensors on disk.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from contract.errors import MismatchError
from contract.network import IntegerNetwork
from contract.npz import save_npz
from finn_build.graph import hardware_tensors
from finn_build.ops import layer_op, op_of
from finn_build.ops.op import Node


def require_equal(got: NDArray[np.generic], want: NDArray[np.int64], *, stage: str) -> None:
    """Stop unless a stage gives the (N, K) golden integers exactly.

    Raises:
        MismatchError: naming the stage and the first image that differs.
    """
    wrong = np.argwhere(got != want)
    if len(wrong):
        n, k = (int(v) for v in wrong[0])
        raise MismatchError(
            f"{stage}: {len(wrong)} of {want.size} logits differ from the golden ones; first at {place(n, k, want)}: "
            f"got {got[n, k]:g}, want {want[n, k]}."
        )


def place(n: int, k: int, outputs: NDArray[np.int64]) -> str:
    """Return which of (N, K) integers is meant: image `n`, and where an image has several, output `k`."""
    return f"image {n}" if outputs.shape[1] == 1 else f"image {n}, output {k}"


def first_wrong_image(got: NDArray[np.generic], want: NDArray[np.int64]) -> int:
    """Return the index of the first image of which an integer differs; both are (N, K)."""
    return int(np.argwhere(got != want)[0][0])


def first_difference(got: NDArray[np.float64], want: NDArray[np.int64]) -> dict[str, float] | None:
    """Return the first (N, K) integer that differs, with both, as JSON-able numbers; None if all are equal."""
    if np.array_equal(got, want):
        return None
    n, k = (int(v) for v in np.argwhere(got != want)[0])
    return {"image": n, "got": float(got[n, k]), "want": float(want[n, k])}


def graph_activations(model: ModelWrapper, image: NDArray[Any]) -> list[tuple[str, NDArray[np.float64]]]:
    """Return the name and output of every layer of a hardware graph for one image: activations, then its integers."""
    tensors = hardware_tensors(model, image[None])
    nodes = [n for n in model.graph.node if op_of(n).computes and _activates(n)]
    return [(n.name, tensors[n.output[0]][0]) for n in [*nodes, model.graph.node[-1]]]


def _activates(node: Any) -> bool:
    return layer_op(node).activates(bipolar=getCustomOp(node).get_output_datatype().name == "BIPOLAR")


def rtl_activations(dumps: Path, nodes: tuple[Node, ...]) -> list[tuple[str, NDArray[np.float64]]]:
    """Return the same from the NAME.hex files that a simulation of one image wrote into `dumps`."""
    layers = [node for node in nodes if node.layer]
    kept = [node for node in layers if node.activation] + layers[-1:]
    return [(node.name, _unpack(dumps / f"{node.name}.hex", node)) for node in kept]


def _unpack(path: Path, node: Node) -> NDArray[np.float64]:
    """Beats of `pe` elements, the first in the low bits; the head's accumulator is signed."""
    bits, signed = node.out_element_bits, not node.activation
    values = []
    for line in path.read_text(encoding="ascii").split():
        beat = int(line, 16)
        for _ in range(node.pe):
            value = beat & ((1 << bits) - 1)
            if node.bipolar:
                value = 2 * value - 1
            elif signed and value >> (bits - 1):
                value -= 1 << bits
            values.append(value)
            beat >>= bits
    return np.array(values, dtype=np.float64)


def _where(wrong: NDArray[np.bool_]) -> str:
    """Return the first place of a layer's output that is wrong."""
    *place, channel = (int(v) for v in np.argwhere(wrong)[0])
    return f"channel {channel}" + (f" of row {place[0]}, column {place[1]}" if place else "")


def name_first_wrong_layer(
    got: list[tuple[str, NDArray[np.float64]]], network: IntegerNetwork, image: NDArray[Any], folder: Path
) -> str:
    """Return a sentence that names the first layer that differs; write its two tensors to mismatch.npz in `folder`."""
    want = [layer[0] for layer in network.outputs(image[None])]
    for i, ((name, found), expected) in enumerate(zip(got, want, strict=True)):
        found = found.reshape(expected.shape) if found.size == expected.size else found  # an image comes as a stream
        if np.array_equal(found, expected):
            continue
        folder.mkdir(parents=True, exist_ok=True)
        save_npz(folder / "mismatch.npz", {"got": found, "want": expected, "image": image})
        same = found.shape == expected.shape
        where = _where(found != expected) if same else f"{found.size} values instead of {expected.size}"
        both = folder / "mismatch.npz"
        return f"The first layer that differs is layer {i} ({name}), at {where}; both tensors are in {both}."
    return "Every layer is right by itself for that image: the difference depends on the images before it."
