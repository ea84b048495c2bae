"""Answer for image files, with nothing but a deploy folder."""

from pathlib import Path
from typing import Any

from driver.__main__ import answer, expand
from driver.accelerator import Accelerator


def infer_files(folder: Path, paths: list[Path], *, device: str) -> tuple[list[dict[str, Any]], dict[str, str], str]:
    """Return one row per readable image, a message per unreadable file, and the device that answered.

    A path that is a folder stands for the files in it.

    Raises:
        ArtifactError: the folder is not a whole deploy folder.
        ConfigError: the device is not there.
        MismatchError, DeviceError: the device cannot be trusted.
    """
    with Accelerator(folder, device) as accelerator:
        rows, failures = answer(accelerator, expand(paths))
        return rows, failures, accelerator.device
