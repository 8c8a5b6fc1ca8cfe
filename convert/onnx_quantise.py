"""Quantising a float32 graph that Optimum exported."""

import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .atomic import replacing
from .fused.blocked import INT8
from .fused.blocks import nearest
from .fused.graph import CONTRIB
from .onnx_options import OnnxOptions, from_job

_MODEL = "model.onnx"
_EMBEDDED_LIMIT_BYTES = 2**31 - 2**20  # one protobuf message holds less than 2 GiB


def quantise(job: Mapping[str, Any], progress: Callable[[str], None]) -> None:
    """Quantise the folder `job["source"]` to the folder `job["target"]`, as `job["format"]` names it."""
    source, options = Path(job["source"]), from_job(job["options"])
    logging.getLogger().setLevel(logging.ERROR)  # the quantiser advises a preprocessing that the export has done
    progress("quantises the graph")
    with replacing(Path(job["target"])) as partial:
        partial.mkdir()
        for file in source.iterdir():
            if ".onnx" not in file.name:
                shutil.copy2(file, partial / file.name)
        make = _by_tensor if job["format"] == "onnx-int8-dynamic" else _by_block
        make(source / _MODEL, partial / _MODEL, options)


def _by_tensor(source: Path, target: Path, options: OnnxOptions) -> None:
    """int8 weights, and one scale for all of a product's activations, computed as it runs."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        source,
        target,
        per_channel=options.per_channel,
        reduce_range=options.reduce_range,
        weight_type=QuantType.QInt8,
        use_external_data_format=_n_bytes(source.parent) / 4 > _EMBEDDED_LIMIT_BYTES,
    )


def _by_block(source: Path, target: Path, options: OnnxOptions) -> None:
    """8-bit weights with a scale for each block; an embedding stays as it is.

    ONNX Runtime's own quantiser of graphs (matmul_nbits_quantizer) wants a further package; its rounding is ours.
    """
    import onnx

    model = onnx.load(source)
    weights, made_of = {tensor.name: tensor for tensor in model.graph.initializer}, set[str]()
    for n, node in enumerate(list(model.graph.node)):
        tensor = weights.get(node.input[1]) if node.op_type in ("MatMul", "Gemm") else None
        if tensor is not None and len(tensor.dims) == 2 and _is_plain(node):
            made, tensors = _blocked(node, tensor, options.block_size)
            model.graph.node.remove(node)
            model.graph.node.insert(n, made)
            model.graph.initializer.extend(tensor for tensor in tensors if tensor.name not in made_of)
            made_of.update(tensor.name for tensor in tensors)
    read = {name for node in model.graph.node for name in node.input}
    for name in weights.keys() - read:
        model.graph.initializer.remove(weights[name])
    model.opset_import.append(onnx.helper.make_opsetid(CONTRIB, 1))
    large = model.ByteSize() > _EMBEDDED_LIMIT_BYTES
    onnx.save(model, target, save_as_external_data=large, location=f"{target.name}.data")


def _is_plain(node: Any) -> bool:
    """Whether it is input times weights, and a bias at most."""
    factors = {attribute.name: attribute.f for attribute in node.attribute if attribute.name in ("alpha", "beta")}
    turned = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    return not turned and all(factor == 1 for factor in factors.values())


def _blocked(node: Any, tensor: Any, size: int) -> tuple[Any, list[Any]]:
    """The node with its weights in blocks, and those."""
    import numpy as np
    from onnx import helper, numpy_helper

    weights = numpy_helper.to_array(tensor)
    transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
    rows = np.ascontiguousarray(weights if transposed else weights.T)
    packed = nearest(rows, size=size, bits=8)
    names = [f"{tensor.name}.{part}" for part in ("blocks", "scales")]
    bias = ["", "", node.input[2]] if len(node.input) > 2 else []
    made = helper.make_node(
        "MatMulNBits",
        [node.input[0], *names, *bias],
        list(node.output),
        domain=CONTRIB,
        K=rows.shape[1],
        N=rows.shape[0],
        bits=8,
        block_size=size,
        accuracy_level=INT8,
    )
    values: list[Any] = [packed.data, packed.scales]
    return made, [numpy_helper.from_array(each, name) for each, name in zip(values, names, strict=True)]


def _n_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.onnx*"))
