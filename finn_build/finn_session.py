"""Make the FINN that pip installs usable without Vivado.

FINN's build steps import its Vivado simulator binding (`finn.xsi`), whose names are resolved lazily and demand
XILINX_VIVADO. Nothing that we call uses them, so they are set to None before the first import. FINN also wants a
process-wide build folder; `finn_session` sets it for the duration of one build and takes it away again. Our own nodes
must be known to qonnx before a graph that holds them is executed, so they are registered here.
"""

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def finn_session(build_dir: Path) -> Iterator[None]:
    """Run FINN transformations with `build_dir` (created if missing) as the place for FINN's generated code.

    FINN passes its build folder to worker processes through the environment, so this sets FINN_BUILD_DIR too.
    """
    import finn.xsi

    for name in finn.xsi._LAZY_NAMES:
        setattr(finn.xsi, name, None)
    from finn.util import settings

    from finn_build import ops

    ops.register()
    build_dir.mkdir(parents=True, exist_ok=True)
    before = os.environ.get("FINN_BUILD_DIR")
    os.environ["FINN_BUILD_DIR"] = str(build_dir.resolve())
    settings._SETTINGS = None
    logging.getLogger("finn_logger").setLevel(logging.ERROR)
    try:
        # FINN prints what it does; a build of ours reports through its own channel.
        with warnings.catch_warnings(), Path(os.devnull).open("w") as sink, contextlib.redirect_stdout(sink):
            warnings.simplefilter("ignore")
            yield
    finally:
        settings._SETTINGS = None
        if before is None:
            del os.environ["FINN_BUILD_DIR"]
        else:
            os.environ["FINN_BUILD_DIR"] = before
