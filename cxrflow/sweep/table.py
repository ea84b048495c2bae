"""The rows of a sweep as one table, and the front: points that no other point beats in everything.

Validation figures choose; a row has test figures only where somebody selected its point.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.api.types import is_object_dtype

from contract.errors import ConfigError, CxrflowError
from contract.files import replacing
from contract.record import read_record
from contract.table import write_csv
from cxrflow.report.facts import collect
from cxrflow.stage_table import STAGES
from cxrflow.sweep.spec import Limits, plain
from cxrflow.sweep.trial import ROW, Row
from finn_build.resources import YOSYS, of_source
from finn_build.targets.boards import BOARDS
from qnn.records import Metrics

# What a point is judged by: column, and whether more of it is better.
JUDGED = (("monitor", True), ("lut_equivalents", False), ("images_per_s", True))
# Fields with which a validation AUC is one of other images, or a rate one at a clock that perhaps cannot be had.
APART = ("data.", "train.validation_augment", "build.clk_ns")
LIMITED = ("lut", "bram18", "dsp", "latency_us")
DAMAGED = "damaged"  # the status of a row that stands for a trial whose files cannot be believed


def rows(runs: Path) -> list[dict[str, Any]]:
    """Return the rows of all trials in a folder, with Yosys' counts and test metrics where there are any.

    A trial with a damaged file is a row that says so.
    """
    return [_row(path) for path in sorted(runs.glob(f"*/{ROW}"))]


def _row(path: Path) -> dict[str, Any]:
    run = path.parent
    try:
        row = read_record(path, Row)
        return row.model_dump(exclude_unset=True) | _yosys(run, row) | _test(run)
    except CxrflowError as err:
        blank = {"key": "", "node": "", "seed": 0, "values": {}, "network": ""}
        return blank | {"run": run.name, "experiment": run.name, "status": DAMAGED, "error": str(err)}


def _yosys(run: Path, row: Row) -> dict[str, Any]:
    if row.board is None or not STAGES["synth"].place(run, row.board).exists():
        return {}
    counted = of_source(collect(run, "build", "synth", board=row.board).resources, YOSYS)
    if counted is None:
        return {}
    total = counted.total
    worth = BOARDS[row.board].lut_equivalents(total["lut"], total["bram18"], total["dsp"])
    return {f"yosys_{name}": count for name, count in total.items()} | {"yosys_lut_equivalents": worth}


def _test(run: Path) -> dict[str, Any]:
    path = run / "train" / "metrics.json"
    test = read_record(path, Metrics).test if path.exists() else None
    names = ("accuracy", "auc", "balanced_accuracy")
    return {} if test is None else {f"test_{name}": test.value(name) for name in names}


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
    return plain(value) if isinstance(value, list | dict) else value


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
    if "yosys_lut_equivalents" in means:  # of some seeds: not to be mixed with what the model says of the others
        means["lut_equivalents"] = means["yosys_lut_equivalents"]
    spread = {"monitor_std": float(numbers["monitor"].std())} if len(group) > 1 else {}
    return group[0] | means | spread | {"seeds": len(group), "runs": [row["run"] for row in group]}


def front(candidates: Sequence[dict[str, Any]], limits: Limits) -> list[dict[str, Any]]:
    """Return the points within the limits that no other one like it equals or beats in everything, cheapest first.

    Raises:
        ConfigError: no point is within a limit; names the nearest.
    """
    kept = list(candidates)
    for name in LIMITED:
        limit = getattr(limits, name)
        if limit is None or not kept:
            continue
        nearest = min(_taken(point, name) for point in kept)
        kept = [point for point in kept if _taken(point, name) <= limit]
        if not kept:
            raise ConfigError(
                f"no point of the sweep has {name} of at most {limit:g}; the nearest has {nearest:g}. Raise "
                f"'limits.{name}', or sweep over smaller networks."
            )
    best = [point for point in kept if not any(_beats(other, point) for other in kept)]
    return sorted(best, key=lambda point: float(point["lut_equivalents"]))


def _taken(point: dict[str, Any], name: str) -> float:
    """Return what a point has of something limited: by Yosys where it ran, for that is what its row shows."""
    return float(point.get(f"yosys_{name}", point[name]))


def kind(point: dict[str, Any]) -> tuple[str, ...]:
    """Return what two points must have in common to be compared: a family of parts, validation images, and a clock."""
    on = {name: value for name, value in point["values"].items() if name.startswith(APART)}
    return BOARDS[point["board"]].vivado_family, *(f"{name} {plain(value)}" for name, value in on.items())


def _beats(one: dict[str, Any], other: dict[str, Any]) -> bool:
    if kind(one) != kind(other):  # a LUT of another family holds another amount
        return False
    gains = [(one[name] - other[name]) * (1 if more else -1) for name, more in JUDGED]
    return bool(min(gains) >= 0 and max(gains) > 0)


def save(found: Sequence[dict[str, Any]], folder: Path) -> None:
    """Write results.parquet and results.csv."""
    table = frame(found)
    with replacing(folder / "results.parquet") as partial:
        table.to_parquet(partial, index=False)
    write_csv(folder / "results.csv", list(table), table.astype(object).where(table.notna(), None).to_numpy().tolist())
