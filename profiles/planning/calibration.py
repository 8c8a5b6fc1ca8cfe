"""A plan's speeds put right by rows that were measured on the device, of the same model in these or other formats."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from statistics import median
from typing import Any

from ..records.measurement import Measurement
from .plan import Plan, PlannedFormat
from .prediction import SPREADS

BASIS = "measured rows"
_METRICS = ("decode", "prefill")

#: (container, metric) -> format -> measured against predicted
_Ratios = Mapping[tuple[str, str], Mapping[str, float]]


def calibrated(plan: Plan, rows: Iterable[Measurement]) -> Plan:
    """The plan with every speed times what measured speeds stand to predicted ones; as it is where none was measured.

    `rows` are those that tell of the device (`evidence`). A format that was measured takes its own ratio, others the
    median of those of its engine.
    """
    ratios = _ratios(plan, rows)
    return replace(plan, formats=tuple(_corrected(each, ratios) for each in plan.formats)) if ratios else plan


def _ratios(plan: Plan, rows: Iterable[Measurement]) -> _Ratios:
    """The last row of a format and metric counts."""
    latest = {(row.format, row.metric): median(row.samples) for row in rows}
    found: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for each in plan.formats:
        for metric in _METRICS:
            name = f"{metric}_tokens_per_second"
            measured, predicted = latest.get((each.format, name)), getattr(each, name)
            if measured and predicted:
                found[each.container, metric][each.format] = measured / predicted
    return found


def _corrected(planned: PlannedFormat, ratios: _Ratios) -> PlannedFormat:
    changes: dict[str, Any] = {}
    for metric in _METRICS:
        found = ratios.get((planned.container, metric))
        name = f"{metric}_tokens_per_second"
        predicted = getattr(planned, name)
        if found and predicted:
            speed = predicted * found.get(planned.format, median(found.values()))
            down, up = SPREADS[BASIS][metric]
            changes |= {name: speed, f"{name}_low": down * speed, f"{name}_high": up * speed, "speed_basis": BASIS}
    return replace(planned, **changes)
