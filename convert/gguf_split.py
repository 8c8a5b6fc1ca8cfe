"""A GGUF file cut into shards that llama.cpp loads by the first of them.

llama.cpp's quantiser could keep the shards of what it quantises, but those were cut for float16: of a limit of 2 GB it
would make shards of 600 MB. So every file is made whole and then cut. Shards are written from the last to the first,
and the whole file is cut off where the next one begins: that takes the disk of one shard more, not of a second file.

What llama.cpp checks: src/llama-model-loader.cpp (the names, split.no, split.count, split.tensors.count). As its
tools/gguf-split does it, the first shard alone has the metadata. That tool limits the tensors, here the file is meant.
"""

import glob
import os
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from .. import Error
from .artifact import shard_path
from .atomic import discard, partial_of, replacing
from .gguf_header import ALIGNMENT, ENTRIES_START, GgufHeader, GgufTensor, read_header

_COPIED_BYTES = 16 * 2**20
_MOST_SHARDS = 2**16 - 1  # split.count has 16 bits
_UINT16, _INT32 = 2, 5  # types of values: enum gguf_type in ggml/include/gguf.h
#: a shard's own entries: key, type of its value, layout
_ENTRIES = (("split.no", _UINT16, "<H"), ("split.count", _UINT16, "<H"), ("split.tensors.count", _INT32, "<i"))


def written(target: Path, make: Callable[[Path], None], *, limit_bytes: int = 0) -> Path:
    """Let `make` write a GGUF file, and put it, or its shards, beside or in place of `target` once they are whole.

    Returns where it is: `target`, or the first of several files of at most `limit_bytes` (0 for no limit); a tensor
    that is larger has a file of its own. Nothing is left of a failure.
    """
    if not limit_bytes:
        with replacing(target) as partial:
            make(partial)
        return target
    folder = partial_of(target)
    discard(target)
    try:
        folder.mkdir(parents=True)
        make(folder / target.name)
        shards = split(folder / target.name, limit_bytes)
        for shard in reversed(shards):  # the first comes last: by it the others are found
            shard.replace(target.with_name(shard.name))
        return target.with_name(shards[0].name)
    except OSError as error:
        raise Error(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        discard(target)


def shards_of(target: Path) -> list[Path]:
    """Files that are shards of what would be `target`, of one split or of several."""
    digits = "[0-9]" * 5
    return sorted(target.parent.glob(f"{glob.escape(target.stem)}-{digits}-of-{digits}.gguf"))


def excess(files: Sequence[Path], limit_bytes: int) -> str:
    """What is to be said where a shard is larger than the limit; "" where none is, or there is no limit."""
    largest = max(file.stat().st_size for file in files)
    if not limit_bytes or largest <= limit_bytes:
        return ""
    return f"a shard has {largest:,} bytes instead of {limit_bytes:,}: it holds one tensor, which cannot be cut"


def split(whole: Path, limit_bytes: int) -> list[Path]:
    """Cut a file into shards beside it, which take its place; it stays as it is where it keeps to the limit."""
    header = read_header(whole)
    parts = _plan(header, whole, limit_bytes)
    if len(parts) == 1:
        _sync(whole)
        return [whole]
    if len(parts) > _MOST_SHARDS:
        raise Error(f"{len(parts)} files of {limit_bytes} bytes are more than llama.cpp loads", hint="raise the limit")
    paths = [shard_path(whole, number + 1, len(parts)) for number in range(len(parts))]
    with whole.open("r+b") as stream:
        entries, n_entries = _entries(stream, header)
        for number in reversed(range(len(parts))):
            part = _Part(number=number, count=len(parts), n_tensors=len(header.tensors), tensors=parts[number])
            first = (entries, n_entries) if number == 0 else (b"", 0)
            with paths[number].open("wb") as out:
                out.write(part.header(*first))
                for tensor in part.tensors:
                    _copy(stream, out, header.data_start + tensor.offset, tensor.n_bytes)
            _sync(paths[number])
            if part.tensors:
                stream.truncate(header.data_start + part.tensors[0].offset)
    whole.unlink()
    return paths


@dataclass(frozen=True, kw_only=True)
class _Part:
    """One shard: which of how many, and its tensors of how many."""

    number: int
    count: int
    n_tensors: int
    tensors: Sequence[GgufTensor]

    def header(self, entries: bytes, n_entries: int) -> bytes:
        """Everything before the data, with the whole file's entries where they are given."""
        head = struct.pack("<4sIQQ", b"GGUF", 3, len(self.tensors), n_entries + len(_ENTRIES)) + entries
        for (key, kind, layout), value in zip(_ENTRIES, (self.number, self.count, self.n_tensors), strict=True):
            head += _string(key) + struct.pack("<I", kind) + struct.pack(layout, value)
        offset = 0
        for tensor in self.tensors:
            head += _described(tensor, offset)
            offset += _padded(tensor.n_bytes)
        return head + b"\0" * (-len(head) % ALIGNMENT)


def _plan(header: GgufHeader, whole: Path, limit_bytes: int) -> list[list[GgufTensor]]:
    """The tensors of each shard: as many as keep the file within the limit, and at least one but in the first."""
    if whole.stat().st_size <= limit_bytes:
        return [list(header.tensors)]
    own = sum(len(_string(key)) + 4 + struct.calcsize(layout) for key, _, layout in _ENTRIES)
    parts: list[list[GgufTensor]] = [[]]
    size = header.entries_end + own + ALIGNMENT
    for tensor in header.tensors:
        more = len(_described(tensor, 0)) + _padded(tensor.n_bytes)
        if size + more > limit_bytes and (parts[-1] or len(parts) == 1):
            parts.append([])
            size = ENTRIES_START + own + ALIGNMENT
        parts[-1].append(tensor)
        size += more
    return parts


def _entries(stream: BinaryIO, header: GgufHeader) -> tuple[bytes, int]:
    """The whole file's entries as they are, and their number."""
    stream.seek(ENTRIES_START)
    return stream.read(header.entries_end - ENTRIES_START), len(header.metadata)


def _described(tensor: GgufTensor, offset: int) -> bytes:
    from gguf.constants import GGMLQuantizationType

    shape = struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *reversed(tensor.shape))
    return _string(tensor.name) + shape + struct.pack("<IQ", GGMLQuantizationType[tensor.type], offset)


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _padded(n_bytes: int) -> int:
    return -(-n_bytes // ALIGNMENT) * ALIGNMENT


def _copy(source: BinaryIO, target: BinaryIO, start: int, n_bytes: int) -> None:
    source.seek(start)
    for left in range(n_bytes, 0, -_COPIED_BYTES):
        target.write(source.read(min(left, _COPIED_BYTES)))
    target.write(b"\0" * (_padded(n_bytes) - n_bytes))


def _sync(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
