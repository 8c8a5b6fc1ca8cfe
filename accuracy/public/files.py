"""Rows of a local file: one JSON object a line, or one array of objects; what is wrong is named with file and line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from ... import Error

MAX_LINE_BYTES = 4_000_000  # the longest row of the sets here has some 20,000
_MAX_ARRAY_BYTES = 200_000_000


def read_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every row and where it stands, "FILE, line N"; blank lines are passed over."""
    if not path.is_file():
        raise Error(f"there is no file {path}")
    try:
        opened = path.open("rb")
    except OSError as error:
        raise Error(f"{path} cannot be read: {error.strerror}") from None
    with opened as file:
        is_array = file.read(1024).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")
        file.seek(0)
        yield from _array(path) if is_array else _lines(path, file)


def _lines(path: Path, file: IO[bytes]) -> Iterator[tuple[str, dict[str, Any]]]:
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        where = f"{path}, line {number}"
        if len(line) > MAX_LINE_BYTES:
            raise Error(f"{where}: the line has more than {MAX_LINE_BYTES:,} bytes", hint="one JSON object a line")
        if line.strip():
            yield where, _row(_parse(line, where), where)


def _parse(line: bytes, where: str) -> Any:
    try:
        return json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise Error(f"{where}: no UTF-8: {error.reason} at byte {error.start}") from None
    except (ValueError, RecursionError) as error:
        raise Error(f"{where}: no JSON: {error}") from None


def _row(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Error(f"{where}: not a JSON object")
    return value


def _array(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Objects of one array, each with the line that it begins on."""
    if path.stat().st_size > _MAX_ARRAY_BYTES:
        raise Error(f"{path}, line 1: an array of more than {_MAX_ARRAY_BYTES:,} bytes", hint="one JSON object a line")
    try:
        said = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise Error(f"{path}, line {line}: no UTF-8: {error.reason}") from None
    decoder, position, line, seen = json.JSONDecoder(), said.index("[") + 1, 1, 0
    while True:
        position = _skip(said, position, " \t\r\n,")
        line, seen = line + said.count("\n", seen, position), position
        where = f"{path}, line {line}"
        if said[position : position + 1] == "]":
            return
        try:
            value, position = decoder.raw_decode(said, position)
        except (ValueError, RecursionError) as error:
            raise Error(f"{where}: no JSON: {error}") from None
        yield where, _row(value, where)


def _skip(said: str, position: int, characters: str) -> int:
    while position < len(said) and said[position] in characters:
        position += 1
    return position
