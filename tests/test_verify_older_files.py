"""The words' parts of the gate on checkpoints without tokenizer.json."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import small_checkpoint
import tokenizer_oracle
from edgequant.convert.vocabulary import probes
from edgequant.convert.vocabulary.tokenizer import Tokenizer
from edgequant.verify.finding import FAILED, PASSED, WARNING
from words import check, exchanged

END = "<|endoftext|>"


# -- vocab.json and merges.txt alone


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As GPT-2's first checkpoints are: the class has the special tokens, no file names them."""
    folder = tmp_path_factory.mktemp("lists")
    model = json.loads(small_checkpoint.byte_level())["model"]
    small_checkpoint.write_json(folder / "vocab.json", {**model["vocab"], END: len(model["vocab"])})
    merges = ["#version: 0.2", *(" ".join(pair) for pair in model["merges"])]
    (folder / "merges.txt").write_text("\n".join(merges) + "\n", encoding="utf-8")
    small_checkpoint.write_json(folder / "config.json", {"model_type": "gpt2"})
    small_checkpoint.write_json(folder / "tokenizer_config.json", {"tokenizer_class": "GPT2Tokenizer"})
    return folder


def test_special_ids_that_a_class_has(lists: Path, tmp_path: Path) -> None:
    found = check("special_ids", lists, tmp_path / "x.gguf", end=f"{END}\n")
    assert found.verdict == PASSED and len(found.samples) >= 7, found


@pytest.mark.slow
def test_a_wrong_one_is_seen(lists: Path, tmp_path: Path) -> None:
    found = check("special_ids", lists, tmp_path / "x.gguf", changes={"tokenizer.ggml.eos_token_id": 7})
    assert found.verdict == FAILED and "EOS is 7 instead of" in found.said


@pytest.mark.slow
def test_ids_of_lists_are_transformers_own(lists: Path, tmp_path: Path) -> None:
    found = check("tokens", lists, tmp_path / "x.gguf")
    assert found.verdict == PASSED and "project itself" not in found.said, found
    wrong = check("tokens", lists, tmp_path / "x.gguf", changes=exchanged(lists, "t", "h"))
    assert wrong.verdict == FAILED and "instead of" in wrong.said


@pytest.mark.slow
def test_without_transformers_the_gate_says_whose_reading_it_is(
    lists: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "path" / "transformers").mkdir(parents=True)
    (tmp_path / "path" / "transformers" / "__init__.py").write_text("raise ImportError('not here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    found = check("tokens", lists, tmp_path / "x.gguf")
    assert found.verdict == PASSED and "as the project itself reads its files" in found.said
    found = check("special_ids", lists, tmp_path / "x.gguf", end=END)
    assert found.verdict == PASSED, found


# -- tokenizer.model alone


@pytest.fixture(scope="module", params=[True, False], ids=["legacy", "not legacy"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SentencePiece model; a space before every text, or before the whole of it alone."""
    folder = tmp_path_factory.mktemp("model")
    texts = [text for text in probes.texts() if "<" not in text and len(text) < 2000]
    (folder / "texts.json").write_text(json.dumps(texts))
    tokenizer_oracle.sentencepiece(folder)
    shutil.copy(folder / "bpe.model", folder / "tokenizer.model")
    small_checkpoint.write_json(folder / "config.json", {"model_type": "llama"})
    config = {"tokenizer_class": "LlamaTokenizer", "legacy": request.param}
    small_checkpoint.write_json(folder / "tokenizer_config.json", config)
    return folder


@pytest.mark.slow
def test_a_space_before_text_as_transformers_puts_it(model: Path, tmp_path: Path) -> None:
    text = "two words</s>and three"
    ours = Tokenizer(model)
    assert tokenizer_oracle.ask([model], text) == [[*ours.begin(), *ours.encode(text)]]
    found = check("tokens", model, tmp_path / "x.gguf")
    legacy = small_checkpoint.read_json(model / "tokenizer_config.json")["legacy"]
    assert found.verdict == (PASSED if legacy else WARNING) and "project itself" not in found.said, found
    assert check("special_ids", model, tmp_path / "x.gguf").verdict == PASSED
