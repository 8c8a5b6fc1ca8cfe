"""What `edgequant profile` is asked, and doing it: the plain measurement, variants, the sweep of threads."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ... import Error
from ...child import Outcome
from ...convert.artifact import Artifact
from ..machine import confinement
from ..probing import probe
from .measuring import Measuring
from .rounds import Rounds, Take
from .sweep import Counts, decided, takes_of
from .variant import PLAIN, Variant
from .variant_quality import VariantQuality

Listener = Callable[[str, str, str], None]  # step, format ("" where it concerns all), detail


@dataclass(frozen=True, kw_only=True)
class Profiling:
    """Variants beside the plain measurement, how often, of which formats (none named: all), and whether to sweep."""

    variants: tuple[Variant, ...] = ()
    repetitions: int | None = None
    formats: tuple[str, ...] = ()
    sweep: bool = False

    def chosen(self, artifacts: Sequence[Artifact]) -> list[Artifact]:
        """The artifacts of the formats named; `Error` for one that is not there."""
        made = [artifact.format for artifact in artifacts]
        for name in self.formats:
            if name not in made:
                raise Error(f"there is no {name} here to be measured", hint=f"there are: {', '.join(made) or 'none'}")
        return [artifact for artifact in artifacts if not self.formats or artifact.format in self.formats]


@dataclass(kw_only=True)
class Profiler:
    """Measures artifacts as asked; `prepare` makes the text that divergences are measured on, and returns its file."""

    measuring: Measuring
    listen: Listener
    prepare: Callable[[], Path] | None = None

    def profile(self, artifacts: Sequence[Artifact], asked: Profiling) -> Counts | None:
        """Measure what the store does not have; returns the best numbers of threads, where a sweep was asked for.

        What is measured after a sweep is measured with them. `Error` for a sweep in another device's place, and for a
        limit on memory where there is none to lay.
        """
        chosen = asked.chosen(artifacts)
        if any(variant.limit_memory_bytes for variant in asked.variants) and not confinement.is_possible():
            raise Error("this system offers no limit on memory", hint="leave --limit-memory out")
        if asked.repetitions:
            ours = self.measuring
            ours.speed_settings = replace(ours.speed_settings, repetitions=asked.repetitions)
        rounds = Rounds(measuring=self.measuring, hear=partial(self.listen, "profile"), tell=self._tell)
        counts = self._sweep(chosen, rounds) if asked.sweep else None
        takes = [Take(artifact=each, variant=v) for v in dict.fromkeys((PLAIN, *asked.variants)) for each in chosen]
        rounds.run(takes)
        self._divergences([take for take in takes if take.variant.computes_differently])
        return counts

    def _sweep(self, chosen: Sequence[Artifact], rounds: Rounds) -> Counts | None:
        device = self.measuring.device
        if not device.is_host:
            raise Error(f"a sweep here says nothing about {device.name}", hint="leave --device out, or sweep there")
        takes = takes_of(chosen)
        rounds.run(takes)
        counts = decided(rounds.rows_here(), takes)
        if counts:
            self.measuring.device = replace(device, prefill_threads=counts.prefill, decode_threads=counts.decode)
            self._remember(counts)
        return counts

    def _remember(self, counts: Counts) -> None:
        """Keep the counts for later runs on this machine; where they cannot be kept, this one has them all the same."""
        try:
            kept = probe.remember(
                prefill_threads=counts.prefill, decode_threads=counts.decode, how="edgequant profile --threads sweep"
            )
        except Error as error:
            self.listen("failed", "", str(error))
        else:
            said = f"{counts.prefill} threads for prefill, {counts.decode} for decode; kept in {kept}"
            self.listen("threads", "", said)

    def _divergences(self, takes: Sequence[Take]) -> None:
        """Of what changes the answers; without a text to measure on there is none."""
        if not takes or not self.prepare:
            return
        quality = VariantQuality(measuring=self.measuring, prepared=self.prepare())
        for take in takes:
            if not quality.has(take) and self._ran(take):
                self.listen("evaluate", str(take), "")
                self._tell(take, quality.measure(take, partial(self.listen, "evaluate", str(take))))

    def _ran(self, take: Take) -> bool:
        """Whether its speed could be measured: what an engine does not have diverges from nothing."""
        rows = (row for row in reversed(self.measuring.store.rows) if row.variant == take.variant.to_json())
        return next((row.status == "ok" for row in rows if row.artifact_sha256 == take.artifact.sha256), False)

    def _tell(self, take: Take, outcome: Outcome) -> None:
        if outcome.status != "ok":
            self.listen("failed", str(take), outcome.note)
