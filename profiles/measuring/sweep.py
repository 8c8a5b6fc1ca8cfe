"""The sweep of threads: every count worth trying, for prefill and decode apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from ...convert.artifact import Artifact
from ..machine import host
from ..records.measurement import Measurement
from . import threads
from .rounds import Take
from .variant import Variant


@dataclass(frozen=True, kw_only=True)
class Counts:
    """The best numbers of threads."""

    prefill: int
    decode: int


def takes_of(artifacts: Sequence[Artifact]) -> list[Take]:
    """Every artifact at every count: from one to all the logical processors that this process may use."""
    counts = threads.candidates(len(host.allowed_cpus()))
    return [Take(artifact=artifact, variant=Variant(threads=n)) for n in counts for artifact in artifacts]


def decided(rows: Sequence[Measurement], takes: Sequence[Take]) -> Counts | None:
    """The best counts over all formats together; None where nothing could be measured.

    llama.cpp decides where it has been measured: ONNX Runtime has one pool of threads and can only follow decode's.
    """
    gguf = [take for take in takes if take.artifact.container == "gguf"]
    for among in (gguf, takes):
        prefill = threads.best(pooled(_speeds(rows, among, "prefill_tokens_per_second")))
        decode = threads.best(pooled(_speeds(rows, among, "decode_tokens_per_second")))
        if prefill and decode:
            return Counts(prefill=prefill, decode=decode)
    return None


def pooled(speeds: Mapping[str, Mapping[int, Sequence[float]]]) -> dict[int, list[float]]:
    """Threads -> samples of all formats, each as a share of its own format's best median: all weigh the same."""
    found: dict[int, list[float]] = {}
    for by_threads in speeds.values():
        best = max((median(samples) for samples in by_threads.values() if samples), default=1.0)
        for n, samples in by_threads.items():
            found.setdefault(n, []).extend(sample / best for sample in samples)
    return found


def _speeds(rows: Sequence[Measurement], takes: Sequence[Take], metric: str) -> dict[str, dict[int, Sequence[float]]]:
    """Format -> threads -> samples of the rows that count."""
    wanted = {(take.artifact.format, take.artifact.sha256) for take in takes}
    counts = {take.variant.threads for take in takes}
    found: dict[str, dict[int, Sequence[float]]] = {}
    for row in rows:
        here = row.metric == metric and (row.format, row.artifact_sha256) in wanted
        if here and row.variant.keys() == {"threads"} and row.variant["threads"] in counts:
            found.setdefault(row.format, {})[row.variant["threads"]] = row.samples
    return found
