"""Tasks in which a model cannot be told from guessing, and what its margins still say."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..accuracy.paired import CONFIDENCE, Interval, bootstrap_mean, share_interval
from ..profiles.records.measurement import Measurement
from . import numbers


@dataclass(frozen=True, kw_only=True)
class Guessed:
    """A kind of the built-in items or a public set, whose choices may have been answered by guessing."""

    name: str
    share: float  # right answers, 0..1
    chance: float  # by guessing, 0..1
    items: Sequence[str]


def notes(counted: Mapping[str, Mapping[str, Measurement]], reference: str) -> Iterator[str]:
    """Sentences on multiple-choice items whose right answers cannot be told from guessing.

    `counted` are plain rows by format and metric. At chance a loss of accuracy means nothing, but the lead of the right
    choice over the best wrong one can still shrink on these items: formats for which it does beyond its interval, which
    is widened for their number, are named.
    """
    row = counted.get(reference, {}).get("accuracy")
    if row is None or row.status != "ok" or "chances" not in row.parameters:
        return
    guessed = list(_guessed(row))
    if guessed:
        said = "; ".join(
            f"{each.name} {numbers.share(each.share)} of {len(each.items)}, by guessing {numbers.share(each.chance)}"
            for each in guessed
        )
        yield (
            f"The right choices of {reference} cannot be told from guessing in {said}: there accuracy says little, so "
            "go by the divergence."
        )
        leads = list(_leads(counted, reference, {item for each in guessed for item in each.items}))
        shrunk = [f"{name} by {_said(between)}" for name, between in leads if between.low > 0]
        if leads:
            yield (
                "On these items the lead of the right choice over the best wrong one says more than which of them won. "
                + (f"It shrinks, in nats: {'; '.join(shrunk)}." if shrunk else "It shrinks certainly in no format.")
            )


def _guessed(row: Measurement) -> Iterator[Guessed]:
    """Where Wilson's interval of the share of right answers reaches that of guessing (95 %)."""
    groups: dict[str, list[tuple[str, float, float]]] = {}
    about = row.parameters
    sets = about.get("sets") or [""] * len(row.samples)
    for item, kind, of_set, chance, outcome in zip(
        about["items"], about["kinds"], sets, about["chances"], row.samples, strict=True
    ):
        if chance and outcome in (0, 1):
            groups.setdefault(of_set or kind, []).append((item, chance, outcome))
    for name, found in sorted(groups.items()):
        between = share_interval([outcome for _, _, outcome in found])
        chance = sum(each for _, each, _ in found) / len(found)
        if between.low <= chance:
            yield Guessed(name=name, share=between.estimate, chance=chance, items=[item for item, _, _ in found])


def _leads(
    counted: Mapping[str, Mapping[str, Measurement]], reference: str, items: Collection[str]
) -> Iterator[tuple[str, Interval]]:
    """Format -> by how much its margins are smaller than the reference's, in nats, over the choices of both."""
    theirs, n_others = _margins(counted[reference]), max(1, len(counted) - 1)
    for name, rows in counted.items():
        ours = _margins(rows)
        common = [item for item in theirs if item in ours and item in items]
        if name != reference and len(common) > 1:
            differences = [theirs[item] - ours[item] for item in common]
            yield name, bootstrap_mean(differences, confidence=1 - (1 - CONFIDENCE) / n_others)


def _margins(rows: Mapping[str, Measurement]) -> dict[str, float]:
    row = rows.get("margin")
    return dict(zip(row.parameters["items"], row.samples, strict=True)) if row and row.status == "ok" else {}


def _said(between: Interval) -> str:
    return f"{numbers.nats(between.estimate)} ({numbers.span(between, numbers.nats)})"
