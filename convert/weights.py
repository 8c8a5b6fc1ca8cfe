"""Reading weights: blocks of rows from a safetensors file, without mapping it (mapped pages count as memory)."""

from collections.abc import Iterator
from io import FileIO
from typing import TYPE_CHECKING, Any

from .. import Error
from . import small_floats
from .floats import widen
from .packed_tensors import PackedTensor
from .safetensors_header import DTYPE_BYTES, TensorInfo

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

BLOCK_BYTES = 16 * 2**20


def row_blocks(tensor: TensorInfo, *, multiple_of: int = 1) -> Iterator["Floats"]:
    """The tensor in float32, as blocks [rows, row length] of about `BLOCK_BYTES`; a vector is one row.

    Every block but the last has a multiple of `multiple_of` rows, so that heads stay whole.
    """
    row_length = tensor.shape[-1] if tensor.shape else 1
    n_rows = tensor.n_elements // row_length if row_length else 0
    fitting = BLOCK_BYTES // (4 * max(1, row_length))
    rows_at_once = max(1, fitting // multiple_of) * multiple_of
    if isinstance(tensor, PackedTensor):
        for start in range(0, n_rows, rows_at_once):
            yield read_rows(tensor, start, min(rows_at_once, n_rows - start))
        return
    with tensor.file.open("rb", buffering=0) as stream:
        stream.seek(tensor.offset)
        for start in range(0, n_rows, rows_at_once):
            rows = min(rows_at_once, n_rows - start)
            data = _read(stream, tensor, rows * row_length * DTYPE_BYTES[tensor.dtype])
            yield to_float32(data, tensor.dtype).reshape(rows, row_length)


def read_rows(tensor: TensorInfo, first: int, n_rows: int) -> "Floats":
    """Rows [n_rows, row length] in float32; of a vector `n_rows` elements, each a row of its own."""
    rows = stored_rows(tensor, first, n_rows)
    return widen(rows) if rows.dtype.kind == "u" else rows.astype("<f4", copy=False)


def stored_rows(tensor: TensorInfo, first: int, n_rows: int) -> "NDArray[Any]":
    """The same rows as they are stored: float32, float16, or uint16 for the bits of bfloat16.

    What is stored in float64 or in a quantised type is float32.
    """
    import numpy as np

    if isinstance(tensor, PackedTensor):
        return _dequantised_rows(tensor, first, n_rows)
    row_length = tensor.shape[-1] if len(tensor.shape) > 1 else 1
    with tensor.file.open("rb", buffering=0) as stream:
        stream.seek(tensor.offset + first * row_length * DTYPE_BYTES[tensor.dtype])
        data = _read(stream, tensor, n_rows * row_length * DTYPE_BYTES[tensor.dtype])
    kinds = {"F16": "<f2", "BF16": "<u2"}
    rows = np.frombuffer(data, kinds[tensor.dtype]) if tensor.dtype in kinds else to_float32(data, tensor.dtype)
    return rows.reshape(n_rows, row_length)


def _dequantised_rows(tensor: PackedTensor, first: int, n_rows: int) -> "Floats":
    """Codes times scales; the product of two values of few digits is exact unless a scale has more than 20."""
    columns = tensor.shape[-1]
    dtype, row_bytes = ("F4_E2M1", columns // 2) if tensor.dtype == "MXFP4" else (tensor.dtype, columns)
    values = small_floats.decode(_codes(tensor, first * row_bytes, n_rows * row_bytes), dtype).reshape(n_rows, columns)
    values *= _scales(tensor, first, n_rows)
    return values


def _scales(tensor: PackedTensor, first: int, n_rows: int) -> "Floats":
    """The scale of each weight in these rows, [n_rows, columns] or [n_rows, 1]."""
    import numpy as np

    block_rows, block_columns = tensor.block
    matrix, row = np.divmod(np.arange(first, first + n_rows), tensor.matrix_rows)
    scale_row = matrix * -(-tensor.matrix_rows // block_rows) + row // block_rows
    start, end = int(scale_row[0]), int(scale_row[-1]) + 1
    if tensor.scale.dtype in ("U8", "F8_E8M0"):
        width = tensor.scale.shape[-1]
        codes = _codes(tensor.scale, start * width, (end - start) * width)
        scales = small_floats.decode(codes, "F8_E8M0").reshape(-1, width)
    else:
        scales = read_rows(tensor.scale, start, end - start)
    chosen: Floats = scales[scale_row - start]
    columns = tensor.shape[-1]
    return chosen if chosen.shape[1] == 1 else np.repeat(chosen, block_columns, axis=1)[:, :columns]


def _codes(tensor: TensorInfo, start: int, n_bytes: int) -> "NDArray[np.uint8]":
    import numpy as np

    with tensor.file.open("rb", buffering=0) as stream:
        stream.seek(tensor.offset + start)
        return np.frombuffer(_read(stream, tensor, n_bytes), dtype=np.uint8)


def read(tensor: TensorInfo) -> "Floats":
    """The whole tensor in float32 and its own shape."""
    import numpy as np

    return np.concatenate([block.ravel() for block in row_blocks(tensor)]).reshape(tensor.shape)


def _read(stream: FileIO, tensor: TensorInfo, n_bytes: int) -> bytes:
    parts = []
    while n_bytes:
        part = stream.read(n_bytes)
        if not part:
            raise Error(f"{tensor.file} ends inside the tensor {tensor.name}")
        parts.append(part)
        n_bytes -= len(part)
    return b"".join(parts)


def to_float32(data: bytes, dtype: str) -> "Floats":
    """Raw little-endian bytes of a safetensors dtype as a flat float32 array."""
    import numpy as np

    if dtype == "F32":
        return np.frombuffer(data, dtype="<f4")
    if dtype == "F16":
        return np.frombuffer(data, dtype="<f2").astype(np.float32)
    if dtype == "BF16":
        return widen(np.frombuffer(data, dtype="<u2"))
    if dtype == "F64":
        return np.frombuffer(data, dtype="<f8").astype(np.float32)
    raise Error(f"weights of type {dtype} cannot be read", hint="name a float16, bfloat16 or float32 checkpoint")
