"""A decoder's sizes and constants as the metadata of a GGUF file (ggml's docs/gguf.md)."""

from collections.abc import Callable, Mapping
from typing import Any

from . import rope
from .geometry import Geometry
from .row import Architecture

#: field of Geometry -> key after the architecture's name; 0 and None are left out
_KEYS = {
    "n_layers": "block_count",
    "context": "context_length",
    "hidden": "embedding_length",
    "intermediate": "feed_forward_length",
    "n_heads": "attention.head_count",
    "n_kv_heads": "attention.head_count_kv",
    "vocabulary": "vocab_size",
    "window": "attention.sliding_window",
    "local_rope_theta": "rope.freq_base_swa",
    "attention_softcap": "attn_logit_softcapping",
    "logit_softcap": "final_logit_softcapping",
    "n_experts": "expert_count",
    "n_experts_used": "expert_used_count",
    "expert_intermediate": "expert_feed_forward_length",
    "shared_intermediate": "expert_shared_feed_forward_length",
    "parallel_residual": "use_parallel_residual",
    "clamp": "attention.clamp_kqv",
    "embedding_scale": "embedding_scale",
    "residual_scale": "residual_scale",
    "attention_scale": "attention.scale",
    "logit_scale": "logit_scale",
}


def _lfm2(model: Geometry) -> dict[str, Any]:
    """llama.cpp takes a layer without heads of keys for a convolution (src/models/lfm2.cpp)."""
    heads = [model.n_kv_heads if attends else 0 for attends in model.attends]
    return {"attention.head_count_kv": heads, "shortconv.l_cache": model.conv_kernel}


def _qwen35(model: Geometry) -> dict[str, Any]:
    """Linear attention has the keys of state space models (src/models/qwen35.cpp)."""
    return {
        "attention.recurrent_layers": [not attends for attends in model.attends],
        "rope.dimension_sections": [*model.rope_sections, 0],
        "ssm.conv_kernel": model.conv_kernel,
        "ssm.state_size": model.linear_head_dim,
        "ssm.group_count": model.linear_key_heads,
        "ssm.time_step_rank": model.linear_value_heads,
        "ssm.inner_size": model.linear_values,
    }


def _once(values: list[int]) -> int | list[int]:
    """One number where every layer has the same."""
    return values[0] if len(set(values)) == 1 else values


def _gemma4(model: Geometry) -> dict[str, Any]:
    """Heads, and the feed-forward part's width, may differ from layer to layer (src/models/gemma4.cpp)."""
    layers = range(model.n_layers)
    return {
        "attention.head_count_kv": _once([model.heads_of(layer)[1] for layer in layers]),
        "attention.key_length_swa": model.local_head_dim,
        "attention.value_length_swa": model.local_head_dim,
        "attention.shared_kv_layers": model.shared_kv_layers,
        "embedding_length_per_layer_input": model.per_layer_size,
        "final_logit_softcapping": model.logit_softcap or 0.0,  # left out, it is 30
        "feed_forward_length": _once([model.width_of(layer) for layer in layers]),
        "rope.dimension_count": model.head_dim,
        "rope.dimension_count_swa": model.local_head_dim,
    }


#: what one architecture of llama.cpp alone has
_OWN: Mapping[str, Callable[[Geometry], dict[str, Any]]] = {"gemma4": _gemma4, "lfm2": _lfm2, "qwen35": _qwen35}
_NORMS = {"rms": "attention.layer_norm_rms_epsilon", "layer": "attention.layer_norm_epsilon"}


def entries(row: Architecture, model: Geometry) -> dict[str, Any]:
    """Full key -> value: int for an unsigned number, float, bool, str, or a list of bool."""
    values = {key: getattr(model, name) for name, key in _KEYS.items()}
    found: dict[str, Any] = {key: value for key, value in values.items() if value is not None and value != 0}
    found |= {"attention.key_length": model.head_dim, "attention.value_length": model.head_dim}
    found[_NORMS[row.norm]] = model.norm_epsilon
    if model.parallel_residual is False:
        found["use_parallel_residual"] = False
    if row.rope:
        found |= {"rope.dimension_count": model.rotary_dim, "rope.freq_base": model.rope_theta}
        found |= {f"rope.scaling.{key}": value for key, value in rope.metadata(model).items()}
    if model.slides:
        found["attention.sliding_window_pattern"] = list(model.slides)
    if row.gguf in _OWN:
        found |= _OWN[row.gguf](model)
    return {f"{row.gguf}.{key}": value for key, value in found.items()}
