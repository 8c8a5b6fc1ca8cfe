"""The pick in recorded situations, against answers that were judged by hand: situations.toml."""

import pytest

from edgequant.report.answer import Answer
from edgequant.report.pick import pick
from situations import Situation, situations

ALL = situations()


def test_there_are_enough_and_no_two_are_called_alike() -> None:
    assert len(ALL) >= 40
    assert len({each.title for each in ALL}) == len(ALL)


@pytest.mark.parametrize("situation", ALL, ids=lambda each: each.title)
def test_the_answer_is_what_an_expert_would_say(situation: Situation) -> None:
    answer = pick(situation.rows, situation.limits)
    expected = situation.expected
    said = "\n".join(answer.sentences)
    assert (answer.pick or "", answer.runner_up or "") == (expected["pick"], expected["runner_up"]), said
    assert not set(expected) - {"pick", "runner_up", "binds", "out", "level", "says", "never"}
    if not expected["pick"]:
        assert list(answer.nearest.binds if answer.nearest else []) == expected["binds"]
    assert answer.level == expected.get("level", answer.level), answer.confidence
    assert [part for part in expected.get("says", []) if part not in said] == [], said
    assert [part for part in expected.get("never", []) if part in said] == [], said
    _standings(answer, expected.get("out"))


def _standings(answer: Answer, expected: dict[str, list[str]] | None) -> None:
    """Whatever is named is out for these reasons; the pick and the runner-up are not."""
    out = {v.format: [r.code for r in v.reasons] for v in answer.verdicts if v.standing == "out"}
    for name, codes in (expected or {}).items():
        assert out[name] == codes
    assert not {answer.pick, answer.runner_up} & set(out)
