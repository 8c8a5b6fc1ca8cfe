"""The table of architectures: one row for each class of transformers that can be written as GGUF.

A key of config.json that no row explains, or a value that llama.cpp's graph cannot express, is an `Error`: a converter
that skips what it does not know writes files that talk nonsense. What the rows say of llama.cpp is from src/models/ of
the llama.cpp in llama-cpp-python 0.3.36, what they say of defaults from transformers 4.57; tests hold both.
"""

from collections.abc import Mapping

from ... import Error
from ..checkpoint import Checkpoint
from .families import falcon, gemma, gemma4, gpt, lfm2, llama, olmo, phi, qwen, stablelm
from .row import Architecture

_FAMILIES = (llama, qwen, gemma, gemma4, phi, gpt, stablelm, olmo, lfm2, falcon)
#: transformers' class -> its row
ARCHITECTURES: Mapping[str, Architecture] = {name: row for family in _FAMILIES for name, row in family.ROWS.items()}


def find(checkpoint: Checkpoint) -> Architecture:
    """The row of a checkpoint's architecture; `Error` lists those that are known."""
    try:
        return ARCHITECTURES[checkpoint.architecture]
    except KeyError:
        known = ", ".join(ARCHITECTURES)
        named = checkpoint.architecture or "no architecture"
        raise Error(
            f"{checkpoint.source} is of {named}, which is not supported",
            hint=f"supported: {known}; for others, --converter PATH runs llama.cpp's own convert_hf_to_gguf.py",
        ) from None
