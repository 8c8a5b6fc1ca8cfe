"""A part of a set that is the same for every format, every run and every machine, and as mixed as the whole.

Items are ordered by the SHA-256 of their id within each stratum, a subject at one difficulty; the j-th of a stratum of
n stands at (j + 1/2) / n, and a limit takes the items from the lowest place on. So every stratum has its share of every
part, the order of a file decides nothing, and a smaller part lies within a larger one.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

T = TypeVar("T")


def limited(items: Sequence[T], n: int | None, *, key: Callable[[T], str], stratum: Callable[[T], Hashable]) -> list[T]:
    """At most `n` of the items, in the order in which they came; all of them for None. `key` is an item's id."""
    if n is None or n >= len(items):
        return list(items)
    digests = [hashlib.sha256(key(item).encode()).hexdigest() for item in items]
    strata: dict[Hashable, list[int]] = defaultdict(list)
    for index in sorted(range(len(items)), key=digests.__getitem__):
        strata[stratum(items[index])].append(index)
    places = {
        index: ((j + 0.5) / len(indices), digests[index])
        for indices in strata.values()
        for j, index in enumerate(indices)
    }
    chosen = set(sorted(places, key=places.__getitem__)[:n])
    return [item for index, item in enumerate(items) if index in chosen]
