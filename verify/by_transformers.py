"""The checkpoint's tokenizer as transformers has it: what the gate asks where it is installed and takes the folder."""

import os
from pathlib import Path
from typing import Any

from ..convert.vocabulary.tokenizer import read_files
from .stored import NAMES, Stored, of_folder


def load(folder: Path) -> Any:
    """The tokenizer; None where transformers is missing or knows no such tokenizer."""
    os.environ["USE_TORCH"] = "0"  # tokenizers need none of it, and it takes seconds to import
    try:
        from transformers import AutoTokenizer, PreTrainedTokenizerFast
    except ImportError:
        return None
    for kind in (AutoTokenizer, PreTrainedTokenizerFast):  # a class of another version of transformers
        try:
            return kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except Exception:  # each class of each version refuses in its own way
            continue
    return None


def said_by(folder: Path, tokenizer: Any) -> Stored:
    """What the folder's files say, with the special tokens that its class has where no file names them.

    Without transformers' `tokenizer`, the project's own table of those has to do.
    """
    if tokenizer is None:
        named = {f"{name}_token": text for name, text in read_files(folder).special_tokens.items()}
    else:
        keys = [f"{name}_token" for name in NAMES]
        named = {key: str(text) for key in keys if (text := getattr(tokenizer, key, None))}
    return of_folder(folder, named)
