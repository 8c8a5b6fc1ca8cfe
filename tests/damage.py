"""Artifacts damaged on purpose: a GGUF written anew with other metadata or other bytes, and a kernel that is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[Any]


def rewritten(
    source: Path,
    target: Path,
    *,
    metadata: Mapping[str, Any] | None = None,
    tensors: Mapping[str, Callable[[Bytes], Bytes]] | None = None,
) -> Path:
    """A copy of a GGUF with values replaced (a function gets the old value; None leaves the key out)."""
    changes, other = dict(metadata or {}), tensors or {}
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, "")
    writer.kv_data[0].clear()
    for name, field in reader.fields.items():
        if name.startswith("GGUF."):
            continue
        value, kind = field.contents(), field.types[0]
        change = changes.pop(name, value)
        value = change(value) if callable(change) else change
        if value is not None:
            writer.add_key_value(name, value, kind, field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None)
    for name, value in changes.items():
        writer.add_key_value(name, value, gguf.GGUFValueType.get_type(value))
    for tensor in reader.tensors:
        data = other.get(tensor.name, np.asarray)(tensor.data)
        writer.add_tensor(tensor.name, np.ascontiguousarray(data), raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def flipped(data: Bytes) -> Bytes:
    """Every bit of each seventh byte turned over."""
    copy = np.array(data)
    copy.reshape(-1).view(np.uint8)[::7] ^= 0xFF
    return copy


def swapped(first: str, second: str) -> Callable[[list[str]], list[str]]:
    """A list of tokens with two of them in each other's place."""
    other = {first: second, second: first}
    return lambda tokens: [other.get(token, token) for token in tokens]


def wrong_kernel(job: dict[str, Any]) -> Any:
    """The check of kernels, where llama.cpp seems to leave the last eight rows of each quantised product at zero."""
    from edgequant.verify import kernels

    right = kernels._values

    def wrong(tensor: Any) -> Any:
        values = right(tensor)
        if tensor.src[0] and tensor.src[0].contents.type > 1:  # neither F32 nor F16
            values[:, -8:] = 0
        return values

    kernels._values = wrong
    return kernels.check(job)
