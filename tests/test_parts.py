"""Losses by part of the items, worked by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import scipy.stats

import recorded
from edgequant.accuracy.paired import holm, paired_difference, perplexity_ratio
from edgequant.profiles.records.measurement import Measurement
from edgequant.report.parts import names, parts

KINDS = ["mathematics"] * 40 + ["knowledge"] * 20
LEVELS = (["easy"] * 10 + ["hard"] * 20 + ["medium"] * 10) + ["easy"] * 20
REFERENCE = [1.0] * 30 + [0.0] * 10 + [1.0] * 20


def row(name: str, outcomes: list[float], **changes: Any) -> Measurement:
    parameters = {"items": [str(i) for i in range(60)], "kinds": KINDS, "difficulties": LEVELS, "sets": [""] * 60}
    return replace(recorded.measurement(name, "accuracy", tuple(outcomes)), parameters={**parameters, **changes})


def lossy(n: int) -> list[float]:
    """The reference's outcomes with the first `n` right ones wrong."""
    return [0.0] * n + REFERENCE[n:]


def test_a_loss_is_told_where_it_is() -> None:
    found = parts({"F16": row("F16", REFERENCE), "Q2_K": row("Q2_K", lossy(12))}, "F16")
    assert list(found) == ["Q2_K"]
    by_name = {(part.division, part.name): part for part in found["Q2_K"]}
    assert names(found["Q2_K"], "kind") == ["knowledge", "mathematics"]
    assert names(found["Q2_K"], "difficulty") == ["easy", "medium", "hard"]
    mathematics, knowledge = by_name["kind", "mathematics"], by_name["kind", "knowledge"]
    assert (mathematics.paired.n, mathematics.paired.lost, mathematics.paired.gained) == (40, 12, 0)
    assert mathematics.paired.loss.estimate == pytest.approx(30.0)
    assert mathematics.paired.p_value == pytest.approx(scipy.stats.binomtest(0, 12).pvalue)
    assert mathematics.corrected == pytest.approx(2 * 2 * 0.5**12) and mathematics.told_apart
    assert knowledge.paired.loss.estimate == 0 and knowledge.corrected == 1 and not knowledge.told_apart
    # 12 of the 30 that the reference has right: a decline of 40 per cent.
    assert mathematics.decline is not None and mathematics.decline.estimate == pytest.approx(40.0)
    assert by_name["difficulty", "easy"].paired.lost == 10 and by_name["difficulty", "hard"].paired.lost == 2


def test_more_comparisons_make_each_less_certain() -> None:
    few = parts({"F16": row("F16", REFERENCE), "a": row("a", lossy(7))}, "F16")
    many = parts({"F16": row("F16", REFERENCE), **{x: row(x, lossy(7)) for x in "abcdef"}}, "F16")
    told = [next(p for p in each["a"] if p.name == "mathematics") for each in (few, many)]
    assert told[0].told_apart and not told[1].told_apart
    assert told[0].paired == told[1].paired


def test_what_is_not_divided_has_no_parts() -> None:
    same = {"kinds": ["k"] * 60, "difficulties": [""] * 60}
    assert parts({"F16": row("F16", REFERENCE, **same), "a": row("a", lossy(3), **same)}, "F16") == {}
    assert parts({"a": row("a", lossy(3))}, "F16") == {}


def test_a_reference_that_has_nothing_right_declines_by_no_share() -> None:
    none = [0.0] * 40 + REFERENCE[40:]
    found = parts({"F16": row("F16", none), "a": row("a", none)}, "F16")
    assert next(p for p in found["a"] if p.name == "mathematics").decline is None


def test_holm_by_hand() -> None:
    """0.01 * 4; 0.02 * 3; 0.03 * 2 = 0.06 is no less than 0.06; 0.5 * 1."""
    assert holm([0.02, 0.01, 0.5, 0.03]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == []


def test_outcomes_that_are_shares() -> None:
    """A mean loss of 10 points on MC2-like outcomes: p is the share of all 256 flips of signs that go as far."""
    before = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2]
    after = [0.7, 0.65, 0.6, 0.5, 0.3, 0.25, 0.1, 0.5]
    found = paired_difference(before, after)
    assert (found.lost, found.gained) == (0, 0)
    differences = [b - a for b, a in zip(before, after, strict=True)]
    exact = scipy.stats.permutation_test((differences,), sum, permutation_type="samples", n_resamples=10_000)
    assert found.p_value == pytest.approx(exact.pvalue, abs=0.015)
    assert found.loss.estimate == pytest.approx(100 * (sum(before) - sum(after)) / 8)
    theirs = scipy.stats.bootstrap(
        ([b - a for b, a in zip(before, after, strict=True)],), lambda x, axis: x.mean(axis=axis),
        method="percentile", n_resamples=20_000, rng=1,
    ).confidence_interval  # fmt: skip
    assert found.loss.low == pytest.approx(100 * theirs.low, abs=1.5)
    assert found.loss.high == pytest.approx(100 * theirs.high, abs=1.5)


def test_the_ratio_of_perplexities() -> None:
    """exp(0.1) where every window costs 0.1 nats more; the spread of the windows themselves cancels."""
    found = perplexity_ratio([2.0, 3.0, 4.0], [2.1, 3.1, 4.1])
    assert (found.low, found.estimate, found.high) == pytest.approx((1.10517, 1.10517, 1.10517), rel=1e-4)
