"""The picture of memory: each format's peak over the context as predicted, with what was measured and the limit."""

from collections.abc import Mapping
from typing import Any

from . import numbers
from .figure import Figure, mb, named
from .predictions import Prediction
from .rows import Row
from .table import Report

PEAK = "peak_rss_bytes"


def memory(report: Report, planned: Mapping[str, Prediction]) -> Figure | None:
    """Lines over the context where there are predictions, else the measured peaks alone; None without any."""
    rows = [r for r in report.rows if r.value(PEAK) is not None or r.format in planned]
    if not rows:
        return None
    return _lines(report, rows, planned) if planned else _peaks(report, rows)


def _lines(report: Report, rows: list[Row], planned: Mapping[str, Prediction]) -> Figure:
    lines = [_line(report, row, planned[row.format]) for row in rows if row.format in planned]
    contexts = _contexts(
        max(p.memory.from_tokens for p in planned.values()), max(p.trained_context for p in planned.values())
    )
    limit = report.device.usable_ram_bytes
    said = "; ".join(_said(row, planned[row.format]) for row in rows if row.format in planned)
    grown = "; ".join(
        f"{each}: {numbers.size(slope)} a token" for each, slope in sorted(_slopes(rows, planned).items())
    )
    caption = (
        f"Lines are predictions for a full context ({grown}); the filled marks are measured peaks, of a context that "
        f"{_filled(report)}. {report.device.title} leaves {numbers.size(limit)} to programs."
    )
    return Figure(
        key="memory",
        kind="lines",
        title="Memory over context",
        caption=caption,
        words=f"Memory over context. {said}.",
        data={"lines": lines, "contexts": contexts, "slider": "max_memory_bytes", "device": mb(limit)},
        signs=(("line", "predicted"), ("value", "measured"), ("limit", "your limit")),
    )


def _line(report: Report, row: Row, predicted: Prediction) -> dict[str, Any]:
    peak = row.value(PEAK)
    return {
        **named(row),
        "intercept": mb(predicted.memory.intercept_bytes),
        "slope": mb(predicted.memory.bytes_per_token),
        "measured": None if peak is None else mb(peak),
        "at": _context(report, row.format) or predicted.context,
    }


def _contexts(first: int, last: int) -> list[int]:
    """Powers of two from the first to the last, and the last."""
    found = []
    while first < last:
        found.append(first)
        first *= 2
    return [*found, last]


def _context(report: Report, name: str) -> int | None:
    """The context that a format's peak was measured with."""
    for row in report.measurements:
        if row.format == name and row.metric == PEAK and not row.variant:
            settings = row.parameters.get("settings") or row.parameters
            return settings.get("context")
    return None


def _filled(report: Report) -> str:
    """How many tokens of it were in use when the peak was read."""
    for row in report.measurements:
        if row.metric == PEAK and {"n_prompt", "n_generate"} <= set(row.parameters):
            return f"held {row.parameters['n_prompt'] + row.parameters['n_generate']} tokens"
    return "was not full"


def _slopes(rows: list[Row], planned: Mapping[str, Prediction]) -> dict[str, int]:
    return {
        {"onnx": "ONNX", "gguf": "GGUF"}.get(row.container, row.container): planned[row.format].memory.bytes_per_token
        for row in rows
        if row.format in planned
    }


def _said(row: Row, predicted: Prediction) -> str:
    peak = row.value(PEAK)
    measured = "" if peak is None else f", measured {numbers.size(peak)}"
    return (
        f"{row.format}: predicted {numbers.size(predicted.peak_memory_bytes)} at {predicted.context} tokens{measured}"
    )


def _peaks(report: Report, rows: list[Row]) -> Figure:
    limit = report.device.usable_ram_bytes
    entries = [{**named(row), "marks": [{"role": role, "x": mb(value)} for role, value in _sizes(row)]} for row in rows]
    said = "; ".join(f"{row.format}: {numbers.size(row.value(PEAK) or 0)}" for row in rows)
    return Figure(
        key="memory",
        kind="panels",
        title="Memory",
        caption=f"{report.device.title} leaves {numbers.size(limit)} to programs.",
        words=f"Memory. {said}.",
        data={
            "panels": [{"title": "", "unit": "MB", "slider": "max_memory_bytes", "device": mb(limit), "rows": entries}]
        },
        signs=(("value", "peak RSS"), ("open", "must be free so that nothing is paged"), ("limit", "your limit")),
    )


def _sizes(row: Row) -> list[tuple[str, float]]:
    found = (("value", row.value(PEAK)), ("open", row.value("must_fit_bytes")))
    return [(role, value) for role, value in found if value is not None]
