"""An ONNX graph in the making: its nodes, and tensors that are streamed to a file beside it as they are made."""

from collections.abc import Iterable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ... import Error

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
_SMALL_BYTES = 1024  # what is smaller lies in the graph itself
#: bytes that a tensor in the file begins at a multiple of: a cache line, and a page of its own from so many bytes on
_ALIGNMENT, _PAGE, _PAGED_BYTES = 64, 4096, 2**16


class Graph:
    """Nodes in order; a name stands for a value. `data` is the open file `DATA_FILE`."""

    def __init__(self, data: BinaryIO) -> None:
        self._data = data
        self._nodes: list[Any] = []
        self._tensors: dict[str, Any] = {}
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._n_names = 0

    def input(self, name: str, dtype: str, shape: Sequence[int | str]) -> str:
        """Declare an input of the graph; `dtype` is numpy's name, a word in `shape` a length that is left open."""
        self._inputs.append(_value(name, dtype, shape))
        return name

    def default_input(self, name: str, values: "Values") -> str:
        """Declare an input that may be left out: then it has these values."""
        self.input(name, str(values.dtype), values.shape)
        return self.constant(name, values)

    def output(self, name: str, dtype: str, shape: Sequence[int | str]) -> None:
        """Declare that a value is an output."""
        self._outputs.append(_value(name, dtype, shape))

    def node(
        self, operator: str, inputs: Sequence[str], *, domain: str = "", output: str = "", **attributes: Any
    ) -> str:
        """Add a node with one output and return its name; "" among the inputs is one that is left out."""
        return self.nodes(operator, inputs, outputs=(output or self.fresh(operator),), domain=domain, **attributes)[0]

    def nodes(
        self, operator: str, inputs: Sequence[str], *, outputs: Sequence[str] | int, domain: str = "", **attributes: Any
    ) -> list[str]:
        """Add a node with several outputs, named or counted; "" is one that nobody asks for."""
        from onnx import helper

        names = [self.fresh(operator) for _ in range(outputs)] if isinstance(outputs, int) else list(outputs)
        self._nodes.append(helper.make_node(operator, list(inputs), names, domain=domain, **attributes))
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
        from onnx import numpy_helper

        if name in self._tensors:
            return name
        if values.nbytes < _SMALL_BYTES:
            self._tensors[name] = numpy_helper.from_array(values, name)
            return name
        return self.stream(name, str(values.dtype), values.shape, [values])

    def stream(self, name: str, dtype: str, shape: Sequence[int], blocks: Iterable["Values"]) -> str:
        """A tensor whose values come in blocks, in row-major order; `Error` where they are not as many as announced."""
        import numpy as np

        expected = prod(shape) * np.dtype(dtype).itemsize
        multiple = _PAGE if expected >= _PAGED_BYTES else _ALIGNMENT
        start = -(-self._data.tell() // multiple) * multiple
        self._data.seek(start)
        written = sum(self._data.write(np.ascontiguousarray(block, dtype=dtype).data.cast("B")) for block in blocks)
        if written != expected:
            raise Error(f"tensor {name} has {written} bytes of data instead of {expected}")
        self._tensors[name] = _external(name, dtype, shape, start, expected)
        return name

    def alias(self, name: str, of: str, shape: Sequence[int]) -> str:
        """A second tensor, of another shape, over the bytes of one that was streamed."""
        from onnx import TensorProto

        tensor = TensorProto()
        tensor.CopyFrom(self._tensors[of])
        tensor.name = name
        del tensor.dims[:]
        tensor.dims.extend(shape)
        self._tensors[name] = tensor
        return name

    def write(self, path: Path, *, name: str, producer: tuple[str, str], metadata: Mapping[str, str]) -> None:
        """Write the graph; the data file must lie beside it under the name `DATA_FILE`."""
        from onnx import helper

        graph = helper.make_graph(self._nodes, name, self._inputs, self._outputs, list(self._tensors.values()))
        model = helper.make_model(
            graph,
            producer_name=producer[0],
            producer_version=producer[1],
            ir_version=_IR_VERSION,
            opset_imports=[helper.make_opsetid("", _OPSET), helper.make_opsetid(CONTRIB, 1)],
        )
        helper.set_model_props(model, dict(metadata))
        path.write_bytes(model.SerializeToString(deterministic=True))


def _value(name: str, dtype: str, shape: Sequence[int | str]) -> Any:
    from onnx import helper

    return helper.make_tensor_value_info(name, _onnx_type(dtype), list(shape))


def _external(name: str, dtype: str, shape: Sequence[int], offset: int, length: int) -> Any:
    """A tensor whose data lies in `DATA_FILE` (onnx's docs/ExternalData.md)."""
    from onnx import TensorProto

    tensor = TensorProto(name=name, data_type=_onnx_type(dtype), data_location=TensorProto.EXTERNAL)
    tensor.dims.extend(shape)
    for key, value in (("location", DATA_FILE), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def _onnx_type(dtype: str) -> int:
    import numpy as np
    from onnx import helper

    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
