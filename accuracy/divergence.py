"""How far a variant's next-token distributions lie from the reference's, position by position."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .preparation import UNSCORED_TOKENS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from ..runtimes.session import Session

    Floats = NDArray[np.float32]

_ROWS_AT_ONCE = 16  # about 3 MB of float32 at a vocabulary of 49,152: stays in the cache


@dataclass(frozen=True, kw_only=True)
class WindowScores:
    """Means over the scored positions of one window."""

    kl_divergence: float  # nats
    same_top_token: float  # share
    negative_log_likelihood: float  # nats/token
    kl_divergence_error: float = 0.0  # standard error of the divergence, nats: of a reference that keeps some tokens


class ReferenceLogits:
    """The reference's log-probabilities of all windows, on disk: float16 [positions, vocabulary].

    Rounding to float16 moves a log-probability by at most 1/2048 of itself; the rows are normalised again when read,
    and the errors cancel in the mean: on a window of SmolLM2 the divergence of a model to itself reads below 1e-6.
    """

    def __init__(self, folder: Path) -> None:
        self._log_probabilities = folder / "log-probabilities.npy"
        self._top_tokens = folder / "top-tokens.npy"

    def create(self, n_positions: int, n_vocab: int) -> None:
        """Make the two files, empty: log-probabilities [positions, vocabulary] and most likely tokens [positions]."""
        import numpy as np
        from numpy.lib.format import open_memmap

        self._log_probabilities.parent.mkdir(parents=True, exist_ok=True)
        open_memmap(self._log_probabilities, mode="w+", dtype=np.float16, shape=(n_positions, n_vocab))
        open_memmap(self._top_tokens, mode="w+", dtype=np.int32, shape=(n_positions,))

    def open(self, *, writable: bool = False) -> tuple["NDArray[np.float16]", "NDArray[np.int32]"]:
        """Open the two files, mapped."""
        import numpy as np

        mode: Literal["r+", "r"] = "r+" if writable else "r"
        return np.load(self._log_probabilities, mmap_mode=mode), np.load(self._top_tokens, mmap_mode=mode)


def scored_positions(window: "Sequence[int]") -> range:
    """Positions whose prediction is scored: all with some text before and a next token behind them."""
    return range(UNSCORED_TOKENS, len(window) - 1)


def scored_logits(session: "Session", window: "Sequence[int]") -> "Floats":
    """Logits [positions, vocabulary] of a window's scored positions; valid until the session's next call."""
    session.rewind(0)
    positions = scored_positions(window)
    return session.evaluate(window, logits="all")[positions.start : positions.stop]


def log_softmax(logits: "Floats") -> "Floats":
    """Log-probabilities [n, vocabulary] of logits [n, vocabulary]."""
    import numpy as np

    shifted = logits - logits.max(axis=-1, keepdims=True)
    result: Floats = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result


def window_scores(
    reference: "NDArray[np.float16]", top_tokens: "NDArray[np.int32]", logits: "Floats", targets: "Sequence[int]"
) -> WindowScores:
    """Compare a variant's logits [n, vocabulary] with the reference's log-probabilities; `targets` [n] is the text.

    KL(reference || variant) = sum p (log p - log q), in nats.
    """
    import numpy as np

    divergence, hits, likelihood = 0.0, 0, 0.0
    for start in range(0, len(targets), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        log_p = log_softmax(reference[rows].astype(np.float32))
        log_q = log_softmax(logits[rows])
        divergence += float(np.einsum("ij,ij->", np.exp(log_p), log_p - log_q))
        hits += int((logits[rows].argmax(axis=-1) == top_tokens[rows]).sum())
        likelihood += float(log_q[np.arange(len(log_q)), targets[rows]].sum())
    n = len(targets)
    return WindowScores(
        kl_divergence=divergence / n,
        same_top_token=hits / n,
        negative_log_likelihood=-likelihood / n,
    )
