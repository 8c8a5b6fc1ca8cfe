"""Tensors under other names than the table's: renamed ones, and stacks of matrices that are taken apart."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from ..safetensors_header import TensorInfo


def unpacked(tensors: Mapping[str, TensorInfo], others: Mapping[str, tuple[str, ...]]) -> dict[str, TensorInfo]:
    """The tensors under the table's names, where `others` is `Architecture.others`.

    A stack [experts, n x rows, columns] of n names becomes a view [rows, columns] for each expert and name. Quantised
    stacks, whose bytes do not lie row by row, stay as they are.
    """
    patterns = {re.compile(re.escape(name).replace(r"\{l\}", r"(\d+)")): names for name, names in others.items()}
    found: dict[str, TensorInfo] = {}
    for name, tensor in tensors.items():
        match, names = next(((m, n) for p, n in patterns.items() if (m := p.fullmatch(name))), (None, ()))
        if match is None or type(tensor) is not TensorInfo:
            found[name] = tensor
            continue
        inner = [other.replace("{l}", match[1]) if match.groups() else other for other in names]
        found |= _matrices(tensor, inner) if "{e}" in inner[0] else {inner[0]: tensor}
    return found


def _matrices(tensor: TensorInfo, names: list[str]) -> Iterator[tuple[str, TensorInfo]]:
    if len(tensor.shape) != 3 or tensor.shape[1] % len(names):
        return  # the plan then lacks a tensor and says so
    n_experts, rows, columns = tensor.shape
    shape, n_bytes = (rows // len(names), columns), tensor.n_bytes // (n_experts * len(names))
    for nth in range(n_experts * len(names)):
        expert, part = divmod(nth, len(names))
        view = replace(tensor, shape=shape, offset=tensor.offset + nth * n_bytes, n_bytes=n_bytes)
        yield names[part].replace("{e}", str(expert)), view
