"""Taking artifacts through the gate: all of a run, one of them again, or a file that lies in no run."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .. import Error
from ..convert import conversion, quantised_source
from ..convert.artifact import Artifact
from ..convert.checkpoint import QuantisedSource
from ..convert.formats import FORMATS
from ..convert.source import open_source
from ..profiles.machine import host
from ..verify.finding import FAILED, Finding
from ..verify.gate import FAILED_GATE, Circumstances, Gate, has_failed, is_quantised, with_findings
from .job import Job, Listener
from .making import Making


@dataclass(kw_only=True)
class Checking:
    """The gate of one run."""

    job: Job
    making: Making

    def verify(self) -> None:
        """Take every artifact that was not yet checked through the gate; manifests and rows keep the result."""
        gate = self.gate()
        for artifact in sorted(
            self.making.artifacts(), key=is_quantised
        ):  # quantised ones are compared with the others
            if not artifact.checks:
                self.check(artifact, gate)

    def gate(self) -> Gate:
        """The gate of this run's checkpoint, which keeps what it computed of the checkpoint."""
        origin = self.job.checkpoint.quantised_source
        named = Path(origin.path if origin else self.job.request.source)
        circumstances = Circumstances(
            threads=self.job.threads,
            free_bytes=host.machine().usable_bytes,
            scratch=self.job.folder.scratch,
            source_gguf=named if named.suffix == ".gguf" and named.is_file() else None,
        )
        return Gate(self.job.checkpoint, circumstances)

    def check(self, artifact: Artifact, gate: Gate, more: Mapping[str, Finding] | None = None) -> Artifact:
        """Take one artifact through the gate; returns it with what was found, `more` before the rest."""
        self.job.listen("verify", artifact.format, "")
        hear = self.job.hear("verify", artifact.format)
        findings = {**(more or {}), **gate.check(artifact, among=self.making.artifacts(), progress=hear)}
        if source := self._origin_failed(artifact):
            findings["origin"] = Finding(verdict=FAILED, said=f"{source}, which it is made from, failed its checks")
        checked = with_findings(artifact, findings)
        self.making.keep(checked)
        self.job.measuring.store_gate(checked, findings)
        for note in checked.notes:
            if note.startswith(FAILED_GATE):
                self.job.listen("failed", artifact.format, note)
        return checked

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
