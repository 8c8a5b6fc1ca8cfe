"""How the tensors of decoder families are called, and what they become in a GGUF file."""

from dataclasses import replace

from .row import Tensor, Tensors


def table(text: str, prefix: str = "") -> Tensors:
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
        for name, t in table(text).items()
    }


MODEL = table(
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
EXPERTS = layers(
    """
    mlp.gate.weight                  | ffn_gate_inp.weight  | experts hidden
    mlp.experts.{e}.gate_proj.weight | ffn_gate_exps.weight | experts expert_intermediate hidden
    mlp.experts.{e}.up_proj.weight   | ffn_up_exps.weight   | experts expert_intermediate hidden
    mlp.experts.{e}.down_proj.weight | ffn_down_exps.weight | experts hidden expert_intermediate
    """
)
EXPERTS_OTHERS = {
    "model.layers.{l}.mlp.experts.gate_up_proj": (
        "model.layers.{l}.mlp.experts.{e}.gate_proj.weight",
        "model.layers.{l}.mlp.experts.{e}.up_proj.weight",
    ),
    "model.layers.{l}.mlp.experts.down_proj": ("model.layers.{l}.mlp.experts.{e}.down_proj.weight",),
}
SHARED_EXPERT = layers(
    """
    mlp.shared_expert_gate.weight      | ffn_gate_inp_shexp.weight | hidden
    mlp.shared_expert.gate_proj.weight | ffn_gate_shexp.weight     | shared_intermediate hidden
    mlp.shared_expert.up_proj.weight   | ffn_up_shexp.weight       | shared_intermediate hidden
    mlp.shared_expert.down_proj.weight | ffn_down_shexp.weight     | hidden shared_intermediate
    """
)
NORM_WEIGHTS = ("norm.weight",)
LAYER_NORM_BIASES = {
    **table("model.norm.bias | output_norm.bias | hidden"),
    **layers(
        """
        input_layernorm.bias          | attn_norm.bias | hidden
        post_attention_layernorm.bias | ffn_norm.bias  | hidden
        """
    ),
}
