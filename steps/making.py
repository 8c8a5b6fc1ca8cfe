"""Making the artifacts of a run: what is missing, in an order that works, and removing what nobody asked for."""

import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from .. import Error
from ..convert import conversion
from ..convert.artifact import Artifact, write_manifest
from ..convert.formats import FORMATS, Format
from ..convert.makers import with_sources
from ..report.rows import SOURCE
from ..tune import smoothing
from ..verify.gate import has_failed, is_quantised
from .job import Job, ever_asked

_UNQUANTISED_BITS = 16
_SOURCES_ONLY = "not eligible: made only as source and reference of the others, and removed after the run"


@dataclass(kw_only=True)
class Making:
    """The artifacts of one run, or those of a part of it.

    `only` names the formats of the part, as they were asked for (none named: all), and `reference` what others were
    compared with before: nothing takes its place any more. `failed` are the formats that could not be made.
    """

    job: Job
    only: Collection[str] = ()
    reference: str = ""
    failed: dict[str, Error] = field(default_factory=dict)

    def part(self, names: Collection[str], *, reference: str = "") -> "Making":
        """The same of these formats alone, with what they are compared with."""
        return Making(job=self.job, only=frozenset(names), reference=reference, failed=self.failed)

    def check_disk(self) -> None:
        """Raise `Error` where the disk cannot hold what is still to be made, and one shard more while it is cut."""
        made = self.job.plan([fmt for fmt in self.asked if not self.existing(fmt)])
        largest = max((each.size_bytes for each in made.formats), default=0)
        cut = min(self.job.request.split_max_bytes, largest)
        replace(made, disk_bytes=made.disk_bytes + cut).check_disk(self.job.folder.path)

    def existing(self, fmt: Format) -> Artifact | None:
        """The artifact of this format as it is asked for, where it is there."""
        return conversion.existing(self.job.checkpoint, fmt, self._workshop)

    @property
    def asked(self) -> list[Format]:
        """What was asked for, with BF16 in place of an F16 that cannot hold the weights."""
        bf16 = FORMATS["BF16"] if self._beyond_f16 else FORMATS["F16"]
        wanted = [fmt for fmt in self.job.formats if not self.only or fmt.name in self.only]
        return list(dict.fromkeys(bf16 if fmt.name == "F16" else fmt for fmt in wanted))

    @property
    def _beyond_f16(self) -> str:
        """Why F16 cannot hold the weights, as far as is known."""
        return conversion.stand_in(self.job.checkpoint, self.job.folder.artifacts)

    @property
    def missing(self) -> list[Format]:
        """What is still to be made, each format after what it is made from."""
        wanted = [fmt for fmt in self.asked if not self.existing(fmt)]
        made = with_sources(self.job.checkpoint, wanted, bf16_for_f16=bool(self._beyond_f16))
        return [fmt for fmt in made if fmt.name not in self.failed and not self.existing(fmt)]

    @property
    def to_compare_with(self) -> str:
        """The format that all others will be compared with, if all can be made: the most precise; "" for none."""
        made = with_sources(self.job.checkpoint, self.asked, bf16_for_f16=bool(self._beyond_f16))
        exact = [fmt for fmt in made if fmt.nominal_bits >= _UNQUANTISED_BITS]
        return max(exact, key=lambda fmt: (fmt.nominal_bits, -list(FORMATS).index(fmt.name))).name if exact else ""

    def convert(self) -> None:
        """Make the formats and what they are made from; one that fails is stored as rows, with its reason."""
        for fmt in self.missing:
            self.job.listen("convert", fmt.name, "")
            try:
                self._make(fmt)
            except Error as error:
                self.failed[fmt.name] = error
                self.job.listen("failed", fmt.name, str(error))
                if not self._is_replaced(fmt):
                    status = getattr(error, "status", "error")
                    self.job.measuring.store_failure(fmt, status=status, note=str(error))
        self._say_what_is_replaced()
        if self.job.source_artifact:
            self.keep(self._with_findings_kept(self.job.source_artifact))

    def check_made(self) -> None:
        """Raise `Error` where formats failed and there is nothing to go on with."""
        if self.failed and not self.artifacts():
            first = next(iter(self.failed.values()))
            raise Error(f"no format could be made: {first}", hint=first.hint)

    def _make(self, fmt: Format) -> None:
        source = conversion.source_in(self.job.checkpoint, fmt, self.job.folder.artifacts)
        if source and source.name in self.failed:
            raise Error(f"{source.name}, which it is made from, failed: {self.failed[source.name]}")
        try:
            self.made(fmt)
        except conversion.Failed as error:
            if fmt.name == "F16" and error.is_beyond_range:
                self._convert_instead(reason=str(error))
            raise

    def made(self, fmt: Format) -> Artifact:
        """The artifact of one format, converted where it is not there."""
        hear = self.job.hear("convert", fmt.name)
        if fmt.smoothed and not self.existing(fmt):
            return smoothing.convert(self._search(fmt), self._workshop, progress=hear)
        return conversion.convert(self.job.checkpoint, fmt, self._workshop, progress=hear)

    def _search(self, fmt: Format) -> smoothing.Search:
        """What the strength of smoothing is searched with; the best unquantised artifact so far is the reference."""
        return smoothing.Search(
            checkpoint=self.job.checkpoint,
            fmt=fmt,
            options=self.job.request.onnx,
            scratch=self.job.folder.scratch / "smoothing",
            threads=self.job.threads,
            reference=next((a for a in self.references() if Path(a.path).exists()), None),
        )

    def _convert_instead(self, *, reason: str) -> None:
        """BF16 where F16 cannot hold the weights: what is made from F16 elsewhere is made from it."""
        self.job.listen("convert", "BF16", "")
        hear = self.job.hear("convert", "BF16")
        conversion.convert_instead(self.job.checkpoint, self._workshop, reason=reason, progress=hear)

    @property
    def _workshop(self) -> conversion.Workshop:
        request = self.job.request
        return conversion.Workshop(
            folder=self.job.folder.artifacts,
            threads=self.job.threads,
            split_max_bytes=request.split_max_bytes,
            allow_nan=request.allow_nan,
            onnx=request.onnx,
        )

    def _is_replaced(self, fmt: Format) -> bool:
        return fmt.name == "F16" and bool(self._beyond_f16)

    def _say_what_is_replaced(self) -> None:
        """Rows of an F16 that was asked for and cannot be made; once, however often the run is repeated."""
        f16, reason = FORMATS["F16"], self._beyond_f16
        if f16 not in self.job.formats or not reason:
            return
        said = f"{reason}; BF16 was made instead"
        if not any(row.format == f16.name and row.note == said for row in self.job.folder.store().rows):
            self.job.measuring.store_failure(f16, status="unsupported", note=said)

    def artifacts(self) -> list[Artifact]:
        """What is there to be measured: artifacts whose files exist, and the quantised file that they came from.

        Of a part its own formats, that file, and what they are compared with.
        """
        asked = self.asked
        found = [
            self.existing(fmt) if fmt in asked else conversion.kept(self.job.checkpoint, fmt, self._workshop)
            for fmt in FORMATS.values()
        ]
        made = [artifact for artifact in found if artifact]
        if self.only:
            compared = [artifact.format for artifact in self.references()[:1]]
            counted = {*compared, *(fmt.name for fmt in asked)}
            made = [artifact for artifact in made if artifact.format in counted]
        return [*made, *([self._with_findings_kept(self.job.source_artifact)] if self.job.source_artifact else [])]

    def chosen(self, formats: Sequence[str]) -> list[Artifact]:
        """The artifacts of these formats (none: all); `Error` for one that is not there or failed its checks."""
        there = {artifact.format: artifact for artifact in self.artifacts()}
        missing = [name for name in formats if name not in there]
        if missing or not there:
            has = f"it has {', '.join(there)}" if there else "it has none"
            raise Error(f"{self.job.folder.path} holds no {', '.join(missing) or 'artifacts'}; {has}")
        chosen = [there[name] for name in formats] if formats else list(there.values())
        for artifact in chosen:
            if has_failed(artifact):
                raise Error(f"{artifact.format} failed its checks", hint=f"edgequant verify {artifact.path}")
        return chosen

    def references(self) -> list[Artifact]:
        """Unquantised artifacts that did not fail their checks, best first; also those removed after an earlier run."""
        found = [conversion.recorded(self.job.checkpoint, fmt, self.job.folder.artifacts) for fmt in FORMATS.values()]
        fit = [a for a in found if a and not is_quantised(a) and not has_failed(a)]
        ranked = sorted(fit, key=lambda a: -FORMATS[a.format].nominal_bits)
        names = [artifact.format for artifact in ranked]
        return ranked[names.index(self.reference) :] if self.reference in names else ranked

    def _with_findings_kept(self, source: Artifact) -> Artifact:
        """The quantised source with what its manifest in the folder says of its checks."""
        for kept in self.job.folder.made(revision=self.job.checkpoint.revision):
            if kept.format == SOURCE and kept.sha256 == source.sha256:
                return replace(source, checks=kept.checks, notes=kept.notes)
        return source

    def keep(self, artifact: Artifact) -> None:
        """Write the manifest; the quantised source's stands in the folder, though its file lies where it lay."""
        if artifact.format == SOURCE:
            artifact = replace(artifact, path=str(self.job.folder.artifacts / SOURCE))
        write_manifest(artifact)

    def release(self, *, compares: bool) -> None:
        """Remove formats that nobody asked for and nothing needs any more; `compares` keeps what is compared with."""
        if self.job.request.keep_intermediate:
            return
        needed = ever_asked(self.job.folder, self.job.formats) | {fmt.name for fmt in self.asked} | {SOURCE}
        needed |= {artifact.format for artifact in self.references()[:1]} if compares else set()
        for artifact in self.artifacts():
            if artifact.format not in needed:
                conversion.remove_files(artifact)
                write_manifest(replace(artifact, notes=(*artifact.notes, _SOURCES_ONLY)))

    def tidy(self) -> None:
        """Remove what was only needed on the way: the reference's logits, and formats that nobody asked for."""
        shutil.rmtree(self.job.folder.scratch, ignore_errors=True)
        self.release(compares=False)
