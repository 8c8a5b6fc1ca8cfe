"""The tokenizer.json that a SentencePiece model, or vocab.json with merges.txt, stands for where there is none."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ... import Error
from . import from_gguf, sentencepiece_model, special
from .pre_tokenizers import PRE_TOKENIZERS
from .vocabulary import CONTROL, NORMAL, SPACE, UNREACHABLE, UNUSED, USER_DEFINED, Vocabulary

_MAKE_ONE = "make a tokenizer.json: AutoTokenizer.from_pretrained(folder).save_pretrained(folder)"
#: classes whose vocab.json and merges.txt are cut as a row of the table says
_BYTE_LEVEL = {"GPT2Tokenizer": "gpt-2", "CodeGenTokenizer": "gpt-2", "": "gpt-2", "Qwen2Tokenizer": "qwen2"}

#: `legacy: false` of transformers' LlamaTokenizer: a space is put before the whole text alone
_SPACE_AT_THE_BEGINNING: Mapping[str, Any] = {
    "normalizer": None,
    "pre_tokenizer": {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": "first", "split": False},
}


def read(folder: Path, config: Mapping[str, Any], kind: str) -> tuple[dict[str, Any], Sequence[float]]:
    """What tokenizer.json would say, and the scores of a SentencePiece model; `Error` where there is no tokenizer."""
    if (folder / "tokenizer.model").is_file():
        vocabulary = _sentencepiece(folder, config, kind)
    elif (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        vocabulary = _byte_level(folder, config, kind)
    else:
        raise Error(f"{folder} has no tokenizer.json, tokenizer.model or vocab.json with merges.txt", hint=_MAKE_ONE)
    tokenizer: dict[str, Any] = json.loads(from_gguf.build(vocabulary).to_str())
    if config.get("legacy") is False and vocabulary.add_space_prefix:
        tokenizer |= _SPACE_AT_THE_BEGINNING
    return tokenizer, vocabulary.scores


def _sentencepiece(folder: Path, config: Mapping[str, Any], kind: str) -> Vocabulary:
    model = sentencepiece_model.read(folder / "tokenizer.model")
    if model.kind != "BPE":
        raise Error(f"tokenizer.model is a SentencePiece model of the kind {model.kind}", hint=_MAKE_ONE)
    if model.charsmap or model.remove_extra_whitespaces:
        raise Error("tokenizer.model normalises text, which llama.cpp does not do for this kind", hint=_MAKE_ONE)
    rows: list[tuple[str, float, int]] = list(model.pieces)
    for index, token, is_special in _added(folder, config):
        rows.extend((f"[PAD{i}]", UNREACHABLE, UNUSED) for i in range(len(rows), index + 1))
        if rows[index][0] != token or rows[index][2] in (NORMAL, UNUSED):
            rows[index] = (token, UNREACHABLE, CONTROL if is_special else USER_DEFINED)
    tokens = [row[0] for row in rows]
    return Vocabulary(
        model="llama",
        pre="default",
        tokens=tokens,
        types=[row[2] for row in rows],
        merges=(),
        scores=[row[1] for row in rows],
        special=_special(tokens, config, kind) | {"unk": model.unknown},
        add_bos=False,  # the class decides, see `special.around`
        add_eos=False,
        add_space_prefix=bool(config.get("add_prefix_space", model.add_dummy_prefix)),
        chat_template=None,
    )


def _byte_level(folder: Path, config: Mapping[str, Any], kind: str) -> Vocabulary:
    if kind not in _BYTE_LEVEL:
        raise Error(f"how {kind} cuts text stands in no file of {folder}", hint=_MAKE_ONE)
    ids: dict[str, int] = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    lines = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()
    added = {
        index: (token, CONTROL if is_special else USER_DEFINED) for index, token, is_special in _added(folder, config)
    }
    named = {ids[token]: (token, CONTROL) for token in special.named_tokens(config, kind).values() if token in ids}
    rows = {index: (token, NORMAL) for token, index in ids.items()} | named | added
    every = [rows.get(index, (f"[PAD{index}]", UNUSED)) for index in range(max(rows) + 1)]
    return Vocabulary(
        model="gpt2",
        pre=_BYTE_LEVEL[kind],
        tokens=[token for token, _ in every],
        types=[type_ for _, type_ in every],
        merges=[line for line in lines if line and not line.startswith("#version")],
        scores=(),
        special=_special([token for token, _ in every], config, kind),
        add_bos=PRE_TOKENIZERS[_BYTE_LEVEL[kind]].add_bos,
        add_eos=False,
        add_space_prefix=False,
        chat_template=None,
    )


def _special(tokens: Sequence[str], config: Mapping[str, Any], kind: str) -> dict[str, int]:
    ids = {token: index for index, token in enumerate(tokens)}
    return {name: ids[token] for name, token in special.named_tokens(config, kind).items() if token in ids}


def _added(folder: Path, config: Mapping[str, Any]) -> list[tuple[int, str, bool]]:
    """Id, text and whether it is special of the tokens added beside the vocabulary."""
    file = folder / "added_tokens.json"
    plain = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    rows = {int(index): (str(token), False) for token, index in plain.items()}
    for index, row in (config.get("added_tokens_decoder") or {}).items():
        rows[int(index)] = (special.content(row), bool(row.get("special")))
    names = {special.content(token) for token in config.get("additional_special_tokens") or []}
    return [(index, token, is_special or token in names) for index, (token, is_special) in sorted(rows.items())]
