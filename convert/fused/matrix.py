"""A weight matrix on its way into a graph: rows of the checkpoint, stacked and streamed in float32."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .. import assembly
from ..architectures.layout import PlannedTensor
from ..floats import encode

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """Weights [n_rows, n_columns], rows being outputs as PyTorch has them, and a bias [n_rows] or none.

    Those of an `unread` one are not at hand: its shape counts alone, and its bias is zeros.
    """

    name: str
    parts: tuple[PlannedTensor, ...]  # whose rows follow each other
    bias: tuple[PlannedTensor, ...] = ()
    allow_nan: bool = False
    unread: bool = False

    @property
    def n_rows(self) -> int:
        """Outputs of the product."""
        return sum(part.shape[0] for part in self.parts)

    @property
    def n_columns(self) -> int:
        """Inputs of the product."""
        return self.parts[0].shape[1]

    def blocks(self) -> Iterator["Floats"]:
        """The rows in order, float32 [some rows, n_columns] at a time."""
        for part in self.parts:
            yield from values(part, allow_nan=self.allow_nan)

    def bias_values(self) -> "Floats | None":
        """The bias [n_rows], or None."""
        import numpy as np

        if self.unread:
            return np.zeros(self.n_rows, np.float32) if self.bias else None
        parts = [vector(part, allow_nan=self.allow_nan) for part in self.bias]
        return np.concatenate(parts) if parts else None


def values(planned: PlannedTensor, *, allow_nan: bool = False) -> Iterator["Floats"]:
    """A planned tensor's rows in float32, in the order of the checkpoint: ONNX Runtime rotates halves as it does.

    `Error` for such as are no finite numbers, unless they are allowed.
    """
    plain = replace(planned, op="") if planned.op == "rotary" else planned
    for block in assembly.blocks(plain):
        yield encode(block, "F32", name=planned.name, allow_nan=allow_nan)


def vector(planned: PlannedTensor, *, allow_nan: bool = False) -> "Floats":
    """A planned vector, float32 [elements]."""
    import numpy as np

    return np.concatenate([block.ravel() for block in values(planned, allow_nan=allow_nan)])
