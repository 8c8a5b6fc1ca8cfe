"""The table of architectures: what it does not know it refuses, and both dialects of config.json mean the same."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import small_checkpoint
from edgequant import Error
from edgequant.convert.architectures import table as architectures
from edgequant.convert.checkpoint import Checkpoint, TensorInfo

SHAPES = {name: values.shape for name, values in small_checkpoint.tensors().items()}
MISTRAL = {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": None}
QWEN2 = {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"}
QWEN3 = {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3"}


def checkpoint(config: dict[str, Any], shapes: dict[str, tuple[int, ...]] = SHAPES) -> Checkpoint:
    tensors = {
        name: TensorInfo(name=name, shape=shape, dtype="F32", file=Path("x"), offset=0, n_bytes=4 * int(np.prod(shape)))
        for name, shape in shapes.items()
    }
    architecture = (config.get("architectures") or [""])[0]
    return Checkpoint(
        source="model", name="model", revision="r", path=Path(), architecture=architecture, config=config,
        tensors=tensors, dtype="F32",
    )  # fmt: skip


def config(**changes: Any) -> dict[str, Any]:
    """The Llama configuration with keys changed or, unlike small_checkpoint.config, set to None."""
    return {**small_checkpoint.CONFIG, **changes}


def llama(**changes: Any) -> Checkpoint:
    return checkpoint(config(**changes))


@pytest.mark.parametrize("architecture", ["GPT2LMHeadModel", "MixtralForCausalLM", ""])
def test_an_unknown_architecture_lists_the_known(architecture: str) -> None:
    with pytest.raises(Error, match="not supported") as caught:
        architectures.check_config(llama(architectures=[architecture]))
    assert all(name in caught.value.hint for name in ("LlamaForCausalLM", "MistralForCausalLM", "Qwen3ForCausalLM"))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("partial_rotary_factor", 0.5),
        ("logits_scaling", 2.0),
        ("clip_qkv", 8.0),
        ("num_local_experts", 8),
        ("mrope_section", [1]),
    ],
)
def test_an_unknown_key_is_named(key: str, value: Any) -> None:
    with pytest.raises(Error, match=key):
        architectures.check_config(llama(**{key: value}))


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"attention_bias": True}, "attention_bias"),
        ({"mlp_bias": True}, "mlp_bias"),
        ({**MISTRAL, "sliding_window": 4096}, "sliding_window"),
        ({**QWEN2, "use_sliding_window": True}, "use_sliding_window"),
        ({**QWEN2, "layer_types": ["full_attention", "sliding_attention"]}, "layer_types"),
        ({**QWEN2, "use_mrope": True}, "use_mrope"),
        ({**QWEN3, "attention_bias": True}, "attention_bias"),
    ],
)
def test_a_value_that_llama_cpp_cannot_express_is_named(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(Error, match=f"{key} = "):
        architectures.check_config(llama(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"hidden_act": None, "head_dim": None, "rope_scaling": None, "quantization_config": None},
        {"torch_dtype": "bfloat16", "use_cache": True, "transformers_version": "4.57.6", "mlp_bias": False},
        MISTRAL,
        {**QWEN2, "use_sliding_window": False, "sliding_window": 131072, "max_window_layers": 28},
        {**QWEN3, "layer_types": ["full_attention"] * 2, "attention_bias": False, "head_dim": 128},
    ],
)
def test_what_is_supported_passes(changes: dict[str, Any]) -> None:
    architectures.check_config(llama(**changes))


def test_mistral_slides_where_its_configuration_says_nothing() -> None:
    """transformers' MistralConfig has a window of 4096 unless config.json says null."""
    values = config(**MISTRAL)
    del values["sliding_window"]
    with pytest.raises(Error, match="sliding_window = 4096"):
        architectures.check_config(checkpoint(values))


def test_a_quantised_checkpoint_is_refused() -> None:
    with pytest.raises(Error, match=r"already quantised \(gptq\)") as caught:
        architectures.check_config(llama(quantization_config={"quant_method": "gptq"}))
    assert "unquantised" in caught.value.hint


@pytest.mark.parametrize("theta", [10000.0, 500000.0])
@pytest.mark.parametrize(
    ("scaling", "expected"),
    [
        (None, {"rope_type": "default"}),
        ({"type": "linear", "factor": 4.0}, {"type": "linear", "rope_type": "linear", "factor": 4.0}),
        ({"rope_type": "llama3", "factor": 8.0}, {"rope_type": "llama3", "factor": 8.0}),
    ],
)
def test_both_dialects_say_the_same(theta: float, scaling: dict[str, Any] | None, expected: dict[str, Any]) -> None:
    old = architectures.geometry(llama(rope_theta=theta, rope_scaling=scaling))
    values = config(rope_parameters={"rope_type": "default", **(scaling or {}), "rope_theta": theta})
    if scaling and "type" in scaling:
        values["rope_parameters"]["rope_type"] = scaling["type"]
    del values["rope_theta"]
    new = architectures.geometry(checkpoint(values))
    architectures.check_config(checkpoint(values))
    assert old == new
    assert old.rope_theta == theta and old.rope_scaling == expected


def test_sizes_and_their_defaults() -> None:
    sizes = architectures.geometry(llama())
    assert (sizes.n_layers, sizes.hidden, sizes.intermediate, sizes.vocabulary, sizes.context) == (2, 32, 48, 320, 256)
    assert (sizes.n_heads, sizes.n_kv_heads, sizes.head_dim, sizes.norm_epsilon) == (4, 2, 8, 1e-5)
    bare = {key: value for key, value in config().items() if key not in ("num_key_value_heads", "rope_theta")}
    assert architectures.geometry(checkpoint(bare)).n_kv_heads == 4
    assert architectures.geometry(checkpoint(bare)).rope_theta == 10000.0
    assert architectures.geometry(llama(head_dim=64)).head_dim == 64


@pytest.mark.parametrize("key", ["hidden_size", "num_attention_heads", "num_hidden_layers", "vocab_size"])
def test_a_missing_size_is_named(key: str) -> None:
    values = config()
    del values[key]
    for ask in (architectures.geometry, architectures.gguf_names):
        with pytest.raises(Error, match=key):
            ask(checkpoint(values))


@pytest.mark.parametrize(
    "changes",
    [{"hidden_size": "wide"}, {"num_hidden_layers": None}, {"num_attention_heads": 0}, {"rope_scaling": "linear"}],
)
def test_a_size_that_is_none(changes: dict[str, Any]) -> None:
    with pytest.raises(Error, match=r"config\.json"):
        architectures.geometry(llama(**changes))


def test_names_of_a_tied_model() -> None:
    names = architectures.gguf_names(llama())
    assert names.keys() == SHAPES.keys()
    assert names["model.embed_tokens.weight"] == "token_embd.weight"
    assert names["model.layers.1.post_attention_layernorm.weight"] == "blk.1.ffn_norm.weight"
    assert names["model.layers.0.self_attn.o_proj.weight"] == "blk.0.attn_output.weight"
    assert len(set(names.values())) == len(names)


def test_an_output_matrix_is_left_out_where_it_is_tied() -> None:
    shapes = {**SHAPES, "lm_head.weight": (320, 32)}
    assert "lm_head.weight" not in architectures.gguf_names(checkpoint(config(), shapes))
    untied = architectures.gguf_names(checkpoint(config(tie_word_embeddings=False), shapes))
    assert untied["lm_head.weight"] == "output.weight"


def test_whether_it_is_tied_is_seen_from_the_tensors() -> None:
    values = config()
    del values["tie_word_embeddings"]
    assert "lm_head.weight" not in architectures.gguf_names(checkpoint(values))
    assert "lm_head.weight" in architectures.gguf_names(checkpoint(values, {**SHAPES, "lm_head.weight": (320, 32)}))


def test_an_untied_model_without_its_output_matrix() -> None:
    with pytest.raises(Error, match=r"lacks the tensor lm_head\.weight"):
        architectures.gguf_names(llama(tie_word_embeddings=False))


@pytest.mark.parametrize(
    "name",
    [
        "model.layers.0.self_attn.q_proj.bias",
        "model.layers.2.mlp.up_proj.weight",
        "model.layers.0.mlp.up_proj.weight_scale",
        "score.weight",
    ],
)
def test_an_unknown_tensor_is_named(name: str) -> None:
    with pytest.raises(Error, match=f"does not explain: {name}"):
        architectures.gguf_names(checkpoint(config(), {**SHAPES, name: (32,)}))


def test_rotary_tables_of_old_checkpoints_are_ignored() -> None:
    shapes = {**SHAPES, "model.layers.0.self_attn.rotary_emb.inv_freq": (4,)}
    assert len(architectures.gguf_names(checkpoint(config(), shapes))) == len(SHAPES)


@pytest.mark.parametrize("name", ["model.norm.weight", "model.layers.1.mlp.up_proj.weight"])
def test_a_missing_tensor_is_named(name: str) -> None:
    shapes = {key: shape for key, shape in SHAPES.items() if key != name}
    with pytest.raises(Error, match=f"lacks the tensor {name}"):
        architectures.gguf_names(checkpoint(config(), shapes))


def test_every_architecture_names_its_own_tensors() -> None:
    biases = {f"model.layers.{n}.self_attn.{x}_proj.bias": (16,) for n in (0, 1) for x in "qkv"}
    norms = {f"model.layers.{n}.self_attn.{x}_norm.weight": (8,) for n in (0, 1) for x in "qk"}
    qwen2 = architectures.gguf_names(checkpoint(config(**QWEN2), SHAPES | biases))
    qwen3 = architectures.gguf_names(checkpoint(config(**QWEN3), SHAPES | norms))
    assert qwen2["model.layers.1.self_attn.v_proj.bias"] == "blk.1.attn_v.bias"
    assert qwen3["model.layers.1.self_attn.q_norm.weight"] == "blk.1.attn_q_norm.weight"
    for needing in (QWEN2, QWEN3):
        with pytest.raises(Error, match="lacks the tensor"):
            architectures.gguf_names(checkpoint(config(**needing)))
