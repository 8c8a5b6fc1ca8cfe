"""report.html: one file that opens from disk, with the answer and the table first and everything that draws last."""

import re
from collections.abc import Sequence
from typing import Any

from . import part_tables, sentences, stored, variant_columns
from .answer import Answer
from .choices import NO_LIMIT, SLIDERS, choices
from .columns import COLUMNS, Text, standing
from .figures import figures
from .method import measured, repeated
from .page_table import table
from .rows import Row
from .scripts import LARGE, embedded, own_script, packed, plotly_script, policy, visible
from .table import Report
from .variant_columns import VARIANT_COLUMNS

#: scripts by purpose, in the order they run
OWN = ("words.js", "table.js", "controls.js")
DRAWING = ("drawing.js", "scatter.js", "lines.js", "panels.js", "pictures.js")
#: figures of a format in large type: column -> what people ask for
_TILES = {
    "size": "File",
    "memory": "Memory",
    "decode": "Writes",
    "loss": "Loses",
    "divergence": "Diverges",
}
_UNITS = {"decode": "tokens/s", "divergence": "nats", "loss": "points"}
#: what stands in cards below the pick: title -> the answer's field
_CARDS = {"Runner-up": "runner_up", "How sure this is": "confidence", "What would change it": "changes"}


def page(report: Report) -> str:
    """The whole page as HTML text. Everything that came from outside is escaped, and a content policy, which names
    the page's own scripts by their hash, keeps anything else from running or being fetched."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("edgequant.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=visible,
    )
    environment.filters["number"] = typeset
    plotly = plotly_script()
    drawn = figures(report)
    offered = choices(report).to_json()
    scripts = [own_script(name) for name in (*OWN, *(DRAWING if plotly else ()))]
    values = {
        "choices": offered,
        "tiles": [_tiles(_row(report, name)) for name in offered["formats"]],
        "own": _own(report, offered["formats"]),
        "cards": _CARDS,
        "figures": [figure.to_json() for figure in drawn] if plotly else [],
    }
    rows, encoding = _rows(report)
    return environment.get_template("report.html.j2").render(
        report=report,
        answer=report.answer,
        winner=_row(report, report.answer.pick),
        tiles=_tiles(_row(report, report.answer.pick)),
        cards=_cards(report),
        lead=_lead(report.answer),
        more=_more(report.answer),
        limits=sentences.limits(report.answer.limits),
        choices=offered,
        place={name: number for number, name in enumerate(offered["formats"])},
        table=table(report),
        part_tables=part_tables.tables(report),
        variant_columns=VARIANT_COLUMNS,
        variant_notes=variant_columns.footnotes(report.variants),
        others=[{"report": r, "table": table(r, f"other-{n}-")} for n, r in enumerate(report.others, 1)],
        facts=measured(report),
        commands=repeated(report),
        figures=drawn,
        values=Markup(embedded(values)),
        rows=Markup(rows),
        encoding=encoding,
        plotly=Markup(packed(plotly)) if plotly else "",
        scripts=[Markup(text) for text in scripts],
        policy=policy([*scripts, *([plotly] if plotly else [])]),
    )


def typeset(text: object) -> str:
    """Text whose negative numbers carry a minus sign, and whose numbers stay on one line with their units."""
    signed = re.sub(r"(?<!\w)-(?=\d)", "\u2212", str(text))
    return re.sub(r"(?<=\d) (?=%|[kMG]?B\b|nats\b|points\b|tokens\b|items\b)", "\u00a0", signed)


def _rows(report: Report) -> tuple[str, str]:
    """The raw rows as JSON, and how they are packed: "" or, where they are many, "gzip"."""
    text = embedded(stored.encode(report.measurements))
    return (packed(text), "gzip") if len(text) > LARGE else (text, "")


def _row(report: Report, name: str | None) -> Row | None:
    return next((r for r in report.rows if r.format == name), None)


def _own(report: Report, formats: Sequence[str]) -> dict[str, Any]:
    """How things stand under the report's own limits, which need not be stops of the controls."""
    answer, rows = report.answer, {row.format: row for row in report.rows}
    words = [standing(rows[name], answer) for name in formats]
    limits = {key: getattr(answer.limits, key) for key in SLIDERS}
    return {
        "standing": [{"word": word, "out": word.startswith("out"), "reasons": []} for word in words],
        "limits": {
            key: {"value": value, "text": NO_LIMIT if value is None else SLIDERS[key][2](value)}
            for key, value in limits.items()
        },
    }


def _cards(report: Report) -> list[tuple[str, str, list[str]]]:
    """Each card that has something to say: its title, a name in larger type, and sentences."""
    answer = report.answer
    second = _row(report, answer.runner_up if answer.pick else None)
    figures = ", ".join(f"{title.lower()} {value}" for title, value, _ in _tiles(second))
    told = {
        "runner_up": (second.format if second else "", [figures]),
        "confidence": ("", [answer.confidence]),
        "changes": ("", list(answer.changes) if answer.pick else []),
    }
    found = [(title, told[name][0], [text for text in told[name][1] if text]) for title, name in _CARDS.items()]
    return [card for card in found if card[2]]


def _lead(answer: Answer) -> str:
    """The sentence below the pick: the first reason for it, or what would have to change for there to be one."""
    return " ".join(answer.changes) if answer.pick is None else next(iter(answer.reasons), "")


def _more(answer: Answer) -> list[str]:
    """Everything else that the answer says, in reading order."""
    reasons = answer.reasons[1 if answer.pick else 0 :]
    return [text for text in (answer.detail, *reasons, answer.runner_up_reason, answer.without_source_reason) if text]


def _tiles(row: Row | None) -> list[tuple[str, str, str]]:
    """A format's figures in large type: (title, value with its unit, detail)."""
    if row is None:
        return []
    texts = {column.key: column.text(row) for column in COLUMNS if column.key in _TILES}
    return [(title, *_tile(key, texts[key])) for key, title in _TILES.items()]


def _tile(key: str, text: Text) -> tuple[str, str]:
    if text.main == "reference":
        return "nothing", "it is the reference"
    if text.missing:
        return text.main, ""
    unit = f" {_UNITS[key]}" if key in _UNITS else ""
    return typeset(f"{text.main}{unit}"), typeset(text.detail.replace(", ", "\n"))
