"""The report of a run, built from what its folder holds: manifests, stored rows, run.json."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..accuracy.paired import share_interval
from ..convert.artifact import Artifact
from ..convert.checkpoint import QuantisedSource
from ..profiles.device import from_json
from ..profiles.measurement import METRICS, Measurement
from ..profiles.run_folder import RunFolder
from . import files, numbers
from .answer import Limits
from .table import Report, RunContext, build


def rebuild(folder: RunFolder) -> Report:
    """Build the report and write report.md, report.json and report.html."""
    report = compare(folder)
    files.write(report, folder.path)
    return report


def compare(folder: RunFolder, *, limits: Limits | None = None) -> Report:
    """Build the report, without measuring or writing anything; limits default to the device's."""
    values = folder.open()
    device = from_json(values["device"])
    checkpoint, prepared = values["checkpoint"], values.get("prepared", {})
    made = folder.made(revision=checkpoint["revision"])
    known = {"", *(artifact.sha256 for artifact in made)}  # a format that could not be made has no digest
    rows = [row for row in folder.store().rows if row.artifact_sha256 in known]
    made = [artifact for artifact in made if not _passed_through(artifact, rows)]
    if limits and limits.max_memory_bytes is None:
        limits = replace(limits, max_memory_bytes=device.usable_ram_bytes)
    origin = checkpoint["quantised_source"]
    context = RunContext(
        checkpoint=checkpoint["name"],
        revision=checkpoint["revision"],
        n_parameters=checkpoint["n_parameters"],
        architecture=checkpoint["architecture"],
        dtype=checkpoint["dtype"],
        reference=values.get("reference", ""),
        quantised_source=QuantisedSource(**origin) if origin else None,
        rescaled=checkpoint["rescaled"],
        grid=checkpoint["grid"],
        n_text_tokens=prepared.get("n_tokens", 0),
        n_items=prepared.get("n_items", 0),
        host=rows[-1].host if rows else {},
        command=values["command"],
        versions=values["versions"],
        notes=(*_notes(values, made), *_at_chance(rows, values.get("reference", ""), prepared.get("chance"))),
    )
    return build(made, rows, device=device, context=context, limits=limits)


def _passed_through(artifact: Artifact, rows: Sequence[Measurement]) -> bool:
    """Whether it was only made to make others and gone before anything was measured of it: no row to compare."""
    measured = any(row.artifact_sha256 == artifact.sha256 and row.metric in METRICS for row in rows)
    return not measured and any(note.startswith("not eligible: ") for note in artifact.notes)


def _at_chance(rows: Sequence[Measurement], reference: str, chance: float | None) -> Iterator[str]:
    """A sentence where the reference's multiple-choice answers cannot be told from guessing (Wilson, 95 %)."""
    latest = {row.metric: row for row in rows if row.format == reference and row.status == "ok" and not row.variant}
    if chance is None or not {"accuracy", "margin"} <= latest.keys():
        return
    outcomes = dict(zip(latest["accuracy"].parameters["items"], latest["accuracy"].samples, strict=True))
    answered = share_interval([outcomes[item] for item in latest["margin"].parameters["items"]])
    if answered.low <= chance:
        yield (
            f"{reference} answers {numbers.share(answered.estimate)} of the multiple-choice items, and guessing would "
            f"answer {numbers.share(chance)}: accuracy says little about this model, so go by the divergence."
        )


def _notes(values: Mapping[str, Any], made: Sequence[Artifact]) -> Iterator[str]:
    checkpoint = values["checkpoint"]
    if values.get("not_evaluated"):
        yield f"Quality was not measured: {values['not_evaluated']}"
    if checkpoint["rescaled"]:
        yield (
            f"The weights come from a {checkpoint['grid']} file; their channels were rescaled without changing what "
            "the model computes, so that no format profits from the old grid."
        )
    unchecked = [artifact.format for artifact in made if not artifact.checks]
    if not values["verified"] and unchecked:  # some may have been checked since, or before
        yield f"Not checked against the checkpoint (--no-verify): {', '.join(unchecked)}."
    n_left_out = values.get("prepared", {}).get("n_left_out", 0)
    if n_left_out:
        yield f"{n_left_out} items were left out: they do not fit the model's context."
