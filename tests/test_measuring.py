"""Measuring in children: real samples become rows, every failure becomes rows too, and nothing is measured twice."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import small_checkpoint
from edgequant.accuracy import preparation
from edgequant.convert import conversion
from edgequant.convert.artifact import Artifact
from edgequant.convert.checkpoint import open_folder
from edgequant.convert.formats import FORMATS
from edgequant.profiles.device import Cores, Device
from edgequant.profiles.measuring.measuring import Measuring, SpeedSettings
from edgequant.profiles.records.measurement import ENERGY_METRICS, METRICS, QUALITY_METRICS, SPEED_METRICS, Measurement
from edgequant.profiles.records.store import Store

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


def test_a_format_that_could_not_be_made(tmp_path: Path) -> None:
    ours = measuring(tmp_path / "results.jsonl")
    ours.store_failure(FORMATS["onnx-fp32"], status="error", note="Optimum is missing")
    assert {row.metric for row in ours.store.rows} == {*METRICS} - {*ENERGY_METRICS}
    assert {(row.format, row.status, row.note, row.runtime) for row in ours.store.rows} == {
        ("onnx-fp32", "error", "Optimum is missing", "onnxruntime")
    }
