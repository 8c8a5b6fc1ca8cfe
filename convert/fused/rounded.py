"""Products whose activations are rounded to 8 bits: with a scale a token, one a tensor, or a calibrated one.

Weights are int8, with a scale for each output channel (or one a matrix), and multiplied in integers. On x86 without
VNNI pairs of products overflow 16 bits unless the weights stay within 7 bits (`OnnxOptions.reduce_range`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..onnx_options import OnnxOptions
from .graph import CONTRIB, Graph
from .matrix import Matrix
from .products import with_bias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

_LARGEST, _LARGEST_REDUCED = 127, 63
_SMALLEST_SCALE = 1e-30  # of a token whose activations are all zero
_MIDDLE = 128  # activations are unsigned: x86 has no product of two signed bytes


@dataclass(frozen=True, kw_only=True)
class Rounded:
    """What all three have in common: the weights."""

    options: OnnxOptions

    def _weights(self, graph: Graph, matrix: Matrix) -> tuple[str, str]:
        """Names of the weights int8 [columns, rows] and of their scales float32 [rows], or one."""
        data, scales = f"{matrix.name}.int8", f"{matrix.name}.int8.scales"  # a tied embedding has scales, too
        turned, values = _unread(matrix, self.options) if matrix.unread else self._turned(matrix)
        graph.stream(data, "int8", turned.shape, [turned])
        graph.constant(scales, values)
        return data, scales

    def _turned(self, matrix: Matrix) -> tuple[Any, Any]:
        """One product's weights (`plain_head`: the head's), a byte each, and their scales."""
        import numpy as np

        turned = np.empty((matrix.n_columns, matrix.n_rows), np.int8)
        largest = _LARGEST_REDUCED if self.options.reduce_range else _LARGEST
        whole = None if self.options.per_channel else _largest(matrix) / np.float32(largest)
        kept, done = list[Any](), 0
        for block in matrix.blocks():
            scale = np.abs(block).max(axis=1) / np.float32(largest) if whole is None else whole
            divisor = np.where(scale > 0, scale, 1)
            turned[:, done : done + len(block)] = np.rint(block / divisor[..., None]).T
            kept.append(scale)
            done += len(block)
        return turned, np.concatenate(kept) if whole is None else whole


def _unread(matrix: Matrix, options: OnnxOptions) -> tuple[Any, Any]:
    """The same in shape alone; takes no memory."""
    import numpy as np

    turned = np.broadcast_to(np.int8(0), (matrix.n_columns, matrix.n_rows))
    return turned, np.broadcast_to(np.float32(0), (matrix.n_rows,) if options.per_channel else ())


def _largest(matrix: Matrix) -> Any:
    import numpy as np

    return np.float32(max(float(np.abs(block).max()) for block in matrix.blocks()))


class ByToken(Rounded):
    """A scale for each token, found as it runs."""

    def product(self, graph: Graph, matrix: Matrix, x: str) -> str:
        """See `products.Product`."""
        import numpy as np

        data, scales = self._weights(graph, matrix)
        codes, scale = self._round(graph, x)
        one = graph.constant("one", np.array(1, np.float32))
        middle = graph.constant("middle", np.array(_MIDDLE, np.uint8))
        y = graph.node("MatMulIntegerToFloat", [codes, data, one, scales, middle], domain=CONTRIB)
        return with_bias(graph, matrix, graph.node("Mul", [y, scale]))

    def _round(self, graph: Graph, x: str) -> tuple[str, str]:
        """Activations uint8 [1, tokens, columns] around 128, and their scales float32 [1, tokens, 1]."""
        import numpy as np

        last = graph.constant("last_axis", np.array([-1]))
        largest = graph.node("ReduceMax", [graph.node("Abs", [x]), last], keepdims=1)
        scale = graph.node("Mul", [largest, graph.constant("step", np.array(1 / _LARGEST, np.float32))])
        scale = graph.node("Max", [scale, graph.constant("smallest", np.array(_SMALLEST_SCALE, np.float32))])
        flat = graph.node("Reshape", [scale, graph.constant("flat", np.array([-1]))])
        middle = graph.constant("middle", np.array(_MIDDLE, np.uint8))
        zeros = graph.node("Expand", [middle, graph.node("Shape", [flat])])
        return graph.node("QuantizeLinear", [x, flat, zeros], axis=1), scale


class ByTensor(Rounded):
    """One scale for all tokens that are computed together, found as it runs."""

    def product(self, graph: Graph, matrix: Matrix, x: str) -> str:
        """See `products.Product`."""
        data, scales = self._weights(graph, matrix)
        y = graph.node("DynamicQuantizeMatMul", [x, data, scales], domain=CONTRIB)
        return with_bias(graph, matrix, y)


@dataclass(frozen=True, kw_only=True)
class Static(Rounded):
    """One scale and zero point, from the range (lowest, highest) of each product's input on a calibration text."""

    range_of: Callable[[str], tuple[float, float]]

    def product(self, graph: Graph, matrix: Matrix, x: str) -> str:
        """See `products.Product`; written as QuantizeLinear and DequantizeLinear, which ONNX Runtime fuses."""
        import numpy as np

        data, scales = self._weights(graph, matrix)
        low, high = self.range_of(matrix.name)
        step = max((high - low) / 255, _SMALLEST_SCALE)
        scale = graph.constant(f"{matrix.name}.input_scale", np.array(step, np.float32))
        zero = graph.constant(f"{matrix.name}.input_zero", np.array(round(-low / step), np.uint8))
        rounded = graph.node("QuantizeLinear", [x, scale, zero])
        rounded = graph.node("DequantizeLinear", [rounded, scale, zero])
        weights = graph.node("DequantizeLinear", [data, scales], axis=1)
        return with_bias(graph, matrix, graph.node("MatMul", [rounded, weights]))
