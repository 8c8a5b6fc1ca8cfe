"""How strongly to smooth a checkpoint for a format that rounds activations: found by trying.

What a channel's factor should be follows from a text (convert/calibration/smoothquant.py) but for one number, the
strength. Each of a few is tried: the format is made from the checkpoint rescaled so, and its divergence from the
unquantised model measured on the calibration text. The divergence has one minimum along the strength on the models that
were looked at, flat enough that steps of 0.05 find it.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf, isfinite
from pathlib import Path
from typing import Any

from .. import Error, child
from ..accuracy.preparation import UNSCORED_TOKENS
from ..convert import conversion, makers, rescaled_copy
from ..convert.architectures.geometry import geometry
from ..convert.artifact import Artifact
from ..convert.calibration import smoothquant
from ..convert.calibration.windows import windows
from ..convert.checkpoint import Checkpoint, open_folder
from ..convert.conversion import Workshop
from ..convert.formats import Format
from ..convert.fused.positions import n_positions
from ..convert.onnx_options import OnnxOptions
from ..runtimes.session import Settings

#: tried one after the other; then those in the middle between the best and its neighbours
STRENGTHS = (0.5, 0.6, 0.7, 0.8, 0.9)
_FINER = 0.05
_ALL = tuple(round(0.45 + _FINER * n, 2) for n in range(11))  # whatever the search may ask for: 0.45 to 0.95
_N_SCORED, _SCORED_TOKENS = 4, 256  # windows from all over the text, about 900 scored tokens
#: a product of the fused graph -> the site at its input
_SITES = {
    "attn_qkv": "attention_input",
    "attn_output": "attention_output",
    "ffn_gate_up": "mlp_input",
    "ffn_down": "mlp_output",
}
_DEADLINE_SECONDS = 6 * 3600.0


@dataclass(frozen=True, kw_only=True)
class Search:
    """What is to be smoothed for which format; `scratch` holds everything on the way and is removed.

    `reference` is an unquantised artifact of the checkpoint; None has one made.
    """

    checkpoint: Checkpoint
    fmt: Format
    options: OnnxOptions
    scratch: Path
    threads: int
    reference: Artifact | None = None


@dataclass(frozen=True, kw_only=True)
class Found:
    """The best strength, 0 where none was better than leaving the checkpoint alone.

    `divergences` are nats a token on the calibration text by strength, 0 for none.
    """

    strength: float
    divergences: Mapping[float, float]

    @property
    def note(self) -> str:
        """What it bought, in one line."""
        without, best = self.divergences[0.0], self.divergences[self.strength]
        if not self.strength:
            return (
                f"not smoothed: no strength was better than none ({without:.2g} nats a token on the calibration text)"
            )
        return (
            f"smoothed: strength {self.strength:.2f}; {best:.2g} nats a token instead of {without:.2g} on the "
            f"calibration text"
        )


@contextmanager
def lent(search: Search, *, progress: child.Progress | None = None) -> Iterator[tuple[Checkpoint, Found]]:
    """The checkpoint smoothed as serves the format best, for as long as it is needed, and what was found."""
    try:
        search.scratch.mkdir(parents=True, exist_ok=True)
        trials = _Trials(search, progress or (lambda text: None))
        found = best_of(trials.divergence)
        if not found.strength:
            yield search.checkpoint, found
            return
        with trials.rescaled(found.strength) as copy:
            yield copy, found
    finally:
        shutil.rmtree(search.scratch, ignore_errors=True)


def convert(search: Search, workshop: Workshop, *, progress: child.Progress | None = None) -> Artifact:
    """Make the format of the checkpoint smoothed as serves it best; a note says what that bought."""
    makers.check(search.checkpoint, search.fmt)
    with lent(search, progress=progress) as (copy, found):
        return conversion.convert(copy, search.fmt, workshop, progress=progress, note=found.note)


def best_of(divergence: Callable[[float], float]) -> Found:
    """Try none and all of `STRENGTHS`, then half a step to both sides of the best."""
    known = {strength: divergence(strength) for strength in (0.0, *STRENGTHS)}
    best = min(STRENGTHS, key=known.__getitem__)
    known |= {finer: divergence(finer) for step in (-_FINER, _FINER) for finer in (round(best + step, 2),)}
    return Found(strength=min(known, key=known.__getitem__), divergences=known)


class _Trials:
    """Makes and measures the format at one strength after another; prepared once."""

    def __init__(self, search: Search, progress: child.Progress) -> None:
        self._search, self._progress = search, progress
        self._prepared, self._logits = search.scratch / "prepared.json", search.scratch / "reference.npz"
        self._prepare()
        self._is_compared = False

    def _prepare(self) -> None:
        search, text = self._search, self._search.options.calibration
        job = {
            "folder": str(search.checkpoint.path),
            "text": str(text.resolve()) if text else "",
            "scratch": str(search.scratch),
            "prepared": str(self._prepared),
            "threads": search.threads,
        }
        child.run(f"{__name__}:observe", job, deadline_seconds=_DEADLINE_SECONDS, progress=self._progress).unwrap()

    def divergence(self, strength: float) -> float:
        """Nats a token of the format made from the checkpoint smoothed so strongly, 0 for not at all."""
        if not self._is_compared:
            self._compare()
        said = f"strength {strength:.2f}" if strength else "without smoothing"
        if strength:
            with self.rescaled(strength) as copy:
                nats = self._tried(copy, said)
        else:
            nats = self._tried(self._search.checkpoint, said)
        self._progress(f"{said}: {nats:.2g} nats a token")
        return nats

    @contextmanager
    def rescaled(self, strength: float) -> Iterator[Checkpoint]:
        """The checkpoint smoothed so strongly."""
        factors = _factors(self._search.scratch, strength)
        folder = self._search.scratch / "rescaled"
        with rescaled_copy.lent(self._search.checkpoint, factors, folder, progress=self._progress) as copy:
            yield copy

    def _tried(self, checkpoint: Checkpoint, said: str) -> float:
        with self._made(checkpoint, self._search.fmt.name, said) as path:
            return self._measured("onnx", path, is_reference=False)

    def _compare(self) -> None:
        """Keep the unquantised model's logits."""
        given = self._search.reference
        if given:
            self._measured(given.container, given.path, is_reference=True)
        else:
            with self._made(self._search.checkpoint, "onnx-fp32", "the unquantised model") as path:
                self._measured("onnx", path, is_reference=True)
        self._is_compared = True

    @contextmanager
    def _made(self, checkpoint: Checkpoint, format_name: str, said: str) -> Iterator[str]:
        target = self._search.scratch / "made"
        job = {
            "folder": str(checkpoint.path),
            "target": str(target),
            "format": format_name,
            "options": self._search.options.job(),
            "threads": self._search.threads,
        }
        entry, progress = makers.WRITE_FUSED.entry, self._progress
        child.run(
            entry, job, deadline_seconds=_DEADLINE_SECONDS, progress=lambda text: progress(f"{said}: {text}")
        ).unwrap()
        try:
            yield str(target)
        finally:
            shutil.rmtree(target, ignore_errors=True)

    def _measured(self, container: str, path: str, *, is_reference: bool) -> float:
        settings = Settings(threads=self._search.threads, context=_SCORED_TOKENS)
        job = {
            "container": container,
            "path": path,
            "settings": settings.to_json(),
            "prepared": str(self._prepared),
            "reference": str(self._logits),
            "reference_key": hashlib.sha256(self._prepared.read_bytes()).hexdigest(),
            "is_reference": is_reference,
        }
        outcome = child.run("edgequant.accuracy.quality:measure", job, deadline_seconds=_DEADLINE_SECONDS)
        samples = outcome.unwrap()["samples"]["kl_divergence"]
        mean = float(sum(samples) / len(samples))
        return mean if isfinite(mean) else inf


def _factors(scratch: Path, strength: float) -> Path:
    return scratch / f"factors-{strength:.2f}.safetensors"


def observe(job: Mapping[str, Any], progress: Callable[[str], None]) -> None:
    """Write factors for all strengths that the search may try, and the windows that it is judged by."""
    from ..convert.calibration.walk import walk

    checkpoint = open_folder(Path(job["folder"]), revision="not computed")
    text = Path(job["text"]) if job["text"] else None
    cut = windows(checkpoint.path, text=text, context=n_positions(geometry(checkpoint)))
    prepared = {"folder": job["folder"], "windows": scored(cut), "asked": [], "items": []}
    Path(job["prepared"]).write_text(json.dumps(prepared), encoding="utf-8")
    largest: dict[str, Any] = {}

    def visit(product: str, x: Any) -> None:
        import numpy as np

        _, layer, part, _ = product.split(".")
        site, here = f"model.layers.{layer}.{_SITES[part]}", np.abs(x).max(axis=0)
        largest[site] = np.maximum(largest[site], here) if site in largest else here

    for layer in walk(checkpoint, cut, visit, threads=job["threads"]):
        progress(f"observes layer {layer + 1}")
    weights = smoothquant.largest_weights(checkpoint)
    for strength in _ALL:
        found = smoothquant.smoothing(checkpoint, largest, weights, strength=strength)
        smoothquant.save(_factors(Path(job["scratch"]), strength), found)


def scored(cut: Sequence[Sequence[int]]) -> list[list[int]]:
    """Beginnings of a few windows from all over the text, each with tokens enough to be scored."""
    long = [list(window[:_SCORED_TOKENS]) for window in cut if len(window) > 2 * UNSCORED_TOKENS]
    if not long:
        raise Error(
            f"a calibration text of {sum(map(len, cut))} tokens is too short to choose a strength by",
            hint="take one of some thousand words",
        )
    n = min(_N_SCORED, len(long))
    return [long[nth * len(long) // n] for nth in range(n)]
