"""Quality of one artifact against the reference: divergence on the text, kept answers, and every item's outcome."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from .. import Error
from ..convert.vocabulary.tokenizer import Tokenizer
from ..runtimes.session import Session, Settings, open_session
from . import agreement, compact, scoring
from .compact import CompactReference
from .preparation import UNSCORED_TOKENS, read_prepared
from .public import judge
from .resumption import Resumption
from .spans import Scores, Span, compared, computed, mean, spans

SEQUENCES = 33  # the session's own, and 32 beside it: a batch of several tokens costs little more than one
_SAMPLE_POSITIONS = 64  # of a passage: one sample each, long enough that neighbours are nearly independent
_QUANTILES = {"kl_divergence_median": 0.5, "kl_divergence_p99": 0.99, "kl_divergence_p999": 0.999}


def measure(job: Mapping[str, Any], progress: Callable[[str], None]) -> dict[str, Any]:
    """Measure one artifact in this process; returns "samples" by metric, and what is to be known of the items.

    The job: container, path, settings, prepared (the file that `preparation` wrote), reference (file of the compact
    reference), reference_key (what it is to be computed from), is_reference (compute and write that file on the way),
    resumption (a file that keeps what is finished, "" for none) with its key, and judge (the address of one, "" for
    none) with judge_model. What failed by itself is told in "failures", by metric.
    """
    prepared = read_prepared(Path(job["prepared"]))
    settings = _settings(job, prepared)
    session = open_session(job["container"], job["path"], settings)
    tokenizer = Tokenizer(Path(prepared["folder"]))
    finished = Resumption(
        Path(job["resumption"]) if job.get("resumption") else None, key=f"{job.get('key', '')} {settings.repack}"
    )
    wanted = spans(prepared)
    reference = _reference(job, prepared, session, tokenizer, finished, progress)
    found = [
        finished.take("span", number, partial(_compared, span, session, reference, progress, number, len(wanted)))
        for number, span in enumerate(wanted)
    ]
    kept = _kept(reference, session, finished)
    scores = _score_items(session, prepared["items"], tokenizer, finished, progress)
    judged, why_not = _judged(job, prepared["items"], session, tokenizer, finished, progress)
    return {
        "samples": {
            **_divergences(found, prepared),
            **_answers(kept),
            **_outcomes(scores),
            "judge_score": list(judged.values()),
        },
        "failures": {"judge_score": why_not} if why_not else {},
        "parameters": {
            "judge_score": {"items": list(judged), "judge": job.get("judge", "")},
            "kl_divergence": {"kl_divergence_error": _error(found)},
            "kept_tokens": {
                "items": [answer["id"] for answer in reference.answers],
                "lengths": [each["length"] for each in kept],
                "shares": [each["share"] for each in kept],
            },
            **_about_items(prepared["items"], scores),
        },
    }


def _reference(
    job: Mapping[str, Any],
    prepared: Mapping[str, Any],
    session: Session,
    tokenizer: Tokenizer,
    finished: Resumption,
    progress: Callable[[str], None],
) -> CompactReference:
    """What the others are compared with; the reference itself writes it, and is compared with it on the way."""
    path = Path(job["reference"])
    if job["is_reference"] and compact.key_of(path) != job["reference_key"]:
        finished.forget("span")
        made, own = computed(spans(prepared), session, progress)
        for number, of_span in enumerate(own):
            finished.add("span", number, of_span)
        told = agreement.answers(prepared, session, tokenizer, context=_settings(job, prepared).context)
        compact.write(replace(made, key=job["reference_key"], answers=told), path)
    reference = compact.read(path)
    if reference.key != job["reference_key"]:
        raise Error(f"{path} was computed from something else", hint="evaluate the reference again")
    return reference


def _settings(job: Mapping[str, Any], prepared: Mapping[str, Any]) -> Settings:
    """The job's, with room for the whole passage, which may be a little longer than the context."""
    settings, passage = Settings(**job["settings"]), prepared.get("passage") or {"tokens": ()}
    return replace(settings, sequences=SEQUENCES, context=max(settings.context, len(passage["tokens"])))


def _compared(
    span: Span, session: Session, reference: CompactReference, progress: Callable[[str], None], number: int, of: int
) -> Scores:
    progress(f"text {number + 1} of {of}")
    return compared(span, session, reference)


def _kept(reference: CompactReference, session: Session, finished: Resumption) -> list[Mapping[str, float]]:
    """How long the session keeps to each of the reference's answers."""
    left = [number for number in range(len(reference.answers)) if number not in finished.done("answer")]
    found = agreement.kept([reference.answers[number] for number in left], session)
    for number, each in zip(left, found, strict=True):
        finished.add("answer", number, each)
    done = finished.done("answer")
    return [done[number] for number in range(len(reference.answers))]


def _score_items(
    session: Session,
    items: list[dict[str, Any]],
    tokenizer: Tokenizer,
    finished: Resumption,
    progress: Callable[[str], None],
) -> list[scoring.Score | None]:
    """One score an item; None for a dialogue, which has no key."""
    session.rewind(0)
    before = finished.done("item")
    for index, score in scoring.score(items, session, decode=tokenizer.decode, done=before):
        finished.add("item", index, score.to_json())
        progress(f"item {len(finished.done('item'))} of {len(items)}")
    done = finished.done("item")
    return [scoring.Score(**done[index]) if index in done else None for index in range(len(items))]


def _judged(
    job: Mapping[str, Any],
    items: Sequence[Mapping[str, Any]],
    session: Session,
    tokenizer: Tokenizer,
    finished: Resumption,
    progress: Callable[[str], None],
) -> tuple[dict[str, float], str]:
    """Id -> rating of each dialogue, where a judge is asked; and why there is none, where the judge failed."""
    asked = [item for item in items if item["type"] == "dialogue"]
    if not job.get("judge") or not asked:
        return {}, ""
    context = Settings(**job["settings"]).context
    said = finished.take("talk", 0, lambda: agreement.dialogues(asked, session, tokenizer, context=context))
    rated: dict[str, float] = {}
    try:
        for number, (name, messages) in enumerate(said.items()):
            progress(f"judged {number + 1} of {len(said)}")
            rate = partial(judge.rating, job["judge"], messages, model=job.get("judge_model", ""))
            rated[name] = finished.take("rating", number, rate)
    except Error as error:
        return {}, str(error)
    return rated, ""


def _divergences(found: Sequence[Mapping[str, Sequence[float]]], prepared: Mapping[str, Any]) -> dict[str, list[float]]:
    """Means of each window and of pieces of the passage as long, quantiles over all positions, and means of smaller
    pieces of the passage after each depth."""
    import numpy as np

    n_windows = len(prepared["windows"])
    n_positions = len(found[0]["kl_divergence"])
    samples: dict[str, list[float]] = {}
    for metric in ("kl_divergence", "same_top_token", "negative_log_likelihood"):
        samples[metric] = [mean(span[metric]) for span in found[:n_windows]]
        for span in found[n_windows:]:
            pieces = np.array_split(span[metric], max(1, round(len(span[metric]) / n_positions)))
            samples[metric] += [float(piece.mean()) for piece in pieces]
    every = np.concatenate([span["kl_divergence"] for span in found])
    samples |= {name: [float(np.quantile(every, share))] for name, share in _QUANTILES.items()}
    for span in found[n_windows:]:
        for depth, (first, stop) in prepared["passage"]["scored"].items():
            after = span["kl_divergence"][first - UNSCORED_TOKENS : stop - UNSCORED_TOKENS]
            samples[f"kl_divergence_after_{depth}"] = np.reshape(after, (-1, _SAMPLE_POSITIONS)).mean(axis=1).tolist()
    return samples


def _error(found: Sequence[Mapping[str, Sequence[float]]]) -> float:
    """Standard error of the mean divergence that the compact reference leaves, nats."""
    variances = [value for span in found for value in span["variance"]]
    return math.sqrt(math.fsum(variances)) / len(variances)


def _answers(kept: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    return {"kept_tokens": [each["tokens"] for each in kept]}


def _outcomes(scores: Sequence[scoring.Score | None]) -> dict[str, list[float]]:
    there = [score for score in scores if score]
    return {
        "accuracy": [score.value for score in there],
        "margin": [score.margin for score in there if score.margin is not None],
    }


def _about_items(
    items: Sequence[Mapping[str, Any]], scores: Sequence[scoring.Score | None]
) -> dict[str, dict[str, Any]]:
    """For the rows of accuracy and margin: which items their samples are of, and what else is known of each."""
    there = [(item, score) for item, score in zip(items, scores, strict=True) if score]
    choices = [item["id"] for item, score in there if score.margin is not None]
    about: dict[str, Any] = {
        "items": [item["id"] for item, _ in there],
        "kinds": [item["kind"] for item, _ in there],
        "difficulties": [item["difficulty"] for item, _ in there],
        "sets": [item["set"] for item, _ in there],
        "chances": [1 / len(item["choices"]) if item["type"] == "choice" else 0.0 for item, _ in there],
        "outcomes": [dict(score.outcomes) if item["set"] else {} for item, score in there],
    }
    return {"accuracy": about, "margin": {"items": choices}}
