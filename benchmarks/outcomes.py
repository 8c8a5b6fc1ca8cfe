"""The same items on two sides: accuracies, items whose outcomes differ, and how near those were to being even."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgequant.accuracy.public.metrics import margin_of


@dataclass(frozen=True, kw_only=True)
class Side:
    """Of each item, its outcomes by metric and the log-likelihoods of its choices in nats."""

    outcomes: Sequence[Mapping[str, float]]
    log_likelihoods: Sequence[Sequence[float]]


@dataclass(frozen=True, kw_only=True)
class Differing:
    """An item with another outcome on the other side; margins in nats."""

    number: int
    ours: float
    theirs: float

    @property
    def largest(self) -> float:
        """The larger margin: how far the item was from even, on the side where it was farther."""
        return max(abs(self.ours), abs(self.theirs))


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One metric of one set."""

    task: str
    metric: str
    ours: float
    theirs: float
    n: int
    differing: Sequence[Differing]


def compare(task: str, items: Sequence[Mapping[str, Any]], ours: Side, theirs: Side) -> Iterator[Compared]:
    """Every metric that both sides have of these items, which are as `preparation` writes them."""
    for metric in theirs.outcomes[0]:
        mine, other = ([each[metric] for each in side.outcomes] for side in (ours, theirs))
        yield Compared(
            task=task,
            metric=metric,
            ours=sum(mine) / len(mine),
            theirs=sum(other) / len(other),
            n=len(mine),
            differing=[
                Differing(
                    number=number,
                    ours=margin_of({**items[number], "metric": metric}, ours.log_likelihoods[number]),
                    theirs=margin_of({**items[number], "metric": metric}, theirs.log_likelihoods[number]),
                )
                for number in range(len(mine))
                if mine[number] != other[number]
            ],
        )


def farthest(ours: Side, theirs: Side) -> float:
    """The largest difference of a log-likelihood between the sides, in nats: what is far off was asked otherwise."""
    pairs = zip(ours.log_likelihoods, theirs.log_likelihoods, strict=True)
    return max(abs(a - b) for mine, other in pairs for a, b in zip(mine, other, strict=True))
