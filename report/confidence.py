"""How sure an answer is: what it rests on, and each thing that makes it less sure."""

from collections.abc import Iterator, Sequence

from ..accuracy.paired import Paired
from . import numbers
from .answer import Limits, Verdict
from .bounds import BOUNDS
from .candidates import ELSEWHERE, MEASURED, PREDICTED, Candidate, Figure
from .ranking import EQUAL_NATS
from .sentences import listed

#: where a loss is asked for by its task and known to no more than this, in points, there were too few items
FEW_POINTS = 5.0
#: marks of a measurement that the machine disturbed
DISTURBED = ("throttled", "clock fell", "swapped", "major faults", "shared cores", "on battery")


def confidence(
    winner: Candidate,
    second: Candidate | None,
    equals: Sequence[Candidate],
    limits: Limits,
    verdict: Verdict,
    others: Sequence[str] = (),
) -> tuple[str, str]:
    """The level and a sentence: "high" without a doubt, "medium" with one, "low" with more; each doubt is said.

    `others` are doubts that the rows do not tell.
    """
    doubts = [*others, *_doubts(winner, second, equals, limits, verdict)]
    level = "high" if not doubts else "medium" if len(doubts) == 1 else "low"
    basis = list(_basis(winner, second, equals, limits))
    linked = [f"{'and' if n else 'but'} {doubt}" for n, doubt in enumerate(doubts)]
    said = "; ".join([*basis, *linked] if basis else doubts)
    return level, f"Confidence: {level}. {said[:1].upper()}{said[1:]}." if said else f"Confidence: {level}."


def _doubts(
    winner: Candidate, second: Candidate | None, equals: Sequence[Candidate], limits: Limits, verdict: Verdict
) -> Iterator[str]:
    used = _used(winner, equals, limits)
    guessed = [name for name, figure in used.items() if figure.basis == PREDICTED]
    borrowed = [name for name, figure in used.items() if figure.basis == ELSEWHERE]
    if guessed:
        yield f"its {listed(guessed)} {'is' if len(guessed) == 1 else 'are'} predicted, not measured"
    if borrowed:
        yield f"its {listed(borrowed)} was measured on another machine"
    yield from _on_the_edge(winner, limits)
    if verdict.standing == "not certain":
        yield "whether it keeps to the limit of loss is open"
    yield from _close(winner, second, equals, limits)
    if limits.task and winner.row.loss and _half(winner.row.loss) > FEW_POINTS:
        yield f"{winner.row.loss.n} items of {limits.task} are too few to tell more"
    if winner.nats <= EQUAL_NATS and winner.row.loss and winner.row.loss.loss.low > 0:
        yield "it lost more items than so little divergence lets expect"
    single = [name for name, figure in used.items() if figure.basis == MEASURED and not figure.interval]
    if "decode" in single or "prefill" in single:
        yield "its speed was measured once, and one sample does not say how much it varies"
    if disturbed := [mark.code for mark in winner.row.marks if mark.code in DISTURBED]:
        yield f"its measurement was disturbed ({', '.join(dict.fromkeys(disturbed))})"


def _on_the_edge(winner: Candidate, limits: Limits) -> Iterator[str]:
    """That measuring again could put the pick beyond a limit."""
    for key, bound in BOUNDS.items():
        limit, figure = getattr(limits, key), bound.of(winner)
        if limit is not None and figure.interval and figure.interval.contains(limit):
            between = numbers.span(figure.interval, bound.form)
            yield f"the interval of its {bound.code}, {between}, holds the limit of {bound.form(limit)}"


def _used(winner: Candidate, equals: Sequence[Candidate], limits: Limits) -> dict[str, Figure]:
    """The figures of the device that the answer rests on: those with a limit, and the speed that parts equals."""
    asked = {
        "memory": limits.max_memory_bytes is not None,
        "prefill": limits.min_prefill is not None,
        "decode": limits.min_decode is not None
        or limits.prefer == "speed"
        or (limits.prefer == "quality" and len(equals) > 1),
    }
    figures = {"memory": winner.memory, "prefill": winner.prefill, "decode": winner.decode}
    return {name: figure for name, figure in figures.items() if asked[name] and figure.value is not None}


def _close(winner: Candidate, second: Candidate | None, equals: Sequence[Candidate], limits: Limits) -> Iterator[str]:
    """That the comparison which decided could have gone the other way."""
    if second is None or limits.prefer == "size":
        return
    if limits.prefer == "quality" and len(equals) < 2:
        ours, theirs = winner.divergence.interval, second.divergence.interval
        if ours and theirs and ours.high >= theirs.low:
            yield f"the interval of its divergence meets that of {second.name}"
    if winner.divergence.value is None:
        yield "how far it diverges was not measured"


def _basis(winner: Candidate, second: Candidate | None, equals: Sequence[Candidate], limits: Limits) -> Iterator[str]:
    """What the answer rests on, where that is worth saying."""
    ours, theirs = winner.divergence.interval, second.divergence.interval if second else None
    if limits.prefer == "quality" and len(equals) < 2 and second and ours and theirs and ours.high < theirs.low:
        yield f"its divergence lies clear of that of {second.name}"
    if limits.prefer == "speed" and len(equals) == 1 and second and second.decode.value:
        yield f"it is {(winner.decode.value or 0) / second.decode.value:.2f} times as fast as {second.name}"
    if winner.row.loss:
        half = numbers.points(_half(winner.row.loss))
        yield f"its loss{f' in {limits.task}' if limits.task else ''} is known to {half} points either way"


def _half(paired: Paired) -> float:
    return (paired.loss.high - paired.loss.low) / 2
