"""What the steps of one run share: what was asked, of which checkpoint, in which folder, and who is told."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from .. import Error, child
from ..accuracy import suites
from ..convert import conversion, quantised_source
from ..convert.architectures import layout
from ..convert.architectures.keys import check_config, check_quantisation
from ..convert.artifact import Artifact
from ..convert.checkpoint import Checkpoint
from ..convert.formats import Format, find
from ..convert.peer_converter import entrusted, find_script
from ..convert.source import open_source
from ..profiles.machine import host
from ..profiles.measuring.measuring import Measuring
from ..profiles.planning import plan as planning
from ..profiles.planning.calibration import calibrated
from ..profiles.planning.evidence import evidence
from ..profiles.records.request import Request, described
from ..profiles.records.run_folder import RunFolder
from ..report.rows import SOURCE

Listener = Callable[[str, str, str], None]  # step, format ("" where it concerns the whole run), detail


@dataclass(kw_only=True)
class Job:
    """One run, open: `context` in tokens, `threads` those that the device has here."""

    request: Request
    listen: Listener
    folder: RunFolder
    checkpoint: Checkpoint
    formats: Sequence[Format]
    sources: Sequence[suites.Source]
    context: int
    threads: int
    measuring: Measuring

    def hear(self, step: str, format_name: str = "") -> child.Progress:
        """What a child's progress goes to."""
        return lambda detail: self.listen(step, format_name, detail)

    def tell(self, artifact: Artifact, outcome: child.Outcome) -> None:
        """Say that measuring an artifact failed, if it did."""
        if outcome.status != "ok":
            self.listen("failed", artifact.format, outcome.note)

    @cached_property
    def source_artifact(self) -> Artifact | None:
        """The quantised file that the checkpoint was dequantised from; None where there is none."""
        origin = self.checkpoint.quantised_source
        return quantised_source.as_artifact(self.checkpoint, origin, format_name=SOURCE) if origin else None

    def plan(self, formats: Sequence[Format]) -> planning.Plan:
        """What each of these formats will need."""
        request = self.request
        made = planning.plan(self.checkpoint, formats, request.device, context=self.context, onnx=request.onnx)
        return put_right(made, request)


def open_job(request: Request, listen: Listener) -> Job:
    """Open the checkpoint and the folder, and refuse what cannot be done before anything is spent on it."""
    formats = [find(name) for name in request.formats]
    sources = suites.resolve(request.tasks, limit=request.limit) if request.tasks else suites.suite(request.suite)
    suites.check(sources)
    folder = RunFolder(request.out)
    folder.check()
    try:
        opened = open_source(
            request.source, workspace=folder.source, progress=lambda detail: listen("open", "", detail)
        )
        checkpoint = accepted(request, opened)
    except Error:
        folder.discard_empty()
        raise
    folder.create()
    trained_context = conversion.context_and_vocabulary(checkpoint)[0]
    context = min(request.context, trained_context)
    listen("opened", "", str(checkpoint))
    asked = ever_asked(folder, formats)
    folder.describe(described(request, checkpoint, context=context, ever_asked=asked))
    return Job(
        request=request,
        listen=listen,
        folder=folder,
        checkpoint=checkpoint,
        formats=formats,
        sources=sources,
        context=context,
        threads=min(request.device.threads, host.machine().threads),
        measuring=Measuring(
            store=folder.store(),
            run=folder.path.name,
            device=request.device,
            context=context,
            longest_context=trained_context,
        ),
    )


def accepted(request: Request, checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint, unless it cannot be converted; the converter that the request names may take it on."""
    script = find_script(request.converter) if request.converter else None
    check_quantisation(checkpoint)
    try:
        check_config(checkpoint)
        layout.plan(checkpoint)
    except Error as error:
        if script is None:
            raise
        return entrusted(checkpoint, script, why=str(error))
    return checkpoint


def put_right(made: planning.Plan, request: Request) -> planning.Plan:
    """The plan with speeds corrected by what an earlier run of the model has of the device (`evidence`)."""
    return calibrated(made, evidence(request, context=made.context))


def ever_asked(folder: RunFolder, formats: Sequence[Format]) -> set[str]:
    """Formats that a user asked for in this folder, now or in an earlier run."""
    earlier = folder.open() if folder.description.is_file() else {}
    return {fmt.name for fmt in formats} | set(earlier.get("asked", earlier.get("formats", [])))
