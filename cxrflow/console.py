"""What a command shows while it works: progress with the time left, one line per step, warnings."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from rich import console as rich_console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from contract.table import shown

ProgressFunction = Callable[[int, int], None]  # (done, in all)
NO_TERMINAL_WIDTH = 10_000  # columns; a file or a pipe has no edge at which to break a line
LINE_SECONDS = 15.0  # between progress lines where there is no terminal


class Console:
    """Results go to standard output; progress and warnings go to standard error."""

    def __init__(self) -> None:
        """Look at where the output goes: bars are for terminals."""
        self.out = rich_console.Console(width=None if sys.stdout.isatty() else NO_TERMINAL_WIDTH)
        self.live = sys.stderr.isatty()
        self._err = rich_console.Console(stderr=True, width=None if self.live else NO_TERMINAL_WIDTH)

    def detail(self, text: str) -> None:
        """Say what is being done."""
        self._say(f"  {text}", style="dim")

    def warn(self, text: str) -> None:
        """Say what the user should look at."""
        self._say(f"warning: {text}", style="yellow")

    def error(self, text: str) -> None:
        """Say why the command stops."""
        self._say(f"error: {text}", style="red")

    def _say(self, text: str, *, style: str) -> None:
        text = "\n".join(map(shown, text.split("\n")))
        self._err.print(text, style=style, markup=False, highlight=False, emoji=False, soft_wrap=True)

    @contextlib.contextmanager
    def progress(self, what: str) -> Iterator[ProgressFunction]:
        """Show a bar, or where there is no terminal a line now and then. Yields what to call with (done, in all)."""
        if not self.live:
            yield _Lines(what, self.detail)
            return
        columns = (
            TextColumn(f"  {what}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._err, transient=True) as bar:
            task = bar.add_task(what, total=None, visible=False)
            yield lambda done, total: bar.update(task, completed=done, total=total, visible=True)


class _Lines:
    """Progress for a log: nothing about what is quick, and a line every LINE_SECONDS about what is not."""

    def __init__(self, what: str, say: Callable[[str], None]) -> None:
        self._what, self._say = what, say
        self._start = self._said = time.monotonic()
        self._before: int | None = None  # done when we began to look: a resumed training does not begin at 0

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self._before is None:
            self._start, self._before = now, done
        elif now - self._said >= LINE_SECONDS:
            left = (now - self._start) / max(1, done - self._before) * (total - done)
            self._say(f"{self._what}: {done} of {total}, about {duration(left)} left")
            self._said = now


def duration(seconds: float) -> str:
    """Return '42 s', '3 min' or '1 h 5 min'."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
