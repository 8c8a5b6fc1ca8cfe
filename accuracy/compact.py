"""The reference's log-probabilities in a few megabytes: computed once, and small enough to go along to a device.

Of each position `KEPT` tokens are kept, and of each of them log p and what it stands for. Those with a probability of
at least some tau are all kept and stand for themselves; the rest is drawn one token for each tau of its mass, with
probability p / tau, and each stands for tau: with w = max(p, tau) the sum of w f over the kept tokens is an unbiased
estimate of the sum of p f over the vocabulary (Horvitz and Thompson, J. Am. Stat. Assoc. 47 (1952) 663-685; drawn
systematically with probability proportional to size, Madow, Ann. Math. Stat. 20 (1949) 333-354).

Since both distributions sum to one, KL(p || q) = sum p (q/p - 1 - log(q/p)), in which no term is negative and those of
tokens that p and q agree on vanish to second order. So drawing tokens costs a share of the divergence itself, near
formats and far ones alike: over the built-in text on SmolLM2-135M (49,152 tokens) the standard error is 0.07 % of
Q8_0's and of Q4_K_M's divergence and 0.4 % of Q2_K's, and what came out was off by 0.003 %, 0.06 % and 0.4 %. log p is
kept in 16 bits between zero and the least of its position; that moves a divergence by less than 1e-7 nats.
"""

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import Error
from ..convert.atomic import replacing
from .divergence import PositionScores, log_softmax

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .divergence import Floats

KEPT = 128  # tokens a position: 4.2 MB for 8,143 positions of a vocabulary that 16 bits number
_STEPS = 2**16 - 1
_UNLIKELY = 1e-6  # candidates for the likeliest tokens are those above; all of them where that is too few


@dataclass(frozen=True, kw_only=True)
class CompactReference:
    """For n positions: token ids [n, k], their log-probabilities as `codes` [n, k] of 1/65,535 of `least` [n] each,
    tau [n] and the most likely token [n].

    `key` says what it was computed from, `answers` are the reference's greedy answers, as `agreement` makes them.
    """

    ids: "NDArray[np.unsignedinteger[Any]]"
    codes: "NDArray[np.uint16]"
    least: "NDArray[np.float32]"
    tau: "NDArray[np.float32]"
    top_tokens: "NDArray[np.int32]"
    key: str = ""
    answers: Sequence[Mapping[str, Any]] = ()

    def scores(self, rows: slice, logits: "Floats", targets: Sequence[int]) -> PositionScores:
        """Compare another model's logits [n, vocabulary] with these rows; `targets` [n] are the text's next tokens."""
        import numpy as np

        tau = self.tau[rows, None].astype(np.float64)
        log_p = self.codes[rows] * (self.least[rows, None].astype(np.float64) / _STEPS)
        log_total, at_ids, at_targets = _gathered(logits, self.ids[rows], targets)
        p, difference = np.exp(log_p), log_p - (at_ids - log_total[:, None])
        terms = np.maximum(p, tau) * (np.exp(-difference) - 1 + difference)
        # variance as if every token were drawn on its own, which is at least that of a systematic draw in order
        chance = np.where(p < tau, 1 - p / np.maximum(tau, p), 0.0)
        return PositionScores(
            kl_divergence=terms.sum(axis=1),
            variance=(chance * terms**2).sum(axis=1),
            same_top_token=(logits.argmax(axis=-1) == self.top_tokens[rows]).astype(np.float64),
            negative_log_likelihood=log_total - at_targets,
        )


def _gathered(logits: "Floats", ids: Any, targets: Sequence[int]) -> tuple[Any, Any, Any]:
    """Float64: log of the sum of exponentials [n], logits at the ids [n, k], and at the targets [n]."""
    import numpy as np

    rows, indices = np.arange(len(targets)), ids.astype(np.int64)
    log_total = np.array([_log_sum_exp(row) for row in logits])
    at_ids = np.take_along_axis(logits, indices, axis=1).astype(np.float64)
    return log_total, at_ids, logits[rows, targets].astype(np.float64)


def _log_sum_exp(row: "Floats") -> float:
    import numpy as np

    highest = float(row.max())
    return highest + float(np.log(np.exp(row - row.max()).sum(dtype=np.float64)))


def draw(log_p: "Floats", start: float, *, kept: int = KEPT) -> tuple[Any, float]:
    """Ids [k] of the tokens that are kept of one position's log-probabilities [vocabulary], and tau.

    `start` in 0..1 says where in the first tau of mass the draw begins.
    """
    import numpy as np

    kept = min(kept, len(log_p))
    p = np.exp(log_p)
    likely = np.flatnonzero(p > _UNLIKELY)
    candidates = likely if len(likely) >= kept else np.arange(len(p))
    largest = candidates[np.argpartition(-p[candidates], kept - 1)[:kept]]
    largest = largest[np.argsort(-p[largest], kind="stable")]
    head = p[largest].astype(np.float64)
    mass = float(p.sum(dtype=np.float64)) - np.concatenate([[0.0], np.cumsum(head)[:-1]])  # from each token on
    drawn = head * (kept - np.arange(kept)) < mass  # the first that may be left to chance
    n_sure = int(drawn.argmax()) if drawn.any() and kept < len(p) else kept
    if n_sure == kept:
        return largest, 0.0
    p[largest[:n_sure]] = 0.0  # never found again: the cumulative mass does not grow there
    cumulative = np.cumsum(p, dtype=np.float64)
    places = (start + np.arange(kept - n_sure)) * cumulative[-1] / (kept - n_sure)
    found = np.minimum(np.searchsorted(cumulative, places, side="right"), np.flatnonzero(p)[-1])
    return np.concatenate([largest[:n_sure], found]), float(mass[n_sure]) / (kept - n_sure)


def drawn(logits: "Floats", starts: Sequence[float], *, kept: int = KEPT) -> CompactReference:
    """The compact form of logits [n, vocabulary]; `starts` [n] in 0..1 are chance."""
    import numpy as np

    log_p = log_softmax(logits)
    found = [draw(row, start, kept=kept) for row, start in zip(log_p, starts, strict=True)]
    ids = np.array([each for each, _ in found])
    values = np.take_along_axis(log_p, ids, axis=1)
    least = np.minimum(values.min(axis=1), np.float32(-1e-6))  # a token that is certain has no other
    return CompactReference(
        ids=ids.astype(np.uint16 if logits.shape[1] <= 2**16 else np.uint32),
        codes=np.rint(np.minimum(values, 0) / least[:, None] * _STEPS).astype(np.uint16),
        least=least.astype(np.float32),
        tau=np.array([tau for _, tau in found], np.float32),
        top_tokens=logits.argmax(axis=-1).astype(np.int32),
    )


_ARRAYS = ("ids", "codes", "least", "tau", "top_tokens")


def joined(
    parts: Sequence[CompactReference], *, key: str = "", answers: Sequence[Mapping[str, Any]] = ()
) -> CompactReference:
    """The rows of all parts, one after another."""
    import numpy as np

    arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _ARRAYS}
    return CompactReference(**arrays, key=key, answers=answers)


def write(reference: CompactReference, target: Path) -> None:
    """Write one file of numpy's .npz."""
    import numpy as np

    arrays = {name: getattr(reference, name) for name in _ARRAYS}
    said = {"key": np.array(reference.key), "answers": np.array(json.dumps(list(reference.answers)))}
    with replacing(target) as partial, partial.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays, **said)


def read(path: Path) -> CompactReference:
    """Read what `write` wrote; `Error` where it is none."""
    import numpy as np

    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            values = {name: stored[name] for name in _ARRAYS}
            answers = json.loads(str(stored["answers"]))
            return CompactReference(**values, key=str(stored["key"]), answers=answers)
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise Error(f"{path} is no compact reference: {error}") from None


def key_of(path: Path) -> str:
    """What the reference at `path` was computed from; "" where there is none that reads."""
    try:
        return read(path).key
    except Error:
        return ""
