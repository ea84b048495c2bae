"""What a command shows while it works: progress bars with an estimate, one line per step, warnings."""

import contextlib
import sys
from collections.abc import Callable, Iterator

from rich import console as rich_console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

ProgressFunction = Callable[[int, int], None]  # (done, in all)


class Console:
    """Results go to standard output; progress and warnings go to standard error."""

    def __init__(self) -> None:
        """Look at where the output goes: bars are for terminals."""
        self.out = rich_console.Console(soft_wrap=not sys.stdout.isatty())
        self._err = rich_console.Console(stderr=True, soft_wrap=not sys.stderr.isatty())
        self.live = sys.stderr.isatty()

    def detail(self, text: str) -> None:
        """Say what is being done."""
        self._err.print(f"  {text}", style="dim", markup=False, highlight=False)

    def warn(self, text: str) -> None:
        """Say what the user should look at."""
        self._err.print(f"warning: {text}", style="yellow", markup=False, highlight=False)

    def error(self, text: str) -> None:
        """Say why the command stops."""
        self._err.print(f"error: {text}", style="red", markup=False, highlight=False)

    @contextlib.contextmanager
    def progress(self, what: str) -> Iterator[ProgressFunction]:
        """Show a bar with the time left. Yields the function to call with (done, in all)."""
        columns = (
            TextColumn(f"  {what}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._err, transient=True, disable=not self.live) as bar:
            task = bar.add_task(what, total=None, visible=False)

            def update(done: int, total: int) -> None:
                bar.update(task, completed=done, total=total, visible=True)

            yield update
