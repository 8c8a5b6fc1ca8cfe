"""The parent's side of a comparison: engines in processes of their own, asked in interleaved rounds."""

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import quiet

from edgequant.child import ENVIRONMENT

#: a sample is dropped where its threads waited for a core, or others used one, for more than this share of its time
WAITED_AT_MOST, OTHERS_AT_MOST = 0.02, 0.05
ROUNDS_A_PROCESS = 5  # where a process's memory lies moves its speed: a few processes say how much
QUIET_SECONDS, PATIENCE_SECONDS = 3.0, 60.0
_SETTLE_SECONDS = 0.1  # threads of the engine before still spin for a while
_SAMPLE_SECONDS = 0.4  # shorter work is repeated within a sample: /proc/stat counts hundredths


@dataclass(frozen=True, kw_only=True)
class Launch:
    """How a worker is started: its command, and what it opens."""

    command: Sequence[str]
    job: Mapping[str, Any]


class Worker:
    """One running engine; a context manager, at whose end the process is gone."""

    def __init__(self, launch: Launch) -> None:
        self._log = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 - closed in __exit__
        pipe = subprocess.PIPE
        environment = {**ENVIRONMENT, **os.environ}
        self._process = subprocess.Popen(
            launch.command, stdin=pipe, stdout=pipe, stderr=self._log, text=True, env=environment
        )
        self.ask(**launch.job)

    def ask(self, **request: Any) -> dict[str, Any]:
        """Its answer; ends the program where the engine failed, for then there is no comparison."""
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            answer: dict[str, Any] = json.loads(self._process.stdout.readline() or "{}")
        except BrokenPipeError:
            answer = {}
        if not answer or "error" in answer:
            said = answer.get("error") or self._said()
            raise SystemExit(f"{self._process.args} failed ({self._process.poll()}):\n{said}")
        return answer

    def _said(self) -> str:
        self._process.wait()
        self._log.seek(0)
        return self._log.read()[-3000:]

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *error: object) -> None:
        self._process.communicate() if not any(error) else self._process.kill()
        self._process.wait()
        self._log.close()


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Tokens per second of one engine in one round; `disturbed` where the machine did something else meanwhile."""

    speed: float
    disturbed: bool


@dataclass(frozen=True, kw_only=True)
class Work:
    """What is timed: `prefill` of `ids`, or `decode` of `steps` after them; only by `engines`, if it names any."""

    name: str
    do: str
    ids: Sequence[int]
    steps: Sequence[int] = ()
    engines: frozenset[str] = frozenset()

    @property
    def n_tokens(self) -> int:
        """What the time is divided by."""
        return len(self.steps or self.ids)

    def request(self, times: int) -> dict[str, Any]:
        """As a worker takes it."""
        steps = {"steps": list(self.steps)} if self.do == "decode" else {}
        return {"do": self.do, "ids": list(self.ids), **steps, "times": times}


@dataclass
class Samples:
    """Work -> engine -> one sample a round; `started_busy` counts processes that began on a busy machine."""

    of: dict[str, dict[str, list[Sample]]] = field(default_factory=dict)
    started_busy: int = 0

    def add(self, work: str, engine: str, sample: Sample) -> None:
        """Append."""
        self.of.setdefault(work, {}).setdefault(engine, []).append(sample)

    def ratios(self, work: str, ours: str, peer: str) -> list[float]:
        """One a round in which neither was disturbed, sorted."""
        sides = (self.of.get(work, {}).get(name, []) for name in (ours, peer))
        return sorted(a.speed / b.speed for a, b in zip(*sides, strict=False) if not (a.disturbed or b.disturbed))

    def speed(self, work: str, engine: str) -> float:
        """The median of the undisturbed samples; NaN where there is none."""
        speeds = [sample.speed for sample in self.of.get(work, {}).get(engine, []) if not sample.disturbed]
        return statistics.median(speeds) if speeds else math.nan

    def fewest(self) -> int:
        """The smallest number of undisturbed samples of any engine at any work."""
        return min(sum(not s.disturbed for s in taken) for each in self.of.values() for taken in each.values())


def run(launches: Mapping[str, Launch], works: Sequence[Work], *, n: int) -> Samples:
    """Rounds until every engine has `n` undisturbed samples of every work, or twice as many rounds are done.

    A round is each work by each engine in turn, in reversed order every other time.
    """
    samples = Samples()
    for first in range(0, 2 * n, ROUNDS_A_PROCESS):
        with ExitStack() as stack:
            workers = _started(launches, stack, backwards=first // ROUNDS_A_PROCESS % 2 == 1)
            times = _warm_up(workers, works)
            samples.started_busy += not quiet.wait(seconds=QUIET_SECONDS, patience=PATIENCE_SECONDS)
            for number in range(first, min(first + ROUNDS_A_PROCESS, 2 * n)):
                for work, name in _turns(workers, works, number):
                    samples.add(work.name, name, _sample(workers[name], work, times[work.name, name]))
                if samples.fewest() >= n:
                    return samples
    return samples


def _started(launches: Mapping[str, Launch], stack: ExitStack, *, backwards: bool) -> dict[str, Worker]:
    """A worker each, in the order of `launches`; the first to start may get the worse memory, so they take turns."""
    order = reversed(list(launches)) if backwards else launches
    started = {name: stack.enter_context(Worker(launches[name])) for name in order}
    return {name: started[name] for name in launches}


def _turns(workers: Mapping[str, Worker], works: Sequence[Work], number: int) -> Iterator[tuple[Work, str]]:
    for work in works:
        for name in reversed(workers) if number % 2 else workers:
            if not work.engines or name in work.engines:
                yield work, name


def _warm_up(workers: Mapping[str, Worker], works: Sequence[Work]) -> dict[tuple[str, str], int]:
    """Let every engine do every work once, not counted; how often each is to do it within a sample."""
    times = {}
    for work, name in _turns(workers, works, 0):
        seconds = workers[name].ask(**work.request(1))["seconds"]
        times[work.name, name] = max(1, math.ceil(_SAMPLE_SECONDS / seconds))
    return times


def _sample(worker: Worker, work: Work, times: int) -> Sample:
    time.sleep(_SETTLE_SECONDS)
    answer = worker.ask(**work.request(times))
    disturbed = answer["waited"] > WAITED_AT_MOST or answer["others"] > OTHERS_AT_MOST
    return Sample(speed=times * work.n_tokens / answer["seconds"], disturbed=disturbed)


def own(path: Path, *, threads: int, context: int, repack: bool, exact: bool = False) -> Launch:
    """An artifact of this project in its own runtime."""
    container = "onnx" if path.is_dir() else "gguf"
    settings = {"threads": threads, "context": context, "repack": repack, "exact": exact}
    script = str(Path(__file__).with_name("own_engine.py"))
    return Launch(
        command=[sys.executable, "-P", script],
        job={"container": container, "path": str(path), "settings": settings},
    )
