"""Predicted bytes: of files, and of the memory of a process that runs them. Arithmetic only; nothing is read or run.

Files are exact. Of memory every figure is a prediction. Formulas for llama.cpp: gpustack/gguf-parser-go,
file_estimate__llamacpp.go. Constants marked "seen" were fitted to SmolLM2-135M and to its shape with random weights
(llama-cpp-python 0.3.36 and onnxruntime 1.31.1 with memory mapping and repacking as they come, Linux on x86, Python
3.11); `benchmarks/plan.py` compares its peaks, and those of a larger model, with what is measured.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...convert import ladder
from ...convert.architectures.geometry import Geometry
from ...convert.formats import Format
from . import onnx_footprint
from .model import Model

BATCH_TOKENS = 512  # of a prompt that llama.cpp computes at a time: n_ubatch
_PROCESS_BYTES = 44 << 20  # Python, numpy and the engine's libraries before a model is loaded (seen)
_FIXED_BYTES = 8 << 20  # loader and scheduler (gguf-parser-go: 9 MiB; seen)
_BYTES_A_TOKEN = 8 + 88 + 104  # types, maps and merges of the vocabulary in memory (gguf-parser-go)
_HIDDEN_BUFFERS, _INNER_BUFFERS = 9, 2  # float32 rows alive at once in a prefill (seen)
_MASK_BYTES = 4  # of each pair of a token that is computed and one that is cached (float32)
_STEP = 256  # tokens: llama.cpp allots its cache in such steps (src/llama-context.cpp)
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


@dataclass(frozen=True, kw_only=True)
class Line:
    """Peak memory as a line over the context: bytes = `intercept_bytes` + tokens x `bytes_per_token`.

    It holds from `from_tokens` on; below, windows and prompts that are not filled yet take less.
    """

    intercept_bytes: int
    bytes_per_token: int
    from_tokens: int


def tensor_bytes(model: Model, fmt: Format) -> int:
    """Bytes of tensor data in the artifact, without padding and metadata; exact."""
    if fmt.container == "onnx":
        return onnx_footprint.tensor_bytes(model, fmt)
    types = ladder.tensor_types(fmt, model.tensors, decoder=model.decoder)
    return sum(ladder.size_bytes(types[name], shape) for name, shape in model.tensors)


def file_bytes(model: Model, fmt: Format) -> int:
    """Bytes of the artifact: as exact as the model's `header_bytes`, `graphs` and `companion_bytes` are."""
    if fmt.container == "onnx":
        return onnx_footprint.file_bytes(model, fmt)
    types = ladder.tensor_types(fmt, model.tensors, decoder=model.decoder)
    return model.header_bytes + sum(ladder.padded_bytes(types[name], shape) for name, shape in model.tensors)


def kv_bytes_per_token(sizes: Geometry, *, bytes_per_value: int) -> int:
    """Keys and values of one token over all layers; 2 bytes a value in llama.cpp's float16 cache, 4 in ONNX graphs."""
    return sizes.cached_values * bytes_per_value


def memory_parts(model: Model, fmt: Format, *, context: int, isa: Sequence[str]) -> dict[str, int]:
    """What the resident memory of a running model is made of, in bytes; the peak is their sum.

    `context` in tokens, the cache full; `isa` decides which weights llama.cpp copies into a layout of its own.
    """
    parts = _llama_parts(model, fmt, context, isa) if fmt.container == "gguf" else _onnx_parts(model, fmt, context)
    return {**parts, "process": _PROCESS_BYTES}


def peak_bytes(model: Model, fmt: Format, *, context: int, isa: Sequence[str]) -> int:
    """Peak memory at a context that is full."""
    return sum(memory_parts(model, fmt, context=context, isa=isa).values())


def line(model: Model, fmt: Format, *, isa: Sequence[str]) -> Line:
    """Peak memory as a line over the context, for contexts beyond every window and batch."""
    start = _STEP * (-(-((model.sizes.window or 0) + BATCH_TOKENS) // _STEP))
    first, second = (peak_bytes(model, fmt, context=n, isa=isa) for n in (start, start + _STEP))
    slope = (second - first) // _STEP
    return Line(intercept_bytes=first - slope * start, bytes_per_token=slope, from_tokens=start)


def largest_context(model: Model, fmt: Format, *, isa: Sequence[str], memory_bytes: int) -> int:
    """The most tokens, in steps of 256 and no more than the model takes, whose peak the memory holds; 0 for none."""
    least, most = 0, -(-model.sizes.context // _STEP)
    while least < most:
        middle = (least + most + 1) // 2
        fits = peak_bytes(model, fmt, context=middle * _STEP, isa=isa) <= memory_bytes
        least, most = (middle, most) if fits else (least, middle - 1)
    return min(least * _STEP, model.sizes.context)


def _llama_parts(model: Model, fmt: Format, context: int, isa: Sequence[str]) -> dict[str, int]:
    """Layers with a sliding window keep the window and a batch, as llama.cpp's own programs have it."""
    sizes, batch = model.sizes, min(BATCH_TOKENS, context)
    return {
        "weights": file_bytes(model, fmt),
        "repacked copy": repacked_bytes(model, fmt, isa=isa),
        "key/value cache": model.attention.cache_bytes(context) + model.state_bytes,
        "computing": activation_bytes(sizes, batch) + _MASK_BYTES * batch * context,
        "runtime": _FIXED_BYTES + _BYTES_A_TOKEN * sizes.vocabulary,
    }


def _onnx_parts(model: Model, fmt: Format, context: int) -> dict[str, int]:
    """Our own graph appends to one buffer; in Optimum's, past and present of a step exist at the same time.

    Both keep every token in every layer, whatever windows the model has.
    """
    sizes, copies = model.sizes, 1 if model.fused else 2
    batch = min(onnx_footprint.BATCH_TOKENS, context)
    parts = {
        "weights": onnx_footprint.resident_bytes(model, fmt),
        "key/value cache": copies * context * kv_bytes_per_token(sizes, bytes_per_value=4),
        "computing": activation_bytes(sizes, batch) + _onnx_scores(model, batch, context),
    }
    loading = onnx_footprint.loading_bytes(model, fmt) - sum(parts.values())
    return parts | ({"loading": loading} if loading > 0 else {})


def _onnx_scores(model: Model, batch: int, context: int) -> int:
    """Scores of every position, and its logits where the graph cannot leave out those before the last."""
    logits = 0 if model.fused else batch * model.sizes.vocabulary
    return 4 * (logits + batch * context * model.sizes.n_heads)


def activation_bytes(sizes: Geometry, batch: int) -> int:
    """What is alive at once of a batch on its way through a layer."""
    return 4 * batch * (_HIDDEN_BUFFERS * sizes.hidden + _INNER_BUFFERS * sizes.intermediate)


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
