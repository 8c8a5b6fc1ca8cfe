"""What llama.cpp's graphs take for granted and a single key of config.json cannot say.

Each function gets the canonical configuration and returns "" or, in one line, what cannot be expressed.
"""

from .row import Config

_TANH = "gelu_pytorch_tanh"
#: llama.cpp takes the layer count for the model (src/models/gemma2.cpp, gemma3.cpp): 27B scales by hidden / heads
_GEMMA_27B_LAYERS = {"gemma2": 46, "gemma3": 62}


def whole_heads(config: Config) -> str:
    """Graphs that make heads of the hidden size alone."""
    head_dim, hidden, heads = config.get("head_dim"), config.get("hidden_size"), config.get("num_attention_heads")
    if head_dim and isinstance(hidden, int) and isinstance(heads, int) and head_dim * heads != hidden:
        return f"head_dim = {head_dim!r}: {heads} heads of it are not the hidden size {hidden}"
    return ""


def gemma_activation(config: Config) -> str:
    """Gemma's first files say `hidden_act: gelu`, which transformers has always read as the approximation by tanh."""
    said = config.get("hidden_activation")
    return "" if said in (None, _TANH) else f"hidden_activation = {said!r}"


def gemma_query_scale(config: Config) -> str:
    """Attention is scaled by the head's size, except in the 27B models."""
    gemma3 = config.get("model_type") in ("gemma3_text", "gemma3")
    n_layers = config.get("num_hidden_layers")
    scalar, head_dim = config.get("query_pre_attn_scalar", 256), config.get("head_dim", 256)
    expected = head_dim
    if n_layers == _GEMMA_27B_LAYERS["gemma3" if gemma3 else "gemma2"]:
        expected = config.get("hidden_size", 0) // (config.get("num_attention_heads") or 1)
    return "" if scalar == expected else f"query_pre_attn_scalar = {scalar!r}, where llama.cpp takes {expected!r}"


def gemma_window(config: Config) -> str:
    """Gemma 2's graph always caps and always slides."""
    for key in ("attn_logit_softcapping", "final_logit_softcapping", "sliding_window"):
        if key in config and not config[key]:
            return f"{key} = {config[key]!r}"
    return ""


def smollm3_positions(config: Config) -> str:
    """Every fourth layer has no rotary embedding; llama.cpp's graph knows no other pattern."""
    interval = config.get("no_rope_layer_interval") or 4
    n_layers = config.get("num_hidden_layers") or 0
    expected = [int((layer + 1) % 4 != 0) for layer in range(n_layers)]
    said = config.get("no_rope_layers")
    if said is None:
        return "" if interval == 4 else f"no_rope_layer_interval = {interval!r}"
    return "" if [int(bool(x)) for x in said] == expected else f"no_rope_layers = {said!r}"


def falcon_norms(config: Config) -> str:
    """A second norm belongs to the second layout of q, k and v."""
    said, grouped = config.get("num_ln_in_parallel_attn"), bool(config.get("new_decoder_architecture"))
    if said not in (None, 1, 2) or (said == 2 and not grouped):
        return f"num_ln_in_parallel_attn = {said!r}"
    if not grouped and config.get("num_kv_heads") not in (None, config.get("num_attention_heads"), 1):
        return f"num_kv_heads = {config['num_kv_heads']!r} without new_decoder_architecture"
    return ""


def two_kinds_of_layers(config: Config) -> str:
    """llama.cpp's memory for models that mix attention with something else aborts where one of the two has no layer."""
    kinds = config.get("layer_types")
    return "" if kinds and len(set(kinds)) > 1 else f"layer_types = {kinds!r}, of one kind alone,"


def linear_attention(config: Config) -> str:
    """One size of head for keys and values, whole groups, and 1e-6 in the norm of both (src/models/qwen35.cpp)."""
    keys, values = config.get("linear_key_head_dim", 128), config.get("linear_value_head_dim", 128)
    if keys != values:
        return f"linear_value_head_dim = {values!r} with linear_key_head_dim = {keys!r}"
    n_keys, n_values = config.get("linear_num_key_heads", 16), config.get("linear_num_value_heads", 32)
    return f"linear_num_value_heads = {n_values!r} for {n_keys!r} key heads" if n_values % n_keys else ""


def rope_sections(config: Config) -> str:
    """Text has one position for all sections, but where no section reaches llama.cpp takes position 0.

    Source: ggml's rotation with interleaved sections (ggml/src/ggml-cpu/ops.cpp).
    """
    sections = config.get("mrope_section", [11, 11, 10])
    turned = int(config.get("head_dim", 256) * config.get("partial_rotary_factor", 0.25)) // 2
    for pair in range(turned):
        sector = pair % max(1, sum(sections))
        if len(sections) != 3 or sector >= 3 * sections[sector % 3]:
            return f"mrope_section = {sections!r}"
    return ""


def gpt_oss_window(config: Config) -> str:
    """GPT-OSS's graph always slides; what scales its positions has to be said, transformers' default is its 120B's."""
    if not config.get("sliding_window", 128):
        return f"sliding_window = {config['sliding_window']!r}"
    if "sliding_attention" not in (config.get("layer_types") or ("sliding_attention",)):
        return f"layer_types = {config['layer_types']!r}"
    return "" if "rope_scaling" in config else "a configuration without rope_scaling"


def gemma4_layers(config: Config) -> str:
    """Layers without keys of their own read the last full and the last sliding one's (src/llama-model.cpp)."""
    n_layers, n_shared = config["num_hidden_layers"], config.get("num_kv_shared_layers", 0)
    kinds, first = config["layer_types"], n_layers - n_shared
    if first < 2 or (n_shared and kinds[first - 2 : first] != ["sliding_attention", "full_attention"]):
        return f"num_kv_shared_layers = {n_shared!r} of {n_layers!r} layers"
    own, vocabulary = config.get("vocab_size_per_layer_input", 262144), config.get("vocab_size")
    if config.get("hidden_size_per_layer_input", 256) and own != vocabulary:
        return f"vocab_size_per_layer_input = {own!r}, where vocab_size is {vocabulary!r},"
    return "" if config.get("sliding_window", 512) else f"sliding_window = {config['sliding_window']!r}"
