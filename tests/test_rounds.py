"""Speed in rounds: who is measured when, what becomes of the answers, and what a variant's rows say of themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import recorded
import small_checkpoint
import stub_children
from edgequant import Error, child
from edgequant.convert import gguf_write
from edgequant.convert.artifact import Artifact
from edgequant.profiles import saved_probe
from edgequant.profiles.measuring import sweep
from edgequant.profiles.measuring.measuring import Measuring
from edgequant.profiles.measuring.profiling import Profiler, Profiling
from edgequant.profiles.measuring.rounds import Rounds, Take
from edgequant.profiles.measuring.variant import PLAIN, Variant
from edgequant.profiles.records.measurement import ENERGY_METRICS, SPEED_METRICS, Measurement
from edgequant.runtimes.session import Settings
from stub_children import answer_with, answered, last_row, measuring

Q8, Q4, ONNX = (recorded.artifact(name) for name in ("Q8_0", "Q4_K_M", "onnx-fp32"))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Mapping[str, Any]]:
    """The jobs that children got; a test that wants other answers sets `answer_with`."""
    return stub_children.install(monkeypatch)


def rows_of(ours: Measuring) -> dict[tuple[str, str], Measurement]:
    """(metric, variant) -> the last row."""
    return {(row.metric, row.variant_key): row for row in ours.store.rows}


def test_takes_are_interleaved_and_every_other_round_goes_backwards(
    calls: list[Mapping[str, Any]], tmp_path: Path
) -> None:
    takes = [Take(artifact=Q8), Take(artifact=Q4), Take(artifact=ONNX)]
    Rounds(measuring=measuring(tmp_path / "r.jsonl")).run(takes)
    assert [Path(job["path"]).stem for job in calls] == [
        "Q8_0", "Q4_K_M", "onnx-fp32", "onnx-fp32", "Q4_K_M", "Q8_0",
    ]  # fmt: skip


@pytest.mark.parametrize(("repetitions", "shared"), [(6, [3, 3]), (7, [4, 3]), (2, [1, 1]), (1, [1])])
def test_repetitions_are_shared_among_rounds(
    calls: list[Mapping[str, Any]], tmp_path: Path, repetitions: int, shared: list[int]
) -> None:
    ours = measuring(tmp_path / "r.jsonl")
    ours.speed_settings = replace(ours.speed_settings, repetitions=repetitions)
    Rounds(measuring=ours).run([Take(artifact=Q8)])
    assert [job["repetitions"] for job in calls] == shared
    row = last_row(ours)
    assert len(row.samples) == repetitions
    assert row.parameters["rounds"] == [number for number, n in enumerate(shared) for _ in range(n)]


def test_every_metric_has_a_row_or_a_reason_and_energy_only_where_it_is_told(
    calls: list[Mapping[str, Any]], tmp_path: Path
) -> None:
    ours = measuring(tmp_path / "r.jsonl")
    Rounds(measuring=ours).run([Take(artifact=Q8)])
    assert {row.metric for row in ours.store.rows} == {*SPEED_METRICS} - {*ENERGY_METRICS}
    untold = rows_of(ours)["peak_anonymous_bytes", ""]
    assert (untold.status, untold.samples, untold.note) == ("unsupported", (), "this system does not tell")
    answer_with.answer = lambda job, number: answered(joules_per_token_decode=[0.25])
    Rounds(measuring=ours).run([Take(artifact=Q4)])
    told = rows_of(ours)["joules_per_token_decode", ""]
    assert (told.format, told.samples, told.unit) == ("Q4_K_M", (0.25, 0.25), "J/token")


def test_what_was_measured_is_not_measured_again(calls: list[Mapping[str, Any]], tmp_path: Path) -> None:
    take = Take(artifact=Q8)
    Rounds(measuring=measuring(tmp_path / "r.jsonl")).run([take])
    again = Rounds(measuring=measuring(tmp_path / "r.jsonl"))
    again.run([take])
    assert len(calls) == 2 and again.has(take)
    others = [
        Take(artifact=Q4), Take(artifact=replace(Q8, sha256="other")), Take(artifact=Q8, variant=Variant(depth=32)),
    ]  # fmt: skip
    assert not any(again.has(other) for other in others)
    for changes in ({"name": "rpi5-8gb"}, {"n_prompt": 17}, {"context": 64}):
        ours = measuring(tmp_path / "r.jsonl", **{k: v for k, v in changes.items() if k == "name"})
        ours.context = changes.get("context", ours.context)
        ours.speed_settings = replace(ours.speed_settings, n_prompt=changes.get("n_prompt", 16))
        assert not Rounds(measuring=ours).has(take)


def test_a_failure_is_a_row_for_every_metric_and_ends_the_rounds(
    calls: list[Mapping[str, Any]], tmp_path: Path
) -> None:
    answer_with.answer = lambda job, number: (
        answered(n=2) if number < 3 else child.Outcome(status="oom", note="killed", signal="SIGKILL")
    )
    ours, told = measuring(tmp_path / "r.jsonl"), list[tuple[str, str]]()
    Rounds(measuring=ours, tell=lambda take, outcome: told.append((str(take), outcome.status))).run(
        [Take(artifact=Q8), Take(artifact=Q4)]
    )
    assert len(calls) == 4  # both died in the second round
    last = {(row.format, row.metric): row for row in ours.store.rows}.values()
    assert {(row.status, row.note, row.samples) for row in last} == {("oom", "killed", ())}
    assert {row.metric for row in ours.store.rows} == {*SPEED_METRICS} - {*ENERGY_METRICS}
    assert told == [("Q4_K_M", "oom"), ("Q8_0", "oom")]
    assert not Rounds(measuring=ours).has(Take(artifact=Q8))


def test_what_was_broken_off_goes_on_where_it_stood(calls: list[Mapping[str, Any]], tmp_path: Path) -> None:
    def broken_off(job: Mapping[str, Any], number: int) -> child.Outcome:
        if number == 3:
            raise KeyboardInterrupt
        return answered(10.0 * number, n=job["repetitions"], marks=("on battery: it was",) if number == 1 else ())

    answer_with.answer = broken_off
    takes = [Take(artifact=Q8), Take(artifact=ONNX)]
    with pytest.raises(KeyboardInterrupt):
        Rounds(measuring=measuring(tmp_path / "r.jsonl")).run(takes)
    ours = measuring(tmp_path / "r.jsonl")
    assert not any(Rounds(measuring=ours).has(take) for take in takes)
    Rounds(measuring=ours).run(takes)
    rows = {row.format: row for row in ours.store.rows if row.metric == "decode_tokens_per_second"}
    stems = [Path(job["path"]).stem for job in calls]
    assert stems == ["Q8_0", "onnx-fp32", "onnx-fp32", "onnx-fp32", "Q8_0"]
    assert rows["Q8_0"].samples == (10.0, 10.0, 10.0, 50.0, 50.0, 50.0)
    assert rows["onnx-fp32"].samples == (20.0, 20.0, 20.0, 40.0, 40.0, 40.0)
    assert rows["Q8_0"].parameters["rounds"] == rows["onnx-fp32"].parameters["rounds"] == [0, 0, 0, 1, 1, 1]
    assert "on battery: it was (1 of 2 rounds)" in rows["Q8_0"].note and rows["onnx-fp32"].note == ""
    assert all(Rounds(measuring=ours).has(take) for take in takes)


@pytest.mark.parametrize(
    ("status", "kind", "stored"), [("error", "Error", "crash"), ("error", "Unsupported", "unsupported")]
)
def test_what_an_engine_lacks_is_no_crash(
    calls: list[Mapping[str, Any]], tmp_path: Path, status: str, kind: str, stored: str
) -> None:
    answer_with.answer = lambda job, number: child.Outcome(status=status, kind=kind, note="one sequence at a time")
    ours = measuring(tmp_path / "r.jsonl")
    Rounds(measuring=ours).run([Take(artifact=ONNX, variant=Variant(sequences=4))])
    assert {(row.metric, row.status, row.note) for row in ours.store.rows} == {
        (metric, stored, "one sequence at a time")
        for metric in ("prefill_tokens_per_second", "decode_tokens_per_second", "peak_rss_bytes")
    }


def test_a_variant_reaches_the_engine_and_its_rows_say_so(calls: list[Mapping[str, Any]], tmp_path: Path) -> None:
    variant = Variant(depth=512, cache_type="q8_0", threads=3, batch=64, mmap=False)
    ours = measuring(tmp_path / "r.jsonl")
    Rounds(measuring=ours).run([Take(artifact=Q8, variant=variant)])
    settings = Settings(**calls[0]["settings"])
    assert settings == Settings(threads=3, context=512 + 16 + 4, repack=False, cache_type="q8_0", batch=64, mmap=False)
    assert calls[0]["depth"] == 512
    row = last_row(ours)
    assert row.variant == variant.to_json() and row.parameters["settings"] == settings.to_json()
    assert "prefill_tokens_per_second" in {r.metric for r in ours.store.rows}


def test_threads_of_prefill_are_the_devices_own_for_llama_cpp_alone(
    calls: list[Mapping[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = measuring(tmp_path / "r.jsonl")
    two = replace(ours.emulation, prefill_threads=4, decode_threads=2)
    monkeypatch.setattr(Measuring, "emulation", property(lambda self: two))
    Rounds(measuring=ours).run([Take(artifact=Q8), Take(artifact=ONNX), Take(artifact=Q4, variant=Variant(threads=3))])
    assert [(job["settings"]["threads"], job["settings"]["prefill_threads"]) for job in calls[:3]] == [
        (2, 4), (2, None), (3, None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("take", "reason"),
    [
        (Take(artifact=Q8, variant=Variant(depth=4096)), "the model's context is 2,048 tokens"),
        (Take(artifact=ONNX, variant=Variant(repack=False)), "repacked kernels are llama.cpp's"),
    ],
)
def test_what_cannot_be_is_not_tried(calls: list[Mapping[str, Any]], tmp_path: Path, take: Take, reason: str) -> None:
    ours = measuring(tmp_path / "r.jsonl")
    ours.longest_context = 2048
    Rounds(measuring=ours).run([take])
    assert calls == [] and {(row.status, row.note) for row in ours.store.rows} == {("unsupported", reason)}


def test_a_sustained_run_is_one_round_and_keeps_its_series(calls: list[Mapping[str, Any]], tmp_path: Path) -> None:
    series = {"seconds": [5.0, 10.0], "clock_hz": [2.4e9, 1.8e9], "temperature_celsius": [60.0, 82.0]}
    value = {"samples": {"decode_tokens_per_second": [12.0, 9.0]}, "conditions": {}, "marks": [], "series": series}
    answer_with.answer = lambda job, number: child.Outcome(status="ok", value=value)
    ours = measuring(tmp_path / "r.jsonl")
    Rounds(measuring=ours).run([Take(artifact=Q8, variant=Variant(sustained_seconds=10.0))])
    (row,) = ours.store.rows
    assert len(calls) == 1 and calls[0]["sustained_seconds"] == 10.0
    assert row.samples == (12.0, 9.0) and row.parameters["series"] == series


def test_marks_of_all_rounds_become_one_line_a_code(calls: list[Mapping[str, Any]], tmp_path: Path) -> None:
    said = {
        1: ("shared cores: other processes took 0.40 of a core",),
        2: ("shared cores: other processes took 0.10 of a core", "throttled: it did"),
    }
    answer_with.answer = lambda job, number: answered(marks=said[number])
    ours = measuring(tmp_path / "r.jsonl")
    Rounds(measuring=ours).run([Take(artifact=ONNX)])
    assert last_row(ours).note.splitlines() == [
        "shared cores: other processes took 0.40 of a core (2 of 2 rounds)",
        "throttled: it did (1 of 2 rounds)",
    ]


def profiler(path: Path, **changes: Any) -> Profiler:
    return Profiler(measuring=measuring(path, **changes), listen=lambda *said: None)


def test_the_plain_measurement_comes_with_the_variants_where_it_is_missing(
    calls: list[Mapping[str, Any]], tmp_path: Path
) -> None:
    ours, asked = profiler(tmp_path / "r.jsonl"), Profiling(variants=(Variant(depth=32), PLAIN), repetitions=1)
    ours.profile([Q8, Q4], asked)
    assert [(Path(job["path"]).stem, job["depth"]) for job in calls] == [
        ("Q8_0", 0), ("Q4_K_M", 0), ("Q8_0", 32), ("Q4_K_M", 32),
    ]  # fmt: skip
    ours.profile([Q8, Q4], asked)
    assert len(calls) == 4


def test_only_the_formats_named_are_measured(calls: list[Mapping[str, Any]], tmp_path: Path) -> None:
    profiler(tmp_path / "r.jsonl").profile([Q8, Q4], Profiling(formats=("Q4_K_M",), repetitions=1))
    assert [Path(job["path"]).stem for job in calls] == ["Q4_K_M"]
    with pytest.raises(Error, match="there is no Q6_K here") as caught:
        profiler(tmp_path / "r.jsonl").profile([Q8, Q4], Profiling(formats=("Q6_K",)))
    assert caught.value.hint == "there are: Q8_0, Q4_K_M"


def test_a_sweep_finds_counts_for_prefill_and_decode_apart(
    calls: list[Mapping[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decode stops growing at two threads, prefill does not; ONNX, which would speak for one, follows llama.cpp."""
    speeds = {1: (100.0, 10.0), 2: (200.0, 19.0), 3: (290.0, 19.2), 4: (380.0, 19.1)}

    def answer(job: Mapping[str, Any], number: int) -> child.Outcome:
        prefill, decode = speeds[job["settings"]["threads"]]
        n = job["repetitions"]
        if job["container"] == "onnx":
            return answered(1.0, n=n)
        return answered(decode, n=n, prefill_tokens_per_second=[prefill] * n)

    answer_with.answer = answer
    monkeypatch.setattr(sweep.host, "allowed_cpus", lambda: [0, 1, 2, 3])
    monkeypatch.setenv("EDGEQUANT_CONFIG_DIR", str(tmp_path / "kept"))
    ours = profiler(tmp_path / "r.jsonl")
    counts = ours.profile([Q8, ONNX], Profiling(sweep=True, repetitions=1))
    assert counts == sweep.Counts(prefill=4, decode=2)
    assert (ours.measuring.device.prefill_threads, ours.measuring.device.decode_threads) == (4, 2)
    assert (kept := saved_probe.path()).is_relative_to(tmp_path)
    assert "prefill_threads = 4" in kept.read_text() and "decode_threads = 2" in kept.read_text()
    assert [job["settings"]["threads"] for job in calls[:8]] == [1, 1, 2, 2, 3, 3, 4, 4]


def test_a_sweep_does_not_listen_to_what_was_measured_in_another_ones_place(
    calls: list[Mapping[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here one thread is as fast as two; there, where two are faster, was measured last."""
    monkeypatch.setattr(sweep.host, "allowed_cpus", lambda: [0, 1])
    monkeypatch.setenv("EDGEQUANT_CONFIG_DIR", str(tmp_path / "kept"))
    assert profiler(tmp_path / "r.jsonl").profile([Q8], Profiling(sweep=True, repetitions=1))
    answer_with.answer = lambda job, number: answered(100.0 * job["settings"]["threads"], n=job["repetitions"])
    takes = [Take(artifact=Q8, variant=Variant(threads=n)) for n in (1, 2)]
    far = {"name": "far", "is_host": False, "usable_ram_bytes": 1 << 60}
    Rounds(measuring=measuring(tmp_path / "r.jsonl", **far)).run(takes)
    counts = profiler(tmp_path / "r.jsonl").profile([Q8], Profiling(sweep=True, repetitions=1))
    assert counts == sweep.Counts(prefill=1, decode=1)


def test_a_sweep_says_nothing_of_another_device(calls: list[Mapping[str, Any]], tmp_path: Path) -> None:
    with pytest.raises(Error, match="a sweep here says nothing about far"):
        profiler(tmp_path / "r.jsonl", name="far", is_host=False).profile([Q8], Profiling(sweep=True))
    assert calls == []


def test_formats_weigh_the_same_in_a_sweep() -> None:
    fast = {1: [100.0, 100.0], 2: [101.0, 103.0]}
    slow = {1: [1.0, 1.0], 2: [1.9, 2.1]}
    pooled = sweep.pooled({"fast": fast, "slow": slow})
    assert pooled == {1: [100 / 102, 100 / 102, 0.5, 0.5], 2: [101 / 102, 103 / 102, 0.95, 1.05]}
    assert sweep.pooled({"failed": {1: [], 2: []}}) == {1: [], 2: []}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A small F16 file."""
    folder = tmp_path_factory.mktemp("rounds")
    small_checkpoint.write(folder / "m")
    job = {"folder": str(folder / "m"), "target": str(folder / "m.gguf"), "format": "F16", "source": "", "name": "m"}
    gguf_write.write({**job, "revision": "r"}, lambda text: None)
    return recorded.artifact("F16", path=str(folder / "m.gguf"))


def test_a_real_child_measures(real: Artifact, tmp_path: Path) -> None:
    seen: list[str] = []
    ours = measuring(tmp_path / "r.jsonl")
    ours.speed_settings = replace(ours.speed_settings, repetitions=1)
    Rounds(measuring=ours, hear=lambda *said: seen.append(": ".join(said))).run([Take(artifact=real)])
    rows = {row.metric: row for row in ours.store.rows}
    assert all(row.status == "ok" for row in rows.values()) and {*SPEED_METRICS} - {*ENERGY_METRICS} <= {*rows}
    assert all(sample > 0 for row in rows.values() for sample in row.samples)
    load, first = rows["load_seconds"].samples[0], rows["first_token_seconds"].samples[0]
    assert 0 < load < first
    assert rows["must_fit_bytes"].samples[0] <= rows["peak_rss_bytes"].samples[0] * 1.1
    assert rows["load_seconds"].parameters["settings"] == Settings(threads=1, context=128, repack=False).to_json()
    assert "repacked kernels die" in rows["load_seconds"].note and not rows["load_seconds"].emulated
    assert rows["load_seconds"].parameters["conditions"][0].keys() == {"before", "after"}
    steps = ("loading", "warming up", "prefill 1 of 1", "decode 1 of 1")
    assert seen == [f"round 1 of 1: F16: {step}" for step in steps]


def test_real_children_measure_variants(real: Artifact, tmp_path: Path) -> None:
    ours = measuring(tmp_path / "r.jsonl")
    ours.speed_settings = replace(ours.speed_settings, repetitions=1)
    variants = [Variant(depth=40, sequences=3), Variant(depth=30, cache_type="q8_0"), Variant(depth=30, mmap=False)]
    Rounds(measuring=ours).run([Take(artifact=real, variant=variant) for variant in variants])
    rows = [row for row in ours.store.rows if row.metric == "decode_tokens_per_second"]
    assert [row.status for row in rows] == ["ok", "unsupported", "ok"], rows
    assert "block size 32 does not divide" in rows[1].note  # heads of 8
    assert [row.variant for row in rows] == [variant.to_json() for variant in variants]
    assert all(row.metric not in ("load_seconds", "first_token_seconds") for row in ours.store.rows)


def test_a_real_failure(real: Artifact, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF")
    ours = measuring(tmp_path / "r.jsonl")
    Rounds(measuring=ours).run([Take(artifact=replace(real, path=str(broken)))])
    assert {row.status for row in ours.store.rows} == {"crash"}
    assert all("cannot load" in row.note for row in ours.store.rows)
