"""Falcon in its two layouts of queries, keys and values."""

from collections.abc import Mapping

from .. import naming
from ..expressible import falcon_norms, whole_heads
from ..reading import DROPOUTS, GELU, SIZES
from ..row import Architecture, Tensor


def _falcon() -> Mapping[str, Tensor]:
    model = naming.table(
        """
        transformer.word_embeddings.weight | token_embd.weight  | vocabulary hidden
        transformer.ln_f.weight            | output_norm.weight | hidden
        transformer.ln_f.bias              | output_norm.bias   | hidden
        lm_head.weight                     | output.weight      | vocabulary hidden | | !tied
        """
    )
    layer = naming.layers(
        """
        ln_attn.weight                        | attn_norm_2.weight | hidden     |          | two_norms
        ln_attn.bias                          | attn_norm_2.bias   | hidden     |          | two_norms
        ln_mlp.weight                         | attn_norm.weight   | hidden     |          | two_norms
        ln_mlp.bias                           | attn_norm.bias     | hidden     |          | two_norms
        input_layernorm.weight                | attn_norm.weight   | hidden     |          | !two_norms
        input_layernorm.bias                  | attn_norm.bias     | hidden     |          | !two_norms
        self_attention.query_key_value.weight | attn_qkv.weight    | qkv hidden | by_group
        self_attention.dense.weight           | attn_output.weight | hidden q
        mlp.dense_h_to_4h.weight              | ffn_up.weight      | intermediate hidden
        mlp.dense_4h_to_h.weight              | ffn_down.weight    | hidden intermediate
        """,
        under="transformer.h.{l}.",
    )
    return {**model, **layer}


_FALCON_TENSORS = _falcon()
ROWS: Mapping[str, Architecture] = {
    "FalconForCausalLM": Architecture(
        gguf="falcon",
        tensors=_FALCON_TENSORS,
        reads={
            **SIZES,
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
        must_equal={"activation": GELU, "alibi": (False,), "bias": (False,), "parallel_attn": (True,)},
        irrelevant=DROPOUTS | {"apply_residual_connection_post_layernorm", "ff_factor"},
        aliases={
            "n_embed": "hidden_size",
            "n_head": "num_attention_heads",
            "n_head_kv": "num_kv_heads",
            "n_layer": "num_hidden_layers",
        },
        norm="layer",
        checks=(falcon_norms, whole_heads),
    ),
}
