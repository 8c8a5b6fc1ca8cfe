"""The sizes and constants of a decoder, read from config.json."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from math import prod
from typing import Any

from ... import Error
from ..checkpoint import Checkpoint
from .dialect import canonical
from .row import Architecture, Config
from .table import find


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Sizes in elements, with transformers' defaults filled in; None or 0 where an architecture has no such thing."""

    n_layers: int
    hidden: int
    intermediate: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    vocabulary: int
    context: int  # tokens for which llama.cpp computes what transformers does
    trained_context: int = 0  # tokens; more than `context` where llama.cpp's graph lacks the sliding window
    norm_epsilon: float = 1e-5
    tied: bool = False
    rope_theta: float = 10000.0
    rope_scaling: Mapping[str, Any] = field(default_factory=lambda: {"rope_type": "default"})
    rotary_factor: float = 1.0  # the share of a head that is rotated
    window: int | None = None  # of the layers that slide, in tokens
    slides: tuple[bool, ...] = ()  # one a layer; () where none does
    attends: tuple[bool, ...] = ()  # one a layer; () where all do
    conv_kernel: int = 0  # tokens that the convolution of the other layers sees
    linear_key_heads: int = 0  # of linear attention
    linear_value_heads: int = 0
    linear_head_dim: int = 0  # of both
    local_head_dim: int = 0  # of the layers that slide, where theirs differs
    global_kv_heads: int | None = None  # of the layers that do not slide, where theirs differ
    shared_kv_layers: int = 0  # last layers that read an earlier one's keys and values
    keys_are_values: bool = False  # in the layers that do not slide
    wide_shared: bool = False  # the feed-forward part of the last layers is twice as wide
    per_layer_size: int = 0  # of the embedding that every layer has of its own
    rope_sections: tuple[int, ...] = ()  # pairs rotated by time, height and width
    local_rope_theta: float | None = None  # of the layers that slide
    attention_softcap: float | None = None
    logit_softcap: float | None = None
    query_scalar: float | None = None
    n_experts: int = 0
    n_experts_used: int = 0
    expert_intermediate: int = 0
    shared_intermediate: int = 0
    attention_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    parallel_residual: bool | None = None
    clamp: float | None = None
    embedding_scale: float | None = None
    residual_scale: float | None = None
    attention_scale: float | None = None
    logit_scale: float | None = None
    multi_query: bool = False
    grouped: bool = False  # Falcon's second layout of q, k and v
    n_norms: int = 0  # of a Falcon layer

    @property
    def rotary_dim(self) -> int:
        """Elements of a head that are rotated."""
        return int(self.head_dim * self.rotary_factor)

    def heads_of(self, layer: int) -> tuple[int, int]:
        """(elements of a head, heads of keys) of one layer."""
        near = bool(self.slides) and self.slides[layer]
        n_kv_heads = self.n_kv_heads if near else self.global_kv_heads or self.n_kv_heads
        return (self.local_head_dim if near else 0) or self.head_dim, n_kv_heads

    def width_of(self, layer: int) -> int:
        """The feed-forward part's width in one layer."""
        return self.intermediate * (1 if self.has_keys[layer] or not self.wide_shared else 2)

    @property
    def has_keys(self) -> tuple[bool, ...]:
        """Which layers have keys and values of their own."""
        return tuple(layer < self.n_layers - self.shared_kv_layers for layer in range(self.n_layers))

    @property
    def cached_values(self) -> int:
        """Elements of keys and values that all layers together keep of one token."""
        layers = [layer for layer in range(self.n_layers) if not self.attends or self.attends[layer]]
        return sum(2 * prod(self.heads_of(layer)) for layer in layers if self.has_keys[layer])

    @property
    def has_values(self) -> tuple[bool, ...]:
        """Which layers have values that are not their keys."""
        near = self.slides or (False,) * self.n_layers
        own = zip(self.has_keys, near, strict=True)
        return tuple(keys and (slides or not self.keys_are_values) for keys, slides in own)

    @property
    def linear_values(self) -> int:
        """Rows of linear attention's values."""
        return self.linear_value_heads * self.linear_head_dim

    @property
    def two_norms(self) -> bool:
        """Whether a Falcon layer has a norm of its own for the feed-forward part."""
        return self.n_norms == 2


_KINDS = {f.name: getattr(f.type, "__name__", str(f.type)) for f in fields(Geometry)}  # "int", "float | None", ...
_CANNOT = (TypeError, ValueError, AttributeError, ZeroDivisionError)


def geometry(checkpoint: Checkpoint, *, slides_always: bool = False) -> Geometry:
    """Read the sizes, in either dialect of config.json; `Error` names a missing key or a value that is no size.

    `slides_always` is for graphs that slide every window, unlike llama.cpp's, for which some contexts are cut short.
    """
    row = find(checkpoint)
    config = canonical(checkpoint.config, row)
    where = f"config.json of {checkpoint.source}"
    try:
        sizes = _geometry(config, row, slides_always)
    except KeyError as error:
        raise Error(f"{where} lacks the key {error.args[0]}") from None
    except _CANNOT as error:
        raise Error(f"{where} has a size that is none: {error}") from None
    if "tie_word_embeddings" not in config and not _has_head(checkpoint, row):
        return replace(sizes, tied=True)
    return sizes


def _has_head(checkpoint: Checkpoint, row: Architecture) -> bool:
    heads = [name for name, tensor in row.tensors.items() if tensor.gguf == "output.weight"]
    return any(name.endswith(head) for name in checkpoint.tensors for head in heads)


def _geometry(config: Config, row: Architecture, slides_always: bool) -> Geometry:
    values: dict[str, Any] = {}
    for key, name in row.reads.items():
        value = config.get(key, row.defaults.get(key))
        if value is None and key not in config and key not in row.defaults:
            raise KeyError(key)
        if value is not None and name not in ("", "slides"):  # those are for `_sliding_layers`
            values[name] = _as(_KINDS[name], value)
    if values.get("multi_query") and not values.get("grouped"):
        values["n_kv_heads"] = 1  # whatever config.json says
    values |= {name: fill(values) for name, fill in _DERIVED.items() if name not in values}
    values["rope_scaling"] = _rope_scaling(config, row)
    return _with_window(Geometry(**values), config, row, slides_always)


#: fields that follow from others where config.json does not say
_DERIVED: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "n_kv_heads": lambda v: v["n_heads"],
    "head_dim": lambda v: v["hidden"] // v["n_heads"],
    "intermediate": lambda v: v.get("expert_intermediate") or 4 * v["hidden"],
    "n_norms": lambda v: 2 if v.get("grouped") else 1,
}


def _as(kind: str, value: Any) -> Any:
    if isinstance(value, bool) != kind.startswith("bool"):
        raise ValueError(f"{value!r} where {'true or false' if kind.startswith('bool') else 'a number'} belongs")
    if kind == "tuple":  # layer_types, or numbers
        return tuple(part == "full_attention" if isinstance(part, str) else int(part) for part in value)
    return int(value) if kind.startswith("int") else float(value) if kind.startswith("float") else value


def _rope_scaling(config: Config, row: Architecture) -> dict[str, Any]:
    scaling = dict(config.get("rope_scaling") or row.defaults.get("rope_scaling") or {})
    kind = scaling.pop("type", None)
    scaling["rope_type"] = {"su": "longrope"}.get(kind, kind) if "rope_type" not in scaling else scaling["rope_type"]
    if scaling["rope_type"] is None:
        scaling["rope_type"] = "default"
    original = config.get("original_max_position_embeddings")
    if original is not None and scaling["rope_type"] == "longrope":
        scaling["original_max_position_embeddings"] = original
    return scaling


def _with_window(sizes: Geometry, config: Config, row: Architecture, slides_always: bool) -> Geometry:
    """Which layers slide; a graph that does not slide is right for as many tokens as the window holds."""
    slides = _sliding_layers(sizes, config, row)
    active = bool(sizes.window) and any(slides)
    changes: dict[str, Any] = {"window": sizes.window if active else None, "slides": slides if active else ()}
    changes["trained_context"] = sizes.context
    if active and row.window_limits_context and not slides_always:
        changes |= {"context": min(sizes.context, sizes.window or sizes.context), "window": None, "slides": ()}
    return Geometry(**{**vars(sizes), **changes})


def _sliding_layers(sizes: Geometry, config: Config, row: Architecture) -> tuple[bool, ...]:
    """One flag a layer, as transformers derives them: `layer_types`, else the window's own keys.

    Source: transformers 4.57, configuration_qwen2.py, configuration_gemma2.py and configuration_gemma3.py.
    """
    layers = range(sizes.n_layers)
    if config.get("use_sliding_window", row.defaults.get("use_sliding_window", True)) is False:
        return tuple(False for _ in layers)
    kinds = config.get("layer_types")
    if kinds is not None:
        if len(kinds) != sizes.n_layers:
            raise ValueError(f"{len(kinds)} layer_types for {sizes.n_layers} layers")
        return tuple(kind == "sliding_attention" for kind in kinds)
    pattern = config.get("sliding_window_pattern", row.defaults.get("sliding_window_pattern"))
    if pattern:
        return tuple(bool((layer + 1) % pattern) for layer in layers)
    first = row.defaults.get("max_window_layers", 0)
    if "max_window_layers" in row.reads:
        first = config.get("max_window_layers", first) or 0
    return tuple(layer >= first for layer in layers)
