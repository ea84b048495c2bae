"""Two known images at the end of every transfer, which tell a right transfer from a shifted, short or old one.

Neither shell can tell how many results wait in the accelerator's output stream, and FINN's engines know of no packets:
one result too many, once, and every later answer belongs to the image before. So the driver sends two images more than
it was given, A and B, whose results are known and differ, and looks at all results before it hands out any. An image
has K results, one after the other; where K is 1, a result is its logit.

- A result that came twice, or was left from before, puts A's last result where B's first belongs, and so on: A and B
  are chosen so that any number of results up to K is found, whatever the images. More are found unless the last images'
  own results happen to be the witness's.
- A result too few never ends the transfer in time.
- Beats too many in the input stream, now or left from before, cut the images at other places. A and B are chosen so
  that B, with any number of A's beats in front of it, has other results, and so this is found, too. Only a network of
  few different results that takes its pixels one by one leaves some numbers of beats: `Witness.unseen_cuts`.
- Beats too few: a result is missing at the end, as above.
- A result that was not written, or only in part, leaves poison in each byte that was not. Where the results of this
  network leave a value of a byte free, that byte's poison is such a value, and shows. Else, as in the lowest byte of
  most networks, one result in 256 looks like it by chance: such an image goes through the device again, over a second
  poison that differs in every byte. A byte that is the same both times was written at least once.
- A result that the network cannot give, whatever the image, is garbage.

Not found (docs/board.md says so to users): a wrong but possible result in the right place, as from a flipped bit in a
pixel or a result; two results of one transfer that changed places; two faults that make up for each other within one
transfer. The golden images, compared when a device is opened and after every fault, find these where they persist;
`Accelerator(twice=True)` finds them where they do not.

Where no noise and no golden image makes this network give another result, a shift shows in no witness:
`Witness.shifts_show`. Then every image goes through twice, as with `Accelerator(twice=True)`.

The price is the accelerator's time for two images per transfer, and for the few that look like poison.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.errors import ArtifactError, DeviceError
from driver.reference import Reference

EXTRA = 2  # images, and results, that each transfer has beyond those that were asked for
CANDIDATES = (24, 192)  # images among which a witness is looked for: few, and more where these do not do
MAX_CUTS = 256  # places at which beats too many may cut the stream that are tried; evenly spread where there are more
MAX_SHIFTS = 256  # numbers of results too many that are tried, from K downwards
GIVEN = 4  # of the given images, from either end of their results, that are among the many
PAIRS = 16  # of candidates that are tried
BLOCK_BYTES = 1 << 20  # of images that are computed at a time
POISON = 0x5A, 0xA5  # of a byte, where the results leave these two values free or leave none


@dataclass(frozen=True)
class Witness:
    """The two images, what they must give, and what any image may give."""

    packed: NDArray[np.uint8]  # A and B as on the stream
    outputs: NDArray[np.int64]  # (2, K)
    low: NDArray[np.int64]  # (K,) the least results of any image
    high: NDArray[np.int64]  # (K,) the greatest
    poisons: tuple[bytes, bytes]  # what unwritten results look like, little-endian; they differ in every byte
    unseen_cuts: int = 0  # of the places tried, at which B keeps its results
    shifts_show: bool = True  # results too many give B other results, or this network has only one

    def doubtful(self, results: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell of each of the (N, K) possible results whether a byte of it may be the poison that was there before.

        All others were written as a whole: poison in any byte would show.
        """
        found = np.zeros(results.shape, dtype=np.bool_)
        for i, poison in enumerate(self.poisons[0]):
            found |= (results >> (8 * i)) & 0xFF == poison
        return found

    def require(self, results: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the (N + EXTRA, K) results of a transfer without the witness's.

        Raises:
            DeviceError: they are not this transfer's results, or not all were written.
        """
        impossible = (results < self.low) | (results > self.high)
        if impossible.any():
            self._refuse_impossible(results, impossible)
        found = results[-EXTRA:]
        if not np.array_equal(found, self.outputs):
            raise DeviceError(
                f"the two known images after {len(results) - EXTRA} others gave {shown(found[0])} and "
                f"{shown(found[1])}, expected {shown(self.outputs[0])} and {shown(self.outputs[1])}: "
                f"{self._meaning(found)}, so no answer can be trusted."
            )
        return results[:-EXTRA]

    def _refuse_impossible(self, results: NDArray[np.int64], impossible: NDArray[np.bool_]) -> None:
        unwritten = int((impossible & self._unwritten(results)).sum())
        if unwritten:
            raise DeviceError(f"{unwritten} of {results.size} results were never written: none can be trusted.")
        n, k = (int(v) for v in np.argwhere(impossible)[0])
        raise DeviceError(
            f"result {n * len(self.low) + k} of {results.size} is {int(results[n, k])}, and this network gives "
            f"{int(self.low[k])} to {int(self.high[k])}: it was not written as a whole, or is not the accelerator's."
        )

    def _unwritten(self, results: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.isin(results, [int.from_bytes(poison, "little", signed=True) for poison in self.poisons])

    def _meaning(self, found: NDArray[np.int64]) -> str:
        if (self._unwritten(found) & (found != self.outputs)).any():
            return "a result was never written"
        if any(np.array_equal(found[1], shifted) for shifted in _shifted(self.outputs)):
            return "there was one result too many, in this transfer or before it"
        return "results or beats are too many or in disorder, or it computes something else"


def shown(outputs: NDArray[np.int64]) -> str:
    """Return an image's (K,) results for a message; where they are many, the first."""
    few = ", ".join(str(int(v)) for v in outputs[:4])
    return few if len(outputs) == 1 else f"({few}{', ...' if len(outputs) > 4 else ''})"


def _shifted(outputs: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Yield what stands in the place of B's K results where 1 to K results are too many."""
    stream, count = outputs.reshape(-1), outputs.shape[1]
    for extra in range(count, max(0, count - MAX_SHIFTS), -1):
        yield stream[count - extra : 2 * count - extra]


def find_witness(reference: Reference, images: NDArray[Any], *, lanes: int, result_bytes: int) -> Witness:
    """Choose a witness for a network.

    Args:
        reference: the network on the CPU.
        images: (N, *Input.shape) some that it was made for, for where noise does not do.
        lanes: values of one beat of the input stream; they divide an image's.
        result_bytes: bytes of one result, 1 to 4.

    Raises:
        ArtifactError: results of this network do not fit into `result_bytes`.
    """
    low, high = reference.network.output_ranges()
    least, greatest = int(low.min()), int(high.max())
    limit = 1 << (8 * result_bytes - 1)
    if not -limit <= least <= greatest < limit:
        raise ArtifactError(
            f"the network gives {least} to {greatest}, which does not fit into the {result_bytes} bytes that "
            "accelerator.json says a result has. Package the run again."
        )
    poisons, constant = _poisons(least, greatest, result_bytes), least == greatest
    found: list[Witness] = []
    for count in CANDIDATES:
        for pair in _pairs(reference, _candidates(reference, images, count), reverse=count != CANDIDATES[0]):
            outputs = reference.outputs(pair)
            unseen = _unseen_cuts(reference, pair, outputs[1], lanes)
            packed = reference.network.input.values.pack(pair.reshape(2, -1), lanes=lanes).reshape(-1)
            found.append(Witness(packed, outputs, low, high, poisons, unseen, constant or _shifts_show(outputs)))
            if not unseen and found[-1].shifts_show:
                return found[-1]
    return min(found, key=lambda witness: (not witness.shifts_show, witness.unseen_cuts))


def _shifts_show(outputs: NDArray[np.int64]) -> bool:
    return not any(np.array_equal(outputs[1], shifted) for shifted in _shifted(outputs))


def _pairs(reference: Reference, candidates: NDArray[Any], *, reverse: bool) -> Iterator[NDArray[Any]]:
    """Yield the images whose results are farthest apart, two by two: few other images have results like theirs.

    With `reverse` each pair the other way round, too: where most images have one result, a cut shows in a B that has
    another.
    """
    outputs = reference.outputs(candidates)
    least, greatest = _ends(outputs, int(PAIRS**0.5))
    none = True
    for a, b in itertools.product(greatest, least):
        for pair in ([a, b], [b, a])[: 1 + reverse]:
            if _shifts_show(outputs[pair]):
                none = False
                yield candidates[pair]
    if none:
        yield candidates[[greatest[0], least[0]]]


def _ends(outputs: NDArray[np.int64], count: int) -> tuple[list[int], list[int]]:
    """Return which of the (N, K) results are the least and the greatest of the column where they differ most."""
    widest = outputs[:, int(np.argmax(outputs.max(axis=0) - outputs.min(axis=0)))]
    order = [int(i) for i in np.argsort(widest, kind="stable")]
    return order[:count], order[::-1][:count]


def _candidates(reference: Reference, images: NDArray[Any], count: int) -> NDArray[Any]:
    """Return (count, *Input.shape) images unlike each other: coarse and fine noise; where they are many, given ones
    first: those of the least and of the greatest results.

    Noise first: nobody asks about it, so hardly ever are the last images of a transfer the witness's own.
    """
    source, rng = reference.network.input, np.random.default_rng(0)
    made: list[NDArray[Any]] = []
    if count != CANDIDATES[0] and len(images):
        least, greatest = _ends(reference.outputs(images), GIVEN)
        made = [images[i] for i in sorted({*least, *greatest})]
    while len(made) < count:
        size = (1, 2, 4, 8)[len(made) % 4]  # of a block [pixel]
        blocks = rng.integers(
            0, 2, (-(-source.height // size), -(-source.width // size), *source.shape[2:]), dtype=np.uint8
        )
        bright = blocks.repeat(size, axis=0).repeat(size, axis=1)[: source.height, : source.width]
        made.append(np.where(bright, source.values.high, source.values.low).astype(source.values.dtype))
    return np.stack(made)


def _unseen_cuts(reference: Reference, pair: NDArray[Any], want: NDArray[np.int64], lanes: int) -> int:
    """Return at how many of the places tried a wrongly cut B would still have its results, `want`."""
    stream, size = pair.reshape(-1), pair[0].size
    beats = size // lanes
    numbers = np.unique(np.linspace(1, beats - 1, min(MAX_CUTS, beats - 1)).astype(np.int64))
    cuts = [lanes * int(number) for number in numbers]
    rows = max(1, BLOCK_BYTES // size)
    unseen = 0
    for first in range(0, len(cuts), rows):
        shifted = np.stack([stream[cut : cut + size] for cut in cuts[first : first + rows]])
        unseen += int((reference.outputs(shifted) == want).all(axis=1).sum())
    return unseen


def _poisons(low: int, high: int, result_bytes: int) -> tuple[bytes, bytes]:
    """Return two patterns that differ in every byte, of values that no result of `low` to `high` has there if some are.

    If only one value of a byte is free, the first pattern has it.
    """
    first, second = bytearray(), bytearray()
    for i in range(result_bytes):
        least, greatest = low >> (8 * i), high >> (8 * i)
        used = {value & 0xFF for value in range(least, min(greatest, least + 255) + 1)}
        order = sorted((*POISON, *range(256)), key=lambda value: value in used)
        first.append(order[0])
        second.append(next(value for value in order if value != order[0]))
    return bytes(first), bytes(second)
