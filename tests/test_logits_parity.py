"""Every supported architecture computes in llama.cpp what it computes in transformers, and a wrong key is seen."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import small_checkpoint
from edgequant import Error, child
from edgequant.convert import gguf_write
from edgequant.convert.architectures import table as architectures
from edgequant.convert.checkpoint import open_folder
from edgequant.runtimes.session import Settings

pytestmark = pytest.mark.slow

TOKENS = [(31 * n + n * n) % small_checkpoint.VOCABULARY for n in range(200)]
SIZES = {
    "vocab_size": small_checkpoint.VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "tie_word_embeddings": False,
}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama-mha": ("LlamaForCausalLM", {"num_key_value_heads": 4}),
    "llama-gqa": ("LlamaForCausalLM", {}),
    "llama-mqa": ("LlamaForCausalLM", {"num_key_value_heads": 1}),
    "llama-tied": ("LlamaForCausalLM", {"tie_word_embeddings": True, "rms_norm_eps": 0.01}),
    "llama-theta": ("LlamaForCausalLM", {"rope_theta": 500.0}),
    "llama-3": ("LlamaForCausalLM", {"rope_scaling": LLAMA3, "rope_theta": 500.0}),
    "llama-linear": ("LlamaForCausalLM", {"rope_scaling": {"rope_type": "linear", "factor": 4.0}}),
    "llama-wide": ("LlamaForCausalLM", {"head_dim": 32}),
    "mistral": ("MistralForCausalLM", {"sliding_window": None}),
    "mistral-wide": ("MistralForCausalLM", {"sliding_window": None, "head_dim": 32}),
    "qwen2": ("Qwen2ForCausalLM", {}),
    "qwen2-tied": ("Qwen2ForCausalLM", {"tie_word_embeddings": True}),
    "qwen3": ("Qwen3ForCausalLM", {"head_dim": 32}),
    "qwen3-tied": ("Qwen3ForCausalLM", {"head_dim": 16, "tie_word_embeddings": True}),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all checkpoints, and transformers' logits beside each."""
    folder = tmp_path_factory.mktemp("models")
    models = {name: {"class": class_, "config": SIZES | changes} for name, (class_, changes) in MODELS.items()}
    job = {"folder": str(folder), "tokens": TOKENS, "seed": 7, "models": models}
    script = Path(__file__).with_name("random_models.py")
    done = subprocess.run([sys.executable, script], input=json.dumps(job), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    for name in MODELS:
        small_checkpoint.write_tokenizer(folder / name)
    return folder


def compare(folder: Path, logits: Path, target: Path, *, format: str = "F32") -> dict[str, float]:
    """Convert the folder and compare llama.cpp's logits with those in the file."""
    job = {"folder": str(folder), "target": str(target), "format": format, "source": "", "name": "n", "revision": "r"}
    gguf_write.write(job, lambda text: None)
    settings = Settings(threads=1, context=256, repack=False, exact=True).to_json()
    files = {"container": "gguf", "path": str(target), "logits": str(logits)}
    entry = "edgequant.verify.logits:compare_logits"
    compared: dict[str, float] = child.run(entry, {**files, "tokens": TOKENS, "settings": settings}).unwrap()
    return compared


@pytest.mark.parametrize("name", list(MODELS))
def test_the_same_logits(made: Path, tmp_path: Path, name: str) -> None:
    exact = compare(made / name, made / f"{name}.npy", tmp_path / "x.gguf")
    assert exact["largest_difference"] < 5e-5 and exact["same_top_token"] > 0.99
    assert 0 <= exact["kl_divergence"] < 1e-6
    half = compare(made / name, made / f"{name}.npy", tmp_path / "x.gguf", format="F16")
    assert exact["largest_difference"] < half["largest_difference"] < 5e-3


def test_the_models_differ_in_what_they_are_made_for(made: Path) -> None:
    """Otherwise the comparison would prove nothing of scaling, norms and biases."""
    import numpy as np

    logits = {name: np.load(made / f"{name}.npy") for name in MODELS}
    assert all(0.5 < values.std() < 50 for values in logits.values())
    for a, b in (("llama-gqa", "llama-linear"), ("llama-theta", "llama-3"), ("llama-gqa", "llama-theta")):
        assert np.abs(logits[a] - logits[b]).max() > 0.1
    assert open_folder(made / "qwen2").tensors["model.layers.0.self_attn.q_proj.bias"].n_elements == 64
    assert "lm_head.weight" not in open_folder(made / "llama-tied").tensors


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("llama-gqa", {"rope_theta": 10500.0}),
        ("llama-gqa", {"rms_norm_eps": 0.03}),
        ("llama-gqa", {"rope_scaling": {"rope_type": "linear", "factor": 1.1}}),
        ("llama-linear", {"rope_scaling": None}),
        ("llama-3", {"rope_scaling": {**LLAMA3, "factor": 4.0}}),
        ("llama-3", {"rope_scaling": {**LLAMA3, "original_max_position_embeddings": 80}}),
        ("llama-3", {"rope_scaling": None}),
        ("llama-gqa", {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32}),
        ("llama-gqa", {"num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 8}),
        ("mistral", {"rope_theta": 9000.0}),
        ("qwen2", {"rope_theta": 9000.0}),
        ("qwen2", {"rms_norm_eps": 0.03}),
        ("qwen3", {"rope_theta": 9000.0}),
    ],
)
def test_a_wrong_key_is_seen(made: Path, tmp_path: Path, name: str, changes: dict[str, Any]) -> None:
    folder = shutil.copytree(made / name, tmp_path / name)
    values = small_checkpoint.read_json(folder / "config.json")
    small_checkpoint.write_json(folder / "config.json", {**values, **changes})
    found = compare(folder, made / f"{name}.npy", tmp_path / "x.gguf")
    assert found["largest_difference"] > 1e-3 and found["kl_divergence"] > 1e-5


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("llama-gqa", {"num_key_value_heads": 4}),
        ("llama-gqa", {"num_attention_heads": 8}),
        ("llama-wide", {"head_dim": 16}),
        ("qwen2", {"vocab_size": small_checkpoint.VOCABULARY + 1}),
        ("qwen3", {"head_dim": 16}),
    ],
)
def test_sizes_that_do_not_fit_the_tensors_are_refused(
    made: Path, tmp_path: Path, name: str, changes: dict[str, Any]
) -> None:
    folder = shutil.copytree(made / name, tmp_path / name)
    small_checkpoint.change_json(folder / "config.json", **changes)
    with pytest.raises(Error, match=r"llama\.cpp cannot load"):
        compare(folder, made / f"{name}.npy", tmp_path / "x.gguf")


def test_rows_that_are_not_interleaved_are_seen(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf_write, "interleave_rotary", lambda rows, head_rows: rows)
    found = compare(made / "llama-gqa", made / "llama-gqa.npy", tmp_path / "x.gguf")
    assert found["largest_difference"] > 1e-2


def test_every_architecture_of_the_table_is_compared() -> None:
    assert {class_ for class_, _ in MODELS.values()} == set(architectures.ARCHITECTURES)


def test_logits_that_are_no_numbers_are_no_parity(made: Path, tmp_path: Path) -> None:
    import numpy as np

    theirs = np.load(made / "llama-gqa.npy")
    theirs[100, 5] = np.nan
    np.save(tmp_path / "nan.npy", theirs)
    found = compare(made / "llama-gqa", tmp_path / "nan.npy", tmp_path / "x.gguf")
    assert not found["kl_divergence"] <= 1.0
