"""The limits that a figure can break, one table for judging, the nearest miss and what would change the answer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from . import numbers
from .candidates import ELSEWHERE, PREDICTED, Candidate, Figure
from .rows import Mark


@dataclass(frozen=True, kw_only=True)
class Bound:
    """One limit: the field of `Limits`, its code, +1 for a most and -1 for a least, and how its figure is said.

    `name` is what the figure is called where it is missing.
    """

    key: str
    code: str
    name: str
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
            key="max_size_bytes",
            code="size",
            name="size",
            sign=1,
            form=numbers.size,
            said="a file of {}",
            of=lambda c: Figure(value=c.row.size_bytes, note="there is no file"),
        ),
        Bound(
            key="min_prefill",
            code="prefill",
            name="prefill",
            sign=-1,
            form=numbers.rate,
            said="prefill at {} tokens/s",
            of=lambda c: c.prefill,
        ),
        Bound(
            key="max_divergence",
            code="divergence",
            name="divergence",
            sign=1,
            form=numbers.nats,
            said="a divergence of {} nats",
            of=lambda c: c.divergence,
        ),
        Bound(
            key="max_memory_bytes",
            code="memory",
            name="peak RSS",
            sign=1,
            form=numbers.size,
            said="a peak RSS of {}",
            of=lambda c: c.memory,
        ),
        Bound(
            key="min_decode",
            code="decode",
            name="decode",
            sign=-1,
            form=numbers.rate,
            said="decode at {} tokens/s",
            of=lambda c: c.decode,
        ),
    )
}
LOSS = "max_loss"
KEYS = (*BOUNDS, LOSS)


def over(bound: Bound, figure: Figure, limit: float) -> Mark:
    """The limit that a figure breaks, with both numbers, and what makes the figure less than certain."""
    measured, most = numbers.apart(figure.value or 0.0, limit, bound.form)
    text = f"{bound.said.format(measured)} is {'over' if bound.sign > 0 else 'under'} {most}"
    basis = {PREDICTED: " (predicted)", ELSEWHERE: " (measured on another machine)"}.get(figure.basis, "")
    if figure.interval and figure.interval.contains(limit):
        basis += f", though its interval, {numbers.span(figure.interval, bound.form)}, holds that"
    return Mark(code=bound.code, sentence=f"{text}{basis}")


def missing(name: str, note: str) -> Mark:
    """That a figure which is asked for is not known, and why."""
    return Mark(code="missing", sentence=f"{name}: {note}")
