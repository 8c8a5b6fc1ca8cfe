"""How formats that round activations to 8 bits do it, in numpy: what their products are to be computed with."""

from typing import TYPE_CHECKING

from .onnx_matrices import Rounding

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

_SMALLEST = 1e-30  # of a scale: activations that are all zero stay so


def rounded(x: "Floats", rounding: Rounding) -> "Floats":
    """Activations [tokens, columns] as the product sees them.

    In blocks and by token: whole numbers up to 127 either way of a step. By tensor: 256 steps from the lowest value
    to the highest, zero among them (onnx's DynamicQuantizeLinear). Static: 256 steps that were set beforehand.
    """
    import numpy as np

    if rounding.way == "blocks":
        n_blocks = -(-x.shape[1] // rounding.size)
        padded = np.pad(x, ((0, 0), (0, n_blocks * rounding.size - x.shape[1])))
        return _to_127(padded.reshape(len(x), n_blocks, -1)).reshape(len(x), -1)[:, : x.shape[1]]
    if rounding.way == "token":
        return _to_127(x)
    if rounding.way == "tensor":
        low, high = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
        scale = max((high - low) / 255, _SMALLEST)
        return _to_255(x, scale, round(-low / scale))
    return _to_255(x, rounding.scale, rounding.zero) if rounding.way == "static" else x


def _to_127(x: "Floats") -> "Floats":
    import numpy as np

    scale = np.maximum(np.abs(x).max(axis=-1, keepdims=True) / np.float32(127), np.float32(_SMALLEST))
    found: Floats = np.rint(x / scale) * scale
    return found


def _to_255(x: "Floats", scale: float, zero: int) -> "Floats":
    import numpy as np

    codes = np.clip(np.rint(x / np.float32(scale)) + zero, 0, 255)
    found: Floats = ((codes - zero) * np.float32(scale)).astype(np.float32)
    return found
