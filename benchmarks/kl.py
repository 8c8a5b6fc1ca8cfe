"""Mean KL divergence of engines to one reference, on windows of text, by the formulas of `edgequant.accuracy`."""

import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from rounds import Launch, Worker

from edgequant.accuracy.divergence import ReferenceLogits, log_softmax, scored_positions, window_scores

Windows = Sequence[Sequence[int]]


def divergences(reference: Launch, others: Mapping[str, Launch], windows: Windows, scratch: Path) -> dict[str, float]:
    """Name -> mean over the windows in nats; one engine at a time."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        kept = ReferenceLogits(Path(folder))
        _keep(reference, windows, kept, Path(folder) / "logits.npy")
        return {
            name: _divergence(launch, windows, kept, Path(folder) / "logits.npy") for name, launch in others.items()
        }


def _keep(reference: Launch, windows: Windows, kept: ReferenceLogits, file: Path) -> None:
    start = 0
    with Worker(reference) as worker:
        for window in windows:
            logits = _logits(worker, window, file)
            if not start:
                kept.create(sum(len(scored_positions(each)) for each in windows), logits.shape[-1])
            log_probabilities, top_tokens = kept.open(writable=True)
            rows = slice(start, start + len(logits))
            log_probabilities[rows], top_tokens[rows] = log_softmax(logits), logits.argmax(axis=-1)
            start = rows.stop


def _divergence(launch: Launch, windows: Windows, kept: ReferenceLogits, file: Path) -> float:
    log_probabilities, top_tokens = kept.open()
    start, found = 0, []
    with Worker(launch) as worker:
        for window in windows:
            logits = _logits(worker, window, file)
            rows = slice(start, start + len(logits))
            targets = [window[position + 1] for position in scored_positions(window)]
            found.append(window_scores(log_probabilities[rows], top_tokens[rows], logits, targets).kl_divergence)
            start = rows.stop
    return statistics.mean(found)


def _logits(worker: Worker, window: Sequence[int], file: Path) -> "np.ndarray":
    worker.ask(do="logits", ids=list(window), first=scored_positions(window).start, target=str(file))
    return np.load(file)
