"""Children that answer at once, for tests of rounds: what they were asked, and what they say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import recorded
from edgequant import child
from edgequant.profiles.measuring.measuring import Measuring, SpeedSettings
from edgequant.profiles.records.measurement import Measurement
from edgequant.profiles.records.store import Store

Answer = Callable[[Mapping[str, Any], int], child.Outcome]  # the job, and the number of the call


class answer_with:
    """What children answer in this test."""

    answer: Answer


def install(monkeypatch: pytest.MonkeyPatch) -> list[Mapping[str, Any]]:
    """Let no child start; returns the jobs that they got. A test that wants other answers sets `answer_with`."""
    jobs: list[Mapping[str, Any]] = []

    def run(entry: str, job: Mapping[str, Any], **options: Any) -> child.Outcome:
        jobs.append(job)
        if started := options.get("started"):
            started(4711)
        return answer_with.answer(job, len(jobs))

    answer_with.answer = lambda job, number: answered(n=job["repetitions"])
    monkeypatch.setattr(child, "run", run)
    return jobs


def answered(
    decode: float = 100.0,
    *,
    n: int = 2,
    marks: tuple[str, ...] = (),
    more: Mapping[str, Any] | None = None,
    **samples: Any,
) -> child.Outcome:
    """What a child says that measured; `more` beside its samples."""
    values = {
        "load_seconds": [0.5], "first_token_seconds": [0.7],
        "prefill_tokens_per_second": [500.0] * n, "decode_tokens_per_second": [decode] * n,
        "peak_rss_bytes": [2e8], **samples,
    }  # fmt: skip
    value = {"samples": values, "conditions": {"before": {}, "after": {}}, "marks": list(marks), "series": {}}
    return child.Outcome(status="ok", value={**value, **(more or {})})


def measuring(path: Path, **changes: Any) -> Measuring:
    """Six short repetitions on a device of one thread."""
    made = Measuring(
        store=Store(path),
        run="r",
        device=recorded.device(prefill_threads=1, decode_threads=1, **changes),
        context=128,
        speed_settings=SpeedSettings(n_prompt=16, n_generate=4, repetitions=6),
    )
    made.fence.repack = False  # a small float model needs no other kernels, and some machines have not got them
    return made


def last_row(ours: Measuring, metric: str = "decode_tokens_per_second") -> Measurement:
    """The last one of a metric."""
    return next(row for row in reversed(ours.store.rows) if row.metric == metric)
