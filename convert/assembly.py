"""The bytes of a planned GGUF tensor, from the rows of the checkpoint that make it up, in blocks."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from .architectures.layout import Piece, PlannedTensor, n_rows_of
from .weights import read_rows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

BLOCK_BYTES = 8 * 2**20  # of float32; the larger the more memory, the smaller the more calls


def blocks(planned: PlannedTensor) -> Iterator["Floats"]:
    """The tensor's values in float32, as blocks of whole rows [rows, row length], in the file's order."""
    if planned.op == "transposed":
        yield from (_chosen(_whole(piece), planned).T for piece in planned.pieces)
        return
    multiple = planned.head_rows if planned.op == "rotary" else 1
    for piece in planned.pieces:
        for block in _blocks_of(piece, multiple_of=multiple):
            yield _changed(block, planned)


def _chosen(block: "Floats", planned: PlannedTensor) -> "Floats":
    import numpy as np

    if not planned.columns:
        return block
    return np.concatenate([block[:, first : first + n] for first, n in planned.columns], axis=1)


def _changed(block: "Floats", planned: PlannedTensor) -> "Floats":
    import numpy as np

    block = _chosen(block, planned)
    if planned.op == "rotary":
        return interleave_rotary(block, planned.head_rows)
    if planned.op == "minus_exp":
        return -np.exp(block)
    return block + np.float32(1) if planned.op == "plus_one" else block


def _blocks_of(piece: Piece, *, multiple_of: int) -> Iterator["Floats"]:
    row_length = piece.tensor.n_elements // n_rows_of(piece.tensor)
    fitting = BLOCK_BYTES // (4 * row_length * piece.step)
    at_once = max(1, fitting // multiple_of) * multiple_of
    for done in range(0, piece.n_rows, at_once):
        first, n_rows = piece.first_row + done * piece.step, min(at_once, piece.n_rows - done)
        yield read_rows(piece.tensor, first, (n_rows - 1) * piece.step + 1)[:: piece.step]


def _whole(piece: Piece) -> "Floats":
    return read_rows(piece.tensor, piece.first_row, piece.n_rows)


def interleave_rotary(rows: "Floats", head_rows: int) -> "Floats":
    """Order each head's rows (i, i + half) as neighbours: transformers rotates halves, llama.cpp's graph pairs.

    Rows [n x head_rows, row length]; the same holds for a bias as a column.
    """
    heads = rows.reshape(-1, 2, head_rows // 2, rows.shape[-1])
    return heads.swapaxes(1, 2).reshape(rows.shape)
