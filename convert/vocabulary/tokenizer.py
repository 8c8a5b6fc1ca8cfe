"""The checkpoint's own tokenizer and chat template: the only ones that a run uses, for every engine."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from ... import Error
from . import chat_template, older_files, special
from .vocabulary import TokenizerFiles as TokenizerFiles

_A_DAY = datetime(2024, 7, 26)  # what templates are told: a measurement of another day sees the same text


def read_files(folder: Path) -> TokenizerFiles:
    """Read the tokenizer of a checkpoint, in the tokenizers library's form or one that becomes it; `Error` for none."""
    config = {**_json(folder / "special_tokens_map.json"), **_json(folder / "tokenizer_config.json")}
    model = _json(folder / "config.json")
    kind = special.tokenizer_class(config, model)
    tokenizer, scores = _tokenizer(folder, config, kind)
    added = {row["content"]: row["id"] for row in tokenizer.get("added_tokens") or []}
    ids = {**_vocabulary(tokenizer), **added}
    tokens = special.named_tokens(config, kind)
    special_ids = {name: ids[token] for name, token in tokens.items() if token in ids}
    ends = _ends(_json(folder / "generation_config.json"), model, special_ids)
    if "eos" not in special_ids and ends:
        special_ids["eos"] = ends[0]
    default, named = _templates(folder, config)
    before, after = special.around(config, kind, tokenizer, special_ids)
    if before:
        special_ids["bos"] = before[0]  # what begins every text is what llama.cpp calls BOS
    turn = special.turn_end(added, ends, [*([default] if default else []), *named.values()])
    others = {"eot": turn, "eom": added.get("<|eom_id|>")}
    return TokenizerFiles(
        tokenizer=tokenizer,
        special_tokens=tokens,
        special_ids=special_ids | {name: index for name, index in others.items() if index is not None},
        end_ids=tuple(sorted({*ends, *([special_ids["eos"]] if "eos" in special_ids else [])})),
        before=tuple(before),
        after=tuple(after),
        chat_template=default,
        chat_templates=named,
        scores=scores,
        path=file if (file := folder / "tokenizer.json").is_file() else None,
    )


def _tokenizer(folder: Path, config: Mapping[str, Any], kind: str) -> tuple[dict[str, Any], Sequence[float]]:
    """tokenizer.json, or what it would be, and the scores of a SentencePiece model."""
    if (folder / "tokenizer.json").is_file():
        return _json(folder / "tokenizer.json"), ()
    return older_files.read(folder, config, kind)


def _ends(generation: Mapping[str, Any], model: Mapping[str, Any], special_ids: Mapping[str, int]) -> list[int]:
    """Ids that end an answer, as generation_config.json has them; config.json's where nothing else does."""
    ends = generation.get("eos_token_id")
    if ends is None and "eos" not in special_ids:
        ends = model.get("eos_token_id")
    return list(ends) if isinstance(ends, list) else [] if ends is None else [ends]


def _vocabulary(tokenizer: Mapping[str, Any]) -> dict[str, int]:
    """Token -> id; a Unigram model lists its tokens with their scores instead."""
    vocabulary = (tokenizer.get("model") or {}).get("vocab")
    if isinstance(vocabulary, list):
        return {row[0]: index for index, row in enumerate(vocabulary)}
    if not isinstance(vocabulary, dict):
        raise Error("tokenizer.json holds no vocabulary", hint="download it again")
    return vocabulary


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Error(f"{path} is no valid JSON: {error}") from None
    return value


def _templates(folder: Path, config: Mapping[str, Any]) -> tuple[str | None, dict[str, str]]:
    """The default chat template and the other named ones; files of their own count first, as in transformers."""
    given = config.get("chat_template")
    named = {row["name"]: row["template"] for row in given} if isinstance(given, list) else {"default": given}
    named |= {
        file.stem: file.read_text(encoding="utf-8") for file in sorted(folder.glob("additional_chat_templates/*.jinja"))
    }
    if (folder / "chat_template.jinja").is_file():
        named["default"] = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    templates = {name: template for name, template in named.items() if isinstance(template, str)}
    return templates.pop("default", None), templates


class Tokenizer:
    """Text to token ids and back, and conversations to text."""

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer as Encoder

        self.files = read_files(folder)
        file = self.files.path
        self.encoder: Encoder = (
            Encoder.from_file(str(file)) if file else Encoder.from_str(json.dumps(self.files.tokenizer))
        )
        self.encoder.no_truncation()  # what a trainer left in the file is no part of the model
        self.encoder.no_padding()

    def encode(self, text: str) -> list[int]:
        """Token ids, special tokens inside the text recognised, none added."""
        ids: list[int] = self.encoder.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, token_ids: Sequence[int], *, with_special: bool = False) -> str:
        """The text of token ids, special tokens left out or written out."""
        text: str = self.encoder.decode(list(token_ids), skip_special_tokens=not with_special)
        return text

    def begin(self) -> list[int]:
        """What the model expects before a text: BOS, or nothing."""
        return list(self.files.before)

    def render(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The conversation as the checkpoint's chat template writes it, with the opening of the next answer.

        The template is a stranger's code: call this behind the fence of `child`, with a deadline.
        """
        if self.files.chat_template is None:
            raise Error("the checkpoint has no chat template")
        tokens = {f"{name}_token": token for name, token in self.files.special_tokens.items()}
        try:
            template = chat_template.compiled(self.files.chat_template, now=_A_DAY)
        except Exception as error:  # a stranger's code that does not even parse
            said = chat_template.broken(error)
        else:
            said = chat_template.render(template, messages, tools=None, add_generation_prompt=True, tokens=tokens)
        if "refused" in said:
            raise Error(f"the chat template refuses the conversation: {said['refused']}")
        if "failed" in said:
            raise Error(f"the chat template fails: {said['failed']}")
        return said["text"]
