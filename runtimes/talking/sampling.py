"""Which token comes next: what generation_config.json asks for, in the order in which transformers applies it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ... import Error

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..session import Logits

    Scores = NDArray[np.float64]

TOP_K = 50  # transformers' default where a model samples


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Temperature 0 takes the likeliest token; top_k 0, top_p 1, min_p 0 and a penalty of 1 change nothing."""

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        limits = {
            "temperature": self.temperature >= 0,
            "top_k": self.top_k >= 0,
            "top_p": 0 < self.top_p <= 1,
            "min_p": 0 <= self.min_p <= 1,
            "repetition_penalty": self.repetition_penalty > 0,
        }
        for name, holds in limits.items():
            if not holds:
                raise Error(f"{name} cannot be {getattr(self, name)}")

    def to_json(self) -> dict[str, Any]:
        """The choice as plain JSON values."""
        return asdict(self)


def asked(generation: Mapping[str, Any], *, temperature: float | None = None) -> Sampling:
    """What generation_config.json says, greedy where it does not say `do_sample`; a temperature of one's own counts."""
    said = _number(generation, "temperature", 1.0) if generation.get("do_sample") is True else 0.0
    chosen = said if temperature is None else temperature
    penalty = _number(generation, "repetition_penalty", 1.0)
    if not chosen:
        return Sampling(repetition_penalty=penalty)
    return Sampling(
        temperature=chosen,
        top_k=int(_number(generation, "top_k", TOP_K)),
        top_p=_number(generation, "top_p", 1.0),
        min_p=_number(generation, "min_p", 0.0),
        repetition_penalty=penalty,
    )


def _number(values: Mapping[str, Any], name: str, default: float) -> float:
    """A number of a file, `default` where it has none."""
    value = values.get(name)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else default


def choose(logits: "Logits", seen: Sequence[int], sampling: Sampling, draw: float) -> int:
    """The next token from logits [n_vocab], after the tokens `seen`; `draw` is a random number from 0 up to 1."""
    import numpy as np

    if not sampling.temperature:
        return int(_penalised(logits, seen, sampling.repetition_penalty).argmax())
    weights = probabilities(logits, seen, sampling)
    return int(np.searchsorted(np.cumsum(weights), draw * weights.sum(), side="right").clip(max=len(weights) - 1))


def probabilities(logits: "Logits", seen: Sequence[int], sampling: Sampling) -> "Scores":
    """Probabilities [n_vocab] of a draw at a temperature above 0, after everything that `sampling` asks."""
    import numpy as np

    scores = _penalised(logits, seen, sampling.repetition_penalty).astype(np.float64) / sampling.temperature
    if 0 < sampling.top_k < len(scores):
        scores[scores < np.partition(scores, -sampling.top_k)[-sampling.top_k]] = -np.inf
    if sampling.top_p < 1:
        scores[_beyond(_softmax(scores), sampling.top_p)] = -np.inf
    weights = _softmax(scores)
    weights[weights < sampling.min_p * weights.max()] = 0
    total: Scores = weights / weights.sum()
    return total


def _penalised(logits: "Logits", seen: Sequence[int], penalty: float) -> "Logits":
    """Logits, those of tokens that were seen made less likely."""
    import numpy as np

    if penalty == 1 or not len(seen):
        return logits
    ids, made = np.unique(np.asarray(seen)), logits.copy()
    made[ids] = np.where(logits[ids] < 0, logits[ids] * penalty, logits[ids] / penalty)
    return made


def _beyond(weights: "Scores", top_p: float) -> "NDArray[np.intp]":
    """Places of the least likely tokens that `top_p` leaves out; never all."""
    import numpy as np

    order = np.argsort(weights, kind="stable")
    left_out = np.cumsum(weights[order]) <= 1 - top_p
    left_out[-1] = False
    return order[left_out]


def _softmax(scores: "Scores") -> "Scores":
    import numpy as np

    weights = np.exp(scores - scores.max())
    shares: Scores = weights / weights.sum()
    return shares
