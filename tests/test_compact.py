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
from edgequant.accuracy.divergence import log_softmax, window_scores

Floats = NDArray[np.float32]


def logits(n: int, vocabulary: int, *, seed: int) -> Floats:
    """Like a language model's: a few likely tokens and a long tail (Zipf's law with a random order and noise)."""
    rng = np.random.default_rng(seed)
    ranks = np.argsort(rng.random((n, vocabulary)), axis=1) + 1
    return (-1.2 * np.log(ranks) + rng.standard_normal((n, vocabulary))).astype(np.float32)


def reference(values: Floats, *, kept: int = compact.KEPT, seed: int = 0) -> CompactReference:
    """The compact form of logits [n, vocabulary]."""
    log_p = log_softmax(values)
    drawn = [draw(row, start, kept=kept) for row, start in zip(log_p, starts(len(log_p), seed), strict=True)]
    ids = np.array([each for each, _ in drawn])
    return CompactReference(
        ids=ids.astype(np.uint16),
        log_probabilities=np.take_along_axis(log_p, ids, axis=1).astype(np.float16),
        tau=np.array([tau for _, tau in drawn], np.float32),
        top_tokens=values.argmax(axis=-1).astype(np.int32),
    )


def starts(n: int, seed: int) -> list[float]:
    return list(np.random.default_rng(seed).random(n))


def exact(p: Floats, q: Floats) -> float:
    """The mean divergence by scipy, in float64."""
    wide = [scipy.special.softmax(each.astype(float), axis=-1) for each in (p, q)]
    return float(scipy.stats.entropy(*wide, axis=-1).mean())


@pytest.mark.parametrize("noise", [0.01, 0.1, 0.5, 1.5], ids=["at once", "near", "far", "lost"])
def test_the_error_is_a_share_of_the_divergence_near_and_far(noise: float) -> None:
    p = logits(200, 6_000, seed=1)
    q = p + noise * np.random.default_rng(2).standard_normal(p.shape).astype(np.float32)
    got, expected = reference(p).scores(slice(0, 200), q, [0] * 200), exact(p, q)
    assert abs(got.kl_divergence / expected - 1) < 0.02
    assert abs(got.kl_divergence - expected) < 3.5 * got.kl_divergence_error + 1e-6
    assert got.kl_divergence_error < 0.012 * expected + 1e-6


def test_the_stated_error_is_that_of_many_draws() -> None:
    """Nineteen of twenty draws lie within two stated errors; the mean of all lies nearer than any one has to."""
    p = logits(20, 3000, seed=3)
    q = p + 0.3 * np.random.default_rng(4).standard_normal(p.shape).astype(np.float32)
    got = [reference(p, kept=32, seed=seed).scores(slice(0, 20), q, [0] * 20) for seed in range(60)]
    off = np.array([each.kl_divergence - exact(p, q) for each in got])
    stated = np.array([each.kl_divergence_error for each in got])
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


def test_a_small_vocabulary_is_kept_whole() -> None:
    p, q = logits(40, 100, seed=6), logits(40, 100, seed=7)
    got = reference(p).scores(slice(0, 40), q, list(range(40)))
    whole = window_scores(log_softmax(p).astype(np.float16), p.argmax(axis=-1).astype(np.int32), q, list(range(40)))
    assert got.kl_divergence_error == 0
    assert got.kl_divergence == pytest.approx(exact(p, q), rel=2e-4)
    assert got.same_top_token == whole.same_top_token
    assert got.negative_log_likelihood == pytest.approx(whole.negative_log_likelihood, rel=1e-6)


def test_a_distribution_without_a_tail() -> None:
    """All of the mass on a few tokens, and nothing left to draw."""
    log_p = np.full(1000, -1e4, np.float32)
    log_p[[3, 700]] = np.log(np.float32(0.5))
    ids, tau = draw(log_p, 0.5)
    assert {3, 700} <= set(ids.tolist()) and tau == 0


def test_a_model_against_itself() -> None:
    p = logits(50, 6_000, seed=8)
    got = reference(p).scores(slice(0, 50), p, [0] * 50)
    assert 0 <= got.kl_divergence < 2e-6 and got.same_top_token == 1


def test_rows_are_those_asked_for() -> None:
    p = logits(12, 500, seed=9)
    kept = reference(p)
    assert kept.scores(slice(4, 9), p[4:9], [0] * 5).kl_divergence < 1e-5
    assert kept.scores(slice(5, 10), p[4:9], [0] * 5).kl_divergence > 1


def test_on_disk(tmp_path: Path) -> None:
    made: Any = vars(reference(logits(5, 300, seed=10))) | {"key": "of this and that"}
    for name in ("a.npz", "b.npz"):
        compact.write(CompactReference(**made), tmp_path / name)
    again = compact.read(tmp_path / "a.npz")
    assert again.key == "of this and that"
    assert all(np.array_equal(getattr(again, name), made[name]) for name in made)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize("content", [b"", b"no such thing", b"PK\x03\x04 cut off"])
def test_a_file_that_is_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(Error, match="no compact reference"):
        compact.read(tmp_path / "x.npz")
