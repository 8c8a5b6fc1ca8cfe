"""Measuring in children: real samples become rows, every failure becomes rows too, and nothing is measured twice."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import small_checkpoint
from edgequant import child
from edgequant.accuracy import preparation
from edgequant.convert import conversion
from edgequant.convert.artifact import Artifact
from edgequant.convert.checkpoint import open_folder
from edgequant.convert.formats import FORMATS
from edgequant.profiles.device import Cores, Device
from edgequant.profiles.measurement import METRICS, Measurement
from edgequant.profiles.measuring import QUALITY_METRICS, SPEED_METRICS, Measuring, SpeedSettings
from edgequant.profiles.store import Store
from edgequant.runtimes.session import Settings

TASKS = (
    '{"id": "c1", "kind": "k", "type": "choice", "prompt": "the cat", "choices": ["on", "the mat"], "answer": 1}\n'
    '{"id": "s1", "kind": "j", "type": "short", "prompt": "1 + 1", "answers": ["2"], "max_tokens": 4}\n'
    '{"id": "c2", "kind": "k", "type": "choice", "prompt": "the dog", "choices": ["ran", "sat", "x"], "answer": 0}\n'
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint, its F32, F16 and Q8_0, and a short text and three items prepared."""
    folder = tmp_path_factory.mktemp("measuring")
    checkpoint = open_folder(small_checkpoint.write(folder / "m"))
    for name in ("F32", "F16", "Q8_0"):
        conversion.convert(checkpoint, FORMATS[name], conversion.Workshop(folder=folder, threads=1))
    (folder / "text.txt").write_text("the cat sat on the mat, and the dog ran to the house. " * 20)
    (folder / "tasks.jsonl").write_text(TASKS)
    job = {"folder": str(folder / "m"), "text": str(folder / "text.txt"), "tasks": [str(folder / "tasks.jsonl")]}
    preparation.prepare({**job, "context": 128, "target": str(folder / "prepared.json")})
    return folder


def artifact(folder: Path, name: str) -> Artifact:
    found = conversion.existing(open_folder(folder / "m"), FORMATS[name], conversion.Workshop(folder=folder, threads=1))
    assert found
    return found


def device(**changes: Any) -> Device:
    return replace(
        Device(
            name="host", title="here", cores=(Cores(kind="core", count=1),), isa=(),
            ram_bytes=10**9, usable_ram_bytes=10**9,
            prefill_threads=1, decode_threads=1, context=128, is_host=True,
        ),
        **changes,
    )  # fmt: skip


def measuring(path: Path, **changes: Any) -> Measuring:
    settings = SpeedSettings(n_prompt=16, n_generate=4, repetitions=3)
    made = Measuring(store=Store(path), run="r", device=device(**changes), context=128, speed_settings=settings)
    made.fence.repack = False  # a small float model needs no other kernels, and some machines have not got them
    return made


def by_metric(store: Store) -> dict[str, Measurement]:
    return {row.metric: row for row in store.rows}


def test_the_metrics_are_shared_out() -> None:
    assert {*SPEED_METRICS, *QUALITY_METRICS} == set(METRICS) and not {*SPEED_METRICS} & {*QUALITY_METRICS}


def test_speed(folder: Path, tmp_path: Path) -> None:
    ours, f16 = measuring(tmp_path / "results.jsonl"), artifact(folder, "F16")
    assert not ours.has_speed(f16)
    seen: list[str] = []
    assert ours.speed(f16, vocabulary=320, progress=seen.append).status == "ok"
    rows = by_metric(ours.store)
    assert tuple(rows) == SPEED_METRICS and all(row.status == "ok" for row in rows.values())
    assert len(rows["prefill_tokens_per_second"].samples) == len(rows["decode_tokens_per_second"].samples) == 3
    assert all(sample > 0 for row in rows.values() for sample in row.samples)
    load, first = rows["load_seconds"].samples[0], rows["first_token_seconds"].samples[0]
    assert 0 < load < first < 60
    peak = rows["peak_rss_bytes"].samples[0]
    assert rows["peak_anonymous_bytes"].samples[0] < peak and rows["peak_file_backed_bytes"].samples[0] < peak
    assert {row.artifact_sha256 for row in rows.values()} == {f16.sha256}
    assert rows["load_seconds"].parameters["settings"] == Settings(threads=1, context=128, repack=False).to_json()
    assert "repacked kernels die" in rows["load_seconds"].note and not rows["load_seconds"].emulated
    assert seen[0] == "loading" and seen[-1] == "repetition 3 of 3"


def test_what_was_measured_is_not_measured_again(folder: Path, tmp_path: Path) -> None:
    ours, f16 = measuring(tmp_path / "results.jsonl"), artifact(folder, "F16")
    ours.speed(f16, vocabulary=320)
    again = measuring(tmp_path / "results.jsonl")
    assert again.has_speed(f16) and not again.has_speed(artifact(folder, "F32"))
    assert not again.has_speed(replace(f16, sha256="other"))
    again.speed_settings = SpeedSettings(n_prompt=17, n_generate=4)
    assert not again.has_speed(f16)
    assert not measuring(tmp_path / "results.jsonl", name="rpi5-8gb").has_speed(f16)
    other_context = measuring(tmp_path / "results.jsonl")
    other_context.context = 64
    assert not other_context.has_speed(f16)


def test_a_device_that_is_not_here_is_emulated_with_the_threads_that_there_are(folder: Path, tmp_path: Path) -> None:
    ours = measuring(tmp_path / "results.jsonl", name="far", is_host=False, decode_threads=9999)
    ours.speed(artifact(folder, "F16"), vocabulary=320)
    assert all(row.emulated and row.device == "far" for row in ours.store.rows)
    assert ours.store.rows[0].parameters["settings"]["threads"] < 9999


def quality(ours: Measuring, folder: Path, tmp_path: Path, name: str, *, reference: str = "F32") -> child.Outcome:
    return ours.quality(
        artifact(folder, name), reference=artifact(folder, reference), prepared=folder / "prepared.json",
        prepared_digest="d", scratch=tmp_path / "scratch",
    )  # fmt: skip


def test_quality_against_the_reference(folder: Path, tmp_path: Path) -> None:
    ours, samples = measuring(tmp_path / "results.jsonl"), {}
    for name in ("F32", "F16", "Q8_0"):
        assert quality(ours, folder, tmp_path, name).status == "ok"
        samples[name] = {row.metric: row for row in ours.store.rows if row.format == name}
        assert set(samples[name]) == set(QUALITY_METRICS)
    divergence = {name: math.fsum(rows["kl_divergence"].samples) for name, rows in samples.items()}
    n_windows = len(small_checkpoint.read_json(folder / "prepared.json")["windows"])
    assert n_windows > 1 and all(len(rows["kl_divergence"].samples) == n_windows for rows in samples.values())
    assert abs(divergence["F32"]) < 1e-5 < divergence["Q8_0"] and divergence["F16"] < divergence["Q8_0"]
    assert set(samples["F32"]["same_top_token"].samples) == {1.0}
    accuracy, margin = samples["Q8_0"]["accuracy"], samples["Q8_0"]["margin"]
    assert accuracy.parameters["items"] == ["c1", "s1", "c2"] and accuracy.parameters["kinds"] == ["k", "j", "k"]
    assert margin.parameters["items"] == ["c1", "c2"] and len(margin.samples) == 2
    assert set(accuracy.samples) <= {0.0, 1.0} and len(accuracy.samples) == 3
    right = dict(zip(accuracy.parameters["items"], accuracy.samples, strict=True))
    assert [right["c1"] == 1, right["c2"] == 1] == [value > 0 for value in margin.samples]
    assert accuracy.parameters["reference"] == "F32"
    assert ours.has_quality(artifact(folder, "F16"), reference=artifact(folder, "F32"), prepared="d")
    assert not ours.has_quality(artifact(folder, "F16"), reference=artifact(folder, "F32"), prepared="other")
    assert not ours.has_quality(artifact(folder, "F16"), reference=artifact(folder, "F16"), prepared="d")


def test_a_failure_is_a_row_for_every_metric(folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF")
    ours, damaged = measuring(tmp_path / "results.jsonl"), replace(artifact(folder, "F16"), path=str(broken))
    outcome = ours.speed(damaged, vocabulary=320)
    rows = by_metric(ours.store)
    assert outcome.status == "error" and set(rows) == set(SPEED_METRICS)
    assert {(row.status, row.samples) for row in rows.values()} == {("crash", ())}
    assert all("cannot load" in row.note for row in rows.values()) and not ours.has_speed(damaged)


@pytest.mark.parametrize("status", ["oom", "timeout", "crash"])
def test_every_death_is_named(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str) -> None:
    ours = measuring(tmp_path / "results.jsonl")
    monkeypatch.setattr(child, "run", lambda *a, **k: child.Outcome(status=status, note="why", signal="SIGKILL"))
    ours.speed(artifact(folder, "F16"), vocabulary=320)
    assert {(row.status, row.note) for row in Store(tmp_path / "results.jsonl").rows} == {(status, "why")}


def test_a_format_that_could_not_be_made(tmp_path: Path) -> None:
    ours = measuring(tmp_path / "results.jsonl")
    ours.store_failure(FORMATS["onnx-fp32"], status="error", note="Optimum is missing")
    assert {row.metric for row in ours.store.rows} == set(METRICS)
    assert {(row.format, row.status, row.note, row.runtime) for row in ours.store.rows} == {
        ("onnx-fp32", "error", "Optimum is missing", "onnxruntime")
    }


def test_figures_that_the_system_does_not_tell(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = {metric: [1.0] for metric in SPEED_METRICS if metric != "peak_anonymous_bytes"}
    monkeypatch.setattr(child, "run", lambda *a, **k: child.Outcome(status="ok", value=samples))
    ours = measuring(tmp_path / "results.jsonl")
    ours.speed(artifact(folder, "F16"), vocabulary=320)
    row = by_metric(ours.store)["peak_anonymous_bytes"]
    assert (row.status, row.samples) == ("unsupported", ()) and "does not tell" in row.note
    assert ours.has_speed(artifact(folder, "F16"))
