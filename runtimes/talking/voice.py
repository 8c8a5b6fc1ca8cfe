"""Text to an artifact's tokens and back, with nothing but what the artifact holds: a GGUF alone, an ONNX folder alone.

The gate has proven both equal to the checkpoint's own tokenizer and template.
"""

import codecs
import ctypes
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from ... import Error
from ...convert.gguf_header import read_header
from ...convert.llama_library import library, load
from ...convert.llama_vocabulary import LlamaVocabulary
from ...convert.vocabulary import chat_template
from ...convert.vocabulary.tokenizer import Tokenizer

_TEMPLATE = "tokenizer.chat_template"
_SPECIAL = {"bos": "bos", "eos": "eos", "unknown": "unk", "padding": "pad"}  # GGUF's name -> transformers'

Message = Mapping[str, str]


class Stream(Protocol):
    """Tokens in, text out, a character never in halves."""

    def add(self, token: int) -> str:
        """The text that the token completes, "" for none."""
        ...

    def end(self) -> str:
        """What is left: bytes that never became a character are U+FFFD."""
        ...


class Voice(Protocol):
    """How an artifact reads and writes."""

    template: str | None
    tokens: Mapping[str, str]  # "bos_token" and the like, for the template

    def encode(self, text: str) -> list[int]:
        """Token ids, special tokens inside the text recognised, none added."""
        ...

    def begin(self) -> list[int]:
        """What stands before a text that is no conversation: BOS, or nothing."""
        ...

    def ends(self, token: int) -> bool:
        """Whether the token ends an answer."""
        ...

    def stream(self) -> Stream:
        """A new text, special tokens left out."""
        ...


def open_voice(container: str, path: str) -> Voice:
    """The voice of an artifact. Native code: call it behind the fence of `child`."""
    return GgufVoice(path) if container == "gguf" else FolderVoice(path)


def written(voice: Voice, messages: Sequence[Message]) -> str:
    """The conversation as the template writes it, with the opening of the next answer; `Error` where it refuses.

    The template is a stranger's code: one that does not end has the process killed.
    """
    if voice.template is None:
        raise Error("this model has no chat template")
    with chat_template.limited():
        try:
            template = chat_template.compiled(voice.template, now=datetime.now())
        except Exception as error:  # a stranger's code that does not even parse
            said = chat_template.broken(error)
        else:
            said = chat_template.render(
                template, messages, tools=None, add_generation_prompt=True, tokens=dict(voice.tokens)
            )
    if "text" in said:
        return said["text"]
    words = f"refuses this conversation: {said['refused']}" if "refused" in said else f"fails: {said.get('failed')}"
    raise Error(f"the chat template {words}")


class GgufVoice:
    """llama.cpp's own tokenizer over a file's vocabulary."""

    def __init__(self, path: str) -> None:
        metadata = read_header(Path(path)).metadata
        texts: Sequence[str] = metadata.get("tokenizer.ggml.tokens") or []
        ids = {name: metadata.get(f"tokenizer.ggml.{key}_token_id") for key, name in _SPECIAL.items()}
        self.template: str | None = metadata.get(_TEMPLATE) or None
        self.tokens: Mapping[str, str] = {
            f"{name}_token": texts[i] for name, i in ids.items() if isinstance(i, int) and i < len(texts)
        }
        self._is_spaced = metadata.get("tokenizer.ggml.model") == "llama" and bool(
            metadata.get("tokenizer.ggml.add_space_prefix", True)
        )
        self._lib = library()
        params = self._lib.llama_model_default_params()
        params.vocab_only = True
        self._vocab = self._lib.llama_model_get_vocab(load(path, params))
        self._own = LlamaVocabulary(self._lib, self._vocab)

    def encode(self, text: str) -> list[int]:
        """See `Voice.encode`."""
        return self._own.encode(text)

    def begin(self) -> list[int]:
        """See `Voice.begin`."""
        bos = self._own.special_ids().get("bos")
        return [bos] if self._own.adds_bos and bos is not None else []

    def ends(self, token: int) -> bool:
        """See `Voice.ends`."""
        return self._own.ends_generation(token)

    def stream(self) -> Stream:
        """See `Voice.stream`. SentencePiece writes a space before the first word, which is none of the text."""
        return _Bytes(self._piece, strips=self._is_spaced)

    def _piece(self, token: int, n_stripped: int) -> bytes:
        room = 64
        while True:
            buffer = ctypes.create_string_buffer(room)
            n: int = self._lib.llama_token_to_piece(self._vocab, token, buffer, room, n_stripped, False)
            if n >= 0:
                return buffer.raw[:n]
            room = -n


class _Bytes:
    """A stream of pieces that are bytes."""

    def __init__(self, piece: Callable[[int, int], bytes], *, strips: bool) -> None:
        self._piece, self._n_stripped = piece, int(strips)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, token: int) -> str:
        """See `Stream.add`."""
        piece, self._n_stripped = self._piece(token, self._n_stripped), 0
        return self._decoder.decode(piece)

    def end(self) -> str:
        """See `Stream.end`."""
        return self._decoder.decode(b"", final=True)


class FolderVoice:
    """The tokenizer of an ONNX artifact's folder."""

    def __init__(self, path: str) -> None:
        self._tokenizer = Tokenizer(Path(path))
        files = self._tokenizer.files
        self.template: str | None = files.chat_template
        self.tokens: Mapping[str, str] = {f"{name}_token": token for name, token in files.special_tokens.items()}
        turn = files.special_ids.get("eot")
        self._ends = frozenset([*files.end_ids, *([turn] if turn is not None else [])])

    def encode(self, text: str) -> list[int]:
        """See `Voice.encode`."""
        return self._tokenizer.encode(text)

    def begin(self) -> list[int]:
        """See `Voice.begin`."""
        return self._tokenizer.begin()

    def ends(self, token: int) -> bool:
        """See `Voice.ends`."""
        return token in self._ends

    def stream(self) -> Stream:
        """See `Voice.stream`."""
        return _Decoded(self._tokenizer)


class _Decoded:
    """A stream over the tokenizers library's own, which holds back what is no whole character yet."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        from tokenizers.decoders import DecodeStream

        self._tokenizer, self._ids, self._said = tokenizer, list[int](), ""
        self._stream: Any = DecodeStream(skip_special_tokens=True)

    def add(self, token: int) -> str:
        """See `Stream.add`."""
        self._ids.append(token)
        text: str = self._stream.step(self._tokenizer.encoder, token) or ""
        self._said += text
        return text

    def end(self) -> str:
        """See `Stream.end`."""
        whole = self._tokenizer.decode(self._ids)
        return whole[len(self._said) :] if whole.startswith(self._said) else ""
