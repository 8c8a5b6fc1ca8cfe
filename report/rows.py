"""One row of the comparison: a format with its file, its measured cells and everything that must be said about them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import exp, isfinite, log

from ..accuracy.paired import Interval, Paired, bootstrap_mean, median_interval, share_interval
from ..convert.artifact import Artifact
from ..profiles.records.measurement import ENERGY_METRICS, METRICS, SPEED_METRICS, Measurement
from . import numbers
from .parts import Part

SOURCE = "source"  # the format name of the quantised file that a checkpoint was dequantised from

#: metrics whose repetitions can be slowed by the machine but hardly sped up: the median; all others are means
MEDIANS = SPEED_METRICS
#: metrics that compare with the reference named in parameters["reference"]
AGAINST_REFERENCE = (
    "same_top_token",
    "kept_tokens",
    *(metric for metric in METRICS if metric.startswith("kl_divergence")),
)
#: what a status is called in front of people; the first four are failures, the others absences
STATUSES = {
    "error": "failed",
    "crash": "crashed",
    "oom": "out of memory",
    "timeout": "timed out",
    "unsupported": "unsupported",
    "stale": "outdated",
    "missing": "not measured",
}
FAILURES = ("error", "crash", "oom", "timeout")
#: codes of marks that keep a format from being picked at all
BARS = ("failed gate", "not eligible")
#: what a mark means where whoever made it gave a code alone
MEANINGS = {
    "stands in for F16": "float16 cannot hold all weights, so bfloat16 takes its place",
    "made from BF16": "float16 cannot hold all weights, so it was quantised from bfloat16",
    "fell back": "some tensors could not take the format's own types and took larger ones",
    "shorter context": "llama.cpp does not slide this model's window, so the file's context is as long as that",
    "quality not transferable": "the weights lie on this format's own grid, so its losses look smaller than they are",
    "retried without repacked kernels": "measured without llama.cpp's repacked kernels",
    "throttled": "the machine slowed itself down while it was measured",
    "clock fell": "the processor's clock fell while it was measured",
    "swapped": "the system swapped while it was measured",
    "major faults": "the process waited for pages from the disk while it was measured",
    "shared cores": "other processes used the cores while it was measured",
    "on battery": "the machine ran on its battery",
    "cold load": "the file came from the disk when it was loaded, not from the page cache",
    "emulated": "measured on another machine than the device named",
    "failed gate": "it failed the check of its outputs after conversion",
    "not eligible": "it is not offered as a file to ship",
}


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A reason for care: a short stable code, and the sentence that explains it."""

    code: str
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One metric of one format in the metric's unit: a number with its interval, or the reason why there is none.

    `interval` is None where a single sample cannot give one; `n` counts the samples.
    """

    value: float | None
    interval: Interval | None = None
    n: int = 0
    status: str = "ok"  # "ok" or a key of STATUSES
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A format: its file, its cells (every metric and "perplexity"), its paired loss to the reference, its marks."""

    format: str
    container: str
    runtime: str
    size_bytes: int | None
    true_bits_per_weight: float | None
    tensor_types: Mapping[str, float]
    cells: Mapping[str, Cell]
    loss: Paired | None  # None for the reference, and where loss_note says why
    loss_note: str = ""
    marks: tuple[Mark, ...] = ()
    ties: tuple[str, ...] = field(default=())  # formats whose accuracy cannot be told apart from this one's
    corrected: float | None = None  # p-value of the loss, corrected for the number of pairs that were compared
    parts: tuple[Part, ...] = ()  # the loss by kind of task, difficulty and set
    perplexity_ratio: Interval | None = None  # to the reference's
    is_reference: bool = False
    is_source: bool = False
    predicted: Mapping[str, Interval] = field(default_factory=dict)  # speeds for a device that is emulated, by metric

    def value(self, metric: str) -> float | None:
        """The metric's value, or None where there is none."""
        return self.cells[metric].value

    def mark(self, *codes: str) -> Mark | None:
        """The first mark with one of these codes."""
        return next((m for m in self.marks if m.code in codes), None)

    @property
    def failure(self) -> Mark | None:
        """The mark of a crash, an exhausted memory or a timeout, if any of its measurements ended so."""
        return self.mark(*(STATUSES[s] for s in FAILURES))


def latest(rows: Sequence[Measurement]) -> dict[str, dict[str, Measurement]]:
    """format -> metric -> the plain row that counts: results are append-only, so the last one does."""
    found: dict[str, dict[str, Measurement]] = {}
    for row in rows:
        if row.variant:  # kept apart: `variants`
            continue
        found.setdefault(row.format, {})[row.metric] = row
    return found


def cell(row: Measurement | None, *, artifact: Artifact | None, reference: str) -> Cell:
    """The cell that a stored row amounts to; every reason for having no number becomes status and note."""
    if row is None:
        return Cell(value=None, status="missing", note="no row is stored for it")
    if row.status != "ok":
        return Cell(value=None, status=row.status, note=row.note or "no reason was recorded")
    if artifact and row.artifact_sha256 and artifact.sha256 and row.artifact_sha256 != artifact.sha256:
        return Cell(value=None, status="stale", note="measured on an earlier version of the file")
    other = row.parameters.get("reference", reference)
    if row.metric in AGAINST_REFERENCE and reference and other != reference:
        return Cell(value=None, status="stale", note=f"measured against {other}, not against {reference}")
    if not row.samples:
        return Cell(value=None, status="missing", note=row.note or "the stored row has no samples")
    if not all(isfinite(x) for x in row.samples):
        return Cell(value=None, status="unsupported", note="the samples hold values that are not numbers")
    if row.metric == "accuracy" and not all(0 <= x <= 1 for x in row.samples):
        return Cell(value=None, status="unsupported", note="the samples hold outcomes that are not between 0 and 1")
    return _number(row)


def perplexity(likelihood: Cell) -> Cell:
    """Perplexity with its interval: the exponential of the mean negative log-likelihood and of its interval's ends."""
    if likelihood.value is None:
        return likelihood
    worst = likelihood.interval.high if likelihood.interval else likelihood.value
    if worst > log(1e300):
        return Cell(value=None, status="unsupported", note="the perplexity is too large to be written down")
    between = likelihood.interval
    interval = between and Interval(
        low=exp(between.low), high=exp(between.high), estimate=exp(between.estimate), confidence=between.confidence
    )
    return Cell(value=exp(likelihood.value), interval=interval, n=likelihood.n, note=likelihood.note)


def cells(found: Mapping[str, Measurement], *, artifact: Artifact | None, reference: str) -> dict[str, Cell]:
    """Every metric of METRICS and "perplexity", each with a number or a reason."""
    made = {metric: cell(found.get(metric), artifact=artifact, reference=reference) for metric in METRICS}
    return {**made, "perplexity": perplexity(made["negative_log_likelihood"])}


def marks(found: Mapping[str, Measurement], artifact: Artifact | None, device: str) -> tuple[Mark, ...]:
    """What artifact and measurements say about themselves: notes, failures, fallbacks and emulation, each once."""
    made = [_parsed(note) for note in (artifact.notes if artifact else ())]
    failures: dict[tuple[str, str], list[str]] = {}
    for row in found.values():
        if row.status != "ok":
            failures.setdefault((row.status, row.note), []).append(row.metric)
        elif row.note:
            made += noted(row)
        elif _without_repack(row):
            made.append(_parsed("retried without repacked kernels"))
        if row.emulated and row.metric in SPEED_METRICS:
            sentence = f"measured on another machine than {device}; speeds do not carry over"
            made.append(Mark(code="emulated", sentence=sentence))
    for (status, note), metrics in failures.items():
        made.append(failed(status, note, metrics))
    return tuple(dict.fromkeys([*made, *limited(found)]))


def _number(row: Measurement) -> Cell:
    n, several = len(row.samples), len(row.samples) > 1
    if row.metric in MEDIANS:
        between = median_interval(row.samples) if several else None
    elif row.metric == "accuracy" and {*row.samples} <= {0, 1}:
        between = share_interval(row.samples)
    else:
        between = bootstrap_mean(row.samples) if several else None
    return Cell(value=between.estimate if between else row.samples[0], interval=between, n=n, note=row.note)


def _parsed(note: str) -> Mark:
    """A note is "code: sentence" or a code alone; anything else is kept under the code "note"."""
    code, colon, sentence = note.partition(": ")
    if note in MEANINGS:
        return Mark(code=note, sentence=MEANINGS[note])
    if colon and code in MEANINGS:
        return Mark(code=code, sentence=sentence)
    return Mark(code="note", sentence=note)


def _without_repack(row: Measurement) -> bool:
    settings = row.parameters.get("settings", row.parameters)
    return isinstance(settings, Mapping) and settings.get("repack") is False


def noted(row: Measurement) -> list[Mark]:
    """The marks that a row's note makes, one a line."""
    return [_parsed(line) for line in row.note.splitlines()]


def limited(found: Mapping[str, Measurement]) -> list[Mark]:
    """The mark of a memory limit that rows were measured under: what it limits, and whether the process fitted.

    It fits where it ended well and did not wait for pages from the disk again and again.
    """
    under = [row for row in found.values() if isinstance(row.parameters.get("limit"), Mapping)]
    if not under:
        return []
    row = next((row for row in under if row.status == "ok"), under[0])
    limit = row.parameters["limit"]
    size = f" of {numbers.size(limit['bytes'])}" if limit.get("bytes") else ""
    if limit.get("kind") == "none":
        return [Mark(code="not held", sentence=f"a limit{size} was not laid: {limit.get('meaning')}")]
    waited = any(mark.code == "major faults" for mark in noted(row))
    verdict = "" if row.status != "ok" else "; it does not fit: pages had to come back" if waited else "; it fits"
    return [Mark(code="limit", sentence=f"{limit.get('kind')}{size}: it limits {limit.get('meaning')}{verdict}")]


def failed(status: str, note: str, metrics: Sequence[str]) -> Mark:
    """The mark of measurements that ended in this status."""
    what = (
        "every measurement"
        if len(metrics) >= len(METRICS) - len(ENERGY_METRICS) - 1
        else ", ".join(m.replace("_", " ") for m in metrics)
    )
    return Mark(code=STATUSES.get(status, status), sentence=f"{what}: {note or 'no reason was recorded'}")
