"""Spans of text whose predictions are compared: the reference's in compact form, and another model's against it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
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
    """The scored positions of every window, then those of the passage after each depth."""
    texts = [(window, scored_positions(window)) for window in prepared["windows"]]
    if passage := prepared.get("passage"):
        texts += [(passage["tokens"], range(first, stop)) for first, stop in passage["scored"].values()]
    found, start = [], 0
    for tokens, positions in texts:
        found.append(Span(tokens=tokens, positions=positions, start=start))
        start += len(positions)
    return found


def computed(wanted: Sequence[Span], session: Session, progress: Callable[[str], None]) -> CompactReference:
    """The session's own log-probabilities of the spans, in compact form; the same bytes each time."""
    return compact.joined(list(_computed(wanted, session, progress)))


def _computed(wanted: Sequence[Span], session: Session, progress: Callable[[str], None]) -> Iterator[CompactReference]:
    import numpy as np

    chance = np.random.default_rng(0)
    for number, span in enumerate(wanted, 1):
        progress(f"text {number} of {len(wanted)}, as reference")
        for logits in scored_logits(session, span.tokens, span.positions):
            yield compact.drawn(_finite(logits), chance.random(len(logits)).tolist())


def compared(span: Span, session: Session, reference: CompactReference) -> Scores:
    """The session's predictions on one span against the reference's."""
    found: Scores = {field.name: [] for field in fields(PositionScores)}
    done = 0
    for logits in scored_logits(session, span.tokens, span.positions):
        first, row = span.positions.start + done, span.start + done
        targets = span.tokens[first + 1 : first + 1 + len(logits)]
        scores = reference.scores(slice(row, row + len(logits)), _finite(logits), targets)
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
