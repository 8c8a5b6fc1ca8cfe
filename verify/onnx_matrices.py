"""The products of an ONNX graph with weights of its own: what goes in, how it is rounded, and what comes out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..convert.fused.graph import MODEL_FILE
from ..convert.onnx_header import OnnxHeader, OnnxNode, read_header
from ..convert.onnx_values import OnnxValues
from .onnx_stored import QUANTISED, Stored, in_blocks, in_columns, in_floats

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Rounding:
    """How a product's input is rounded: "none", "blocks" (of `size`), "token", "tensor", or "static" by these two."""

    way: str = "none"
    size: int = 0
    scale: float = 0.0
    zero: int = 0


@dataclass(frozen=True, kw_only=True)
class Product:
    """Values `x` [1, tokens, columns] (or token ids, of a look-up) times `weights` plus `bias` is the value `y`."""

    operator: str
    weights: Stored
    x: str
    y: str
    rounding: Rounding = Rounding()
    bias: "Floats | None" = None

    @property
    def looks_up(self) -> bool:
        """Whether rows are looked up instead of multiplied."""
        return "Gather" in self.operator


def products(folder: Path) -> list[Product]:
    """Every product of the graph in this folder whose weights are its own, in the order of the computation."""
    header = read_header(folder / MODEL_FILE)
    reader = _Reader(header, OnnxValues(folder / MODEL_FILE, header))
    return [product for node in header.nodes if (product := reader.product(node)) is not None]


class _Reader:
    """Turns nodes into products; `_READERS` says how each operator is read."""

    def __init__(self, header: OnnxHeader, values: OnnxValues) -> None:
        self._values = values
        self._producers = {name: node for node in header.nodes for name in node.outputs}
        self._consumers: dict[str, list[OnnxNode]] = {}
        for node in header.nodes:
            for name in node.inputs:
                self._consumers.setdefault(name, []).append(node)

    def product(self, node: OnnxNode) -> Product | None:
        """The product that a node computes, or None."""
        read = _READERS.get(node.operator)
        return read(self, node) if read else None

    def in_blocks(self, node: OnnxNode) -> Product | None:
        """MatMulNBits."""
        sizes = node.integers
        data, scales, zeros, _, bias = _padded(node.inputs[1:], 5)
        stored = in_blocks(self._values, data, scales, zeros, sizes, (sizes["N"], sizes["K"]))
        rounds = sizes.get("accuracy_level") == 4
        rounding = Rounding(way="blocks", size=sizes["block_size"]) if rounds else Rounding()
        return self._product(node, stored, node.inputs[0], node.outputs[0], rounding, bias)

    def looked_up_in_blocks(self, node: OnnxNode) -> Product | None:
        """GatherBlockQuantized."""
        data, ids, scales, zeros = _padded(node.inputs, 4)
        n_rows, width = self._values.tensors[data].shape
        columns = width * self._values.tensors[data].bits // node.integers["bits"]
        stored = in_blocks(self._values, data, scales, zeros, node.integers, (n_rows, columns))
        return self._product(node, stored, ids, node.outputs[0])

    def by_token(self, node: OnnxNode) -> Product | None:
        """MatMulIntegerToFloat over activations that were rounded with a scale each token, multiplied afterwards."""
        codes, data, _, scales, _, zeros, bias = _padded(node.inputs, 7)
        rounded = self._producers.get(codes)
        if rounded is None:
            return None
        flat = self._producers.get(rounded.inputs[1])
        behind = [n for n in self._consumers.get(node.outputs[0], []) if n.operator == "Mul"]
        if rounded.operator != "QuantizeLinear" or flat is None or not behind or flat.inputs[0] not in behind[0].inputs:
            return None
        y = behind[0].outputs[0]
        return self._product(
            node, in_columns(self._values, data, scales, zeros), rounded.inputs[0], y, Rounding(way="token"), bias
        )

    def by_tensor(self, node: OnnxNode) -> Product | None:
        """DynamicQuantizeMatMul."""
        x, data, scales, zeros, bias = _padded(node.inputs, 5)
        return self._product(
            node, in_columns(self._values, data, scales, zeros), x, node.outputs[0], Rounding(way="tensor"), bias
        )

    def by_tensor_in_parts(self, node: OnnxNode) -> Product | None:
        """MatMulInteger as ONNX Runtime's quantisers write it, behind DynamicQuantizeLinear, before Cast and Mul."""
        codes, data, _, zeros = _padded(node.inputs, 4)
        rounded = self._producers.get(codes)
        y = self._behind(self._behind(node.outputs[0], "Cast"), "Mul")
        scales = f"{data.removesuffix(QUANTISED)}_scale"
        if not y or rounded is None or rounded.operator != "DynamicQuantizeLinear" or scales not in self._values:
            return None
        return self._product(
            node, in_columns(self._values, data, scales, zeros), rounded.inputs[0], y, Rounding(way="tensor")
        )

    def plain(self, node: OnnxNode) -> Product | None:
        """MatMul or FusedMatMul: of floats, or with QuantizeLinear and DequantizeLinear before it."""
        x, weights = node.inputs[:2]
        turned = bool(node.integers.get("transB"))
        if weights in self._values:
            return self._product(node, in_floats(self._values, weights, rows_first=turned), x, node.outputs[0])
        made = self._producers.get(weights)
        if made is None or made.operator != "DequantizeLinear" or made.inputs[0] not in self._values:
            return None
        data, scales, zeros = _padded(made.inputs, 3)
        x, rounding = self._static(x)
        return self._product(node, in_columns(self._values, data, scales, zeros), x, node.outputs[0], rounding)

    def with_bias(self, node: OnnxNode) -> Product | None:
        """Gemm of floats."""
        x, weights, bias = _padded(node.inputs, 3)
        if weights not in self._values:
            return None
        turned = bool(node.integers.get("transB"))
        return self._product(node, in_floats(self._values, weights, rows_first=turned), x, node.outputs[0], bias=bias)

    def looked_up(self, node: OnnxNode) -> Product | None:
        """Gather of floats, or of whole numbers before DequantizeLinear."""
        data, ids = node.inputs
        if data not in self._values or len(self._values.tensors[data].shape) != 2:
            return None
        if self._values.tensors[data].type == "float32":
            return self._product(node, in_floats(self._values, data, rows_first=True), ids, node.outputs[0])
        behind = [n for n in self._consumers.get(node.outputs[0], []) if n.operator == "DequantizeLinear"]
        if not behind or not set(behind[0].inputs[1:]) <= set(self._values.tensors):
            return None
        _, scales, zeros = _padded(behind[0].inputs, 3)
        return self._product(
            node, in_columns(self._values, data, scales, zeros, turned=True), ids, behind[0].outputs[0]
        )

    def _static(self, x: str) -> tuple[str, Rounding]:
        """The value before it was rounded, and how it was."""
        back = self._producers.get(x)
        there = self._producers.get(back.inputs[0]) if back and back.operator == "DequantizeLinear" else None
        if there is None or there.operator != "QuantizeLinear":
            return x, Rounding()
        value, scale, zero = there.inputs
        return value, Rounding(
            way="static", scale=float(self._values[scale].item()), zero=int(self._values[zero].item())
        )

    def _behind(self, value: str, operator: str) -> str:
        """The output of the one node of this operator that reads the value, else ""."""
        found = [node for node in self._consumers.get(value, []) if node.operator == operator]
        return found[0].outputs[0] if len(found) == 1 else ""

    def _product(
        self, node: OnnxNode, stored: Stored, x: str, y: str, rounding: Rounding = Rounding(), bias: str = ""
    ) -> Product:
        added = self._values[bias] if bias else None
        return Product(operator=node.operator, weights=stored, x=x, y=y, rounding=rounding, bias=added)


_READERS: dict[str, Callable[[_Reader, OnnxNode], Product | None]] = {
    "MatMulNBits": _Reader.in_blocks,
    "GatherBlockQuantized": _Reader.looked_up_in_blocks,
    "MatMulIntegerToFloat": _Reader.by_token,
    "DynamicQuantizeMatMul": _Reader.by_tensor,
    "MatMulInteger": _Reader.by_tensor_in_parts,
    "MatMul": _Reader.plain,
    "FusedMatMul": _Reader.plain,
    "Gemm": _Reader.with_bias,
    "Gather": _Reader.looked_up,
}


def _padded(names: Sequence[str], n: int) -> list[str]:
    """Inputs, those that are left out as ""."""
    return [*names, *[""] * n][:n]
