"""The network as the hardware knows it: integers, layer by layer, and nothing else. It is the middle of the project.

This is what `reference.npz` holds: what is read (`Input`), and layers, of which each has a kind. A kind is one class
below: how it computes, what it can give, and which arrays it is in the file.

    Dense            weights, activation        any data -> (MH,)
    Convolution      weights, activation        (H, W, C) -> (OH, OW, OC)
    Depthwise        weights, activation        (H, W, C) -> (OH, OW, C)
    MaxPool                                     (H, W, C) -> (OH, OW, C)
    GlobalSum                                   (H, W, C) -> (C,)

Images stand as FINN's streams have them: row by row, and the channels of a place side by side (NHWC). A dense layer
behind an image reads it in this order. The last layer is dense and has no activation, and its K accumulators are the
network's outputs; K = 1 is the integer logit.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from contract.errors import ArtifactError, ConfigError
from contract.npz import load_npz, save_npz
from contract.requantization import Requantization
from contract.values import PIXELS, VALUES, Values

FORMAT = 4
READABLE = (2, 3, 4)  # in 2 no layer requantizes; in 3 all are dense
FLOAT32_EXACT = 2**24  # integers up to here are exact in float32
MAX_SIDE = 4096  # height, width and channels of an image that a file may ask for
MAX_SIZE = MAX_SIDE**2  # integers of an image
MAX_OUTPUTS = 2**16  # integers that a network may give per image
MAX_KERNEL = 64  # height and width of a window, and its strides
MAX_WEIGHTS = 2**24  # of a convolution
MAX_SUM = 2**62  # no sum gets there
# About a damaged file that a run's export and its deploy folder have.
ADVICE = "Export the run again; in a deploy folder, package it again or copy the whole folder."
Arrays = dict[str, NDArray[np.generic]]
Shape = tuple[int, ...]  # of one image's data between two layers
Image = tuple[int, int, int]  # height, width, channels
Integers = NDArray[np.int64]
_P = TypeVar("_P", bound="Product")


@dataclass(frozen=True)
class Input:
    """What the network reads: an image of integers, row by row, the channels of a pixel side by side."""

    height: int
    width: int
    channels: int = 1
    datatype: str = PIXELS.name  # a name in contract.values.VALUES

    @property
    def values(self) -> Values:
        """Which integers these are."""
        return VALUES[self.datatype]

    @property
    def shape(self) -> Shape:
        """Of one image: (height, width), and with more than one channel (height, width, channels)."""
        return (self.height, self.width) if self.channels == 1 else (self.height, self.width, self.channels)

    @property
    def image(self) -> Image:
        """Of one image, whatever the number of its channels."""
        return self.height, self.width, self.channels

    @property
    def size(self) -> int:
        """Integers per image."""
        return self.height * self.width * self.channels

    def fits(self, images: NDArray[np.generic]) -> bool:
        """Tell whether these are (N, *shape) images with legal values only."""
        values = self.values
        shape_fits = images.ndim == len(self.shape) + 1 and images.shape[1:] == self.shape
        return images.dtype == values.dtype and shape_fits and values.hold(images)

    def __str__(self) -> str:
        """Return it as errors call it."""
        return f"{self.datatype}(N, {', '.join(map(str, self.shape))})"


@dataclass(frozen=True)
class Product:
    """A layer with weights, and its activation (Umuroglu et al., "FINN", arXiv:1612.07119).

        acc = what the kind says, one sum for each place and channel c
        count = #{ l : acc >= thresholds[c, l] }
        y = 2 * count - 1 where the layer is bipolar (one threshold), count otherwise

    Without thresholds y is acc. Where the layer requantizes,

        y = clip((acc * m[c] + b[c]) >> s, 0, L)        see contract.requantization

    and the thresholds are what follows from that: `requantized`.
    """

    kind: ClassVar[str]
    weights: NDArray[np.int8]  # (C, ...): of each channel that the layer gives
    thresholds: Integers | None  # (C, L) accumulator LSBs, ascending along axis 1; None in the last layer
    bipolar: bool = False  # the activation is -1 / +1 instead of 0..L
    requantization: Requantization | None = None  # None: it compares with its thresholds

    @property
    def output_shape(self) -> Shape:
        """Of one image's outputs."""
        raise NotImplementedError

    def sums(self, x: NDArray[Any]) -> Integers:
        """Return the accumulators, (N, *output_shape), of inputs (N, ...), in int64: the kind's definition."""
        raise NotImplementedError

    def accumulator_range(self, low: int, high: int) -> tuple[Integers, Integers]:
        """Return the (C,) least and greatest accumulators that inputs within low..high can reach."""
        w = self.weights.reshape(len(self.weights), -1).astype(np.int64)
        positive, negative = np.where(w > 0, w, 0).sum(axis=1), np.where(w < 0, w, 0).sum(axis=1)
        return positive * low + negative * high, positive * high + negative * low

    def __call__(self, x: NDArray[Any]) -> Integers:
        """Return (N, *output_shape) of inputs (N, ...): the definition above, in int64."""
        acc = self.sums(x)
        if self.requantization is not None:
            return self.requantization(acc)
        if self.thresholds is None:
            return acc
        y = np.empty_like(acc)
        for c, t in enumerate(self.thresholds):
            y[..., c] = np.searchsorted(t, acc[..., c], side="right")  # how many are reached, as they ascend
        return 2 * y - 1 if self.bipolar else y

    @property
    def activation(self) -> str:
        """What becomes of an accumulator: requantize, thresholds, sign, or none."""
        if self.thresholds is None:
            return "none"
        return "sign" if self.bipolar else "thresholds" if self.requantization is None else "requantize"

    def output_range(self) -> tuple[int, int]:
        """Return the smallest and the largest activation. Only for layers with thresholds."""
        if self.thresholds is None:
            raise ValueError("the head has no activation")
        return (-1, 1) if self.bipolar else (0, self.thresholds.shape[1])

    def reach(self, low: int, high: int) -> tuple[int, int]:
        """Return the smallest and the largest output for inputs within low..high."""
        if self.thresholds is not None:
            return self.output_range()
        least, greatest = self.accumulator_range(low, high)
        return int(least.min()), int(greatest.max())

    def requantized(self: _P, found: Requantization, low: int, high: int) -> _P:
        """Return the layer with this activation, for inputs within low..high. Raises ValueError: it does not fit."""
        reach = self.accumulator_range(low, high)
        found.require_fitting(*reach)
        return replace(self, thresholds=found.thresholds(*reach), bipolar=False, requantization=found)

    def one_row(self, low: int, high: int) -> Integers | None:
        """Return the one row of thresholds, (1, L), that does for every channel; None: there is none.

        A threshold that every sum of its channel reaches, or none, may be any further one as well. Only for layers with
        thresholds, and inputs within low..high.
        """
        assert self.thresholds is not None
        least, greatest = (end[:, None] for end in self.accumulator_range(low, high))
        thresholds = self.thresholds.clip(least, greatest + 1)
        first, last = np.iinfo(np.int64).min, np.iinfo(np.int64).max
        lowest = np.where(thresholds > least, thresholds, first).max(axis=0)
        highest = np.where(thresholds <= greatest, thresholds, last).min(axis=0)
        if (lowest > highest).any():
            return None
        return np.asarray(np.where(lowest == first, highest, lowest))[None]

    def partial_sum_bound(self, low: int, high: int) -> int:
        """Return a bound on |partial sum| in any order of summation, for inputs within low..high."""
        each = np.abs(self.weights.reshape(len(self.weights), -1).astype(np.int64)).sum(axis=1)
        return int(each.max()) * max(abs(low), abs(high))

    def arrays(self, i: int) -> Arrays:
        """Return the members of reference.npz that are layer `i`."""
        arrays: Arrays = {f"weights_{i}": self.weights, f"bipolar_{i}": np.array(self.bipolar)}
        found = self.requantization
        if found is not None:
            arrays[f"factor_{i}"], arrays[f"addend_{i}"] = found.factor, found.addend
            arrays[f"shift_{i}"] = np.array(found.shift, dtype=np.int64)
            arrays[f"clip_{i}"] = np.array([0, found.levels], dtype=np.int64)
        elif self.thresholds is not None:
            arrays[f"thresholds_{i}"] = self.thresholds
        return arrays

    def _activated(self: _P, arrays: Arrays, i: int, ends: tuple[int, int]) -> _P:
        """Return the layer, which has none so far, with the activation in the file. Raises as `of_arrays`."""
        thresholds, bipolar = arrays.get(f"thresholds_{i}"), arrays[f"bipolar_{i}"]
        if bipolar.dtype != np.bool_ or bipolar.ndim:
            raise ValueError(f"bipolar_{i} is {bipolar.dtype}{bipolar.shape}, expected one bool")
        if (bound := self.partial_sum_bound(*ends)) >= MAX_SUM:
            raise ValueError(f"layer {i} has sums up to {bound}, expected less than {MAX_SUM}")
        if f"factor_{i}" in arrays:
            if thresholds is not None or bipolar:
                raise ValueError(f"layer {i} has factors and is bipolar or has thresholds, expected one activation")
            return self.requantized(_requantization(arrays, i, len(self.weights)), *ends)
        if thresholds is not None:
            _check_thresholds(i, thresholds, channels=len(self.weights), bipolar=bool(bipolar))
        elif bipolar:
            raise ValueError(f"layer {i} is bipolar and has no thresholds, expected 1")
        return replace(self, thresholds=thresholds, bipolar=bool(bipolar))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Dense(Product):
    """A matrix-vector product: weights are (MH, MW), and what it reads has MW integers, in the order of the data.

    acc[n, c] = sum_i weights[c, i] * x[n, i]
    """

    kind: ClassVar[str] = "dense"

    @property
    def output_shape(self) -> Shape:
        """(MH,)."""
        return (len(self.weights),)

    def sums(self, x: NDArray[Any]) -> Integers:
        """(N, ...) -> (N, MH)."""
        return np.asarray(x.reshape(len(x), -1) @ self.weights.T.astype(np.int64))

    @classmethod
    def of_arrays(cls, arrays: Arrays, i: int, shape: Shape, ends: tuple[int, int]) -> "Dense":
        """Return layer `i` for inputs of the shape `shape` within `ends`.

        Raises ValueError, or KeyError for a missing member.
        """
        return cls(_weights(arrays, i, "MH", prod(shape)), None)._activated(arrays, i, ends)


@dataclass(frozen=True)
class Window:
    """How windows lie on an image: one for each place of what a layer gives, row by row.

    Row r of the places begins `padding[0]` rows above row r * stride[0] of the image, and is kernel[0] rows high; so of
    columns. A window that would reach beyond the padding at the end is none: rows left over there are not looked at.
    """

    kernel: tuple[int, int]  # height and width
    stride: tuple[int, int] = (1, 1)  # down and right
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)  # above, left, below, right: FINN's order and ONNX's

    def places(self, image: Image) -> tuple[int, int]:
        """Return how many windows there are, down and right. Raises ValueError: none, or its numbers make no sense."""
        if not all(1 <= v <= MAX_KERNEL for v in (*self.kernel, *self.stride)):
            raise ValueError(f"a window of {self.kernel} by {self.stride}, expected numbers of 1..{MAX_KERNEL}")
        sides = []
        for axis in (0, 1):
            kernel, before, after = self.kernel[axis], self.padding[axis], self.padding[axis + 2]
            if not (0 <= before < kernel and 0 <= after < kernel):
                raise ValueError(f"padding of {self.padding} for a window of {self.kernel}, expected it to be narrower")
            sides.append((image[axis] + before + after - kernel) // self.stride[axis] + 1)
        if min(sides) < 1:
            raise ValueError(f"a window of {self.kernel}, expected one that fits on {image[:2]} and its padding")
        return sides[0], sides[1]

    def padded(self, x: NDArray[Any], fill: int) -> NDArray[Any]:
        """Return images (N, H, W, C) with their padding, of the value `fill`; themselves where there is none."""
        top, left, bottom, right = self.padding
        if not any(self.padding):
            return x
        return np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=fill)

    def seen(self, padded: NDArray[Any], image: Image) -> Iterator[tuple[int, int, NDArray[Any]]]:
        """Yield row and column in the window, and what all windows have there, (N, OH, OW, C): views."""
        rows, columns = self.places(image)
        for i in range(self.kernel[0]):
            for j in range(self.kernel[1]):
                down = slice(i, i + (rows - 1) * self.stride[0] + 1, self.stride[0])
                right = slice(j, j + (columns - 1) * self.stride[1] + 1, self.stride[1])
                yield i, j, padded[:, down, right]

    def inside(self, image: Image) -> tuple[Integers, Integers]:
        """Return which rows of windows lie on the image, 1, and which on padding, 0, and so of columns.

        (A, KH) and (B, KW): each kind of window once, not one for each place.
        """
        kinds = []
        for axis, count in enumerate(self.places(image)):
            at = np.arange(count)[:, None] * self.stride[axis] - self.padding[axis] + np.arange(self.kernel[axis])
            kinds.append(np.unique((at >= 0) & (at < image[axis]), axis=0).astype(np.int64))
        return kinds[0], kinds[1]


@dataclass(frozen=True)
class _Windowed(Product):
    """What `Convolution` and `Depthwise` have in common: windows on an image, whose padding has one value."""

    image: Image = field(kw_only=True)  # what it reads: height, width, channels
    stride: tuple[int, int] = field(default=(1, 1), kw_only=True)  # down and right
    padding: tuple[int, int, int, int] = field(default=(0, 0, 0, 0), kw_only=True)  # above, left, below, right
    fill: int = field(default=0, kw_only=True)  # what stands in the padding, a value of the layer's input

    @property
    def window(self) -> Window:
        """Its windows."""
        return Window((self.weights.shape[1], self.weights.shape[2]), self.stride, self.padding)

    @property
    def output_shape(self) -> Shape:
        """(OH, OW, channels)."""
        return (*self.window.places(self.image), len(self.weights))

    def accumulator_range(self, low: int, high: int) -> tuple[Integers, Integers]:
        """Return the (C,) least and greatest accumulators that inputs within low..high can reach, at any place."""
        w = self.weights.reshape(*self.weights.shape[:3], -1).astype(np.int64)
        positive, negative = np.where(w > 0, w, 0).sum(axis=3), np.where(w < 0, w, 0).sum(axis=3)
        padding = (positive + negative) * self.fill
        rows, columns = self.window.inside(self.image)

        def at_all_places(each: Integers) -> Integers:
            on_image = rows @ (each - padding) @ columns.T
            return np.asarray((padding.sum(axis=(1, 2))[:, None, None] + on_image).reshape(len(w), -1))

        least, greatest = positive * low + negative * high, positive * high + negative * low
        return at_all_places(least).min(axis=1), at_all_places(greatest).max(axis=1)

    def arrays(self, i: int) -> Arrays:
        """Return the members of reference.npz that are layer `i`."""
        window = np.array([*self.stride, *self.padding, self.fill], dtype=np.int64)
        return {**super().arrays(i), f"window_{i}": window}

    @classmethod
    def _of_window(
        cls: type[_P], arrays: Arrays, i: int, image: Image, weights: NDArray[np.int8], ends: tuple[int, int]
    ) -> _P:
        if weights.size > MAX_WEIGHTS:
            raise ValueError(f"weights_{i} has {weights.size} weights, expected {MAX_WEIGHTS} at most")
        down, right, *padding, fill = _numbers(arrays, f"window_{i}", 7)
        layer = cls(weights, None, image=image, stride=(down, right), padding=tuple(padding), fill=fill)  # type: ignore[call-arg]
        _require_size(i, layer.output_shape)
        # -1 and +1 are bipolar, which is the only type that leaves out a number between its ends.
        if (any(padding) or fill) and (not ends[0] <= fill <= ends[1] or (ends, fill) == ((-1, 1), 0)):
            what = "-1 or +1" if ends == (-1, 1) else f"{ends[0]} to {ends[1]}"
            raise ValueError(f"layer {i} pads with {fill}, expected a value of what it reads, {what}")
        if fill and i:
            raise ValueError(f"layer {i} pads with {fill}, expected 0 behind the first layer")
        return layer._activated(arrays, i, ends)


@dataclass(frozen=True)
class Convolution(_Windowed):
    """A sum over a window of all channels; weights are (OC, KH, KW, C): a window's order is that of the data.

        acc[n, r, c, o] = sum_ijk weights[o, i, j, k] * x[n, r * stride[0] - top + i, c * stride[1] - left + j, k]

    where x is `fill` outside of the image: 0, and in the first layer any value of the input, so that it can be the one
    that a front end normalises to 0 (of pixels 128).
    """

    kind: ClassVar[str] = "convolution"

    def sums(self, x: NDArray[Any]) -> Integers:
        """(N, ...) -> (N, OH, OW, OC)."""
        padded = self.window.padded(x.reshape(-1, *self.image).astype(np.int64), self.fill)
        acc = np.zeros((len(x), *self.output_shape), dtype=np.int64)
        for i, j, seen in self.window.seen(padded, self.image):
            acc += seen @ self.weights[:, i, j].T.astype(np.int64)
        return acc

    @classmethod
    def of_arrays(cls, arrays: Arrays, i: int, shape: Shape, ends: tuple[int, int]) -> "Convolution":
        """Return layer `i`; see `Dense.of_arrays`."""
        image = _image(i, cls.kind, shape)
        return cls._of_window(arrays, i, image, _weights(arrays, i, "OC", "KH", "KW", image[2]), ends)


@dataclass(frozen=True)
class Depthwise(_Windowed):
    """A sum over a window of one channel, for each channel; weights are (C, KH, KW). The rest is as of `Convolution`.

    acc[n, r, c, k] = sum_ij weights[k, i, j] * x[n, r * stride[0] - top + i, c * stride[1] - left + j, k]
    """

    kind: ClassVar[str] = "depthwise"

    def sums(self, x: NDArray[Any]) -> Integers:
        """(N, ...) -> (N, OH, OW, C)."""
        padded = self.window.padded(x.reshape(-1, *self.image).astype(np.int64), self.fill)
        acc = np.zeros((len(x), *self.output_shape), dtype=np.int64)
        for i, j, seen in self.window.seen(padded, self.image):
            acc += seen * self.weights[:, i, j]
        return acc

    @classmethod
    def of_arrays(cls, arrays: Arrays, i: int, shape: Shape, ends: tuple[int, int]) -> "Depthwise":
        """Return layer `i`; see `Dense.of_arrays`."""
        image = _image(i, cls.kind, shape)
        return cls._of_window(arrays, i, image, _weights(arrays, i, image[2], "KH", "KW"), ends)


@dataclass(frozen=True)
class MaxPool:
    """The largest of a window, channel by channel. There is no padding: windows lie on the image."""

    kind: ClassVar[str] = "max_pool"
    image: Image
    kernel: tuple[int, int]
    stride: tuple[int, int]

    @property
    def window(self) -> Window:
        """Its windows."""
        return Window(self.kernel, self.stride)

    @property
    def output_shape(self) -> Shape:
        """(OH, OW, C)."""
        return (*self.window.places(self.image), self.image[2])

    def __call__(self, x: NDArray[Any]) -> Integers:
        """(N, ...) -> (N, OH, OW, C)."""
        views = [seen for _, _, seen in self.window.seen(x.reshape(-1, *self.image).astype(np.int64), self.image)]
        return np.asarray(np.maximum.reduce(views))

    def reach(self, low: int, high: int) -> tuple[int, int]:
        """Return the smallest and the largest output for inputs within low..high."""
        return low, high

    def arrays(self, i: int) -> Arrays:
        """Return the members of reference.npz that are layer `i`."""
        return {f"window_{i}": np.array([*self.kernel, *self.stride], dtype=np.int64)}

    @classmethod
    def of_arrays(cls, arrays: Arrays, i: int, shape: Shape, ends: tuple[int, int]) -> "MaxPool":
        """Return layer `i`; see `Dense.of_arrays`."""
        height, width, down, right = _numbers(arrays, f"window_{i}", 4)
        layer = cls(_image(i, cls.kind, shape), (height, width), (down, right))
        _require_size(i, layer.output_shape)
        return layer


@dataclass(frozen=True)
class GlobalSum:
    """The sum of each channel over the whole image. A mean is this, divided: the layer behind it knows by what."""

    kind: ClassVar[str] = "global_sum"
    image: Image

    @property
    def output_shape(self) -> Shape:
        """(C,)."""
        return (self.image[2],)

    def __call__(self, x: NDArray[Any]) -> Integers:
        """(N, ...) -> (N, C)."""
        return np.asarray(x.reshape(-1, *self.image).sum(axis=(1, 2), dtype=np.int64))

    def reach(self, low: int, high: int) -> tuple[int, int]:
        """Return the smallest and the largest output for inputs within low..high."""
        places = self.image[0] * self.image[1]
        return low * places, high * places

    def arrays(self, i: int) -> Arrays:
        """Return the members of reference.npz that are layer `i`: none."""
        return {}

    @classmethod
    def of_arrays(cls, arrays: Arrays, i: int, shape: Shape, ends: tuple[int, int]) -> "GlobalSum":
        """Return layer `i`; see `Dense.of_arrays`."""
        return cls(_image(i, cls.kind, shape))


Layer = Dense | Convolution | Depthwise | MaxPool | GlobalSum
KINDS: dict[str, type[Layer]] = {layer.kind: layer for layer in (Dense, Convolution, Depthwise, MaxPool, GlobalSum)}


@dataclass(frozen=True)
class IntegerNetwork:
    """What is read, and all layers in the order of the data."""

    input: Input
    layers: tuple[Layer, ...]

    @property
    def output_size(self) -> int:
        """How many integers there are per image: K."""
        return prod(self.layers[-1].output_shape)

    @property
    def head(self) -> Dense:
        """The last layer, which has no activation."""
        head = self.layers[-1]
        assert isinstance(head, Dense)
        return head

    @property
    def dense(self) -> tuple[Dense, ...]:
        """All layers, where all are dense. Raises ConfigError: they are not."""
        dense = tuple(layer for layer in self.layers if isinstance(layer, Dense))
        if len(dense) < len(self.layers):
            raise ConfigError("this network has convolutions or pools, expected dense layers only.")
        return dense

    def input_ranges(self) -> list[tuple[int, int]]:
        """Return the smallest and the largest input of each layer."""
        ranges = [(self.input.values.low, self.input.values.high)]
        for layer in self.layers[:-1]:
            ranges.append(layer.reach(*ranges[-1]))
        return ranges

    def products(self) -> list[tuple[Product, tuple[int, int]]]:
        """Return the layers that have weights, each with the smallest and the largest of its inputs."""
        layers = zip(self.layers, self.input_ranges(), strict=True)
        return [(layer, ends) for layer, ends in layers if isinstance(layer, Product)]

    def output_ranges(self) -> tuple[Integers, Integers]:
        """Return the (K,) least and greatest outputs that no image goes beyond."""
        return self.head.accumulator_range(*self.input_ranges()[-1])

    def exact_in_float32(self) -> bool:
        """Whether float32 holds every sum on the way, in any order of summation."""
        sums = [abs(end) for ends in self.input_ranges() for end in ends]
        bounds = [layer.partial_sum_bound(*ends) for layer, ends in self.products()]
        return max(*bounds, *sums) <= FLOAT32_EXACT

    def outputs(self, images: NDArray[Any]) -> list[Integers]:
        """Return every layer's outputs for (N, *input.shape) images, as defined above; the last ones are (N, K).

        Slow and plain on purpose; `driver.reference` is the fast one.
        """
        x: NDArray[Any] = images
        outputs = []
        for layer in self.layers:
            x = layer(x)
            outputs.append(x)
        return outputs


def save_network(path: Path, network: IntegerNetwork) -> None:
    """Write `network` to `path`, whole or not at all."""
    source = network.input
    arrays: Arrays = {
        "format": np.array(FORMAT),
        "input": np.array([source.height, source.width, source.channels], dtype=np.int64),  # on 32-bit processors too
        "datatype": np.array(source.datatype),
        "kinds": np.array([layer.kind for layer in network.layers]),
    }
    for i, layer in enumerate(network.layers):
        arrays |= layer.arrays(i)
    save_npz(path, arrays)


def load_network(path: Path) -> IntegerNetwork:
    """Read what `save_network` wrote, trusting nothing.

    Raises:
        ArtifactError: the file is damaged, of another format, or its arrays do not make a network.
    """
    arrays = load_npz(path, advice=ADVICE)
    try:
        return _to_network(arrays)
    except _OtherFormatError as err:
        raise ArtifactError(
            f"{path} is of format {err}, and this version reads {' and '.join(map(str, READABLE))}. Make it again: "
            "`cxrflow export` EXPERIMENT; of a deploy folder, `cxrflow package` EXPERIMENT."
        ) from err
    except KeyError as err:
        raise ArtifactError(f"{path} does not hold a network (it has no {err}). {ADVICE}") from err
    except (ValueError, TypeError) as err:
        why = " ".join(str(err).split())[:200]  # an array is written on many lines
        raise ArtifactError(f"{path} does not hold a network ({why}). {ADVICE}") from err


class _OtherFormatError(Exception):
    pass


def _to_network(arrays: Arrays) -> IntegerNetwork:
    _require_format(arrays["format"])
    source, kinds = _input(arrays["input"], arrays["datatype"]), arrays["kinds"]
    if kinds.dtype.kind != "U" or kinds.ndim != 1 or not kinds.size:
        raise ValueError(f"kinds is {kinds.dtype}{kinds.shape}, expected text(layers,) of one layer or more")
    shape: Shape = source.image
    layers: list[Layer] = []
    ends = source.values.low, source.values.high
    for i, kind in enumerate(kinds.tolist()):
        if kind not in KINDS:
            raise ValueError(f"layer {i} is of the kind {kind[:60]!r}, expected {' or '.join(KINDS)}")
        layers.append(KINDS[kind].of_arrays(arrays, i, shape, ends))
        shape, ends = layers[-1].output_shape, layers[-1].reach(*ends)
    if not isinstance(layers[-1], Dense):
        raise ValueError(f"the last layer is of the kind {layers[-1].kind!r}, expected dense")
    products = [layer for layer in layers if isinstance(layer, Product)]
    if any((layer.thresholds is None) != (layer is layers[-1]) for layer in products):
        raise ValueError("exactly the last layer has no thresholds")
    network = IntegerNetwork(source, tuple(layers))
    if network.output_size > MAX_OUTPUTS:
        raise ValueError(f"it has {network.output_size} outputs, expected {MAX_OUTPUTS} at most")
    return network


def _require_format(found: NDArray[np.generic]) -> None:
    if found.ndim or found.dtype.kind not in "iu":
        raise ValueError(f"its format is {found}, expected {FORMAT}")
    if found.item() not in READABLE:
        raise _OtherFormatError(found.item())


def _input(sizes: NDArray[np.generic], datatype: NDArray[np.generic]) -> Input:
    if sizes.dtype != np.int64 or sizes.shape != (3,) or not all(1 <= v <= MAX_SIDE for v in sizes.tolist()):
        raise ValueError(f"its input is {sizes}, expected height, width and channels of 1..{MAX_SIDE}")
    name = datatype.item() if datatype.ndim == 0 and datatype.dtype.kind == "U" else None
    if name not in VALUES:
        raise ValueError(f"its datatype is {str(datatype)[:60]}, expected one of {', '.join(VALUES)}")
    height, width, channels = (int(v) for v in sizes.tolist())
    source = Input(height, width, channels, name)
    if source.size > MAX_SIZE:
        raise ValueError(f"an image has {source.size} integers, expected {MAX_SIZE} at most")
    return source


def _weights(arrays: Arrays, i: int, *expected: int | str) -> NDArray[np.int8]:
    """Return those of layer `i`, of the expected shape; a text stands for any number."""
    found = arrays[f"weights_{i}"]
    fits = found.ndim == len(expected) and all(isinstance(e, str) or e == n for e, n in zip(expected, found.shape))  # noqa: B905
    if found.dtype != np.int8 or not fits or not found.size:
        raise ValueError(
            f"weights_{i} is {found.dtype}{found.shape}, expected int8({', '.join(str(e) for e in expected)})"
        )
    return found  # type: ignore[return-value]


def _image(i: int, kind: str, shape: Shape) -> Image:
    """Return the shape of what layer `i` reads, which is an image."""
    if len(shape) != 3:
        raise ValueError(f"layer {i} is of the kind {kind!r} and reads {shape}, expected an image")
    return shape[0], shape[1], shape[2]


def _numbers(arrays: Arrays, name: str, count: int) -> list[int]:
    found = arrays[name]
    if found.dtype != np.int64 or found.shape != (count,):
        raise ValueError(f"{name} is {found.dtype}{found.shape}, expected int64({count},)")
    return [int(v) for v in found.tolist()]


def _require_size(i: int, shape: Shape) -> None:
    if prod(shape) > MAX_SIZE:
        raise ValueError(f"layer {i} gives {prod(shape)} integers per image, expected {MAX_SIZE} at most")


def _requantization(arrays: Arrays, i: int, channels: int) -> Requantization:
    """Return that of layer `i`, of which only types and shapes are checked."""
    members = {name: arrays[f"{name}_{i}"] for name in ("factor", "addend", "shift", "clip")}
    shapes = {"factor": (channels,), "addend": (channels,), "shift": (), "clip": (2,)}
    for name, found in members.items():
        if found.dtype != np.int64 or found.shape != shapes[name]:
            raise ValueError(f"{name}_{i} is {found.dtype}{found.shape}, expected int64{shapes[name]}")
    low, high = members["clip"].tolist()
    if low != 0:
        raise ValueError(f"clip_{i} is {low} to {high}, expected it to begin at 0")
    return Requantization(members["factor"], members["addend"], members["shift"].item(), high)  # type: ignore[arg-type]


def _check_thresholds(i: int, thresholds: NDArray[Any], *, channels: int, bipolar: bool) -> None:
    shape_ok = thresholds.ndim == 2 and thresholds.shape[0] == channels and thresholds.shape[1] >= 1
    if thresholds.dtype != np.int64 or not shape_ok:
        raise ValueError(f"thresholds_{i} is {thresholds.dtype}{thresholds.shape}, expected int64({channels}, L)")
    if bipolar and thresholds.shape[1] != 1:
        raise ValueError(f"layer {i} is bipolar and has {thresholds.shape[1]} thresholds, expected 1")
    if np.any(thresholds[:, 1:] < thresholds[:, :-1]):
        raise ValueError(f"thresholds_{i} are not ascending")
