"""Which tensor type each tensor has in an unquantised file, and when llama.cpp quantises it, before either is written.

The rules are those of src/llama-quant.cpp in the llama.cpp of llama-cpp-python 0.3.36, without importance matrix and
overrides, for the architectures of `architectures/table.py`. Nothing here reads weights; tests hold every rule against
`llama_model_quantize` itself.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import prod

from .. import Error
from .formats import Format

#: ggml type -> (weights a block, bytes a block), ggml/src/ggml-common.h
BLOCKS: Mapping[str, tuple[int, int]] = {
    "F32": (1, 4),
    "F16": (1, 2),
    "BF16": (1, 2),
    "Q8_0": (32, 34),
    "Q6_K": (256, 210),
    "Q5_K": (256, 176),
    "Q5_1": (32, 24),
    "Q5_0": (32, 22),
    "Q4_K": (256, 144),
    "Q4_1": (32, 20),
    "Q4_0": (32, 18),
    "Q3_K": (256, 110),
    "Q2_K": (256, 84),
}
ALIGNMENT = 32  # GGUF_DEFAULT_ALIGNMENT in ggml/include/gguf.h, bytes
_UNQUANTISED = ("F32", "F16", "BF16")
_IN_FLOAT32 = (
    "_norm.weight",
    "ffn_gate_inp.weight",
    "ffn_gate_inp_shexp.weight",
    "shortconv.conv.weight",
    "ssm_conv1d.weight",
)
#: parts of names: tensor_allows_quantization
_NOT_QUANTISED = ("_norm.weight", "ffn_gate_inp.weight", "shortconv.conv.weight", "ssm_conv1d", "per_layer_model_proj")
#: part of a name -> what it is, the first that fits: tensor_get_category. Fused q, k and v count as values
_CATEGORIES = {
    "attn_qkv.weight": "value",
    "attn_v.weight": "value",
    "attn_k.weight": "key",
    "attn_output.weight": "output",
    "ffn_down": "down",
}
#: what takes a type's place where a row is no multiple of its block: tensor_type_fallback
_FALLBACK = {"Q2_K": "Q4_0", "Q3_K": "Q4_0", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}


@dataclass(frozen=True, kw_only=True)
class Decoder:
    """What the choice of types depends on besides names and shapes; `architecture` is llama.cpp's name of it."""

    architecture: str = "llama"
    n_layers: int
    n_heads: int
    n_kv_heads: int
    n_experts: int = 0

    @property
    def shares_values(self) -> bool:
        """True where at least four heads read the same values, so that attn_v is small and worth more bits."""
        return self.n_heads // self.n_kv_heads >= 4

    @property
    def has_eight_experts(self) -> bool:
        """Mixtral's number, for which attention is small beside the experts and worth more bits."""
        return self.n_experts == 8

    @property
    def is_falcon(self) -> bool:
        """Falcon has rules of its own for output, attn_output and ffn_down."""
        return self.architecture == "falcon"

    @property
    def is_70b(self) -> bool:
        """llama.cpp recognises a 70B by its 80 layers (src/models/llama.cpp, qwen2.cpp, olmo.cpp)."""
        if self.architecture == "llama":
            return self.n_layers == 80 and self.n_heads != self.n_kv_heads and not self.has_eight_experts
        return self.n_layers == 80 and self.architecture in ("qwen2", "olmo")


Tensors = Iterable[tuple[str, tuple[int, ...]]]  # (GGUF name, shape), the row length last


def tensor_types(fmt: Format, tensors: Tensors, *, decoder: Decoder, source: str = "F16") -> dict[str, str]:
    """GGUF tensor name -> ggml type, for a file that is quantised from one in `source`, F16 or BF16."""
    shapes = dict(tensors)
    wanted = _mixture(fmt, shapes, decoder, source)
    return {name: _stored(wanted[name], shape[-1], source) for name, shape in shapes.items()}


def fell_back(fmt: Format, tensors: Tensors, *, decoder: Decoder) -> list[str]:
    """Names of the tensors whose rows are no multiple of the block of the type that the mixture asks for."""
    shapes = dict(tensors)
    wanted = _mixture(fmt, shapes, decoder, "F16")
    return [name for name, shape in shapes.items() if _stored(wanted[name], shape[-1], "F16") != wanted[name]]


def unquantised_type(float_type: str, name: str, shape: tuple[int, ...]) -> str:
    """The type of a tensor in a file of "F32", "F16" or "BF16": vectors and a few small matrices stay in float32.

    Source: llama.cpp's conversion/base.py, `prepare_tensors`. Its graphs add and multiply norms, biases and learnt
    positions in float32, and a router's rounding would choose other experts.
    """
    small = len(shape) < 2 or not name.endswith(".weight") or name.endswith(_IN_FLOAT32)
    return "F32" if small or name == "position_embd.weight" else float_type


def size_bytes(type_name: str, shape: tuple[int, ...]) -> int:
    """Bytes of one tensor's data, without padding; `Error` where a row is no multiple of the type's block."""
    weights, n_bytes = BLOCKS[type_name]
    if shape[-1] % weights:
        raise Error(f"a row of {shape[-1]} weights cannot be stored as {type_name}, which takes {weights} at a time")
    return prod(shape) // weights * n_bytes


def padded_bytes(type_name: str, shape: tuple[int, ...]) -> int:
    """Bytes that one tensor takes in a file: its data, padded to the next multiple of `ALIGNMENT`."""
    return -(-size_bytes(type_name, shape) // ALIGNMENT) * ALIGNMENT


def _mixture(fmt: Format, shapes: Mapping[str, tuple[int, ...]], decoder: Decoder, source: str) -> dict[str, str]:
    """The types that llama.cpp asks for, before the row lengths are looked at."""
    if fmt.container != "gguf":
        raise Error(f"{fmt.name} is no GGUF format", hint="tensor types are predicted for GGUF formats only")
    if fmt.name in _UNQUANTISED:
        return {name: unquantised_type(fmt.name, name, shape) for name, shape in shapes.items()}
    wanted = {name: unquantised_type(source, name, shape) for name, shape in shapes.items()}
    quantised = [name for name in sorted(shapes, key=_order) if _is_quantised(name, shapes[name])]
    places = _places(quantised, shapes, decoder)
    heads = ("output.weight",) if "output.weight" in shapes else ("token_embd.weight", "per_layer_token_embd.weight")
    default = re.sub(r"_[SML]$", "", fmt.name)
    for name in quantised:
        rule = _RULES.get(_category(name))
        if name in heads:
            wanted[name] = _logits(default, shapes[name][-1], decoder)
        else:
            wanted[name] = (rule(fmt.name, places[name], decoder) if rule else None) or default
    return wanted


def _order(name: str) -> tuple[int, str]:
    """The order in which llama.cpp goes through a model's tensors (src/llama-model-loader.h)."""
    return _layer(name), name


def _layer(name: str) -> int:
    match = re.match(r"blk\.(\d+)\.", name)
    return int(match[1]) if match else -1


def _is_quantised(name: str, shape: tuple[int, ...]) -> bool:
    """Whether it is quantised at all; a matrix of one row is a vector to ggml, and stays as it is."""
    if prod(shape[:-1]) < 2 or not name.endswith("weight") or name == "position_embd.weight":
        return False
    return all(part not in name for part in _NOT_QUANTISED)


def _category(name: str) -> str:
    return next((category for part, category in _CATEGORIES.items() if part in name), "")


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where a tensor stands among those of its category: how many are before it, of how many."""

    before: int
    of: int

    @property
    def uses_more_bits(self) -> bool:
        """The first and last eighth of the layers and every third between them."""
        eighth = self.of // 8
        return self.before < eighth or self.before >= 7 * self.of // 8 or (self.before - eighth) % 3 == 2


def _places(quantised: Iterable[str], shapes: Iterable[str], decoder: Decoder) -> dict[str, _Place]:
    """llama.cpp counts as it goes along, and takes the layer from the name where there are experts."""
    n_values = sum(_category(name) == "value" for name in shapes)
    seen = Counter[str]()
    places = {}
    for name in quantised:
        category = _category(name)
        before = _layer(name) if category == "down" and decoder.n_experts > 1 else seen[category]
        places[name] = _Place(before=before, of=n_values if category == "value" else decoder.n_layers)
        seen[category] += 1
    return places


def _stored(wanted: str, row: int, source: str) -> str:
    """The type itself, else its replacement with the smaller block, else the float type of the source.

    llama.cpp itself takes F16 then; from BF16 it is told to keep BF16, whose values F16 may not hold.
    """
    candidates = (wanted, _FALLBACK.get(wanted, wanted))
    return next((c for c in candidates if row % BLOCKS[c][0] == 0), source)


def _logits(default: str, row: int, decoder: Decoder) -> str:
    """The matrix that makes the logits: the output, or the embedding where the two are one."""
    return "Q8_0" if default == "Q8_0" or decoder.is_falcon or row % BLOCKS[default][0] else "Q6_K"


def _value(format_name: str, place: _Place, decoder: Decoder) -> str | None:
    if decoder.has_eight_experts:
        return "Q8_0"
    wanted = {
        "Q2_K": "Q4_K" if decoder.shares_values else "Q3_K",
        "Q3_K_S": "Q3_K",
        "Q3_K_M": "Q5_K" if place.before < 2 else "Q4_K",
        "Q3_K_L": "Q5_K",
        "Q4_K_S": "Q5_K" if place.before < 4 else "Q4_K",
        "Q4_K_M": "Q6_K" if place.uses_more_bits else "Q4_K",
        "Q5_K_M": "Q6_K" if place.uses_more_bits else None,
    }.get(format_name)
    return "Q5_K" if decoder.is_70b and wanted in ("Q3_K", "Q4_K") else wanted


def _key(format_name: str, place: _Place, decoder: Decoder) -> str | None:
    return "Q8_0" if decoder.has_eight_experts else None


def _output(format_name: str, place: _Place, decoder: Decoder) -> str | None:
    if decoder.is_falcon:
        return "Q4_K" if format_name == "Q3_K_L" else None
    if decoder.has_eight_experts:
        return "Q5_K" if format_name in ("Q2_K", "Q3_K_S", "Q3_K_M", "Q4_K_S", "Q4_K_M") else None
    return {"Q2_K": "Q3_K", "Q3_K_M": "Q4_K", "Q3_K_L": "Q5_K"}.get(format_name)


def _down(format_name: str, place: _Place, decoder: Decoder) -> str | None:
    first_of_16, more = place.before < place.of // 16, place.uses_more_bits
    if decoder.is_falcon:
        return {
            "Q2_K": "Q3_K",
            "Q3_K_M": "Q5_K" if first_of_16 else "Q4_K" if more else "Q3_K",
            "Q3_K_L": "Q4_K",
            "Q4_K_M": "Q6_K" if first_of_16 else "Q5_K" if more else "Q4_K",
            "Q5_K_M": "Q6_K" if more else None,
        }.get(format_name)
    return {
        "Q2_K": "Q3_K",
        "Q3_K_M": "Q5_K" if first_of_16 else "Q4_K",
        "Q3_K_L": "Q5_K",
        "Q4_K_S": "Q5_K" if place.before < place.of // 8 else None,
        "Q4_K_M": "Q6_K" if more else None,
        "Q5_K_M": "Q6_K" if more else None,
    }.get(format_name)


_RULES: Mapping[str, Callable[[str, _Place, Decoder], str | None]] = {
    "value": _value,
    "key": _key,
    "output": _output,
    "down": _down,
}
