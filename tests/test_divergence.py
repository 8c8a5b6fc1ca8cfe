"""Scored positions of a text, their logits part by part, and log-probabilities against scipy's."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pytest
import scipy.special
from numpy.typing import NDArray

from edgequant.accuracy import divergence
from edgequant.accuracy.divergence import log_softmax, scored_logits, scored_positions
from edgequant.accuracy.preparation import UNSCORED_TOKENS

Floats = NDArray[np.float32]


class Counting:
    """A session whose logits at a position are the position itself; it notes what it is asked to compute."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.asked: list[tuple[int, str]] = []

    def rewind(self, n_tokens: int) -> None:
        del self.tokens[n_tokens:]

    def evaluate(self, token_ids: Sequence[int], *, logits: Literal["all", "last"]) -> Any:
        start = len(self.tokens)
        self.tokens += token_ids
        self.asked.append((len(token_ids), logits))
        rows = np.arange(start, len(self.tokens), dtype=np.float32)[:, None]
        return rows if logits == "all" else rows[-1]


@pytest.mark.parametrize("offset", [0.0, 1000.0, -1000.0])
@pytest.mark.parametrize("n", [1, 15, 16, 17, 40])
def test_log_softmax(n: int, offset: float) -> None:
    values = (np.random.default_rng(1).standard_normal((n, 50)) * 10).astype(np.float32) + np.float32(offset)
    np.testing.assert_allclose(
        log_softmax(values), scipy.special.log_softmax(values.astype(np.float64), axis=-1), atol=1e-4
    )


def test_scored_positions() -> None:
    """The last token has no next one, and the first tokens too little before them."""
    window = list(range(100))
    positions = scored_positions(window)
    assert (positions.start, positions.stop) == (UNSCORED_TOKENS, 99)
    assert [window[position + 1] for position in positions][-1] == 99


@pytest.mark.parametrize(
    ("positions", "asked"),
    [
        (range(32, 511), [(511, "all")]),
        (range(512, 1024), [(512, "last"), (512, "all")]),
        (range(2048, 2560), [(2048, "last"), (512, "all")]),
        (range(600, 1300), [(600, "last"), (512, "all"), (188, "all")]),
        (range(0, 600), [(512, "all"), (88, "all")]),
    ],
)
def test_logits_of_what_is_scored_and_of_little_else(positions: range, asked: list[tuple[int, str]]) -> None:
    session: Any = Counting()
    session.tokens = [1, 2, 3]  # of the text before
    found = [part.copy() for part in scored_logits(session, list(range(3000)), positions)]
    assert np.concatenate(found)[:, 0].tolist() == list(positions)
    assert session.asked == asked and max(map(len, found)) <= divergence._TOKENS_AT_ONCE
