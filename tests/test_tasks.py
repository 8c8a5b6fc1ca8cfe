"""The built-in tasks: what they are made of, that keys are right by a second way, and that no item is a public one."""

from __future__ import annotations

import calendar
import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from fractions import Fraction
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

import dialogue_keys
import mathematics_keys
from edgequant.accuracy import items
from edgequant.accuracy.items import Item
from mathematics_keys import numbers, value

KINDS = ("commonsense", "dialogue", "hallucination", "instruction", "knowledge", "mathematics")
ITEMS = {kind: items.read([items.find(kind)]) for kind in KINDS}
BY_ID = {item.id: item for kind in KINDS for item in ITEMS[kind]}
COMMON_RUN = 8  # words: as long as the longest that two texts share by chance here


def asked(item: Item) -> str:
    return item.messages[-1]["content"]


def right(item: Item) -> str:
    return item.choices[item.answer]


# -- how the tasks are made up


def test_the_six_kinds_and_their_size() -> None:
    assert [file.stem for file in items.built_in()] == list(KINDS)
    for kind, found in ITEMS.items():
        assert len(found) >= 60 and {item.kind for item in found} == {kind}
        assert all(re.fullmatch(rf"{kind}-\d{{3}}", item.id) for item in found)
        shares = Counter(item.difficulty for item in found)
        assert set(shares) == {"easy", "medium", "hard"} and min(shares.values()) >= len(found) / 4
    assert len(BY_ID) == sum(map(len, ITEMS.values()))


def test_each_kind_has_its_types() -> None:
    types = {kind: {item.type for item in found} for kind, found in ITEMS.items()}
    assert types.pop("instruction") == {"rules"}
    assert types.pop("mathematics") == types.pop("dialogue") == {"choice", "short"}
    assert set(map(frozenset, types.values())) == {frozenset({"choice"})}
    assert all(len(item.choices) == 4 for item in BY_ID.values() if item.type == "choice")


def test_no_prompt_comes_twice() -> None:
    prompts = Counter(tuple(message["content"] for message in item.messages) for item in BY_ID.values())
    assert max(prompts.values()) == 1


def test_texts_are_trimmed() -> None:
    for item in BY_ID.values():
        texts = [*item.choices, *item.answers, *(message["content"] for message in item.messages)]
        assert all(text == text.strip() for text in texts), item.id


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "instruction"])
def test_nothing_but_the_question_tells_the_right_choice(kind: str) -> None:
    """Neither its place nor its length; of four choices each place has a quarter."""
    chosen = [item for item in ITEMS[kind] if item.type == "choice"]
    places = Counter(item.answer for item in chosen)
    assert max(places.values()) - min(places.values()) <= 0.1 * len(chosen)
    longest = [item for item in chosen if all(len(right(item)) > len(c) for c in item.choices if c != right(item))]
    assert len(longest) <= 0.35 * len(chosen)
    for item in chosen:
        sizes = [len(choice.encode()) for choice in item.choices]
        assert max(sizes) <= 2 * min(sizes) + 3, item.id


def test_there_is_room_for_short_answers() -> None:
    """A token is about three letters or more; those that are to work it out have room to do so."""
    for item in BY_ID.values():
        if item.type == "short":
            assert item.max_tokens >= len(item.answers[0]) / 2 + 4, item.id
            assert (item.max_tokens == 80) == ("calculation" in asked(item)), item.id


# -- mathematics: from the numbers in the prompt


def mathematics(number: str) -> Item:
    return BY_ID[f"mathematics-{number}"]


def expected(number: str) -> object:
    worked_out = mathematics_keys.COMPUTED[number](*numbers(asked(mathematics(number)).split(" Answer ")[0]))
    return worked_out if isinstance(worked_out, str) else Fraction(worked_out)  # type: ignore[call-overload]


@pytest.mark.parametrize("number", [n for n in mathematics_keys.COMPUTED if mathematics(n).type == "short"])
def test_mathematics_answers_are_worked_out(number: str) -> None:
    wanted = expected(number)
    for answer in mathematics(number).answers:
        said = re.search(r"\d+:\d+", answer) if isinstance(wanted, str) else None
        assert (said[0] if said else value(answer.removeprefix("x ="))) == wanted, answer


@pytest.mark.parametrize("number", [n for n in mathematics_keys.COMPUTED if mathematics(n).type == "choice"])
def test_mathematics_choices_are_worked_out(number: str) -> None:
    item, wanted = mathematics(number), expected(number)
    assert [choice for choice in item.choices if value(choice) == wanted] == [right(item)]


@pytest.mark.parametrize("number", mathematics_keys.CHOSEN)
def test_mathematics_choices_are_compared(number: str) -> None:
    item = mathematics(number)
    offered = [value(choice) for choice in item.choices]
    assert offered.count(value(right(item))) == 1
    assert mathematics_keys.CHOSEN[number](offered) == value(right(item))


def test_expressions_are_equal_at_several_places() -> None:
    item = mathematics("035")
    given = asked(item).removeprefix("Which expression is equal to ").rstrip("?")
    assert [c for c in item.choices if mathematics_keys.same_polynomial(given, c)] == [right(item)]


def test_no_mathematics_item_is_left_out() -> None:
    """All but one, which asks what a square is called."""
    tried = {*mathematics_keys.COMPUTED, *mathematics_keys.CHOSEN, "035"}
    assert {item.id for item in ITEMS["mathematics"]} - {f"mathematics-{n}" for n in tried} == {"mathematics-028"}


# -- dialogue: from the turns before


@pytest.mark.parametrize("item", ITEMS["dialogue"], ids=lambda item: item.id)
def test_dialogue_answers_stand_in_the_turns_before(item: Item) -> None:
    turns = [message["content"] for message in item.messages]
    assert [message["role"] for message in item.messages] == ["user", "assistant"] * (len(turns) // 2) + ["user"]
    assert len(turns) >= 3
    wanted = dialogue_keys.KEYS[item.id.removeprefix("dialogue-")](turns).lower()
    if item.type == "short":
        assert item.answers[0].lower() == wanted
        assert all(wanted in answer.lower() or _says(answer) == _says(wanted) for answer in item.answers)
    else:
        same = [choice for choice in item.choices if choice.lower() == wanted]
        holding = [choice for choice in item.choices if re.search(rf"\b{re.escape(wanted)}\b", choice, re.IGNORECASE)]
        assert (same or holding) == [right(item)]


def _says(answer: str) -> object:
    letters = re.sub(r"\bthen\b|\W", "", answer.lower())
    return value(answer) or letters


def test_the_last_turn_alone_does_not_tell() -> None:
    """No short answer stands in the question itself, and no question names the right choice alone."""
    for item in ITEMS["dialogue"]:
        if item.type == "short":
            assert not re.search(rf"\b{re.escape(item.answers[0])}\b", asked(item), re.IGNORECASE), item.id
        else:
            named = [choice for choice in item.choices if choice.lower() in asked(item).lower()]
            assert named != [right(item)] or item.id == "dialogue-060", item.id


# -- the others, where an answer can be worked out or read


def _weekday(today: date) -> str:
    return calendar.day_name[today.weekday()]


def _facing(start: str, *turns: int) -> str:
    """Where one faces after quarter turns to the right (1) and left (-1)."""
    compass = ("north", "east", "south", "west")
    return compass[(compass.index(start) + sum(turns)) % 4]


def _count(n: int) -> str:
    return list(mathematics_keys.WORDS)[n]


FRIDAY, SUNDAY = date(2024, 3, 1), date(2024, 3, 3)
GATES: dict[str, Callable[[int, int], int]] = {
    "OR": lambda a, b: a | b,
    "XOR": lambda a, b: a ^ b,
    "NOR": lambda a, b: 1 - (a | b),
    "AND": lambda a, b: a & b,
}
WORKED_OUT: dict[str, Callable[[], str]] = {
    "commonsense-032": lambda: _facing("north", 1, 1),
    "commonsense-033": lambda: f"{_count(12 - 3)} o'clock",
    "commonsense-036": lambda: _weekday(FRIDAY - timedelta(2) + timedelta(1)),
    "commonsense-052": lambda: f"page {24 + 1}",
    "commonsense-054": lambda: _facing("north", 1, -1),
    "commonsense-055": lambda: _weekday(SUNDAY - timedelta(2) - timedelta(1)),
    "commonsense-058": lambda: _count(len(re.split("x", "-x-x-x-"))),
    "commonsense-068": lambda: _count(len(list(combinations("abcd", 2)))),
    "commonsense-069": lambda: mathematics_keys.clock(*numbers("10:45"), later=numbers("150")[0]),
    "hallucination-045": lambda: "none of them" if max(calendar.mdays) < 32 else "",
    "hallucination-054": lambda: next(month for month in calendar.month_name if month.startswith("F")),
    "hallucination-057": lambda: _count(next(n for n in range(2, 99) if n % 2 == 0)),
    "hallucination-073": lambda: f"{1453 - 1337} years",
    "knowledge-011": lambda: str((date(2025, 1, 1) - date(2024, 1, 1)).days),
    "knowledge-054": lambda: str(round(100 + 273.15)),
    "knowledge-066": lambda: next(name for name, gate in GATES.items() if _table(gate) == [0, 0, 0, 1]),
}


def _table(gate: Callable[[int, int], int]) -> list[int]:
    return [gate(a, b) for a in (0, 1) for b in (0, 1)]


@pytest.mark.parametrize("name", WORKED_OUT)
def test_what_can_be_worked_out(name: str) -> None:
    assert right(BY_ID[name]) == WORKED_OUT[name]()


def test_a_quoted_sentence_says_what_it_is_said_to_say() -> None:
    """The right choice stands in the quotation with a word that no other has, or the quotation answers nothing."""
    quoting = [item for item in ITEMS["hallucination"] if "Going by th" in asked(item)]
    silent = [item for item in quoting if right(item).endswith("not say")]
    assert len(quoting) == 13 and len(silent) == 8
    for item in quoting:
        quotation = set(words(asked(item).split("Going by")[0]))
        others = [set(words(choice)) for choice in item.choices if choice != right(item)]
        own = set(words(right(item))).difference(*others)
        assert (item in silent) or own & quotation, item.id


# -- against public sets

SMALL_WORDS = (
    "a an and are as at be been by can could did do does for from had has have he her his how i if in into is it its "
    "me my of on or our she than that the their them then there these they this those to us was we were what when "
    "where which who whom whose why will with would you your"
)


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def runs(text: str) -> set[tuple[str, ...]]:
    split = words(text)
    return set(zip(*(split[n:] for n in range(COMMON_RUN)), strict=False))


def gist(text: str) -> frozenset[str]:
    """The words that carry the question; "Which is the largest moon?" and "What is the largest moon?" have the same."""
    return frozenset(words(text)).difference(SMALL_WORDS.split())


def ours() -> Iterator[tuple[str, str]]:
    """Every text of the built-in items that is a question, an instruction or what somebody says, with its item."""
    return ((item.id, message["content"]) for item in BY_ID.values() for message in item.messages)


def public(folder: Path) -> Iterator[str]:
    """Every text of the public sets, and with a question its context."""
    for file in sorted(folder.glob("*/*.jsonl")):
        for line in file.read_bytes().splitlines():
            yield from strings(json.loads(line))
    yield from strings(json.loads((folder / "truthfulqa" / "mc_task.json").read_text(encoding="utf-8")))
    with (folder / "truthfulqa" / "TruthfulQA.csv").open(encoding="utf-8", newline="") as stream:
        yield from (row["Question"] for row in csv.DictReader(stream))


def strings(held: Any) -> Iterator[str]:
    if isinstance(held, str):
        yield held
    for each in held.values() if isinstance(held, dict) else held if isinstance(held, list) else ():
        yield from strings(each)


def copies(theirs: Iterator[str]) -> list[tuple[str, str]]:
    """Our items with a text of theirs that shares a run of words, or all that carries the question."""
    by_run = {run: name for name, text in ours() for run in runs(text)}
    by_gist = {gist(text): name for name, text in ours() if len(gist(text)) >= 2}
    found = []
    for text in theirs:
        found += [(by_run[run], text) for run in by_run.keys() & runs(text)]
        if text.rstrip().endswith(("?", ".", ":")) and (name := by_gist.get(gist(text))):
            found.append((name, text))
    return found


@pytest.mark.slow
def test_no_item_is_taken_from_a_public_set(bench_folder: Path) -> None:
    assert copies(public(bench_folder)) == []


def test_the_comparison_sees_a_copy() -> None:
    copied = "It says: a rope is cut through in three places. Into how many parts?"
    said_otherwise = "Who is the first person that can walk on Mars?"
    assert {name for name, _ in copies(iter([copied, said_otherwise, "Who?"]))} == {
        "commonsense-058",
        "hallucination-043",
    }
