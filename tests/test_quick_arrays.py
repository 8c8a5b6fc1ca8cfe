"""Arrays packed at once are the bytes that the gguf package writes element by element."""

from pathlib import Path
from typing import Any

import gguf
import pytest

from edgequant.convert.quick_arrays import quick_writer

VALUES: dict[str, Any] = {
    "strings": ["", "a", "▁é 🙂", "x" * 1000] * 50,
    "bytes": [b"\xff\x00", b""] * 50,
    "integers": list(range(-100, 100)),
    "floats": [0.1 * n for n in range(200)],
    "booleans": [True, False] * 50,
    "short": ["a", "b"],
    "one": "text",
}


def written(writer: gguf.GGUFWriter, path: Path) -> bytes:
    for key, value in VALUES.items():
        writer.add_string(key, value) if isinstance(value, str) else writer.add_array(key, value)
    writer.add_uint32("n", 7)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path.read_bytes()


def test_the_same_bytes(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours.gguf", tmp_path / "theirs.gguf"
    assert written(quick_writer(ours, "x"), ours) == written(gguf.GGUFWriter(theirs, "x"), theirs)


def test_arrays_of_several_types_are_refused(tmp_path: Path) -> None:
    writer = quick_writer(tmp_path / "x.gguf", "x")
    writer.add_array("mixed", [1, "a"] * 50)
    writer.write_header_to_file()
    with pytest.raises(ValueError):
        writer.write_kv_data_to_file()
    writer.close()
