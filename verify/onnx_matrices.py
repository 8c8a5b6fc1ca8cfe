"""The weight matrices of an ONNX graph: how each is stored, what its rows are in float32, and the product it is in."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..convert.onnx_header import OnnxHeader, OnnxNode, Place, read_header
from ..convert.onnx_values import OnnxValues

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Rows = Callable[[NDArray[np.int64]], Floats]

MODEL_FILE = "model.onnx"
QUANTISED = "_quantized"  # ends the name of what ONNX Runtime's quantisers made of a tensor, as _Q8 and _Q4 do
WHOLE, ROW = -1, 0  # of `Stored.group`: one scale for all weights, or one for each row
_REDUCED = 63  # the largest int8 weight where products must not overflow 16 bits


@dataclass(frozen=True, kw_only=True)
class Stored:
    """Weights [n_rows, n_columns], rows being outputs; `rows(numbers)` dequantises some of them, float32.

    `group` weights of a row share a scale; `largest` is the largest whole number that a weight can be, 0 for floats.
    """

    name: str
    n_rows: int
    n_columns: int
    rows: "Rows"
    place: Place | None  # of their bytes, which several names may share
    bits: int
    group: int = ROW
    largest: int = 0

    @property
    def kind(self) -> str:
        """The type in words."""
        if not self.largest:
            return "float32"
        if self.group > 0:
            return f"int{self.bits} in blocks of {self.group}"
        return f"int{self.bits} with {'one scale' if self.group == WHOLE else 'a scale a row'}"


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
        stored = self._blocks(data, scales, zeros, sizes, (sizes["N"], sizes["K"]))
        rounds = sizes.get("accuracy_level") == 4
        rounding = Rounding(way="blocks", size=sizes["block_size"]) if rounds else Rounding()
        return self._product(node, stored, node.inputs[0], node.outputs[0], rounding, bias)

    def looked_up_in_blocks(self, node: OnnxNode) -> Product | None:
        """GatherBlockQuantized."""
        data, ids, scales, zeros = _padded(node.inputs, 4)
        n_rows, width = self._values.tensors[data].shape
        columns = width * self._values.tensors[data].bits // node.integers["bits"]
        stored = self._blocks(data, scales, zeros, node.integers, (n_rows, columns))
        return self._product(node, stored, ids, node.outputs[0])

    def by_token(self, node: OnnxNode) -> Product | None:
        """MatMulIntegerToFloat over activations that were rounded with a scale each token, multiplied afterwards."""
        codes, data, _, scales, _, zeros, bias = _padded(node.inputs, 7)
        rounded = self._producers[codes]
        flat = self._producers.get(rounded.inputs[1])
        behind = [n for n in self._consumers.get(node.outputs[0], []) if n.operator == "Mul"]
        if rounded.operator != "QuantizeLinear" or flat is None or not behind or flat.inputs[0] not in behind[0].inputs:
            return None
        y = behind[0].outputs[0]
        return self._product(
            node, self._columns(data, scales, zeros), rounded.inputs[0], y, Rounding(way="token"), bias
        )

    def by_tensor(self, node: OnnxNode) -> Product | None:
        """DynamicQuantizeMatMul."""
        x, data, scales, zeros, bias = _padded(node.inputs, 5)
        return self._product(node, self._columns(data, scales, zeros), x, node.outputs[0], Rounding(way="tensor"), bias)

    def by_tensor_in_parts(self, node: OnnxNode) -> Product | None:
        """MatMulInteger as ONNX Runtime's quantisers write it, behind DynamicQuantizeLinear, before Cast and Mul."""
        codes, data, _, zeros = _padded(node.inputs, 4)
        rounded = self._producers.get(codes)
        y = self._behind(self._behind(node.outputs[0], "Cast"), "Mul")
        scales = f"{data.removesuffix(QUANTISED)}_scale"
        if not y or rounded is None or rounded.operator != "DynamicQuantizeLinear" or scales not in self._values:
            return None
        return self._product(node, self._columns(data, scales, zeros), rounded.inputs[0], y, Rounding(way="tensor"))

    def plain(self, node: OnnxNode) -> Product | None:
        """MatMul or FusedMatMul: of floats, or with QuantizeLinear and DequantizeLinear before it."""
        x, weights = node.inputs[:2]
        turned = bool(node.integers.get("transB"))
        if weights in self._values:
            return self._product(node, self._floats(weights, rows_first=turned), x, node.outputs[0])
        made = self._producers.get(weights)
        if made is None or made.operator != "DequantizeLinear" or made.inputs[0] not in self._values:
            return None
        data, scales, zeros = _padded(made.inputs, 3)
        x, rounding = self._static(x)
        return self._product(node, self._columns(data, scales, zeros), x, node.outputs[0], rounding)

    def with_bias(self, node: OnnxNode) -> Product | None:
        """Gemm of floats."""
        x, weights, bias = _padded(node.inputs, 3)
        if weights not in self._values:
            return None
        turned = bool(node.integers.get("transB"))
        return self._product(node, self._floats(weights, rows_first=turned), x, node.outputs[0], bias=bias)

    def looked_up(self, node: OnnxNode) -> Product | None:
        """Gather of floats, or of whole numbers before DequantizeLinear."""
        data, ids = node.inputs
        if data not in self._values or len(self._values.tensors[data].shape) != 2:
            return None
        if self._values.tensors[data].type == "float32":
            return self._product(node, self._floats(data, rows_first=True), ids, node.outputs[0])
        behind = [n for n in self._consumers.get(node.outputs[0], []) if n.operator == "DequantizeLinear"]
        if not behind or not set(behind[0].inputs[1:]) <= set(self._values.tensors):
            return None
        _, scales, zeros = _padded(behind[0].inputs, 3)
        return self._product(node, self._columns(data, scales, zeros, turned=True), ids, behind[0].outputs[0])

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

    def _blocks(self, data: str, scales: str, zeros: str, sizes: Any, shape: tuple[int, int]) -> Stored:
        bits, size = sizes["bits"], sizes["block_size"]
        n_blocks = -(-shape[1] // size)
        codes = self._values[data].reshape(shape[0], -1)
        steps = self._values[scales].reshape(shape[0], n_blocks)
        zero = self._values[zeros].reshape(shape[0], -1) if zeros else None

        def rows(numbers: "NDArray[np.int64]") -> "Floats":
            import numpy as np

            values = _unpacked(codes[numbers], bits)
            middle = np.float32(2 ** (bits - 1)) if zero is None else _unpacked(zero[numbers], bits)[:, :n_blocks]
            middle = np.broadcast_to(middle, (len(numbers), n_blocks))
            each = [np.repeat(part, size, axis=1)[:, : values.shape[1]] for part in (middle, steps[numbers])]
            found: Floats = ((values - each[0]) * each[1])[:, : shape[1]]
            return found

        largest = 2 ** (bits - 1) - 1
        return Stored(
            name=_stem(data),
            n_rows=shape[0],
            n_columns=shape[1],
            rows=rows,
            place=self._place(data),
            bits=bits,
            group=size,
            largest=largest,
        )

    def _columns(self, data: str, scales: str, zeros: str, *, turned: bool = False) -> Stored:
        """Whole numbers of 8 bits [columns, rows], or `turned`, with a scale for each row, or one."""
        import numpy as np

        codes, steps = self._values[data], self._values[scales].ravel()
        codes = codes.T if turned else codes
        zero = self._values[zeros].ravel().astype(np.float32) if zeros else np.zeros(1, np.float32)
        n_columns, n_rows = codes.shape

        def rows(numbers: "NDArray[np.int64]") -> "Floats":
            of = [part[numbers] if len(part) > 1 else part for part in (zero, steps)]
            values: Floats = (codes[:, numbers].T.astype(np.float32) - of[0][:, None]) * of[1][:, None]
            return values

        reduced = not turned and codes.dtype == np.int8 and max(abs(int(codes.min())), int(codes.max())) <= _REDUCED + 1
        return Stored(
            name=_stem(data),
            n_rows=n_rows,
            n_columns=n_columns,
            rows=rows,
            place=self._place(data),
            bits=8,
            group=ROW if len(steps) > 1 else WHOLE,
            largest=_REDUCED if reduced else 127,
        )

    def _floats(self, data: str, *, rows_first: bool) -> Stored:
        values = self._values[data] if rows_first else self._values[data].T

        def rows(numbers: "NDArray[np.int64]") -> "Floats":
            found: Floats = values[numbers]
            return found

        return Stored(
            name=_stem(data),
            n_rows=values.shape[0],
            n_columns=values.shape[1],
            rows=rows,
            place=self._place(data),
            bits=32,
        )

    def _place(self, data: str) -> Place | None:
        return self._values.tensors[data].place


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


def _stem(name: str) -> str:
    """The name of the weights, without what it says of how they are stored."""
    name = re.sub(rf"({QUANTISED}|_Q\d+|\.blocks)$", "", name)
    return name[: name.index(".weight") + len(".weight")] if ".weight" in name else name


def _unpacked(rows: "NDArray[np.uint8]", bits: int) -> "Floats":
    """Whole numbers of 8 or 4 bits, of which the lower half of a byte comes first, as floats."""
    import numpy as np

    if bits == 8:
        return rows.astype(np.float32)
    pairs = np.stack([rows & 15, rows >> 4], axis=-1)
    return pairs.reshape(len(rows), -1).astype(np.float32)
