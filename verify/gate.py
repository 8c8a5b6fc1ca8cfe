"""The gate: what every artifact goes through before it is measured. Each part runs in a child of its own."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

from .. import Error, child
from ..child import Progress
from ..convert.artifact import Artifact, digest_of, is_whole
from ..convert.checkpoint import Checkpoint
from ..convert.formats import FORMATS
from ..convert.gguf_header import read_header
from ..convert.vocabulary import departures
from ..runtimes.fence import Fence
from ..runtimes.session import Settings
from . import line, logits, reference
from .finding import FAILED, NOT_CHECKED, PASSED, WARNING, Finding, found, not_checked
from .reference import Reference, References
from .templates import Templates

#: mean KL divergence in nats that rounding to a float type may cost; a wrong rotary base or swapped rows cost 0.1 up
ALLOWED_DIVERGENCE = {"F32": 1e-5, "float32": 1e-5, "F16": 1e-3, "float16": 1e-3, "BF16": 1e-2}
#: what a quantised source's own kernels cost: 0.003 to 0.005 nats were seen for 4 and 8 bits (activations in 8 bits)
ALLOWED_TO_SOURCE = 0.04
FAILED_GATE = "failed gate: "  # begins the note of a failed check, which the report knows by it
#: keys beside "tokenizer." that decide tokens: llama.cpp goes by the name too (src/llama-vocab.cpp, "phi-3")
_OF_WORDS = ("general.architecture", "general.name", departures.KEY)
_DEADLINE_SECONDS = 3600.0


def is_quantised(artifact: Artifact) -> bool:
    """Whether it holds anything but floats: such an artifact is compared with an unquantised one."""
    return not set(artifact.tensor_types) <= set(ALLOWED_DIVERGENCE)


def allowed_divergence(artifact: Artifact) -> float:
    """What an unquantised artifact may diverge from the checkpoint: that of the coarsest type in it."""
    return max(ALLOWED_DIVERGENCE[kind] for kind in artifact.tensor_types)


def has_failed(artifact: Artifact) -> bool:
    """Whether a check of the artifact failed."""
    return any(said.startswith(FAILED) for said in artifact.checks.values())


def with_findings(artifact: Artifact, findings: Mapping[str, Finding]) -> Artifact:
    """The artifact with these findings for its checks, and a note for each that failed; earlier ones are forgotten."""
    failed = [f"{FAILED_GATE}{what}: {found_}" for what, found_ in findings.items() if found_.verdict == FAILED]
    kept = [note for note in artifact.notes if not note.startswith(FAILED_GATE)]
    return replace(artifact, checks={what: str(each) for what, each in findings.items()}, notes=(*kept, *failed))


def unchanged(artifact: Artifact) -> Finding:
    """Whether a file still holds the bytes that its manifest was written for: what was measured is measured of them."""
    same = is_whole(artifact) and digest_of(Path(artifact.path)) == artifact.sha256
    said = "the bytes that were made" if same else "other bytes than those that were made and measured"
    return Finding(verdict=PASSED if same else FAILED, said=f"{said} (sha256)", samples=(float(same),))


@dataclass(frozen=True, kw_only=True)
class Circumstances:
    """What the gate may use: threads, bytes of memory, a folder for large files; and the GGUF that was the source."""

    threads: int
    free_bytes: float
    scratch: Path
    source_gguf: Path | None = None


class Gate:
    """Checks artifacts of one checkpoint; what the checkpoint itself says is computed once, when first needed."""

    def __init__(self, checkpoint: Checkpoint, circumstances: Circumstances) -> None:
        self._checkpoint = checkpoint
        self._source = circumstances.source_gguf
        self._templates = Templates(checkpoint.path)
        self._fence = Fence()
        config = checkpoint.config.get("text_config") or checkpoint.config
        context = config.get("max_position_embeddings") or config.get("n_positions") or logits.N_TOKENS
        self._settings = Settings(threads=circumstances.threads, context=min(logits.N_TOKENS, context), exact=True)
        self._references = References(
            checkpoint=checkpoint,
            tokens=logits.sample(checkpoint.path, context=context),
            scratch=circumstances.scratch,
            settings=self._settings,
            free_bytes=circumstances.free_bytes,
            fence=self._fence,
        )
        self._words: dict[str, dict[str, Finding]] = {}  # by what they depend on: formats share their vocabulary
        self._compared: dict[tuple[str, str], child.Outcome] = {}

    def check(
        self, artifact: Artifact, *, among: Sequence[Artifact] = (), progress: Progress | None = None
    ) -> dict[str, Finding]:
        """Part of the gate -> finding. `among` are the run's artifacts: a quantised one is compared with those."""
        say = progress or (lambda _: None)
        say("tokenizer, template, special ids")
        findings = dict(self._of_words(artifact))
        say("logits")
        if is_quantised(artifact):
            return findings | self._of_quantised(artifact, among, progress)
        findings["logits"] = self._to_checkpoint(artifact, progress)
        if self._source and artifact.container == "gguf" and Path(artifact.path) != self._source:
            findings["source"] = self._to_source(artifact, self._source, progress)
        return findings

    def _of_words(self, artifact: Artifact) -> Mapping[str, Finding]:
        """The parts that depend on the vocabulary and the template alone."""
        key = _words_key(artifact)
        if key not in self._words:
            job = {"container": artifact.container, "path": artifact.path, "folder": str(self._checkpoint.path)}
            tokenizer = _run("tokens", job)
            try:
                template = self._templates.check(artifact.container, artifact.path)
            except Error as error:
                template = Finding(verdict=FAILED, said=str(error))
            special = _run("special_ids", {**job, "end": self._templates.end_of_answer()})
            self._words[key] = {"tokenizer": tokenizer, "template": template, "special ids": special}
        return self._words[key]

    def _to_checkpoint(self, artifact: Artifact, progress: Progress | None) -> Finding:
        theirs = self._references.of_checkpoint(progress)
        if isinstance(theirs, Finding):
            return theirs
        return _judged(self._compare(artifact, theirs, progress), theirs, allowed=allowed_divergence(artifact))

    def _to_source(self, artifact: Artifact, source: Path, progress: Progress | None) -> Finding:
        theirs = self._references.of_artifact("the source file in llama.cpp", "gguf", str(source))
        if isinstance(theirs, Finding):
            return theirs
        return _judged(self._compare(artifact, theirs, progress), theirs, allowed=ALLOWED_TO_SOURCE)

    def _compare(self, artifact: Artifact, theirs: Reference, progress: Progress | None) -> child.Outcome:
        key = (artifact.path, theirs.name)
        if key not in self._compared:
            self._compared[key] = reference.compare(artifact, theirs, self._references, progress)
        return self._compared[key]

    def _of_quantised(
        self, artifact: Artifact, among: Sequence[Artifact], progress: Progress | None
    ) -> dict[str, Finding]:
        findings: dict[str, Finding] = {}
        if self._source is None or Path(artifact.path) != self._source:  # its own weights are the origin
            findings["weights"] = self._weights(artifact, among)
        findings["kernels"] = self._kernels(artifact)
        theirs = self._best(artifact, among, progress)
        if isinstance(theirs, Finding):
            return {"logits": theirs, **findings}
        outcome = self._compare(artifact, theirs, progress)
        if outcome.status != "ok":
            return {"logits": Finding(verdict=FAILED, said=outcome.note), **findings}
        others = self._others(artifact, theirs, among, progress)
        looked_at = [each.verdict for each in findings.values()] or [NOT_CHECKED]
        return {"logits": _in_line(artifact, outcome.value, theirs, others, looked_at), **findings}

    def _best(self, artifact: Artifact, among: Sequence[Artifact], progress: Progress | None) -> Reference | Finding:
        """The unquantised artifact of the highest precision that did not fail; else the checkpoint itself."""
        for each in _unquantised(among):
            passed = each.checks.get("logits", "").startswith(PASSED)
            name = f"{each.format} ({'' if passed else 'not '}checked against the checkpoint)"
            made = self._references.of_artifact(name, each.container, each.path)
            if isinstance(made, Reference):
                return made
        made = self._references.of_checkpoint(progress)
        if isinstance(made, Finding):
            return not_checked(f"no unquantised artifact to compare with, and the checkpoint {made.said}")
        return made

    def _others(
        self, artifact: Artifact, theirs: Reference, among: Sequence[Artifact], progress: Progress | None
    ) -> list[tuple[float, float]]:
        """True bits and divergence of the run's other quantised GGUFs."""
        rest = [a for a in among if is_quantised(a) and a.container == "gguf" and a.path != artifact.path]
        done = [(a.true_bits_per_weight, self._compare(a, theirs, progress)) for a in rest if Path(a.path).exists()]
        known = [(bits, o.value["kl_divergence"]) for bits, o in done if o.status == "ok"]
        return [(bits, nats) for bits, nats in known if isfinite(nats)]

    def _weights(self, artifact: Artifact, among: Sequence[Artifact]) -> Finding:
        found_ = next((a for a in _unquantised(among) if a.container == artifact.container), None)
        job = {"path": artifact.path, "reference": found_.path if found_ else ""}
        if artifact.container == "onnx":
            smoothed = artifact.format in FORMATS and bool(FORMATS[artifact.format].smoothed)
            return _run("onnx_weights", {**job, "folder": str(self._checkpoint.path), "smoothed": smoothed})
        return _run("weights", job) if found_ else not_checked("no unquantised GGUF beside it")

    def _kernels(self, artifact: Artifact) -> Finding:
        job = {"container": artifact.container, "path": artifact.path, "tokens": list(self._references.tokens)}
        module = "onnx_products" if artifact.container == "onnx" else "kernels"
        outcome, _ = self._fence.run(f"edgequant.verify.{module}:check", job, settings=self._settings)
        return found(outcome)


def _run(module: str, job: Mapping[str, Any]) -> Finding:
    return found(child.run(f"edgequant.verify.{module}:check", job, deadline_seconds=_DEADLINE_SECONDS))


def _unquantised(among: Sequence[Artifact]) -> list[Artifact]:
    """Artifacts without quantised weights that exist and did not fail, the most precise first, checked ones first."""
    fit = [a for a in among if not is_quantised(a) and not has_failed(a) and Path(a.path).exists()]
    return sorted(fit, key=lambda a: (not a.checks.get("logits", "").startswith(PASSED), -a.true_bits_per_weight))


def _words_key(artifact: Artifact) -> str:
    """Digest of everything in an artifact that decides tokens, template and special ids."""
    digest = hashlib.sha256(artifact.container.encode())
    path = Path(artifact.path)
    try:
        if artifact.container == "gguf":
            metadata = read_header(path).metadata
            kept = {k: v for k, v in metadata.items() if k.startswith("tokenizer.") or k in _OF_WORDS}
            digest.update(json.dumps(kept, sort_keys=True, default=repr).encode())
        else:
            for file in sorted([*path.glob("*.json"), *path.rglob("*.jinja")]):
                digest.update(file.name.encode() + b"\0" + file.read_bytes())
    except (Error, OSError):  # each part says for itself that it cannot be read
        digest.update(artifact.path.encode())
    return digest.hexdigest()


def _said(values: Mapping[str, Any], theirs: Reference) -> str:
    return (
        f"{values['kl_divergence']:.1e} nats a token from {theirs.name}, same top token "
        f"{values['same_top_token']:.1%}, largest difference {values['largest_difference']:.1e} of the range, "
        f"{len(values['divergences'])} tokens"
    )


def _judged(outcome: child.Outcome, theirs: Reference, *, allowed: float) -> Finding:
    """A divergence that only rounding to floats may have caused."""
    if outcome.status != "ok":
        return Finding(verdict=FAILED, said=outcome.note)
    said, samples = _said(outcome.value, theirs), tuple(outcome.value["divergences"])
    if outcome.value["kl_divergence"] <= allowed:
        return Finding(verdict=PASSED, said=said, samples=samples)
    return Finding(verdict=FAILED, said=f"{said}; {allowed:.0e} nats are allowed", samples=_finite(samples))


def _in_line(
    artifact: Artifact,
    values: Mapping[str, Any],
    theirs: Reference,
    others: Sequence[tuple[float, float]],
    looked_at: Sequence[str],
) -> Finding:
    """The verdict on a quantised artifact's divergence; `looked_at`: those on its weights and kernels."""
    bits, nats = artifact.true_bits_per_weight, values["kl_divergence"]
    said, samples = _said(values, theirs), _finite(values["divergences"])
    if line.is_in_line(bits, nats, others):
        return Finding(verdict=PASSED, said=said, samples=samples)
    said += f"; {bits:.1f} bits a weight lead one to expect {line.expected_nats(bits, others):.1e}"
    if FAILED in looked_at or not isfinite(nats):
        return Finding(verdict=FAILED, said=said, samples=samples)
    if set(looked_at) == {PASSED} and artifact.format in FORMATS and FORMATS[artifact.format].rounds_activations:
        verdict = PASSED if nats <= line.LARGEST_NATS else WARNING
        said += "; weights and kernels are right: the rest is what rounding activations costs this model"
        return Finding(verdict=verdict, said=said, samples=samples)
    if set(looked_at) == {PASSED}:
        return Finding(verdict=WARNING, said=f"{said}, but weights and kernels are right", samples=samples)
    verdict = WARNING if nats <= line.LARGEST_NATS else FAILED
    return Finding(verdict=verdict, said=f"{said}; not all of weights and kernels was looked at", samples=samples)


def _finite(samples: Sequence[float]) -> tuple[float, ...]:
    """JSON has no word for the others."""
    return tuple(x for x in samples if isfinite(x))
