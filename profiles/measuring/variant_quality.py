"""The divergence of a variant that changes the answers, against the same artifact run plainly."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...child import Outcome, Progress
from ...runtimes.session import Settings
from ..machine import host
from .measuring import DEADLINE_SECONDS, Measuring, status_of
from .rounds import Take

_METRICS = ("kl_divergence", "same_top_token")
#: what stands in parameters["reference"] of these rows
SAME_FILE = "the same file, run plainly"


@dataclass(kw_only=True)
class VariantQuality:
    """Measures on the windows of `prepared`."""

    measuring: Measuring
    prepared: Path

    def has(self, take: Take) -> bool:
        """Whether the store has the take's divergence on this text."""
        return self.measuring.store.has(self._key(take))

    def _key(self, take: Take) -> str:
        text = hashlib.sha256(self.prepared.read_bytes()).hexdigest()[:16]
        return self.measuring.key(take.artifact, "variant", {"variant": take.variant.to_json(), "prepared": text})

    def measure(self, take: Take, progress: Progress) -> Outcome:
        """Measure and store one take's divergence."""
        ours, artifact, variant = self.measuring, take.artifact, take.variant
        settings = Settings(
            threads=ours.emulation.threads(variant.threads) or ours.emulation.prefill_threads,
            context=ours.context,
            cache_type=variant.cache_type,
            flash_attention=variant.flash_attention,
            repack=variant.repack,
        )
        job = {"container": artifact.container, "path": artifact.path}
        job |= {"prepared": str(self.prepared)}
        facts = host.facts()
        outcome, used = ours.fence.run(
            "edgequant.accuracy.variant_divergence:measure",
            job,
            settings=settings,
            deadline_seconds=DEADLINE_SECONDS,
            progress=progress,
        )
        parameters: dict[str, Any] = {"variant": variant.to_json(), "reference": SAME_FILE, "key": self._key(take)}
        parameters |= {"settings": used.to_json(), "seconds": round(outcome.seconds, 2)}
        ok = outcome.status == "ok"
        ours.store.append(
            ours.row(
                artifact,
                metric,
                host=facts,
                samples=tuple(outcome.value["samples"][metric]) if ok else (),
                parameters=parameters,
                status="ok" if ok else status_of(outcome),
                note=outcome.note,
            )
            for metric in _METRICS
        )
        return outcome
