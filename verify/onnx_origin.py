"""What an ONNX artifact's weights were made from: the checkpoint's rows, or the float32 graph beside it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..convert import rescale
from ..convert.architectures.geometry import geometry
from ..convert.architectures.layout import Piece, PlannedTensor, plan
from ..convert.checkpoint import Checkpoint
from ..convert.weights import read_rows
from .onnx_matrices import products
from .onnx_stored import Stored

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

Blocks = Callable[[], Iterator["Floats"]]  # a matrix's rows in order, some at a time
UNCHANGED = rescale.Factors(rows={}, columns={})
_WEIGHTS_AT_ONCE = 2**20
_HEAD, _EMBEDDING = "output.weight", "token_embd.weight"
#: products of our own graph that hold several of the checkpoint's tensors, one below the other
_STACKED = {"attn_qkv": ("attn_q", "attn_k", "attn_v"), "ffn_gate_up": ("ffn_gate", "ffn_up")}
_STACK_OF = {part: whole for whole, parts in _STACKED.items() for part in parts}


class Origin:
    """A checkpoint as our own graph holds it: names of its tensors there, and the rows that they are to have.

    ONNX Runtime rotates halves of a head as transformers does, so rows stay in the checkpoint's order.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        planned = {tensor.name: tensor for tensor in plan(checkpoint)}
        if geometry(checkpoint).tied:
            planned.pop(_HEAD, None)
        self.matrices: dict[str, list[PlannedTensor]] = {}
        self.vectors: dict[str, list[PlannedTensor]] = {}
        for name, tensor in planned.items():
            named = _in_graph(name, set(planned))
            of = self.matrices if len(tensor.shape) == 2 else self.vectors
            of.setdefault(named, []).append(tensor)

    def blocks(self, name: str, factors: rescale.Factors = UNCHANGED) -> Blocks:
        """The rows of a matrix [some, columns], rescaled."""
        return partial(self._rows, self.matrices[name], factors)

    def vector(self, name: str, factors: rescale.Factors = UNCHANGED) -> "Floats":
        """A vector [elements], rescaled; a norm's as it multiplies."""
        import numpy as np

        tensors = self.vectors[name]
        values = np.concatenate([block.ravel() for block in self._rows(tensors, factors)])
        return values + np.float32(1) if tensors[0].op == "plus_one" else values

    def rows_of(self, tensor: str) -> tuple[str, int] | None:
        """The matrix that holds a tensor of the table of architectures, and the number of its first row there."""
        for name, tensors in self.matrices.items():
            start = 0
            for piece in (piece for each in tensors for piece in each.pieces):
                if self._in_table(piece) == tensor:
                    return name, start
                start += piece.n_rows
        return None

    def vector_of(self, tensor: str) -> str:
        """The vector that is a tensor of the table of architectures, "" where none is."""
        of = {self._in_table(each.pieces[0]): name for name, tensors in self.vectors.items() for each in tensors}
        return of.get(tensor, "")

    def _in_table(self, piece: Piece) -> str:
        return rescale.name_in_table(piece.tensor.name, self.checkpoint.config)

    def _rows(self, tensors: Sequence[PlannedTensor], factors: rescale.Factors) -> Iterator["Floats"]:
        rescales = bool(factors.rows or factors.columns)
        for tensor, piece in ((each, piece) for each in tensors for piece in each.pieces):
            at_once = max(1, _WEIGHTS_AT_ONCE // tensor.shape[-1])
            for first in range(piece.first_row, piece.first_row + piece.n_rows, at_once):
                rows = read_rows(piece.tensor, first, min(at_once, piece.first_row + piece.n_rows - first))
                if len(tensor.shape) == 1:
                    rows = rows.ravel()
                yield rescale.apply(self._in_table(piece), rows, factors, first_row=first) if rescales else rows


def _in_graph(name: str, planned: set[str]) -> str:
    """The name that a planned tensor has in our own graph, or that of the product that holds it."""
    where, _, word = name.rpartition(".")
    before, _, part = where.rpartition(".")
    if part not in _STACK_OF or f"{before}.{_STACK_OF[part]}.weight" in planned:
        return name if word == "weight" else f"{where}.weight.{word}"
    whole = f"{before}.{_STACK_OF[part]}.weight"
    return whole if word == "weight" else f"{whole}.{word}"


def of_graph(folder: Path) -> Mapping[str, Blocks]:
    """Matrices of the float32 graph in a folder."""
    return {each.weights.name: partial(_all_rows, each.weights) for each in products(folder)}


def _all_rows(stored: Stored) -> Iterator["Floats"]:
    import numpy as np

    at_once = max(1, _WEIGHTS_AT_ONCE // stored.n_columns)
    for start in range(0, stored.n_rows, at_once):
        yield stored.rows(np.arange(start, min(start + at_once, stored.n_rows)))
