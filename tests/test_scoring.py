"""Scores by hand: a session whose logits are a table, choices by likelihood, short answers by matching."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pytest

from edgequant.accuracy import scoring
from edgequant.accuracy.divergence import log_softmax
from edgequant.accuracy.rules import Followed
from edgequant.accuracy.scoring import Score, choose, matches, normalise
from edgequant.runtimes.session import Prompt, Tree, extend_to, generate_in_turn, grow_in_turn

N_VOCAB = 8


class Table:
    """A session whose logits after a token depend on that token and its position alone; it counts what it computes."""

    def __init__(self, logits: Any = None) -> None:
        rows = np.random.default_rng(0).standard_normal((64, N_VOCAB, N_VOCAB)) * 2 if logits is None else logits
        self.logits = np.asarray(rows, dtype=np.float32)
        self.n_vocab = N_VOCAB
        self.tokens: list[int] = []
        self.computed: list[int] = []
        self._last: Any = None

    def evaluate(self, token_ids: Sequence[int], *, logits: Literal["all", "last"]) -> Any:
        if self._last is not None:
            self._last[:] = np.nan  # valid until the next call, no longer
        start = len(self.tokens)
        rows = np.stack([self.logits[start + i, token] for i, token in enumerate(token_ids)])
        self.tokens.extend(token_ids)
        self.computed.extend(token_ids)
        self._last = rows if logits == "all" else rows[-1]
        return self._last

    def rewind(self, n_tokens: int) -> None:
        del self.tokens[n_tokens:]

    def grow(self, trees: Sequence[Tree]) -> Any:
        return grow_in_turn(self, trees)

    def generate(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        return generate_in_turn(self, prompts)

    def close(self) -> None: ...


def score(item: dict[str, Any], table: Table, *, decode: scoring.Decode) -> Score:
    """The score of one item."""
    ((index, scored),) = scoring.score([item], table, decode=decode)
    assert index == 0
    return scored


def generate(table: Table, token_ids: list[int], *, max_tokens: int, end_ids: list[int]) -> list[int]:
    """The greedy answer to one prompt."""
    return table.generate([Prompt(token_ids=token_ids, max_tokens=max_tokens, end_ids=end_ids)])[0]


def likelihood(table: Table, prompt: list[int], ids: list[int]) -> float:
    """The sum of log-probabilities, position by position."""
    sequence, total = prompt + ids, 0.0
    for position in range(len(prompt), len(sequence)):
        total += float(log_softmax(table.logits[position - 1, sequence[position - 1]][None])[0, sequence[position]])
    return total


def choice_item(**changes: Any) -> dict[str, Any]:
    item = {
        "type": "choice",
        "prompt": [1, 2, 3],
        "choices": [[4], [5, 6], [7, 0, 1]],
        "answer": 1,
        "n_bytes": [2, 5, 7],
    }
    return {**item, **changes}


def test_choices_have_their_likelihoods() -> None:
    table, item = Table(), choice_item()
    (got,) = scoring.log_likelihoods([item], table)
    assert got == pytest.approx([likelihood(table, item["prompt"], ids) for ids in item["choices"]], rel=1e-5)
    assert table.computed == [1, 2, 3, 5, 7, 0]  # the prompt once, and no choice's last token
    assert table.tokens == item["prompt"]


def test_neighbouring_items_share_their_beginning() -> None:
    table = Table()
    scoring.log_likelihoods([choice_item(prompt=[1, 2, 3, 4])], table)
    table.computed.clear()
    (got,) = scoring.log_likelihoods([choice_item(prompt=[1, 2, 5, 4])], table)
    assert table.computed == [5, 4, 5, 7, 0]
    assert got[1] == pytest.approx(likelihood(table, [1, 2, 5, 4], [5, 6]), rel=1e-5)


def test_extending_computes_what_differs() -> None:
    table = Table()
    expected = Table().evaluate([1, 2, 3], logits="last")
    for before, computed in (
        ([], [1, 2, 3]),
        ([1, 2, 3], [3]),
        ([1, 2, 3, 4, 5], [3]),
        ([1, 7], [2, 3]),
        ([7], [1, 2, 3]),
    ):
        table.rewind(0)
        if before:
            table.evaluate(before, logits="last")
        table.computed.clear()
        np.testing.assert_array_equal(extend_to(table, [1, 2, 3]), expected)
        assert (table.computed, table.tokens) == (computed, [1, 2, 3])


def test_acc_norm_by_hand() -> None:
    """-6 nats over 12 bytes is -0.5 a byte, -4 over 5 is -0.8: the longer choice wins, although it is less likely."""
    won = choose([-4.0, -6.0], answer=1, n_bytes=[5, 12])
    assert won.right and won.margin == pytest.approx((-0.5 + 0.8) * 12)
    lost = choose([-4.0, -6.0], answer=0, n_bytes=[5, 12])
    assert not lost.right and lost.margin == pytest.approx((-0.8 + 0.5) * 5)


def test_the_margin_is_to_the_best_wrong_choice() -> None:
    got = choose([-9.0, -1.0, -2.0, -5.0], answer=1, n_bytes=[1, 1, 1, 1])
    assert got.right and got.margin == pytest.approx(1.0)
    assert choose([-1.0, -1.0], answer=0, n_bytes=[1, 1]).right is False  # a draw is no right answer
    assert choose([float("nan"), -1.0], answer=0, n_bytes=[1, 1]).right is False


def test_a_choice_item_is_scored() -> None:
    table = Table()
    values = [likelihood(table, [1, 2, 3], ids) / n for ids, n in zip([[4], [5, 6], [7, 0, 1]], (2, 5, 7), strict=True)]
    for answer in range(3):
        got = score(choice_item(answer=answer), table, decode=lambda ids: "")
        assert got.right == (max(range(3), key=values.__getitem__) == answer)
        assert got.margin is not None and (got.margin > 0) == got.right


def successor(**special: int) -> Table:
    """A table on which each token is followed by its successor."""
    rows = np.zeros((64, N_VOCAB, N_VOCAB), dtype=np.float32)
    for token in range(N_VOCAB):
        rows[:, token, (token + 1) % N_VOCAB] = 5
    return Table(rows)


@pytest.mark.parametrize(
    ("max_tokens", "end_ids", "expected"),
    [(3, [], [3, 4, 5]), (10, [6], [3, 4, 5]), (10, [7, 5], [3, 4]), (10, [3], []), (0, [], []), (1, [9], [3])],
)
def test_generation_ends(max_tokens: int, end_ids: list[int], expected: list[int]) -> None:
    assert generate(successor(), [1, 2], max_tokens=max_tokens, end_ids=end_ids) == expected


def test_generation_keeps_to_the_context_that_was_prepared() -> None:
    """`preparation` lets an item in whose prompt and max_tokens fit."""
    table = successor()
    generate(table, [1, 2], max_tokens=5, end_ids=[])
    assert len(table.tokens) <= 2 + 5


def test_a_short_item_is_scored() -> None:
    item = {"type": "short", "prompt": [1, 2], "answers": ["3 4"], "max_tokens": 9, "end_ids": [5]}
    seen: list[list[int]] = []

    def decode(ids: Sequence[int]) -> str:
        seen.append(list(ids))
        return " ".join(map(str, ids))

    got = score(item, successor(), decode=decode)
    assert (got.right, got.margin, seen) == (True, None, [[3, 4]])
    assert not score({**item, "answers": ["3 5"]}, successor(), decode=decode).right


def by_rules(**changes: Any) -> dict[str, Any]:
    rules = [{"rule": "startend:start_checker", "start_phrase": "3"}, {"rule": "punctuation:no_comma"}]
    return {"type": "rules", "prompt": [1, 2], "rules": rules, "max_tokens": 9, "end_ids": [5], **changes}


def test_an_item_by_rules_is_right_where_all_are_followed_strictly() -> None:
    got = score(by_rules(), successor(), decode=lambda ids: " ".join(map(str, ids)))
    assert got == Score(right=True, followed=Followed(strict=(True, True), loose=(True, True)))
    got = score(by_rules(), successor(), decode=lambda ids: "Well, here:\n3 4")
    assert got == Score(right=False, followed=Followed(strict=(False, False), loose=(True, True)))


def test_scores_go_back_to_their_items() -> None:
    """Choices are scored first, short answers together after them, and answers to rules last."""
    short = {"type": "short", "prompt": [1, 2], "answers": ["3"], "max_tokens": 1, "end_ids": []}
    items = [by_rules(), short, choice_item(), {**short, "answers": ["4"]}, choice_item(answer=0)]
    got = dict(scoring.score(items, successor(), decode=lambda ids: " ".join(map(str, ids))))
    assert sorted(got) == [0, 1, 2, 3, 4]
    assert [got[i].margin is None for i in range(5)] == [True, True, False, True, False]
    assert (got[0].right, got[1].right, got[3].right) == (True, True, False)
    assert [got[i].followed is None for i in range(5)] == [False, True, True, True, True]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("  Paris. ", "paris"), ('"Paris"', "paris"), ("**Yes!**", "yes"), ("'no'.", "no"), ("", ""), ("ÉTÉ", "été")],
)
def test_normalising(text: str, expected: str) -> None:
    assert normalise(text) == expected


@pytest.mark.parametrize(
    ("text", "answers", "expected"),
    [
        ("Paris", ["paris"], True),
        (" PARIS.\n", ["Paris", "Lutetia"], True),
        ("It is Paris", ["Paris"], False),
        ("", ["Paris"], False),
        ("42", ["42"], True),
        ("17 + 25 = 42", ["42"], True),
        ("The answer is 42.", ["42"], True),
        ("42 = 17 + 25", ["42"], False),
        ("It is 1,000.", ["1000"], True),
        ("It is 1,000.", ["1,000"], True),
        ("It is 1000.", ["1,000"], True),
        ("-7", ["-7"], True),
        ("3 - 10 = -7", ["-7"], True),
        ("3 - 10 = 7", ["-7"], False),
        ("about 3.14", ["3.14"], True),
        ("I have 12 apples and 3 pears", ["12"], False),
        ("42nd street", ["forty-two"], False),
        ("one", ["1"], False),
    ],
)
def test_matching(text: str, answers: list[str], expected: bool) -> None:
    assert matches(text, answers) is expected
