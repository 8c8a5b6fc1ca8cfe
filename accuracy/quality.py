"""Quality of one artifact against the reference: divergence on the text, and every item's outcome."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from .. import Error
from ..convert.vocabulary.tokenizer import Tokenizer
from ..runtimes.session import Session, Settings, open_session
from . import scoring
from .divergence import ReferenceLogits, log_softmax, scored_positions, window_scores

SEQUENCES = 33  # the session's own, and 32 beside it: a batch of several tokens costs little more than one


def measure(job: Mapping[str, Any], progress: Callable[[str], None]) -> dict[str, Any]:
    """Measure one artifact in this process; returns metric -> samples, and the items' ids and kinds in their order.

    The job: container, path, settings, prepared (the file that `preparation` wrote), reference (folder of the
    reference's log-probabilities), is_reference (write that folder on the way).
    """
    prepared = json.loads(Path(job["prepared"]).read_text(encoding="utf-8"))
    settings = replace(Settings(**job["settings"]), sequences=SEQUENCES)
    session = open_session(job["container"], job["path"], settings)
    reference = ReferenceLogits(Path(job["reference"]))
    if job["is_reference"]:
        reference.create(sum(len(scored_positions(window)) for window in prepared["windows"]), session.n_vocab)
    windows = list(
        _score_windows(session, prepared["windows"], reference, is_reference=job["is_reference"], progress=progress)
    )
    session.rewind(0)
    scores = _score_items(session, prepared["items"], Tokenizer(Path(prepared["folder"])), progress)
    choices = [item for item, score in zip(prepared["items"], scores, strict=True) if score.margin is not None]
    samples = {metric: [window[metric] for window in windows] for metric in windows[0]}
    samples["accuracy"] = [float(score.right) for score in scores]
    samples["margin"] = [score.margin for score in scores if score.margin is not None]
    return {
        "samples": samples,
        "items": [item["id"] for item in prepared["items"]],
        "kinds": [item["kind"] for item in prepared["items"]],
        "choice_items": [item["id"] for item in choices],
    }


def _score_windows(
    session: Session,
    windows: list[list[int]],
    reference: ReferenceLogits,
    *,
    is_reference: bool,
    progress: Callable[[str], None],
) -> Iterator[dict[str, float]]:
    log_probabilities, top_tokens = reference.open(writable=is_reference)
    start = 0
    for done, window in enumerate(windows, 1):
        progress(f"window {done} of {len(windows)}")
        logits, positions = _logits(session, window), scored_positions(window)
        rows = slice(start, start + len(positions))
        if is_reference:
            log_probabilities[rows] = log_softmax(logits)
            top_tokens[rows] = logits.argmax(axis=-1)
        targets = [window[position + 1] for position in positions]
        scores = asdict(window_scores(log_probabilities[rows], top_tokens[rows], logits, targets))
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


def _logits(session: Session, window: list[int]) -> Any:
    session.rewind(0)
    positions = scored_positions(window)
    return session.evaluate(window, logits="all")[positions.start : positions.stop]
