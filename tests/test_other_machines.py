"""Rows of other machines: taken in, kept apart, and shown with a pick of their own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import bundles
import recorded
from edgequant import Error
from edgequant.convert.artifact import Artifact
from edgequant.profiles.records.measurement import Measurement
from edgequant.profiles.records.other_machines import by_machine, take_in
from edgequant.profiles.records.run_folder import RunFolder
from edgequant.report.answer import Limits
from edgequant.report.files import write
from edgequant.report.rebuild import compare
from edgequant.report.stored import from_json, to_json

PI = {
    "cpu": "Raspberry Pi 5 Model B Rev 1.0 (Cortex-A76)",
    "machine": "aarch64",
    "memory_bytes": 8_000_000_000,
    "available_bytes": 7_000_000_000,
    "physical_cores": 4,
    "threads": 4,
    "isa": ["neon", "dotprod", "fp16"],
}
ZERO = {**PI, "cpu": "Raspberry Pi Zero 2 W (Cortex-A53)", "memory_bytes": 500_000_000, "available_bytes": 300_000_000}


def speed(of: Artifact, decode: float, **changes: Any) -> list[Measurement]:
    """Rows of an artifact's decode, prefill and memory."""
    samples = {
        "decode_tokens_per_second": [decode, decode + 1, decode + 2],
        "prefill_tokens_per_second": [10 * decode] * 3,
        "peak_rss_bytes": [400e6],
    }
    values = {"artifact_sha256": of.sha256, **changes}
    return [recorded.measurement(of.format, metric, given, **values) for metric, given in samples.items()]


@pytest.fixture
def made(tmp_path: Path) -> dict[str, Artifact]:
    """The artifacts of a run in tmp_path/run that measured them itself."""
    folder = RunFolder(tmp_path / "run")
    names = (recorded.REFERENCE, "Q8_0", "onnx-int8-dynamic")
    artifacts = {name: bundles.artifact(folder.artifacts, name, name.encode()) for name in names}
    described = bundles.described(tmp_path)
    described["checkpoint"]["quantised_source"] = None
    folder.description.write_text(json.dumps(described), encoding="utf-8")
    for artifact in artifacts.values():
        folder.store().append([*quality(artifact), *speed(artifact, 100)])
    return artifacts


def quality(of: Artifact, **changes: Any) -> list[Measurement]:
    """Rows of quality, of which the reference has no divergence."""
    rows = bundles.quality(of, **changes)
    return [row for row in rows if of.format != recorded.REFERENCE or row.metric != "kl_divergence"]


def file_of(rows: list[Measurement], path: Path) -> Path:
    """A results.jsonl."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row.to_json()) + "\n" for row in rows), encoding="utf-8")
    return path


def on_pi(made: dict[str, Artifact], host: dict[str, Any] = PI, decode: float = 9) -> list[Measurement]:
    """What a device stores: the reference's rows as they came, then its own."""
    sent = quality(made[recorded.REFERENCE])
    rows = [row for name in ("Q8_0", "onnx-int8-dynamic") for row in (*speed(made[name], decode), *quality(made[name]))]
    return [*sent, *(replace(row, host=host, at="2026-02-02T00:00:00Z") for row in rows)]


def test_rows_are_taken_in_once(made: dict[str, Artifact], tmp_path: Path) -> None:
    folder, file = RunFolder(tmp_path / "run"), file_of(on_pi(made), tmp_path / "pi" / "results.jsonl")
    first, second = take_in(folder, file), take_in(folder, file.parent)
    assert (first.n_new, first.n_known) == (12, 2)
    assert (second.n_new, second.n_known) == (0, 14)


def test_they_never_replace_the_runs_own(made: dict[str, Artifact], tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    before, rows = folder.results.read_bytes(), compare(folder).rows
    take_in(folder, file_of(on_pi(made), tmp_path / "results.jsonl"))
    assert folder.results.read_bytes() == before
    report = compare(folder)
    assert report.rows == rows
    (other,) = report.others
    assert {r.format: r.value("decode_tokens_per_second") for r in other.rows} == {
        "F16": None, "Q8_0": 10, "onnx-int8-dynamic": 10,
    }  # fmt: skip


def test_each_machine_has_its_own_table_pick_and_limits(made: dict[str, Artifact], tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    take_in(folder, file_of(on_pi(made), tmp_path / "pi.jsonl"))
    take_in(folder, file_of(on_pi(made, ZERO, decode=2), tmp_path / "zero.jsonl"))
    pi, zero = compare(folder).others
    assert (pi.device.title, zero.device.title) == (PI["cpu"], ZERO["cpu"])
    assert pi.device.n_cores == 4 and pi.device.usable_ram_bytes == 7_000_000_000
    assert pi.answer.pick == "Q8_0"
    assert zero.answer.pick is None and "memory" in {r.code for r in zero.answer.verdict("Q8_0").reasons}
    loss = next(row.loss for row in pi.rows if row.format == "Q8_0")
    assert loss is not None and loss.n == 2  # against the reference's answers, which were computed here


def test_the_users_limits_hold_for_all_and_the_memory_is_each_ones_own(
    made: dict[str, Artifact], tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "run")
    take_in(folder, file_of(on_pi(made), tmp_path / "pi.jsonl"))
    report = compare(folder, limits=Limits(min_decode=50))
    assert report.answer.pick is not None and report.others[0].answer.pick is None
    assert report.others[0].answer.limits.max_memory_bytes == 7_000_000_000


def test_rows_of_another_file_are_refused_in_one_line(made: dict[str, Artifact], tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    rows = on_pi(made)
    rows[5] = replace(rows[5], artifact_sha256="f" * 64)
    with pytest.raises(Error, match=r"results\.jsonl, line 6: Q8_0 was measured on a file .* \(sha256 ffffffffffff\)"):
        take_in(folder, file_of(rows, tmp_path / "results.jsonl"))
    assert not folder.others.exists()


def test_a_format_under_another_ones_digest_is_refused(made: dict[str, Artifact], tmp_path: Path) -> None:
    rows = [replace(row, format="Q4_0") for row in on_pi(made)]
    with pytest.raises(Error, match="line 1: Q4_0 was measured on a file that is none of"):
        take_in(RunFolder(tmp_path / "run"), file_of(rows, tmp_path / "results.jsonl"))


def test_a_file_that_is_none(made: dict[str, Artifact], tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(Error, match=r"results\.jsonl does not exist"):
        take_in(folder, tmp_path)
    (tmp_path / "x.jsonl").write_text("no rows\n")
    with pytest.raises(Error, match="line 1: no measurement"):
        take_in(folder, tmp_path / "x.jsonl")


def test_machines_are_told_apart_and_one_machine_is_one(made: dict[str, Artifact]) -> None:
    rows = [*speed(made["Q8_0"], 9, host=PI), *speed(made["Q8_0"], 3, host=ZERO)]
    rows += quality(made["Q8_0"], host={**PI, "available_bytes": 1_000_000_000, "load_average": [1.0]})
    assert [(device.title, len(found)) for device, found in by_machine(rows)] == [(PI["cpu"], 6), (ZERO["cpu"], 3)]


def test_an_emulated_device_is_that_of_its_profile(made: dict[str, Artifact]) -> None:
    rows = speed(made["Q8_0"], 9, host=PI, device="rpi4-2gb", emulated=True)
    ((device, _),) = by_machine(rows)
    assert device.name == "rpi4-2gb" and "Pi 4" in device.title


def test_a_machine_that_tells_nothing_of_itself(made: dict[str, Artifact]) -> None:
    ((device, _),) = by_machine(speed(made["Q8_0"], 9, host={}))
    assert device.title == "a machine that does not say its name"


def test_the_reports_show_every_machine(made: dict[str, Artifact], tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    evil = {**PI, "cpu": recorded.HOSTILE}
    take_in(folder, file_of(on_pi(made), tmp_path / "pi.jsonl"))
    take_in(folder, file_of(on_pi(made, evil, decode=3), tmp_path / "evil.jsonl"))
    report = compare(folder)
    paths = write(report, tmp_path / "run")
    texts = {name: path.read_text(encoding="utf-8") for name, path in paths.items()}
    assert "## small on Raspberry Pi 5 Model B Rev 1.0" in texts["report.md"]
    assert "<h2>On Raspberry Pi 5 Model B" in texts["report.html"]
    assert texts["report.html"].count('id="note-1"') == texts["report.html"].count('id="other-1-note-1"') == 1
    assert recorded.HOSTILE not in texts["report.html"] and "<img src=x" not in texts["report.html"]
    again = from_json(json.loads(texts["report.json"]))
    assert [other.device.title for other in again.others] == [PI["cpu"], recorded.HOSTILE]
    assert to_json(again) == to_json(report)
