"""Random pauses for the benches' sources and sinks."""

import random
from collections.abc import Iterator

RNG = random.Random(1)


def pauses(share: float) -> Iterator[bool]:
    """Yield forever whether to pause, in `share` of the cycles."""
    while True:
        yield RNG.random() < share
