"""The page's table of all measurements: what stands in a cell, what it sorts by, and the marks of a row."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import columns
from .columns import Column, Text
from .rows import BARS, FAILURES, STATUSES, Mark, Row
from .table import Report

_ALWAYS = 5  # columns of this rank and before are shown at once, the others on demand
_WARNINGS = (
    "fell back",
    "shorter context",
    "quality not transferable",
    "retried without repacked kernels",
    "throttled",
    "clock fell",
    "swapped",
    "major faults",
    "shared cores",
    "on battery",
    "cold load",
    "emulated",
    "slow here",
    "reduced range",
    "not held",
)
_LEVELS = {"bad": "failures", "warning": "warnings", "note": "notes"}
_FAILED = (*BARS, *(STATUSES[status] for status in FAILURES))


def _metric(name: str) -> Callable[[Row], float | None]:
    return lambda row: row.value(name)


def _loss(row: Row) -> float | None:
    return 0.0 if row.is_reference else row.loss.loss.estimate if row.loss else None


def _predicted(name: str) -> Callable[[Row], float | None]:
    return lambda row: row.predicted[name].estimate if name in row.predicted else None


#: column -> what it sorts by; every column that there can be
ORDERS: Mapping[str, Callable[[Row], float | None]] = {
    "size": lambda row: row.size_bytes,
    "bits": lambda row: row.true_bits_per_weight,
    "memory": _metric("peak_rss_bytes"),
    "fit": _metric("must_fit_bytes"),
    "load": _metric("load_seconds"),
    "first": _metric("first_token_seconds"),
    "prefill": _metric("prefill_tokens_per_second"),
    "decode": _metric("decode_tokens_per_second"),
    "predicted_prefill": _predicted("prefill_tokens_per_second"),
    "predicted_decode": _predicted("decode_tokens_per_second"),
    "energy": _metric("joules_per_token_decode"),
    "divergence": _metric("kl_divergence"),
    "tail": _metric("kl_divergence_p99"),
    "deep": _metric("kl_divergence_after_2048"),
    "kept": _metric("kept_tokens"),
    "top": _metric("same_top_token"),
    "perplexity": _metric("perplexity"),
    "ratio": lambda row: row.perplexity_ratio.estimate if row.perplexity_ratio else None,
    "accuracy": _metric("accuracy"),
    "judge": _metric("judge_score"),
    "loss": _loss,
    "flips": lambda row: row.loss.lost if row.loss else None,
}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One cell: its text, the lines of detail below it, the number it sorts by, and whether it is shown at once."""

    text: Text
    details: tuple[str, ...]
    order: float | None
    more: bool
    brief: bool  # the details wait for the other columns, too


def table(report: Report, prefix: str = "") -> dict[str, Any]:
    """All that the template needs for a report's table; `prefix` keeps its notes apart from those of other tables."""
    told, numbered, carriers = columns.told(report.rows), columns.footnotes(report.rows), columns.by_mark(report.rows)
    letters = _letters(report)
    return {
        "prefix": prefix,
        "columns": [(column, _is_more(column)) for column in told],
        "rows": [
            {
                "row": row,
                "standing": columns.standing(row, report.answer),
                "reasons": report.answer.verdict(row.format).reasons,
                "cells": [_entry(column, row) for column in told],
                "equals": letters.get(row.format, ""),
                "marks": _grouped(columns.notes(row), numbered),
                "words": ", ".join(mark.code for mark in columns.notes(row)),
            }
            for row in report.rows
        ],
        "notes": [
            {"number": number, "mark": mark, "level": level(mark), "formats": ", ".join(carriers[mark])}
            for mark, number in numbered.items()
        ],
        "groups": [(_letter(n), group) for n, group in enumerate(report.groups)],
        "containers": sorted({row.container for row in report.rows}),
    }


def _grouped(marks: Sequence[Mark], numbered: Mapping[Mark, int]) -> list[dict[str, Any]]:
    """One sign for each level that a row's marks have: a single mark by its code, several by their number."""
    made = []
    for name, plural in _LEVELS.items():
        found = [mark for mark in marks if level(mark) == name]
        if found:
            text = found[0].code if len(found) == 1 else f"{len(found)} {plural}"
            made.append({"level": name, "text": text, "n": len(found), "numbers": [numbered[mark] for mark in found]})
    return made


def level(mark: Mark) -> str:
    """How much a mark matters: "bad", "warning" or "note"."""
    return "bad" if mark.code in _FAILED else "warning" if mark.code in _WARNINGS else "note"


def _entry(column: Column, row: Row) -> Entry:
    text = column.text(row)
    details = () if text.missing or not text.detail else tuple(text.detail.split(", "))
    return Entry(
        text=text,
        details=details,
        order=ORDERS[column.key](row),
        more=_is_more(column),
        brief=column.key in ("bits", "memory"),
    )


def _is_more(column: Column) -> bool:
    return column.rank > _ALWAYS


def _letters(report: Report) -> dict[str, str]:
    """Format -> the letters of the groups that it stands in: who shares one cannot be told apart."""
    found: dict[str, str] = {}
    for number, group in enumerate(report.groups):
        for name in group:
            found[name] = f"{found.get(name, '')} {_letter(number)}".strip()
    return found


def _letter(number: int) -> str:
    """a, b, ... z, a1, b1, ..."""
    rounds, place = divmod(number, 26)
    return chr(ord("a") + place) + (str(rounds) if rounds else "")
