"""Quality of a run's artifacts against the reference: what is asked, made ready once, and measured one by one."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import Error, child
from ..accuracy import compact, items, suites
from ..convert import conversion
from ..convert.artifact import Artifact
from ..convert.formats import FORMATS
from ..export.bundle import Contents
from ..profiles.device import Device
from ..profiles.measuring.measuring import DEADLINE_SECONDS
from ..profiles.planning import plan as planning
from ..profiles.records.measurement import QUALITY_METRICS, Measurement
from ..profiles.records.request import QUICK
from ..report.rows import latest
from ..runtimes.session import Settings
from .job import Job
from .making import Making

_PREPARE_DEADLINE_SECONDS = 120.0  # a chat template is a stranger's code


@dataclass(kw_only=True)
class Evaluating:
    """The quality of one run's artifacts."""

    job: Job
    making: Making

    def evaluate(self) -> None:
        """Measure divergence and accuracy of every artifact against the reference, which is computed first.

        A reference that cannot be evaluated makes room for the next best; `Error` where none is left.
        """
        digest = self.prepare()
        for reference in self.making.references():
            pending = [a for a in self.making.artifacts() if not self._has_quality(a, reference, digest)]
            if not pending or self._evaluate(self.making.made(FORMATS[reference.format]), reference, digest):
                self.job.folder.describe({"reference": reference.format, "not_evaluated": ""})
                for artifact in pending:
                    if artifact.format != reference.format:
                        self._evaluate(artifact, reference, digest)
                return
        raise Error("no unquantised artifact passed its checks and can be computed: there is nothing to compare with")

    def _has_quality(self, artifact: Artifact, reference: Artifact, digest: str) -> bool:
        return self.job.measuring.has_quality(artifact, reference=reference, prepared=digest)

    def _evaluate(self, artifact: Artifact, reference: Artifact, digest: str) -> bool:
        self.job.listen("evaluate", artifact.format, "")
        outcome = self.job.measuring.quality(
            artifact,
            reference=reference,
            prepared=self.job.folder.prepared,
            prepared_digest=digest,
            scratch=self.job.folder.scratch,
            progress=self.job.hear("evaluate", artifact.format),
        )
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
            "tasks": [str(task) for task in self.job.tasks],
            "limit": suites.QUICK_ITEMS_A_KIND if request.suite == QUICK and not request.tasks else None,
            "context": self.job.context,
            "target": str(folder.prepared),
        }
        outcome = child.run("edgequant.accuracy.preparation:prepare", job, deadline_seconds=_PREPARE_DEADLINE_SECONDS)
        folder.describe({"prepared": outcome.unwrap()})
        return self._digest()

    def _digest(self) -> str:
        return hashlib.sha256(self.job.folder.prepared.read_bytes()).hexdigest()[:16]

    def contents(self, formats: Sequence[str], device: Device | None = None) -> Contents:
        """What a bundle of these formats holds (none: of all that are there), planned for `device`.

        Measures what is missing of quality, and computes the reference once more, for its compact form.
        """
        job, chosen = self.job, self.making.chosen(formats)
        self.evaluate()
        digest, described = self._digest(), job.folder.open()
        reference = next(a for a in self.making.references() if a.format == described["reference"])
        trained_context, n_vocab = conversion.context_and_vocabulary(job.checkpoint)
        planned = [FORMATS[artifact.format] for artifact in chosen if artifact.format in FORMATS]
        there = device or job.request.device
        made = planning.plan(job.checkpoint, planned, there, context=job.context, onnx=job.request.onnx)
        return Contents(
            described=described,
            artifacts=chosen,
            reference=reference,
            reference_rows=self._rows_of(reference),
            compact=self._compact(reference, digest),
            prepared=job.folder.prepared,
            prepared_digest=digest,
            checkpoint=job.checkpoint.path,
            tasks=job.tasks,
            plan=made.to_json(),
            trained_context=trained_context,
            n_vocab=n_vocab,
        )

    def _rows_of(self, reference: Artifact) -> list[Measurement]:
        """The stored quality of the reference, run plainly."""
        found = latest(self.job.folder.store().rows).get(reference.format, {})
        rows = [found[metric] for metric in QUALITY_METRICS if metric in found]
        return [row for row in rows if row.artifact_sha256 == reference.sha256]

    def _compact(self, reference: Artifact, digest: str) -> Path:
        """The reference's log-probabilities in compact form, computed unless that is done."""
        target, key = self.job.folder.compact, f"{reference.sha256} {digest} {compact.KEPT}"
        if not target.is_file() or compact.read(target).key != key:
            made = self.making.made(FORMATS[reference.format])
            self.job.listen("compact", reference.format, "")
            job = {"container": made.container, "path": made.path, "prepared": str(self.job.folder.prepared)}
            outcome, _ = self.job.measuring.fence.run(
                "edgequant.accuracy.compact:make",
                {**job, "target": str(target), "key": key},
                settings=Settings(threads=self.job.threads, context=self.job.context),
                deadline_seconds=DEADLINE_SECONDS,
                progress=self.job.hear("compact", reference.format),
            )
            outcome.unwrap()
        return target
