"""Logits of a text's scored positions, and how far next-token distributions lie apart, position by position."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .preparation import UNSCORED_TOKENS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from ..runtimes.session import Session

    Floats = NDArray[np.float32]

_ROWS_AT_ONCE = 16  # about 3 MB of float32 at a vocabulary of 49,152: stays in the cache
_TOKENS_AT_ONCE = 512  # logits of more than that are never held


@dataclass(frozen=True, kw_only=True)
class PositionScores:
    """Of n positions: float64 [n] each."""

    kl_divergence: "NDArray[np.float64]"  # from the reference, nats
    variance: "NDArray[np.float64]"  # of the divergence, nats^2: of a reference that keeps some tokens
    same_top_token: "NDArray[np.float64]"  # 1 where the likeliest token is the reference's, else 0
    negative_log_likelihood: "NDArray[np.float64]"  # of the text's next token, nats


def scored_positions(window: "Sequence[int]") -> range:
    """Positions whose prediction is scored: all with some text before and a next token behind them."""
    return range(UNSCORED_TOKENS, len(window) - 1)


def scored_logits(session: "Session", tokens: "Sequence[int]", positions: range) -> "Iterator[Floats]":
    """Logits [n, vocabulary] of consecutive positions of a text, part by part; valid until the next part is asked for.

    What stands before the positions is computed without logits, unless it is a few tokens.
    """
    session.rewind(0)
    begin = positions.start if positions.start > UNSCORED_TOKENS else 0
    if begin:
        session.evaluate(tokens[:begin], logits="last")
    for start in range(begin, positions.stop, _TOKENS_AT_ONCE):
        part = tokens[start : min(start + _TOKENS_AT_ONCE, positions.stop)]
        yield session.evaluate(part, logits="all")[max(0, positions.start - start) :]


def log_softmax(logits: "Floats") -> "Floats":
    """Log-probabilities [n, vocabulary] of logits [n, vocabulary]."""
    import numpy as np

    result: Floats = np.empty_like(logits)
    for start in range(0, len(logits), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        shifted = logits[rows] - logits[rows].max(axis=-1, keepdims=True)
        result[rows] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result
