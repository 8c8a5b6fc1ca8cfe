"""Which products a format has, and what a calibration text has to say for some of them."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..architectures.geometry import geometry
from ..calibration.walk import walk
from ..calibration.windows import windows
from ..checkpoint import Checkpoint
from ..onnx_options import OnnxOptions, from_job
from . import positions
from .products import FLOAT, Blocks, Product, Scheme
from .rounded import ByTensor, ByToken, Static

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

Progress = Callable[[str], None]


def scheme(job: Mapping[str, Any], checkpoint: Checkpoint, progress: Progress) -> Scheme:
    """The scheme of `job["format"]` under `job["options"]`; reads the text where the format is a calibrated one."""
    name, options = str(job["format"]).removesuffix("-smooth"), from_job(job["options"])
    if name == "onnx-fp32":
        return FLOAT
    shared = Blocks(bits=8, size=options.block_size)  # embedding and head of every quantised format
    layers: Product
    if name == "onnx-int8":
        layers = shared.product
    elif name == "onnx-w8a8":
        layers = ByToken(options=options).product
    elif name == "onnx-int8-dynamic":
        layers = ByTensor(options=options).product
    else:
        layers = Static(options=options, ranges=_ranges(checkpoint, options, job["threads"], progress)).product
    plain = options.plain_head and name != "onnx-int8"
    head = ByToken(options=options).product if plain else shared.product
    return Scheme(layers=layers, head=head, embedding=shared.embedding)


def _ranges(
    checkpoint: Checkpoint, options: OnnxOptions, threads: int, progress: Progress
) -> dict[str, tuple[float, float]]:
    """Product -> lowest and highest value of its input on the calibration text."""
    found: dict[str, tuple[float, float]] = {}

    def visit(name: str, x: "Floats") -> None:
        low, high = found.get(name, (0.0, 0.0))
        found[name] = (min(low, float(x.min())), max(high, float(x.max())))

    cut = windows(checkpoint.path, text=options.calibration, context=positions.n_positions(geometry(checkpoint)))
    for layer in walk(checkpoint, cut, visit, threads=threads):
        progress(f"observes layer {layer + 1}")
    return found
