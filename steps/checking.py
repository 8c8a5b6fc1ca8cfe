"""Taking artifacts through the gate: all of a run, one of them again, or a file that lies in no run."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .. import Error
from ..convert import conversion, quantised_source
from ..convert.artifact import Artifact
from ..convert.checkpoint import QuantisedSource
from ..convert.formats import FORMATS
from ..convert.source import open_source
from ..profiles.machine import host
from ..verify import logits, reference
from ..verify.finding import FAILED, NOT_CHECKED, Finding
from ..verify.gate import FAILED_GATE, Circumstances, Gate, has_failed, is_quantised, with_findings
from .job import Job, Listener
from .making import Making

#: a checkpoint that takes more in float32 is computed layer by layer, which is as exact and as fast: 1.5 billion
#: weights 2.6 GB instead of 7.3 (seen)
_WHOLE_BYTES = 4e9


@dataclass(kw_only=True)
class Checking:
    """The gate of one run; what it computed of the checkpoint is kept as long as the run's scratch files."""

    job: Job
    making: Making
    _kept: Gate | None = field(default=None, init=False)

    def verify(self) -> None:
        """Take every artifact that was not yet checked through the gate; manifests and rows keep the result."""
        unchecked = [artifact for artifact in self.making.artifacts() if not artifact.checks]
        if unchecked and self._kept is None:
            self._kept = self.gate()
        for artifact in sorted(unchecked, key=is_quantised):  # quantised ones are compared with the others
            assert self._kept is not None
            self.check(artifact, self._kept)

    def forget(self) -> None:
        """Begin anew: the scratch files are gone."""
        self._kept = None

    def gate(self, *, sparing: bool = True) -> Gate:
        """The gate of this run's checkpoint, which keeps what it computed of the checkpoint.

        A `sparing` one computes a large checkpoint layer by layer, however much memory there is.
        """
        origin = self.job.checkpoint.quantised_source
        named = Path(origin.path if origin else self.job.request.source)
        circumstances = Circumstances(
            threads=self.job.threads,
            free_bytes=self._memory(sparing=sparing),
            scratch=self.job.folder.scratch,
            source_gguf=named if named.suffix == ".gguf" and named.is_file() else None,
        )
        return Gate(self.job.checkpoint, circumstances)

    def _memory(self, *, sparing: bool) -> float:
        """Bytes that the gate may use: no more than going layer by layer takes, unless the whole takes little."""
        usable = host.machine().usable_bytes
        _, by_layer = reference.needed_bytes(self.job.checkpoint, logits.N_TOKENS)
        return min(usable, max(by_layer, _WHOLE_BYTES)) if sparing else usable

    def check(self, artifact: Artifact, gate: Gate, more: Mapping[str, Finding] | None = None) -> Artifact:
        """Take one artifact through the gate; returns it with what was found, `more` before the rest."""
        self.job.listen("verify", artifact.format, "")
        findings = {**(more or {}), **self._findings(artifact, gate)}
        if source := self._origin_failed(artifact):
            findings["origin"] = Finding(verdict=FAILED, said=f"{source}, which it is made from, failed its checks")
        checked = with_findings(artifact, findings)
        self.making.keep(checked)
        self.job.measuring.store_gate(checked, findings)
        for note in checked.notes:
            if note.startswith(FAILED_GATE):
                self.job.listen("failed", artifact.format, note)
        return checked

    def _findings(self, artifact: Artifact, gate: Gate) -> dict[str, Finding]:
        """What the gate finds; a checkpoint that cannot be computed layer by layer is then computed whole."""
        hear, among = self.job.hear("verify", artifact.format), self.making.artifacts()
        findings = gate.check(artifact, among=among, progress=hear)
        whole, _ = reference.needed_bytes(self.job.checkpoint, logits.N_TOKENS)
        spared = self._memory(sparing=True) < whole <= self._memory(sparing=False)
        if findings["logits"].verdict != NOT_CHECKED or not spared:
            return findings
        self._kept = self.gate(sparing=False)
        return self._kept.check(artifact, among=among, progress=hear)

    def _origin_failed(self, artifact: Artifact) -> str:
        """The format that the artifact is made from, where that failed its checks."""
        checkpoint, folder, fmt = self.job.checkpoint, self.job.folder.artifacts, FORMATS.get(artifact.format)
        source = fmt and conversion.source_in(checkpoint, fmt, folder)
        made = source and conversion.recorded(checkpoint, source, folder)
        return made.format if made and has_failed(made) else ""


def verify_alone(path: Path, checkpoint: str, listen: Listener) -> Artifact:
    """Take a .gguf file that lies in no run through the gate of the checkpoint that it came from; nothing is kept."""
    if not path.is_file():
        raise Error(f"{path} is no file", hint="--checkpoint goes with a .gguf file")
    with tempfile.TemporaryDirectory() as workspace:
        opened = open_source(checkpoint, workspace=Path(workspace), progress=lambda text: listen("open", "", text))
        named = QuantisedSource(path=str(path), type="", size_bytes=path.stat().st_size)
        artifact = quantised_source.as_artifact(opened, named, format_name=path.name)
        assert artifact is not None
        here = host.machine()
        circumstances = Circumstances(
            threads=here.threads, free_bytes=here.usable_bytes, scratch=Path(workspace) / "scratch"
        )
        listen("verify", path.name, "")
        gate = Gate(opened, circumstances)
        return with_findings(artifact, gate.check(artifact, progress=lambda text: listen("verify", path.name, text)))
