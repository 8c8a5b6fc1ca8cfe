"""Graphs are written without the onnx package: golden is what that package makes of the same graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgequant.convert.fused import message
from edgequant.convert.fused.graph import CONTRIB, DATA_FILE, Graph

ATTRIBUTES = {"K": 3, "alpha": 0.5, "axes": [1, -2], "scales": [0.5, 1.5], "mode": "nearest", "axis": -1}


@pytest.mark.parametrize("domain", ["", CONTRIB])
def test_a_node_is_what_onnx_makes_of_it(domain: str) -> None:
    theirs = helper.make_node("Resize", ["x", "", "weights"], ["y"], domain=domain, **ATTRIBUTES)
    ours = message.node("Resize", ["x", "", "weights"], ["y"], domain=domain, attributes=ATTRIBUTES)
    assert ours == theirs.SerializeToString(deterministic=True)


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int8", "int32", "int64", "float16", "bool"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 300)])
def test_a_tensor_is_what_onnx_makes_of_it(dtype: str, shape: tuple[int, ...]) -> None:
    values = (np.arange(np.prod(shape)).reshape(shape) % 2).astype(dtype)
    assert message.tensor("t", values) == numpy_helper.from_array(values, "t").SerializeToString(deterministic=True)


def test_a_value_is_what_onnx_makes_of_it() -> None:
    theirs = helper.make_tensor_value_info("x", onnx.TensorProto.INT64, [1, "tokens", 70000])
    assert message.value("x", "int64", [1, "tokens", 70000]) == theirs.SerializeToString(deterministic=True)


def test_a_graph_is_what_onnx_makes_of_it(tmp_path: Path) -> None:
    """A constant, a streamed tensor and a second one over its bytes; what onnx reads of it and writes is the same."""
    weights = np.arange(4096, dtype=np.float32).reshape(64, 64)
    with (tmp_path / DATA_FILE).open("wb") as data:
        graph = Graph(data)
        x = graph.input("x", "float32", [1, "n", 64])
        streamed = graph.stream("weights", "float32", weights.shape, [weights])
        graph.alias("again", streamed, (4096,))
        two = graph.constant("two", np.array(2, np.float32))
        graph.node("Mul", [graph.node("FusedMatMul", [x, streamed], domain=CONTRIB, transB=1), two], output="y")
        graph.output("y", "float32", [1, "n", 64])
    path = tmp_path / "model.onnx"
    graph.write(path, name="small", producer=("edgequant", "1"), metadata={"a": "b"})
    read = onnx.load(str(path), load_external_data=False)
    assert read.SerializeToString(deterministic=True) == path.read_bytes()
    assert (read.graph.name, read.producer_name, read.producer_version) == ("small", "edgequant", "1")
    assert [(entry.key, entry.value) for entry in read.metadata_props] == [("a", "b")]
    assert {opset.domain: opset.version for opset in read.opset_import} == {"": 21, CONTRIB: 1}
    loaded = onnx.load(str(path))
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in loaded.graph.initializer}
    np.testing.assert_array_equal(found["weights"], weights)
    np.testing.assert_array_equal(found["again"], weights.ravel())
    assert found["two"] == 2
