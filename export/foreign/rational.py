"""Each threshold held against the file in rational arithmetic; of what made the integers, nothing is used.

From the input on, what the integers of a vector stand for is known as fractions; so is, then, what a product gives for
an accumulator. The nodes behind it are followed for the accumulators at each threshold, one below and one above it,
and for both ends. Every node keeps the order of values or turns it round, so nothing else can happen between these.
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper

from contract.decision import Head
from contract.network import Dense, IntegerNetwork
from contract.quantizer import FLOAT, GREATEST, InputRule
from contract.values import BIPOLAR, VALUES
from export.foreign.execute import Execution

MOST = 250_000  # results of nodes that are computed: some seconds
MOST_WEIGHTS = 1 << 23
MOVES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout", "Cast")  # elements stay in their order
Fractions = NDArray[Any]  # of fractions.Fraction
Integers = NDArray[np.int64]
_fractions = np.frompyfunc(lambda value: Fraction(float(value)), 1, 1)


def exactly(values: Any) -> Fractions:
    """Return numbers as fractions, in an array."""
    return np.asarray(_fractions(values), dtype=object)


class NotRationalError(Exception):
    """The file rounds where integers need multiples of one number, or has a node that is not followed here."""


@dataclass(frozen=True)
class Decisions:
    """What was looked at."""

    count: int  # accumulators
    differing: int  # of which the file makes another level, in rational arithmetic
    note: str = ""  # why there are none


@dataclass(frozen=True)
class _Meaning:
    """What the integers of E elements stand for: offset + pace * integer."""

    offset: Fractions  # (E,)
    pace: Fractions  # (E,)
    low: Integers  # (E,) the least integer that is reached
    high: Integers  # (E,)


def decide(
    model: ModelProto, network: IntegerNetwork, rule: InputRule | None, head: Head, *, scale: float, result: str
) -> Decisions:
    """Look at all thresholds of a network, those of a quantized head among them.

    Args:
        model: the file.
        network: what became of it.
        rule: by which the host makes the integers; None: the integers are fed.
        head: what the host makes of the outputs.
        scale: the file reads this times the integers that are fed.
        result: the file's tensor that the head's real outputs are.
    """
    try:
        return _decide(_Walk(model), network, rule, head, Fraction(scale), result)
    except NotRationalError as err:
        return Decisions(0, 0, str(err))
    except (ArithmeticError, ValueError):  # fractions of what is no number
        return Decisions(0, 0, "the file has constants that are no finite numbers")


def _decide(
    walk: "_Walk", network: IntegerNetwork, rule: InputRule | None, head: Head, scale: Fraction, result: str
) -> Decisions:
    if not all(isinstance(layer, Dense) for layer in network.layers):
        raise NotRationalError("it has convolutions or pools, whose windows are not followed in fractions")
    count = differing = 0
    last = None if head.thresholds is None else np.array(head.thresholds, dtype=np.int64)
    thresholds = [layer.thresholds for layer in network.dense[:-1]] + [last]
    total = sum(rows.size for rows in thresholds if rows is not None)
    if sum(layer.weights.size for layer in network.dense) > MOST_WEIGHTS:
        raise NotRationalError(f"it has more than {MOST_WEIGHTS:,} weights")
    most = MOST // (3 * -(-len(walk.nodes) // len(walk.products)))  # thresholds
    meaning, order = walk.input(network, rule, scale)
    for i, (layer, rows) in enumerate(zip(network.dense, thresholds, strict=True)):
        weights = layer.weights.astype(np.int64)
        unit, constant = _product(walk.matrix(i, order), weights, meaning)
        if rows is None:
            break
        ends = np.sort([weights * meaning.low, weights * meaning.high], axis=0)
        least, greatest = ends.sum(axis=2)[..., None]
        kept = np.linspace(0, rows.shape[1] - 1, max(1, min(rows.shape[1], most * rows.shape[1] // total)))
        near = rows[:, np.unique(kept.astype(np.int64))]
        near = np.clip(np.concatenate([near - 1, near, near + 1, least, greatest], axis=1), least, greatest)
        codes = np.stack([np.searchsorted(row, some, side="right") for row, some in zip(rows, near, strict=True)])
        codes = 2 * codes - 1 if layer.bipolar else codes
        end = walk.data(i + 1) if i + 1 < len(network.dense) else result
        order = walk.order(i, end)
        values = np.empty(near.shape, dtype=object)
        values[order] = np.stack([walk.behind(i, unit * some + constant, end) for some in near.T], axis=1)
        meaning = _meaning(codes, values)
        differing += int((values != meaning.offset[:, None] + meaning.pace[:, None] * codes).sum())
        count += near.size
        if differing:  # nothing is known of the layers behind it
            break
    return Decisions(count, differing)


def _product(matrix: NDArray[np.float64], weights: Integers, meaning: _Meaning) -> tuple[Fractions, Fractions]:
    """Return unit and constant, (C,) each, of what a product gives: unit * accumulator + constant.

    Args:
        matrix: (C, E) the file's.
        weights: (C, E) the network's.
        meaning: of the E elements.

    Raises:
        NotRationalError: the weights are no exact multiples of one number.
    """
    kinds: dict[tuple[Fraction, Fraction, int | None], int] = {}
    only = [low if low == high else None for low, high in zip(meaning.low.tolist(), meaning.high.tolist(), strict=True)]
    each = zip(meaning.offset, meaning.pace, only, strict=True)
    kind = [kinds.setdefault(one, len(kinds)) for one in each]
    known = list(kinds)
    unit, constant = np.full(len(weights), Fraction(1)), np.full(len(weights), Fraction(0))
    for c, (row, integers) in enumerate(zip(matrix, weights, strict=True)):
        cells = Counter(zip(row.tolist(), integers.tolist(), kind, strict=True))
        moving = [(Fraction(m) * known[k][1], w) for m, w, k in cells if known[k][2] is None]
        found = {real / w for real, w in moving if w}
        if len(found) > 1 or any(real for real, w in moving if not w):
            raise NotRationalError("a scale is rounded, so that weights are no exact multiples of one number")
        unit[c] = found.pop() if found else unit[c]
        for (m, w, k), count in cells.items():
            offset, _, one = known[k]
            constant[c] += count * ((Fraction(m) * offset if offset else 0) - unit[c] * w * (one or 0))
    return unit, constant


def _meaning(codes: Integers, values: Fractions) -> _Meaning:
    """Return what integers stand for, by the two of (E, T) that are farthest from each other; `values` are as many."""
    rows = np.arange(len(codes))
    first, last = codes.argmin(axis=1), codes.argmax(axis=1)
    low, high = codes[rows, first], codes[rows, last]
    pace = (values[rows, last] - values[rows, first]) / np.maximum(high - low, 1)
    return _Meaning(np.where(low == high, values[rows, first], values[rows, first] - pace * low), pace, low, high)


class _Walk:
    """The nodes of a file, followed in rational arithmetic; its constants are those of its execution in float64."""

    def __init__(self, model: ModelProto) -> None:
        execution = Execution(model, *(node.output[0] for node in model.graph.node if node.output[0]), double=True)
        self.source, self.shapes = execution.source, execution.shapes()
        self.constants = {t.name: numpy_helper.to_array(t) for t in execution.model.graph.initializer}
        self.nodes: list[NodeProto] = []
        self.read: list[str] = []
        moving = {self.source}
        for node in execution.model.graph.node:
            name = next((name for name in node.input if name in moving), None)
            if name is not None and node.op_type != "Shape":
                self.nodes.append(node)
                self.read.append(name)
                moving.update(node.output)
        self.products = [i for i, node in enumerate(self.nodes) if node.op_type in ("MatMul", "Gemm")]

    def data(self, i: int) -> str:
        """Return the tensor that product `i` reads."""
        return self.read[self.products[i]]

    def input(self, network: IntegerNetwork, rule: InputRule | None, scale: Fraction) -> tuple[_Meaning, Integers]:
        """Return what the network's inputs stand for, and which stands where in what the first product reads."""
        size, source = network.input.size, network.input.values
        if rule is None:
            codes = np.tile(np.array([source.low, source.high]), (size, 1))
            fed = exactly(codes) * scale
        else:
            inside, codes = _inside(rule, size)
            fed = exactly(inside) * (1 if rule.reads == FLOAT else scale)
        stop, shape = self.products[0], self.shapes[self.source]
        order = self._ids(0, stop, self.source)
        values = np.empty(codes.shape, dtype=object)
        values[order] = np.stack([self._follow(0, stop, row.reshape(shape)) for row in fed.T], axis=1)
        return _meaning(codes, values), order

    def matrix(self, i: int, order: Integers) -> NDArray[np.float64]:
        """Return (C, E) of product `i`, its columns in the order of the layer before: `order` is what stands where."""
        node = self.nodes[self.products[i]]
        left = node.input[0] in self.constants
        matrix = np.asarray(self.constants[node.input[0 if left else 1]], dtype=np.float64)
        matrix = (
            matrix.reshape(-1, len(order)) if left else matrix.reshape(*matrix.shape[-2:], *(1,) * (2 - matrix.ndim))
        )
        matrix = matrix if left or _attributes(node).get("transB") else matrix.T
        ordered = np.empty_like(matrix)
        ordered[:, order] = matrix
        return ordered

    def behind(self, i: int, sums: Fractions, end: str) -> Fractions:
        """Return the tensor `end`, flat, where product `i` without its bias gives `sums`, flat."""
        node = self.nodes[self.products[i]]
        x, given = sums.reshape(self.shapes[node.output[0]]), _attributes(node)
        if node.op_type == "Gemm":
            x = x * Fraction(float(given.get("alpha", 1)))
            if len(node.input) > 2 and node.input[2]:
                x = x + exactly(self.constants[node.input[2]]) * Fraction(float(given.get("beta", 1)))
        return self._follow(self.products[i] + 1, self._after(end), x)

    def order(self, i: int, end: str) -> Integers:
        """Return which of product `i`'s outputs stands where in the tensor `end`."""
        return self._ids(self.products[i] + 1, self._after(end), self.nodes[self.products[i]].output[0])

    def _after(self, name: str) -> int:
        return next(i for i, node in enumerate(self.nodes) if name in node.output) + 1

    def _ids(self, start: int, stop: int, name: str) -> Integers:
        ids = np.arange(int(np.prod(self.shapes[name]))).reshape(self.shapes[name])
        for node in self.nodes[start:stop]:
            ids = self._moved(node, ids)
        return ids.ravel()

    def _moved(self, node: NodeProto, x: NDArray[Any]) -> NDArray[Any]:
        if node.op_type == "Transpose":
            return np.transpose(x, _attributes(node).get("perm"))
        return x.reshape(self.shapes[node.output[0]])

    def _follow(self, start: int, stop: int, x: Fractions) -> Fractions:
        for node in self.nodes[start:stop]:
            if node.op_type in (*MOVES, "Transpose"):
                x = self._moved(node, x)
            else:
                x = compute(node, [self.constants.get(name, x) if name else None for name in node.input])
        return x.ravel()


def _inside(rule: InputRule, size: int) -> tuple[NDArray[np.float64], Integers]:
    """Return (M, 2) of what is fed, at the lowest and the highest level that something reaches, and its integers."""
    rows = np.asarray(rule.thresholds, dtype=np.float64)
    ends = np.stack([rows[:, 0] - 1, rows[:, -1]], axis=1)
    if rule.reads == FLOAT:
        fed: NDArray[Any] = np.clip(ends, -GREATEST, GREATEST)
    else:
        values = VALUES[rule.reads]
        fed = np.clip(np.ceil(ends), values.low, values.high)
        fed = np.where(fed > 0, 1, -1).astype(values.dtype) if rule.reads == BIPOLAR else fed.astype(values.dtype)
    fed = np.ascontiguousarray(np.broadcast_to(fed, (size, 2)).T)
    return fed.T.astype(np.float64), rule(fed).T.astype(np.int64)


def _attributes(node: NodeProto) -> dict[str, Any]:
    return {one.name: helper.get_attribute_value(one) for one in node.attribute}


# Nodes, elementwise.


def compute(node: NodeProto, inputs: list[NDArray[Any] | None]) -> Fractions:
    """Return what an elementwise node makes of fractions, the data, and constants of any type; None: left out.

    Raises:
        NotRationalError: the node is not followed.
    """
    if node.op_type not in NODES:
        raise NotRationalError(f"a node {node.op_type[:40]} is not followed")
    values = [None if value is None else value if value.dtype == object else exactly(value) for value in inputs]
    given = _attributes(node)
    if node.op_type == "QuantizeLinear":
        given["ends"] = np.iinfo(np.uint8 if len(inputs) < 3 or inputs[2] is None else inputs[2].dtype)
    return np.asarray(NODES[node.op_type](given, *values))


def _clip(given: dict[str, Any], x: Fractions, low: Any = None, high: Any = None) -> Fractions:
    low, high = (exactly(given[name]) if name in given else bound for name, bound in (("min", low), ("max", high)))
    x = x if low is None else np.maximum(x, low)
    return x if high is None else np.minimum(x, high)


def _batch_norm(given: dict[str, Any], x: Fractions, *four: Fractions) -> Any:
    gain, bias, mean, variance = (value.reshape(-1, *(1,) * (x.ndim - 2)) for value in four)
    std = exactly(np.sqrt(variance.astype(np.float64) + float(given.get("epsilon", 1e-5))))  # rounded, as nothing else
    return (x - mean) / std * gain + bias


def _quant(given: dict[str, Any], x: Fractions, scale: Fractions, zero: Fractions, bits: Fractions) -> Any:
    signed, narrow, y = given.get("signed", 1), given.get("narrow", 0), x / scale + zero
    mode = bytes(given.get("rounding_mode", b"ROUND")).decode().upper()
    if signed and (np.asarray(bits) == 1).all():
        return (np.where(y >= 0, exactly(1), exactly(-1)) - zero) * scale
    half = Fraction(2) ** (bits - 1)
    low, high = (-half + narrow, half - 1) if signed else (0 * half, 2 * half - 1 - narrow)
    return (ROUNDING[mode](np.minimum(np.maximum(y, low), high)) - zero) * scale


def _multi_threshold(given: dict[str, Any], x: Fractions, thresholds: Fractions) -> Any:
    layout = bytes(given.get("data_layout", b"NCHW")).decode()
    last = layout.endswith("C") and len(layout) > 2
    shape = (-1, thresholds.shape[1]) if last else (-1, *(1,) * (x.ndim - 2), thresholds.shape[1])
    count = (x[..., None] >= thresholds.reshape(shape)).sum(axis=-1).astype(object)
    return count * Fraction(float(given.get("out_scale", 1))) + Fraction(float(given.get("out_bias", 0)))


def _along(x: Fractions, given: dict[str, Any], value: Fractions | None) -> Any:
    """Return a scale or zero point: one, or one per entry of the axis."""
    if value is None or value.size == 1:
        return Fraction(0) if value is None else value.item()
    return value.reshape([-1 if i == given.get("axis", 1) % x.ndim else 1 for i in range(x.ndim)])


def _quantize(given: dict[str, Any], x: Fractions, scale: Fractions, zero: Any = None) -> Any:
    whole = ROUNDING["ROUND"](x / _along(x, given, scale)) + _along(x, given, zero)
    return np.minimum(np.maximum(whole, exactly(given["ends"].min)), exactly(given["ends"].max))


def _rounding(function: Callable[[Fraction], int]) -> Any:
    return np.frompyfunc(lambda value: Fraction(function(value)), 1, 1)


HALF = Fraction(1, 2)
ROUNDING = {
    "ROUND": _rounding(round), "HALF_EVEN": _rounding(round), "CEIL": _rounding(math.ceil),
    "FLOOR": _rounding(math.floor), "DOWN": _rounding(int), "ROUND_TO_ZERO": _rounding(int),
    "UP": _rounding(lambda v: math.ceil(v) if v > 0 else math.floor(v)),
    "HALF_UP": _rounding(lambda v: math.floor(v + HALF) if v > 0 else math.ceil(v - HALF)),
    "HALF_DOWN": _rounding(lambda v: math.ceil(v - HALF) if v > 0 else math.floor(v + HALF)),
}  # fmt: skip
NODES: dict[str, Callable[..., Any]] = {
    "Add": lambda given, x, y: x + y, "Sub": lambda given, x, y: x - y, "Mul": lambda given, x, y: x * y,
    "Div": lambda given, x, y: x / y, "Relu": lambda given, x: np.maximum(x, exactly(0)), "Clip": _clip,
    "BatchNormalization": _batch_norm, "Quant": _quant, "IntQuant": _quant,
    "BipolarQuant": lambda given, x, scale: np.where(x >= 0, scale, -scale),
    "MultiThreshold": _multi_threshold, "QuantizeLinear": _quantize,
    "DequantizeLinear": lambda given, x, scale, zero=None: (
        (x - _along(x, given, zero)) * _along(x, given, scale)
    ),
}  # fmt: skip
