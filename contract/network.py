"""The network as the hardware knows it: integers, layer by layer, and nothing else. It is the middle of the project.

This is what `reference.npz` holds: what is read (`Input`), and layers, of which each has a kind. A kind is one class
below: how it computes, what it can give, and which arrays it is in the file. So far there is `Dense`. The last layer
has no activation, and its K accumulators are the network's outputs; K = 1 is the integer logit.
"""

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from contract.errors import ArtifactError
from contract.npz import load_npz, save_npz
from contract.requantization import Requantization
from contract.values import PIXELS, VALUES, Values

FORMAT = 3
READABLE = (2, 3)  # in 2 no layer requantizes
FLOAT32_EXACT = 2**24  # integers up to here are exact in float32
MAX_SIDE = 4096  # height, width and channels of an image that a file may ask for
MAX_SIZE = MAX_SIDE**2  # integers of an image
MAX_OUTPUTS = 2**16  # integers that a network may give per image
# About a damaged file that a run's export and its deploy folder have.
ADVICE = "Export the run again; in a deploy folder, package it again or copy the whole folder."
Arrays = dict[str, NDArray[np.generic]]
Shape = tuple[int, ...]  # of one image's data between two layers


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
class Dense:
    """A matrix-vector product and its activation (Umuroglu et al., "FINN", arXiv:1612.07119).

        acc[n, c] = sum_i weights[c, i] * x[n, i]
        count[n, c] = #{ l : acc[n, c] >= thresholds[c, l] }
        y = 2 * count - 1 where the layer is bipolar (one threshold), count otherwise

    Without thresholds y is acc. Where the layer requantizes,

        y = clip((acc * m[c] + b[c]) >> s, 0, L)        see contract.requantization

    and the thresholds are what follows from that: `requantized`.
    """

    kind: ClassVar[str] = "dense"
    weights: NDArray[np.int8]  # (MH, MW)
    thresholds: NDArray[np.int64] | None  # (MH, L) accumulator LSBs, ascending along axis 1; None in the last layer
    bipolar: bool = False  # the activation is -1 / +1 instead of 0..L
    requantization: Requantization | None = None  # None: it compares with its thresholds

    def __call__(self, x: NDArray[Any]) -> NDArray[np.int64]:
        """Return (N, MH) of inputs (N, ...): the definition above, in int64."""
        acc: NDArray[np.int64] = x.reshape(len(x), -1) @ self.weights.T.astype(np.int64)
        if self.requantization is not None:
            return self.requantization(acc)
        if self.thresholds is None:
            return acc
        counts = [(acc[:, [c]] >= t).sum(axis=1, dtype=np.int64) for c, t in enumerate(self.thresholds)]
        y = np.stack(counts, axis=1)
        return 2 * y - 1 if self.bipolar else y

    @property
    def output_shape(self) -> Shape:
        """Of one image's outputs."""
        return (len(self.weights),)

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

    def accumulator_range(self, low: int, high: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the (MH,) least and greatest accumulators that inputs within low..high can reach."""
        w = self.weights.astype(np.int64)
        positive, negative = np.where(w > 0, w, 0).sum(axis=1), np.where(w < 0, w, 0).sum(axis=1)
        return positive * low + negative * high, positive * high + negative * low

    def requantized(self, found: Requantization, low: int, high: int) -> "Dense":
        """Return the layer with this activation, for inputs within low..high. Raises ValueError: it does not fit."""
        reach = self.accumulator_range(low, high)
        found.require_fitting(*reach)
        return Dense(self.weights, found.thresholds(*reach), requantization=found)

    def one_row(self, low: int, high: int) -> NDArray[np.int64] | None:
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
        return int(np.abs(self.weights.astype(np.int64)).sum(axis=1).max() * max(abs(low), abs(high)))

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

    @classmethod
    def of_arrays(cls, arrays: Arrays, i: int, shape: Shape, ends: tuple[int, int]) -> "Dense":
        """Return layer `i` for inputs of the shape `shape` within `ends`.

        Raises ValueError, or KeyError for a missing member.
        """
        weights, thresholds, bipolar = arrays[f"weights_{i}"], arrays.get(f"thresholds_{i}"), arrays[f"bipolar_{i}"]
        mw = prod(shape)
        if weights.dtype != np.int8 or weights.ndim != 2 or weights.shape[1] != mw or not weights.size:
            raise ValueError(f"weights_{i} is {weights.dtype}{weights.shape}, expected int8(MH, {mw})")
        if bipolar.dtype != np.bool_ or bipolar.ndim:
            raise ValueError(f"bipolar_{i} is {bipolar.dtype}{bipolar.shape}, expected one bool")
        if f"factor_{i}" in arrays:
            if thresholds is not None or bipolar:
                raise ValueError(f"layer {i} has factors and is bipolar or has thresholds, expected one activation")
            return cls(weights, None).requantized(_requantization(arrays, i, len(weights)), *ends)  # type: ignore[arg-type]
        if thresholds is not None:
            _check_thresholds(i, thresholds, channels=weights.shape[0], bipolar=bool(bipolar))
        elif bipolar:
            raise ValueError(f"layer {i} is bipolar and has no thresholds, expected 1")
        return cls(weights, thresholds, bool(bipolar))  # type: ignore[arg-type]


Layer = Dense  # the union of all kinds
KINDS: dict[str, type[Layer]] = {layer.kind: layer for layer in (Dense,)}


@dataclass(frozen=True)
class IntegerNetwork:
    """What is read, and all layers in the order of the data."""

    input: Input
    layers: tuple[Layer, ...]

    @property
    def output_size(self) -> int:
        """How many integers there are per image: K."""
        return prod(self.layers[-1].output_shape)

    def input_ranges(self) -> list[tuple[int, int]]:
        """Return the smallest and the largest input of each layer."""
        values = self.input.values
        return [(values.low, values.high), *(layer.output_range() for layer in self.layers[:-1])]

    def output_ranges(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the (K,) least and greatest outputs that no image goes beyond."""
        return self.layers[-1].accumulator_range(*self.input_ranges()[-1])

    def exact_in_float32(self) -> bool:
        """Whether float32 holds every sum on the way, in any order of summation."""
        bounds = (layer.partial_sum_bound(*ends) for layer, ends in zip(self.layers, self.input_ranges(), strict=True))
        return max(bounds) <= FLOAT32_EXACT

    def outputs(self, images: NDArray[Any]) -> list[NDArray[np.int64]]:
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
    shape, layers = source.shape, []
    ends = source.values.low, source.values.high
    for i, kind in enumerate(kinds.tolist()):
        if kind not in KINDS:
            raise ValueError(f"layer {i} is of the kind {kind[:60]!r}, expected {' or '.join(KINDS)}")
        layers.append(KINDS[kind].of_arrays(arrays, i, shape, ends))
        shape = layers[-1].output_shape
        ends = ends if layers[-1].thresholds is None else layers[-1].output_range()
    if any((layer.thresholds is None) != (layer is layers[-1]) for layer in layers):
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
