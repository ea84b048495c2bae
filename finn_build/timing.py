"""When beats move through a chain of FINN's nodes: a model of their handshakes, cycle by cycle, without their data.

A `Part`, in the file of its op, holds the registers of one RTL module that decide on its TVALID and TREADY, with the
module's own rules. TVALID depends on registers alone; TREADY may depend on the sink's TREADY in the same cycle, too. So
one cycle of the chain is: look at every handshake, from the end of the chain to its start, then let every node take its
step. What a chain does under full load is exact: its state is followed until it repeats.
"""

from collections.abc import Sequence
from fractions import Fraction

FOREVER = 1 << 62


class Part:
    """One node of a chain. A quiet node changes nothing but counters until a beat enters or leaves it."""

    latency: int  # registers that a beat passes

    def ready(self, sink: bool) -> bool:
        """Whether it takes a beat in this cycle, in which its sink does or does not."""
        raise NotImplementedError

    def valid(self) -> bool:
        """Whether it offers a beat in this cycle."""
        raise NotImplementedError

    def step(self, taken: bool, given: bool) -> None:
        """End this cycle, in which a beat entered, and left."""
        raise NotImplementedError

    def quiet(self) -> int:
        """Return for how many cycles without a beat in or out `skip` may replace `step`; 0: none."""
        return FOREVER

    def skip(self, cycles: int) -> None:
        """End so many cycles at once."""

    def state(self) -> tuple[object, ...]:
        """Return everything that its future depends on."""
        raise NotImplementedError


class Chain:
    """Parts in a row, fed without a gap; the sink takes every beat. An image is `results` output beats."""

    def __init__(self, parts: Sequence[Part], *, results: int = 1) -> None:  # noqa: D107  the class says it
        self.parts, self.results = list(parts), results
        self.cycle = self.left = 0  # cycles so far; results so far
        self._moves = [False] * (len(self.parts) + 1)  # whether a beat moves into each part, and out of the last

    def advance(self, *, closed: int = -1) -> bool:
        """Go on by a cycle, or by as many as nothing happens in; False: nothing will ever happen.

        Args:
            closed: the part whose output is held back; -1: none.
        """
        parts, moves = self.parts, self._moves
        ready = True
        for i in range(len(parts) - 1, -1, -1):
            part = parts[i]
            ready = ready and i != closed
            moves[i + 1] = ready and part.valid()
            ready = part.ready(ready)
        moves[0] = ready
        if True not in moves:
            jump = min(part.quiet() for part in parts)
            if jump == FOREVER:
                return False
            if jump > 0:
                for part in parts:
                    part.skip(jump)
                self.cycle += jump
                return True
        taken = moves[0]
        for i, part in enumerate(parts, start=1):
            given = moves[i]
            part.step(taken, given)
            taken = given
        self.left += taken
        self.cycle += 1
        return True

    def first_latency(self) -> int:
        """Return the cycles from the first beat of the first image to its last result. Call it on a new chain."""
        while self.left < self.results:
            if not self.advance():
                raise AssertionError("the chain stops")
        return self.cycle - 1

    def interval(self, slowest: int | None, patience: int = FOREVER) -> Fraction:
        """Return the cycles per image that this chain settles on. Call it on a new chain.

        Args:
            slowest: the last of the parts that are the slowest. Until everything before it is full, its output is
                held back, which saves following the chain while it slowly fills; None: it is followed.
            patience: images after which the mean of the second half of them is returned, if no state came twice.
        """
        while slowest is not None and self.advance(closed=slowest):
            pass
        half = (0, 0)
        seen: dict[tuple[object, ...], tuple[int, int]] = {}
        while True:
            before = self.left
            if not self.advance():
                raise AssertionError("the chain stops")
            if self.left == before or self.left % self.results:
                continue
            state = tuple(part.state() for part in self.parts)
            if state in seen or len(seen) == patience:
                cycle, left = seen.get(state, half)
                return Fraction((self.cycle - cycle) * self.results, self.left - left)
            seen[state] = (self.cycle, self.left)
            if 2 * len(seen) == patience:
                half = seen[state]
