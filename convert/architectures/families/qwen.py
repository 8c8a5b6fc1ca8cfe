"""Qwen 2, 3 and 3.5, dense and with experts."""

from collections.abc import Mapping
from dataclasses import replace

from .. import derived, naming
from ..expressible import linear_attention, rope_sections, two_kinds_of_layers
from ..reading import EXPERT_READS, HEAD_DIM, LAYER_TYPES, LLAMA_DEFAULTS, LLAMA_READS, ROUTING, SILU, WINDOW
from ..row import Architecture, words

_QWEN35_NORMS = naming.layers(
    """
    post_attention_layernorm.weight | post_attention_norm.weight | hidden
    self_attn.q_norm.weight         | attn_q_norm.weight         | head | | attends
    self_attn.k_norm.weight         | attn_k_norm.weight         | head | | attends
    """
)
_QWEN35_TENSORS = {
    **naming.changed(
        {**naming.without(naming.PLAIN, "self_attn.", "post_attention_layernorm"), **_QWEN35_NORMS},
        "plus_one",
        *naming.NORM_WEIGHTS,
    ),
    **naming.only(
        "attends",
        naming.layers(
            """
            self_attn.q_proj.weight | attn_q.weight      | q_and_gate hidden
            self_attn.k_proj.weight | attn_k.weight      | kv hidden
            self_attn.v_proj.weight | attn_v.weight      | kv hidden
            self_attn.o_proj.weight | attn_output.weight | hidden q
            """
        ),
    ),
    **naming.only(
        "!attends",
        naming.layers(
            """
            linear_attn.in_proj_qkv.weight | attn_qkv.weight   | linear_qkv hidden         | tiled_tail
            linear_attn.in_proj_z.weight   | attn_gate.weight  | linear_values hidden      | tiled
            linear_attn.in_proj_a.weight   | ssm_alpha.weight  | linear_value_heads hidden | tiled
            linear_attn.in_proj_b.weight   | ssm_beta.weight   | linear_value_heads hidden | tiled
            linear_attn.conv1d.weight      | ssm_conv1d.weight | linear_qkv conv_kernel    | tiled_tail
            linear_attn.dt_bias            | ssm_dt.bias       | linear_value_heads        | tiled
            linear_attn.A_log              | ssm_a             | linear_value_heads        | tiled minus_exp
            linear_attn.norm.weight        | ssm_norm.weight   | linear_head
            linear_attn.out_proj.weight    | ssm_out.weight    | hidden linear_values      | tiled_columns
            """
        ),
    ),
}
_QWEN_WINDOW_DEFAULTS = {
    "use_sliding_window": False,
    "sliding_window": None,
    "max_window_layers": 28,
    "layer_types": None,
}
_QWEN_WINDOW = {**WINDOW, **LAYER_TYPES, "use_sliding_window": "", "max_window_layers": ""}
_QWEN2 = Architecture(
    gguf="qwen2",
    tensors={**naming.PLAIN, **naming.QKV_BIASES},
    reads={**LLAMA_READS, **HEAD_DIM, **_QWEN_WINDOW},
    defaults={**LLAMA_DEFAULTS, **_QWEN_WINDOW_DEFAULTS, "num_key_value_heads": 32,
              "max_position_embeddings": 32768, "head_dim": None},
    must_equal={**SILU, "use_mrope": (False,)},
    window_limits_context=True,
)  # fmt: skip
_QWEN35 = Architecture(
    gguf="qwen35",
    tensors=_QWEN35_TENSORS,
    reads={
        **LLAMA_READS,
        **HEAD_DIM,
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
        **LLAMA_DEFAULTS,
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
        **SILU,
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
ROWS: Mapping[str, Architecture] = {
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
            **EXPERT_READS,
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
        irrelevant=ROUTING,
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
            **EXPERT_READS,
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
            "qkv_bias": (False,),
            "shared_expert_intermediate_size": (0,),
            "use_qk_norm": (True,),
        },
        others=naming.EXPERTS_OTHERS,
        irrelevant=ROUTING | {"max_window_layers"},
        aliases={"num_local_experts": "num_experts"},
    ),
    "Qwen3_5ForCausalLM": _QWEN35,
    "Qwen3_5ForConditionalGeneration": replace(
        _QWEN35,
        nested="text_config",
        prefixes={"model.language_model.": "model."},
        ignored=("model.visual.", "mtp."),
    ),
}
