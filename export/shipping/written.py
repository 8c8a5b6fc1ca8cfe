"""The folder that an export writes: whole or not at all, over nothing but an earlier export."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ... import Error, __version__
from ...convert.atomic import replacing
from .shipment import Shipment

RECORD, SUMS = "export.json", "SHA256SUMS"
Files = Mapping[str, Path | bytes]


@dataclass(frozen=True, kw_only=True)
class Written:
    """What was written, or would be: files of so many bytes in a folder, what to know of it, and what comes next."""

    target: str
    format: str
    folder: str
    files: Mapping[str, int]
    notes: tuple[str, ...] = ()
    next_steps: tuple[str, ...] = ()

    @property
    def size_bytes(self) -> int:
        """Bytes of all files."""
        return sum(self.files.values())


def check_target(folder: Path, *, force: bool) -> None:
    """`Error` where something lies that is not to be overwritten: with `force`, all but an earlier export alone."""
    is_empty = not folder.exists() and not folder.is_symlink()
    if is_empty or (folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir())):
        return
    if not force:
        raise Error(f"{folder} is there already", hint="choose another with -o, or overwrite it with --force")
    if not _is_export(folder):
        raise Error(
            f"{folder} holds other things than an earlier export, and is left alone", hint="choose another with -o"
        )


def _is_export(folder: Path) -> bool:
    """Whether an export wrote everything that lies there."""
    try:
        known = {*json.loads((folder / RECORD).read_text(encoding="utf-8"))["files"], RECORD}
    except (OSError, ValueError, KeyError, TypeError):
        return False
    if folder.is_symlink():
        return False
    return all(path.relative_to(folder).as_posix() in known for path in folder.rglob("*") if not path.is_dir())


def write(shipment: Shipment, folder: Path, files: Files, *, target: str, executable: str = "") -> dict[str, int]:
    """Write the files and a record of them to `folder`; returns name -> bytes. `Error` where that cannot be."""
    record = _json(_record(shipment, target, files))
    with replacing(folder) as partial:
        partial.mkdir()
        for name, content in {**files, RECORD: record}.items():
            _put(content, partial / name)
        if executable:
            (partial / executable).chmod(0o755)
    return {name: (folder / name).stat().st_size for name in sorted([*files, RECORD])}


def with_sums(files: Files) -> Files:
    """The files and their digests, as sha256sum writes and checks them."""
    sums = "".join(f"{_digest(files[name])}  {name}\n" for name in sorted(files))
    return {**files, SUMS: sums.encode()}


def _record(shipment: Shipment, target: str, files: Files) -> dict[str, Any]:
    """What made this, without a path of this machine."""
    artifact = shipment.artifact
    return {
        "made_by": f"edgequant {__version__}",
        "target": target,
        "checkpoint": artifact.checkpoint,
        "checkpoint_revision": artifact.checkpoint_revision,
        "format": shipment.format,
        "sha256": artifact.sha256,
        "files": sorted(files),
    }


def _put(content: Path | bytes, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        target.write_bytes(content)
    else:
        shutil.copyfile(content, target)


def _digest(content: Path | bytes) -> str:
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with content.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _json(values: Mapping[str, Any]) -> bytes:
    return (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode(errors="backslashreplace")
