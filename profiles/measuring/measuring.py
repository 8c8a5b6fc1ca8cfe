"""Measuring artifacts one by one, each in a fresh child, and storing what came of it as rows."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from ...child import Outcome
from ...convert.artifact import Artifact
from ...convert.formats import Format
from ...runtimes.fence import WITHOUT_REPACK, Fence
from ...runtimes.session import Settings, Unsupported, runtime_name, runtime_version
from ...verify.finding import NOT_CHECKED, PARTS, Finding
from ..device import Device
from ..machine import host
from ..records.measurement import ENERGY_METRICS, METRICS, Measurement
from ..records.store import Store
from .emulation import Emulation, emulate

DEADLINE_SECONDS = 6 * 3600.0  # a board may need hours; a child that hangs must not need for ever


@dataclass(frozen=True, kw_only=True)
class SpeedSettings:
    """How speed is measured; lengths in tokens."""

    n_prompt: int = 256
    n_generate: int = 32
    repetitions: int = 6  # the smallest and the largest of six enclose the median with 96.9 %
    seed: int = 0

    @property
    def n_rounds(self) -> int:
        """There and back: what grows with time, as heat does, then meets all formats alike. A fresh process each."""
        return min(2, self.repetitions)

    def of_round(self, number: int) -> int:
        """How many of the repetitions fall to a round, counted from 0."""
        return len(range(number, self.repetitions, self.n_rounds))


@dataclass(kw_only=True)
class Measuring:
    """Measures for one run on one device; rows that the store has already are not measured again.

    `context` is what is measured under, `longest_context` what the model was trained for, both in tokens.
    """

    store: Store
    run: str
    device: Device
    context: int
    longest_context: int = 0  # 0: not known
    fence: Fence = field(default_factory=Fence)
    speed_settings: SpeedSettings = field(default_factory=SpeedSettings)

    def __post_init__(self) -> None:
        """A small context takes shorter prompts and answers."""
        usual = self.speed_settings
        self.speed_settings = replace(
            usual,
            n_prompt=min(usual.n_prompt, self.context * 3 // 4),
            n_generate=min(usual.n_generate, self.context // 4),
        )

    def row(self, artifact: Artifact, metric: str, **values: Any) -> Measurement:
        """One row about an artifact; `values` are the fields of `Measurement` that this cannot know."""
        about = {"format": artifact.format, "artifact_sha256": artifact.sha256}
        return self._row(metric, **about, **self._runtime(artifact.container), **values)

    def store_gate(self, artifact: Artifact, findings: Mapping[str, Finding]) -> None:
        """Store what the gate found: a row a part, its verdict among the parameters."""
        facts = host.facts()
        self.store.append(
            Measurement(
                run=self.run,
                at=datetime.now(UTC).isoformat(timespec="seconds"),
                format=artifact.format,
                artifact_sha256=artifact.sha256,
                runtime=runtime_name(artifact.container),
                runtime_version=runtime_version(artifact.container),
                device=self.device.name,
                emulated=False,  # what is right on one machine is right on the device
                host=facts,
                metric=PARTS[part].metric,
                unit=PARTS[part].unit,
                samples=found.samples,
                parameters={"verdict": found.verdict, "said": found.said},
                status="unsupported" if found.verdict == NOT_CHECKED else "ok",
                note=found.said if found.verdict == NOT_CHECKED else "",
            )
            for part, found in findings.items()
        )

    def store_failure(self, fmt: Format, *, status: str, note: str) -> None:
        """Store that a format could not be made, and how that ended: a row for every metric, so that nothing is blank.

        `status` is that of an `Outcome`, or "unsupported" for what cannot be made at all.
        """
        facts = host.facts()
        self.store.append(
            self._row(
                metric,
                format=fmt.name,
                artifact_sha256="",
                **self._runtime(fmt.container),
                host=facts,
                samples=(),
                parameters={},
                status=status,
                note=note,
            )
            for metric in METRICS
            if metric not in ENERGY_METRICS
        )

    def _row(self, metric: str, **values: Any) -> Measurement:
        return Measurement(
            run=self.run,
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            device=self.device.name,
            emulated=not self.device.is_host,
            metric=metric,
            unit=METRICS[metric][0],
            **values,
        )

    def _runtime(self, container: str) -> dict[str, str]:
        return {"runtime": runtime_name(container), "runtime_version": runtime_version(container)}

    @property
    def emulation(self) -> Emulation:
        """The threads and the memory that the device leaves to a process here."""
        return emulate(self.device, host.machine())

    def key(self, artifact: Artifact, step: str, wanted: Mapping[str, Any]) -> str:
        """What a step's result depends on, as one digest: the artifact, the runtime, the context, and what is `wanted`.

        Neither the device nor its threads: answers are the same in every device's place, to within rounding. A step
        that takes times or memory wants them as well.
        """
        depends = {
            "step": step,
            "artifact": artifact.sha256,
            "runtime": runtime_version(artifact.container),
            "context": self.context,
            **wanted,
        }
        return hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:16]


def status_of(outcome: Outcome) -> str:
    """The status of a row for a child that did not end well."""
    if outcome.kind == Unsupported.__name__:
        return "unsupported"
    return "crash" if outcome.status == "error" else outcome.status


def fallback(used: Settings) -> str:
    """The note of what was computed without repacked kernels, because they died."""
    return "" if used.repack else f"retried without repacked kernels: {WITHOUT_REPACK}"
