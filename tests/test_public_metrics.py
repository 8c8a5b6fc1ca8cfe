"""Metrics of the public sets on values worked by hand, after lm-evaluation-harness's published definitions."""

from __future__ import annotations

import math
from typing import Any

import pytest

from edgequant.accuracy.public import math_answers, metrics

# Four choices of 4, 12, 6 and 2 characters. Log-likelihoods a character: -0.75, -0.5, -0.6, -1.4.
VALUES, CHARACTERS = (-3.0, -6.0, -3.6, -2.8), (4, 12, 6, 2)


def test_acc_and_acc_norm_choose_differently() -> None:
    assert [metrics.acc(VALUES, right) for right in range(4)] == [False, False, False, True]
    assert [metrics.acc_norm(VALUES, right, CHARACTERS) for right in range(4)] == [False, True, False, False]
    assert metrics.acc_norm((-2.0, -6.0), 0, (4, 11))  # -0.5 a character against -0.55


def test_of_equals_the_first_counts() -> None:
    assert metrics.acc((-2.0, -1.0, -1.0), 1) and not metrics.acc((-2.0, -1.0, -1.0), 2)


def test_margin() -> None:
    assert metrics.margin(VALUES, 3) == pytest.approx(0.2)
    assert metrics.margin(VALUES, 1) == pytest.approx(-3.2)


def test_mc2_is_the_share_of_the_true() -> None:
    shares = [math.log(p) for p in (0.1, 0.02, 0.06, 0.02)]
    assert metrics.mc2(shares, (True, False, True, False)) == pytest.approx(0.8)
    # exp(-2000) is 0 as a float; the shares are the same.
    assert metrics.mc2([value - 2000 for value in shares], (True, False, True, False)) == pytest.approx(0.8)


def test_perplexity_of_last_words() -> None:
    assert metrics.perplexity([math.log(0.5), math.log(0.125)]) == pytest.approx(4.0)


def test_a_text_ends_before_its_first_stop() -> None:
    assert metrics.until("12</s> Question: b", ("Question:", "</s>")) == "12"
    assert metrics.until("12", ()) == "12"


KEY = "2 x 600 = <<2*600=1200>>1200 so 1,200.\n#### 1,200"


@pytest.mark.parametrize(
    ("text", "strict", "flexible"),
    [
        ("Thus\n#### 1200", True, True),
        ("#### 1,200.", True, True),
        ("#### 1200 and then #### 7", True, False),
        ("The answer is $1,200.", False, True),
        ("The answer is 1200", False, True),
        ("1200 eggs in 3 days", False, False),
        ("#### $1200", False, True),
        ("#### 1200.00", False, False),
        ("", False, False),
        ("none", False, False),
    ],
)
def test_gsm8k_by_both_filters(text: str, strict: bool, flexible: bool) -> None:
    assert (metrics.strict_match(text, KEY), metrics.flexible_extract(text, KEY)) == (strict, flexible)


@pytest.mark.parametrize(
    ("solution", "answer"),
    [
        (r"so \boxed{5} and \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
        (r"$\boxed 7$ apples", "7"),
        (r"\fbox{x}", "x"),
        (r"\boxed{\text{a {b} c}} d}", r"\text{a {b} c}"),
        (r"\boxed{5", None),
        ("nothing", None),
    ],
)
def test_the_last_box(solution: str, answer: str | None) -> None:
    assert math_answers.boxed(solution) == answer


@pytest.mark.parametrize(
    ("answer", "form"),
    [
        ("x = 5", "5"),
        ("$12$ square inches", "12"),
        (r"\frac12", r"\frac{1}{2}"),
        (r"\sqrt2", r"\sqrt{2}"),
        (r"\sqrt[3]2", r"\sqrt[3]{2}"),
        (r"90^\circ", "90"),
        ("1,200,000", "1200000"),
        ("0,1", "0,1"),
        (r"\left(3, 4\right)", r"\left(3,4\right)"),
        (r"\text{Monday}", "Monday"),
        (r"10\text{ cm}", "10"),
    ],
)
def test_minerva_s_form(answer: str, form: str) -> None:
    assert math_answers.final_form(answer) == form


@pytest.mark.parametrize(
    ("answer", "form"),
    [
        ("k = 5", "5"),
        (r"\dfrac12", r"\frac{1}{2}"),
        (r"\frac1{72}", r"\frac{1}{72}"),
        ("3/4", r"\frac{3}{4}"),
        ("0.5", r"\frac{1}{2}"),
        (".25", "0.25"),
        (r"50\%", "50"),
        (r"10\text{ cm}", "10"),
        (r"\left( 3, 4 \right)", "(3,4)"),
        (r"\sqrt3", r"\sqrt{3}"),
        ("", ""),
    ],
)
def test_the_authors_form(answer: str, form: str) -> None:
    assert math_answers.school_form(answer) == form


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("5", "5.0", True),
        (r"\frac{1}{2}", "0.5", True),
        (r"-\frac{6}{4}", r"\frac{-3}{2}", True),
        (r"\dfrac{x}{2}", r"\frac{x}{2}", True),
        ("5", "6", False),
        ("x", "y", False),
        (r"\frac{1}{0}", "1", False),
    ],
)
def test_the_same_answer(one: str, other: str, same: bool) -> None:
    assert math_answers.same(one, other) is same


def test_outcomes_of_scored_rows() -> None:
    row: dict[str, Any] = {"type": "choice", "right": 1, "true": [], "n_characters": CHARACTERS}
    assert metrics.scored_outcome(row, VALUES, [False] * 4) == {"acc": 0, "acc_norm": 1}
    several = {**row, "right": 0, "true": [True, False], "n_characters": [3, 3]}
    outcome = metrics.scored_outcome(several, [math.log(0.3), math.log(0.1)], [False] * 2)
    assert outcome == {"acc": 1, "mc2": pytest.approx(0.75)}
    word = {**row, "type": "word"}
    assert metrics.scored_outcome(word, [-1.5], [True]) == {"acc": 1, "log_likelihood": -1.5}


def test_outcomes_of_written_answers() -> None:
    gsm8k: dict[str, Any] = {"type": "text", "set": "gsm8k", "answer": KEY, "stops": ["Question:"]}
    assert metrics.written_outcome(gsm8k, "1,200\nQuestion: 3") == {"strict_match": 0, "flexible_extract": 1}
    minerva = {**gsm8k, "set": "math", "answer": "12", "stops": ["Problem:"]}
    said = "Final Answer: The final answer is $12$. I hope it is correct.\n\nProblem: 5"
    assert metrics.written_outcome(minerva, said) == {"exact_match": 1}
    assert metrics.written_outcome(minerva, "12") == {"exact_match": 0}
    authors = {**minerva, "set": "hendrycks_math", "answer": r"\frac{1}{2}"}
    assert metrics.written_outcome(authors, r"It is $\frac12$, so") == {"exact_match": 1}
    rules = {**gsm8k, "type": "rules", "stops": [], "rules": [
        {"rule": "punctuation:no_comma"},
        {"rule": "startend:end_checker", "end_phrase": "Bye."},
    ]}  # fmt: skip
    assert metrics.written_outcome(rules, "Well, then.\nBye.") == {
        "prompt_level_strict": 0,
        "prompt_level_loose": 1,  # its last line alone follows both
        "instruction_level_strict": 0.5,
        "instruction_level_loose": 1.0,
    }


def test_an_exponent_asks_for_no_number_of_a_gigabyte() -> None:
    assert not math_answers.same("1e1000000000", "5") and math_answers.same("1/2", r"\frac{1}{2}")


def test_a_choice_of_no_characters() -> None:
    """TruthfulQA has such ones: -2 a character, as if it had one, against -1.5 and -3."""
    assert metrics.acc_norm((-2.0, -6.0), 0, (0, 2)) and not metrics.acc_norm((-2.0, -3.0), 0, (0, 2))
