"""How the products of a graph are stored and computed, and the simplest way: in float32."""

from collections.abc import Callable
from dataclasses import dataclass

from .graph import CONTRIB, Graph
from .matrix import Matrix

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
    return with_bias(graph, matrix, graph.node("FusedMatMul", [x, weights], domain=CONTRIB, transB=1))


def with_bias(graph: Graph, matrix: Matrix, y: str) -> str:
    """A product and the matrix's bias, where it has one."""
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
