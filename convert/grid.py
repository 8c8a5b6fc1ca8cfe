"""Weights that lie on a quantisation grid: recognising them, and which artifacts look better on them than they are.

Weights that were dequantised take few, evenly spaced values in each block. A format whose own grid contains that one
stores them without loss, which says nothing about weights in general.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .checkpoint import Checkpoint
from .safetensors_header import TensorInfo
from .weights import to_float32

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Doubles = NDArray[np.float64]
    Flags = NDArray[np.bool_]

_TENSORS_OF_A_KIND = 4
_WEIGHTS_OF_A_TENSOR = 4096
_ENOUGH_OF_A_TENSOR = 0.9  # of its blocks
_ENOUGH_OF_THE_MODEL = 0.5  # of its weights
_CHANCE = 1e-3  # a block whose fit is likelier than this for arbitrary weights proves nothing
#: dtype -> (largest relative error of rounding to it, largest absolute error near zero)
_ROUNDING = {"F32": (2.0**-20, 0.0), "F16": (2.0**-11, 2.0**-25), "BF16": (2.0**-8, 0.0)}


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What the weights lie on: the type of llama.cpp that has it, and the share of the sampled weights, 0..1."""

    name: str
    share: float
    levels: int
    block: int


@dataclass(frozen=True, kw_only=True)
class _Shape:
    """A family of grids: evenly spaced levels in blocks of `block` weights.

    Symmetric ones are multiples of a step, of which the largest magnitude is one of `extents`; affine ones start at
    the smallest value and span one of `extents` steps.
    """

    name: str
    levels: int
    block: int
    symmetric: bool
    extents: Sequence[int]


# Coarse before fine, because a fine grid contains coarse ones. Block sizes and ranges: ggml-quants.c; the types that
# search for the best scale, k-quants foremost, need not use their whole range.
_SHAPES = (
    _Shape(name="Q2_K", levels=4, block=16, symmetric=False, extents=(1, 2, 3)),
    _Shape(name="Q3_K", levels=8, block=16, symmetric=True, extents=(1, 2, 3, 4)),
    _Shape(name="Q4_0", levels=16, block=32, symmetric=True, extents=(5, 6, 7, 8)),
    _Shape(name="Q4_1", levels=16, block=32, symmetric=False, extents=(15,)),
    _Shape(name="Q4_K", levels=16, block=32, symmetric=False, extents=tuple(range(4, 16))),
    _Shape(name="Q5_0", levels=32, block=32, symmetric=True, extents=tuple(range(11, 17))),
    _Shape(name="Q5_1", levels=32, block=32, symmetric=False, extents=(31,)),
    _Shape(name="Q5_K", levels=32, block=32, symmetric=False, extents=tuple(range(16, 32))),
    _Shape(name="Q6_K", levels=64, block=16, symmetric=True, extents=tuple(range(17, 33))),
    # Uneven levels, -127 to 113, all of them whole numbers of steps (ggml-common.h, kvalues_iq4nl).
    _Shape(name="IQ4_NL", levels=16, block=32, symmetric=True, extents=(83, 89, 104, 113, 127)),
    _Shape(name="Q8_0", levels=255, block=32, symmetric=True, extents=(127,)),
)
#: uneven levels, told by their number alone (IQ2 and IQ3 types, NF4)
_CODEBOOK = _Shape(name="16 levels", levels=16, block=32, symmetric=False, extents=())


def recognise(checkpoint: Checkpoint) -> Grid | None:
    """The grid that most of the checkpoint's matrices lie on, or None; reads a few rows of some matrices."""
    return recognise_tensors(checkpoint.tensors.values())


def recognise_tensors(tensors: Iterable[TensorInfo]) -> Grid | None:
    """The grid that most weights of these tensors lie on, or None."""
    weights: dict[str, float] = defaultdict(float)
    for tensor, weight in _sample(tensors):
        shape = _shape_of(_rows(tensor), tensor.dtype)
        weights[shape.name if shape else ""] += weight
    total, off = sum(weights.values()), weights.pop("", 0.0)
    if not weights or total - off < _ENOUGH_OF_THE_MODEL * total:
        return None
    name = max(weights, key=lambda key: weights[key])
    shape = next(s for s in (*_SHAPES, _CODEBOOK) if s.name == name)
    return Grid(name=name, share=weights[name] / total, levels=shape.levels, block=shape.block)


def _sample(tensors: Iterable[TensorInfo]) -> Iterator[tuple[TensorInfo, float]]:
    """A few matrices of each kind, spread over the layers, each with the number of weights that it stands for."""
    kinds: dict[str, list[TensorInfo]] = defaultdict(list)
    for tensor in tensors:
        if len(tensor.shape) == 2 and tensor.shape[1] % 32 == 0 and tensor.dtype in _ROUNDING:
            kinds[re.sub(r"\d+", "", tensor.name)].append(tensor)
    for members in kinds.values():
        chosen = members[:: -(-len(members) // _TENSORS_OF_A_KIND)]
        for tensor in chosen:
            yield tensor, sum(t.n_elements for t in members) / len(chosen)


def _rows(tensor: TensorInfo) -> "Floats":
    """Some rows, spread over the matrix."""
    import numpy as np

    n_rows, row_length = tensor.shape
    n_chosen = min(n_rows, max(4, _WEIGHTS_OF_A_TENSOR // row_length))
    row_bytes = tensor.n_bytes // n_rows
    rows = []
    with tensor.file.open("rb") as stream:
        for row in np.linspace(0, n_rows - 1, n_chosen).astype(int).tolist():
            stream.seek(tensor.offset + row * row_bytes)
            rows.append(to_float32(stream.read(row_bytes), tensor.dtype))
    return np.stack(rows)


def _shape_of(rows: "Floats", dtype: str) -> _Shape | None:
    for shape in _SHAPES:
        if _share(rows, dtype, shape) >= _ENOUGH_OF_A_TENSOR:
            return shape
    return _CODEBOOK if _share(rows, dtype, _CODEBOOK) >= _ENOUGH_OF_A_TENSOR else None


def _share(rows: "Floats", dtype: str, shape: _Shape) -> float:
    """Share of the blocks that the shape explains; blocks of one value (or all zero) do not count."""
    import numpy as np

    blocks = np.sort(rows.reshape(-1, shape.block).astype(np.float64), axis=1)
    blocks = blocks[np.isfinite(blocks).all(axis=1) & (blocks[:, 0] < blocks[:, -1])]
    if not len(blocks):
        return 0.0
    repeated = np.zeros(blocks.shape, dtype=bool)
    repeated[:, 1:] = blocks[:, 1:] == blocks[:, :-1]
    n_levels = shape.block - repeated.sum(axis=1)
    spacing = 2 * _ROUNDING[dtype][0] * abs(blocks).max(axis=1)  # of the dtype's values, at the block's largest
    coincidence = np.minimum(1.0, shape.block * spacing / (blocks[:, -1] - blocks[:, 0]))
    # Zeros repeat in pruned weights too.
    log_chance = np.log(coincidence) * (repeated & (blocks != 0)).sum(axis=1)
    on_grid = np.zeros(len(blocks), dtype=bool)
    for extent in shape.extents:
        fits, fit_chance = _fit(blocks, repeated, dtype, symmetric=shape.symmetric, extent=extent)
        on_grid |= fits & (log_chance + fit_chance + np.log(len(shape.extents)) < np.log(_CHANCE))
    if not shape.extents:
        on_grid = log_chance < np.log(_CHANCE)
    return float(np.mean(on_grid & (n_levels <= shape.levels)))


def _fit(
    blocks: "Doubles", repeated: "Flags", dtype: str, *, symmetric: bool, extent: int
) -> tuple["Flags", "Doubles"]:
    """Which sorted blocks are whole numbers of steps, and the log of the chance that arbitrary weights are."""
    import numpy as np

    relative, absolute = _ROUNDING[dtype]
    low, high = blocks[:, :1], blocks[:, -1:]
    origin = np.zeros_like(low) if symmetric else low
    reach = np.maximum(-low, high) if symmetric else high - low
    step = reach / extent
    units = (blocks - origin) / step
    reach_error = reach if symmetric else abs(low) + abs(high)
    # The rounding of the weight, of the origin, and, in proportion, of the reach.
    error = relative * (abs(blocks) + abs(origin) + abs(units) / extent * reach_error) + 3 * absolute
    tolerance = error / step
    fits = np.all(abs(units - np.rint(units)) <= tolerance, axis=1)
    # The values that define the grid fit by construction, repeated ones only as their first does.
    defining = (abs(blocks - origin) == reach) | (blocks == origin) | repeated
    chance = np.where(defining, 1.0, np.minimum(1.0, 2 * tolerance + 1e-9))
    return np.asarray(fits), np.log(chance).sum(axis=1)


# Requantising weights that lie on a grid (rows) to a type (columns): squared error over that on Gaussian weights;
# 256 x 1024 weights, ggml_quantize_chunk of llama-cpp-python 0.3.36, the smaller of without and with an importance
# matrix of ones (which makes the simple types search for the best scale). tests/test_grid.py measures it again.
_TYPES = ("Q2_K", "Q3_K", "Q4_0", "Q4_1", "IQ4_NL", "IQ4_XS", "Q4_K", "Q5_0", "Q5_1", "Q5_K", "Q6_K", "Q8_0")
_ERROR_RATIOS: Mapping[str, tuple[float, ...]] = {
    "Q2_K": (0.00, 0.63, 0.75, 0.48, 0.76, 0.77, 0.50, 0.73, 0.48, 0.58, 0.61, 0.91),
    "Q3_K": (0.91, 0.00, 0.45, 0.62, 0.89, 0.89, 0.64, 0.42, 0.72, 0.78, 0.04, 0.94),
    "Q4_0": (1.00, 1.03, 0.00, 0.26, 0.86, 0.86, 0.28, 0.00, 0.53, 0.62, 0.35, 0.97),
    "Q4_1": (1.01, 0.99, 0.83, 0.00, 0.85, 0.86, 0.05, 0.86, 0.00, 0.18, 0.91, 0.99),
    "IQ4_NL": (1.00, 0.95, 0.96, 0.73, 0.00, 0.03, 0.74, 0.85, 0.75, 0.82, 1.03, 0.02),
    "Q4_K": (1.00, 0.97, 0.81, 0.00, 0.84, 0.84, 0.00, 0.84, 0.20, 0.23, 0.90, 0.98),
    "Q5_0": (1.00, 1.00, 1.09, 0.96, 1.00, 1.00, 0.97, 0.00, 0.62, 0.69, 0.36, 0.94),
    "Q5_1": (1.00, 1.00, 0.99, 0.89, 0.99, 0.99, 0.91, 0.89, 0.00, 0.18, 0.95, 1.00),
    "Q5_K": (1.00, 0.99, 0.98, 0.89, 0.98, 0.98, 0.90, 0.89, 0.00, 0.00, 0.94, 0.99),
    "Q6_K": (1.00, 1.00, 1.01, 1.00, 1.00, 1.00, 1.00, 1.05, 0.99, 1.00, 0.00, 0.97),
    "Q8_0": (1.00, 1.00, 1.00, 1.00, 1.00, 1.00, 1.00, 1.00, 1.00, 1.00, 1.01, 0.00),
}
#: squared error relative to the squared weights on Gaussian weights, same experiment, without importance matrix
_USUAL_ERRORS = dict(
    zip(
        _TYPES,
        (0.0882, 0.0228, 0.0074, 0.0061, 0.0058, 0.0059, 0.0051, 0.0018, 0.0014, 0.0013, 0.00032, 0.000029),
        strict=True,
    )
)
_EXACT = ("F32", "F16", "BF16", "F64")
_SHARES_BELOW = 0.5


def shares_grid(grid_name: str, tensor_types: Mapping[str, float]) -> bool:
    """Whether an artifact's types (name -> share of the weights) store weights on this grid better than others.

    True when the expected squared error, summed over the types, is under half of what arbitrary weights suffer; KL
    divergence follows the squared error. A type that the table lacks counts as Q4_0 with no profit.
    """
    ratios = dict(zip(_TYPES, _ERROR_RATIOS.get(grid_name, ()), strict=False))
    usual = on_grid = 0.0
    for name, share in tensor_types.items():
        if name not in _EXACT:
            error = share * _USUAL_ERRORS.get(name, _USUAL_ERRORS["Q4_0"])
            usual += error
            on_grid += error * ratios.get(name, 1.0)
    return on_grid < _SHARES_BELOW * usual
