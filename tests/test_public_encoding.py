"""Public items as tokens, cut where lm-evaluation-harness cuts, and their log-likelihoods on logits made by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgequant.accuracy.likelihoods import likelihoods
from edgequant.accuracy.public.encoding import encode, length
from edgequant.accuracy.public.item import PublicItem
from edgequant.convert.vocabulary.tokenizer import Tokenizer
from edgequant.runtimes.session import Grown, Tree


@pytest.fixture(scope="module")
def tokenizer(pocket_folder: Path) -> Tokenizer:
    return Tokenizer(pocket_folder)


def item(**given: Any) -> PublicItem:
    return PublicItem(**{"id": "x", "set": "arc_easy", "kind": "k", "type": "choice", "right": 0, **given})


def test_choices_share_their_context(tokenizer: Tokenizer) -> None:
    pairs = [("Question: why?\nAnswer:", " because"), ("Question: why?\nAnswer:", " no")]
    row = encode(item(pairs=pairs, n_characters=[7, 2]), tokenizer)
    context = [*tokenizer.begin(), *tokenizer.encode("Question: why?\nAnswer:")]
    assert row["prompt"] == context
    assert row["choices"] == [
        tokenizer.encode(pair[0] + pair[1])[len(context) - len(tokenizer.begin()) :] for pair in pairs
    ]
    assert row["n_scored"] == [len(ids) for ids in row["choices"]]
    assert length(row) == len(context) + max(map(len, row["choices"]))


def test_what_follows_the_gap_alone_is_scored(tokenizer: Tokenizer) -> None:
    pairs = [("The dog saw a cat so the dog", " ran away."), ("The dog saw a cat so the cat", " ran away.")]
    row = encode(item(pairs=pairs), tokenizer)
    for (context, continuation), ids, n in zip(pairs, row["choices"], row["n_scored"], strict=True):
        whole = row["prompt"] + ids
        assert whole == [*tokenizer.begin(), *tokenizer.encode(context + continuation)]
        assert tokenizer.decode(whole[-n:]).strip() == "ran away." and n < len(ids)


def test_a_space_at_the_context_s_end_goes_to_the_continuation(tokenizer: Tokenizer) -> None:
    kept = encode(item(pairs=[("Answer: ", " (A)"), ("Answer: ", " (B)")]), tokenizer)
    assert kept["prompt"] == [*tokenizer.begin(), *tokenizer.encode("Answer:")]
    assert kept["prompt"] + kept["choices"][0] == [*tokenizer.begin(), *tokenizer.encode("Answer:  (A)")]


def test_what_is_generated(tokenizer: Tokenizer) -> None:
    row = encode(item(type="text", prompt="Question: a\nAnswer:", answer="5", stops=["Q"], max_tokens=9), tokenizer)
    assert row["prompt"][len(tokenizer.begin()) :] == tokenizer.encode("Question: a\nAnswer:")
    assert (row["answer"], row["stops"], row["max_tokens"]) == ("5", ["Q"], 9) and row["end_ids"]
    assert length(row) == len(row["prompt"]) + 9
    talk = encode(item(type="dialogue", turns=["a", "b"], max_tokens=9), tokenizer)
    assert talk["turns"] == ["a", "b"] and length(talk) == 18


class ByLastToken:
    """A model of four tokens: after token t, probability 0.7 for (t + 1) % 4 and 0.1 for each other."""

    n_vocab = 4

    def after(self, token: int) -> list[float]:
        return [math.log(0.7 if each == (token + 1) % 4 else 0.1) + 3 for each in range(4)]

    def grow(self, trees: Sequence[Tree]) -> list[Grown]:
        rows = [
            [np.array([self.after(t) for t in ids], dtype="f4").reshape(-1, 4) for ids in tree.branches]
            for tree in trees
        ]
        stems = [np.array(self.after(tree.stem[-1]), dtype="f4") for tree in trees]
        return [Grown(stem=stem, branches=each) for stem, each in zip(stems, rows, strict=True)]


def test_likelihoods_of_whole_choices() -> None:
    row = {"prompt": [0], "choices": [[1, 2], [1, 3], [2]], "n_scored": [2, 2, 1]}
    (found,) = likelihoods([row], ByLastToken())  # type: ignore[arg-type]
    assert [each.value for each in found] == pytest.approx([math.log(0.49), math.log(0.07), math.log(0.1)], abs=1e-6)
    assert [each.greedy for each in found] == [True, False, False]


def test_likelihoods_of_last_tokens_alone() -> None:
    """As for Winogrande: the choices differ in what is not scored."""
    row = {"prompt": [0], "choices": [[3, 0, 2], [2, 3, 0]], "n_scored": [1, 2]}
    (found,) = likelihoods([row], ByLastToken())  # type: ignore[arg-type]
    assert [each.value for each in found] == pytest.approx([math.log(0.1), math.log(0.49)], abs=1e-6)
    assert [each.greedy for each in found] == [False, True]
