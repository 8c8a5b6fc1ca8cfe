"""How far a format keeps to the reference's greedy answers: one pass finds what generating would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import small_checkpoint
from edgequant.accuracy import agreement
from edgequant.convert.vocabulary.tokenizer import Tokenizer
from edgequant.runtimes.session import Prompt
from test_scoring import N_VOCAB, Table, successor


def answer(*ids: int, ended: bool = False, end_ids: tuple[int, ...] = ()) -> dict[str, Any]:
    return {"id": "a", "prompt": [1, 2], "answer": list(ids), "end_ids": list(end_ids), "ended": ended}


@pytest.mark.parametrize(
    ("given", "tokens", "length", "share"),
    [
        (answer(3, 4, 5), 3, 3, 1.0),
        (answer(3, 4, 6), 2, 3, 2 / 3),
        (answer(4, 5, 6), 0, 3, 2 / 3),  # given 4 it says 5, given 5 it says 6
        (answer(3, 4, ended=True, end_ids=(5,)), 3, 3, 1.0),  # it ends there, too
        (answer(3, 4, ended=True, end_ids=(6,)), 2, 3, 2 / 3),  # it would go on
        (answer(ended=True, end_ids=(3,)), 1, 1, 1.0),
        (answer(ended=True, end_ids=(7,)), 0, 1, 0.0),
    ],
)
def test_by_hand(given: dict[str, Any], tokens: int, length: int, share: float) -> None:
    """On a table where each token is followed by its successor."""
    (found,) = agreement.kept([given], successor())
    assert found == {"tokens": tokens, "length": length, "share": pytest.approx(share)}


@pytest.mark.parametrize("seed", range(8))
def test_one_pass_finds_where_generated_answers_part(seed: int) -> None:
    """Two models that differ a little: both generate, and the first token that differs is counted."""
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((64, N_VOCAB, N_VOCAB)) * 2
    other = logits + rng.standard_normal(logits.shape) * 0.4
    prompt = Prompt(token_ids=[1, 2, 3], max_tokens=20, end_ids=[0])
    ours, theirs = (Table(each).generate([prompt])[0] for each in (logits, other))
    ended = len(ours) < 20
    given = {"id": "x", "prompt": [1, 2, 3], "answer": ours, "end_ids": [0], "ended": ended}
    same = [a == b for a, b in zip([*ours, *[-1] * ended], [*theirs, *[-1] * (len(theirs) < 20)], strict=False)]
    expected = same.index(False) if False in same else len(same)
    (found,) = agreement.kept([given], Table(other))
    assert found["tokens"] == expected


def test_the_reference_s_answers(tmp_path: Path) -> None:
    """Prompts as they are; of a dialogue a turn after the other, each with the answers before it."""
    small_checkpoint.write_tokenizer(tmp_path)
    tokenizer = Tokenizer(tmp_path)

    class Says:
        """Answers every prompt with the same two tokens, and keeps what it was asked."""

        def __init__(self) -> None:
            self.asked: list[list[int]] = []

        def generate(self, prompts: Any) -> list[list[int]]:
            self.asked += [list(prompt.token_ids) for prompt in prompts]
            return [tokenizer.encode("the cat")[:2] for _ in prompts]

    plain = {"id": "p", "prompt": [5, 6], "max_tokens": 2, "end_ids": [1]}
    turns = {"id": "d", "type": "dialogue", "turns": ["hello", "and now"], "max_tokens": 9, "end_ids": [1]}
    prepared = {"asked": [plain], "items": [{"type": "choice"}, turns]}
    session: Any = Says()
    found = agreement.answers(prepared, session, tokenizer, context=200)
    assert [each["id"] for each in found] == ["p", "d#1", "d#2"]
    assert [each["ended"] for each in found] == [False, True, True]
    said = tokenizer.decode(found[1]["answer"])
    talk = [("user", "hello"), ("assistant", said), ("user", "and now")]
    text = tokenizer.render([{"role": role, "content": content} for role, content in talk])
    assert found[2]["prompt"] == session.asked[2] == tokenizer.encode(text)
    short = agreement.answers(prepared, session, tokenizer, context=len(found[1]["prompt"]) + 9)
    assert [each["id"] for each in short] == ["p", "d#1"]
