"""Intervals against published, hand-worked and SciPy values."""

from math import comb, exp, log

import numpy as np
import pytest
from scipy import optimize, stats

from edgequant.accuracy.paired import bootstrap_mean, median_interval, paired_difference, share_interval


def outcomes(both: int, lost: int, gained: int, neither: int) -> tuple[list[int], list[int]]:
    reference = [1] * both + [1] * lost + [0] * gained + [0] * neither
    candidate = [1] * both + [0] * lost + [1] * gained + [0] * neither
    return reference, candidate


def test_tango_airway_example() -> None:
    # Fagerland, Lydersen, Laake, Stat. Med. 33 (2014) 2850-2875: airway hyper-responsiveness (1, 1, 7, 12)
    loss = paired_difference(*outcomes(1, 1, 7, 12)).loss
    assert loss.low == pytest.approx(-51.7, abs=0.05)
    assert loss.high == pytest.approx(-2.6, abs=0.05)


def test_tango_at_ninety_per_cent() -> None:
    # R, PropCIs::scoreci.mp(25, 28, 618, conf.level = 0.90) gives -0.0148 to 0.0247 for (28 - 25) / 618
    loss = paired_difference(*outcomes(400, 28, 25, 165), confidence=0.90).loss
    assert (loss.low, loss.high) == (pytest.approx(-1.48, abs=0.005), pytest.approx(2.47, abs=0.005))
    assert loss.estimate == pytest.approx(100 * 3 / 618)


@pytest.mark.parametrize("n", [1, 20, 120, 400])
def test_no_flips_still_has_a_width(n: int) -> None:
    # by hand: without flips the statistic is -sqrt(n d / (1 - d)), which is -z at d = z^2 / (n + z^2)
    loss = paired_difference([1] * n, [1] * n).loss
    z2 = 1.959963984540054**2
    assert loss.high == pytest.approx(100 * z2 / (n + z2))
    assert loss.low == pytest.approx(-loss.high)
    assert loss.estimate == 0


@pytest.mark.parametrize("lost, gained, n", [(7, 1, 21), (3, 0, 60), (0, 5, 40), (12, 12, 200), (20, 0, 20), (1, 0, 2)])
def test_tango_ends_solve_the_score_equation(lost: int, gained: int, n: int) -> None:
    # the same equation solved another way: the nuisance probability by numerical maximum likelihood
    def statistic(d: float) -> float:
        def minus_log_likelihood(q: float) -> float:
            p = q + d
            rest = 1 - p - q
            return -(lost * log(p) + gained * log(q) + (n - lost - gained) * log(rest)) if rest > 0 else 1e9

        top = (1 - d) / 2
        bounds = (max(0, -d) + 1e-12, top - 1e-12)
        q = optimize.minimize_scalar(minus_log_likelihood, bounds=bounds, method="bounded", options={"xatol": 1e-12}).x
        return float((lost - gained - n * d) / np.sqrt(n * (2 * q + d - d * d)))

    loss = paired_difference(*outcomes(n - lost - gained, lost, gained, 0)).loss
    if loss.low > -100 + 1e-6:
        assert statistic(loss.low / 100) == pytest.approx(1.959964, abs=2e-3)
    if loss.high < 100 - 1e-6:
        assert statistic(loss.high / 100) == pytest.approx(-1.959964, abs=2e-3)


@pytest.mark.parametrize("p_lost, p_gained", [(0.01, 0.01), (0.05, 0.02), (0.10, 0.10), (0.002, 0.0)])
def test_coverage_by_enumeration(p_lost: float, p_gained: float) -> None:
    n, covered, total = 60, 0.0, 0.0
    for lost in range(25):
        for gained in range(25 if p_gained else 1):
            rest = n - lost - gained
            if rest < 0:
                continue
            weight = comb(n, lost) * comb(n - lost, gained) * p_lost**lost
            weight *= p_gained**gained * (1 - p_lost - p_gained) ** rest
            if weight < 1e-9:
                continue
            total += weight
            loss = paired_difference(*outcomes(rest, lost, gained, 0)).loss
            covered += weight * loss.contains(100 * (p_lost - p_gained))
    assert total > 0.999
    assert covered > 0.935


@pytest.mark.parametrize("lost, gained", [(0, 0), (1, 0), (7, 1), (3, 9), (30, 30), (200, 150)])
def test_mcnemar_is_the_exact_binomial_test(lost: int, gained: int) -> None:
    paired = paired_difference(*outcomes(10, lost, gained, 10))
    expected = stats.binomtest(lost, lost + gained, 0.5).pvalue if lost + gained else 1.0
    assert paired.p_value == pytest.approx(expected, rel=1e-9)


def test_counts_and_sign() -> None:
    paired = paired_difference([1, 1, 1, 0, 0], [1, 0, 0, 1, 0])
    assert (paired.lost, paired.gained, paired.n) == (2, 1, 5)
    assert (paired.reference_share, paired.candidate_share) == (0.6, 0.4)
    assert paired.loss.estimate == pytest.approx(20)
    assert not paired.told_apart
    assert paired_difference(*outcomes(20, 20, 0, 0)).told_apart


def test_turning_the_pair_round_mirrors_the_interval() -> None:
    a, b = outcomes(30, 9, 3, 18)
    there, back = paired_difference(a, b).loss, paired_difference(b, a).loss
    assert (there.low, there.high) == (pytest.approx(-back.high), pytest.approx(-back.low))


@pytest.mark.parametrize("a, b", [([1], [1, 0]), ([], []), ([1.5], [1])])
def test_what_is_not_paired_outcomes_is_refused(a: list[float], b: list[float]) -> None:
    with pytest.raises(ValueError):
        paired_difference(a, b)


def test_wilson_published() -> None:
    # Newcombe, Stat. Med. 17 (1998) 857-872, table I, method 3: 81/263, 15/148, 0/20
    for right, n, low, high in [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)]:
        interval = share_interval([1] * right + [0] * (n - right))
        assert (interval.low, interval.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_bootstrap_of_the_mean_against_scipy() -> None:
    samples = np.random.default_rng(5).gamma(2.0, 0.01, 40)
    ours = bootstrap_mean(list(samples), seed=1, resamples=20000)
    theirs = stats.bootstrap(
        (samples,), np.mean, method="percentile", n_resamples=20000, rng=np.random.default_rng(2)
    ).confidence_interval
    width = theirs.high - theirs.low
    assert ours.estimate == pytest.approx(samples.mean())
    assert abs(ours.low - theirs.low) < 0.03 * width
    assert abs(ours.high - theirs.high) < 0.03 * width


def test_shares_by_their_mean_against_scipy() -> None:
    """Shares that hardly move are no flips, however many they are: the mean decides."""
    rng = np.random.default_rng(5)
    shares = rng.uniform(0.2, 0.8, 400)
    for shift, spread in [(0.0, 0.02), (0.004, 0.02), (0.0003, 0.0001)]:
        moved = shares - rng.normal(shift, spread, 400)
        found = paired_difference(shares.tolist(), moved.tolist())
        expected = stats.permutation_test(
            (shares - moved,),
            np.sum,
            permutation_type="samples",
            n_resamples=9_999,
            random_state=np.random.default_rng(1),
        )
        assert (found.lost, found.gained) == (0, 0)
        assert found.p_value == pytest.approx(expected.pvalue, abs=0.02)


def test_shares_beside_flips() -> None:
    """Forty items lost and ten gained are seen beside shares that tremble."""
    rng = np.random.default_rng(6)
    shares = rng.uniform(0.2, 0.8, 800)
    reference = [1.0] * 540 + [0.0] * 460 + shares.tolist()
    candidate = [0.0] * 40 + [1.0] * 510 + [0.0] * 450 + (shares + rng.normal(0, 1e-4, 800)).tolist()
    found = paired_difference(reference, candidate)
    assert (found.lost, found.gained) == (40, 10)
    assert found.p_value < 0.001 and found.loss.low > 0


def test_bootstrap_is_repeatable_and_needs_two() -> None:
    assert bootstrap_mean([1, 2, 4], seed=3) == bootstrap_mean([1, 2, 4], seed=3)
    assert bootstrap_mean([1, 2, 4, 9], seed=3) != bootstrap_mean([1, 2, 4, 9], seed=4, resamples=50)
    with pytest.raises(ValueError):
        bootstrap_mean([1.0])


def test_confidence_widens_the_bootstrap() -> None:
    samples = [exp(x / 7) for x in range(20)]
    narrow, wide = bootstrap_mean(samples, confidence=0.5), bootstrap_mean(samples, confidence=0.99)
    assert wide.low < narrow.low < narrow.high < wide.high


@pytest.mark.parametrize("n", [2, 3, 5, 6, 9, 12, 25, 40])
def test_median_interval_against_the_binomial(n: int) -> None:
    interval = median_interval([float(x) for x in range(n)][::-1])
    k = int(interval.low)
    assert interval.high == n - 1 - k
    assert interval.confidence == pytest.approx(1 - 2 * stats.binom.cdf(k, n, 0.5))
    assert interval.confidence >= 0.95 or k == 0
    assert 1 - 2 * stats.binom.cdf(k + 1, n, 0.5) < 0.95 or n <= 5
    assert interval.estimate == (n - 1) / 2


def test_five_repetitions_say_how_sure_they_are() -> None:
    assert median_interval([5, 1, 4, 2, 3]).confidence == 0.9375
    with pytest.raises(ValueError):
        median_interval([1.0])
