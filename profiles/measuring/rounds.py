"""Speed in rounds: every artifact and variant in turn, again and again, so that heat and load meet all alike."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from ... import child
from ...child import Outcome
from ...convert.artifact import Artifact
from ...runtimes.session import Settings
from ..machine import host
from ..machine.confinement import Limit, confine
from ..records.measurement import ENERGY_METRICS, SPEED_METRICS, Measurement
from .measuring import DEADLINE_SECONDS, Measuring, fallback, status_of
from .variant import PLAIN, Variant, described

#: what a variant that failed has rows of: what its table shows
_SHOWN = ("prefill_tokens_per_second", "decode_tokens_per_second", "peak_rss_bytes")
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
        last = {(row.format, row.metric, row.variant_key): row for row in self.measuring.store.rows}
        found = {row.metric: row for row in last.values() if row.parameters.get("begun") == key}
        if not found:
            return _Gathered(take=take, settings=settings)
        used = next(iter(found.values())).parameters["settings"]
        return _Gathered(take=take, settings=Settings(**used), values=_rounds_of(found))

    def _last_round(self, take: Take) -> int:
        """A sustained run is one, and long."""
        return 0 if take.variant.sustained_seconds else self.measuring.speed_settings.n_rounds - 1

    def has(self, take: Take) -> bool:
        """Whether the store has the take's speed under these settings."""
        return self.measuring.store.has(self._key(take))

    def _key(self, take: Take) -> str:
        """Speeds are those of one processor; another machine measures anew."""
        ours = self.measuring
        depends = {**vars(ours.speed_settings), "cpu": host.machine().cpu}
        depends |= {"prefill_threads": ours.emulation.prefill_threads, "variant": take.variant.to_json()}
        return ours.key(take.artifact, "speed", depends)

    def _settings(self, take: Take) -> Settings:
        """What the variant and the device leave of the engine's choices."""
        ours, variant = self.measuring, take.variant
        lengths = ours.speed_settings
        threads = variant.threads or ours.emulation.decode_threads
        prefill = variant.prefill_threads or variant.threads
        if take.artifact.container == "gguf":
            prefill = prefill or ours.emulation.prefill_threads
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
            limit_bytes = take.variant.limit_memory_bytes or ours.emulation.limit_bytes
            if limit_bytes:
                each.limit = stack.enter_context(confine(limit_bytes, files=[take.artifact.path]))
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
            note = each.failed.note if each.failed else _notes(each) if samples else "this system does not tell"
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
            "conditions": [value["conditions"] for value in answers],
            "marks": [list(value.get("marks", ())) for value in answers],
        }
        if differs := each.take.variant.to_json():
            made["variant"] = differs
        if each.limit:
            made["limit"] = each.limit.to_json()
        if not self.measuring.device.is_host:
            made["emulation"] = self.measuring.emulation.meaning
        if series := next((value["series"] for value in answers if value.get("series")), None):
            made["series"] = series
        return made

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
                "conditions": conditions,
                "marks": marks,
            },
        )
        for number, conditions, marks in zip(numbers, one["conditions"], one["marks"], strict=True)
    ]


def _confined(limit: Limit, entry: str, job: Mapping[str, Any], **options: Any) -> Outcome:
    return limit.judge(child.run(entry, job, started=limit.take, **options))


def _samples(each: _Gathered, metric: str) -> list[tuple[int, float]]:
    """Every sample with the number of its round; none of a take that failed."""
    if each.failed:
        return []
    return [(number, sample) for number, value in each.values for sample in value["samples"].get(metric, ())]


def _notes(each: _Gathered) -> str:
    """What must be said of a take's numbers, one "code: sentence" a line: the first of a code in all rounds."""
    said = [] if not each.take.variant.repack else [fallback(each.settings)]
    marks = [mark for _, value in each.values for mark in value.get("marks", ())]
    first = {mark.partition(": ")[0]: mark for mark in reversed(marks)}
    n = len(each.values)
    for code, mark in sorted(first.items()):
        times = sum(any(m.partition(": ")[0] == code for m in value.get("marks", ())) for _, value in each.values)
        said.append(mark if n == 1 else f"{mark} ({times} of {n} rounds)")
    return "\n".join(line for line in said if line)
