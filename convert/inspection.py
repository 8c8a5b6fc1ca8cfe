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


def count_onnx(header: OnnxHeader) -> Contents:
    """Scalars and shapes (integers of 64 bits) are the graph's plumbing and do not count.

    Weights packed for MatMulNBits (K rows of N weights, `bits` each) count as what they are, their scales and zero
    points as bytes alone.
    """
    packed = {node.inputs[1]: node.integers for node in header.nodes if node.operator == "MatMulNBits"}
    scales = {name for node in header.nodes if node.operator == "MatMulNBits" for name in node.inputs[2:4]}
    rows = []
    for tensor in header.tensors:
        if tensor.name in packed:
            sizes = packed[tensor.name]
            type_, n_weights = f"int{sizes.get('bits', 4)}", sizes.get("K", 0) * sizes.get("N", 0)
        else:
            type_, n_weights = tensor.type, 0 if tensor.name in scales else tensor.n_elements
        if type_ not in ("int64", "bool") and tensor.shape:
            rows.append((type_, n_weights, tensor.n_bytes))
    return count(rows)


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
