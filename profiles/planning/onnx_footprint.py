"""Predicted bytes of ONNX artifacts and of what runs them: our own fused graph's, and those that Optimum exports.

Tensor data is exact, and our own graphs' files are; what is resident was fitted to SmolLM2-135M (onnxruntime 1.31.1).
"""

from collections.abc import Iterator
from math import prod

from ...convert.formats import FORMATS, Format
from ...convert.fused.positions import n_positions
from .model import Model

BATCH_TOKENS = 128  # of a prompt that are computed at a time (runtimes/ort.py)
#: bits of a weight where a block of them shares a float32 scale; other formats have int8 and a scale a channel
_BLOCK_BITS = {"onnx-int8": 8, "onnx-int4": 4, "onnx-int4-gptq": 4, "onnx-int4-rtn": 4}
_SHARED_BITS = 8  # of embedding and head in all of our quantised graphs
_FUSED_GRAPH_BYTES = (4_000, 3_900)  # of model.onnx: fixed, and for each layer (seen)
_EXPORTED_GRAPH_BYTES = {32: (10_000, 41_000), 8: (20_000, 68_000)}  # of Optimum's, for float32 and quantised (seen)
#: of Optimum's graphs, resident once loaded, against the file (seen)
_EXPORTED_COPIES = {32: 1.4, 8: 1.95}
_LOADED_BYTES = 20 << 20  # beside the weights of our own graph, which are prepacked one by one (seen)
_LOADING = 1.55  # peak while Optimum's float32 graph is parsed and prepacked, against the file (seen)
_SCALE_BYTES = 5  # a float32 scale and an int8 zero point for each output channel
_EMBEDDING, _HEAD = "token_embd.weight", "output.weight"


def tensor_bytes(model: Model, fmt: Format) -> int:
    """Bytes of weights in the artifact, without padding, positions and the graph; exact."""
    return sum(_fused_parts(model, fmt)) if model.fused else _exported_bytes(model, fmt)


def file_bytes(model: Model, fmt: Format) -> int:
    """Bytes of the artifact: of our own graph exact where the model has its outline, of Optimum's an estimate."""
    outlined = model.graphs.get(fmt.name)
    if outlined:
        return outlined.graph_bytes + outlined.data_bytes + model.companion_bytes
    fixed, layer = _FUSED_GRAPH_BYTES if model.fused else _EXPORTED_GRAPH_BYTES[_bits(fmt)]
    positions = 4 * _positions(model) if model.fused else 0
    return tensor_bytes(model, fmt) + positions + fixed + layer * model.sizes.n_layers + model.companion_bytes


def resident_bytes(model: Model, fmt: Format) -> int:
    """What stays of the artifact in memory once it is loaded."""
    if not model.fused:
        return int(_EXPORTED_COPIES[_bits(fmt)] * file_bytes(model, fmt))
    # a tied embedding is looked up in the file, and multiplied with in a packed copy
    twice = model.tied and head_in_blocks(model, fmt)
    again = _matrix_bytes(model, dict(model.tensors)[_EMBEDDING], fmt, shared=True) if twice else 0
    return file_bytes(model, fmt) + again + _block_sums(model, fmt) + _LOADED_BYTES


def _block_sums(model: Model, fmt: Format) -> int:
    """What the copy for products has besides: a float32 sum a block (onnxruntime's mlas/lib/qnbitgemm.h)."""
    if fmt.nominal_bits == 32:
        return 0
    products = [(n, s) for n, s in model.tensors if len(s) > 1 and (model.tied or n != _EMBEDDING)]
    head = (_EMBEDDING, _HEAD) if head_in_blocks(model, fmt) else ()
    blocked = [s for n, s in products if fmt.name in _BLOCK_BITS or n in head]
    return sum(4 * prod(shape[:-1]) * -(-shape[-1] // model.block_size) for shape in blocked)


def loading_bytes(model: Model, fmt: Format) -> int:
    """The peak while it is loaded."""
    parsed_at_once = not model.fused and _bits(fmt) == 32
    return int(_LOADING * file_bytes(model, fmt)) if parsed_at_once else resident_bytes(model, fmt)


def matrix_bytes(model: Model, name: str, shape: tuple[int, ...], fmt: Format) -> int:
    """Bytes of one product's weights, as they are multiplied with."""
    if model.fused:
        shared = name in (_EMBEDDING, _HEAD) and head_in_blocks(model, fmt)
        return _matrix_bytes(model, shape, fmt, shared=shared)
    if fmt.nominal_bits == 32:
        return 4 * prod(shape)
    return _matrix_bytes(model, shape, fmt, shared=False) if fmt.name in _BLOCK_BITS else prod(shape)


def bytes_per_weight(format_name: str) -> float:
    """Of a large matrix of a format's layers, in blocks of 32 where it has any, their scales included."""
    if FORMATS[format_name].nominal_bits == 32:
        return 4.0
    bits = _BLOCK_BITS.get(format_name)
    # a scale of 4 bytes a block and, with 4 bits, half a byte of zero point
    return bits / 8 + (4 if bits == 8 else 4.5) / 32 if bits else 1.0


def head_in_blocks(model: Model, fmt: Format) -> bool:
    """Whether the head of our own quantised graph lies in blocks of 8 bits, as its embedding does."""
    return not (model.plain_head and fmt.rounds_activations)


def _bits(fmt: Format) -> int:
    return 32 if fmt.nominal_bits == 32 else 8


def _fused_parts(model: Model, fmt: Format) -> Iterator[int]:
    """Bytes of each tensor; a tied head that does not lie in blocks has weights of its own."""
    in_blocks = (_EMBEDDING, _HEAD) if head_in_blocks(model, fmt) else (_EMBEDDING,)
    if model.tied and not head_in_blocks(model, fmt):
        yield _matrix_bytes(model, dict(model.tensors)[_EMBEDDING], fmt, shared=False)
    for name, shape in model.tensors:
        if len(shape) > 1:
            yield _matrix_bytes(model, shape, fmt, shared=name in in_blocks)
        elif not name.startswith("rope_"):
            yield 4 * prod(shape)


def _positions(model: Model) -> int:
    """Elements of the caches of cosines and sines: Gemma 3 has two pairs, and longrope two, one behind the other."""
    sizes = model.sizes
    rows = n_positions(sizes) * (2 if sizes.local_rope_theta else 1)
    if sizes.rope_scaling["rope_type"] == "longrope":
        rows += int(sizes.rope_scaling["original_max_position_embeddings"])
    return rows * sizes.rotary_dim  # a cosine and a sine for each pair


def _matrix_bytes(model: Model, shape: tuple[int, ...], fmt: Format, *, shared: bool) -> int:
    rows, columns = prod(shape[:-1]), shape[-1]
    if fmt.nominal_bits == 32:
        return 4 * rows * columns
    bits = _BLOCK_BITS.get(fmt.name, _SHARED_BITS if shared else 0)
    if not bits:
        return rows * columns + (4 * rows if model.per_channel else 0)
    bits, n_blocks = (_SHARED_BITS if shared else bits), -(-columns // model.block_size)
    zero_points = -(-n_blocks // 2) if bits < 8 else 0
    return rows * (n_blocks * (model.block_size * bits // 8 + 4) + zero_points)


def _exported_bytes(model: Model, fmt: Format) -> int:
    """Optimum writes a tied embedding twice (seen, without the package accelerate), as embedding and as output.

    The dynamic quantiser makes every matrix int8, the embedding too, with a scale for each output channel; the one
    by blocks leaves the embedding as it is.
    """
    shapes = dict(model.tensors)
    matrices = [shape for name, shape in shapes.items() if len(shape) > 1 and name != _EMBEDDING]
    if model.tied:
        matrices.append(shapes[_EMBEDDING])
    vectors = sum(prod(shape) for shape in shapes.values() if len(shape) == 1)
    embedding = prod(shapes[_EMBEDDING])
    if fmt.nominal_bits == 32:
        return 4 * (vectors + embedding + sum(map(prod, matrices)))
    if fmt.name in _BLOCK_BITS:
        return 4 * (vectors + embedding) + sum(_matrix_bytes(model, shape, fmt, shared=False) for shape in matrices)
    return 4 * vectors + embedding + sum(prod(shape) + _SCALE_BYTES * shape[0] for shape in matrices)
