"""What one measurement of an artifact asks the machine, with an engine that does nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgequant.profiles.machine import energy, memory, paging
from edgequant.profiles.measuring import speed
from edgequant.runtimes.session import Settings

FILES = [Path(f"m-{n:05}-of-00002.gguf") for n in (1, 2)]


class Idle:
    """A session that computes nothing."""

    n_vocab = 10

    def evaluate(self, token_ids: Sequence[int], *, logits: str) -> Any:
        return SimpleNamespace(argmax=lambda: 0)

    def rewind(self, n_tokens: int) -> None: ...


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Sequence[Path]]]:
    """Of which files the touched pages were asked for."""
    files: list[Sequence[Path]] = []

    def touched(of: Sequence[Path], work: Callable[[], object]) -> int:
        work()
        files.append(of)
        return 7

    monkeypatch.setattr(memory, "touched_bytes", touched)
    monkeypatch.setattr(energy, "meter", lambda: None)
    monkeypatch.setattr(speed, "open_session", lambda container, path, settings: Idle())
    yield files


def measured() -> dict[str, Any]:
    """The answer about a model in two shards."""
    settings = Settings(threads=1, context=16).to_json()
    job = {"container": "gguf", "path": str(FILES[0]), "settings": settings, "n_prompt": 4, "n_generate": 2}
    return speed.measure({**job, "repetitions": 2, "seed": 0}, lambda text: None)


def test_the_pages_of_all_shards_must_fit(asked: list[Sequence[Path]]) -> None:
    measured()
    assert asked == [FILES]


def test_what_the_disk_was_read_for_while_it_was_loaded(
    asked: list[Sequence[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = iter([1000, 5000, 9000, 9000])
    monkeypatch.setattr(paging, "fetched_bytes", lambda **options: next(counted))
    assert measured()["fetched_bytes"] == 4000
    monkeypatch.setattr(paging, "fetched_bytes", lambda **options: None)
    assert measured()["fetched_bytes"] is None


def test_why_there_is_no_energy_goes_along(asked: list[Sequence[Path]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "absence", lambda: "nobody tells")
    found = measured()
    assert found["energy"] == {"absent": "nobody tells"}
    assert not any(metric.startswith("joules") for metric in found["samples"])
