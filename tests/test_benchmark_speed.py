"""The comparison with llama-bench on a machine that does not come to rest."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def speed(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """benchmarks/speed.py with sides that answer at once, its neighbours found as a script finds them."""
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    known = set(sys.modules)
    made = importlib.import_module("speed")
    answer = {"prefill": [500.0], "decode": [100.0]}
    monkeypatch.setattr(made, "_ours", lambda *given: answer)
    monkeypatch.setattr(made.peer_llama_bench, "speeds", lambda *given: answer)
    monkeypatch.setattr(made, "_watched", lambda work: (work(), False))
    yield made
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(BENCHMARKS)):
            del sys.modules[name]


def pairs(speed: ModuleType, quiet: list[bool], monkeypatch: pytest.MonkeyPatch) -> str:
    """The line of a phase after as many pairs, before each of which the machine was quiet or not."""
    said = iter(quiet)
    monkeypatch.setattr(speed.quiet, "wait", lambda **options: next(said))
    lengths = speed.Lengths(n_prompt=4, n_generate=2, repetitions=1, threads=1)
    taken = speed._pairs(Path("m.gguf"), Path("bench"), lengths, n=len(quiet))
    line: str = speed._line("Q8_0", "decode", taken)
    return line


def test_a_busy_machine_is_not_measured(speed: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="kept the machine busy for 120 s"):
        pairs(speed, [False], monkeypatch)


def test_pairs_that_began_on_a_busy_machine_are_counted(speed: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pairs(speed, [True, True, True], monkeypatch).endswith("reached")
    assert pairs(speed, [True, False, False], monkeypatch).endswith("reached, 2 began on a busy machine")
