"""llama.cpp's own tokenizer, read from a GGUF file whose weights stay where they are."""

from collections.abc import Iterator, Sequence
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
