"""A quantised file's weights against those of the unquantised file that stands beside it, tensor by tensor.

Rounding to b bits a weight costs about 2^-b of the weights' own size, times a factor of the format. Over the pocket
model and SmolLM2-135M that factor was 1.5 to 2.7 for every type (Q8_0 0.5 to 0.7 %, Q6_K 1.9, Q5_K 3.8, Q4_K 7.5, Q4_0
10.8, Q3_K 16, Q2_K 30 %), whatever the tensor. Damage, or rows in a wrong order, is off by 100 % and more.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .finding import FAILED, NOT_CHECKED, PASSED, Finding
from .kernels import dequantised_rows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ALLOWED_FACTOR = 6.0
_LARGEST_ALLOWED = 0.9  # types below 2.7 bits: the error of weights that are all zero is 1
_MOST_WEIGHTS = 2**22  # of one tensor, in runs of rows spread over it


def check(job: Mapping[str, Any]) -> dict[str, Any]:
    """Compare the weights of the GGUF `job["path"]` with those of `job["reference"]`: a finding."""
    import numpy as np

    theirs = {name: (shape, read) for name, _, shape, read in dequantised_rows(job["reference"])}
    samples: list[float] = []
    wrong: list[str] = []
    for name, kind, shape, read in dequantised_rows(job["path"]):
        if name not in theirs or theirs[name][0] != shape:
            wrong.append(f"{name} is in one of the files alone, or has another shape there")
            continue
        rows = _spread(shape)
        expected = theirs[name][1](rows)
        error = float(np.linalg.norm(read(rows) - expected)) / (float(np.linalg.norm(expected)) or 1.0)
        samples.append(error)
        if not error <= (limit := allowed(kind)):
            wrong.append(f"{name} ({kind}) is {error:.0%} off the unquantised weights, {limit:.1%} is allowed")
    return _judge(wrong, samples).to_json()


def allowed(kind: str) -> float:
    """The largest error of a tensor of this type, relative to the size of its weights."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    block, n_bytes = GGML_QUANT_SIZES[GGMLQuantizationType[kind]]
    return float(min(_LARGEST_ALLOWED, max(1e-3, ALLOWED_FACTOR * 2.0 ** (-8 * n_bytes / block))))


def _spread(shape: Sequence[int]) -> "NDArray[np.int64]":
    import numpy as np

    n_rows = int(np.prod(shape[:-1]))
    wanted = max(64, _MOST_WEIGHTS // shape[-1])
    if n_rows <= wanted:
        return np.arange(n_rows)
    starts = np.linspace(0, n_rows - 64, wanted // 64).astype(np.int64)
    return np.unique((starts[:, None] + np.arange(64)).ravel())


def _judge(wrong: Sequence[str], samples: Sequence[float]) -> Finding:
    if wrong:
        others = f" ({len(wrong) - 1} more are)" if len(wrong) > 1 else ""
        return Finding(verdict=FAILED, said=wrong[0] + others, samples=tuple(samples))
    if not samples:
        return Finding(verdict=NOT_CHECKED, said="the file holds no matrices")
    said = f"{len(samples)} tensors as close to the unquantised ones as their bits allow"
    return Finding(verdict=PASSED, said=said, samples=tuple(samples))
