"""The bytes of a fused graph before it is made, to the byte: it is built as ever, on weights that nobody reads."""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any

from ... import __version__
from ..checkpoint import Checkpoint
from ..formats import FORMATS, Format
from ..onnx_options import OnnxOptions
from . import positions
from .decoder import Decoder
from .graph import SHARED_BUFFER, Graph, start_of
from .matrix import Matrix
from .schemes import products

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Outlined:
    """Bytes of a graph's two files, of the file with the data as (tensor, bytes) too, without padding."""

    graph_bytes: int
    data_bytes: int
    tensors: Mapping[str, int]


def outline(checkpoint: Checkpoint, fmt: Format, options: OnnxOptions) -> Outlined:
    """What `write` would write of the checkpoint in this format; reads headers alone."""
    graph = CountedGraph()
    plain = FORMATS[fmt.smoothed] if fmt.smoothed else fmt
    OutlinedDecoder(graph, checkpoint, products(plain, options, lambda _: _Unobserved())).whole()
    encoded = graph.encoded(name=checkpoint.name, producer=("edgequant", __version__), metadata={SHARED_BUFFER: "true"})
    return Outlined(
        graph_bytes=len(encoded),
        data_bytes=graph.data_bytes,
        tensors=graph.streamed,
    )


class _Unobserved:
    """A calibration text that is not read."""

    def of(self, _: str) -> tuple[float, float]:
        """A range: which one makes no difference to what is stored."""
        return 0.0, 1.0


class OutlinedDecoder(Decoder):
    """A decoder that never asks for values."""

    def _stacked(self, name: str, names: list[str]) -> Matrix:
        return replace(super()._stacked(name, names), unread=True)

    def _vector(self, name: str) -> "Floats":
        import numpy as np

        return np.zeros(self._tensors[name].n_elements, np.float32)

    def _rotation(self, *, slides: bool) -> "tuple[Floats, Floats]":
        import numpy as np

        n, second = positions.n_positions(self.model), positions.long_rotation(self.model)
        rows = n + (second[1] if second else 0)
        empty = np.broadcast_to(np.float32(0), (rows, len(range(0, self.model.rotary_dim, 2))))
        return empty, empty


class CountedGraph(Graph):
    """A graph whose data goes nowhere."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO())
        self.data_bytes = 0
        self.streamed: dict[str, int] = {}

    def stream(self, name: str, dtype: str, shape: Sequence[int], blocks: Iterable[Any]) -> str:
        """See `Graph.stream`; the blocks are not asked for."""
        import numpy as np

        self.streamed[name] = n_bytes = prod(shape) * np.dtype(dtype).itemsize
        start = start_of(self.data_bytes, n_bytes)
        self.data_bytes = start + n_bytes
        return self._placed(name, shape, (dtype, start, n_bytes))
