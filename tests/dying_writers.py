"""Writers of shards that the system kills on the way, for children."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgequant.convert import gguf_split, gguf_write


def _die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def between_shards(job: dict[str, Any], progress: Callable[[str], None]) -> None:
    """The first of them, which comes last, is never written."""
    real = gguf_split.shard_path

    class Fatal(type(Path())):  # type: ignore[misc]
        def open(self, *values: Any, **options: Any) -> Any:
            return _die() if "-00001-of-" in self.name else super().open(*values, **options)

    gguf_split.shard_path = lambda *values: Fatal(real(*values))
    gguf_write.write(job, progress)


def putting_them_in_place(job: dict[str, Any], progress: Callable[[str], None]) -> None:
    """All shards but the first are in place."""
    real = Path.replace

    def replace(self: Path, target: Any) -> Path:
        return _die() if "-00001-of-" in self.name else real(self, target)  # type: ignore[return-value]

    Path.replace = replace  # type: ignore[method-assign,assignment]
    gguf_write.write(job, progress)
