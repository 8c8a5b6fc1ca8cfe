"""Which checkpoints the fused graph can hold; for others Optimum's export stands in."""

from ... import Error
from ..architectures.geometry import Geometry, geometry
from ..architectures.keys import check_config
from ..architectures.layout import plan
from ..architectures.table import find
from ..checkpoint import Checkpoint

#: llama.cpp's names of the architectures whose layers `decoder` knows
FAMILIES = ("llama", "granite", "smollm3", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "phi3", "olmo2")
_HEAD_MULTIPLE = 8  # of a head's elements (GroupQueryAttention checks it)


def obstacle(checkpoint: Checkpoint) -> str:
    """Why the fused graph cannot hold this checkpoint; "" where it can. Reads config.json and headers alone."""
    if checkpoint.converter:
        return f"our own graph does not take it: {checkpoint.converter.why}"
    try:
        row, model = find(checkpoint), geometry(checkpoint)
        check_config(checkpoint)
        plan(checkpoint)
    except Error as error:
        return f"our own graph does not take it: {error}"
    if row.gguf not in FAMILIES:
        return f"our own graph does not know the layers of {checkpoint.architecture}"
    return _obstacle_in(model)


def _obstacle_in(model: Geometry) -> str:
    if model.n_experts:
        return "our own graph has no mixture of experts"
    if model.head_dim % _HEAD_MULTIPLE:
        return f"ONNX Runtime's fused attention takes heads of a multiple of {_HEAD_MULTIPLE}, not {model.head_dim}"
    return ""
