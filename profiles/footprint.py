"""Predicted bytes: of files, and of the memory of a process that runs them. Arithmetic only; nothing is read or run.

Every figure is a prediction. Formulas for llama.cpp: gpustack/gguf-parser-go, file_estimate__llamacpp.go. Constants
marked "seen" were fitted to SmolLM2-135M and to its shape with random weights (llama-cpp-python 0.3.36 and onnxruntime
1.31.1 with memory mapping and repacking as they come, Linux on x86, Python 3.11); its peaks come out 2 to 5 % high.
"""

from collections.abc import Mapping, Sequence

from ..convert import ladder
from ..convert.architectures.geometry import Geometry
from ..convert.formats import Format
from . import onnx_footprint
from .model import Model

_LOOKED_UP = ("token_embd.weight", "position_embd.weight")  # of which a token takes one row

PROMPT_TOKENS = 512  # what is computed at a time: llama.cpp's n_ubatch, and the prompt assumed for ONNX Runtime
_PROCESS_BYTES = 44 << 20  # Python, numpy and the engine's libraries before a model is loaded (seen)
_CONTEXT_STEP = 256  # llama.cpp allots its cache in steps of 256 tokens (src/llama-context.cpp)
_FIXED_BYTES = 9 << 20  # loader and scheduler (gguf-parser-go)
_BYTES_A_TOKEN = 8 + 88 + 104  # types, maps and merges of the vocabulary in memory (gguf-parser-go)
_HIDDEN_BUFFERS, _INNER_BUFFERS = 9, 2  # float32 rows alive at once in a prefill (seen)
#: tensor type -> (instruction sets of which one is enough, rows must be a multiple of): when llama.cpp repacks
#: (ggml/src/ggml-cpu/repack.cpp, ggml_repack_get_optimal_repack_type); AMX has a copy of its own and is not counted
_REPACKED: Mapping[str, tuple[tuple[str, int], ...]] = {
    "Q4_0": (("avx2", 8), ("i8mm", 4), ("dotprod", 4)),
    "Q4_K": (("avx2", 8), ("i8mm", 8), ("dotprod", 8)),
    "Q2_K": (("avx512f", 8),),
    "Q5_K": (("i8mm", 8), ("dotprod", 8)),
    "Q6_K": (("i8mm", 8), ("dotprod", 8)),
    "Q8_0": (("i8mm", 4), ("dotprod", 4)),
}


def tensor_bytes(model: Model, fmt: Format) -> int:
    """Bytes of tensor data in the artifact, without padding and metadata."""
    if fmt.container == "onnx":
        return onnx_footprint.tensor_bytes(model, fmt)
    types = ladder.tensor_types(fmt, model.tensors, decoder=model.decoder)
    return sum(ladder.size_bytes(types[name], shape) for name, shape in model.tensors)


def file_bytes(model: Model, fmt: Format) -> int:
    """Bytes of the artifact: exact tensor data, and an estimate of what describes it."""
    if fmt.container == "onnx":
        return onnx_footprint.file_bytes(model, fmt)
    types = ladder.tensor_types(fmt, model.tensors, decoder=model.decoder)
    data = sum(ladder.padded_bytes(types[name], shape) for name, shape in model.tensors)
    # name with its length, number of dimensions, dimensions, type, offset: ggml/docs/gguf.md
    described = sum(8 + len(name) + 4 + 8 * len(shape) + 4 + 8 for name, shape in model.tensors)
    return data + described + model.vocabulary_bytes


def kv_bytes_per_token(sizes: Geometry, *, bytes_per_value: int) -> int:
    """Keys and values of one token over all layers; 2 bytes a value in llama.cpp's float16 cache, 4 in ONNX graphs."""
    return sizes.cached_values * bytes_per_value


def memory_parts(model: Model, fmt: Format, *, context: int, isa: Sequence[str]) -> dict[str, int]:
    """What the resident memory of a running model is made of, in bytes; the peak is their sum.

    `context` in tokens, the cache full; `isa` decides which weights llama.cpp copies into a layout of its own.
    """
    parts = _llama_parts(model, fmt, context, isa) if fmt.container == "gguf" else _onnx_parts(model, fmt, context)
    return {**parts, "process": _PROCESS_BYTES}


def _llama_parts(model: Model, fmt: Format, context: int, isa: Sequence[str]) -> dict[str, int]:
    sizes = model.sizes
    cached = -(-context // _CONTEXT_STEP) * _CONTEXT_STEP
    return {
        "weights": file_bytes(model, fmt),
        "repacked copy": repacked_bytes(model, fmt, isa=isa),
        "key/value cache": cached * kv_bytes_per_token(sizes, bytes_per_value=2),
        "computing": _activation_bytes(sizes, context),
        "runtime": _FIXED_BYTES + _BYTES_A_TOKEN * sizes.vocabulary,
    }


def _onnx_parts(model: Model, fmt: Format, context: int) -> dict[str, int]:
    """Our own graph appends to one buffer; in Optimum's, past and present of a step exist at the same time."""
    sizes, copies = model.sizes, 1 if model.fused else 2
    parts = {
        "weights": onnx_footprint.resident_bytes(model, fmt),
        "key/value cache": copies * context * kv_bytes_per_token(sizes, bytes_per_value=4),
        "computing": _activation_bytes(sizes, context) + _onnx_scores(model, min(PROMPT_TOKENS, context)),
    }
    loading = onnx_footprint.loading_bytes(model, fmt) - sum(parts.values())
    return parts | ({"loading": loading} if loading > 0 else {})


def _onnx_scores(model: Model, prompt: int) -> int:
    """Scores of every position, and its logits where the graph cannot leave out those before the last."""
    logits = 0 if model.fused else prompt * model.sizes.vocabulary
    return 4 * (logits + prompt * prompt * model.sizes.n_heads)


def _activation_bytes(sizes: Geometry, context: int) -> int:
    width = _HIDDEN_BUFFERS * sizes.hidden + _INNER_BUFFERS * sizes.intermediate
    return 4 * min(PROMPT_TOKENS, context) * width


def repacked_bytes(model: Model, fmt: Format, *, isa: Sequence[str]) -> int:
    """Bytes of the second copy that llama.cpp makes of the weights that it has better kernels for."""
    types = ladder.tensor_types(fmt, model.tensors, decoder=model.decoder)
    return sum(
        ladder.size_bytes(types[name], shape)
        for name, shape in model.tensors
        if len(shape) > 1 and (model.tied or name != "token_embd.weight") and _is_repacked(types[name], shape, isa)
    )


def _is_repacked(type_name: str, shape: tuple[int, ...], isa: Sequence[str]) -> bool:
    """The rows of one matrix count, also where experts are stacked."""
    return any(flag in isa and shape[-2] % rows == 0 for flag, rows in _REPACKED.get(type_name, ()))


def decode_bytes(model: Model, fmt: Format) -> int:
    """Bytes of weights that one new token reads: of experts those that are chosen, and of looked-up tables one row."""
    if fmt.container == "onnx":
        return onnx_footprint.decode_bytes(model, fmt)
    types = ladder.tensor_types(fmt, model.tensors, decoder=model.decoder)
    sizes = {name: ladder.size_bytes(types[name], shape) for name, shape in model.tensors}
    return sum(int(size * _read_share(model, name)) for name, size in sizes.items())


def _read_share(model: Model, name: str) -> float:
    """The share of a tensor that one token reads."""
    if name in _LOOKED_UP and not (model.tied and name == "token_embd.weight"):
        return 0.0
    if "_exps." in name:
        return model.sizes.n_experts_used / model.sizes.n_experts
    return 1.0
