"""SentencePiece in its forms: a model file alone, tokenizer.json with byte fallback, Unigram; and vocab.json alone."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

import small_checkpoint
import tokenizer_oracle
import words
from edgequant import Error
from edgequant.convert.vocabulary import probes, proof, sentencepiece_model
from edgequant.convert.vocabulary import tokenizer as checkpoint_tokenizer
from edgequant.convert.vocabulary.departures import DEPARTURES, KEY
from edgequant.convert.vocabulary.tokenizer import read_files
from edgequant.convert.vocabulary.variants import variants
from edgequant.convert.vocabulary.vocabulary import Vocabulary, entries
from edgequant.verify.finding import FAILED, WARNING

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)  # llama.h, enum llama_token_type
SPACE = small_checkpoint.SPACE
TEXTS = [text for text in probes.texts() if "<" not in text and len(text) < 2000]


def proven(folder: Path, *, name: str = "") -> Vocabulary:
    files = read_files(folder)
    n_tokens = len(next(variants(files)).tokens) + 3
    return proof.prove(variants(files), n_tokens=n_tokens, name=name)


# -- tokenizer.model alone


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models that the sentencepiece package made, and what it answers."""
    folder = tmp_path_factory.mktemp("sentencepiece")
    (folder / "texts.json").write_text(json.dumps(TEXTS))
    tokenizer_oracle.sentencepiece(folder)
    return folder


def with_model(tmp_path: Path, file: Path, **config: Any) -> Path:
    (tmp_path / "tokenizer.model").write_bytes(file.read_bytes())
    small_checkpoint.write_json(tmp_path / "tokenizer_config.json", {"tokenizer_class": "LlamaTokenizer", **config})
    return tmp_path


def test_ids_of_the_sentencepiece_package(tmp_path: Path, trained: Path) -> None:
    expected = json.loads((trained / "ids.json").read_text())
    tokenizer = checkpoint_tokenizer.Tokenizer(with_model(tmp_path, trained / "bpe.model"))
    assert [tokenizer.encode(text) for text in TEXTS] == expected
    assert tokenizer.begin() == [1] and tokenizer.files.special_ids == {"bos": 1, "eos": 2, "unk": 0}
    assert tokenizer.decode(tokenizer.encode("two words")) == "two words"


def test_exact_scores_and_types_travel_and_llama_cpp_agrees(tmp_path: Path, trained: Path) -> None:
    ours, rows = proven(with_model(tmp_path, trained / "bpe.model")), json.loads((trained / "pieces.json").read_text())
    assert [[t, s] for t, s in zip(ours.tokens, ours.scores, strict=True)] == [row[:2] for row in rows]
    assert list(ours.types) == [row[2] for row in rows]
    assert {UNKNOWN, CONTROL, NORMAL, USER_DEFINED, BYTE} <= set(ours.types)
    assert (ours.model, ours.add_bos, ours.add_space_prefix) == ("llama", True, True)


def test_tokens_added_beside_the_model(tmp_path: Path, trained: Path) -> None:
    n = len(json.loads((trained / "pieces.json").read_text()))
    added = {str(n): {"content": "<|im_end|>", "special": True}, str(n + 1): {"content": "<tool>", "special": False}}
    ours = proven(with_model(tmp_path, trained / "bpe.model", added_tokens_decoder=added, eos_token="<|im_end|>"))
    assert ours.tokens[n:] == ["<|im_end|>", "<tool>"] and list(ours.types[n:]) == [CONTROL, USER_DEFINED]
    assert ours.special["eos"] == n


@pytest.mark.parametrize(
    ("file", "said"), [("unigram.model", "of the kind Unigram"), ("nfkc.model", "normalises text")]
)
def test_models_that_llama_cpp_cannot_follow(tmp_path: Path, trained: Path, file: str, said: str) -> None:
    with pytest.raises(Error, match=said) as caught:
        read_files(with_model(tmp_path, trained / file))
    assert "save_pretrained" in caught.value.hint


@pytest.mark.parametrize("data", [b"", b"\n", b"version https://git-lfs", b"\x0a\x05ab", b"\x0a\x02\x08\x01"])
def test_a_file_that_is_no_model(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "tokenizer.model").write_bytes(data)
    with pytest.raises(Error, match=r"tokenizer\.model is (no|a) SentencePiece model"):
        sentencepiece_model.read(tmp_path / "tokenizer.model")


# -- tokenizer.json with byte fallback


@cache
def bpe(*, prefix: bool) -> str:
    """Merges over pieces of text with a mark for spaces, all bytes, special tokens 0 to 3."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    before: list[Any] = [normalizers.Prepend(SPACE)] if prefix else []
    tokenizer.normalizer = normalizers.Sequence([*before, normalizers.Replace(" ", SPACE)])
    if not prefix:  # as Gemma has it; it never meets a space
        tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    special = ["<unk>", "<s>", "</s>", "<end_of_turn>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(
        vocab_size=1200, special_tokens=special, limit_alphabet=300, show_progress=False, max_token_length=8
    )
    # llama.cpp reads a token up to its first NUL
    tokenizer.train_from_iterator([text for text in TEXTS if "\x00" not in text] * 2, trainer)
    made = json.loads(tokenizer.to_str())
    made["added_tokens"] = [row for row in made["added_tokens"] if not row["content"].startswith("<0x")]
    return json.dumps(made)


def write(folder: Path, tokenizer: Any, **config: Any) -> Path:
    text = tokenizer if isinstance(tokenizer, str) else json.dumps(tokenizer)
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")
    small_checkpoint.write_json(folder / "tokenizer_config.json", {"tokenizer_class": "LlamaTokenizer", **config})
    return folder


@pytest.mark.parametrize("prefix", [True, False])
def test_byte_fallback_with_and_without_a_space_before(tmp_path: Path, prefix: bool) -> None:
    ours = proven(write(tmp_path, bpe(prefix=prefix), chat_template="{{ m }}<end_of_turn>"))
    assert ours.add_space_prefix is prefix and ours.add_bos
    assert ours.model == ("llama" if prefix else ours.model) and ours.special["eot"] == 3


@pytest.mark.parametrize(
    ("scheme", "template", "prefix", "departure"),
    [
        ("always", None, True, "spaced"),
        ("first", None, True, "spaced after special tokens"),
        ("first", "{{ m }}", False, "bare"),
        ("never", None, False, ""),
    ],
)
def test_a_space_by_metaspace(tmp_path: Path, scheme: str, template: Any, prefix: bool, departure: str) -> None:
    """llama.cpp puts one before a space too, and after every special token: the file says so."""
    metaspace = {"type": "Metaspace", "replacement": SPACE, "split": False, "prepend_scheme": scheme}
    made = {**json.loads(bpe(prefix=True)), "normalizer": None, "pre_tokenizer": metaspace}
    ours = proven(write(tmp_path, made, chat_template=template))
    assert (ours.add_space_prefix, ours.departure) == (prefix, departure)
    says = dict(entries(ours, len(ours.tokens)))
    assert says.get("edgequant.tokenizer.departs") == DEPARTURES.get(departure)


@pytest.mark.parametrize("scheme", ["always", "first"])
def test_a_departure_excuses_nothing_else(tmp_path: Path, scheme: str) -> None:
    metaspace = {"type": "Metaspace", "replacement": SPACE, "split": False, "prepend_scheme": scheme}
    digits = {"type": "Digits", "individual_digits": True}
    steps = {"type": "Sequence", "pretokenizers": [metaspace, digits]}
    made = {**json.loads(bpe(prefix=True)), "normalizer": None, "pre_tokenizer": steps}
    with pytest.raises(Error, match="instead of"):
        proven(write(tmp_path, made))


@pytest.fixture(scope="module")
def spaced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A space is put before a text that does not begin with one."""
    metaspace = {"type": "Metaspace", "replacement": SPACE, "split": False, "prepend_scheme": "always"}
    steps = [{"type": "Replace", "pattern": {"String": SPACE}, "content": " "}, {"type": "ByteFallback"}]
    steps += [{"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]
    made = {**json.loads(bpe(prefix=True)), "normalizer": None, "pre_tokenizer": metaspace}
    made["decoder"] = {"type": "Sequence", "decoders": steps}
    return write(tmp_path_factory.mktemp("spaced"), made)


def test_the_gate_warns_of_a_departure_that_the_file_states(spaced: Path, tmp_path: Path) -> None:
    found = words.check("tokens", spaced, tmp_path / "x.gguf")
    assert found.verdict == WARNING and set(found.samples) == {1.0}, found
    assert "strings left out, for which the file says: a text that begins with a space" in found.said
    assert 200 < len(found.samples) < len(probes.texts())


@pytest.mark.parametrize("kept_quiet", [True, False], ids=["kept quiet", "another difference"])
def test_the_gate_excuses_nothing_else(spaced: Path, tmp_path: Path, kept_quiet: bool) -> None:
    changes = {KEY: None} if kept_quiet else words.exchanged(spaced, "t", "h")
    found = words.check("tokens", spaced, tmp_path / "x.gguf", changes=changes)
    assert found.verdict == FAILED and "instead of" in found.said and "left out" not in found.said


def test_tokens_that_strip_the_space_after_them(tmp_path: Path) -> None:
    """As Phi-3's do: llama.cpp follows for models of that name alone."""
    made = json.loads(bpe(prefix=True))
    flags = {"single_word": False, "lstrip": False, "rstrip": True, "normalized": False, "special": True}
    for row in made["added_tokens"]:
        row["rstrip"] = row["content"] == "</s>"
    made["added_tokens"] += [{"id": 1200 + n, "content": t, **flags} for n, t in enumerate(["<|end|>", "<|user|>"])]
    made["added_tokens"] += [{**made["added_tokens"][0], "id": 1202, "content": "<|endoftext|>"}]
    made["added_tokens"][3]["rstrip"] = True
    folder = write(tmp_path, made)
    assert proven(folder, name="Phi-3-mini").model == "llama"
    with pytest.raises(Error, match="instead of") as caught:
        proven(folder, name="other")
    assert re.search("strips spaces around it, .*phi-3", caught.value.hint)


# -- Unigram


def unigram(**changes: Any) -> dict[str, Any]:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Replace("  ", " ")
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    trainer = trainers.UnigramTrainer(
        vocab_size=600, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator([text for text in TEXTS if text.isascii()] * 3, trainer)
    made: dict[str, Any] = json.loads(tokenizer.to_str())
    squeeze = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}
    strip = {"type": "Strip", "strip_left": True, "strip_right": True}
    return {**made, "normalizer": {"type": "Sequence", "normalizers": [strip, squeeze]}, **changes}


def test_a_unigram_vocabulary_in_its_terms(tmp_path: Path) -> None:
    made = unigram()
    folder = write(tmp_path, made, tokenizer_class="T5Tokenizer", pad_token="<pad>", eos_token="</s>")
    ours = next(variants(read_files(folder)))
    assert (ours.model, ours.add_space_prefix, ours.remove_extra_whitespaces) == ("t5", True, True)
    assert list(ours.scores) == [score for _, score in made["model"]["vocab"]]
    assert ours.special == {"pad": 0, "eos": 1, "unk": 2} and list(ours.types[:3]) == [CONTROL, CONTROL, UNKNOWN]


def test_a_unigram_tokenizer_that_llama_cpp_cuts_otherwise_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Error, match="instead of"):
        proven(write(tmp_path, unigram(), tokenizer_class="T5Tokenizer"))


# -- vocab.json and merges.txt alone


def test_vocabulary_and_merges_alone(tmp_path: Path) -> None:
    made = json.loads(small_checkpoint.byte_level())
    vocab = {**made["model"]["vocab"], "<|endoftext|>": len(made["model"]["vocab"])}
    small_checkpoint.write_json(tmp_path / "vocab.json", vocab)
    lines = ["#version: 0.2", *(" ".join(pair) for pair in made["model"]["merges"])]
    (tmp_path / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    small_checkpoint.write_json(tmp_path / "tokenizer_config.json", {"tokenizer_class": "GPT2Tokenizer"})
    ours = proven(tmp_path)
    assert (ours.model, ours.pre, ours.add_bos) == ("gpt2", "gpt-2", False)
    assert ours.special == {name: len(vocab) - 1 for name in ("bos", "eos", "unk")}


@pytest.mark.slow
def test_vocabulary_and_merges_as_transformers_reads_them(tmp_path: Path) -> None:
    test_vocabulary_and_merges_alone(tmp_path)
    text = "the cat<|endoftext|> 12"
    assert checkpoint_tokenizer.Tokenizer(tmp_path).encode(text) == tokenizer_oracle.ask([tmp_path], text)[0]


def test_a_class_whose_cut_stands_in_no_file(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text("{}")
    (tmp_path / "merges.txt").write_text("")
    small_checkpoint.write_json(tmp_path / "tokenizer_config.json", {"tokenizer_class": "BartTokenizer"})
    with pytest.raises(Error, match="how BartTokenizer cuts text") as caught:
        read_files(tmp_path)
    assert "save_pretrained" in caught.value.hint
