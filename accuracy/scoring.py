"""Outcomes of items: which choice is likelier, and whether what is generated is right."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any

from ..runtimes.session import Prompt, Session
from .likelihoods import likelihoods
from .public import metrics

Decode = Callable[[Sequence[int]], str]
SCORED = ("choice", "word")  # by log-likelihood; dialogues have no key, and everything else is generated
_NUMBER = re.compile(r"-?\d+(?:[.,]\d+)*")
_THOUSANDS = re.compile(r"-?\d{1,3}(,\d{3})+(\.\d+)?")
_MINUS = "\N{MINUS SIGN}"
_PORTION = 32
_LOOKED_EVERY = 8  # tokens between two looks for a text that ends an answer


@dataclass(frozen=True, kw_only=True)
class Score:
    """The outcome of one item by the metric that formats are compared by, 0..1; `margin` in nats, of choices only.

    `outcomes` are all metrics of its set, by name: the likes of acc, acc_norm and exact_match.
    """

    value: float
    margin: float | None = None
    outcomes: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The score as plain JSON values."""
        return asdict(self)


def score(
    items: Sequence[Mapping[str, Any]], session: Session, *, decode: Decode, done: Collection[int] = ()
) -> Iterator[tuple[int, Score]]:
    """Score prepared items; yields (index, score), choices first, then what is generated, several at a time.

    `done` are indices to leave out, as dialogues are.
    """
    left = [index for index in range(len(items)) if index not in done and items[index]["type"] != "dialogue"]
    for indices in _together([index for index in left if items[index]["type"] in SCORED]):
        rows = [items[index] for index in indices]
        for index, row, found in zip(indices, rows, likelihoods(rows, session), strict=True):
            yield index, scored(row, [each.value for each in found], [each.greedy for each in found])
    # Those of like length together: a batch takes as long as its longest.
    written = sorted((i for i in left if items[i]["type"] not in SCORED), key=lambda i: (items[i]["max_tokens"], i))
    for indices in _together(written):
        answers = session.generate([_prompt(items[index], decode) for index in indices])
        for index, answer in zip(indices, answers, strict=True):
            yield index, judge(decode(answer), items[index])


def _together(indices: list[int]) -> Iterator[list[int]]:
    """Portions for one call: progress can be told between them, and the logits of one fit into memory."""
    return (indices[i : i + _PORTION] for i in range(0, len(indices), _PORTION))


def _prompt(item: Mapping[str, Any], decode: Decode) -> Prompt:
    stops = item["stops"]

    def is_over(answer: Sequence[int]) -> bool:
        if len(answer) % _LOOKED_EVERY:
            return False
        text = decode(answer)
        return any(stop in text for stop in stops)

    return Prompt(
        token_ids=item["prompt"],
        max_tokens=item["max_tokens"],
        end_ids=item["end_ids"],
        is_over=is_over if stops else None,
    )


def scored(item: Mapping[str, Any], log_likelihoods: Sequence[float], greedy: Sequence[bool]) -> Score:
    """The score of an item whose continuations have these log-likelihoods, in nats."""
    outcomes = metrics.scored_outcome(item, log_likelihoods, greedy)
    margin = None if item["type"] == "word" else metrics.margin_of(item, log_likelihoods)
    return Score(value=outcomes[item["metric"]], margin=margin, outcomes=outcomes)


def judge(text: str, item: Mapping[str, Any]) -> Score:
    """The score of a generated text."""
    if item["type"] == "short":
        return Score(value=float(matches(text, item["answers"])))
    outcomes = metrics.written_outcome(item, text)
    return Score(value=outcomes[item["metric"]], outcomes=outcomes)


def normalise(text: str) -> str:
    """Lower case, without surrounding space, quotes, emphasis and a final full stop, in whatever order they stand."""
    return text.strip().lower().lstrip("\"'*").rstrip("\"'*.!").strip()


def matches(text: str, answers: Sequence[str]) -> bool:
    """Whether a generated text is one of the answers.

    An answer that is a number also counts as the last number of the text, as in the flexible matching that is usual
    for GSM8K: "17 + 25 = 42" answers 42, and so does "42.0". Commas stand between thousands; "2,5" is no number.
    """
    given = normalise(text)
    if given in {normalise(answer) for answer in answers}:
        return True
    numbers = _NUMBER.findall(given.replace(_MINUS, "-"))
    last = _number(numbers[-1]) if numbers else None
    return last is not None and last in [_number(answer.replace(_MINUS, "-")) for answer in answers]


def _number(said: str) -> Decimal | None:
    plain = said.replace(",", "") if _THOUSANDS.fullmatch(said) else said
    return Decimal(plain) if re.fullmatch(r"-?\d+(\.\d+)?", plain) else None
