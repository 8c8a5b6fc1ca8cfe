"""What a GGUF carries of a tokenizer, and the keys that say it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ... import Error
from . import departures

# llama.h, enum llama_token_type
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
SPACE = "▁"  # SentencePiece's mark for a space
UNREACHABLE = -1e9  # score of a piece that no merge makes
PRE_KEY = "tokenizer.ggml.pre"
#: special token -> key, after "tokenizer.ggml." (ggml's docs/gguf.md, misspelling included)
SPECIAL_KEYS = {
    "bos": "bos_token_id",
    "eos": "eos_token_id",
    "eot": "eot_token_id",
    "eom": "eom_token_id",
    "unk": "unknown_token_id",
    "sep": "seperator_token_id",
    "pad": "padding_token_id",
    "mask": "mask_token_id",
}


@dataclass(frozen=True, kw_only=True)
class TokenizerFiles:
    """What tokenizer.json, tokenizer_config.json and generation_config.json say."""

    tokenizer: Mapping[str, Any]
    special_tokens: Mapping[str, str]  # "bos" | "eos" | "unk" | "pad" | "sep" | "mask" -> text
    special_ids: Mapping[str, int]  # the same names, "eot" and "eom" -> id
    end_ids: tuple[int, ...]  # tokens that end an answer
    before: tuple[int, ...]  # put before every text, and after it
    after: tuple[int, ...]
    chat_template: str | None
    chat_templates: Mapping[str, str] = field(default_factory=dict)  # others, by name
    scores: Sequence[float] = ()  # of a SentencePiece model alone: exact ones
    path: Path | None = None  # tokenizer.json, where there is one

    @property
    def adds_bos(self) -> bool:
        """Whether a text begins with BOS."""
        return bool(self.before)


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Tokens by id with llama.cpp's types, and how text becomes them: what a GGUF carries of a tokenizer."""

    model: str  # "gpt2" | "llama" | "gemma4" | "t5"
    pre: str
    tokens: Sequence[str]
    types: Sequence[int]
    merges: Sequence[str]
    scores: Sequence[float]
    special: Mapping[str, int]  # a name of SPECIAL_KEYS -> id
    add_bos: bool
    add_eos: bool
    add_space_prefix: bool
    chat_template: str | None
    chat_templates: Mapping[str, str] = field(default_factory=dict)  # other named ones
    remove_extra_whitespaces: bool = False  # "t5" alone, as the next
    charsmap: bytes = b""  # SentencePiece's compiled normalisation
    departure: str = ""  # a key of DEPARTURES: where llama.cpp cannot follow
    files: TokenizerFiles | None = field(default=None, repr=False, compare=False)  # what it is to be proven against


def padded(vocabulary: Vocabulary, n_tokens: int) -> tuple[list[str], list[int]]:
    """Tokens and types, with unused tokens up to the `n_tokens` rows of the embedding; `Error` for more tokens."""
    n_known = len(vocabulary.tokens)
    if n_known > n_tokens:
        missing = ", ".join(repr(token) for token in vocabulary.tokens[n_tokens : n_tokens + 3])
        raise Error(
            f"the tokenizer has {n_known} tokens, the embedding {n_tokens} rows: none for {missing}",
            hint="the tokenizer is another model's, or tokens were added without resize_token_embeddings",
        )
    taken = set(vocabulary.tokens)
    names = (name for name in (f"[PAD{i}]" for i in range(n_known, 3 * n_tokens + 1)) if name not in taken)
    n_padding = n_tokens - n_known
    return [*vocabulary.tokens, *(next(names) for _ in range(n_padding))], [*vocabulary.types, *[UNUSED] * n_padding]


def entries(vocabulary: Vocabulary, n_tokens: int) -> Iterator[tuple[str, Any]]:
    """Key and value of everything that a GGUF says of the tokenizer: str, bool, int, bytes, or a list of one kind."""
    start = "tokenizer.ggml."
    tokens, types = padded(vocabulary, n_tokens)
    yield start + "model", vocabulary.model
    yield PRE_KEY, vocabulary.pre
    yield start + "tokens", tokens
    yield start + "token_type", types
    if vocabulary.model in ("gpt2", "gemma4"):
        yield start + "merges", list(vocabulary.merges)
    else:
        yield start + "scores", [*vocabulary.scores, *[UNREACHABLE] * (n_tokens - len(vocabulary.tokens))]
        yield start + "add_space_prefix", vocabulary.add_space_prefix
    if vocabulary.model == "t5":
        yield start + "remove_extra_whitespaces", vocabulary.remove_extra_whitespaces
        if vocabulary.charsmap:
            yield start + "precompiled_charsmap", vocabulary.charsmap
    for name, index in vocabulary.special.items():
        yield start + SPECIAL_KEYS[name], index
    yield start + "add_bos_token", vocabulary.add_bos
    yield start + "add_eos_token", vocabulary.add_eos
    if vocabulary.departure:
        yield departures.KEY, departures.DEPARTURES[vocabulary.departure]


def templates(vocabulary: Vocabulary) -> Iterator[tuple[str, Any]]:
    """Keys and values of the chat templates: the default one, and the others under their names."""
    if vocabulary.chat_template:
        yield "tokenizer.chat_template", vocabulary.chat_template
    if vocabulary.chat_templates:
        yield "tokenizer.chat_templates", list(vocabulary.chat_templates)
    for name, template in vocabulary.chat_templates.items():
        yield f"tokenizer.chat_template.{name}", template
