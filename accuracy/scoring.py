"""Items scored: choices by log-likelihood, short answers by exact matching and answers to rules by each rule."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..runtimes.session import Prompt, Session, Tree
from . import rules
from .divergence import log_softmax

if TYPE_CHECKING:
    from ..runtimes.session import Logits

Decode = Callable[[Sequence[int]], str]
_NUMBER = re.compile(r"-?\d+(?:[.,]\d+)*")
_PORTION = 32


@dataclass(frozen=True, kw_only=True)
class Score:
    """The outcome of one item; `margin` in nats, for choices only, `followed` for rules only.

    An answer to rules is right where it follows them all, strictly.
    """

    right: bool
    margin: float | None = None
    followed: rules.Followed | None = None


def score(items: Sequence[Mapping[str, Any]], session: Session, *, decode: Decode) -> Iterator[tuple[int, Score]]:
    """Score prepared items; yields (index, score), choices first, then what is generated, several at a time."""
    by_type: dict[str, list[int]] = {"choice": [], "short": [], "rules": []}
    for index, item in enumerate(items):
        by_type[item["type"]].append(index)
    for indices in _together(by_type["choice"]):
        for index, values in zip(indices, log_likelihoods([items[i] for i in indices], session), strict=True):
            yield index, choose(values, answer=items[index]["answer"], n_bytes=items[index]["n_bytes"])
    # Apart: short answers are a few tokens long, and a batch takes as long as its longest.
    for indices in (*_together(by_type["short"]), *_together(by_type["rules"])):
        answers = session.generate([_prompt(items[i]) for i in indices])
        for index, answer in zip(indices, answers, strict=True):
            yield index, judge(decode(answer), items[index])


def _together(indices: list[int]) -> Iterator[list[int]]:
    """Portions for one call: progress can be told between them, and the logits of one fit into memory."""
    return (indices[i : i + _PORTION] for i in range(0, len(indices), _PORTION))


def _prompt(item: Mapping[str, Any]) -> Prompt:
    return Prompt(token_ids=item["prompt"], max_tokens=item["max_tokens"], end_ids=item["end_ids"])


def log_likelihoods(items: Sequence[Mapping[str, Any]], session: Session) -> list[list[float]]:
    """Log-probabilities of each item's choices after its prompt, in nats."""
    trees = [Tree(stem=item["prompt"], branches=[ids[:-1] for ids in item["choices"]]) for item in items]
    grown = session.grow(trees)
    return [
        [_total(ids, g.stem, b) for ids, b in zip(i["choices"], g.branches, strict=True)]
        for i, g in zip(items, grown, strict=True)
    ]


def _total(token_ids: Sequence[int], stem: "Logits", branch: "Logits") -> float:
    """Log-probability of tokens, the first by the logits after the stem, the rest by those of the branch."""
    total = float(log_softmax(stem[None])[0, token_ids[0]])
    if len(token_ids) > 1:
        rows = log_softmax(branch)
        total += sum(float(rows[position, token]) for position, token in enumerate(token_ids[1:]))
    return total


def choose(log_likelihoods: Sequence[float], *, answer: int, n_bytes: Sequence[int]) -> Score:
    """The choice with the best log-likelihood per byte wins: lm-evaluation-harness's acc_norm."""
    values = [value / length for value, length in zip(log_likelihoods, n_bytes, strict=True)]
    best_wrong = max(range(len(values)), key=lambda i: (i != answer, values[i]))
    margin = (values[answer] - values[best_wrong]) * n_bytes[answer]
    return Score(right=margin > 0, margin=margin)


def judge(text: str, item: Mapping[str, Any]) -> Score:
    """The outcome of a generated text."""
    if item["type"] == "rules":
        followed = rules.follow(item["rules"], text)
        return Score(right=all(followed.strict), followed=followed)
    return Score(right=matches(text, item["answers"]))


def normalise(text: str) -> str:
    """Lower case, without surrounding space, quotes, emphasis and a final full stop, in whatever order they stand."""
    return text.strip().lower().lstrip("\"'*").rstrip("\"'*.!").strip()


def matches(text: str, answers: Sequence[str]) -> bool:
    """Whether a generated text is one of the answers.

    An answer that is a number also counts as the last number of the text, as in the flexible matching that is usual
    for GSM8K: "17 + 25 = 42" answers 42.
    """
    given = normalise(text)
    if given in {normalise(answer) for answer in answers}:
        return True
    numbers = [number.replace(",", "") for number in _NUMBER.findall(given)]
    return bool(numbers) and numbers[-1] in {answer.replace(",", "") for answer in answers if _NUMBER.fullmatch(answer)}
