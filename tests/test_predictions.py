"""What a report takes of a plan: predictions for the formats of a run, as long as its checkpoint lies somewhere."""

import json
from pathlib import Path
from typing import Any

import pytest

import recorded
from edgequant.profiles.records.run_folder import RunFolder
from edgequant.report.predictions import predictions

MODEL = Path(__file__).parent / "pocket" / "model"
CONFIG = json.loads((MODEL / "config.json").read_text())


def described(folder: Path, **changes: Any) -> RunFolder:
    """A run folder with what predictions read of its description."""
    made = RunFolder(folder)
    values = {
        "source": str(MODEL),
        "formats": ["F16", "Q8_0", "onnx-int8", "of a later version"],
        "context": 256,
        "onnx": {"block_size": 32, "calibration_digest": "0"},
        "checkpoint": {"name": "pocket", "revision": "sha256:1"},
    }
    made.describe({**values, **changes})
    return made


def test_formats_of_a_run_are_predicted_from_its_checkpoint(tmp_path: Path) -> None:
    found = predictions(described(tmp_path), recorded.device())
    assert set(found) == {"F16", "Q8_0", "onnx-int8"}
    for each in found.values():
        assert (each.context, each.trained_context) == (256, CONFIG["max_position_embeddings"])
        assert each.memory.bytes_per_token > 0
    assert found["Q8_0"].peak_memory_bytes < found["F16"].peak_memory_bytes


def test_memory_grows_by_the_keys_and_values_of_a_token(tmp_path: Path) -> None:
    """2 bytes a value in llama.cpp's float16 cache, and 4 for each of a batch of 512 in the mask."""
    heads, hidden = CONFIG["num_attention_heads"], CONFIG["hidden_size"]
    size = CONFIG.get("head_dim") or hidden // heads
    cached = 2 * 2 * CONFIG["num_hidden_layers"] * CONFIG["num_key_value_heads"] * size
    found = predictions(described(tmp_path), recorded.device())
    assert found["F16"].memory.bytes_per_token == cached + 4 * 512


@pytest.mark.parametrize("source", ["no/such-model", "/no/such/folder", "not a name at all", ""])
def test_without_its_checkpoint_nothing_is_predicted(tmp_path: Path, source: str) -> None:
    assert predictions(described(tmp_path, source=source), recorded.device()) == {}


def test_a_checkpoint_within_the_run_goes_before_the_one_that_was_named(tmp_path: Path) -> None:
    folder = described(tmp_path, source="no/such-model")
    folder.source.mkdir()
    (folder.source / "pocket").symlink_to(MODEL)
    assert set(predictions(folder, recorded.device())) == {"F16", "Q8_0", "onnx-int8"}
