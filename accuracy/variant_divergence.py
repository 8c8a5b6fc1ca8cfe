"""How far an artifact run in another way (cache type, flash attention) lies from the same artifact run plainly."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..runtimes.session import Session, Settings, open_session
from .divergence import ReferenceLogits, WindowScores, log_softmax, scored_logits, scored_positions, window_scores
from .preparation import read_prepared

N_WINDOWS = 4  # some 1,900 positions: the plain logits of more than that fill a small device's card


def measure(job: Mapping[str, Any], progress: Callable[[str], None]) -> dict[str, Any]:
    """Compare in this process: "samples" of kl_divergence and same_top_token, one a window.

    The job: container, path, settings (the variant's), prepared (the file that `preparation` wrote), scratch (a
    folder for the plain logits). One session at a time: two would need twice the memory.
    """
    windows = read_prepared(Path(job["prepared"]))["windows"][:N_WINDOWS]
    settings = Settings(**job["settings"])
    plain = replace(settings, cache_type="f16", flash_attention=None)
    Path(job["scratch"]).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=job["scratch"]) as folder:
        reference = ReferenceLogits(Path(folder))
        _each(job, plain, windows, _keep(reference, sum(len(scored_positions(window)) for window in windows)))
        log_probabilities, top_tokens = reference.open()
        found: list[WindowScores] = []

        def compare(rows: slice, logits: Any, targets: list[int]) -> None:
            progress(f"window {len(found) + 1} of {len(windows)}")
            found.append(window_scores(log_probabilities[rows], top_tokens[rows], logits, targets))

        _each(job, settings, windows, compare)
    return {
        "samples": {
            "kl_divergence": [scores.kl_divergence for scores in found],
            "same_top_token": [scores.same_top_token for scores in found],
        }
    }


def _keep(reference: ReferenceLogits, n_positions: int) -> Callable[[slice, Any, list[int]], None]:
    def keep(rows: slice, logits: Any, targets: list[int]) -> None:
        if rows.start == 0:
            reference.create(n_positions, logits.shape[-1])
        log_probabilities, top_tokens = reference.open(writable=True)
        log_probabilities[rows], top_tokens[rows] = log_softmax(logits), logits.argmax(axis=-1)

    return keep


def _each(
    job: Mapping[str, Any], settings: Settings, windows: list[list[int]], take: Callable[[slice, Any, list[int]], None]
) -> None:
    """Hand over every window's rows among all, its logits [positions, vocabulary] and the tokens that follow."""
    session: Session = open_session(job["container"], job["path"], settings)
    start = 0
    for window in windows:
        positions = scored_positions(window)
        rows = slice(start, start + len(positions))
        take(rows, scored_logits(session, window), [window[position + 1] for position in positions])
        start = rows.stop
    session.close()
