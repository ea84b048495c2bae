"""The proof that the integers are the file's own function: on samples, at thresholds, at all ends, and at random."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from contract.decision import Head
from contract.errors import ConfigError, MismatchError
from contract.network import Convolution, Dense, IntegerNetwork
from contract.quantizer import FLOAT, GREATEST, InputRule
from contract.values import BIPOLAR, VALUES
from export.foreign.execute import Execution
from export.foreign.graph import Chain
from export.foreign.layers import Imported

PROBES = 1024  # inputs at least, samples not counted
WINDOW_PROBES = 256  # of a network with convolutions, which takes a thousand times as long and has many windows in each
ALONE = 256  # inputs of which each is tried alone
TIES = 256  # inputs that drive an accumulator of the first layer onto a threshold, or one below
SATURATED = 1e-15  # real outputs that are closer may be one probability
LOST = 700  # below exp(-700) a probability loses its digits, and then is 0, of which the file takes the logarithm
CLOSE = 1e-3  # of what one integer more changes: how far a float64 sum may be from the integers' own


@dataclass(frozen=True)
class Proof:
    """What was compared."""

    fed: NDArray[Any]  # (N, M) what was fed, samples first
    read: NDArray[np.float64]  # (N, M) what the file was executed on: that times the scale
    inputs: NDArray[Any]  # (N, *Input.shape) the network's integers for it
    outputs: NDArray[np.int64]  # (N, K)
    differing_in_float32: int  # inputs on which the file's execution in float32 has another integer


def prove(
    model: ModelProto, chain: Chain, imported: Imported, *, scale: float, samples: NDArray[Any] | None, seed: int = 0
) -> Proof:
    """Compare with the file's own execution in float64.

    Args:
        model: the file.
        chain: what was read from it.
        imported: what became of it.
        scale: the file's input is `scale` times what is fed, where that is integers.
        samples: (N, M) of what is fed.
        seed: of the random inputs.

    Raises:
        MismatchError: an output differs.
    """
    network, rule, head = imported.network, imported.rule, imported.head
    windows = any(product.windows is not None for product in chain.products)
    fed = _probes(network, rule, np.random.default_rng(seed), WINDOW_PROBES if windows else PROBES)
    if samples is not None:
        fed = np.concatenate([samples, fed])
    source = network.input
    inputs = (fed if rule is None else rule(fed)).reshape(-1, *source.shape)
    outputs = network.outputs(inputs)[-1]
    reals = head.real(outputs)
    allowed = CLOSE * _change(head, network, outputs)
    real_fed = chain.read(fed.astype(np.float64) * (1.0 if rule is not None and rule.reads == FLOAT else scale))
    names = [chain.result, *([chain.output] if chain.end else [])]
    got, *ends = Execution(model, *names, double=True)(real_fed)
    wrong = np.flatnonzero((np.abs(got - reals) > allowed).any(axis=1))
    if wrong.size:
        _refuse(wrong, len(fed), got[wrong[0]], reals[wrong[0]])
    if ends:
        _compare_end(ends[0], head, outputs, got, idle=chain.idle)
    (single,) = Execution(model, chain.result, double=False)(real_fed)
    differing = int((np.abs(single - reals) > allowed / CLOSE / 2).any(axis=1).sum())
    return Proof(fed, real_fed, inputs, outputs, differing)


def _refuse(wrong: NDArray[np.int64], count: int, got: NDArray[np.float64], want: NDArray[np.float64]) -> None:
    k = int(np.abs(got - want).argmax())
    raise MismatchError(
        f"the file's own execution in float64 and its integers differ on {wrong.size} of {count} inputs; first on "
        f"input {wrong[0]}, output {k}: the file gives {float(got[k])}, the integers stand for {float(want[k])}. "
        "Nothing was written. This is a bug: please report it with the file."
    )


def _change(head: Head, network: IntegerNetwork, outputs: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return (K,) by how much one integer more changes a real output; of a head that is quantized, one level more."""
    if head.values is not None:
        values = np.asarray(head.values)
        return np.asarray(np.abs(np.diff(values, axis=1)).max(axis=1) + 1e-300)
    plain = Head([one for one in head.steps if one[0] != "clip"])
    low, high = network.output_ranges()
    ends = plain.real(np.stack([low, high]))
    change = np.abs(ends[1] - ends[0]) / np.maximum(high - low, 1)
    return np.asarray(np.where(change > 0, change, 1e-9 * np.abs(ends[0]) + 1e-300))


def _compare_end(
    found: NDArray[np.float64], head: Head, outputs: NDArray[np.int64], got: NDArray[np.float64], *, idle: str
) -> None:
    """Stop unless the host's end gives what the file's does; of outputs equal but for rounding, any may be greatest.

    Args:
        found: (N, 1 or K) what the file gives.
        head: what the host does.
        outputs: (N, K) the hardware's integers.
        got: (N, K) the file's own real numbers before its end.
        idle: the softmax in front of the argmax, which the host leaves out; none: "".

    Raises:
        ConfigError: a softmax before an argmax rounds outputs that differ to equal probabilities.
        MismatchError: the ends differ otherwise.
    """
    want = head.results(outputs)
    if head.end == "argmax" and found.shape == want.shape:
        rows, count = np.arange(len(got)), got.shape[1]
        known = ((found >= 0) & (found < count))[:, 0]
        chosen = got[rows, np.where(known, found[:, 0], 0).astype(np.int64)]
        ours = got[rows, want[:, 0].astype(np.int64)]
        wrong = (found != want)[:, 0] & (~known | (np.abs(chosen - ours) > 1e-12 * np.abs(chosen)))
        if idle and wrong.any() and (known & (np.abs(chosen - ours) < SATURATED))[wrong].all():
            n = int(wrong.argmax())
            raise ConfigError(
                f"{idle} rounds outputs that differ to one probability, so the file takes the first of them and not "
                f"the greatest, on {int(wrong.sum())} of {len(wrong)} inputs; first on input {n}, whose output "
                f"{int(want[n, 0])} is greater by {ours[n] - chosen[n]:g}. Expected larger scales, or no softmax there."
            )
    else:
        wrong = np.ones(len(found), bool)
        if found.shape == want.shape:
            size = np.abs(got).max(axis=1, keepdims=True)
            size = (
                size if head.end == "max" else np.maximum(size, 1) if head.end == "log_softmax" else np.ones_like(size)
            )
            lost = (found < -LOST) & (want < -LOST) if head.end == "log_softmax" else np.zeros(found.shape, bool)
            wrong = (~(np.abs(found - want) <= 1e-9 * size) & ~lost).any(axis=1)
    if wrong.any():
        n = int(wrong.argmax())
        raise MismatchError(
            f"the file's {head.end} and the host's differ on {int(wrong.sum())} of {len(wrong)} inputs; first on input "
            f"{n}: {found[n].tolist()[:8]} and {want[n].tolist()[:8]}. This is a bug: please report it with the file."
        )


def _probes(network: IntegerNetwork, rule: InputRule | None, rng: np.random.Generator, most: int) -> NDArray[Any]:
    """Return (N, M) of what is fed: all ends, each input alone, ties of the first layer, and at random."""
    source, size = network.input, network.input.size
    values = source.values
    low, high = (values.dtype(v) for v in (values.low, values.high))
    if rule is not None and values.name != BIPOLAR:
        low, high = (values.dtype(v) for v in (rule.low, rule.low + len(rule.thresholds[0])))
    least, greatest = np.full((1, size), low), np.full((1, size), high)
    alone_most, ties = min(ALONE, most // 4), min(TIES, most // 4)
    which = np.arange(size) if size <= alone_most else rng.choice(size, alone_most, replace=False)
    rest = least if values.name == BIPOLAR else np.full_like(least, min(max(0, int(low)), int(high)))
    alone = np.repeat(rest, len(which), axis=0)
    alone[np.arange(len(which)), which] = high
    parts = [least, greatest, alone, _ties(network, low, high, rng, ties)]
    count = max(most - sum(map(len, parts)), most // 2)
    if values.name == BIPOLAR:
        parts.append(values.random(rng, (count, size)))
    else:
        parts.append(rng.integers(low, high, (count, size), dtype=values.dtype, endpoint=True))
    codes = np.concatenate(parts)
    return codes if rule is None else _fed(rule, codes, rng)


def _ties(network: IntegerNetwork, low: Any, high: Any, rng: np.random.Generator, count: int) -> NDArray[Any]:
    """Return inputs for which a random accumulator of the first layer is at a threshold, or as close as it gets."""
    layer, values = network.layers[0], network.input.values
    if not isinstance(layer, Dense | Convolution) or layer.thresholds is None:
        return np.empty((0, network.input.size), dtype=values.dtype)
    channels = rng.integers(0, len(layer.weights), count)
    wanted = layer.thresholds[channels, rng.integers(0, layer.thresholds.shape[1], count)] - rng.integers(0, 2, count)
    weights = layer.weights.astype(np.int64)
    if isinstance(layer, Convolution):  # of its first window that lies on the image as a whole, or as much as there is
        weights = _on_image(layer, weights)
    weights = weights.reshape(len(weights), -1)[channels]
    x: NDArray[np.int64] = rng.integers(int(low), int(high), weights.shape, endpoint=True)
    if values.name == BIPOLAR:
        x = values.random(rng, weights.shape).astype(np.int64)
    left = wanted - (weights * x).sum(axis=1)
    for i in rng.permutation(weights.shape[1]):
        w = weights[:, i]
        moved = x[:, i] + np.fix(left / np.where(w == 0, 1, w)).astype(np.int64) * (w != 0)
        if values.name == BIPOLAR:  # turned over where that brings it closer
            moved = np.where((w * x[:, i] < 0) == (left > 0), -x[:, i], x[:, i]) * 1
            moved = np.where(np.abs(left) > np.abs(w), moved, x[:, i])
        moved = np.clip(moved, int(low), int(high))
        left -= w * (moved - x[:, i])
        x[:, i] = moved
    return x.astype(values.dtype)


def _on_image(layer: Convolution, weights: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return weights (OC, KH, KW, C) as those of a whole image, (OC, H, W, C), of one window in its middle."""
    whole = np.zeros((len(weights), *layer.image), dtype=np.int64)
    ends = []
    for axis, places in enumerate(layer.window.places(layer.image)):
        start = places // 2 * layer.stride[axis] - layer.padding[axis]
        low, high = max(0, -start), min(weights.shape[1 + axis], layer.image[axis] - start)
        ends.append((slice(start + low, start + high), slice(low, high)))
    (rows, i), (columns, j) = ends
    whole[:, rows, columns] = weights[:, i, j]
    return whole


def _fed(rule: InputRule, codes: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Return what is fed so that the rule gives such integers, often at a threshold or just below one.

    Where nothing that is fed becomes such an integer, as of a pruned input, it is the nearest that something becomes.
    """
    rows = np.asarray(rule.thresholds, dtype=np.float64)
    ends_of_all = (-GREATEST, GREATEST) if rule.reads == FLOAT else (VALUES[rule.reads].low, VALUES[rule.reads].high)
    levels = (codes.astype(np.int64) + 1) // 2 if rule.datatype == BIPOLAR else codes.astype(np.int64) - rule.low
    columns = np.arange(codes.shape[1]) if len(rows) > 1 else np.zeros(codes.shape[1], dtype=np.int64)
    lowest, highest = ((rows <= end).sum(axis=1)[columns] for end in ends_of_all)
    levels = np.clip(levels, lowest, highest)
    first, last = levels == lowest, levels == highest
    ends = rows[columns, np.minimum(levels, rows.shape[1] - 1)]
    begins = np.where(first, np.where(last, -1.0, ends - 1), rows[columns, np.maximum(levels - 1, 0)])
    ends = np.where(last, begins + 1, ends)
    at_start = rng.random(codes.shape) < 0.5
    ties = rng.choice([0, 0.5], (len(codes), 1))  # of half of the inputs, so that others tell of what is behind
    if rule.reads == FLOAT:
        inside = begins + rng.random(codes.shape) * (ends - begins)
        exact = np.where(first | (~last & ~at_start), np.nextafter(ends, -np.inf), begins)
        return np.where(rng.random(codes.shape) < ties, exact, inside).astype(
            np.float32
        )  # so that float32 reads the same
    values = VALUES[rule.reads]
    if values.name == BIPOLAR:
        return np.where(levels > 0, 1, -1).astype(values.dtype)
    chosen = np.where(first | (~last & ~at_start), ends - 1, begins)
    return np.clip(chosen, values.low, values.high).astype(values.dtype)
