"""How a loss of accuracy is judged against its limit: by intervals, and by what diverges as much."""

from collections.abc import Sequence

from . import numbers
from .bounds import missing
from .candidates import Candidate
from .ranking import EQUAL_NATS
from .rows import Mark


def lost(found: Candidate, limit: float, among: Sequence[Candidate]) -> tuple[Mark, ...]:
    """Why a format is out for its loss, in points: the whole interval is over the limit, or nothing speaks for it.

    The latter is a loss over the limit of a format that diverges by more than `EQUAL_NATS`, where none `among` all that
    diverges as much or more keeps to the limit either. So chance in a few items decides as little as it can.
    """
    if found.row.is_reference:
        return ()
    if found.row.loss is None:
        return (missing("loss", found.row.loss_note),)
    loss = found.row.loss.loss
    between = numbers.span(loss, numbers.points)
    if loss.low > limit:
        text = f"the whole interval of its loss, {between} points, is over {numbers.points(limit)}"
        return (Mark(code="loss", sentence=text),)
    if loss.estimate <= limit or found.nats <= EQUAL_NATS or any(_vouches(c, found, limit) for c in among):
        return ()
    measured, most = numbers.apart(loss.estimate, limit, numbers.points)
    text = f"its loss of {measured} points ({between}) is over {most}, as is that of whatever diverges more"
    return (Mark(code="loss", sentence=text),)


def _vouches(other: Candidate, found: Candidate, limit: float) -> bool:
    """Whether a format that diverges as much or more keeps to the limit as far as was measured."""
    if other.row.loss is None or other.row.mark("quality not transferable"):
        return False
    return found.nats <= other.nats < float("inf") and other.row.loss.loss.estimate <= limit


def certainty(found: Candidate, max_loss: float | None) -> str:
    """The standing of a format that is not out."""
    if max_loss is None:
        return "fits"
    sure = found.row.is_reference or (found.row.loss is not None and found.row.loss.loss.high <= max_loss)
    return "certified" if sure else "not certain"
