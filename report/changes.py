"""What would change the answer: the nearest relaxation of each limit that lets something better in."""

from collections.abc import Iterator
from dataclasses import replace
from math import ceil, floor, log10
from typing import Any

from . import numbers
from .answer import PREFERENCES, Limits
from .bounds import BOUNDS, KEYS, LOSS
from .candidates import Candidate
from .judging import Judging
from .sentences import called


def changes(judging: Judging, limits: Limits, winner: Candidate | None) -> tuple[str, ...]:
    """A sentence for each limit that could be eased, computed with the rule itself, and one for other preferences.

    A change that lets in nothing better than the pick is none. Where limits are set and easing any one of them changes
    nothing, that is said.
    """
    asked = [key for key in KEYS if getattr(limits, key) is not None]
    said = [text for key in asked for text in _eased(judging, limits, key, winner)]
    binding = [key for key in asked if judging.outs(key, getattr(limits, key))]
    if binding and not said and winner:
        said = [f"Easing {'the limit' if len(asked) == 1 else 'one limit alone'} would bring nothing better."]
    return (*said, *_preferred(judging, limits, winner), *_allowed(judging, limits, winner))


def _eased(judging: Judging, limits: Limits, key: str, winner: Candidate | None) -> Iterator[str]:
    """The sentence of one limit, if any value of it changes the pick to what is out now."""
    now, limit = judging.standing(limits), getattr(limits, key)
    for value in _beyond(judging, key, limit):
        change: dict[str, Any] = {key: value}
        eased = judging.standing(replace(limits, **change))
        other, _ = judging.best(eased, limits.prefer) if eased != now else (winner, ())
        if other and other is not winner and not judging.bit(other) & now:
            yield _sentence(key, limit, value, called(other.row))
            return


def _beyond(judging: Judging, key: str, limit: float) -> list[float]:
    """The values at which a row comes in, those beyond the limit, nearest first."""
    sign = BOUNDS[key].sign if key in BOUNDS else 1
    return sorted({v for v in steps(judging, key) if sign * (v - limit) > 0}, key=lambda v: sign * v)


def steps(judging: Judging, key: str) -> list[float]:
    """The values of a limit at which some row comes in, rounded so that it does and that they read as they are."""
    if key in judging.kept_steps:
        return judging.kept_steps[key]
    found: set[float] = set()
    for n, each in enumerate(judging.candidates):
        if n in judging.unfit:
            continue
        if key == LOSS:
            ends = (each.row.loss.loss.low, each.row.loss.loss.estimate) if each.row.loss else ()
            found |= {max(0.0, whole(10 * end, 1) / 10) for end in ends}
        elif (value := BOUNDS[key].of(each).value) is not None:
            found.add(rounded(value, BOUNDS[key].sign, 2 if key == "max_divergence" else 3))
    judging.kept_steps[key] = sorted(found)
    return judging.kept_steps[key]


def rounded(value: float, sign: int, n: int) -> float:
    """A value with `n` significant digits, upwards for a most and downwards for a least."""
    if value <= 0:
        return 0.0
    places = n - 1 - floor(log10(value))
    scaled = whole(value * 10.0**places, sign)
    return float(scaled * 10**-places) if places < 0 else round(scaled / 10**places, places)


def whole(value: float, sign: int) -> int:
    """The next whole number upwards (+1) or downwards (-1); what floating point left behind the sixth digit is none."""
    near = round(value, 6)
    return ceil(near) if sign > 0 else floor(near)


def _sentence(key: str, limit: float, value: float, name: str) -> str:
    if key == "max_memory_bytes":
        return f"With {_more(value - limit)} more memory, {numbers.size(value)}: {name}."
    if key == "max_size_bytes":
        return f"With a file {_more(value - limit)} larger, {numbers.size(value)}: {name}."
    if key == LOSS:
        return f"With a loss of up to {numbers.points(value)} points: {name}."
    if key == "max_divergence":
        return f"With a divergence of up to {numbers.nats(value)} nats: {name}."
    verb = "decoding" if key == "min_decode" else "reading a prompt"
    return f"If {verb} at {numbers.rate(value)} tokens/s were enough: {name}."


def _more(n_bytes: float) -> str:
    """A difference in bytes as people say it: two digits, upwards."""
    text = numbers.size(rounded(n_bytes, 1, 2))
    number, unit = text.split(" ")
    return f"{number.rstrip('0').rstrip('.') if '.' in number else number} {unit}"


def _preferred(judging: Judging, limits: Limits, winner: Candidate | None) -> Iterator[str]:
    """What would be picked by other preferences, where that is something else."""
    said: dict[str, list[str]] = {}
    for prefer in PREFERENCES:
        other, _ = judging.best(judging.standing(replace(limits, prefer=prefer)), prefer)
        if prefer != limits.prefer and other and other is not winner:
            said.setdefault(called(other.row), []).append(prefer)
    if said:
        texts = [f"if {' or '.join(each)} came first: {name}" for name, each in said.items()]
        yield f"I{'; '.join(texts)[1:]}."


def _allowed(judging: Judging, limits: Limits, winner: Candidate | None) -> Iterator[str]:
    """What would be picked if predictions and other machines' figures counted, where they do not."""
    if limits.native:
        freely = judging.freely()
        other, _ = freely.best(freely.standing(limits), limits.prefer)
        if other and not (winner and other.name == winner.name):
            yield f"If predictions and other machines' figures counted: {called(other.row)}."
