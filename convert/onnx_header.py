"""An ONNX graph's description: producer, operators and tensors, with the weights skipped wherever they lie.

The `onnx` package reads the whole file into memory; this walks the same protocol buffer and seeks past the data.
Numbers of fields and types: onnx/onnx.proto; wire format: protobuf.dev/programming-guides/encoding.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from .. import Error

#: TensorProto.DataType -> numpy's name for it, bits of an element
TYPES = {
    **{1: ("float32", 32), 2: ("uint8", 8), 3: ("int8", 8), 4: ("uint16", 16), 5: ("int16", 16), 6: ("int32", 32)},
    **{7: ("int64", 64), 9: ("bool", 8), 10: ("float16", 16), 11: ("float64", 64), 12: ("uint32", 32)},
    **{13: ("uint64", 64), 16: ("bfloat16", 16), 17: ("float8_e4m3fn", 8), 18: ("float8_e4m3fnuz", 8)},
    **{19: ("float8_e5m2", 8), 20: ("float8_e5m2fnuz", 8), 21: ("uint4", 4), 22: ("int4", 4), 23: ("float4_e2m1fn", 4)},
}
#: fields of TensorProto that hold its data: float_data, int32_data, int64_data, raw_data, double_data
_DATA, _VARINTS = (4, 5, 7, 9, 10), (5, 7)
_VARINT, _EIGHT_BYTES, _DELIMITED, _FOUR_BYTES = 0, 1, 2, 5
_LONGEST_TEXT = 2**16


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a tensor's data lies: `n_bytes` from `offset` on, in the graph's own file or in one beside it.

    Whole numbers in the graph's own file may be stored one by one, as `varints`.
    """

    beside: str = ""  # the name of the file beside the graph; "" for the graph's own
    offset: int = 0
    n_bytes: int = 0
    varints: bool = False


@dataclass(frozen=True, kw_only=True)
class OnnxTensor:
    """One initialiser."""

    name: str
    shape: tuple[int, ...]
    type: str  # numpy's name: "float32", "int8"
    bits: int
    place: Place | None = None  # None where its data is stored in no way that is known here

    @property
    def n_elements(self) -> int:
        """Number of elements, 1 for a scalar."""
        return prod(self.shape)

    @property
    def n_bytes(self) -> int:
        """Bytes of data, in the file or beside it."""
        return -(-self.n_elements * self.bits // 8)


@dataclass(frozen=True, kw_only=True)
class OnnxNode:
    """One operation."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    integers: Mapping[str, int]  # attributes that are integers


@dataclass(frozen=True, kw_only=True)
class OnnxHeader:
    """What a graph says about itself."""

    metadata: Mapping[str, Any]
    nodes: tuple[OnnxNode, ...]
    tensors: tuple[OnnxTensor, ...]

    @property
    def operators(self) -> Counter[str]:
        """Operator -> how often it occurs."""
        return Counter(node.operator for node in self.nodes)


@dataclass
class _Reading:
    metadata: dict[str, Any] = field(default_factory=dict)
    nodes: list[OnnxNode] = field(default_factory=list)
    tensors: list[OnnxTensor] = field(default_factory=list)


def read_header(path: Path) -> OnnxHeader:
    """Read the graph without its weights; `Error` for a file that is no ONNX graph or ends too early."""
    size, found = path.stat().st_size, _Reading()
    texts = {2: "producer_name", 3: "producer_version", 4: "domain"}
    try:
        with path.open("rb") as stream:
            for number, _, value in _fields(stream, size):
                if number == 1:
                    found.metadata["ir_version"] = value
                elif number in texts:
                    found.metadata[texts[number]] = _text(stream, value)
                elif number == 7:
                    _read_graph(stream, value, found)
                elif number == 8:
                    domain, version = _opset(stream, value)
                    found.metadata[f"opset {domain or 'ai.onnx'}"] = version
                elif number == 14:
                    key, text = _pair(stream, value)
                    found.metadata[key] = text
    except (EOFError, KeyError, TypeError, OverflowError):
        raise Error(f"{path} is no ONNX graph, or is cut short", hint="export or copy it again") from None
    if not found.tensors and not found.nodes:
        raise Error(f"{path} is no ONNX graph: it holds no operations", hint="export or copy it again")
    return OnnxHeader(metadata=found.metadata, nodes=tuple(found.nodes), tensors=tuple(found.tensors))


def _fields(stream: BinaryIO, length: int) -> Iterator[tuple[int, int, int]]:
    """(number, wire type, value) of each field; of a delimited one the length, the stream stands at its start."""
    end = stream.tell() + length
    while stream.tell() < end:
        tag = _varint(stream)
        number, wire = tag >> 3, tag & 7
        value = {_EIGHT_BYTES: 8, _FOUR_BYTES: 4}.get(wire) or _varint(stream)
        start = stream.tell()
        skipped = 0 if wire == _VARINT else value
        if wire not in (_VARINT, _EIGHT_BYTES, _DELIMITED, _FOUR_BYTES) or start + skipped > end:
            raise EOFError
        yield number, wire, value
        if stream.tell() != start + skipped:
            stream.seek(start + skipped)


def _varint(stream: BinaryIO) -> int:
    value = shift = 0
    while True:
        byte = stream.read(1)
        if not byte or shift > 63:
            raise EOFError
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
        shift += 7


def _text(stream: BinaryIO, length: int) -> str:
    if length > _LONGEST_TEXT:
        raise EOFError
    return stream.read(length).decode("utf-8", "replace")


def _opset(stream: BinaryIO, length: int) -> tuple[str, int]:
    domain, version = "", 0
    for number, _, value in _fields(stream, length):
        if number == 1:
            domain = _text(stream, value)
        elif number == 2:
            version = value
    return domain, version


def _pair(stream: BinaryIO, length: int) -> tuple[str, str]:
    values = {number: _text(stream, value) for number, _, value in _fields(stream, length)}
    return values.get(1, ""), values.get(2, "")


def _read_graph(stream: BinaryIO, length: int, found: _Reading) -> None:
    for number, _, value in _fields(stream, length):
        if number == 1:
            found.nodes.append(_node(stream, value))
        elif number == 5:
            found.tensors.append(_tensor(stream, value))


def _node(stream: BinaryIO, length: int) -> OnnxNode:
    inputs, outputs, operator, integers = list[str](), list[str](), "", dict[str, int]()
    for number, _, value in _fields(stream, length):
        if number == 1:
            inputs.append(_text(stream, value))
        elif number == 2:
            outputs.append(_text(stream, value))
        elif number == 4:
            operator = _text(stream, value)
        elif number == 5:
            name, integer = _attribute(stream, value)
            integers[name] = integer
    return OnnxNode(operator=operator, inputs=tuple(inputs), outputs=tuple(outputs), integers=integers)


def _attribute(stream: BinaryIO, length: int) -> tuple[str, int]:
    name, integer = "", 0
    for number, _, value in _fields(stream, length):
        if number == 1:
            name = _text(stream, value)
        elif number == 3:
            integer = value
    return name, integer


def _tensor(stream: BinaryIO, length: int) -> OnnxTensor:
    shape: list[int] = []
    beside: dict[str, str] = {}
    name, kind, place = "", 0, None
    for number, wire, value in _fields(stream, length):
        if number == 1 and wire == _VARINT:
            shape.append(value)
        elif number == 1:
            shape.extend(_packed(stream, value))
        elif number == 2:
            kind = value
        elif number in _DATA and wire == _DELIMITED:
            place = Place(offset=stream.tell(), n_bytes=value, varints=number in _VARINTS)
        elif number == 8:
            name = _text(stream, value)
        elif number == 13:
            beside.update([_pair(stream, value)])
    type_, bits = TYPES.get(kind, (f"type {kind}", 0))
    place = _external(beside) if beside else place
    return OnnxTensor(name=name, shape=tuple(shape), type=type_, bits=bits, place=place)


def _external(entries: Mapping[str, str]) -> Place | None:
    """Where data beside the graph lies (onnx's docs/ExternalData.md); -1 for a length that is not stated."""
    offset, length = entries.get("offset", "0"), entries.get("length", "-1")
    try:
        return Place(beside=entries.get("location", ""), offset=int(offset), n_bytes=int(length))
    except ValueError:
        return None


def _packed(stream: BinaryIO, length: int) -> list[int]:
    end, values = stream.tell() + length, []
    while stream.tell() < end:
        values.append(_varint(stream))
    return values
