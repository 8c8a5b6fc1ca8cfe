"""results.jsonl: append-only, one measurement a line; the last row of a format and metric counts."""

import json
import os
from collections.abc import Iterable
from pathlib import Path

from ... import Error
from .measurement import SCHEMA, Measurement


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
        """Add rows and have them on disk before returning."""
        new = list(rows)
        with self.path.open("a", encoding="utf-8") as stream:
            stream.writelines(json.dumps(row.to_json()) + "\n" for row in new)
            stream.flush()
            os.fsync(stream.fileno())
        self.rows.extend(new)

    def has(self, key: str) -> bool:
        """Whether rows of the step with this key (`parameters["key"]`) are the ones that count, and did not fail.

        Rows of the same format, metric and variant that were stored later count instead, under other settings or not.
        """
        latest = {(row.format, row.metric, row.variant_key): row for row in self.rows}
        return any(row.parameters.get("key") == key and row.status == "ok" for row in latest.values())


def read(path: Path) -> list[Measurement]:
    """All rows of a results file; `Error` names the line that is none, or of another schema."""
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            values = json.loads(line)
            if values["schema"] != SCHEMA:
                raise Error(f"{path}, line {number}: schema {values['schema']}, this version reads {SCHEMA}")
            rows.append(Measurement.from_json(values))
        except (ValueError, KeyError, TypeError):
            raise Error(f"{path}, line {number}: no measurement") from None
    return rows
