"""What ONNX Runtime makes of blocks of weights, and computes with them; runs in children."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from edgequant.convert.fused.graph import CONTRIB, DATA_FILE, MODEL_FILE, Graph

Progress = Callable[[str], None]


def quantised(job: dict[str, Any], progress: Progress) -> None:
    """Codes and scales of each matrix by ONNX Runtime's quantisers: round to nearest for each of `job["packings"]`,
    and what k-quant and GPTQ, which return no packed codes, make of the values at 4 bits and blocks of `job["size"]`.
    """
    sys.modules.setdefault("onnx_ir", ModuleType("onnx_ir"))  # imported by the module, used by nothing that runs here
    from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, DefaultWeightOnlyQuantizer
    from onnxruntime.quantization.neural_compressor.weight_only import gptq, quant_tensor_k_quant_cpu

    given = dict(np.load(job["arrays"]))
    gram, made = given.pop("gram"), {}
    for name, rows in given.items():
        for bits, size in job["packings"]:
            config = DefaultWeightOnlyQuantConfig(block_size=size, is_symmetric=True, bits=bits)
            packed, scales, _ = DefaultWeightOnlyQuantizer(config).qbits_block_quant(rows.T.copy())
            made |= {f"{name} {bits} {size} data": packed, f"{name} {bits} {size} scales": scales}
        if rows.shape[1] == len(gram):
            codes, scale, zero = quant_tensor_k_quant_cpu(rows, 4, job["size"])
            made[f"{name} k-quant"] = ((codes - zero) * scale).reshape(rows.shape)
            made[f"{name} gptq"] = gptq(rows.T.copy(), gram.astype(np.float64), 4, job["size"]).T
    np.savez(job["made"], **made)


def computed(job: dict[str, Any], progress: Progress) -> None:
    """For each of `job["cases"]` the product with its input, at two accuracy levels, and the rows of its table.

    The product's and the table's codes are two tensors over the same bytes.
    """
    given, made = dict(np.load(job["arrays"])), {}
    for name, case in job["cases"].items():
        arrays = {key: given[f"{name} {key}"] for key in ("data", "scales", "x") if f"{name} {key}" in given}
        results = _run(Path(job["folder"]), arrays, given.get(f"{name} zero_points"), case)
        made |= {f"{name} {key}": value for key, value in results.items()}
    np.savez(job["made"], **made)


def _run(folder: Path, arrays: dict[str, Any], zero_points: Any, case: dict[str, int]) -> dict[str, Any]:
    import onnxruntime

    data, scales = arrays["data"], arrays["scales"]
    with (folder / DATA_FILE).open("wb") as file:
        graph = Graph(file)
        x = graph.input("x", "float32", ["n", case["n_columns"]])
        ids = graph.constant("ids", np.arange(len(data)))
        packed = graph.stream("packed", "uint8", data.shape, [data])
        rows = graph.alias("rows", packed, (len(data), data.shape[1] * data.shape[2]))
        shared = [graph.stream("scales", "float32", scales.shape, [scales])]
        if zero_points is not None:
            shared.append(graph.stream("zero_points", "uint8", zero_points.shape, [zero_points]))
        block = {"bits": case["bits"], "block_size": case["size"]}
        shape = {"K": case["n_columns"], "N": len(data), **block}
        for level in (1, 4):
            product = {"output": f"level {level}", "accuracy_level": level, "domain": CONTRIB}
            graph.node("MatMulNBits", [x, packed, *shared], **product, **shape)
        table = {"output": "table", "gather_axis": 0, "quantize_axis": 1, "domain": CONTRIB}
        graph.node("GatherBlockQuantized", [rows, ids, *shared], **table, **block)
        outputs = ["level 1", "level 4", "table"]
        for output in outputs:
            graph.output(output, "float32", ["n", "m"])
        graph.write(folder / MODEL_FILE, name="blocks", producer=("test", ""), metadata={})
    session = onnxruntime.InferenceSession(folder / MODEL_FILE, providers=["CPUExecutionProvider"])
    return dict(zip(outputs, session.run(outputs, {"x": arrays["x"]}), strict=True))
