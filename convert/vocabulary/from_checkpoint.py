"""A checkpoint's tokenizer as the vocabulary that a GGUF carries, proven before it is written."""

from collections.abc import Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING

from ..checkpoint import Checkpoint
from .proof import prove
from .tokenizer import read_files
from .variants import variants
from .vocabulary import Vocabulary, entries, templates

if TYPE_CHECKING:
    from gguf import GGUFWriter


def read_vocabulary(checkpoint: Checkpoint) -> Vocabulary:
    """The likeliest vocabulary, not yet proven; `Error` for a kind of tokenizer that GGUF cannot carry faithfully."""
    return next(iter(variants(read_files(checkpoint.path))))


def write_vocabulary(vocabulary: Vocabulary, writer: "GGUFWriter", *, n_tokens: int) -> None:
    """Write the metadata of the variant that llama.cpp cuts the probes with as the checkpoint's tokenizer does.

    `n_tokens` is the number of rows of the embedding: unused tokens fill up to it. llama.cpp treats some tokens by the
    model's name, so the writer has to have its `general.name` before. `Error` where no variant agrees.
    """
    if vocabulary.files is not None:
        others = islice(variants(vocabulary.files), 1, None)
        vocabulary = prove(chain([vocabulary], others), n_tokens=n_tokens, name=_name(writer))
    for key, value in [*entries(vocabulary, n_tokens), *templates(vocabulary)]:
        _add(writer, key, value)


def _name(writer: "GGUFWriter") -> str:
    named = writer.kv_data[0].get("general.name")
    return str(named.value) if named else ""


def _add(writer: "GGUFWriter", key: str, value: object) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    elif isinstance(value, Sequence):  # bytes become an array of uint8
        writer.add_array(key, value)
