"""Strings on which two tokenizers that differ are likely to show it: the corpus behind every proof of a vocabulary."""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("probes.json")
#: how a special token may stand in a text: alone, in words, between spaces and line ends, twice
_AROUND = ("{0}", "a{0}b", " {0} ", "x {0} y", "\n{0}\n", "{0}{0}", "1{0}.", "{0}  two", "two  {0}", "é{0}é")
_MOST_SPECIAL = 40  # tokens that get all of `_AROUND`; the others stand in longer strings
_TOGETHER = 20


def texts(special_tokens: Sequence[str] = ()) -> tuple[str, ...]:
    """The corpus, each string once, with the given tokens inside text; the first string is empty."""
    own = [around.format(token) for token in special_tokens[:_MOST_SPECIAL] for around in _AROUND]
    others = special_tokens[_MOST_SPECIAL:]
    rest = [
        "".join(f"a {token} b{token}" for token in others[n : n + _TOGETHER]) for n in range(0, len(others), _TOGETHER)
    ]
    between = " and ".join(special_tokens[:_MOST_SPECIAL])
    return tuple(dict.fromkeys(["", *_fixed(), *own, *rest, between]))


@cache
def _fixed() -> tuple[str, ...]:
    groups: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    repeated = [text * times for text, times in groups.pop("repeated")]
    return (*(text for group in groups.values() for text in group), *repeated)
