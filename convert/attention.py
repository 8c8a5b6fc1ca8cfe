"""What a model keeps of each token it has read: keys and values, layer by layer, from any header or configuration.

A prediction for llama.cpp's cache (src/llama-kv-cache.cpp, src/llama-kv-cache-iswa.cpp): keys and values of all layers
in float16, rounded up to 256 tokens; layers with a sliding window keep the window and one batch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_STEP = 256  # tokens (src/llama-context.cpp)
_BATCH = 512  # llama.cpp's n_ubatch
_VALUE_BYTES = 2  # float16
#: windowed layers of each period where the file gives a window and no pattern: (period, the full layer comes first)
#: (src/models/*.cpp, the second argument of load_swa_pattern)
_PERIODS = {
    **dict.fromkeys(("gemma2", "gpt-oss", "gpt_oss"), (2, False)),
    **dict.fromkeys(("gemma3", "gemma3_text"), (6, False)),
    **dict.fromkeys(("gemma3n", "gemma3n_text"), (5, False)),
    **dict.fromkeys(("afmoe", "cohere2", "exaone4", "olmo2", "olmo3", "mellum"), (4, False)),
    "plamo3": (8, False),
    "smallthinker": (4, True),
}


@dataclass(frozen=True, kw_only=True)
class Attention:
    """Values cached for each token in each layer, keys and values together; 0 for a layer without attention."""

    cached_values: tuple[int, ...]
    windowed: tuple[bool, ...]  # which layers look at the last `window` tokens only
    window: int  # tokens, 0 where there is none
    trained_context: int  # tokens, 0 where it is not known

    def cache_bytes(self, context: int, *, whole: bool = False) -> int:
        """Bytes of a full cache at `context` tokens; `whole` for programs that keep every token in every layer."""
        tokens = _rounded(context)
        recent = tokens if whole else min(tokens, _rounded(self.window + _BATCH))
        pairs = zip(self.cached_values, self.windowed, strict=True)
        return _VALUE_BYTES * sum(n * (recent if windowed else tokens) for n, windowed in pairs)


def _rounded(tokens: int) -> int:
    return -(-tokens // _STEP) * _STEP


def from_gguf(metadata: Mapping[str, Any]) -> Attention | None:
    """The geometry in a GGUF's header, None where it has none that reads."""
    name = str(metadata.get("general.architecture"))

    def get(key: str, default: Any = None) -> Any:
        return metadata.get(f"{name}.{key}", default)

    try:
        n_layers = int(get("block_count", 0))
        n_heads = _each(get("attention.head_count", 0), n_layers)
        kv_heads = _each(get("attention.head_count_kv", n_heads), n_layers)
        usual = int(get("embedding_length", 0)) // max(1, *n_heads) if n_heads else 0
        keys, values = int(get("attention.key_length", usual)), int(get("attention.value_length", usual))
        latent = get("attention.key_length_mla") is not None  # the values are a part of the keys
        windowed = _windowed(name, get("attention.sliding_window"), get("attention.sliding_window_pattern"), n_layers)
        swa = int(get("attention.key_length_swa", keys)) + int(get("attention.value_length_swa", values))
        per_head = [swa if near else keys + (0 if latent else values) for near in windowed]
        cached = tuple(heads * n for heads, n in zip(kv_heads, per_head, strict=True))
        window = int(get("attention.sliding_window", 0)) if any(windowed) else 0
        context = int(get("context_length", 0))
    except (TypeError, ValueError):
        return None
    return _known(Attention(cached_values=cached, windowed=windowed, window=window, trained_context=context))


def from_config(config: Mapping[str, Any]) -> Attention | None:
    """The geometry in config.json, of a nested text model too; None where it has none that reads."""
    text = config.get("text_config")
    config = text if isinstance(text, Mapping) else config

    def get(*keys: str) -> Any:
        return next((config[key] for key in keys if config.get(key) is not None), None)

    try:
        n_layers = int(get("num_hidden_layers", "n_layer", "num_layers") or 0)
        n_heads = int(get("num_attention_heads", "n_head") or 0)
        kv_heads = int(get("num_key_value_heads", "num_kv_heads") or (1 if config.get("multi_query") else n_heads))
        head_dim = int(get("head_dim") or int(get("hidden_size", "n_embd") or 0) // max(1, n_heads))
        layers, window = get("layer_types"), get("sliding_window")
        pattern = [kind == "sliding_attention" for kind in layers] if isinstance(layers, list) else None
        windowed = _windowed(str(get("model_type")), window, pattern or get("sliding_window_pattern"), n_layers)
        attends = [kind in ("full_attention", "sliding_attention") for kind in layers] if pattern else [True] * n_layers
        cached = tuple(2 * kv_heads * head_dim if own else 0 for own in attends[:n_layers])
        context = int(get("max_position_embeddings", "n_positions", "n_ctx") or 0)
    except (TypeError, ValueError):
        return None
    near = int(window) if any(windowed) and isinstance(window, int) else 0
    return _known(Attention(cached_values=cached, windowed=windowed, window=near, trained_context=context))


def _known(found: Attention) -> Attention | None:
    """None for sizes that are none: a header may say anything."""
    whole = len(found.cached_values) == len(found.windowed) and min(found.cached_values, default=-1) >= 0
    return found if whole and any(found.cached_values) and found.window >= 0 else None


def _each(value: Any, n_layers: int) -> list[int]:
    """One number for all layers, or one for each."""
    if not 0 <= n_layers < 10_000:
        raise ValueError
    return [int(n) for n in value][:n_layers] if isinstance(value, Sequence) else [int(value)] * n_layers


def _windowed(name: str, window: Any, pattern: Any, n_layers: int) -> tuple[bool, ...]:
    if not window:
        return (False,) * n_layers
    if isinstance(pattern, Sequence):
        return tuple(bool(near) for near in pattern)[:n_layers]
    period, full_first = _PERIODS.get(name, (1, False))  # llama.cpp leaves windows out for all others
    period = int(pattern) if pattern else period
    full = 0 if full_first else period - 1
    return tuple(period > 0 and i % period != full for i in range(n_layers))
