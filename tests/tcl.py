"""A Tcl interpreter for scripts that belong to other tools: Python's own, or tclsh, whichever is there."""

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest

_RUN = "import sys, tkinter; tkinter.Tcl().eval('source {%s}' % sys.argv[1])"


def interpreter() -> list[str] | None:
    """Return the command that a Tcl file is given to; None if this machine has no Tcl."""
    if importlib.util.find_spec("_tkinter") is not None:
        return [sys.executable, "-c", _RUN]
    found = shutil.which("tclsh")
    return None if found is None else [found]


def command(script: Path) -> list[str]:
    """Return the command that runs a Tcl file; skips the test by name if there is no Tcl."""
    found = interpreter()
    if found is None:
        pytest.skip("no Tcl: this Python has no _tkinter (Debian: python3-tk), and tclsh is not on PATH")
    return [*found, str(script)]
