"""Quality of one artifact against the reference: divergence on the text, and every item's outcome."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from .. import Error
from ..convert.vocabulary.tokenizer import Tokenizer
from ..runtimes.session import Session, Settings, open_session
from . import compact, scoring
from .divergence import (
    ReferenceLogits,
    WindowScores,
    log_softmax,
    scored_logits,
    scored_positions,
    window_scores,
)
from .preparation import read_prepared

Compare = Callable[[slice, Any, Sequence[int]], WindowScores]  # rows of the reference, logits, the text

SEQUENCES = 33  # the session's own, and 32 beside it: a batch of several tokens costs little more than one


def measure(job: Mapping[str, Any], progress: Callable[[str], None]) -> dict[str, Any]:
    """Measure one artifact in this process; returns metric -> samples, and the items' ids and kinds in their order.

    The job: container, path, settings, prepared (the file that `preparation` wrote), reference (folder of the
    reference's log-probabilities, or a compact file of them), is_reference (write that folder on the way).
    """
    prepared = read_prepared(Path(job["prepared"]))
    settings = replace(Settings(**job["settings"]), sequences=SEQUENCES)
    session = open_session(job["container"], job["path"], settings)
    compare = _comparison(Path(job["reference"]), prepared["windows"], session.n_vocab, writes=job["is_reference"])
    windows = list(_score_windows(session, prepared["windows"], compare, progress))
    session.rewind(0)
    scores = _score_items(session, prepared["items"], Tokenizer(Path(prepared["folder"])), progress)
    choices = [item for item, score in zip(prepared["items"], scores, strict=True) if score.margin is not None]
    samples = {metric: [window[metric] for window in windows] for metric in windows[0]}
    errors = samples.pop("kl_divergence_error")
    samples["accuracy"] = [float(score.right) for score in scores]
    samples["margin"] = [score.margin for score in scores if score.margin is not None]
    return {
        "samples": samples,
        "items": [item["id"] for item in prepared["items"]],
        "kinds": [item["kind"] for item in prepared["items"]],
        "choice_items": [item["id"] for item in choices],
        "kl_divergence_error": math.hypot(*errors) / len(errors),
    }


def _comparison(path: Path, windows: list[list[int]], n_vocab: int, *, writes: bool) -> Compare:
    """What compares logits with the reference at `path`: a folder of all its log-probabilities, or a compact file.

    The reference itself writes the folder on the way.
    """
    if path.is_file():
        return compact.read(path).scores
    reference = ReferenceLogits(path)
    if writes:
        reference.create(sum(len(scored_positions(window)) for window in windows), n_vocab)
    log_probabilities, top_tokens = reference.open(writable=writes)

    def compare(rows: slice, logits: Any, targets: Sequence[int]) -> WindowScores:
        if writes:
            log_probabilities[rows] = log_softmax(logits)
            top_tokens[rows] = logits.argmax(axis=-1)
        return window_scores(log_probabilities[rows], top_tokens[rows], logits, targets)

    return compare


def _score_windows(
    session: Session, windows: list[list[int]], compare: Compare, progress: Callable[[str], None]
) -> Iterator[dict[str, float]]:
    start = 0
    for done, window in enumerate(windows, 1):
        progress(f"window {done} of {len(windows)}")
        positions = scored_positions(window)
        rows = slice(start, start + len(positions))
        targets = [window[position + 1] for position in positions]
        scores = asdict(compare(rows, scored_logits(session, window), targets))
        if not all(map(math.isfinite, scores.values())):
            raise Error("it computes logits that are no finite numbers")
        yield scores
        start = rows.stop


def _score_items(
    session: Session, items: list[dict[str, Any]], tokenizer: Tokenizer, progress: Callable[[str], None]
) -> list[scoring.Score]:
    scores: dict[int, scoring.Score] = {}
    for index, score in scoring.score(items, session, decode=tokenizer.decode):
        scores[index] = score
        progress(f"item {len(scores)} of {len(items)}")
    return [scores[index] for index in range(len(items))]
