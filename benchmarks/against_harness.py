"""Items a second and outcomes beside lm-evaluation-harness, on the same items in turns."""

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import asked_items
import harness_environment
import outcomes
import turns
from asked_items import ARC, GEOGRAPHY, HELLASWAG, Asked
from ours import Ours, say
from outcomes import Compared, Side
from targets import Row

from edgequant.accuracy.preparation import read_prepared

NEAR_NATS = 0.05  # items nearer to even may come out otherwise on the other side
_HERE = Path(__file__).parent
_OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
_SETS = {
    "zero-shot": ((ARC, HELLASWAG), 2.5),
    "5-shot": ((GEOGRAPHY,), 6.0),
}


@dataclass(kw_only=True)
class Seconds:
    """Of one side's turns: of the model's part alone, and of all processes with loading and tokenising."""

    items: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    n_disturbed: int = 0

    def add(self, items: float, whole: float, *, disturbed: bool) -> None:
        """Take in one turn."""
        self.items.append(items)
        self.whole.append(whole)
        self.n_disturbed += disturbed


@dataclass(kw_only=True)
class Harness:
    """The peer: its environment, and how it is run."""

    venv: Path
    checkpoint: Path
    threads: int
    scratch: Path

    def ask(self, asked: Asked, *, batch: int) -> dict[str, Any]:
        """What peer_harness.py answers."""
        command = [harness_environment.python(self.venv), "-P", str(_HERE / "peer_harness.py")]
        job = {"checkpoint": str(self.checkpoint), "tasks": asked.definitions, "names": asked.names}
        job |= {"threads": self.threads, "batch": batch}
        environment = {**_OFFLINE, "HF_HOME": str(self.scratch), "OMP_NUM_THREADS": str(self.threads)}
        return turns.ask(command, job, environment)


@dataclass(kw_only=True)
class Comparison:
    """One set of items on both sides; `harness` None where there is no peer, `batches` are the peer's batch sizes."""

    name: str
    asked: Asked
    target: float
    ours: Ours
    harness: Harness | None
    batches: Sequence[int]
    prepared: Path

    def rows(self, n_rounds: int) -> Iterator[Row | str]:
        """Speeds, then accuracies and what differs."""
        self.ours.artifact("F16")
        seconds = {"ours": Seconds(), **({f"{size}": Seconds() for size in self.batches} if self.harness else {})}
        answers: dict[str, dict[str, Any]] = {}
        for number in range(n_rounds):
            for side in reversed(seconds) if number % 2 else seconds:
                say(f"{self.name}, round {number + 1} of {n_rounds}: {side}")
                turn = turns.take(self._own if side == "ours" else partial(self._peer, int(side)))
                answers[side] = turn.value
                whole = turn.value.get("whole", turn.seconds)
                seconds[side].add(turn.value["seconds"], whole, disturbed=turn.disturbed)
        yield from self._speeds(seconds)
        if self.harness:
            theirs = answers[f"{self.batches[0]}"]["items"]
            yield from self._outcomes(answers["ours"]["outcomes"], theirs)

    def _own(self) -> dict[str, Any]:
        started = time.perf_counter()
        self.ours.prepare(self.prepared, self.asked.tasks)
        answer = self.ours.ask("items", "F16", prepared=str(self.prepared))
        return {**answer, "whole": time.perf_counter() - started}

    def _peer(self, batch: int) -> dict[str, Any]:
        assert self.harness
        return self.harness.ask(self.asked, batch=batch)

    def _speeds(self, seconds: dict[str, Seconds]) -> Iterator[Row | str]:
        n = sum(self.asked.counts)
        ours = seconds.pop("ours")
        counted = zip(self.asked.counts, self.asked.names, strict=True)
        yield f"{self.name}: {' and '.join(f'{count} {name}' for count, name in counted)}"
        if not seconds:
            yield Row(figure="items/s", ours=f"{n / statistics.median(ours.items):.2f}")
        for batch, theirs in seconds.items():
            limit = self.target if batch == f"{self.batches[0]}" else None
            yield _ratio(f"items/s, the harness with batches of {batch}", n, ours.items, theirs.items, limit)
            yield _ratio("  with loading and tokenising", n, ours.whole, theirs.whole, None)
        disturbed = sum(each.n_disturbed for each in (ours, *seconds.values()))
        if disturbed:
            n_turns = sum(len(each.items) for each in (ours, *seconds.values()))
            yield f"  other processes used the machine before or during {disturbed} of these {n_turns} turns"

    def _outcomes(self, own: Sequence[dict[str, float]], peer: Sequence[dict[str, Any]]) -> Iterator[Row | str]:
        """Of F16; and of F32 where that one differs."""
        theirs = Side(
            outcomes=[each["outcomes"] for each in peer], log_likelihoods=[each["log_likelihoods"] for each in peer]
        )
        found = self.ours.ask("likelihoods", "F16", prepared=str(self.prepared))["log_likelihoods"]
        same = True
        for each in self._compared("F16", Side(outcomes=own, log_likelihoods=found), theirs):
            same = same and not (isinstance(each, Row) and each.value)
            yield each
        if not same:
            job = {"prepared": str(self.prepared), "exact": True}
            exact = self.ours.ask("likelihoods", "F32", **job)["log_likelihoods"]
            outcomes_of = self.ours.ask("items", "F32", **job)["outcomes"]
            yield from self._compared("F32", Side(outcomes=outcomes_of, log_likelihoods=exact), theirs)

    def _compared(self, fmt: str, ours: Side, theirs: Side) -> Iterator[Row | str]:
        items = read_prepared(self.prepared)["items"]
        if len(items) != len(theirs.outcomes):
            raise SystemExit(f"{len(items)} items here, and {len(theirs.outcomes)} there")
        yield f"  {fmt}: log-likelihoods differ by at most {outcomes.farthest(ours, theirs):.3f} nats"
        start = 0
        for task, count in zip(self.asked.names, self.asked.counts, strict=True):
            part = slice(start, start + count)
            sides = [Side(outcomes=s.outcomes[part], log_likelihoods=s.log_likelihoods[part]) for s in (ours, theirs)]
            for each in outcomes.compare(task, items[part], *sides):
                yield from _accuracy(fmt, each)
            start += count


def _ratio(figure: str, n: int, ours: Sequence[float], theirs: Sequence[float], limit: float | None) -> Row:
    ratios = sorted(b / a for a, b in zip(ours, theirs, strict=True))
    return Row(
        figure=figure,
        ours=f"{n / statistics.median(ours):.2f}/s",
        peer=f"{n / statistics.median(theirs):.2f}/s",
        value=statistics.median(ratios),
        spread=f"({ratios[0]:.2f}-{ratios[-1]:.2f})",
        at_least=limit,
    )


def _accuracy(fmt: str, found: Compared) -> Iterator[Row | str]:
    """The figure is the largest margin of an item that came out otherwise."""
    n = len(found.differing)
    yield Row(
        figure=f"{found.metric} of {found.task}, {fmt}",
        ours=f"{found.ours:.3f}",
        peer=f"{found.theirs:.3f}",
        value=max((each.largest for each in found.differing), default=0.0),
        spread=f"({n} of {found.n} differ)",
        at_most=NEAR_NATS,
        unit=" nats",
    )
    for each in found.differing:
        yield f"    row {each.number}: margin {each.ours:+.4f} here, {each.theirs:+.4f} there"


def compare(
    ours: Ours, work: Path, *, venv: Path | None, batches: Sequence[int], n_rounds: int, share: float
) -> Iterator[Row | str]:
    """Both sets of items, beside the harness in `venv`, None for none."""
    harness, tasks = None, None
    try:
        asked_items.bench()
    except SystemExit as error:
        yield f"no items: {error}"
        return
    try:
        if venv:
            harness_environment.python(venv)
            tasks = harness_environment.tasks(venv)
            harness = Harness(venv=venv, checkpoint=ours.checkpoint, threads=ours.threads, scratch=work / "hub")
    except SystemExit as error:
        yield f"without lm-evaluation-harness: {error}"
    for name, (parts, target) in _SETS.items():
        yield from Comparison(
            name=name,
            asked=asked_items.ask(parts, work / name, tasks, share=share),
            target=target,
            ours=ours,
            harness=harness,
            batches=batches,
            prepared=work / f"{name}.json",
        ).rows(n_rounds)
