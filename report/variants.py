"""Measurements under other conditions than the plain ones, a table of their own: deep contexts, cache types, limits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from ..convert.artifact import Artifact
from ..profiles.measuring.variant import Variant, described
from ..profiles.records.measurement import Measurement
from . import numbers
from . import rows as building
from .rows import Cell, Mark

PLAIN = "plain"
#: what the table shows of a variant
METRICS = (
    "prefill_tokens_per_second",
    "decode_tokens_per_second",
    "peak_rss_bytes",
    "must_fit_bytes",
    "kl_divergence",
)


@dataclass(frozen=True, kw_only=True)
class VariantRow:
    """One format run in one way: what differs (in words, and as it is stored), its cells, what must be said of it.

    The divergence is that from the same file run plainly.
    """

    format: str
    differs: str
    variant: Mapping[str, Any]
    cells: Mapping[str, Cell]  # by METRICS
    marks: tuple[Mark, ...] = ()
    emulated: bool = False


def rows(
    artifacts: Sequence[Artifact], stored: Sequence[Measurement], *, every: bool = False
) -> tuple[VariantRow, ...]:
    """A row for every variant that the store has, under each format a plain one first.

    None of a format where nothing differs, unless `every` one is wanted.
    """
    files = {artifact.format: artifact for artifact in artifacts}
    found = counted(stored)
    varied = list(dict.fromkeys(name for name, key in found if key or every))
    made = [_row(name, each, files.get(name)) for (name, _), each in found.items() if name in varied]
    return tuple(sorted(made, key=lambda row: (varied.index(row.format), _order(row.variant))))


def _order(variant: Mapping[str, Any]) -> tuple[Any, ...]:
    """Few differences first, those of the same kind together, numbers by size."""
    names = sorted(variant)
    values = [(isinstance(variant[name], str), variant[name]) for name in names]
    return len(variant), names, [str(value) if is_text else f"{float(value):020.3f}" for is_text, value in values]


def counted(stored: Sequence[Measurement]) -> dict[tuple[str, str], dict[str, Measurement]]:
    """(format, variant) -> metric -> the row that counts, the last one; the plain ones under the variant ""."""
    found: dict[tuple[str, str], dict[str, Measurement]] = {}
    for row in stored:
        found.setdefault((row.format, row.variant_key), {})[row.metric] = row
    return found


def _row(name: str, found: Mapping[str, Measurement], artifact: Artifact | None) -> VariantRow:
    variant = next(iter(found.values())).variant
    absent = {metric: _absent(metric, variant, found) for metric in METRICS}
    cells = {
        metric: building.cell(found[metric], artifact=artifact, reference="") if metric in found else absent[metric]
        for metric in METRICS
    }
    if not variant:  # its divergence is that from the reference, and stands in the comparison
        cells["kl_divergence"] = Cell(value=None, status="missing", note="this is the plain run itself")
    return VariantRow(
        format=name,
        differs=described(variant) or PLAIN,
        variant=dict(variant),
        cells=cells,
        marks=_marks(found),
        emulated=any(row.emulated for row in found.values()),
    )


def _absent(metric: str, variant: Mapping[str, Any], found: Mapping[str, Measurement]) -> Cell:
    """Why a variant has no row of a metric."""
    ran = any(row.status == "ok" for row in found.values())
    if metric != "kl_divergence":
        why = "not part of this variant"
    elif ran and not Variant.from_json(variant).computes_differently:
        why = "it computes the same"
    else:
        why = "it was not measured"
    return Cell(value=None, status="missing", note=why)


def _marks(found: Mapping[str, Measurement]) -> tuple[Mark, ...]:
    """What the rows say of themselves, each once: notes, failures, the limit, how a sustained run went."""
    failures: dict[tuple[str, str], list[str]] = {}
    for row in found.values():
        if row.status != "ok":
            failures.setdefault((row.status, row.note), []).append(row.metric)
    said = [building.failed(status, note, metrics) for (status, note), metrics in failures.items()]
    for row in found.values():
        said += building.noted(row) if row.status == "ok" else []
        if isinstance(series := row.parameters.get("series"), Mapping) and row.samples:
            said.append(Mark(code="sustained", sentence=over_time(row.samples, series)))
    return tuple(dict.fromkeys([*said, *building.limited(found)]))


def over_time(samples: Sequence[float], series: Mapping[str, Sequence[Any]]) -> str:
    """A sustained run in a sentence: its first tenth against its last, speed, clock and temperature."""
    n = max(1, len(samples) // 10)
    first, last = median(samples[:n]), median(samples[-n:])
    said = f"{numbers.rate(first)} tokens/s at the beginning, {numbers.rate(last)} at the end ({last / first:.0%})"
    for name, form in (("clock_hz", "{:.2f} GHz"), ("temperature_celsius", "{:.0f} degrees")):
        known = [value for value in series.get(name, ()) if value is not None]
        if known:
            scale = 1e9 if name == "clock_hz" else 1.0
            said += f"; {form.format(known[0] / scale)} to {form.format(known[-1] / scale)}"
    return said
