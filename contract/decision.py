"""From the device's integers to probabilities and a class.

The hardware knows integers only; scale, calibration and operating point are host-side numbers, and live here:
`Decision` of one logit, which tells two classes apart, `Choice` of K logits, one for each of K classes, and `Head` of
the networks of others.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.errors import ConfigError

OWN = "default"  # name of a run's own operating point, where no other name is known


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

    @property
    def points(self) -> dict[str, int]:
        """All thresholds by name, the own one first: by the name of one that is equal to it, or OWN."""
        others = self.operating_points
        own = next((name for name, threshold in others.items() if threshold == self.threshold), OWN)
        return {own: self.threshold, **{name: threshold for name, threshold in others.items() if name != own}}

    def classes(self, logits: NDArray[np.int64], point: str | None = None) -> NDArray[np.int64]:
        """Return the class, 0 or 1, for integer logits of any shape; `point` names one of `points`."""
        require_point(self, point)
        threshold = self.threshold if point is None else self.points[point]
        return (logits > threshold).astype(np.int64)


def point_names(decision: "Decision | Choice | None") -> list[str]:
    """Return the names of the operating points, the own one first; of None, an imported network, it is the only one."""
    return [OWN] if decision is None else list(decision.points)


def require_point(decision: "Decision | Choice | None", point: str | None) -> None:
    """Raise ConfigError where there is no operating point of that name; None is the own one."""
    names = point_names(decision)
    if point is not None and point not in names:
        raise ConfigError(f"there is no operating point {point[:60]!r}, expected one of {', '.join(names)[:600]}.")


def logits_of(outputs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the (N,) logits of a network's (N, 1) outputs.

    Raises:
        ConfigError: the network has more outputs than one: see `Choice`.
    """
    if outputs.shape[1] != 1:
        raise ConfigError(
            f"this network gives {outputs.shape[1]} integers per image, expected one logit. Use the integers, "
            "`outputs`; and `classes` and `probabilities` where accelerator.json says what they mean."
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


MULTIPLIER_BITS = 30  # 1 <= multiplier < 2**30
OFFSET_BITS = 60  # |offset| < 2**60: with 32-bit outputs, |level| < 2**62
MARGIN_BITS = 62  # |margin| < 2**62: a level and a margin together are within 64 bits
MAX_SHIFT = 200  # |shift|; a level is 2**-shift of a real logit


@dataclass(frozen=True)
class OneAgainstRest:
    """An operating point for one class: it is the answer where its level exceeds all others by more than the margin.

    Elsewhere the greatest of the others is. So a margin below 0 finds more of that class, one above 0 fewer.
    """

    label: int  # of the class, 0..K-1
    margin: int  # difference of two levels, |margin| < 2**MARGIN_BITS


@dataclass(frozen=True)
class Choice:
    """Of K integers per image, which of K classes; K >= 2.

        level[n, k] = multipliers[k] * outputs[n, k] + offsets[k]
        real logit[n, k] = level[n, k] / 2**shift
        class[n] = argmax over k of level[n, k], the first where several are equally great
        probability[n, k] = exp(real logit[n, k]) / sum over j of exp(real logit[n, j])

    Levels are integers, so the class is exact and the same on every device. `outputs` are 32-bit integers; within the
    bounds below no level and no sum of a level and a margin leaves 64 bits, so int64 is enough, in numpy on a 32-bit
    processor (where it has to be asked for) as in C. Calibration, a gain and a bias for each class, is part of the
    numbers. Probabilities are float64 and may differ in their last bits between two processors.
    """

    multipliers: list[int]  # (K,) 1..2**MULTIPLIER_BITS - 1
    offsets: list[int]  # (K,) |offset| < 2**OFFSET_BITS
    shift: int  # |shift| <= MAX_SHIFT
    rule: str  # how the class is chosen, for people
    operating_points: dict[str, OneAgainstRest] = field(default_factory=dict)  # others to choose from, by name

    @property
    def points(self) -> dict[str, OneAgainstRest | None]:
        """All operating points by name: OWN first, at which the greatest of all is the answer, and the others."""
        return {OWN: None, **{name: one for name, one in self.operating_points.items() if name != OWN}}

    def real_margin(self, point: OneAgainstRest) -> float:
        """Return an operating point's margin as a difference of real logits."""
        return math.ldexp(point.margin, -self.shift)

    def levels(self, outputs: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the (N, K) levels of (N, K) integers.

        Raises:
            ConfigError: there are not K integers per image, or one of them is outside 32 bits.
        """
        if outputs.ndim != 2 or outputs.shape[1] != len(self.multipliers):
            raise ConfigError(
                f"found outputs of shape {outputs.shape}, expected (N, {len(self.multipliers)}): one integer for each "
                "class. Package the run again."
            )
        if outputs.size and not -(2**31) <= int(outputs.min()) <= int(outputs.max()) < 2**31:
            raise ConfigError("an output is outside 32 bits, expected a device's integers. Verify the device.")
        multipliers, offsets = (np.array(values, dtype=np.int64) for values in (self.multipliers, self.offsets))
        return outputs * multipliers + offsets

    def real(self, outputs: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the (N, K) real logits of (N, K) integers."""
        return np.asarray(np.ldexp(self.levels(outputs).astype(np.float64), -self.shift))

    def probabilities(self, outputs: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the (N, K) probabilities of (N, K) integers; a row sums to 1."""
        return softmax(self.real(outputs))

    def classes(self, outputs: NDArray[np.int64], point: str | None = None) -> NDArray[np.int64]:
        """Return the (N,) classes of (N, K) integers, 0..K-1; `point` names one of `points`."""
        require_point(self, point)
        levels, one = self.levels(outputs), None if point is None else self.points[point]
        if one is None:
            return np.asarray(levels.argmax(axis=1), dtype=np.int64)
        others = levels.copy()
        others[:, one.label] = np.iinfo(np.int64).min  # less than any level
        greatest = np.asarray(others.argmax(axis=1), dtype=np.int64)
        chosen = levels[:, one.label] > others.max(axis=1) + one.margin
        return np.asarray(np.where(chosen, one.label, greatest))


def beyond_bounds(choice: Choice) -> str | None:
    """Say which integer of a choice of K multipliers and offsets could leave 64 bits or names no class; None: none."""
    bounded: list[tuple[str, int, int, int]] = [  # field, value, least, greatest
        *(("multipliers", value, 1, 2**MULTIPLIER_BITS - 1) for value in choice.multipliers),
        *(("offsets", value, 1 - 2**OFFSET_BITS, 2**OFFSET_BITS - 1) for value in choice.offsets),
        ("shift", choice.shift, -MAX_SHIFT, MAX_SHIFT),
    ]
    for name, point in choice.operating_points.items():
        where = f"operating_points.{name[:60]}"
        bounded.append((f"{where}.label", point.label, 0, len(choice.multipliers) - 1))
        bounded.append((f"{where}.margin", point.margin, 1 - 2**MARGIN_BITS, 2**MARGIN_BITS - 1))
    wrong = next((one for one in bounded if not one[2] <= one[1] <= one[3]), None)
    return None if wrong is None else f"{wrong[0]} is {wrong[1]}, expected {wrong[2]} to {wrong[3]}"


def choice(scales: Sequence[float], offsets: Sequence[float], *, rule: str) -> Choice:
    """Return the Choice of  real logit[k] = scales[k] * integer[k] + offsets[k], in integers once and for all.

    The greatest multiplier has MULTIPLIER_BITS bits, so a scale is kept to within 2**-(MULTIPLIER_BITS - 1) of the
    greatest one, far below what one quantized integer says. What the integers say is the definition from here on.

    Args:
        scales: (K,) each above 0.
        offsets: (K,).
        rule: how the class is chosen, for people.

    Raises:
        ConfigError: a number is not finite or a scale is not above 0, or their sizes are too different for integers.
    """
    if len(scales) != len(offsets) or len(scales) < 2:
        raise ConfigError(f"found {len(scales)} scales and {len(offsets)} offsets, expected as many, of two or more.")
    if not all(math.isfinite(v) for v in (*scales, *offsets)) or min(scales) <= 0:
        raise ConfigError(
            "a scale or offset of the logits is not finite, or a scale is not above 0: the training diverged. "
            "Train the network again, with a lower learning rate."
        )
    shift = MULTIPLIER_BITS - math.frexp(max(scales))[1]  # max(scales) * 2**shift is in 2**29..2**30
    if abs(shift) > MAX_SHIFT:
        raise ConfigError(f"the greatest scale is {max(scales):g}, expected about 1e-6 to 1. Train the network again.")

    multipliers = [
        min(_level(scale, shift, MULTIPLIER_BITS + 1, "a scale"), 2**MULTIPLIER_BITS - 1) for scale in scales
    ]
    if min(multipliers) < 1:
        raise ConfigError(
            f"the scales of the logits are {min(scales):g} to {max(scales):g}: a class's integer says nothing. Train "
            "the network again, with a lower learning rate or another seed."
        )
    return Choice(multipliers, [_level(offset, shift, OFFSET_BITS, "an offset") for offset in offsets], shift, rule)


def with_points(chosen: Choice, label: int, margins: Mapping[str, float]) -> Choice:
    """Return `chosen` with operating points for one class, see `OneAgainstRest`.

    Args:
        chosen: what the integers mean.
        label: of the class.
        margins: name -> margin, a difference of real logits.

    Raises:
        ConfigError: a margin is not finite, or so large that every image would get the same class.
    """
    if not all(map(math.isfinite, margins.values())):
        raise ConfigError("a margin of an operating point is not finite: the training diverged. Train again.")
    points = {
        name: OneAgainstRest(label, _level(margin, chosen.shift, MARGIN_BITS, "a margin"))
        for name, margin in margins.items()
    }
    return replace(chosen, operating_points=points)


def golden_answers(
    decision: Decision | Choice, outputs: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return what golden.npz says of (N, K) integers: probability, (N,) of class 1 or (N, K), and the (N,) classes."""
    if isinstance(decision, Choice):
        return decision.probabilities(outputs), decision.classes(outputs)
    logits = logits_of(outputs)
    return decision.probability(logits), decision.classes(logits)


MEANING = "meaning.npz"  # of a deploy folder of K classes


def meaning(decision: Choice, class_names: Sequence[str], outputs: NDArray[np.int64]) -> dict[str, NDArray[np.generic]]:
    """Return what meaning.npz says, so that a decision or a name that is changed later is found.

    Args:
        decision: what the integers mean, its P operating points beside the own one included.
        class_names: what people call each class.
        outputs: (N, K) golden integers.

    Returns:
        names, UTF-8 lines of the classes and then of the points; classes_at, (N, P).
    """
    points = list(decision.points)[1:]
    lines = "\n".join([*class_names, *points]).encode(errors="backslashreplace")
    at = [decision.classes(outputs, point) for point in points]
    none = np.zeros((len(outputs), 0), dtype=np.int64)
    return {"names": np.frombuffer(lines, dtype=np.uint8), "classes_at": np.stack(at, axis=1) if at else none}


def _level(value: float, shift: int, bits: int, what: str) -> int:
    """Return a real number as a level, of so many bits. Raises ConfigError."""
    found = round(Fraction(value) * Fraction(2) ** shift)
    if abs(found) >= 2**bits:
        raise ConfigError(
            f"{what} is {value:g}, which the integers of these scales cannot make up for: every image would get the "
            "same class. Train the network again."
        )
    return found


def softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Return probabilities for real logits (..., K)."""
    logits = np.asarray(logits, dtype=np.float64)
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def log_softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Return the logarithms of probabilities for real logits (..., K)."""
    logits = np.asarray(logits, dtype=np.float64)
    below = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(below - np.log(np.exp(below).sum(axis=-1, keepdims=True)))


def log_odds(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Return (N, K) of real logits (N, K): log(p / (1 - p)) of each class, which orders images as its probability does.

    Probabilities themselves would be equal, at 0 or 1, where the logits are far apart.
    """
    values = np.asarray(logits, dtype=np.float64)
    odds = np.empty_like(values)
    for k in range(values.shape[1]):
        rest = np.delete(values, k, axis=1)
        greatest = rest.max(axis=1)
        odds[:, k] = values[:, k] - greatest - np.log(np.exp(rest - greatest[:, None]).sum(axis=1))
    return odds


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
ENDS = ("", "softmax", "log_softmax", "sigmoid", "argmax", "max")
GREATEST = ("softmax", "log_softmax", "argmax", "max")  # ends that compare the outputs: the class is the greatest one


@dataclass(frozen=True)
class Head:
    """What an imported network's K integers stand for: the float end of its file, which the host does.

    The steps are the file's own, in float64, so that equal outputs are equal here, too. Of a head that is quantized,
    an integer stands for the value of the level that it reaches. Where several are equally great, the first is the
    class. The class is always that of the real numbers themselves: softmax in front of an argmax changes no order, so
    it is left out, and what its own rounding makes equal stays apart.
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
        """Return what the file itself gives: (N, K), of argmax and max (N, 1)."""
        reals = self.real(outputs)
        if self.end == "argmax":
            return self.classes(outputs)[:, None].astype(np.float64)
        if self.end == "max":
            return np.asarray(reals.max(axis=1, keepdims=True))
        ends = {"softmax": softmax, "log_softmax": log_softmax, "sigmoid": sigmoid}
        return ends[self.end](reals) if self.end else reals

    def directions(self, count: int) -> list[int]:
        """Return for each of K = `count` outputs what a greater integer does to its real number: raise it (1), lower it
        (-1), or nothing (0). No step turns round on the way.
        """
        ends: NDArray[Any] = np.array([[-(2**31)] * count, [2**31 - 1] * count], dtype=np.int32)
        with np.errstate(over="ignore", invalid="ignore"):
            low, high = self.real(ends).tolist()
        return [int(b > a) - int(b < a) for a, b in zip(low, high, strict=True)]

    def class_count(self, outputs: int) -> int:
        """Return how many classes so many outputs tell apart."""
        return 2 if outputs == 1 and self.end not in GREATEST else outputs

    def classes(self, outputs: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the (N,) numbers of the greatest outputs; of one that no end compares, 1 where it is more than 0."""
        reals = self.real(outputs)
        alone = self.class_count(reals.shape[1]) > reals.shape[1]
        found = reals[:, 0] > 0 if alone else reals.argmax(axis=1)
        return found.astype(np.int64)
