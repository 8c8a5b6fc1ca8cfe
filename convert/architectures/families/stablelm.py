"""StableLM and StarCoder2: layer norms with biases around Llama's names."""

from collections.abc import Mapping

from .. import naming
from ..expressible import whole_heads
from ..reading import DROPOUTS, GELU, LAYER_NORM_EPS, SILU, SIZES, WINDOW
from ..row import Architecture

#: keys that its configurations still have from StarCoder's; `hidden_act` and `norm_epsilon` count
_STARCODER_LEFTOVERS = frozenset(
    {"activation_function", "attention_softmax_in_fp32", "layer_norm_epsilon", "scale_attention_softmax_in_fp32"}
)
_STARCODER2_TENSORS = {
    **naming.without(naming.PLAIN, "mlp."),
    **naming.LAYER_NORM_BIASES,
    **naming.layers(
        """
        self_attn.q_proj.bias | attn_q.bias      | q
        self_attn.k_proj.bias | attn_k.bias      | kv
        self_attn.v_proj.bias | attn_v.bias      | kv
        self_attn.o_proj.bias | attn_output.bias | hidden
        mlp.c_fc.weight       | ffn_up.weight    | intermediate hidden
        mlp.c_fc.bias         | ffn_up.bias      | intermediate
        mlp.c_proj.weight     | ffn_down.weight  | hidden intermediate
        mlp.c_proj.bias       | ffn_down.bias    | hidden
        """
    ),
}
_STABLELM_TENSORS = {
    **naming.without(naming.PLAIN, "post_attention_layernorm"),
    **naming.without(naming.LAYER_NORM_BIASES, "post_attention_layernorm"),
    **naming.layers(
        """
        post_attention_layernorm.weight           | ffn_norm.weight    | hidden       | | !parallel_residual
        post_attention_layernorm.bias             | ffn_norm.bias      | hidden       | | !parallel_residual
        self_attn.q_proj.bias                     | attn_q.bias        | q            | | attention_bias
        self_attn.k_proj.bias                     | attn_k.bias        | kv           | | attention_bias
        self_attn.v_proj.bias                     | attn_v.bias        | kv           | | attention_bias
        self_attn.q_layernorm.norms.{h}.weight    | attn_q_norm.weight | heads head   | | qk_norm
        self_attn.k_layernorm.norms.{k}.weight    | attn_k_norm.weight | kv_heads head | | qk_norm
        """
    ),
}
ROWS: Mapping[str, Architecture] = {
    "Starcoder2ForCausalLM": Architecture(
        gguf="starcoder2",
        tensors=_STARCODER2_TENSORS,
        reads={
            **SIZES,
            **WINDOW,
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
        must_equal={
            "hidden_act": GELU,
            "use_bias": (True,),
            "mlp_type": ("default",),
            "norm_type": ("layer_norm",),
            "scale_attn_weights": (True,),
        },
        irrelevant=DROPOUTS | _STARCODER_LEFTOVERS,
        norm="layer",
        window_limits_context=True,
        checks=(whole_heads,),
    ),
    "StableLmForCausalLM": Architecture(
        gguf="stablelm",
        tensors=_STABLELM_TENSORS,
        reads={
            **SIZES,
            **LAYER_NORM_EPS,
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
        must_equal={**SILU, "rotary_scaling_factor": (1.0,)},
        irrelevant=DROPOUTS,
        norm="layer",
        writes_head=True,
        checks=(whole_heads,),
    ),
}
