"""results.jsonl: rows are appended, half a line is dropped, and what cannot be read is named."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgequant import Error
from edgequant.profiles.records.measurement import SCHEMA, Measurement
from edgequant.profiles.records.store import Store, read

ROW = Measurement(
    run="r",
    at="2026-01-31T12:00:00+00:00",
    format="Q4_K_M",
    artifact_sha256="abc",
    runtime="llama.cpp",
    runtime_version="0.3.16",
    device="host",
    emulated=False,
    host={"cpu": "a\u2028b"},
    metric="decode_tokens_per_second",
    unit="tokens/s",
    samples=(1.5, 2.0),
    parameters={"key": "k1", "items": ["é"]},
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.jsonl"


def test_rows_come_back(path: Path) -> None:
    store = Store(path)
    assert store.rows == [] and not path.exists()
    failed = replace(ROW, samples=(), status="oom", note="killed")
    store.append([ROW])
    store.append([failed, replace(ROW, metric="load_seconds")])
    again = Store(path)
    assert again.rows == store.rows == [ROW, failed, replace(ROW, metric="load_seconds")]
    assert isinstance(again.rows[0].samples, tuple)
    assert len(path.read_bytes().splitlines()) == 3


def test_what_is_there_is_never_rewritten(path: Path) -> None:
    Store(path).append([ROW])
    before = path.read_bytes()
    Store(path).append([replace(ROW, format="F16")])
    assert path.read_bytes().startswith(before)


@pytest.mark.parametrize("rest", [b'{"schema": 1, "run', b"{", b"\xff"])
def test_half_a_line_is_dropped(path: Path, rest: bytes) -> None:
    Store(path).append([ROW, ROW])
    whole = path.read_bytes()
    path.write_bytes(whole + rest)
    store = Store(path)
    assert store.rows == [ROW, ROW] and path.read_bytes() == whole
    store.append([replace(ROW, format="F16")])
    assert [row.format for row in Store(path).rows] == ["Q4_K_M", "Q4_K_M", "F16"]


def test_a_file_that_is_half_a_line(path: Path) -> None:
    path.write_bytes(b'{"sch')
    assert Store(path).rows == [] and path.read_bytes() == b""


def test_another_schema_is_refused(path: Path) -> None:
    Store(path).append([ROW, replace(ROW, schema=SCHEMA + 1)])
    with pytest.raises(Error, match=f"line 2: schema {SCHEMA + 1}, this version reads {SCHEMA}"):
        Store(path)


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in ROW.to_json().items() if name != key}


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "",
        "[]",
        "5",
        "null",
        "{}",
        without("schema"),
        without("samples"),
        without("format"),
        {**ROW.to_json(), "x": 1},
    ],
)
def test_a_line_that_is_no_measurement_is_named(path: Path, line: Any) -> None:
    Store(path).append([ROW])
    with path.open("a") as stream:
        stream.write((line if isinstance(line, str) else json.dumps(line)) + "\n")
    with pytest.raises(Error, match="line 2: no measurement"):
        read(path)


def test_a_step_that_failed_is_tried_again(path: Path) -> None:
    store = Store(path)
    store.append([replace(ROW, status="crash", samples=(), parameters={"key": "k1"})])
    assert not store.has("k1")
    store.append([replace(ROW, status="unsupported", samples=(), parameters={"key": "k1"}), ROW])
    assert store.has("k1") and not store.has("k2") and Store(path).has("k1")


def test_rows_are_on_disk_before_append_returns(path: Path) -> None:
    """A process that ends at once, without closing anything, leaves whole lines."""
    script = (
        "import os, sys, json; from pathlib import Path; from edgequant.profiles.records.store import Store;"
        "from edgequant.profiles.records.measurement import Measurement;"
        "Store(Path(sys.argv[1])).append([Measurement.from_json(json.loads(sys.argv[2]))]); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", script, os.fspath(path), json.dumps(ROW.to_json())], check=True)
    assert Store(path).rows == [ROW]


@pytest.mark.parametrize("rest", [b'{"schema": 1, "run', b"{"])
def test_a_row_that_is_being_written_is_no_error_for_a_reader(path: Path, rest: bytes) -> None:
    Store(path).append([ROW])
    whole = path.read_bytes()
    path.write_bytes(whole + rest)
    assert read(path) == [ROW] and path.read_bytes() == whole + rest


def test_a_last_row_without_an_end_of_line_is_one(path: Path) -> None:
    path.write_text(json.dumps(ROW.to_json()))
    assert read(path) == [ROW]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", 1),
        (b"\xff\xd8\xff\xe0 a picture without an end of line", 1),
        (b"plain words", 1),
        (json.dumps(ROW.to_json()).encode() + b"\n\xff\xfe\n", 2),
        (b'{"schema": 1, "run": "\xe9"}\n', 1),
    ],
)
def test_what_is_no_results_file_is_said_in_a_line(path: Path, content: bytes, line: int) -> None:
    path.write_bytes(content)
    with pytest.raises(Error, match=rf"results\.jsonl, line {line}: no measurement"):
        read(path)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(Error, match=r"cannot be read: Is a directory"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"samples": ["1.5"]}, "samples are not all numbers"),
        ({"samples": [True]}, "samples are not all numbers"),
        ({"samples": "1.5"}, "samples is no list"),
        ({"format": 4}, "format is no text"),
        ({"note": None}, "note is no text"),
        ({"emulated": "no"}, "emulated is no bool"),
        ({"host": []}, "host is no dict"),
        ({"parameters": None}, "parameters is no dict"),
        ({"parameters": {"variant": "deep"}}, "the variant is no dict"),
    ],
)
def test_a_row_whose_values_are_of_another_kind_is_named(path: Path, changes: dict[str, Any], said: str) -> None:
    Store(path).append([ROW])
    with path.open("a") as stream:
        stream.write(json.dumps({**ROW.to_json(), **changes}) + "\n")
    with pytest.raises(Error, match=f"line 2: {said}"):
        read(path)


def test_speeds_of_several_devices_stand_beside_each_other_and_answers_do_not(path: Path) -> None:
    """A device here, this machine, and this folder on another machine; answers are the same everywhere."""
    store = Store(path)
    away = replace(ROW, host={"cpu": "another"}, parameters={"key": "k3"})
    store.append([ROW, replace(ROW, device="rpi4-2gb", parameters={"key": "k2"}), away])
    assert store.has("k1") and store.has("k2") and store.has("k3")
    answer = replace(ROW, metric="accuracy", parameters={"key": "a1"})
    store.append([answer, replace(answer, device="rpi4-2gb", parameters={"key": "a2"})])
    assert store.has("a2") and not store.has("a1")
