"""Quality of real files through the child: divergences, answers, items, and taking up what was interrupted."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import recorded
import small_checkpoint
from edgequant import Error
from edgequant.accuracy import compact, preparation, scoring
from edgequant.accuracy import quality as child_s
from edgequant.accuracy.resumption import Resumption
from edgequant.convert import conversion
from edgequant.convert.artifact import Artifact
from edgequant.convert.formats import FORMATS
from edgequant.convert.source import open_folder
from edgequant.profiles.measuring.measuring import Measuring
from edgequant.profiles.measuring.quality import Quality
from edgequant.profiles.records.measurement import QUALITY_METRICS, WHERE_POSSIBLE, Measurement
from edgequant.profiles.records.store import Store

TASKS = (
    '{"id": "c1", "kind": "k", "type": "choice", "prompt": "the cat", "choices": ["on", "the mat"], "answer": 0}\n'
    '{"id": "s1", "kind": "j", "type": "short", "prompt": "1 + 1", "answers": ["2"], "max_tokens": 4}\n'
    '{"id": "c2", "kind": "k", "type": "choice", "prompt": "the dog", "choices": ["ran", "sat", "x"], "answer": 0}\n'
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint, its F32, F16 and Q8_0, and a short text and three items prepared."""
    folder = tmp_path_factory.mktemp("quality")
    checkpoint = open_folder(small_checkpoint.write(folder / "m"))
    for name in ("F32", "F16", "Q8_0"):
        conversion.convert(checkpoint, FORMATS[name], conversion.Workshop(folder=folder, threads=1))
    (folder / "text.txt").write_text("the cat sat on the mat, and the dog ran to the house. " * 20)
    (folder / "tasks.jsonl").write_text(TASKS)
    job = {"folder": str(folder / "m"), "text": str(folder / "text.txt"), "tasks": [str(folder / "tasks.jsonl")]}
    preparation.prepare({**job, "context": 128, "target": str(folder / "prepared.json")})
    prepared = small_checkpoint.read_json(folder / "prepared.json")
    asked = [{"id": f"a{n}", "prompt": [n + 5, 9, 7], "max_tokens": 8, "end_ids": []} for n in range(6)]
    (folder / "prepared.json").write_text(json.dumps({**prepared, "asked": asked}))  # the built-in ones are too long
    return folder


def artifact(folder: Path, name: str) -> Artifact:
    found = conversion.existing(open_folder(folder / "m"), FORMATS[name], conversion.Workshop(folder=folder, threads=1))
    assert found
    return found


def quality(folder: Path, scratch: Path, *, reference: str = "F32", digest: str = "d") -> Quality:
    measuring = Measuring(store=Store(scratch / "results.jsonl"), run="r", device=recorded.device(), context=128)
    measuring.fence.repack = False  # a small float model needs no other kernels, and some machines have not got them
    return Quality(
        measuring=measuring,
        reference=artifact(folder, reference),
        prepared=folder / "prepared.json",
        digest=digest,
        compact=scratch / "reference.npz",
        unfinished=scratch / "unfinished",
    )


def measured(ours: Quality, folder: Path, name: str) -> dict[str, Measurement]:
    assert ours.measure(artifact(folder, name)).status == "ok"
    return {row.metric: row for row in ours.measuring.store.rows if row.format == name}


def test_quality_against_the_reference(folder: Path, tmp_path: Path) -> None:
    ours = quality(folder, tmp_path)
    assert not ours.has_reference
    rows = {name: measured(ours, folder, name) for name in ("F32", "F16", "Q8_0")}
    assert all(set(found) == {*QUALITY_METRICS} - {*WHERE_POSSIBLE} for found in rows.values()) and ours.has_reference
    divergence = {name: math.fsum(found["kl_divergence"].samples) for name, found in rows.items()}
    n_windows = len(small_checkpoint.read_json(folder / "prepared.json")["windows"])
    assert n_windows > 1 and all(len(found["kl_divergence"].samples) == n_windows for found in rows.values())
    assert 0 <= divergence["F32"] < 1e-6 < divergence["Q8_0"] and divergence["F16"] < divergence["Q8_0"]
    assert set(rows["F32"]["same_top_token"].samples) == {1.0}
    tail = [rows["Q8_0"][f"kl_divergence_{name}"].samples[0] for name in ("median", "p99", "p999")]
    assert 0 < tail[0] < tail[1] <= tail[2]
    accuracy, margin = rows["Q8_0"]["accuracy"], rows["Q8_0"]["margin"]
    assert accuracy.parameters["items"] == ["c1", "s1", "c2"] and accuracy.parameters["kinds"] == ["k", "j", "k"]
    assert accuracy.parameters["chances"] == pytest.approx([1 / 2, 0, 1 / 3])
    assert margin.parameters["items"] == ["c1", "c2"] and len(margin.samples) == 2
    right = dict(zip(accuracy.parameters["items"], accuracy.samples, strict=True))
    assert [right["c1"] == 1, right["c2"] == 1] == [value > 0 for value in margin.samples]
    assert accuracy.parameters["reference"] == "F32"


def test_the_reference_keeps_to_its_own_answers(folder: Path, tmp_path: Path) -> None:
    ours = quality(folder, tmp_path)
    kept = measured(ours, folder, "F32")["kept_tokens"]
    assert list(kept.samples) == kept.parameters["lengths"] and set(kept.parameters["shares"]) == {1.0}
    assert len(kept.samples) > 5


def test_what_has_been_measured_is_known_by_reference_and_text(folder: Path, tmp_path: Path) -> None:
    ours = quality(folder, tmp_path)
    measured(ours, folder, "F32")
    measured(ours, folder, "F16")
    assert ours.has(artifact(folder, "F16")) and not ours.has(artifact(folder, "Q8_0"))
    assert not replace(ours, digest="other").has(artifact(folder, "F16"))
    assert not replace(ours, digest="other").has_reference
    assert not replace(ours, reference=artifact(folder, "F16")).has(artifact(folder, "F16"))


def test_without_the_reference_s_answers_nothing_is_compared(folder: Path, tmp_path: Path) -> None:
    ours = quality(folder, tmp_path)
    measured(ours, folder, "F32")
    other = replace(ours, digest="other")
    outcome = other.measure(artifact(folder, "F16"))
    assert outcome.status == "error" and "computed from something else" in outcome.note


def test_what_failed_keeps_what_it_had_finished(folder: Path, tmp_path: Path) -> None:
    """For the next attempt; what ended well keeps nothing."""
    ours = quality(folder, tmp_path)
    measured(ours, folder, "F32")
    assert not ours.unfinished.exists()
    replace(ours, digest="other").measure(artifact(folder, "F16"))
    assert len(list(ours.unfinished.iterdir())) == 1
    measured(ours, folder, "F16")
    assert len(list(ours.unfinished.iterdir())) == 1


def job(ours: Quality, folder: Path, name: str, scratch: Path) -> dict[str, Any]:
    made = artifact(folder, name)
    return {
        "container": made.container, "path": made.path, "prepared": str(ours.prepared), "reference": str(ours.compact),
        "reference_key": ours._reference_key, "is_reference": name == "F32", "key": f"of {name}",
        "resumption": str(scratch / "r.jsonl"), "settings": {"threads": 1, "context": 128, "repack": False},
    }  # fmt: skip


class Interrupted(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("name", ["F32", "Q8_0"])
def test_what_was_interrupted_goes_on_at_the_item_where_it_stopped(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    ours = quality(folder, tmp_path)
    measured(ours, folder, "F32")
    asked = job(ours, folder, name, tmp_path)
    whole = child_s.measure({**asked, "resumption": ""}, lambda text: None)
    seen: list[str] = []

    def stop(text: str) -> None:
        seen.append(text)
        if text == "item 2 of 3":
            raise Interrupted

    with pytest.raises(Interrupted):
        child_s.measure(asked, stop)
    assert any(text.startswith("text 1") for text in seen)
    computed: list[int] = []
    spans: list[str] = []
    original = scoring.score

    def counted(items: Any, session: Any, *, decode: Any, done: Mapping[int, Any]) -> Any:
        for index, score in original(items, session, decode=decode, done=done):
            computed.append(index)
            yield index, score

    monkeypatch.setattr(scoring, "score", counted)
    again = child_s.measure(asked, spans.append)
    assert computed == [1] and not any(text.startswith("text") for text in spans)
    assert again == whole
    other = child_s.measure({**asked, "key": "of something else"}, spans.append)
    assert other == whole and computed == [1, 0, 2, 1]


def test_a_judge_that_fails_is_asked_again_for_what_is_left(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest is measured all the same, and ratings that were given are not asked for twice."""
    prepared = small_checkpoint.read_json(folder / "prepared.json")
    talk = {**prepared["items"][1], "type": "dialogue", "metric": "", "turns": ["the cat"], "max_tokens": 3}
    talks = [{**talk, "id": f"d{number}"} for number in range(3)]
    path = tmp_path / "prepared.json"
    path.write_text(json.dumps({**prepared, "folder": str(folder / "m"), "items": [*prepared["items"], *talks]}))
    ours = replace(quality(folder, tmp_path), prepared=path, judge="http://judge")
    asked = {**job(ours, folder, "F32", tmp_path), "judge": "http://judge"}
    times: list[int] = []

    def rating(url: str, messages: Any, *, model: str) -> float:
        times.append(len(messages))
        if len(times) == 2:
            raise Error("the judge does not answer")
        return 7.0

    monkeypatch.setattr(child_s.judge, "rating", rating)
    first = child_s.measure(asked, lambda text: None)
    assert first["failures"] == {"judge_score": "the judge does not answer"} and len(first["samples"]["accuracy"]) == 3
    again = child_s.measure(asked, lambda text: None)
    assert again["samples"]["judge_score"] == [7.0, 7.0, 7.0] and again["failures"] == {}
    assert times == [2, 2, 2, 2]  # of the three dialogues only the second twice
    row = measured(quality(folder, tmp_path), folder, "F32")["accuracy"]
    store, key = ours.measuring.store, ours._key(artifact(folder, "F32"))
    for status, known in (("error", False), ("ok", True)):
        parameters = {**row.parameters, "key": key}
        store.append([replace(row, parameters=parameters)])
        store.append([replace(row, metric="judge_score", status=status, samples=(), parameters=parameters)])
        assert ours.has(artifact(folder, "F32")) is known


def test_a_line_that_was_not_finished_is_done_again(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    first = Resumption(path, key="k")
    assert first.take("item", 0, lambda: [1, 2]) == [1, 2] and first.take("item", 1, lambda: 7) == 7
    path.write_bytes(path.read_bytes()[:-3])
    again = Resumption(path, key="k")
    assert again.done("item") == {0: [1, 2]}
    assert again.take("item", 1, lambda: 8) == 8
    assert Resumption(path, key="k").done("item") == {0: [1, 2], 1: 8}
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"key": "k"}, ["item", 0, [1, 2]], ["item", 1, 8]
    ]  # fmt: skip
    assert Resumption(path, key="other").done("item") == {}


def test_a_reference_that_does_not_read(folder: Path, tmp_path: Path) -> None:
    ours = quality(folder, tmp_path)
    ours.compact.write_bytes(b"half a file")
    assert not ours.has_reference
    with pytest.raises(Error, match="no compact reference"):
        compact.read(ours.compact)
    measured(ours, folder, "F32")
    assert ours.has_reference
