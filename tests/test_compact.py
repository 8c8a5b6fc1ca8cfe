"""The compact reference: what it keeps, and how far its divergences lie from those of all log-probabilities."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.special
import scipy.stats
from numpy.typing import NDArray

from edgequant import Error
from edgequant.accuracy import compact
from edgequant.accuracy.compact import CompactReference, draw
from edgequant.accuracy.divergence import PositionScores, log_softmax

Floats = NDArray[np.float32]


def logits(n: int, vocabulary: int, *, seed: int) -> Floats:
    """Like a language model's: a few likely tokens and a long tail (Zipf's law with a random order and noise)."""
    rng = np.random.default_rng(seed)
    ranks = np.argsort(rng.random((n, vocabulary)), axis=1) + 1
    return (-1.2 * np.log(ranks) + rng.standard_normal((n, vocabulary))).astype(np.float32)


def reference(values: Floats, *, kept: int = compact.KEPT, seed: int = 0) -> CompactReference:
    """The compact form of logits [n, vocabulary]."""
    return compact.drawn(values, starts(len(values), seed), kept=kept)


def starts(n: int, seed: int) -> list[float]:
    return list(np.random.default_rng(seed).random(n))


def means(scores: PositionScores) -> tuple[float, float]:
    """The mean divergence over the positions, and its stated standard error."""
    n = len(scores.kl_divergence)
    return float(scores.kl_divergence.mean()), float(np.sqrt(scores.variance.sum()) / n)


def exact(p: Floats, q: Floats) -> float:
    """The mean divergence by scipy, in float64."""
    wide = [scipy.special.softmax(each.astype(float), axis=-1) for each in (p, q)]
    return float(scipy.stats.entropy(*wide, axis=-1).mean())


@pytest.mark.parametrize("noise", [0.01, 0.1, 0.5, 1.5], ids=["at once", "near", "far", "lost"])
def test_the_error_is_a_share_of_the_divergence_near_and_far(noise: float) -> None:
    p = logits(200, 6_000, seed=1)
    q = p + noise * np.random.default_rng(2).standard_normal(p.shape).astype(np.float32)
    got, stated = means(reference(p).scores(slice(0, 200), q, [0] * 200))
    expected = exact(p, q)
    assert abs(got / expected - 1) < 0.02
    assert abs(got - expected) < 3.5 * stated + 1e-6
    assert stated < 0.012 * expected + 1e-6


def test_the_stated_error_is_that_of_many_draws() -> None:
    """Nineteen of twenty draws lie within two stated errors; the mean of all lies nearer than any one has to."""
    p = logits(20, 3000, seed=3)
    q = p + 0.3 * np.random.default_rng(4).standard_normal(p.shape).astype(np.float32)
    got = [means(reference(p, kept=32, seed=seed).scores(slice(0, 20), q, [0] * 20)) for seed in range(60)]
    off = np.array([divergence - exact(p, q) for divergence, _ in got])
    stated = np.array([error for _, error in got])
    assert (abs(off) < 2 * stated).mean() >= 0.95
    assert 0.3 < off.std() / stated.mean() < 1.1
    assert abs(off.mean()) < 3 * off.std() / np.sqrt(60)


def test_what_is_kept_stands_for_everything() -> None:
    """Weights add up to one, the likeliest tokens are among them for themselves, and no token of a draw comes twice."""
    log_p = log_softmax(logits(1, 3000, seed=5))[0]
    for start in (0.0, 0.4, 0.999):
        ids, tau = draw(log_p, start, kept=64)
        p = np.exp(log_p[ids].astype(float))
        assert len(set(ids.tolist())) == 64
        assert np.maximum(p, tau).sum() == pytest.approx(1, abs=1e-5)
        n_sure = int((p >= tau).sum())
        assert set(np.argsort(-log_p)[:n_sure]) <= set(ids.tolist())
        assert 10 < n_sure < 64


@pytest.mark.parametrize("n", [1, 15, 40])
def test_a_small_vocabulary_is_kept_whole_and_every_position_is_scipy_s(n: int) -> None:
    p, q = logits(n, 100, seed=6), logits(n, 100, seed=7)
    targets = np.random.default_rng(4).integers(0, 100, n).tolist()
    got = reference(p).scores(slice(0, n), q, targets)
    wide_p, wide_q = (scipy.special.softmax(each.astype(float), axis=-1) for each in (p, q))
    assert got.variance.tolist() == [0.0] * n
    np.testing.assert_allclose(got.kl_divergence, scipy.stats.entropy(wide_p, wide_q, axis=-1), rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(got.negative_log_likelihood, -np.log(wide_q[np.arange(n), targets]), rtol=1e-5)
    assert got.same_top_token.tolist() == (p.argmax(axis=-1) == q.argmax(axis=-1)).tolist()


def test_the_divergence_is_the_references_view() -> None:
    """KL(p || q) for p = (1/2, 1/2), q = (1/4, 3/4) is ln 2 - ln(3) / 2; the other way round it is another number."""
    p, q = np.zeros((1, 2), np.float32), np.log(np.array([[0.25, 0.75]], np.float32))
    forth, back = (means(reference(x).scores(slice(0, 1), y, [0]))[0] for x, y in ((p, q), (q, p)))
    assert forth == pytest.approx(np.log(2) - np.log(3) / 2, rel=1e-4)
    assert back == pytest.approx(0.75 * np.log(3) - np.log(2), rel=1e-4)


def test_adding_a_number_to_all_logits_changes_nothing() -> None:
    p, q = logits(20, 300, seed=6), logits(20, 300, seed=7)
    a, b = (reference(p).scores(slice(0, 20), each, [1] * 20) for each in (q, q + np.float32(50)))
    np.testing.assert_allclose(a.kl_divergence, b.kl_divergence, rtol=1e-3)
    np.testing.assert_allclose(a.negative_log_likelihood, b.negative_log_likelihood, rtol=1e-4)


def test_logits_that_are_no_numbers_are_not_hidden() -> None:
    p, q = logits(3, 10, seed=10), logits(3, 10, seed=11)
    q[1, 1] = np.nan
    with np.errstate(invalid="ignore"):
        assert np.isnan(reference(p).scores(slice(0, 3), q, [0, 0, 0]).kl_divergence[1])


def test_a_distribution_without_a_tail() -> None:
    """All of the mass on a few tokens, and nothing left to draw."""
    log_p = np.full(1000, -1e4, np.float32)
    log_p[[3, 700]] = np.log(np.float32(0.5))
    ids, tau = draw(log_p, 0.5)
    assert {3, 700} <= set(ids.tolist()) and tau == 0


def test_a_model_against_itself() -> None:
    p = logits(50, 6_000, seed=8)
    got = reference(p).scores(slice(0, 50), p, [0] * 50)
    assert got.kl_divergence.min() >= 0 and got.kl_divergence.max() < 1e-7 and got.same_top_token.min() == 1


def test_rows_are_those_asked_for() -> None:
    p = logits(12, 500, seed=9)
    kept = reference(p)
    assert kept.scores(slice(4, 9), p[4:9], [0] * 5).kl_divergence.max() < 1e-5
    assert kept.scores(slice(5, 10), p[4:9], [0] * 5).kl_divergence.mean() > 1
    halves = compact.joined([compact.drawn(p[:5], starts(12, 0)[:5]), compact.drawn(p[5:], starts(12, 0)[5:])])
    assert all(np.array_equal(getattr(halves, name), getattr(kept, name)) for name in compact._ARRAYS)


def test_on_disk(tmp_path: Path) -> None:
    made: Any = vars(reference(logits(5, 300, seed=10))) | {
        "key": "of this and that",
        "answers": [{"id": "é", "answer": [1, 2]}],
    }
    for name in ("a.npz", "b.npz"):
        compact.write(CompactReference(**made), tmp_path / name)
    again = compact.read(tmp_path / "a.npz")
    assert again.key == compact.key_of(tmp_path / "a.npz") == "of this and that"
    assert again.answers == [{"id": "é", "answer": [1, 2]}]
    assert all(np.array_equal(getattr(again, name), made[name]) for name in compact._ARRAYS)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize("content", [b"", b"no such thing", b"PK\x03\x04 cut off"])
def test_a_file_that_is_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(Error, match="no compact reference"):
        compact.read(tmp_path / "x.npz")
    assert compact.key_of(tmp_path / "x.npz") == compact.key_of(tmp_path / "missing.npz") == ""
