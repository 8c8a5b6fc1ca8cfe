"""The table of architectures: what config.json's keys mean and how tensors are called in GGUF.

A key that no row explains, or a value that llama.cpp's graph cannot express, is an `Error`: a converter that skips
what it does not know writes files that talk nonsense.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ... import Error
from ..checkpoint import Checkpoint


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: keys that decide nothing about the computation, for every architecture
IRRELEVANT = _words(
    """
    _attn_implementation_autoset _name_or_path add_cross_attention architectures attention_dropout auto_map
    bad_words_ids begin_suppress_tokens bos_token_id chunk_size_feed_forward diversity_penalty do_sample dtype
    early_stopping eos_token_id exponential_decay_length_penalty finetuning_task forced_bos_token_id
    forced_eos_token_id hidden_dropout id2label initializer_range is_llama_config label2id language
    length_penalty max_length min_length model_type num_beams num_return_sequences output_attentions
    output_hidden_states pad_token_id prefix pretraining_tp problem_type quantization_config remove_invalid_values
    repetition_penalty return_dict return_dict_in_generate rope_interleaved sep_token_id task_specific_params
    temperature tokenizer_class top_k top_p torch_dtype torchscript transformers.js_config transformers_version
    typical_p unsloth_fixed unsloth_version use_bfloat16 use_cache
    """
)
#: keys that GgufModel reads, for every architecture
READ = _words(
    """
    head_dim hidden_size intermediate_size max_position_embeddings num_attention_heads num_hidden_layers
    num_key_value_heads rms_norm_eps rope_parameters rope_scaling rope_theta tie_word_embeddings vocab_size
    """
)
_LAYER_TENSORS = {
    "input_layernorm.weight": "attn_norm.weight",
    "self_attn.q_proj.weight": "attn_q.weight",
    "self_attn.k_proj.weight": "attn_k.weight",
    "self_attn.v_proj.weight": "attn_v.weight",
    "self_attn.o_proj.weight": "attn_output.weight",
    "post_attention_layernorm.weight": "ffn_norm.weight",
    "mlp.gate_proj.weight": "ffn_gate.weight",
    "mlp.up_proj.weight": "ffn_up.weight",
    "mlp.down_proj.weight": "ffn_down.weight",
}
_QKV_BIASES = {f"self_attn.{x}_proj.bias": f"attn_{x}.bias" for x in "qkv"}
_QK_NORMS = {f"self_attn.{x}_norm.weight": f"attn_{x}_norm.weight" for x in "qk"}
_MODEL_TENSORS = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """One row: `gguf` is llama.cpp's name, `must_equal` the config values that its graph takes for granted."""

    gguf: str
    layer_tensors: Mapping[str, str] = field(default_factory=lambda: dict(_LAYER_TENSORS))
    must_equal: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)  # transformers', where must_equal differs
    required: tuple[str, ...] = ()  # keys whose default in transformers is not the one that `geometry` takes
    interleaved_rotary: bool = False  # llama.cpp rotates neighbours, transformers halves: q and k rows are permuted


ARCHITECTURES: Mapping[str, Architecture] = {
    "LlamaForCausalLM": Architecture(
        gguf="llama",
        must_equal={"hidden_act": ("silu",), "attention_bias": (False,), "mlp_bias": (False,)},
        interleaved_rotary=True,
    ),
    "MistralForCausalLM": Architecture(
        gguf="llama",
        must_equal={"hidden_act": ("silu",), "sliding_window": (None,)},
        defaults={"sliding_window": 4096},
        interleaved_rotary=True,
    ),
    "Qwen2ForCausalLM": Architecture(
        gguf="qwen2",
        required=("num_key_value_heads",),
        layer_tensors={**_LAYER_TENSORS, **_QKV_BIASES},
        must_equal={
            "hidden_act": ("silu",),
            "use_sliding_window": (False,),
            "layer_types": ("full_attention",),
            "use_mrope": (False,),
        },
    ),
    "Qwen3ForCausalLM": Architecture(
        gguf="qwen3",
        required=("num_key_value_heads", "head_dim"),
        layer_tensors={**_LAYER_TENSORS, **_QK_NORMS},
        must_equal={
            "hidden_act": ("silu",),
            "attention_bias": (False,),
            "use_sliding_window": (False,),
            "layer_types": ("full_attention",),
        },
    ),
}
ROPE_SCALINGS = ("default", "linear", "llama3")
#: says nothing while sliding windows are off
_WINDOW_KEYS = frozenset({"sliding_window", "max_window_layers"})


def find(checkpoint: Checkpoint) -> Architecture:
    """The row of a checkpoint's architecture; `Error` lists those that are known."""
    try:
        return ARCHITECTURES[checkpoint.architecture]
    except KeyError:
        known = ", ".join(ARCHITECTURES)
        named = checkpoint.architecture or "no architecture"
        raise Error(f"{checkpoint.source} is of {named}, which is not supported", hint=f"supported: {known}") from None


def check_config(checkpoint: Checkpoint) -> None:
    """Raise `Error` for a key that the table does not explain or a value that llama.cpp cannot express."""
    row = find(checkpoint)
    for key, value in {**row.defaults, **checkpoint.config}.items():
        if key in row.must_equal:
            if not _allowed(value, row.must_equal[key]):
                raise Error(f"config.json: {key} = {value!r} is not supported for {checkpoint.architecture}")
        elif key == "quantization_config" and value:
            raise Error(
                f"{checkpoint.source} is already quantised ({value.get('quant_method', 'unknown method')})",
                hint="start from the unquantised checkpoint",
            )
        elif key not in READ | IRRELEVANT | _WINDOW_KEYS:
            raise Error(f"config.json: the key {key} = {value!r} is not known for {checkpoint.architecture}")
    for key in row.required:
        if checkpoint.config.get(key) is None:
            raise Error(f"config.json lacks the key {key}, which {checkpoint.architecture} needs")
    kind = geometry(checkpoint).rope_scaling["rope_type"]
    if kind not in ROPE_SCALINGS:
        raise Error(
            f"config.json: rope scaling {kind!r} is not supported", hint=f"supported: {', '.join(ROPE_SCALINGS)}"
        )


def _allowed(value: Any, allowed: tuple[Any, ...]) -> bool:
    values = value if isinstance(value, list) else [value]
    return value is None or all(v in allowed for v in values)


def gguf_names(checkpoint: Checkpoint) -> dict[str, str]:
    """Hugging Face tensor name -> GGUF tensor name, for every tensor that the file needs.

    Raises `Error` for a tensor that the architecture does not explain and for one that is missing.
    """
    row = find(checkpoint)
    expected = dict(_MODEL_TENSORS)
    for layer in range(geometry(checkpoint).n_layers):
        for theirs, ours in row.layer_tensors.items():
            expected[f"model.layers.{layer}.{theirs}"] = f"blk.{layer}.{ours}"
    found = {name for name in checkpoint.tensors if not name.endswith(".rotary_emb.inv_freq")}
    unknown = sorted(found - expected.keys())
    if unknown:
        raise Error(f"{checkpoint.source} holds a tensor that {checkpoint.architecture} does not explain: {unknown[0]}")
    if checkpoint.config.get("tie_word_embeddings", "lm_head.weight" not in found):
        expected.pop("lm_head.weight")
    missing = sorted(expected.keys() - found)
    if missing:
        raise Error(f"{checkpoint.source} lacks the tensor {missing[0]}", hint="the checkpoint is not complete")
    return expected


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """The sizes and constants of a decoder, with transformers' defaults filled in; lengths in elements."""

    n_layers: int
    hidden: int
    intermediate: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    vocabulary: int
    context: int
    norm_epsilon: float
    rope_theta: float
    rope_scaling: Mapping[str, Any]  # {"rope_type": "default"} where there is none


def geometry(checkpoint: Checkpoint) -> Geometry:
    """Read the sizes from config.json, in the dialect of transformers 4 or 5; `Error` names a missing key."""
    config = checkpoint.config
    try:
        hidden, n_heads = int(config["hidden_size"]), int(config["num_attention_heads"])
        rope = {**(config.get("rope_scaling") or {}), **(config.get("rope_parameters") or {})}
        return Geometry(
            n_layers=int(config["num_hidden_layers"]),
            hidden=hidden,
            intermediate=int(config["intermediate_size"]),
            n_heads=n_heads,
            n_kv_heads=int(config.get("num_key_value_heads") or n_heads),
            head_dim=int(config.get("head_dim") or hidden // n_heads),
            vocabulary=int(config["vocab_size"]),
            context=int(config.get("max_position_embeddings") or 2048),
            norm_epsilon=float(config.get("rms_norm_eps", 1e-6)),
            rope_theta=float(rope.pop("rope_theta", None) or config.get("rope_theta") or 10000.0),
            rope_scaling={**rope, "rope_type": rope.get("rope_type") or rope.get("type") or "default"},
        )
    except KeyError as error:
        raise Error(f"config.json of {checkpoint.source} lacks the key {error.args[0]}") from None
    except (TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        raise Error(f"config.json of {checkpoint.source} has a size that is none: {error}") from None
