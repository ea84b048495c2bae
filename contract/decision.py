"""From the device's integer logit to a probability and a class.

The hardware knows integers only; scale, calibration and operating point are host-side numbers, and live here.
"""

import math
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
