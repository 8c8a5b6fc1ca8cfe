"""Rules of form: how an answer begins and ends, its letters, its language, and whether it is JSON, a number or a date.

As in `counting_rules`, each function tells whether `text` follows the rule, and those that IFEval has decide as its
published checker does. The language is told by `language.detect` instead of the package langdetect, which takes some
English in capital letters for another language; a text that no language can be told of passes for English here.
"""

import json
import re
from datetime import date
from typing import Any

from . import language
from .language import detect

_CONSTRAINED = ("My answer is yes.", "My answer is no.", "My answer is maybe.")  # IFEval's fixed options


def no_comma(text: str) -> bool:
    """No comma."""
    return "," not in text


def title(text: str) -> bool:
    """A title in double angular brackets on one line: <<title>>."""
    return any(found.strip("<>").strip() for found in re.findall(r"<<(.+)>>", text))


def postscript(text: str, *, postscript_marker: str) -> bool:
    """A postscript, with "P.S." or "P.P.S", in whatever case and with or without spaces after the full stops."""
    letters = [letter for letter in postscript_marker.lower() if letter.isalpha()]
    end = r"\." if postscript_marker.strip().endswith(".") else ""
    return bool(re.search(r"\.\s?".join(letters) + end, text.lower()))


def quotation(text: str) -> bool:
    """The whole answer between double quotation marks."""
    text = text.strip()
    return len(text) > 1 and text.startswith('"') and text.endswith('"')


def start_checker(text: str, *, start_phrase: str) -> bool:
    """Begins with the phrase, in whatever case; not in IFEval."""
    return text.strip().lstrip('"').lower().startswith(start_phrase.strip().lower())


def end_checker(text: str, *, end_phrase: str) -> bool:
    """Ends with the phrase, in whatever case; a closing quotation mark may follow."""
    return text.strip().strip('"').lower().endswith(end_phrase.strip().lower())


def repeat_prompt(text: str, *, prompt_to_repeat: str) -> bool:
    """Begins with the request, word for word, in whatever case."""
    return text.strip().lower().startswith(prompt_to_repeat.strip().lower())


def two_responses(text: str) -> bool:
    """Two answers that differ, with ****** between them."""
    parts = [part.strip() for part in text.split("******")]
    written = [part for part in parts if part]
    return all(parts[1:-1]) and len(written) == 2 and written[0] != written[1]


def constrained_response(text: str) -> bool:
    """One of IFEval's three sentences stands in the answer: "My answer is yes.", no, or maybe."""
    return any(option in text for option in _CONSTRAINED)


def one_of(text: str, *, options: list[str]) -> bool:
    """The answer is one of the options and nothing else; case and a closing full stop do not matter; not in IFEval."""
    return text.strip().rstrip(".").lower() in {option.strip().rstrip(".").lower() for option in options}


def json_format(text: str) -> bool:
    """Valid JSON, also between the ticks of a Markdown block."""
    return _json(text) is not _NO_JSON


def json_keys(text: str, *, keys: list[str]) -> bool:
    """A JSON object with these keys and no others, also between ticks; not in IFEval."""
    value = _json(text)
    return isinstance(value, dict) and sorted(value) == sorted(keys)


_NO_JSON = object()


def _json(text: str) -> Any:
    inside = re.sub(r"^```(?:json)?", "", text.strip(), flags=re.IGNORECASE).removesuffix("```").strip()
    try:
        return json.loads(inside)
    except (ValueError, RecursionError):
        return _NO_JSON


def number_format(text: str, *, decimals: int) -> bool:
    """One number in digits and nothing else, with exactly so many digits after the point; not in IFEval."""
    point = rf"\.\d{{{decimals}}}" if decimals else ""
    return bool(re.fullmatch(rf"-?\d+{point}", text.strip()))


def iso_date(text: str) -> bool:
    """One date that exists, as YYYY-MM-DD and nothing else; not in IFEval."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", text.strip(), flags=re.ASCII):
        return False
    try:
        return bool(date.fromisoformat(text.strip()))
    except ValueError:
        return False


def english_capital(text: str) -> bool:
    """All letters capital, in no language other than English."""
    return text.isupper() and detect(text) in ("en", "")


def english_lowercase(text: str) -> bool:
    """All letters small, in no language other than English."""
    return text.islower() and detect(text) in ("en", "")


def response_language(text: str, *, language: str) -> bool:
    """The language by its ISO 639-1 code; a text without letters counts as followed, as in IFEval."""
    return detect(text) == language or not any(map(str.isalpha, text))


def response_script(text: str, *, script: str) -> bool:
    """All letters of one script by its Unicode name ("Cyrillic", "Greek", "Latin"), and at least one; not in IFEval."""
    return set(language.scripts(text)) == {script.upper()}
