"""The report built from a run's folder: what it says once for all rows."""

from __future__ import annotations

from dataclasses import replace

import pytest

import recorded
from edgequant.profiles.records.measurement import Measurement
from edgequant.report.rebuild import _at_chance, _is_of


def answers(n_right: int, n: int = 120) -> list[Measurement]:
    """A reference that answers `n_right` of `n` multiple-choice items."""
    report = recorded.report()
    some = report.measurements[0]
    items = [f"i{k}" for k in range(n)]
    samples = tuple(float(k < n_right) for k in range(n))
    row = replace(some, format="F16", status="ok", samples=samples, parameters={"items": items})
    return [replace(row, metric="accuracy"), replace(row, metric="margin")]


@pytest.mark.parametrize(("n_right", "said"), [(30, True), (36, True), (60, False), (110, False)])
def test_guessing_is_named(n_right: int, said: bool) -> None:
    """25 % of 120 is 30; Wilson's interval of 36 right begins at 22.5 %, of 60 at 41.2 % (worked by hand)."""
    notes = list(_at_chance(answers(n_right), "F16", 0.25))
    assert bool(notes) == said
    assert all("guessing would answer 25.0 %" in note for note in notes)


def test_nothing_is_said_of_what_was_not_measured() -> None:
    assert list(_at_chance([], "F16", 0.25)) == []
    assert list(_at_chance(answers(30), "Q8_0", 0.25)) == []
    assert list(_at_chance(answers(30), "F16", None)) == []


def test_speeds_of_another_device_are_not_this_ones_and_answers_are() -> None:
    here, far = recorded.device(), recorded.device(name="rpi4-2gb", is_host=False)
    speed = recorded.measurement("Q8_0", "decode_tokens_per_second", [100.0])
    answer = recorded.measurement("Q8_0", "kl_divergence", [0.1])
    assert _is_of(speed, here) and not _is_of(speed, far)
    assert _is_of(answer, here) and _is_of(answer, far)
    assert _is_of(replace(speed, artifact_sha256="", status="error"), far)  # what could not be made, cannot anywhere
