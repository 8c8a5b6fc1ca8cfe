"""A checkpoint written as an unquantised GGUF file, in blocks of rows."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from .. import __version__
from . import gguf_split, ladder, model_card
from .architectures import metadata, rope
from .architectures.geometry import Geometry, geometry
from .architectures.keys import check_config
from .architectures.layout import PlannedTensor, plan
from .architectures.table import find
from .assembly import blocks
from .checkpoint import Checkpoint, open_folder
from .floats import encode
from .quick_arrays import quick_writer
from .vocabulary.from_checkpoint import read_vocabulary, write_vocabulary
from .vocabulary.from_gguf import Vocabulary

if TYPE_CHECKING:
    from gguf import GGUFWriter

_QUANTISATION_VERSION = 2  # ggml's GGML_QNT_VERSION: the layout of k-quants since 2023
_FILE_TYPES = {"F32": "ALL_F32", "F16": "MOSTLY_F16", "BF16": "MOSTLY_BF16"}


@dataclass(frozen=True, kw_only=True)
class Stored:
    """The float type of a file's matrices, and whether they may hold what is no finite number."""

    dtype: str
    allow_nan: bool


def write(job: Mapping[str, Any], progress: Callable[[str], None]) -> dict[str, str]:
    """Convert `job["folder"]` to `job["target"]` in the float format `job["format"]`; nothing is left on failure.

    With `job["split_max_bytes"]` the file is cut into shards of that size. Returns {"path": the file or first shard};
    raises `floats.BeyondRange` where the format cannot hold the weights, though another float type may.
    """
    checkpoint = open_folder(Path(job["folder"]), source=job["source"], name=job["name"], revision=job["revision"])
    check_config(checkpoint)
    tensors = plan(checkpoint)
    vocabulary = read_vocabulary(checkpoint)

    def make(path: Path) -> None:
        stored = Stored(dtype=job["format"], allow_nan=job.get("allow_nan", False))
        _write_file(path, checkpoint, vocabulary, tensors=tensors, stored=stored, progress=progress)

    return {"path": str(gguf_split.written(Path(job["target"]), make, limit_bytes=job.get("split_max_bytes", 0)))}


def _write_file(
    path: Path,
    checkpoint: Checkpoint,
    vocabulary: Vocabulary,
    *,
    tensors: Sequence[PlannedTensor],
    stored: Stored,
    progress: Callable[[str], None],
) -> None:
    writer = quick_writer(path, find(checkpoint).gguf)
    _describe(writer, checkpoint, vocabulary, tensors=tensors, dtype=stored.dtype)
    with ExitStack() as stack:
        stack.callback(writer.close)
        stream = _write_header(writer)
        for values in rope.tensors(geometry(checkpoint)).values():
            stream.write(values.tobytes())
            _pad(stream, writer.data_alignment)
        for done, tensor in enumerate(tensors):
            progress(f"{done + 1} of {len(tensors)} tensors")
            for block in blocks(tensor):
                name, kind = tensor.pieces[0].tensor.name, _stored_as(tensor, stored.dtype)
                stream.write(encode(block, kind, name=name, allow_nan=stored.allow_nan).data)
            _pad(stream, writer.data_alignment)


def header_bytes(checkpoint: Checkpoint, vocabulary: Vocabulary | None) -> int:
    """Bytes before the tensors' data, in whatever type: metadata, vocabulary and the table of tensors.

    They are really written, to a temporary file; llama.cpp keeps all of it when it quantises. The vocabulary is taken
    as it comes, unproven: where llama.cpp turns out to need another variant of it, a name is some bytes longer or
    shorter. Without a vocabulary its bytes are left out.
    """
    with tempfile.TemporaryDirectory() as folder:
        writer = quick_writer(Path(folder) / "header.gguf", find(checkpoint).gguf)
        unproven = replace(vocabulary, files=None) if vocabulary else None
        _describe(writer, checkpoint, unproven, tensors=plan(checkpoint), dtype="F16")
        with closing(writer):
            return _write_header(writer).tell()


def _describe(
    writer: "GGUFWriter",
    checkpoint: Checkpoint,
    vocabulary: Vocabulary | None,
    *,
    tensors: Sequence[PlannedTensor],
    dtype: str,
) -> None:
    """Tell the writer all of the file but the values."""
    model = geometry(checkpoint)
    _add_metadata(writer, checkpoint, model, dtype)
    if vocabulary:
        write_vocabulary(vocabulary, writer, n_tokens=model.vocabulary)
    for name, values in rope.tensors(model).items():
        writer.add_tensor_info(name, values.shape, values.dtype, values.nbytes)
    for tensor in tensors:
        _declare(writer, tensor, dtype)


def _write_header(writer: "GGUFWriter") -> BinaryIO:
    """Write what comes before the data; returns the file, at the place where the data starts."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    assert writer.fout is not None
    stream: BinaryIO = writer.fout[0]
    _pad(stream, writer.data_alignment)
    return stream


def _add_metadata(writer: "GGUFWriter", checkpoint: Checkpoint, model: Geometry, dtype: str) -> None:
    from gguf import LlamaFileType

    writer.add_file_type(LlamaFileType[_FILE_TYPES[dtype]])
    writer.add_quantization_version(_QUANTISATION_VERSION)
    entries = {
        **model_card.entries(checkpoint),
        **metadata.entries(find(checkpoint), model),
        "edgequant.version": __version__,
        "edgequant.revision": checkpoint.revision,
    }
    for key, value in entries.items():
        _add(writer, key, value)


def _add(writer: "GGUFWriter", key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, list(value))


def _stored_as(tensor: PlannedTensor, dtype: str) -> str:
    return ladder.unquantised_type(dtype, tensor.name, tensor.shape)


def _declare(writer: "GGUFWriter", tensor: PlannedTensor, dtype: str) -> None:
    import numpy as np
    from gguf import GGMLQuantizationType

    stored = _stored_as(tensor, dtype)
    n_bytes = tensor.n_elements * (4 if stored == "F32" else 2)
    writer.add_tensor_info(tensor.name, tensor.shape, np.dtype(np.float32), n_bytes, GGMLQuantizationType[stored])


def _pad(stream: BinaryIO, alignment: int) -> None:
    stream.write(b"\0" * (-stream.tell() % alignment))
