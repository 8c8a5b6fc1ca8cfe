"""What is said of kinds that are answered no better than by guessing."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

import recorded
from edgequant.profiles.records.measurement import Measurement
from edgequant.report.chance import notes


def answers(name: str, n_right: int, margins: list[float], n: int = 120) -> Mapping[str, Measurement]:
    """A format that answers `n_right` of `n` items of four choices, and half of ten others."""
    items = [f"i{k}" for k in range(n + 10)]
    parameters = {"items": items, "kinds": ["k"] * n + ["sums"] * 10, "chances": [0.25] * n + [0.0] * 10}
    samples = [float(k < n_right) for k in range(n)] + [1.0, 0.0] * 5
    return {
        "accuracy": recorded.measurement(name, "accuracy", samples, parameters=parameters),
        "margin": recorded.measurement(name, "margin", margins, parameters={"items": items[: len(margins)]}),
    }


@pytest.mark.parametrize(("n_right", "said"), [(30, True), (36, True), (60, False), (110, False)])
def test_guessing_is_named(n_right: int, said: bool) -> None:
    """25 % of 120 is 30; Wilson's interval of 36 right begins at 22.5 %, of 60 at 41.2 % (worked by hand)."""
    found = list(notes({"F16": answers("F16", n_right, [0.1] * 120)}, "F16"))
    assert bool(found) == said
    assert not said or f"k {n_right / 1.2:.1f} % of 120, by guessing 25.0 %" in found[0]


def test_margins_shrink_where_accuracy_says_nothing() -> None:
    before = [0.1 * (k % 7) for k in range(120)]
    counted = {
        "F16": answers("F16", 30, before),
        "Q8_0": answers("Q8_0", 30, [x + 0.01 * (-1) ** k for k, x in enumerate(before)]),
        "Q2_K": answers("Q2_K", 31, [x - 0.2 - 0.01 * (k % 3) for k, x in enumerate(before)]),
    }
    said = list(notes(counted, "F16"))[-1]
    assert "Q2_K by 0.21 (0.21 to 0.21)" in said and "Q8_0" not in said
    assert "certainly in no format" in list(notes({**counted, "Q2_K": counted["Q8_0"]}, "F16"))[-1]


def test_a_set_is_judged_by_itself_and_by_its_own_items() -> None:
    """A small set at chance beside a large one that is known; margins of the large one say nothing of the small."""
    both = answers("F16", 116, [1.0] * 100 + [0.5] * 20)
    about = {**both["accuracy"].parameters, "sets": ["large"] * 100 + ["small"] * 20 + [""] * 10}
    samples = [1.0] * 95 + [0.0] * 5 + [1.0] * 6 + [0.0] * 14 + [1.0, 0.0] * 5
    reference = {**both, "accuracy": recorded.measurement("F16", "accuracy", samples, parameters=about)}
    other = answers("Q2_K", 116, [0.2] * 100 + [0.5] * 20)
    told, margins = notes({"F16": reference, "Q2_K": other}, "F16")
    assert "in small 30.0 % of 20" in told and "large" not in told
    assert "certainly in no format" in margins


def test_nothing_is_said_of_what_was_not_measured() -> None:
    assert list(notes({}, "F16")) == []
    assert list(notes({"F16": answers("F16", 30, [0.1] * 120)}, "Q8_0")) == []
