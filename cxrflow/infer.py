"""Answer for image files, with nothing but a deploy folder."""

from pathlib import Path
from typing import Any

from driver.__main__ import about_points, answer, described_point, expand, write_answers
from driver.accelerator import Accelerator


def infer_files(
    folder: Path, paths: list[Path], *, device: str, point: str | None = None, table: Path | None = None
) -> tuple[list[dict[str, Any]], dict[str, str], str, dict[str, Any], str]:
    """Return a row per readable image, a message per unreadable file, the device, its point, and what to say of points.

    A path that is a folder stands for the files in it; `point` names an operating point, None is the folder's own; the
    rows are written to `table`, too, as CSV.

    Raises:
        ArtifactError: the folder is not a whole deploy folder.
        ConfigError: the device or the operating point is not there, or the table cannot be written.
        MismatchError, DeviceError: the device cannot be trusted.
    """
    with Accelerator(folder, device) as accelerator:
        rows, failures = answer(accelerator, expand(paths), point=point)
        if table is not None:
            write_answers(table, rows, accelerator, point)
        described = described_point(accelerator.manifest, point)
        return rows, failures, accelerator.device, described, about_points(accelerator, point)
