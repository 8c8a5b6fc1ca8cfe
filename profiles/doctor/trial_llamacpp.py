"""llama.cpp's kernels tried on the small random model, and what the library says of itself; all behind the fence."""

import ctypes
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ...convert.llama_library import last_log_line, library
from ...verify import kernels
from ...verify.finding import PASSED

#: of a product's size, against numpy on the same weights; rounding activations to 8 bits was seen to cost 0.6 to 2.8 %
#: here, in all types, repacked and not
ALLOWED = 0.05
_TOKENS = tuple(range(3, 37))  # a batch of 33 and one more
#: ggml-cpu.h, ggml_cpu_has_NAME
_FEATURES = (
    *("sse3", "ssse3", "avx", "avx_vnni", "avx2", "bmi2", "f16c", "fma", "avx512", "avx512_vbmi", "avx512_vnni"),
    *("avx512_bf16", "amx_int8", "neon", "arm_fma", "fp16_va", "dotprod", "matmul_int8", "sve", "sme"),
)


def describe(job: Mapping[str, Any]) -> dict[str, Any]:
    """Version, the kernels that the library was built with, and what it says of its build."""
    import importlib.metadata

    said = library().llama_print_system_info().decode("utf-8", "replace")
    pairs = (part.split("=") for part in said.split(":", 1)[-1].split("|") if "=" in part)
    build = [name.strip() for name, value in pairs if value.strip() not in ("0", "")]
    version = importlib.metadata.version("llama-cpp-python")
    return {"version": version, "build": build, "kernels": _kernels()}


def _kernels() -> list[str] | None:
    """Instruction sets that its kernels use here, in ggml's words; None where the library has several sets of them."""
    import llama_cpp

    files = sorted((Path(llama_cpp.__file__).parent / "lib").glob("*ggml-cpu.*"))
    if not files:
        return None
    cpu = ctypes.CDLL(str(files[0]))
    return [name for name in _FEATURES if (has := getattr(cpu, f"ggml_cpu_has_{name}", None)) and has()]


def family(job: Mapping[str, Any], progress: Callable[[str], None]) -> dict[str, Any]:
    """Products with matrices of the type `job["type"]` in `job["path"]`, at a batch and at one token.

    Returns whether they are right, the largest error, and whether llama.cpp laid the weights out anew ("repacked").
    """
    progress("products")
    settings = {"threads": 1, "context": 128, "repack": job["repack"]}
    finding = kernels.check({"path": job["path"], "tokens": _TOKENS, "settings": settings, "types": [job["type"]]})
    error = max(finding["samples"], default=float("inf"))
    is_right = finding["verdict"] == PASSED and error <= ALLOWED
    repacked = last_log_line(containing="REPACK model buffer") or last_log_line(containing="AMX model buffer")
    return {"is_right": is_right, "error": error, "said": finding["said"], "repacked": bool(repacked)}
