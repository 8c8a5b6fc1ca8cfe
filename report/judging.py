"""How the rows of a report stand against any limits; what was worked out once is kept, for a page asks thousands."""

from collections.abc import Iterable, Mapping, Sequence

from . import numbers
from .answer import Limits, Verdict
from .bounds import BOUNDS, KEYS, LOSS, missing, over
from .candidates import Candidate, candidate
from .losses import certainty, lost
from .ranking import best
from .rows import BARS, Mark, Row

Outs = Mapping[int, tuple[Mark, ...]]  # index of a row -> why it is out


#: preference -> the limits whose figure must be known, for it is ranked by
RANKED_BY = {"quality": ("max_divergence",), "speed": ("min_decode",), "size": ()}


class Judging:
    """The rows, and what each limit on its own says of them. `native` as in `Limits`."""

    def __init__(self, rows: Sequence[Row], *, native: bool = False) -> None:
        self.candidates = tuple(candidate(row) for row in rows)
        self.source = next((n for n, row in enumerate(rows) if row.is_source), None)
        self.reference = next((row.format for row in rows if row.is_reference), "the reference")
        unfit = {n: _unfit(c, native) for n, c in enumerate(self.candidates)}
        self.unfit: Outs = {n: marks for n, marks in unfit.items() if marks}
        self._outs: dict[tuple[str, float | str], Outs] = {}
        self._masks: dict[tuple[str, float | str], int] = {}
        self._best: dict[tuple[int, str], tuple[Candidate | None, tuple[Candidate, ...]]] = {}
        self._freely: Judging | None = None
        self.kept_steps: dict[str, list[float]] = {}  # of `changes.steps`
        self.bars = self._larger_than_source()
        self._whole = (1 << len(rows)) - 1 - _bits(self.unfit)

    def outs(self, key: str, value: float | str) -> Outs:
        """What one limit, or the preference under the key "prefer", puts out of the rows that are fit for anything."""
        if (key, value) not in self._outs:
            made = {n: self._out(key, value, c) for n, c in enumerate(self.candidates) if n not in self.unfit}
            self._outs[key, value] = {n: marks for n, marks in made.items() if marks}
        return self._outs[key, value]

    def verdicts(self, limits: Limits) -> tuple[Verdict, ...]:
        """How each row stands, in their order."""
        asked = [self.unfit, *(self.outs(key, value) for key, value in _asked(limits))]
        asked += [self.bars] if self.is_bounded(limits) else []
        return tuple(self._verdict(n, asked, limits) for n in range(len(self.candidates)))

    def standing(self, limits: Limits, *, source: bool = True) -> int:
        """The rows that are not out, a bit each; without `source`, as if the quantised source were not there."""
        left = self._within(limits)
        if not source and self.source is not None:
            return left & ~(1 << self.source)
        return left & ~_bits(self.bars) if self.is_bounded(limits) else left

    def is_bounded(self, limits: Limits) -> bool:
        """Whether the quantised source stands itself, so that nothing larger than it may win on quality."""
        asked = limits.prefer == "quality" and self.source is not None
        return asked and bool(self._within(limits) >> (self.source or 0) & 1)

    def _within(self, limits: Limits) -> int:
        left = self._whole
        for key, value in _asked(limits):
            left &= self._mask(key, value)
        return left

    def best(self, standing: int, prefer: str) -> tuple[Candidate | None, tuple[Candidate, ...]]:
        """The winner among these rows and its equals: `ranking.best`."""
        if (standing, prefer) not in self._best:
            found = [c for n, c in enumerate(self.candidates) if standing >> n & 1]
            self._best[standing, prefer] = best(found, prefer)
        return self._best[standing, prefer]

    def freely(self) -> "Judging":
        """The same rows where any figure counts, also those that the device did not measure itself."""
        self._freely = self._freely or Judging([c.row for c in self.candidates])
        return self._freely

    def bit(self, found: Candidate) -> int:
        """The bit of one row in `standing`."""
        return 1 << self.candidates.index(found)

    def _mask(self, key: str, value: float | str) -> int:
        if (key, value) not in self._masks:
            self._masks[key, value] = (1 << len(self.candidates)) - 1 - _bits(self.outs(key, value))
        return self._masks[key, value]

    def _verdict(self, n: int, asked: Iterable[Outs], limits: Limits) -> Verdict:
        reasons = tuple(dict.fromkeys(mark for outs in asked for mark in outs.get(n, ())))
        if reasons:
            return Verdict(format=self.candidates[n].name, standing="out", reasons=reasons)
        return Verdict(format=self.candidates[n].name, standing=certainty(self.candidates[n], limits.max_loss))

    def _out(self, key: str, value: float | str, found: Candidate) -> tuple[Mark, ...]:
        if isinstance(value, str):
            return (*_unranked(found, value), *_on_grid(found, value))
        if key == LOSS:
            return lost(found, value, self.candidates)
        bound = BOUNDS[key]
        figure = bound.of(found)
        if figure.value is None:
            return (missing(bound.name, figure.note),)
        if bound.breaks(figure.value, value):
            return (over(bound, figure, value),)
        return (_paged(found),) if bound.code == "memory" and _waited(found.row) else ()

    def _larger_than_source(self) -> Outs:
        """Rows that cannot be better than the quantised source that the weights came from, and are larger."""
        if self.source is None or not (bound := self.candidates[self.source].n_bytes):
            return {}
        text = "{} is larger than the source's own {}, and nothing made from the source can know more than it"
        return {
            n: (Mark(code="source", sentence=text.format(numbers.size(c.n_bytes), numbers.size(bound))),)
            for n, c in enumerate(self.candidates)
            if c.n_bytes > bound and n not in self.unfit
        }


def _asked(limits: Limits) -> list[tuple[str, float | str]]:
    """The limits that are set, and the preference, in the order in which reasons are told."""
    values = [(key, getattr(limits, key)) for key in KEYS]
    return [*((key, value) for key, value in values if value is not None), ("prefer", limits.prefer)]


def _bits(outs: Outs) -> int:
    return sum(1 << n for n in outs)


def _unfit(found: Candidate, native: bool) -> tuple[Mark, ...]:
    """Why a row cannot be picked whatever is asked: it failed, is not offered, has no file, or is not of the device."""
    row = found.row
    if row.failure:
        return (Mark(code="failed", sentence=f"{row.failure.code}: {row.failure.sentence}"),)
    if bar := row.mark(*BARS):
        return (Mark(code="not eligible", sentence=f"{bar.code}: {bar.sentence}"),)
    if row.size_bytes is None:
        return (Mark(code="missing", sentence="there is no file"),)
    if native and (row.mark("emulated") or found.predicted):
        return (
            Mark(code="emulated", sentence="it was not measured on the device itself, and only such figures count"),
        )
    return ()


def _unranked(found: Candidate, prefer: str) -> tuple[Mark, ...]:
    asked = [BOUNDS[key] for key in RANKED_BY[prefer]]
    return tuple(missing(b.name, b.of(found).note) for b in asked if b.of(found).value is None)


def _on_grid(found: Candidate, prefer: str) -> tuple[Mark, ...]:
    """A format on the weights' own grid never wins on quality: on other weights it would lose more."""
    grid = found.row.mark("quality not transferable") if prefer == "quality" and not found.row.is_source else None
    return (Mark(code="grid", sentence=grid.sentence),) if grid else ()


def _waited(row: Row) -> bool:
    """Whether it ran within a limit of memory only by fetching pages from the disk again and again."""
    return row.mark("limit") is not None and row.mark("major faults") is not None


def _paged(found: Candidate) -> Mark:
    within = numbers.size(found.memory.value or 0)
    return Mark(code="memory", sentence=f"it kept to {within} only by fetching pages from the disk again and again")
