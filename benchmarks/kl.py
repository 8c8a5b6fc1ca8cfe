"""Mean KL divergence of engines to one reference, on windows of text, by the formulas of `edgequant.accuracy`."""

import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from rounds import Launch, Worker

from edgequant.accuracy import compact
from edgequant.accuracy.compact import CompactReference
from edgequant.accuracy.divergence import scored_positions

Windows = Sequence[Sequence[int]]


def divergences(reference: Launch, others: Mapping[str, Launch], windows: Windows, scratch: Path) -> dict[str, float]:
    """Name -> mean over the windows in nats; one engine at a time."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        file = Path(folder) / "logits.npy"
        kept = _kept(reference, windows, file)
        return {name: _divergence(launch, windows, kept, file) for name, launch in others.items()}


def _kept(reference: Launch, windows: Windows, file: Path) -> list[CompactReference]:
    chance = np.random.default_rng(0)
    found = []
    with Worker(reference) as worker:
        for window in windows:
            logits = _logits(worker, window, file)
            found.append(compact.drawn(logits, chance.random(len(logits)).tolist()))
    return found


def _divergence(launch: Launch, windows: Windows, kept: Sequence[CompactReference], file: Path) -> float:
    found = []
    with Worker(launch) as worker:
        for window, reference in zip(windows, kept, strict=True):
            targets = [window[position + 1] for position in scored_positions(window)]
            scores = reference.scores(slice(None), _logits(worker, window, file), targets)
            found.append(float(scores.kl_divergence.mean()))
    return statistics.mean(found)


def _logits(worker: Worker, window: Sequence[int], file: Path) -> "np.ndarray":
    worker.ask(do="logits", ids=list(window), first=scored_positions(window).start, target=str(file))
    return np.load(file)
