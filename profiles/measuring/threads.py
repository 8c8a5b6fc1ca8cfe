"""The best number of threads, decided from measured speeds."""

from collections.abc import Mapping, Sequence
from statistics import median

#: medians within this share of the best count as equally fast: then fewer threads, which leave the device some air
EQUAL = 0.03


def candidates(most: int) -> tuple[int, ...]:
    """Counts worth trying up to `most`: each up to four, then in steps that grow, and `most` itself."""
    steps = [1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64, 96, 128]
    return tuple(sorted({n for n in steps if n < most} | {most}))


def best(speeds: Mapping[int, Sequence[float]]) -> int | None:
    """The smallest count whose median speed is within `EQUAL` of the best one; None where nothing was measured.

    `speeds` are tokens per second, threads -> samples.
    """
    medians = {threads: median(samples) for threads, samples in speeds.items() if samples}
    if not medians:
        return None
    enough = (1 - EQUAL) * max(medians.values())
    return min(threads for threads, speed in medians.items() if speed >= enough)
