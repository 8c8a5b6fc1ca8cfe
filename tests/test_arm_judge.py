"""What `make test-arm` lets pass of a board's profile, and what it does not."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ARM = Path(__file__).parent / "arm"
METRICS = ("load_seconds", "prefill_tokens_per_second", "decode_tokens_per_second", "must_fit_bytes")
Change = Callable[[list[dict[str, Any]]], None]


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """judge.py, which imports its neighbour as a script does."""
    monkeypatch.setattr(sys, "path", [str(ARM), *sys.path])
    yield importlib.import_module("judge")
    for name in ("judge", "prepare"):
        sys.modules.pop(name, None)


def rows(formats: str) -> list[dict[str, Any]]:
    """What `edgequant profile` stores of each format on one processor."""
    parameters = {"settings": {"threads": 1}}
    return [
        {"format": name, "metric": metric, "status": "ok", "samples": [1.0], "parameters": parameters}
        for name in formats.split(",")
        for metric in METRICS
    ]


def verdicts(
    judge: ModuleType,
    work: Path,
    *,
    board: str = "rpi3b-plus",
    processors: int = 1,
    code: int = 0,
    plain_head: bool = True,
    change: Change = lambda stored: None,
) -> dict[str, bool]:
    """What is said of a board whose profile left these files."""
    stored = rows(judge.FORMATS)
    change(stored)
    steps = [{"step": "profile", "code": code, "seconds": 1.0, "stdout": "", "stderr": ""}]
    (work / board / "artifacts").mkdir(parents=True)
    (work / "prepared.json").write_text(json.dumps({"wheels": {board: []}}))
    (work / f"{board}.json").write_text(json.dumps({"processors": processors, "steps": steps}))
    (work / board / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in stored))
    manifest = {"options": {"block_size": 32, "plain_head": plain_head}}
    (work / board / "artifacts" / "model-onnx-w8a8.manifest.json").write_text(json.dumps(manifest))
    return {what: right for what, _, right in judge.Board(work, f"{board}:cortex:armv8-a")._profile()}


def test_a_profile_with_all_its_figures_and_choices_passes(judge: ModuleType, tmp_path: Path) -> None:
    assert verdicts(judge, tmp_path) == {"profile": True, "threads": True, "onnx-w8a8": True}


@pytest.mark.parametrize("metric", METRICS)
def test_every_figure_has_to_be_there(judge: ModuleType, metric: str, tmp_path: Path) -> None:
    def fails(stored: list[dict[str, Any]]) -> None:
        row = next(row for row in stored if (row["format"], row["metric"]) == ("onnx-int8", metric))
        row |= {"status": "unsupported", "samples": []}

    found = verdicts(judge, tmp_path, change=fails)
    assert found == {"profile": False, "threads": True, "onnx-w8a8": True}
    (tmp_path / "gone").mkdir()
    assert not verdicts(judge, tmp_path / "gone", change=lambda stored: stored.pop(0) and None)["profile"]


def test_a_command_that_failed_does_not_pass(judge: ModuleType, tmp_path: Path) -> None:
    assert not verdicts(judge, tmp_path, code=1)["profile"]


@pytest.mark.parametrize(("processors", "right"), [(1, True), (2, False), (64, False)])
def test_threads_are_the_profiles_as_far_as_there_are_processors(
    judge: ModuleType, processors: int, right: bool, tmp_path: Path
) -> None:
    """The profile of the board says four."""
    assert verdicts(judge, tmp_path, processors=processors)["threads"] is right


@pytest.mark.parametrize(
    ("board", "plain_head", "right"),
    [("rpi3b-plus", True, True), ("rpi3b-plus", False, False), ("rpi5-4gb", False, True), ("rpi5-4gb", True, False)],
)
def test_the_head_is_what_the_profiles_processor_computes_well(
    judge: ModuleType, board: str, plain_head: bool, right: bool, tmp_path: Path
) -> None:
    """A Pi 5 has dot products, a Pi 3 has none."""
    assert verdicts(judge, tmp_path, board=board, plain_head=plain_head)["onnx-w8a8"] is right
