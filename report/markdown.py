"""The report as Markdown: the answer, the table, the notes, and how it was measured."""

import re
from collections.abc import Iterator

from . import columns, part_tables, variant_columns
from .columns import Text
from .method import measured
from .sentences import limits
from .table import Report
from .variant_columns import VARIANT_COLUMNS

SPECIAL = str.maketrans({c: f"\\{c}" for c in "\\`*{}[]<>#|~"} | {"\n": " ", "\r": " ", "&": "&amp;"})
#: underscores inside a word, as in Q4_K_M, are no emphasis in CommonMark and stay readable
UNDERSCORE = re.compile(r"(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])")


def markdown(report: Report) -> str:
    """The whole report as Markdown text; everything that came from outside is escaped."""
    blocks = [_title(report), *_answer(report), _table(report), *_notes(report), *_parts(report)]
    blocks += [*_variants(report), _measured(report)]
    for other in report.others:
        blocks += [f"#{_title(other)}", *_answer(other), _table(other), *_notes(other), *_variants(other)]
        blocks.append(_facts(other))
    return "\n\n".join(block for block in blocks if block) + "\n"


def escaped(text: object) -> str:
    """Text from outside as Markdown that shows it as it is."""
    return UNDERSCORE.sub(r"\\_", str(text).translate(SPECIAL))


def _title(report: Report) -> str:
    return f"# {escaped(report.context.checkpoint)} on {escaped(report.device.title)}"


def _answer(report: Report) -> Iterator[str]:
    answer = report.answer
    yield f"**{escaped(answer.headline)}** {escaped(answer.detail)}".strip()
    yield "\n".join(f"- {escaped(s)}" for s in answer.reasons)
    yield escaped(answer.confidence)
    if answer.changes:
        yield "\n".join(["What would change the answer:", "", *(f"- {escaped(s)}" for s in answer.changes)])
    yield escaped(answer.runner_up_reason)
    yield escaped(answer.without_source_reason)
    yield f"Limits: {escaped(limits(answer.limits))}."
    yield from (escaped(note) for note in report.context.notes)


def _table(report: Report) -> str:
    numbered, shown = columns.footnotes(report.rows), columns.told(report.rows)
    lines = [["Format", *(c.title for c in shown), "Verdict", "Notes"]]
    for row in report.rows:
        references = ", ".join(str(numbered[mark]) for mark in columns.notes(row))
        cells = [_cell(column.text(row)) for column in shown]
        lines.append([escaped(row.format), *cells, columns.standing(row, report.answer), references])
    rule = "|---|" + "---:|" * len(shown) + "---|---|"
    head, *body = [f"| {' | '.join(cells)} |" for cells in lines]
    return "\n".join([head, rule, *body])


def _cell(text: Text) -> str:
    detail = "" if text.missing or not text.detail else f" ({escaped(text.detail)})"
    return f"{escaped(text.main)}{detail}"


def _notes(report: Report) -> Iterator[str]:
    carriers = columns.by_mark(report.rows)
    notes = [
        f"{n}. {', '.join(map(escaped, carriers[mark]))}: {escaped(mark.code)}: {escaped(mark.sentence)}"
        for mark, n in columns.footnotes(report.rows).items()
    ]
    yield "\n".join(notes)
    yield "\n".join(f"- Accuracy cannot tell apart: {', '.join(map(escaped, group))}" for group in report.groups)
    yield "\n".join(f"- {c.title}: {c.meaning}" for c in columns.told(report.rows))


def _parts(report: Report) -> Iterator[str]:
    """The loss by part of the items, a table a division."""
    for each in part_tables.tables(report):
        lines = [["Format", *map(escaped, each.columns)]]
        lines += [[escaped(name), *map(_cell, cells)] for name, cells in each.rows]
        head, *body = [f"| {' | '.join(cells)} |" for cells in lines]
        yield f"## {each.title}"
        yield "\n".join([head, "|---|" + "---:|" * len(each.columns), *body])
        yield "\n".join(f"- {escaped(note)}" for note in each.notes)


def _variants(report: Report) -> Iterator[str]:
    """What was measured in other ways, beside the plain run of the same format."""
    if not report.variants:
        return
    lines = [["Format", "What differs", *(c.title for c in VARIANT_COLUMNS)]]
    for row in report.variants:
        host = " (this host's speed)" if row.emulated else ""
        lines.append([escaped(row.format), escaped(row.differs) + host, *(_cell(c.text(row)) for c in VARIANT_COLUMNS)])
    head, *body = [f"| {' | '.join(cells)} |" for cells in lines]
    yield "## Variants"
    yield "\n".join([head, "|---|---|" + "---:|" * len(VARIANT_COLUMNS), *body])
    yield "\n".join(f"- {escaped(sentence)}" for sentence in report.advice)
    marks = variant_columns.footnotes(report.variants)
    yield "\n".join(f"- {escaped(who)}: {escaped(m.code)}: {escaped(m.sentence)}" for m, who in marks.items())
    yield "\n".join(f"- {c.title}: {c.meaning}" for c in VARIANT_COLUMNS)


def _measured(report: Report) -> str:
    return f"## How it was measured\n\n{_facts(report)}"


def _facts(report: Report) -> str:
    return "\n".join(f"- {escaped(name)}: {escaped(value)}" for name, value in measured(report).items())
