"""LFM2: short convolutions between layers of attention."""

from collections.abc import Mapping

from .. import derived, naming
from ..expressible import two_kinds_of_layers, whole_heads
from ..reading import HEAD_DIM, LLAMA_DEFAULTS, LLAMA_READS
from ..row import Architecture, words

_LFM2_TENSORS = {
    **naming.table(
        """
        model.embed_tokens.weight   | token_embd.weight      | vocabulary hidden
        model.embedding_norm.weight | token_embd_norm.weight | hidden
        lm_head.weight              | output.weight          | vocabulary hidden | | !tied
        """
    ),
    **naming.layers(
        """
        operator_norm.weight   | attn_norm.weight | hidden
        ffn_norm.weight        | ffn_norm.weight  | hidden
        feed_forward.w1.weight | ffn_gate.weight  | intermediate hidden
        feed_forward.w3.weight | ffn_up.weight    | intermediate hidden
        feed_forward.w2.weight | ffn_down.weight  | hidden intermediate
        """
    ),
    **naming.only(
        "attends",
        naming.layers(
            """
            self_attn.q_proj.weight      | attn_q.weight      | q hidden
            self_attn.k_proj.weight      | attn_k.weight      | kv hidden
            self_attn.v_proj.weight      | attn_v.weight      | kv hidden
            self_attn.out_proj.weight    | attn_output.weight | hidden q
            self_attn.q_layernorm.weight | attn_q_norm.weight | head
            self_attn.k_layernorm.weight | attn_k_norm.weight | head
            """
        ),
    ),
    **naming.only(
        "!attends",
        naming.layers(
            """
            conv.conv.weight     | shortconv.conv.weight     | hidden conv_kernel
            conv.in_proj.weight  | shortconv.in_proj.weight  | three_hidden hidden
            conv.out_proj.weight | shortconv.out_proj.weight | hidden hidden
            """
        ),
    ),
}
ROWS: Mapping[str, Architecture] = {
    "Lfm2ForCausalLM": Architecture(
        gguf="lfm2",
        tensors=_LFM2_TENSORS,
        reads={
            **{key: name for key, name in LLAMA_READS.items() if key != "rms_norm_eps"},
            **HEAD_DIM,
            "norm_eps": "norm_epsilon",
            "layer_types": "attends",
            "conv_L_cache": "conv_kernel",
            **dict.fromkeys(("block_auto_adjust_ff_dim", "block_ffn_dim_multiplier", "block_multiple_of"), ""),
        },
        defaults={
            **{key: value for key, value in LLAMA_DEFAULTS.items() if key != "rms_norm_eps"},
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
}
