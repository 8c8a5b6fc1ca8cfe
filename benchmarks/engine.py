"""The worker's side of a comparison: one engine in a process of its own, asked and answering in lines of JSON.

A worker's script makes an `Engine` and calls `serve`. This file needs the standard library alone, because some
workers run in an environment that a peer brings.
"""

import contextlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import quiet

_KIB_FIGURES = ("VmHWM", "RssAnon", "RssFile")


class Engine(Protocol):
    """One loaded model with one sequence."""

    def reset(self) -> None:
        """Forget the sequence."""
        ...

    def extend(self, ids: Sequence[int]) -> None:
        """Append a prompt and compute the logits after its last token."""
        ...

    def follow(self, ids: Sequence[int]) -> None:
        """Append tokens one by one, and choose the likeliest next one after each."""
        ...

    def logits(self, ids: Sequence[int]) -> Any:
        """Float32 logits [n, vocabulary] of a sequence."""
        ...


def serve(make: Callable[[dict[str, Any]], Engine]) -> None:
    """Read what is to be opened, then answer requests until the parent closes the pipe."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print stays off the answers

    def say(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    engine = make(json.loads(sys.stdin.readline()))
    say({"ready": True})
    for line in sys.stdin:
        request = json.loads(line)
        try:
            say(_REQUESTS[request.pop("do")](engine, **request))
        except Exception:  # the parent prints it
            say({"error": traceback.format_exc()})
    answers.flush()
    os._exit(0)  # a library that crashes while the interpreter shuts down would only spoil the log


def _prefill(engine: Engine, ids: Sequence[int], times: int) -> dict[str, Any]:
    return _timed(engine, lambda: None, lambda: engine.extend(ids), times)


def _decode(engine: Engine, ids: Sequence[int], steps: Sequence[int], times: int) -> dict[str, Any]:
    return _timed(engine, lambda: engine.extend(ids), lambda: engine.follow(steps), times)


def _timed(engine: Engine, before: Callable[[], None], work: Callable[[], None], times: int) -> dict[str, Any]:
    """Seconds of `work` in all, and how far anything else got in the way meanwhile, as shares of the whole time."""
    begun, cpu, used, waited = time.perf_counter(), time.process_time(), quiet.used_seconds(), _waited_seconds()
    seconds = 0.0
    for _ in range(times):
        engine.reset()
        before()
        started = time.perf_counter()
        work()
        seconds += time.perf_counter() - started
    waited = _waited_seconds() - waited
    cpu, used, whole = time.process_time() - cpu, quiet.used_seconds() - used, time.perf_counter() - begun
    return {"seconds": seconds, "waited": waited / whole, "others": max(0.0, used - cpu) / whole}


def _waited_seconds() -> float:
    """How long this process's threads were ready to run and did not (Documentation/scheduler/sched-stats.rst)."""
    nanoseconds = 0
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # a thread that has ended meanwhile
            nanoseconds += int((task / "schedstat").read_text().split()[1])
    return nanoseconds / 1e9


def _logits(engine: Engine, ids: Sequence[int], first: int, target: str) -> dict[str, Any]:
    import numpy as np

    np.save(target, np.ascontiguousarray(engine.logits(ids)[first:-1], dtype=np.float32))
    return {"written": target}


def _memory(engine: Engine) -> dict[str, Any]:
    """Peak and present resident memory in bytes."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {name: int(lines[name].split()[0]) * 1024 for name in _KIB_FIGURES}


def _continue(engine: Engine, ids: Sequence[int], n: int) -> dict[str, Any]:
    """The greedy continuation, for an engine that has a loop of its own."""
    return {"ids": engine.continuation(ids, n)}  # type: ignore[attr-defined]


_REQUESTS: dict[str, Callable[..., dict[str, Any]]] = {
    "prefill": _prefill,
    "decode": _decode,
    "logits": _logits,
    "memory": _memory,
    "continue": _continue,
}
