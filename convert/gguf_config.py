"""config.json from a GGUF's metadata."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import Error
from .architectures import rope
from .architectures.row import Architecture

if TYPE_CHECKING:
    from gguf import ReaderTensor

#: config.json's key -> the GGUF's, after the architecture's name
_CONFIG_KEYS = {
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
    "max_position_embeddings": "context_length",
}


@dataclass(frozen=True, kw_only=True)
class GgufModel:
    """An opened GGUF: its metadata, its tensors by name, and the row of its architecture."""

    path: Path
    metadata: Mapping[str, Any]
    tensors: Mapping[str, "ReaderTensor"]
    gguf_architecture: str
    class_name: str  # transformers' class
    row: Architecture

    def get(self, key: str, default: Any = None) -> Any:
        return self.metadata.get(f"{self.gguf_architecture}.{key}", default)


def config_json(source: GgufModel) -> dict[str, Any]:
    """The keys of config.json that decide the computation, in transformers' names."""
    sizes = {key: source.get(theirs) for key, theirs in _CONFIG_KEYS.items()}
    for key, value in sizes.items():
        if not isinstance(value, int):  # a list has a value for each layer
            raise Error(f"{source.path}: {source.gguf_architecture}.{_CONFIG_KEYS[key]} is {value!r}, not one number")
    if source.get("expert_count"):
        raise Error(f"{source.path} is a mixture of experts, which is not supported")
    head_dim = source.get("attention.key_length", sizes["hidden_size"] // sizes["num_attention_heads"])
    config = {
        "architectures": [source.class_name],
        "model_type": source.class_name.removesuffix("ForCausalLM").lower(),
        **sizes,
        "num_key_value_heads": source.get("attention.head_count_kv", sizes["num_attention_heads"]),
        "hidden_act": "silu",
        "rms_norm_eps": _shortest(source.get("attention.layer_norm_rms_epsilon", 1e-6)),
        "rope_theta": _shortest(source.get("rope.freq_base", 10000.0)),
        "tie_word_embeddings": "output.weight" not in source.tensors,
        "torch_dtype": "float32",
        "vocab_size": int(source.tensors["token_embd.weight"].shape[1]) if "token_embd.weight" in source.tensors else 0,
    }
    if source.class_name == "Qwen3ForCausalLM" or head_dim * sizes["num_attention_heads"] != sizes["hidden_size"]:
        config["head_dim"] = head_dim  # Qwen3's default is 128, whatever the sizes
    scaling = _rope_scaling(source, head_dim=head_dim, theta=config["rope_theta"])
    return {**config, "rope_scaling": scaling} if scaling else config


def _shortest(value: float) -> float:
    """The float32 value as the shortest decimal that means it: 1e-05, not 9.999999747378752e-06."""
    import numpy as np

    return float(str(np.float32(value)))


def _rope_scaling(source: GgufModel, *, head_dim: int, theta: float) -> dict[str, Any] | None:
    if rope.FACTORS in source.tensors:
        return _llama3_scaling(source, head_dim=head_dim, theta=theta)
    kind = source.get("rope.scaling.type", "none")
    if kind == "none":
        return None
    scaling = {"rope_type": kind, "factor": _shortest(source.get("rope.scaling.factor", 1.0))}
    if kind == "linear":
        return scaling
    original = source.get("rope.scaling.original_context_length")
    if kind != "yarn" or original is None:
        raise Error(f"{source.path}: rope scaling {kind!r} is not supported", hint="supported: none, linear, yarn")
    return {**scaling, "original_max_position_embeddings": original}


def _llama3_scaling(source: GgufModel, *, head_dim: int, theta: float) -> dict[str, Any]:
    """Llama 3's scaling, which the file keeps only as one divisor for each frequency, with Meta's values for all."""
    import numpy as np

    divisors = source.tensors[rope.FACTORS].data.astype(np.float64)
    scaling = {
        "rope_type": "llama3",
        "factor": _shortest(float(divisors.max())),
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    expected = rope.llama3_factors(scaling, head_dim=head_dim, theta=theta)
    if expected.shape != divisors.shape or not np.allclose(divisors, expected, rtol=1e-3):
        raise Error(f"{source.path}: {rope.FACTORS} does not follow Llama 3's formula, which is the one supported")
    return scaling
