"""The speeds that a plan predicts, as run.json keeps them beside what was measured in the device's place."""

from collections.abc import Mapping
from typing import Any

from .plan import Plan

_METRICS = ("prefill_tokens_per_second", "decode_tokens_per_second")


def speeds(plan: Plan) -> dict[str, dict[str, list[float]]]:
    """Format -> metric -> low, estimate, high in tokens/s; what the plan cannot tell is left out."""
    return speeds_in(plan.to_json())


def speeds_in(plan: Mapping[str, Any]) -> dict[str, dict[str, list[float]]]:
    """The same of a plan as `Plan.to_json` has it, which a bundle carries."""
    found = {}
    for each in plan["formats"]:
        spans = {metric: _span(each, metric) for metric in _METRICS}
        found[each["format"]] = {metric: span for metric, span in spans.items() if span}
    return found


def _span(planned: Mapping[str, Any], metric: str) -> list[float]:
    values = (planned.get(name) for name in (f"{metric}_low", metric, f"{metric}_high"))
    known = [value for value in values if value is not None]
    return known if len(known) == 3 else []
