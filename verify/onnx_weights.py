"""An ONNX artifact's weights against those that it was made from, row by row.

Our own graph's are compared with the checkpoint's, whose rows are read anew; those of a graph that ONNX Runtime's
quantisers made with the float32 graph beside it.

Rounding to the nearest of evenly spaced values is off by half a step at most and by step / sqrt(12) on average, where a
step is the largest weight that shares a scale / (2^(b-1) - 1). So the unquantised rows themselves say what rounding
them may cost: never more than sqrt(3) = 1.73 times that average, however the weights lie.

Seen on SmolLM2-135M and on small random decoders of every family: as a share of the weights, a whole matrix was off by
0.54 to 0.67 % with 8 bits in blocks of 32, 0.8 to 1.3 % with 8 bits and a scale a row, 8.7 to 10.8 % with 4 bits in
blocks of 32. As a multiple of that average, its worst row was off by 1.2 where rounded to the nearest (1.01 to 1.19 in
rows of 576 and of 64), by 1.1 with k-quant's search for steps, and by 2.0 with GPTQ, which lets later weights make up
for earlier ones. Damage, or rows in a wrong order, is off by 100 % of the weights and more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..convert.checkpoint import open_folder
from ..convert.fused.expressible import obstacle
from ..convert.fused.graph import MODEL_FILE
from ..convert.onnx_header import read_header
from ..convert.onnx_values import OnnxValues
from . import onnx_smoothing
from .finding import FAILED, NOT_CHECKED, PASSED, Finding
from .onnx_matrices import products
from .onnx_origin import UNCHANGED, Blocks, Origin, of_graph
from .onnx_stored import WHOLE, Stored

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

ALLOWED_FACTOR = 4.0  # times what rounding to the nearest is off on average
_FLOAT_ERROR = 1e-6  # of what stays in float32
_VECTOR_ERROR, _SMOOTHED_ERROR = 1e-5, 0.01  # of norms and biases; rescaled biases by factors that were read back


@dataclass(kw_only=True)
class Off:
    """How far a matrix lies off: relative to its size, and to what rounding is off on average, there and in a row."""

    error: float
    ratio: float
    worst_row: float

    def __str__(self) -> str:
        if self.ratio == float("inf"):
            return "has another shape"
        return f"is {self.error:.1%} off, {self.ratio:.1f} times what rounding costs, {self.worst_row:.1f} in a row"


def check(job: Mapping[str, Any]) -> dict[str, Any]:
    """Compare the graph in `job["path"]` with the checkpoint in `job["folder"]` or the graph in `job["reference"]`.

    A `job["smoothed"]` one is compared with the checkpoint rescaled by the factors that it shows.
    """
    checkpoint, path = open_folder(Path(job["folder"]), revision="not computed"), Path(job["path"])
    found = list({(each.weights.name, each.weights.place): each.weights for each in products(path)}.values())
    if not obstacle(checkpoint):
        return _with_checkpoint(Origin(checkpoint), found, path, smoothed=job["smoothed"]).to_json()
    if not job["reference"]:
        return Finding(verdict=NOT_CHECKED, said="no float32 graph beside it").to_json()
    return _judge(found, of_graph(Path(job["reference"])), []).to_json()


def _with_checkpoint(origin: Origin, found: Sequence[Stored], path: Path, *, smoothed: bool) -> Finding:
    values = OnnxValues(path / MODEL_FILE, read_header(path / MODEL_FILE))
    missing = [name for name in origin.vectors if name not in values]
    if missing:
        return Finding(verdict=FAILED, said=f"{missing[0]} is not in the graph")
    vectors = {name: values[name] for name in origin.vectors}
    by_name = {stored.name: stored for stored in found}
    factors = onnx_smoothing.factors(origin, by_name, vectors) if smoothed else UNCHANGED
    allowed = _SMOOTHED_ERROR if smoothed else _VECTOR_ERROR
    wrong = [name for name, ours in vectors.items() if not _error(ours, origin.vector(name, factors)) <= allowed]
    theirs = {name: origin.blocks(name, factors) for name in origin.matrices}
    return _judge(found, theirs, [f"{name} holds other numbers than the checkpoint" for name in wrong])


def _error(ours: "Floats", theirs: "Floats") -> float:
    """How far a vector lies off another, relative to its length."""
    import numpy as np

    if ours.shape != theirs.shape:
        return float("inf")
    off, size = (float(np.linalg.norm(each.astype(np.float64))) for each in (ours - theirs, theirs))
    return off / (size or 1.0)


def compare(stored: Stored, blocks: Blocks) -> Off:
    """How far the stored rows lie off those of `blocks`."""
    import numpy as np

    off, rounding, size, done = list[Any](), list[Any](), 0.0, 0
    whole = max(float(np.abs(block).max()) for block in blocks()) if stored.group == WHOLE else 0.0
    for right in blocks():
        if right.shape[1] != stored.n_columns or done + len(right) > stored.n_rows:
            break
        ours = stored.rows(np.arange(done, done + len(right)))
        off.append(np.square(ours - right).sum(axis=1, dtype=np.float64))
        rounding.append(_rounding(right, stored, whole))
        size += float(np.square(right).sum(dtype=np.float64))
        done += len(right)
    if done != stored.n_rows:
        return Off(error=float("inf"), ratio=float("inf"), worst_row=float("inf"))
    each, least = np.concatenate(off), np.finfo(np.float64).tiny
    expected = np.maximum(np.concatenate(rounding), least)
    return Off(
        error=float(np.sqrt(each.sum() / max(size, least))),
        ratio=float(np.sqrt(each.sum() / expected.sum())),
        worst_row=float(np.sqrt((each / expected).max())),
    )


def _rounding(rows: "Floats", stored: Stored, whole: float) -> "NDArray[np.float64]":
    """Sums of squares [rows] of what rounding these rows is off on average, and of what float32 is."""
    import numpy as np

    floats: NDArray[np.float64] = np.square(rows).sum(axis=1, dtype=np.float64) * _FLOAT_ERROR**2
    if not stored.largest:
        return floats
    starts = np.arange(0, stored.n_columns, stored.group if stored.group > 0 else stored.n_columns)
    largest = np.maximum.reduceat(np.abs(rows), starts, axis=1).astype(np.float64)
    if stored.group == WHOLE:
        largest = np.full_like(largest, whole)
    lengths = np.diff([*starts, stored.n_columns])
    floats += (np.square(largest / stored.largest) * lengths).sum(axis=1) / 12
    return floats


def _judge(found: Sequence[Stored], theirs: Mapping[str, Blocks], wrong: list[str]) -> Finding:
    names = {stored.name for stored in found}
    missing = [f"{name} is no product of the graph that is known here" for name in theirs if name not in names]
    wrong = [*wrong, *missing, *(f"{name} is no matrix of what it was made from" for name in names - set(theirs))]
    samples: list[float] = []
    ratios: list[float] = []
    for stored in (stored for stored in found if stored.name in theirs):
        off = compare(stored, theirs[stored.name])
        samples.append(off.error)
        ratios.append(off.worst_row)
        if not max(off.ratio, off.worst_row) <= ALLOWED_FACTOR:
            wrong.append(f"{stored.name} ({stored.kind}) {off}; {ALLOWED_FACTOR:.0f} are allowed")
    return _finding(wrong, samples, ratios, [stored.kind for stored in found])


def _finding(wrong: Sequence[str], samples: Sequence[float], ratios: Sequence[float], kinds: Sequence[str]) -> Finding:
    kept = tuple(sample for sample in samples if sample < float("inf"))  # JSON has no word for others
    if wrong:
        others = f" ({len(wrong) - 1} more are wrong)" if len(wrong) > 1 else ""
        return Finding(verdict=FAILED, said=wrong[0] + others, samples=kept)
    if not samples:
        return Finding(verdict=NOT_CHECKED, said="the graph holds no matrices")
    said = (
        f"{len(samples)} matrices off by at most {max(samples):.2%}, {max(ratios):.2f} times what rounding a row costs"
    )
    return Finding(verdict=PASSED, said=f"{said} ({', '.join(dict.fromkeys(kinds))})", samples=kept)
