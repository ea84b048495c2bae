"""From the device's integer logit to a probability and a class.

The hardware knows integers only; scale, calibration and operating point are host-side numbers, and live here.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.errors import ConfigError


@dataclass(frozen=True)
class Decision:
    """Real logit = scale * integer logit + offset; class 1 where the integer logit exceeds a threshold."""

    scale: float  # more than 0
    offset: float
    threshold: int
    rule: str  # how the threshold was chosen
    operating_points: dict[str, int] = field(default_factory=dict)  # rule -> other thresholds to choose from

    def probability(self, logits: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the probability of class 1 for integer logits of any shape."""
        return sigmoid(self.scale * logits + self.offset)

    def classes(self, logits: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the class, 0 or 1, for integer logits of any shape."""
        return (logits > self.threshold).astype(np.int64)


def logits_of(outputs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the (N,) logits of a network's (N, 1) outputs.

    Raises:
        ConfigError: the network has more outputs than one, for which there are no classes and probabilities yet.
    """
    if outputs.shape[1] != 1:
        raise ConfigError(
            f"this network gives {outputs.shape[1]} integers per image, and a class and a probability are made of one "
            "logit only. Use the integers themselves: `outputs`."
        )
    return outputs[:, 0]


def sigmoid(logits: NDArray[Any] | float) -> NDArray[np.float64]:
    """Return probabilities for real logits of any shape."""
    with np.errstate(over="ignore"):  # exp may reach infinity, where the probability is 0
        return np.asarray(1 / (1 + np.exp(-np.asarray(logits, dtype=np.float64))))


def integer_threshold(operating_point: float, scale: float, offset: float) -> int:
    """Return t with  integer logit > t  exactly when  scale * integer logit + offset > operating_point.

    Raises:
        ConfigError: no 32-bit integer logit lies on either side.
    """
    quotient = (operating_point - offset) / scale
    if not -(2**31) + 1 <= quotient < 2**31 - 1:
        raise ConfigError(
            f"the operating point {operating_point:g} is the integer logit {quotient:g}, outside 32 bits: every image "
            "would get the same class. Train the network again."
        )
    threshold = math.floor(quotient)
    # The quotient's rounding can be off by one; the definition decides.
    while scale * threshold + offset > operating_point:
        threshold -= 1
    while scale * (threshold + 1) + offset <= operating_point:
        threshold += 1
    return threshold


# What the float end of a file does, one after the other, in this order of operations: x is (K, N), others (K, 1).
STEPS: dict[str, Callable[..., Any]] = {
    "add": lambda x, a: x + a,
    "multiply": lambda x, a: x * a,
    "divide": lambda x, a: x / a,
    "subtract_from": lambda x, a: a - x,
    "clip": lambda x, low, high: np.minimum(np.maximum(x, low), high),
    "normalise": lambda x, gain, mean, std, bias: gain * (x - mean) / std + bias,
}
PARAMETERS = {"add": 1, "multiply": 1, "divide": 1, "subtract_from": 1, "clip": 2, "normalise": 4}  # of each, beside x
ENDS = ("", "softmax", "sigmoid", "argmax")


@dataclass(frozen=True)
class Head:
    """What an imported network's K integers stand for: the float end of its file, which the host does.

    The steps are the file's own, in float64, so that equal outputs are equal here, too. Of a head that is quantized,
    an integer stands for the value of the level that it reaches. Where several are equally great, the first is the
    class.
    """

    steps: list[tuple[str, list[list[float]]]] = field(default_factory=list)  # a name in STEPS; (K,) or (1,) each
    thresholds: list[list[int]] | None = None  # (K, L) ascending; None: the head is not quantized
    values: list[list[float]] | None = None  # (K, L + 1)
    end: str = ""  # of ENDS

    def real(self, outputs: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the (N, K) real numbers of (N, K) integers, before softmax or sigmoid."""
        if self.thresholds is not None and self.values is not None:
            rows = zip(self.thresholds, self.values, outputs.T, strict=True)
            columns = [np.asarray(v)[np.searchsorted(t, column, side="right")] for t, v, column in rows]
            return np.stack(columns, axis=1)
        x: NDArray[np.float64] = outputs.T.astype(np.float64)
        for name, parameters in self.steps:
            x = STEPS[name](x, *(np.asarray(values, dtype=np.float64)[:, None] for values in parameters))
        return x.T

    def results(self, outputs: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return what the file itself gives: (N, K), of argmax (N, 1)."""
        reals = self.real(outputs)
        if self.end == "softmax":
            powers = np.exp(reals - reals.max(axis=1, keepdims=True))
            return np.asarray(powers / powers.sum(axis=1, keepdims=True))
        if self.end == "argmax":
            return self.classes(outputs)[:, None].astype(np.float64)
        return sigmoid(reals) if self.end == "sigmoid" else reals

    def classes(self, outputs: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the (N,) numbers of the greatest outputs; of one output, 1 where it is more than 0."""
        reals = self.real(outputs)
        found = reals[:, 0] > 0 if reals.shape[1] == 1 else reals.argmax(axis=1)
        return found.astype(np.int64)
