"""How the rows of a report stand against any limits; what was worked out once is kept, for a page asks thousands."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from . import numbers
from .answer import Limits, Verdict
from .candidates import ELSEWHERE, PREDICTED, Candidate, Figure, candidate
from .ranking import EQUAL_NATS, best
from .rows import BARS, Mark, Row

Outs = Mapping[int, tuple[Mark, ...]]  # index of a row -> why it is out


@dataclass(frozen=True, kw_only=True)
class Bound:
    """One limit: the field of `Limits`, its code, +1 for a most and -1 for a least, and how its figure is said."""

    key: str
    code: str
    sign: int
    form: Callable[[float], str]
    said: str  # of a figure, "{}" being the number
    of: Callable[[Candidate], Figure]

    def breaks(self, value: float, limit: float) -> bool:
        """Whether a figure is beyond the limit; one that meets it exactly is not."""
        return self.sign * (value - limit) > 0


#: every limit but that of the loss, which is judged by intervals; the page's own ones come last
BOUNDS: Mapping[str, Bound] = {
    bound.key: bound
    for bound in (
        Bound(
            key="max_size_bytes", code="size", sign=1, form=numbers.size, said="a file of {}",
            of=lambda c: Figure(value=c.row.size_bytes, note="there is no file"),
        ),
        Bound(
            key="min_prefill", code="prefill", sign=-1, form=numbers.rate, said="prefill at {} tokens/s",
            of=lambda c: c.prefill,
        ),
        Bound(
            key="max_divergence", code="divergence", sign=1, form=numbers.nats, said="a divergence of {} nats",
            of=lambda c: c.divergence,
        ),
        Bound(
            key="max_memory_bytes", code="memory", sign=1, form=numbers.size, said="a peak RSS of {}",
            of=lambda c: c.memory,
        ),
        Bound(
            key="min_decode", code="decode", sign=-1, form=numbers.rate, said="decode at {} tokens/s",
            of=lambda c: c.decode,
        ),
    )
}  # fmt: skip
LOSS = "max_loss"
KEYS = (*BOUNDS, LOSS)
#: what is ranked by must be known
RANKED_BY = {"quality": ("divergence",), "speed": ("decode",), "size": ()}
NAMES = {
    "divergence": "kl divergence", "decode": "decode tokens per second", "prefill": "prefill tokens per second",
    "memory": "peak rss bytes", "size": "size", "loss": "loss",
}  # fmt: skip


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
            return self._lost(found, value)
        bound = BOUNDS[key]
        figure = bound.of(found)
        if figure.value is None:
            return (_missing(bound.code, figure.note),)
        if bound.breaks(figure.value, value):
            return (_over(bound, figure, value),)
        return (_paged(found),) if bound.code == "memory" and _waited(found.row) else ()

    def _lost(self, found: Candidate, limit: float) -> tuple[Mark, ...]:
        """Out for its loss: where the whole interval is over the limit, or where nothing measured speaks for it.

        The latter is a loss over the limit of a format that diverges by more than `EQUAL_NATS`, where none that
        diverges as much or more keeps to the limit either. So chance in a few items decides as little as it can.
        """
        if found.row.is_reference:
            return ()
        if found.row.loss is None:
            return (_missing("loss", found.row.loss_note),)
        loss = found.row.loss.loss
        between = numbers.span(loss, numbers.points)
        if loss.low > limit:
            text = f"the whole interval of its loss, {between} points, is over {numbers.points(limit)}"
            return (Mark(code="loss", sentence=text),)
        if loss.estimate <= limit or found.nats <= EQUAL_NATS or self._vouched(found, limit):
            return ()
        measured, most = numbers.apart(loss.estimate, limit, numbers.points)
        text = f"its loss of {measured} points ({between}) is over {most}, as is that of whatever diverges more"
        return (Mark(code="loss", sentence=text),)

    def _vouched(self, found: Candidate, limit: float) -> bool:
        """Whether a format that diverges as much or more keeps to the limit as far as was measured."""
        others = (c for c in self.candidates if c.row.loss and found.nats <= c.nats < float("inf"))
        return any(
            c.row.loss.loss.estimate <= limit
            for c in others
            if c.row.loss and not c.row.mark("quality not transferable")
        )

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


def certainty(found: Candidate, max_loss: float | None) -> str:
    """The standing of a format that is not out."""
    if max_loss is None:
        return "fits"
    sure = found.row.is_reference or (found.row.loss is not None and found.row.loss.loss.high <= max_loss)
    return "certified" if sure else "not certain"


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
    known = {"divergence": found.divergence, "decode": found.decode}
    return tuple(_missing(code, known[code].note) for code in RANKED_BY[prefer] if known[code].value is None)


def _on_grid(found: Candidate, prefer: str) -> tuple[Mark, ...]:
    """A format on the weights' own grid never wins on quality: on other weights it would lose more."""
    grid = found.row.mark("quality not transferable") if prefer == "quality" and not found.row.is_source else None
    return (Mark(code="grid", sentence=grid.sentence),) if grid else ()


def _missing(code: str, note: str) -> Mark:
    return Mark(code="missing", sentence=f"{NAMES[code]}: {note}")


def _over(bound: Bound, figure: Figure, limit: float) -> Mark:
    """The limit that a figure breaks, with both numbers, and what makes the figure less than certain."""
    measured, most = numbers.apart(figure.value or 0.0, limit, bound.form)
    text = f"{bound.said.format(measured)} is {'over' if bound.sign > 0 else 'under'} {most}"
    held = figure.interval is not None and figure.interval.contains(limit)
    between = (
        f", though its interval, {numbers.span(figure.interval, bound.form)}, holds that"
        if held and figure.interval
        else ""
    )
    basis = {PREDICTED: " (predicted)", ELSEWHERE: " (measured on another machine)"}.get(figure.basis, "")
    return Mark(code=bound.code, sentence=f"{text}{basis}{between}")


def _waited(row: Row) -> bool:
    """Whether it ran within a limit of memory only by fetching pages from the disk again and again."""
    return row.mark("limit") is not None and row.mark("major faults") is not None


def _paged(found: Candidate) -> Mark:
    within = numbers.size(found.memory.value or 0)
    return Mark(code="memory", sentence=f"it kept to {within} only by fetching pages from the disk again and again")
