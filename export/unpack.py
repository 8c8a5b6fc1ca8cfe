"""Unpacking a bundle: nothing but plain files, below one folder, of the sizes and digests that it states."""

import hashlib
import json
import os
import re
import tarfile
from copy import copy
from pathlib import Path, PurePosixPath

from .. import Error
from ..convert.atomic import replacing, write_text
from .bundle import DESCRIPTION, SUMS, folder_name

_MOST_FILES = 100_000
_LARGEST_SUMS = 32 << 20  # bytes
_LINE = re.compile(r"([0-9a-f]{64})  ([^\\\n\0]+)")
_AGAIN = "copy the bundle again, and remove the folder where it was unpacked"
_SEEN = ".verified.json"  # sizes and times of the files when their digests were last right


def is_bundle(path: Path) -> bool:
    """Whether `path` is a tar file, or a folder that one was unpacked to."""
    return (path / DESCRIPTION).is_file() if path.is_dir() else path.is_file() and tarfile.is_tarfile(path)


def unpacked(path: Path, *, out: Path | None = None) -> Path:
    """The folder of the bundle `path`, whole: unpacked beside it or into `out` if it was not before.

    A folder is taken as it is. Every file is compared with its digest; again when its size or time has changed.
    """
    folder = path if path.is_dir() else out or path.with_name(folder_name(path))
    if not path.is_dir():
        stated = _sums_of(path)
        if not folder.exists():
            _extract(path, folder)
        elif not (folder / SUMS).is_file() or (folder / SUMS).read_bytes() != stated:
            raise Error(f"{folder} is there and holds something else than {path}", hint="unpack into another --out")
    verify(folder)
    return folder


def _sums_of(path: Path) -> bytes:
    """SHA256SUMS, which comes first in the tar."""
    try:
        with _opened(path) as archive:
            first = archive.next()
            stream = archive.extractfile(first) if first and first.isreg() else None
            if first is None or stream is None or PurePosixPath(first.name).name != SUMS or first.size > _LARGEST_SUMS:
                raise Error(f"{path} is no bundle", hint="make one with: edgequant bundle RUN -o bundle.tar")
            return stream.read()
    except tarfile.TarError as error:
        raise Error(f"{path} cannot be unpacked: {error}", hint="copy it again") from None


def _opened(path: Path) -> tarfile.TarFile:
    """Only plain tar: what is packed could unfold to any size."""
    try:
        return tarfile.open(path, "r:")
    except (tarfile.TarError, OSError) as error:
        raise Error(f"{path} is no tar file that can be read: {error}") from None


def _extract(path: Path, folder: Path) -> None:
    try:
        with _opened(path) as archive, replacing(folder) as partial:
            members = archive.getmembers()
            check(members, path)
            partial.mkdir()
            for member in members:
                _extract_file(archive, member, partial)
            verify(partial)
    except tarfile.TarError as error:
        raise Error(f"{path} cannot be unpacked: {error}", hint="copy it again") from None


def _extract_file(archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """Extract one plain file below `folder`, without the name of the folder that it lies in.

    Python 3.11.2, which Debian 12 and Raspberry Pi OS have, knows no filter yet: `check` refuses what the filter would,
    and more, so there the mode alone is left to be tamed.
    """
    inside = copy(member)
    inside.name = str(PurePosixPath(*PurePosixPath(member.name).parts[1:]))
    if hasattr(tarfile, "data_filter"):
        archive.extract(inside, folder, filter="data")
    else:
        inside.mode &= 0o755
        inside.uid = inside.gid = os.getuid() if hasattr(os, "getuid") else 0
        inside.uname = inside.gname = ""
        archive.extract(inside, folder)


def check(members: list[tarfile.TarInfo], path: Path) -> None:
    """Raise `Error` where one is no plain file in the bundle's one folder, or they are more than the tar itself."""
    if len(members) > _MOST_FILES:
        raise Error(f"{path} is refused: it holds {len(members)} files")
    roots = {PurePosixPath(member.name).parts[:1] for member in members}
    for member in members:
        parts = PurePosixPath(member.name).parts
        if not member.isreg() or member.issparse():
            raise Error(f"{path} is refused: {member.name!r} in it is no plain file")
        if len(parts) < 2 or len(roots) > 1 or member.name.startswith("/") or ".." in parts:
            raise Error(f"{path} is refused: {member.name!r} in it lies outside its folder")
    if len({member.name for member in members}) < len(members):
        raise Error(f"{path} is refused: it holds a file twice")
    if sum(member.size for member in members) > path.stat().st_size:
        raise Error(f"{path} is cut off, or states sizes that it does not hold", hint="copy it again")


def verify(folder: Path) -> None:
    """Raise `Error`, naming the file, where one is missing or not what SHA256SUMS says."""
    if not (folder / DESCRIPTION).is_file() or not (folder / SUMS).is_file():
        raise Error(f"{folder} is no bundle", hint="make one with: edgequant bundle RUN -o bundle.tar")
    seen, now = _seen(folder), dict[str, list[int]]()
    for line in (folder / SUMS).read_text(encoding="utf-8").splitlines():
        match = _LINE.fullmatch(line)
        if not match or PurePosixPath(match[2]).is_absolute() or ".." in PurePosixPath(match[2]).parts:
            raise Error(f"{folder / SUMS} holds a line that is no sum: {line[:80]!r}")
        file = folder / match[2]
        if not file.is_file():
            raise Error(f"{file} is missing", hint=_AGAIN)
        now[match[2]] = [file.stat().st_size, file.stat().st_mtime_ns]
        if seen.get(match[2]) != now[match[2]] and _digest(file) != match[1]:
            raise Error(f"{file} is not what was bundled: its digest is another", hint=_AGAIN)
    if now != seen:
        write_text(folder / _SEEN, json.dumps(now))


def _seen(folder: Path) -> dict[str, list[int]]:
    try:
        values: dict[str, list[int]] = json.loads((folder / _SEEN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
