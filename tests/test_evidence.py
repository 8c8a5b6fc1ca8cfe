"""Which stored rows put a plan right: made by the program itself, on recorded machines, in a run that was laid out."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import bundles
import recorded
from edgequant.cli import main
from edgequant.convert.artifact import Artifact, write_manifest
from edgequant.convert.onnx_options import OnnxOptions
from edgequant.profiles import device
from edgequant.profiles.device import Device
from edgequant.profiles.machine import host
from edgequant.profiles.measuring.measuring import Measuring
from edgequant.profiles.planning.evidence import evidence
from edgequant.profiles.planning.prediction import lengths
from edgequant.profiles.records.measurement import Measurement
from edgequant.profiles.records.request import Request
from edgequant.profiles.records.run_folder import RunFolder
from edgequant.profiles.records.store import Store

CONTEXT = 2048
#: what boards say of themselves: /proc/device-tree/model with the parts of /proc/cpuinfo, MemTotal
PI_5 = {"cpu": "Raspberry Pi 5 Model B Rev 1.0 (Cortex-A76)", "memory_bytes": 8_443_772_928}
PI_5_SMALL = {**PI_5, "memory_bytes": 4_148_477_952}
PI_4 = {"cpu": "Raspberry Pi 4 Model B Rev 1.4 (Cortex-A72)", "memory_bytes": 8_188_035_072}
XEON = {"cpu": "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz", "memory_bytes": 8_300_000_000}


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run of tmp_path/checkpoint with three artifacts, and no rows yet."""
    run = RunFolder(tmp_path / "runs" / "mine")
    (tmp_path / "checkpoint").mkdir()
    bundles.artifact(run.artifacts, "Q8_0", b"eight bits")
    graph = bundles.artifact(run.artifacts, "onnx-int8-dynamic", b"a graph")
    options = {"block_size": 32, "per_channel": True, "reduce_range": False, "plain_head": False}
    write_manifest(replace(graph, options=options))
    static = {"format": "onnx-int8-static", "path": f"{graph.path}-static", "sha256": "5" * 64}
    write_manifest(replace(graph, options={**options, "calibration": "0123456789abcdef"}, **static))
    run.description.write_text(json.dumps(bundles.described(tmp_path)), encoding="utf-8")
    return run


def artifact(folder: RunFolder, name: str = "Q8_0") -> Artifact:
    return next(each for each in folder.made(revision=bundles.REVISION) if each.format == name)


def row(of: Artifact, facts: dict[str, Any], *, on: Device | None = None, **changes: Any) -> Measurement:
    """A row of decode as the program makes it, natively unless it is `on` a named device."""
    measuring = Measuring(
        store=Store(Path(os.devnull)), run="r", device=on or recorded.device(), context=changes.pop("context", CONTEXT)
    )
    parameters = {**vars(measuring.speed_settings), "marks": [[], []], **changes.pop("parameters", {})}
    values = {"host": facts, "samples": (8.0, 9.0), "parameters": parameters, **changes}
    return measuring.row(of, "decode_tokens_per_second", **values)


def asked(folder: RunFolder, on: Device | str = "rpi5-8gb", **changes: Any) -> Request:
    values = {
        "source": str(folder.path.parents[1] / "checkpoint"),
        "out": folder.path,
        "device": device.load(on) if isinstance(on, str) else on,
        "context": CONTEXT,
        **changes,
    }
    return Request(**values)


def counted(folder: RunFolder, *rows: Measurement, on: Device | str = "rpi5-8gb", **changes: Any) -> list[Measurement]:
    """What counts of the run's own rows."""
    folder.results.unlink(missing_ok=True)
    folder.store().append(rows)
    return evidence(asked(folder, on, **changes), context=CONTEXT)


def test_what_a_board_measured_and_sent_back_counts_for_its_profile(folder: RunFolder) -> None:
    """`report RUN --add` keeps such rows in others.jsonl; they say "host", for there the board is the machine."""
    native = row(artifact(folder), PI_5)
    assert (native.device, native.emulated) == ("host", False)
    Store(folder.others).append([native])
    assert evidence(asked(folder, "rpi5-8gb"), context=CONTEXT) == [native]
    for other in ("rpi5-4gb", "rpi4-8gb", "host"):
        assert evidence(asked(folder, other), context=CONTEXT) == [], other


def test_a_board_that_runs_the_job_itself_knows_itself_by_either_name(folder: RunFolder) -> None:
    of = artifact(folder)
    native, named = row(of, PI_5), row(of, PI_5, on=device.load("rpi5-8gb"))
    assert named.emulated  # as every row with a named device is
    assert counted(folder, native, named) == [native, named]
    assert counted(folder, row(of, PI_5, on=device.load("rpi4-8gb"))) == []  # it stands in for another


def test_variants_of_a_board_are_told_apart_by_their_memory(folder: RunFolder) -> None:
    rows = [row(artifact(folder), facts) for facts in (PI_5, PI_5_SMALL)]
    assert counted(folder, *rows, on="rpi5-8gb") == rows[:1]
    assert counted(folder, *rows, on="rpi5-4gb") == rows[1:]
    assert counted(folder, row(artifact(folder), {**PI_5, "memory_bytes": None})) == []


def test_a_device_in_whose_place_this_machine_measured_has_no_evidence(folder: RunFolder) -> None:
    assert counted(folder, row(artifact(folder), XEON, on=device.load("rpi5-8gb"))) == []
    assert counted(folder, row(artifact(folder), PI_4)) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"parameters": {"marks": [[], ["shared cores: other processes took 0.40 of a core"]]}},
        {"parameters": {"marks": [["throttled: the Pi capped its clock"], []]}},
        {"parameters": {"variant": {"threads": 1}}},
        {"context": 128},  # shorter prompts and answers
        {"status": "crash", "samples": ()},
        {"samples": ()},
    ],
)
def test_what_was_disturbed_or_measured_otherwise_does_not_count(folder: RunFolder, changes: dict[str, Any]) -> None:
    assert counted(folder, row(artifact(folder), PI_5, **changes)) == []


def test_rounds_that_a_system_could_not_judge_count(folder: RunFolder) -> None:
    unmarked = row(artifact(folder), PI_5, parameters={"marks": [None, []]})
    assert counted(folder, unmarked) == [unmarked]


def test_another_model_of_the_same_name_does_not_count(
    folder: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    native = row(artifact(folder), PI_5)
    (tmp_path / "elsewhere" / "checkpoint").mkdir(parents=True)
    assert counted(folder, native, source=str(tmp_path / "elsewhere" / "checkpoint")) == []
    assert counted(folder, native, source="owner/checkpoint") == []
    monkeypatch.chdir(tmp_path)
    assert counted(folder, native, source="checkpoint") == [native]


def test_rows_of_files_that_the_run_does_not_know_any_more_do_not_count(folder: RunFolder) -> None:
    assert counted(folder, row(replace(artifact(folder), sha256="f" * 64), PI_5)) == []


def test_other_options_than_the_plans_do_not_count(folder: RunFolder) -> None:
    measured = row(artifact(folder, "onnx-int8-dynamic"), PI_5)
    assert counted(folder, measured) == [measured]
    for options in (OnnxOptions(per_channel=False), OnnxOptions(plain_head=True), OnnxOptions(block_size=64)):
        assert counted(folder, measured, onnx=options) == [], options
    eight_bits = row(artifact(folder), PI_5)
    assert counted(folder, eight_bits, onnx=OnnxOptions(block_size=64)) == [eight_bits]  # no affair of GGUF's
    calibrated = row(artifact(folder, "onnx-int8-static"), PI_5)
    assert counted(folder, calibrated, onnx=OnnxOptions(calibration=Path("mine.txt"))) == [calibrated]


def test_a_folder_that_holds_no_run_says_nothing(tmp_path: Path) -> None:
    nothing = Request(source="x", out=tmp_path / "absent", device=device.load("rpi5-8gb"), context=CONTEXT)
    assert evidence(nothing, context=CONTEXT) == []


def probe_of(board: dict[str, Any], file: Path) -> Device:
    """The device of a probe that was saved on a board and copied from there."""
    file.write_text(
        f"""
title = "this machine: {board["cpu"]}"
isa = ["neon", "dotprod"]
ram_bytes = {board["memory_bytes"]}
usable_ram_bytes = {board["memory_bytes"] - 10**9}
prefill_threads = 4
decode_threads = 4
context = 2048
[[cores]]
kind = "Cortex-A76"
count = 4
[probe]
cpu = "{board["cpu"]}"
threads = 4
""",
        encoding="utf-8",
    )
    return device.load(str(file))


def test_a_probe_from_another_machine_is_put_right_by_that_machine_alone(folder: RunFolder, tmp_path: Path) -> None:
    copied = probe_of(PI_5, tmp_path / "host.toml")
    here = row(artifact(folder), {"cpu": host.machine().cpu, "memory_bytes": host.machine().memory_bytes})
    there = row(artifact(folder), PI_5)
    assert counted(folder, here, there, on=copied) == [there]
    assert counted(folder, here, there, on="host") == [here]


def test_the_command_finds_the_run_that_it_is_told_of(pocket_folder: Path, tmp_path: Path) -> None:
    """On a device such as this machine, of whose memory and clock nothing needs to be known for that."""
    run, board = RunFolder(tmp_path / "elsewhere"), tmp_path / "board.toml"
    probe_of({"cpu": host.machine().cpu, "memory_bytes": host.machine().memory_bytes}, board)
    known = "\nmeasured_bandwidth_bytes_per_second = 1e10\nbandwidth_method = 'read'\n[[cores]]"
    board.write_text(board.read_text().replace("\n[[cores]]", known).replace("count = 4", "count = 4\nclock_hz = 2e9"))
    of = bundles.artifact(run.artifacts, "Q8_0", b"eight bits")
    run.description.write_text(json.dumps({**bundles.described(tmp_path), "source": str(pocket_folder.resolve())}))

    def planned(*more: str) -> dict[str, Any]:
        words = ["-q", "plan", str(pocket_folder), "--device", str(board), "--formats", "Q8_0", "--json", *more]
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 0, result.output
        found: dict[str, Any] = json.loads(result.stdout)
        return found

    context = planned()["context"]
    here = row(of, host.facts(), context=context, samples=(123.0,))
    assert (here.parameters["n_prompt"], here.parameters["n_generate"]) == lengths(context)
    run.store().append([here])
    (told,) = planned("--out", str(run.path))["formats"]
    assert (told["speed_basis"], told["decode_tokens_per_second"]) == ("measured rows", pytest.approx(123.0))
    assert planned()["formats"][0]["speed_basis"] == "data sheet"
