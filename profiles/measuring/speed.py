"""Speed and memory of one artifact: low-level loops over the same random tokens for every engine, no sampler.

The protocol is llama-bench's: a warm-up, then repetitions; prefill and decode apart; lengths fixed, no end of text.
What the cache holds before (the depth) is computed first and not timed.
"""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...convert.artifact import files_of
from ...runtimes.session import Session, Settings, open_session
from ..machine import conditions, energy, memory, paging
from ..machine.conditions import Conditions

_IDLE_SECONDS = 2.0  # of measuring what the machine draws for nothing
_METERED_SECONDS = 3.0  # of each phase: a Raspberry Pi's meter takes five samples a second
_POINTS = 120  # of a sustained run at most, and none shorter than a second

Job = Mapping[str, Any]
Progress = Callable[[str], None]


def measure(job: Job, progress: Progress) -> dict[str, Any]:
    """Measure one artifact in this process.

    The job: container, path, settings, n_prompt and n_generate (tokens), repetitions, seed; depth (tokens before the
    prompt) and sustained_seconds may be missing. Returns "samples" (metric -> samples, in the units of `METRICS`),
    "conditions" before and after the timed part, their "marks", the "fetched_bytes" that came from the disk while it
    was loaded, what is known of "energy", and of a sustained run its "series".
    """
    metered = _metered()
    progress("loading")
    fetched, started = paging.fetched_bytes(), time.perf_counter()
    settings = Settings(**job["settings"])
    session = open_session(job["container"], job["path"], settings)
    load_seconds = time.perf_counter() - started
    fetched = None if fetched is None else (paging.fetched_bytes() or 0) - fetched
    readings = [memory.read()]
    loop = (Several if settings.users > 1 else One)(session, job, settings.users)
    progress("warming up")
    first_token_seconds = load_seconds + loop.warm_up()
    before = conditions.read()
    series: dict[str, list[Any]] = {}
    if job.get("sustained_seconds"):
        samples, series = _sustained(loop, job["sustained_seconds"], progress)
    else:
        samples = _repeated(loop, job["repetitions"], readings, progress)
    after = conditions.read()
    touched = memory.touched_bytes(files_of(Path(job["path"])), loop.once)
    samples |= memory.samples([*readings, memory.read()], touched=touched)
    if loop.from_nothing:
        samples |= {"load_seconds": [load_seconds], "first_token_seconds": [first_token_seconds]}
    if not series:
        samples |= _energy(loop, metered.get("idle_watts"))
    return {
        "samples": samples,
        "conditions": {"before": asdict(before), "after": asdict(after)},
        "marks": list(conditions.marks(before, after)),
        "fetched_bytes": fetched,
        "energy": metered,
        "series": series,
    }


def random_tokens(n: int, *, vocabulary: int, seed: int) -> list[int]:
    """`n` token ids, the same for every engine that has this vocabulary."""
    generator = random.Random(seed)
    return [generator.randrange(vocabulary) for _ in range(n)]


class One:
    """One sequence: what it holds before, its prompt, and what follows."""

    def __init__(self, session: Session, job: Job, n_users: int = 1) -> None:
        self._session, self.depth = session, int(job.get("depth", 0))
        self.from_nothing = self.depth == 0 and n_users == 1
        n_prompt, n_generate = job["n_prompt"], job["n_generate"]
        self.n_prompt, self.n_generate = n_prompt * n_users, n_generate * n_users
        length = self.depth + n_prompt + n_generate
        drawn = [random_tokens(length, vocabulary=session.n_vocab, seed=job["seed"] + user) for user in range(n_users)]
        self._users = [_cut(tokens, self.depth, self.depth + n_prompt) for tokens in drawn]
        self._filling, self._prompt, self._continuation = self._users[0]

    def warm_up(self) -> float:
        """Fill the cache up to the depth and do everything once; returns the seconds to the first token."""
        self.fill()
        seconds = _seconds(self.prefill)
        self.step(0)
        return seconds

    def fill(self) -> None:
        """Compute what the cache holds before the prompt."""
        if self._filling:
            self._session.evaluate(self._filling, logits="last")

    def rewind(self, *, keep_prompt: bool = False) -> None:
        """Forget what came after the depth, or after the prompt."""
        self._session.rewind(self.depth + (len(self._prompt) if keep_prompt else 0))

    def prefill(self) -> None:
        """Compute the prompt, and choose the first token."""
        self._session.evaluate(self._prompt, logits="last").argmax()

    def step(self, number: int) -> None:
        """Compute one token more."""
        self._session.evaluate(self._continuation[number : number + 1], logits="last")

    def decode(self) -> None:
        """Compute what follows the prompt, token by token."""
        for number in range(len(self._continuation)):
            self.step(number)

    def once(self) -> None:
        """A prompt and an answer."""
        self.rewind()
        self.prefill()
        self.decode()


class Several(One):
    """Several users' sequences, each with tokens of its own; every step takes all of them further."""

    def fill(self) -> None:
        """See `One.fill`."""
        if self._filling:
            self._session.extend_each([filling for filling, _, _ in self._users])

    def rewind(self, *, keep_prompt: bool = False) -> None:
        """See `One.rewind`."""
        self._session.rewind_each(self.depth + (len(self._prompt) if keep_prompt else 0))

    def prefill(self) -> None:
        """See `One.prefill`."""
        self._session.extend_each([prompt for _, prompt, _ in self._users]).argmax(axis=-1)

    def step(self, number: int) -> None:
        """See `One.step`."""
        self._session.extend_each([continuation[number : number + 1] for _, _, continuation in self._users])


def _repeated(loop: One, n: int, readings: list[memory.Memory], progress: Progress) -> dict[str, list[float]]:
    """Prefill `n` times, then decode `n` times, tokens/s; memory is read after each, outside of the timed parts."""
    prefill, decode = [], []
    for repetition in range(n):
        progress(f"prefill {repetition + 1} of {n}")
        loop.rewind()
        prefill.append(loop.n_prompt / _seconds(loop.prefill))
        readings.append(memory.read())
    for repetition in range(n):
        progress(f"decode {repetition + 1} of {n}")
        loop.rewind(keep_prompt=True)
        decode.append(loop.n_generate / _seconds(loop.decode))
        readings.append(memory.read())
    return {"prefill_tokens_per_second": prefill, "decode_tokens_per_second": decode}


def _sustained(loop: One, seconds: float, progress: Progress) -> tuple[dict[str, list[float]], dict[str, list[Any]]]:
    """Decode for `seconds`: tokens/s over time, and beside it the time, the clock and the temperature."""
    point_seconds, started = max(1.0, seconds / _POINTS), time.perf_counter()
    speeds: list[float] = []
    series: dict[str, list[Any]] = {"seconds": [], **{name: [] for name in _followed(conditions.read())}}
    while (since := time.perf_counter() - started) < seconds:
        progress(f"{since:.0f} of {seconds:.0f} s")
        spent, n_passes = _at_least(point_seconds, loop.decode, before=lambda: loop.rewind(keep_prompt=True))
        speeds.append(n_passes * loop.n_generate / spent)
        series["seconds"].append(round(time.perf_counter() - started, 2))
        for name, value in _followed(conditions.read()).items():
            series[name].append(value)
    return {"decode_tokens_per_second": speeds}, series


def _metered() -> dict[str, Any]:
    """What the machine's meter "covers" and the "idle_watts" that are drawn for nothing; else why it is "absent"."""
    meter = energy.meter()
    if meter is None:
        return {"absent": energy.absence()}
    try:
        return {"covers": meter.covers, "idle_watts": energy.idle_watts(meter, _IDLE_SECONDS)}
    finally:
        meter.close()


def _energy(loop: One, idle_watts: float | None) -> dict[str, list[float]]:
    """Joules a token beyond idling; apart from the timed repetitions, because a meter may cost speed."""
    meter = energy.meter() if idle_watts is not None else None
    if meter is None or idle_watts is None:
        return {}
    try:
        prefill = _joules(meter, idle_watts, loop.prefill, loop.rewind)
        decode = _joules(meter, idle_watts, loop.decode, lambda: loop.rewind(keep_prompt=True))
    finally:
        meter.close()
    passes = {"prefill": (prefill, loop.n_prompt), "decode": (decode, loop.n_generate)}
    return {f"joules_per_token_{name}": [joules / n] for name, (joules, n) in passes.items() if joules is not None}


def _joules(
    meter: energy.Meter, idle_watts: float, work: Callable[[], None], before: Callable[[], None]
) -> float | None:
    """Joules of one pass of `work` beyond idling, a mean over seconds of passes; `before` each is not counted.

    None where no more was drawn than at rest: then noise is larger than the work, and there is no figure.
    """
    joules, seconds, n_passes = 0.0, 0.0, 0
    while seconds < _METERED_SECONDS:
        before()
        began, started = meter.joules(), time.perf_counter()
        work()
        joules += meter.joules() - began
        seconds += time.perf_counter() - started
        n_passes += 1
    beyond = joules - idle_watts * seconds
    return beyond / n_passes if beyond > 0 else None


def _at_least(seconds: float, work: Callable[[], None], *, before: Callable[[], None]) -> tuple[float, int]:
    """Seconds of `work`, repeated until they are as many as asked, and how often; `before` each is not counted."""
    spent, n_passes = 0.0, 0
    while spent < seconds:
        before()
        spent += _seconds(work)
        n_passes += 1
    return spent, n_passes


def _followed(now: Conditions) -> dict[str, float | None]:
    """What is worth following over time."""
    return {"clock_hz": now.clock_hz, "temperature_celsius": now.temperature_celsius}


def _cut(tokens: list[int], *places: int) -> list[list[int]]:
    return [tokens[a:b] for a, b in zip((0, *places), (*places, len(tokens)), strict=True)]


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
