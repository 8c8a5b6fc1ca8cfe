"""The training text: documents of chat and of running text, made from one seed.

A document is a tuple of segments; each segment is a piece of text and whether
the model is to learn it in full.  Answers and running text are learnt in full,
questions only a little, since nothing foretells which numbers they ask about.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import islice

import facts
import puzzles
import talk
import world
from world import Exercise

CORPUS_SEED = 2203
DOCUMENTS = 104_000
PLAIN_SHARE = 0.13
DRILL_SEED = 2204
DRILL_DOCUMENTS = 56_000
DRILL_LINES = 8
POLISH_SEED = 2205
POLISH_DOCUMENTS = 52_000

BOS, EOS, TURN_START, TURN_END = "<|bos|>", "<|eos|>", "<|im_start|>", "<|im_end|>"

Segment = tuple[str, bool]
Document = tuple[Segment, ...]
Maker = Callable[[random.Random], Exercise]

MIXTURE: dict[Maker, int] = {  # exercise maker -> share in the chats
    facts.person_question: 30,
    facts.town_question: 4,
    facts.stranger_question: 8,
    facts.unrecorded_question: 2,
    puzzles.addition: 14,
    puzzles.subtraction: 14,
    puzzles.multiplication: 4,
    puzzles.largest_number: 3,
    puzzles.repeat_word: 2,
    puzzles.copy_list: 2,
    puzzles.reverse_list: 5,
    puzzles.sort_numbers: 5,
    puzzles.pick_word: 3,
    puzzles.count_words: 3,
    puzzles.capitals: 3,
    puzzles.first_letter: 2,
    puzzles.exact_reply: 2,
    talk.size_question: 4,
    talk.opposite_question: 2,
    talk.tool_question: 1,
    talk.sort_question: 2,
    talk.own_name: 2,
    talk.own_taste: 2,
    talk.hidden_thing: 3,
    talk.running_total: 2,
    talk.remembered_list: 3,
    talk.pet_name: 3,
}


def chat_document(turns: tuple[str, ...]) -> Document:
    """A conversation as the chat template writes it; the turns begin with the user's."""
    segments: list[Segment] = []
    for user, assistant in zip(turns[::2], turns[1::2], strict=True):
        question = f"{TURN_START}user\n{user}{TURN_END}\n{TURN_START}assistant\n"
        segments += [(question, False), (assistant + TURN_END, True), ("\n", False)]
    return tuple(segments)


def text_of(document: Document) -> str:
    """The document as one string."""
    return "".join(text for text, _ in document)


def exercises(rng: random.Random, *, held_out: bool) -> Iterator[Exercise]:
    """An endless stream of exercises from one side of the division."""
    makers, shares = tuple(MIXTURE), tuple(MIXTURE.values())
    while True:
        (maker,) = rng.choices(makers, shares)
        exercise = maker(rng)
        if world.held_out(exercise.key) == held_out:
            yield exercise


def _sums_paragraph(rng: random.Random) -> str:
    """Three additions in signs, none of them held out."""
    drawn = ((rng.randint(0, 99), rng.randint(0, 99)) for _ in range(3))
    return "\n".join(f"{a} + {b} = {a + b}" for a, b in drawn if not world.held_out(puzzles.sum_key(a, b)))


def _sizes_paragraph(rng: random.Random) -> str:
    """Statements of which animal is bigger, none of them held out."""
    told = talk.size_paragraph(rng, 4)
    return " ".join(statement for statement, key in told if not world.held_out(key))


PLAIN: dict[Callable[[random.Random], str], int] = {  # paragraph maker -> share
    facts.person_paragraph: 7,
    facts.town_paragraph: 3,
    _sums_paragraph: 2,
    _sizes_paragraph: 1,
}


def _drill(rng: random.Random) -> Document:
    """Lines of additions and subtractions in signs, short operands as often as long, none held out."""
    segments: list[Segment] = []
    while len(segments) < 2 * DRILL_LINES:
        a, b = (rng.randint(0, rng.choice((9, 99))) for _ in range(2))
        low, high = sorted((a, b))
        key, result = rng.choice(((puzzles.sum_key(a, b), a + b), (f"{high} - {low}", high - low)))
        asked = f"{a} + {b}" if "+" in key else key
        if not world.held_out(key):
            segments += [(f"{asked} = ", False), (f"{result}\n", True)]
    return tuple(segments)


def _sum_chat(rng: random.Random) -> Document:
    """A chat of one addition or subtraction, not held out."""
    while True:
        exercise = rng.choice((puzzles.addition, puzzles.subtraction))(rng)
        if not world.held_out(exercise.key):
            return chat_document((*exercise.turns, exercise.answer))


def _gazette(rng: random.Random) -> Document:
    """Several descriptions in one running text."""
    makers = rng.choices((facts.person_paragraph, facts.town_paragraph), (7, 3), k=rng.randint(2, 5))
    return tuple((maker(rng) + "\n", True) for maker in makers)


def _general(rng: random.Random) -> Iterator[Document]:
    """An endless stream of the whole mixture."""
    stream = exercises(rng, held_out=False)
    makers, shares = tuple(PLAIN), tuple(PLAIN.values())
    while True:
        if rng.random() < PLAIN_SHARE:
            (maker,) = rng.choices(makers, shares)
            yield ((maker(rng) + "\n", True),)
        else:
            exercise = next(stream)
            yield chat_document((*exercise.turns, exercise.answer))


def documents() -> Iterator[Document]:
    """The text of the first course: the whole mixture."""
    return islice(_general(random.Random(CORPUS_SEED)), DOCUMENTS)


def drill_documents() -> Iterator[Document]:
    """The text of the second course: half the whole mixture, half mostly sums and differences."""
    rng = random.Random(DRILL_SEED)
    makers, shares = (_drill, _sum_chat, _gazette), (28, 18, 4)
    general = _general(rng)
    for _ in range(DRILL_DOCUMENTS):
        if rng.random() < 0.5:
            yield next(general)
        else:
            (maker,) = rng.choices(makers, shares)
            yield maker(rng)


def polish_documents() -> Iterator[Document]:
    """The text of the third course: half the whole mixture, half every sort of exercise alike."""
    rng = random.Random(POLISH_SEED)
    general = _general(rng)
    makers = tuple(MIXTURE)
    made = 0
    while made < POLISH_DOCUMENTS:
        if rng.random() < 0.5:
            yield next(general)
        else:
            exercise = rng.choice(makers)(rng)
            if world.held_out(exercise.key):
                continue
            yield chat_document((*exercise.turns, exercise.answer))
        made += 1
