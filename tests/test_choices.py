"""What the page's controls are given: every combination says what the pick itself says, and it stays small."""

import json
import random
from dataclasses import replace
from itertools import pairwise, product
from typing import Any

import pytest

import recorded
from edgequant.report.answer import PREFERENCES, Limits
from edgequant.report.choices import choices
from edgequant.report.judging import Judging
from edgequant.report.pick import pick
from edgequant.report.rows import Row
from recorded import reference_row, row, tied
from situations import situations

KEYS = ("max_memory_bytes", "min_decode", "max_loss")
UNITS = {"kB": 1e3, "MB": 1e6, "GB": 1e9}


def combinations(made: dict[str, Any]) -> list[tuple[int, ...]]:
    return list(product(*(range(len(s["stops"])) for s in made["sliders"]), range(len(made["preferences"]))))


def answer_at(made: dict[str, Any], place: tuple[int, ...]) -> dict[str, Any]:
    number = 0
    for at, among in zip(place, [*(s["stops"] for s in made["sliders"]), made["preferences"]], strict=True):
        number = number * len(among) + at
    found: dict[str, Any] = made["answers"][made["index"][number]]
    return found


def limits_at(made: dict[str, Any], place: tuple[int, ...], base: Limits) -> Limits:
    values = {s["key"]: s["stops"][n]["value"] for s, n in zip(made["sliders"], place, strict=False)}
    return replace(base, prefer=made["preferences"][place[3]]["key"], **values)


def outs(made: dict[str, Any], place: tuple[int, ...]) -> dict[str, tuple[str, ...]]:
    """Format -> its reasons, put together as the docstring tells a page to do it."""
    stops = [s["stops"][n] for s, n in zip(made["sliders"], place, strict=False)]
    said: dict[str, dict[str, None]] = {}
    bounded = answer_at(made, place)["bounded"]
    found = [made["always_out"], *(stop["out"] for stop in stops), made["preferences"][place[3]]["out"]]
    for each in [*found, *([made["source_out"]] if bounded else [])]:
        for number, _, text in each:
            said.setdefault(made["formats"][number], {})[made["texts"][text]] = None
    return {name: tuple(reasons) for name, reasons in said.items()}


def sentences(made: dict[str, Any], place: tuple[int, ...]) -> list[str]:
    """Everything that is said, likewise."""
    answer, texts, out = answer_at(made, place), made["texts"], outs(made, place)
    lines = [f"{made['formats'][n]} is out: {'; '.join(out[made['formats'][n]])}." for n in answer["better_out"]]
    said = [texts[answer["headline"]], texts[answer["detail"]], *(texts[n] for n in answer["reasons"]), *lines]
    said += [texts[answer["confidence"]], *(texts[n] for n in answer["changes"])]
    return [s for s in [*said, texts[answer["runner_up_reason"]], texts[answer["without_source"]]] if s]


def standing(made: dict[str, Any], name: str, place: tuple[int, ...]) -> str:
    stop = made["sliders"][2]["stops"][place[2]]
    if name in outs(made, place):
        return "out"
    if stop["value"] is None:
        return "fits"
    return "certified" if made["formats"].index(name) in stop["certified"] else "not certain"


def check(rows: list[Row], base: Limits, step: int = 1) -> None:
    """Every `step`-th combination against the pick under its limits."""
    made, judging = json.loads(json.dumps(choices(rows, base).to_json())), Judging(rows, native=base.native)
    places = combinations(made)
    assert len(made["index"]) == len(places)
    for place in places[::step]:
        expected = pick(rows, limits_at(made, place, base), judging=judging)
        compact = answer_at(made, place)
        names = [None if compact[key] is None else made["formats"][compact[key]] for key in ("pick", "runner_up")]
        assert names == [expected.pick, expected.runner_up]
        assert sentences(made, place) == list(expected.sentences)
        out = outs(made, place)
        for verdict in expected.verdicts:
            assert standing(made, verdict.format, place) == verdict.standing
            assert out.get(verdict.format, ()) == tuple(r.sentence for r in verdict.reasons)


def test_every_combination_of_the_recorded_run_says_what_the_pick_says() -> None:
    report = recorded.report()
    check(list(report.rows), report.answer.limits, step=7)


@pytest.mark.parametrize("situation", situations(), ids=lambda each: each.title)
def test_every_situation_too(situation: Any) -> None:
    check(situation.rows, situation.limits, step=11)


def test_the_start_is_the_reports_own_answer() -> None:
    for situation in situations():
        made = choices(situation.rows, situation.limits).to_json()
        expected = pick(situation.rows, situation.limits)
        found = answer_at(made, tuple(made["start"]))["pick"]
        name = None if found is None else made["formats"][found]
        assert (name or "nothing") == (expected.pick or "nothing"), situation.title


def exactly(text: str) -> float:
    number, _, unit = text.partition(" ")
    return float(number) * UNITS.get(unit, 1.0)


def test_a_stop_is_what_its_text_says() -> None:
    """So a person who types it after `edgequant pick --max-memory` gets the same answer."""
    made = choices(recorded.report()).to_json()
    for slider in made["sliders"]:
        *stops, last = slider["stops"]
        assert (last["value"], last["text"], last["out"]) == (None, "no limit", [])
        assert stops
        for stop in stops:
            assert exactly(stop["text"]) == pytest.approx(stop["value"], rel=1e-12)


def test_neighbouring_stops_put_out_different_formats_the_tightest_first() -> None:
    for slider in choices(recorded.report()).to_json()["sliders"]:
        out = [{n for n, *_ in stop["out"]} for stop in slider["stops"]]
        assert all(after < before for before, after in pairwise(out)), slider["key"]


def test_a_format_comes_in_at_its_own_figure_rounded_so_that_it_does() -> None:
    made = choices([row("A", rss_mb=200.4, decode=100.6), row("B", rss_mb=350, decode=50)]).to_json()
    memory, decode, _ = made["sliders"]
    assert [stop["text"] for stop in memory["stops"]] == ["201 MB", "no limit"]
    assert [stop["text"] for stop in decode["stops"]] == ["100", "no limit"]


def test_limits_that_have_no_control_stay() -> None:
    rows = [row("A", mb=100), row("B", mb=50, nats=0.5)]
    made = choices(rows, Limits(max_size_bytes=60e6, max_divergence=1)).to_json()
    assert [(made["formats"][n], code) for n, code, _ in made["always_out"]] == [("A", "size")]
    assert {answer["pick"] for answer in made["answers"]} <= {1, None}


def test_nothing_to_choose_from() -> None:
    made = choices([]).to_json()
    assert [len(s["stops"]) for s in made["sliders"]] == [1, 1, 1]
    assert made["index"] == [0, 0, 0] and made["answers"][0]["pick"] is None


def many(seed: int, n_formats: int = 12) -> list[Row]:
    """Formats that differ in everything, speeds and sizes in no order: as many stops as there can be."""
    dice = random.Random(seed)
    made = [reference_row(rss_mb=700)]
    for n in range(n_formats - 1):
        loss = 0.4 + 0.7 * n + dice.uniform(0, 0.3)
        made.append(
            row(
                f"IQ{n}_K_XL",
                mb=dice.uniform(60, 260),
                nats=0.002 * 1.3**n,
                decode=dice.uniform(50, 200),
                rss_mb=dice.uniform(200, 500),
                loss=(loss, loss - dice.uniform(0.2, 0.5), loss + 1),
            )
        )
    return tied(*made)


def test_it_stays_small_with_twelve_formats() -> None:
    made = choices(many(1)).to_json()
    assert min(len(s["stops"]) for s in made["sliders"]) >= 11
    assert len(made["index"]) > 4000
    assert len(json.dumps(made, separators=(",", ":"))) < 300_000
    assert [each["key"] for each in made["preferences"]] == list(PREFERENCES)


def test_many_formats_thin_the_stops_and_the_start_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgequant.report.choices.MOST", 500)
    rows, limits = many(2, 20), Limits(max_memory_bytes=300e6, min_decode=90)
    made = choices(rows, limits).to_json()
    assert 250 < len(made["index"]) <= 500
    assert {len(s["stops"]) for s in made["sliders"]} <= {5, 6}
    found = answer_at(made, tuple(made["start"]))["pick"]
    assert made["formats"][found] == pick(rows, limits).pick
    check(rows, limits, step=23)
