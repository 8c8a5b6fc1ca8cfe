"""Which stored rows say how fast a model is on a device: of a run of that model, measured on such a machine."""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from ...convert.artifact import Artifact
from ...convert.formats import FORMATS
from ...convert.onnx_options import OnnxOptions
from ..device import Device
from ..machine import host
from ..records.measurement import Measurement
from ..records.request import Request
from ..records.run_folder import RunFolder
from ..records.store import read
from .prediction import lengths

_OF_MEMORY = 0.75  # of what is built in, the least that a system tells: firmware and graphics keep the rest


def evidence(request: Request, *, context: int) -> list[Measurement]:
    """Rows that a plan for the request's device at this context can be put right by; of a format the last counts.

    They lie in the run folder that the request names, where it is a run of the same source: its own rows, and those
    that were taken in from other machines (`report --add`). Each was measured on an artifact that the run still knows
    and that was made with the same options, on such a machine as the device is (`is_on`), in the plain way, over as
    many tokens as a plan predicts, and nothing disturbed it.
    """
    folder = RunFolder(request.out)
    if not folder.description.is_file():
        return []
    described = folder.open()
    if described["source"] != _whole(request.source):
        return []
    made = folder.made(revision=described["checkpoint"]["revision"])
    known = {artifact.sha256 for artifact in made if _is_made_so(artifact, request.onnx)}
    return [
        row
        for row in _stored(folder)
        if row.artifact_sha256 in known and _is_plain(row, context) and is_on(row, request.device)
    ]


def _whole(source: str) -> str:
    """A source as run.json has it: a path from the root on."""
    named = Path(source)
    return str(named.resolve()) if named.exists() else source


def _is_made_so(artifact: Artifact, options: OnnxOptions) -> bool:
    """Whether the options are those that it was made with; what a calibration text says changes no speed."""
    fmt = FORMATS.get(artifact.format)
    heeded = [name for name in (fmt.options if fmt else ()) if name != "calibration"]
    return all(artifact.options.get(name) == getattr(options, name) for name in heeded)


def _stored(folder: RunFolder) -> Iterator[Measurement]:
    """Other machines' rows, then the run's own."""
    for file in (folder.others, folder.results):
        if file.is_file():
            yield from read(file)


def _is_plain(row: Measurement, context: int) -> bool:
    """Whether it tells what a plan predicts at this context, and can be trusted."""
    said = row.parameters
    alike = (said.get("n_prompt"), said.get("n_generate")) == lengths(context)
    disturbed = any(said.get("marks") or ())
    return row.status == "ok" and bool(row.samples) and not row.variant and alike and not disturbed


def is_on(row: Measurement, device: Device) -> bool:
    """Whether the machine that measured a row is such a device.

    This machine is known by its processor's name; a profile names those that it holds for (`Device.cpu_names`), and
    its memory tells variants of a board apart. On such a machine a row may be called the device's or the machine's
    own; one that stands in for another device tells of neither.
    """
    cpu = str(row.host.get("cpu") or "")
    if device.is_host:
        return not row.emulated and cpu == host.machine().cpu
    if row.emulated and row.device != device.name:
        return False
    memory = row.host.get("memory_bytes") or 0
    named = any(cpu == name or fnmatchcase(cpu, name) for name in device.cpu_names)
    return named and _OF_MEMORY * device.ram_bytes <= memory <= device.ram_bytes
