"""What one token costs: products with weights of each type, and what attention reads of the tokens before."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

from ...convert import ladder
from ...convert.architectures.geometry import Geometry
from ...convert.formats import Format
from . import onnx_footprint
from .model import Model

#: of which a token takes one row
LOOKED_UP = ("token_embd.weight", "position_embd.weight", "per_layer_token_embd.weight")
_BLOCKS = ("onnx-int8", "onnx-int4", "onnx-int4-gptq", "onnx-int4-rtn")


@dataclass(frozen=True, kw_only=True)
class Products:
    """Multiply-accumulates of one token with weights of one type, and the bytes that they read."""

    weights: float
    n_bytes: float


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a token costs in one format: in every layer, and to tell the next token (`head`), by type of the weights.

    Types are llama.cpp's tensor types, and names of ONNX formats. `head_for_all` where a graph tells it of every token
    of a prompt. `scored` are pairs of values multiplied for each token that is looked back at, in all layers together.
    """

    container: str
    layers: Mapping[str, Products]
    head: Mapping[str, Products]
    head_for_all: bool
    sizes: Geometry
    kv_bytes_per_value: int
    n_products: int = 0  # matrices that a token is multiplied with

    @property
    def n_attending(self) -> int:
        """Layers with attention."""
        return sum(self.sizes.attends) if self.sizes.attends else self.sizes.n_layers

    @property
    def weights(self) -> float:
        """Multiply-accumulates of one token, its head included."""
        return sum(part.weights for part in (*self.layers.values(), *self.head.values()))

    @property
    def n_bytes(self) -> float:
        """Bytes of weights that one token reads."""
        return sum(part.n_bytes for part in (*self.layers.values(), *self.head.values()))

    def kv_bytes(self, depth: int) -> float:
        """Bytes of keys and values that a token reads behind `depth` others."""
        return self.kv_bytes_per_value * sum(values * tokens for values, tokens in self._looked_at(depth))

    def scored(self, depth: int) -> float:
        """Multiply-accumulates of attention for one token behind `depth` others: scores, then values."""
        sizes = self.sizes
        return sum(2 * sizes.n_heads * sizes.heads_of(layer)[0] * n for layer, n in self._spans(depth))

    def _looked_at(self, depth: int) -> Iterator[tuple[int, int]]:
        for layer, tokens in self._spans(depth):
            yield 2 * prod(self.sizes.heads_of(layer)), tokens

    def _spans(self, depth: int) -> Iterator[tuple[int, int]]:
        """(layer, tokens that it looks at) of the layers that attend."""
        sizes = self.sizes
        for layer in range(sizes.n_layers):
            if not sizes.attends or sizes.attends[layer]:
                near = bool(sizes.slides) and sizes.slides[layer]
                yield layer, min(depth, sizes.window or depth) if near else depth


def work(model: Model, fmt: Format) -> Work:
    """The work of a format."""
    return Work(
        container=fmt.container,
        layers=_summed(model, fmt, head=False),
        head=_summed(model, fmt, head=True),
        head_for_all=fmt.container == "onnx" and not model.fused,
        sizes=model.sizes,
        kv_bytes_per_value=2 if fmt.container == "gguf" else 4,
        n_products=sum(1 for _ in _matrices(model, fmt)),
    )


def _summed(model: Model, fmt: Format, *, head: bool) -> dict[str, Products]:
    weights, n_bytes = defaultdict[str, float](float), defaultdict[str, float](float)
    for name, kind, n_weights, size in _matrices(model, fmt):
        if (name in ("output.weight", "token_embd.weight")) == head:
            weights[kind] += n_weights
            n_bytes[kind] += size
    return {kind: Products(weights=weights[kind], n_bytes=n_bytes[kind]) for kind in weights}


def _matrices(model: Model, fmt: Format) -> Iterator[tuple[str, str, float, float]]:
    """(name, type, weights, bytes) of what a token multiplies with; of experts those that are chosen."""
    types = ladder.tensor_types(fmt, model.tensors, decoder=model.decoder) if fmt.container == "gguf" else {}
    for name, shape in model.tensors:
        if len(shape) < 2 or (name in LOOKED_UP and not (model.tied and name == "token_embd.weight")):
            continue
        share = model.sizes.n_experts_used / model.sizes.n_experts if "_exps." in name else 1.0
        size = ladder.size_bytes(types[name], shape) if types else onnx_footprint.matrix_bytes(model, name, shape, fmt)
        yield name, types.get(name) or _onnx_type(model, fmt, name), share * prod(shape), share * size


def _onnx_type(model: Model, fmt: Format, name: str) -> str:
    """The head of a quantised graph of ours lies in blocks of 8 bits, with its embedding, or as its layers do."""
    plain = fmt.smoothed or fmt.name
    is_head = name in ("output.weight", "token_embd.weight")
    in_blocks = model.fused and is_head and fmt.nominal_bits < 32 and onnx_footprint.head_in_blocks(model, fmt)
    return "onnx-int8" if in_blocks else plain
