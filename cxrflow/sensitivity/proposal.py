"""Which widths to take within a budget: a road from the run's own widths to the narrowest, and how far to walk it.

Each step of the road narrows one layer's weights or activations: that which loses least AUC for what it saves, taking
losses and savings of layers as if they added up. They do not quite. So where the road leaves the budget, or comes
within it, is measured: the proposal is a point like the others, with its own AUC and its own price.

A late step may save so much that earlier ones are no longer needed: those that cost most AUC are undone first. And if
any measured point within the budget is better than all that, that point is the proposal.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from cxrflow.sensitivity.measurement import Widths
from cxrflow.sweep.spec import Limits

Row = dict[str, Any]
Options = Sequence[Mapping[int, Row]]  # for each width of the network: the rows of what it may be, its own with them
RESOURCES = ("lut", "bram18", "dsp")
Measure = Callable[[Widths], Row | None]  # the row of a network in some widths; None: it cannot be built
Measured = tuple[Widths, Row]


@dataclass(frozen=True)
class Budget:
    """What a proposal may take, or else lose; and which of two is better."""

    limits: Mapping[str, int]  # of RESOURCES; none: `loss` is the budget
    loss: float  # of AUC
    base: Row  # that losses count from

    def fits(self, row: Row) -> bool:
        """Whether a row is within the budget."""
        if self.limits:
            return all(row[name] <= limit for name, limit in self.limits.items())
        return loss(row, self.base) <= self.loss

    def merit(self, row: Row) -> float:
        """Return what is greater for the better of two rows: AUC within limits, or else cheapness."""
        return float(row["monitor"]) if self.limits else -float(row["lut_equivalents"])


@dataclass(frozen=True)
class Proposed:
    """Widths within a budget."""

    widths: Widths
    row: Row
    worse: Measured | None  # where the road led to, if a point that was measured anyway is better


def limited(limits: Limits) -> dict[str, int]:
    """Return the resources that have a limit."""
    return {name: limit for name in RESOURCES if (limit := getattr(limits, name)) is not None}


def propose(
    start: Widths, options: Options, budget: Budget, measure: Measure, known: Sequence[Measured]
) -> Proposed | None:
    """Return the widths that the road leads to, or of a better point; None: no measured point is within the budget.

    Args:
        start: the run's widths.
        options: what each of them may be, with what is measured of it.
        budget: to stay within.
        measure: gives the row of any widths.
        known: what is measured already; like those of `measure`, none within the budget is better than the answer.
    """
    seen = list(known)

    def look(widths: Widths) -> Row | None:
        if (row := measure(widths)) is not None:
            seen.append((widths, row))
        return row

    steps = road(start, options, budget.limits)
    expect = partial(expected, start, options)
    found = walk(steps, budget.fits, expect, look, down=bool(budget.limits))
    if found is not None and budget.limits:
        found = undone(steps, found, options, budget, look)
    within = [one for one in seen if budget.fits(one[1])]
    if not within:
        return None
    best = max(within, key=lambda one: budget.merit(one[1]))
    if found is None or found[0] == best[0]:
        return Proposed(*best, None)
    if budget.merit(found[1]) == budget.merit(best[1]):
        return Proposed(*found, None)
    return Proposed(*best, found)


def road(start: Widths, options: Options, limits: Mapping[str, int]) -> list[Widths]:
    """Return networks, each cheaper than the one before; the first is `start`."""
    base = {i: options[i][bits] for i, bits in enumerate(start)}

    def price(row: Row) -> float:
        """Shares of what is limited, or else LUT-equivalents."""
        if limits:
            return sum(float(row[name]) / max(limit, 0.5) for name, limit in limits.items())
        return float(row["lut_equivalents"])

    found = [start]
    while True:
        now, moves = found[-1], []
        for i, rows in enumerate(options):
            here = rows[now[i]]
            for bits, row in rows.items():
                if (saved := price(here) - price(row)) > 0:
                    lost = loss(row, base[i]) - loss(here, base[i])
                    moves.append((lost / saved, -saved, i, bits))
        if not moves:
            return found
        _, _, i, bits = min(moves)
        found.append(with_one(now, i, bits))


def with_one(widths: Widths, i: int, bits: int) -> Widths:
    """Return widths of which one is another."""
    return (*widths[:i], bits, *widths[i + 1 :])


def loss(row: Row, base: Row) -> float:
    """Return the AUC that a row loses; a gain counts as none, as it is mostly noise."""
    return max(0.0, float(base["monitor"]) - float(row["monitor"]))


def expected(start: Widths, options: Options, widths: Widths) -> Row:
    """Return what a network would have if losses and prices of its layers added up: AUC as `monitor`, RESOURCES."""
    base = options[0][start[0]]
    rows = [rows[bits] for rows, bits in zip(options, widths, strict=True)]
    found: Row = {"monitor": float(base["monitor"]) - sum(loss(row, base) for row in rows)}
    return found | {name: base[name] + sum(row[name] - base[name] for row in rows) for name in RESOURCES}


def walk(
    steps: Sequence[Widths], fits: Callable[[Row], bool], expect: Callable[[Widths], Row],
    measure: Measure, *, down: bool,
) -> Measured | None:  # fmt: skip
    """Return the networks of a road that is within a budget, with its row; None: there is none.

    Args:
        steps: of `road`.
        fits: whether a row is within the budget.
        expect: the row that a network is expected to have.
        measure: the row that it has; None: it cannot be built.
        down: the end of the road is the last to be within the budget, else its beginning.
    """

    def good(at: int) -> Row | None:
        row = measure(steps[at])
        return row if row is not None and fits(row) else None

    order = range(len(steps)) if down else range(len(steps) - 1, -1, -1)
    safe = order[-1]
    at = next((i for i in order if fits(expect(steps[i]))), safe)
    if (row := good(at)) is not None:
        return steps[at], row
    if (best := good(safe)) is None:
        return None
    bad = at
    while abs(safe - bad) > 1:
        middle = (safe + bad) // 2
        row = good(middle)
        if row is None:
            bad = middle
        else:
            safe, best = middle, row
    return steps[safe], best


def undone(steps: Sequence[Widths], found: Measured, options: Options, budget: Budget, measure: Measure) -> Measured:
    """Return a point of a road without those of its steps that the budget does not need.

    What should give back most AUC is tried first, and kept where it is measured to be within the budget and better.
    """
    widths, row = found
    passed = steps[: steps.index(widths)]
    refused: set[tuple[int, int]] = set()
    while True:
        moves = []
        for i, rows in enumerate(options):
            here = rows[widths[i]]
            for bits in {step[i] for step in passed}:
                gained = loss(here, budget.base) - loss(rows[bits], budget.base)
                hoped = {name: row[name] + rows[bits][name] - here[name] for name in RESOURCES}
                if gained > 0 and (i, bits) not in refused and budget.fits(hoped):
                    moves.append((gained, i, bits))
        if not moves:
            return widths, row
        _, i, bits = max(moves)
        wider = with_one(widths, i, bits)
        measured = measure(wider)
        if measured is not None and budget.fits(measured) and budget.merit(measured) > budget.merit(row):
            widths, row = wider, measured
        else:
            refused.add((i, bits))
