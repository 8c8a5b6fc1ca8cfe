"""One question of a public set, ready to be asked: the whole prompt with its worked examples, and what is scored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

#: "choice": which of several continuations is likelier. "word": whether one continuation is what the model says.
#: "text": a generated text is judged by its answer, "rules": by rules. "dialogue": turns to be answered, without a key.
Type = Literal["choice", "word", "text", "rules", "dialogue"]


@dataclass(frozen=True, kw_only=True)
class PublicItem:
    """A question with all that stands before it. Prompts are raw text: no chat template, as is the harness's default.

    `pairs` are (context, continuation), one a choice, and one alone for a last word; of each only the continuation is
    scored. `n_characters` of the choices is what acc_norm divides by. `prompt`, `stops` and `max_tokens` are for
    generated answers: the answer ends before the first stop. `id` is made of the question's content, so it is the same
    whichever file the question came from.
    """

    id: str
    set: str  # name in SETS
    kind: str
    type: Type
    subject: str = ""
    difficulty: str = ""
    pairs: Sequence[tuple[str, str]] = ()
    right: int = -1
    true: Sequence[bool] = ()
    n_characters: Sequence[int] = ()
    prompt: str = ""
    answer: str = ""
    rules: Sequence[Mapping[str, Any]] = field(default=())
    turns: Sequence[str] = ()
    stops: Sequence[str] = ()
    max_tokens: int = 0
