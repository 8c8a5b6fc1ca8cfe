"""Pictures with a line for each format: loss by kind of task, the spread of the divergence, measured and predicted."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..accuracy.paired import Interval
from . import numbers
from .figure import Figure, listed, mb, named
from .memory_picture import PEAK
from .parts import names
from .predictions import Prediction
from .rows import Row
from .scatters import SMALL, ticks
from .table import Report

#: role of a mark -> the metric that it stands for, and what it is called
_SPREAD = {
    "open": ("kl_divergence_median", "median"),
    "value": ("kl_divergence", "mean"),
    "p99": ("kl_divergence_p99", "1 position in 100 is worse"),
    "p999": ("kl_divergence_p999", "1 in 1,000"),
}


def loss(report: Report) -> Figure | None:
    """Points lost on all items, and on each kind of task where there are several; None without any loss."""
    rows = [r for r in report.rows if r.loss is not None]
    if not rows:
        return None
    kinds = names([part for row in rows for part in row.parts], "kind")
    whole = {"title": f"all {rows[0].loss.n} items" if rows[0].loss else "", "rows": [_lost(r, _all(r)) for r in rows]}
    panels = [whole, *(_kind(rows, name) for name in kinds)]
    common = {"unit": "points", "zero": True, "slider": "max_loss"}
    told = [f"{r.format} in {p.name}" for r in rows for p in r.parts if p.division == "kind" and p.told_apart]
    caption = (
        f"Points of accuracy lost to {report.context.reference}, item by item, with 95 % intervals; right of the line "
        "is worse. Where an interval crosses the line, these items cannot tell a loss from none. "
        + (
            f"Certain over all kinds together: {listed(told)}."
            if told
            else "No kind shows a certain loss."
            if kinds
            else ""
        )
    )
    said = "; ".join(
        f"{r.format}: {numbers.points(between.estimate)}, {numbers.span(between, numbers.points)}"
        for r, between in ((r, _all(r)) for r in rows)
        if between
    )
    return Figure(
        key="loss",
        kind="panels",
        title="Accuracy lost, by kind of task" if kinds else "Accuracy lost",
        caption=caption.strip(),
        words=f"Accuracy lost. {said}.",
        data={"panels": [{**common, **panel} for panel in panels], "shared": True},
        signs=(("value", "points lost, with its interval"), ("limit", "your limit")),
        wide=bool(kinds),
    )


def _all(row: Row) -> Interval | None:
    return row.loss.loss if row.loss else None


def _kind(rows: Sequence[Row], name: str) -> dict[str, Any]:
    found = {
        row.format: part
        for row in rows
        for part in row.parts
        if part.division == "kind" and part.name == name
    }  # fmt: skip
    n = next((part.paired.n for part in found.values()), 0)
    entries = [_lost(row, found[row.format].paired.loss if row.format in found else None) for row in rows]
    return {"title": f"{name} ({n})", "rows": entries}


def _lost(row: Row, between: Interval | None) -> dict[str, Any]:
    marks = [{"role": "value", "x": between.estimate, "low": between.low, "high": between.high}] if between else []
    return {**named(row), "marks": marks}


def spread(report: Report) -> Figure | None:
    """Median, mean and tail of the divergence over positions; None where no more than the mean was measured."""
    rows = [r for r in report.rows if r.value("kl_divergence_p99") is not None]
    if not rows:
        return None
    values = [v for row in rows for metric, _ in _SPREAD.values() if (v := row.value(metric)) is not None]
    low = min([v for v in values if v >= SMALL], default=SMALL) / 2
    entries = [{**named(row), "marks": _marks(row, low)} for row in rows]
    said = "; ".join(f"{row.format}: {_figures(row)}" for row in rows)
    return Figure(
        key="spread",
        kind="panels",
        title="How often it is far off",
        caption="KL divergence over the positions of the text, nats. Two formats with one mean can differ in how bad "
        f"their worst tokens are. Left is better; under {numbers.nats(low)} stands on the edge.",
        words=f"Spread of the divergence, nats. {said}.",
        data={"panels": [{"title": "", "unit": "nats", "log": True, "joined": True, "lowest": low,
                          "ticks": ticks(max(values), low)[::2], "rows": entries}]},
        signs=tuple((role, text) for role, (_, text) in _SPREAD.items()),
    )  # fmt: skip


def _marks(row: Row, low: float) -> list[dict[str, Any]]:
    found = ((role, row.value(metric), text) for role, (metric, text) in _SPREAD.items())
    return [
        {"role": role, "x": max(value, low), "text": f"{text}: {numbers.nats(value)} nats"}
        for role, value, text in found
        if value is not None
    ]


def _figures(row: Row) -> str:
    found = ((text, row.value(metric)) for metric, text in _SPREAD.values())
    return ", ".join(f"{text} {numbers.nats(value)}" for text, value in found if value is not None)


def agreement(report: Report, planned: Mapping[str, Prediction]) -> Figure | None:
    """Measured memory and speeds against what a plan predicts; None where nothing can be compared."""
    rows = [r for r in report.rows if r.format in planned and not r.mark("emulated")]
    panels = [panel for panel in _compared(rows, planned) if any(entry["marks"] for entry in panel["rows"])]
    if not panels:
        return None
    return Figure(
        key="agreement",
        kind="panels",
        title="Measured against predicted",
        caption="The bar is where a plan expects the figure, from the checkpoint and the device's profile alone; the "
        f"mark is what was measured. {_hits(rows, planned)} Memory is predicted for a full context.",
        words="Measured against predicted. " + "; ".join(_both(row, planned[row.format]) for row in rows) + ".",
        data={"panels": panels},
        signs=(("value", "measured"), ("band", "predicted")),
        wide=len(panels) > 2,
    )


def _compared(rows: Sequence[Row], planned: Mapping[str, Prediction]) -> Iterator[dict[str, Any]]:
    for metric, title in (("decode_tokens_per_second", "decode"), ("prefill_tokens_per_second", "prefill")):
        entries = [_beside(r, r.value(metric), planned[r.format].speeds.get(metric)) for r in rows]
        yield {"title": f"{title}, tokens/s", "unit": "tokens/s", "from_zero": True, "rows": entries}
    entries = [_beside(r, _memory(r), _peak(planned[r.format])) for r in rows]
    yield {"title": "peak memory, MB", "unit": "MB", "from_zero": True, "rows": entries}


def _memory(row: Row) -> float | None:
    value = row.value(PEAK)
    return None if value is None else mb(value)


def _peak(predicted: Prediction) -> Interval:
    value = mb(predicted.peak_memory_bytes)
    return Interval(low=value, high=value, estimate=value)


def _beside(row: Row, value: float | None, band: Interval | None) -> dict[str, Any]:
    """A format's line; without both figures it is empty, for there is nothing to compare."""
    if value is None or band is None:
        return {**named(row), "marks": []}
    predicted = {"role": "band", "x": band.estimate, "low": band.low, "high": band.high}
    return {**named(row), "marks": [predicted, {"role": "value", "x": value}]}


def _hits(rows: Sequence[Row], planned: Mapping[str, Prediction]) -> str:
    pairs = [
        (row.value(metric), between)
        for row in rows
        for metric, between in planned[row.format].speeds.items()
        if row.value(metric) is not None
    ]
    inside = sum(between.contains(value or 0) for value, between in pairs)
    return f"{inside} of {len(pairs)} speeds lie within." if pairs else ""


def _both(row: Row, predicted: Prediction) -> str:
    found = [(metric.split("_")[0], row.value(metric), between) for metric, between in predicted.speeds.items()]
    said = [
        f"{name} {numbers.rate(value)} against {numbers.rate(between.estimate)} tokens/s"
        for name, value, between in found
        if value is not None
    ]
    peak = row.value(PEAK)
    said += [] if peak is None else [f"memory {numbers.size(peak)} against {numbers.size(predicted.peak_memory_bytes)}"]
    return f"{row.format}: {', '.join(said)}"
