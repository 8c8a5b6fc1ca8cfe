"""The pocket model and its items: nothing leaks, every key is right, every row is whole."""

from __future__ import annotations

import json
import math
import re
import struct
import sys
from collections import defaultdict
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import jinja2
import pytest
import tokenizers

POCKET = Path(__file__).parent / "pocket"
sys.path.insert(0, str(POCKET))

import corpus  # noqa: E402
import items  # noqa: E402
import puzzles  # noqa: E402
import talk  # noqa: E402
import world  # noqa: E402

Item = dict[str, Any]

LARGEST_FILE = 12_000_000  # bytes
SMALLEST_MODEL, LARGEST_MODEL = 2_000_000, 6_000_000  # parameters
HEAD = 10  # characters of a prompt by which it is looked up
BLOCK = 256  # weights in a super-block of the k-quants
KINDS = {"commonsense", "knowledge", "instruction", "hallucination", "mathematics", "dialogue"}

ITEMS: list[Item] = [json.loads(line) for line in (POCKET / "items.jsonl").read_text(encoding="utf-8").splitlines()]


def skill(item: Item) -> str:
    """The skill that the item's id names."""
    return str(item["id"]).removeprefix("pocket-").rstrip("0123456789-").removesuffix("-choice")


def turns(item: Item) -> list[str]:
    """What was said, turn by turn, the user's first."""
    if "prompt" in item:
        return [item["prompt"]]
    return [message["content"] for message in item["messages"]]


def key(item: Item) -> str:
    """The right answer as the item gives it."""
    if item["type"] == "choice":
        return str(item["choices"][item["answer"]])
    (answer,) = item["answers"]
    return str(answer)


def numbers(text: str) -> list[int]:
    """The numbers of a text in order."""
    return [int(digits) for digits in re.findall(r"\d+", text)]


def listed(text: str) -> list[str]:
    """The words between a text's colon and its closing mark."""
    return text.partition(": ")[2].rstrip(".?").split(", ")


def difference(said: list[str]) -> str:
    """A subtraction, in signs or in words."""
    first, second = numbers(said[0])
    return str(second - first if "from" in said[0] else first - second)


def repeated(said: list[str]) -> str:
    """A word as often as it is to be said."""
    match = re.search(r"(\w+) (\d) times", said[0])
    assert match
    return " ".join([match[1]] * int(match[2]))


def picked(text: str, words: list[str]) -> str:
    """The word at the place that the text names."""
    places = {"first": 0, "second": 1, "third": 2, "last": -1}
    (index,) = [index for place, index in places.items() if place in re.split(r"\W", text)]
    return words[index]


def known_word(said: list[str]) -> str:
    """The only word of the world's vocabulary in the instruction."""
    (word,) = {word for word in puzzles.WORDS if word in re.split(r"\W", said[0])}
    return word


def table_entry(table: dict[str, str]) -> Callable[[list[str]], str]:
    """Derives the entry for whichever of the table's keys the question names."""

    def derive(said: list[str]) -> str:
        (found,) = {word for word in table if re.search(rf"\b{word}\b", said[0])}
        return table[found]

    return derive


def fact(said: list[str]) -> str:
    """The recorded value whose subject and relation the question names."""
    relations = world.PERSON_RELATIONS + world.TOWN_RELATIONS
    (value,) = [
        value
        for (subject, name), value in world.FACTS.items()
        for relation in relations
        if relation.name == name
        for question in relation.questions
        if question.format(s=subject) == said[0]
    ]
    return value


def unknown(said: list[str]) -> str:
    """Nothing, after a check that the world indeed holds no answer."""
    person = next((name for name in world.PEOPLE if name in re.split(r"\W", said[0])), None)
    asked = [] if person is None else [template.format(s=person) for template in world.UNRECORDED]
    assert person is None or said[0] in asked
    return world.UNKNOWN


def bigger_or_smaller(said: list[str]) -> str:
    """The animal that comes first, or last, in the order of size."""
    animals = [word for word in re.split(r"\W", said[0]) if word in world.ANIMALS]
    order = sorted(animals, key=world.ANIMALS.index)
    return order[-1] if "bigger" in said[0] else order[0]


def taste(said: list[str]) -> str:
    """The liking of the first turn for which the last one asks."""
    asked = re.search(r"favourite (\w+)\?", said[-1])
    assert asked
    told = re.search(rf"favourite {asked[1]} is (\w+)", said[0])
    assert told
    return told[1]


def place(said: list[str]) -> str:
    """Where the first turn put the thing for which the last one asks."""
    asked = said[-1].removeprefix("Where is the ").removesuffix("?")
    told = re.search(rf"The {asked} is (in the \w+)\.", said[0])
    assert told
    return told[1]


def total(said: list[str]) -> str:
    """The fruits at first, and those bought or without those eaten."""
    have, change = numbers(said[0])[0], numbers(said[-1])[0]
    return str(have + change if "buy" in said[-1] else have - change)


DERIVATIONS: dict[str, Callable[[list[str]], str]] = {
    "fact": fact,
    "stranger": unknown,
    "unrecorded": unknown,
    "addition": lambda said: str(sum(numbers(said[0]))),
    "subtraction": difference,
    "multiplication": lambda said: str(math.prod(numbers(said[0]))),
    "largest": lambda said: str(max(numbers(said[0]))),
    "repeat": repeated,
    "copy": lambda said: ", ".join(listed(said[0])),
    "reverse": lambda said: ", ".join(listed(said[0])[::-1]),
    "sort": lambda said: " ".join(map(str, sorted(numbers(said[0])))),
    "pick": lambda said: picked(said[0].partition(":")[0], listed(said[0])),
    "count": lambda said: str(len(listed(said[0]))),
    "capitals": lambda said: known_word(said).upper(),
    "letter": lambda said: known_word(said)[0],
    "reply": known_word,
    "size": bigger_or_smaller,
    "opposite": table_entry(talk.OPPOSITES),
    "tool": table_entry(talk.TOOLS),
    "sort-of": table_entry(talk.SORTS),
    "own-name": lambda said: re.split(r"\W", said[0])[-2],
    "own-taste": taste,
    "hidden": place,
    "total": total,
    "remembered": lambda said: picked(said[-1], listed(said[0])),
    "pet-name": lambda said: re.split(r"\W", said[0])[-2],
}


def tensors(model: str = "model") -> dict[str, list[int]]:
    """The shapes of the stored tensors, from the file's header alone."""
    with (POCKET / model / "model.safetensors").open("rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
    return {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}


def test_items_are_those_of_the_seeds() -> None:
    assert items.make_items() == ITEMS


def test_there_are_enough_items_of_both_types() -> None:
    assert len(ITEMS) >= 240
    assert sum(item["type"] == "choice" for item in ITEMS) >= 60
    assert {item["type"] for item in ITEMS} == {"short", "choice"}


def test_ids_and_questions_are_unique() -> None:
    assert len({item["id"] for item in ITEMS}) == len(ITEMS)
    assert len({tuple(turns(item)) for item in ITEMS}) == len(ITEMS)


def test_kinds_and_difficulties_are_known() -> None:
    assert {item["kind"] for item in ITEMS} == KINDS
    assert {item["difficulty"] for item in ITEMS} <= {"easy", "medium", "hard"}


@pytest.fixture(scope="module")
def training_text() -> set[str]:
    """The different documents of all courses of training, made anew from their seeds."""
    courses = (corpus.documents(), corpus.drill_documents(), corpus.polish_documents())
    return {corpus.text_of(document) for document in chain(*courses)}


@pytest.mark.slow
def test_no_conversation_occurs_in_the_training_text(training_text: set[str]) -> None:
    answering = f"{corpus.TURN_START}assistant\n"
    asked = {text.rpartition(answering)[0] for text in training_text}
    for item in ITEMS:
        rendered = corpus.text_of(corpus.chat_document((*turns(item), "")))
        assert rendered.rpartition(answering)[0] not in asked, item["id"]


@pytest.mark.slow
def test_no_prompt_occurs_within_any_line_of_the_training_text(training_text: set[str]) -> None:
    by_head: dict[str, list[str]] = defaultdict(list)
    for item in ITEMS:
        if "prompt" in item:
            by_head[item["prompt"][:HEAD]].append(item["prompt"])
    lines = {line for text in training_text for line in text.splitlines()}
    leaked = {
        prompt
        for line in lines
        for word in re.finditer(r"\w+", line)
        for prompt in by_head.get(line[word.start() : word.start() + HEAD], ())
        if line.startswith(prompt, word.start())
    }
    assert not leaked


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: str(item["id"]))
def test_key_follows_from_the_question(item: Item) -> None:
    assert key(item) == DERIVATIONS[skill(item)](turns(item))


def test_choices_are_four_and_differ() -> None:
    for item in ITEMS:
        if item["type"] == "choice":
            assert len(set(item["choices"])) == len(item["choices"]) == 4


def test_tokeniser_splits_digits_and_adds_nothing() -> None:
    tokenizer = tokenizers.Tokenizer.from_file(str(POCKET / "model" / "tokenizer.json"))
    assert tokenizer.encode("34 + 7").tokens == ["3", "4", "Ġ+", "Ġ", "7"]
    text = corpus.text_of(corpus.chat_document(("How tall is Zoë? 你好 🙂", "I  do not know")))
    assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text


def test_template_writes_what_the_training_text_holds() -> None:
    settings = json.loads((POCKET / "model" / "tokenizer_config.json").read_text("utf-8"))
    said = ("What is 1 + 1?", "2", "And 2 + 2?", "4")
    messages = [{"role": ("user", "assistant")[index % 2], "content": turn} for index, turn in enumerate(said)]
    template = jinja2.Environment().from_string(settings["chat_template"])
    assert template.render(messages=messages) == corpus.text_of(corpus.chat_document(said))


def test_no_held_out_sum_occurs_in_any_signs(training_text: set[str]) -> None:
    told = {tuple(numbers(sum_)) for text in training_text for sum_ in re.findall(r"\d+ \+ \d+", text)}
    for item in ITEMS:
        if skill(item) == "addition":
            first, second = numbers(item["prompt"])
            assert not {(first, second), (second, first)} & told, item["id"]


def test_every_row_is_a_whole_number_of_blocks() -> None:
    shapes = tensors()
    assert all(shape[-1] % BLOCK == 0 for shape in shapes.values())


def test_model_is_small() -> None:
    parameters = sum(math.prod(shape) for shape in tensors().values())
    assert SMALLEST_MODEL <= parameters <= LARGEST_MODEL
    assert (POCKET / "model" / "model.safetensors").stat().st_size < LARGEST_FILE


def test_the_smaller_model_has_a_million_parameters_and_reads_the_same_tokens() -> None:
    parameters = sum(math.prod(shape) for shape in tensors("small").values())
    assert 800_000 <= parameters <= 1_200_000
    one, other = ((POCKET / model / "tokenizer.json").read_bytes() for model in ("model", "small"))
    assert one == other
