"""GPTQ: weights rounded one column after another, each column making up for the errors of those before it.

For inputs x with G = sum(x x^T), rounding a row w to q costs (w - q) G (w - q)^T. With G = L L^T and L a lower
triangle that cost is the sum over columns k of (sum over i >= k of L[i, k] (w - q)[i])^2. So from the last column to
the first, each one rounds w[k] + sum over i > k of L[i, k] / L[k, k] (w - q)[i], which is the choice of GPTQ
(arXiv:2210.17323) without the inverse of G (their equality: arXiv:2307.13304). The columns with the largest
inputs go first, at scales that are chosen before ("static groups"), so that blocks stay whole.

ONNX Runtime's own (onnxruntime.quantization.neural_compressor, 1.31) passes no error on: it reads the column below the
diagonal of an upper triangle, which is zero, and equals rounding to nearest.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ... import Error
from .blocks import Packed, finite, pack, padded, searched

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]
    Floats = NDArray[np.float32]

_BLOCK_COLUMNS = 128  # errors of earlier blocks are added in one product
#: of the mean of G's diagonal. Of 0.01 (the paper's), 0.05, 0.1, 0.2 and 0.4 the one with the least error on other text
#: (SmolLM2-135M, 16 matrices, 8,000 tokens, blocks of 32 and 128).
DAMPING = 0.1


@dataclass(frozen=True, kw_only=True)
class Feedback:
    """What rounding asks of the inputs of a product; one for all rows and all matrices that read them."""

    order: "NDArray[np.intp]"  # columns by the mean square of their inputs, smallest first
    factors: "Floats"  # [columns, columns] in that order: below the diagonal L, each column divided by its diagonal
    importance: "Floats"  # [columns], the diagonal of the damped G


def feedback(gram: "Floats", *, damping: float = DAMPING) -> Feedback:
    """From G = X^T X of the inputs, float32 [columns, columns], or any multiple of it; keeps `gram` as it is.

    Makes one more matrix of G's size. `Error` where G holds no finite numbers, or is no such product.
    """
    import numpy as np

    squares = np.diagonal(gram)
    mean = float(squares.mean())
    if not np.isfinite(gram).all() or mean < 0:
        raise Error("the inputs' statistics hold no finite numbers", hint="use another calibration text")
    importance = (squares / mean if mean else np.zeros_like(squares)) + np.float32(damping if mean else 1)
    order = np.argsort(importance, kind="stable")
    ordered = gram[np.ix_(order, order)]
    ordered /= np.float32(mean or 1)
    np.fill_diagonal(ordered, importance[order])
    return Feedback(order=order, factors=_factorised(ordered), importance=importance)


def _factorised(gram: "Floats") -> "Floats":
    """`Feedback.factors`, made in `gram`'s own memory: numpy takes six times as much besides."""
    import numpy as np

    for start in range(0, len(gram), _BLOCK_COLUMNS):
        stop = start + _BLOCK_COLUMNS
        gram[start:, start:stop] -= gram[start:, :start] @ gram[start:stop, :start].T
        try:
            corner = np.linalg.cholesky(gram[start:stop, start:stop])
        except np.linalg.LinAlgError:
            raise Error("the inputs' statistics are no sum of squares", hint="use another calibration text") from None
        gram[start:stop, start:stop] = corner
        gram[stop:, start:stop] = gram[stop:, start:stop] @ np.linalg.inv(corner).T
    gram /= np.diagonal(gram).copy()
    return gram


def gptq(rows: "Floats", known: Feedback, *, size: int, bits: int = 4) -> Packed:
    """Rows float32 [rows, columns] in blocks with zero points; rows do not depend on each other.

    `Error` where a weight is no finite number.
    """
    import numpy as np

    scales, zeros = searched(padded(finite(rows), size), padded(known.importance[None], size), bits)
    codes = _rounded(rows, known, scales=scales.T.copy(), zeros=zeros.T.copy(), size=size, bits=bits)
    data = pack(codes.reshape(*scales.shape, size), bits)
    return Packed(data=data, scales=scales, zero_points=pack(zeros.astype(np.uint8), bits))


def _rounded(rows: "Floats", known: Feedback, *, scales: "Floats", zeros: "Floats", size: int, bits: int) -> "Bytes":
    """Codes [rows, n_blocks * size], from scales and zero points [n_blocks, rows]."""
    import numpy as np

    factors, levels = known.factors, 2**bits - 1
    inverses = np.divide(1, scales, out=np.zeros_like(scales), where=scales != 0)
    codes = np.repeat(zeros.astype(np.uint8), size, axis=0)  # what fills the last block stands for zero
    weights = rows.T[known.order]  # a column is a row here: contiguous
    errors = np.zeros_like(weights)
    for stop in range(len(weights), 0, -_BLOCK_COLUMNS):
        start = max(0, stop - _BLOCK_COLUMNS)
        wanted = weights[start:stop] + factors[stop:, start:stop].T @ errors[stop:]
        for k in reversed(range(start, stop)):
            column = known.order[k]
            zero, scale = zeros[column // size], scales[column // size]
            wish = wanted[k - start] + factors[k + 1 : stop, k] @ errors[k + 1 : stop]
            code = np.clip(np.rint(wish * inverses[column // size]) + zero, 0, levels)
            codes[column] = code
            errors[k] = weights[k] - (code - zero) * scale
    return codes.T
