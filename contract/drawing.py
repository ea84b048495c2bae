"""A figure as files: PNG to look at, SVG and PDF for papers. The same content gives the same bytes, on any day.

Needs Matplotlib, so no deploy folder has this module.
"""

from pathlib import Path
from typing import Any

ENDINGS = (".png", ".svg", ".pdf")
# What would be another one tomorrow, or with another version.
_UNSAID = {
    ".png": {"Software": None},
    ".svg": dict.fromkeys(("Creator", "Date", "Format", "Type")),
    ".pdf": dict.fromkeys(("Creator", "Producer", "CreationDate")),
}


def save_figure(figure: Any, path: Path, *, ending: str | None = None) -> None:
    """Write a Matplotlib figure to `path`, as `ending` says, or as its own ending where none is given."""
    import matplotlib as mpl

    ending = path.suffix.lower() if ending is None else ending
    with mpl.rc_context({"svg.hashsalt": "cxrflow", "svg.fonttype": "none"}):  # text stays text
        figure.savefig(path, format=ending[1:], metadata=_UNSAID[ending])


def save_in_every_form(figure: Any, path: Path) -> Path:
    """Write a Matplotlib figure to `path`, which ends in .png, and beside it as SVG and PDF; return `path`."""
    for ending in ENDINGS:
        save_figure(figure, path.with_suffix(ending))
    return path
