"""The table of architectures: one row for each class of transformers that can be written as GGUF.

A key of config.json that no row explains, or a value that llama.cpp's graph cannot express, is an `Error`: a converter
that skips what it does not know writes files that talk nonsense. What the rows say of llama.cpp is from src/models/ of
the llama.cpp in llama-cpp-python 0.3.36, what they say of defaults from transformers 4.57; tests hold both.
"""

from collections.abc import Mapping
from dataclasses import replace

from ... import Error
from ..checkpoint import Checkpoint
from . import derived, naming
from .expressible import (
    falcon_norms,
    gemma4_layers,
    gemma_activation,
    gemma_query_scale,
    gemma_window,
    gpt_oss_window,
    linear_attention,
    rope_sections,
    smollm3_positions,
    two_kinds_of_layers,
    whole_heads,
)
from .row import Architecture, words

_SIZES = {
    "hidden_size": "hidden",
    "num_hidden_layers": "n_layers",
    "num_attention_heads": "n_heads",
    "vocab_size": "vocabulary",
    "max_position_embeddings": "context",
    "tie_word_embeddings": "tied",
    "rope_theta": "rope_theta",
}
_LLAMA_READS = {
    **_SIZES,
    "intermediate_size": "intermediate",
    "num_key_value_heads": "n_kv_heads",
    "rms_norm_eps": "norm_epsilon",
}
_HEAD_DIM = {"head_dim": "head_dim"}
_LAYER_NORM = {"layer_norm_eps": "norm_epsilon"}
_WINDOW = {"sliding_window": "window"}
_LAYER_TYPES = {"layer_types": "slides"}
_EXPERTS = {"num_experts_per_tok": "n_experts_used", "moe_intermediate_size": "expert_intermediate"}
_LLAMA_DEFAULTS = {
    "num_key_value_heads": None,  # as many as heads
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
}
_SILU = {"hidden_act": ("silu", "swish")}
#: llama.cpp has the approximation by tanh alone; what the exact function differs by, 5e-4 at most, it accepts
_GELU = ("gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh")
_QWEN_WINDOW_DEFAULTS = {
    "use_sliding_window": False,
    "sliding_window": None,
    "max_window_layers": 28,
    "layer_types": None,
}
_QWEN_WINDOW = {**_WINDOW, **_LAYER_TYPES, "use_sliding_window": "", "max_window_layers": ""}
_ROUTING = frozenset({"output_router_logits", "router_aux_loss_coef", "router_jitter_noise"})
_DROPOUTS = words(
    """
    attn_pdrop classifier_dropout embd_pdrop embedding_dropout hidden_dropout resid_pdrop residual_dropout
    summary_activation summary_first_dropout summary_proj_to_labels summary_type summary_use_proj
    """
)

_LLAMA = Architecture(
    gguf="llama",
    tensors={**naming.LLAMA, **naming.ROTARY_BIASES, **naming.MLP_BIASES},
    reads={**_LLAMA_READS, **_HEAD_DIM, "attention_bias": "attention_bias", "mlp_bias": "mlp_bias"},
    defaults={**_LLAMA_DEFAULTS, "head_dim": None, "attention_bias": False, "mlp_bias": False},
    must_equal=_SILU,
    rope=("default", "linear", "llama3", "yarn"),
)
_MISTRAL = replace(
    _LLAMA,
    tensors=naming.LLAMA,
    reads={**_LLAMA_READS, **_HEAD_DIM, **_WINDOW},
    defaults={
        **_LLAMA_DEFAULTS,
        "num_key_value_heads": 8,
        "max_position_embeddings": 131072,
        "head_dim": None,
        "sliding_window": 4096,
    },
    window_limits_context=True,
)
_QWEN2 = Architecture(
    gguf="qwen2",
    tensors={**naming.PLAIN, **naming.QKV_BIASES},
    reads={**_LLAMA_READS, **_HEAD_DIM, **_QWEN_WINDOW},
    defaults={**_LLAMA_DEFAULTS, **_QWEN_WINDOW_DEFAULTS, "num_key_value_heads": 32,
              "max_position_embeddings": 32768, "head_dim": None},
    must_equal={**_SILU, "use_mrope": (False,)},
    window_limits_context=True,
)  # fmt: skip
_GEMMA = Architecture(
    gguf="gemma",
    tensors=naming.GEMMA,
    reads={**_LLAMA_READS, **_HEAD_DIM},
    defaults={
        **_LLAMA_DEFAULTS,
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
    tensors=naming.GEMMA2,
    reads={
        **_GEMMA.reads,
        **_WINDOW,
        **_LAYER_TYPES,
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
    tensors=naming.GEMMA3,
    reads={
        **_GEMMA.reads,
        **_WINDOW,
        **_LAYER_TYPES,
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
_GPT2 = Architecture(
    gguf="gpt2",
    tensors=naming.GPT2,
    reads={
        "n_embd": "hidden",
        "n_layer": "n_layers",
        "n_head": "n_heads",
        "n_inner": "intermediate",
        "n_positions": "context",
        "vocab_size": "vocabulary",
        "layer_norm_epsilon": "norm_epsilon",
        "tie_word_embeddings": "tied",
    },
    defaults={"n_inner": None, "n_positions": 1024, "layer_norm_epsilon": 1e-5, "tie_word_embeddings": True},
    must_equal={
        "activation_function": _GELU,
        "scale_attn_weights": (True,),
        "scale_attn_by_inverse_layer_idx": (False,),
        "add_cross_attention": (False,),
    },
    irrelevant=_DROPOUTS | {"n_ctx", "reorder_and_upcast_attn"},
    prefixes={f"{part}.": f"transformer.{part}." for part in ("wte", "wpe", "h", "ln_f")},
    ignored=(".attn.bias", ".attn.masked_bias"),
    rope=(),
    norm="layer",
)  # fmt: skip

_QWEN35 = Architecture(
    gguf="qwen35",
    tensors=naming.QWEN35,
    reads={
        **_LLAMA_READS,
        **_HEAD_DIM,
        "partial_rotary_factor": "rotary_factor",
        "layer_types": "attends",
        "full_attention_interval": "",
        "linear_conv_kernel_dim": "conv_kernel",
        "linear_key_head_dim": "linear_head_dim",
        "linear_num_key_heads": "linear_key_heads",
        "linear_num_value_heads": "linear_value_heads",
        "mrope_section": "rope_sections",
    },
    defaults={
        **_LLAMA_DEFAULTS,
        "num_key_value_heads": 4,
        "max_position_embeddings": 32768,
        "head_dim": 256,
        "partial_rotary_factor": 0.25,
        "linear_conv_kernel_dim": 4,
        "linear_key_head_dim": 128,
        "linear_num_key_heads": 16,
        "linear_num_value_heads": 32,
        "full_attention_interval": 4,
        "mrope_section": [11, 11, 10],
    },
    must_equal={
        **_SILU,
        "attention_bias": (False,),
        "attn_output_gate": (True,),
        "layer_types": ("full_attention", "linear_attention"),
        "mlp_only_layers": (),
        "rms_norm_eps": (1e-6,),  # transformers' linear attention has it fixed, llama.cpp's takes this one
    },
    irrelevant=words(
        """
        linear_value_head_dim mamba_ssm_dtype mrope_interleaved mtp_num_hidden_layers mtp_use_dedicated_embeddings
        """
    ),
    ignored=("mtp.",),
    derive=derived.qwen35,
    checks=(linear_attention, rope_sections, two_kinds_of_layers),
)
_GEMMA4 = Architecture(
    gguf="gemma4",
    tensors=naming.GEMMA4,
    reads={
        **_LLAMA_READS,
        **_WINDOW,
        **_LAYER_TYPES,
        "head_dim": "local_head_dim",
        "global_head_dim": "head_dim",
        "num_global_key_value_heads": "global_kv_heads",
        "partial_rotary_factor": "rotary_factor",
        "rope_local_base_freq": "local_rope_theta",
        "final_logit_softcapping": "logit_softcap",
        "attention_k_eq_v": "keys_are_values",
        "num_kv_shared_layers": "shared_kv_layers",
        "use_double_wide_mlp": "wide_shared",
        "hidden_size_per_layer_input": "per_layer_size",
        "num_experts": "n_experts",
        "top_k_experts": "n_experts_used",
        "moe_intermediate_size": "expert_intermediate",
    },
    defaults={
        **_LLAMA_DEFAULTS,
        "num_key_value_heads": 4,
        "max_position_embeddings": 131072,
        "tie_word_embeddings": True,
        "sliding_window": 512,
        "layer_types": None,
        "head_dim": 256,
        "global_head_dim": 512,
        "num_global_key_value_heads": None,
        "rope_theta": 1_000_000.0,
        "partial_rotary_factor": 0.25,
        "rope_local_base_freq": 10000.0,
        "rope_scaling": {"rope_type": "proportional"},
        "final_logit_softcapping": None,
        "attention_k_eq_v": False,
        "num_kv_shared_layers": 0,
        "use_double_wide_mlp": False,
        "hidden_size_per_layer_input": 256,
        "num_experts": None,
        "top_k_experts": None,
        "moe_intermediate_size": None,
    },
    must_equal={
        "attention_bias": (False,),
        "hidden_activation": ("gelu_pytorch_tanh",),
        "use_bidirectional_attention": ("vision",),  # between the parts of a picture; text is causal
    },
    irrelevant=frozenset({"vocab_size_per_layer_input"}),
    rope=("proportional",),
    derive=derived.gemma4,
    checks=(gemma4_layers, two_kinds_of_layers),
)

ARCHITECTURES: Mapping[str, Architecture] = {
    "LlamaForCausalLM": _LLAMA,
    "MistralForCausalLM": _MISTRAL,
    "MixtralForCausalLM": replace(
        _MISTRAL,
        tensors=naming.MIXTRAL,
        reads={**_MISTRAL.reads, "num_local_experts": "n_experts", "num_experts_per_tok": "n_experts_used"},
        defaults={
            **_MISTRAL.defaults,
            "sliding_window": None,
            "rms_norm_eps": 1e-5,
            "rope_theta": 1_000_000.0,
            "num_local_experts": 8,
            "num_experts_per_tok": 2,
        },
        others=naming.MIXTRAL_OTHERS,
        irrelevant=_ROUTING,
    ),
    "Qwen2ForCausalLM": _QWEN2,
    "Qwen2MoeForCausalLM": replace(
        _QWEN2,
        gguf="qwen2moe",
        tensors={
            **naming.without(naming.PLAIN, "mlp."),
            **naming.QKV_BIASES,
            **naming.EXPERTS,
            **naming.SHARED_EXPERT,
        },
        reads={
            **_QWEN2.reads,
            **_EXPERTS,
            "num_experts": "n_experts",
            "shared_expert_intermediate_size": "shared_intermediate",
        },
        defaults={
            **_QWEN2.defaults,
            "num_key_value_heads": 16,
            "num_experts": 60,
            "num_experts_per_tok": 4,
            "moe_intermediate_size": 1408,
            "shared_expert_intermediate_size": 5632,
        },
        must_equal={
            **_QWEN2.must_equal,
            "decoder_sparse_step": (1,),
            "mlp_only_layers": (),
            "norm_topk_prob": (False,),
            "qkv_bias": (True,),
        },
        others=naming.EXPERTS_OTHERS,
        irrelevant=_ROUTING,
        writes_head=True,
    ),
    "Qwen3ForCausalLM": replace(
        _QWEN2,
        gguf="qwen3",
        tensors={**naming.PLAIN, **naming.QK_NORMS},
        defaults={**_QWEN2.defaults, "head_dim": 128},
        must_equal={**_QWEN2.must_equal, "attention_bias": (False,)},
    ),
    "Qwen3MoeForCausalLM": replace(
        _QWEN2,
        gguf="qwen3moe",
        tensors={**naming.without(naming.PLAIN, "mlp."), **naming.QK_NORMS, **naming.EXPERTS},
        reads={
            **{key: name for key, name in _QWEN2.reads.items() if key != "max_window_layers"},
            **_EXPERTS,
            "num_experts": "n_experts",
        },
        defaults={
            **_QWEN2.defaults,
            "max_window_layers": 0,  # which its config.json cannot change: all layers slide or none
            "num_key_value_heads": 4,
            "num_experts": 128,
            "num_experts_per_tok": 8,
            "moe_intermediate_size": 768,
            "norm_topk_prob": False,
        },
        must_equal={
            **_QWEN2.must_equal,
            "attention_bias": (False,),
            "decoder_sparse_step": (1,),
            "mlp_only_layers": (),
            "norm_topk_prob": (True,),
        },
        others=naming.EXPERTS_OTHERS,
        irrelevant=_ROUTING | {"max_window_layers"},
        aliases={"num_local_experts": "num_experts"},
    ),
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
    "PhiForCausalLM": Architecture(
        gguf="phi2",
        tensors=naming.PHI,
        reads={
            **_SIZES,
            **_LAYER_NORM,
            "intermediate_size": "intermediate",
            "num_key_value_heads": "n_kv_heads",
            "partial_rotary_factor": "rotary_factor",
        },
        defaults={
            **_LLAMA_DEFAULTS,
            "layer_norm_eps": 1e-5,
            "partial_rotary_factor": 0.5,
            "intermediate_size": 8192,
        },
        must_equal={"hidden_act": _GELU, "qk_layernorm": (False,), "tie_word_embeddings": (False,)},
        irrelevant=_DROPOUTS,
        norm="layer",
        checks=(whole_heads,),
    ),
    "Phi3ForCausalLM": Architecture(
        gguf="phi3",
        tensors=naming.PHI3,
        reads={
            **_LLAMA_READS,
            **_WINDOW,
            "partial_rotary_factor": "rotary_factor",
            "original_max_position_embeddings": "",
        },
        defaults={
            **_LLAMA_DEFAULTS,
            "max_position_embeddings": 4096,
            "original_max_position_embeddings": 4096,
            "rms_norm_eps": 1e-5,
            "partial_rotary_factor": 1.0,
            "sliding_window": None,
        },
        must_equal={**_SILU, "attention_bias": (False,)},
        irrelevant=_DROPOUTS,
        rope=("default", "longrope"),
        window_limits_context=True,
        checks=(whole_heads,),
    ),
    "GPT2LMHeadModel": _GPT2,
    "GPTBigCodeForCausalLM": replace(
        _GPT2,
        gguf="starcoder",
        tensors=naming.BIGCODE,
        reads={**_GPT2.reads, "multi_query": "multi_query"},
        defaults={**_GPT2.defaults, "multi_query": True},
        must_equal={"activation_function": _GELU, "scale_attn_weights": (True,), "add_cross_attention": (False,)},
        irrelevant=_DROPOUTS
        | {
            "attention_softmax_in_fp32",
            "inference_runner",
            "max_batch_size",
            "max_sequence_length",
            "n_ctx",
            "num_key_value_heads",
            "pad_key_length",
            "pre_allocate_kv_cache",
            "scale_attention_softmax_in_fp32",
            "validate_runner_input",
        },
    ),
    "GPTNeoXForCausalLM": Architecture(
        gguf="gptneox",
        tensors=naming.NEOX,
        reads={
            **_SIZES,
            **_LAYER_NORM,
            "intermediate_size": "intermediate",
            "partial_rotary_factor": "rotary_factor",
            "use_parallel_residual": "parallel_residual",
        },
        defaults={
            "max_position_embeddings": 2048,
            "layer_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "partial_rotary_factor": 0.25,
            "tie_word_embeddings": False,
            "use_parallel_residual": True,
        },
        must_equal={"hidden_act": _GELU, "attention_bias": (True,)},
        irrelevant=_DROPOUTS,
        aliases={"rotary_emb_base": "rope_theta", "rotary_pct": "partial_rotary_factor"},
        others={"lm_head.weight": ("embed_out.weight",)},
        ignored=(".attention.bias", ".attention.masked_bias", ".rotary_emb.inv_freq"),
        norm="layer",
        writes_head=True,
        checks=(whole_heads,),
    ),
    "Starcoder2ForCausalLM": Architecture(
        gguf="starcoder2",
        tensors=naming.STARCODER2,
        reads={
            **_SIZES,
            **_WINDOW,
            "intermediate_size": "intermediate",
            "num_key_value_heads": "n_kv_heads",
            "norm_epsilon": "norm_epsilon",
        },
        defaults={
            "num_key_value_heads": 2,
            "max_position_embeddings": 4096,
            "norm_epsilon": 1e-5,
            "rope_theta": 10000.0,
            "sliding_window": None,
            "tie_word_embeddings": True,
        },
        must_equal={"hidden_act": _GELU, "use_bias": (True,), "mlp_type": ("default",), "norm_type": ("layer_norm",)},
        irrelevant=_DROPOUTS,
        norm="layer",
        window_limits_context=True,
        checks=(whole_heads,),
    ),
    "StableLmForCausalLM": Architecture(
        gguf="stablelm",
        tensors=naming.STABLELM,
        reads={
            **_SIZES,
            **_LAYER_NORM,
            "intermediate_size": "intermediate",
            "num_key_value_heads": "n_kv_heads",
            "partial_rotary_factor": "rotary_factor",
            "qk_layernorm": "qk_norm",
            "use_parallel_residual": "parallel_residual",
            "use_qkv_bias": "attention_bias",
        },
        defaults={
            "num_key_value_heads": 32,
            "max_position_embeddings": 4096,
            "layer_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "partial_rotary_factor": 0.25,
            "qk_layernorm": False,
            "tie_word_embeddings": False,
            "use_parallel_residual": False,
            "use_qkv_bias": False,
        },
        must_equal=_SILU,
        irrelevant=_DROPOUTS,
        norm="layer",
        writes_head=True,
        checks=(whole_heads,),
    ),
    "OlmoForCausalLM": Architecture(
        gguf="olmo",
        tensors=naming.OLMO,
        reads={**{k: v for k, v in _LLAMA_READS.items() if k != "rms_norm_eps"}, "clip_qkv": "clamp"},
        defaults={**_LLAMA_DEFAULTS, "clip_qkv": None},
        must_equal={**_SILU, "attention_bias": (False,)},
        rope=("default", "linear"),
        norm="layer",
        checks=(whole_heads,),
    ),
    "Olmo2ForCausalLM": Architecture(
        gguf="olmo2",
        tensors=naming.OLMO2,
        reads=_LLAMA_READS,
        defaults={**_LLAMA_DEFAULTS, "rms_norm_eps": 1e-5},
        must_equal={**_SILU, "attention_bias": (False,)},
        rope=("default", "linear"),
        writes_head=True,
        checks=(whole_heads,),
    ),
    "GraniteForCausalLM": replace(
        _LLAMA,
        gguf="granite",
        reads={
            **{key: name for key, name in _LLAMA.reads.items() if key != "head_dim"},
            "attention_multiplier": "attention_scale",
            "embedding_multiplier": "embedding_scale",
            "logits_scaling": "logit_scale",
            "residual_multiplier": "residual_scale",
        },
        defaults={
            **_LLAMA.defaults,
            "attention_multiplier": 1.0,
            "embedding_multiplier": 1.0,
            "logits_scaling": 1.0,
            "residual_multiplier": 1.0,
        },
        checks=(whole_heads,),
    ),
    "GptOssForCausalLM": Architecture(
        gguf="gpt-oss",
        tensors=naming.GPT_OSS,
        reads={
            **_LLAMA_READS,
            **_HEAD_DIM,
            **_WINDOW,
            **_LAYER_TYPES,
            "intermediate_size": "expert_intermediate",
            "num_local_experts": "n_experts",
            "num_experts_per_tok": "n_experts_used",
        },
        defaults={
            **_LLAMA_DEFAULTS,
            "head_dim": 64,
            "num_key_value_heads": 8,
            "max_position_embeddings": 131072,
            "rms_norm_eps": 1e-5,
            "rope_theta": 150000.0,
            "num_local_experts": 128,
            "num_experts_per_tok": 4,
            "sliding_window": 128,
            "sliding_window_pattern": 2,
            "layer_types": None,
        },
        must_equal={**_SILU, "attention_bias": (True,), "swiglu_alpha": (1.702,), "swiglu_limit": (7.0,)},
        irrelevant=_ROUTING | {"initial_context_length"},
        aliases={"experts_per_token": "num_experts_per_tok"},
        checks=(gpt_oss_window,),
        writes_head=True,
    ),
    "SmolLM3ForCausalLM": Architecture(
        gguf="smollm3",
        tensors=naming.LLAMA,
        reads=_LLAMA_READS,
        defaults={
            **_LLAMA_DEFAULTS,
            "num_key_value_heads": 4,
            "max_position_embeddings": 32768,
            "rope_theta": 2_000_000.0,
            "tie_word_embeddings": True,
        },
        must_equal={
            **_SILU,
            "attention_bias": (False,),
            "mlp_bias": (False,),
            "use_sliding_window": (False,),
            "layer_types": ("full_attention",),
        },
        irrelevant=frozenset({"max_window_layers", "no_rope_layer_interval", "no_rope_layers", "sliding_window"}),
        checks=(smollm3_positions, whole_heads),
    ),
    "Lfm2ForCausalLM": Architecture(
        gguf="lfm2",
        tensors=naming.LFM2,
        reads={
            **{key: name for key, name in _LLAMA_READS.items() if key != "rms_norm_eps"},
            **_HEAD_DIM,
            "norm_eps": "norm_epsilon",
            "layer_types": "attends",
            "conv_L_cache": "conv_kernel",
            **dict.fromkeys(("block_auto_adjust_ff_dim", "block_ffn_dim_multiplier", "block_multiple_of"), ""),
        },
        defaults={
            **{key: value for key, value in _LLAMA_DEFAULTS.items() if key != "rms_norm_eps"},
            "num_key_value_heads": 8,
            "max_position_embeddings": 128_000,
            "head_dim": None,
            "norm_eps": 1e-5,
            "rope_theta": 1_000_000.0,
            "tie_word_embeddings": True,
            "conv_L_cache": 3,
            "block_auto_adjust_ff_dim": True,
            "block_ffn_dim_multiplier": 1.0,
            "block_multiple_of": 256,
        },
        must_equal={"conv_bias": (False,), "layer_types": ("full_attention", "conv")},
        irrelevant=words(
            """
            block_dim block_mlp_init_scale block_norm_eps block_out_init_scale block_use_swiglu block_use_xavier_init
            conv_dim conv_dim_out conv_use_xavier_init num_heads use_pos_enc
            """
        ),
        aliases={"block_ff_dim": "intermediate_size", "theta": "rope_theta", "tie_embedding": "tie_word_embeddings"},
        derive=derived.lfm2,
        checks=(two_kinds_of_layers, whole_heads),
    ),
    "Gemma4ForCausalLM": _GEMMA4,
    "Gemma4ForConditionalGeneration": replace(
        _GEMMA4,
        nested="text_config",
        prefixes={"model.language_model.": "model."},
        ignored=("model.vision_tower.", "model.embed_vision.", "model.audio_tower.", "model.embed_audio."),
    ),
    "Qwen3_5ForCausalLM": _QWEN35,
    "Qwen3_5ForConditionalGeneration": replace(
        _QWEN35,
        nested="text_config",
        prefixes={"model.language_model.": "model."},
        ignored=("model.visual.", "mtp."),
    ),
    "FalconForCausalLM": Architecture(
        gguf="falcon",
        tensors=naming.FALCON,
        reads={
            **_SIZES,
            "ffn_hidden_size": "intermediate",
            "layer_norm_epsilon": "norm_epsilon",
            "multi_query": "multi_query",
            "new_decoder_architecture": "grouped",
            "num_kv_heads": "n_kv_heads",
            "num_ln_in_parallel_attn": "n_norms",
        },
        defaults={
            "max_position_embeddings": 2048,
            "ffn_hidden_size": None,
            "layer_norm_epsilon": 1e-5,
            "multi_query": True,
            "new_decoder_architecture": False,
            "num_kv_heads": None,
            "num_ln_in_parallel_attn": None,
            "rope_theta": 10000.0,
            "tie_word_embeddings": True,
        },
        must_equal={"activation": _GELU, "alibi": (False,), "bias": (False,), "parallel_attn": (True,)},
        irrelevant=_DROPOUTS | {"apply_residual_connection_post_layernorm"},
        aliases={"n_embed": "hidden_size", "n_head": "num_attention_heads", "n_head_kv": "num_kv_heads",
                 "n_layer": "num_hidden_layers"},
        norm="layer",
        checks=(falcon_norms, whole_heads),
    ),
}  # fmt: skip


def find(checkpoint: Checkpoint) -> Architecture:
    """The row of a checkpoint's architecture; `Error` lists those that are known."""
    try:
        return ARCHITECTURES[checkpoint.architecture]
    except KeyError:
        known = ", ".join(ARCHITECTURES)
        named = checkpoint.architecture or "no architecture"
        raise Error(
            f"{checkpoint.source} is of {named}, which is not supported",
            hint=f"supported: {known}; for others, --converter PATH runs llama.cpp's own convert_hf_to_gguf.py",
        ) from None
