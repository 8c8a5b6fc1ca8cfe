"""Functions that return functions, for the fence's lasting children: they count, fail, die and wait."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

from edgequant import Error

Answer = Callable[[dict[str, Any], Callable[[str], None]], Any]


def counter(job: dict[str, Any]) -> Answer:
    """Adds what it is asked to `job["start"]`, and keeps the sum."""
    total = [job["start"]]

    def answer(question: dict[str, Any], progress: Callable[[str], None]) -> dict[str, Any]:
        for n in range(question["add"]):
            progress(str(n))
        total[0] += question["add"]
        return {"total": total[0], "pid": os.getpid()}

    return answer


def fails_once(job: dict[str, Any]) -> Answer:
    """Fails on "fail", breaks on "break", dies on "die" (of the signal named), else echoes."""

    def answer(question: dict[str, Any], progress: Callable[[str], None]) -> Any:
        if "fail" in question:
            raise Error(question["fail"], hint="do otherwise")
        if "break" in question:
            raise RuntimeError(question["break"])
        if "die" in question:
            os.write(2, b"last words\n")
            os.kill(os.getpid(), getattr(signal, question["die"]))
            time.sleep(60)
        return question

    return answer


def never_starts(job: dict[str, Any]) -> Answer:
    """Fails before it returns anything."""
    raise Error("no such model", hint="name another")


def waits(job: dict[str, Any]) -> Answer:
    """Waits until it is interrupted."""
    struck: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: struck.append(number))

    def answer(question: dict[str, Any], progress: Callable[[str], None]) -> str:
        progress("waiting")
        while not struck:
            time.sleep(0.01)
        struck.clear()
        return "interrupted"

    return answer


def answers_at_once(job: dict[str, Any]) -> str:
    """Returns no function: a child as any other."""
    return "done"
