"""An ONNX graph in the making: its nodes, and tensors that are streamed to a file beside it as they are made."""

from collections.abc import Iterable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ... import Error
from . import message

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = NDArray[Any]

MODEL_FILE = "model.onnx"
DATA_FILE = "model.onnx.data"
KEPT = "logits_to_keep"  # transformers' word: of how many last tokens logits are computed, 0 for all
CONTEXT = "context_length"  # tokens that there will be: longrope takes its factors by it, as in llama.cpp
SHARED_BUFFER = "past_present_share_buffer"  # onnxruntime-genai's word: past and present may be one buffer
CONTRIB = "com.microsoft"  # the domain of ONNX Runtime's own operators
_OPSET, _IR_VERSION = 21, 10
INLINE_BYTES = 1024  # what is smaller lies in the graph itself
#: bytes that a tensor in the file begins at a multiple of: a cache line, and a page of its own from so many bytes on
_ALIGNMENT, _PAGE, _PAGED_BYTES = 64, 4096, 2**16


class Graph:
    """Nodes in order; a name stands for a value. `data` is the open file `DATA_FILE`."""

    def __init__(self, data: BinaryIO) -> None:
        self._data = data
        self._nodes: list[bytes] = []
        self._tensors: dict[str, bytes] = {}
        self._places: dict[str, tuple[str, int, int]] = {}  # of streamed tensors: type, offset, length
        self._inputs: list[bytes] = []
        self._outputs: list[bytes] = []
        self._n_names = 0

    def input(self, name: str, dtype: str, shape: Sequence[int | str]) -> str:
        """Declare an input of the graph; `dtype` is numpy's name, a word in `shape` a length that is left open."""
        self._inputs.append(message.value(name, dtype, shape))
        return name

    def default_input(self, name: str, values: "Values") -> str:
        """Declare an input that may be left out: then it has these values."""
        self.input(name, str(values.dtype), values.shape)
        return self.constant(name, values)

    def output(self, name: str, dtype: str, shape: Sequence[int | str]) -> None:
        """Declare that a value is an output."""
        self._outputs.append(message.value(name, dtype, shape))

    def node(
        self, operator: str, inputs: Sequence[str], *, domain: str = "", output: str = "", **attributes: Any
    ) -> str:
        """Add a node with one output and return its name; "" among the inputs is one that is left out."""
        return self.nodes(operator, inputs, outputs=(output or self.fresh(operator),), domain=domain, **attributes)[0]

    def nodes(
        self, operator: str, inputs: Sequence[str], *, outputs: Sequence[str] | int, domain: str = "", **attributes: Any
    ) -> list[str]:
        """Add a node with several outputs, named or counted; "" is one that nobody asks for."""
        names = [self.fresh(operator) for _ in range(outputs)] if isinstance(outputs, int) else list(outputs)
        self._nodes.append(message.node(operator, inputs, names, domain=domain, attributes=attributes))
        return names

    def fresh(self, word: str) -> str:
        """A name that no other value has."""
        self._n_names += 1
        return f"{word}_{self._n_names}"

    def __contains__(self, name: str) -> bool:
        """Whether a tensor of this name is there."""
        return name in self._tensors

    def constant(self, name: str, values: "Values") -> str:
        """A tensor that is there as a whole; the same name again is the same tensor."""
        if name in self._tensors:
            return name
        if values.nbytes < INLINE_BYTES:
            self._tensors[name] = message.tensor(name, values)
            return name
        return self.stream(name, str(values.dtype), values.shape, [values])

    def stream(self, name: str, dtype: str, shape: Sequence[int], blocks: Iterable["Values"]) -> str:
        """A tensor whose values come in blocks, in row-major order; `Error` where they are not as many as announced."""
        import numpy as np

        expected = prod(shape) * np.dtype(dtype).itemsize
        start = start_of(self._data.tell(), expected)
        self._data.seek(start)
        written = sum(self._data.write(np.ascontiguousarray(block, dtype=dtype).data.cast("B")) for block in blocks)
        if written != expected:
            raise Error(f"tensor {name} has {written} bytes of data instead of {expected}")
        return self._placed(name, shape, (dtype, start, expected))

    def alias(self, name: str, of: str, shape: Sequence[int]) -> str:
        """A second tensor, of another shape, over the bytes of one that was streamed."""
        return self._placed(name, shape, self._places[of])

    def _placed(self, name: str, shape: Sequence[int], place: tuple[str, int, int]) -> str:
        """A tensor whose data lies in `DATA_FILE`."""
        dtype, offset, length = self._places[name] = place
        where: dict[str, str | int] = {"location": DATA_FILE, "offset": offset, "length": length}
        self._tensors[name] = message.external(name, dtype, shape, where)
        return name

    def write(self, path: Path, *, name: str, producer: tuple[str, str], metadata: Mapping[str, str]) -> None:
        """Write the graph; the data file must lie beside it under the name `DATA_FILE`."""
        path.write_bytes(self.encoded(name=name, producer=producer, metadata=metadata))

    def encoded(self, *, name: str, producer: tuple[str, str], metadata: Mapping[str, str]) -> bytes:
        """The graph's own file."""
        graph = message.graph(
            name=name, nodes=self._nodes, tensors=self._tensors.values(), ends=(self._inputs, self._outputs)
        )
        model = message.Model(
            graph=graph,
            ir_version=_IR_VERSION,
            producer=producer,
            opsets={"": _OPSET, CONTRIB: 1},
            metadata=metadata,
        )
        return model.encoded()


def start_of(position: int, n_bytes: int) -> int:
    """Where a tensor of `n_bytes` begins in the file: the next multiple that such a one has from `position` on."""
    multiple = _PAGE if n_bytes >= _PAGED_BYTES else _ALIGNMENT
    return -(-position // multiple) * multiple
