"""Checkpoints quantised in the ways that people publish them, and the plain weights that they stand for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
#: what a weight is stored as: name -> (safetensors' dtype, values)
Stored = dict[str, tuple[str, Array]]
#: (name, weight) -> what is stored, and the weight that it stands for
Quantiser = Callable[[str, Array], tuple[Stored, Array]]

E4M3, E5M2, E8M0 = ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2, ml_dtypes.float8_e8m0fnu
_NAMES = {E4M3: "F8_E4M3", E5M2: "F8_E5M2", np.float32: "F32", ml_dtypes.bfloat16: "BF16", np.uint8: "U8"}
#: OCP Microscaling Formats specification 1.0, table 5: E2M1
FP4 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], dtype=np.float32)


def plain(name: str, values: Array) -> Stored:
    return {name: ("F32", np.ascontiguousarray(values, dtype=np.float32))}


def float8(
    block: tuple[int, int] | None, ending: str, *, shape: str = "matrix", dtype: Any = E4M3, scales: Any = np.float32
) -> Quantiser:
    """8-bit floats with a scale for each block of rows and columns; None makes one scale for the whole tensor."""

    def quantise(name: str, values: Array) -> tuple[Stored, Array]:
        n_rows, n_columns = values.shape
        rows, columns = block or values.shape
        rows, columns = min(rows, n_rows), min(columns, n_columns)
        padded = np.zeros((-(-n_rows // rows) * rows, -(-n_columns // columns) * columns), dtype=np.float32)
        padded[:n_rows, :n_columns] = np.abs(values)
        largest = padded.reshape(len(padded) // rows, rows, -1, columns).max(axis=(1, 3))
        if scales is np.uint8:
            codes = (127 + np.ceil(np.log2(largest / 448))).astype(np.uint8)
            scale, factor = codes, np.ldexp(np.float32(1), codes.astype(int) - 127)
        else:
            scale = (largest / 448).astype(scales)
            factor = scale.astype(np.float32)
        factors = np.repeat(np.repeat(factor, rows, axis=0), columns, axis=1)[:n_rows, :n_columns]
        codes8 = np.clip(values / factors, -448, 448).astype(dtype)
        given = scale if shape == "matrix" else scale.reshape(() if shape == "scalar" else -1)
        stored = {
            name: (_NAMES[dtype], codes8.view(np.uint8)),
            name.removesuffix("weight") + ending: (_NAMES[scales], given),
        }
        return stored, codes8.astype(np.float32) * factors

    return quantise


def mxfp4(weight: str, scales: str, *, blocked: bool) -> Quantiser:
    """4-bit floats with a power of two for each 32 weights of a row (or of a row of each stacked matrix)."""

    def quantise(name: str, values: Array) -> tuple[Stored, Array]:
        if values.shape[-1] % 32:
            return plain(name, values), values
        groups = values.reshape(*values.shape[:-1], -1, 32)
        exponent = np.floor(np.log2(np.abs(groups).max(axis=-1) + 1e-30)).astype(int) - 2
        scaled = np.ldexp(groups, -exponent[..., None])
        codes = np.abs(scaled[..., None] - FP4).argmin(axis=-1)
        pairs = (codes[..., 0::2] | codes[..., 1::2] << 4).astype(np.uint8)  # the first of two in the lower half
        packed = pairs if blocked else pairs.reshape(*values.shape[:-1], -1)
        base = name if blocked else name.removesuffix(".weight")
        stored = {base + weight: ("U8", packed), base + scales: ("U8", (exponent + 127).astype(np.uint8))}
        return stored, np.ldexp(FP4[codes], exponent[..., None]).astype(np.float32).reshape(values.shape)

    return quantise


def write(
    folder: Path,
    tensors: Mapping[str, Array],
    *,
    quantise: Quantiser,
    config: Mapping[str, Any],
    quantised: Callable[[str], bool] = lambda name: name.endswith("proj.weight"),
    more: Stored | None = None,
) -> dict[str, Array]:
    """Write weights and configuration, the tensors named by `quantised` packed; returns the weights that result."""
    stored: Stored = dict(more or {})
    meant: dict[str, Array] = {}
    for name, values in tensors.items():
        packed, meant[name] = quantise(name, values) if quantised(name) else (plain(name, values), values)
        stored |= packed
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save(folder / "model.safetensors", stored)
    return meant


def save(file: Path, stored: Stored) -> None:
    """The format itself, because numpy does not know its types: length, header, data (safetensors' README)."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, (dtype, values) in stored.items():
        header[name] = {"dtype": dtype, "shape": list(values.shape), "data_offsets": [offset, offset + values.nbytes]}
        offset += values.nbytes
    text = json.dumps(header).encode()
    with file.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for _, values in stored.values():
            stream.write(np.ascontiguousarray(values).tobytes())
