"""A bundle opened on the machine that measures it: what of a run needs no checkpoint."""

import json
import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .. import Error, __version__, child
from ..convert.artifact import Artifact, is_whole
from ..convert.atomic import write_text
from ..profiles.device import HOST, Device, from_json, load
from ..profiles.machine import host
from ..profiles.measuring.measuring import Measuring
from ..profiles.measuring.profiling import Profiler, Profiling
from ..profiles.measuring.quality import Quality
from ..profiles.planning.predicted_speeds import speeds_in
from ..profiles.records.run_folder import RunFolder
from ..report.rebuild import rebuild
from ..report.table import Report
from ..runtimes.session import runtime_version
from . import unpack
from .bundle import DESCRIPTION, PLAN, REFERENCE_ROWS, SCHEMA

Listener = Callable[[str, str, str], None]  # step, format ("" where it concerns the whole run), detail


@dataclass(kw_only=True)
class OnDevice:
    """The steps that a device can do of a run, as `pipeline.Run` has them; rows go to the folder's results.jsonl."""

    path: Path  # the unpacked folder
    listen: Listener
    device_name: str = ""  # a profile, a .toml file, or "host"; "" for what was asked before, or this machine
    context: int = 0  # tokens; 0 for what was asked before, or the run's own
    device: Device = field(init=False)
    folder: RunFolder = field(init=False)
    measuring: Measuring = field(init=False)

    def __post_init__(self) -> None:
        """Read what the bundle says of itself, and make the folder a run of this device."""
        self.folder = RunFolder(self.path)
        self.bundled = description(self.path)
        run = self.bundled["run"]
        before = self.folder.open() if self.folder.description.is_file() else {}
        self.device = self._device(before)
        self.context = min(self.context or before.get("context", run["context"]), self.bundled["trained_context"])
        self._describe(run)
        self.measuring = Measuring(
            store=self.folder.store(),
            run=self.path.name,
            device=self.device,
            context=self.context,
            longest_context=self.bundled["trained_context"],
        )
        self.listen("opened", "", f"{run['checkpoint']['name']}, bundled with {', '.join(self.bundled['formats'])}")

    def _device(self, before: dict[str, Any]) -> Device:
        """What is asked for now or was before; this machine with the threads that a sweep found best on it."""
        known = from_json(before["device"]) if before else None
        if known and not known.is_host and not self.device_name:
            return known
        device = load(self.device_name or HOST)
        return known if known and (known.name, known.title) == (device.name, device.title) else device

    def _describe(self, run: dict[str, Any]) -> None:
        """run.json and results.jsonl of this device: the reference's rows come first, for the others to be compared."""
        if not self.folder.results.is_file():
            write_text(self.folder.results, (self.path / REFERENCE_ROWS).read_text(encoding="utf-8"))
        engines = {"llama-cpp-python": runtime_version("gguf"), "onnxruntime": runtime_version("onnx")}
        described = {
            **run,
            "formats": self.bundled["formats"],
            "device": asdict(self.device),
            "cpu": host.machine().cpu,
            "predicted": self._predicted(),
            "context": self.context,
            "command": shlex.join(["edgequant", *sys.argv[1:]]),
            "versions": {"edgequant": __version__, **engines},
        }
        write_text(self.folder.description, json.dumps(described, indent=2) + "\n")

    def _predicted(self) -> dict[str, dict[str, list[float]]]:
        """Speeds that the bundle's plan predicts, where it was made for the device that this machine stands in for."""
        if self.device.is_host or not (self.path / PLAN).is_file():
            return {}
        plan = json.loads((self.path / PLAN).read_text(encoding="utf-8"))
        is_of = (plan.get("device"), plan.get("context")) == (self.device.name, self.context)
        return speeds_in(plan) if is_of else {}

    def artifacts(self) -> list[Artifact]:
        """The artifacts whose files came with the bundle."""
        made = self.folder.made(revision=self.bundled["run"]["checkpoint"]["revision"])
        return [artifact for artifact in made if artifact.format in self.bundled["formats"] and is_whole(artifact)]

    def profile(self, asked: Profiling | None = None) -> None:
        """Measure load, prefill, decode and memory of every artifact, and what else is asked, unless it is stored."""
        profiler = Profiler(measuring=self.measuring, listen=self.listen, prepare=lambda: self.folder.prepared)
        if profiler.profile(self.artifacts(), asked or Profiling()):
            self.folder.describe({"device": asdict(self.measuring.device)})

    def evaluate(self) -> None:
        """Measure divergence and accuracy of every artifact against the reference that came with the bundle."""
        quality = Quality(
            measuring=self.measuring,
            reference=self._reference(),
            prepared=self.folder.prepared,
            digest=self.bundled["prepared_digest"],
            compact=self.folder.compact,
            unfinished=self.folder.unfinished,
        )
        for artifact in self.artifacts():
            told = artifact.format == quality.reference.format  # its answers came along
            if not told and not quality.has(artifact):
                self.listen("evaluate", artifact.format, "")
                self._tell(artifact, quality.measure(artifact, self._hear("evaluate", artifact.format)))

    def _reference(self) -> Artifact:
        run = self.bundled["run"]
        made = self.folder.made(revision=run["checkpoint"]["revision"])
        found = next((artifact for artifact in made if artifact.format == run["reference"]), None)
        if found is None:
            raise Error(f"{self.path} lacks the manifest of its reference {run['reference']}", hint="bundle again")
        return found

    def tidy(self) -> None:
        """Remove what was only needed on the way."""
        shutil.rmtree(self.folder.scratch, ignore_errors=True)

    def report(self) -> Report:
        """Build the report from what is stored here and write its files."""
        return rebuild(self.folder)

    def _hear(self, step: str, format_name: str) -> child.Progress:
        return lambda detail: self.listen(step, format_name, detail)

    def _tell(self, artifact: Artifact, outcome: child.Outcome) -> None:
        if outcome.status != "ok":
            self.listen("failed", artifact.format, outcome.note)


def description(folder: Path) -> dict[str, Any]:
    """bundle.json of an unpacked bundle; `Error` where this version cannot read it."""
    file = folder / DESCRIPTION
    try:
        values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        schema = values.get("schema")
    except (OSError, ValueError, AttributeError) as error:
        raise Error(f"{file} does not read: {error}", hint="copy the bundle again") from None
    if schema != SCHEMA:
        raise Error(f"{file} has schema {schema}, this version reads {SCHEMA}", hint="bundle again with this version")
    return values


def folder_of(path: Path, *, out: Path | None = None) -> Path:
    """The run folder that `path` means: itself, or where the bundle `path` is unpacked."""
    return unpack.unpacked(path, out=out) if unpack.is_bundle(path) else path
