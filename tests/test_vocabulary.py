"""tokenizer.json as a GGUF's vocabulary: kinds of tokens, scores, special ids, and what is refused."""

import json
import os
import unicodedata
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

import small_checkpoint
from edgequant import Error, child
from edgequant.accuracy.parity import STRINGS
from edgequant.convert import gguf_write
from edgequant.convert.checkpoint import open_folder
from edgequant.convert.gguf_header import read_header
from edgequant.convert.vocabulary import from_checkpoint
from edgequant.convert.vocabulary.from_checkpoint import read_vocabulary, recognise
from edgequant.convert.vocabulary.from_gguf import Vocabulary

N_TOKENS = 600
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)  # llama.h, enum llama_token_type

# Pre-tokenizers as the tokenizer.json of published models have them.
_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
_TAIL = "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"


def split(regex: str, **changes: Any) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False, **changes}


def sequence(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "pretokenizers": list(steps)}


LLAMA3 = sequence(split(_CONTRACTIONS + "\\p{N}{1,3}" + _TAIL), {**_LEVEL, "use_regex": False})
QWEN2 = sequence(split(_CONTRACTIONS + "\\p{N}" + _TAIL), {**_LEVEL, "use_regex": False})
SMOLLM = sequence({"type": "Digits", "individual_digits": True}, {**_LEVEL, "use_regex": True})
NFC = {"type": "NFC"}


def tokenizer(pre: Any, *, normalizer: Any = None, **model: Any) -> dict[str, Any]:
    return {"normalizer": normalizer, "pre_tokenizer": pre, "model": {"type": "BPE", "ignore_merges": False, **model}}


@pytest.mark.parametrize(
    ("defined", "name"),
    [
        (tokenizer(_LEVEL), "gpt-2"),
        (tokenizer({**_LEVEL, "use_regex": True}), "gpt-2"),
        (tokenizer(SMOLLM), "smollm"),
        (tokenizer(QWEN2, normalizer=NFC), "qwen2"),
        (tokenizer(QWEN2, normalizer={"type": "Sequence", "normalizers": [NFC]}), "qwen2"),
        (tokenizer(QWEN2), "deepseek-r1-qwen"),
        (tokenizer(LLAMA3, ignore_merges=True), "llama-bpe"),
    ],
)
def test_published_pre_tokenizers_are_recognised(defined: dict[str, Any], name: str) -> None:
    assert recognise(defined) == name


@pytest.mark.parametrize(
    ("defined", "said"),
    [
        (tokenizer(LLAMA3), "no pre-tokenizer known"),
        (tokenizer(LLAMA3, normalizer=NFC, ignore_merges=True), "no pre-tokenizer known"),
        (tokenizer(SMOLLM, normalizer=NFC), "no pre-tokenizer known"),
        (tokenizer(None), "no pre-tokenizer known"),
        (tokenizer(sequence(split("\\d+"), _LEVEL)), "no pre-tokenizer known"),
        (tokenizer(sequence(split("\\d+", behavior="Removed"), _LEVEL)), "step .*Removed.* is not supported"),
        (tokenizer(sequence(split("\\d+", invert=True), _LEVEL)), "step .* is not supported"),
        (tokenizer({**_LEVEL, "add_prefix_space": True}), "step .* is not supported"),
        (tokenizer({"type": "Whitespace"}), "step .*Whitespace.* is not supported"),
        (tokenizer({"type": "Digits", "individual_digits": False}), "step .*Digits.* is not supported"),
        (tokenizer(_LEVEL, normalizer={"type": "Lowercase"}), "normalizers .*Lowercase.* are not supported"),
    ],
)
def test_what_llama_cpp_has_no_name_for_is_refused(defined: dict[str, Any], said: str) -> None:
    with pytest.raises(Error, match=said):
        recognise(defined)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return small_checkpoint.write(tmp_path / "model")


def read(folder: Path) -> Vocabulary:
    return read_vocabulary(open_folder(folder))


def change_tokenizer(folder: Path, **changes: Any) -> None:
    small_checkpoint.change_json(folder / "tokenizer.json", **changes)


def test_a_byte_level_vocabulary(folder: Path) -> None:
    ours, file = read(folder), small_checkpoint.read_json(folder / "tokenizer.json")
    added = {row["content"]: row["id"] for row in file["added_tokens"]}
    kinds = dict(zip(ours.tokens, ours.types, strict=True))
    assert (ours.model, ours.pre, ours.scores, ours.add_bos) == ("gpt2", "smollm", (), False)
    assert all(ours.tokens[index] == token for token, index in {**file["model"]["vocab"], **added}.items())
    assert kinds["<|start|>"] == kinds["<|end|>"] == CONTROL and kinds["<tool>"] == USER_DEFINED
    assert all(kinds[token] == NORMAL for token in file["model"]["vocab"])
    assert ours.special == {"bos": added["<|start|>"], "eos": added["<|end|>"]}
    assert list(ours.merges) == [" ".join(pair) for pair in file["model"]["merges"]]


def test_merges_in_the_older_spelling(folder: Path) -> None:
    expected = list(read(folder).merges)
    model = small_checkpoint.read_json(folder / "tokenizer.json")["model"]
    change_tokenizer(folder, model={**model, "merges": expected})
    assert list(read(folder).merges) == expected and isinstance(expected[0], str)


def test_ids_that_the_tokenizer_leaves_out(folder: Path) -> None:
    last = {"content": "<last>", "id": 310, "special": True, "lstrip": False, "rstrip": False, "normalized": False}
    added = small_checkpoint.read_json(folder / "tokenizer.json")["added_tokens"]
    change_tokenizer(folder, added_tokens=[*added, {**last, "single_word": False}])
    ours = read(folder)
    assert len(ours.tokens) == 311 and ours.tokens[310] == "<last>" and ours.types[310] == CONTROL
    assert set(ours.types[298:310]) == {UNUSED} and ours.tokens[300] == "[PAD300]"


def test_padding_up_to_the_rows_of_the_embedding(folder: Path, tmp_path: Path) -> None:
    job = {
        "folder": str(folder),
        "target": str(tmp_path / "x.gguf"),
        "format": "F16",
        "source": "",
        "name": "n",
        "revision": "r",
    }
    gguf_write.write(job, lambda text: None)
    metadata = read_header(tmp_path / "x.gguf").metadata
    tokens, types = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    assert len(tokens) == len(types) == len(set(tokens)) == small_checkpoint.VOCABULARY
    assert tokens[319] == "[PAD319]" and set(types[298:]) == {UNUSED}
    assert (metadata["tokenizer.ggml.bos_token_id"], metadata["tokenizer.ggml.eos_token_id"]) == (295, 296)
    assert metadata["tokenizer.ggml.add_bos_token"] is False
    assert "tokenizer.ggml.padding_token_id" not in metadata and "tokenizer.ggml.unknown_token_id" not in metadata


def metaspace(**scheme: Any) -> dict[str, Any]:
    return {"type": "Metaspace", "replacement": small_checkpoint.SPACE, **scheme}


def with_sentencepiece(folder: Path, **changes: Any) -> Vocabulary:
    small_checkpoint.write_json(folder / "tokenizer.json", small_checkpoint.sentencepiece(**changes))
    return read(folder)


def test_a_sentencepiece_vocabulary(folder: Path) -> None:
    ours = with_sentencepiece(folder)
    kinds, scores = dict(zip(ours.tokens, ours.types, strict=True)), dict(zip(ours.tokens, ours.scores, strict=False))
    assert (ours.model, ours.pre, list(ours.merges)) == ("llama", "default", [])
    assert (kinds["<unk>"], kinds["<s>"], kinds["<0x00>"], kinds["<0xFF>"]) == (UNKNOWN, CONTROL, BYTE, BYTE)
    assert (kinds["a"], kinds[small_checkpoint.SPACE + "ab"], kinds["<user>"]) == (NORMAL, NORMAL, USER_DEFINED)
    assert len(ours.scores) == len(ours.tokens)
    # the rank of the first merge that makes the piece; what no merge makes is never merged
    assert scores["ab"] == 0 and scores[small_checkpoint.SPACE + "ab"] == -1
    assert scores["x"] == scores["<s>"] < -1e6


@pytest.mark.parametrize(
    ("normalizer", "pre_tokenizer", "expected"),
    [
        ({"type": "Sequence", "normalizers": [small_checkpoint.PREPEND, small_checkpoint.REPLACE]}, None, True),
        (small_checkpoint.REPLACE, None, False),
        (
            None,
            metaspace(prepend_scheme="always"),
            True,
        ),
        (
            None,
            metaspace(prepend_scheme="first"),
            True,
        ),
        (
            None,
            metaspace(prepend_scheme="never"),
            False,
        ),
        (None, metaspace(add_prefix_space=True), True),
        (None, metaspace(add_prefix_space=False), False),
    ],
)
def test_whether_a_space_is_put_before_a_text(
    folder: Path, normalizer: Any, pre_tokenizer: Any, expected: bool
) -> None:
    assert with_sentencepiece(folder, normalizer=normalizer, pre_tokenizer=pre_tokenizer).add_space_prefix is expected


@pytest.mark.parametrize("kind", ["Unigram", "WordPiece", "WordLevel"])
def test_other_models_are_refused(folder: Path, kind: str) -> None:
    vocabulary: Any = [["<unk>", 0.0], ["a", -1.0]] if kind == "Unigram" else {"a": 0}
    change_tokenizer(folder, model={"type": kind, "vocab": vocabulary})
    with pytest.raises(Error, match=f"of type {kind} are not supported"):
        read(folder)


@pytest.mark.parametrize("change", [{"model": None}, {"model": {"type": "BPE"}}])
def test_a_tokenizer_without_a_vocabulary(folder: Path, change: dict[str, Any]) -> None:
    change_tokenizer(folder, **change)
    with pytest.raises(Error, match="no vocabulary"):
        read(folder)


def test_a_checkpoint_without_a_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    with pytest.raises(Error, match=r"has no tokenizer\.json") as caught:
        read(folder)
    assert "save_pretrained" in caught.value.hint


# -- llama.cpp cuts the written vocabulary as the checkpoint's own tokenizer does


def first_difference(folder: Path, target: Path) -> str:
    """What the gate says of a GGUF made from the folder; "" where the tokenizers agree."""
    job = {"folder": str(folder), "target": str(target), "format": "F16", "source": "", "name": "n", "revision": "r"}
    gguf_write.write(job, lambda text: None)
    outcome = child.run("edgequant.accuracy.parity:compare_tokens", {"folder": str(folder), "path": str(target)})
    said: str = outcome.unwrap()
    return said


KINDS: dict[str, tuple[Any, Any]] = {
    "gpt-2": (_LEVEL, None),
    "smollm": (SMOLLM, None),
    "qwen2": (QWEN2, NFC),
    "deepseek-r1-qwen": (QWEN2, None),
    "llama-bpe": (LLAMA3, None),
}


@cache
def eager_model() -> dict[str, Any]:
    """Merges learnt from whole strings, so that it shows where a pre-tokenizer cuts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=N_TOKENS, initial_alphabet=alphabet, show_progress=False)
    # llama.cpp takes an ordinary token that is spelled </s> for a special one
    texts = [unicodedata.normalize("NFC", text) for text in STRINGS if "</s>" not in text]
    tokenizer.train_from_iterator(texts * 3, trainer)
    model: dict[str, Any] = json.loads(tokenizer.to_str())["model"]
    return model


@pytest.fixture
def eager(tmp_path: Path) -> Path:
    """A checkpoint with these merges."""
    weights = small_checkpoint.tensors()
    weights["model.embed_tokens.weight"] = np.zeros((N_TOKENS, small_checkpoint.HIDDEN), dtype=np.float32)
    config = small_checkpoint.config(vocab_size=N_TOKENS)
    return small_checkpoint.write(tmp_path / "eager", config=config, tensors=weights)


def with_kind(folder: Path, kind: str) -> None:
    pre, normalizer = KINDS[kind]
    model = {**eager_model(), "ignore_merges": kind == "llama-bpe"}
    change_tokenizer(folder, pre_tokenizer=pre, normalizer=normalizer, model=model, added_tokens=[])


@pytest.mark.parametrize("kind", list(KINDS))
def test_llama_cpp_cuts_byte_level_text_in_the_same_way(eager: Path, tmp_path: Path, kind: str) -> None:
    with_kind(eager, kind)
    assert read(eager).pre == kind
    assert first_difference(eager, tmp_path / "x.gguf") == ""


@pytest.mark.parametrize(("kind", "mistaken_for"), [("smollm", "gpt-2"), ("qwen2", "smollm"), ("gpt-2", "llama-bpe")])
def test_the_gate_sees_a_wrong_pre_tokenizer(
    eager: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, mistaken_for: str
) -> None:
    with_kind(eager, kind)
    monkeypatch.setattr(from_checkpoint, "recognise", lambda tokenizer: mistaken_for)
    assert " instead of " in first_difference(eager, tmp_path / "x.gguf")


def test_llama_cpp_cuts_the_oracles_text_in_the_same_way(oracle_folder: Path, tmp_path: Path) -> None:
    assert first_difference(oracle_folder, tmp_path / "x.gguf") == ""
    assert read(oracle_folder).add_bos


def test_ids_by_llama_cpp_and_by_the_tokenizers_package(
    oracle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.fspath(Path(__file__).parent))
    first_difference(oracle_folder, tmp_path / "x.gguf")
    ours = child.run("native:tokenise", {"path": str(tmp_path / "x.gguf"), "texts": STRINGS}).unwrap()
    encoder = Tokenizer.from_file(str(oracle_folder / "tokenizer.json"))
    assert ours == [encoder.encode(text, add_special_tokens=False).ids for text in STRINGS]
    assert max(map(len, ours)) > 100
