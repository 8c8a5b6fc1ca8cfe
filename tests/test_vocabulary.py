"""tokenizer.json as a GGUF's vocabulary: kinds of tokens, scores, special ids, and what is refused."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFWriter
from tokenizers import Tokenizer

import small_checkpoint
from edgequant import Error, child
from edgequant.convert import gguf_write
from edgequant.convert.checkpoint import open_folder
from edgequant.convert.gguf_header import read_header
from edgequant.convert.vocabulary import from_checkpoint, probes
from edgequant.convert.vocabulary.from_checkpoint import read_vocabulary
from edgequant.convert.vocabulary.vocabulary import Vocabulary

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)  # llama.h, enum llama_token_type


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
    ends = {"bos": added["<|start|>"], "eos": added["<|end|>"], "eot": added["<|end|>"]}
    assert ours.special == ends
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


@pytest.mark.parametrize("kind", ["WordPiece", "WordLevel"])
def test_other_models_are_refused(folder: Path, kind: str) -> None:
    change_tokenizer(folder, model={"type": kind, "vocab": {"a": 0}})
    with pytest.raises(Error, match=f"of type {kind} are not supported"):
        read(folder)


@pytest.mark.parametrize("change", [{"model": None}, {"model": {"type": "BPE"}}])
def test_a_tokenizer_without_a_vocabulary(folder: Path, change: dict[str, Any]) -> None:
    change_tokenizer(folder, **change)
    with pytest.raises(Error, match="no vocabulary"):
        read(folder)


def test_a_checkpoint_without_a_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    with pytest.raises(Error, match=r"has no tokenizer\.json, tokenizer\.model or vocab\.json") as caught:
        read(folder)
    assert "save_pretrained" in caught.value.hint


@pytest.mark.parametrize("content", ["a", "<|end|>", "<tool>"])
def test_a_token_that_is_there_twice(folder: Path, content: str) -> None:
    added = small_checkpoint.read_json(folder / "tokenizer.json")["added_tokens"]
    change_tokenizer(folder, added_tokens=[*added, {**added[0], "id": 305, "content": content}])
    with pytest.raises(Error, match=f"has the token '{re.escape(content)}' twice, as .* and 305") as caught:
        read(folder)
    assert "added_tokens" in caught.value.hint


def test_more_tokens_than_rows_of_the_embedding(folder: Path) -> None:
    writer = GGUFWriter("unwritten", "llama")
    with pytest.raises(
        Error, match=r"has 298 tokens, the embedding 296 rows: none for '<\|end\|>', '<tool>'"
    ) as caught:
        from_checkpoint.write_vocabulary(read(folder), writer, n_tokens=296)
    assert "resize_token_embeddings" in caught.value.hint


def test_a_token_spelled_like_the_padding(folder: Path, tmp_path: Path) -> None:
    added = small_checkpoint.read_json(folder / "tokenizer.json")["added_tokens"]
    change_tokenizer(folder, added_tokens=[*added, {**added[0], "id": 298, "content": "[PAD300]"}])
    tokens = written(folder, tmp_path)["tokenizer.ggml.tokens"]
    assert tokens.count("[PAD300]") == 1 and len(set(tokens)) == small_checkpoint.VOCABULARY


def test_an_ordinary_token_that_llama_cpp_would_take_for_a_control_token(folder: Path, tmp_path: Path) -> None:
    """As in Qwen's vocabulary: no merge makes </s>, but llama.cpp would cut it out of every text and end on it."""
    file = small_checkpoint.read_json(folder / "tokenizer.json")
    file["model"]["vocab"]["</s>"] = 295
    file["added_tokens"] = [{**row, "id": row["id"] + 1} for row in file["added_tokens"]]
    change_tokenizer(folder, **file)
    metadata = written(folder, tmp_path)
    assert metadata["tokenizer.ggml.token_type"][295] == UNUSED and "</s>" not in metadata["tokenizer.ggml.tokens"]


def written(folder: Path, tmp_path: Path) -> dict[str, Any]:
    """Metadata of the GGUF made from the folder."""
    job = {"folder": str(folder), "target": str(tmp_path / "w.gguf"), "format": "F16"}
    gguf_write.write({**job, "source": "", "name": "n", "revision": "r"}, lambda text: None)
    return dict(read_header(tmp_path / "w.gguf").metadata)


def test_named_chat_templates_travel_under_their_names(folder: Path, tmp_path: Path) -> None:
    named = [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "tools"}]
    small_checkpoint.change_json(folder / "tokenizer_config.json", chat_template=named)
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "rag.jinja").write_text("documents")
    metadata = written(folder, tmp_path)
    assert metadata["tokenizer.chat_template"] == "plain"
    assert metadata["tokenizer.chat_templates"] == ["tool_use", "rag"]
    assert metadata["tokenizer.chat_template.tool_use"] == "tools"
    assert metadata["tokenizer.chat_template.rag"] == "documents"


def test_what_begins_and_ends_a_text_beyond_one_token_is_refused(folder: Path) -> None:
    start = {"SpecialToken": {"id": "<|start|>", "type_id": 0}}
    ids = {"<|start|>": {"id": "<|start|>", "ids": [295, 296], "tokens": ["<|start|>", "<|end|>"]}}
    template = {"type": "TemplateProcessing", "single": [start, {"Sequence": {"id": "A", "type_id": 0}}], "pair": []}
    change_tokenizer(folder, post_processor={**template, "special_tokens": ids})
    with pytest.raises(Error, match=r"puts the tokens \[295, 296\] before"):
        read(folder)


# -- llama.cpp cuts the written vocabulary as the checkpoint's own tokenizer does


def first_difference(folder: Path, target: Path) -> str:
    """What the gate says of a GGUF made from the folder; "" where the tokenizers agree."""
    job = {"folder": str(folder), "target": str(target), "format": "F16", "source": "", "name": "n", "revision": "r"}
    gguf_write.write(job, lambda text: None)
    files = {"folder": str(folder), "container": "gguf", "path": str(target)}
    found = child.run("edgequant.verify.tokens:check", files).unwrap()
    return "" if found["verdict"] == "passed" else str(found["said"])


def test_llama_cpp_cuts_the_oracles_text_in_the_same_way(oracle_folder: Path, tmp_path: Path) -> None:
    assert first_difference(oracle_folder, tmp_path / "x.gguf") == ""
    assert read(oracle_folder).add_bos


def test_ids_by_llama_cpp_and_by_the_tokenizers_package(
    oracle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.fspath(Path(__file__).parent))
    first_difference(oracle_folder, tmp_path / "x.gguf")
    texts = probes.texts()
    ours = child.run("native:tokenise", {"path": str(tmp_path / "x.gguf"), "texts": texts}).unwrap()
    encoder = Tokenizer.from_file(str(oracle_folder / "tokenizer.json"))
    assert ours == [encoder.encode(text, add_special_tokens=False).ids for text in texts]
    assert max(map(len, ours)) > 100
