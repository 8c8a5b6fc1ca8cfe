"""Rounds under limits: a device's, a variant's, the tighter of both, and what rows say of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import recorded
import stub_children
from edgequant import Error, child
from edgequant.profiles.machine import confinement, host
from edgequant.profiles.measuring import rounds
from edgequant.profiles.measuring.profiling import Profiler, Profiling
from edgequant.profiles.measuring.rounds import Rounds, Take
from edgequant.profiles.measuring.variant import Variant
from edgequant.runtimes.session import runtime_version
from stub_children import answer_with, answered, last_row, measuring

Q8, Q4, ONNX = (recorded.artifact(name) for name in ("Q8_0", "Q4_K_M", "onnx-fp32"))
FAR: Mapping[str, Any] = {"name": "far", "is_host": False, "usable_ram_bytes": 500_000_000}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Mapping[str, Any]]:
    """The jobs that children got."""
    return stub_children.install(monkeypatch)


class Limited:
    """Stands in for a real limit; the real ones are in test_confinement.py."""

    laid: list[Limited]

    def __init__(self, n_bytes: int, files: Sequence[Path]) -> None:
        self.n_bytes, self.files, self.kind, self.refuses = n_bytes, files, "cgroup v2", False
        self.taken = list[int]()
        Limited.laid.append(self)

    def __enter__(self) -> Limited:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def take(self, pid: int) -> None:
        self.taken.append(pid)

    def judge(self, outcome: child.Outcome) -> child.Outcome:
        return outcome if outcome.status == "ok" else replace(outcome, status="oom", note="needs more")

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "meaning": "all", "bytes": self.n_bytes}


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> list[Limited]:
    """The limits that were laid."""
    Limited.laid = []
    monkeypatch.setattr(rounds, "confine", lambda n_bytes, files: Limited(n_bytes, files))
    return Limited.laid


def test_a_memory_limit_is_laid_and_told_and_running_out_is_a_result(
    calls: list[Mapping[str, Any]], limits: list[Limited], tmp_path: Path
) -> None:
    answer_with.answer = lambda job, number: (
        answered() if "Q4" in job["path"] else child.Outcome(status="crash", signal="SIGSEGV", note="died of SIGSEGV")
    )
    ours, variant = measuring(tmp_path / "r.jsonl"), Variant(limit_memory_bytes=10**9)
    ours.fence.repack = True
    Rounds(measuring=ours).run([Take(artifact=Q8, variant=variant), Take(artifact=Q4, variant=variant)])
    assert {limit.n_bytes for limit in limits} == {10**9}
    assert len(limits) == len(calls) == 3  # and none was tried again without repacking
    assert all(limit.taken == [4711] for limit in limits)
    by_format = {row.format: row for row in ours.store.rows if row.metric == "decode_tokens_per_second"}
    assert (by_format["Q8_0"].status, by_format["Q8_0"].note) == ("oom", "needs more")
    assert by_format["Q4_K_M"].parameters["limit"] == {"kind": "cgroup v2", "meaning": "all", "bytes": 10**9}
    assert ours.fence.repack  # what the limit killed says nothing of the processor


def test_a_smaller_device_is_emulated_within_its_memory(
    calls: list[Mapping[str, Any]], limits: list[Limited], tmp_path: Path
) -> None:
    ours = measuring(tmp_path / "r.jsonl", **FAR)
    Rounds(measuring=ours).run([Take(artifact=Q8)])
    assert {limit.n_bytes for limit in limits} == {500_000_000}
    assert all(row.emulated and row.device == "far" and not row.variant for row in ours.store.rows)
    assert (
        "memory held to the 0.50 GB that far leaves to a program (cgroup v2)" in last_row(ours).parameters["emulation"]
    )


@pytest.mark.parametrize(("asked", "laid"), [(8 * 10**9, 5 * 10**8), (10**8, 10**8)])
def test_a_device_never_gets_more_memory_than_it_has(
    calls: list[Mapping[str, Any]], limits: list[Limited], asked: int, laid: int, tmp_path: Path
) -> None:
    ours = measuring(tmp_path / "r.jsonl", **FAR)
    Rounds(measuring=ours).run([Take(artifact=Q8, variant=Variant(limit_memory_bytes=asked))])
    assert {limit.n_bytes for limit in limits} == {laid}
    assert last_row(ours).parameters["limit"]["bytes"] == laid
    assert ("far leaves 0.50 GB to a program" in last_row(ours).note) is (asked > laid)


def test_a_device_never_gets_more_threads_than_it_has_cores(
    calls: list[Mapping[str, Any]], limits: list[Limited], tmp_path: Path
) -> None:
    """The recorded device has two."""
    asked = Variant(threads=16, prefill_threads=2)
    ours = measuring(tmp_path / "r.jsonl", **FAR)
    Rounds(measuring=ours).run([Take(artifact=Q8, variant=asked)])
    assert (calls[0]["settings"]["threads"], calls[0]["settings"]["prefill_threads"]) == (2, None)
    assert last_row(ours).note.endswith("far has 2 cores, not 16")
    here = measuring(tmp_path / "here.jsonl")
    Rounds(measuring=here).run([Take(artifact=Q8, variant=asked)])
    assert (calls[-1]["settings"]["threads"], calls[-1]["settings"]["prefill_threads"]) == (16, 2)


def test_every_shard_is_put_out_of_the_cache(
    calls: list[Mapping[str, Any]], limits: list[Limited], tmp_path: Path
) -> None:
    first, second = (tmp_path / f"m-{n:05}-of-00002.gguf" for n in (1, 2))
    take = Take(artifact=replace(Q8, path=str(first)), variant=Variant(limit_memory_bytes=10**9))
    Rounds(measuring=measuring(tmp_path / "r.jsonl")).run([take])
    assert all(limit.files == [first, second] for limit in limits) and limits


def test_other_memory_of_the_same_device_is_measured_again(
    calls: list[Mapping[str, Any]], limits: list[Limited], tmp_path: Path
) -> None:
    take = Take(artifact=Q8)
    Rounds(measuring=measuring(tmp_path / "r.jsonl", **FAR)).run([take])
    assert Rounds(measuring=measuring(tmp_path / "r.jsonl", **FAR)).has(take)
    more = {**FAR, "usable_ram_bytes": 600_000_000}
    assert not Rounds(measuring=measuring(tmp_path / "r.jsonl", **more)).has(take)


def test_a_device_and_this_machine_in_turn_are_measured_once_each(
    calls: list[Mapping[str, Any]], limits: list[Limited], tmp_path: Path
) -> None:
    for changes in ({}, FAR, {}, FAR):
        Rounds(measuring=measuring(tmp_path / "r.jsonl", **changes)).run([Take(artifact=Q8)])
    assert len(calls) == 4  # two rounds of each


def test_a_limit_that_the_system_refuses_is_a_row(
    calls: list[Mapping[str, Any]], limits: list[Limited], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(self: Limited, pid: int) -> None:
        raise Error("memory cannot be limited by cgroup v2: Permission denied")

    monkeypatch.setattr(Limited, "take", refuses)
    ours = measuring(tmp_path / "r.jsonl")
    takes = [Take(artifact=Q8, variant=Variant(limit_memory_bytes=10**9)), Take(artifact=Q8)]
    Rounds(measuring=ours).run(takes)
    said = {(bool(row.variant), row.status, row.note) for row in ours.store.rows}
    assert (True, "unsupported", "memory cannot be limited by cgroup v2: Permission denied") in said
    assert not Rounds(measuring=ours).has(takes[0]) and Rounds(measuring=ours).has(takes[1])


def test_a_limit_on_a_system_without_any_is_refused_before_anything_is_measured(
    calls: list[Mapping[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confinement.sys, "platform", "darwin")
    ours = Profiler(measuring=measuring(tmp_path / "r.jsonl"), listen=lambda *said: None)
    with pytest.raises(Error, match="this system offers no limit on memory") as caught:
        ours.profile([Q8], Profiling(variants=(Variant(limit_memory_bytes=10**9),)))
    assert calls == [] and "--limit-memory" in caught.value.hint


def test_a_device_whose_memory_could_not_be_held_says_so(
    calls: list[Mapping[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confinement.sys, "platform", "darwin")
    monkeypatch.setattr(confinement, "group_parents", lambda root: [])
    monkeypatch.setattr(confinement, "put_out_of_cache", lambda path: None)
    ours = measuring(tmp_path / "r.jsonl", **FAR)
    Rounds(measuring=ours).run([Take(artifact=Q8)])
    row = last_row(ours)
    assert "memory not held: this system offers no limit" in row.parameters["emulation"]
    assert row.parameters["limit"]["kind"] == "none"


@pytest.mark.parametrize(
    ("fetched", "said"),
    [
        ([144_800_000, 0], "cold load: 144.8 MB came from the disk (1 of 2 rounds)"),
        ([144_800_000, 99_000_000], "cold load: 144.8 MB came from the disk (2 of 2 rounds)"),
        ([7_000_000, 0], ""),  # libraries, say
        ([None, None], ""),
    ],
)
def test_a_cold_load_is_marked_and_nothing_else_of_its_round(
    calls: list[Mapping[str, Any]], fetched: list[int | None], said: str, tmp_path: Path
) -> None:
    """Q8_0 is 144.8 MB."""
    answer_with.answer = lambda job, number: answered(n=3, more={"fetched_bytes": fetched[number - 1]})
    ours = measuring(tmp_path / "r.jsonl")
    ours.fence.repack = True
    Rounds(measuring=ours).run([Take(artifact=Q8)])
    assert [last_row(ours, f"{name}_seconds").note for name in ("load", "first_token")] == [said, said]
    assert last_row(ours).note == "" and last_row(ours).parameters["fetched_bytes"] == fetched


def test_what_is_known_of_energy_goes_along_where_a_run_was_broken_off(
    calls: list[Mapping[str, Any]], tmp_path: Path
) -> None:
    def broken_off(job: Mapping[str, Any], number: int) -> child.Outcome:
        if number == 2:
            raise KeyboardInterrupt
        return answered(n=3, more={"energy": {"covers": "the package", "idle_watts": number}, "fetched_bytes": number})

    answer_with.answer = broken_off
    with pytest.raises(KeyboardInterrupt):
        Rounds(measuring=measuring(tmp_path / "r.jsonl")).run([Take(artifact=Q8)])
    ours = measuring(tmp_path / "r.jsonl")
    Rounds(measuring=ours).run([Take(artifact=Q8)])
    parameters = last_row(ours).parameters
    assert [each["idle_watts"] for each in parameters["energy"]] == [1, 3] == parameters["fetched_bytes"]


def test_this_machines_own_key_is_what_it_was(calls: list[Mapping[str, Any]], tmp_path: Path) -> None:
    """What was stored before a device's memory counted is not measured again."""
    depends = {
        "step": "speed", "artifact": Q8.sha256, "runtime": runtime_version("gguf"), "device": "host", "threads": 1,
        "context": 128, "n_prompt": 16, "n_generate": 4, "repetitions": 6, "seed": 0, "cpu": host.machine().cpu,
        "prefill_threads": 1, "variant": {},
    }  # fmt: skip
    ours = measuring(tmp_path / "r.jsonl")
    Rounds(measuring=ours).run([Take(artifact=Q8)])
    digest = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()
    assert last_row(ours).parameters["key"] == digest[:16]
