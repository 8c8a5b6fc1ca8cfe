"""How long the rest of a run will take: worked by hand."""

from __future__ import annotations

import pytest

from edgequant.profiles.planning import forecast
from edgequant.profiles.planning.forecast import Forecast, Task, remaining_seconds
from test_order import plan


def task(step: str, name: str, seconds: float | None = None) -> Task:
    """A task that the plan leads one to expect so long."""
    return Task(step=step, format=name, seconds=seconds)


def test_before_anything_is_done_the_plan_stands() -> None:
    assert remaining_seconds([task("convert", "F16", 10.0), task("evaluate", "F16", 50.0)], ()) == 60.0


def test_what_is_done_puts_the_rest_of_its_kind_right() -> None:
    """Two conversions of 10 s took 30 s together: the one that is left will take 1.5 times its 20 s."""
    done = [(task("convert", "F16", 10.0), 12.0), (task("convert", "Q8_0", 10.0), 18.0)]
    left = [task("convert", "Q4_K_M", 20.0), task("evaluate", "F16", 50.0)]
    assert remaining_seconds(left, done) == 30.0 + 50.0


def test_what_the_plan_does_not_tell_takes_as_long_as_others_took() -> None:
    done = [(task("profile", "F16"), 40.0), (task("profile", "Q8_0"), 20.0)]
    assert remaining_seconds([task("profile", "Q6_K")], done) == 30.0
    assert remaining_seconds([task("convert", "F16"), task("convert", "Q8_0", 8.0)], ()) == 16.0


def test_where_nothing_is_known_nothing_is_said() -> None:
    assert remaining_seconds([task("convert", "F16", 10.0), task("profile", "F16")], ()) is None
    assert remaining_seconds((), ()) == 0.0


def test_a_run_is_followed() -> None:
    rounds = [task("profile", "F16", 5.0)] * 2
    followed = Forecast([task("convert", "F16", 10.0), *rounds, task("convert", "Q8_0", 10.0)])
    followed.ended("convert", "F16", 20.0)
    followed.ended("profile", "F16", 5.0)
    assert followed.remaining_seconds() == 5.0 + 20.0
    followed.ended("verify", "F16", 9.0)  # nobody had expected it
    assert followed.remaining_seconds() == 25.0
    followed.dropped("Q8_0")
    assert followed.remaining_seconds() == 5.0


def test_tasks_take_what_the_plan_says() -> None:
    names = [("convert", "F16"), ("profile", "F16"), ("evaluate", "none")]
    assert [each.seconds for each in forecast.tasks(plan(), names, repetitions=3)] == [None, None, None]


@pytest.mark.parametrize("step", ["profile", "look", "evaluate", "verify"])
def test_slower_formats_take_longer(step: str) -> None:
    from dataclasses import replace

    made = plan()
    fast, slow = (
        replace(made, formats=tuple(replace(each, prefill_tokens_per_second=speed) for each in made.formats))
        for speed in (100.0, 50.0)
    )
    first, second = (forecast.tasks(each, [(step, "Q8_0")], repetitions=3)[0].seconds for each in (fast, slow))
    assert first and second and first < second < 2 * first
