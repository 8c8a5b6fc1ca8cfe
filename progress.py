"""The steps of a run on stderr: on a terminal a table that fills, elsewhere a line for each step that is done.

Nothing here runs beside a measurement: no thread draws. The table of a run is drawn where a step begins, before the
process that measures is started, and while speed is measured this process sleeps. What other steps say of themselves is
drawn at most once in two seconds. So elapsed time stands still between steps, and the hour at which the run is expected
to end stands beside it.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

    from edgequant.pipeline import Outlook
    from edgequant.report.table import Report

_SAID = ("opened", "failed", "took in", "threads")  # no steps that take time, but things to be told
_TIMED = "profile"
_EVERY_SECONDS = 2.0
_AT_WORK = {
    "convert": "converting",
    "verify": "checking",
    "profile": "speed",
    "look": "first look",
    "evaluate": "quality",
}


class Progress:
    """A listener of the pipeline: steps with their format, and details of the one that is under way.

    `is_kept` turns true with the first thing that a later call would find done.
    """

    def __init__(self, *, quiet: bool, verbose: bool) -> None:
        self._quiet, self._verbose = quiet, verbose
        self._began = time.monotonic()
        self._step: tuple[str, str, str] = ("", "", "")  # its kind, its format, its round
        self._started, self._drawn = 0.0, 0.0
        self._live: Live | None = None
        self._board: _Board | None = None
        self.is_kept = False

    def __call__(self, step: str, format_name: str, detail: str) -> None:
        """Take one message of the pipeline: step, format, detail."""
        self.is_kept = self.is_kept or step == "opened"
        if self._quiet:
            return
        if step in _SAID:
            self._say(step, format_name, detail)
            return
        name, number, rest = _parts(step, format_name, detail)
        if (step, name, number) != self._step:
            self._finish()
            self._step, self._started = (step, name, number), time.monotonic()
            self._draw(rest)
        elif self._live and step != _TIMED and time.monotonic() - self._drawn > _EVERY_SECONDS:
            self._draw(rest)
        if self._verbose and rest:
            self._line(f"{_title(step, name)}  {' '.join(word for word in (number, rest) if word)}")

    def _say(self, step: str, name: str, detail: str) -> None:
        self._line(f"{_title(step, name)}  {detail}")
        if self._board and step == "failed":
            self._board.failed(name, within=self._step[0])

    def ahead(self, outlook: "Outlook") -> None:
        """Show a run's plan, and from now on how far it has come."""
        from edgequant.report import plan_listing

        if not self._quiet:
            self.show(plan_listing.plan(outlook.plan))
            self._board = _Board(outlook, began=self._began)

    def show(self, shown: "RenderableType") -> None:
        """Print something larger than a line, between the steps."""
        if not self._quiet:
            from rich.console import Console

            self._finish()
            (self._live.console if self._live else Console(stderr=True)).print(shown)

    def _finish(self) -> None:
        """The step under way has ended: with a table its figures are in there, else it becomes a line."""
        (step, name, number), self._step = self._step, ("", "", "")
        if not step:
            return
        seconds = time.monotonic() - self._started
        if self._board:
            self._board.ended(step, name, seconds)
        if self._live and self._board:
            return
        title = _title(step, f"{name}  {number}")
        self._line(f"{title:<34}{seconds:7.1f} s{f'   {self._board.times()}' if self._board else ''}")
        if self._board and step in ("look", "evaluate") and (said := self._board.new_pick()):
            self._line(said)

    def _draw(self, detail: str) -> None:
        """Draw the table of the run, or where there is none what is at work."""
        if not self._live:
            return
        from rich.text import Text

        step, name, number = self._step
        self._drawn = time.monotonic()
        text = "  ".join(word for word in (_title(step, name), number, detail) if word)
        size = self._live.console.size
        shown: RenderableType = Text(text, no_wrap=True, overflow="ellipsis")
        if self._board:
            self._board.working = (step, name)
            shown = self._board.table(text, width=size.width, height=size.height)
        self._live.update(shown, refresh=True)

    def _line(self, text: str) -> None:
        if self._live:
            self._live.console.print(text, markup=False, highlight=False)
        else:
            sys.stderr.write(f"{text}\n")

    @contextmanager
    def shown(self) -> Iterator["Progress"]:
        """Show the steps while the block runs: its table goes with it, unless it was broken off."""
        if self._quiet or self._verbose or not _is_terminal():
            yield self
            self._finish()
            return
        from rich.console import Console
        from rich.live import Live

        live = Live(console=Console(stderr=True), auto_refresh=False, transient=True, redirect_stdout=False)
        self._live = live
        try:
            with live:
                try:
                    yield self
                    self._finish()
                except BaseException:
                    live.transient = False
                    raise
        finally:
            self._live = None


class _Board:
    """How a run stands: the times of its steps, what was found so far, and what failed."""

    def __init__(self, outlook: "Outlook", *, began: float) -> None:
        from edgequant.profiles.planning.forecast import Forecast

        self._outlook, self._began = outlook, began
        self._forecast = Forecast(outlook.agenda)
        self._failed: set[str] = set()
        self._report: Report | None = None
        self._is_old = True
        self._said = ""
        self.working: tuple[str, str] = ("", "")

    def ended(self, step: str, name: str, seconds: float) -> None:
        """A step took so long, and left its figures in the folder."""
        if step in _AT_WORK:
            self._forecast.ended(step, name, seconds)
            self._is_old = True

    def failed(self, name: str, *, within: str) -> None:
        """A step failed; what could not be made is not measured either."""
        self._failed.add(name)
        if within == "convert":
            self._forecast.dropped(name)

    def so_far(self) -> "Report":
        """The comparison as the folder has it, read again where a step has ended since."""
        if self._report is None or self._is_old:
            self._report, self._is_old = self._outlook.so_far(), False
        return self._report

    def new_pick(self) -> str:
        """The pick so far, where it is another than it was."""
        from edgequant.report import live

        said = live.pick(self.so_far())
        if said == self._said:
            return ""
        self._said = said
        return said

    def times(self) -> str:
        """How long it took so far, and how long it will: '6 min so far, about 24 min left (an estimate)'."""
        from edgequant.report.live import duration

        spent = f"{duration(time.monotonic() - self._began)} so far"
        left = self._forecast.remaining_seconds()
        if left is None:
            return f"{spent}; what is left is not known yet"
        until = time.strftime("%H:%M", time.localtime(time.time() + left))
        return f"{spent}, about {duration(left)} left, until {until} (an estimate)"

    def table(self, text: str, *, width: int, height: int) -> "RenderableType":
        """The table with what is at work, the times and the pick so far."""
        from edgequant.report import live

        report, names = self.so_far(), [each.format for each in self._outlook.plan.formats]
        steps = f"Step {len(self._forecast.done) + 1} of {len(self._forecast.done) + len(self._forecast.left)}"
        lines = [line for line in (live.pick(report), f"{steps}: {text}", self.times()) if line]
        states = {name: self._state(name) for name in names}
        scene = live.Scene(names=names, report=report, states=states, working=self.working[1], lines=lines)
        return live.table(scene, width=width, height=height)

    def _state(self, name: str) -> str:
        step, working = self.working
        if name == working:
            return _AT_WORK.get(step, step)
        if name in self._failed:
            return "failed"
        if all(task.format != name for task in self._forecast.left):
            return "done"
        return "begun" if any(task.format == name for task, _ in self._forecast.done) else "waits"


def _is_terminal() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


def _title(step: str, name: str) -> str:
    return f"{step:<9}{name}".rstrip()


def _parts(step: str, name: str, detail: str) -> tuple[str, str, str]:
    """Format, round and the rest; rounds of speed say ("round 1 of 2", "Q8_0: repetition 1 of 3")."""
    first, colon, rest = detail.partition(": ")
    return (first, name, rest) if step == _TIMED and colon else (name, "", detail)
