"""Weights in blocks of 4 or 8 bits along each row, as ONNX Runtime's MatMulNBits and GatherBlockQuantized read them.

A block of `size` inputs of one output has one float32 scale, and in the methods that choose it a zero point of as many
bits as the codes: weight = (code - zero point) * scale. Without zero points that is 8 or 128. A last block that is
longer than the row is filled up with zeros. Both operators read the same bytes: MatMulNBits wants the codes as
[rows, n_blocks, size * bits / 8], GatherBlockQuantized as [rows, n_blocks * size * bits / 8], whose result is then as
wide as the blocks. (ONNX Runtime's ContribOperators.md.)
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ... import Error

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]
    Floats = NDArray[np.float32]

SIZES = (16, 32, 64, 128, 256)  # what MatMulNBits takes
_PIECE_WEIGHTS = 2**16  # at once, so that what is made on the way stays in a processor's cache
#: scales tried: range / (levels + step), the steps of llama.cpp's search (ggml-quants.c, make_qkx2_quants)
_STEPS = tuple(step / 10 for step in range(-10, 10))
_HUGE = 2.0**126
_TINY = 2.0**-100  # a block of smaller weights is nothing: the inverse of its scale would be infinite


@dataclass(frozen=True, kw_only=True)
class Packed:
    """Rows of a matrix as the operators want them."""

    data: "Bytes"  # [rows, n_blocks, size * bits / 8]; of two codes of 4 bits the first is the lower half
    scales: "Floats"  # [rows, n_blocks]
    zero_points: "Bytes | None" = None  # [rows, ceil(n_blocks * bits / 8)], packed as the codes are


def nearest(rows: "Floats", *, size: int, bits: int) -> Packed:
    """Round to nearest, symmetric: the weight that is farthest from zero takes the lowest code.

    `rows` is float32 [rows, columns]. Equal to ONNX Runtime's own (`quantize_matmul_4bits` and `_8bits` of
    onnxruntime.capi, symmetric) to the bit. `Error` where a weight is no finite number.
    """
    import numpy as np

    data, scales = [], []
    middle = np.float32(2 ** (bits - 1))
    for blocks in _pieces(rows, size):
        low, high = blocks.min(axis=2), blocks.max(axis=2)
        extreme = np.where(np.abs(high) > np.abs(low), high, low)
        scale = np.where(np.abs(extreme) > _TINY, extreme, 0) / -middle
        inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale != 0)
        codes = np.floor(blocks * inverse[..., None] + middle + np.float32(0.5))
        data.append(pack(np.clip(codes, 0, 2 * middle - 1).astype(np.uint8), bits))
        scales.append(scale)
    return Packed(data=np.concatenate(data), scales=np.concatenate(scales))


def k_quant(rows: "Floats", *, size: int, bits: int = 4, importance: "Floats | None" = None) -> Packed:
    """Scale and zero point of each block by a search, as llama.cpp's k-quants do it, with whole zero points.

    The search lessens a weighted squared error: weighted by `importance` of the columns [columns] (the mean squares of
    the inputs, for example), else by the weights' own size as ggml does. ONNX Runtime's function of the name rounds
    its zero points after the search and so loses what was found. `Error` where a weight is no finite number.
    """
    import numpy as np

    packed = []
    for blocks in _pieces(rows, size):
        weighting = own_size(blocks) if importance is None else padded(importance[None], size)
        scales, zeros = searched(blocks, weighting, bits)
        inverse = np.divide(1, scales, out=np.zeros_like(scales), where=scales != 0)
        wanted = np.rint(blocks * inverse[..., None]) + zeros[..., None]
        codes = np.clip(wanted, 0, 2**bits - 1).astype(np.uint8)
        packed.append((pack(codes, bits), scales, pack(zeros.astype(np.uint8), bits)))
    data, all_scales, zero_points = (np.concatenate(each) for each in zip(*packed, strict=True))
    return Packed(data=data, scales=all_scales, zero_points=zero_points)


def searched(blocks: "Floats", weighting: "Floats", bits: int) -> tuple["Floats", "Floats"]:
    """Scales and whole zero points, float32 [rows, n_blocks], of blocks [rows, n_blocks, size].

    For codes c (less the zero point) the best scale is sum(w x c) / sum(w c c), and it takes
    sum(w x c)^2 / sum(w c c) off the error: so the largest of those among the codes that the steps give.
    """
    import numpy as np

    levels = 2**bits - 1
    low = np.minimum(blocks.min(axis=2), 0)
    span = np.maximum(blocks.max(axis=2), 0) - low
    inverse = np.divide(1, span, out=np.zeros_like(span), where=span > _TINY)
    unit = blocks * inverse[..., None]  # in [-1, 1], so that no square over- or underflows
    low, weighted = low * inverse, unit * weighting
    best, scales, zeros = np.zeros_like(span), np.zeros_like(span), np.zeros_like(span)
    for step in _STEPS:
        factor = np.float32(levels + step)
        zero = np.clip(np.rint(low * -factor), 0, levels)
        codes = np.clip(np.rint(unit * factor), -zero[..., None], levels - zero[..., None])
        along = np.einsum("rbi,rbi->rb", weighted, codes)
        square = np.einsum("rbi,rbi->rb", weighting * codes, codes)
        scale = np.divide(along, square, out=np.zeros_like(along), where=square > 0)
        better = along * scale > best
        best[better], scales[better], zeros[better] = (along * scale)[better], scale[better], zero[better]
    return scales * span, zeros


def own_size(blocks: "Floats") -> "Floats":
    """Weights' own size as their importance: root mean square of the block + |weight| (ggml's, without an imatrix)."""
    import numpy as np

    largest = np.abs(blocks).max(axis=2, keepdims=True)
    unit = np.abs(blocks) / np.where(largest > _TINY, largest, 1)
    sizes: Floats = np.sqrt(np.square(unit).mean(axis=2, keepdims=True)) + unit
    return sizes


def dequantised(packed: Packed, *, bits: int, n_columns: int) -> "Floats":
    """What the operators compute with: float32 [rows, n_columns]."""
    import numpy as np

    zeros: Any = np.float32(2 ** (bits - 1))
    if packed.zero_points is not None:
        zeros = unpacked(packed.zero_points, bits)[:, : packed.scales.shape[1], None].astype(np.float32)
    values = (unpacked(packed.data, bits).astype(np.float32) - zeros) * packed.scales[..., None]
    rows: Floats = values.reshape(len(values), -1)[:, :n_columns]
    return rows


def pack(codes: "Bytes", bits: int) -> "Bytes":
    """Codes along the last axis as bytes; an odd last code of 4 bits gets a zero beside it."""
    import numpy as np

    if bits == 8:
        return codes
    if codes.shape[-1] % 2:
        codes = np.concatenate([codes, np.zeros_like(codes[..., :1])], axis=-1)
    both: Any = codes[..., ::2] | codes[..., 1::2] << 4
    packed: Bytes = both
    return packed


def unpacked(data: "Bytes", bits: int) -> "Bytes":
    """One byte a code, from `pack`'s."""
    import numpy as np

    return data if bits == 8 else np.stack([data & 15, data >> 4], axis=-1).reshape(*data.shape[:-1], -1)


def padded(rows: "Floats", size: int) -> "Floats":
    """Rows as whole blocks, [rows, n_blocks, size], with zeros at the end."""
    import numpy as np

    n_rows, n_columns = rows.shape
    missing = -n_columns % size
    return np.pad(rows, ((0, 0), (0, missing))).reshape(n_rows, -1, size) if missing else rows.reshape(n_rows, -1, size)


def _pieces(rows: "Floats", size: int) -> Iterator["Floats"]:
    step = max(1, _PIECE_WEIGHTS // rows.shape[1])
    for start in range(0, len(rows), step):
        yield padded(finite(rows[start : start + step]), size)


def finite(rows: "Floats") -> "Floats":
    """The rows, or `Error` where one holds what is no number or so large that a range over it would be none."""
    import numpy as np

    if not np.abs(rows).max(initial=0) < _HUGE:  # so a NaN is refused too
        raise Error("a weight is infinite or no number", hint="the checkpoint may be damaged: download it again")
    return rows
