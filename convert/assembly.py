"""The bytes of a planned GGUF tensor, from the rows of the checkpoint that make it up, in blocks."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .architectures.layout import Piece, PlannedTensor, n_rows_of
from .weights import read_rows, stored_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = NDArray[Any]  # in the checkpoint's own type, see `floats`

_BLOCK_WEIGHTS = 2**20  # the larger the more memory, the smaller the more calls; both cost time
_COMPUTED = ("plus_one", "minus_exp")  # what needs float32; all else moves values about


def blocks(planned: PlannedTensor) -> Iterator["Values"]:
    """The values as `floats.encode` takes them, in blocks of whole rows [rows, row length], in the file's order."""
    if planned.op == "transposed":
        yield from (_chosen(stored_rows(p.tensor, p.first_row, p.n_rows), planned).T for p in planned.pieces)
        return
    for piece in planned.pieces:
        for block in _blocks_of(piece, planned):
            yield _changed(block, planned)


def _chosen(block: "Values", planned: PlannedTensor) -> "Values":
    import numpy as np

    if not planned.columns:
        return block
    return np.concatenate([block[:, first : first + n] for first, n in planned.columns], axis=1)


def _changed(block: "Values", planned: PlannedTensor) -> "Values":
    import numpy as np

    block = _chosen(block, planned)
    if planned.op == "rotary":
        return interleave_rotary(block, planned.head_rows)
    if planned.op == "minus_exp":
        return -np.exp(block)
    return block + np.float32(1) if planned.op == "plus_one" else block


def _blocks_of(piece: Piece, planned: PlannedTensor) -> Iterator["Values"]:
    read = read_rows if planned.op in _COMPUTED else stored_rows
    multiple = planned.head_rows if planned.op == "rotary" else 1
    row_length = piece.tensor.n_elements // n_rows_of(piece.tensor)
    fitting = _BLOCK_WEIGHTS // (row_length * piece.step)
    at_once = max(1, fitting // multiple) * multiple
    for done in range(0, piece.n_rows, at_once):
        first, n_rows = piece.first_row + done * piece.step, min(at_once, piece.n_rows - done)
        yield read(piece.tensor, first, (n_rows - 1) * piece.step + 1)[:: piece.step]


def interleave_rotary(rows: "Values", head_rows: int) -> "Values":
    """Order each head's rows (i, i + half) as neighbours: transformers rotates halves, llama.cpp's graph pairs.

    Rows [n x head_rows, row length]; the same holds for a bias as a column.
    """
    heads = rows.reshape(-1, 2, head_rows // 2, rows.shape[-1])
    return heads.swapaxes(1, 2).reshape(rows.shape)
