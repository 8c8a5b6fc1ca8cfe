"""The rows of a report as they are for one device: measured on it where they were, else predicted and labelled so."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..accuracy.paired import Interval
from ..profiles import kernels
from ..profiles.device import Device
from ..profiles.planning.evidence import is_on
from ..profiles.records.measurement import SPEED_METRICS, Measurement
from .candidates import MEMORY
from .predictions import Prediction
from .rows import STATUSES, Mark, Row
from .table import Report

#: marks of how a machine measured: they say nothing of another one
OF_A_MACHINE = (
    "emulated", "throttled", "clock fell", "swapped", "major faults", "shared cores", "on battery", "cold load",
    "limit", "not held", "retried without repacked kernels", *(fact.word for fact in kernels.FACTS),
)  # fmt: skip


def is_of(report: Report, device: Device) -> bool:
    """Whether a report is of this device itself, whoever measured in its place; every machine is a "host" at home."""
    return report.device.name == device.name and (not device.is_host or report.device.title == device.title)


def for_device(report: Report, device: Device, predicted: Mapping[str, Prediction]) -> tuple[Row, ...]:
    """The rows with the device's own speeds and memory.

    Divergence and accuracy are the same on all machines and stay. Speeds and memory are those that such a machine
    measured of a bundle, where the run took its rows in; else those that were `predicted` for the device, by format;
    else none, for another machine's speed says nothing.
    """
    there = _measured_there(report, device)
    return tuple(_row(row, there.get(row.format), predicted.get(row.format), device) for row in report.rows)


def _measured_there(report: Report, device: Device) -> dict[str, Row]:
    """The rows of such a machine, or of one that stood in for the device; the former count."""
    found: dict[str, Row] = {}
    stood_in = [other for other in report.others if is_of(other, device)]
    native = [other for other in report.others if _speeds_are_of(other.measurements, device)]
    for other in (*stood_in, *native):
        measured = {m.format for m in other.measurements if m.metric in SPEED_METRICS}
        found |= {row.format: row for row in other.rows if row.format in measured}
    return found


def _speeds_are_of(rows: Sequence[Measurement], device: Device) -> bool:
    speeds = [row for row in rows if row.metric in SPEED_METRICS]
    return bool(speeds) and all(is_on(row, device) and not row.emulated for row in speeds)


def _row(row: Row, there: Row | None, predicted: Prediction | None, device: Device) -> Row:
    kept = tuple(mark for mark in row.marks if mark.code not in OF_A_MACHINE)
    guessed = _guessed(predicted)
    if there is None:
        text = f"measured on another machine than {device.title}; speeds do not carry over"
        marks = (*kept, *_kernels(row, device), Mark(code="emulated", sentence=text))
        return replace(row, marks=marks, predicted=guessed)
    cells = {**row.cells, **{metric: there.cells[metric] for metric in SPEED_METRICS}}
    marks = tuple(dict.fromkeys((*(m for m in kept if m.code not in STATUSES.values()), *there.marks)))
    return replace(row, cells=cells, marks=marks, runtime=there.runtime, predicted={**guessed, **there.predicted})


def _kernels(row: Row, device: Device) -> list[Mark]:
    found = kernels.fact(row.format, device.isa)
    return [Mark(code=found.word, sentence=found.reason)] if found else []


def _guessed(predicted: Prediction | None) -> dict[str, Interval]:
    """Speeds with the ends that they are expected between, and the peak of memory, which has none."""
    if predicted is None:
        return {}
    peak = float(predicted.peak_memory_bytes)
    return {**predicted.speeds, MEMORY: Interval(low=peak, high=peak, estimate=peak)}
