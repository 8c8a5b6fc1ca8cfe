"""What a checkpoint says of how answers are drawn and where they end, for programs with words of their own."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...convert.vocabulary.tokenizer import Tokenizer, read_files

FILE = "generation_config.json"
PENALTY, PENALISED = "repetition_penalty", "penalised tokens"
_DRAWN_BY = ("temperature", "top_k", "top_p", "min_p")
_WHOLE_CONTEXT = "-1"  # of which transformers penalises every token


def generation_config(folder: Path) -> dict[str, Any]:
    """generation_config.json of a folder; {} where there is none that reads."""
    try:
        values = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def stated(generation: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """What generation_config.json says and nothing that it does not, under a program's own names for it.

    `names` has the keys of the file, and `PENALISED` for how many tokens back a penalty reaches.
    """
    if generation.get("do_sample") is True:
        for key in _DRAWN_BY:
            if _is_number(generation.get(key)):
                yield names[key], f"{generation[key]:g}"
    elif generation.get("do_sample") is False:
        yield names["temperature"], "0"
    if _is_number(generation.get(PENALTY)) and generation[PENALTY] != 1:
        yield from ((names[PENALTY], f"{generation[PENALTY]:g}"), (names[PENALISED], _WHOLE_CONTEXT))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def stop_texts(folder: Path) -> list[str]:
    """The tokens that end an answer, as texts, in the order of their ids."""
    files, tokenizer = read_files(folder), Tokenizer(folder)
    turn = files.special_ids.get("eot")
    ends = sorted({*files.end_ids, *([turn] if turn is not None else [])})
    return [text for index in ends if (text := tokenizer.decode([index], with_special=True))]
