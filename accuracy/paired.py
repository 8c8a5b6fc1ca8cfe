"""Intervals for what a run measures: means, medians, shares, and item-by-item differences between two formats."""

from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass
from math import comb, exp, fsum, sqrt
from statistics import NormalDist, median

CONFIDENCE = 0.95
FLIPS = 9_999  # of signs: the least p is 0.0001
RESAMPLES = 2000  # percentile limits of a mean move by about 1 % of the interval's width at this count


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate and the interval around it, in the estimate's unit; `confidence` is the interval's own, 0..1."""

    low: float
    high: float
    estimate: float
    confidence: float = CONFIDENCE

    def contains(self, value: float) -> bool:
        """Whether `value` lies inside, the ends included."""
        return self.low <= value <= self.high


@dataclass(frozen=True, kw_only=True)
class Paired:
    """Two formats on the same items. `loss` in percentage points, positive where the candidate is worse."""

    n: int
    reference_share: float  # right answers of the reference, 0..1
    candidate_share: float
    lost: int  # items that the reference has right and the candidate wrong; of shares between 0 and 1 none counts
    gained: int  # the reverse
    p_value: float  # two-sided: exact McNemar; where outcomes are shares, of the mean difference under flips of signs
    loss: Interval

    @property
    def told_apart(self) -> bool:
        """Whether the interval leaves zero out: the two differ at the interval's confidence."""
        return not self.loss.contains(0.0)


def bootstrap_mean(
    samples: Sequence[float], *, confidence: float = CONFIDENCE, seed: int = 0, resamples: int = RESAMPLES
) -> Interval:
    """The mean of at least two samples with its percentile bootstrap interval, in the samples' unit.

    Raises ValueError for fewer than two samples: one sample says nothing about its own spread.
    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
    """
    import numpy as np

    if len(samples) < 2:
        raise ValueError("a bootstrap interval needs at least two samples")
    values, chance = np.asarray(samples, dtype=np.float64), np.random.default_rng(seed)
    means = np.concatenate(
        [
            values[chance.integers(0, len(values), size=(n, len(values)))].mean(axis=1)
            for n in _blocks(resamples, values)
        ]
    )
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(low=float(low), high=float(high), estimate=float(values.mean()), confidence=confidence)


def median_interval(samples: Sequence[float], *, confidence: float = CONFIDENCE) -> Interval:
    """The median of at least two samples between two of the samples themselves, whatever their distribution.

    The interval runs from the k-th smallest to the k-th largest, with the largest k that reaches `confidence`; where
    even the smallest and the largest do not (five samples or fewer at 95 %), it is those two, and its `confidence`
    says how much that is: 1 - 2 * 0.5 ** n, 93.75 % for five. Source: Conover, Practical Nonparametric Statistics,
    3rd edition, section 3.2 (the sign test turned round).
    """
    if len(samples) < 2:
        raise ValueError("a median's interval needs at least two samples")
    ordered, n = sorted(samples), len(samples)
    cut, reached = 0, 1 - 2 * 0.5**n
    outside = 0.5**n
    for k in range(1, (n - 1) // 2 + 1):
        outside += comb(n, k) * 0.5**n
        if 1 - 2 * outside < confidence:
            break
        cut, reached = k, 1 - 2 * outside
    return Interval(low=ordered[cut], high=ordered[n - 1 - cut], estimate=median(ordered), confidence=reached)


def share_interval(outcomes: Sequence[float], *, confidence: float = CONFIDENCE) -> Interval:
    """The share of ones among 0/1 outcomes, with Wilson's score interval, all 0..1.

    Source: Wilson, J. Am. Stat. Assoc. 22 (1927) 209-212; it keeps a width where every outcome is the same.
    """
    right, n = _count(outcomes), len(outcomes)
    z2 = _z(confidence) ** 2
    centre = (right + z2 / 2) / (n + z2)
    half = sqrt(z2) / (n + z2) * sqrt(right * (n - right) / n + z2 / 4)
    return Interval(
        low=max(0.0, centre - half), high=min(1.0, centre + half), estimate=right / n, confidence=confidence
    )


def paired_difference(
    reference: Sequence[float], candidate: Sequence[float], *, confidence: float = CONFIDENCE
) -> Paired:
    """Compare two formats on the same items, outcomes of 0..1 in the same order.

    Of outcomes that are all 0 or 1 the interval is Tango's score interval for a difference of paired proportions
    (Statistics in Medicine 17 (1998) 891-908). A paired bootstrap would do for many flips; with none it has no width
    and claims a certainty that no finite set of items gives. This one is then +- z^2 / (n + z^2): 3.1 points for 120
    items. Where outcomes are shares, as MC2's are, it is a bootstrap of the paired differences, and the p-value is that
    of their mean when each may as well have had the other sign: every share moves a little, so that counting how many
    moved which way would find a difference in what is none.
    """
    if len(reference) != len(candidate):
        raise ValueError("both formats must have answered the same items")
    before, after, n = _total(reference), _total(candidate), len(reference)
    differences = [r - c for r, c in zip(reference, candidate, strict=True)]
    lost, gained = differences.count(1), differences.count(-1)  # a whole difference is one between a 1 and a 0
    p_value = _mcnemar(lost, gained)
    if {*reference, *candidate} <= {0, 1}:
        low, high = _tango(lost, gained, n, _z(confidence))
    elif n > 1:
        between = bootstrap_mean(differences, confidence=confidence)
        low, high, p_value = between.low, between.high, _signs_flipped(differences)
    else:
        low, high, p_value = -1.0, 1.0, 1.0  # one share says nothing about its own spread
    return Paired(
        n=n,
        reference_share=before / n,
        candidate_share=after / n,
        lost=lost,
        gained=gained,
        p_value=p_value,
        loss=Interval(low=100 * low, high=100 * high, estimate=100 * (before - after) / n, confidence=confidence),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values corrected for how many there are, in their order: the chance of any false alarm among them.

    Source: Holm, Scand. J. Statistics 6 (1979) 65-70.
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = highest
    return corrected


def perplexity_ratio(
    reference: Sequence[float], candidate: Sequence[float], *, confidence: float = CONFIDENCE
) -> Interval:
    """The candidate's perplexity over the reference's, from negative log-likelihoods [windows] in nats a token.

    The interval is a bootstrap over the windows, in which both have read the same text.
    """
    between = bootstrap_mean([c - r for r, c in zip(reference, candidate, strict=True)], confidence=confidence)
    return Interval(low=exp(between.low), high=exp(between.high), estimate=exp(between.estimate), confidence=confidence)


def _total(outcomes: Sequence[float]) -> float:
    if not outcomes or not all(0 <= x <= 1 for x in outcomes):
        raise ValueError("outcomes must lie between zero and one, and there must be at least one of them")
    return fsum(outcomes)


def _count(outcomes: Sequence[float]) -> int:
    if not outcomes or any(x not in (0, 1) for x in outcomes):
        raise ValueError("outcomes must be zeros and ones, at least one of them")
    return int(sum(outcomes))


def _z(confidence: float) -> float:
    return NormalDist().inv_cdf((1 + confidence) / 2)


def _mcnemar(lost: int, gained: int) -> float:
    """Exact two-sided McNemar: under no difference, the flips fall either way like a fair coin."""
    flips, fewer = lost + gained, min(lost, gained)
    tail: float = sum(comb(flips, k) for k in range(fewer + 1)) / 2**flips
    return min(1.0, 2 * tail)


def _signs_flipped(differences: Sequence[float]) -> float:
    """Two-sided p of the mean: the share of random flips of signs that bring it as far from zero.

    Source: Fisher's randomisation test for pairs, as in Good, Permutation, Parametric and Bootstrap Tests of
    Hypotheses (2005), section 3.2; the observed signs count as one of the flips, so that no p is zero.
    """
    import numpy as np

    values, chance = np.asarray(differences, dtype=np.float64), np.random.default_rng(0)
    observed, as_far = abs(float(values.sum())), 1
    for n in _blocks(FLIPS, values):
        signs = 1 - 2 * chance.integers(0, 2, size=(n, len(values)), dtype=np.int8)
        as_far += int((np.abs(signs @ values) >= observed - 1e-12).sum())
    return as_far / (FLIPS + 1)


def _blocks(n: int, values: Sized) -> Iterator[int]:
    """`n` draws of as many as there are values, in blocks that take some 10 MB."""
    at_once = max(1, 1_000_000 // len(values))
    for start in range(0, n, at_once):
        yield min(at_once, n - start)


def _tango(lost: int, gained: int, n: int, z: float) -> tuple[float, float]:
    """Both ends of the interval, -1..1: where the score statistic passes +z and -z."""
    estimate = (lost - gained) / n
    return _crossing(lost, gained, n, z, -1.0, estimate), _crossing(lost, gained, n, -z, estimate, 1.0)


def _crossing(lost: int, gained: int, n: int, target: float, low: float, high: float) -> float:
    """The difference in [low, high] at which the statistic, which falls in the difference, equals `target`."""
    for _ in range(60):  # halving 60 times ends below the spacing of floats
        middle = (low + high) / 2
        if _score(lost, gained, n, middle) > target:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _score(lost: int, gained: int, n: int, difference: float) -> float:
    """Tango's statistic at a supposed difference, the flips' probability at its most likely value there."""
    b = -lost - gained + (2 * n - lost + gained) * difference
    c = -gained * difference * (1 - difference)
    q = (sqrt(b * b - 8 * n * c) - b) / (4 * n) if b * b > 8 * n * c else -b / (4 * n)
    variance = n * (2 * q + difference * (1 - difference))
    gap = lost - gained - n * difference
    if variance <= 0:  # only at a difference of 0 without flips, and at the ends of the scale
        return 0.0 if gap == 0 else float("inf") if gap > 0 else float("-inf")
    return gap / sqrt(variance)
