"""Spans of text whose predictions are compared: the reference's in compact form, and another model's against it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from .. import Error
from ..runtimes.session import Session
from . import compact
from .compact import CompactReference
from .divergence import PositionScores, scored_logits, scored_positions

if TYPE_CHECKING:
    from .divergence import Floats

Scores = dict[str, list[float]]  # the fields of `PositionScores`, one value a position


@dataclass(frozen=True, kw_only=True)
class Span:
    """Consecutive positions of a text; `start` is the row of the first of them in the reference."""

    tokens: Sequence[int]
    positions: range
    start: int


def spans(prepared: Mapping[str, Any]) -> list[Span]:
    """The scored positions of every window, then those of the passage, if there is one."""
    texts = [(window, scored_positions(window)) for window in prepared["windows"]]
    if passage := prepared.get("passage"):
        texts.append((passage["tokens"], scored_positions(passage["tokens"])))
    found, start = [], 0
    for tokens, positions in texts:
        found.append(Span(tokens=tokens, positions=positions, start=start))
        start += len(positions)
    return found


def computed(
    wanted: Sequence[Span], session: Session, progress: Callable[[str], None]
) -> tuple[CompactReference, list[Scores]]:
    """The session's own log-probabilities of the spans, in compact form, and what comparing it with them gives.

    One pass for both; the same bytes each time.
    """
    import numpy as np

    chance, parts = np.random.default_rng(0), list[CompactReference]()

    def score(_: int, logits: "Floats", targets: Sequence[int]) -> PositionScores:
        parts.append(compact.drawn(logits, chance.random(len(logits)).tolist()))
        return parts[-1].scores(slice(None), logits, targets)

    found = []
    for number, span in enumerate(wanted, 1):
        progress(f"text {number} of {len(wanted)}, as reference")
        found.append(_scores(span, session, score))
    return compact.joined(parts), found


def compared(span: Span, session: Session, reference: CompactReference) -> Scores:
    """The session's predictions on one span against the reference's."""

    def score(done: int, logits: "Floats", targets: Sequence[int]) -> PositionScores:
        row = span.start + done
        return reference.scores(slice(row, row + len(logits)), logits, targets)

    return _scores(span, session, score)


def _scores(span: Span, session: Session, score: Callable[[int, "Floats", Sequence[int]], PositionScores]) -> Scores:
    """What `score` makes of the logits of a span; it is told how many positions came before, and the next tokens."""
    found: Scores = {field.name: [] for field in fields(PositionScores)}
    done = 0
    for logits in scored_logits(session, span.tokens, span.positions):
        first = span.positions.start + done
        targets = span.tokens[first + 1 : first + 1 + len(logits)]
        scores = score(done, _finite(logits), targets)
        for name, values in found.items():
            values += [float(f"{value:.7g}") for value in getattr(scores, name)]
        done += len(logits)
    return found


def mean(values: Sequence[float]) -> float:
    """The mean of the values of one span."""
    return sum(values) / len(values)


def _finite(logits: "Floats") -> "Floats":
    import numpy as np

    if not np.isfinite(logits).all():
        raise Error("it computes logits that are no finite numbers")
    return logits
