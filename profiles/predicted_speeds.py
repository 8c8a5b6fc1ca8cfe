"""The speeds that a plan predicts, as run.json keeps them beside what was measured in the device's place."""

from typing import Any

from .plan import Plan

_METRICS = ("prefill_tokens_per_second", "decode_tokens_per_second")


def speeds(plan: Plan) -> dict[str, dict[str, list[float]]]:
    """Format -> metric -> low, estimate, high in tokens/s; what the plan cannot tell is left out."""
    found = {}
    for each in plan.formats:
        spans = {metric: _span(getattr(each, metric, None)) for metric in _METRICS}
        found[each.format] = {metric: span for metric, span in spans.items() if span}
    return found


def _span(value: Any) -> list[float]:
    low, estimate, high = (getattr(value, name, None) for name in ("low", "estimate", "high"))
    return [] if low is None or estimate is None or high is None else [low, estimate, high]
