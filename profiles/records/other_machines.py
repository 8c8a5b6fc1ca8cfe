"""Rows that other machines measured of a run's artifacts: taken in as they are, and kept apart from the run's own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ... import Error
from ..device import Cores, Device, load, names
from .measurement import Measurement
from .run_folder import RunFolder
from .store import Store, read


@dataclass(frozen=True, kw_only=True)
class TakenIn:
    """How many rows of a file were new to the run, and how many it had."""

    n_new: int
    n_known: int


def take_in(folder: RunFolder, file: Path) -> TakenIn:
    """Add the rows of `file`, a results.jsonl or the folder of one, to those of other machines.

    `Error` names the first row that was measured on a file which is none of the run's; then nothing is added.
    """
    path = file / "results.jsonl" if file.is_dir() else file
    if not path.is_file():
        raise Error(f"{path} does not exist", hint="name the results.jsonl of the device")
    rows, own = read(path), folder.store().rows
    revision = folder.open()["checkpoint"]["revision"]
    made = {artifact.sha256: artifact.format for artifact in folder.made(revision=revision)}
    for number, row in enumerate(rows, 1):
        if made.get(row.artifact_sha256) != row.format:
            raise Error(
                f"{path}, line {number}: {row.format} was measured on a file that is none of {folder.path} "
                f"(sha256 {row.artifact_sha256[:12] or 'missing'})",
                hint="rows go to the run that the bundle was made from",
            )
    store = Store(folder.others)
    known = [*own, *store.rows]
    new = [row for row in rows if row not in known]
    store.append(new)
    return TakenIn(n_new=len(new), n_known=len(rows) - len(new))


def by_machine(rows: Sequence[Measurement]) -> list[tuple[Device, list[Measurement]]]:
    """The rows of each machine and device, in the order in which they were taken in."""
    groups: dict[tuple[Any, ...], list[Measurement]] = {}
    for row in rows:
        seen = (row.device, row.host.get("cpu"), row.host.get("machine"), row.host.get("memory_bytes"))
        groups.setdefault(seen, []).append(row)
    return [(_device(group[-1]), group) for group in groups.values()]


def _device(row: Measurement) -> Device:
    """The device of a profile, or the machine as its rows describe it."""
    if row.emulated and row.device in names():
        return load(row.device)
    facts: Mapping[str, Any] = row.host
    threads = int(facts.get("threads") or 1)
    cpu = str(facts.get("cpu") or "a machine that does not say its name")
    settings = row.parameters.get("settings") or {}
    return Device(
        name=row.device,
        title=cpu,
        cores=(Cores(kind=cpu, count=int(facts.get("physical_cores") or threads)),),
        isa=tuple(facts.get("isa") or ()),
        ram_bytes=int(facts.get("memory_bytes") or 0),
        usable_ram_bytes=int(facts.get("available_bytes") or facts.get("memory_bytes") or 0),
        prefill_threads=threads,
        decode_threads=threads,
        context=int(settings.get("context") or 0),
    )
