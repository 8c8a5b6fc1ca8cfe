"""Llama and what shares its graph or nearly so: Mistral, Mixtral, Granite, SmolLM3."""

from collections.abc import Mapping
from dataclasses import replace

from .. import naming
from ..expressible import smollm3_positions, whole_heads
from ..reading import HEAD_DIM, LLAMA_DEFAULTS, LLAMA_READS, ROUTING, SILU, WINDOW
from ..row import Architecture

_MIXTRAL_TENSORS = {
    **naming.without(naming.LLAMA, "mlp."),
    **naming.layers(
        """
        block_sparse_moe.gate.weight           | ffn_gate_inp.weight  | experts hidden
        block_sparse_moe.experts.{e}.w1.weight | ffn_gate_exps.weight | experts intermediate hidden
        block_sparse_moe.experts.{e}.w2.weight | ffn_down_exps.weight | experts hidden intermediate
        block_sparse_moe.experts.{e}.w3.weight | ffn_up_exps.weight   | experts intermediate hidden
        """
    ),
}
#: what transformers 5 calls them where it is told not to keep the original names
_MIXTRAL_OTHERS_TENSORS = {
    "model.layers.{l}.mlp.gate.weight": ("model.layers.{l}.block_sparse_moe.gate.weight",),
    "model.layers.{l}.mlp.experts.gate_up_proj": (
        "model.layers.{l}.block_sparse_moe.experts.{e}.w1.weight",
        "model.layers.{l}.block_sparse_moe.experts.{e}.w3.weight",
    ),
    "model.layers.{l}.mlp.experts.down_proj": ("model.layers.{l}.block_sparse_moe.experts.{e}.w2.weight",),
}
_LLAMA = Architecture(
    gguf="llama",
    tensors={**naming.LLAMA, **naming.ROTARY_BIASES, **naming.MLP_BIASES},
    reads={**LLAMA_READS, **HEAD_DIM, "attention_bias": "attention_bias", "mlp_bias": "mlp_bias"},
    defaults={**LLAMA_DEFAULTS, "head_dim": None, "attention_bias": False, "mlp_bias": False},
    must_equal={**SILU, "activation": ("swiglu",)},  # Falcon3's second name of what Llama's graph is
    rope=("default", "linear", "llama3", "yarn"),
)
_MISTRAL = replace(
    _LLAMA,
    tensors=naming.LLAMA,
    reads={**LLAMA_READS, **HEAD_DIM, **WINDOW},
    defaults={
        **LLAMA_DEFAULTS,
        "num_key_value_heads": 8,
        "max_position_embeddings": 131072,
        "head_dim": None,
        "sliding_window": 4096,
    },
    window_limits_context=True,
)
ROWS: Mapping[str, Architecture] = {
    "LlamaForCausalLM": _LLAMA,
    "MistralForCausalLM": _MISTRAL,
    "MixtralForCausalLM": replace(
        _MISTRAL,
        tensors=_MIXTRAL_TENSORS,
        reads={**_MISTRAL.reads, "num_local_experts": "n_experts", "num_experts_per_tok": "n_experts_used"},
        defaults={
            **_MISTRAL.defaults,
            "sliding_window": None,
            "rms_norm_eps": 1e-5,
            "rope_theta": 1_000_000.0,
            "num_local_experts": 8,
            "num_experts_per_tok": 2,
        },
        others=_MIXTRAL_OTHERS_TENSORS,
        irrelevant=ROUTING,
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
    "SmolLM3ForCausalLM": Architecture(
        gguf="smollm3",
        tensors=naming.LLAMA,
        reads=LLAMA_READS,
        defaults={
            **LLAMA_DEFAULTS,
            "num_key_value_heads": 4,
            "max_position_embeddings": 32768,
            "rope_theta": 2_000_000.0,
            "tie_word_embeddings": True,
        },
        must_equal={
            **SILU,
            "attention_bias": (False,),
            "mlp_bias": (False,),
            "use_sliding_window": (False,),
            "layer_types": ("full_attention",),
        },
        irrelevant=frozenset({"max_window_layers", "no_rope_layer_interval", "no_rope_layers", "sliding_window"}),
        checks=(smollm3_positions, whole_heads),
    ),
}
