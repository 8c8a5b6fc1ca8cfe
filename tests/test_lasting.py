"""Lasting children: one that holds something and answers question after question, whatever becomes of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgequant.child import Lasting


@pytest.fixture(autouse=True)
def victims_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


@contextmanager
def lasting(name: str) -> Iterator[Lasting]:
    held = Lasting(f"lasting_victims:{name}")
    try:
        yield held
    finally:
        held.close()


def test_it_keeps_what_it_made_between_questions() -> None:
    with lasting("counter") as held:
        assert held.ask({"start": 10}).status == "ok"
        heard: list[str] = []
        first = held.ask({"add": 2}, progress=heard.append).unwrap()
        second = held.ask({"add": 3}, progress=heard.append).unwrap()
    assert heard == ["0", "1", "0", "1", "2"]
    assert (first["total"], second["total"]) == (12, 15)
    assert first["pid"] == second["pid"] != os.getpid()


def test_it_goes_on_after_an_error() -> None:
    with lasting("fails_once") as held:
        held.ask({})
        failed = held.ask({"fail": "too long"})
        assert (failed.status, failed.note, failed.hint) == ("error", "too long", "do otherwise")
        assert held.ask({"x": 1}).unwrap() == {"x": 1}


def test_a_bug_ends_it_with_its_traceback() -> None:
    with lasting("fails_once") as held:
        held.ask({})
        broken = held.ask({"break": "a bug"})
        assert (broken.status, broken.note) == ("crash", "RuntimeError: a bug")
        assert "in answer" in broken.log
        assert held.ask({"x": 1}).status == "crash"


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGILL", "SIGABRT"])
def test_a_death_is_named(name: str) -> None:
    with lasting("fails_once") as held:
        held.ask({})
        died = held.ask({"die": name})
        assert (died.status, died.signal, died.note) == ("crash", name, f"died of {name}")
        assert died.log == "last words\n"
        assert held.ask({"x": 1}).signal == name  # whoever asks the dead hears it again


def test_one_that_does_not_start_says_why() -> None:
    with lasting("never_starts") as held:
        outcome = held.ask({})
        assert (outcome.status, outcome.note, outcome.hint) == ("error", "no such model", "name another")
        assert held.ask({}).status == "crash"


def test_an_interrupt_reaches_it_and_it_goes_on() -> None:
    with lasting("waits") as held:
        held.ask({})
        for _ in range(2):
            assert held.ask({}, progress=lambda text: held.interrupt()).unwrap() == "interrupted"


def test_ctrl_c_at_the_terminal_is_not_its_own() -> None:
    with lasting("counter") as held:
        pid = held.ask({"start": 0}) and held.ask({"add": 0}).unwrap()["pid"]
        assert os.getpgid(pid) != os.getpgid(0)


def test_closing_ends_it_at_once() -> None:
    with lasting("counter") as held:
        held.ask({"start": 0})
        pid = held.ask({"add": 0}).unwrap()["pid"]
        held.interrupt()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_function_that_answers_at_once_ends() -> None:
    with lasting("answers_at_once") as held:
        assert held.ask({}).unwrap() == "done"
        assert held.ask({}).status == "crash"
