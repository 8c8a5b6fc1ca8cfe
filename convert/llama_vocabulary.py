"""llama.cpp's own tokenizer, read from a GGUF file whose weights stay where they are."""

import ctypes
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from .. import Error
from .llama_library import library, load


@contextmanager
def opened(path: str) -> Iterator["LlamaVocabulary"]:
    """The vocabulary of a GGUF file. One that llama.cpp cannot work with aborts the process: behind the fence."""
    lib = library()
    params = lib.llama_model_default_params()
    params.vocab_only = True
    model = load(path, params)
    try:
        yield LlamaVocabulary(lib, lib.llama_model_get_vocab(model))
    finally:
        lib.llama_model_free(model)


def tokenize(path: str, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text, special tokens inside it recognised, none added."""
    with opened(path) as vocabulary:
        return [vocabulary.encode(text) for text in texts]


class LlamaVocabulary:
    """Text to token ids as llama.cpp does it."""

    def __init__(self, lib: Any, vocab: Any) -> None:
        self._lib = lib
        self._vocab = vocab

    def encode(self, text: str, *, add_special: bool = False) -> list[int]:
        """Token ids, special tokens inside the text recognised; `add_special` adds BOS and EOS as the file says."""
        data = text.encode()
        room = len(data) + 16
        ids = (self._lib.llama_token * room)()
        n = self._lib.llama_tokenize(self._vocab, data, len(data), ids, room, add_special, True)
        if n < 0:
            raise Error(f"llama.cpp needs {-n} tokens for a text of {len(data)} bytes")
        return list(ids[:n])

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of token ids, special tokens written out; bytes that are no UTF-8 become U+FFFD.

        Some vocabularies have llama.cpp tidy spaces before punctuation here, as transformers once did; see `pieces`.
        """
        ids = (self._lib.llama_token * len(token_ids))(*token_ids)
        room = 64 + 16 * len(token_ids)
        buffer = ctypes.create_string_buffer(room)
        n = self._lib.llama_detokenize(self._vocab, ids, len(token_ids), buffer, room, False, True)
        if n < 0:
            buffer = ctypes.create_string_buffer(-n)
            n = self._lib.llama_detokenize(self._vocab, ids, len(token_ids), buffer, -n, False, True)
        return buffer.raw[: max(0, n)].decode("utf-8", "replace")

    def pieces(self, token_ids: Sequence[int]) -> str:
        """The tokens' own texts in a row, as programs print an answer while it is generated."""
        return b"".join(self._piece(token) for token in token_ids).decode("utf-8", "replace")

    def _piece(self, token: int) -> bytes:
        room = 64
        while True:
            buffer = ctypes.create_string_buffer(room)
            n = self._lib.llama_token_to_piece(self._vocab, token, buffer, room, 0, True)
            if n >= 0:
                return buffer.raw[:n]
            room = -n

    def special_ids(self) -> dict[str, int]:
        """The ids of "bos", "eos", "eot" and "pad" that llama.cpp goes by, defaults of its own among them; no nulls."""
        ids = {name: getattr(self._lib, f"llama_vocab_{name}")(self._vocab) for name in ("bos", "eos", "eot", "pad")}
        return {name: int(index) for name, index in ids.items() if index >= 0}

    def ends_generation(self, token: int) -> bool:
        """Whether llama.cpp's programs stop at this token."""
        return bool(self._lib.llama_vocab_is_eog(self._vocab, token))

    @property
    def adds_bos(self) -> bool:
        """Whether llama.cpp puts BOS before a text by itself."""
        return bool(self._lib.llama_vocab_get_add_bos(self._vocab))


def apply_built_in_template(
    template: str, messages: Sequence[Mapping[str, str]], *, add_generation_prompt: bool
) -> str | None:
    """What llama.cpp's `llama_chat_apply_template` makes of a conversation; None for a template it does not know.

    It never runs the template, but goes by words in it to one of the formats that are written into it.
    """
    lib = library()
    rows = [(message["role"].encode(), message["content"].encode()) for message in messages]
    chat = (lib.llama_chat_message * len(rows))(*(lib.llama_chat_message(role=r, content=c) for r, c in rows))
    room = 1024 + 4 * sum(len(role) + len(content) for role, content in rows)
    while True:
        buffer = ctypes.create_string_buffer(room)
        n = lib.llama_chat_apply_template(template.encode(), chat, len(rows), add_generation_prompt, buffer, room)
        if n < 0:
            return None
        if n <= room:
            return buffer.raw[:n].decode("utf-8", "replace")
        room = n
