"""A question put to a run: the limits, the device and the kind of items that it is about, and the answer."""

from collections.abc import Mapping
from dataclasses import replace

from ..profiles.device import Device
from ..profiles.records.run_folder import RunFolder
from .answer import Answer, Limits
from .for_device import for_device, is_of
from .for_task import by_guessing, for_task
from .pick import pick
from .predictions import Prediction, predictions
from .rebuild import compare
from .table import Report


def ask(folder: RunFolder, limits: Limits, *, device: Device | None = None) -> Answer:
    """The answer of a run's stored rows; nothing is measured.

    With a `device` the figures are its own (`for_device`), and its usable memory is the limit unless a smaller one is
    given. Without, they are those of the run's device, whose memory is the limit where none is given. `Error` for a
    task that no item is of.
    """
    report = compare(folder)
    elsewhere = device is not None and not is_of(report, device)
    predicted = predictions(folder, device) if device and elsewhere else {}
    return answer(report, limits, device=device, predicted=predicted)


def answer(
    report: Report, limits: Limits, *, device: Device | None = None, predicted: Mapping[str, Prediction] | None = None
) -> Answer:
    """The same of a report; `predicted` is what a plan expects on a device that the report is not of."""
    rows = for_task(report, limits.task) if limits.task else report.rows
    doubt = by_guessing(report, limits.task) if limits.task else ""
    if device and not is_of(report, device):
        rows = for_device(replace(report, rows=rows), device, predicted or {})
    return pick(rows, _within(limits, report.device, device), doubts=[doubt] if doubt else [])


def _within(limits: Limits, own: Device, asked: Device | None) -> Limits:
    """The limits with the memory that the device leaves to a program."""
    given = limits.max_memory_bytes
    if asked is None:
        return limits if given is not None else replace(limits, max_memory_bytes=own.usable_ram_bytes)
    memory = asked.usable_ram_bytes if given is None else min(given, asked.usable_ram_bytes)
    return replace(limits, max_memory_bytes=memory, device=asked.title)
