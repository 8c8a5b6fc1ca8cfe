"""Quality of artifacts against the reference, each measured in a fresh child, and stored as rows."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...accuracy import compact
from ...child import Outcome, Progress
from ...convert.artifact import Artifact
from ...runtimes.session import Settings
from ..machine import host
from ..records.measurement import QUALITY_METRICS, WHERE_POSSIBLE
from .measuring import DEADLINE_SECONDS, Measuring, fallback, status_of

_ABSENT = {"margin": "there are no choice items"}


@dataclass(kw_only=True)
class Quality:
    """Measures on the text and the items in `prepared`, against what `reference` answered.

    `compact` is the file of the reference's log-probabilities, which the reference itself writes; in `unfinished`
    a measurement that is interrupted, or fails, keeps what it has finished for the next attempt.
    """

    measuring: Measuring
    reference: Artifact
    prepared: Path
    digest: str  # of what was prepared
    compact: Path
    unfinished: Path
    judge: str = ""  # address of a model that rates dialogues, and its name there
    judge_model: str = ""

    def has(self, artifact: Artifact) -> bool:
        """Whether the store has the artifact's quality against this reference on this text and these items.

        Where a judge failed, it has not: the next attempt goes on with the dialogues that are left.
        """
        key, store = self._key(artifact), self.measuring.store
        judged = [r.status for r in store.rows if r.metric == "judge_score" and r.parameters.get("key") == key]
        return store.has(key) and (not judged or judged[-1] == "ok")

    @property
    def has_reference(self) -> bool:
        """Whether the reference's log-probabilities are there."""
        return compact.key_of(self.compact) == self._reference_key

    @property
    def _reference_key(self) -> str:
        return f"{self.reference.sha256} {self.digest} {compact.KEPT}"

    def _key(self, artifact: Artifact) -> str:
        wanted = {"reference": self.reference.sha256, "prepared": self.digest}
        wanted |= {"judge": self.judge, "judge_model": self.judge_model} if self.judge else {}
        return self.measuring.key(artifact, "quality", wanted)

    def measure(self, artifact: Artifact, progress: Progress | None = None) -> Outcome:
        """Measure divergence and accuracy of one artifact and store the rows; the reference itself comes first."""
        ours, key = self.measuring, self._key(artifact)
        finished = self.unfinished / f"quality-{key}.jsonl"
        job = {
            "container": artifact.container,
            "path": artifact.path,
            "prepared": str(self.prepared),
            "reference": str(self.compact),
            "reference_key": self._reference_key,
            "is_reference": artifact.format == self.reference.format,
            "resumption": str(finished),
            "key": key,
            "judge": self.judge,
            "judge_model": self.judge_model,
        }
        parameters: dict[str, Any] = {"reference": self.reference.format, "prepared": self.digest, "key": key}
        before = host.facts()
        outcome, used = ours.fence.run(
            "edgequant.accuracy.quality:measure",
            job,
            settings=Settings(threads=ours.emulation.decode_threads, context=ours.context),
            deadline_seconds=DEADLINE_SECONDS,
            progress=progress,
        )
        parameters |= {"settings": used.to_json(), "seconds": round(outcome.seconds, 2)}
        found = outcome.value if outcome.status == "ok" else {"samples": {}, "parameters": {}, "failures": {}}
        rows = []
        for metric in QUALITY_METRICS:
            samples, failed = tuple(found["samples"].get(metric, ())), found["failures"].get(metric, "")
            if metric in WHERE_POSSIBLE and outcome.status == "ok" and not (samples or failed):
                continue
            absent = _ABSENT.get(metric, "there is nothing to measure it on")
            row = ours.row(
                artifact,
                metric,
                host=before,
                samples=samples,
                parameters={**parameters, **found["parameters"].get(metric, {})},
                status="error"
                if failed
                else status_of(outcome)
                if outcome.status != "ok" or samples
                else "unsupported",
                note=failed or outcome.note or (fallback(used) if samples else absent),
            )
            rows.append(row)
        ours.store.append(rows)  # at once: one row alone would pass for the whole step
        if outcome.status == "ok" and not found["failures"]:
            finished.unlink(missing_ok=True)
            with suppress(OSError):  # others have something there
                self.unfinished.rmdir()
        return outcome
