"""Answers of MATH: found in a text, brought into one form, and compared.

Two forms are in use. Minerva's (Lewkowycz et al., arXiv 2206.14858, appendix D) drops words and units, and judges what
stands after "The final answer is"; that of the data's authors (Hendrycks et al., arXiv 2103.03874) repairs shorthand
TeX. lm-evaluation-harness lets a computer algebra system decide where Minerva's forms differ; here values decide that
are numbers or fractions of numbers, so that a result does not depend on what is installed. The share of right answers
can come out a little lower for that.
"""

import re
from fractions import Fraction

_FINAL = re.compile(r"Final Answer: The final answer is(.*?). I hope it is correct.")
_REPLACED = (
    ("an ", ""),
    ("a ", ""),
    (".$", "$"),
    (r"\$", ""),
    (r"\ ", ""),
    (" ", ""),
    ("mbox", "text"),
    (r",\text{and}", ","),
    (r"\text{and}", ","),
    (r"\text{m}", r"\text{}"),
)
_WORDS = [
    "square",
    "ways",
    "integers",
    "dollars",
    "mph",
    "inches",
    "ft",
    "hours",
    "km",
    "units",
    "sue",
    "points",
    "feet",
    "minutes",
    "digits",
    "cents",
    "degrees",
    "cm",
    "gm",
    "pounds",
    "meters",
    "meals",
    "edges",
    "students",
    "childrentickets",
    "multiples",
]
_MARKS = (
    r"\ldots",
    r"\text{s}",
    r"\text{.}",
    "\\text{\ns}",
    r"\text{}^2",
    r"\text{}^3",
    "\\text{\n}",
    r"\text{}",
    r"\mathrm{th}",
    r"^\circ",
    r"^{\circ}",
    r"\;",
    r",\!",
    "{,}",
    '"',
    r"\dots",
)
_UNWRAPPED = (
    (r".*?\$(.*?)\$.*", r"$\1$"),
    (r"\\text\{(.*?)\}", r"\1"),
    (r"\\textbf\{(.*?)\}", r"\1"),
    (r"\\overline\{(.*?)\}", r"\1"),
    (r"\\boxed\{(.*)\}", r"\1"),
    (r"frac([^{])(.)", r"frac{\1}{\2}"),
    (r"sqrt(\[[^\]]*\])(\w)", r"sqrt\1{\2}"),
    (r"sqrt(?!\[)([^{])", r"sqrt{\1}"),
)
_PLAIN = re.compile(r"[+-]?(\d+/\d+|\d+\.?\d*|\.\d+)")
_FRACTION = re.compile(r"(-?)\\frac\{(-?\d+)\}\{(-?\d+)\}")


def boxed(solution: str) -> str | None:
    r"""What the last \boxed{...} of a solution holds, braces inside it counted; None for none."""
    start = max(solution.rfind(r"\boxed"), solution.rfind(r"\fbox"))
    if start < 0:
        return None
    inside = solution[start:].removeprefix(r"\boxed").removeprefix(r"\fbox")
    if inside.startswith(" "):  # \boxed 5$
        return inside[1:].split("$")[0]
    depth = 0
    for position, character in enumerate(inside):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return inside[1:position] if character == "}" else None
    return None


def final_answer(text: str) -> str | None:
    """What a text in Minerva's form gives as its final answer; None where it gives none."""
    found = _FINAL.search(f"{text}I hope it is correct.")
    return found[1].strip() if found else None


def final_form(answer: str) -> str:
    """An answer in Minerva's form: what follows the last =, no words, no units, no dollar signs, TeX spelt out."""
    said = answer.split("=")[-1]
    for word in _WORDS:  # while spaces still show where words end
        said = re.sub(rf"(?<!\\)\b{word}\b", "", said)
    for before, after in _REPLACED:
        said = said.replace(before, after)
    # A command keeps its name: \left holds "ft".
    parts = re.split(r"(\\[a-zA-Z]+)", said)
    said = "".join(part if part.startswith("\\") and part[1:].isalpha() else _without(part, _WORDS) for part in parts)
    said = _without(said, _MARKS)
    for pattern, plain in _UNWRAPPED:
        said = re.sub(pattern, plain, said)
    said = said.replace("$", "")
    return said.replace(",", "") if re.fullmatch(r"-?\d{1,3}(,\d{3})+", said) else said


def _without(said: str, dropped: tuple[str, ...] | list[str]) -> str:
    for word in dropped:
        said = said.replace(word, "")
    return said


def same(first: str, second: str) -> bool:
    """Whether two answers in one form are the same: as texts, a fraction of any size alike, or as numbers."""
    first, second = (re.sub(r"\\[dt]frac", r"\\frac", each.strip()) for each in (first, second))
    if first == second:
        return True
    values = _value(first), _value(second)
    return None not in values and values[0] == values[1]


def _value(said: str) -> Fraction | None:
    said = _FRACTION.sub(r"\1\2/\3", said)
    if not _PLAIN.fullmatch(said):  # an exponent could ask for a number of a gigabyte
        return None
    try:
        return Fraction(said)
    except (ValueError, ZeroDivisionError):
        return None


def between_dollars(text: str) -> str:
    """What stands between the first and the last dollar sign of a text; all of it where there are not two."""
    first, last = text.find("$"), text.rfind("$")
    return text[first + 1 : last] if first < last else text


def school_form(answer: str) -> str:
    """An answer in the form of MATH's authors: no line ends, units, degrees or spaces, and fractions spelt out."""
    said = answer.replace("\n", "").replace(r"\!", "").replace("\\\\", "\\")
    said = re.sub("[td]frac", "frac", said).replace(r"\left", "").replace(r"\right", "")
    said = said.replace(r"^{\circ}", "").replace(r"^\circ", "").replace(r"\$", "")
    said = said.split(r"\text{ ")[0].replace(r"\%", "")
    said = re.sub(r"^\.", "0.", said.replace(" .", " 0.").replace("{.", "{0."))
    left, equals, right = said.partition("=")
    if equals and "=" not in right and len(left) <= 2:
        said = right
    said = re.sub(r"\\sqrt([^{])", r"\\sqrt{\1}", said).replace(" ", "")
    said = re.sub(r"\\frac([^{])([^{])", r"\\frac{\1}{\2}", said)
    said = re.sub(r"\\frac([^{])(\{)", r"\\frac{\1}\2", said)
    said = r"\frac{1}{2}" if said == "0.5" else said
    return re.sub(r"^(-?\d+)/(-?\d+)$", r"\\frac{\1}{\2}", said)
