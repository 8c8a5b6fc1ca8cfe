"""Graphs that Optimum exported are quantised in blocks: each product stays near what it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgequant import child
from edgequant.convert.onnx_header import read_header
from edgequant.convert.onnx_options import OnnxOptions

pytestmark = pytest.mark.usefixtures("natives_importable")


def write_graph(folder: Path) -> Path:
    """A product, one with a bias and turned weights, one that is no plain one, and one of two inputs."""
    draw = np.random.default_rng(3).standard_normal
    weights = {
        "a": draw((48, 64)).astype(np.float32),
        "b": draw((32, 64)).astype(np.float32),
        "bias": draw(32).astype(np.float32),
        "c": draw((32, 16)).astype(np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["y"]),
        helper.make_node("Gemm", ["y", "b", "bias"], ["z"], transB=1),
        helper.make_node("Gemm", ["z", "c"], ["scaled"], alpha=0.5),
        helper.make_node("Transpose", ["z"], ["turned"]),
        helper.make_node("MatMul", ["turned", "scaled"], ["out"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 48])
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("z", "out")]
    initialisers = [numpy_helper.from_array(values, name) for name, values in weights.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x], outputs, initialisers),
        ir_version=10,
        opset_imports=[helper.make_opsetid("", 21)],
    )
    folder.mkdir()
    onnx.save(model, folder / "model.onnx")
    return folder


def test_products_with_weights_are_quantised_and_no_others(tmp_path: Path) -> None:
    source, target = write_graph(tmp_path / "source"), tmp_path / "target"
    (source / "tokenizer.json").write_text("{}")
    job = {"source": str(source), "target": str(target), "format": "onnx-int8", "options": OnnxOptions().job()}
    child.run("edgequant.convert.onnx_quantise:quantise", job).unwrap()
    header = read_header(target / "model.onnx")
    assert header.operators == {"MatMulNBits": 2, "Gemm": 1, "MatMul": 1, "Transpose": 1}
    assert {tensor.name for tensor in header.tensors} & {"a", "b", "c", "bias"} == {"c", "bias"}
    assert (target / "tokenizer.json").exists()
    x = np.random.default_rng(4).standard_normal((5, 48)).astype(np.float32).tolist()
    before, after = (
        child.run("native:run_graph", {"path": str(folder / "model.onnx"), "inputs": {"x": x}}).unwrap()
        for folder in (source, target)
    )
    for name in ("z", "out"):
        theirs, ours = np.array(before[name]), np.array(after[name])
        assert 0 < np.abs(ours - theirs).max() < 0.02 * np.abs(theirs).max()
