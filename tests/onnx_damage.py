"""ONNX graphs damaged on purpose, and kernels of ONNX Runtime that compute wrong values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto


def edit(folder: Path, change: Callable[[ModelProto], None]) -> None:
    """Change a graph; its data beside it stays as it is."""
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    change(model)
    (folder / "model.onnx").write_bytes(model.SerializeToString())


def tensor_of(model: ModelProto, name: str) -> TensorProto:
    """The one tensor whose name begins so, and whose data lies beside the graph."""
    found: list[TensorProto] = [t for t in model.graph.initializer if t.name.startswith(name) and t.external_data]
    return found[0]


def point(name: str, **entries: object) -> Callable[[ModelProto], None]:
    """Let a tensor's data lie elsewhere: its offset, length or location."""

    def change(model: ModelProto) -> None:
        for entry in tensor_of(model, name).external_data:
            entry.value = str(entries.get(entry.key, entry.value))

    return change


def change_data(folder: Path, name: str, change: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
    """Change what lies beside the graph for a tensor, in its own shape."""
    tensor = tensor_of(onnx.load(folder / "model.onnx", load_external_data=False), name)
    place = {entry.key: entry.value for entry in tensor.external_data}
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    with (folder / place["location"]).open("r+b") as stream:
        stream.seek(int(place["offset"]))
        old = np.frombuffer(stream.read(int(place["length"])), dtype).reshape(tuple(tensor.dims))
        stream.seek(int(place["offset"]))
        stream.write(np.ascontiguousarray(change(old.copy()), dtype).tobytes())


def load(job: dict[str, Any]) -> int:
    """Open a graph as measuring does, and compute three tokens: how many rows of logits there are."""
    from edgequant.runtimes.session import Settings, open_session

    return len(open_session("onnx", job["path"], Settings(threads=1, context=64)).evaluate([1, 2, 3], logits="all"))


def _with_products(job: dict[str, Any], computed: Callable[[Any, Any, Any], Any]) -> Any:
    """The check of kernels, where every product comes out as `computed` makes it of the product, its x and its y."""
    from edgequant.verify import onnx_products

    right = onnx_products.compared

    def wrong(product: Any, x: Any, y: Any) -> Any:
        return right(product, x, y if product.looks_up else computed(product, x[0], y[0].copy()))

    onnx_products.compared = wrong
    return onnx_products.check(job)


def rows_left_out_of_several(job: dict[str, Any]) -> Any:
    """Kernels for several tokens that leave the last eight rows of each product at zero."""
    return _with_products(job, lambda product, x, y: y * (np.arange(y.shape[1]) < y.shape[1] - 8) if len(x) > 1 else y)


def rows_left_out_of_one(job: dict[str, Any]) -> Any:
    """The same of kernels for one token."""
    return _with_products(job, lambda product, x, y: y * (np.arange(y.shape[1]) < y.shape[1] - 8) if len(x) == 1 else y)


def one_row_off(job: dict[str, Any]) -> Any:
    """A kernel that is off in one row of the head by a tenth, and by less than a hundredth over all of its rows."""

    def computed(product: Any, x: Any, y: Any) -> Any:
        if product.weights.name.startswith("token_embd"):
            y[:, 7] *= 1.1
        return y

    return _with_products(job, computed)


def sums_cut_off(job: dict[str, Any]) -> Any:
    """Kernels that cut the sum of two neighbouring products off at 16 bits, as x86 does without VNNI (vpmaddubsw)."""

    def computed(product: Any, x: Any, y: Any) -> Any:
        if product.rounding.way != "token":
            return y
        scale = np.abs(x).max(axis=-1, keepdims=True) / 127
        codes = np.rint(x / scale).astype(np.int64) + 128
        rows = product.weights.rows(np.arange(product.weights.n_rows))
        steps = np.abs(rows).max(axis=1) / product.weights.largest
        weights = np.rint(rows / steps[:, None]).astype(np.int64)
        pairs = (codes[:, None, :] * weights[None]).reshape(len(x), len(weights), -1, 2).sum(axis=-1)
        sums = np.clip(pairs, -(2**15), 2**15 - 1).sum(axis=-1) - 128 * weights.sum(axis=1)
        return (sums * scale * steps).astype(np.float32)

    return _with_products(job, computed)
