"""The main job, told once: open, plan, convert, verify, measure, report."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from edgequant import Error, child
from edgequant.convert import conversion
from edgequant.convert.artifact import Artifact, files_of, read_manifest
from edgequant.convert.checkpoint import Checkpoint
from edgequant.convert.formats import find
from edgequant.convert.outline import open_outline
from edgequant.export.bundle import Contents
from edgequant.profiles.device import Device
from edgequant.profiles.measuring.measuring import Measuring
from edgequant.profiles.measuring.profiling import Profiler, Profiling
from edgequant.profiles.planning import forecast
from edgequant.profiles.planning import plan as planning
from edgequant.profiles.planning.predicted_speeds import speeds
from edgequant.profiles.records.lone_artifact import artifact_of, trained_context
from edgequant.profiles.records.measurement import Measurement
from edgequant.profiles.records.request import Request, request_of
from edgequant.profiles.records.run_folder import RunFolder
from edgequant.profiles.records.store import Store
from edgequant.report.rebuild import compare, rebuild
from edgequant.report.table import Report
from edgequant.steps.checking import Checking, verify_alone
from edgequant.steps.course import Course
from edgequant.steps.evaluating import Evaluating
from edgequant.steps.job import Job, Listener, accepted, open_job, put_right
from edgequant.steps.making import Making
from edgequant.verify.finding import Finding
from edgequant.verify.gate import Gate, unchanged


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What lies ahead of a run: its plan, the steps that are left to do, and a look at what has been found so far."""

    plan: planning.Plan
    agenda: Sequence[forecast.Task]
    so_far: Callable[[], Report]  # takes a tenth of a second; nothing is measured or written


def run(request: Request, listen: Listener, *, planned: Callable[[Outlook], None]) -> Report:
    """Do the whole job in `request.out`; what an earlier run left there is used again.

    `planned` gets the outlook before anything is spent on it. The formats that the plan would pick and what they are
    compared with come first, so that there is a pick early; then all others. A format that cannot be made or measured
    is a row of the report, not the end. Raises `Error` where nothing can be compared at all.
    """
    job = Run(request=request, listen=listen)
    course = Course(job=job.job, making=job.making, checking=job.checking, plan=job.plan())
    planned(Outlook(plan=course.plan, agenda=course.agenda, so_far=lambda: compare(job.folder)))
    job.making.check_disk()
    course.run()
    job.tidy()
    return job.report()


def predict(request: Request, *, progress: child.Progress | None = None) -> planning.Plan:
    """The plan alone: what each format will need, from headers, before anything is downloaded or converted."""
    with tempfile.TemporaryDirectory() as workspace:
        checkpoint = accepted(request, open_outline(request.source, workspace=Path(workspace), progress=progress))
        formats = [find(name) for name in request.formats]
        context = min(request.context, conversion.context_and_vocabulary(checkpoint)[0])
        made = planning.plan(checkpoint, formats, request.device, context=context, onnx=request.onnx)
        return put_right(made, request)


def verify(path: Path, *, checkpoint: str, listen: Listener) -> Artifact:
    """Take one file or folder through the gate again: one that lies in a run, or a GGUF that came from `checkpoint`.

    In a run, its manifest and the store keep the result. Raises `Error` where nothing says what it came from.
    """
    if RunFolder(path).description.is_file():
        raise Error(f"{path} is a run", hint=f"name one of the artifacts in {path / 'artifacts'}")
    path = path if path.is_dir() else files_of(path)[0]  # any shard stands for the whole
    if not path.exists():
        raise Error(f"{path} does not exist")
    if checkpoint:
        return verify_alone(path, checkpoint, listen)
    folder = RunFolder(path.absolute().parent.parent)
    if path.absolute().parent != folder.artifacts.absolute() or not folder.description.is_file():
        raise Error(f"{path} lies in no run", hint="name what it was made from: --checkpoint FOLDER")
    artifact = read_manifest(path)
    job = Run(request=request_of(folder), listen=listen)
    return job.check(artifact, job.gate(), more={"file": unchanged(artifact)})


def profile_alone(path: Path, asked: Profiling, *, device: Device, context: int, listen: Listener) -> list[Measurement]:
    """Measure one file or folder that lies in no run; nothing is stored but in what is returned."""
    artifact, trained = artifact_of(path), trained_context(path)
    context = min(context, trained or context)
    with tempfile.TemporaryDirectory() as workspace:
        store = Store(Path(workspace) / "results.jsonl")
        measuring = Measuring(store=store, run=path.name, device=device, context=context, longest_context=trained)
        Profiler(measuring=measuring, listen=listen).profile([artifact], asked)
        return store.rows


@dataclass(kw_only=True)
class Run:
    """One run and its steps, in the order of `run`; each step takes up what is in the folder."""

    request: Request
    listen: Listener
    job: Job = field(init=False)
    making: Making = field(init=False)
    checking: Checking = field(init=False)
    evaluating: Evaluating = field(init=False)

    def __post_init__(self) -> None:
        """Open the checkpoint, and refuse what cannot be done before anything is spent on it."""
        self.job = open_job(self.request, self.listen)
        self.making = Making(job=self.job)
        self.checking = Checking(job=self.job, making=self.making)
        self.evaluating = Evaluating(job=self.job, making=self.making)

    @property
    def folder(self) -> RunFolder:
        """Where the run lies."""
        return self.job.folder

    @property
    def checkpoint(self) -> Checkpoint:
        """What is converted."""
        return self.job.checkpoint

    @property
    def measuring(self) -> Measuring:
        """What measures, and stores."""
        return self.job.measuring

    def plan(self) -> planning.Plan:
        """What each format will need, those that are there already among them."""
        return self.job.plan(self.job.formats)

    def convert(self) -> None:
        """Make the artifacts: `Making.convert`; `Error` where none could be made."""
        self.making.convert()
        self.making.check_made()

    def artifacts(self) -> list[Artifact]:
        """What is there to be measured: `Making.artifacts`."""
        return self.making.artifacts()

    def verify(self) -> None:
        """Take what was not yet checked through the gate: `Checking.verify`."""
        self.checking.verify()

    def gate(self) -> Gate:
        """The gate of this run's checkpoint: `Checking.gate`."""
        return self.checking.gate()

    def check(self, artifact: Artifact, gate: Gate, more: Mapping[str, Finding] | None = None) -> Artifact:
        """Take one artifact through the gate: `Checking.check`."""
        return self.checking.check(artifact, gate, more)

    def profile(self, asked: Profiling | None = None) -> None:
        """Measure load, prefill, decode and memory of every artifact, and what else is asked, unless it is stored."""
        profiler = Profiler(measuring=self.measuring, listen=self.listen, prepare=self.evaluating.text)
        counts = profiler.profile(self.artifacts(), asked or Profiling())
        if counts:
            self.folder.describe({"device": asdict(self.measuring.device)})
        self.folder.describe({"predicted": {} if self.request.device.is_host else speeds(self.plan())})

    def evaluate(self) -> None:
        """Measure divergence and accuracy of every artifact: `Evaluating.evaluate`."""
        self.evaluating.evaluate()

    def contents(self, formats: Sequence[str], device: Device | None = None) -> Contents:
        """What a bundle of these formats holds: `Evaluating.contents`."""
        return self.evaluating.contents(formats, device)

    def tidy(self) -> None:
        """Remove what was only needed on the way: `Making.tidy`."""
        self.making.tidy()
        self.checking.forget()

    def report(self) -> Report:
        """Build the report from what is stored and write its files."""
        return rebuild(self.folder)
