"""The text that activations are observed on, as windows of token ids; by default the project's own."""

import codecs
from collections.abc import Sequence
from pathlib import Path

from ... import Error
from ..vocabulary.tokenizer import Tokenizer

#: written for this project; shares no sentence with what quality is measured on (accuracy/text, accuracy/tasks)
TEXT_FILE = Path(__file__).parent / "text.txt"
WINDOW_TOKENS = 512
N_WINDOWS = 16  # 8,192 tokens at most, however long a user's file is
_BYTES_READ = 2**20  # more than that many tokens are, unless they are runs of blanks
_HINT = "--calibration takes a file of plain text in UTF-8"


def windows(folder: Path, *, text: Path | None = None, context: int = WINDOW_TOKENS) -> list[list[int]]:
    """The text's first tokens by the tokenizer in `folder`, cut into windows that each begin as the model expects.

    A window has 512 tokens, or `context` where that is less; the last one what is left. Raises `Error` for a text that
    is missing, empty or not UTF-8.
    """
    file = text or TEXT_FILE
    tokenizer = Tokenizer(folder)
    found = cut(tokenizer.encode(read(file)), size=min(WINDOW_TOKENS, context), begin=tokenizer.begin())
    if not found:
        raise Error(f"{file} holds no text that makes a token of the model's", hint=_HINT)
    return found


def cut(tokens: Sequence[int], *, size: int, begin: Sequence[int]) -> list[list[int]]:
    """At most `N_WINDOWS` windows of `size` tokens, `begin` counted."""
    step = size - len(begin)
    if step < 1:
        raise Error(f"a context of {size} tokens has no room for a text")
    return [[*begin, *tokens[start : start + step]] for start in range(0, min(len(tokens), N_WINDOWS * step), step)]


def read(file: Path) -> str:
    """The text in a file, of a long one the first part; `Error` in one line where it is none."""
    try:
        with file.open("rb") as stream:
            data = stream.read(_BYTES_READ)
    except OSError as error:
        raise Error(f"{file} cannot be read: {error.strerror}", hint=_HINT) from None
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(data, final=len(data) < _BYTES_READ)
    except UnicodeDecodeError as error:
        raise Error(f"{file} is no text in UTF-8: byte {error.start} is {data[error.start]:#04x}", hint=_HINT) from None
    if "\0" in text:
        raise Error(f"{file} is no text: it holds a zero byte", hint=_HINT)
    if not text.strip():
        raise Error(f"{file} is empty", hint=_HINT)
    return text
