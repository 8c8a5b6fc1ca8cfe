"""The report in a terminal: rich renderables, fitted to the width that they are printed at; prints nothing itself."""

import unicodedata
from collections.abc import Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from . import columns, part_tables
from .answer import Answer
from .columns import COLUMNS, Column
from .part_tables import PartTable
from .rows import Row
from .sentences import limits
from .table import Report
from .variant_columns import VARIANT_COLUMNS, VariantColumn, footnotes
from .variants import VariantRow

LONGEST_NAME = 24
STYLES = {"pick": "bold green", "runner-up": "green"}
#: columns whose interval gets a column of its own beside them while there is room, first come first served
BETWEEN = ("loss", "decode", "divergence", "prefill", "accuracy")


def table(report: Report) -> RenderableType:
    """The comparison, its footnotes, and the answer below, so that the answer is the last thing on the screen.

    What other machines measured follows, each with its own answer.
    """
    beside = [variants(report.variants, report.advice), Text()] if report.variants else []
    others = [part for other in report.others for part in (Text(), table(other))]
    divided = [part for each in part_tables.tables(report) for part in (_divided(each), Text())]
    return Group(_Comparison(report), Text(), *divided, *beside, answer(report.answer), *others)


def _divided(each: PartTable) -> RenderableType:
    """One table of losses by part; its intervals are in the reports on disk."""
    made = Table(title=Text(each.title, style="bold"), title_justify="left", box=box.SIMPLE_HEAD)
    made.show_edge, made.pad_edge, made.padding = False, False, 0  # the six kinds' names just fit 80 columns
    made.add_column("Format", no_wrap=True)
    for column in each.columns:
        made.add_column(printable(column).replace(" (", "\n("), justify="right", overflow="fold")
    for name, cells in each.rows:
        made.add_row(Text(_short(name)), *(Text(cell.main) for cell in cells))
    return Group(made, *(Text(printable(note), style="dim") for note in each.notes))


def variants(rows: Sequence[VariantRow], advice: Sequence[str] = ()) -> RenderableType:
    """What was measured in other ways, what it speaks for, and the notes to it."""
    made = Table(title=Text("Variants", style="bold"), title_justify="left", box=box.SIMPLE_HEAD)
    made.show_edge, made.pad_edge, made.padding = False, False, (0, 1, 0, 0)
    made.add_column("Format", no_wrap=True)
    made.add_column("What differs")
    for column in VARIANT_COLUMNS:
        made.add_column(column.title, justify="right", no_wrap=True)
    made.add_column("n", justify="right", no_wrap=True)
    for row in rows:
        differs = row.differs + (" (this host's speed)" if row.emulated else "")
        n = str(row.cells["decode_tokens_per_second"].n or "")
        cells = [_variant_cell(row, column) for column in VARIANT_COLUMNS]
        made.add_row(Text(_short(row.format)), Text(printable(differs)), *cells, Text(n))
    lines = ["; ".join(f"{c.title}: {c.meaning}" for c in VARIANT_COLUMNS) + "."]
    lines += [f"{who}: {mark.code}: {mark.sentence}" for mark, who in footnotes(rows).items()]
    return Group(
        made, *(Text(printable(line)) for line in advice), *(Text(printable(line), style="dim") for line in lines)
    )


def _variant_cell(row: VariantRow, column: VariantColumn) -> Text:
    text = column.text(row)
    if text.missing:  # why stands in one column; the notes have the rest
        return Text(text.main, style="red") if column.title == "Decode" and text.main != "-" else Text("-")
    return Text.assemble(text.main, (f"\n{text.between}" if text.between and column.spreads else "", "dim"))


def answer(answer: Answer) -> RenderableType:
    """The answer alone: what to ship, why, the runner-up."""
    parts: list[RenderableType] = [Text(printable(answer.headline), style="bold green" if answer.pick else "bold red")]
    parts += [Padding(Text(printable(s)), (0, 0, 0, 2)) for s in answer.sentences[1:]]
    parts.append(Text(f"  Limits: {limits(answer.limits)}.", style="dim"))
    return Group(*parts)


def printable(text: str) -> str:
    """Text from outside without control characters, which a terminal would obey."""
    return "".join("\ufffd" if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") else c for c in text)


class _Comparison:
    """The table with its notes: what is least important gives way as the width shrinks, and the notes say so."""

    def __init__(self, report: Report) -> None:
        self.report = report

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        entries = _fitting(self.report, options.max_width)
        yield _table(self.report, entries, gap=_gap(options.max_width))
        yield _notes(self.report, entries)


class _Entry:
    """One column as text: of every row, the value or its interval."""

    def __init__(self, report: Report, column: Column, *, interval: bool) -> None:
        self.column, self.interval = column, interval
        self.title = "95 %" if interval else column.title
        self.texts = [_cell(row, column, interval) for row in report.rows]
        self.width = max([cell_len(self.title), *(t.cell_len for t in self.texts)])


def _gap(width: int) -> int:
    return 2 if width >= 100 else 1


def _fitting(report: Report, width: int) -> list[_Entry]:
    """As many columns as fit, the most important first, in the table's order."""
    gap = _gap(width)
    room = width - max(cell_len(t) for t in ["Format", *(_name(r) for r in report.rows)])
    room -= max(cell_len(t) for t in ["Verdict", *(columns.standing(r, report.answer) for r in report.rows)]) + gap
    room -= max(cell_len(t) for t in ["Note", *_references(report)]) + gap
    wanted = [(c.rank, _Entry(report, c, interval=False)) for c in columns.told(report.rows)]
    wanted += [(2 + BETWEEN.index(c.key), _Entry(report, c, interval=True)) for c in COLUMNS if c.key in BETWEEN]
    chosen = []
    for _, entry in sorted(wanted, key=lambda pair: pair[0]):
        if entry.width + gap <= room:
            chosen.append(entry)
            room -= entry.width + gap
    return sorted(chosen, key=lambda entry: (COLUMNS.index(entry.column), entry.interval))


def _table(report: Report, entries: Sequence[_Entry], *, gap: int) -> Table:
    context = report.context
    title = f"{context.checkpoint} on {report.device.title}; reference {context.reference or 'none'}"
    made = Table(title=Text(printable(title), style="bold"), title_justify="left", box=box.SIMPLE_HEAD)
    made.show_edge, made.pad_edge, made.padding = False, False, (0, gap - 1, 0, 0)
    made.add_column("Format", no_wrap=True)
    for entry in entries:
        made.add_column(entry.title, justify="right", no_wrap=True)
    made.add_column("Verdict", no_wrap=True)
    made.add_column("Note", justify="right", no_wrap=True)
    for n, (row, references) in enumerate(zip(report.rows, _references(report), strict=True)):
        verdict = columns.standing(row, report.answer)
        style = STYLES.get(verdict, "")
        cells = [entry.texts[n] for entry in entries]
        made.add_row(Text(_name(row), style=style), *cells, Text(verdict, style=style), Text(references))
    return made


def _name(row: Row) -> str:
    return _short(row.format)


def _short(name: str) -> str:
    name = printable(name)
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 3]}..."


def _cell(row: Row, column: Column, interval: bool) -> Text:
    text = column.text(row)
    if interval:
        return Text(text.between, style="dim")
    main = {"reference": "ref."}.get(text.main, text.main)
    return Text(main, style="red" if text.missing else "")


def _references(report: Report) -> list[str]:
    numbered = columns.footnotes(report.rows)
    return [",".join(str(numbered[mark]) for mark in columns.notes(row)) for row in report.rows]


def _notes(report: Report, entries: Sequence[_Entry]) -> RenderableType:
    shown = [e.column for e in entries if not e.interval]
    lines = [f"{c.title}: {c.meaning}" for c in shown]
    left = [c.title for c in columns.told(report.rows) if c not in shown]
    beside = {e.column.key for e in entries if e.interval}
    left += [f"interval of {c.title}" for c in shown if c.key in BETWEEN and c.key not in beside]
    lines = ["; ".join(lines) + "."]
    if left:
        lines.append(f"Left out at this width: {', '.join(left)}; report.md and report.html have everything.")
    carriers = columns.by_mark(report.rows)
    for mark, number in columns.footnotes(report.rows).items():
        lines.append(f"{number} {', '.join(carriers[mark])}: {mark.code}: {mark.sentence}")
    lines += [f"Accuracy cannot tell apart: {', '.join(group)}" for group in report.groups]
    lines += report.context.notes
    return Group(*(Text(printable(line), style="dim") for line in lines))
