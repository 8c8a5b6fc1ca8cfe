"""llama.cpp's own converter, from a checkout that the user names, for architectures that the table does not know.

Its script is run in a child process: it imports torch and transformers, which have to be installed.
"""

import hashlib
import io
import os
import runpy
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

from .. import Error
from .checkpoint import Checkpoint, PeerConverter
from .floats import BeyondRange
from .gguf_header import read_header
from .gguf_split import written

SCRIPT = "convert_hf_to_gguf.py"
_BLOCK_BYTES = 8 * 2**20
_OUTTYPES = {"F32": "f32", "F16": "f16", "BF16": "bf16"}


def find_script(named: Path) -> Path:
    """The script in a checkout, or the script itself; `Error` where there is none."""
    script = named / SCRIPT if named.is_dir() else named
    if not script.is_file() or script.suffix != ".py":
        raise Error(
            f"{named} holds no {SCRIPT}",
            hint="name a checkout of llama.cpp (git clone https://github.com/ggml-org/llama.cpp) or the script in it",
        )
    return script.resolve()


def entrusted(checkpoint: Checkpoint, script: Path, *, why: str) -> Checkpoint:
    """The checkpoint, to be converted by the script; `Error` where config.json lacks a size that measuring needs."""
    stated_sizes(checkpoint)
    return replace(checkpoint, converter=PeerConverter(script=script, version=_version(script), why=why))


def _version(script: Path) -> str:
    """A digest of the script and of the modules beside it that it is made of."""
    digest = hashlib.sha256()
    for file in [script, *sorted((script.parent / "conversion").glob("*.py"))]:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return f"sha256:{digest.hexdigest()[:16]}"


def stated_sizes(checkpoint: Checkpoint) -> tuple[int, int]:
    """Context in tokens and rows of the vocabulary, as config.json states them; `Error` where it does not."""
    text = checkpoint.config.get("text_config")
    stated = text if isinstance(text, Mapping) else checkpoint.config
    context = next((stated[key] for key in ("max_position_embeddings", "n_positions", "n_ctx") if key in stated), None)
    sizes: dict[str, Any] = {"max_position_embeddings": context, "vocab_size": stated.get("vocab_size")}
    for key, value in sizes.items():
        if type(value) is not int or value < 1:
            raise Error(f"config.json of {checkpoint.source} has no size {key}: {value!r}")
    return sizes["max_position_embeddings"], sizes["vocab_size"]


def write(job: Mapping[str, Any], progress: Callable[[str], None]) -> dict[str, str]:
    """Convert `job["folder"]` to `job["target"]` in the float type `job["format"]` with the script `job["script"]`.

    As `gguf_write.write` otherwise. Nothing is left on failure; `Error` has the last line that the script printed.
    """
    script = Path(job["script"])
    progress(f"{script.name} converts the checkpoint")

    def make(path: Path) -> None:
        arguments = [job["folder"], "--outfile", str(path), "--outtype", _OUTTYPES[job["format"]]]
        with _as_main(script, arguments) as said:
            failed = _run(script)
        if failed or not path.is_file():
            raise Error(f"{script.name} failed: {said.last_line or failed or 'it wrote no file'}")
        _check_finite(path, job["format"])

    return {"path": str(written(Path(job["target"]), make, limit_bytes=job.get("split_max_bytes", 0)))}


def _check_finite(path: Path, float_type: str) -> None:
    """`BeyondRange` for infinite weights in F16: the script casts, whatever becomes of large values."""
    import numpy as np

    header = read_header(path)
    for tensor in header.tensors:
        if tensor.type != float_type or float_type != "F16":
            continue
        for start in range(0, tensor.n_bytes, _BLOCK_BYTES):
            n = min(_BLOCK_BYTES, tensor.n_bytes - start) // 2
            values = np.fromfile(path, "<f2", count=n, offset=header.data_start + tensor.offset + start)
            if not np.isfinite(values).all():
                raise BeyondRange(
                    f"the tensor {tensor.name} holds values beyond the range of F16, or no numbers",
                    hint="convert to another float type",
                )


@contextmanager
def _as_main(script: Path, arguments: list[str]) -> Iterator["_Listener"]:
    """Let the script find its modules, its arguments and no network; remember what it says."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    before = sys.argv, list(sys.path), sys.stderr
    listener = _Listener(sys.stderr)
    sys.argv, sys.stderr = [str(script), *arguments], listener
    sys.path.insert(0, str(script.parent))
    try:
        yield listener
    finally:
        sys.argv, sys.path[:], sys.stderr = before


def _run(script: Path) -> str:
    """What the script ended with, "" where it succeeded."""
    try:
        runpy.run_path(str(script), run_name="__main__")
    except SystemExit as end:
        return "" if end.code in (None, 0) else str(end.code)
    except Exception as error:  # a stranger's script fails in its own ways
        traceback.print_exc()
        return type(error).__name__
    return ""


class _Listener(io.TextIOBase):
    """A stream that passes text on and keeps the last line that says anything."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._rest = ""
        self.last_line = ""

    def write(self, text: str) -> int:
        """Pass the text on."""
        self._stream.write(text)
        *lines, self._rest = (self._rest + text).split("\n")
        self.last_line = next((line.strip() for line in reversed(lines) if line.strip()), self.last_line)
        return len(text)

    def flush(self) -> None:
        """Flush what the text is passed on to."""
        self._stream.flush()
