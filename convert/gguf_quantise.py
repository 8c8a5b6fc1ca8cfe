"""Quantising a float GGUF file with llama.cpp's own `llama_model_quantize`."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import Error
from .gguf_split import written
from .llama_library import last_log_line, library


def quantise(job: Mapping[str, Any], progress: Callable[[str], None]) -> dict[str, str]:
    """Quantise `job["source"]` to `job["target"]` with llama.cpp's file type `job["ftype"]` on `job["threads"]`.

    The tensors `job["in_bf16"]` are kept in BF16 where llama.cpp would take F16. With `job["split_max_bytes"]` the
    result is cut into shards of that size. Returns {"path": the file or first shard}.
    """
    lib = library()
    params = lib.llama_model_quantize_default_params()
    params.ftype = job["ftype"]
    params.nthread = job["threads"]
    kept = params.tt_overrides = _overrides(lib, job.get("in_bf16", ()))
    progress("llama.cpp quantises")

    def make(path: Path) -> None:
        if lib.llama_model_quantize(job["source"].encode(), str(path).encode(), params) != 0:
            reason = last_log_line(containing="fail") or last_log_line()
            raise Error(f"llama.cpp cannot quantise {job['source']}: {reason}")

    path = written(Path(job["target"]), make, limit_bytes=job.get("split_max_bytes", 0))
    del kept  # llama.cpp has read it by now
    return {"path": str(path)}


def _overrides(lib: Any, names: Sequence[str]) -> Any:
    """The tensors as patterns, and an end; llama.cpp passes them over when it counts layers for its mixtures."""
    from gguf import GGMLQuantizationType

    rows = [(f"^{re.escape(name)}$".encode(), GGMLQuantizationType.BF16) for name in names]
    return (lib.llama_model_tensor_override * (len(rows) + 1))(*rows, (None, 0))
