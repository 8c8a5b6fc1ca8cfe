"""Rows of the sets whose answers are texts, as questions in the form that lm-evaluation-harness gives them."""

import re

from .. import rules
from .math_answers import boxed, final_form, school_form
from .question import Question, Row, text, texts

_LEVELS = {"1": "easy", "2": "easy", "3": "medium", "4": "hard", "5": "hard"}


def gsm8k(row: Row) -> Question:
    """GSM8K; the answer is the worked solution with #### and the number at its end."""
    return Question(text=f"Question: {text(row, 'question')}\nAnswer:", answer=text(row, "answer"))


def minerva_math(row: Row) -> Question:
    """MATH as Minerva asked it (Lewkowycz et al., arXiv 2206.14858)."""
    asked = f"Problem:\n{text(row, 'problem')}\n\nSolution:"
    return Question(
        text=asked,
        answer=text(row, "solution"),
        reference=final_form(_solved(row)),
        subject=_subject(row),
        difficulty=_level(row),
    )


def hendrycks_math(row: Row) -> Question:
    """MATH as its authors asked it (Hendrycks et al., arXiv 2103.03874)."""
    answer = _solved(row)
    asked = f"Problem: {text(row, 'problem')}\nAnswer:"
    return Question(
        text=asked, answer=answer, reference=school_form(answer), subject=_subject(row), difficulty=_level(row)
    )


def _solved(row: Row) -> str:
    answer = boxed(text(row, "solution"))
    if answer is None:
        raise ValueError(r"the solution has no answer in \boxed{...}")
    return answer


def _subject(row: Row) -> str:
    """The subject of a row of MATH, as the Hub's configurations are called."""
    return str(row.get("type", row.get("subject", ""))).lower().replace(" & ", "_and_").replace(" ", "_")


def _level(row: Row) -> str:
    """The difficulty of a row of MATH: level 1 to 5, as "Level 5" or as a number."""
    return _LEVELS.get(re.sub(r"\D", "", str(row.get("level", ""))), "")


def is_level_5(row: Row) -> bool:
    """Whether the row of MATH is of the highest level."""
    return str(row.get("level")) in {"5", "Level 5"}


def ifeval(row: Row) -> Question:
    """IFEval: the prompt as it stands, and the rules that an answer is to follow."""
    names, kwargs = texts(row, "instruction_id_list"), row["kwargs"]
    wanted = rules.checked(rules.published(names, kwargs))
    levels = ("easy", "medium", "hard")
    return Question(text=text(row, "prompt"), rules=wanted, difficulty=levels[min(len(wanted), 3) - 1])


def mt_bench(row: Row) -> Question:
    """MT-Bench: two turns, to be answered one after the other; they have no key."""
    return Question(turns=texts(row, "turns", "prompt"), subject=row.get("category", ""))


def lambada(row: Row) -> Question:
    """LAMBADA: the last word, which the passage before it settles."""
    before, space, word = text(row, "text").rpartition(" ")
    if not space or not word:
        raise ValueError("the text has no last word")
    return Question(text=before, answer=word)
