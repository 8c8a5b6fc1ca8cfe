"""How outcomes are computed from log-likelihoods and texts: the definitions of lm-evaluation-harness 0.4.

Log-likelihoods are sums of the natural logarithms of the probabilities of a continuation's tokens.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..rules import follow
from .math_answers import between_dollars, final_answer, final_form, same, school_form

_NUMBER_AFTER_HASHES = re.compile(r"#### (\-?[0-9\.\,]+)")
_NUMBER = re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")
_IGNORED_IN_NUMBERS = (",", r"\$", "(?s).*#### ", r"\.$")


def acc(log_likelihoods: Sequence[float], right: int) -> bool:
    """Whether the right choice is the likeliest; of equals the first counts as such."""
    return max(range(len(log_likelihoods)), key=log_likelihoods.__getitem__) == right


def acc_norm(log_likelihoods: Sequence[float], right: int, n_characters: Sequence[int]) -> bool:
    """The same, each log-likelihood divided by its choice's characters, the space before it not counted.

    The harness's documents say bytes; its code counts characters, and so do its published figures.

    A choice of no characters, as TruthfulQA has some, counts as one of one.
    """
    return acc([value / max(1, n) for value, n in zip(log_likelihoods, n_characters, strict=True)], right)


def margin(log_likelihoods: Sequence[float], right: int) -> float:
    """The right choice's log-likelihood less the best wrong one's, in nats."""
    return log_likelihoods[right] - max(value for i, value in enumerate(log_likelihoods) if i != right)


def margin_of(row: Mapping[str, Any], log_likelihoods: Sequence[float]) -> float:
    """How far the right answer leads by what the row's metric compares, in nats; negative where it lags.

    For acc_norm the lead a character, times the right choice's characters; for MC2 the log-odds of the true answers.
    """
    if row["metric"] == "mc2":
        told = list(zip(log_likelihoods, row["true"], strict=True))
        true, false = ([value for value, is_true in told if is_true == wanted] for wanted in (True, False))
        return log_sum_exp(true) - log_sum_exp(false)
    if row["metric"] == "acc_norm":
        lengths: Sequence[int] = row["n_characters"]
        right: int = row["right"]
        each = [value / max(1, n) for value, n in zip(log_likelihoods, lengths, strict=True)]
        return lengths[right] * margin(each, right)
    return margin(log_likelihoods, row["right"])


def log_sum_exp(values: Sequence[float]) -> float:
    """The logarithm of the sum of the exponentials; -inf for none."""
    highest = max(values, default=-math.inf)
    return highest + math.log(sum(math.exp(value - highest) for value in values)) if values else highest


def mc2(log_likelihoods: Sequence[float], true: Sequence[bool]) -> float:
    """TruthfulQA's MC2, 0..1: the true answers' part of the probability of all answers together."""
    highest = max(log_likelihoods)
    weights = [math.exp(value - highest) for value in log_likelihoods]
    return sum(weight for weight, is_true in zip(weights, true, strict=True) if is_true) / sum(weights)


def perplexity(log_likelihoods: Sequence[float]) -> float:
    """LAMBADA's: of last words, each a unit however many tokens it has."""
    return math.exp(-sum(log_likelihoods) / len(log_likelihoods))


def until(text: str, stops: Sequence[str]) -> str:
    """A generated text up to the first of its stops."""
    for stop in stops:
        text = text.split(stop)[0]
    return text


def strict_match(text: str, answer: str) -> bool:
    """GSM8K: the first number after #### is the answer's."""
    found = _NUMBER_AFTER_HASHES.search(text)
    return _same_number(found[1] if found else "[invalid]", answer)


def flexible_extract(text: str, answer: str) -> bool:
    """GSM8K: the last thing that looks like a number is the answer's."""
    found = [wide or narrow for wide, narrow in _NUMBER.findall(text)]
    return _same_number(found[-1].strip() if found else "[invalid]", answer)


def _same_number(given: str, answer: str) -> bool:
    for ignored in _IGNORED_IN_NUMBERS:
        given, answer = re.sub(ignored, "", given), re.sub(ignored, "", answer)
    return given.lower() == answer.lower()


def scored_outcome(
    row: Mapping[str, Any], log_likelihoods: Sequence[float], greedy: Sequence[bool]
) -> dict[str, float]:
    """Every metric of an encoded item that is scored by log-likelihood, each a number that the set's figure averages.

    `log_likelihood` of a last word is what `perplexity` takes.
    """
    if row["type"] == "word":
        return {"acc": float(greedy[0]), "log_likelihood": log_likelihoods[0]}
    if row["true"]:
        return {"acc": float(acc(log_likelihoods, row["right"])), "mc2": mc2(log_likelihoods, row["true"])}
    return {
        "acc": float(acc(log_likelihoods, row["right"])),
        "acc_norm": float(acc_norm(log_likelihoods, row["right"], row["n_characters"])),
    }


def written_outcome(row: Mapping[str, Any], text: str) -> dict[str, float]:
    """Every metric of an encoded item whose answer was generated: of rules, GSM8K and MATH."""
    said = until(text, row["stops"])
    if row["type"] == "rules":
        followed = follow(row["rules"], said)
        return {
            "prompt_level_strict": float(all(followed.strict)),
            "prompt_level_loose": float(all(followed.loose)),
            "instruction_level_strict": sum(followed.strict) / len(followed.strict),
            "instruction_level_loose": sum(followed.loose) / len(followed.loose),
        }
    if row["set"] == "gsm8k":
        return {
            "strict_match": float(strict_match(said, row["answer"])),
            "flexible_extract": float(flexible_extract(said, row["answer"])),
        }
    if row["set"] == "hendrycks_math":
        return {"exact_match": float(school_form(between_dollars(said)) == row["answer"])}
    given = final_answer(said)
    return {"exact_match": float(given is not None and same(final_form(given), row["answer"]))}
