"""Which widths to take within a budget: a road from the run's own widths to the narrowest, and how far to walk it.

Each step of the road narrows one layer's weights or activations: that which loses least AUC for what it saves, taking
losses and savings of layers as if they added up. They do not quite. So where the road leaves the budget, or comes
within it, is measured: the proposal is a point like the others, with its own AUC and its own price.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cxrflow.sensitivity.measurement import Widths
from cxrflow.sweep.spec import Limits

Row = dict[str, Any]
Options = Sequence[Mapping[int, Row]]  # for each width of the network: the rows of what it may be, its own with them
RESOURCES = ("lut", "bram18", "dsp")


def limited(limits: Limits) -> dict[str, int]:
    """Return the resources that have a limit."""
    return {name: limit for name in RESOURCES if (limit := getattr(limits, name)) is not None}


def road(start: Widths, options: Options, limits: Limits) -> list[Widths]:
    """Return networks, each cheaper than the one before; the first is `start`."""
    most, base = limited(limits), {i: options[i][bits] for i, bits in enumerate(start)}

    def price(row: Row) -> float:
        """Shares of what is limited, or else LUT-equivalents."""
        if most:
            return sum(float(row[name]) / max(limit, 0.5) for name, limit in most.items())
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
        found.append((*now[:i], bits, *now[i + 1 :]))


def loss(row: Row, base: Row) -> float:
    """Return the AUC that a row loses; a gain counts as none, as it is mostly noise."""
    return max(0.0, float(base["monitor"]) - float(row["monitor"]))


def expected(start: Widths, widths: Widths, options: Options) -> Row:
    """Return what a network would have if losses and prices of its layers added up: AUC as `monitor`, RESOURCES."""
    base = options[0][start[0]]
    rows = [rows[bits] for rows, bits in zip(options, widths, strict=True)]
    found: Row = {"monitor": float(base["monitor"]) - sum(loss(row, base) for row in rows)}
    return found | {name: base[name] + sum(row[name] - base[name] for row in rows) for name in RESOURCES}


def walk(
    steps: Sequence[Widths], fits: Callable[[Row], bool], expect: Callable[[Widths], Row],
    measure: Callable[[Widths], Row | None], *, down: bool,
) -> tuple[Widths, Row] | None:  # fmt: skip
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
