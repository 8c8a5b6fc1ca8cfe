"""Mapping and repacking: what the measurements of both ways speak for."""

from __future__ import annotations

from typing import Any

import pytest

from edgequant.accuracy.paired import Interval
from edgequant.report import switches
from edgequant.report.rows import Cell
from edgequant.report.variants import METRICS, VariantRow


def cell(value: float | None, noise: float = 1.0, status: str = "ok") -> Cell:
    if value is None:
        return Cell(value=None, status=status)
    return Cell(value=value, n=6, interval=Interval(low=value - noise, high=value + noise, estimate=value))


def row(
    variant: dict[str, Any], *, decode: float | None = 100, prefill: float = 500, mb: float = 200, status: str = "oom"
) -> VariantRow:
    cells = {metric: cell(None, status="missing") for metric in METRICS}
    cells |= {
        "decode_tokens_per_second": cell(decode, status=status),
        "prefill_tokens_per_second": cell(prefill),
        "must_fit_bytes": cell(mb * 1e6),
    }
    return VariantRow(format="Q4_0", differs=str(variant) if variant else "plain", variant=variant, cells=cells)


OFF = {"repack": False}


@pytest.mark.parametrize(
    ("with_it", "without", "said"),
    [
        ({}, {}, "no difference beyond the intervals"),
        ({}, {"decode": 100.5}, "no difference beyond the intervals"),
        ({}, {"mb": 203}, "no difference beyond the intervals"),
        ({}, {"mb": 110}, "leave it out (110 MB must fit without, 200 MB with)"),
        ({}, {"prefill": 300}, "keep it (prefill slower without)"),
        ({}, {"mb": 110, "prefill": 300}, "a trade (110 MB must fit without, 200 MB with, prefill slower without)"),
        ({}, {"decode": 130, "prefill": 300}, "a trade (prefill slower without, decode faster without)"),
        ({}, {"decode": 130}, "leave it out (decode faster without)"),
        ({"decode": None}, {}, "leave it out (with it: out of memory)"),
        ({}, {"decode": None, "status": "crash"}, "keep it (without: crashed)"),
        ({"decode": None}, {"decode": None}, "neither way worked"),
    ],
)
def test_what_they_speak_for(with_it: dict[str, Any], without: dict[str, Any], said: str) -> None:
    assert switches.advice([row({}, **with_it), row(OFF, **without)]) == (f"Q4_0: repacking the weights: {said}.",)


def test_only_what_differs_by_the_switch_alone_is_compared() -> None:
    rows = [
        row({}),
        row({"depth": 512}),
        row({"depth": 512, "mmap": False}, mb=300),
        row({"threads": 2, "repack": False}),
    ]
    assert switches.advice(rows) == (
        "Q4_0 ({'depth': 512}): mapping the file: keep it (300 MB must fit without, 200 MB with).",
    )
    assert switches.advice([row({})]) == ()
