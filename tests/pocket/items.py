"""Writes items.jsonl: held-out exercises with their keys (`python tests/pocket/items.py`)."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

from corpus import exercises
from world import Exercise

ITEMS_SEED = 4099
ITEMS_PATH = Path(__file__).with_name("items.jsonl")
LONGEST_ANSWER = 24  # tokens

SHORT_QUOTA = {  # skill -> items with a generated answer
    "fact": 110, "stranger": 10, "unrecorded": 4,
    "addition": 36, "subtraction": 44, "multiplication": 26, "largest": 14,
    "repeat": 6, "copy": 6, "reverse": 12, "sort": 40, "pick": 6, "count": 6,
    "capitals": 12, "letter": 5, "reply": 4,
    "size": 18, "opposite": 3, "tool": 3, "sort-of": 4,
    "own-name": 8, "own-taste": 5, "hidden": 10, "total": 16, "remembered": 6, "pet-name": 12,
}  # fmt: skip
CHOICE_QUOTA = {"fact": 42, "stranger": 8, "opposite": 6, "tool": 3, "sort-of": 5}  # fmt: skip

Item = dict[str, object]


def _prompt(exercise: Exercise) -> Item:
    """The exercise's question: a prompt, or messages if it has several turns."""
    if len(exercise.turns) == 1:
        return {"prompt": exercise.turns[0]}
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[index % 2], "content": turn} for index, turn in enumerate(exercise.turns)]}


def short_item(exercise: Exercise, number: int) -> Item:
    """An item whose answer is generated."""
    return {
        "id": f"pocket-{exercise.skill}-{number:03d}",
        "kind": exercise.kind,
        "type": "short",
        **_prompt(exercise),
        "answers": [exercise.answer],
        "max_tokens": LONGEST_ANSWER,
        "difficulty": exercise.difficulty,
    }


def choice_item(exercise: Exercise, number: int, rng: random.Random) -> Item:
    """An item whose answer is picked from four."""
    choices = rng.sample((exercise.answer, *exercise.rivals), 1 + len(exercise.rivals))
    return {
        "id": f"pocket-{exercise.skill}-choice-{number:03d}",
        "kind": exercise.kind,
        "type": "choice",
        **_prompt(exercise),
        "choices": choices,
        "answer": choices.index(exercise.answer),
        "difficulty": exercise.difficulty,
    }


def make_items() -> list[Item]:
    """All items, each with a question of its own, in the order of the quotas."""
    rng = random.Random(ITEMS_SEED)
    shorts, choices = Counter(SHORT_QUOTA), Counter(CHOICE_QUOTA)
    made: dict[tuple[str, ...], Item] = {}
    for exercise in exercises(rng, held_out=True):
        skill = exercise.skill
        if exercise.turns in made:
            continue
        if choices[skill] > 0:
            made[exercise.turns] = choice_item(exercise, choices[skill], rng)
            choices[skill] -= 1
        elif shorts[skill] > 0:
            made[exercise.turns] = short_item(exercise, shorts[skill])
            shorts[skill] -= 1
        if not (+shorts or +choices):
            break
    return sorted(made.values(), key=lambda item: str(item["id"]))


def main() -> None:
    """Write the items beside this file."""
    lines = [json.dumps(item, ensure_ascii=False) for item in make_items()]
    ITEMS_PATH.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
