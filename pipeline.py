"""The main job, told once: open, plan, convert, verify, measure, report."""

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path

from edgequant import Error, child
from edgequant.accuracy import compact, items, suites
from edgequant.convert import conversion, quantised_source
from edgequant.convert.architectures import layout
from edgequant.convert.architectures.keys import check_config, check_quantisation
from edgequant.convert.artifact import Artifact, files_of, read_manifest, write_manifest
from edgequant.convert.checkpoint import Checkpoint, QuantisedSource
from edgequant.convert.formats import FORMATS, Format, find
from edgequant.convert.makers import with_sources
from edgequant.convert.outline import open_outline
from edgequant.convert.peer_converter import entrusted, find_script
from edgequant.convert.source import open_source
from edgequant.export.bundle import Contents
from edgequant.profiles.device import Device
from edgequant.profiles.machine import host
from edgequant.profiles.measuring.measuring import Measuring
from edgequant.profiles.measuring.profiling import Profiler, Profiling
from edgequant.profiles.planning import plan as planning
from edgequant.profiles.planning.calibration import calibrated
from edgequant.profiles.planning.predicted_speeds import speeds
from edgequant.profiles.records.lone_artifact import artifact_of
from edgequant.profiles.records.measurement import QUALITY_METRICS, Measurement
from edgequant.profiles.records.request import QUICK, Request, described, request_of
from edgequant.profiles.records.run_folder import RunFolder
from edgequant.profiles.records.store import Store, read
from edgequant.report.rebuild import rebuild
from edgequant.report.rows import SOURCE
from edgequant.report.table import Report
from edgequant.runtimes.session import Settings
from edgequant.tune import smoothing
from edgequant.verify.finding import FAILED, Finding
from edgequant.verify.gate import FAILED_GATE, Circumstances, Gate, has_failed, is_quantised, unchanged, with_findings

Listener = Callable[[str, str, str], None]  # step, format ("" where it concerns the whole run), detail
_PREPARE_DEADLINE_SECONDS = 120.0  # a chat template is a stranger's code
_SOURCES_ONLY = "not eligible: made only as source and reference of the others, and removed after the run"


def run(request: Request, listen: Listener, *, planned: Callable[[planning.Plan], None]) -> Report:
    """Do the whole job in `request.out`; what an earlier run left there is used again.

    `planned` gets the plan before anything is spent on it. A format that cannot be made or measured is a row of the
    report, not the end. Raises `Error` where nothing can be compared at all.
    """
    job = Run(request=request, listen=listen)
    planned(job.plan())
    job.check_disk()
    job.convert()
    if request.verify:
        job.verify()
    job.release(compares=True)
    job.profile()
    try:
        job.evaluate()
    except Error as error:  # speeds and sizes are there all the same
        listen("failed", "", str(error))
        job.folder.describe({"not_evaluated": str(error)})
    job.tidy()
    return job.report()


def predict(request: Request, *, progress: child.Progress | None = None) -> planning.Plan:
    """The plan alone: what each format will need, from headers, before anything is downloaded or converted."""
    with tempfile.TemporaryDirectory() as workspace:
        checkpoint = _accepted(request, open_outline(request.source, workspace=Path(workspace), progress=progress))
        formats = [find(name) for name in request.formats]
        context = min(request.context, conversion.context_and_vocabulary(checkpoint)[0])
        made = planning.plan(checkpoint, formats, request.device, context=context, onnx=request.onnx)
        return _calibrated(made, request)


def _calibrated(made: planning.Plan, request: Request) -> planning.Plan:
    """The plan put right by what an earlier run of the model measured on the device."""
    results = RunFolder(request.out).results
    cpu = host.machine().cpu if request.device.is_host else ""
    return calibrated(made, read(results), cpu=cpu) if results.is_file() else made


def _open(request: Request, workspace: Path, progress: child.Progress | None = None) -> Checkpoint:
    """Open the checkpoint and refuse what cannot be converted."""
    return _accepted(request, open_source(request.source, workspace=workspace, progress=progress))


def _accepted(request: Request, checkpoint: Checkpoint) -> Checkpoint:
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
        return _verify_alone(path, checkpoint, listen)
    folder = RunFolder(path.absolute().parent.parent)
    if path.absolute().parent != folder.artifacts.absolute() or not folder.description.is_file():
        raise Error(f"{path} lies in no run", hint="name what it was made from: --checkpoint FOLDER")
    artifact = read_manifest(path)
    job = Run(request=request_of(folder), listen=listen)
    return job.check(artifact, job.gate(), more={"file": unchanged(artifact)})


def profile_alone(path: Path, asked: Profiling, *, device: Device, context: int, listen: Listener) -> list[Measurement]:
    """Measure one file or folder that lies in no run; nothing is stored but in what is returned."""
    artifact = artifact_of(path)
    with tempfile.TemporaryDirectory() as workspace:
        store = Store(Path(workspace) / "results.jsonl")
        measuring = Measuring(store=store, run=path.name, device=device, context=context)
        Profiler(measuring=measuring, listen=listen, scratch=Path(workspace)).profile([artifact], asked)
        return store.rows


def _verify_alone(path: Path, checkpoint: str, listen: Listener) -> Artifact:
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


@dataclass(kw_only=True)
class Run:
    """One run and its steps, in the order of `run`; each step takes up what is in the folder."""

    request: Request
    listen: Listener
    folder: RunFolder = field(init=False)
    checkpoint: Checkpoint = field(init=False)
    measuring: Measuring = field(init=False)

    def __post_init__(self) -> None:
        """Open the checkpoint, and refuse what cannot be done before anything is spent on it."""
        request = self.request
        self.formats: list[Format] = [find(name) for name in request.formats]
        self.tasks = [items.find(name) for name in request.tasks] or items.built_in()
        items.read(self.tasks)
        self.folder = RunFolder(request.out)
        self.folder.check()
        try:
            self.checkpoint = _open(request, self.folder.source, self._hear("open"))
        except Error:
            self.folder.discard_empty()
            raise
        self.folder.create()
        self.context = min(request.context, conversion.context_and_vocabulary(self.checkpoint)[0])
        self.threads = min(request.device.threads, host.machine().threads)
        self.measuring = Measuring(
            store=self.folder.store(),
            run=self.folder.path.name,
            device=request.device,
            context=self.context,
            longest_context=conversion.context_and_vocabulary(self.checkpoint)[0],
        )
        self.listen("opened", "", str(self.checkpoint))
        self.folder.describe(described(request, self.checkpoint, context=self.context, ever_asked=self._ever_asked()))

    def _ever_asked(self) -> set[str]:
        """Formats that a user asked for here, now or in an earlier run."""
        earlier = self.folder.open() if self.folder.description.is_file() else {}
        return {fmt.name for fmt in self.formats} | set(earlier.get("asked", earlier.get("formats", [])))

    def _hear(self, step: str, format_name: str = "") -> child.Progress:
        return lambda detail: self.listen(step, format_name, detail)

    def plan(self) -> planning.Plan:
        """What each format will need, those that are there already among them."""
        return self._plan(self.formats)

    def _plan(self, formats: Sequence[Format]) -> planning.Plan:
        request = self.request
        made = planning.plan(self.checkpoint, formats, request.device, context=self.context, onnx=request.onnx)
        return _calibrated(made, request)

    def check_disk(self) -> None:
        """Raise `Error` where the disk cannot hold what is still to be made, and one shard more while it is cut."""
        made = self._plan([f for f in self._asked if not self._existing(f)])
        largest = max((f.size_bytes for f in made.formats), default=0)
        cut = min(self.request.split_max_bytes, largest)
        replace(made, disk_bytes=made.disk_bytes + cut).check_disk(self.folder.path)

    def _existing(self, fmt: Format) -> Artifact | None:
        return conversion.existing(self.checkpoint, fmt, self._workshop)

    @property
    def _asked(self) -> list[Format]:
        """What was asked for, with BF16 in place of an F16 that cannot hold the weights."""
        bf16 = FORMATS["BF16"] if self._beyond_f16 else FORMATS["F16"]
        return list(dict.fromkeys(bf16 if fmt.name == "F16" else fmt for fmt in self.formats))

    @property
    def _beyond_f16(self) -> str:
        """Why F16 cannot hold the weights, as far as is known."""
        return conversion.stand_in(self.checkpoint, self.folder.artifacts)

    def convert(self) -> None:
        """Make the formats and what they are made from; one that fails is stored as rows, with its reason."""
        missing = [fmt for fmt in self._asked if not self._existing(fmt)]
        needed = with_sources(self.checkpoint, missing, bf16_for_f16=bool(self._beyond_f16))
        failed: dict[str, Error] = {}
        for fmt in needed:
            self.listen("convert", fmt.name, "")
            try:
                self._make(fmt, failed)
            except Error as error:
                failed[fmt.name] = error
                self.listen("failed", fmt.name, str(error))
                if not self._is_replaced(fmt):
                    self.measuring.store_failure(fmt, status=getattr(error, "status", "error"), note=str(error))
        self._say_what_is_replaced()
        if failed and len(failed) == len(needed) and not self.artifacts():
            first = next(iter(failed.values()))
            raise Error(f"no format could be made: {first}", hint=first.hint)
        if self._source_artifact:
            self._keep(self._with_findings_kept(self._source_artifact))

    def _make(self, fmt: Format, failed: Mapping[str, Error]) -> None:
        source = conversion.source_in(self.checkpoint, fmt, self.folder.artifacts)
        if source and source.name in failed:
            raise Error(f"{source.name}, which it is made from, failed: {failed[source.name]}")
        try:
            self._convert(fmt)
        except conversion.Failed as error:
            if fmt.name == "F16" and error.is_beyond_range:
                self._convert_instead(reason=str(error))
            raise

    def _convert(self, fmt: Format) -> Artifact:
        hear = self._hear("convert", fmt.name)
        if fmt.smoothed and not self._existing(fmt):
            return smoothing.convert(self._search(fmt), self._workshop, progress=hear)
        return conversion.convert(self.checkpoint, fmt, self._workshop, progress=hear)

    def _search(self, fmt: Format) -> smoothing.Search:
        """What the strength of smoothing is searched with; the best unquantised artifact so far is the reference."""
        return smoothing.Search(
            checkpoint=self.checkpoint,
            fmt=fmt,
            options=self.request.onnx,
            scratch=self.folder.scratch / "smoothing",
            threads=self.threads,
            reference=next((a for a in self.references() if Path(a.path).exists()), None),
        )

    def _convert_instead(self, *, reason: str) -> None:
        """BF16 where F16 cannot hold the weights: what is made from F16 elsewhere is made from it."""
        self.listen("convert", "BF16", "")
        hear = self._hear("convert", "BF16")
        conversion.convert_instead(self.checkpoint, self._workshop, reason=reason, progress=hear)

    @property
    def _workshop(self) -> conversion.Workshop:
        return conversion.Workshop(
            folder=self.folder.artifacts,
            threads=self.threads,
            split_max_bytes=self.request.split_max_bytes,
            allow_nan=self.request.allow_nan,
            onnx=self.request.onnx,
        )

    def _is_replaced(self, fmt: Format) -> bool:
        return fmt.name == "F16" and bool(self._beyond_f16)

    def _say_what_is_replaced(self) -> None:
        """Rows of an F16 that was asked for and cannot be made; once, however often the run is repeated."""
        f16, reason = FORMATS["F16"], self._beyond_f16
        if f16 not in self.formats or not reason:
            return
        said = f"{reason}; BF16 was made instead"
        if not any(row.format == f16.name and row.note == said for row in self.folder.store().rows):
            self.measuring.store_failure(f16, status="unsupported", note=said)

    def artifacts(self) -> list[Artifact]:
        """What is there to be measured: artifacts whose files exist, and the quantised file that they came from."""
        order, asked = list(FORMATS), self._asked
        found = [
            self._existing(fmt) if fmt in asked else conversion.kept(self.checkpoint, fmt, self._workshop)
            for fmt in FORMATS.values()
        ]
        made = sorted((a for a in found if a), key=lambda a: order.index(a.format))
        return [*made, *([self._with_findings_kept(self._source_artifact)] if self._source_artifact else [])]

    @cached_property
    def _source_artifact(self) -> Artifact | None:
        origin = self.checkpoint.quantised_source
        if origin is None:
            return None
        return quantised_source.as_artifact(self.checkpoint, origin, format_name=SOURCE)

    def _with_findings_kept(self, source: Artifact) -> Artifact:
        """The quantised source with what its manifest in the folder says of its checks."""
        for kept in self.folder.made(revision=self.checkpoint.revision):
            if kept.format == SOURCE and kept.sha256 == source.sha256:
                return replace(source, checks=kept.checks, notes=kept.notes)
        return source

    def verify(self) -> None:
        """Take every artifact that was not yet checked through the gate; manifests and rows keep the result."""
        gate = self.gate()
        for artifact in sorted(self.artifacts(), key=is_quantised):  # quantised ones are compared with the others
            if not artifact.checks:
                self.check(artifact, gate)

    def gate(self) -> Gate:
        """The gate of this run's checkpoint, which keeps what it computed of the checkpoint."""
        origin = self.checkpoint.quantised_source
        named = Path(origin.path if origin else self.request.source)
        circumstances = Circumstances(
            threads=self.threads,
            free_bytes=host.machine().usable_bytes,
            scratch=self.folder.scratch,
            source_gguf=named if named.suffix == ".gguf" and named.is_file() else None,
        )
        return Gate(self.checkpoint, circumstances)

    def check(self, artifact: Artifact, gate: Gate, more: Mapping[str, Finding] | None = None) -> Artifact:
        """Take one artifact through the gate; returns it with what was found, `more` before the rest."""
        self.listen("verify", artifact.format, "")
        hear = self._hear("verify", artifact.format)
        findings = {**(more or {}), **gate.check(artifact, among=self.artifacts(), progress=hear)}
        if source := self._origin_failed(artifact):
            findings["origin"] = Finding(verdict=FAILED, said=f"{source}, which it is made from, failed its checks")
        checked = with_findings(artifact, findings)
        self._keep(checked)
        self.measuring.store_gate(checked, findings)
        for note in checked.notes:
            if note.startswith(FAILED_GATE):
                self.listen("failed", artifact.format, note)
        return checked

    def _origin_failed(self, artifact: Artifact) -> str:
        """The format that the artifact is made from, where that failed its checks."""
        fmt = FORMATS.get(artifact.format)
        source = fmt and conversion.source_in(self.checkpoint, fmt, self.folder.artifacts)
        made = source and conversion.recorded(self.checkpoint, source, self.folder.artifacts)
        return made.format if made and has_failed(made) else ""

    def _keep(self, artifact: Artifact) -> None:
        """Write the manifest; the quantised source's stands in the folder, though its file lies where it lay."""
        if artifact.format == SOURCE:
            artifact = replace(artifact, path=str(self.folder.artifacts / SOURCE))
        write_manifest(artifact)

    def profile(self, asked: Profiling | None = None) -> None:
        """Measure load, prefill, decode and memory of every artifact, and what else is asked, unless it is stored."""
        profiler = Profiler(
            measuring=self.measuring, listen=self.listen, prepare=self._text, scratch=self.folder.scratch
        )
        counts = profiler.profile(self.artifacts(), asked or Profiling())
        if counts:
            self.folder.describe({"device": asdict(self.measuring.device)})
        self.folder.describe({"predicted": {} if self.request.device.is_host else speeds(self.plan())})

    def _text(self) -> Path:
        """The file of the text that divergences are measured on, made where it is not there."""
        if not self.folder.prepared.is_file():
            self._prepare()
        return self.folder.prepared

    def _tell(self, artifact: Artifact, outcome: child.Outcome) -> None:
        if outcome.status != "ok":
            self.listen("failed", artifact.format, outcome.note)

    def evaluate(self) -> None:
        """Measure divergence and accuracy of every artifact against the reference, which is computed first.

        A reference that cannot be evaluated makes room for the next best; `Error` where none is left.
        """
        digest = self._prepare()
        for reference in self.references():
            pending = [a for a in self.artifacts() if not self._has_quality(a, reference, digest)]
            if not pending or self._evaluate(self._convert(FORMATS[reference.format]), reference, digest):
                self.folder.describe({"reference": reference.format, "not_evaluated": ""})
                for artifact in pending:
                    if artifact.format != reference.format:
                        self._evaluate(artifact, reference, digest)
                return
        raise Error("no unquantised artifact passed its checks and can be computed: there is nothing to compare with")

    def _has_quality(self, artifact: Artifact, reference: Artifact, digest: str) -> bool:
        return self.measuring.has_quality(artifact, reference=reference, prepared=digest)

    def _evaluate(self, artifact: Artifact, reference: Artifact, digest: str) -> bool:
        self.listen("evaluate", artifact.format, "")
        outcome = self.measuring.quality(
            artifact,
            reference=reference,
            prepared=self.folder.prepared,
            prepared_digest=digest,
            scratch=self.folder.scratch,
            progress=self._hear("evaluate", artifact.format),
        )
        self._tell(artifact, outcome)
        return outcome.status == "ok"

    def references(self) -> list[Artifact]:
        """Unquantised artifacts that did not fail their checks, best first; also those removed after an earlier run."""
        found = [conversion.recorded(self.checkpoint, fmt, self.folder.artifacts) for fmt in FORMATS.values()]
        candidates = [a for a in found if a and not is_quantised(a) and not has_failed(a)]
        return sorted(candidates, key=lambda a: -FORMATS[a.format].nominal_bits)

    def _prepare(self) -> str:
        """Tokenise text and items, unless that is done; returns the digest of the result."""
        self.listen("prepare", "", "tokenising text and items")
        job = {
            "folder": str(self.checkpoint.path),
            "text": str(items.TEXT_FILE),
            "tasks": [str(task) for task in self.tasks],
            "limit": suites.QUICK_ITEMS_A_KIND if self.request.suite == QUICK and not self.request.tasks else None,
            "context": self.context,
            "target": str(self.folder.prepared),
        }
        outcome = child.run("edgequant.accuracy.preparation:prepare", job, deadline_seconds=_PREPARE_DEADLINE_SECONDS)
        self.folder.describe({"prepared": outcome.unwrap()})
        return self._digest()

    def contents(self, formats: Sequence[str], device: Device | None = None) -> Contents:
        """What a bundle of these formats holds (none: of all that are there), planned for `device`.

        Measures what is missing of quality, and computes the reference once more, for its compact form.
        """
        chosen = self._chosen(formats)
        self.evaluate()
        digest, described = self._digest(), self.folder.open()
        reference = next(a for a in self.references() if a.format == described["reference"])
        rows = {row.metric: row for row in self.folder.store().rows if row.artifact_sha256 == reference.sha256}
        trained_context, n_vocab = conversion.context_and_vocabulary(self.checkpoint)
        planned = [FORMATS[artifact.format] for artifact in chosen if artifact.format in FORMATS]
        made = planning.plan(self.checkpoint, planned, device or self.request.device, context=self.context)
        return Contents(
            described=described,
            artifacts=chosen,
            reference=reference,
            reference_rows=[rows[metric] for metric in QUALITY_METRICS if metric in rows],
            compact=self._compact(reference, digest),
            prepared=self.folder.prepared,
            prepared_digest=digest,
            checkpoint=self.checkpoint.path,
            tasks=self.tasks,
            plan=made.to_json(),
            trained_context=trained_context,
            n_vocab=n_vocab,
        )

    def _chosen(self, formats: Sequence[str]) -> list[Artifact]:
        """The artifacts of these formats; `Error` for one that is not there or failed its checks."""
        there = {artifact.format: artifact for artifact in self.artifacts()}
        missing = [name for name in formats if name not in there]
        if missing or not there:
            has = f"it has {', '.join(there)}" if there else "it has none"
            raise Error(f"{self.folder.path} holds no {', '.join(missing) or 'artifacts'}; {has}")
        chosen = [there[name] for name in formats] if formats else list(there.values())
        for artifact in chosen:
            if has_failed(artifact):
                raise Error(f"{artifact.format} failed its checks", hint=f"edgequant verify {artifact.path}")
        return chosen

    def _compact(self, reference: Artifact, digest: str) -> Path:
        """The reference's log-probabilities in compact form, computed unless that is done."""
        target, key = self.folder.compact, f"{reference.sha256} {digest} {compact.KEPT}"
        if not target.is_file() or compact.read(target).key != key:
            made = self._convert(FORMATS[reference.format])
            self.listen("compact", reference.format, "")
            job = {"container": made.container, "path": made.path, "prepared": str(self.folder.prepared)}
            outcome, _ = self.measuring.fence.run(
                "edgequant.accuracy.compact:make",
                {**job, "target": str(target), "key": key},
                settings=Settings(threads=self.threads, context=self.context),
                progress=self._hear("compact", reference.format),
            )
            outcome.unwrap()
        return target

    def _digest(self) -> str:
        return hashlib.sha256(self.folder.prepared.read_bytes()).hexdigest()[:16]

    def release(self, *, compares: bool) -> None:
        """Remove formats that nobody asked for and nothing needs any more; `compares` keeps what is compared with."""
        if self.request.keep_intermediate:
            return
        needed = self._ever_asked() | {fmt.name for fmt in self._asked} | {SOURCE}
        needed |= {artifact.format for artifact in self.references()[:1]} if compares else set()
        for artifact in self.artifacts():
            if artifact.format not in needed:
                conversion.remove_files(artifact)
                write_manifest(replace(artifact, notes=(*artifact.notes, _SOURCES_ONLY)))

    def tidy(self) -> None:
        """Remove what was only needed on the way: the reference's logits, and formats that nobody asked for."""
        shutil.rmtree(self.folder.scratch, ignore_errors=True)
        self.release(compares=False)

    def report(self) -> Report:
        """Build the report from what is stored and write its files."""
        return rebuild(self.folder)
