"""What a row of a public set asks, before worked examples stand in front of it; and the fields of rows, checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Question:
    """One row: what is asked, and what would be right.

    A choice has `choices` and the index `right` of one; where the choices stand in the question instead of after it
    (Winogrande), `texts` holds the question once for each and `answer` what follows them all. TruthfulQA's MC2 has
    `true` beside, one a choice. A question with a text for an answer has `answer`, as a worked example would show it,
    and `reference` where the outcome is judged by another form of it. `rules` and `turns` are IFEval's and MT-Bench's.
    """

    text: str = ""
    choices: Sequence[str] = ()
    right: int = -1
    texts: Sequence[str] = ()
    true: Sequence[bool] = ()
    answer: str = ""
    reference: str = ""
    rules: Sequence[Mapping[str, Any]] = field(default=())
    turns: Sequence[str] = ()
    subject: str = ""
    difficulty: str = ""  # "easy" | "medium" | "hard", of sets that tell

    def __post_init__(self) -> None:
        if self.choices and not (len(self.choices) > 1 and 0 <= self.right < len(self.choices)):
            raise ValueError(f"of {len(self.choices)} choices none has the index {self.right}")
        if self.true and (all(self.true) or not any(self.true)):
            raise ValueError("of its choices all are true, or none is")
        try:
            "".join((self.text, self.answer, self.reference, *self.choices, *self.texts, *self.turns)).encode()
        except UnicodeEncodeError:
            raise ValueError("half of a surrogate pair is no character") from None

    def worked(self) -> str:
        """The question with its answer after it, as lm-evaluation-harness shows an example: one space between."""
        asked = self.texts[self.right] if self.texts else self.text
        return f"{asked} {self.answer or self.choices[self.right]}"


def text(row: Row, *names: str) -> str:
    """The first of these fields that the row has, a text; KeyError names the first where it has none of them."""
    value = _first(row, names)
    if not isinstance(value, str):
        raise TypeError(f"{names[0]} is no text")
    return value


def texts(row: Row, *names: str) -> list[str]:
    """A field that is a list of texts."""
    value = _first(row, names)
    if not isinstance(value, list) or not value or not all(isinstance(each, str) for each in value):
        raise TypeError(f"{names[0]} is no list of texts")
    return value


def number(row: Row, *names: str) -> int:
    """A field that is a whole number, or a text or a boolean that stands for one."""
    value = _first(row, names)
    if not isinstance(value, str | int):
        raise TypeError(f"{names[0]} is no whole number")
    return int(value)


def options(row: Row) -> tuple[list[str], int]:
    """The field `choices` and which of them is right.

    On the Hub that is {"text": [...], "label": [...]} and `answerKey`, a label; in files in circulation also a list of
    {"label", "text"}, or a list of texts and the index `answer`.
    """
    choices = _first(row, ("choices",))
    if isinstance(choices, Mapping):
        labels, said = texts(choices, "label"), texts(choices, "text")
    elif isinstance(choices, list) and choices and isinstance(choices[0], Mapping):
        labels, said = [text(each, "label") for each in choices], [text(each, "text") for each in choices]
    else:
        return texts(row, "choices"), number(row, "answer")
    key = text(row, "answerKey").strip()
    if key not in labels:
        raise ValueError(f"the answerKey {key!r} is none of {', '.join(labels)}")
    return said, labels.index(key)


def _first(row: Row, names: Sequence[str]) -> Any:
    for name in names:
        if row.get(name) is not None:
            return row[name]
    raise KeyError(names[0])
