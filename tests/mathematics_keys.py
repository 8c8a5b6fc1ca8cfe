"""The answers to the built-in mathematics items, worked out from the numbers that stand in their prompts.

Each function gets the prompt's numbers in their order; one for a multiple choice whose answer depends on what is
offered gets the values of the choices instead.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import permutations, product
from math import gcd, prod

Compute = Callable[..., object]
_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
WORDS = {word: n for n, word in enumerate((_ONES + "eighteen nineteen").split())}
WORDS |= {word: 10 * n for n, word in enumerate(_TENS.split(), 2)}


def numbers(text: str) -> list[Fraction]:
    """Numbers in digits, without signs, in their order."""
    return [Fraction(number) for number in re.findall(r"\d+(?:\.\d+)?", text)]


def value(text: str) -> Fraction:
    """The number that an accepted answer or a choice says: digits, a fraction, a percentage, a change, or words."""
    text = re.sub(r"(?<=\d),(?=\d{3})", "", text)
    if text == "unchanged":
        return Fraction(0)
    if found := re.search(r"(\d+)/(\d+)", text):
        return Fraction(int(found[1]), int(found[2]))
    if not (given := numbers(text)):
        return Fraction(spelt(text))
    size = given[0] / 100 if "%" in text else given[0]
    return -size if "lower" in text else size


def spelt(text: str) -> int:
    """A number below ten thousand in words: "three hundred and fifty"."""
    total = current = 0
    for word in re.findall(r"[a-z]+", text.lower()):
        if word == "hundred":
            current *= 100
        elif word == "thousand":
            total, current = total + current * 1000, 0
        elif word in WORDS:
            current += WORDS[word]
        elif word != "and":
            break
    return total + current


def clock(hours: Fraction, minutes: Fraction, later: Fraction) -> str:
    whole = int(hours * 60 + minutes + later)
    return f"{whole // 60 % 24:02d}:{whole % 60:02d}"


def solve(equation: Callable[[int], bool]) -> int:
    """The only whole number from -1000 to 1000 for which the equation holds."""
    (found,) = (x for x in range(-1000, 1001) if equation(x))
    return found


def is_prime(n: Fraction) -> bool:
    return n > 1 and n.denominator == 1 and all(n % d for d in range(2, int(n)))


# -- answers that follow from the prompt's numbers, without the prefix "mathematics-"
COMPUTED: dict[str, Compute] = {
    "001": lambda a, b: a + b,
    "002": lambda a, b: a * b,
    "003": lambda a, b: a - b,
    "004": lambda a, b: a / b,
    "005": lambda a: a / 2,
    "006": lambda a, b: a + b,
    "007": lambda eggs, boxes: eggs * boxes,
    "008": lambda has, gives: has - gives,
    "009": lambda *given: given[-1] + (given[1] - given[0]),
    "010": lambda price, n: price * n,
    "011": lambda: 2 * 60,
    "012": lambda a: a**2,
    "013": lambda a, b: a * b,
    "014": lambda a, b: a / b,
    "015": lambda percent, whole: percent * whole / 100,
    "016": lambda a, b, c: solve(lambda x: a * x + b == c),
    "017": lambda length, width: length * width,
    "018": lambda price, percent: price * (100 - percent) / 100,
    "019": lambda together: together / (1 + 3),
    "020": lambda litres, minutes, others: litres / minutes * others,
    "021": lambda km, hours: km / hours,
    "022": lambda a, b: a * b,
    "023": lambda first, last: sum(range(int(first), int(last) + 1)),
    "024": clock,
    "025": lambda a: next(n for n in range(int(a) + 1, int(a) + 9) if n % 2 == 0),
    "027": lambda: Fraction(1, 2),
    "029": lambda a, b: a + b,
    "030": lambda a: a,
    "031": lambda a: next(n for n in range(int(a) + 1, 99) if is_prime(Fraction(n))),
    "033": lambda above, a, b: next(n for n in range(int(above) + 1, 999) if n % a == n % b == 0),
    "034": lambda side: 4 * side,
    "036": lambda *given: sum(given) / len(given),
    "037": lambda a: (a + 50) // 100 * 100,
    "038": lambda red, blue: red / (red + blue),
    "039": lambda base, power, other: base ** int(power) - other**2,
    "040": lambda up, down: (1 + up / 100) * (1 - down / 100) - 1,
    "041": lambda a, b: a + b,
    "042": lambda pages, days: pages * days,
    "043": lambda seats, taken: seats - taken,
    "044": lambda a: 2 * a,
    "045": lambda a, b, less: a * b - less,
    "046": lambda h, m, later_h, later_m: (later_h - h) * 60 + later_m - m,
    "047": lambda price, n: price / n,
    "048": lambda a, b, whole: a / b * whole,
    "049": lambda boxes, pens, others, fewer: boxes * pens + others * fewer,
    "050": lambda has, each, friends: has - each * friends,
    "051": lambda a, b: a * b,
    "052": lambda a, b: gcd(int(a), int(b)),
    "053": lambda a, b: a % b,
    "054": lambda n, total: solve(lambda x: x + (x - 1) + (x - 2) == total),
    "055": lambda base, height: base * height / 2,
    "056": lambda a, b, c, d: solve(lambda x: a * x - b == c * x + d),
    "057": lambda times, added, result: (result - added) / times,
    "058": lambda trays, rolls, sold, given: trays * rolls - sold - given,
    "059": lambda wage, hours, coat: wage * (hours + 2 * hours) - coat,
    "060": lambda litres, comes, goes: litres / (comes - goes),
    "061": lambda classes, pupils, walk: classes * pupils * Fraction(2, 3) - walk,
    "062": lambda adult, child, adults, children, note: note - adult * adults - child * children,
    "063": lambda litres, per, trips, km: litres / per * trips * km,
    "064": lambda week, weeks, game, more: week * (weeks + more) - game,
    "065": lambda length, width, every: len(_around(int(length), int(width), int(every))),
    "066": lambda a: a - 1,
    "068": lambda divisor, result: result * divisor,
    "070": lambda *digits: len(set(permutations(digits))),
    "071": lambda: (5 - 2) * 180,
    "072": lambda: Fraction(list(product("HT", repeat=2)).count(("H", "H")), 4),
    "073": lambda machines, parts, hours, others, longer: parts / machines / hours * others * longer,
}

# -- which of the values offered is the right one
CHOSEN: dict[str, Callable[[Sequence[Fraction]], Fraction]] = {
    "026": max,
    "032": min,
    "067": lambda offered: _only(n for n in offered if n % 4 == n % 6 == 0),
    "069": max,
}


def _around(length: int, width: int, every: int) -> set[tuple[int, int]]:
    """The places of posts on the edge of a field, corner by corner."""
    along = {(x, y) for x in range(0, length + 1, every) for y in (0, width)}
    return along | {(x, y) for x in (0, length) for y in range(0, width + 1, every)}


def _only(found: object) -> Fraction:
    (one,) = found  # type: ignore[misc,attr-defined]
    return Fraction(one)


def same_polynomial(left: str, right: str) -> bool:
    """Whether two expressions in x are equal: as polynomials of degree one they are where they agree twice."""
    return all(_at(left, x) == _at(right, x) for x in (3, 11, 40))


def _at(expression: str, x: int) -> int:
    """Sums of products such as 2(x + 3) and 2x + 6, worked out without eval."""
    if found := re.fullmatch(r"(\d+)\((.*)\)", expression):
        return int(found[1]) * _at(found[2], x)
    return sum(
        prod(x if part == "x" else int(part) for part in re.findall(r"\d+|x", term)) for term in expression.split(" + ")
    )
