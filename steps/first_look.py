"""A first look at quality, where the whole of it would take too long to wait for: a part of the text and of the items.

Of a model of 1.5 billion weights the whole text and all items take five minutes a format on two cores, the reference
twice as long; a quarter of it is enough to tell formats of different widths apart. What it finds is stored as any
other measurement and counts until the whole has been measured, which comes last.
"""

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from ..convert.artifact import Artifact
from ..convert.atomic import write_text
from ..profiles.measuring.quality import Quality
from .evaluating import Evaluating

#: windows of text and answers of the reference that are taken, and every which of the items
_WINDOWS, _ANSWERS, _EVERY = 4, 4, 4


class FirstLook(Evaluating):
    """Measures a part of the quality of one run's artifacts, unless the whole of the reference's is there."""

    def evaluate(self) -> None:
        """As `Evaluating.evaluate`, of the part."""
        if not self._is_late():
            super().evaluate()

    def _is_late(self) -> bool:
        if not self.job.folder.prepared.is_file():
            return False
        return any(super(FirstLook, self)._quality(each).has(each) for each in self.making.references()[:1])

    def prepare(self) -> str:
        """Write the part beside what was prepared; returns its digest."""
        super().prepare()
        whole = json.loads(self.job.folder.prepared.read_text(encoding="utf-8"))
        part = {
            **whole,
            "windows": whole["windows"][:_WINDOWS],
            "passage": {},
            "asked": whole["asked"][:_ANSWERS],
            "items": whole["items"][::_EVERY],
        }
        self._part.parent.mkdir(parents=True, exist_ok=True)
        write_text(self._part, json.dumps(part))
        return sha256(self._part.read_bytes()).hexdigest()[:16]

    @property
    def _part(self) -> Path:
        return self.job.folder.scratch / "first-look.json"

    def _quality(self, reference: Artifact) -> Quality:
        digest = sha256(self._part.read_bytes()).hexdigest()[:16]
        compact = self._part.with_suffix(".npz")
        return replace(super()._quality(reference), prepared=self._part, digest=digest, compact=compact, judge="")

    def _measure(self, quality: Quality, artifact: Artifact) -> bool:
        self.job.listen("look", artifact.format, "")
        outcome = quality.measure(artifact, self.job.hear("look", artifact.format))
        self.job.tell(artifact, outcome)
        return outcome.status == "ok"
