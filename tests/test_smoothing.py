"""Smoothing moves ranges from activations into weights, and what the model computes stays as it is."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

import oracles
import small_checkpoint
from decoders import DECODERS, TOKENS, transformers_makes
from edgequant import Error
from edgequant.convert import rescaled_copy
from edgequant.convert.calibration import smoothquant
from edgequant.convert.checkpoint import open_folder
from edgequant.convert.formats import FORMATS
from edgequant.convert.onnx_options import OnnxOptions
from edgequant.convert.rescale import SUPPORTED, Site, sites
from edgequant.tune import smoothing

Floats = NDArray[np.float32]
#: every family of the fused graph, in the forms that differ where something is folded
FAMILIES = (
    "llama", "llama-mha", "llama-mqa", "llama-wide", "llama-biases", "mistral", "qwen2", "qwen3", "gemma", "gemma2",
    "gemma3", "gemma3-vision", "phi3", "phi3-partial", "smollm3", "granite", "granite-biases", "olmo2",
)  # fmt: skip


def site(**changes: Any) -> Site:
    values: dict[str, Any] = {"name": "s", "producers": (), "consumers": (), "n_channels": 3}
    return Site(**{**values, **changes})


def floats(*values: float) -> Floats:
    return np.array(values, dtype=np.float32)


# -- the formula


def test_the_factors_by_hand() -> None:
    """sqrt(16/1), sqrt(4/4), sqrt(1/0.25) are 4, 1 and 2; only their ratios count."""
    found = smoothquant.factors(site(), floats(16, 4, 1), floats(1, 4, 0.25), strength=0.5)
    np.testing.assert_allclose(found, floats(4, 1, 2) / 4, rtol=1e-6)
    found = smoothquant.factors(site(), floats(16, 4, 1), floats(1, 4, 0.25), strength=1.0)
    np.testing.assert_allclose(found, floats(16, 4, 1) / 16, rtol=1e-6)


def test_after_smoothing_activations_and_weights_share_the_range() -> None:
    """At strength 0.5 both are the geometric mean of the two, channel by channel: what the method is for."""
    draw = np.random.default_rng(0).lognormal(0, 2, (2, 50)).astype(np.float32)
    s = smoothquant.factors(site(n_channels=50), *draw, strength=0.5)
    x, w = draw[0] / s, draw[1] * s
    np.testing.assert_allclose(x / w, (x / w)[0], rtol=1e-4)


def test_heads_of_a_group_are_tied() -> None:
    """Two heads of two channels, each read by two: the larger of the readers' counts."""
    grouped = site(n_channels=4, head_dim=2, n_readers=2)
    activations = floats(1, 4, 9, 2, 16, 1, 1, 25)
    found = smoothquant.factors(grouped, activations, np.ones(8, np.float32), strength=1.0)
    np.testing.assert_allclose(found, floats(9, 4, 16, 25) / 25, rtol=1e-6)


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_channels_of_zeros_take_the_middle(strength: float) -> None:
    zeros = smoothquant.factors(site(n_channels=4), floats(0, 4, 1, 16), floats(1, 1, 0, 1), strength=strength)
    assert np.isfinite(zeros).all() and (zeros > 0).all()
    np.testing.assert_allclose(zeros[[0, 2]], np.sqrt(zeros[1] * zeros[3]), rtol=1e-6)
    np.testing.assert_array_equal(smoothquant.factors(site(), *np.zeros((2, 3), np.float32), strength=strength), 1)


def test_a_channel_far_below_the_others_is_not_lost() -> None:
    found = smoothquant.factors(site(), floats(1e9, 1, 1e-30), floats(1, 1, 1), strength=1.0)
    np.testing.assert_allclose(found, [1, 1e-5, 1e-5], rtol=1e-6)


def test_the_largest_weights_of_a_checkpoint(tmp_path: Path) -> None:
    folder = small_checkpoint.write(tmp_path / "model")
    weights = small_checkpoint.tensors()
    found = smoothquant.largest_weights(open_folder(folder))
    assert set(found) == {each.name for each in sites(small_checkpoint.CONFIG)}
    start = "model.layers.1."
    joint = np.concatenate([weights[f"{start}mlp.{part}_proj.weight"] for part in ("gate", "up")])
    np.testing.assert_array_equal(found[f"{start}mlp_input"], np.abs(joint).max(axis=0))
    o = weights[f"{start}self_attn.o_proj.weight"]
    np.testing.assert_array_equal(found[f"{start}attention_output"], np.abs(o).max(axis=0))


def test_factors_are_saved_and_loaded(tmp_path: Path) -> None:
    values = {"b": floats(1, 2), "a": floats(3)}
    smoothquant.save(tmp_path / "factors.safetensors", values)
    found = smoothquant.load(tmp_path / "factors.safetensors")
    assert set(found) == set(values)
    assert all(np.array_equal(found[name], values[name]) for name in values)
    with pytest.raises(Error, match="does not exist"):
        smoothquant.load(tmp_path / "other.safetensors")
    (tmp_path / "other.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(Error, match="no safetensors file"):
        smoothquant.load(tmp_path / "other.safetensors")


# -- the search


def test_the_search_finds_the_lowest_point() -> None:
    asked: list[float] = []

    def divergence(strength: float) -> float:
        asked.append(strength)
        return abs(strength - 0.66) + 0.1

    found = smoothing.best_of(divergence)
    assert found.strength == 0.65 and set(found.divergences) == set(asked)
    assert asked == [0.0, *smoothing.STRENGTHS, 0.65, 0.75]
    assert found.note == "smoothed: strength 0.65; 0.11 nats a token instead of 0.76 on the calibration text"


def test_what_helps_nothing_is_left() -> None:
    found = smoothing.best_of(lambda strength: 0.02 + strength)
    assert found.strength == 0
    assert found.note == "not smoothed: no strength was better than none (0.02 nats a token on the calibration text)"


def test_the_strength_is_judged_all_over_the_text() -> None:
    windows = [[n] * 512 for n in range(9)] + [[9] * 40]
    assert [(window[0], len(window)) for window in smoothing.scored(windows)] == [
        (0, 256), (2, 256), (4, 256), (6, 256),
    ]  # fmt: skip
    assert smoothing.scored([[1] * 100]) == [[1] * 100]
    with pytest.raises(Error, match="60 tokens is too short"):
        smoothing.scored([[1] * 60])


def search(folder: Path, scratch: Path, format_name: str, **options: Any) -> smoothing.Search:
    return smoothing.Search(
        checkpoint=open_folder(folder),
        fmt=FORMATS[format_name],
        options=OnnxOptions(**options),
        scratch=scratch,
        threads=2,
    )


@pytest.mark.slow
def test_what_smoothing_buys_the_pocket_model(tmp_path: Path, pocket_folder: Path) -> None:
    with smoothing.lent(search(pocket_folder, tmp_path / "scratch", "onnx-int8-dynamic-smooth")) as (copy, found):
        assert copy.path != pocket_folder and copy.name == "model"
        assert found.strength >= 0.6
        assert found.divergences[found.strength] < 0.4 * found.divergences[0.0]
        ids = TOKENS[:64]
        folders = [str(pocket_folder), str(copy.path)]
        before, after = map(np.array, oracles.ask("transformers_logits", folders=folders, ids=ids))
    assert np.abs(after - before).max() < 1e-4 * (before.max() - before.min())
    assert not (tmp_path / "scratch").exists()


@pytest.mark.slow
def test_a_search_that_fails_leaves_nothing(tmp_path: Path, pocket_folder: Path) -> None:
    (tmp_path / "mine.txt").write_text("Too short.")
    wanted = search(pocket_folder, tmp_path / "s", "onnx-w8a8-smooth", calibration=tmp_path / "mine.txt")
    with pytest.raises(Error, match="too short to choose a strength by"), smoothing.lent(wanted):
        pass
    assert not (tmp_path / "s").exists()


# -- the copy


def strong_factors(config: dict[str, Any], file: Path) -> dict[str, Floats]:
    """Factors from 1/20 to 20 for every channel."""
    generator = np.random.default_rng(5)
    drawn = {each.name: np.exp(generator.uniform(-3, 3, each.n_channels)).astype(np.float32) for each in sites(config)}
    smoothquant.save(file, drawn)
    return drawn


def test_a_copy_is_lent_and_removed(tmp_path: Path) -> None:
    folder = small_checkpoint.write(tmp_path / "model", dtype="BF16", n_shards=2)
    checkpoint, file = open_folder(folder), tmp_path / "factors.safetensors"
    drawn = strong_factors(small_checkpoint.CONFIG, file)
    with rescaled_copy.lent(checkpoint, file, tmp_path / "copy") as copy:
        assert (copy.name, copy.revision, copy.dtype) == (checkpoint.name, checkpoint.revision, "F32")
        assert set(copy.tensors) == set(checkpoint.tensors)
        assert (copy.path / "tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()
        name = "model.layers.1.mlp.down_proj.weight"
        stored = small_checkpoint.tensors()[name].astype(small_checkpoint.DTYPES["BF16"]).astype(np.float32)
        written = load_file(copy.path / "model.safetensors")
        np.testing.assert_array_equal(written[name], stored * drawn["model.layers.1.mlp_output"])
        np.testing.assert_array_equal(
            written["model.embed_tokens.weight"],
            small_checkpoint.tensors()["model.embed_tokens.weight"].astype(small_checkpoint.DTYPES["BF16"]),
        )
    assert not (tmp_path / "copy").exists()


def test_factors_of_another_model_are_refused(tmp_path: Path) -> None:
    checkpoint, file = open_folder(small_checkpoint.write(tmp_path / "model")), tmp_path / "factors.safetensors"
    for wrong in ({"model.layers.0.mlp_input": floats(1, 2)}, {"model.layers.7.mlp_input": np.ones(32, np.float32)}):
        smoothquant.save(file, wrong)
        with (
            pytest.raises(Error, match="factors of another model"),
            rescaled_copy.lent(checkpoint, file, tmp_path / "copy"),
        ):
            pass
        assert not (tmp_path / "copy").exists()


def test_a_full_disk_is_said_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint, file = open_folder(small_checkpoint.write(tmp_path / "model")), tmp_path / "factors.safetensors"
    strong_factors(small_checkpoint.CONFIG, file)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=10))
    with pytest.raises(Error, match="GB are free"), rescaled_copy.lent(checkpoint, file, tmp_path / "c"):
        pass
    assert not (tmp_path / "c").exists()


# -- transformers computes the same


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """Random checkpoints of every family, as they are and rescaled."""
    root = tmp_path_factory.mktemp("families")
    models = {name: {"class": DECODERS[name].kind, "config": DECODERS[name].config} for name in FAMILIES}
    transformers_makes({"folder": str(root), "tokens": TOKENS[:64], "seed": 11, "models": models})
    for name in FAMILIES:
        strong_factors(small_checkpoint.read_json(root / name / "config.json"), root / "factors")
        (root / f"{name}-rescaled").mkdir()
        job = {"folder": str(root / name), "target": str(root / f"{name}-rescaled"), "factors": str(root / "factors")}
        rescaled_copy.write(job, lambda text: None)
    return {name: (root / name, root / f"{name}-rescaled") for name in FAMILIES}


@pytest.fixture(scope="module")
def logits(folders: dict[str, tuple[Path, Path]]) -> dict[str, list[Floats]]:
    """transformers' float32 logits before and after."""
    paths = [str(path) for pair in folders.values() for path in pair]
    found = [np.array(each) for each in oracles.ask("transformers_logits", folders=paths, ids=TOKENS[:64])]
    return {name: found[2 * n : 2 * n + 2] for n, name in enumerate(folders)}


@pytest.mark.slow
def test_every_family_is_proven(folders: dict[str, tuple[Path, Path]]) -> None:
    kinds = {small_checkpoint.read_json(before / "config.json")["model_type"] for before, _ in folders.values()}
    assert kinds == set(SUPPORTED)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_strong_factors_leave_the_logits(logits: dict[str, list[Floats]], name: str) -> None:
    before, after = logits[name]
    assert 0.2 < before.std() < 50
    assert 0 < np.abs(after - before).max() < 1e-4 * (before.max() - before.min())


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_every_product_gets_another_input(folders: dict[str, tuple[Path, Path]], name: str) -> None:
    """All matrices of the layers change, but for OLMo 2's q, k and gate, which no norm stands before."""
    before, after = (load_file(folder / "model.safetensors") for folder in folders[name])
    products = {key for key in before if key.endswith("_proj.weight") and "vision" not in key}
    same = {key.split(".")[-2] for key in products if np.array_equal(before[key], after[key])}
    assert same == ({"q_proj", "k_proj", "gate_proj"} if name == "olmo2" else set())
