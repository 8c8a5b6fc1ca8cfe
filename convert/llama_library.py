"""llama.cpp's C library through llama-cpp-python's bindings, with its log kept instead of printed."""

import ctypes
from typing import Any

from .. import Error

_KEPT_LINES = 200
_log: list[str] = []
_callback: Any = None  # llama.cpp calls it for as long as the process lives: a collected one ends in SIGSEGV


def library() -> Any:
    """The bindings, initialised once per process. Native code: call it behind the fence of `child`."""
    global _callback
    import llama_cpp.llama_cpp as lib

    if _callback is None:

        @lib.llama_log_callback  # type: ignore[untyped-decorator]
        def keep(level: int, text: bytes, data: ctypes.c_void_p) -> None:
            _log.append(text.decode("utf-8", "replace"))
            del _log[:-_KEPT_LINES]

        _callback = keep
        lib.llama_log_set(keep, ctypes.c_void_p(0))
        lib.llama_backend_init()
    return lib


def last_log_line(*, containing: str = "") -> str:
    """The last line that llama.cpp logged, or the last one with a given word: its functions only say "failed"."""
    lines = [line for line in "".join(_log).splitlines() if line.strip() and containing in line]
    return lines[-1].strip() if lines else ""


def load(path: str, params: Any) -> Any:
    """The model in a GGUF file; `Error` with llama.cpp's own words where it cannot be loaded."""
    model = library().llama_model_load_from_file(path.encode(), params)
    if not model:
        raise Error(f"llama.cpp cannot load {path}: {last_log_line(containing='error') or last_log_line()}")
    return model


def logits_addresses(lib: Any) -> tuple[Any, Any]:
    """llama_get_logits and llama_get_logits_ith as functions that return an address; pointer objects take longer."""
    whole = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(("llama_get_logits", lib._lib))
    row = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int32)(("llama_get_logits_ith", lib._lib))
    return whole, row
