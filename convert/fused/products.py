"""How a matrix product is stored and computed: one `Scheme` a format."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .graph import CONTRIB, Graph
from .matrix import Matrix

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

Product = Callable[[Graph, Matrix, str], str]  # (graph, weights, the input's name [1, n, columns]) -> [1, n, rows]


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """The products of the layers, of the head, and the look-up in the embedding (whose input are token ids)."""

    layers: Product
    head: Product
    embedding: Product


def float_product(graph: Graph, matrix: Matrix, x: str) -> str:
    """Float32 weights as the checkpoint has them, rows first; the multiplication transposes."""
    weights = _float_weights(graph, matrix)
    y = graph.node("FusedMatMul", [x, weights], domain=CONTRIB, transB=1)
    bias = matrix.bias_values()
    return y if bias is None else graph.node("Add", [y, graph.constant(f"{matrix.name}.bias", bias)])


def float_embedding(graph: Graph, matrix: Matrix, ids: str) -> str:
    """Rows of float32 weights; a tied head shares them."""
    return graph.node("Gather", [_float_weights(graph, matrix), ids], axis=0)


def _float_weights(graph: Graph, matrix: Matrix) -> str:
    if matrix.name in graph:
        return matrix.name
    return graph.stream(matrix.name, "float32", (matrix.n_rows, matrix.n_columns), matrix.blocks())


FLOAT = Scheme(layers=float_product, head=float_product, embedding=float_embedding)


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """Weights of `bits` bits in blocks along each row with a scale each (MatMulNBits), products in int8."""

    bits: int = 8
    size: int = 32

    def product(self, graph: Graph, matrix: Matrix, x: str) -> str:
        """See `Product`."""
        n_blocks, blob = -(-matrix.n_columns // self.size), self.size * self.bits // 8
        packed, scales = self._stored(graph, matrix, f"{matrix.name}.blocks", (matrix.n_rows, n_blocks, blob))
        bias = matrix.bias_values()
        named = [] if bias is None else ["", "", graph.constant(f"{matrix.name}.bias", bias)]
        return graph.node(
            "MatMulNBits",
            [x, packed, scales, *named],
            domain=CONTRIB,
            K=matrix.n_columns,
            N=matrix.n_rows,
            bits=self.bits,
            block_size=self.size,
            accuracy_level=4,
        )

    def embedding(self, graph: Graph, matrix: Matrix, ids: str) -> str:
        """See `Product`."""
        shape = (matrix.n_rows, matrix.n_columns * self.bits // 8)
        data, scales = self._stored(graph, matrix, f"{matrix.name}.rows", shape)
        return graph.node(
            "GatherBlockQuantized",
            [data, ids, scales],
            domain=CONTRIB,
            bits=self.bits,
            block_size=self.size,
            gather_axis=0,
            quantize_axis=1,
        )

    def _stored(self, graph: Graph, matrix: Matrix, name: str, shape: tuple[int, ...]) -> tuple[str, str]:
        """Names of the codes, in the shape that an operator wants them in, and of the scales; stored once."""
        scales, other = f"{matrix.name}.scales", {"blocks": "rows", "rows": "blocks"}[name.rpartition(".")[2]]
        if (stored := f"{matrix.name}.{other}") in graph:
            return graph.alias(name, stored, shape), scales
        kept = list[Any]()

        def quantised() -> Iterator[Any]:
            for block in matrix.blocks():
                codes, scale = _nearest(block, self.size)
                kept.append(scale)
                yield codes

        graph.stream(name, "uint8", shape, quantised())
        graph.stream(scales, "float32", (matrix.n_rows, -(-matrix.n_columns // self.size)), kept)
        return name, scales


def _nearest(rows: "Floats", size: int):
    import numpy as np

    blocks = rows.reshape(len(rows), -1, size)
    scale = np.abs(blocks).max(axis=2) / 127
    codes = np.rint(blocks / np.where(scale, scale, 1)[..., None]) + 128
    return codes.astype(np.uint8).reshape(len(rows), -1), scale.astype(np.float32)
