"""What a calibration text shows of the inputs of each product, gathered when it is asked for."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ... import Error
from ..architectures.geometry import geometry
from ..checkpoint import Checkpoint
from ..fused import positions
from .walk import walk
from .windows import windows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

T = TypeVar("T")
Gather = Callable[[T | None, "Floats"], T]  # (what was gathered so far, inputs [tokens, columns]) -> both together


class Observed(Generic[T]):
    """Gathers layer by layer, no further than the product that was asked for, and forgets what was given out.

    So products must be asked for in the order of the computation, each once; memory holds one layer.
    """

    def __init__(
        self, checkpoint: Checkpoint, job: Mapping[str, Any], gather: "Gather[T]", progress: Callable[[str], None]
    ) -> None:
        self._gather, self._progress = gather, progress
        self._found: dict[str, T] = {}
        text = job["options"]["calibration"]
        context = positions.n_positions(geometry(checkpoint))
        cut = windows(checkpoint.path, text=Path(text) if text else None, context=context)
        self._layers = walk(checkpoint, cut, self._visit, threads=job["threads"])

    def _visit(self, product: str, x: "Floats") -> None:
        self._found[product] = self._gather(self._found.get(product), x)

    def of(self, product: str) -> T:
        """What was gathered of a product, by its name in the fused graph."""
        while product not in self._found:
            layer = next(self._layers, None)
            if layer is None:
                raise Error(f"the calibration text says nothing of {product}")
            self._progress(f"observes layer {layer + 1}")
        return self._found.pop(product)


def span(before: tuple[float, float] | None, x: "Floats") -> tuple[float, float]:
    """The lowest and the highest value, zero among them."""
    low, high = before or (0.0, 0.0)
    return min(low, float(x.min())), max(high, float(x.max()))


def gram(before: "Floats | None", x: "Floats") -> "Floats":
    """X^T X, float32 [columns, columns]."""
    products: Floats = x.T @ x
    if before is not None:
        products += before
    return products
