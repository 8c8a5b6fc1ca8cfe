"""Gemma 4: heads and widths that differ from layer to layer, and embeddings of every layer's own."""

from collections.abc import Mapping
from dataclasses import replace

from .. import derived, naming
from ..expressible import gemma4_layers, two_kinds_of_layers
from ..reading import LAYER_TYPES, LLAMA_DEFAULTS, LLAMA_READS, WINDOW
from ..row import Architecture

_GEMMA4_TENSORS = {
    **naming.without(naming.PLAIN, "layernorm", "k_proj", "v_proj"),
    **naming.FOUR_NORMS,
    **naming.layers(
        """
        self_attn.q_norm.weight | attn_q_norm.weight        | head
        self_attn.k_norm.weight | attn_k_norm.weight        | head      | | has_keys?
        self_attn.k_proj.weight | attn_k.weight             | kv hidden | | has_keys?
        self_attn.v_proj.weight | attn_v.weight             | kv hidden | | has_values?
        layer_scalar            | layer_output_scale.weight | one
        """
    ),
    **naming.only(
        "per_layer_size",
        {
            **naming.table(
                """
                model.embed_tokens_per_layer.weight     | per_layer_token_embd.weight | vocabulary all_per_layer
                model.per_layer_model_projection.weight | per_layer_model_proj.weight | all_per_layer hidden
                model.per_layer_projection_norm.weight  | per_layer_proj_norm.weight  | per_layer
                """
            ),
            **naming.layers(
                """
                per_layer_input_gate.weight      | inp_gate.weight  | per_layer hidden
                per_layer_projection.weight      | proj.weight      | hidden per_layer
                post_per_layer_input_norm.weight | post_norm.weight | hidden
                """
            ),
        },
    ),
    **naming.only(
        "n_experts",
        naming.layers(
            """
            router.proj.weight                  | ffn_gate_inp.weight     | experts hidden
            router.scale                        | ffn_gate_inp.scale      | hidden
            router.per_expert_scale             | ffn_down_exps.scale     | experts
            experts.gate_up_proj                | ffn_gate_up_exps.weight | experts gate_up_experts hidden
            experts.down_proj                   | ffn_down_exps.weight    | experts hidden expert_intermediate
            pre_feedforward_layernorm_2.weight  | pre_ffw_norm_2.weight   | hidden
            post_feedforward_layernorm_1.weight | post_ffw_norm_1.weight  | hidden
            post_feedforward_layernorm_2.weight | post_ffw_norm_2.weight  | hidden
            """
        ),
    ),
}
_GEMMA4 = Architecture(
    gguf="gemma4",
    tensors=_GEMMA4_TENSORS,
    reads={
        **LLAMA_READS,
        **WINDOW,
        **LAYER_TYPES,
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
        **LLAMA_DEFAULTS,
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
ROWS: Mapping[str, Architecture] = {
    "Gemma4ForCausalLM": _GEMMA4,
    "Gemma4ForConditionalGeneration": replace(
        _GEMMA4,
        nested="text_config",
        prefixes={"model.language_model.": "model."},
        ignored=("model.vision_tower.", "model.embed_vision.", "model.audio_tower.", "model.embed_audio."),
    ),
}
