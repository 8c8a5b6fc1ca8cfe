"""The answers behind the page's controls: what `pick` says at every stop of memory, decode speed, loss and preference.

`choices(report, limits).to_json()` is what the page embeds. It holds no rule, only answers, and how to look them up:

    {
      "formats": ["F16", "Q8_0", ...],                 formats are named by their index in this list, everywhere below
      "texts": ["Ship Q6_K.", ...],                    every sentence once, named by its index, everywhere below
      "always_out": [[format, code, text], ...],       out whatever the controls say: failed, no file, other limits
      "source_out": [[format, code, text], ...],       larger than the quantised source, see below
      "sliders": [                                     three, in this order
        {"key": "max_memory_bytes", "title": "Memory", "unit": "", "stops": [...]},
        {"key": "min_decode", "title": "Decode", "unit": "tokens/s", "stops": [...]},
        {"key": "max_loss", "title": "Loss of accuracy", "unit": "points", "stops": [...]}
      ],
      "preferences": [{"key": "quality", "title": "Quality", "out": [[format, code, text], ...]}, ...],
      "answers": [...],                                each distinct one once
      "index": [0, 0, 3, ...],                         into "answers", one for each combination
      "start": [i, j, k, p]                            the stops that put in and out what the report's own limits do
    }

A stop is {"value": 269000000.0, "text": "269 MB", "out": [[format, code, text], ...], "certified": [format, ...]}: the
limit that was used, exactly what its text says, and the formats that it puts out. Stops run from the tightest to no
limit, whose value is null and whose text is "no limit". `certified` is filled for the loss alone.

With stops i, j, k of the three sliders and preference p, the answer is

    answers[index[((i * n_decode + j) * n_loss + k) * n_preferences + p]]

    {"pick": format or null, "runner_up": format or null,
     "headline": text, "detail": text (of "" where nothing is picked),
     "reasons": [text, ...], "better_out": [format, ...],
     "runner_up_reason": text, "confidence": text,
     "bounded": true where the formats of "source_out" are out, because the source itself stands,
     "changes": [text, ...], "without_source": text (of "" where there was no quantised source)}

A format is out where `always_out`, one of the three stops, the preference or, if the answer is `bounded`, `source_out`
says so. Its reasons are the texts found there, in this order and each once, and the line that says so is
`${name} is out: ${texts.join("; ")}.`. Such lines of `better_out` follow the reasons. A format that is not out "fits"
where the loss has no limit, else it is "certified" or "not certain". What `Answer.sentences` says is then, in reading
order: headline, detail, reasons, lines of `better_out`, confidence, changes, runner_up_reason, without_source;
empty texts are left out.

Twelve formats make about 130 to 270 kB of JSON, the most where they differ in everything and are in no order, and take
half a second to one and a half. With more formats the stops that are nearest to each other give way, so that there are
never more than `MOST` combinations.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product
from math import prod
from typing import Any

from . import numbers, stored
from .answer import PREFERENCES, Answer, Limits
from .bounds import KEYS, LOSS
from .changes import rounded, steps, whole
from .judging import Judging
from .losses import certainty
from .pick import pick
from .rows import Mark, Row
from .table import Report

#: combinations of stops and preferences that are answered at most, for the page's size and the time that it takes
MOST = 6000
NO_LIMIT = "no limit"
TITLES = {"quality": "Quality", "speed": "Speed", "size": "Size"}
#: field of `Limits` -> title, unit beside the number, how the number is written
SLIDERS = {
    "max_memory_bytes": ("Memory", "", numbers.size),
    "min_decode": ("Decode", "tokens/s", numbers.rate),
    "max_loss": ("Loss of accuracy", "points", numbers.points),
}


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What is said above, field by field."""

    formats: tuple[str, ...]
    texts: tuple[str, ...]
    always_out: tuple[tuple[int, str, int], ...]
    source_out: tuple[tuple[int, str, int], ...]
    sliders: tuple[Mapping[str, Any], ...]
    preferences: tuple[Mapping[str, Any], ...]
    answers: tuple[Mapping[str, Any], ...]
    index: tuple[int, ...]
    start: tuple[int, int, int, int]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, as above."""
        values: dict[str, Any] = stored.encode(self)
        return values


def choices(found: Report | Sequence[Row], limits: Limits | None = None) -> Choices:
    """The answers for every combination of stops.

    `limits` (a report's own, unless given) stand where the controls say nothing: size, prefill and the rest are kept,
    and `start` is where the controls stand for them.
    """
    rows = found.rows if isinstance(found, Report) else found
    limits = limits or (found.answer.limits if isinstance(found, Report) else Limits())
    return _Making(rows, limits).made()


class _Making:
    """One `Choices` in the making: sentences and answers are numbered as they come."""

    def __init__(self, rows: Sequence[Row], limits: Limits) -> None:
        self.rows, self.limits = rows, limits
        self.judging = Judging(rows, native=limits.native)
        self.place = {row.format: n for n, row in enumerate(rows)}
        self.texts: dict[str, int] = {}
        self.answers: dict[tuple[Any, ...], int] = {}
        self.stops = {key: self._values(key) for key in SLIDERS}
        self._thin()

    def made(self) -> Choices:
        """Ask for every combination."""
        index = tuple(self._answer(limits) for limits in self._combinations())
        return Choices(
            formats=tuple(row.format for row in self.rows),
            always_out=tuple(self._always()),
            source_out=tuple(self._listed(self.judging.bars)),
            sliders=tuple(self._slider(key) for key in SLIDERS),
            preferences=tuple(
                {"key": name, "title": TITLES[name], "out": self._out("prefer", name)} for name in PREFERENCES
            ),
            start=self._start(),
            answers=tuple(dict(answer) for answer in self.answers),
            texts=tuple(self.texts),
            index=index,
        )

    def _combinations(self) -> Iterator[Limits]:
        """The limits of every combination, in the order of the index."""
        for chosen in product(*self.stops.values(), PREFERENCES):
            changes: dict[str, Any] = dict(zip((*SLIDERS, "prefer"), chosen, strict=True))
            yield replace(self.limits, **changes)

    def _values(self, key: str) -> list[float | None]:
        """The stops of a limit, tightest first: of neighbours that put out the same formats, one."""
        found = {*steps(self.judging, key), *self._own(key)}
        kept: dict[frozenset[int], float | None] = {frozenset(): None}
        for value in sorted(found, reverse=key.startswith("min")):
            if self._names(key, value):
                kept.setdefault(self._names(key, value), value)
        return sorted(kept.values(), key=lambda value: -len(self._names(key, value)))

    def _thin(self) -> None:
        """Of the slider with most stops take the one away that is nearest to the next, until few enough are left."""
        while prod(map(len, self.stops.values())) * len(PREFERENCES) > MOST:
            key = max(self.stops, key=lambda name: len(self.stops[name]))
            values = [value for value in self.stops[key] if value is not None]
            own = self._names(key, getattr(self.limits, key))
            apart = {
                value: abs(after - value) / max(after, value)
                for value, after in pairwise(values)
                if self._names(key, value) != own
            }
            self.stops[key].remove(min(apart, key=lambda value: apart[value]))

    def _own(self, key: str) -> Iterator[float]:
        """The limit that is set, as it would be written, if that puts out the same formats."""
        own = getattr(self.limits, key)
        for sign in (-1, 1) if own is not None else ():
            value = rounded(own, sign, 3) if key != LOSS else whole(10 * own, sign) / 10
            if self._names(key, value) == self._names(key, own):
                yield value

    def _names(self, key: str, value: float | None) -> frozenset[int]:
        return frozenset(() if value is None else self.judging.outs(key, value))

    def _slider(self, key: str) -> dict[str, Any]:
        title, unit, form = SLIDERS[key]
        stops = []
        for value in self.stops[key]:
            text = NO_LIMIT if value is None else form(value)
            out = () if value is None else self._out(key, value)
            sure = self._certified(value) if key == LOSS and value is not None else ()
            stops.append({"value": value, "text": text, "out": out, "certified": sure})
        return {"key": key, "title": title, "unit": unit, "stops": stops}

    def _certified(self, value: float) -> list[int]:
        return [n for n, c in enumerate(self.judging.candidates) if certainty(c, value) == "certified"]

    def _always(self) -> Iterator[tuple[int, str, int]]:
        """What no control lets in: rows that are unfit, and limits that have no control."""
        yield from self._listed(self.judging.unfit)
        for key in KEYS:
            value = getattr(self.limits, key)
            if key not in SLIDERS and value is not None:
                yield from self._out(key, value)

    def _out(self, key: str, value: float | str) -> list[tuple[int, str, int]]:
        return list(self._listed(self.judging.outs(key, value)))

    def _listed(self, outs: Mapping[int, tuple[Mark, ...]]) -> Iterator[tuple[int, str, int]]:
        for n, marks in outs.items():
            yield from ((n, mark.code, self._text(mark.sentence)) for mark in marks)

    def _text(self, text: str) -> int:
        return self.texts.setdefault(text, len(self.texts))

    def _answer(self, limits: Limits) -> int:
        answer = tuple(self._compact(pick(self.rows, limits, judging=self.judging)).items())
        return self.answers.setdefault(answer, len(self.answers))

    def _compact(self, answer: Answer) -> dict[str, Any]:
        """One answer in numbers; tuples, so that like ones are found."""
        said = answer.reasons[: len(answer.reasons) - len(answer.better_out)]
        return {
            "pick": None if answer.pick is None else self.place[answer.pick],
            "runner_up": None if answer.runner_up is None else self.place[answer.runner_up],
            "headline": self._text(answer.headline),
            "detail": self._text(answer.detail),
            "reasons": tuple(map(self._text, said)),
            "better_out": tuple(self.place[name] for name in answer.better_out),
            "runner_up_reason": self._text(answer.runner_up_reason),
            "confidence": self._text(answer.confidence),
            "bounded": self.judging.is_bounded(answer.limits),
            "changes": tuple(map(self._text, answer.changes)),
            "without_source": self._text(answer.without_source_reason),
        }

    def _start(self) -> tuple[int, int, int, int]:
        """For each slider the tightest stop that puts out what the report's own limit does, or the nearest to that."""
        i, j, k = (self._nearest(key) for key in SLIDERS)
        return i, j, k, PREFERENCES.index(self.limits.prefer)

    def _nearest(self, key: str) -> int:
        own = self._names(key, getattr(self.limits, key))
        apart = [len(own ^ self._names(key, value)) for value in self.stops[key]]
        return len(apart) - 1 - apart[::-1].index(min(apart))
