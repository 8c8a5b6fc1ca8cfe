"""Pictures of two measures against each other: size and decode speed against divergence."""

from collections.abc import Sequence
from math import floor, log10
from typing import Any

from ..accuracy.paired import Interval
from . import numbers
from .figure import Figure, listed, mb, named
from .rows import Row
from .table import Report

SMALL = 1e-4  # divergences under this are rounding between engines, and share the last line of a log axis
DECODE = "decode_tokens_per_second"
_SIGNS = (("front", "no other beats these in both"), ("out", "out by your limits"), ("limit", "your limit"))


def size(report: Report) -> Figure | None:
    """Files by size; None where nothing has both size and divergence."""
    rows = [r for r in report.rows if r.size_bytes is not None and r.value("kl_divergence") is not None]
    points = [_point(r, mb(r.size_bytes or 0), None) for r in rows]
    limit = report.answer.limits.max_size_bytes
    data: dict[str, Any] = {"slider": "max_memory_bytes", "axis": "MB on disk", "line": "memory", "better": "left"}
    data["limits"] = [] if limit is None else [{"value": mb(limit), "text": f"files up to {numbers.size(limit)}"}]
    lead = "What lies beyond the line of your memory cannot fit; a peak is larger than its file."
    return _scatter("size", "Size against quality", rows, points, "size", lead, data)


def speed(report: Report) -> Figure | None:
    """Files by decode speed; None where nothing has both speed and divergence."""
    rows = [r for r in report.rows if r.value(DECODE) is not None and r.value("kl_divergence") is not None]
    points = [_point(r, r.value(DECODE) or 0, r.cells[DECODE].interval) for r in rows]
    data: dict[str, Any] = {
        "slider": "min_decode",
        "axis": "tokens/s written",
        "line": "speed",
        "limits": [],
        "better": "right",
    }
    emulated = [r.format for r in rows if r.mark("emulated")]
    lead = "These are this machine's speeds, not the device's. " if emulated else ""
    lead += "Horizontal bars are 95 % intervals of the median."
    return _scatter("speed", "Decode speed against quality", rows, points, DECODE, lead, data)


def front(rows: Sequence[Row], *, metric: str) -> list[Row]:
    """Rows that no other beats in both divergence and `metric` ("size", or a speed), best divergence last or first.

    They are ordered from the smallest or slowest to the largest or fastest.
    """
    sign = 1 if metric == "size" else -1
    placed = [(sign * x, y, row) for row in rows for x, y in [(_x(row, metric), row.value("kl_divergence"))]
              if x is not None and y is not None]  # fmt: skip
    best = [
        (x, row)
        for x, y, row in placed
        if not any((x2 <= x and y2 < y) or (x2 < x and y2 <= y) for x2, y2, _ in placed)
    ]
    return [row for _, row in sorted(best, key=lambda pair: sign * pair[0])]


def lowest(rows: Sequence[Row]) -> float:
    """Where the log axis of divergence ends: a quarter of the smallest divergence worth telling from zero."""
    found = [v for v in (r.value("kl_divergence") for r in rows) if v is not None]
    above = [v for v in found if v >= SMALL]
    return min(above) / 4 if above else SMALL / 4


def ticks(high: float, low: float) -> list[float]:
    """1 and 3 of every decade between the axis' end and the largest divergence."""
    high = max(high, low * 10)
    steps = [m * 10.0**k for k in range(floor(log10(low)), floor(log10(high)) + 2) for m in (1, 3)]
    return [float(f"{s:.0e}") for s in steps if low * 1.8 <= s <= high * 1.3]


def _x(row: Row, metric: str) -> float | None:
    return row.size_bytes if metric == "size" else row.value(metric)


def _scatter(
    key: str,
    title: str,
    rows: Sequence[Row],
    points: list[dict[str, Any]],
    metric: str,
    lead: str,
    data: dict[str, Any],
) -> Figure | None:
    if not rows:
        return None
    low, best = lowest(rows), [r.format for r in front(rows, metric=metric)]
    under = [r.format for r in rows if (r.value("kl_divergence") or 0) < low]
    rule = f"Up is closer to the original. {lead}"
    if under:
        rule += f" {listed(under)}: under {numbers.nats(low)} nats, on the line of zero."
    said = "; ".join(
        f"{p['name']}: {numbers.digits(p['x'])} {data['axis']}, {numbers.nats(p['divergence'])} nats" for p in points
    )
    drawn = {"points": points, "front": best, "lowest": low, "ticks": ticks(max(p["high"] for p in points), low)}
    words = f"{title}. {said}. Unbeaten in both: {listed(best)}."
    return Figure(
        key=key, kind="scatter", title=title, caption=rule, words=words, data=drawn | data, signs=_SIGNS
    )  # fmt: skip


def _point(row: Row, x: float, interval: Interval | None) -> dict[str, Any]:
    cell = row.cells["kl_divergence"]
    return {
        **named(row),
        "x": x,
        "x_low": interval.low if interval else x,
        "x_high": interval.high if interval else x,
        "divergence": cell.value,
        "low": cell.interval.low if cell.interval else cell.value,
        "high": cell.interval.high if cell.interval else cell.value,
    }
