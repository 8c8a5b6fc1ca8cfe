"""The comparison: stored rows and artifacts in, a report with intervals, groups and the pick out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

from ..accuracy.paired import CONFIDENCE, Interval, Paired, holm, paired_difference, perplexity_ratio
from ..convert.artifact import Artifact
from ..convert.checkpoint import QuantisedSource
from ..convert.grid import shares_grid
from ..profiles import kernels
from ..profiles.device import Device
from ..profiles.records.measurement import Measurement
from . import rows as building
from . import switches, variants
from .answer import Answer, Limits
from .parts import parts
from .pick import pick
from .predictions import Prediction
from .rows import SOURCE, Cell, Mark, Row
from .variants import VariantRow

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """What every number of a run depends on, and what the report says once for all of them."""

    checkpoint: str  # name of the model
    revision: str
    n_parameters: int
    architecture: str
    dtype: str
    reference: str  # the format that all are compared with; "" where none could be measured
    quantised_source: QuantisedSource | None = None
    rescaled: bool = False  # channels rescaled without changing the function, which takes the weights off a grid
    grid: str = ""  # tensor type on whose grid the weights lie or lay, "Q4_1"
    n_text_tokens: int = 0
    n_items: int = 0
    host: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    #: format -> metric -> the speed predicted for the device: low, estimate, high; empty where the device is here
    predicted: Mapping[str, Mapping[str, Sequence[float]]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Report:
    """Rows with intervals, groups that cannot be told apart, the pick with its reasons, and the rows behind them."""

    context: RunContext
    device: Device
    rows: tuple[Row, ...]  # largest file first, formats without a file last
    groups: tuple[tuple[str, ...], ...]  # formats whose accuracy cannot be told apart pairwise, best first
    answer: Answer
    artifacts: tuple[Artifact, ...]
    measurements: tuple[Measurement, ...]  # the stored rows that count, one a format, variant and metric
    variants: tuple[VariantRow, ...] = ()
    advice: tuple[str, ...] = ()  # on mapping and repacking, where both ways were measured
    others: "tuple[Report, ...]" = ()  # what other machines measured of the same files, each with its own pick
    planned: Mapping[str, Prediction] = field(default_factory=dict)  # by format, what was predicted before measuring
    schema: int = SCHEMA


def build(
    artifacts: Sequence[Artifact],
    rows: Sequence[Measurement],
    *,
    device: Device,
    context: RunContext,
    limits: Limits | None = None,
) -> Report:
    """Compare what was made and measured, and pick; limits default to the device's usable memory.

    The last row of each (format, metric) counts. Formats come from either side: one that could not be converted has
    rows and no artifact, one that was not measured the reverse.
    """
    files = {artifact.format: artifact for artifact in artifacts}
    counted = building.latest(rows)
    names = list(dict.fromkeys([*files, *counted, *([SOURCE] if context.quantised_source else [])]))
    made = [_row(name, files.get(name), counted.get(name, {}), device, context) for name in names]
    outcomes = {name: _outcomes(counted.get(name, {}).get("accuracy")) for name in names}
    compared = _detailed(_compared(made, outcomes, context.reference), counted, context.reference)
    ordered = tuple(sorted(compared, key=lambda r: (-(r.size_bytes or 0), r.format)))
    varied = variants.rows(artifacts, rows)
    limits = limits or Limits(max_memory_bytes=device.usable_ram_bytes)
    return Report(
        context=context,
        device=device,
        rows=ordered,
        groups=groups(ordered),
        answer=pick(ordered, limits),
        artifacts=tuple(files.values()),
        measurements=tuple(m for found in variants.counted(rows).values() for m in found.values()),
        variants=varied,
        advice=switches.advice(varied),
    )


def _detailed(rows: Sequence[Row], counted: Mapping[str, Mapping[str, Measurement]], reference: str) -> list[Row]:
    """Rows with what stands beside the overall loss: the loss by part, and the ratio of perplexities."""
    there = {row.format for row in rows if row.cells["accuracy"].status == "ok"}
    found = parts({name: counted[name]["accuracy"] for name in there}, reference)
    return [
        replace(
            row,
            parts=found.get(row.format, ()),
            perplexity_ratio=_ratio(counted.get(reference, {}), counted.get(row.format, {}), row),
        )
        for row in rows
    ]


def _ratio(reference: Mapping[str, Measurement], mine: Mapping[str, Measurement], row: Row) -> Interval | None:
    pair = [found.get("negative_log_likelihood") for found in (reference, mine)]
    if row.is_reference or row.cells["negative_log_likelihood"].status != "ok" or not all(pair):
        return None
    before, after = (each.samples if each else () for each in pair)
    return perplexity_ratio(before, after) if len(before) == len(after) > 1 else None


def groups(rows: Sequence[Row]) -> tuple[tuple[str, ...], ...]:
    """Runs of formats, ordered by accuracy, in which no pair can be told apart; a format can be in several."""
    scored = [(r.value("accuracy"), r) for r in rows]
    ranked = [r for _, r in sorted(((v, r) for v, r in scored if v is not None), key=lambda pair: -pair[0])]
    found: list[list[Row]] = []
    for start in range(len(ranked)):
        run = [ranked[start]]
        for row in ranked[start + 1 :]:
            if not all(other.format in row.ties for other in run):
                break
            run.append(row)
        if len(run) > 1 and not (found and set(r.format for r in run) <= set(r.format for r in found[-1])):
            found.append(run)
    return tuple(tuple(r.format for r in run) for run in found)


def _row(
    name: str, artifact: Artifact | None, found: Mapping[str, Measurement], device: Device, context: RunContext
) -> Row:
    source = context.quantised_source if name == SOURCE else None
    size = artifact.size_bytes if artifact else source.size_bytes if source else None
    cells = building.cells(found, artifact=artifact, reference=context.reference)
    if name in (SOURCE, context.reference) and "kl_divergence" not in found:
        cells = {**cells, "kl_divergence": _by_definition(name)}
    any_row = next(iter(found.values()), None)
    said = building.marks(found, artifact, device.title)
    return Row(
        format=name,
        container=artifact.container if artifact else "onnx" if name.startswith("onnx") else "gguf",
        runtime=f"{any_row.runtime} {any_row.runtime_version}".strip() if any_row else "",
        size_bytes=size,
        true_bits_per_weight=artifact.true_bits_per_weight if artifact else None,
        tensor_types=dict(artifact.tensor_types) if artifact else {source.type: 1.0} if source else {},
        cells=cells,
        loss=None,
        marks=tuple(dict.fromkeys([*said, *_grid(name, artifact, context), *_kernels(name, device)])),
        is_reference=name == context.reference,
        is_source=name == SOURCE,
        predicted={
            metric: Interval(low=low, high=high, estimate=estimate)
            for metric, (low, estimate, high) in context.predicted.get(name, {}).items()
        },
    )


def _by_definition(name: str) -> Cell:
    what = "the weights were taken from this file" if name == SOURCE else "this is the reference itself"
    return Cell(value=0.0, note=f"zero by definition: {what}")


def _grid(name: str, artifact: Artifact | None, context: RunContext) -> list[Mark]:
    """The mark of a format whose types store weights on their grid better than they store other weights."""
    if not artifact or not context.grid or context.rescaled or name == SOURCE:
        return []
    if not shares_grid(context.grid, artifact.tensor_types):
        return []
    text = f"the weights lie on the {context.grid} grid, which suits this file's types; on other weights it loses more"
    return [Mark(code="quality not transferable", sentence=text)]


def _kernels(name: str, device: Device) -> list[Mark]:
    """The mark of a format that the device computes slowly or less exactly than others do."""
    found = kernels.fact(name, device.isa)
    return [Mark(code=found.word, sentence=found.reason)] if found else []


def _outcomes(row: Measurement | None) -> dict[str, float]:
    """item -> outcome, 0..1; items without names are numbered."""
    if row is None or row.status != "ok" or not all(0 <= x <= 1 for x in row.samples):
        return {}
    items = row.parameters.get("items") or range(len(row.samples))
    return dict(zip(map(str, items), row.samples, strict=False))


def _compared(rows: Sequence[Row], outcomes: Mapping[str, Mapping[str, float]], reference: str) -> list[Row]:
    """Rows with their loss to the reference and their ties, over the items that both have answered.

    What cannot be told apart is decided at 95 % over all pairs together, by Holm's correction.
    """
    answered = {r.format: outcomes[r.format] if r.cells["accuracy"].status == "ok" else {} for r in rows}
    corrected = _corrected(answered)
    made = []
    for row in rows:
        mine, pairs = answered[row.format], {o.format: frozenset((o.format, row.format)) for o in rows if o is not row}
        ties = tuple(name for name, pair in pairs.items() if corrected.get(pair, 0.0) > 1 - CONFIDENCE)
        loss = _paired(answered.get(reference, {}), mine) if reference in pairs else None
        compared = replace(row, loss=loss, loss_note=_loss_note(row, loss, answered, reference), ties=ties)
        made.append(replace(compared, corrected=corrected[pairs[reference]] if loss else None))
    return made


def _corrected(answered: Mapping[str, Mapping[str, float]]) -> dict[frozenset[str], float]:
    """Pair of formats that share items -> the p-value of their difference, corrected for the number of pairs."""
    compared = {frozenset(pair): _paired(*(answered[name] for name in pair)) for pair in combinations(answered, 2)}
    found = {pair: paired.p_value for pair, paired in compared.items() if paired}
    return dict(zip(found, holm(list(found.values())), strict=True))


def _paired(reference: Mapping[str, float], candidate: Mapping[str, float]) -> Paired | None:
    common = [item for item in reference if item in candidate]
    if not common:
        return None
    return paired_difference([reference[i] for i in common], [candidate[i] for i in common])


def _loss_note(row: Row, loss: Paired | None, answered: Mapping[str, Mapping[str, float]], reference: str) -> str:
    if row.is_reference:
        return "this is the reference"
    if loss is not None:
        whole = max(len(answered[row.format]), len(answered[reference]))
        return f"over the {loss.n} items that both answered, of {whole}" if loss.n < whole else ""
    if not answered[row.format]:
        return row.cells["accuracy"].note or "accuracy was not measured"
    if not answered.get(reference):
        return "the reference has no accuracy to compare with"
    return "it shares no item with the reference"
