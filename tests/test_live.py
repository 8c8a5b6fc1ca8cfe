"""The table of a run under way: what fills it, what it leaves out where room is short, and when it is drawn."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from rich.live import Live

import recorded
from edgequant import progress as showing
from edgequant.pipeline import Outlook
from edgequant.profiles.planning.forecast import Task
from edgequant.progress import Progress
from edgequant.report import live
from edgequant.report.table import Report, build
from test_order import plan

NAMES = ("F16", "Q8_0", "Q6_K", "Q4_K_M", "onnx-int8")


def drawn(scene: live.Scene, *, width: int = 80, height: int = 30) -> list[str]:
    """The lines of the table at that size."""
    console = Console(file=io.StringIO(), width=width, height=height)
    console.print(live.table(scene, width=width, height=height))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def line(lines: Sequence[str], name: str) -> str:
    """The line of a format."""
    return next(each for each in lines if each.split()[:1] == [name])


def test_before_anything_is_known_there_are_names_and_states() -> None:
    scene = live.Scene(names=NAMES, states=dict.fromkeys(NAMES, "waits"), lines=["Step 1 of 9: convert  F16"])
    lines = drawn(scene)
    assert line(lines, "Q6_K").split() == ["Q6_K", "waits"]
    assert lines[-1] == "Step 1 of 9: convert  F16"


def test_figures_fill_the_table_at_80_columns() -> None:
    report = recorded.report()
    row = next(row for row in report.rows if row.format == "Q8_0")
    lines = drawn(live.Scene(names=NAMES, report=report, working="Q6_K", states={"Q6_K": "quality"}))
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["Format", "Size", "Memory", "Prefill", "Decode", "KL", "div.", "Loss"]
    assert row.size_bytes is not None and f"{row.size_bytes / 1e6:.0f} MB" in line(lines, "Q8_0")
    assert line(lines, "Q6_K").endswith("quality")
    assert f" {live.PICK}" in line(lines, str(report.answer.pick))


def test_a_failure_stands_in_its_cell_and_nothing_else_does() -> None:
    rows = [row for row in recorded.measurements() if row.format != "Q4_K_M"]
    broken = [replace(row, status="oom", samples=(), note="killed") for row in rows if row.format == "Q6_K"]
    report = build(recorded.artifacts(), [*rows, *broken], device=recorded.device(), context=recorded.context())
    lines = drawn(live.Scene(names=NAMES, report=report, states={"Q6_K": "failed"}))
    assert "out of memory" in line(lines, "Q6_K") or "failed" in line(lines, "Q6_K")
    assert "not measured" not in "".join(lines)


@pytest.mark.parametrize(("width", "gone"), [(70, "Prefill"), (62, "Memory")])
def test_what_matters_least_goes_first(width: int, gone: str) -> None:
    lines = drawn(live.Scene(names=NAMES, report=recorded.report()), width=width)
    assert max(map(len, lines)) <= width
    assert gone not in lines[0] and "Decode" in lines[0] and "Loss" in lines[0]


def test_a_low_terminal_keeps_the_one_at_work_and_what_is_under_the_table() -> None:
    names = [f"Q{n}" for n in range(30)]
    scene = live.Scene(names=names, working="Q29", states={"Q29": "speed"}, lines=["Step 3", "1 min so far"])
    lines = drawn(scene, height=12)
    assert len(lines) <= 12
    assert line(lines, "Q29").endswith("speed")
    assert lines[-3:] == ["... and 25 more", "Step 3", "1 min so far"]


def test_a_pick_has_something_that_it_was_compared_with() -> None:
    report = recorded.report()
    said = live.pick(report)
    assert said.startswith(f"Pick so far: {report.answer.pick}, of {len(live.measured(report))} formats")
    assert live.pick(replace(report, rows=report.rows[:1])) == ""
    assert live.pick(replace(report, answer=replace(report.answer, pick=None))) == ""


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(4, "4 s"), (89, "89 s"), (100, "2 min"), (3540, "59 min"), (9000, "2 h 30 min")],
)
def test_durations(seconds: float, said: str) -> None:
    assert live.duration(seconds) == said


def outlook(report: Report) -> Outlook:
    """Of a run of two formats, each to be converted and measured in two rounds."""
    tasks = [Task(step=step, format=name, seconds=10.0) for name in ("F16", "Q8_0") for step in STEPS]
    return Outlook(plan=plan({"F16": 16.0, "Q8_0": 8.5}), agenda=tasks, so_far=lambda: report)


STEPS = ("convert", "profile", "profile", "evaluate")
MESSAGES = (
    ("opened", "", "a model"),
    ("convert", "F16", ""),
    ("profile", "round 1 of 2", "F16: "),
    ("profile", "round 1 of 2", "F16: loading"),
    ("profile", "round 1 of 2", "F16: repetition 1 of 3"),
    ("profile", "round 1 of 2", "Q8_0: "),
    ("profile", "round 1 of 2", "Q8_0: loading"),
    ("profile", "round 2 of 2", "Q8_0: "),
    ("evaluate", "Q8_0", ""),
)

BEGUN = [
    ("convert", "F16"),
    ("profile", "F16"),
    ("profile", "Q8_0"),
    ("profile", "Q8_0"),
    ("evaluate", "Q8_0"),
]


class Terminal:
    """A terminal of which the times of drawing are kept."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.text = io.StringIO()
        self.drawn: list[int] = []
        self.n_heard = 0
        patch.setenv("TERM", "xterm")
        patch.setenv("COLUMNS", "80")
        patch.setattr("sys.stderr", self)
        real = Live.update

        def update(board: Live, shown: Any, *, refresh: bool = False) -> None:
            self.drawn.append(self.n_heard)
            real(board, shown, refresh=refresh)

        patch.setattr(Live, "update", update)

    def isatty(self) -> bool:
        """It is one."""
        return True

    def write(self, text: str) -> int:
        """Keep it."""
        return self.text.write(text)

    def flush(self) -> None:
        """Nothing waits."""


def shown(terminal: Terminal, report: Report) -> Progress:
    """A run's messages, one after another."""
    progress = Progress(quiet=False, verbose=False)
    with progress.shown() as listen:
        for number, message in enumerate(MESSAGES):
            terminal.n_heard = number
            listen(*message)
            if message[0] == "opened":
                listen.ahead(outlook(report))
    return progress


def test_nothing_is_drawn_while_speed_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn where a step begins: not at what a process that measures says, however long it takes."""
    terminal, clock = Terminal(monkeypatch), iter(range(0, 10**6, 100))
    monkeypatch.setattr(showing, "time", SimpleNamespace(**{**vars(time), "monotonic": lambda: float(next(clock))}))
    shown(terminal, recorded.report())
    assert terminal.drawn == [1, 2, 5, 7, 8]
    assert "Step 2 of 8: profile  F16  round 1 of 2" in terminal.text.getvalue()


def test_no_thread_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    terminal = Terminal(monkeypatch)
    with Progress(quiet=False, verbose=False).shown() as listen:
        listen("convert", "F16", "")
        assert threading.active_count() == 1
    assert terminal.drawn


def test_elsewhere_each_step_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    text = io.StringIO()
    monkeypatch.setattr("sys.stderr", text)
    report, progress = recorded.report(), Progress(quiet=False, verbose=False)
    with progress.shown() as listen:
        for message in MESSAGES:
            listen(*message)
            if message[0] == "opened":
                listen.ahead(outlook(report))
    lines = text.getvalue().splitlines()
    assert "\x1b" not in text.getvalue()
    steps = [tuple(words[:2]) for words in map(str.split, lines) if words and words[0] in STEPS]
    assert steps == BEGUN
    assert lines[-1] == live.pick(report)
    assert any(" left, until " in line and line.endswith("(an estimate)") for line in lines)
    assert progress.is_kept


def test_a_table_that_was_broken_off_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(monkeypatch)
    erased = "\x1b[1A\x1b[2K"
    with pytest.raises(KeyboardInterrupt), Progress(quiet=False, verbose=False).shown() as listen:
        listen("convert", "F16", "")
        raise KeyboardInterrupt
    assert not terminal.text.getvalue().endswith(erased)
