"""Log-likelihoods of what an item may be continued with: of each continuation its own tokens alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

from .. import Error
from ..runtimes.session import Session, Tree
from .divergence import log_softmax

if TYPE_CHECKING:
    from ..runtimes.session import Logits


@dataclass(frozen=True, kw_only=True)
class Likelihood:
    """Of one continuation: its log-probability in nats, and whether each of its tokens is the likeliest."""

    value: float
    greedy: bool


def likelihoods(rows: Sequence[Mapping[str, Any]], session: Session) -> list[list[Likelihood]]:
    """Of each row's choices, in their order; rows as `preparation` writes them, with a prompt that is not empty.

    Raises `Error` where the model computes no numbers.
    """
    trees = [Tree(stem=row["prompt"], branches=[ids[:-1] for ids in row["choices"]]) for row in rows]
    return [
        [
            _likelihood(ids[-n:], _predicting(grown.stem, branch)[-n:])
            for ids, n, branch in zip(row["choices"], row["n_scored"], grown.branches, strict=True)
        ]
        for row, grown in zip(rows, session.grow(trees), strict=True)
    ]


def _predicting(stem: "Logits", branch: "Logits") -> "Logits":
    """The logits [n, n_vocab] that predict each token of a branch."""
    import numpy as np

    return np.concatenate([stem[None], branch])


def _likelihood(token_ids: Sequence[int], logits: "Logits") -> Likelihood:
    rows = log_softmax(logits)
    value = sum(float(rows[position, token]) for position, token in enumerate(token_ids))
    if not isfinite(value):
        raise Error("it computes logits that are no finite numbers")
    greedy = all(int(row.argmax()) == token for row, token in zip(logits, token_ids, strict=True))
    return Likelihood(value=value, greedy=greedy)
