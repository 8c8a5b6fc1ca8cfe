"""What the configurations of many decoders have in common: keys, transformers' defaults, values that mean the same."""

from .row import words

SIZES = {
    "hidden_size": "hidden",
    "num_hidden_layers": "n_layers",
    "num_attention_heads": "n_heads",
    "vocab_size": "vocabulary",
    "max_position_embeddings": "context",
    "tie_word_embeddings": "tied",
    "rope_theta": "rope_theta",
}
LLAMA_READS = {
    **SIZES,
    "intermediate_size": "intermediate",
    "num_key_value_heads": "n_kv_heads",
    "rms_norm_eps": "norm_epsilon",
}
HEAD_DIM = {"head_dim": "head_dim"}
LAYER_NORM_EPS = {"layer_norm_eps": "norm_epsilon"}
WINDOW = {"sliding_window": "window"}
LAYER_TYPES = {"layer_types": "slides"}
EXPERT_READS = {"num_experts_per_tok": "n_experts_used", "moe_intermediate_size": "expert_intermediate"}
LLAMA_DEFAULTS = {
    "num_key_value_heads": None,  # as many as heads
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
}
SILU = {"hidden_act": ("silu", "swish")}
#: llama.cpp has the approximation by tanh alone; what the exact function differs by, 5e-4 at most, it accepts
GELU = ("gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh")
ROUTING = frozenset({"output_router_logits", "router_aux_loss_coef", "router_jitter_noise"})
DROPOUTS = words(
    """
    attention_probs_dropout_prob attn_pdrop classifier_dropout embd_pdrop embedding_dropout hidden_dropout
    hidden_dropout_prob resid_pdrop residual_dropout
    summary_activation summary_first_dropout summary_proj_to_labels summary_type summary_use_proj
    """
)
