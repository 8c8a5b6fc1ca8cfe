"""Print how many bytes of keys and values an engine allots for an artifact.

    python kv_cache.py gguf|onnx ARTIFACT CONTEXT

llama.cpp says it in its log, in hundredths of a MiB; for our own ONNX graphs it is the buffers that session and graph
share. A process of its own, as native code wants it.
"""

import ctypes
import re
import sys
from math import prod

from edgequant.convert.llama_library import library
from edgequant.runtimes.session import Settings, open_session


def main() -> None:
    """Load, and print a number."""
    container, path, context = sys.argv[1:]
    allotted = _logged if container == "gguf" else _shared
    print(allotted(path, Settings(threads=1, context=int(context))))


def _logged(path: str, settings: Settings) -> int:
    """All of the log is kept here: of a model with many layers it is longer than what the package keeps."""
    lib, said = library(), list[str]()

    @lib.llama_log_callback
    def keep(level: int, text: bytes, data: ctypes.c_void_p) -> None:
        said.append(text.decode("utf-8", "replace"))

    lib.llama_log_set(keep, ctypes.c_void_p(0))
    session = open_session("gguf", path, settings)
    found = re.findall(r"KV buffer size\s*=\s*([\d.]+) MiB", "".join(said))
    session.close()
    if not found:
        raise SystemExit("llama.cpp does not say how large its cache is")
    return round(sum(map(float, found)) * 2**20)


def _shared(path: str, settings: Settings) -> int:
    session = open_session("onnx", path, settings)
    return sum(4 * prod(buffer.shape()) for buffer in session._cache._buffers)


if __name__ == "__main__":
    main()
