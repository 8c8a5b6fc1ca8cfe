"""LFM2, Qwen3.5 and Gemma 4: keys that follow from others, layers that differ, and what llama.cpp cannot express."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import pytest

from edgequant import Error
from edgequant.convert.architectures import metadata
from edgequant.convert.architectures.geometry import Geometry, geometry
from edgequant.convert.architectures.keys import check_config
from edgequant.convert.architectures.layout import plan
from edgequant.convert.architectures.layout import sizes as lengths
from edgequant.convert.architectures.table import find
from edgequant.convert.checkpoint import Checkpoint
from edgequant.convert.safetensors_header import TensorInfo
from edgequant.profiles.planning import footprint

_SIZES = {"hidden_size": 64, "vocab_size": 320, "num_attention_heads": 4, "num_key_value_heads": 2}
LFM2 = _SIZES | {
    "architectures": ["Lfm2ForCausalLM"],
    "num_hidden_layers": 3,
    "intermediate_size": 128,
    "layer_types": ["conv", "full_attention", "conv"],
}
QWEN35 = _SIZES | {
    "architectures": ["Qwen3_5ForCausalLM"],
    "num_hidden_layers": 4,
    "intermediate_size": 96,
    "head_dim": 32,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 6,
}
GEMMA4 = _SIZES | {
    "architectures": ["Gemma4ForCausalLM"],
    "num_hidden_layers": 4,
    "intermediate_size": 96,
    "head_dim": 16,
    "global_head_dim": 32,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "vocab_size_per_layer_input": 320,
    "hidden_size_per_layer_input": 8,
}


def checkpoint(config: dict[str, Any], shapes: dict[str, tuple[int, ...]] | None = None) -> Checkpoint:
    tensors = {
        name: TensorInfo(name=name, shape=shape, dtype="F32", file=Path("x"), offset=0, n_bytes=4 * prod(shape))
        for name, shape in (shapes or {}).items()
    }
    return Checkpoint(
        source="model", name="model", revision="r", path=Path(), architecture=config["architectures"][0],
        config=config, tensors=tensors, dtype="F32",
    )  # fmt: skip


def sizes(config: dict[str, Any], **changes: Any) -> Geometry:
    return geometry(checkpoint(config | changes))


def entries(config: dict[str, Any], **changes: Any) -> dict[str, Any]:
    whole = checkpoint(config | changes)
    found = metadata.entries(find(whole), geometry(whole))
    return {key.partition(".")[2]: value for key, value in found.items()}


@pytest.mark.parametrize("config", [LFM2, QWEN35, GEMMA4])
def test_the_configurations_here_are_supported(config: dict[str, Any]) -> None:
    check_config(checkpoint(config))


@pytest.mark.parametrize(
    ("config", "changes", "said"),
    [
        (LFM2, {"conv_bias": True}, "conv_bias = True"),
        (LFM2, {"layer_types": ["full_attention"] * 3}, "layer_types = .*of one kind alone"),
        (LFM2, {"layer_types": None}, "layer_types = None"),
        (LFM2, {"layer_types": ["conv", "sliding_attention", "conv"]}, "layer_types = .*sliding_attention"),
        (LFM2, {"head_dim": 32}, "head_dim = 32"),
        (LFM2, {"block_ff_dim": 96}, "mean the same and differ"),
        (LFM2, {"full_attn_idxs": 1, "layer_types": None}, "is none"),
        (QWEN35, {"rms_norm_eps": 1e-5}, "rms_norm_eps = 1e-05"),
        (QWEN35, {"linear_value_head_dim": 32}, "linear_value_head_dim = 32"),
        (QWEN35, {"linear_num_value_heads": 5}, "linear_num_value_heads = 5"),
        (QWEN35, {"full_attention_interval": 1}, "layer_types = "),
        (QWEN35, {"mrope_section": [0, 2, 2]}, "mrope_section = "),
        (QWEN35, {"head_dim": 256, "mrope_section": [16, 8, 8]}, "mrope_section = "),
        (QWEN35, {"attn_output_gate": False}, "attn_output_gate = False"),
        (GEMMA4, {"num_kv_shared_layers": 1}, "num_kv_shared_layers = 1"),
        (GEMMA4, {"num_kv_shared_layers": 3}, "num_kv_shared_layers = 3"),
        (GEMMA4, {"layer_types": ["full_attention"] * 4}, "of one kind alone"),
        (GEMMA4, {"vocab_size_per_layer_input": 321}, "vocab_size_per_layer_input = 321"),
        (GEMMA4, {"use_bidirectional_attention": "all"}, "use_bidirectional_attention = 'all'"),
        (GEMMA4, {"sliding_window": None}, "sliding_window = None"),
        (GEMMA4, {"rope_scaling": {"rope_type": "linear", "factor": 2.0}}, "'linear' is not supported"),
        (GEMMA4, {"per_layer_config": {"0": {"head_dim": 32}}}, "does not give all full layers"),
        (GEMMA4, {"per_layer_config": {"1": {"head_dim": 32}, "3": {"head_dim": 8}}}, "does not give all full layers"),
        (GEMMA4, {"per_layer_config": {"1": {"x": 3}, "3": {"x": 3}}}, "does not give all full layers"),
    ],
)
def test_what_llama_cpp_cannot_express_is_named(config: dict[str, Any], changes: dict[str, Any], said: str) -> None:
    with pytest.raises(Error, match=said):
        check_config(checkpoint(config | changes))


@pytest.mark.parametrize(
    ("said", "width"),
    [(6656, 4608), (10240, 6912), (12288, 8192), (16128, 10752)],  # by which src/models/lfm2.cpp tells the models apart
)
def test_the_width_of_the_published_lfm2(said: int, width: int) -> None:
    named = {key: value for key, value in LFM2.items() if key != "intermediate_size"}
    assert sizes(named, block_ff_dim=said).intermediate == width
    assert sizes(LFM2, intermediate_size=said, block_auto_adjust_ff_dim=False).intermediate == said
    assert sizes(LFM2, intermediate_size=300, block_ffn_dim_multiplier=None).intermediate == 200


def test_two_ways_to_say_which_layers_attend() -> None:
    assert sizes(LFM2, layer_types=None, full_attn_idxs=[1]) == sizes(LFM2)
    assert sizes(QWEN35, full_attention_interval=2).attends == (False, True, False, True)
    assert sizes(QWEN35).attends == (False, False, False, True)


def test_layers_that_do_not_attend_in_the_file() -> None:
    assert entries(LFM2)["attention.head_count_kv"] == [0, 2, 0]
    assert entries(QWEN35)["attention.recurrent_layers"] == [True, True, True, False]
    assert entries(QWEN35, mrope_section=[2, 2, 1])["rope.dimension_sections"] == [2, 2, 1, 0]


def test_two_ways_to_say_what_the_full_layers_of_gemma_4_have() -> None:
    listed = {layer: {"head_dim": 32, "num_key_value_heads": 1} for layer in ("1", "3")}
    for equal in (False, True):
        named = sizes(GEMMA4, num_global_key_value_heads=1, attention_k_eq_v=equal)
        assert [named.heads_of(layer) for layer in range(2)] == [(16, 2), (32, 1 if equal else 2)]
    assert sizes(GEMMA4, per_layer_config=listed, attention_k_eq_v=True) == named
    padded = {f"0{layer}": own for layer, own in listed.items()}
    assert sizes(GEMMA4, per_layer_config=padded, attention_k_eq_v=True) == named
    assert sizes(GEMMA4, per_layer_config={}).head_dim == 16


def test_gemma_4_ends_with_a_full_layer() -> None:
    usual = sizes(GEMMA4, layer_types=None, num_hidden_layers=8)
    assert usual.slides == (True, True, True, True, True, False, True, False)


def test_the_layers_of_gemma_4_in_the_file() -> None:
    found = entries(GEMMA4, num_kv_shared_layers=2, use_double_wide_mlp=True, num_global_key_value_heads=1)
    assert found["feed_forward_length"] == [96, 96, 192, 192]
    assert (found["attention.key_length"], found["attention.key_length_swa"]) == (32, 16)
    assert (found["rope.dimension_count"], found["rope.dimension_count_swa"]) == (32, 16)
    assert (found["rope.freq_base"], found["rope.freq_base_swa"]) == (1e6, 1e4)
    assert found["attention.sliding_window_pattern"] == [True, False, True, False]
    assert found["final_logit_softcapping"] == 0.0  # llama.cpp takes 30 where the file has none
    assert entries(GEMMA4)["feed_forward_length"] == 96


@pytest.mark.parametrize(
    ("config", "changes", "values"),
    [
        (LFM2, {}, 2 * 2 * 16),
        (QWEN35, {}, 2 * 2 * 32),
        (GEMMA4, {}, 2 * (2 * 2 * 16 + 2 * 2 * 32)),
        (GEMMA4, {"num_kv_shared_layers": 2}, 2 * 2 * 16 + 2 * 2 * 32),
    ],
)
def test_only_layers_with_keys_of_their_own_are_cached(
    config: dict[str, Any], changes: dict[str, Any], values: int
) -> None:
    assert footprint.kv_bytes_per_token(sizes(config, **changes), bytes_per_value=2) == 2 * values


def whole(config: dict[str, Any], **changes: Any) -> Checkpoint:
    """A checkpoint with the tensors that the table names, in every layer."""
    bare = checkpoint(config | changes)
    row, model = find(bare), geometry(bare)
    shapes: dict[str, tuple[int, ...]] = {}
    for name, rule in row.tensors.items():
        for layer in range(model.n_layers):
            flag = getattr(model, rule.when.strip("!?")) if rule.when else True
            there = bool(flag[layer] if isinstance(flag, tuple) else flag) != rule.when.startswith("!")
            if there or rule.when.endswith("?"):
                shapes[name.replace("{l}", str(layer))] = tuple(lengths(model, layer)[x] for x in rule.shape.split())
    return checkpoint(config | changes, shapes)


def test_value_heads_of_linear_attention_go_to_every_key_head_in_turn() -> None:
    """Of key heads 0 and 1 with three value heads each: llama.cpp repeats the keys as 0 1 0 1 0 1."""
    order = [0, 3, 1, 4, 2, 5]
    planned = {tensor.name: tensor for tensor in plan(whole(QWEN35))}
    for name, before, rows in (
        ("ssm_alpha.weight", [], 1),
        ("ssm_a", [], 1),
        ("attn_gate.weight", [], 16),
        ("attn_qkv.weight", [0], 16),
        ("ssm_conv1d.weight", [0], 16),
    ):
        pieces = planned[f"blk.0.{name}"].pieces
        tail = 64 if before else 0  # q and k: two key heads of sixteen rows each
        assert [piece.first_row for piece in pieces] == before + [tail + rows * head for head in order], name
        assert [piece.n_rows for piece in pieces] == [tail] * len(before) + [rows] * 6
    assert planned["blk.0.ssm_out.weight"].columns == tuple((16 * head, 16) for head in order)
    assert planned["blk.0.ssm_a"].op == "minus_exp"


def test_keys_of_layers_that_read_those_of_others_are_left_out() -> None:
    names = {tensor.name for tensor in plan(whole(GEMMA4, num_kv_shared_layers=2))}
    assert {f"blk.{layer}.attn_k.weight" for layer in (0, 1)} == {name for name in names if "attn_k.weight" in name}
    assert {"blk.3.attn_q.weight", "per_layer_token_embd.weight", "blk.2.inp_gate.weight"} <= names


def test_full_layers_whose_values_are_their_keys() -> None:
    names = {tensor.name for tensor in plan(whole(GEMMA4, attention_k_eq_v=True))}
    assert {"blk.0.attn_v.weight", "blk.2.attn_v.weight"} == {name for name in names if "attn_v" in name}
