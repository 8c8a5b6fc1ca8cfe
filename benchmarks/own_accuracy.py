"""What evaluation does with one artifact, part by part, in a process of its own: reads one job of JSON, answers once.

Every answer has `peak_bytes`, the peak of the process's resident memory.
"""

import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgequant.accuracy import compact, quality, scoring
from edgequant.accuracy.likelihoods import likelihoods
from edgequant.accuracy.preparation import read_prepared
from edgequant.accuracy.spans import Span, compared, computed
from edgequant.convert.vocabulary.tokenizer import Tokenizer
from edgequant.profiles.machine import memory
from edgequant.runtimes.session import Session, Settings, open_session

_PORTION = 32


def main() -> None:
    """Read, do, answer."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print stays off the answer
    job = json.load(sys.stdin)
    answer = _DOES[job.pop("do")](job)
    answers.write(json.dumps({**answer, "peak_bytes": memory.read().peak_rss_bytes}))
    answers.flush()
    os._exit(0)


def _session(job: dict[str, Any]) -> Session:
    settings = replace(Settings(**job["settings"]), sequences=quality.SEQUENCES)
    return open_session(job["container"], job["path"], settings)


def _items(job: dict[str, Any]) -> dict[str, Any]:
    """Seconds and outcomes of the items in `prepared`, the model loaded before."""
    prepared = read_prepared(Path(job["prepared"]))
    session, tokenizer = _session(job), Tokenizer(Path(prepared["folder"]))
    started = time.perf_counter()
    scores = dict(scoring.score(prepared["items"], session, decode=tokenizer.decode))
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "outcomes": [dict(scores[i].outcomes) for i in range(len(prepared["items"]))]}


def _likelihoods(job: dict[str, Any]) -> dict[str, Any]:
    """Log-likelihoods of the items' choices."""
    rows, session = read_prepared(Path(job["prepared"]))["items"], _session(job)
    portions = (rows[i : i + _PORTION] for i in range(0, len(rows), _PORTION))
    found = [each for portion in portions for each in likelihoods(portion, session)]
    return {"log_likelihoods": [[each.value for each in choices] for choices in found]}


def _divergence(job: dict[str, Any]) -> dict[str, Any]:
    """Write the reference's compact form; or the divergence from it of each window's positions from `first` on."""
    session, windows = _session(job), job["windows"]
    n_scored = len(windows[0]) - 1 - job["first"]
    wanted = [
        Span(tokens=window, positions=range(job["first"], len(window) - 1), start=number * n_scored)
        for number, window in enumerate(windows)
    ]
    if job["is_reference"]:
        made, _ = computed(wanted, session, lambda text: None)
        compact.write(made, Path(job["reference"]))
        return {}
    reference = compact.read(Path(job["reference"]))
    return {"kl_divergence": [compared(span, session, reference)["kl_divergence"] for span in wanted]}


def _evaluate(job: dict[str, Any]) -> dict[str, Any]:
    """All of it, as `edgequant evaluate` has it done."""
    quality.measure(job, lambda text: None)
    return {}


_DOES = {"items": _items, "likelihoods": _likelihoods, "divergence": _divergence, "evaluate": _evaluate}

if __name__ == "__main__":
    main()
