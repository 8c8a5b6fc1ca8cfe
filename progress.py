"""The steps of a run on stderr: a line for each that is done, and on a terminal what is being done now."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType


_SAID = ("opened", "failed", "took in", "threads")  # no steps that take time, but things to be told


class Progress:
    """A listener of the pipeline: steps with their format, and details of the one that is under way."""

    def __init__(self, *, quiet: bool, verbose: bool) -> None:
        self._quiet, self._verbose = quiet, verbose
        self._step, self._started = "", 0.0
        self._status: Any = None

    def __call__(self, step: str, format_name: str, detail: str) -> None:
        """Take one message of the pipeline: step, format, detail."""
        if self._quiet:
            return
        name = f"{step:<9}{format_name}".rstrip()
        if step in _SAID:
            self._line(f"{name}  {detail}")
        elif name != self._step:
            self._finish()
            self._step, self._started = name, time.monotonic()
        if self._status:
            self._status.update(f"{name}  {detail}")
        elif self._verbose and detail:
            self._line(f"{name}  {detail}")

    def show(self, shown: "RenderableType") -> None:
        """Print something larger than a line, between the steps."""
        if not self._quiet:
            from rich.console import Console

            self._finish()
            (self._status.console if self._status else Console(stderr=True)).print(shown)

    def _finish(self) -> None:
        if self._step:
            self._line(f"{self._step:<34}{time.monotonic() - self._started:7.1f} s")
        self._step = ""

    def _line(self, text: str) -> None:
        if self._status:
            self._status.console.print(text, markup=False, highlight=False)
        else:
            sys.stderr.write(f"{text}\n")

    @contextmanager
    def shown(self) -> Iterator["Progress"]:
        """Show the steps while the block runs."""
        if self._quiet or self._verbose or not sys.stderr.isatty():
            yield self
        else:
            from rich.console import Console

            with Console(stderr=True).status("") as self._status:
                yield self
                self._finish()
        self._status = None
        self._finish()
