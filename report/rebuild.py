"""The report of a run, built from what its folder holds: manifests, stored rows, run.json."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..convert.artifact import Artifact
from ..convert.checkpoint import QuantisedSource
from ..profiles.device import Device, from_json
from ..profiles.records.measurement import METRICS, QUALITY_METRICS, SPEED_METRICS, Measurement
from ..profiles.records.other_machines import by_machine
from ..profiles.records.run_folder import RunFolder
from ..profiles.records.store import Store
from . import chance, files
from .answer import Limits
from .predictions import predictions
from .rows import latest
from .table import Report, RunContext, build


def rebuild(folder: RunFolder) -> Report:
    """Build the report and write report.md, report.json and report.html."""
    report = compare(folder)
    report = replace(report, planned=predictions(folder, report.device))
    files.write(report, folder.path)
    return report


def compare(folder: RunFolder, *, limits: Limits | None = None) -> Report:
    """Build the report, without measuring or writing anything; limits default to the device's."""
    values = folder.open()
    device = from_json(values["device"])
    checkpoint, prepared = values["checkpoint"], values.get("prepared", {})
    made = folder.made(revision=checkpoint["revision"])
    known = {"", *(artifact.sha256 for artifact in made)}  # a format that could not be made has no digest
    stored = [row for row in folder.store().rows if row.artifact_sha256 in known and _is_of(row, device)]
    rows = [row for row in stored if _was_on(row, values.get("cpu", ""))]
    made = [artifact for artifact in made if not _passed_through(artifact, rows)]
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
        predicted=values.get("predicted", {}),
        notes=(
            *_notes(values, made),
            *_elsewhere([row for row in stored if row not in rows]),
            *chance.notes(latest(rows), values.get("reference", "")),
        ),
    )
    own = build(made, rows, device=device, context=context, limits=_of(device, limits))
    foreign = [row for row in Store(folder.others).rows if row.artifact_sha256 in known]
    return replace(own, others=tuple(_others(own, foreign, limits)))


def _is_of(row: Measurement, device: Device) -> bool:
    """Whether a row tells of this device: answers are the same on all, speed and memory are each one's own."""
    return row.metric not in SPEED_METRICS or row.device == device.name or not row.artifact_sha256


def _was_on(row: Measurement, cpu: str) -> bool:
    """Whether a row tells of this processor, as the device or in its place; "" where an older run does not say."""
    known = row.host.get("cpu", cpu)
    return row.metric not in SPEED_METRICS or not row.artifact_sha256 or cpu in ("", known)


def _elsewhere(rows: Sequence[Measurement]) -> Iterator[str]:
    """A sentence for what was measured in this folder while it lay on another machine."""
    if rows:
        names = " and ".join(sorted({str(row.host["cpu"]) for row in rows}))
        yield f"{len(rows)} rows of speed and memory are left out: they were measured on another processor, {names}."


def _of(device: Device, limits: Limits | None) -> Limits | None:
    """The limits, with the device's memory where they do not name any."""
    if limits is None or limits.max_memory_bytes is not None:
        return limits
    return replace(limits, max_memory_bytes=device.usable_ram_bytes)


def _others(own: Report, foreign: Sequence[Measurement], limits: Limits | None) -> Iterator[Report]:
    """A report for each other machine: its rows, and the reference's quality, which was computed here."""
    reference = own.context.reference
    shared = [row for row in own.measurements if row.format == reference and row.metric in QUALITY_METRICS]
    for device, rows in by_machine(foreign):
        measured = {row.artifact_sha256 for row in (*shared, *rows)}
        made = [artifact for artifact in own.artifacts if artifact.sha256 in measured]
        note = f"Measured on another machine and taken in, {len(rows)} rows; the reference's answers come from here."
        context = replace(own.context, host=rows[-1].host, command="", versions={}, predicted={}, notes=(note,))
        yield build(made, [*shared, *rows], device=device, context=context, limits=_of(device, limits))


def _passed_through(artifact: Artifact, rows: Sequence[Measurement]) -> bool:
    """Whether it was only made to make others and gone before anything was measured of it: no row to compare."""
    measured = any(row.artifact_sha256 == artifact.sha256 and row.metric in METRICS for row in rows)
    return not measured and any(note.startswith("not eligible: ") for note in artifact.notes)


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
