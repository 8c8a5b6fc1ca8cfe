"""Quantising a float GGUF file with llama.cpp's own `llama_model_quantize`."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import Error
from .artifact import files_of
from .gguf_header import read_header
from .gguf_split import written
from .llama_library import last_log_line, library

_SMALLEST_BLOCK = 32  # weights; llama.cpp takes F16 for rows that are no multiple of it (src/llama-quant.cpp)


def quantise(job: Mapping[str, Any], progress: Callable[[str], None]) -> dict[str, str]:
    """Quantise `job["source"]` to `job["target"]` with llama.cpp's file type `job["ftype"]` on `job["threads"]`.

    What fits no block stays in the source's float type: F16 may not hold what BF16 does. With
    `job["split_max_bytes"]` the result is cut into shards of that size. Returns {"path": the file or first shard}.
    """
    lib = library()
    params = lib.llama_model_quantize_default_params()
    params.ftype = job["ftype"]
    params.nthread = job["threads"]
    overrides = _in_bf16(lib, _without_block(Path(job["source"])))  # referred to until llama.cpp has read it
    params.tt_overrides = overrides
    progress("llama.cpp quantises")

    def make(path: Path) -> None:
        if lib.llama_model_quantize(job["source"].encode(), str(path).encode(), params) != 0:
            reason = last_log_line(containing="fail") or last_log_line()
            raise Error(f"llama.cpp cannot quantise {job['source']}: {reason}")

    return {"path": str(written(Path(job["target"]), make, limit_bytes=job.get("split_max_bytes", 0)))}


def _without_block(source: Path) -> list[str]:
    """Names of the tensors in BF16 that llama.cpp would put into F16."""
    files = [file for file in files_of(source) if file.is_file()]  # llama.cpp says what is missing
    tensors = [tensor for file in files for tensor in read_header(file).tensors]
    return [t.name for t in tensors if t.type == "BF16" and t.shape[-1] % _SMALLEST_BLOCK]


def _in_bf16(lib: Any, names: Sequence[str]) -> Any:
    """The tensors as patterns, and an end; llama.cpp passes them over when it counts layers for its mixtures."""
    from gguf import GGMLQuantizationType

    rows = [(f"^{re.escape(name)}$".encode(), GGMLQuantizationType.BF16) for name in names]
    return (lib.llama_model_tensor_override * (len(rows) + 1))(*rows, (None, 0))
