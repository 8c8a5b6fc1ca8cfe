"""benchmarks/plan.py: what it prints, on recorded figures; and an engine's own word about its cache."""

from __future__ import annotations

import importlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from edgequant.convert import conversion, formats
from edgequant.convert.artifact import Artifact
from edgequant.convert.checkpoint import open_folder
from edgequant.profiles import device
from edgequant.profiles.planning import plan
from layout import ROOT
from published_models import llama_3_2_3b

CONTEXTS = (512, 1024, 2048)


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of benchmarks/, where each finds the others."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    return load


def test_published_rows_that_do_not_count_are_listed_with_the_reason(benchmark: Any) -> None:
    text: str = benchmark("foretold").table()
    out = [line for line in text.splitlines() if line.startswith("left out: prefill of TinyLlama-1.1B Q8_0")]
    assert [line.split(" on ")[1].split(",")[0] for line in out] == ["rpi5-16gb", "rpi4-8gb"]
    assert all("llamafile 0.7: its kernels for prompts, of 2024, are its own" in line for line in out)
    published = benchmark("published")
    n = {metric: sum(getattr(row, metric) is not None for row in published.ROWS) for metric in ("decode", "prefill")}
    assert f"decode, {n['decode']} rows" in text and f"prefill, {n['prefill'] - len(out)} rows" in text


def compared(benchmark: Any) -> Any:
    """Llama-3.2-3B in two formats, predicted, and measured at the very figures."""
    board, model = device.load("rpi5-8gb"), replace(llama_3_2_3b(), fused=True)
    plans = {
        n: plan.Plan(
            checkpoint="m",
            device=board.name,
            context=n,
            formats=tuple(plan.predict(model, formats.find(f), board, context=n) for f in ("Q8_0", "onnx-int8")),
            disk_bytes=9_000_000_000,
            conversion_memory_bytes=500_000_000,
        )
        for n in CONTEXTS
    }
    table = benchmark("plan_table")
    measured = {}
    for each in plans[2048].formats:
        at = {n: next(f for f in plans[n].formats if f.format == each.format) for n in CONTEXTS}
        measured[each.format] = table.Measured(
            size_bytes=each.size_bytes,
            tensor_bytes=each.tensor_bytes,
            peaks={n: told.peak_memory_bytes for n, told in at.items()},
            caches={n: told.memory["key/value cache"] for n, told in at.items()},
            decode=each.decode_tokens_per_second,
            prefill=each.prefill_tokens_per_second,
            load=1.0,
            seconds=10.0,
        )
    converted = benchmark("converted").Converted(peak_bytes=400_000_000, peak_of="Q8_0", disk_bytes=7_500_000_000)
    return table.Compared(name="m", plans=plans, measured=measured, converted=converted)


def test_memory_is_compared_at_every_context_and_so_is_what_converting_took(benchmark: Any) -> None:
    found = compared(benchmark)
    text = benchmark("plan_table").table(found)
    assert "files: exact" in text and "tensor data: exact" in text
    assert "peak memory within 5 % or 30 MB: 6 of 6" in text
    assert "keys and values as allotted at 512, 1024, 2048: 6 of 6" in text
    for n in CONTEXTS:
        assert f"peak at {n}" in text
        assert f"{n * 112 * 1024 / 1e6:.2f}" in text  # a token's keys and values, worked by hand in test_footprint.py
    assert "from 512 to 1024 tokens" in text and "from 1024 to 2048 tokens" in text
    assert "converting: 400 MB in the largest process (Q8_0), predicted 500 MB (+25%)" in text
    assert "disk: 7500 MB at most while converting" in text and "predicted 9000 MB for a whole run" in text


def test_what_is_off_is_said(benchmark: Any) -> None:
    found = compared(benchmark)
    real = found.measured["Q8_0"]
    wrong = replace(
        real,
        tensor_bytes=real.tensor_bytes - 7,
        caches={**real.caches, 1024: real.caches[1024] + 10**6},
        peaks={**real.peaks, 512: real.peaks[512] * 2},
        decode=3 * real.decode,
    )
    text = benchmark("plan_table").table(replace(found, measured={**found.measured, "Q8_0": wrong}))
    assert "tensor data: OFF by up to 7 bytes" in text and "files: exact" in text
    assert "at 512, 1024, 2048: 5 of 6" in text and "30 MB: 5 of 6" in text
    assert "worst 67% (at most 40%): MISSED" in text and "prefill: median error 0%" in text


@pytest.fixture(scope="module")
def artifacts(pocket_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """The pocket model for each engine."""
    workshop = conversion.Workshop(folder=tmp_path_factory.mktemp("artifacts"), threads=1)
    checkpoint = open_folder(pocket_folder)
    chosen = [formats.find(name) for name in ("F16", "onnx-int8")]
    return {fmt.container: conversion.convert(checkpoint, fmt, workshop) for fmt in chosen}


@pytest.mark.slow
@pytest.mark.parametrize("container", ["gguf", "onnx"])
def test_keys_and_values_are_as_many_bytes_as_the_engine_allots(
    container: str, artifacts: dict[str, Artifact], pocket_folder: Path
) -> None:
    """At three contexts, of which llama.cpp rounds one up; it says hundredths of a MiB."""
    made = artifacts[container]
    for context in (256, 300, 512):
        planned = plan.plan(
            open_folder(pocket_folder), [formats.find(made.format)], device.load("rpi5-8gb"), context=context
        )
        script = [sys.executable, "-P", str(ROOT / "benchmarks" / "kv_cache.py")]
        run = subprocess.run([*script, container, made.path, str(context)], capture_output=True, text=True, check=True)
        told = planned.formats[0].memory["key/value cache"]
        assert int(run.stdout) == pytest.approx(told, abs=5243 if container == "gguf" else 0), context
