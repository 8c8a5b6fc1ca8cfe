"""Print how many bytes of keys and values an engine allots for an artifact.

    python kv_cache.py gguf|onnx ARTIFACT CONTEXT

llama.cpp says it in its log, in hundredths of a MiB; for our own ONNX graphs it is the buffers that session and graph
share. A process of its own, as native code wants it.
"""

import re
import sys
from math import prod
from typing import Any

from edgequant.convert.llama_library import last_log_line
from edgequant.runtimes.session import Settings, open_session


def main() -> None:
    """Load, and print a number."""
    container, path, context = sys.argv[1:]
    session = open_session(container, path, Settings(threads=1, context=int(context)))
    print(_logged() if container == "gguf" else _shared(session))


def _logged() -> int:
    line = last_log_line(containing="KV buffer size")
    found = re.search(r"size\s*=\s*([\d.]+) MiB", line)
    if not found:
        raise SystemExit(f"llama.cpp does not say how large its cache is: {line!r}")
    return round(float(found[1]) * 2**20)


def _shared(session: Any) -> int:
    return sum(4 * prod(buffer.shape()) for buffer in session._cache._buffers)


if __name__ == "__main__":
    main()
