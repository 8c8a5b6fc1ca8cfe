"""Quality of a run's artifacts against the reference: what is asked, made ready once, and measured one by one."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import Error, child
from ..accuracy import items
from ..convert import conversion
from ..convert.artifact import Artifact
from ..convert.formats import FORMATS
from ..export.bundle import Contents
from ..profiles.device import Device
from ..profiles.measuring.quality import Quality
from ..profiles.planning import plan as planning
from ..profiles.records.measurement import QUALITY_METRICS, Measurement
from ..report.rows import latest
from .job import Job
from .making import Making

_PREPARE_DEADLINE_SECONDS = 120.0  # a chat template is a stranger's code
_PUBLIC_DEADLINE_SECONDS = 3600.0  # sets of ten thousand rows, which come over a network


@dataclass(kw_only=True)
class Evaluating:
    """The quality of one run's artifacts."""

    job: Job
    making: Making

    def evaluate(self) -> None:
        """Measure divergence and accuracy of every artifact against the reference, which is computed first.

        A reference that cannot be evaluated makes room for the next best; `Error` where none is left.
        """
        self.prepare()
        for reference in self.making.references():
            quality = self._quality(reference)
            pending = [artifact for artifact in self.making.artifacts() if not quality.has(artifact)]
            if pending and not self._answered(quality):
                continue
            self.job.folder.describe({"reference": reference.format, "not_evaluated": ""})
            for artifact in pending:
                if artifact.format != reference.format:
                    self._measure(quality, artifact)
            return
        raise Error("no unquantised artifact passed its checks and can be computed: there is nothing to compare with")

    def _answered(self, quality: Quality) -> bool:
        """Whether the reference's own answers are there, measured now where they are not."""
        reference = quality.reference
        if quality.has(reference) and quality.has_reference:
            return True
        return self._measure(quality, self.making.made(FORMATS[reference.format]))

    def _quality(self, reference: Artifact) -> Quality:
        folder = self.job.folder
        return Quality(
            measuring=self.job.measuring,
            reference=reference,
            prepared=folder.prepared,
            digest=self._digest(),
            compact=folder.compact,
            unfinished=folder.unfinished,
            judge=self.job.request.judge,
            judge_model=self.job.request.judge_model,
        )

    def _measure(self, quality: Quality, artifact: Artifact) -> bool:
        self.job.listen("evaluate", artifact.format, "")
        outcome = quality.measure(artifact, self.job.hear("evaluate", artifact.format))
        self.job.tell(artifact, outcome)
        return outcome.status == "ok"

    def text(self) -> Path:
        """The file of the text that divergences are measured on, made where it is not there."""
        if not self.job.folder.prepared.is_file():
            self.prepare()
        return self.job.folder.prepared

    def prepare(self) -> str:
        """Tokenise text and items, unless that is done; returns the digest of the result."""
        request, folder = self.job.request, self.job.folder
        self.job.listen("prepare", "", "tokenising text and items")
        job = {
            "folder": str(self.job.checkpoint.path),
            "text": str(items.TEXT_FILE),
            "tasks": list(request.tasks),
            "suite": request.suite,
            "limit": request.limit,
            "context": self.job.context,
            "longest_context": self.job.measuring.longest_context,
            "target": str(folder.prepared),
        }
        public = any(source.public for source in self.job.sources)
        outcome = child.run(
            "edgequant.accuracy.preparation:prepare",
            job,
            deadline_seconds=_PUBLIC_DEADLINE_SECONDS if public else _PREPARE_DEADLINE_SECONDS,
        )
        folder.describe({"prepared": outcome.unwrap()})
        return self._digest()

    def _digest(self) -> str:
        return hashlib.sha256(self.job.folder.prepared.read_bytes()).hexdigest()[:16]

    def contents(self, formats: Sequence[str], device: Device | None = None) -> Contents:
        """What a bundle of these formats holds (none: of all that are there), planned for `device`.

        Measures what is missing of quality.
        """
        job, chosen = self.job, self.making.chosen(formats)
        self.evaluate()
        described = job.folder.open()
        reference = next(a for a in self.making.references() if a.format == described["reference"])
        quality = self._quality(reference)
        if not self._answered(quality):
            raise Error(f"the reference {reference.format} cannot be evaluated again for the bundle")
        trained_context, n_vocab = conversion.context_and_vocabulary(job.checkpoint)
        planned = [FORMATS[artifact.format] for artifact in chosen if artifact.format in FORMATS]
        there = device or job.request.device
        made = planning.plan(job.checkpoint, planned, there, context=job.context, onnx=job.request.onnx)
        return Contents(
            described=described,
            artifacts=chosen,
            reference=reference,
            reference_rows=self._rows_of(reference),
            compact=job.folder.compact,
            prepared=job.folder.prepared,
            prepared_digest=self._digest(),
            checkpoint=job.checkpoint.path,
            tasks=[source.file for source in job.sources if source.file],
            plan=made.to_json(),
            trained_context=trained_context,
            n_vocab=n_vocab,
        )

    def _rows_of(self, reference: Artifact) -> list[Measurement]:
        """The stored quality of the reference, run plainly."""
        found = latest(self.job.folder.store().rows).get(reference.format, {})
        rows = [found[metric] for metric in QUALITY_METRICS if metric in found]
        return [row for row in rows if row.artifact_sha256 == reference.sha256]
