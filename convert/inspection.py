"""What an artifact really holds: its tensor types and true bits per weight, read back from the file."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .artifact import files_of
from .gguf_header import read_header
from .onnx_header import OnnxHeader
from .onnx_header import read_header as read_onnx_header


@dataclass(frozen=True, kw_only=True)
class Contents:
    """The weights of one artifact. Bits are counted over tensor data, metadata and tokenizer left out."""

    n_weights: int
    n_bytes: int
    tensor_types: Mapping[str, float]  # type -> share of the weights, largest first

    @property
    def bits_per_weight(self) -> float:
        """Average over all weights, scales included."""
        return 8 * self.n_bytes / self.n_weights if self.n_weights else 0.0


def inspect_gguf(path: Path) -> Contents:
    """Count the tensors of a GGUF file, or of all shards of one, from their headers."""
    tensors = (tensor for file in files_of(path) for tensor in read_header(file).tensors)
    return count((tensor.type, tensor.n_elements, tensor.n_bytes) for tensor in tensors)


def inspect_onnx(job: Mapping[str, Any]) -> dict[str, Any]:
    """Count the initialisers of `job["path"]`/model.onnx, without reading them."""
    return asdict(count_onnx(read_onnx_header(Path(job["path"]) / "model.onnx")))


#: operator -> which of its inputs are scales or zero points of quantised values
_SCALES = {
    **{"MatMulNBits": slice(2, 4), "GatherBlockQuantized": slice(2, 4), "DynamicQuantizeMatMul": slice(2, 4)},
    **{"MatMulIntegerToFloat": slice(2, 6), "MatMulInteger": slice(2, 4)},
    **{"QuantizeLinear": slice(1, 3), "DequantizeLinear": slice(1, 3)},
}
#: operator -> which of its inputs are cosines and sines of positions
_ROTATIONS = {"GroupQueryAttention": slice(7, 9), "RotaryEmbedding": slice(2, 4)}
_QUANTISED = "_quantized"  # ends the name of what ONNX Runtime's quantisers made of a tensor


def count_onnx(header: OnnxHeader) -> Contents:
    """Scalars, shapes (integers of 64 bits) and tables of positions are the graph's plumbing and do not count.

    Weights packed in blocks count as what they are, their scales and zero points as bytes alone; bytes that two
    tensors share count once.
    """
    packed = _packed_weights(header)
    scales, rotations = _inputs(header, _SCALES), _inputs(header, _ROTATIONS)
    quantised = (t.name.removesuffix(_QUANTISED) for t in header.tensors if t.name.endswith(_QUANTISED))
    scales |= {f"{name}_{word}" for name in quantised for word in ("scale", "zero_point")}
    rows, seen = [], set[tuple[str, int]]()
    for tensor in header.tensors:
        place = (tensor.place.beside, tensor.place.offset) if tensor.place and tensor.place.beside else None
        if tensor.name in rotations or tensor.type in ("int64", "bool") or not tensor.shape or place in seen:
            continue
        seen |= {place} if place else set()
        type_, n_weights = packed.get(tensor.name, (tensor.type, tensor.n_elements))
        rows.append((type_, 0 if tensor.name in scales else n_weights, tensor.n_bytes))
    return count(rows)


def _inputs(header: OnnxHeader, of: Mapping[str, slice]) -> set[str]:
    """Names of the inputs of these operators."""
    return {name for node in header.nodes if node.operator in of for name in node.inputs[of[node.operator]]}


def _packed_weights(header: OnnxHeader) -> dict[str, tuple[str, int]]:
    """Tensor of weights in blocks -> their type and number."""
    sizes = {tensor.name: tensor.n_elements * tensor.bits for tensor in header.tensors}
    found = {}
    for node in header.nodes:
        bits = node.integers.get("bits", 4)
        if node.operator == "MatMulNBits":
            found[node.inputs[1]] = (f"int{bits}", node.integers.get("K", 0) * node.integers.get("N", 0))
        elif node.operator == "GatherBlockQuantized":
            found[node.inputs[0]] = (f"int{bits}", sizes.get(node.inputs[0], 0) // bits)
    return found


def count(rows: Iterable[tuple[str, int, int]]) -> Contents:
    """Sum up (type, weights, bytes) of all tensors."""
    weights = Counter[str]()
    n_bytes = 0
    for type_, n_weights, size in rows:
        weights[type_] += n_weights
        n_bytes += size
    n_weights = sum(weights.values())
    types = {type_: n / n_weights for type_, n in weights.most_common() if n}
    return Contents(n_weights=n_weights, n_bytes=n_bytes, tensor_types=types)
