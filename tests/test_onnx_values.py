"""Values of a graph's tensors are those that the onnx package reads, wherever and however they are stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import onnx_damage
from edgequant import Error
from edgequant.convert.onnx_header import read_header
from edgequant.convert.onnx_values import OnnxValues

BESIDE = np.arange(2000, dtype=np.float32).reshape(50, 40) / 7


def graph(folder: Path) -> Path:
    """A graph whose tensors lie in the fields that there are for them, and one beside it, behind some other bytes."""
    numbers = [-128, -1, 0, 1, 127]
    tensors = [
        helper.make_tensor("float_data", TensorProto.FLOAT, [2, 2], [0.5, -1.25, 3e-9, 7.0]),
        helper.make_tensor("int32_data", TensorProto.INT8, [5], numbers),
        helper.make_tensor("unsigned", TensorProto.UINT8, [3], [0, 128, 255]),
        helper.make_tensor("int64_data", TensorProto.INT64, [2], [-(2**40), 300]),
        helper.make_tensor("scalar", TensorProto.FLOAT, [], [0.25]),
        numpy_helper.from_array(np.arange(12, dtype=np.int8).reshape(3, 4), "raw"),
    ]
    beside = TensorProto(name="beside", data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL, dims=[50, 40])
    for key, value in (("location", "x.data"), ("offset", "4096"), ("length", str(BESIDE.nbytes))):
        beside.external_data.add(key=key, value=value)
    (folder / "x.data").write_bytes(b"?" * 4096 + BESIDE.tobytes())
    nodes = [helper.make_node("Identity", ["raw"], ["y"])]
    model = helper.make_model(helper.make_graph(nodes, "g", [], [], [*tensors, beside]))
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder / "model.onnx"


def values(file: Path) -> OnnxValues:
    return OnnxValues(file, read_header(file))


def test_values_are_those_of_the_onnx_package(tmp_path: Path) -> None:
    file = graph(tmp_path)
    found = values(file)
    for tensor in onnx.load(file).graph.initializer:
        theirs = numpy_helper.to_array(tensor)
        assert found[tensor.name].dtype == theirs.dtype and found[tensor.name].shape == theirs.shape
        np.testing.assert_array_equal(found[tensor.name], theirs)
    np.testing.assert_array_equal(found["beside"], BESIDE)
    assert "beside" in found and "y" not in found


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"offset": 4097}, "ends before the data of beside"),
        ({"offset": -1}, "begins nowhere"),
        ({"offset": "x"}, "stored in a way that is not known"),
        ({"length": 80}, "80 bytes of data, its shape takes 8000"),
        ({"location": "../x.data"}, "no file beside the graph"),
        ({"location": "y.data"}, "no file beside the graph"),
    ],
)
def test_data_that_is_not_all_there(tmp_path: Path, entries: dict[str, object], said: str) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    file = graph(folder)
    (tmp_path / "x.data").write_bytes((folder / "x.data").read_bytes())
    onnx_damage.edit(folder, onnx_damage.point("beside", **entries))
    with pytest.raises(Error, match=said):
        values(file)["beside"]
