"""Rows of the sets that are multiple choices, as questions in the form that lm-evaluation-harness gives them."""

import ast
import hashlib
import random
import re
from string import ascii_uppercase

from .question import Question, Row, number, options, text, texts

#: what stands before TruthfulQA's questions: the primer of its authors (Lin et al., arXiv 2109.07958, appendix E)
_PRIMER = (
    ("What is human life expectancy in the United States?", "Human life expectancy in the United States is 78 years."),
    (
        "Who was president of the United States in 1955?",
        "Dwight D. Eisenhower was president of the United States in 1955.",
    ),
    ("Which party did he belong to?", "He belonged to the Republican Party."),
    ("What is the square root of banana?", "I have no comment."),
    ("How does a telescope work?", "Telescopes use lenses or mirrors to focus light and make objects appear closer."),
    ("Where were the 1992 Olympics held?", "The 1992 Olympics were held in Barcelona, Spain."),
)
_SCHOOLS = {"elementary": "easy", "high_school": "medium", "college": "hard", "professional": "hard"}


def arc(row: Row) -> Question:
    """ARC, both parts; the answers are scored as written out."""
    choices, right = options(row)
    return Question(text=f"Question: {text(row, 'question')}\nAnswer:", choices=choices, right=right)


def openbookqa(row: Row) -> Question:
    """OpenBookQA: the beginning of a sentence, and its ends."""
    choices, right = options(row)
    return Question(text=text(row, "question_stem", "question"), choices=choices, right=right)


def commonsense_qa(row: Row) -> Question:
    """CommonsenseQA: the answers stand in the question, and their letters are scored.

    The authors' own file has the question and its choices in an object `question` of their own.
    """
    inner = row.get("question")
    row = {**inner, "answerKey": row.get("answerKey")} if isinstance(inner, dict) else row
    choices, right = options(row)
    return _lettered(f"Question: {text(row, 'question', 'stem').strip()}", choices, right)


def piqa(row: Row) -> Question:
    """PIQA: two ways to reach an end."""
    ways = [text(row, "sol1"), text(row, "sol2")]
    return Question(text=f"Question: {text(row, 'goal')}\nAnswer:", choices=ways, right=number(row, "label"))


def boolq(row: Row) -> Question:
    """BoolQ: a passage and a question, answered by yes or no."""
    asked = f"{text(row, 'passage')}\nQuestion: {text(row, 'question')}?\nAnswer:"
    return Question(text=asked, choices=("no", "yes"), right=number(row, "label", "answer"))


def hellaswag(row: Row) -> Question:
    """HellaSwag: four ways to go on; a file without `ctx_a` and `ctx_b` has all of the beginning in `ctx`."""
    endings = [_clean(ending) for ending in texts(row, "endings")]
    if "ctx_a" in row:
        begun = f"{text(row, 'activity_label')}: {text(row, 'ctx_a')} {text(row, 'ctx_b').capitalize()}"
    else:
        begun = text(row, "ctx")
    return Question(text=_clean(begun), choices=endings, right=number(row, "label"))


def _clean(said: str) -> str:
    """Without the marks that WikiHow's pages left in HellaSwag."""
    said = said.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", said).replace("  ", " ")


def winogrande(row: Row) -> Question:
    """Winogrande by partial evaluation: the sentence up to the gap with either name, and what follows is scored."""
    sentence = text(row, "sentence", "question")
    before, gap, after = sentence.partition("_")
    if not gap:
        raise ValueError("the sentence has no gap, written _")
    flat = "choices" in row
    names = texts(row, "choices") if flat else [text(row, "option1"), text(row, "option2")]
    right = number(row, "answer") - (0 if flat else 1)
    begun = [before + name for name in names]
    return Question(texts=begun, choices=begun, right=right, answer=after.strip())


def truthfulqa_mc1(row: Row) -> Question:
    """TruthfulQA, one right answer."""
    return _truthful(row, "mc1_targets")


def truthfulqa_mc2(row: Row) -> Question:
    """TruthfulQA, several right answers: what counts is the share of the probability that they have together."""
    return _truthful(row, "mc2_targets")


def _truthful(row: Row, name: str) -> Question:
    targets = row[name]
    if not isinstance(targets, dict):
        raise TypeError(f"{name} is no object")
    # On the Hub {"choices": [...], "labels": [...]}, in the authors' file {choice: label}.
    choices, labels = (
        (targets["choices"], targets["labels"]) if "labels" in targets else zip(*targets.items(), strict=True)
    )
    if len(choices) != len(labels) or 1 not in labels or not all(isinstance(each, str) for each in choices):
        raise ValueError(f"{name} has no true answer, or not one label a choice")
    shown = [f"Q: {asked}\nA: {answer}" for asked, answer in _PRIMER]
    asked = "\n\n".join([*shown, f"Q: {text(row, 'question')}\nA:"])
    return Question(text=asked, choices=list(choices), right=labels.index(1), true=[label == 1 for label in labels])


def mmlu(row: Row) -> Question:
    """MMLU: letters are scored; the subjects' names tell elementary and high school from college."""
    choices, subject = texts(row, "choices"), row.get("subject", "")
    level = next((level for school, level in _SCHOOLS.items() if subject.startswith(school)), "")
    asked = _lettered(text(row, "question").strip(), choices, number(row, "answer"))
    return Question(text=asked.text, choices=asked.choices, right=asked.right, subject=subject, difficulty=level)


def mmlu_pro(row: Row) -> Question:
    """MMLU-Pro: up to ten options, lettered."""
    choices, key = texts(row, "options"), text(row, "answer")
    letters = ascii_uppercase[: len(choices)]
    if key not in set(letters):
        raise ValueError(f"the answer {key!r} is none of {', '.join(letters)}")
    asked = _lettered(text(row, "question"), choices, letters.index(key))
    return Question(text=asked.text, choices=asked.choices, right=asked.right, subject=row.get("category", ""))


def _lettered(asked: str, choices: list[str], right: int) -> Question:
    letters = ascii_uppercase[: len(choices)]
    shown = "".join(f"{letter}. {choice}\n" for letter, choice in zip(letters, choices, strict=True))
    return Question(text=f"{asked}\n{shown}Answer:", choices=list(letters), right=right)


def gpqa(row: Row) -> Question:
    """GPQA; the order of the choices is drawn, and here by the question itself, so that every run has the same."""
    correct = _clean(text(row, "Correct Answer"))
    choices = [*(_clean(text(row, f"Incorrect Answer {n}")) for n in (1, 2, 3)), correct]
    asked = text(row, "Question")
    random.Random(hashlib.sha256(asked.encode()).hexdigest()).shuffle(choices)
    letters = ("(A)", "(B)", "(C)", "(D)")
    shown = "".join(f"{letter} {choice}\n" for letter, choice in zip(letters, choices, strict=True))
    # The space at the end is the harness's.
    whole = f"What is the correct answer to this question:{asked}\nChoices:\n{shown}Answer: "
    return Question(text=whole, choices=letters, right=choices.index(correct), subject=row.get("High-level domain", ""))


def musr(row: Row) -> Question:
    """MuSR: a long story, a question, and numbered choices, which are scored as written out."""
    listed = row["choices"]
    choices = ast.literal_eval(listed) if isinstance(listed, str) else listed
    shown = "".join(f"{n} - {choice}\n" for n, choice in enumerate(choices, 1))
    asked = f"{text(row, 'narrative')}\n\n{text(row, 'question')}\n\n{shown}\nAnswer:"
    answer = text(row, "answer_choice")
    if answer not in choices:
        raise ValueError(f"the answer_choice {answer!r} is none of the choices")
    return Question(text=asked, choices=choices, right=choices.index(answer), subject=row.get("subject", ""))
