"""The reference's log-probabilities in a few megabytes, for a device that cannot hold the unquantised model.

Of each position `KEPT` tokens are kept, and of each of them log p and what it stands for. Those with a probability of
at least some tau are all kept and stand for themselves; the rest is drawn one token for each tau of its mass, with
probability p / tau, and each stands for tau: with w = max(p, tau) the sum of w f over the kept tokens is an unbiased
estimate of the sum of p f over the vocabulary (Horvitz and Thompson, J. Am. Stat. Assoc. 47 (1952) 663-685; drawn
systematically with probability proportional to size, Madow, Ann. Math. Stat. 20 (1949) 333-354).

Since both distributions sum to one, KL(p || q) = sum p (q/p - 1 - log(q/p)), in which no term is negative and those of
tokens that p and q agree on vanish to second order. So drawing tokens and rounding to float16 cost a share of the
divergence itself, near formats and far ones alike: over the built-in text on SmolLM2-135M (49,152 tokens, 7,664
positions) the standard error is 0.07 % of Q8_0's and of Q4_K_M's divergence and 0.4 % of Q2_K's, and what came out was
off by 0.003 %, 0.06 % and 0.4 %.
"""

import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import Error
from ..convert.atomic import replacing
from ..runtimes.session import Settings, open_session
from .divergence import WindowScores, log_softmax, scored_logits, scored_positions
from .preparation import read_prepared

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .divergence import Floats

KEPT = 128  # tokens a position: 3.9 MB for 7,664 positions of a vocabulary that 16 bits number


@dataclass(frozen=True, kw_only=True)
class CompactReference:
    """For n positions: token ids [n, k], their log-probabilities [n, k], tau [n] and the most likely token [n]."""

    ids: "NDArray[np.unsignedinteger[Any]]"
    log_probabilities: "NDArray[np.float16]"
    tau: "NDArray[np.float32]"
    top_tokens: "NDArray[np.int32]"
    key: str = ""  # what it was computed from

    def scores(self, rows: slice, logits: "Floats", targets: Sequence[int]) -> WindowScores:
        """As `divergence.window_scores`, with the standard error of the mean divergence that the drawing leaves."""
        import numpy as np

        n, tau = len(targets), self.tau[rows, None].astype(np.float64)
        log_p = self.log_probabilities[rows].astype(np.float64)
        log_total, at_ids, at_targets = _gathered(logits, self.ids[rows], targets)
        p, difference = np.exp(log_p), log_p - (at_ids - log_total[:, None])
        weight = np.maximum(p, tau)
        terms = weight * (np.exp(-difference) - 1 + difference)
        # variance as if every token were drawn on its own, which is at least that of a systematic draw in order
        variance = (np.where(p < tau, 1 - p / np.maximum(tau, p), 0.0) * terms**2).sum()
        return WindowScores(
            kl_divergence=float(terms.sum()) / n,
            same_top_token=float((logits.argmax(axis=-1) == self.top_tokens[rows]).sum()) / n,
            negative_log_likelihood=float((log_total - at_targets).sum()) / n,
            kl_divergence_error=float(np.sqrt(variance)) / n,
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
    p = np.exp(log_p.astype(np.float64))
    largest = np.argpartition(-p, kept - 1)[:kept]
    largest = largest[np.argsort(-p[largest], kind="stable")]
    before = np.concatenate([[0.0], np.cumsum(p[largest])[:-1]])
    mass = p.sum() - before  # from each token on
    drawn = p[largest] * (kept - np.arange(kept)) < mass  # the first that may be left to chance
    n_sure = int(drawn.argmax()) if drawn.any() and kept < len(p) else kept
    if n_sure == kept:
        return largest, 0.0
    rest = np.setdiff1d(np.arange(len(p)), largest[:n_sure], assume_unique=True)
    tau = float(mass[n_sure]) / (kept - n_sure)
    cumulative = np.cumsum(p[rest])
    places = (start + np.arange(kept - n_sure)) * cumulative[-1] / (kept - n_sure)
    found = np.minimum(np.searchsorted(cumulative, places, side="right"), len(rest) - 1)
    return np.concatenate([largest[:n_sure], rest[found]]), tau


def make(job: Mapping[str, Any], progress: Callable[[str], None]) -> None:
    """Compute the reference of `job["container"]` and `job["path"]` on the windows in `job["prepared"]`.

    Writes `job["target"]`, with `job["key"]` in it. The same bytes each time: the draw starts from a fixed seed.
    """
    import numpy as np

    windows = read_prepared(Path(job["prepared"]))["windows"]
    session = open_session(job["container"], job["path"], Settings(**job["settings"]))
    starts = np.random.default_rng(0).random(sum(len(scored_positions(window)) for window in windows))
    ids, log_p, tau, tops = list[Any](), list[Any](), list[float](), list[int]()
    for done, window in enumerate(windows, 1):
        progress(f"window {done} of {len(windows)}")
        for row in scored_logits(session, window):
            values = log_softmax(row[None])[0]
            kept, each = draw(values, starts[len(tau)])
            ids.append(kept)
            log_p.append(values[kept])
            tau.append(each)
            tops.append(int(row.argmax()))
    narrow = np.uint16 if session.n_vocab <= 2**16 else np.uint32
    made = CompactReference(
        ids=np.array(ids, narrow),
        log_probabilities=np.array(log_p, np.float16),
        tau=np.array(tau, np.float32),
        top_tokens=np.array(tops, np.int32),
        key=job["key"],
    )
    write(made, Path(job["target"]))


def write(reference: CompactReference, target: Path) -> None:
    """Write one file of numpy's .npz."""
    import numpy as np

    with replacing(target) as partial, partial.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **{**vars(reference), "key": np.array(reference.key)})


def read(path: Path) -> CompactReference:
    """Read what `write` wrote; `Error` where it is none."""
    import numpy as np

    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            values = {name: stored[name] for name in ("ids", "log_probabilities", "tau", "top_tokens")}
            return CompactReference(**values, key=str(stored["key"]))
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise Error(f"{path} is no compact reference: {error}") from None
