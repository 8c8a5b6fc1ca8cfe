"""The front matter of a model card: YAML between two lines of dashes at the top of README.md."""

import logging
import re
from pathlib import Path
from typing import Any

_log = logging.getLogger(__name__)
_LONGEST_CARD = 2**20  # characters; the card of a model with many evaluation results has a tenth of that
_MISSING = frozenset({"", "null", "~", "none"})


def read_front_matter(path: Path) -> dict[str, Any]:
    """The card's fields: strings, lists and mappings of them; {} where there is no card or none that can be read.

    Nothing is taken for a number, a date or a truth: the language `no` is Norwegian and the version 1.10 stays that.
    """
    import yaml

    try:
        text = path.read_bytes()[: 4 * _LONGEST_CARD].decode("utf-8-sig", "replace")[:_LONGEST_CARD]
    except OSError:  # no card, or one that may not be read
        return {}
    match = re.match(r"\s*---[ \t]*\r?\n(.*?)^(?:---|\.\.\.)[ \t]*\r?$", text, re.DOTALL | re.MULTILINE)
    if not match:
        return {}
    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    try:
        value = yaml.load(match[1].replace("\t", "  "), Loader=loader)  # the base loader makes strings, lists and dicts
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        _log.warning("%s: the front matter is no YAML and is left out: %s", path, str(error).splitlines()[0])
        return {}
    return value if isinstance(value, dict) else {}


def texts(value: Any) -> list[str]:
    """A field that may be missing, one string or a list of them, as strings fit for a file."""
    values = value if isinstance(value, list) else [value]
    cleaned = (_cleaned(each) for each in values if isinstance(each, str))
    return [text for text in cleaned if text.lower() not in _MISSING]


def _cleaned(text: str) -> str:
    """Without control characters and halves of surrogate pairs, which no reader of GGUF expects in a name."""
    kept = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(kept.encode("utf-8", "ignore").decode().split())
