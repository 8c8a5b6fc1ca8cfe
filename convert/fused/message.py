"""The messages of an ONNX graph as bytes, so that writing one needs no `onnx` package, which no device has.

What comes out is what onnx's own `helper` and protobuf's deterministic serialisation make of the same graph, byte for
byte. Numbers of fields: onnx/onnx.proto; wire format: protobuf.dev/programming-guides/encoding.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..onnx_header import TYPES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = NDArray[Any]

_VARINT, _DELIMITED, _FOUR_BYTES = 0, 2, 5
_NUMBERS = {name: number for number, (name, _) in TYPES.items()}
_EXTERNAL = 1  # TensorProto.DataLocation
_FLOAT, _INT, _STRING, _FLOATS, _INTS = 1, 2, 3, 6, 7  # AttributeProto.AttributeType


@dataclass(frozen=True, kw_only=True)
class Model:
    """What a ModelProto says beside its graph: `producer` is a name and a version, `opsets` domain -> version."""

    graph: bytes
    ir_version: int
    producer: tuple[str, str]
    opsets: Mapping[str, int]
    metadata: Mapping[str, str]

    def encoded(self) -> bytes:
        """The file."""
        name, version = self.producer
        opsets = (text(1, domain) + number(2, n) for domain, n in self.opsets.items())
        pairs = (text(1, key) + text(2, value) for key, value in self.metadata.items())
        parts = [number(1, self.ir_version), text(2, name), text(3, version), field(7, self.graph)]
        return b"".join([*parts, *_all(8, opsets), *_all(14, pairs)])


def graph(*, name: str, nodes: Iterable[bytes], tensors: Iterable[bytes], ends: Sequence[Iterable[bytes]]) -> bytes:
    """A GraphProto; `ends` are its inputs and its outputs."""
    inputs, outputs = ends
    return b"".join([*_all(1, nodes), text(2, name), *_all(5, tensors), *_all(11, inputs), *_all(12, outputs)])


def node(operator: str, inputs: Iterable[str], outputs: Iterable[str], *, domain: str, attributes: Any) -> bytes:
    """A NodeProto; `attributes` maps names to whole numbers, numbers, texts and sequences of the first two."""
    parts = [*(text(1, name) for name in inputs), *(text(2, name) for name in outputs), text(4, operator)]
    parts += _all(5, (_attribute(name, attributes[name]) for name in sorted(attributes)))
    return b"".join([*parts, text(7, domain)])


def value(name: str, dtype: str, shape: Iterable[int | str]) -> bytes:
    """A ValueInfoProto of a tensor; a word in `shape` is a length that is left open."""
    lengths = (number(1, each) if isinstance(each, int) else text(2, each) for each in shape)
    tensor = number(1, type_number(dtype)) + field(2, b"".join(_all(1, lengths)))
    return text(1, name) + field(2, field(1, tensor))


def tensor(name: str, values: "Values") -> bytes:
    """A TensorProto that holds its values (little-endian, as numpy has them on every machine that ONNX Runtime has)."""
    return _tensor(name, str(values.dtype), values.shape) + field(9, values.tobytes())


def external(name: str, dtype: str, shape: Iterable[int], place: Mapping[str, str | int]) -> bytes:
    """A TensorProto whose data lies elsewhere: location, offset and length (onnx's docs/ExternalData.md)."""
    pairs = (text(1, key) + text(2, str(where)) for key, where in place.items())
    return b"".join([_tensor(name, dtype, shape), *_all(13, pairs), number(14, _EXTERNAL)])


def _tensor(name: str, dtype: str, shape: Iterable[int]) -> bytes:
    return b"".join([*(number(1, n) for n in shape), number(2, type_number(dtype)), text(8, name)])


def type_number(dtype: str) -> int:
    """TensorProto.DataType of numpy's name."""
    return _NUMBERS[dtype]


def _attribute(name: str, given: Any) -> bytes:
    if isinstance(given, str):
        said, kind = text(4, given), _STRING
    elif isinstance(given, int):
        said, kind = number(3, given), _INT
    elif isinstance(given, float):
        said, kind = _float(2, given), _FLOAT
    elif all(isinstance(each, int) for each in given):
        said, kind = b"".join(number(8, each) for each in given), _INTS
    else:
        said, kind = b"".join(_float(7, each) for each in given), _FLOATS
    return text(1, name) + said + number(20, kind)


def field(n: int, data: bytes) -> bytes:
    """A field that holds bytes: a text or a message."""
    return varint(n << 3 | _DELIMITED) + varint(len(data)) + data


def text(n: int, words: str) -> bytes:
    """A field that holds a text."""
    return field(n, words.encode())


def number(n: int, given: int) -> bytes:
    """A field that holds a whole number; a negative one is written as its two's complement of 64 bits."""
    return varint(n << 3 | _VARINT) + varint(given % 2**64)


def _float(n: int, given: float) -> bytes:
    return varint(n << 3 | _FOUR_BYTES) + struct.pack("<f", given)


def _all(n: int, messages: Iterable[bytes]) -> list[bytes]:
    return [field(n, message) for message in messages]


def varint(given: int) -> bytes:
    """A whole number that is not negative, seven bits a byte, the lowest first."""
    data = bytearray()
    while given > 0x7F:
        data.append(given & 0x7F | 0x80)
        given >>= 7
    return bytes([*data, given])
