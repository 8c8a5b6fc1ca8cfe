"""One artifact of a run on its way out, with all that is told of it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ... import Error
from ...convert import demo
from ...convert.artifact import Artifact, digest_of, files_of, is_whole, shard_path
from ...convert.source import DEMO
from ...profiles.records.run_folder import RunFolder
from ...report.rebuild import compare
from ...report.rows import SOURCE, Row
from ...report.table import Report
from ...verify.gate import has_failed
from .origin import Origin, origin_of

_LONGEST_NAME = 100  # of 255 bytes that file systems take
_UNSAFE = re.compile(r"[^A-Za-z0-9._+-]+")


@dataclass(frozen=True, kw_only=True)
class Shipment:
    """An artifact, the run that measured it, and the checkpoint that it came from.

    `base_model` is the Hub's id of that checkpoint, "" where nobody knows one.
    """

    run: RunFolder
    described: Mapping[str, Any]  # run.json
    report: Report
    artifact: Artifact
    origin: Origin
    base_model: str = ""

    @property
    def name(self) -> str:
        """Name and format, fit for a file on any system, whatever the checkpoint is called."""
        return f"{safe(self.artifact.checkpoint)}-{safe(self.format)}"

    @property
    def format(self) -> str:
        """The format; of a quantised file that is shipped as it came, the type of most of its weights."""
        source = self.report.context.quantised_source
        return source.type if self.artifact.format == SOURCE and source else self.artifact.format

    @property
    def row(self) -> Row:
        """The artifact's row of the comparison."""
        return next(row for row in self.report.rows if row.format == self.artifact.format)

    def files(self) -> dict[str, Path]:
        """What the artifact consists of: name in the shipment -> where it lies."""
        path = Path(self.artifact.path)
        found = files_of(path)
        if path.is_dir():
            return {file.relative_to(path).as_posix(): file for file in found}
        whole = Path(f"{self.name}.gguf")
        if len(found) == 1:
            return {whole.name: path}
        return {shard_path(whole, n + 1, len(found)).name: file for n, file in enumerate(found)}

    @property
    def main_file(self) -> str:
        """The file that engines are given: the GGUF, or its first shard."""
        return next(iter(self.files()))


def gather(path: Path, format_name: str, *, checkpoint: Path | None = None, base_model: str = "") -> Shipment:
    """The artifact of that format in the run at `path`; "" for the one that the run's report picks.

    `Error` where there is none, its files are not those that were measured, or it failed its checks.
    """
    run = RunFolder(path)
    described, report = run.open(), compare(run)
    artifact = _chosen(run, report, format_name or _picked(report, path))
    origin = origin_of(run, named=checkpoint)
    return Shipment(
        run=run,
        described=described,
        report=report,
        artifact=artifact,
        origin=origin,
        base_model=base_model or origin.hub_id,
    )


def picked(path: Path) -> Artifact:
    """The artifact that the report of the run at `path` picks."""
    run = RunFolder(path)
    report = compare(run)
    return _chosen(run, report, _picked(report, path))


def safe(text: str) -> str:
    """Letters, digits and `._+-` alone: no name of a stranger's reaches a path, a script or a Modelfile otherwise."""
    return _UNSAFE.sub("-", text)[:_LONGEST_NAME].strip("-.") or "model"


def check_files(shipment: Shipment) -> None:
    """`Error` where the files are not those that were measured: reads all of them."""
    artifact = shipment.artifact
    if digest_of(Path(artifact.path)) != artifact.sha256:
        raise Error(
            f"{artifact.path} is not the file that was measured",
            hint=f"convert and measure it again: edgequant run {shipment.described['source']}",
        )


def _picked(report: Report, path: Path) -> str:
    if report.answer.pick is None:
        raise Error(f"{path} has no pick: {report.answer.headline}", hint="name a format, or see: edgequant pick RUN")
    return report.answer.pick


def _chosen(run: RunFolder, report: Report, format_name: str) -> Artifact:
    there = {artifact.format.lower(): artifact for artifact in report.artifacts}
    found = there.get(format_name.lower())
    if found is None:
        known = ", ".join(artifact.format for artifact in there.values()) or "nothing"
        raise Error(f"{run.path} holds no {format_name}", hint=f"it has {known}")
    artifact = _located(run, report, found)
    if has_failed(artifact):
        raise Error(f"{artifact.format} failed its checks", hint=f"edgequant verify {artifact.path}")
    if not is_whole(artifact):
        raise Error(f"the files of {artifact.format} are not at {artifact.path}", hint="run it again to make them")
    return artifact


def _located(run: RunFolder, report: Report, artifact: Artifact) -> Artifact:
    """The artifact where its files lie; those of a quantised source lie outside the run."""
    source = report.context.quantised_source
    if artifact.format != SOURCE or source is None:
        return artifact
    path = Path(source.path)
    if not path.is_file() and run.open().get("source") == DEMO:
        path = demo.find()
    return replace(artifact, path=str(path))
