"""Several models at equal memory: who meets whom, what is told, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from typing import Any

import pytest
import scipy.stats
from rich.console import Console

import recorded
from edgequant import Error
from edgequant.profiles.records.measurement import Measurement
from edgequant.report import models, models_listing, stored, table
from edgequant.report.table import Report

N = 120
ITEMS = [f"i{number}" for number in range(N)]
KINDS = ["mathematics" if number % 3 else "knowledge" for number in range(N)]


def run(model: str, n_parameters: int, formats: dict[str, tuple[int, list[float]]], **changes: Any) -> Report:
    """A run with memory in MB and outcomes for each format; the first is the reference."""
    reference, rows, made = next(iter(formats)), list[Measurement](), []
    for name, (megabytes, outcomes) in formats.items():
        made.append(recorded.artifact(name))
        rows.append(
            replace(recorded.measurement(name, "must_fit_bytes", [megabytes * 1e6]), artifact_sha256=made[-1].sha256)
        )
        accuracy = recorded.measurement(name, "accuracy", outcomes)
        parameters = {**accuracy.parameters, "items": ITEMS, "kinds": KINDS}
        rows.append(replace(accuracy, parameters=parameters, artifact_sha256=made[-1].sha256))
    context = recorded.context(
        checkpoint=model, n_parameters=n_parameters, reference=reference, quantised_source=None, grid="", **changes
    )
    return table.build(made, rows, device=recorded.device(), context=context)


def right(n: int) -> list[float]:
    return [1.0] * n + [0.0] * (N - n)


SMALL = run("small", 10**6, {"F16": (100, right(60)), "Q4_0": (40, right(50))})
LARGE = run("large", 4 * 10**6, {"F16": (400, right(100)), "Q4_0": (95, right(90)), "Q2_K": (60, right(70))})


def test_at_equal_memory_the_larger_one_quantised_meets_the_smaller_one_whole() -> None:
    found = models.compare([SMALL, LARGE])
    assert [entry.name for entry in found.entries] == [
        "small Q4_0",
        "large Q2_K",
        "large Q4_0",
        "small F16",
        "large F16",
    ]
    (duel,) = found.duels  # nothing of the larger one takes as little as the small Q4_0
    assert (duel.larger.name, duel.smaller.name, duel.verdict) == ("large Q4_0", "small F16", "larger")
    assert duel.paired.loss.estimate == pytest.approx(25.0) and (duel.paired.lost, duel.paired.gained) == (30, 0)
    assert duel.paired.p_value == pytest.approx(scipy.stats.binomtest(0, 30).pvalue)
    assert duel.corrected == pytest.approx(duel.paired.p_value)  # the only one
    (one, first), (other, second) = sorted(duel.by_kind.values(), key=lambda each: each[0].p_value)
    assert (first, second) == pytest.approx((2 * one.p_value, max(2 * one.p_value, other.p_value)))
    assert {kind: paired.n for kind, (paired, _) in duel.by_kind.items()} == {"knowledge": 40, "mathematics": 80}
    (said,) = models_listing.sentences(found)
    assert said.startswith("In the 100 MB of small F16, large Q4_0 answers 25.0 points more")
    assert said.endswith("take large Q4_0.")


def test_the_smaller_one_may_be_the_better_one() -> None:
    poor = run("large", 4 * 10**6, {"F16": (400, right(100)), "Q2_K": (60, right(20))})
    found = models.compare([SMALL, poor])
    assert found.duels[0].verdict == "smaller"
    (said,) = models_listing.sentences(found)
    assert "40 points fewer" in said.replace("33.3", "40") and said.endswith("take small F16.")


def test_neither_may_be() -> None:
    alike = run("large", 4 * 10**6, {"F16": (400, right(100)), "Q2_K": (60, right(61))})
    found = models.compare([SMALL, alike])
    assert found.duels[0].verdict == "neither"
    assert "cannot be told apart" in next(iter(models_listing.sentences(found)))


def test_no_larger_one_is_small_enough() -> None:
    huge = run("large", 4 * 10**6, {"F16": (400, right(100))})
    found = models.compare([SMALL, huge])
    assert found.duels == () and "takes as little memory" in next(iter(models_listing.sentences(found)))


def test_files_of_equal_size() -> None:
    """By size other formats meet than by memory."""
    found = models.compare([SMALL, LARGE], by="size")
    sizes = [entry.size_bytes for entry in found.entries]
    assert sizes == sorted(sizes) and all(duel.larger.size_bytes <= duel.smaller.size_bytes for duel in found.duels)
    assert {(duel.larger.name, duel.smaller.name) for duel in found.duels} != {("large Q4_0", "small F16")}


def test_what_cannot_be_compared() -> None:
    with pytest.raises(Error, match="one model alone"):
        models.compare([SMALL, SMALL])
    rows = [
        replace(row, parameters={**row.parameters, "items": [f"x{n}" for n in range(N)]})
        if row.metric == "accuracy"
        else row
        for row in LARGE.measurements
    ]
    other = table.build(LARGE.artifacts, rows, device=LARGE.device, context=LARGE.context)
    with pytest.raises(Error, match="share no items"):
        models.compare([SMALL, other])


def test_it_is_told_in_words() -> None:
    hostile = run("<b>large</b>|", 4 * 10**6, {"F16": (400, right(100)), "Q4_0": (95, right(90))})
    found = models.compare([SMALL, hostile])
    text = models_listing.markdown(found)
    assert "<b>" not in text and "knowledge" in text and "25.0" in text
    console = Console(file=StringIO(), width=80)
    console.print(models_listing.listing(found))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "At equal memory" in shown and max(map(len, shown.splitlines())) <= 80
    assert stored.encode(found)["n_common"] == N
