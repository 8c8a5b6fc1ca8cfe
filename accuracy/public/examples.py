"""Worked examples: which ones lm-evaluation-harness shows before which question.

It takes the first ones of a split, the same fixed ones for every question, or draws afresh for every question from one
stream of random numbers. The stream is Python's own with the seed 1234, so that the same rows in the same order get the
same examples here.
"""

import random
from collections.abc import Iterator, Sequence
from typing import Literal

from ... import Error
from .question import Question

#: "first" n; "drawn" for every question; "drawn with a spare": n + 1 drawn and the question itself left out, as the
#: harness does for sets that are evaluated on their validation split; "fixed": part of the prompt's definition
Choice = Literal["first", "drawn", "drawn with a spare", "fixed"]
SEED = 1234  # --seed of the harness: its fourth number is that of the examples


def choose(
    questions: Sequence[Question], pool: Sequence[Question], *, n: int, how: Choice
) -> Iterator[Sequence[Question]]:
    """The worked examples of each question, in the questions' order; `Error` where the pool holds too few."""
    spare = how == "drawn with a spare"
    if n and n + spare > len(pool):
        raise Error(f"{n} worked examples are wanted, and there are {len(pool)} rows to take them from")
    stream = random.Random(SEED)
    for question in questions:
        if not n or how in ("first", "fixed"):
            yield pool[:n]
        elif spare:
            drawn = [each for each in stream.sample(pool, n + 1) if each != question]
            yield drawn[:n]
        else:
            yield stream.sample(pool, n)
