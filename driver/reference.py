"""The CPU reference: the accelerator's integers from `reference.npz` alone, with numpy (1.21 or newer) alone.

Why its integers are exact:

- A product runs through BLAS in floating point, where every partial sum, in whatever order, is an integer that the
  type represents: in float32 below 2**24, else in float64. The bound comes from the weights, layer by layer.
- So does a convolution: what the windows of some rows hold is copied side by side, at most `WINDOW_BYTES` of it.
- A product of 1-bit weights and 1-bit activations counts the bits that differ, a word at a time.
- A layer that requantizes does that as it is defined, in float64 where its numbers stay below 2**53, else in int64.
- A level of other layers is a guess that is proven to be right or a few levels too low, and a binary search over those
  few. The proof is made when the network is loaded: see `_Ladder`.

Counting bits, measured on one AVX2 core against float32 BLAS (time of BLAS / time of counting; square layers):

    width    1 image    2     16    624 images       by table: 1 image    624 images
       64        0.4    0.4   0.5    0.9                           0.3       0.25
      256        0.6    2     1.1    0.9                           0.4       0.25
     1024        2      7.5   1.9    1.1                           0.75      0.25

It loses some microseconds in small layers and wins where weights in floating point would leave the cache, so every
layer that can be counted is. The table is for numpy before 2.0, as on older board images; no board was timed.
"""

from collections.abc import Callable
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.decision import logits_of
from contract.errors import DataError
from contract.network import (
    Convolution,
    Dense,
    Depthwise,
    GlobalSum,
    IntegerNetwork,
    Layer,
    MaxPool,
    Product,
    load_network,
)
from contract.requantization import Requantization

BLOCK_BYTES = 1 << 22  # of the largest intermediate array: sets how many images are computed at a time
WINDOW_BYTES = 1 << 19  # of what windows hold, copied side by side
MARGIN = 1 / 64  # levels by which a guess stays away from being too high, because it is rounded

_Array = NDArray[Any]
_Integers = NDArray[np.int64]
_Float = type[np.float32] | type[np.float64]
# Data of so many images in its order -> data of as many images, in as many rows as is convenient. What an activation of
# one threshold gives is bool: reached or not.
_Step = Callable[[_Array], _Array]


class Reference:
    """`outputs`: (N, *Input.shape) or (N, Input.size) integers of the input's type -> (N, K) int64.

    Called, it gives the (N,) logits of a network of one output.
    """

    def __init__(self, network: IntegerNetwork) -> None:
        """Prepare the products and the activations of `network`."""
        self.network = network
        self._steps: list[_Step] = []
        bipolar = network.input.values.bits == 1  # the layer's input is bool and means -1 / +1
        for layer, (low, high) in zip(network.layers, network.input_ranges(), strict=True):
            self._steps += _steps(layer, low, high, bipolar=bipolar)
            if not isinstance(layer, MaxPool):
                bipolar = isinstance(layer, Product) and layer.bipolar
        widest = max(network.input.size, *(prod(layer.output_shape) for layer in network.layers))
        self._rows = max(1, BLOCK_BYTES // (8 * widest))

    @classmethod
    def load(cls, path: Path) -> "Reference":
        """Read `reference.npz`. Raises ArtifactError if it is damaged."""
        return cls(load_network(path))

    def __call__(self, pixels: NDArray[Any]) -> NDArray[np.int64]:
        """Return (N,) logits of images. Raises ConfigError where the network has several outputs, else as `outputs`."""
        return logits_of(self.outputs(pixels))

    def outputs(self, pixels: NDArray[Any]) -> NDArray[np.int64]:
        """Return (N, K) integers of images. Apart from these, the memory for it does not grow with N."""
        source = self.network.input
        if pixels.dtype != source.values.dtype or pixels.shape[1:] not in (source.shape, (source.size,)):
            raise DataError(
                f"pixels are {pixels.dtype}{pixels.shape}, expected {source}: the accelerator takes raw pixels, not "
                "normalised ones."
            )
        outputs = np.empty((len(pixels), self.network.output_size), dtype=np.int64)
        for start in range(0, len(pixels), self._rows):
            # Reshaping copies an array that has gaps, so it must not happen to all images at once.
            x: _Array = np.asarray(pixels[start : start + self._rows]).reshape(-1, source.size)
            if not source.values.hold(x):
                raise DataError(
                    f"pixels hold {x.min()} to {x.max()}, expected {source.values}: the accelerator takes raw integers."
                )
            if source.values.bits == 1:
                x = x > 0
            for step in self._steps:
                x = step(x)
            outputs[start : start + self._rows] = x
        return outputs


def _steps(layer: Layer, low: int, high: int, *, bipolar: bool) -> list[_Step]:
    """Return the steps of a layer for inputs within low..high; `bipolar` ones come as bool."""
    if isinstance(layer, MaxPool):
        return [_MaxPool(layer)]
    if isinstance(layer, GlobalSum):
        return [_GlobalSum(layer, bipolar=bipolar)]
    dtype = _exact_dtype(layer, low, high)
    steps = [_product(layer, dtype, bipolar=bipolar)]
    if layer.thresholds is not None:
        reach, found = layer.accumulator_range(low, high), layer.requantization
        places = 1 if isinstance(layer, Dense) else layer.output_shape[1]
        step = _activation(layer.thresholds, reach, dtype) if found is None else _requantize(found, *reach)
        steps.append(step.on_rows(places))
    return steps


def _product(layer: Product, dtype: _Float, *, bipolar: bool) -> _Step:
    if isinstance(layer, Convolution):
        return _Convolution(layer, dtype, bipolar=bipolar)
    if isinstance(layer, Depthwise):
        return _Depthwise(layer, dtype, bipolar=bipolar)
    if bipolar and (np.abs(layer.weights) == 1).all():
        return _BitProduct(layer.weights, dtype)
    return _Product(layer.weights, dtype, bipolar=bipolar)


def _exact_dtype(layer: Product, low: int, high: int) -> _Float:
    """Return a floating type for all sums of any of the layer's products, and for one more than the greatest."""
    # Leaving a product out is an input of 0. Padding is one of the inputs here, so that it may be left out as well.
    least, greatest = Product.accumulator_range(layer, min(low, 0), max(high, 0))
    return np.float32 if max(-int(least.min()), int(greatest.max())) < 2**24 else np.float64


class _Product:
    """acc = x @ weights.T by BLAS."""

    def __init__(self, weights: NDArray[np.int8], dtype: _Float, *, bipolar: bool) -> None:
        self._weights: _Array = weights.astype(dtype).T
        self._bipolar = bipolar

    def __call__(self, x: _Array) -> _Array:
        x = x.reshape(-1, len(self._weights))
        return np.asarray(_numbers(x, self._weights.dtype, bipolar=self._bipolar).dot(self._weights))


def _numbers(x: _Array, dtype: Any, *, bipolar: bool) -> _Array:
    """Return data in `dtype`."""
    x = x.astype(dtype, copy=bipolar)
    if bipolar:
        x += x
        x -= 1
    return x


class _Windows:
    """Images (N, ...) -> what the windows of a layer hold, (N, OH, OW, KH, KW, C), without a copy of it."""

    def __init__(self, layer: Convolution | Depthwise, dtype: _Float, *, bipolar: bool) -> None:
        self.places = layer.window.places(layer.image)
        self._layer, self._dtype, self._bipolar = layer, dtype, bipolar

    def __call__(self, x: _Array) -> _Array:
        layer, window = self._layer, self._layer.window
        x = _numbers(x, self._dtype, bipolar=self._bipolar).reshape(-1, *layer.image)
        x = window.padded(x, layer.fill)
        image, row, column, channel = x.strides
        steps = row * window.stride[0], column * window.stride[1]
        return np.lib.stride_tricks.as_strided(
            x, (len(x), *self.places, *window.kernel, layer.image[2]), (image, *steps, row, column, channel),
            writeable=False,
        )  # fmt: skip


class _Convolution:
    """acc = what each window holds @ weights.T by BLAS, for (N * OH, OW * OC)."""

    def __init__(self, layer: Convolution, dtype: _Float, *, bipolar: bool) -> None:
        self._windows = _Windows(layer, dtype, bipolar=bipolar)
        self._weights: _Array = layer.weights.reshape(len(layer.weights), -1).astype(dtype).T
        down, right = self._windows.places
        one_row = right * self._weights.shape[0] * self._weights.itemsize
        self._rows = min(down, max(1, WINDOW_BYTES // one_row))
        self._images = max(1, WINDOW_BYTES // (one_row * down))

    def __call__(self, x: _Array) -> _Array:
        held, (down, right), (size, channels) = self._windows(x), self._windows.places, self._weights.shape
        acc = np.empty((len(held), down, right * channels), dtype=self._weights.dtype)
        for i in range(0, len(held), self._images):
            for r in range(0, down, self._rows):
                some = held[i : i + self._images, r : r + self._rows].reshape(-1, size)
                some.dot(self._weights, out=acc[i : i + self._images, r : r + self._rows].reshape(-1, channels))
        return acc.reshape(-1, right * channels)


class _Depthwise:
    """acc = the sum over each window, channel by channel, for (N * OH, OW * C)."""

    def __init__(self, layer: Depthwise, dtype: _Float, *, bipolar: bool) -> None:
        self._windows = _Windows(layer, dtype, bipolar=bipolar)
        # For each place of a row again: numpy is fast where both arrays are long.
        taps = np.moveaxis(layer.weights, 0, 2).astype(dtype)  # (KH, KW, C)
        self._weights = np.repeat(taps[:, :, None], self._windows.places[1], axis=2)

    def __call__(self, x: _Array) -> _Array:
        held = self._windows(x)
        acc = np.zeros((*held.shape[:3], held.shape[5]), dtype=held.dtype)
        for i, j in np.ndindex(*self._weights.shape[:2]):
            acc += held[:, :, :, i, j] * self._weights[i, j]
        return acc.reshape(-1, acc.shape[2] * acc.shape[3])


class _MaxPool:
    """The largest of each window; of bool that any is reached."""

    def __init__(self, layer: MaxPool) -> None:
        self._layer = layer

    def __call__(self, x: _Array) -> _Array:
        layer = self._layer
        (_, _, first), *rest = layer.window.seen(x.reshape(-1, *layer.image), layer.image)
        y = first.copy()
        for _, _, seen in rest:
            np.maximum(y, seen, out=y)
        return y


class _GlobalSum:
    """The sum of each channel; float64 holds it."""

    def __init__(self, layer: GlobalSum, *, bipolar: bool) -> None:
        self._places, self._channels, self._bipolar = layer.image[0] * layer.image[1], layer.image[2], bipolar

    def __call__(self, x: _Array) -> _Array:
        y = x.reshape(-1, self._places, self._channels).sum(axis=1, dtype=np.float64)
        return np.asarray(2 * y - self._places if self._bipolar else y)


class _BitProduct:
    """acc = x @ weights.T where all are -1 or +1 and x comes as bool: MW minus twice the number of bits that differ."""

    def __init__(self, weights: NDArray[np.int8], dtype: _Float) -> None:
        self._inputs = weights.shape[1]
        self._mw = np.full((1, len(weights)), self._inputs, dtype=dtype)
        self._word, self._popcount = _popcount()
        self._weights = np.ascontiguousarray(self._pack(weights > 0).T)  # (words, MH)
        self._rows = max(1, BLOCK_BYTES // (8 * self._weights.size))

    def __call__(self, x: _Array) -> _Array:
        words = self._pack(x.reshape(-1, self._inputs))
        differing = np.empty((len(words), self._mw.size), dtype=self._mw.dtype)
        for start in range(0, len(words), self._rows):
            counts = self._popcount(words[start : start + self._rows, :, None] ^ self._weights)
            np.add.reduce(counts, axis=1, dtype=differing.dtype, out=differing[start : start + self._rows])
        acc = self._mw - differing
        acc -= differing
        return np.asarray(acc)

    def _pack(self, bits: _Array) -> _Array:
        """(N, MW) bool -> (N, words), the last word filled up with zeros."""
        packed = np.packbits(np.asarray(bits, order="C"), axis=1)  # a file's arrays may be column by column
        if packed.shape[1] % 8:
            whole = np.zeros((len(packed), -(-packed.shape[1] // 8) * 8), dtype=np.uint8)
            whole[:, : packed.shape[1]] = packed
            packed = whole
        return packed.view(self._word)


def _popcount() -> tuple[type[np.uint64] | type[np.uint16], _Step]:
    """Return a type of words and a function that counts the ones in each word of an array."""
    if hasattr(np, "bitwise_count"):  # since numpy 2.0
        return np.uint64, np.bitwise_count
    ones = np.zeros(1, dtype=np.uint8)
    for _ in range(16):
        ones = np.concatenate([ones, ones + np.uint8(1)])  # the same numbers again, with one more leading bit
    return np.uint16, ones.take


def _activation(thresholds: _Integers, reach: tuple[_Integers, _Integers], dtype: _Float) -> "_Sign | _Ladder":
    """Return what counts reached thresholds, (MH, L), given accumulators of `dtype` from reach[0] to reach[1]."""
    least, greatest = (end[:, None] for end in reach)
    # A threshold out of reach does the same at the edge of reach, where `dtype` represents it.
    thresholds = np.clip(thresholds, least, greatest + 1)
    if thresholds.shape[1] == 1:
        return _Sign(thresholds.T.astype(dtype))
    return _Ladder(thresholds, least, greatest, dtype)


def _requantize(
    found: Requantization, least: _Integers, greatest: _Integers
) -> "_FloatRequantize | _IntegerRequantize":
    """Return what `found` gives of accumulators within least..greatest, (MH,) each."""
    largest = np.maximum(np.abs(least), np.abs(greatest)) * found.factor + np.abs(found.addend)
    return _FloatRequantize(found) if largest.max() < 2**53 else _IntegerRequantize(found)


# What belongs to channels is kept as a row, (1, C): for one image, numpy is twice as fast on equal shapes as on (C,).
# Behind a convolution a row is one of the image, (1, OW * C): numpy is slow on many short rows. `on_rows` makes it so.


class _FloatRequantize:
    """floor(clip(acc * factor + addend, 0, levels)), in units of a level: float64 holds each of these numbers exactly.

    They are integers below 2**53, divided by 2**shift.
    """

    def __init__(self, found: Requantization) -> None:
        self._factor, self._addend = (v[None] / 2.0**found.shift for v in (found.factor, found.addend))
        self._levels = found.levels

    def on_rows(self, places: int) -> "_FloatRequantize":
        self._factor, self._addend = (np.tile(v, places) for v in (self._factor, self._addend))
        return self

    def __call__(self, acc: _Array) -> _Array:
        y = acc * self._factor
        y += self._addend
        np.maximum(y, 0, out=y)
        np.minimum(y, self._levels, out=y)
        return np.floor(y, out=np.empty(y.shape, dtype=np.float32), casting="same_kind")


class _IntegerRequantize:
    """The definition; the accumulators are integers, and int64 holds what becomes of them."""

    def __init__(self, found: Requantization) -> None:
        self._found = found

    def on_rows(self, places: int) -> "_IntegerRequantize":
        self._found = replace(
            self._found, factor=np.tile(self._found.factor, places), addend=np.tile(self._found.addend, places)
        )
        return self

    def __call__(self, acc: _Array) -> _Array:
        return self._found(acc.astype(np.int64))


class _Sign:
    """Whether the only threshold of each channel is reached."""

    def __init__(self, thresholds: _Array) -> None:
        self._thresholds = thresholds

    def on_rows(self, places: int) -> "_Sign":
        self._thresholds = np.tile(self._thresholds, places)
        return self

    def __call__(self, acc: _Array) -> _Array:
        return np.asarray(acc >= self._thresholds)


class _Ladder:
    """The number of reached thresholds: a guess, and a binary search from there upwards.

    Thresholds come from rounding an affine function, so a line is a good guess of the level:

        guess = int(clip(slope * acc + bias, bottom, top))

    Each of these operations keeps order, in floating point too: a greater acc never gets a smaller guess. Nor does it
    get a smaller level, so the two differ most where a level begins or ends. Trying these places, with the arithmetic
    that is used later, proves for every accumulator within reach that 0 <= level - guess < 2**searches. Where the
    guess saves too little (few levels, or thresholds far from any line), the search is over all levels.
    """

    def __init__(self, thresholds: _Integers, least: _Integers, greatest: _Integers, dtype: _Float) -> None:
        channels, levels = thresholds.shape
        self._searches = levels.bit_length()
        self._line: _Line | None = None
        line = _Line(thresholds, least, greatest, dtype)
        lowest, highest = line.errors(thresholds, least, greatest)
        if lowest >= 0 and highest.bit_length() + 1 < self._searches:
            self._searches, self._line = highest.bit_length(), line
        width = levels + 2**self._searches - 1  # the search may look beyond the last threshold
        table = np.full((channels, width), np.inf, dtype=dtype)
        table[:, :levels] = thresholds
        self._table = table.ravel()
        self._first = np.arange(channels)[None] * width

    def on_rows(self, places: int) -> "_Ladder":
        self._first = np.tile(self._first, places)
        if self._line is not None:
            self._line.on_rows(places)
        return self

    def __call__(self, acc: _Array) -> _Array:
        level = np.zeros(acc.shape, dtype=np.intp) if self._line is None else self._line(acc)
        for i in reversed(range(self._searches)):
            half = 1 << i
            reached = acc >= self._table[half - 1 :].take(level + self._first)
            level += reached * half if i else reached
        return level


class _Line:
    """The guess of `_Ladder`. Nothing here has to be exact: what it gives is tried, not trusted."""

    def __init__(self, thresholds: _Integers, least: _Integers, greatest: _Integers, dtype: _Float) -> None:
        level = np.arange(1, thresholds.shape[1] + 1)
        bottom, top = ((thresholds <= end).sum(axis=1, keepdims=True) for end in (least, greatest))
        begins = (level > bottom) & (level <= top)  # within reach
        mean = (thresholds * begins).sum(axis=1, keepdims=True) / np.maximum(top - bottom, 1)
        distance = np.where(begins, thresholds - mean, 0.0)
        spread = (distance**2).sum(axis=1, keepdims=True)
        # Least squares. Where all levels begin at one place, any steep line will do.
        slope = np.where(
            spread > 0, (distance * level).sum(axis=1, keepdims=True) / np.where(spread > 0, spread, 1), len(level)
        )
        slope = np.maximum(slope, 0)  # it is; the proof of `_Ladder` rests on it
        # One accumulator before a level begins, the line must not have got to it.
        bias = np.where(begins, level - MARGIN - slope * (thresholds - 1), np.inf).min(axis=1, keepdims=True)
        bias[np.isinf(bias)] = 0
        self._slope, self._bias, self._bottom, self._top = (v.T.astype(dtype) for v in (slope, bias, bottom, top))

    def on_rows(self, places: int) -> None:
        rows = self._slope, self._bias, self._bottom, self._top
        self._slope, self._bias, self._bottom, self._top = (np.tile(v, places) for v in rows)

    def __call__(self, acc: _Array) -> _Array:
        y = acc * self._slope
        y += self._bias
        np.maximum(y, self._bottom, out=y)
        np.minimum(y, self._top, out=y)
        return np.asarray(y.astype(np.intp))

    def errors(self, thresholds: _Integers, least: _Integers, greatest: _Integers) -> tuple[int, int]:
        """Return the least and the greatest level - guess of all accumulators within reach."""
        places = np.clip(np.hstack([least, greatest, thresholds - 1, thresholds]), least, greatest)
        level = np.stack([np.searchsorted(t, p, side="right") for t, p in zip(thresholds, places, strict=True)])
        error = level - self(places.T.astype(self._slope.dtype)).T
        return int(error.min()), int(error.max())
