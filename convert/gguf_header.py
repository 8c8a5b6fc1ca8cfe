"""A GGUF file's header: metadata and tensor table, without touching the weights.

The `gguf` package's reader maps the file and makes an object of every array element, seconds for a large vocabulary;
this reads the same header in one pass. Layout: ggml's docs/gguf.md.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from .. import Error

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
ENTRIES_START = 24  # behind magic, version and the numbers of tensors and entries
ALIGNMENT = 32  # where general.alignment does not say otherwise
_STRING, _ARRAY = 8, 9
_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}


@dataclass(frozen=True, kw_only=True)
class GgufTensor:
    """One tensor; `shape` in numpy's order, rows first."""

    name: str
    shape: tuple[int, ...]
    type: str  # "Q4_K"
    n_bytes: int
    offset: int = 0  # of its data, behind `GgufHeader.data_start`

    @property
    def n_elements(self) -> int:
        """Number of weights."""
        return prod(self.shape)


@dataclass(frozen=True, kw_only=True)
class GgufHeader:
    """Metadata and tensors of one file; where its entries end and its data start, in bytes."""

    metadata: Mapping[str, Any]
    tensors: tuple[GgufTensor, ...]
    entries_end: int = ENTRIES_START
    data_start: int = 0


def read_header(path: Path) -> GgufHeader:
    """Read the header; `Error` for a file that is no GGUF or ends before its header does."""
    with path.open("rb") as stream:
        if stream.read(4) != _MAGIC:
            raise Error(f"{path} is no GGUF file")
        try:
            version, n_tensors, n_entries = struct.unpack("<IQQ", stream.read(20))
            if version not in _VERSIONS:
                raise Error(f"{path} is a GGUF file of version {version}; versions 2 and 3 can be read")
            metadata = dict(_read_entry(stream) for _ in range(n_entries))
            entries_end = stream.tell()
            tensors = tuple(_read_tensor(stream) for _ in range(n_tensors))
        except (struct.error, UnicodeDecodeError, KeyError, OverflowError, MemoryError, RecursionError):
            raise Error(f"{path} is damaged or cut short: its header does not read", hint="download it again") from None
        stated = metadata.get("general.alignment")
        alignment = stated if isinstance(stated, int) and stated > 0 else ALIGNMENT
        data_start = -(-stream.tell() // alignment) * alignment
        return GgufHeader(metadata=metadata, tensors=tensors, entries_end=entries_end, data_start=data_start)


def _read_entry(stream: BinaryIO) -> tuple[str, Any]:
    key = _read_string(stream)
    return key, _read_value(stream, _unpack(stream, "<I"))


def _unpack(stream: BinaryIO, layout: str) -> Any:
    return struct.unpack(layout, stream.read(struct.calcsize(layout)))[0]


def _read_string(stream: BinaryIO) -> str:
    length = _unpack(stream, "<Q")
    data = stream.read(length)
    if len(data) != length:
        raise struct.error
    return data.decode("utf-8", "replace")


def _read_value(stream: BinaryIO, kind: int) -> Any:
    if kind == _STRING:
        return _read_string(stream)
    if kind == _ARRAY:
        element, length = struct.unpack("<IQ", stream.read(12))
        if element in _SCALARS:
            layout = f"<{length}{_SCALARS[element][1]}"
            return list(struct.unpack(layout, stream.read(struct.calcsize(layout))))
        return [_read_value(stream, element) for _ in range(length)]
    return _unpack(stream, _SCALARS[kind])


def _read_tensor(stream: BinaryIO) -> GgufTensor:
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    name = _read_string(stream)
    shape = [_unpack(stream, "<Q") for _ in range(_unpack(stream, "<I"))]
    kind, offset = struct.unpack("<IQ", stream.read(12))
    try:
        type_ = GGMLQuantizationType(kind)
    except ValueError:
        raise Error(f"the tensor {name} is of type {kind}, which is not known") from None
    block, block_bytes = GGML_QUANT_SIZES[type_]
    shape.reverse()
    n_bytes = prod(shape) // block * block_bytes
    return GgufTensor(name=name, shape=tuple(shape), type=type_.name, n_bytes=n_bytes, offset=offset)
