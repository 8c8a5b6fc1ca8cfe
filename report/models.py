"""Several models on one page: in equal room, is a larger one quantised better than a smaller one that is not?"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from math import inf

from .. import Error
from ..accuracy.paired import CONFIDENCE, Paired, holm, paired_difference
from .rows import latest
from .table import Report


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One format of one model; `memory_bytes` is what must fit, or else the peak RSS; `outcomes` by item, 0..1.

    `room_bytes` is what models are equal in: the memory, or the size of the file.
    """

    model: str
    format: str
    n_parameters: int
    is_reference: bool
    size_bytes: int
    memory_bytes: float
    room_bytes: float
    decode: float | None  # tokens/s
    divergence: float | None  # from its own model's reference, nats a token
    outcomes: Mapping[str, float]
    kinds: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Model and format."""
        return f"{self.model} {self.format}"


@dataclass(frozen=True, kw_only=True)
class Duel:
    """Two entries on the items that both answered; the loss is what `smaller` has less than `larger`, in points.

    `larger` is the model with more parameters. `corrected` is p after Holm over all duels; by kind it is another
    question, and corrected over all kinds of all duels.
    """

    larger: Entry
    smaller: Entry
    paired: Paired
    corrected: float
    by_kind: Mapping[str, tuple[Paired, float]]

    @property
    def verdict(self) -> str:
        """Which is better: "larger", "smaller", or "neither" where they cannot be told apart."""
        if self.corrected >= 1 - CONFIDENCE:
            return "neither"
        return "larger" if self.paired.loss.estimate > 0 else "smaller"


@dataclass(frozen=True, kw_only=True)
class Models:
    """The entries of all models, those of the least room first, and the duels in equal room, `by` "memory" or
    "size"."""

    by: str
    entries: tuple[Entry, ...]
    duels: tuple[Duel, ...]
    n_common: int  # items that every entry answered
    notes: tuple[str, ...] = ()


def compare(reports: Sequence[Report], *, by: str = "memory") -> Models:
    """Compare the models of several runs in equal memory, or in files of equal size; `Error` where they share no items,
    or are one model alone."""
    entries = sorted((entry for report in reports for entry in _entries(report, by)), key=lambda e: e.room_bytes)
    if len({entry.model for entry in entries}) < 2:
        raise Error("these runs are of one model alone", hint="edgequant report RUN compares its formats")
    common = set.intersection(*(set(entry.outcomes) for entry in entries))
    if not common:
        raise Error(
            "these runs share no items", hint="evaluate them with the same tasks: edgequant evaluate RUN --suite"
        )
    return Models(
        by=by,
        entries=tuple(entries),
        duels=tuple(_corrected(list(_pairs(entries)), common)),
        n_common=len(common),
        notes=tuple(_notes(reports)),
    )


def _entries(report: Report, by: str) -> Iterator[Entry]:
    counted = latest(report.measurements)
    for row in report.rows:
        memory = row.value("must_fit_bytes") or row.value("peak_rss_bytes")
        answered = counted.get(row.format, {}).get("accuracy")
        if row.size_bytes is None or memory is None or answered is None or row.cells["accuracy"].status != "ok":
            continue
        items = answered.parameters["items"]
        yield Entry(
            model=report.context.checkpoint,
            format=row.format,
            n_parameters=report.context.n_parameters,
            is_reference=row.is_reference,
            size_bytes=row.size_bytes,
            memory_bytes=memory,
            room_bytes=memory if by == "memory" else row.size_bytes,
            decode=row.value("decode_tokens_per_second"),
            divergence=row.value("kl_divergence"),
            outcomes=dict(zip(items, answered.samples, strict=True)),
            kinds=dict(zip(items, answered.parameters.get("kinds", ()), strict=False)),
        )


def _pairs(entries: Sequence[Entry]) -> Iterator[tuple[Entry, Entry]]:
    """For every two models: each format of the smaller against the larger's least divergent that takes no more room.

    Not its most accurate: chosen by the items on which it is then judged, it would look better than it is.
    """
    models = sorted({(entry.n_parameters, entry.model) for entry in entries})
    for (_, small), (_, large) in combinations(models, 2):
        for smaller in (entry for entry in entries if entry.model == small):
            fitting = [e for e in entries if e.model == large and e.room_bytes <= smaller.room_bytes]
            if fitting:
                yield min(fitting, key=_divergence), smaller


def _divergence(entry: Entry) -> tuple[float, float]:
    return (inf if entry.divergence is None else entry.divergence, -entry.room_bytes)


def _corrected(pairs: Sequence[tuple[Entry, Entry]], common: set[str]) -> Iterator[Duel]:
    items = sorted(common)
    every: list[tuple[Paired, dict[str, Paired]]] = []
    for larger, smaller in pairs:
        kinds: dict[str, list[str]] = {}
        for item in items:
            kinds.setdefault(larger.kinds.get(item, ""), []).append(item)
        by_kind = {kind: _paired(larger, smaller, of) for kind, of in sorted(kinds.items()) if kind}
        every.append((_paired(larger, smaller, items), by_kind if len(by_kind) > 1 else {}))
    p_values = iter(holm([whole.p_value for whole, _ in every]))
    of_kinds = iter(holm([paired.p_value for _, by_kind in every for paired in by_kind.values()]))
    for (larger, smaller), (whole, by_kind) in zip(pairs, every, strict=True):
        yield Duel(
            larger=larger,
            smaller=smaller,
            paired=whole,
            corrected=next(p_values),
            by_kind={kind: (paired, next(of_kinds)) for kind, paired in by_kind.items()},
        )


def _paired(larger: Entry, smaller: Entry, items: Sequence[str]) -> Paired:
    return paired_difference([larger.outcomes[i] for i in items], [smaller.outcomes[i] for i in items])


def _notes(reports: Sequence[Report]) -> Iterator[str]:
    devices = {report.device.title for report in reports}
    if len(devices) > 1:
        yield f"Measured on different devices ({'; '.join(sorted(devices))}): speeds and memory do not compare."
    for report in reports:
        yield from (f"{report.context.checkpoint}: {note}" for note in report.context.notes)
