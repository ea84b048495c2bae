"""A chain of products and float steps to the integer network, to the host's rule for its input, and to its head.

Between two products there must be a quantizer. Which level it gives for an accumulator is asked of the file's own
steps, in float64; where each level begins is bisected. The level's number is what the hardware computes with; what it
stands for, offset + pace * number, moves into the next product's weights and into its steps.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from contract.decision import Head
from contract.errors import ConfigError
from contract.network import MAX_SIDE, Convolution, Dense, Depthwise, GlobalSum, Input, IntegerNetwork, Layer, MaxPool
from contract.quantizer import GREATEST, MAX_RULE, MAX_SCALE, MIN_SCALE, InputRule
from contract.values import BIPOLAR, VALUES
from export.foreign.graph import Chain, Product, Work
from export.foreign.steps import (
    MAX_LEVELS,
    Maximum,
    Quantizer,
    Step,
    UnsupportedError,
    integer_rows,
    near_rows,
    odd_part,
    step,
)

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Steps = tuple[Step | Quantizer, ...]
Weighted = Dense | Convolution | Depthwise
NOISE = 2.0**-50  # of the sum of all terms' sizes: what a float64 sum in any order may be off by, eight times the usual
SAME = 1e-9  # of a level's distance: how far rounding in float64 may move it from an equal one
INT8 = np.iinfo(np.int8)
SUMS = 1024  # of a mean that no quantizer follows, that are looked at for whether what follows is linear


@dataclass(frozen=True)
class Imported:
    """What a file computes, as integers. Real outputs are `head`'s work."""

    network: IntegerNetwork
    rule: InputRule | None  # real inputs to the network's; None: the file reads the network's integers
    head: Head


@dataclass(frozen=True)
class _Codes:
    """What the integers of one vector stand for: offset + pace * integer. Of an image, those of its channels."""

    reals: Floats  # (E, T) the values in the file's own float64
    offset: Floats  # (E,)
    pace: Floats  # (E,); 0 of an input of which the file makes one number, whatever the integer
    low: int
    high: int

    def of_channels(self, order: Integers | None, channels: int, node: str) -> "_Codes":
        """Return those of the channels of an image, of those of all values of the input. Raises ConfigError."""
        if len(self.offset) == channels:
            return self
        order = np.arange(len(self.offset)) if order is None else order
        found = []
        for each in (np.broadcast_to(self.reals, (len(self.offset), self.reals.shape[1])), self.offset, self.pace):
            places = each[order].reshape(-1, channels, *each.shape[1:])
            if (places != places[:1]).any():
                raise ConfigError(
                    f"{node} reads an input whose scales differ from place to place of the image, expected the same "
                    "for a whole channel."
                )
            found.append(places[0])
        return _Codes(found[0], found[1], found[2], self.low, self.high)

    def of_channel(self, channel: int, size: int) -> "_Codes":
        """Return those of `size` values of one channel."""
        row = slice(channel, channel + 1)
        reals = np.broadcast_to(self.reals, (len(self.offset), self.reals.shape[1]))
        return _Codes(reals[row], self.offset[row], self.pace[row], self.low, self.high).of_values(size)

    def of_values(self, size: int) -> "_Codes":
        """Return those of all `size` values of an image, place by place, of those of its channels."""
        times = size // len(self.offset)
        if times == 1:
            return self
        reals = np.broadcast_to(self.reals, (len(self.offset), self.reals.shape[1]))
        return _Codes(
            np.tile(reals, (times, 1)), np.tile(self.offset, times), np.tile(self.pace, times), self.low, self.high
        )


@dataclass(frozen=True)
class _Levels:
    """Where the levels of E elements begin, and what they stand for."""

    thresholds: NDArray[np.generic]  # (E, L) of the accumulators, or of real inputs
    reals: Floats  # (E, K) what the file's steps make of the levels
    offset: Floats  # (E,) of level 0
    pace: Floats  # (E,) from a level to the next


def to_integers(chain: Chain, declared: str | None, scale: float = 1.0) -> Imported:
    """Return the integers of a chain.

    Args:
        chain: the file's.
        declared: what is fed: a name in contract.values.VALUES, or "float"; None: what the file says.
        scale: the file's input is `scale` times what is fed, where that is integers.

    Raises:
        ConfigError: something on the way is no integer; names the node.
    """
    first, *others = chain.products
    codes, rule, datatype = _input(chain, declared, scale)
    if first.windows is None:
        source = _shaped(chain.shape, datatype)
    else:
        source = Input(*first.windows.image, datatype)
        if max(first.windows.image) > MAX_SIDE:
            raise ConfigError(f"the input is an image of {first.windows.image}, expected sides of {MAX_SIDE} at most.")
        codes = codes.of_channels(chain.order, source.channels, first.node)
        if rule is not None and chain.order is not None and len(rule.thresholds) > 1:
            rule = replace(rule, thresholds=tuple(rule.thresholds[i] for i in chain.order))
    layers: list[Layer] = []
    pending = _product(first, codes, first=True)
    for product in others:
        summed = pending.sum(product)
        layer, codes = pending.activation(product) if summed is None else summed
        layers += [layer, *(MaxPool(one.image, one.kernel, one.stride) for one in product.steps if _is_maximum(one))]
        pending = _product(product, codes)
    layers.append(pending.layer())
    network = IntegerNetwork(source, tuple(layers))
    return Imported(network, rule, pending.head(chain))


def _is_maximum(one: object) -> TypeGuard[Maximum]:
    return isinstance(one, Maximum)


def _elementwise(work: Work) -> Steps:
    """Return the steps, without the maxima between them: these change no value."""
    return tuple(one for one in work if not isinstance(one, Maximum))


def _shaped(shape: tuple[int, ...], datatype: str) -> Input:
    """Return the input: an image where there is one channel of two dimensions, else one row, as the file has it."""
    size = int(np.prod(shape))
    sides = tuple(side for side in shape if side != 1)
    height, width = sides if len(sides) == 2 else (1, size)
    if width > MAX_SIDE:
        height = next((h for h in range(2, MAX_SIDE + 1) if size % h == 0 and size // h <= MAX_SIDE), 0)
        width = size // height if height else width
    if not height or max(height, width) > MAX_SIDE:
        raise ConfigError(f"the input has {size} values, expected a number with divisors of {MAX_SIDE} at most.")
    return Input(height, width, 1, datatype)


def _input(chain: Chain, declared: str | None, scale: float) -> tuple[_Codes, InputRule | None, str]:
    """Return what the network's inputs stand for, the host's rule, and the datatype of the network's input."""
    first = chain.products[0]
    count = int(np.prod(chain.shape))
    quantizer = any(isinstance(one, Quantizer) for one in first.steps)
    kind = declared or chain.declared or ("float" if quantizer and chain.whole is None else None)
    if kind is None and chain.whole is not None:
        raise ConfigError(
            f"the file's input is integers from {chain.whole[0]} to {chain.whole[1]}, and nothing says which of them "
            "are fed. Say so, such as --input uint8."
        )
    if kind is None or (kind == "float" and not quantizer):
        raise ConfigError(
            f"the input of {first.node} is float, and no quantizer stands before it. Say which integers are "
            "fed, such as --input uint8, or --input int8 --input-scale 0.0625 for sixteenths from -8 to 8, or put a "
            "Quant node in front."
        )
    if kind != "float" and kind not in VALUES:
        raise ConfigError(f"the input is {kind[:40]!r}, expected float or one of {', '.join(VALUES)}.")
    if not MIN_SCALE <= scale <= MAX_SCALE:
        raise ConfigError(f"--input-scale is {scale:g}, expected a number from {MIN_SCALE:g} to {MAX_SCALE:g}.")
    if chain.whole is not None:
        _require_whole(chain.whole, kind, scale)
    if kind == "float" and scale != 1:
        raise ConfigError("--input-scale is for integers, and the input is float. Leave it out.")
    if kind == "float":
        return _ruled(first, np.full((count, 1), GREATEST), None)
    values = VALUES[kind]
    fed = step("multiply", np.array(scale))
    if quantizer:
        return _ruled(first, np.full((count, 1), float(values.high)), kind, low=values.low, fed=fed)
    numbers = np.array([-1.0, 1.0]) if kind == BIPOLAR else np.arange(values.low, values.high + 1, dtype=np.float64)
    reals = _apply((fed, *_elementwise(first.steps)), np.tile(numbers, (count, 1)))
    offset, pace = _line(numbers, reals, first)
    return _Codes(reals, offset, pace, values.low, values.high), None, kind


def _line(numbers: Floats, reals: Floats, product: Product) -> tuple[Floats, Floats]:
    """Return offset and pace, (E,), of which offset + pace * numbers is (E, T) `reals`. Raises ConfigError."""
    pace = (reals[:, -1] - reals[:, 0]) / (numbers[-1] - numbers[0])
    line = reals[:, :1] + pace[:, None] * (numbers - numbers[0])
    if (np.abs(line - reals) > SAME * np.abs(pace[:, None]) + 1e-300).any():
        raise ConfigError(
            f"{product.last} bends the values before {product.node}, expected a quantizer behind it, or scales only."
        )
    return reals[:, 0] - pace * numbers[0], pace


def _require_whole(ends: tuple[int, int], kind: str, scale: float) -> None:
    """Stop where a file whose input is integers, from one end to the other, could not read what is fed."""
    values = VALUES.get(kind)
    if values is None or values.low < ends[0] or values.high > ends[1] or scale != 1:
        raise ConfigError(
            f"the file's input is integers from {ends[0]} to {ends[1]}, and {kind} is fed, times {scale:g}. Expected "
            "an --input within them, and no --input-scale."
        )


def _ruled(
    first: Product, high: Floats, kind: str | None, *, low: int = 0, fed: Step | None = None
) -> tuple[_Codes, InputRule, str]:
    """Return the same for an input that the host quantizes, from what is fed to the quantizer's own integers.

    Levels that nothing reaches, for there is a Relu or a Clip before the quantizer, are none of the integers.
    """
    with _before(first):
        if kind is None:
            levels = _levels(_elementwise(first.steps), -high, high, middle=_middle_float)
        else:
            assert fed is not None
            least = np.full(high.shape, low)
            levels = _levels((fed, *_elementwise(first.steps)), least, high.astype(np.int64))
    thresholds, offset, pace = levels.thresholds, levels.offset, levels.pace
    if (thresholds == thresholds[:1]).all():
        thresholds = thresholds[:1]
    if thresholds.size > MAX_RULE:
        raise ConfigError(
            f"the quantizer in front, up to {first.last}, differs from value to value and needs {thresholds.size:,} "
            f"thresholds, expected {MAX_RULE:,} at most. Use one scale for the whole input, or fewer bits."
        )
    count, base, datatype = thresholds.shape[1], 0, ""
    ratio = offset / np.where(pace == 0, 1, pace)
    uniform = (np.abs(ratio - ratio[0]) <= SAME).all()
    if count == 1 and uniform and abs(ratio[0] + 0.5) < SAME:
        datatype, offset, pace = BIPOLAR, offset + pace / 2, pace / 2
    else:
        datatype = f"uint{max(2, count.bit_length())}"
        natural = _integer_name(round(ratio[0]), count) if uniform and abs(ratio[0] - round(ratio[0])) < SAME else ""
        if natural and VALUES[natural].bits <= VALUES[datatype].bits:  # the quantizer's own, if they are as narrow
            base, datatype = round(float(ratio[0])), natural
            offset = offset - pace * base
    ends = (-1, 1) if datatype == BIPOLAR else (base, base + count)
    rows = tuple(tuple(row) for row in thresholds.tolist())
    return _coded(levels.reals, offset, pace, *ends), InputRule(kind or "float", datatype, ends[0], rows), datatype


def _integer_name(base: int, count: int) -> str:
    """Return the narrowest type of integers from `base` to `base + count`, or nothing."""
    for values in reversed(VALUES.values()):
        if values.name != BIPOLAR and values.low <= base and base + count <= values.high:
            if base >= 0 and values.low < 0:
                continue
            return values.name
    return ""


def _coded(reals: Floats, offset: Floats, pace: Floats, low: int, high: int) -> _Codes:
    """Return codes of levels; an element that never leaves one, so has one integer, gets a pace like the others'."""
    still = pace == 0
    some = pace[~still][0] if not still.all() else 1.0
    return _Codes(reals, np.where(still, offset - some * low, offset), np.where(still, some, pace), low, high)


@dataclass(frozen=True)
class _Pending:
    """A product as integers, whose activation is not known yet."""

    product: Product
    weights: NDArray[np.int8]  # (C, M)
    fill: int  # what is padded with
    codes: _Codes  # of its inputs
    real: tuple[Step, ...]  # accumulators (C, T) to what the file's product gives
    noise: Floats  # (C, 1) by how much the file's own float64 may be off that; 0 where every sum is exact

    def layer(self, thresholds: Integers | None = None, *, bipolar: bool = False, flip: Any = False) -> Weighted:
        """Return the layer; with `flip`, (C,), of rows that are negated."""
        weights = np.where(np.atleast_1d(flip)[:, None], -self.weights, self.weights)
        windows = self.product.windows
        if windows is None:
            return Dense(weights, thresholds, bipolar)
        window, image = windows.window, windows.image
        kind, channels = (Depthwise, ()) if windows.depthwise else (Convolution, (image[2],))
        return kind(
            weights.reshape(len(weights), *window.kernel, *channels), thresholds, bipolar, image=image,
            stride=window.stride, padding=window.padding, fill=self.fill,
        )  # fmt: skip

    def _ends(self, flip: Any = False) -> tuple[Integers, Integers]:
        """Return the (C, 1) least and greatest accumulators."""
        least, greatest = self.layer(flip=flip).accumulator_range(self.codes.low, self.codes.high)
        return least[:, None], greatest[:, None]

    def sum(self, following: Product) -> tuple[GlobalSum, _Codes] | None:
        """Return the sum over an image whose mean no quantizer follows, and what it stands for; None: another case.

        Raises ConfigError.
        """
        windows = self.product.windows
        steps = _elementwise(following.steps)
        if windows is None or not windows.averages or any(isinstance(one, Quantizer) for one in steps):
            return None
        if windows.window.kernel != windows.image[:2] or len(steps) != len(following.steps) or following.windows:
            raise ConfigError(
                f"{following.node} reads what {self.product.node} makes, a mean that is no integer, expected a "
                "quantizer between them, or a mean of the whole image before a dense layer."
            )
        layer = GlobalSum(windows.image)
        low, high = layer.reach(self.codes.low, self.codes.high)
        numbers = np.unique(np.linspace(low, high, SUMS).astype(np.int64)).astype(np.float64)
        with _before(following):
            reals = _apply((*self.real, *steps), np.tile(numbers, (len(self.weights), 1)))
        offset, pace = _line(numbers, reals, following)
        return layer, _Codes(reals, offset, pace, low, high)

    def activation(self, following: Product) -> tuple[Weighted, _Codes]:
        """Return the layer, up to what `following` reads, and what its outputs stand for."""
        if not any(isinstance(one, Quantizer) for one in following.steps):
            raise ConfigError(
                f"{following.node} reads float values of {following.last}, expected a quantizer between it and "
                f"{self.product.node}: Quant, BipolarQuant, QuantizeLinear or MultiThreshold. Hidden layers must be "
                "quantized."
            )
        steps = (*self.real, *_elementwise(following.steps))
        least, greatest = self._ends()
        first, last = _index(steps, least), _index(steps, greatest)
        # Thresholds count upwards, so a falling row is negated; -128 cannot be, and its level's numbers are, instead.
        flip = (first > last)[:, 0] & (self.weights > INT8.min).all(axis=1)
        sign = np.where(flip, -1, 1)[:, None]
        least, greatest = self._ends(flip)
        with _before(following):
            levels = _levels((step("multiply", sign), *steps), least, greatest)
        real = (step("multiply", sign), *self.real)
        self._require_rising(real, following, least, greatest)
        self._require_no_ties(real, _elementwise(following.steps), levels.thresholds, least, greatest)
        offset, pace = levels.offset, levels.pace
        moving = pace != 0
        ratio = offset[moving] / pace[moving]
        bipolar = bool(levels.thresholds.shape[1] == 1 and moving.any() and (np.abs(ratio + 0.5) < SAME).all())
        layer = self.layer(levels.thresholds.astype(np.int64), bipolar=bipolar, flip=flip)
        if bipolar:
            offset, pace = np.where(moving, 0.0, offset), np.where(moving, pace / 2, pace)
        return layer, _coded(levels.reals, offset, pace, *layer.output_range())

    def _require_rising(self, real: Steps, following: Product, least: Integers, greatest: Integers) -> None:
        """Stop at a maximum whose values fall with the layer's levels: it would be the least of these."""
        for at, one in enumerate(following.steps):
            if isinstance(one, Maximum):
                before = (*real, *_elementwise(following.steps[:at]))
                down, up = (_apply(before, end.astype(np.float64)) for end in (least, greatest))
                if (falling := np.argwhere(down > up)).size:
                    raise ConfigError(
                        f"a MaxPool between {self.product.node} and {following.node} has a falling quantizer behind "
                        f"it, in channel {falling[0][0]} for one: a negative gain, or weights of -128. Expected the "
                        "pool behind the quantizer, or gains that are positive."
                    )

    def _require_no_ties(
        self, real: Steps, steps: Steps, thresholds: NDArray[np.generic], least: Integers, greatest: Integers
    ) -> None:
        """Stop where equal accumulators may get two levels: at a rounding tie of sums that float64 rounds term by term.

        Args:
            real: accumulators to what the file's product gives.
            steps: from there, with a quantizer.
            thresholds: (C, L) accumulators at which its levels begin.
            least: (C, 1) accumulator that can be reached.
            greatest: (C, 1).
        """
        up, down = ((*real, step("add", noise), *steps) for noise in (self.noise, -self.noise))
        for accumulators in (thresholds.astype(np.int64), thresholds.astype(np.int64) - 1):
            reached = (accumulators >= least) & (accumulators <= greatest) & (self.noise > 0)
            inside = np.clip(accumulators, least, greatest)
            tied = np.argwhere(reached & (_index(up, inside) != _index(down, inside)))
            if tied.size:
                raise ConfigError(
                    f"{self.product.node} gives sums that lie on a rounding tie of the quantizer behind it, on output "
                    f"{tied[0][0]} for one, and what it multiplies has scales that are no powers of two: float64 "
                    "rounds each term by itself, so the file gives one sum two levels, and no integers do. Expected a "
                    "quantizer in front whose scale, times the weights' scale, is short in binary (0.25, not 1 / 255), "
                    "or an --input-scale that is."
                )

    def head(self, chain: Chain) -> Head:
        """Return what the host makes of the last product's accumulators."""
        least, greatest = self._ends()
        head = _elementwise(chain.head)
        steps = (*self.real, *head)
        if any(isinstance(one, Quantizer) for one in steps):
            with _named(f"behind {self.product.node}"):
                thresholds, values = _quantized_head(steps, least, greatest)
            self._require_no_ties(self.real, head, thresholds, least, greatest)
            return Head(thresholds=thresholds.tolist(), values=values.tolist(), end=chain.end)
        plain = [(s.kind, [_listed(p) for p in s.parameters]) for s in steps if isinstance(s, Step)]
        return Head(steps=plain, end=chain.end)


def _listed(parameter: Floats) -> list[float]:
    return [float(value) for value in np.ravel(parameter)]


def _product(product: Product, codes: _Codes, *, first: bool = False) -> _Pending:
    """Return a product of the integers that a vector, or an image, is coded in. Raises ConfigError."""
    windows = product.windows
    if windows is not None and windows.depthwise:
        parts = [_integers(product, row[None], codes.of_channel(c, len(row))) for c, row in enumerate(product.matrix)]
        weights, shift, unit, constant, noise = (np.concatenate(each) for each in zip(*parts, strict=True))
    else:  # of all values, or of those of one window
        values = codes.of_values(product.matrix.shape[1])
        weights, shift, unit, constant, noise = _integers(product, product.matrix, values)
    fill = 0 if windows is None or not any(windows.window.padding) else _fill(product, codes, first=first)
    real = (*([step("add", shift.astype(np.float64))] if shift.any() else []), step("multiply", unit))
    real = (*real, step("add", constant)) if constant.any() else real
    return _Pending(product, np.ascontiguousarray(weights, dtype=np.int8), fill, codes, real, noise)


def _fill(product: Product, codes: _Codes, *, first: bool) -> int:
    """Return the integer that stands for 0, which is padded with. Raises ConfigError."""
    ratio = -codes.offset / np.where(codes.pace == 0, np.nan, codes.pace)
    fill = round(float(ratio[0])) if np.isfinite(ratio[0]) else -1
    fits = bool((np.abs(ratio - fill) < SAME).all()) and codes.low <= fill <= codes.high
    if not fits or (codes.low, codes.high, fill) == (-1, 1, 0) or (fill and not first):
        raise ConfigError(
            f"{product.node} pads its image with 0, which is no value of what it reads, or not the least of a hidden "
            "layer's. Expected pads = 0, or an unsigned activation of 2 bits or more before it."
        )
    return fill


def _integers(product: Product, factors: Floats, codes: _Codes) -> tuple[Integers, Integers, Floats, Floats, Floats]:
    """Return weights (C, M), and (C, 1) each: what is added to a sum, what one of it is, what is added then, the noise.

    Args:
        product: for messages.
        factors: (C, M) the file's matrix, or a part of it.
        codes: of the M values that it is multiplied by.

    Raises:
        ConfigError: there are no such integers.
    """
    alive = codes.pace != 0
    pace = np.where(alive, codes.pace, codes.pace[alive][0] if alive.any() else 1.0)
    scale = pace[0]
    times = pace / scale
    dyadic = np.round(times * 2**20) / 2**20  # from element to element, scales differ by powers of two and signs
    uneven = bool((np.abs(times - dyadic) > SAME * np.abs(times)).any())
    if uneven:
        scale, dyadic = np.float64(1.0), pace
    matrix = factors * np.where(alive, dyadic, 0.0)
    found = integer_rows(matrix)
    exact = found is not None and _in_8_bits(found[0])
    if not exact:
        near = near_rows(matrix)
        if near is None or not _in_8_bits(near[0]):
            if uneven and _has_weights(factors):
                raise ConfigError(
                    f"{product.node} multiplies values whose scales, from value to value, differ by other factors than "
                    "powers of two, so no integers times a scale per output do what its weights do. Expected one scale "
                    "for all values before it, of the quantizer and of what stands behind that."
                )
            raise ConfigError(_no_weights(product.node, matrix, found))
        found = near
    assert found is not None
    weights, unit = found
    ratio = (codes.offset / pace)[alive]
    base = round(float(ratio[0])) if len(ratio) else 0
    whole = bool((np.abs(ratio - base) < SAME).all())
    shift = (weights.sum(axis=1) * base)[:, None] if whole else np.zeros((len(weights), 1), np.int64)
    constant = factors @ np.where(alive & whole, 0.0, codes.offset)[:, None]
    return weights, shift, unit * scale, constant, _noise(codes.reals, factors, exact=exact)


def _has_weights(matrix: Floats) -> bool:
    return any(found is not None and _in_8_bits(found[0]) for found in (integer_rows(matrix), near_rows(matrix)))


def _in_8_bits(weights: Integers) -> bool:
    return bool(weights.min() >= INT8.min and weights.max() <= INT8.max)


def _no_weights(node: str, matrix: Floats, found: tuple[Integers, Floats] | None) -> str:
    """Return the sentence about weights that 8 bits do not hold."""
    expected = "expected weights of 1 to 8 bits: a Quant or BipolarQuant node, or DequantizeLinear, before them."
    if not np.isfinite(matrix).all():
        return f"the weights of {node} are no finite numbers, {expected}"
    rows: Integers = np.empty((0, 1), dtype=np.int64) if found is None else found[0]
    for number in np.flatnonzero(np.abs(rows).max(axis=1) > INT8.max)[:1].tolist():
        row = rows[number]
        bits = 1 + max(int(v if v >= 0 else ~v).bit_length() for v in (int(row.min()), int(row.max())))
        if bits <= 2 * 8:
            return (
                f"the weights of {node} are integers from {row.min()} to {row.max()} times a scale, on output "
                f"{number}: {bits} bits with their sign, and the hardware's have 8, {expected} A zero point makes "
                "them wider: quantize them symmetrically."
            )
    return f"the weights of {node} are float: no integers of 8 bits times a scale per output, {expected}"


def _noise(reals: Floats, matrix: Floats, *, exact: bool) -> Floats:
    """Return (C, 1) by how much a float64 product of any of (M, T) values and (C, M) weights may be off; 0 if exact.

    It is exact, in whatever order it is added up, where all terms and sums are multiples of one number, below 2**53:
    of the product of both units, whose own digits count as well. Two float32 scales have 48 bits between them.
    Without `exact` the weights themselves are rounded: integers times a scale, which has more digits than float64 has.
    """
    reals = np.broadcast_to(reals, (matrix.shape[1], reals.shape[1]))
    size: Floats = (np.abs(matrix) * np.abs(reals).max(axis=1)).sum(axis=1, keepdims=True)
    if not exact:
        return 2 * NOISE * size
    inputs, weights = integer_rows(reals.reshape(1, -1)), integer_rows(matrix)
    if inputs is None or weights is None:
        return NOISE * size
    integers = inputs[0].reshape(reals.shape).astype(np.float64)
    ends = [weights[0] * end for end in (integers.min(axis=1), integers.max(axis=1))]
    top, bottom = np.maximum(np.maximum(*ends), 0), np.minimum(np.minimum(*ends), 0)
    most = np.maximum(top.sum(axis=1, keepdims=True), -bottom.sum(axis=1, keepdims=True))  # of any partial sum
    return np.where(most * odd_part(weights[1]) * odd_part(inputs[1]) <= 2.0**53, 0.0, NOISE * size)


@contextlib.contextmanager
def _named(place: str) -> Iterator[None]:
    """Say where in the file it is that steps do what no integers can."""
    try:
        yield
    except UnsupportedError as err:
        raise ConfigError(f"{place}: {err}.") from None


def _before(product: Product) -> contextlib.AbstractContextManager[None]:
    return _named(f"{product.last}, which {product.node} reads")


def _apply(steps: Steps, x: Floats) -> Floats:
    with np.errstate(over="ignore", invalid="ignore"):
        for one in steps:
            x = one.apply(x)
    return x


def _split(steps: Steps) -> tuple[Steps, Quantizer, Steps]:
    """Return the steps before the last quantizer, that quantizer, and those behind it."""
    at = max(i for i, one in enumerate(steps) if isinstance(one, Quantizer))
    last = steps[at]
    assert isinstance(last, Quantizer)
    return steps[:at], last, steps[at + 1 :]


def _index(steps: Steps, x: NDArray[np.generic]) -> Integers:
    before, quantizer, _ = _split(steps)
    values = _apply(before, x.astype(np.float64))
    with np.errstate(over="ignore"):
        return np.asarray(quantizer.index(np.broadcast_to(values, np.broadcast_shapes(values.shape, x.shape))))


def _falling(steps: Steps, least: NDArray[np.generic], greatest: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Return (E, 1): whether the last quantizer's level falls with the input. Raises UnsupportedError."""
    before = _split(steps)[0]
    if any(np.isnan(_apply(before, end.astype(np.float64))).any() for end in (least, greatest)):
        raise UnsupportedError(
            "the steps before a quantizer reach what is no number: they overflow. Use smaller scales and biases"
        )
    first, last = _index(steps, least), _index(steps, greatest)
    count = _split(steps)[1].levels.shape[1]
    if min(first.min(), last.min()) < 0 or max(first.max(), last.max()) >= count:
        raise UnsupportedError(
            "a Trunc node is given values of more bits than it says, so its result has no number of bits. Put a Quant "
            "node of these bits in front of it"
        )
    return np.asarray(first > last)


def _middle(low: NDArray[np.generic], high: NDArray[np.generic]) -> NDArray[np.generic]:
    return (low + high) // 2  # type: ignore[operator,no-any-return]


def _middle_float(low: NDArray[np.generic], high: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return the float64 in the middle of all those from `low` to `high`."""
    return _float_of(_order(low) // 2 + _order(high) // 2 + (_order(low) % 2 + _order(high) % 2) // 2)


def _order(x: NDArray[np.generic]) -> Integers:
    """Return the place of float64 numbers among all of them: integers that grow with them."""
    bits = np.ascontiguousarray(x, dtype=np.float64).view(np.int64)
    return np.where(bits < 0, np.int64(-(2**63)) - bits, bits)


def _float_of(order: Integers) -> Floats:
    return np.where(order < 0, np.int64(-(2**63)) - order, order).view(np.float64)


def _after(x: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return the next number of the same kind."""
    return x + 1 if x.dtype.kind == "i" else np.nextafter(x, np.inf)  # type: ignore[operator,call-overload,no-any-return]


def _levels(
    steps: Steps,
    least: NDArray[np.generic],
    greatest: NDArray[np.generic],
    *,
    middle: Callable[[NDArray[np.generic], NDArray[np.generic]], NDArray[np.generic]] = _middle,
) -> _Levels:
    """Return where the levels of the last quantizer begin, for inputs (E, 1) from `least` to `greatest`.

    Where the quantizer falls with the input, its levels are numbered from the other end. Levels that no element leaves
    or reaches are left out; so are those that the steps behind the quantizer make equal.
    """
    _, quantizer, after = _split(steps)
    elements = len(least)
    levels = np.broadcast_to(quantizer.levels, (elements, quantizer.levels.shape[1]))
    falling = _falling(steps, least, greatest)

    def index(x: NDArray[np.generic]) -> Integers:
        found = _index(steps, x)
        return np.where(falling, levels.shape[1] - 1 - found, found)

    reals = _apply(after, np.where(falling, levels[:, ::-1], levels))
    reals = np.broadcast_to(reals, levels.shape)
    bottom, top = int(index(least).min()), int(index(greatest).max())
    top = min(max(top, bottom + 1), levels.shape[1] - 1)  # one level alone is no activation
    bottom = min(bottom, max(top - 1, 0))
    if top - bottom >= MAX_LEVELS:
        raise UnsupportedError(f"a Trunc node gives {top - bottom + 1} values, expected 8 bits at most: {MAX_LEVELS}")
    thresholds = _begin(index, np.arange(bottom + 1, top + 1), least, greatest, middle)
    return _distinct(thresholds, reals[:, bottom : top + 1], _after(greatest))


def _begin(
    index: Callable[[NDArray[np.generic]], Integers],
    levels: Integers,
    least: NDArray[np.generic],
    greatest: NDArray[np.generic],
    middle: Callable[[NDArray[np.generic], NDArray[np.generic]], NDArray[np.generic]],
) -> NDArray[np.generic]:
    """Return (E, L): the first input of each element that reaches a level; the one after `greatest`, if none does."""
    low, high = (np.repeat(end, len(levels), axis=1) for end in (least, _after(greatest)))
    while (searching := low < high).any():  # type: ignore[operator]
        between = middle(low, high)
        reached = index(between) >= levels
        high = np.where(searching & reached, between, high)
        low = np.where(searching & ~reached, _after(between), low)
    return low


def _distinct(thresholds: NDArray[np.generic], reals: Floats, never: NDArray[np.generic]) -> _Levels:
    """Leave out levels that stand for what the one before stands for; the others must be equally far apart."""
    moves = np.diff(reals, axis=1)
    moving = moves != 0
    count = max(1, int(moving.sum(axis=1).max()))
    first = np.where(moving.any(axis=1), np.take_along_axis(moves, moving.argmax(axis=1)[:, None], axis=1)[:, 0], 0.0)
    size = np.abs(reals).max(axis=1, keepdims=True)
    if (moving & (np.abs(moves - first[:, None]) > SAME * np.abs(first[:, None]) + 1e-13 * size)).any():
        raise UnsupportedError(
            "the levels of an activation are not equally far apart, so they are no integers times a scale. "
            "Expected a quantizer as the last step before a product, or only scales behind it"
        )
    if not moving.all():
        kept = np.repeat(never, count, axis=1)
        for row, (mine, used) in enumerate(zip(thresholds, moving, strict=True)):
            kept[row, : int(used.sum())] = mine[used]
        thresholds = kept
    return _Levels(thresholds, reals, reals[:, 0].copy(), first)


def _quantized_head(steps: Steps, least: Integers, greatest: Integers) -> tuple[NDArray[np.generic], Floats]:
    """Return the levels of a head that is quantized, and where they begin, per output."""
    _, quantizer, after = _split(steps)
    levels = np.broadcast_to(quantizer.levels, (len(least), quantizer.levels.shape[1]))
    falling = _falling(steps, least, greatest)

    def index(x: NDArray[np.generic]) -> Integers:
        found = _index(steps, x)
        return np.where(falling, levels.shape[1] - 1 - found, found)

    reals = np.broadcast_to(_apply(after, np.where(falling, levels[:, ::-1], levels)), levels.shape)
    return _begin(index, np.arange(1, levels.shape[1]), least, greatest, _middle), reals
