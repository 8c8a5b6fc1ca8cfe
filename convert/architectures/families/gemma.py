"""Gemma 1 to 3: norms that multiply by one plus their weight, GELU, soft caps, windows."""

from collections.abc import Mapping
from dataclasses import replace

from .. import naming
from ..expressible import gemma_activation, gemma_query_scale, gemma_window
from ..reading import HEAD_DIM, LAYER_TYPES, LLAMA_DEFAULTS, LLAMA_READS, WINDOW
from ..row import Architecture

_GEMMA_TENSORS = naming.changed(naming.PLAIN, "plus_one", *naming.NORM_WEIGHTS)
_GEMMA2_TENSORS = naming.changed(
    {**naming.without(naming.PLAIN, "layernorm"), **naming.FOUR_NORMS}, "plus_one", *naming.NORM_WEIGHTS
)
_GEMMA3_TENSORS = {
    **_GEMMA2_TENSORS,
    **naming.changed(naming.QK_NORMS, "plus_one", *naming.NORM_WEIGHTS),
}
_GEMMA = Architecture(
    gguf="gemma",
    tensors=_GEMMA_TENSORS,
    reads={**LLAMA_READS, **HEAD_DIM},
    defaults={
        **LLAMA_DEFAULTS,
        "num_key_value_heads": 16,
        "max_position_embeddings": 8192,
        "head_dim": 256,
        "tie_word_embeddings": True,
    },
    must_equal={
        "attention_bias": (False,),
        "tie_word_embeddings": (True,),
        "use_bidirectional_attention": (False,),
    },
    irrelevant=frozenset({"hidden_act", "hidden_activation"}),  # `gemma_activation` knows which of them counts
    checks=(gemma_activation,),
)
_GEMMA2 = replace(
    _GEMMA,
    gguf="gemma2",
    tensors=_GEMMA2_TENSORS,
    reads={
        **_GEMMA.reads,
        **WINDOW,
        **LAYER_TYPES,
        "attn_logit_softcapping": "attention_softcap",
        "final_logit_softcapping": "logit_softcap",
        "query_pre_attn_scalar": "query_scalar",
    },
    defaults={
        **_GEMMA.defaults,
        "num_key_value_heads": 4,
        "sliding_window": 4096,
        "layer_types": None,
        "sliding_window_pattern": 2,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
        "query_pre_attn_scalar": 256,
    },
    irrelevant=_GEMMA.irrelevant | {"cache_implementation", "sliding_window_size"},
    checks=(gemma_activation, gemma_query_scale, gemma_window),
)
_GEMMA3 = replace(
    _GEMMA2,
    gguf="gemma3",
    tensors=_GEMMA3_TENSORS,
    reads={
        **_GEMMA.reads,
        **WINDOW,
        **LAYER_TYPES,
        "final_logit_softcapping": "logit_softcap",
        "query_pre_attn_scalar": "query_scalar",
        "rope_local_base_freq": "local_rope_theta",
        "sliding_window_pattern": "",
    },
    defaults={
        **{key: value for key, value in _GEMMA2.defaults.items() if key != "attn_logit_softcapping"},
        "max_position_embeddings": 131072,
        "num_attention_heads": 8,
        "vocab_size": 262208,
        "rope_theta": 1_000_000.0,
        "rope_local_base_freq": 10000.0,
        "sliding_window_pattern": 6,
        "final_logit_softcapping": None,
    },
    must_equal={
        "attention_bias": (False,),
        "attn_logit_softcapping": (None,),
        "use_bidirectional_attention": (False,),
    },
    aliases={"_sliding_window_pattern": "sliding_window_pattern"},
    checks=(gemma_activation, gemma_query_scale),
)
ROWS: Mapping[str, Architecture] = {
    "GemmaForCausalLM": _GEMMA,
    "Gemma2ForCausalLM": _GEMMA2,
    "Gemma3ForCausalLM": _GEMMA3,
    "Gemma3ForConditionalGeneration": replace(
        _GEMMA3,
        nested="text_config",
        prefixes={
            "language_model.model.": "model.",
            "language_model.lm_head.": "lm_head.",
            "model.language_model.": "model.",
        },
        ignored=("vision_tower.", "multi_modal_projector."),
    ),
}
