"""The rescale changes every matrix and nothing of what the model computes."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

import oracles
from edgequant import Error
from edgequant.convert import weights
from edgequant.convert.checkpoint import open_folder
from edgequant.convert.grid import recognise
from edgequant.convert.rescale import apply, fold, random_factors, rescale, sites

CONFIG = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,  # more than hidden / heads, as in Qwen3
    "vocab_size": 128,
    "tie_word_embeddings": True,
}
Tensors = dict[str, NDArray[np.float32]]


def random_tensors(model_type: str) -> Tensors:
    """Weights with the names and shapes of CONFIG's model."""
    draw = np.random.default_rng(0).standard_normal
    q, kv = 128, 64
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (128, 64), "model.norm.weight": (64,)}
    for layer in range(2):
        modules = {"self_attn.q_proj": (q, 64), "self_attn.k_proj": (kv, 64), "self_attn.v_proj": (kv, 64)}
        modules |= {"self_attn.o_proj": (64, q), "mlp.gate_proj": (96, 64), "mlp.up_proj": (96, 64)}
        modules["mlp.down_proj"] = (64, 96)
        for module, shape in modules.items():
            shapes[f"model.layers.{layer}.{module}.weight"] = shape
            if model_type == "qwen2" and module[-6] in "qkv":
                shapes[f"model.layers.{layer}.{module}.bias"] = shape[:1]
        for norm in ("input_layernorm", "post_attention_layernorm"):
            shapes[f"model.layers.{layer}.{norm}.weight"] = (64,)
    return {name: draw(shape).astype(np.float32) for name, shape in shapes.items()}


def log_softmax(x: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = x - x.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def rms_norm(x: NDArray[np.float64], weight: NDArray[np.float32]) -> NDArray[np.float64]:
    return x / np.sqrt((x**2).mean(-1, keepdims=True)) * weight


def layer_outputs(tensors: Tensors, x: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """What the first layer's parts give, worked by hand: q, k (which no rescale may change), attention's and MLP's
    output, with the attention of each head spread evenly over all positions.
    """

    def linear(module: str, value: NDArray[np.float64]) -> NDArray[np.float64]:
        name = f"model.layers.0.{module}"
        return value @ tensors[f"{name}.weight"].T + tensors.get(f"{name}.bias", np.float32(0))

    normed = rms_norm(x, tensors["model.layers.0.input_layernorm.weight"])
    q, k, v = (linear(f"self_attn.{name}_proj", normed) for name in "qkv")
    heads = np.repeat(v.reshape(len(x), 2, 32).mean(0, keepdims=True), 2, axis=1).reshape(1, 128)
    attention = linear("self_attn.o_proj", heads)
    normed = rms_norm(x + attention, tensors["model.layers.0.post_attention_layernorm.weight"])
    gate = linear("mlp.gate_proj", normed)
    mlp = linear("mlp.down_proj", gate / (1 + np.exp(-gate)) * linear("mlp.up_proj", normed))
    return [q, k, attention, mlp]


@pytest.mark.parametrize("model_type", ["llama", "qwen2"])
def test_every_matrix_changes_and_no_output_does(model_type: str) -> None:
    before = random_tensors(model_type)
    after = dict(rescale(before.items(), {**CONFIG, "model_type": model_type}, seed=1))
    unchanged = {name for name in before if np.array_equal(before[name], after[name])}
    assert {name.split(".")[-2] for name in unchanged} <= {"embed_tokens", "norm", "q_proj", "k_proj"}
    assert not any(name.endswith("_proj.weight") for name in unchanged)
    x = np.random.default_rng(2).standard_normal((5, 64))
    for one, other in zip(layer_outputs(before, x), layer_outputs(after, x), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-5 * np.abs(one).max())


def test_a_block_of_rows_is_rescaled_like_the_whole() -> None:
    config = {**CONFIG, "model_type": "llama"}
    name, factors = "model.layers.1.mlp.up_proj.weight", random_factors(config, seed=3)
    whole = random_tensors("llama")[name]
    np.testing.assert_array_equal(apply(name, whole[10:20], factors, first_row=10), apply(name, whole, factors)[10:20])


def test_factors_lie_within_the_strength_and_follow_the_seed() -> None:
    config = {**CONFIG, "model_type": "llama"}
    one, same, other = (random_factors(config, seed=seed, strength=0.1) for seed in (5, 5, 6))
    name = "model.layers.0.self_attn.o_proj.weight"
    np.testing.assert_array_equal(one.columns[name], same.columns[name])
    assert not np.array_equal(one.columns[name], other.columns[name])
    logs = np.abs(np.log(one.columns[name]))
    assert 0.05 < logs.max() <= 0.1 + 1e-6


def test_given_factors_touch_their_own_site_alone() -> None:
    site = next(s for s in sites({**CONFIG, "model_type": "llama"}) if s.name == "model.layers.1.mlp_output")
    factors = fold([(site, np.full(96, 2, dtype=np.float32))])
    before = random_tensors("llama")
    after = {name: apply(name, tensor, factors) for name, tensor in before.items()}
    down, up = "model.layers.1.mlp.down_proj.weight", "model.layers.1.mlp.up_proj.weight"
    np.testing.assert_array_equal(after[down], 2 * before[down])
    np.testing.assert_array_equal(after[up], before[up] / 2)
    assert [name for name in before if not np.array_equal(before[name], after[name])] == [up, down]
    with pytest.raises(ValueError, match="96 factors"):
        fold([(site, np.ones(64, dtype=np.float32))])


@pytest.mark.parametrize("model_type", ["llama", "mistral", "qwen2", "qwen3"])
def test_the_factors_of_a_seed_stay_the_same(model_type: str) -> None:
    """The demo's weights are made with them. Figures of the first version, which knew these four only."""
    factors = random_factors({**CONFIG, "model_type": model_type}, seed=0)
    vectors = [*factors.rows.values(), *factors.columns.values()]
    assert len(vectors) == 26 and not factors.plus_one
    assert sum(np.float64(vector).sum() for vector in vectors) == pytest.approx(2005.095386505127, rel=1e-9)
    assert factors.columns["model.layers.1.mlp.down_proj.weight"][5] == pytest.approx(0.8721883893013, rel=1e-7)


def test_packed_rows_before_those_that_are_meant_stay() -> None:
    """Phi 3: v is the last part of q, k and v, up the last of gate and up."""
    config = {key: value for key, value in CONFIG.items() if key != "head_dim"} | {"model_type": "phi3"}
    factors = random_factors(config, seed=0)
    for module, first in (("self_attn.qkv_proj", 64 + 32), ("mlp.gate_up_proj", 96)):
        rows = factors.rows[f"model.layers.0.{module}.weight"]
        assert (rows[:first] == 1).all() and (rows[first:] != 1).all()
        assert len(rows) == {"self_attn.qkv_proj": 128, "mlp.gate_up_proj": 192}[module]


def test_a_norm_that_adds_one_is_divided_as_a_whole() -> None:
    site = next(s for s in sites({**CONFIG, "model_type": "gemma"}) if s.name == "model.layers.0.attention_input")
    factors = fold([(site, np.full(64, 2, dtype=np.float32))])
    stored = apply("model.layers.0.input_layernorm.weight", np.full(64, 0.5, dtype=np.float32), factors)
    np.testing.assert_array_equal(stored, np.float32(-0.25))  # 1 + 0.5, halved, less 1


def test_without_a_norm_before_it_a_product_is_left_alone() -> None:
    config = {key: value for key, value in CONFIG.items() if key != "head_dim"} | {"model_type": "olmo2"}
    names = [site.name.rpartition(".")[2] for site in sites(config)]
    assert names == ["mlp_output", "attention_output"] * 2


def test_an_architecture_with_other_products_is_refused() -> None:
    with pytest.raises(Error, match="mixtral") as caught:
        sites({**CONFIG, "model_type": "mixtral"})
    assert "qwen3" in caught.value.hint


@pytest.mark.slow
@pytest.mark.parametrize("model_type", ["llama", "qwen2", "qwen3"])
def test_transformers_computes_the_same_logits(tmp_path: Path, model_type: str) -> None:
    config = {key: value for key, value in CONFIG.items() if key != "head_dim" or model_type != "qwen2"}
    before, after = tmp_path / "before", tmp_path / "after"
    oracles.ask("random_llama", model_type=model_type, config=config, folder=str(before))
    assert rescale_folder(before, after)
    ids = list(range(0, 120, 7))
    one, other = map(np.array, oracles.ask("transformers_logits", folders=[str(before), str(after)], ids=ids))
    np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-5 * np.abs(one).max())


@pytest.mark.slow
def test_the_pocket_model_stays_what_it_is(tmp_path: Path, pocket_folder: Path) -> None:
    assert rescale_folder(pocket_folder, tmp_path / "after")
    ids = np.random.default_rng(0).integers(10, 1000, 200).tolist()
    folders = [str(pocket_folder), str(tmp_path / "after")]
    one, other = (log_softmax(np.array(x)) for x in oracles.ask("transformers_logits", folders=folders, ids=ids))
    divergence = (np.exp(one) * (one - other)).sum(-1).mean()
    assert abs(divergence) < 1e-7


@pytest.mark.slow
def test_a_grid_is_left(tmp_path: Path, pocket_folder: Path) -> None:
    import gguf

    config = json.loads((pocket_folder / "config.json").read_text())
    kind = gguf.GGMLQuantizationType.Q4_1
    tensors = {
        name: gguf.dequantize(gguf.quantize(tensor, kind), kind) if "_proj" in name else tensor
        for name, tensor in tensors_of(pocket_folder).items()
    }
    found = []
    for folder, content in (("on", tensors), ("off", dict(rescale(tensors.items(), config, seed=0)))):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "config.json").write_text(json.dumps(config))
        save_file(content, tmp_path / folder / "model.safetensors")
        found.append(recognise(open_folder(tmp_path / folder)))
    assert found[0] is not None and found[0].name == "Q4_1"
    assert found[1] is None


def tensors_of(folder: Path) -> Tensors:
    """A checkpoint's tensors in float32."""
    return {name: weights.read(tensor) for name, tensor in open_folder(folder).tensors.items()}


def rescale_folder(before: Path, after: Path) -> bool:
    """Rescale a saved model; whether the matrices changed."""
    config = json.loads((before / "config.json").read_text())
    tensors = tensors_of(before)
    rescaled = dict(rescale(tensors.items(), config, seed=0))
    after.mkdir()
    (after / "config.json").write_text(json.dumps(config))
    save_file(rescaled, after / "model.safetensors", metadata={"format": "pt"})
    return all(not np.array_equal(tensors[name], rescaled[name]) for name in tensors if "_proj.weight" in name)
