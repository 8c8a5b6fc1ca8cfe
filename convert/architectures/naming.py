"""How the tensors of decoder families are called, and what they become in a GGUF file."""

from collections.abc import Mapping
from dataclasses import replace

from .row import Tensor, Tensors


def _table(text: str, prefix: str = "") -> Tensors:
    """One line a tensor: its name, llama.cpp's name, `shape`, then `op` and `when` where they are needed."""
    rows = (line.split("|") for line in text.strip().splitlines())
    found = {}
    for name, gguf, shape, *rest in ([cell.strip() for cell in row] for row in rows):
        op, when = (*rest, "", "")[:2]
        found[prefix + name] = Tensor(gguf=gguf, shape=shape, op=op, when=when)
    return found


def without(tensors: Tensors, *parts: str) -> Tensors:
    """The tensors whose names hold none of the parts."""
    return {name: tensor for name, tensor in tensors.items() if not any(part in name for part in parts)}


def changed(tensors: Tensors, op: str, *endings: str) -> Tensors:
    """The tensors, those whose names end so with another `op`."""
    return {
        name: Tensor(gguf=t.gguf, shape=t.shape, op=op, when=t.when) if name.endswith(endings) else t
        for name, t in tensors.items()
    }


def only(when: str, tensors: Tensors) -> Tensors:
    """The tensors, there with the flag `when` alone."""
    return {name: replace(tensor, when=when) for name, tensor in tensors.items()}


def layers(text: str, *, under: str = "model.layers.{l}.") -> Tensors:
    """A layer's tensors; llama.cpp calls them blk.N.NAME."""
    return {
        under + name: Tensor(gguf="blk.{l}." + t.gguf, shape=t.shape, op=t.op, when=t.when)
        for name, t in _table(text).items()
    }


MODEL = _table(
    """
    model.embed_tokens.weight | token_embd.weight  | vocabulary hidden
    model.norm.weight         | output_norm.weight | hidden
    lm_head.weight            | output.weight      | vocabulary hidden | | !tied
    """
)
ATTENTION = layers(
    """
    self_attn.q_proj.weight | attn_q.weight      | q hidden
    self_attn.k_proj.weight | attn_k.weight      | kv hidden
    self_attn.v_proj.weight | attn_v.weight      | kv hidden
    self_attn.o_proj.weight | attn_output.weight | hidden q
    """
)
ROTARY_ATTENTION = changed(ATTENTION, "rotary", "q_proj.weight", "k_proj.weight")
#: biases of q, k and v
QKV_BIASES = layers(
    """
    self_attn.q_proj.bias | attn_q.bias | q
    self_attn.k_proj.bias | attn_k.bias | kv
    self_attn.v_proj.bias | attn_v.bias | kv
    """
)
ROTARY_BIASES = layers(
    """
    self_attn.q_proj.bias | attn_q.bias      | q      | rotary | attention_bias
    self_attn.k_proj.bias | attn_k.bias      | kv     | rotary | attention_bias
    self_attn.v_proj.bias | attn_v.bias      | kv     |        | attention_bias
    self_attn.o_proj.bias | attn_output.bias | hidden |        | attention_bias
    """
)
MLP_BIASES = layers(
    """
    mlp.gate_proj.bias | ffn_gate.bias | intermediate | | mlp_bias
    mlp.up_proj.bias   | ffn_up.bias   | intermediate | | mlp_bias
    mlp.down_proj.bias | ffn_down.bias | hidden       | | mlp_bias
    """
)
NORMS = layers(
    """
    input_layernorm.weight          | attn_norm.weight | hidden
    post_attention_layernorm.weight | ffn_norm.weight  | hidden
    """
)
#: norms before and behind attention and MLP, as Gemma 2 has them
FOUR_NORMS = layers(
    """
    input_layernorm.weight            | attn_norm.weight           | hidden
    post_attention_layernorm.weight   | post_attention_norm.weight | hidden
    pre_feedforward_layernorm.weight  | ffn_norm.weight            | hidden
    post_feedforward_layernorm.weight | post_ffw_norm.weight       | hidden
    """
)
#: norms behind attention and MLP alone, as OLMo 2 has them
POST_NORMS = without(FOUR_NORMS, "input_layernorm", "pre_feedforward")
QK_NORMS = layers(
    """
    self_attn.q_norm.weight | attn_q_norm.weight | head
    self_attn.k_norm.weight | attn_k_norm.weight | head
    """
)
#: over all heads at once
WIDE_QK_NORMS = layers(
    """
    self_attn.q_norm.weight | attn_q_norm.weight | q
    self_attn.k_norm.weight | attn_k_norm.weight | kv
    """
)
MLP = layers(
    """
    mlp.gate_proj.weight | ffn_gate.weight | intermediate hidden
    mlp.up_proj.weight   | ffn_up.weight   | intermediate hidden
    mlp.down_proj.weight | ffn_down.weight | hidden intermediate
    """
)
LLAMA = {**MODEL, **NORMS, **ROTARY_ATTENTION, **MLP}
PLAIN = {**MODEL, **NORMS, **ATTENTION, **MLP}  # as LLAMA, for graphs that rotate halves
MIXTRAL = {
    **without(LLAMA, "mlp."),
    **layers(
        """
        block_sparse_moe.gate.weight           | ffn_gate_inp.weight  | experts hidden
        block_sparse_moe.experts.{e}.w1.weight | ffn_gate_exps.weight | experts intermediate hidden
        block_sparse_moe.experts.{e}.w2.weight | ffn_down_exps.weight | experts hidden intermediate
        block_sparse_moe.experts.{e}.w3.weight | ffn_up_exps.weight   | experts intermediate hidden
        """
    ),
}
#: what transformers 5 calls them where it is told not to keep the original names
MIXTRAL_OTHERS = {
    "model.layers.{l}.mlp.gate.weight": ("model.layers.{l}.block_sparse_moe.gate.weight",),
    "model.layers.{l}.mlp.experts.gate_up_proj": (
        "model.layers.{l}.block_sparse_moe.experts.{e}.w1.weight",
        "model.layers.{l}.block_sparse_moe.experts.{e}.w3.weight",
    ),
    "model.layers.{l}.mlp.experts.down_proj": ("model.layers.{l}.block_sparse_moe.experts.{e}.w2.weight",),
}
EXPERTS_OTHERS = {
    "model.layers.{l}.mlp.experts.gate_up_proj": (
        "model.layers.{l}.mlp.experts.{e}.gate_proj.weight",
        "model.layers.{l}.mlp.experts.{e}.up_proj.weight",
    ),
    "model.layers.{l}.mlp.experts.down_proj": ("model.layers.{l}.mlp.experts.{e}.down_proj.weight",),
}
EXPERTS = layers(
    """
    mlp.gate.weight                  | ffn_gate_inp.weight  | experts hidden
    mlp.experts.{e}.gate_proj.weight | ffn_gate_exps.weight | experts expert_intermediate hidden
    mlp.experts.{e}.up_proj.weight   | ffn_up_exps.weight   | experts expert_intermediate hidden
    mlp.experts.{e}.down_proj.weight | ffn_down_exps.weight | experts hidden expert_intermediate
    """
)
SHARED_EXPERT = layers(
    """
    mlp.shared_expert_gate.weight      | ffn_gate_inp_shexp.weight | hidden
    mlp.shared_expert.gate_proj.weight | ffn_gate_shexp.weight     | shared_intermediate hidden
    mlp.shared_expert.up_proj.weight   | ffn_up_shexp.weight       | shared_intermediate hidden
    mlp.shared_expert.down_proj.weight | ffn_down_shexp.weight     | hidden shared_intermediate
    """
)
_GEMMA_NORMS = ("norm.weight",)
GEMMA = changed(without(PLAIN, "lm_head"), "plus_one", *_GEMMA_NORMS)
GEMMA2 = changed({**without(PLAIN, "lm_head", "layernorm"), **FOUR_NORMS}, "plus_one", *_GEMMA_NORMS)
GEMMA3 = {**GEMMA2, **changed(QK_NORMS, "plus_one", *_GEMMA_NORMS), "lm_head.weight": MODEL["lm_head.weight"]}
GEMMA4 = {
    **without(PLAIN, "layernorm", "k_proj", "v_proj"),
    **FOUR_NORMS,
    **layers(
        """
        self_attn.q_norm.weight | attn_q_norm.weight        | head
        self_attn.k_norm.weight | attn_k_norm.weight        | head      | | has_keys?
        self_attn.k_proj.weight | attn_k.weight             | kv hidden | | has_keys?
        self_attn.v_proj.weight | attn_v.weight             | kv hidden | | has_values?
        layer_scalar            | layer_output_scale.weight | one
        """
    ),
    **only(
        "per_layer_size",
        {
            **_table(
                """
                model.embed_tokens_per_layer.weight     | per_layer_token_embd.weight | vocabulary all_per_layer
                model.per_layer_model_projection.weight | per_layer_model_proj.weight | all_per_layer hidden
                model.per_layer_projection_norm.weight  | per_layer_proj_norm.weight  | per_layer
                """
            ),
            **layers(
                """
                per_layer_input_gate.weight      | inp_gate.weight  | per_layer hidden
                per_layer_projection.weight      | proj.weight      | hidden per_layer
                post_per_layer_input_norm.weight | post_norm.weight | hidden
                """
            ),
        },
    ),
    **only(
        "n_experts",
        layers(
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
OLMO = without(LLAMA, "norm")
LFM2 = {
    **_table(
        """
        model.embed_tokens.weight   | token_embd.weight      | vocabulary hidden
        model.embedding_norm.weight | token_embd_norm.weight | hidden
        lm_head.weight              | output.weight          | vocabulary hidden | | !tied
        """
    ),
    **layers(
        """
        operator_norm.weight   | attn_norm.weight | hidden
        ffn_norm.weight        | ffn_norm.weight  | hidden
        feed_forward.w1.weight | ffn_gate.weight  | intermediate hidden
        feed_forward.w3.weight | ffn_up.weight    | intermediate hidden
        feed_forward.w2.weight | ffn_down.weight  | hidden intermediate
        """
    ),
    **only(
        "attends",
        layers(
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
    **only(
        "!attends",
        layers(
            """
            conv.conv.weight     | shortconv.conv.weight     | hidden conv_kernel
            conv.in_proj.weight  | shortconv.in_proj.weight  | three_hidden hidden
            conv.out_proj.weight | shortconv.out_proj.weight | hidden hidden
            """
        ),
    ),
}
OLMO2 = {**without(PLAIN, "layernorm"), **POST_NORMS, **WIDE_QK_NORMS}
PHI = {
    **_table(
        """
        model.embed_tokens.weight    | token_embd.weight  | vocabulary hidden
        model.final_layernorm.weight | output_norm.weight | hidden
        model.final_layernorm.bias   | output_norm.bias   | hidden
        lm_head.weight               | output.weight      | vocabulary hidden | | !tied
        lm_head.bias                 | output.bias        | vocabulary
        """
    ),
    **without(ATTENTION, "o_proj"),
    **QKV_BIASES,
    **layers(
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
PHI3 = {
    **MODEL,
    **NORMS,
    **layers(
        """
        self_attn.qkv_proj.weight | attn_qkv.weight    | qkv hidden
        self_attn.o_proj.weight   | attn_output.weight | hidden q
        mlp.gate_up_proj.weight   | ffn_up.weight      | gate_up hidden
        mlp.down_proj.weight      | ffn_down.weight    | hidden intermediate
        """
    ),
}


def _gpt2(op: str) -> Tensors:
    """GPT-2's names, which GPTBigCode took over; GPT-2 itself stores matrices the other way round."""
    model = _table(
        """
        transformer.wte.weight  | token_embd.weight    | vocabulary hidden
        transformer.wpe.weight  | position_embd.weight | context hidden
        transformer.ln_f.weight | output_norm.weight   | hidden
        transformer.ln_f.bias   | output_norm.bias     | hidden
        lm_head.weight          | output.weight        | vocabulary hidden | | !tied
        """
    )
    layer = layers(
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
    return {**model, **(changed(layer, op, "c_attn.weight", "c_proj.weight", "c_fc.weight") if op else layer)}


GPT2 = _gpt2("transposed")
BIGCODE = changed(_gpt2(""), "by_head_unless_shared", "c_attn.weight", "c_attn.bias")
NEOX = {
    **_table(
        """
        gpt_neox.embed_in.weight         | token_embd.weight  | vocabulary hidden
        gpt_neox.final_layer_norm.weight | output_norm.weight | hidden
        gpt_neox.final_layer_norm.bias   | output_norm.bias   | hidden
        embed_out.weight                 | output.weight      | vocabulary hidden | | !tied
        """
    ),
    **layers(
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
_LAYER_NORM_BIASES = {
    **_table("model.norm.bias | output_norm.bias | hidden"),
    **layers(
        """
        input_layernorm.bias          | attn_norm.bias | hidden
        post_attention_layernorm.bias | ffn_norm.bias  | hidden
        """
    ),
}
STARCODER2 = {
    **without(PLAIN, "mlp."),
    **_LAYER_NORM_BIASES,
    **layers(
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
STABLELM = {
    **without(PLAIN, "post_attention_layernorm"),
    **without(_LAYER_NORM_BIASES, "post_attention_layernorm"),
    **layers(
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
_QWEN35_NORMS = layers(
    """
    post_attention_layernorm.weight | post_attention_norm.weight | hidden
    self_attn.q_norm.weight         | attn_q_norm.weight         | head | | attends
    self_attn.k_norm.weight         | attn_k_norm.weight         | head | | attends
    """
)
QWEN35 = {
    **changed({**without(PLAIN, "self_attn.", "post_attention_layernorm"), **_QWEN35_NORMS}, "plus_one", *_GEMMA_NORMS),
    **only(
        "attends",
        layers(
            """
            self_attn.q_proj.weight | attn_q.weight      | q_and_gate hidden
            self_attn.k_proj.weight | attn_k.weight      | kv hidden
            self_attn.v_proj.weight | attn_v.weight      | kv hidden
            self_attn.o_proj.weight | attn_output.weight | hidden q
            """
        ),
    ),
    **only(
        "!attends",
        layers(
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


def _falcon() -> Mapping[str, Tensor]:
    model = _table(
        """
        transformer.word_embeddings.weight | token_embd.weight  | vocabulary hidden
        transformer.ln_f.weight            | output_norm.weight | hidden
        transformer.ln_f.bias              | output_norm.bias   | hidden
        lm_head.weight                     | output.weight      | vocabulary hidden | | !tied
        """
    )
    layer = layers(
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


FALCON = _falcon()
#: the experts are one tensor for each matrix, gate's and up's rows in turn
GPT_OSS = {
    **without(PLAIN, "mlp.", "post_attention_layernorm"),
    **QKV_BIASES,
    **layers(
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
