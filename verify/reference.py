"""What an artifact's logits are compared with: those of the checkpoint, of a source file, of another artifact."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import Error, child
from ..child import Outcome, Progress
from ..convert import plain_copy
from ..convert.artifact import Artifact
from ..convert.checkpoint import Checkpoint
from ..runtimes.fence import Fence
from ..runtimes.session import Settings
from . import layerwise
from .finding import Finding, not_checked

_WEIGHT_BYTES = 4
_LIBRARIES_BYTES = 1.0e9  # torch and transformers with a small model: 0.6 GB were seen


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Logits [n, vocabulary] in a .npy file, and whose they are."""

    name: str
    file: Path


def needed_bytes(checkpoint: Checkpoint, n_tokens: int) -> tuple[float, float]:
    """Memory that transformers takes for the whole model in float32, and for one layer at a time.

    Four bytes a weight; logits three times over (as computed, copied, written); torch itself.
    """
    config = checkpoint.config.get("text_config") or checkpoint.config
    vocabulary = config.get("vocab_size") or 0
    rest = _LIBRARIES_BYTES + 3 * _WEIGHT_BYTES * n_tokens * vocabulary
    return _WEIGHT_BYTES * checkpoint.n_parameters + rest, layerwise.needed_bytes(checkpoint) + rest


@dataclass(kw_only=True)
class References:
    """Computes reference logits once each, every one in a child; `free_bytes` is the memory there is."""

    checkpoint: Checkpoint
    tokens: Sequence[int]
    scratch: Path
    settings: Settings
    free_bytes: float
    fence: Fence

    def __post_init__(self) -> None:
        """Nothing is computed before it is asked for."""
        self._made: dict[str, Reference | Finding] = {}

    def of_checkpoint(self, progress: Progress | None = None) -> Reference | Finding:
        """transformers' float32 logits; "not checked" where they cannot be had, and why."""
        if "checkpoint" not in self._made:
            self._made["checkpoint"] = self._checkpoint(progress)
        return self._made["checkpoint"]

    def of_artifact(self, name: str, container: str, path: str) -> Reference | Finding:
        """What a runtime computes with a file."""
        if path not in self._made:
            target = self._file(f"artifact-{len(self._made)}")
            job = {"container": container, "path": path, "tokens": list(self.tokens), "target": str(target)}
            outcome, _ = self.fence.run("edgequant.verify.logits:artifact_logits", job, settings=self.settings)
            made = Reference(name=name, file=target)
            self._made[path] = made if outcome.status == "ok" else not_checked(f"{name}: {outcome.note}")
        return self._made[path]

    def _checkpoint(self, progress: Progress | None) -> Reference | Finding:
        whole, by_layer = needed_bytes(self.checkpoint, len(self.tokens))
        if min(whole, by_layer) > self.free_bytes:
            return not_checked(f"needs {_gigabytes(by_layer)}, {_gigabytes(self.free_bytes)} are free")
        try:
            with plain_copy.lent(self.checkpoint, self.scratch / "float32", progress=progress) as plain:
                return self._by_transformers(plain, whole, progress)
        except Error as error:
            return not_checked(str(error))

    def _by_transformers(self, plain: Checkpoint, whole: float, progress: Progress | None) -> Reference | Finding:
        folder = str(plain.path)
        if whole <= self.free_bytes:
            return self._computed("logits", "the checkpoint in transformers", {"folder": folder}, progress)
        files = {name: str(tensor.file) for name, tensor in plain.tensors.items()}
        name = "the checkpoint in transformers, layer by layer"
        made = self._computed("layerwise", name, {"folder": folder, "files": files}, progress)
        if isinstance(made, Finding):
            return not_checked(f"needs {_gigabytes(whole)}, {_gigabytes(self.free_bytes)} are free ({made.said})")
        return made

    def _computed(
        self, module: str, name: str, more: Mapping[str, Any], progress: Progress | None
    ) -> Reference | Finding:
        target = self._file("checkpoint")
        job = {
            "tokens": list(self.tokens),
            "target": str(target),
            "threads": self.settings.threads,
            **more,
        }
        outcome = child.run(f"edgequant.verify.{module}:checkpoint_logits", job, progress=progress)
        return Reference(name=name, file=target) if outcome.status == "ok" else not_checked(_said(outcome))

    def _file(self, name: str) -> Path:
        self.scratch.mkdir(parents=True, exist_ok=True)
        return self.scratch / f"{name}-logits.npy"


def _said(outcome: Outcome) -> str:
    return f"{outcome.note} ({outcome.hint})" if outcome.hint else outcome.note


def _gigabytes(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:.1f} GB"


def compare(artifact: Artifact, reference: Reference, references: References, progress: Progress | None) -> Outcome:
    """An artifact's logits against a reference's, as `logits.compare_logits` returns it."""
    job = {
        "container": artifact.container,
        "path": artifact.path,
        "logits": str(reference.file),
        "tokens": list(references.tokens),
    }
    entry = "edgequant.verify.logits:compare_logits"
    outcome, _ = references.fence.run(entry, job, settings=references.settings, progress=progress)
    return outcome
