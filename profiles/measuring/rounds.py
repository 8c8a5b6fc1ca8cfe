"""Speed in rounds: every artifact and variant in turn, again and again, so that heat and load meet all alike."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from ... import Error, child
from ...child import Outcome
from ...convert.artifact import Artifact, files_of
from ...runtimes.session import Settings
from ..machine import host
from ..machine.confinement import Limit, confine
from ..records.measurement import ENERGY_METRICS, SPEED_METRICS, Measurement
from .measuring import DEADLINE_SECONDS, Measuring, fallback, status_of
from .variant import PLAIN, Variant, described

#: what a variant that failed has rows of: what its table shows
_SHOWN = ("prefill_tokens_per_second", "decode_tokens_per_second", "peak_rss_bytes")
_UNTOLD = "this system does not tell"
#: what an answer tells of its round, kept as lists among the parameters, a place for each round
_OF_ROUNDS = ("conditions", "marks", "fetched_bytes", "energy")
_LOADING = ("load_seconds", "first_token_seconds")
#: of an artifact; where as much came from the disk, its load was a cold one (libraries come from there, too)
COLD_SHARE = 0.05
_ENTRY = "edgequant.profiles.measuring.speed:measure"


@dataclass(frozen=True, kw_only=True)
class Take:
    """One artifact, run in one way."""

    artifact: Artifact
    variant: Variant = PLAIN

    def __str__(self) -> str:
        differs = described(self.variant.to_json())
        return f"{self.artifact.format} ({differs})" if differs else self.artifact.format


@dataclass(kw_only=True)
class _Gathered:
    """What the rounds of one take have brought so far."""

    take: Take
    settings: Settings
    values: list[tuple[int, Mapping[str, Any]]] = field(default_factory=list)  # the number of the round, its answer
    seconds: float = 0.0
    limit: Limit | None = None
    failed: Outcome | None = None


@dataclass(kw_only=True)
class Rounds:
    """Measures takes, round by round; `hear` is told which round and what in it, `tell` how each take ended."""

    measuring: Measuring
    hear: Callable[[str, str], None] = lambda number, text: None
    tell: Callable[[Take, Outcome], None] = lambda take, outcome: None

    def run(self, takes: Sequence[Take]) -> None:
        """Measure all takes that the store does not have; what a run that was broken off had measured is kept.

        Every other round goes backwards, so that none is always measured on the warmer machine.
        """
        gathered = [self._begun(take) for take in takes if not self.has(take)]
        for number in range(self.measuring.speed_settings.n_rounds):
            for each in gathered[:: -1 if number % 2 else 1]:
                wanted = number <= self._last_round(each.take) and number not in dict(each.values)
                if wanted and each.failed is None:
                    self._round(each, number)
                    self._store(each, number)

    def _begun(self, take: Take) -> _Gathered:
        """What the store has of a take's first rounds, where nothing of the kind was stored since."""
        settings, key = self._settings(take), self._key(take)
        last = {(row.format, row.metric, row.variant_key): row for row in self.rows_here()}
        found = {row.metric: row for row in last.values() if row.parameters.get("begun") == key}
        if not found:
            return _Gathered(take=take, settings=settings)
        used = next(iter(found.values())).parameters["settings"]
        return _Gathered(take=take, settings=Settings(**used), values=_rounds_of(found))

    def rows_here(self) -> list[Measurement]:
        """Stored speed and memory of this device on this processor."""
        here = (self.measuring.device.name, host.machine().cpu)
        return [row for row in self.measuring.store.rows if row.place == here]

    def _last_round(self, take: Take) -> int:
        """A sustained run is one, and long."""
        return 0 if take.variant.sustained_seconds else self.measuring.speed_settings.n_rounds - 1

    def has(self, take: Take) -> bool:
        """Whether the store has the take's speed under these settings."""
        return self.measuring.store.has(self._key(take))

    def _key(self, take: Take) -> str:
        """Speeds are those of one processor in one device's place; another machine measures anew."""
        ours, emulation = self.measuring, self.measuring.emulation
        depends = {**vars(ours.speed_settings), "cpu": host.machine().cpu, "device": ours.device.name}
        depends |= {"threads": emulation.decode_threads, "prefill_threads": emulation.prefill_threads}
        depends |= {"limit_bytes": emulation.limit_bytes} if emulation.limit_bytes else {}
        depends["variant"] = take.variant.to_json()
        return ours.key(take.artifact, "speed", depends)

    def _settings(self, take: Take) -> Settings:
        """What the variant and the device leave of the engine's choices."""
        ours, variant, emulation = self.measuring, take.variant, self.measuring.emulation
        lengths = ours.speed_settings
        threads = emulation.threads(variant.threads) or emulation.decode_threads
        prefill = emulation.threads(variant.prefill_threads or variant.threads)
        if take.artifact.container == "gguf":
            prefill = prefill or emulation.prefill_threads
        return Settings(
            threads=threads,
            prefill_threads=None if prefill == threads else prefill,
            context=max(ours.context, variant.depth + lengths.n_prompt + lengths.n_generate),
            users=variant.sequences,
            batch=variant.batch,
            cache_type=variant.cache_type,
            flash_attention=variant.flash_attention,
            mmap=variant.mmap,
            repack=variant.repack,
        )

    def _round(self, each: _Gathered, number: int) -> None:
        if reason := self._impossible(each):
            each.failed = Outcome(status="unsupported", note=reason)
        else:
            outcome = self._measured(each, number)
            each.seconds += outcome.seconds
            if outcome.status == "ok":
                each.values.append((number, outcome.value))
            else:
                each.failed = replace(outcome, status=status_of(outcome))
        if each.failed:
            self.tell(each.take, each.failed)

    def _impossible(self, each: _Gathered) -> str:
        """Why a variant is not even tried; empty for one that is."""
        longest = self.measuring.longest_context
        if longest and each.settings.context > max(longest, self.measuring.context):
            return f"the model's context is {longest:,} tokens"
        if not each.settings.repack and each.take.artifact.container != "gguf":
            return "repacked kernels are llama.cpp's"
        return ""

    def _measured(self, each: _Gathered, number: int) -> Outcome:
        """The outcome of one child, under the memory limit of the variant or the device."""
        ours, take, n_rounds = self.measuring, each.take, self._last_round(each.take) + 1
        lengths = {**vars(ours.speed_settings), "repetitions": ours.speed_settings.of_round(number)}
        job = {"container": take.artifact.container, "path": take.artifact.path, **lengths}
        job |= {"depth": take.variant.depth, "sustained_seconds": take.variant.sustained_seconds}
        with ExitStack() as stack:
            runner: Callable[..., Outcome] = child.run
            limit_bytes = ours.emulation.memory_bytes(take.variant.limit_memory_bytes)
            if limit_bytes:
                each.limit = stack.enter_context(confine(limit_bytes, files=files_of(Path(take.artifact.path))))
                runner = partial(_confined, each.limit)
            outcome, each.settings = ours.fence.run(
                _ENTRY,
                job,
                settings=each.settings,
                deadline_seconds=DEADLINE_SECONDS + take.variant.sustained_seconds,
                progress=lambda text: self.hear(f"round {number + 1} of {n_rounds}", f"{take}: {text}"),
                runner=runner,
            )
        return outcome

    def _store(self, each: _Gathered, number: int) -> None:
        """Append the take's rows so far, all at once: one row alone would pass for the whole step."""
        ours, facts = self.measuring, host.facts()
        done = each.failed or number == self._last_round(each.take)
        parameters = {**self._parameters(each), ("key" if done else "begun"): self._key(each.take)}
        rows: list[Measurement] = []
        for metric in self._metrics(each):
            samples = _samples(each, metric)
            note = each.failed.note if each.failed else self._note(each, metric) if samples else _UNTOLD
            row = ours.row(
                each.take.artifact,
                metric,
                host=facts,
                samples=tuple(sample for _, sample in samples),
                parameters={**parameters, "rounds": [number for number, _ in samples]},
                status=each.failed.status if each.failed else "ok" if samples else "unsupported",
                note=note,
            )
            rows.append(row)
        ours.store.append(rows)
        if done and not each.failed:
            self.tell(each.take, Outcome(status="ok"))

    def _parameters(self, each: _Gathered) -> dict[str, Any]:
        """Everything that the take's numbers depend on."""
        answers = [value for _, value in each.values]
        made: dict[str, Any] = {
            **vars(self.measuring.speed_settings),
            "settings": each.settings.to_json(),
            "seconds": round(each.seconds, 2),
            **{name: [value.get(name) for value in answers] for name in _OF_ROUNDS},
        }
        if differs := each.take.variant.to_json():
            made["variant"] = differs
        if each.limit:
            made["limit"] = each.limit.to_json()
        if not self.measuring.device.is_host:
            made["emulation"] = self.measuring.emulation.meaning(each.limit.kind if each.limit else "")
        if series := next((value["series"] for value in answers if value.get("series")), None):
            made["series"] = series
        return made

    def _note(self, each: _Gathered, metric: str) -> str:
        """What must be said of a metric's numbers, one "code: sentence" a line."""
        said = [_notes(each), self.measuring.emulation.held_back(each.take.variant)]
        said += [_cold(each)] if metric in _LOADING else []
        return "\n".join(line for line in said if line)

    def _metrics(self, each: _Gathered) -> Sequence[str]:
        """What the take has rows of; a plain one has one of every metric, so that nothing is blank without a reason."""
        measured = {metric for _, value in each.values for metric in value["samples"]}
        if each.failed:
            plain = each.take.variant == PLAIN
            return [m for m in SPEED_METRICS if m not in ENERGY_METRICS and (plain or m in _SHOWN)]
        always = set() if each.take.variant != PLAIN else {*SPEED_METRICS} - {*ENERGY_METRICS}
        return [metric for metric in SPEED_METRICS if metric in measured | always]


def _rounds_of(rows: Mapping[str, Measurement]) -> list[tuple[int, Mapping[str, Any]]]:
    """The answers of the rounds that these rows of one take, metric -> row, were made of."""
    one = next(iter(rows.values())).parameters
    numbers = sorted({number for row in rows.values() for number in row.parameters["rounds"]})
    return [
        (
            number,
            {
                "samples": {
                    metric: [s for s, n in zip(row.samples, row.parameters["rounds"], strict=True) if n == number]
                    for metric, row in rows.items()
                },
                **{name: (one.get(name) or [None] * len(numbers))[place] for name in _OF_ROUNDS},
            },
        )
        for place, number in enumerate(numbers)
    ]


def _confined(limit: Limit, entry: str, job: Mapping[str, Any], **options: Any) -> Outcome:
    """What becomes of a child under the limit; where the system refuses to lay it, that is a result, too."""
    try:
        return limit.judge(child.run(entry, job, started=limit.take, **options))
    except Error as error:
        return Outcome(status="unsupported", note=str(error))


def _samples(each: _Gathered, metric: str) -> list[tuple[int, float]]:
    """Every sample with the number of its round; none of a take that failed."""
    if each.failed:
        return []
    return [(number, sample) for number, value in each.values for sample in value["samples"].get(metric, ())]


def _notes(each: _Gathered) -> str:
    """What must be said of a take's numbers, one "code: sentence" a line: the first of a code in all rounds."""
    said = [] if not each.take.variant.repack else [fallback(each.settings)]
    marks = [mark for _, value in each.values for mark in value.get("marks") or ()]
    first = {mark.partition(": ")[0]: mark for mark in reversed(marks)}
    n = len(each.values)
    for code, mark in sorted(first.items()):
        times = sum(any(m.partition(": ")[0] == code for m in value.get("marks") or ()) for _, value in each.values)
        said.append(mark if n == 1 else f"{mark} ({times} of {n} rounds)")
    return "\n".join(line for line in said if line)


def _cold(each: _Gathered) -> str:
    """What must be said of loads that had to wait for the disk."""
    fetched = [value.get("fetched_bytes") or 0 for _, value in each.values]
    cold = [n_bytes for n_bytes in fetched if n_bytes > COLD_SHARE * each.take.artifact.size_bytes]
    if not cold:
        return ""
    times = f" ({len(cold)} of {len(fetched)} rounds)" if len(fetched) > 1 else ""
    return f"cold load: {max(cold) / 1e6:,.1f} MB came from the disk{times}"
