"""The loss by kind of task, by difficulty and by public set, as tables for terminal, Markdown and page."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import mean, stdev

from ..profiles.records.measurement import Measurement
from . import numbers
from .columns import Text
from .parts import DIVISIONS, Part, names
from .table import Report

_TITLES = {"kind": "Loss by kind of task", "difficulty": "Loss by difficulty", "set": "Loss by public set"}
#: the relative drop that studies of quantised models report
PUBLISHED = "11 % on average and up to 32 %, for Llama 3 in mathematics at four bits (AWQ, GPTQ; arXiv 2501.03035)"


@dataclass(frozen=True, kw_only=True)
class PartTable:
    """One division: a column a part, a row a format; of each cell the points lost, and a star where they are sure."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Text, ...]], ...]  # format, cells
    notes: tuple[str, ...]


def tables(report: Report) -> list[PartTable]:
    """The divisions by which something is told."""
    return list(_tables(report))


def _tables(report: Report) -> Iterator[PartTable]:
    every = [part for row in report.rows for part in row.parts]
    for division in DIVISIONS:
        shown = names(every, division)
        if not shown:
            continue
        rows = [
            (row.format, tuple(_cell(_named(row.parts, division, name)) for name in shown))
            for row in report.rows
            if any(part.division == division for part in row.parts)
        ]
        counts = {part.name: part.paired for part in every if part.division == division}
        yield PartTable(
            title=_TITLES[division],
            columns=tuple(f"{name} ({counts[name].n})" for name in shown),
            rows=tuple(rows),
            notes=tuple(_notes(report, division, every)),
        )
    yield from _public(report)


def _public(report: Report) -> Iterator[PartTable]:
    """The figures of public sets as they are published: each metric's mean over a set's items."""
    figures = {row.format: _figures(row) for row in report.measurements if row.metric == "accuracy" and not row.variant}
    shown = list(dict.fromkeys(name for found in figures.values() for name in found))
    if not shown:
        return
    rows = [
        (row.format, tuple(_figure(figures[row.format].get(name)) for name in shown))
        for row in report.rows
        if figures.get(row.format)
    ]
    note = "Prompts, worked examples and scoring as in lm-evaluation-harness; +- is the standard error of the mean."
    yield PartTable(title="Public sets", columns=tuple(shown), rows=tuple(rows), notes=(note,))


def _figures(row: Measurement) -> dict[str, list[float]]:
    """Set and metric -> the outcomes of its items."""
    found: dict[str, list[float]] = {}
    about = zip(row.parameters.get("sets", ()), row.parameters.get("outcomes", ()), strict=False)
    for name, outcomes in about:
        for metric, value in outcomes.items() if name else ():
            found.setdefault(f"{name} {metric}", []).append(value)
    return found


def _figure(outcomes: Sequence[float] | None) -> Text:
    if not outcomes:
        return Text(main="-", missing=True)
    error = stdev(outcomes) / sqrt(len(outcomes)) if len(outcomes) > 1 else 0.0
    return Text(main=f"{mean(outcomes):.4f}", detail=f"+- {error:.4f}; n {len(outcomes)}")


def _named(found: Sequence[Part], division: str, name: str) -> Part | None:
    return next((part for part in found if part.division == division and part.name == name), None)


def _cell(part: Part | None) -> Text:
    if part is None:
        return Text(main="-", missing=True)
    loss, star = part.paired.loss, "*" if part.told_apart else ""
    detail = f"{numbers.span(loss, numbers.points)}; p {numbers.p_value(part.corrected)}"
    if part.decline is not None:
        detail += f"; {numbers.points(part.decline.estimate)} % of the reference's"
    return Text(
        main=f"{numbers.points(loss.estimate)}{star}",
        detail=detail,
        between=f"{numbers.points(loss.low)}..{numbers.points(loss.high)}",
    )


def _notes(report: Report, division: str, every: Sequence[Part]) -> Iterator[str]:
    yield (
        f"Points of accuracy lost to {report.context.reference}, with 95 % intervals; in brackets the number of items. "
        "A star: told apart from no loss at 95 % over all cells of this table together (Holm)."
    )
    if division == "kind":
        yield f"To compare the decline in percent of the reference's accuracy with: {PUBLISHED}."
    if division == "difficulty":
        yield from _trend(report, every)


def _trend(report: Report, every: Sequence[Part]) -> Iterator[str]:
    """Whether harder items lose more, for the formats that lose at all."""
    for row in report.rows:
        found = {part.name: part for part in row.parts if part.division == "difficulty"}
        if not {"easy", "hard"} <= found.keys():
            continue
        easy, hard = found["easy"].paired.loss, found["hard"].paired.loss
        if hard.low > easy.high:
            yield f"{row.format} loses more on hard items than on easy ones, beyond both intervals."
        elif easy.low > hard.high:
            yield f"{row.format} loses more on easy items than on hard ones, beyond both intervals."
    if not any(part.told_apart for part in every if part.division == "difficulty"):
        yield "On none of these is a loss certain, so they say nothing about whether harder means larger loss."
