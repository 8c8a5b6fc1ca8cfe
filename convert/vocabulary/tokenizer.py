"""The checkpoint's own tokenizer and chat template: the only ones that a run uses, for every engine."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ... import Error

_CONFIG_NAMES = {"bos": "bos_token", "eos": "eos_token", "unk": "unk_token", "pad": "pad_token"}


@dataclass(frozen=True, kw_only=True)
class TokenizerFiles:
    """What tokenizer.json, tokenizer_config.json and generation_config.json say."""

    tokenizer: Mapping[str, Any]
    special_ids: Mapping[str, int]  # "bos" | "eos" | "unk" | "pad" -> id
    end_ids: tuple[int, ...]  # tokens that end an answer
    adds_bos: bool
    chat_template: str | None


def read_files(folder: Path) -> TokenizerFiles:
    """Read the tokenizer of a checkpoint; `Error` where there is none in the tokenizers library's form."""
    if not (folder / "tokenizer.json").is_file():
        raise Error(
            f"{folder} has no tokenizer.json",
            hint="make one: AutoTokenizer.from_pretrained(folder).save_pretrained(folder)",
        )
    tokenizer = _json(folder / "tokenizer.json")
    config = _json(folder / "tokenizer_config.json")
    ids = {**_vocabulary(tokenizer), **{row["content"]: row["id"] for row in tokenizer.get("added_tokens", [])}}
    special = {name: ids[token] for name, key in _CONFIG_NAMES.items() if (token := _content(config.get(key))) in ids}
    ends = _json(folder / "generation_config.json").get("eos_token_id")
    ends = ends if isinstance(ends, list) else [] if ends is None else [ends]
    return TokenizerFiles(
        tokenizer=tokenizer,
        special_ids=special,
        end_ids=tuple(sorted({*ends, *([special["eos"]] if "eos" in special else [])})),
        adds_bos="bos" in special and bool(config.get("add_bos_token", _first_added(tokenizer) == special["bos"])),
        chat_template=_template(folder, config),
    )


def _vocabulary(tokenizer: Mapping[str, Any]) -> dict[str, int]:
    """Token -> id; a Unigram model lists its tokens with their scores instead."""
    vocabulary = tokenizer.get("model", {}).get("vocab")
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


def _content(token: Any) -> str:
    """A token of tokenizer_config.json: a string, or an object with its content."""
    return str(token.get("content", "")) if isinstance(token, dict) else str(token or "")


def _first_added(tokenizer: Mapping[str, Any]) -> int | None:
    """The id that the post-processor puts before a text, None where it puts none."""
    processor = tokenizer.get("post_processor") or {}
    for step in processor.get("processors", [processor]):
        if step.get("type") == "TemplateProcessing":
            first = step["single"][0].get("SpecialToken")
            return int(step["special_tokens"][first["id"]]["ids"][0]) if first else None
    return None


def _template(folder: Path, config: Mapping[str, Any]) -> str | None:
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    template = config.get("chat_template")
    if isinstance(template, list):  # several named ones
        template = {row["name"]: row["template"] for row in template}.get("default")
    return template if isinstance(template, str) else None


class Tokenizer:
    """Text to token ids and back, and conversations to text."""

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer as Encoder

        self.files = read_files(folder)
        self._special_tokens = {
            name: _content(_json(folder / "tokenizer_config.json").get(key)) for name, key in _CONFIG_NAMES.items()
        }
        self._encoder: Encoder = Encoder.from_file(str(folder / "tokenizer.json"))
        self._encoder.no_truncation()  # what a trainer left in the file is no part of the model
        self._encoder.no_padding()

    def encode(self, text: str) -> list[int]:
        """Token ids, special tokens inside the text recognised, none added."""
        ids: list[int] = self._encoder.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of token ids, special tokens left out."""
        text: str = self._encoder.decode(list(token_ids), skip_special_tokens=True)
        return text

    def begin(self) -> list[int]:
        """What the model expects before a text: BOS, or nothing."""
        return [self.files.special_ids["bos"]] if self.files.adds_bos else []

    def render(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The conversation as the checkpoint's chat template writes it, with the opening of the next answer.

        The template is a stranger's code: call this behind the fence of `child`, with a deadline.
        """
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        if self.files.chat_template is None:
            raise Error("the checkpoint has no chat template")
        extensions = ["jinja2.ext.loopcontrols"]
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=extensions)
        environment.globals["raise_exception"] = _refuse
        environment.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False, **options)
        special = {f"{name}_token": token for name, token in self._special_tokens.items()}
        try:
            template = environment.from_string(self.files.chat_template)
            # transformers always defines `tools` and `documents`, and templates ask whether they are none
            return template.render(
                messages=list(messages), add_generation_prompt=True, tools=None, documents=None, **special
            )
        except (Error, MemoryError):
            raise
        except Exception as error:  # a stranger's code: what it raises is its own failure
            raise Error(f"the chat template fails: {error}") from None


def _refuse(message: str) -> None:
    """What templates call for a conversation they do not take."""
    raise Error(f"the chat template refuses the conversation: {message}")
