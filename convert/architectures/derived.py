"""Keys of config.json that follow from others, spelt out: each function changes the canonical configuration."""

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
