"""Two known images at the end of every transfer, which tell a right transfer from a shifted, short or old one.

Neither shell can tell how many results wait in the accelerator's output stream, and FINN's engines know of no packets:
one result too many, once, and every later answer belongs to the image before. So the driver sends two images more than
it was given, A and B, whose logits are known and differ, and looks at all results before it hands out any:

- A result that came twice, or was left from before, puts A's logit where B's belongs: always found, whatever the
  images. Two or more are found unless the last images' own logits happen to be the witness's.
- A result too few never ends the transfer in time.
- Beats too many in the input stream, now or left from before, cut the images at other places. A and B are chosen so
  that B, with any number of A's beats in front of it, has another logit, and so this is found, too. Only a network of
  few different logits that takes its pixels one by one leaves some numbers of beats: `Witness.unseen_cuts`.
- Beats too few: a result is missing at the end, as above.
- A result that was not written, or only in part, leaves poison: a number that this network cannot give. Where it can
  give every number that fits into the result, a transfer with such a result runs again over another poison.
- A result that the network cannot give, whatever the image, is garbage.

Not found: a wrong but possible logit in the right place, as from a flipped bit in a pixel or a result; two results of
one transfer that changed places; two faults that make up for each other within one transfer. The golden images,
compared when a device is opened and after every fault, find these where they persist; `Accelerator(twice=True)` finds
them where they do not.

The price is the accelerator's time for two images per transfer.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contract.errors import ArtifactError, DeviceError
from driver.reference import Reference

EXTRA = 2  # images, and results, that each transfer has beyond those that were asked for
CANDIDATES = (24, 192)  # images among which a witness is looked for: few, and more where these do not do
MAX_CUTS = 256  # places at which beats too many may cut the stream that are tried; evenly spread where there are more
PAIRS = 16  # of candidates that are tried
BLOCK_BYTES = 1 << 20  # of images that are computed at a time
POISON = 0x5A5A_5A5A  # hardly a network reaches its upper byte, so half a result on top of it is found, too


@dataclass(frozen=True)
class Witness:
    """The two images, what they must give, and what any image may give."""

    pixels: NDArray[np.uint8]  # (2 * bytes of an image,) A and B as on the stream
    logits: tuple[int, int]
    low: int  # the least logit of any image
    high: int  # the greatest
    poisons: tuple[int, int]  # what unwritten results look like; the second for where the first is a possible logit
    unseen_cuts: int = 0  # of the places tried, at which B keeps its logit

    def ambiguous(self, results: NDArray[np.int64]) -> bool:
        """Tell whether a possible logit among the results looks like the poison."""
        return self.low <= self.poisons[0] <= self.high and bool((results == self.poisons[0]).any())

    def require(self, results: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the results of a transfer without the witness's.

        Raises:
            DeviceError: they are not this transfer's results, or not all were written.
        """
        least, greatest = int(results.min()), int(results.max())
        if least < self.low or greatest > self.high:
            self._refuse_impossible(results)
        found = (int(results[-2]), int(results[-1]))
        if found != self.logits:
            raise DeviceError(
                f"the two known images after {len(results) - EXTRA} others gave {found[0]} and {found[1]}, expected "
                f"{self.logits[0]} and {self.logits[1]}: {self._meaning(found)}, so no answer can be trusted."
            )
        return results[:-EXTRA]

    def _refuse_impossible(self, results: NDArray[np.int64]) -> None:
        unwritten = int((results == self.poisons[0]).sum())
        if unwritten and not self.low <= self.poisons[0] <= self.high:
            raise DeviceError(f"{unwritten} of {len(results)} results were never written: none can be trusted.")
        position = int(np.flatnonzero((results < self.low) | (results > self.high))[0])
        raise DeviceError(
            f"result {position} of {len(results)} is {int(results[position])}, and this network gives {self.low} to "
            f"{self.high}: it was not written as a whole, or is not the accelerator's."
        )

    def _meaning(self, found: tuple[int, int]) -> str:
        if found[1] == self.logits[0]:
            return "there was one result too many, in this transfer or before it"
        return "results or beats are too many or in disorder, or it computes something else"


def find_witness(reference: Reference, images: NDArray[np.uint8], *, beat_bytes: int, result_bytes: int) -> Witness:
    """Choose a witness for a network.

    Args:
        reference: the network on the CPU.
        images: (N, height, width) some that it was made for, for where noise does not do.
        beat_bytes: bytes of one beat of the input stream; they divide an image's.
        result_bytes: bytes of one result, 1 to 4.

    Raises:
        ArtifactError: results of this network do not fit into `result_bytes`.
    """
    low, high = reference.reach
    limit = 1 << (8 * result_bytes - 1)
    if not -limit <= low <= high < limit:
        raise ArtifactError(
            f"the network gives {low} to {high}, which does not fit into the {result_bytes} bytes that "
            "accelerator.json says a result has. Package the run again."
        )
    poisons = _poisons(low, high, result_bytes)
    found: list[Witness] = []
    for count in CANDIDATES:
        for a, b in _pairs(reference, _candidates(reference, images, count)):
            logits = reference(np.stack((a, b))).tolist()
            unseen = _unseen_cuts(reference, a, b, logits[1], beat_bytes)
            pixels = np.concatenate((a.reshape(-1), b.reshape(-1)))
            found.append(Witness(pixels, (logits[0], logits[1]), low, high, poisons, unseen))
            if not unseen:
                return found[-1]
    return min(found, key=lambda witness: witness.unseen_cuts)


def _pairs(
    reference: Reference, candidates: NDArray[np.uint8]
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Yield the images whose logits are farthest apart, two by two: few other images have a logit like theirs."""
    logits = reference(candidates).tolist()
    order = sorted(range(len(logits)), key=lambda i: int(logits[i]))
    side = int(PAIRS**0.5)
    for a in order[::-1][:side]:
        for b in order[:side]:
            if logits[a] != logits[b]:
                yield candidates[a], candidates[b]
    if logits[order[0]] == logits[order[-1]]:  # then a shifted logit is the right one
        yield candidates[0], candidates[0]


def _candidates(reference: Reference, images: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """Return (count, height, width) images unlike each other: coarse and fine noise; where they are many, given ones.

    Noise first: nobody asks about it, so hardly ever are the last images of a transfer the witness's own.
    """
    height, width = reference.network.height, reference.network.width
    rng = np.random.default_rng(0)
    made = [] if count == CANDIDATES[0] else [*images[:1], *images[1:][-1:]]
    while len(made) < count:
        size = (1, 2, 4, 8)[len(made) % 4]  # of a block [pixel]
        blocks = 255 * rng.integers(0, 2, (-(-height // size), -(-width // size)), dtype=np.uint8)
        made.append(blocks.repeat(size, axis=0).repeat(size, axis=1)[:height, :width])
    return np.stack(made)


def _unseen_cuts(reference: Reference, a: NDArray[np.uint8], b: NDArray[np.uint8], logit: int, beat_bytes: int) -> int:
    """Return at how many of the places tried a wrongly cut B would still have its logit."""
    stream = np.concatenate((a.reshape(-1), b.reshape(-1)))
    size, beats = b.size, b.size // beat_bytes
    numbers = np.unique(np.linspace(1, beats - 1, min(MAX_CUTS, beats - 1)).astype(np.int64))
    cuts = [beat_bytes * int(number) for number in numbers]
    rows = max(1, BLOCK_BYTES // size)
    unseen = 0
    for first in range(0, len(cuts), rows):
        shifted = np.stack([stream[cut : cut + size] for cut in cuts[first : first + rows]])
        unseen += int((reference(shifted) == logit).sum())
    return unseen


def _poisons(low: int, high: int, result_bytes: int) -> tuple[int, int]:
    """Return two different numbers of `result_bytes` that the network does not give, if it leaves any."""
    limit = 1 << (8 * result_bytes - 1)
    pattern = (POISON & (2 * limit - 1)) - (2 * limit if POISON & limit else 0)
    outside = [
        p for p in (pattern, high + 1, low - 1, high + 2, low - 2) if -limit <= p < limit and not low <= p <= high
    ]
    first, second = ([*outside, low, high, low + 1])[:2]
    return first, second
