"""What an interrupted measurement had finished: one line of JSON a part, taken up again by the next attempt."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..convert.atomic import write_text


class Resumption:
    """The finished parts of one measurement, in a file that begins with the key of what is measured.

    A file with another key counts for nothing, and so does a last line that was not written to its end.
    """

    def __init__(self, path: Path | None, *, key: str) -> None:
        self._path = path
        self._done: dict[tuple[str, int], Any] = {}
        if path is None:
            return
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
        if lines and lines[0] == _line({"key": key}):
            whole = [line for line in lines[1:] if line.endswith("\n")]
            for what, number, value in map(json.loads, whole):
                self._done[what, number] = value
            lines = [lines[0], *whole]
        else:
            lines = [_line({"key": key})]
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, "".join(lines))

    def done(self, what: str) -> dict[int, Any]:
        """The finished parts of one kind, by number."""
        return {number: value for (kind, number), value in self._done.items() if kind == what}

    def forget(self, what: str) -> None:
        """Compute the parts of one kind again."""
        self._done = {part: value for part, value in self._done.items() if part[0] != what}

    def add(self, what: str, number: int, value: Any) -> None:
        """Keep a finished part."""
        self._done[what, number] = value
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(_line([what, number, value]))

    def take(self, what: str, number: int, compute: Callable[[], Any]) -> Any:
        """A part as it was finished before, or else computed and kept."""
        if (what, number) not in self._done:
            self.add(what, number, compute())
        return self._done[what, number]

    def discard(self) -> None:
        """Remove the file: everything is done."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def _line(value: Any) -> str:
    return json.dumps(value, separators=(",", ":")) + "\n"
