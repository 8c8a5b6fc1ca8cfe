"""The table of architectures: what it does not know it refuses, and both dialects of config.json mean the same."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import small_checkpoint
from edgequant import Error
from edgequant.convert.architectures.expressible import whole_heads
from edgequant.convert.architectures.geometry import geometry
from edgequant.convert.architectures.keys import check_config
from edgequant.convert.architectures.layout import plan
from edgequant.convert.architectures.table import ARCHITECTURES
from edgequant.convert.checkpoint import Checkpoint, TensorInfo
from published_configurations import PUBLISHED

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


@pytest.mark.parametrize("architecture", ["BloomForCausalLM", "T5ForConditionalGeneration", ""])
def test_an_unknown_architecture_lists_the_known(architecture: str) -> None:
    with pytest.raises(Error, match="not supported") as caught:
        check_config(llama(architectures=[architecture]))
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
        check_config(llama(**{key: value}))


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({**QWEN2, "use_mrope": True}, "use_mrope"),
        ({**QWEN3, "attention_bias": True}, "attention_bias"),
    ],
)
def test_a_value_that_llama_cpp_cannot_express_is_named(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(Error, match=f"{key} = "):
        check_config(llama(**changes))


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
    check_config(llama(**changes))


@pytest.mark.parametrize("theta", [10000.0, 500000.0])
@pytest.mark.parametrize(
    ("scaling", "expected"),
    [
        (None, {"rope_type": "default"}),
        ({"type": "linear", "factor": 4.0}, {"rope_type": "linear", "factor": 4.0}),
        ({"rope_type": "llama3", "factor": 8.0}, {"rope_type": "llama3", "factor": 8.0}),
    ],
)
def test_both_dialects_say_the_same(theta: float, scaling: dict[str, Any] | None, expected: dict[str, Any]) -> None:
    old = geometry(llama(rope_theta=theta, rope_scaling=scaling))
    values = config(rope_parameters={"rope_type": "default", **(scaling or {}), "rope_theta": theta})
    if scaling and "type" in scaling:
        values["rope_parameters"]["rope_type"] = scaling["type"]
    del values["rope_theta"]
    new = geometry(checkpoint(values))
    check_config(checkpoint(values))
    assert old == new
    assert old.rope_theta == theta and old.rope_scaling == expected


def test_the_older_name_of_a_scaling_within_the_newer_dialect() -> None:
    values = config(rope_parameters={"type": "linear", "factor": 4.0, "rope_theta": 10000.0})
    assert geometry(checkpoint(values)).rope_scaling == {"rope_type": "linear", "factor": 4.0}


def test_sizes_and_their_defaults() -> None:
    sizes = geometry(llama())
    assert (sizes.n_layers, sizes.hidden, sizes.intermediate, sizes.vocabulary, sizes.context) == (2, 32, 48, 320, 256)
    assert (sizes.n_heads, sizes.n_kv_heads, sizes.head_dim, sizes.norm_epsilon) == (4, 2, 8, 1e-5)
    bare = {key: value for key, value in config().items() if key not in ("num_key_value_heads", "rope_theta")}
    assert geometry(checkpoint(bare)).n_kv_heads == 4
    assert geometry(checkpoint(bare)).rope_theta == 10000.0
    assert geometry(llama(head_dim=64)).head_dim == 64


@pytest.mark.parametrize("key", ["hidden_size", "num_attention_heads", "num_hidden_layers", "vocab_size"])
def test_a_missing_size_is_named(key: str) -> None:
    values = config()
    del values[key]
    for ask in (geometry, plan):
        with pytest.raises(Error, match=key):
            ask(checkpoint(values))


@pytest.mark.parametrize(
    "changes",
    [{"hidden_size": "wide"}, {"num_hidden_layers": None}, {"num_attention_heads": 0}, {"rope_scaling": "linear"}],
)
def test_a_size_that_is_none(changes: dict[str, Any]) -> None:
    with pytest.raises(Error, match=r"config\.json"):
        geometry(llama(**changes))


def names(planned: Checkpoint) -> dict[str, str]:
    """The checkpoint's tensor -> the GGUF's, for files in which each comes from one."""
    return {tensor.pieces[0].tensor.name: tensor.name for tensor in plan(planned)}


def test_names_of_a_tied_model() -> None:
    found = names(llama())
    assert found.keys() == SHAPES.keys()
    assert found["model.embed_tokens.weight"] == "token_embd.weight"
    assert found["model.layers.1.post_attention_layernorm.weight"] == "blk.1.ffn_norm.weight"
    assert found["model.layers.0.self_attn.o_proj.weight"] == "blk.0.attn_output.weight"
    assert len(set(found.values())) == len(found)


def test_an_output_matrix_is_left_out_where_it_is_tied() -> None:
    shapes = {**SHAPES, "lm_head.weight": (320, 32)}
    assert "lm_head.weight" not in names(checkpoint(config(), shapes))
    untied = names(checkpoint(config(tie_word_embeddings=False), shapes))
    assert untied["lm_head.weight"] == "output.weight"


def test_gemma_with_a_copy_of_its_embedding() -> None:
    """Trainers save lm_head.weight beside the embedding that it is."""
    gemma = config(architectures=["GemmaForCausalLM"], model_type="gemma", head_dim=8, tie_word_embeddings=True)
    alone, copied = (checkpoint(gemma, shapes) for shapes in (SHAPES, {**SHAPES, "lm_head.weight": (320, 32)}))
    assert names(copied) == names(alone)


def test_whether_it_is_tied_is_seen_from_the_tensors() -> None:
    values = config()
    del values["tie_word_embeddings"]
    assert "lm_head.weight" not in names(checkpoint(values))
    assert "lm_head.weight" in names(checkpoint(values, {**SHAPES, "lm_head.weight": (320, 32)}))


def test_an_untied_model_without_its_output_matrix() -> None:
    with pytest.raises(Error, match=r"lacks the tensor lm_head\.weight"):
        plan(llama(tie_word_embeddings=False))


@pytest.mark.parametrize(
    "name",
    [
        "model.layers.0.self_attn.q_proj.bias",
        "model.layers.2.mlp.up_proj.weight",
        "model.layers.0.mlp.up_proj.zeros",
        "score.weight",
    ],
)
def test_an_unknown_tensor_is_named(name: str) -> None:
    with pytest.raises(Error, match=f"does not explain: {name}"):
        plan(checkpoint(config(), {**SHAPES, name: (32,)}))


def test_rotary_tables_of_old_checkpoints_are_ignored() -> None:
    shapes = {**SHAPES, "model.layers.0.self_attn.rotary_emb.inv_freq": (4,)}
    assert len(plan(checkpoint(config(), shapes))) == len(SHAPES)


@pytest.mark.parametrize("name", ["model.norm.weight", "model.layers.1.mlp.up_proj.weight"])
def test_a_missing_tensor_is_named(name: str) -> None:
    shapes = {key: shape for key, shape in SHAPES.items() if key != name}
    with pytest.raises(Error, match=f"lacks the tensor {name}"):
        plan(checkpoint(config(), shapes))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("model.embed_tokens.weight", (319, 32)),
        ("model.layers.0.mlp.down_proj.weight", (48, 32)),
        ("model.norm.weight", (31,)),
    ],
)
def test_a_shape_that_the_configuration_does_not_give(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(Error, match=rf"the tensor {name} has the shape {re.escape(str(list(shape)))}"):
        plan(checkpoint(config(), {**SHAPES, name: shape}))


def test_every_architecture_names_its_own_tensors() -> None:
    biases = {f"model.layers.{n}.self_attn.{x}_proj.bias": (32 if x == "q" else 16,) for n in (0, 1) for x in "qkv"}
    norms = {f"model.layers.{n}.self_attn.{x}_norm.weight": (8,) for n in (0, 1) for x in "qk"}
    qwen2 = names(checkpoint(config(**QWEN2), SHAPES | biases))
    qwen3 = names(checkpoint(config(**QWEN3, head_dim=8), SHAPES | norms))
    assert qwen2["model.layers.1.self_attn.v_proj.bias"] == "blk.1.attn_v.bias"
    assert qwen3["model.layers.1.self_attn.q_norm.weight"] == "blk.1.attn_q_norm.weight"
    for needing in (QWEN2, {**QWEN3, "head_dim": 8}):
        with pytest.raises(Error, match="lacks the tensor"):
            plan(checkpoint(config(**needing)))


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_a_published_configuration_is_not_refused(name: str) -> None:
    check_config(checkpoint(PUBLISHED[name]))


# -- windows that llama.cpp's graphs do not slide


@pytest.mark.parametrize(
    ("changes", "context"),
    [
        ({**MISTRAL, "sliding_window": None}, 256),
        ({**MISTRAL, "sliding_window": 100}, 100),
        ({**MISTRAL, "sliding_window": 5000}, 256),
        ({**QWEN2, "use_sliding_window": False, "sliding_window": 100, "max_window_layers": 0}, 256),
        ({**QWEN2, "use_sliding_window": True, "sliding_window": 100, "max_window_layers": 1}, 100),
        ({**QWEN2, "use_sliding_window": True, "sliding_window": 100, "max_window_layers": 2}, 256),
        ({**QWEN2, "use_sliding_window": True, "sliding_window": 100, "layer_types": ["full_attention"] * 2}, 256),
    ],
)
def test_a_window_that_does_not_slide_limits_the_context(changes: dict[str, Any], context: int) -> None:
    sizes = geometry(llama(**changes))
    assert (sizes.context, sizes.trained_context, sizes.window) == (context, 256, None)


def test_mistral_slides_where_its_configuration_says_nothing() -> None:
    """transformers' MistralConfig has a window of 4096 unless config.json says null."""
    values = config(**MISTRAL, max_position_embeddings=8192)
    del values["sliding_window"]
    assert geometry(checkpoint(values)).context == 4096


# -- every row


def wrong(allowed: tuple[Any, ...]) -> Any:
    """A value that is not among those allowed."""
    return next(value for value in (True, False, 7) if value not in allowed)


def sound(kind: str) -> dict[str, Any]:
    """A configuration with what the row insists on."""
    row = ARCHITECTURES[kind]
    said = {key: allowed[0] for key, allowed in row.must_equal.items() if allowed}
    layers = {key: 4 for key, name in row.reads.items() if name == "n_layers"}
    return {"architectures": [kind], **layers, **said}


@pytest.mark.parametrize("kind", list(ARCHITECTURES))
def test_a_value_that_the_graph_takes_for_granted_is_named(kind: str) -> None:
    row = ARCHITECTURES[kind]
    assert row.must_equal
    for key, allowed in row.must_equal.items():
        values = {**sound(kind), key: wrong(allowed)}
        with pytest.raises(Error, match=f"{key} = .*is not supported for {kind}"):
            check_config(checkpoint({row.nested: values, **values} if row.nested else values))


@pytest.mark.parametrize("kind", list(ARCHITECTURES))
def test_a_key_that_no_row_explains_is_named(kind: str) -> None:
    row = ARCHITECTURES[kind]
    values = {**sound(kind), "flux_compensation": 3}
    with pytest.raises(Error, match=f"the key flux_compensation = 3 is not known for {kind}") as caught:
        check_config(checkpoint({row.nested: values, **values} if row.nested else values))
    assert "--converter PATH" in caught.value.hint


@pytest.mark.parametrize(
    ("kind", "changes", "said"),
    [
        ("GemmaForCausalLM", {"hidden_activation": "relu"}, "hidden_activation = 'relu'"),
        ("Gemma2ForCausalLM", {"query_pre_attn_scalar": 144}, "query_pre_attn_scalar = 144"),
        ("Gemma2ForCausalLM", {"attn_logit_softcapping": None}, "attn_logit_softcapping = None"),
        ("Gemma3ForCausalLM", {"query_pre_attn_scalar": 168}, "query_pre_attn_scalar = 168"),
        ("SmolLM3ForCausalLM", {"num_hidden_layers": 4, "no_rope_layers": [1, 1, 0, 1]}, "no_rope_layers"),
        ("SmolLM3ForCausalLM", {"no_rope_layer_interval": 3}, "no_rope_layer_interval = 3"),
        ("FalconForCausalLM", {"num_ln_in_parallel_attn": 2}, "num_ln_in_parallel_attn = 2"),
        ("FalconForCausalLM", {"alibi": True}, "alibi = True"),
        ("PhiForCausalLM", {"qk_layernorm": True}, "qk_layernorm = True"),
        ("OlmoForCausalLM", {"hidden_size": 64, "num_attention_heads": 4, "head_dim": 32}, "head_dim = 32: 4 heads"),
    ],
)
def test_what_a_graph_cannot_express(kind: str, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(Error, match=re.escape(said)):
        check_config(checkpoint({"architectures": [kind], **changes}))


@pytest.mark.parametrize("kind", [kind for kind, row in ARCHITECTURES.items() if whole_heads in row.checks])
def test_a_head_that_is_said_to_be_what_it_is(kind: str) -> None:
    sizes = {"hidden_size": 64, "num_attention_heads": 4, "head_dim": 16}
    said = next(said for said in PUBLISHED.values() if said["architectures"] == [kind])
    check_config(checkpoint({**said, **sizes}))


@pytest.mark.parametrize(
    ("scaling", "said"),
    [
        ({"rope_type": "dynamic", "factor": 2.0}, "'dynamic' is not supported"),
        ({"rope_type": "yarn", "factor": 2.0, "beta_fast": 16}, "beta_fast = 16"),
        ({"rope_type": "yarn", "factor": 2.0, "truncate": False}, "truncate = False"),
        ({"rope_type": "yarn", "factor": 2.0, "mscale": 0.7}, "mscale = 0.7"),
        ({"rope_type": "linear", "factor": 2.0, "surprise": 1}, "surprise = 1"),
    ],
)
def test_a_scaling_that_llama_cpp_does_not_have(scaling: dict[str, Any], said: str) -> None:
    with pytest.raises(Error, match=re.escape(said)):
        check_config(llama(rope_scaling=scaling))


def test_two_names_of_one_key_that_disagree() -> None:
    values = {"architectures": ["GPTNeoXForCausalLM"], "rotary_pct": 0.25, "partial_rotary_factor": 0.5}
    with pytest.raises(Error, match=r"rotary_pct = 0\.25 and partial_rotary_factor = 0\.5 mean the same and differ"):
        check_config(checkpoint(values))
