"""report.html: one file that opens from disk, with the answer and the table first and the pictures' script last."""

import base64
import hashlib
import json
import re
from typing import Any

from . import columns, part_tables, sentences, stored, variant_columns
from .columns import COLUMNS
from .figures import figures
from .method import measured
from .rows import Row
from .table import Report
from .variant_columns import VARIANT_COLUMNS


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
    )
    environment.filters["number"] = _typeset
    plotly = plotly_script()
    drawn = figures(report)
    scripts = {"plotly": plotly, "draw": environment.get_template("report.js").render() if plotly else ""}
    return environment.get_template("report.html.j2").render(
        report=report,
        winner=_row(report, report.answer.pick),
        tiles=_tiles(report),
        limits=sentences.limits(report.answer.limits),
        columns=columns.told(report.rows),
        variant_columns=VARIANT_COLUMNS,
        part_tables=part_tables.tables(report),
        variant_notes=variant_columns.footnotes(report.variants),
        table=_table(report),
        notes=_notes(report),
        others=[_other(other, number) for number, other in enumerate(report.others, 1)],
        facts=measured(report),
        figures=drawn,
        drawing=Markup(_json([f.to_json() for f in drawn])),
        raw=Markup(_json(stored.encode(report.measurements))),
        scripts={name: Markup(text) for name, text in scripts.items()},
        policy=_policy([text for text in scripts.values() if text]),
    )


def plotly_script() -> str:
    """Plotly's JavaScript from the installed package, or "" where it is not installed."""
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        return ""
    return str(get_plotlyjs())


def _policy(scripts: list[str]) -> str:
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes) or "'none'"
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:"


def _json(values: Any) -> str:
    """JSON that no HTML parser can take for markup: <, > and & only as escapes (they occur in strings alone)."""
    text = json.dumps(values, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _typeset(text: object) -> str:
    """Text whose negative numbers carry a minus sign, and whose numbers stay on one line with their units."""
    signed = re.sub(r"(?<!\w)-(?=\d)", "\u2212", str(text))
    return re.sub(r"(?<=\d) (?=%|[kMG]?B\b|nats\b|points\b|tokens\b|items\b)", "\u00a0", signed)


def _row(report: Report, name: str | None) -> Row | None:
    return next((r for r in report.rows if r.format == name), None)


def _tiles(report: Report) -> list[tuple[str, str, str]]:
    """The pick's figures in large type: (title, value, detail)."""
    winner = _row(report, report.answer.pick)
    if winner is None:
        return []
    wanted = ("size", "memory", "decode", "divergence", "loss")
    units = {"decode": "tokens/s", "divergence": "nats a token", "loss": "points of accuracy"}
    titles = {"divergence": "KL divergence", "memory": "Peak memory"}
    made = []
    for column in COLUMNS:
        if column.key in wanted:
            text = column.text(winner)
            detail = " ".join(s for s in (units.get(column.key, ""), f"({text.detail})" if text.detail else "") if s)
            made.append((titles.get(column.key, column.title), text.main, detail))
    return made


def _table(report: Report) -> list[dict[str, Any]]:
    numbered = columns.footnotes(report.rows)
    return [
        {
            "row": row,
            "standing": columns.standing(row, report.answer),
            "cells": [column.text(row) for column in columns.told(report.rows)],
            "notes": [numbered[mark] for mark in columns.notes(row)],
        }
        for row in report.rows
    ]


def _other(report: Report, number: int) -> dict[str, Any]:
    """What another machine measured; the prefix keeps its notes apart from the others'."""
    return {
        "report": report,
        "columns": columns.told(report.rows),
        "table": _table(report),
        "notes": _notes(report),
        "prefix": f"other-{number}-",
    }


def _notes(report: Report) -> list[dict[str, Any]]:
    carriers = columns.by_mark(report.rows)
    return [
        {"number": n, "mark": mark, "formats": ", ".join(carriers[mark])}
        for mark, n in columns.footnotes(report.rows).items()
    ]
