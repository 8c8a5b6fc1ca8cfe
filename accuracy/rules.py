"""Instruction following by verifiable rules: which there are, whether an item's are well formed, and who follows them.

Names and parameters are those of IFEval where it has the rule (Zhou et al., arXiv 2311.07911): all 25 instructions of
its 541 published prompts are here. An answer is judged strictly, as it stands, and loosely, as the best of eight forms
of it: with and without its first line, its last line and its asterisks.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from inspect import signature
from typing import Any, Literal, get_args, get_origin, get_type_hints

from . import counting_rules as counting
from . import form_rules as form
from .language import LANGUAGES

RULES: Mapping[str, Callable[..., bool]] = {
    "keywords:existence": counting.existence,
    "keywords:frequency": counting.frequency,
    "keywords:forbidden_words": counting.forbidden_words,
    "keywords:letter_frequency": counting.letter_frequency,
    "keywords:order": counting.order,
    "language:response_language": form.response_language,
    "language:response_script": form.response_script,
    "length_constraints:number_words": counting.number_words,
    "length_constraints:number_sentences": counting.number_sentences,
    "length_constraints:number_lines": counting.number_lines,
    "length_constraints:number_paragraphs": counting.number_paragraphs,
    "length_constraints:nth_paragraph_first_word": counting.nth_paragraph_first_word,
    "detectable_content:number_placeholders": counting.number_placeholders,
    "detectable_content:postscript": form.postscript,
    "detectable_format:number_bullet_lists": counting.number_bullet_lists,
    "detectable_format:numbered_list": counting.numbered_list,
    "detectable_format:number_highlighted_sections": counting.number_highlighted_sections,
    "detectable_format:multiple_sections": counting.multiple_sections,
    "detectable_format:separated": counting.separated,
    "detectable_format:constrained_response": form.constrained_response,
    "detectable_format:one_of": form.one_of,
    "detectable_format:json_format": form.json_format,
    "detectable_format:json_keys": form.json_keys,
    "detectable_format:number_format": form.number_format,
    "detectable_format:iso_date": form.iso_date,
    "detectable_format:title": form.title,
    "combination:two_responses": form.two_responses,
    "combination:repeat_prompt": form.repeat_prompt,
    "startend:start_checker": form.start_checker,
    "startend:end_checker": form.end_checker,
    "startend:quotation": form.quotation,
    "change_case:capital_word_frequency": counting.capital_word_frequency,
    "change_case:english_capital": form.english_capital,
    "change_case:english_lowercase": form.english_lowercase,
    "punctuation:no_comma": form.no_comma,
}


@dataclass(frozen=True, kw_only=True)
class Followed:
    """Which rules of an item an answer follows, in the item's order."""

    strict: tuple[bool, ...]
    loose: tuple[bool, ...]


def follow(rules: Sequence[Mapping[str, Any]], answer: str) -> Followed:
    """Judge an answer by rules that `checked` let pass; an empty answer follows none."""
    strict = tuple(_follows(rule, answer) for rule in rules)
    forms = list(_forms(answer))
    return Followed(strict=strict, loose=tuple(any(_follows(rule, each) for each in forms) for rule in rules))


def accuracies(answers: Sequence[Followed]) -> dict[str, float]:
    """IFEval's four accuracies, 0..1: of prompts whose every rule is followed, and of single rules."""
    said: dict[str, float] = {}
    for way in ("strict", "loose"):
        outcomes: list[tuple[bool, ...]] = [getattr(answer, way) for answer in answers]
        single = [outcome for each in outcomes for outcome in each]
        said[f"prompt_level_{way}"] = sum(map(all, outcomes)) / len(outcomes)
        said[f"instruction_level_{way}"] = sum(single) / len(single)
    return said


def published(ids: Sequence[str], parameters: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rules of a row of IFEval's data, from its "instruction_id_list" and "kwargs"; null means left out."""
    return [
        {"rule": name, **{key: value for key, value in each.items() if value is not None}}
        for name, each in zip(ids, parameters, strict=True)
    ]


def checked(rules: Any) -> tuple[dict[str, Any], ...]:
    """The rules of an item, as they are; ValueError says which is not known or lacks a parameter."""
    if not isinstance(rules, list) or not rules or not all(isinstance(rule, dict) for rule in rules):
        raise ValueError("rules is a list of objects, and not empty")
    for rule in rules:
        if not isinstance(rule.get("rule"), str) or rule["rule"] not in RULES:
            raise ValueError(f"the rule {rule.get('rule')!r} is not known; known rules: {', '.join(RULES)}")
        _check_parameters(rule)
    return tuple(rules)


def _check_parameters(rule: Mapping[str, Any]) -> None:
    name, wanted = rule["rule"], _parameters(rule["rule"])
    for key in sorted(wanted.keys() | rule.keys() - {"rule"}):
        if key not in rule:
            raise ValueError(f"the rule {name} lacks {key!r}")
        if key not in wanted:
            raise ValueError(f"the rule {name} has no parameter {key!r}; it has: {', '.join(wanted) or 'none'}")
        if not _fits(rule[key], wanted[key]):
            raise ValueError(f"the rule {name} cannot take {rule[key]!r} as {key!r}")
    if rule.get("language", "en") not in LANGUAGES:
        raise ValueError(f"the language {rule['language']!r} is not known; known: {', '.join(sorted(LANGUAGES))}")


@cache
def _parameters(name: str) -> dict[str, Any]:
    """Parameter -> type: the function's own keyword arguments."""
    hints = get_type_hints(RULES[name])
    return {
        key: hints[key] for key, each in signature(RULES[name]).parameters.items() if each.kind == each.KEYWORD_ONLY
    }


def _fits(value: Any, wanted: Any) -> bool:
    if get_origin(wanted) is Literal:
        return value in get_args(wanted)
    if get_origin(wanted) is list:
        return isinstance(value, list) and bool(value) and all(_fits(each, str) for each in value)
    if wanted is int:
        return isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return isinstance(value, str) and bool(value.strip())


def _follows(rule: Mapping[str, Any], answer: str) -> bool:
    given = {key: value for key, value in rule.items() if key != "rule"}
    return bool(answer.strip()) and RULES[rule["rule"]](answer, **given)


def _forms(answer: str) -> Iterator[str]:
    """IFEval's eight: lines may be an introduction or a farewell, asterisks Markdown."""
    lines = answer.split("\n")
    for part in (answer, *("\n".join(rest).strip() for rest in (lines[1:], lines[:-1], lines[1:-1]))):
        yield part
        yield part.replace("*", "")
