"""What of a run comes first: the format that the plan would pick and its neighbours, so that a pick exists early.

How far a format will diverge is foreseen from its bits alone: KL = c x 4^-b nats (verify/line.py has why), where c
falls with the number of weights n: about 500 for SmolLM2-135M (seen, Q8_0 to Q2_K) and 28 for Llama 3 8B (Q5_K_M and
Q4_K_M in llama.cpp's tools/perplexity/README.md), which makes c = 500 x (n / 135 million)^-0.7.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ..convert.formats import FORMATS
from ..profiles.planning.plan import Plan, PlannedFormat
from ..report.ranking import EQUAL_NATS

_LINE, _LINE_WEIGHTS, _FALL = 500.0, 135e6, 0.7
_UNQUANTISED_BITS = 16.0
_FEW = 4  # formats that are not worth an order


@dataclass(frozen=True, kw_only=True)
class Order:
    """The formats of a run; `ladder` holds those that may win and whose quality can be foreseen, best first."""

    formats: tuple[str, ...]
    ladder: tuple[str, ...]
    foreseen: str  # the pick that the plan leads one to expect; "" for none

    def next(self, done: Collection[str], pick: str | None = None) -> tuple[str, ...]:
        """The formats to come now, where `done` were measured and `pick` is best of those; none where all are done.

        The neighbours of the pick, else of the foreseen one; where those are done, all others.
        """
        left = tuple(name for name in self.formats if name not in done)
        centre = pick if pick in self.ladder else self.foreseen
        near = tuple(name for name in left if name in self.around(centre))
        alone = len(self.formats) <= _FEW or len(left) - len(near) < 2
        return left if alone or not near else near

    def around(self, name: str) -> tuple[str, ...]:
        """A format with the next better and the next smaller one."""
        if name not in self.ladder:
            return ()
        place = self.ladder.index(name)
        return self.ladder[max(0, place - 1) : place + 2]


def order(plan: Plan, *, largest_bytes: float | None = None) -> Order:
    """The order that follows from a plan; nothing above `largest_bytes`, the size of a quantised source, may win."""
    could = [each for each in plan.formats if _may_win(each, largest_bytes)]
    ranked = sorted(could, key=lambda each: (foreseen_nats(each), -each.bits_per_weight))
    winner = _winner(ranked)
    return Order(
        formats=tuple(each.format for each in plan.formats),
        ladder=tuple(each.format for each in ranked),
        foreseen=winner.format if winner else "",
    )


def _may_win(planned: PlannedFormat, largest_bytes: float | None) -> bool:
    """Whether the device holds it, and rounding activations does not hide what its bits say of its quality."""
    held = planned.fits is not False and planned.size_bytes <= (largest_bytes or float("inf"))
    return held and not FORMATS[planned.format].rounds_activations


def foreseen_nats(planned: PlannedFormat) -> float:
    """The divergence to be expected of a format, from its bits and the number of weights."""
    if planned.bits_per_weight >= _UNQUANTISED_BITS:
        return 0.0
    n_weights = max(8 * planned.tensor_bytes / planned.bits_per_weight, _LINE_WEIGHTS)
    return float(_LINE * (n_weights / _LINE_WEIGHTS) ** -_FALL * 4.0**-planned.bits_per_weight)


def _winner(ranked: Sequence[PlannedFormat]) -> PlannedFormat | None:
    """As report/pick.py decides: of what counts as equally good the smallest that none decodes faster than for sure."""
    if not ranked:
        return None
    equals = [each for each in ranked if each is ranked[0] or foreseen_nats(each) <= EQUAL_NATS]
    fastest = max((each.decode_tokens_per_second_low or 0.0) for each in equals)
    fast = [each for each in equals if (each.decode_tokens_per_second_high or float("inf")) >= fastest]
    return min(fast, key=lambda each: each.size_bytes)
