"""The rows of a sweep as one table, and the front: points that no other point beats in everything.

Validation figures choose; a row has test figures only where somebody selected its point.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.api.types import is_object_dtype

from contract.errors import ConfigError
from contract.files import replacing
from contract.table import write_csv
from cxrflow.summary import read
from cxrflow.sweep.spec import Limits
from cxrflow.sweep.trial import ROW
from finn_build.boards import BOARDS

# What a point is judged by: column, and whether more of it is better.
JUDGED = (("monitor", True), ("lut_equivalents", False), ("images_per_s", True))
LIMITED = ("lut", "bram18", "dsp", "latency_us")
SYNTHESISED = {
    "lut": "lut",
    "ff": "ff",
    "bram18": "bram18_equivalents",
    "dsp": "dsp",
}  # columns, and synth.json's names


def rows(runs: Path) -> list[dict[str, Any]]:
    """Return the rows of all trials in a folder, with Yosys' counts and test metrics where there are any."""
    found = []
    for path in sorted(runs.glob(f"*/{ROW}")):
        row = read(path)
        if row is not None:
            found.append(row | _yosys(path.parent, row) | _test(path.parent))
    return found


def _yosys(run: Path, row: dict[str, Any]) -> dict[str, Any]:
    synth = read(run / "build" / str(row.get("board")) / "synth" / "synth.json")
    if synth is None:
        return {}
    counts = {name: int(synth["total"][key]) for name, key in SYNTHESISED.items()}
    board = BOARDS[row["board"]]
    worth = board.lut_equivalents(counts["lut"], counts["bram18"], counts["dsp"])
    return {f"yosys_{name}": count for name, count in counts.items()} | {"yosys_lut_equivalents": worth}


def _test(run: Path) -> dict[str, Any]:
    metrics = read(run / "train" / "metrics.json") or {}
    test = metrics.get("test", {})
    return {f"test_{name}": test[name] for name in ("accuracy", "auc", "balanced_accuracy") if name in test}


def frame(found: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Return one line per trial: a column per field of the sweep, and its figures."""
    flat = [
        {key: value for key, value in row.items() if key not in ("key", "values")}
        | {field: _cell(value) for field, value in row["values"].items()}
        for row in found
    ]
    table = pd.DataFrame(flat)
    for name in filter(lambda name: is_object_dtype(table[name]), table):  # Parquet wants one type per column
        table[name] = [cell if pd.isna(cell) else str(cell) for cell in table[name]]
    return table


def _cell(value: Any) -> Any:
    return "x".join(map(str, value)) if isinstance(value, list) else value


def points(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one row per point with all its seeds: means, `runs` that finished, `monitor_std` of several."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in found:
        if row["status"] == "finished":
            groups.setdefault(row["experiment"], []).append(row)
    return [_mean(group) for group in groups.values()]


def _mean(group: list[dict[str, Any]]) -> dict[str, Any]:
    numbers = pd.DataFrame(group).select_dtypes("number")
    means = {name: float(value) for name, value in numbers.mean().items() if value == value}
    spread = {"monitor_std": float(numbers["monitor"].std())} if len(group) > 1 else {}
    return group[0] | means | spread | {"seeds": len(group), "runs": [row["run"] for row in group]}


def front(candidates: Sequence[dict[str, Any]], limits: Limits) -> list[dict[str, Any]]:
    """Return the points within the limits that no other one equals or beats in everything, cheapest first.

    Raises:
        ConfigError: no point is within a limit; names the nearest.
    """
    kept = list(candidates)
    for name in LIMITED:
        limit = getattr(limits, name)
        if limit is None or not kept:
            continue
        nearest = min(point[name] for point in kept)
        kept = [point for point in kept if point[name] <= limit]
        if not kept:
            raise ConfigError(
                f"no point of the sweep has {name} of at most {limit:g}; the nearest has {nearest:g}. Raise "
                f"'limits.{name}', or sweep over smaller networks."
            )
    best = [point for point in kept if not any(_beats(other, point) for other in kept)]
    return sorted(best, key=lambda point: float(point["lut_equivalents"]))


def _beats(one: dict[str, Any], other: dict[str, Any]) -> bool:
    gains = [(one[name] - other[name]) * (1 if more else -1) for name, more in JUDGED]
    return bool(min(gains) >= 0 and max(gains) > 0)


def save(found: Sequence[dict[str, Any]], folder: Path) -> None:
    """Write results.parquet and results.csv."""
    table = frame(found)
    with replacing(folder / "results.parquet") as partial:
        table.to_parquet(partial, index=False)
    write_csv(folder / "results.csv", list(table), table.astype(object).where(table.notna(), None).to_numpy().tolist())
