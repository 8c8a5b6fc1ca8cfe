"""Quantising a float32 graph that Optimum exported, by ONNX Runtime's own quantisers."""

import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .atomic import replacing
from .onnx_options import OnnxOptions, from_job

_MODEL = "model.onnx"
_EMBEDDED_LIMIT_BYTES = 2**31 - 2**20  # one protobuf message holds less than 2 GiB


def quantise(job: Mapping[str, Any], progress: Callable[[str], None]) -> None:
    """Quantise the folder `job["source"]` to the folder `job["target"]`, as `job["format"]` names it."""
    source, options = Path(job["source"]), from_job(job["options"])
    logging.getLogger().setLevel(logging.ERROR)  # the quantisers advise a preprocessing that the export has done
    progress("ONNX Runtime quantises")
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
    """8-bit weights with a scale for each block; the embedding stays as it is."""
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    quantiser = MatMulNBitsQuantizer(
        onnx.load(source), bits=8, block_size=options.block_size, is_symmetric=True, accuracy_level=4
    )
    with _quiet():
        quantiser.process()
    quantiser.model.save_model_to_file(str(target), use_external_data_format=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser says each node that it looks at."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(level)


def _n_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.onnx*"))
