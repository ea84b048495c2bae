"""Build the bitstream of the `finn_iodma` shell in a container: the host's side of `container.py`.

Needs Docker and Python alone; the image (docker/) holds FINN and what it needs. Nothing appears under the result's name
unless the container ended well and every file has the hash that was written down inside it.
"""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contract.errors import ConfigError
from finn_build.flows.finn_iodma import AGAIN
from finn_build.flows.finn_iodma.collect import take_results
from finn_build.flows.finn_iodma.image import IMAGE, require_image
from finn_build.flows.finn_iodma.prepare import container_command, find_xilinx, require_buildable
from finn_build.flows.finn_iodma.run import Say, require_success, run_container

if TYPE_CHECKING:
    from finn_build.targets.boards import Board


def build_bitstream(build_dir: Path, export_dir: Path, out: Path, *, board: "Board", say: Say) -> dict[str, Any]:
    """Build the bitstream of a finished build into the new folder `out`: bit, hwh, reports and bitstream.json.

    Args:
        build_dir: a finished build with RTL.
        export_dir: the export it was made from.
        out: its parent exists; it does not, or is empty. On failure nothing is at `out`, and .NAME.docker beside it
            keeps the log.
        board: the build's board.
        say: told what happens, a line at a time.

    Returns:
        What bitstream.json holds.

    Raises:
        CxrflowError: of the kind that the container met, or ToolError for Docker, Vivado and the container itself.
    """
    build_dir, export_dir, out = build_dir.resolve(), export_dir.resolve(), out.resolve()
    require_buildable(build_dir, board)
    xilinx = find_xilinx(os.environ)
    image = require_image()
    work = out.with_name(f".{out.name}.docker")
    with _writing(work):
        shutil.rmtree(work, ignore_errors=True)
        (work / "home").mkdir(parents=True)
        command = container_command(image, build_dir, export_dir, work, xilinx, os.environ)
        say(f"{IMAGE}: {xilinx.vivado}; log in {work / 'container.log'}")
        require_success(run_container(command, work / "container.log", say), work)
        content = take_results(work / "result", out, image)
    shutil.rmtree(work, ignore_errors=True)
    return content


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turn a full disk or a place that is not ours into one sentence."""
    try:
        yield
    except OSError as err:
        if err.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ConfigError(f"the disk that holds {folder} is full. Free some space, and {AGAIN}.") from err
        if err.errno == errno.ENOTEMPTY:
            raise ConfigError(f"{err.filename} is there already. Remove it, and {AGAIN}.") from err
        if err.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise ConfigError(
                f"{err.filename or folder} can't be written ({err.strerror}). Make it yours, and {AGAIN}."
            ) from err
        raise
