"""What a folder's tokenizer files or a GGUF's metadata store beside the tokens: templates, special tokens, ends.

Read here once more, and not by the code that writes artifacts, which is what the gate is to check.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import Error
from ..convert.gguf_header import read_header
from ..convert.vocabulary.tokenizer import read_files

DEFAULT = "default"
NAMES = ("bos", "eos", "unk", "pad", "sep", "cls", "mask")
_GGUF_NAMES = {"unk": "unknown", "pad": "padding", "sep": "seperator"}  # its spelling (docs/gguf.md, gguf constants.py)
_TEMPLATE = "tokenizer.chat_template"


@dataclass(frozen=True, kw_only=True)
class Stored:
    """Chat templates by name, special tokens as texts ("bos_token") and as ids ("bos"), and what ends an answer."""

    templates: Mapping[str, str]
    tokens: Mapping[str, str]
    ids: Mapping[str, int]
    model_ids: Mapping[str, int] = field(default_factory=dict)  # what only config.json names
    end_ids: frozenset[int] = field(default=frozenset())


def of_folder(folder: Path, named: Mapping[str, str] | None = None) -> Stored:
    """What the files of a checkpoint, or of an ONNX artifact, say; config.json speaks where the tokenizer is silent.

    `named`: special tokens that its class has where no file names them ("bos_token" -> text).
    """
    config = _json(folder / "tokenizer_config.json")
    model, generation = _json(folder / "config.json"), _json(folder / "generation_config.json")
    ids = _token_ids(_json(folder / "tokenizer.json") or read_files(folder).tokenizer)
    mapped = _json(folder / "special_tokens_map.json")
    given = {key: _text(config, mapped, key) for key in (f"{name}_token" for name in NAMES)}
    tokens = {**(named or {}), **{key: text for key, text in given.items() if text}}
    special = {name: ids[text] for name in NAMES if (text := tokens.get(f"{name}_token", "")) in ids}
    named_ids = {name: _listed(model.get(f"{name}_token_id", _nested(model).get(f"{name}_token_id"))) for name in NAMES}
    silent = {name: listed[0] for name, listed in named_ids.items() if listed and name not in special}
    ends = {*(_listed(generation.get("eos_token_id")) or named_ids["eos"]), *_listed(special.get("eos"))}
    return Stored(
        templates=_templates(folder, config), tokens=tokens, ids=special, model_ids=silent, end_ids=frozenset(ends)
    )


def of_gguf(path: Path) -> Stored:
    """What the metadata of a GGUF says; no default of llama.cpp's is filled in."""
    metadata = read_header(path).metadata
    texts = metadata.get("tokenizer.ggml.tokens") or []
    ids = {name: metadata.get(f"tokenizer.ggml.{_GGUF_NAMES.get(name, name)}_token_id") for name in (*NAMES, "eot")}
    known = {name: index for name, index in ids.items() if isinstance(index, int)}
    templates = {DEFAULT: metadata[_TEMPLATE]} if metadata.get(_TEMPLATE) else {}
    templates |= {
        key.removeprefix(f"{_TEMPLATE}."): text for key, text in metadata.items() if key.startswith(f"{_TEMPLATE}.")
    }
    return Stored(
        templates=templates,
        tokens={f"{name}_token": texts[i] for name, i in known.items() if name in NAMES and 0 <= i < len(texts)},
        ids=known,
    )


def plain_name(name: str) -> str:
    """A template's name as GGUF's keys can hold it."""
    return re.sub(r"[^0-9A-Za-z]", "_", name)


def _templates(folder: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """Templates by name; a file of its own goes before what the configuration holds, as in transformers."""
    held = config.get("chat_template")
    rows = held if isinstance(held, list) else [{"name": DEFAULT, "template": held}] if held else []
    found = {str(row["name"]): str(row["template"]) for row in rows}
    files = {DEFAULT: folder / "chat_template.jinja"}
    files |= {file.stem: file for file in sorted((folder / "additional_chat_templates").glob("*.jinja"))}
    found |= {name: file.read_text(encoding="utf-8") for name, file in files.items() if file.is_file()}
    return {plain_name(name): text for name, text in found.items()}


def _text(config: Mapping[str, Any], mapped: Mapping[str, Any], key: str) -> str:
    value = config.get(key) or mapped.get(key)
    return str(value.get("content", "")) if isinstance(value, dict) else str(value or "")


def _nested(model: Mapping[str, Any]) -> Mapping[str, Any]:
    nested = model.get("text_config")
    return nested if isinstance(nested, dict) else {}


def _listed(value: Any) -> list[int]:
    return [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, int)]


def _token_ids(tokenizer: Mapping[str, Any]) -> dict[str, int]:
    """Token -> id; a Unigram model lists its tokens with their scores."""
    vocabulary = (tokenizer.get("model") or {}).get("vocab") or {}
    rows = vocabulary.items() if isinstance(vocabulary, dict) else ((row[0], i) for i, row in enumerate(vocabulary))
    return {**dict(rows), **{row["content"]: row["id"] for row in tokenizer.get("added_tokens") or []}}


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Error(f"{path} is no valid JSON: {error}") from None
    return value if isinstance(value, dict) else {}
