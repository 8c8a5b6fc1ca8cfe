"""results.jsonl: append-only, one measurement a line; the last row of a format and metric counts."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ... import Error
from .measurement import SCHEMA, Measurement

_KINDS = {"emulated": bool, "host": dict, "samples": list, "parameters": dict, "schema": int}  # all else are texts


class Store:
    """The rows of one run. A line that a crash left half-written is dropped when the file is opened again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[Measurement] = []
        if path.exists():
            self._mend()
            self.rows = read(path)

    def _mend(self) -> None:
        data = self.path.read_bytes()
        if data and not data.endswith(b"\n"):
            with self.path.open("r+b") as stream:
                stream.truncate(data.rfind(b"\n") + 1)

    def append(self, rows: Iterable[Measurement]) -> None:
        """Add rows, in one piece so that an interruption between two of them cannot pass for a whole step, and have
        them on disk before returning."""
        new = list(rows)
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write("".join(json.dumps(row.to_json()) + "\n" for row in new))
            stream.flush()
            os.fsync(stream.fileno())
        self.rows.extend(new)

    def has(self, key: str) -> bool:
        """Whether rows of the step with this key (`parameters["key"]`) are the ones that count, and did not fail.

        Rows of the same format, metric, variant and (of speed and memory) device and processor that were stored later
        count instead, under other settings or not.
        """
        latest = {(row.format, row.metric, row.variant_key, row.place): row for row in self.rows}
        return any(row.parameters.get("key") == key and row.status == "ok" for row in latest.values())


def read(path: Path) -> list[Measurement]:
    """All rows of a results file, but for a last line that was begun and never finished; the file stays as it is.

    `Error` names the line that is none, or of another schema, and a file that cannot be read.
    """
    try:
        *lines, last = path.read_bytes().split(b"\n")
    except OSError as error:
        raise Error(f"{path} cannot be read: {error.strerror}") from None
    if last and not _is_cut(last):
        lines.append(last)
    return [_row(line, path, number) for number, line in enumerate(lines, 1)]


def _is_cut(line: bytes) -> bool:
    """Whether a row was begun and never finished."""
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return line.startswith(b"{")
    return False


def _row(line: bytes, path: Path, number: int) -> Measurement:
    try:
        values = json.loads(line.decode("utf-8"))
        if values["schema"] != SCHEMA:
            raise Error(f"{path}, line {number}: schema {values['schema']}, this version reads {SCHEMA}")
        row = Measurement.from_json(values)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Error(f"{path}, line {number}: no measurement") from None
    if wrong := _wrong(values):
        raise Error(f"{path}, line {number}: {wrong}")
    return row


def _wrong(values: dict[str, Any]) -> str:
    """What of a row is not of its kind; "" where all is."""
    for name, value in values.items():
        kind = _KINDS.get(name, str)
        if not isinstance(value, kind):
            return f"{name} is no {'text' if kind is str else kind.__name__}"
    if not all(isinstance(sample, int | float) and not isinstance(sample, bool) for sample in values["samples"]):
        return "samples are not all numbers"
    if not isinstance(values["parameters"].get("variant") or {}, dict):
        return "the variant is no dict"
    return ""
