"""A wheel as a file: read whole, and written with a RECORD that fits and the same bytes every time.

Source: the binary distribution format, packaging.python.org/en/latest/specifications/binary-distribution-format.
"""

import base64
import hashlib
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

from .. import Error

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip file can state
_NAME = re.compile(r"([^-]+-[^-]+)\.dist-info/WHEEL")


def read_wheel(path: Path) -> dict[str, bytes]:
    """Name -> content of every file in the wheel."""
    with zipfile.ZipFile(path) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist() if not info.is_dir()}


def write_wheel(folder: Path, files: Mapping[str, bytes], *, tag: str) -> Path:
    """Write `files`, which hold one .dist-info, as a wheel for `tag` ("py3-none-any"); returns its path."""
    title = next((match[1] for name in files if (match := _NAME.fullmatch(name))), None)
    if title is None:
        raise Error("the files are no wheel: a WHEEL in a .dist-info is missing")
    info, record = f"{title}.dist-info", f"{title}.dist-info/RECORD"
    made = {name: data for name, data in files.items() if name != record}
    made[f"{info}/WHEEL"] = _tagged(made[f"{info}/WHEEL"], tag)
    made[record] = _record(made, record)
    path = folder / f"{title}-{tag}.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(made, key=lambda name: (name.startswith(info), name)):  # what installers read comes last
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type, entry.external_attr, entry.create_system = zipfile.ZIP_DEFLATED, 0o644 << 16, 3
            archive.writestr(entry, made[name])
    return path


def _tagged(wheel: bytes, tag: str) -> bytes:
    lines = [line for line in wheel.decode().splitlines() if line and not line.startswith("Tag:")]
    return "\n".join([*lines, f"Tag: {tag}", ""]).encode()


def _record(files: Mapping[str, bytes], record: str) -> bytes:
    def row(name: str, data: bytes) -> str:
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        return f"{name},sha256={digest},{len(data)}"

    return "\n".join([*(row(name, data) for name, data in sorted(files.items())), f"{record},,", ""]).encode()
