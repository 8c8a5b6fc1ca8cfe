"""The report built from a run's folder: what it says once for all rows."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

import bundles
import recorded
from edgequant.profiles.device import Device, host_device
from edgequant.profiles.records.measurement import Measurement
from edgequant.profiles.records.request import request_of
from edgequant.profiles.records.run_folder import RunFolder
from edgequant.report.rebuild import _is_of, compare


def test_speeds_of_another_device_are_not_this_ones_and_answers_are() -> None:
    here, far = recorded.device(), recorded.device(name="rpi4-2gb", is_host=False)
    speed = recorded.measurement("Q8_0", "decode_tokens_per_second", [100.0])
    answer = recorded.measurement("Q8_0", "kl_divergence", [0.1])
    assert _is_of(speed, here) and not _is_of(speed, far)
    assert _is_of(answer, here) and _is_of(answer, far)
    assert _is_of(replace(speed, artifact_sha256="", status="error"), far)  # what could not be made, cannot anywhere


def stored(tmp_path: Path, device: Device, cpu: str, *rows: Measurement) -> RunFolder:
    """A run folder of two artifacts that was last opened on this processor."""
    folder = RunFolder(tmp_path / "run")
    described = {**bundles.described(tmp_path), "device": asdict(device), "cpu": cpu}
    described["checkpoint"]["quantised_source"] = None
    for name in ("F16", "Q8_0"):
        made = bundles.artifact(folder.artifacts, name, name.encode())
        folder.store().append([replace(row, artifact_sha256=made.sha256) for row in rows if row.format == name])
    folder.description.write_text(json.dumps(described), encoding="utf-8")
    return folder


def on(cpu: str, decode: float, **changes: Any) -> Measurement:
    return recorded.measurement("Q8_0", "decode_tokens_per_second", [decode, decode], host={"cpu": cpu}, **changes)


@pytest.mark.parametrize("changes", [{}, {"name": "rpi4-2gb", "title": "Raspberry Pi 4", "is_host": False}])
def test_speeds_of_another_processor_are_kept_apart_and_said(changes: dict[str, Any], tmp_path: Path) -> None:
    """The folder lay on a laptop, was opened on a server, and the laptop's rows were stored last."""
    device = recorded.device(**changes)
    rows = [on("EPYC", 90.0, device=device.name), on("i7", 30.0, device=device.name)]
    answer = recorded.measurement("Q8_0", "kl_divergence", [0.1, 0.1], host={"cpu": "i7"})
    report = compare(stored(tmp_path, device, "EPYC", *rows, answer))
    (row,) = [row for row in report.rows if row.format == "Q8_0"]
    assert row.value("decode_tokens_per_second") == 90.0 and row.value("kl_divergence") == pytest.approx(0.1)
    note = "1 rows of speed and memory are left out: they were measured on another processor, i7."
    assert note in report.context.notes


def test_where_nobody_says_which_processor_it_was_all_rows_count(tmp_path: Path) -> None:
    report = compare(stored(tmp_path, recorded.device(), "", on("EPYC", 90.0), on("i7", 30.0)))
    (row,) = [row for row in report.rows if row.format == "Q8_0"]
    assert row.value("decode_tokens_per_second") == 30.0
    assert not any("left out" in note for note in report.context.notes)


def test_a_run_opened_on_another_machine_is_that_machines(tmp_path: Path) -> None:
    """The title of what measured before goes, and with it its threads; a device's profile stays."""
    here, before = host_device(), recorded.device(title="this machine: i7", decode_threads=99)
    folder = stored(tmp_path, before, "i7")
    values = {**folder.open(), "source": "m", "tasks": []}
    folder.describe(values)
    assert request_of(folder).device.title == here.title
    folder.describe({**values, "device": asdict(recorded.device(title=here.title, decode_threads=99))})
    assert request_of(folder).device.decode_threads == 99
    folder.describe({**values, "device": asdict(recorded.device(name="rpi4-2gb", title="Pi", is_host=False))})
    assert request_of(folder).device.title == "Pi"
