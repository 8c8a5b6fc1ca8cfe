"""Every key of config.json is read, must have one value, or decides nothing: anything else is an `Error`."""

from typing import Any

from ... import Error
from ..checkpoint import Checkpoint
from ..front_matter import read_front_matter, texts
from ..quantisation_config import scheme_of
from .dialect import canonical
from .expressible import whole_heads
from .geometry import geometry
from .row import Architecture, Config, words
from .table import find

#: keys that decide nothing about the computation, for every architecture
IRRELEVANT = words(
    """
    _attn_implementation _attn_implementation_autoset _flash_attn_2_enabled _name_or_path _num_labels
    add_cross_attention architectures attention_dropout attn_implementation auto_map bad_words_ids
    begin_suppress_tokens bos_token_id chunk_size_feed_forward cls_token_id compression_config
    cross_attention_hidden_size custom_pipelines decoder_start_token_id diversity_penalty do_sample dtype
    early_stopping encoder_no_repeat_ngram_size eos_token_id exponential_decay_length_penalty finetuning_task
    forced_bos_token_id forced_eos_token_id gradient_checkpointing hidden_dropout id2label
    ignore_keys_at_rope_validation initializer_range is_decoder is_encoder_decoder is_llama_config label2id
    language length_penalty mask_token_id max_length max_sequence_length min_length model_max_length model_name
    model_type no_repeat_ngram_size num_beam_groups num_beams num_labels num_return_sequences output_attentions
    output_hidden_states output_past output_scores pad_token_id prefix pretraining_tp problem_type pruned_heads
    quantization_config remove_invalid_values repetition_penalty return_dict return_dict_in_generate
    rope_interleaved sep_token_id suppress_tokens task_specific_params temperature tf_legacy_loss
    tie_encoder_decoder tokenizer_class top_k top_p torch_dtype torchscript transformers.js_config
    transformers_version typical_p unk_token_id unsloth_fixed unsloth_version use_bfloat16 use_cache
    """
)
#: what is left to a user whom this refuses
_ELSE = "--converter PATH has llama.cpp's own converter pass over it; the gate says what that costs"
#: what each kind of scaling reads; llama.cpp has the rest built in
_SCALING_KEYS = {
    "default": (),
    "proportional": (),
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
    "yarn": ("factor", "original_max_position_embeddings", "attention_factor", "beta_fast", "beta_slow", "truncate"),
    "longrope": (
        "long_factor",
        "short_factor",
        "original_max_position_embeddings",
        "attention_factor",
        "factor",
    ),
}
#: what says of any scaling where it comes from
_SCALING_IRRELEVANT = ("rope_type", "finetuned")
#: yarn's constants in llama.cpp, which its files cannot change (src/llama-hparams.h)
_YARN_FIXED = {"beta_fast": 32, "beta_slow": 1, "truncate": True}


def check_config(checkpoint: Checkpoint) -> None:
    """Raise `Error` for a key that the table does not explain or a value that llama.cpp cannot express."""
    check_quantisation(checkpoint)
    row = find(checkpoint)
    config = canonical(checkpoint.config, row)
    unsaid = {key: row.defaults[key] for key in row.must_equal if key in row.defaults}
    for key, value in {**unsaid, **config}.items():
        _check_key(key, value, row, checkpoint.architecture)
    for check in row.checks:
        said = check(config)
        if said:
            raise Error(f"config.json: {said} is not supported for {checkpoint.architecture}", hint=_ELSE)
    _check_rope(geometry(checkpoint).rope_scaling, row, checkpoint.architecture)


def check_quantisation(checkpoint: Checkpoint) -> None:
    """Raise `Error` for weights that are quantised already in a way that cannot be read."""
    scheme = scheme_of(checkpoint.config)
    if scheme and scheme.unreadable:
        base = texts(read_front_matter(checkpoint.path / "README.md").get("base_model"))
        named = f", which its model card calls {base[0]}" if base else ""
        raise Error(
            f"{checkpoint.source} is already quantised with {scheme.unreadable}, whose weights cannot be read",
            hint=f"start from the unquantised checkpoint that it was made from{named}",
        )


def _check_key(key: str, value: Any, row: Architecture, name: str) -> None:
    if key in row.must_equal:
        if not _allowed(value, row.must_equal[key]):
            raise Error(f"config.json: {key} = {value!r} is not supported for {name}", hint=_ELSE)
    elif key in ("rope_scaling", "original_max_position_embeddings") and (not row.rope and value):
        raise Error(f"config.json: {key} = {value!r} is not supported for {name}, whose positions are learnt")
    elif key not in row.reads and key not in row.irrelevant | IRRELEVANT and not _is_checked(key, row):
        raise Error(f"config.json: the key {key} = {value!r} is not known for {name}", hint=_ELSE)


def _is_checked(key: str, row: Architecture) -> bool:
    """Whether another function looks at this key."""
    return key == "rope_scaling" or (key == "head_dim" and whole_heads in row.checks)


def _allowed(value: Any, allowed: tuple[Any, ...]) -> bool:
    values = value if isinstance(value, list) else [value]
    return value is None or all(v in allowed for v in values)


def _check_rope(scaling: Config, row: Architecture, name: str) -> None:
    kind = scaling["rope_type"]
    known = row.rope or ("default",)
    if kind not in known:
        raise Error(
            f"config.json: rope scaling {kind!r} is not supported for {name}",
            hint=f"supported: {', '.join(known)}; {_ELSE}",
        )
    for key, value in scaling.items():
        if key not in _SCALING_KEYS[kind] and key not in _SCALING_IRRELEVANT and value is not None:
            raise Error(f"config.json: rope scaling {kind!r} with {key} = {value!r} is not supported", hint=_ELSE)
    if kind == "yarn":
        for key, fixed in _YARN_FIXED.items():
            if scaling.get(key) not in (None, fixed):
                raise Error(
                    f"config.json: yarn with {key} = {scaling[key]!r} is not supported: llama.cpp has {fixed}",
                    hint=_ELSE,
                )
