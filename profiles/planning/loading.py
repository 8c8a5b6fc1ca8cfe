"""How long a model takes to load: reading its file, copying what is repacked, and taking in the vocabulary."""

from ...convert.formats import Format
from ..device import Device
from . import footprint, onnx_footprint, prediction
from .model import Model

_STARTING_SECONDS = 0.1
_SECONDS_A_TOKEN = 4e-6  # llama.cpp's maps of the vocabulary: 0.2 s for SmolLM2's 49,152 tokens (seen)
_SEEN_AT_HZ = 3.6e9  # the clock of the machine that it was seen on
#: of one thread for each byte that is copied into another layout: by llama.cpp, and by onnxruntime (seen: 270 MB in
#: 0.2 s, 1.2 GB in 1.1 s)
_COPYING_CYCLES = {"gguf": 2.7, "onnx": 3.5}


def seconds(model: Model, fmt: Format, device: Device) -> float | None:
    """From storage, where the profile tells its speed, else from the page cache; None where memory's is not known."""
    bandwidth = prediction.effective_bandwidth(device)
    if bandwidth is None:
        return None
    clock = prediction.clock(device)
    size = footprint.file_bytes(model, fmt)
    reading = size / device.storage_bytes_per_second if device.storage_bytes_per_second else size / bandwidth
    copied = (
        footprint.repacked_bytes(model, fmt, isa=device.isa)
        if fmt.container == "gguf"
        else onnx_footprint.resident_bytes(model, fmt)
    )
    vocabulary = _SECONDS_A_TOKEN * model.sizes.vocabulary * _SEEN_AT_HZ / clock if fmt.container == "gguf" else 0
    return _STARTING_SECONDS + reading + _COPYING_CYCLES[fmt.container] * copied / clock + vocabulary
