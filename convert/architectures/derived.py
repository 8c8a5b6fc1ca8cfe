"""Keys of config.json that follow from others, spelt out: each function changes the canonical configuration."""

from collections.abc import Mapping, Sequence
from typing import Any


def lfm2(config: dict[str, Any]) -> None:
    """LFM2 lists the layers that attend, and its feed-forward part is narrower than `intermediate_size` says.

    Source: transformers 4.57 and 5, models/lfm2: `Lfm2Config` and `Lfm2MLP`.
    """
    attending = config.pop("full_attn_idxs", None)
    if config.get("layer_types") is None and attending is not None:
        layers = range(config["num_hidden_layers"])
        config["layer_types"] = ["full_attention" if layer in attending else "conv" for layer in layers]
    multiplier = config.pop("block_ffn_dim_multiplier", 1.0)
    multiple = config.pop("block_multiple_of", 256)
    if config.pop("block_auto_adjust_ff_dim", True) and "intermediate_size" in config:
        width = int(2 * config["intermediate_size"] / 3)
        if multiplier is not None:
            width = -(-int(multiplier * width) // multiple) * multiple
        config["intermediate_size"] = width


def qwen35(config: dict[str, Any]) -> None:
    """Qwen3.5 may name the distance of the layers that attend instead of each layer's kind.

    Source: transformers 5, models/qwen3_5: `Qwen3_5TextConfig`.
    """
    interval = config.pop("full_attention_interval", 4)
    if config.get("layer_types") is None:
        layers = range(config["num_hidden_layers"])
        config["layer_types"] = ["linear_attention" if (n + 1) % interval else "full_attention" for n in layers]


def gemma4(config: dict[str, Any]) -> None:
    """Gemma 4's full layers have heads of their own, named once or, by transformers 5.24, layer by layer.

    Source: transformers 5.24, models/gemma4: `Gemma4TextConfig`.
    """
    usual = ["sliding_attention" if (n + 1) % 6 else "full_attention" for n in range(config["num_hidden_layers"])]
    kinds = config.get("layer_types") or usual
    config["layer_types"] = [*kinds[:-1], "full_attention"]  # transformers makes the last one attend to everything
    if "per_layer_config" in config:
        heads = _heads_of_full_layers(config.pop("per_layer_config") or {}, config["layer_types"])
        config["global_head_dim"] = heads.get("head_dim", config.get("head_dim", 256))
        config["num_global_key_value_heads"] = heads.get("num_key_value_heads")
    elif not config.get("attention_k_eq_v"):
        config.pop("num_global_key_value_heads", None)
    if not config.pop("enable_moe_block", False):
        config |= dict.fromkeys(("num_experts", "top_k_experts", "moe_intermediate_size"))


def _heads_of_full_layers(listed: Mapping[str, Any], kinds: Sequence[str]) -> Mapping[str, Any]:
    """What all full layers have; `ValueError` where others have something too, or one something else.

    transformers 5.24 writes the layers of a model with ten or more as "00", "01", ...
    """
    by_layer = {int(layer): dict(own) for layer, own in listed.items()}
    heads = [by_layer.get(layer, {}) for layer, kind in enumerate(kinds) if kind == "full_attention"]
    known = heads[0].keys() <= {"head_dim", "num_key_value_heads"}
    if not known or any(other != heads[0] for other in heads) or len(listed) not in (0, len(heads)):
        raise ValueError(f"per_layer_config = {listed!r} does not give all full layers, and them alone, the same heads")
    return heads[0]
