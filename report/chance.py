"""Kinds of task in which a model does no better than guessing, and what its margins still say."""

from collections.abc import Iterator, Mapping

from ..accuracy.paired import Interval, bootstrap_mean, share_interval
from ..profiles.records.measurement import Measurement
from . import numbers


def notes(counted: Mapping[str, Mapping[str, Measurement]], reference: str) -> Iterator[str]:
    """Sentences on kinds of multiple-choice items that the reference answers no better than by guessing.

    `counted` are plain rows by format and metric. At chance a loss of accuracy means nothing, but the lead of the right
    choice over the best wrong one can still shrink: formats for which it does beyond its interval are named.
    """
    row = counted.get(reference, {}).get("accuracy")
    if row is None or row.status != "ok" or "chances" not in row.parameters:
        return
    guessed = list(_guessed(row))
    if guessed:
        said = "; ".join(
            f"{kind} {numbers.share(right)}, by guessing {numbers.share(of)}" for kind, right, of in guessed
        )
        yield (
            f"Of multiple-choice items {reference} answers no more than guessing would ({said}): there accuracy says "
            "little, so go by the divergence."
        )
        shrunk = [f"{name} by {_said(between)}" for name, between in _leads(counted, reference) if between.low > 0]
        yield (
            "The lead of the right choice over the best wrong one says more than which of them won. "
            + (f"It shrinks, in nats: {'; '.join(shrunk)}." if shrunk else "It shrinks certainly in no format.")
        )


def _guessed(row: Measurement) -> Iterator[tuple[str, float, float]]:
    """Kind, share of right answers and share by guessing, where Wilson's interval holds the latter (95 %)."""
    kinds: dict[str, list[tuple[float, float]]] = {}
    about = zip(row.parameters["kinds"], row.parameters["chances"], row.samples, strict=True)
    for kind, chance, outcome in about:
        if chance and outcome in (0, 1):
            kinds.setdefault(kind, []).append((outcome, chance))
    for kind, found in sorted(kinds.items()):
        between = share_interval([outcome for outcome, _ in found])
        chance = sum(each for _, each in found) / len(found)
        if between.low <= chance:
            yield kind, between.estimate, chance


def _leads(counted: Mapping[str, Mapping[str, Measurement]], reference: str) -> Iterator[tuple[str, Interval]]:
    """Format -> by how much its margins are smaller than the reference's, in nats, over the choices of both."""
    theirs = _margins(counted[reference])
    for name, rows in counted.items():
        ours = _margins(rows)
        common = [item for item in theirs if item in ours]
        if name != reference and len(common) > 1:
            yield name, bootstrap_mean([theirs[item] - ours[item] for item in common])


def _margins(rows: Mapping[str, Measurement]) -> dict[str, float]:
    row = rows.get("margin")
    return dict(zip(row.parameters["items"], row.samples, strict=True)) if row and row.status == "ok" else {}


def _said(between: Interval) -> str:
    return f"{numbers.nats(between.estimate)} ({numbers.span(between, numbers.nats)})"
