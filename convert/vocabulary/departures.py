"""Where llama.cpp is known to cut text otherwise than a tokenizer does, with no form of its own that would be exact.

A vocabulary with a departure is written, for the models would be out of reach otherwise; it is proven on every probe
outside the departure, and the file says in words what departs.
"""

from collections.abc import Callable, Mapping, Sequence
from unicodedata import category

KEY = "edgequant.tokenizer.departs"  # of a GGUF: the words
#: departure -> what llama.cpp does, in words
DEPARTURES: Mapping[str, str] = {
    # src/llama-vocab.cpp and src/unicode.cpp: categories collapse to "letter", and case is told by A-Z and a-z
    "letters": "capitals beyond ASCII and combining marks may be cut otherwise inside words",
    "digits": "digits beyond ASCII may be grouped otherwise",
    "spaces": "spaces beyond ASCII may be cut otherwise",
    # tokenizers' Metaspace puts no second space before a space; with the scheme "first" none after special tokens
    "spaced": "a text that begins with a space gets another one",
    "spaced after special tokens": "a text that begins with a space, or follows a special token, gets another one",
    "bare": "no space is put before a text (conversations have none either)",
}
_CATEGORIES = {
    "letters": ("Lu", "Lt", "Lm", "Mn", "Mc", "Me"),
    "digits": ("Nd", "Nl", "No"),
    "spaces": ("Zs", "Zl", "Zp"),
}
_SPACES = (" ", "▁")


def departs(departure: str, text: str, special_tokens: Sequence[str] = ()) -> bool:
    """Whether the text is one that the departure is about."""
    test = _TESTS.get(departure)
    return bool(test and test(text, special_tokens))


def _has(departure: str) -> Callable[[str, Sequence[str]], bool]:
    def test(text: str, special_tokens: Sequence[str]) -> bool:
        kinds = _CATEGORIES[departure]
        found = any(character > "\x7f" and category(character) in kinds for character in text)
        return found or (departure == "letters" and "ſ" in text)  # its capital is ASCII: 'ſ counts as 's

    return test


def _spaced(text: str, special_tokens: Sequence[str]) -> bool:
    """Any part of the text between special tokens begins with a space."""
    if text.startswith(_SPACES):
        return True
    return any(text[end:].startswith(_SPACES) for end in _ends(text, special_tokens))


def _follows(text: str, special_tokens: Sequence[str]) -> bool:
    return text.startswith(_SPACES) or any(end < len(text) for end in _ends(text, special_tokens))


def _bare(text: str, special_tokens: Sequence[str]) -> bool:
    return bool(text) and not text.startswith((*_SPACES, *special_tokens))


def _ends(text: str, special_tokens: Sequence[str]) -> list[int]:
    """Where special tokens inside the text end."""
    found = [(token, text.find(token)) for token in special_tokens]
    ends = []
    for token, at in found:
        while at >= 0:
            ends.append(at + len(token))
            at = text.find(token, at + 1)
    return ends


_TESTS: Mapping[str, Callable[[str, Sequence[str]], bool]] = {
    **{name: _has(name) for name in _CATEGORIES},
    "spaced": _spaced,
    "spaced after special tokens": _follows,
    "bare": _bare,
}


def stated(metadata: Mapping[str, object]) -> str:
    """The departure that a GGUF says of itself, "" for none."""
    words = metadata.get(KEY)
    return next((name for name, text in DEPARTURES.items() if text == words), "")


def asked(departure: str, text: str, special_tokens: Sequence[str] = ()) -> str | None:
    """What to ask llama.cpp for the ids of a text: the text itself, None where no answer is expected to be the same."""
    if not departs(departure, text, special_tokens):
        return text
    return f" {text}" if departure == "bare" else None
