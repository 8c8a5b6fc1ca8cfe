"""Scores by hand: a session whose logits are a table, choices by likelihood, short answers by matching."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pytest

from edgequant import Error
from edgequant.accuracy import scoring
from edgequant.accuracy.divergence import log_softmax
from edgequant.accuracy.likelihoods import likelihoods
from edgequant.accuracy.scoring import Score, matches, normalise, scored
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
        "metric": "acc_norm",
        "right": 1,
        "true": [],
        "n_scored": [1, 2, 3],
        "n_characters": [2, 5, 7],
    }
    return {**item, **changes}


def values(items: list[dict[str, Any]], table: Table) -> list[list[float]]:
    """Log-likelihoods of each item's choices."""
    return [[each.value for each in found] for found in likelihoods(items, table)]


def test_choices_have_their_likelihoods() -> None:
    table, item = Table(), choice_item()
    (got,) = values([item], table)
    assert got == pytest.approx([likelihood(table, item["prompt"], ids) for ids in item["choices"]], rel=1e-5)
    assert table.computed == [1, 2, 3, 5, 7, 0]  # the prompt once, and no choice's last token
    assert table.tokens == item["prompt"]


def test_neighbouring_items_share_their_beginning() -> None:
    table = Table()
    likelihoods([choice_item(prompt=[1, 2, 3, 4])], table)
    table.computed.clear()
    (got,) = values([choice_item(prompt=[1, 2, 5, 4])], table)
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


def chosen(log_likelihoods: list[float], *, right: int, n_characters: list[int], **changes: Any) -> Score:
    item = choice_item(right=right, n_characters=n_characters, **changes)
    return scored(item, log_likelihoods, [False] * len(log_likelihoods))


def test_acc_norm_by_hand() -> None:
    """-6 nats over 12 letters is -0.5 each, -4 over 5 is -0.8: the longer choice wins, although it is less likely."""
    won = chosen([-4.0, -6.0], right=1, n_characters=[5, 12])
    assert won.value == 1 and won.margin == pytest.approx((-0.5 + 0.8) * 12)
    lost = chosen([-4.0, -6.0], right=0, n_characters=[5, 12])
    assert lost.value == 0 and lost.margin == pytest.approx((-0.8 + 0.5) * 5)
    assert lost.outcomes == {"acc": 1.0, "acc_norm": 0.0}


def test_the_margin_is_to_the_best_wrong_choice() -> None:
    got = chosen([-9.0, -1.0, -2.0, -5.0], right=1, n_characters=[1, 1, 1, 1], metric="acc")
    assert got.value == 1 and got.margin == pytest.approx(1.0)


def test_mc2_by_hand() -> None:
    """Probabilities of 0.1 and 0.3 for the true answers, 0.1 for the false one: 0.8 of their sum, odds of 4 to 1."""
    found = [float(np.log(p)) for p in (0.1, 0.1, 0.3)]
    got = chosen(found, right=0, n_characters=[1, 1, 1], true=[True, False, True], metric="mc2")
    assert got.value == pytest.approx(0.8) and got.margin == pytest.approx(np.log(4))


def test_a_last_word_counts_where_every_token_is_the_likeliest() -> None:
    item = choice_item(type="word", metric="acc", choices=[[4]], n_scored=[1])
    assert scored(item, [-0.1], [True]).value == 1 and scored(item, [-0.1], [False]).value == 0
    assert scored(item, [-0.1], [True]).margin is None


def test_likelihoods_that_are_no_numbers() -> None:
    with pytest.raises(Error, match="no finite numbers"), np.errstate(invalid="ignore"):
        likelihoods([choice_item()], Table(np.full((64, N_VOCAB, N_VOCAB), np.nan)))


def test_a_choice_item_is_scored() -> None:
    table = Table()
    each = [likelihood(table, [1, 2, 3], ids) / n for ids, n in zip([[4], [5, 6], [7, 0, 1]], (2, 5, 7), strict=True)]
    for answer in range(3):
        got = score(choice_item(right=answer), table, decode=lambda ids: "")
        assert got.value == (max(range(3), key=each.__getitem__) == answer)
        assert got.margin is not None and (got.margin > 0) == got.value


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
    item = {"type": "short", "prompt": [1, 2], "answers": ["3 4"], "stops": [], "max_tokens": 9, "end_ids": [5]}
    seen: list[list[int]] = []

    def decode(ids: Sequence[int]) -> str:
        seen.append(list(ids))
        return " ".join(map(str, ids))

    got = score(item, successor(), decode=decode)
    assert (got.value, got.margin, seen) == (1.0, None, [[3, 4]])
    assert score({**item, "answers": ["3 5"]}, successor(), decode=decode).value == 0


def test_a_text_that_ends_an_answer_is_looked_for() -> None:
    """Every eighth token, so that what a model rambles on after its answer is not computed."""
    item = {
        "type": "text", "set": "gsm8k", "metric": "strict_match", "answer": "#### 4", "prompt": [1, 2],
        "stops": ["Question:"], "max_tokens": 40, "end_ids": [],
    }  # fmt: skip
    table = successor()
    got = score(item, table, decode=lambda ids: "#### 4" + " Question: x" * (len(ids) > 8))
    assert got.value == 1 and got.outcomes == {"strict_match": 1.0, "flexible_extract": 1.0}
    assert len(table.computed) == 2 + 16 - 1


def by_rules(**changes: Any) -> dict[str, Any]:
    rules = [{"rule": "startend:start_checker", "start_phrase": "3"}, {"rule": "punctuation:no_comma"}]
    return {"type": "rules", "prompt": [1, 2], "rules": rules, "metric": "prompt_level_strict", "stops": [],
            "max_tokens": 9, "end_ids": [5], **changes}  # fmt: skip


def test_an_item_by_rules_is_right_where_all_are_followed_strictly() -> None:
    got = score(by_rules(), successor(), decode=lambda ids: " ".join(map(str, ids)))
    assert got.value == 1 and got.outcomes["instruction_level_strict"] == 1
    got = score(by_rules(), successor(), decode=lambda ids: "Well, here:\n3 4")
    assert got.value == 0 and got.outcomes == {
        "prompt_level_strict": 0.0, "prompt_level_loose": 1.0,
        "instruction_level_strict": 0.0, "instruction_level_loose": 1.0,
    }  # fmt: skip


def test_scores_go_back_to_their_items() -> None:
    """Choices are scored first, then what is generated, the shortest first; a dialogue is left out."""
    short = {"type": "short", "prompt": [1, 2], "answers": ["3"], "stops": [], "max_tokens": 1, "end_ids": []}
    items = [by_rules(), short, choice_item(), {**short, "answers": ["4"]}, choice_item(right=0), {"type": "dialogue"}]
    got = dict(scoring.score(items, successor(), decode=lambda ids: " ".join(map(str, ids))))
    assert list(got) == [2, 4, 1, 3, 0]
    assert [got[i].margin is None for i in range(5)] == [True, True, False, True, False]
    assert (got[0].value, got[1].value, got[3].value) == (1.0, 1.0, 0.0)
    assert [bool(got[i].outcomes) for i in range(5)] == [True, False, True, False, True]
    left = dict(scoring.score(items, successor(), decode=lambda ids: "", done={2, 1, 0}))
    assert list(left) == [4, 3]


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
        ("it is 2,5", ["25"], False),
        ("3 - 8 = \N{MINUS SIGN}5", ["-5"], True),
        ("3 - 8 = \N{MINUS SIGN}5", ["5"], False),
        ("so 3.0", ["3"], True),
        ("version 1.2.3", ["3"], False),
        ("12,345.50 in all", ["12345.5"], True),
    ],
)
def test_matching(text: str, answers: list[str], expected: bool) -> None:
    assert matches(text, answers) is expected
