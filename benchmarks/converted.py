"""Formats made by `edgequant convert` one after the other, and what that took of memory and disk."""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import made

from edgequant.convert.artifact import Artifact, read_manifest

_LOOK_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class Converted:
    """The largest process of all, while which format was made; and the most that the run's folder took on the disk."""

    peak_bytes: int
    peak_of: str
    disk_bytes: int


def convert_all(checkpoint: Path, names: Sequence[str], folder: Path) -> tuple[list[Artifact], Converted]:
    """The artifacts in the run `folder`, everything kept; what an earlier call made is taken up with its figures."""
    kept = folder.with_name(f"{folder.name}-spent.json")
    known: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    for name in names:
        if name not in known:
            known[name] = _made(checkpoint, name, folder)
            kept.write_text(json.dumps(known), encoding="utf-8")
    rows = {name: known[name] for name in names}
    peak_of = max(rows, key=lambda name: rows[name]["peak_bytes"])
    found = Converted(
        peak_bytes=rows[peak_of]["peak_bytes"],
        peak_of=peak_of,
        disk_bytes=max(row["disk_bytes"] for row in rows.values()),
    )
    return [read_manifest(folder / "artifacts" / row["name"]) for row in rows.values()], found


def _made(checkpoint: Path, name: str, folder: Path) -> dict[str, Any]:
    with _watched(folder) as used:
        done = made.make(checkpoint, name, folder)
    if isinstance(done, str):
        raise SystemExit(f"{name} was not made: {done}")
    return {"name": done.path.name, "peak_bytes": done.peak_bytes, "disk_bytes": max(used)}


@contextmanager
def _watched(folder: Path) -> Iterator[list[int]]:
    """Bytes that the folder takes on the disk, looked at again and again while the block runs."""
    used, done = [0], threading.Event()

    def look() -> None:
        while not done.wait(_LOOK_SECONDS):
            used.append(_used(folder))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield used
    finally:
        done.set()
        watcher.join()
        used.append(_used(folder))


def _used(folder: Path) -> int:
    total = 0
    for file in folder.rglob("*"):
        try:
            total += 512 * file.stat().st_blocks
        except FileNotFoundError:  # gone since
            continue
    return total
