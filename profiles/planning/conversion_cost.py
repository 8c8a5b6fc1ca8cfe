"""What converting takes: disk at the same time, memory at its peak, and time on the machine that converts."""

from collections.abc import Mapping, Sequence
from math import prod

from ...accuracy.compact import KEPT
from ...convert import ladder
from ...convert.formats import FORMATS, Format
from . import footprint, onnx_footprint
from .model import Model

_RESULTS_BYTES = 64 << 20  # reports and stored rows of a run
_REFERENCE_POSITIONS, _REFERENCE_BYTES = 10_000, 6  # of the text, at most; a kept token's number and log-probability
_ONE_PROTOBUF_BYTES = 2**31  # above it, weights go to a file of their own (protobuf's limit on a message)
_CONVERTER_BYTES = 200 << 20  # Python with numpy and gguf, and blocks of rows
_EXPORTER_BYTES = 480 << 20  # torch, transformers and optimum, imported (seen)
_EXPORT_COPIES = 3.8  # peak against the graph: SmolLM2 2.9 GB (seen)
_EXPORT_COPIES_EXTERNAL = 2.1  # the same for weights in a file of their own: a 1.5B model 15.4 GB (seen)
_SMOOTHING_COPIES = 3  # in float32, side by side: the rescaled checkpoint, the reference, and room for a trial
_ONNX_QUANTISE_COPIES = 3.3  # peak against the float32 graph: SmolLM2 2.1 GB (seen)
#: millions of weights a second and thread, on a core of 3.6 GHz, by tensor type or ONNX format (seen on Zen 4):
#: llama.cpp searches the scales of k-quants, and GPTQ solves for each matrix
_SPEEDS: Mapping[str, float] = {
    **dict.fromkeys(("F32", "F16", "BF16"), 300.0),
    **dict.fromkeys(("Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"), 80.0),
    **dict.fromkeys(("Q6_K", "Q5_K", "Q4_K", "Q3_K", "Q2_K"), 13.0),
    "onnx-fp32": 200.0,
    "onnx-int4": 5.0,
    "onnx-int4-gptq": 1.5,
    **dict.fromkeys(("onnx-int8", "onnx-int4-rtn", "onnx-w8a8", "onnx-int8-dynamic"), 50.0),
    "onnx-int8-static": 10.0,
}
_STARTING_SECONDS = 1.5  # of a child with its libraries (seen)
_EXPORT_SECONDS_PER_BILLION = 90.0  # Optimum's, after half a minute of imports: 144 s for 1.5 billion weights (seen)
_EXPORT_SECONDS = 40.0


def disk_bytes(model: Model, made: Sequence[Format]) -> int:
    """All artifacts side by side, then the reference's log-probabilities beside them.

    Before those are there, Optimum needs a large export twice for a moment, to gather its weights in one file.
    """
    if not made:
        return 0
    sizes = {fmt.name: footprint.file_bytes(model, fmt) for fmt in made}
    exported = 0 if model.fused else sizes.get("onnx-fp32", 0)
    gathering = exported if exported > _ONE_PROTOBUF_BYTES else 0
    smoothing = _SMOOTHING_COPIES * 4 * model.n_weights if any(fmt.smoothed for fmt in made) else 0
    reference = _REFERENCE_POSITIONS * KEPT * _REFERENCE_BYTES
    return sum(sizes.values()) + max(gathering, reference, smoothing) + _RESULTS_BYTES


def disk_bytes_of(sizes: Sequence[int]) -> int:
    """The same of artifacts of which no more than their sizes are known."""
    return sum(sizes) + _RESULTS_BYTES if sizes else 0


def memory_bytes(model: Model, fmt: Format) -> int:
    """Peak memory of making one format from what it is made from."""
    if fmt.smoothed and model.fused:
        return _CONVERTER_BYTES + onnx_footprint.resident_bytes(model, FORMATS["onnx-fp32"])
    if fmt.container == "onnx" and model.fused:
        return _CONVERTER_BYTES + _whole_matrices(model, fmt)
    if fmt.container == "onnx":
        graph = 4 * model.n_weights + (4 * prod(dict(model.tensors)["token_embd.weight"]) if model.tied else 0)
        if fmt.made_from != "checkpoint":
            return _CONVERTER_BYTES + int(_ONNX_QUANTISE_COPIES * graph)
        copies = _EXPORT_COPIES if graph < _ONE_PROTOBUF_BYTES else _EXPORT_COPIES_EXTERNAL
        return _EXPORTER_BYTES + int(copies * graph)
    if fmt.made_from == "checkpoint":
        return _CONVERTER_BYTES
    # llama.cpp holds one tensor at a time: as it is in float16, in float32 and quantised (src/llama-quant.cpp)
    types = ladder.tensor_types(fmt, model.tensors, decoder=model.decoder)
    return _CONVERTER_BYTES + max(6 * prod(s) + ladder.size_bytes(types[name], s) for name, s in model.tensors)


def seconds(model: Model, fmt: Format, *, threads: int) -> float:
    """About how long it takes, on cores of 3.6 GHz; a machine that clocks lower or is busy takes longer."""
    if fmt.container == "onnx" and not model.fused:
        return _EXPORT_SECONDS + _EXPORT_SECONDS_PER_BILLION * model.n_weights / 1e9
    if fmt.container == "onnx":
        return _STARTING_SECONDS + model.n_weights / (1e6 * _SPEEDS[fmt.smoothed or fmt.name])
    types = ladder.tensor_types(fmt, model.tensors, decoder=model.decoder)
    work = sum(prod(shape) / (1e6 * _SPEEDS[types[name]]) for name, shape in model.tensors)
    return _STARTING_SECONDS + work / (1 if fmt.made_from == "checkpoint" else threads)


def _whole_matrices(model: Model, fmt: Format) -> int:
    """Formats with a scale a channel hold one product's weights as a whole, to turn rows into columns."""
    if not fmt.rounds_activations:
        return 0
    largest = max(4 * prod(shape) for name, shape in model.tensors if name.startswith("blk.") and len(shape) > 1)
    if onnx_footprint.head_in_blocks(model, fmt):
        return largest
    shapes = dict(model.tensors)
    return max(largest, prod(shapes.get("output.weight") or shapes["token_embd.weight"]))  # a byte each
