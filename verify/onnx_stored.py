"""How an ONNX graph stores a weight matrix, and what its rows are in float32."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..convert.onnx_header import Place
from ..convert.onnx_values import OnnxValues

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Rows = Callable[[NDArray[np.int64]], Floats]

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


def in_blocks(values: OnnxValues, data: str, scales: str, zeros: str, sizes: Any, shape: tuple[int, int]) -> Stored:
    """Whole numbers of `bits`, packed along the rows of `shape`, with a scale for each `block_size` of them."""
    bits, size = sizes["bits"], sizes["block_size"]
    n_blocks = -(-shape[1] // size)
    codes = values[data].reshape(shape[0], -1)
    steps = values[scales].reshape(shape[0], n_blocks)
    zero = values[zeros].reshape(shape[0], -1) if zeros else None

    def rows(numbers: "NDArray[np.int64]") -> "Floats":
        import numpy as np

        found = _unpacked(codes[numbers], bits)
        middle = np.float32(2 ** (bits - 1)) if zero is None else _unpacked(zero[numbers], bits)[:, :n_blocks]
        middle = np.broadcast_to(middle, (len(numbers), n_blocks))
        each = [np.repeat(part, size, axis=1)[:, : found.shape[1]] for part in (middle, steps[numbers])]
        result: Floats = ((found - each[0]) * each[1])[:, : shape[1]]
        return result

    largest = 2 ** (bits - 1) - 1
    return Stored(
        name=_stem(data),
        n_rows=shape[0],
        n_columns=shape[1],
        rows=rows,
        place=values.tensors[data].place,
        bits=bits,
        group=size,
        largest=largest,
    )


def in_columns(values: OnnxValues, data: str, scales: str, zeros: str, *, turned: bool = False) -> Stored:
    """Whole numbers of 8 bits [columns, rows], or `turned`, with a scale for each row, or one."""
    import numpy as np

    codes, steps = values[data], values[scales].ravel()
    codes = codes.T if turned else codes
    zero = values[zeros].ravel().astype(np.float32) if zeros else np.zeros(1, np.float32)
    n_columns, n_rows = codes.shape

    def rows(numbers: "NDArray[np.int64]") -> "Floats":
        of = [part[numbers] if len(part) > 1 else part for part in (zero, steps)]
        found: Floats = (codes[:, numbers].T.astype(np.float32) - of[0][:, None]) * of[1][:, None]
        return found

    reduced = not turned and codes.dtype == np.int8 and max(abs(int(codes.min())), int(codes.max())) <= _REDUCED + 1
    return Stored(
        name=_stem(data),
        n_rows=n_rows,
        n_columns=n_columns,
        rows=rows,
        place=values.tensors[data].place,
        bits=8,
        group=ROW if len(steps) > 1 else WHOLE,
        largest=_REDUCED if reduced else 127,
    )


def in_floats(values: OnnxValues, data: str, *, rows_first: bool) -> Stored:
    """Float32, as it is, or turned."""
    weights = values[data] if rows_first else values[data].T

    def rows(numbers: "NDArray[np.int64]") -> "Floats":
        found: Floats = weights[numbers]
        return found

    return Stored(
        name=_stem(data),
        n_rows=weights.shape[0],
        n_columns=weights.shape[1],
        rows=rows,
        place=values.tensors[data].place,
        bits=32,
    )


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
