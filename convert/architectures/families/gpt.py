"""GPT-2 and what took over its names (GPTBigCode), GPT-NeoX, GPT-OSS."""

from collections.abc import Mapping
from dataclasses import replace

from .. import naming
from ..expressible import gpt_oss_window, whole_heads
from ..reading import (
    DROPOUTS,
    GELU,
    HEAD_DIM,
    LAYER_NORM_EPS,
    LAYER_TYPES,
    LLAMA_DEFAULTS,
    LLAMA_READS,
    ROUTING,
    SILU,
    SIZES,
    WINDOW,
)
from ..row import Architecture, Tensor, Tensors


def _gpt2(op: str) -> Tensors:
    """GPT-2's names, which GPTBigCode took over; GPT-2 itself stores matrices the other way round."""
    model = naming.table(
        """
        transformer.wte.weight  | token_embd.weight    | vocabulary hidden
        transformer.wpe.weight  | position_embd.weight | context hidden
        transformer.ln_f.weight | output_norm.weight   | hidden
        transformer.ln_f.bias   | output_norm.bias     | hidden
        lm_head.weight          | output.weight        | vocabulary hidden | | !tied
        """
    )
    layer = naming.layers(
        """
        ln_1.weight        | attn_norm.weight   | hidden
        ln_1.bias          | attn_norm.bias     | hidden
        attn.c_attn.weight | attn_qkv.weight    | qkv hidden
        attn.c_attn.bias   | attn_qkv.bias      | qkv
        attn.c_proj.weight | attn_output.weight | hidden q
        attn.c_proj.bias   | attn_output.bias   | hidden
        ln_2.weight        | ffn_norm.weight    | hidden
        ln_2.bias          | ffn_norm.bias      | hidden
        mlp.c_fc.weight    | ffn_up.weight      | intermediate hidden
        mlp.c_fc.bias      | ffn_up.bias        | intermediate
        mlp.c_proj.weight  | ffn_down.weight    | hidden intermediate
        mlp.c_proj.bias    | ffn_down.bias      | hidden
        """,
        under="transformer.h.{l}.",
    )
    return {**model, **(naming.changed(layer, op, "c_attn.weight", "c_proj.weight", "c_fc.weight") if op else layer)}


_GPT2_TENSORS = _gpt2("transposed")
_BIGCODE_TENSORS = naming.changed(_gpt2(""), "by_head_unless_shared", "c_attn.weight", "c_attn.bias")
_NEOX_TENSORS = {
    **naming.table(
        """
        gpt_neox.embed_in.weight         | token_embd.weight  | vocabulary hidden
        gpt_neox.final_layer_norm.weight | output_norm.weight | hidden
        gpt_neox.final_layer_norm.bias   | output_norm.bias   | hidden
        embed_out.weight                 | output.weight      | vocabulary hidden | | !tied
        """
    ),
    **naming.layers(
        """
        input_layernorm.weight           | attn_norm.weight   | hidden
        input_layernorm.bias             | attn_norm.bias     | hidden
        attention.query_key_value.weight | attn_qkv.weight    | qkv hidden | by_head
        attention.query_key_value.bias   | attn_qkv.bias      | qkv        | by_head
        attention.dense.weight           | attn_output.weight | hidden q
        attention.dense.bias             | attn_output.bias   | hidden
        post_attention_layernorm.weight  | ffn_norm.weight    | hidden
        post_attention_layernorm.bias    | ffn_norm.bias      | hidden
        mlp.dense_h_to_4h.weight         | ffn_up.weight      | intermediate hidden
        mlp.dense_h_to_4h.bias           | ffn_up.bias        | intermediate
        mlp.dense_4h_to_h.weight         | ffn_down.weight    | hidden intermediate
        mlp.dense_4h_to_h.bias           | ffn_down.bias      | hidden
        """,
        under="gpt_neox.layers.{l}.",
    ),
}
#: the experts are one tensor for each matrix, gate's and up's rows in turn
_GPT_OSS_TENSORS = {
    **naming.without(naming.PLAIN, "mlp.", "post_attention_layernorm"),
    **naming.QKV_BIASES,
    **naming.layers(
        """
        self_attn.o_proj.bias           | attn_output.bias           | hidden
        self_attn.sinks                 | attn_sinks.weight          | heads
        post_attention_layernorm.weight | post_attention_norm.weight | hidden
        mlp.router.weight               | ffn_gate_inp.weight        | experts hidden
        mlp.router.bias                 | ffn_gate_inp.bias          | experts
        mlp.experts.down_proj           | ffn_down_exps.weight       | experts hidden expert_intermediate | transposed
        mlp.experts.down_proj_bias      | ffn_down_exps.bias         | experts hidden
        """
    ),
    "model.layers.{l}.mlp.experts.gate_up_proj": Tensor(
        gguf="blk.{l}.ffn_gate_exps.weight blk.{l}.ffn_up_exps.weight",
        shape="experts expert_intermediate hidden",
        op="transposed",
    ),
    "model.layers.{l}.mlp.experts.gate_up_proj_bias": Tensor(
        gguf="blk.{l}.ffn_gate_exps.bias blk.{l}.ffn_up_exps.bias", shape="experts expert_intermediate"
    ),
}
_GPT2 = Architecture(
    gguf="gpt2",
    tensors=_GPT2_TENSORS,
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
        "activation_function": GELU,
        "scale_attn_weights": (True,),
        "scale_attn_by_inverse_layer_idx": (False,),
        "add_cross_attention": (False,),
    },
    irrelevant=DROPOUTS | {"n_ctx", "n_special", "predict_special_tokens", "reorder_and_upcast_attn"},
    prefixes={f"{part}.": f"transformer.{part}." for part in ("wte", "wpe", "h", "ln_f")},
    ignored=(".attn.bias", ".attn.masked_bias"),
    rope=(),
    norm="layer",
)  # fmt: skip
ROWS: Mapping[str, Architecture] = {
    "GPT2LMHeadModel": _GPT2,
    "GPTBigCodeForCausalLM": replace(
        _GPT2,
        gguf="starcoder",
        tensors=_BIGCODE_TENSORS,
        reads={**_GPT2.reads, "multi_query": "multi_query"},
        defaults={**_GPT2.defaults, "multi_query": True},
        must_equal={"activation_function": GELU, "scale_attn_weights": (True,), "add_cross_attention": (False,)},
        irrelevant=DROPOUTS
        | {
            "attention_softmax_in_fp32",
            "inference_runner",
            "max_batch_size",
            "n_ctx",
            "num_key_value_heads",
            "pad_key_length",
            "pre_allocate_kv_cache",
            "runner_max_sequence_length",
            "scale_attention_softmax_in_fp32",
            "validate_runner_input",
        },
    ),
    "GPTNeoXForCausalLM": Architecture(
        gguf="gptneox",
        tensors=_NEOX_TENSORS,
        reads={
            **SIZES,
            **LAYER_NORM_EPS,
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
        must_equal={"hidden_act": GELU, "attention_bias": (True,)},
        irrelevant=DROPOUTS | {"num_steps"},
        aliases={"rotary_emb_base": "rope_theta", "rotary_pct": "partial_rotary_factor"},
        others={"lm_head.weight": ("embed_out.weight",)},
        ignored=(".attention.bias", ".attention.masked_bias", ".rotary_emb.inv_freq"),
        norm="layer",
        writes_head=True,
        checks=(whole_heads,),
    ),
    "GptOssForCausalLM": Architecture(
        gguf="gpt-oss",
        tensors=_GPT_OSS_TENSORS,
        reads={
            **LLAMA_READS,
            **HEAD_DIM,
            **WINDOW,
            **LAYER_TYPES,
            "intermediate_size": "expert_intermediate",
            "num_local_experts": "n_experts",
            "num_experts_per_tok": "n_experts_used",
        },
        defaults={
            **LLAMA_DEFAULTS,
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
        must_equal={**SILU, "attention_bias": (True,), "swiglu_alpha": (1.702,), "swiglu_limit": (7.0,)},
        irrelevant=ROUTING | {"initial_context_length"},
        aliases={"experts_per_token": "num_experts_per_tok"},
        checks=(gpt_oss_window,),
        writes_head=True,
    ),
}
