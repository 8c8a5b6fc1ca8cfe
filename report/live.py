"""The table of a run that is under way: what is known of each format so far, and the pick among those. Prints nothing.

It is drawn again and again, so it is made of few cells, and fitted to the width and height that it is given.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich import box
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from .columns import COLUMNS, Column
from .rows import FAILURES, STATUSES, Row
from .table import Report
from .terminal import STYLES, printable

#: in this order; what has the highest rank goes first where room is short
_SHOWN = ("size", "memory", "prefill", "decode", "divergence", "loss")
_TITLES = {"divergence": "KL div."}
PICK = "pick so far"
_FAILED = tuple(STATUSES[status] for status in FAILURES)
_LONGEST_NAME = 24


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What is known at one moment.

    `names` are the formats in the order of the plan, `states` says in a word how each stands, `working` is the one at
    work, and `lines` stand below the table.
    """

    names: Sequence[str]
    report: Report | None = None
    states: Mapping[str, str] = field(default_factory=dict)
    working: str = ""
    lines: Sequence[str] = ()


def table(scene: Scene, *, width: int, height: int) -> RenderableType:
    """The table and its lines, in no more than so many columns and rows of a terminal."""
    rows = {row.format: row for row in scene.report.rows} if scene.report else {}
    names = [*scene.names, *(name for name in rows if name not in scene.names)]
    shown = _within(names, scene, room=height - len(scene.lines) - 5)
    states = {name: _state(name, rows.get(name), scene) for name in shown}
    chosen = _fitting([rows.get(name) for name in shown], names=shown, states=states, width=width)
    made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=0)
    made.add_column("Format", no_wrap=True)
    for column in chosen:
        made.add_column(_TITLES.get(column.key, column.title), justify="right", no_wrap=True)
    made.add_column("", no_wrap=True, overflow="ellipsis")
    for name in shown:
        row = rows.get(name)
        cells = [_cell(row, column) for column in chosen]
        made.add_row(Text(_short(name), style=_style(name, scene)), *cells, states[name])
    hidden = len(names) - len(shown)
    lines = [*([f"... and {hidden} more"] if hidden else []), *scene.lines]
    return Group(made, *(Text(printable(line), no_wrap=True, overflow="ellipsis") for line in lines))


def _within(names: Sequence[str], scene: Scene, *, room: int) -> list[str]:
    """As many as there is room for: the one at work and what has a state before what waits."""
    kept = sorted(names, key=lambda name: (name != scene.working, not scene.states.get(name)))[: max(1, room)]
    return [name for name in names if name in kept]


def _fitting(
    rows: Sequence[Row | None], *, names: Sequence[str], states: Mapping[str, Text], width: int
) -> list[Column]:
    """The columns that fit, in their order, the most important ones first."""
    columns = [column for key in _SHOWN for column in COLUMNS if column.key == key]
    room = width - max(cell_len(_short(name)) for name in ("Format", *names)) - 1
    room -= max((state.cell_len for state in states.values()), default=0)
    chosen: list[Column] = []
    for column in sorted(columns, key=lambda column: column.rank):
        title = _TITLES.get(column.key, column.title)
        needed = 1 + max([cell_len(title), *(_cell(row, column).cell_len for row in rows)])
        if needed <= room:
            chosen.append(column)
            room -= needed
    return [column for column in columns if column in chosen]


def _cell(row: Row | None, column: Column) -> Text:
    """A number that is known, how a measurement failed, or nothing yet."""
    if row is None:
        return Text("")
    text = column.text(row)
    if text.missing:
        return Text(text.main if text.main in _FAILED else "", style="red")
    return Text({"reference": "ref."}.get(text.main, text.main))


def _state(name: str, row: Row | None, scene: Scene) -> Text:
    said = scene.states.get(name, "")
    if name == scene.working:
        return Text(said, style="bold")
    if row is not None and scene.report and scene.report.answer.pick == name:
        return Text(PICK, style=STYLES["pick"])
    return Text(said, style="red" if said == "failed" else "dim")


def _style(name: str, scene: Scene) -> str:
    if scene.report and scene.report.answer.pick == name:
        return STYLES["pick"]
    return "bold" if name == scene.working else ""


def _short(name: str) -> str:
    name = printable(name)
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 3]}..."


def measured(report: Report) -> list[str]:
    """The formats whose speed and divergence are known."""
    wanted = ("decode_tokens_per_second", "kl_divergence")
    return [row.format for row in report.rows if all(row.value(metric) is not None for metric in wanted)]


def pick(report: Report) -> str:
    """The pick so far in one line; "" while there is nothing that it was compared with."""
    known = measured(report)
    if report.answer.pick not in known or len(known) < 2:
        return ""
    second = f"; runner-up {report.answer.runner_up}" if report.answer.runner_up else ""
    return f"Pick so far: {report.answer.pick}, of {len(known)} formats that were measured{second}."


def duration(seconds: float) -> str:
    """'48 s', '6 min' or '1 h 20 min'."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
