"""Products whose weights lie in blocks of 8 or 4 bits, and the embedding that shares them (MatMulNBits)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .blocks import Packed
from .graph import CONTRIB, Graph
from .matrix import Matrix

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Bytes = NDArray[np.uint8]

INT8 = 4  # of accuracy_level: activations are rounded to int8 block by block; the float kernels are many times slower
_MIDDLES = 0x88  # two zero points of 4 bits


@dataclass(frozen=True, kw_only=True)
class Blocked:
    """`size` weights share a scale; `pack` makes blocks of the rows of the matrix that is named."""

    bits: int
    size: int
    pack: Callable[[str, "Floats"], Packed]

    def product(self, graph: Graph, matrix: Matrix, x: str) -> str:
        """See `products.Product`."""
        stored = self._stored(graph, matrix, "blocks")
        bias = matrix.bias_values()
        more = [] if bias is None else ["", graph.constant(f"{matrix.name}.bias", bias)]
        return graph.node(
            "MatMulNBits",
            [x, *stored, *([] if len(stored) == 3 or not more else [""]), *more],
            domain=CONTRIB,
            K=matrix.n_columns,
            N=matrix.n_rows,
            bits=self.bits,
            block_size=self.size,
            accuracy_level=INT8,
        )

    def embedding(self, graph: Graph, matrix: Matrix, ids: str) -> str:
        """See `products.Product`; what fills up the last block of each row is cut off."""
        import numpy as np

        data, *rest = self._stored(graph, matrix, "rows")
        looked_up = graph.node(
            "GatherBlockQuantized",
            [data, ids, *rest],
            domain=CONTRIB,
            bits=self.bits,
            block_size=self.size,
            gather_axis=0,
            quantize_axis=1,
        )
        if matrix.n_columns % self.size == 0:
            return looked_up
        bounds = [("from", 0), ("to", matrix.n_columns), ("of_axis", -1)]
        return graph.node("Slice", [looked_up, *(graph.constant(name, np.array([n])) for name, n in bounds)])

    def _stored(self, graph: Graph, matrix: Matrix, layout: str) -> list[str]:
        """Names of codes, scales and perhaps zero points; an embedding and its tied head share the bytes."""
        n_blocks, blob = -(-matrix.n_columns // self.size), self.size * self.bits // 8
        shapes = {"blocks": (matrix.n_rows, n_blocks, blob), "rows": (matrix.n_rows, n_blocks * blob)}
        data, scales, zeros = (f"{matrix.name}.{part}" for part in (layout, "scales", "zero_points"))
        there = next((name for other in shapes if (name := f"{matrix.name}.{other}") in graph), "")
        if not there:
            kept: list[Packed] = []
            graph.stream(data, "uint8", shapes[layout], self._codes(matrix, kept))
            graph.stream(scales, "float32", (matrix.n_rows, n_blocks), (part.scales for part in kept))
            if self.bits < 8:
                width = -(-n_blocks * self.bits // 8)
                graph.stream(zeros, "uint8", (matrix.n_rows, width), (_zero_points(part) for part in kept))
        elif there != data:
            graph.alias(data, there, shapes[layout])
        return [data, scales, *([zeros] if zeros in graph else [])]

    def _codes(self, matrix: Matrix, kept: list[Packed]) -> Iterator["Bytes"]:
        """The codes block by block; scales and zero points are kept for later."""
        import numpy as np

        for rows in matrix.blocks():
            packed = self.pack(matrix.name, rows)
            yield packed.data
            kept.append(Packed(data=np.empty(0, np.uint8), scales=packed.scales, zero_points=packed.zero_points))


def _zero_points(packed: Packed) -> "Bytes":
    """Those of the codes, or the middle: without any, ARM's kernels round activations more coarsely (KleidiAI)."""
    import numpy as np

    if packed.zero_points is not None:
        return packed.zero_points
    n_rows, n_blocks = packed.scales.shape
    return np.full((n_rows, -(-n_blocks // 2)), _MIDDLES, np.uint8)
