"""The header of a safetensors file: which tensors it declares, and where their data lies."""

import json
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from .. import Error

_LFS_POINTER = b"version https://git-lfs"  # how the text begins that stands for a file not fetched yet
_HEADER_LIMIT_BYTES = 100 * 2**20  # the safetensors format's own limit
DTYPE_BYTES = {
    **dict.fromkeys(("F64", "I64", "U64"), 8),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 2),
    **dict.fromkeys(("F8_E4M3", "F8_E5M2", "F8_E8M0", "I8", "U8", "BOOL"), 1),
}


@dataclass(frozen=True, kw_only=True)
class TensorInfo:
    """One tensor as the safetensors header declares it; `offset` and `n_bytes` locate its data in `file`."""

    name: str
    shape: tuple[int, ...]
    dtype: str  # "F32" | "F16" | "BF16" | ...
    file: Path
    offset: int
    n_bytes: int

    @property
    def n_elements(self) -> int:
        """Number of weights."""
        return prod(self.shape)


def read_header(file: Path) -> list[TensorInfo]:
    """The tensors that a safetensors file declares; `Error` where the file is shorter than it says.

    Format: 8 bytes little-endian header length, JSON header, data (github.com/huggingface/safetensors, README).
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        if stream.read(len(_LFS_POINTER)) == _LFS_POINTER:
            raise Error(f"{file} is a pointer of Git LFS, not the weights", hint="fetch them: git lfs pull")
        stream.seek(0)
        head = stream.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else -1
        if not 0 < length <= min(size - 8, _HEADER_LIMIT_BYTES):
            raise Error(f"{file} is no safetensors file, or is cut short", hint="download or copy it again")
        try:
            header = json.loads(stream.read(length), object_pairs_hook=_without_doubles)
            rows = [(name, row) for name, row in header.items() if name != "__metadata__"]
        except KeyError as error:
            raise Error(f"{file} has {error.args[0]} twice in its header", hint="download or copy it again") from None
        except (ValueError, AttributeError, RecursionError):
            raise Error(f"{file} has a damaged header", hint="download or copy it again") from None
    tensors = [_tensor(file, name, row, 8 + length) for name, row in rows]
    end = max((t.offset + t.n_bytes for t in tensors), default=0)
    if end > size:
        raise Error(f"{file} is truncated: {size} bytes of {end}", hint="download or copy it again")
    return tensors


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose names are all different; `KeyError` for one that is not, of which json keeps the last."""
    found = dict(pairs)
    for name, n in Counter(name for name, _ in pairs).items() if len(found) < len(pairs) else ():
        if n > 1:
            raise KeyError(name)
    return found


def _tensor(file: Path, name: str, row: Mapping[str, Any], data_start: int) -> TensorInfo:
    try:
        begin, end = row["data_offsets"]
        if not all(type(n) is int and n >= 0 for n in (begin, end, *row["shape"])):
            raise ValueError
        tensor = TensorInfo(
            name=name,
            shape=tuple(row["shape"]),
            dtype=str(row["dtype"]),
            file=file,
            offset=data_start + begin,
            n_bytes=end - begin,
        )
    except (KeyError, TypeError, ValueError):
        raise Error(f"{file} describes the tensor {name} in no way that safetensors knows") from None
    if tensor.n_bytes != tensor.n_elements * DTYPE_BYTES.get(tensor.dtype, -1):
        raise Error(f"{file}: tensor {name} of type {tensor.dtype} and shape {list(tensor.shape)} has a wrong size")
    return tensor
