"""The report's pictures, in reading order."""

from dataclasses import replace

from .figure import Figure
from .memory_picture import memory
from .panels import agreement, loss, spread
from .scatters import size, speed
from .table import Report


def figures(report: Report) -> list[Figure]:
    """The pictures for which something was measured or predicted."""
    planned = report.planned
    made = [
        size(report),
        speed(report),
        loss(report),
        memory(report, planned),
        spread(report),
        agreement(report, planned),
    ]
    return _in_pairs([figure for figure in made if figure])


def _in_pairs(figures: list[Figure]) -> list[Figure]:
    """The last of an odd number of narrow ones takes a row of its own, so that no half is empty."""
    narrow = [figure for figure in figures if not figure.wide]
    alone = narrow[-1] if len(narrow) % 2 else None
    return [replace(figure, wide=True) if figure is alone else figure for figure in figures]
