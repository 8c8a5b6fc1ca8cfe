"""config.json's `quantization_config`: which quantised checkpoints can be read, and what the others are called."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

#: rows and columns of a weight that share a scale; None stands for all of them
Block = tuple[int | None, int | None]

KEYS = ("quantization_config", "compression_config", "quantization")  # older compressed-tensors' name, and MLX's
_MX_GROUP = 32  # weights (OCP MX specification 1.0)
#: methods that are refused, as their authors spell them (transformers' quantizers/auto.py, and makers of checkpoints)
_SPELT = {
    "aqlm": "AQLM",
    "auto-round": "AutoRound",
    "awq": "AWQ",
    "bitnet": "BitNet",
    "eetq": "EETQ",
    "exl2": "EXL2",
    "fp_quant": "FP-Quant",
    "gptq": "GPTQ",
    "higgs": "HIGGS",
    "hqq": "HQQ",
    "mlx": "MLX",
    "modelopt": "NVIDIA ModelOpt",
    "quanto": "Quanto",
    "quark": "AMD Quark",
    "spqr": "SpQR",
    "vptq": "VPTQ",
}
#: compressed-tensors' formats that hold floats of 8 or 4 bits (its config/base.py)
_READABLE_FORMATS = ("float-quantized", "naive-quantized", "mxfp4-pack-quantized", "mxfp8-quantized")


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """How a checkpoint is quantised; `name` is for people.

    `blocks` are the sizes that a scale may be for, besides a row and a whole matrix. `unreadable` says what cannot be
    read, or is "".
    """

    name: str
    blocks: tuple[Block, ...] = ()
    unreadable: str = ""


def scheme_of(config: Mapping[str, Any]) -> Scheme | None:
    """The scheme that config.json states, None where the weights are plain; an odd one is unreadable, no error."""
    stated = _stated(config)
    if stated is None:
        return None
    method = str(stated.get("quant_method") or _unnamed(stated)).lower()
    read = _READERS.get(method)
    if read:
        return read(stated)
    label = _with_bits(_SPELT.get(method, method), stated)
    return Scheme(name=label, unreadable=label)


def _stated(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    for part in (config, config.get("text_config")):
        if isinstance(part, Mapping):
            for key in KEYS:
                if isinstance(part.get(key), Mapping) and part[key]:
                    found: Mapping[str, Any] = part[key]
                    return found
    return None


def _unnamed(stated: Mapping[str, Any]) -> str:
    """Older files leave the method out: bitsandbytes' keys are told from the others (transformers' auto.py).

    MLX writes a group's size and bits alone, besides layers that differ.
    """
    if any(key.startswith(("load_in_", "_load_in_", "bnb_")) for key in stated):
        return "bitsandbytes"
    if "config_groups" in stated:
        return "compressed-tensors"
    return "mlx" if {"group_size", "bits"} <= stated.keys() and "desc_act" not in stated else "an unnamed method"


def _with_bits(label: str, stated: Mapping[str, Any]) -> str:
    bits = stated.get("bits", stated.get("w_bit"))
    return f"{label} ({bits} bits)" if isinstance(bits, int) and not isinstance(bits, bool) else label


def _float8(stated: Mapping[str, Any]) -> Scheme:
    """DeepSeek's and Qwen's fp8, and FBGEMM's."""
    blocks = list(_block(stated.get("weight_block_size")))
    return Scheme(name="FP8", blocks=tuple(blocks))


def _block(sizes: Any) -> Iterator[Block]:
    if isinstance(sizes, list) and len(sizes) == 2 and all(type(n) is int and n > 0 for n in sizes):
        yield sizes[0], sizes[1]


def _mxfp4(stated: Mapping[str, Any]) -> Scheme:
    return Scheme(name="MXFP4", blocks=((1, _MX_GROUP),))


def _model_optimizer(stated: Mapping[str, Any]) -> Scheme:
    algorithm = str(stated.get("quant_algo") or "unknown").upper()
    label = f"{_SPELT['modelopt']} {algorithm}"
    return Scheme(name=label, unreadable="" if algorithm == "FP8" else label)


def _compressed_tensors(stated: Mapping[str, Any]) -> Scheme:
    """Several groups of layers, each with a format, a number of bits and blocks of its own."""
    found = stated.get("config_groups")
    groups = [group for group in found.values() if isinstance(group, Mapping)] if isinstance(found, Mapping) else []
    own = str(stated.get("format", "unknown"))
    formats = {str(group.get("format") or own) for group in groups} or {own}
    label = f"compressed-tensors {', '.join(sorted(formats))}"
    blocks: list[Block] = []
    faults = [name for name in sorted(formats) if name not in _READABLE_FORMATS]
    for group in groups:
        weights = group.get("weights")
        if isinstance(weights, Mapping):
            faults += _weights_faults(weights)
            blocks += _block(weights.get("block_structure"))
            size = weights.get("group_size")
            blocks += [(1, size)] if type(size) is int and size > 0 else []
    faults += _further_faults(stated)
    unreadable = f"compressed-tensors ({', '.join(dict.fromkeys(faults))})" if faults else ""
    return Scheme(name=label, blocks=tuple(blocks), unreadable=unreadable)


def _weights_faults(weights: Mapping[str, Any]) -> Iterator[str]:
    kind, bits = weights.get("type", "int"), weights.get("num_bits", 8)
    if kind != "float":
        yield f"{kind}{bits} weights"
    if weights.get("symmetric", True) is not True:
        yield "asymmetric weights"


def _further_faults(stated: Mapping[str, Any]) -> Iterator[str]:
    sparsity = stated.get("sparsity_config")
    if isinstance(sparsity, Mapping) and sparsity.get("format", "dense") != "dense":
        yield f"sparsity {sparsity['format']}"
    transform = stated.get("transform_config")
    if isinstance(transform, Mapping) and transform.get("config_groups"):
        yield "transformed weights"


_READERS = {
    "compressed-tensors": _compressed_tensors,
    "compressed_tensors": _compressed_tensors,
    "fbgemm_fp8": _float8,
    "fp8": _float8,
    "modelopt": _model_optimizer,
    "mxfp4": _mxfp4,
}
