"""Phi-1.5 and 2, and Phi-3, 3.5 and 4-mini."""

from collections.abc import Mapping

from .. import naming
from ..expressible import whole_heads
from ..reading import DROPOUTS, GELU, LAYER_NORM_EPS, LLAMA_DEFAULTS, LLAMA_READS, SILU, SIZES, WINDOW
from ..row import Architecture

_PHI_TENSORS = {
    **naming.table(
        """
        model.embed_tokens.weight    | token_embd.weight  | vocabulary hidden
        model.final_layernorm.weight | output_norm.weight | hidden
        model.final_layernorm.bias   | output_norm.bias   | hidden
        lm_head.weight               | output.weight      | vocabulary hidden | | !tied
        lm_head.bias                 | output.bias        | vocabulary
        """
    ),
    **naming.without(naming.ATTENTION, "o_proj"),
    **naming.QKV_BIASES,
    **naming.layers(
        """
        input_layernorm.weight | attn_norm.weight   | hidden
        input_layernorm.bias   | attn_norm.bias     | hidden
        self_attn.dense.weight | attn_output.weight | hidden q
        self_attn.dense.bias   | attn_output.bias   | hidden
        mlp.fc1.weight         | ffn_up.weight      | intermediate hidden
        mlp.fc1.bias           | ffn_up.bias        | intermediate
        mlp.fc2.weight         | ffn_down.weight    | hidden intermediate
        mlp.fc2.bias           | ffn_down.bias      | hidden
        """
    ),
}
_PHI3_TENSORS = {
    **naming.MODEL,
    **naming.NORMS,
    **naming.layers(
        """
        self_attn.qkv_proj.weight | attn_qkv.weight    | qkv hidden
        self_attn.o_proj.weight   | attn_output.weight | hidden q
        mlp.gate_up_proj.weight   | ffn_up.weight      | gate_up hidden
        mlp.down_proj.weight      | ffn_down.weight    | hidden intermediate
        """
    ),
}
ROWS: Mapping[str, Architecture] = {
    "PhiForCausalLM": Architecture(
        gguf="phi2",
        tensors=_PHI_TENSORS,
        reads={
            **SIZES,
            **LAYER_NORM_EPS,
            "intermediate_size": "intermediate",
            "num_key_value_heads": "n_kv_heads",
            "partial_rotary_factor": "rotary_factor",
        },
        defaults={
            **LLAMA_DEFAULTS,
            "layer_norm_eps": 1e-5,
            "partial_rotary_factor": 0.5,
            "intermediate_size": 8192,
        },
        must_equal={"hidden_act": GELU, "qk_layernorm": (False,), "tie_word_embeddings": (False,)},
        irrelevant=DROPOUTS,
        norm="layer",
        checks=(whole_heads,),
    ),
    "Phi3ForCausalLM": Architecture(
        gguf="phi3",
        tensors=_PHI3_TENSORS,
        reads={
            **LLAMA_READS,
            **WINDOW,
            "partial_rotary_factor": "rotary_factor",
            "original_max_position_embeddings": "",
        },
        defaults={
            **LLAMA_DEFAULTS,
            "max_position_embeddings": 4096,
            "original_max_position_embeddings": 4096,
            "rms_norm_eps": 1e-5,
            "partial_rotary_factor": 1.0,
            "sliding_window": None,
        },
        must_equal={
            **SILU,
            "attention_bias": (False,),
            "full_attn_mod": (1,),  # this and the next three stand in Phi-4-mini's alone
            "interpolate_factor": (1,),
            "lm_head_bias": (False,),
            "mlp_bias": (False,),
        },
        irrelevant=DROPOUTS,
        rope=("default", "longrope"),
        window_limits_context=True,
        checks=(whole_heads,),
    ),
}
