"""Rules that count: words, sentences, lines, list items, keywords and letters of an answer.

Each function tells whether `text` follows the rule; the keyword arguments are the rule's parameters. Those that IFEval
has (Zhou et al., arXiv 2311.07911) take its parameters and count as its published checker does, with the differences
that `sentences` and `letter_frequency` state.
"""

import re
from collections.abc import Callable, Mapping
from operator import eq, ge, le, lt
from typing import Literal

Relation = Literal["less than", "at least", "at most", "exactly"]  # IFEval has the first two
_RELATIONS: Mapping[str, Callable[[int, int], bool]] = {"less than": lt, "at least": ge, "at most": le, "exactly": eq}
_ABBREVIATIONS = (
    "mr mrs ms dr prof st sr jr vs etc e.g i.e cf no inc ltd co corp dept gen col capt lt rev hon u.s u.k a.m p.m ph.d "
    "approx fig vol jan feb mar apr aug sept oct nov dec"
)
# The end of a sentence with the quotes and brackets that close it, before a space or the end.
_END = re.compile(r"(\S*?)([.!?…]+)[\"'”’)\]*_]*(?=\s|$)")
_NEXT = re.compile(r"\s*(\S)")


def words(text: str) -> int:
    """Runs of letters, digits and underscores: "don't" counts two, as in IFEval."""
    return len(re.findall(r"\w+", text))


def sentences(text: str) -> int:
    """Sentences of an English text: what full stops, question and exclamation marks end, and a rest without any.

    IFEval takes NLTK's trained Punkt model; this goes by a short list of abbreviations, and takes an initial
    ("J. Smith") and dots before a small letter for no end. As there, the end of a line or a heading is none either.
    """
    start = count = 0
    for found in _END.finditer(text):
        if _is_end(found[1].strip("\"'“‘([*_").lower(), found[2], _NEXT.match(text, found.end())):
            count += 1
            start = found.end()
    return count + bool(re.search(r"\w", text[start:]))


def _is_end(word: str, mark: str, follows: re.Match[str] | None) -> bool:
    if not follows or mark.strip("."):
        return True
    if len(mark) > 1:
        return follows[1].isupper()
    initial = len(word) == 1 and word.isalpha() and word != "i"
    return not initial and word not in _ABBREVIATIONS.split()


def number_words(text: str, *, num_words: int, relation: Relation) -> bool:
    """So many words."""
    return _RELATIONS[relation](words(text), num_words)


def number_sentences(text: str, *, num_sentences: int, relation: Relation) -> bool:
    """So many sentences."""
    return _RELATIONS[relation](sentences(text), num_sentences)


def number_lines(text: str, *, num_lines: int, relation: Relation) -> bool:
    """So many lines that are not blank; not in IFEval."""
    return _RELATIONS[relation](sum(bool(line.strip()) for line in text.splitlines()), num_lines)


def number_paragraphs(text: str, *, num_paragraphs: int) -> bool:
    """Exactly so many paragraphs with *** between them; a blank one may stand only at the beginning and at the end."""
    return _separated(text, "***") == num_paragraphs


def separated(text: str, *, separator: str, num_parts: int) -> bool:
    """Exactly so many parts with the separator between them, none blank; not in IFEval."""
    parts = text.strip().split(separator)
    return len(parts) == num_parts and all(part.strip() for part in parts)


def _separated(text: str, divider: str) -> int:
    """How many parts the divider makes; 0 where a blank one stands between others."""
    parts = [part.strip() for part in text.split(divider)]
    return 0 if not all(parts[1:-1]) else sum(map(bool, parts))


def nth_paragraph_first_word(text: str, *, num_paragraphs: int, nth_paragraph: int, first_word: str) -> bool:
    """Exactly so many paragraphs with an empty line between them, of which the nth (from 1) begins with the word."""
    paragraphs = [part.strip() for part in text.split("\n\n")]
    n_written = sum(map(bool, paragraphs))
    if n_written != num_paragraphs or not 0 < nth_paragraph <= n_written or not paragraphs[nth_paragraph - 1]:
        return False
    begin = paragraphs[nth_paragraph - 1].split()[0].lstrip("'").lstrip('"')
    return re.split(r"[.,?!'\"]", begin)[0].lower() == first_word.lower()


def number_bullet_lists(text: str, *, num_bullets: int) -> bool:
    """Exactly so many lines that begin with "-" or with a single "*"."""
    lines = [line.strip() for line in text.splitlines()]
    return sum(bool(re.match(r"-|\*[^*]", line)) for line in lines) == num_bullets


def numbered_list(text: str, *, num_items: int) -> bool:
    """Lines that begin with "1.", "2." and so on (or "1)") up to exactly this number; not in IFEval."""
    numbers = re.findall(r"^\s*(\d+)[.)]\s", text, flags=re.MULTILINE)
    return numbers == [str(number) for number in range(1, num_items + 1)]


def number_highlighted_sections(text: str, *, num_highlights: int) -> bool:
    """At least so many *highlighted* or **highlighted** passages."""
    passages = [*re.findall(r"\*([^\n*]*)\*", text), *re.findall(r"\*\*([^\n*]*)\*\*", text)]
    return sum(bool(passage.strip()) for passage in passages) >= num_highlights


def multiple_sections(text: str, *, section_spliter: str, num_sections: int) -> bool:
    """At least so many headings such as "SECTION 1"; the parameter is spelt as IFEval spells it."""
    return len(re.findall(rf"{re.escape(section_spliter)}\s?\d+", text)) >= num_sections


def number_placeholders(text: str, *, num_placeholders: int) -> bool:
    """At least so many placeholders in square brackets."""
    return len(re.findall(r"\[.*?\]", text)) >= num_placeholders


def existence(text: str, *, keywords: list[str]) -> bool:
    """Every keyword stands somewhere, in whatever case, also inside a longer word."""
    return all(keyword.lower() in text.lower() for keyword in keywords)


def order(text: str, *, keywords: list[str]) -> bool:
    """Every keyword stands as a word of its own, and they first appear in this order; not in IFEval."""
    places = [re.search(rf"\b{re.escape(keyword)}\b", text, flags=re.IGNORECASE) for keyword in keywords]
    starts = [place.start() for place in places if place]
    return len(starts) == len(keywords) and starts == sorted(starts)


def frequency(text: str, *, keyword: str, frequency: int, relation: Relation) -> bool:
    """The keyword so many times, in whatever case, also inside longer words."""
    return _RELATIONS[relation](text.lower().count(keyword.strip().lower()), frequency)


def forbidden_words(text: str, *, forbidden_words: list[str]) -> bool:
    """None of the words, in whatever case; inside a longer word they are allowed."""
    return not any(re.search(rf"\b{re.escape(word)}\b", text, flags=re.IGNORECASE) for word in forbidden_words)


def letter_frequency(text: str, *, letter: str, let_frequency: int, let_relation: Relation) -> bool:
    """The letter so many times, in whatever case.

    Two of IFEval's prompts ask for "#" and "!", for which its checker draws a letter at random; here they are counted.
    """
    return _RELATIONS[let_relation](text.lower().count(letter.lower()), let_frequency)


def capital_word_frequency(text: str, *, capital_frequency: int, capital_relation: Relation) -> bool:
    """So many words in capital letters alone, "I" and "A" among them; a hyphenated word is one, "IT'S" is two."""
    tokens = (token for token in re.split(r"[\s\[\](){}<>,;:?!\"“”…]+", text) if token.isupper())
    n_words = sum(1 + bool(re.search(r"\w(?:N'T|'(?:S|M|D|LL|RE|VE))\b", token)) for token in tokens)
    return _RELATIONS[capital_relation](n_words, capital_frequency)
